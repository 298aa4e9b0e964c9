"""Where the trials of a study are trained: `local`, processes on this machine; `cluster`, a Ray cluster.

Each has `free`, how many jobs it would take now; ``submit(jobs)`` for one trial or a stack of them; ``stop(number)``;
``wait()``, which gives what the trainings tell (`experiments/worker.py` says in what form), at least one thing; and
``close()``. A job whose worker dies is begun again by itself, `TRIES` times in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ...mistake import Failure, Mistake

TRIES = 3
"""A training that kills its worker so many times has failed."""


class Executor(Protocol):
    """What a study needs of it."""

    @property
    def free(self) -> int: ...
    def submit(self, jobs: list[dict[str, Any]]) -> None: ...
    def stop(self, number: int) -> None: ...
    def wait(self) -> list[dict[str, Any]]: ...
    def close(self) -> None: ...


def refused(event: Mapping[str, Any]) -> None:
    """Raises what a worker told where nothing can be trained."""
    if "refused" in event:
        raise (Failure if event["failed"] else Mistake)(event["refused"])
