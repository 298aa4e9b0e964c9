"""Wall time: since the process began, per phase, and what is left of a budget."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..mistake import Mistake

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def seconds(text: str | float) -> float:
    """A duration in seconds from text like ``90``, ``90s``, ``10m``, ``1.5h``, ``1h30m``.

    >>> seconds("1h30m")
    5400.0
    """
    text = str(text).strip().lower()
    parts = re.findall(r"(\d+(?:\.\d*)?|\.\d+)([smh]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise Mistake(f"a time is written like 90s, 10m or 1h30m: got {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def process_age() -> float:
    """Seconds since this process was started: as the kernel tells; else the processor time that it has used."""
    try:
        ticks = float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):
        return time.process_time()


class Clock:
    """A stopwatch with named phases and an optional budget, in seconds.

    `age_s`: how long ago it began.
    """

    def __init__(self, budget_s: float | None = None, *, age_s: float = 0.0) -> None:
        self.budget_s = budget_s
        self.started = time.monotonic() - age_s
        self.phases: dict[str, float] = {"load": 0.0, "prepare": 0.0, "train": 0.0, "evaluate": 0.0}
        self._phase: str | None = None
        self._since = self.started

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    @property
    def left_s(self) -> float:
        """What is left of the budget; infinite without one."""
        return float("inf") if self.budget_s is None else self.budget_s - self.elapsed_s

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time within to a phase; an inner phase's time is its own, not the outer one's."""
        outer = self._phase
        self._turn(name)
        try:
            yield
        finally:
            self._turn(outer)

    def _turn(self, name: str | None) -> None:
        """Ends the phase that is running, if any, and begins another, or none."""
        now = time.monotonic()
        if self._phase is not None:
            self.phases[self._phase] += now - self._since
        self._phase, self._since = name, now

    def state(self) -> dict[str, Any]:
        """What a later process needs to go on with: the time so far, in all and by phase."""
        self._turn(self._phase)
        return {"elapsed_s": self.elapsed_s, "phases": dict(self.phases)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Counts on from an earlier process's time."""
        self.started -= state["elapsed_s"]
        self.phases = dict(state["phases"])

    def times(self) -> dict[str, float]:
        """The phases and the total, in seconds, for the result."""
        self._turn(self._phase)
        return {name: round(value, 3) for name, value in (self.phases | {"total": self.elapsed_s}).items()}
