"""How far a training is, and when it is over: by a number of steps, or by a wall-time budget."""

from __future__ import annotations

from dataclasses import dataclass

from .clock import Clock

END_S = 1.0
"""For writing the run's files at the end."""


@dataclass(frozen=True)
class BySteps:
    """Over after a number of steps; measured after each epoch."""

    steps: int

    def progress(self, step: int) -> float:
        return min(step / self.steps, 1 - 2**-53)

    def over(self, step: int) -> bool:
        return step >= self.steps

    def measure(self, epoch_done: bool) -> bool:
        return epoch_done

    def measured(self, took_s: float) -> None:
        pass


@dataclass
class ByTime:
    """Over when only what comes after the last step still fits the budget. Progress is time: the schedule ends on time.

    begin_s, end_s: readings of the clock between which the steps lie. last: what comes after the last step, as a
    multiple of one measurement, each of which moves `end_s` to leave that much; 0: the end stays. Progress then waits,
    it never falls. Measured after an epoch, if measuring takes no more than a twentieth of the time since the last.
    """

    clock: Clock
    begin_s: float
    end_s: float
    last: float = 0.0
    _step: tuple[int, float] = (-2, 0.0)  # the last step that was told of, and when; -2: none
    _step_s: float = 0.0
    _measured_s: float = 0.0
    _took_s: float = 0.0
    _progress: float = 0.0

    def progress(self, step: int) -> float:
        span = max(1e-9, self.end_s - self.begin_s)
        self._progress = min(max(self._progress, (self.clock.elapsed_s - self.begin_s) / span), 1 - 2**-53)
        return self._progress

    def over(self, step: int) -> bool:
        now = self.clock.elapsed_s
        if step > self._step[0] >= 0:
            self._step_s = max(now - self._step[1], 0.9 * self._step_s)
        self._step = step, now
        return now + self._step_s > self.end_s

    def measure(self, epoch_done: bool) -> bool:
        return epoch_done and self.clock.elapsed_s - self._measured_s > 20 * self._took_s

    def measured(self, took_s: float) -> None:
        self._measured_s, self._took_s = self.clock.elapsed_s, took_s
        self._step = -2, 0.0
        if self.last and self.clock.budget_s is not None:
            self.end_s = self.clock.budget_s - END_S - self.last * took_s

    def state(self) -> dict[str, float]:
        """What a resumed run needs to go on with the same budget."""
        return {"begin_s": self.begin_s, "end_s": self.end_s, "last": self.last}
