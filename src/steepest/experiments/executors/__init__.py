"""Where the trials of a study are trained: `local`, processes on this machine; `cluster`, a Ray cluster.

Each has `free`, how many jobs it would take now; ``submit(jobs)`` for one trial or a stack of them; ``stop(number)``;
``wait()``, which gives what the trainings tell (`experiments/worker.py` says in what form), at least one thing; and
``close()``. A job whose worker dies is begun again by itself, `TRIES` times in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ...mistake import Failure, Mistake
from ..ledger import FAILED

TRIES = 3
"""A training that kills its worker so many times has failed, until the study is begun again."""


def died(number: int, why: str) -> dict[str, Any]:
    """What is told of a training that killed its worker so many times."""
    problem = f"its process died {TRIES} times, the last time {why}; the same command tries it again"
    return {"end": number, "state": FAILED, "figures": {}, "run": None, "problem": problem, "died": True}


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
