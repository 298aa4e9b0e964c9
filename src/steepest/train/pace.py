"""How far a training is, and when it is over: by a number of steps, or by a wall-time budget."""

from __future__ import annotations

from dataclasses import dataclass, field

from .clock import Clock


@dataclass(frozen=True)
class BySteps:
    """Over after a number of steps; measured after each epoch."""

    steps: int

    def progress(self, step: int) -> float:
        return min(step / self.steps, 1 - 2**-53)

    def over(self, step: int) -> bool:
        return step >= self.steps

    def measure(self, step: int, epoch_done: bool) -> bool:
        return epoch_done


@dataclass
class ByTime:
    """Over when only what comes after the last step still fits the budget. Progress is time: the schedule ends on time.

    begin_s, end_s: readings of the clock between which the steps lie. Measured after an epoch, if measuring took
    no more than a twentieth of the time since the last.
    """

    clock: Clock
    begin_s: float
    end_s: float
    step_s: float = 0.0
    measure_s: float = 0.0
    _last: float = field(default=0.0)
    _measured: float = field(default=0.0)

    def progress(self, step: int) -> float:
        now = self.clock.elapsed_s
        return min(max(0.0, (now - self.begin_s) / (self.end_s - self.begin_s)), 1 - 2**-53)

    def over(self, step: int) -> bool:
        now = self.clock.elapsed_s
        if self._last:
            self.step_s = max(now - self._last, 0.9 * self.step_s)
        self._last = now
        return now + self.step_s >= self.end_s

    def measure(self, step: int, epoch_done: bool) -> bool:
        return epoch_done and self.clock.elapsed_s - self._measured > 20 * self.measure_s
