"""Trials in processes of this machine, each with its share of the processor's threads."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ...mistake import Failure
from . import TRIES, died, refused

TIMED_S = 1.0
"""How long each way to share the processor is timed."""
ROOM = 0.5
"""The share of the memory that workers may fill."""
GRACE_S = 10.0
"""How long a worker may take to write its checkpoint."""


class Worker:
    """One process, and what it is at. lock: an open file that holds their study's lock as long as any of them lives."""

    def __init__(self, log: Path, lock: int | None) -> None:
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "steepest.experiments.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=() if lock is None else (lock,),
                start_new_session=True,  # Ctrl-C is for the study, which then ends its workers in order
            )
        self.jobs: list[dict[str, Any]] = []
        self.stacked = False
        self.left, self.spoke = b"", False

    def send(self, order: dict[str, Any]) -> None:
        """An order; one that a dying process does not take is lost with it."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def read(self) -> list[dict[str, Any]] | None:
        """What it has told since, waiting for at least a part of a line; None when it is dead."""
        assert self.process.stdout is not None
        block = os.read(self.process.stdout.fileno(), 1 << 16)
        if not block:
            self.kill()
            return None
        self.spoke = True
        *lines, self.left = (self.left + block).split(b"\n")
        return [json.loads(line) for line in lines]

    def kill(self) -> None:
        """Ends it at once."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


class Local:
    """`slots` worker processes, started when they are needed and again where one dies.

    log: receives their standard error. lock: as in `Worker`.
    """

    def __init__(self, slots: int, log: Path, lock: int | None = None) -> None:
        self.slots, self.log, self.lock = slots, log, lock
        self.workers: list[Worker] = []
        self.deaths: dict[int, int] = {}

    @property
    def free(self) -> int:
        """How many jobs it would take now."""
        return self.slots - sum(bool(worker.jobs) for worker in self.workers)

    def submit(self, jobs: list[dict[str, Any]], stacked: bool = True) -> None:
        """Trains a trial in a free worker, or many: as a stack, or one after the other."""
        free = next((worker for worker in self.workers if not worker.jobs), None)
        if free is None:
            free = Worker(self.log, self.lock)
            self.workers.append(free)
        free.jobs, free.stacked = list(jobs), stacked and len(jobs) > 1
        free.send({"train": jobs, "stacked": free.stacked})

    def stop(self, number: int) -> None:
        """Lets a training end at its next measurement."""
        for worker in self.workers:
            if any(job["number"] == number for job in worker.jobs):
                worker.send({"stop": number})

    def wait(self) -> list[dict[str, Any]]:
        """What the trainings tell, as soon as one tells anything."""
        told: list[dict[str, Any]] = []
        while not told:
            for worker in self._ready():
                said = worker.read()
                if said is None:
                    told += self._lost(worker)
                    continue
                ended = {event["end"] for event in said if "end" in event}
                worker.jobs = [job for job in worker.jobs if job["number"] not in ended]
                told += said
        return told

    def _ready(self) -> list[Worker]:
        """The workers that have something to tell, or are dead."""
        with selectors.DefaultSelector() as selector:
            for worker in self.workers:
                assert worker.process.stdout is not None
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            return [key.data for key, _ in selector.select()]

    def _lost(self, worker: Worker) -> list[dict[str, Any]]:
        """Begins again what a dead worker was at, a stack one after the other, so that the one that kills is found;
        what has killed too many is told as failed."""
        self.workers.remove(worker)
        how = _how(worker.process.returncode)
        for job in () if worker.stacked else worker.jobs[:1]:
            self.deaths[job["number"]] = self.deaths.get(job["number"], 0) + 1
        given_up = [job for job in worker.jobs if self.deaths.get(job["number"], 0) >= TRIES]
        if given_up and not worker.spoke:
            raise Failure(f"no worker lives long enough to begin: the last one died {how}; {self.log} may say why")
        if again := [job for job in worker.jobs if job not in given_up]:
            self.submit(again, stacked=False)
        return [died(job["number"], f"{how} ({self.log} may say why)") for job in given_up]

    def lanes(self, job: dict[str, Any], many: int) -> bool:
        """Whether so many trainings like this are over sooner in lanes, all in one worker."""
        if not self.workers:
            self.workers.append(Worker(self.log, self.lock))
        self.workers[0].send({"lanes": many, "job": job})
        return bool(_answer(self.workers[0], "wins")["wins"])

    def shares(self, job: dict[str, Any], cores: int, most: int | None = None) -> tuple[int, int, float]:
        """The fastest way to share `cores` among workers for trainings like this: (workers, threads of each, seconds a
        training takes when all are at work, over the number of workers), by timing a few steps of each way.

        Tried are one worker with all cores, then more and more with fewer each, as long as it is faster and the memory
        suffices; `most` workers at most. Those of the best way are kept.
        """
        best, steps, each, ready = (1, cores, float("inf")), 1.0, 0.0, list[Worker]()
        for threads in (threads for threads in range(cores, 0, -1) if cores % threads == 0):
            workers = cores // threads
            if workers > (most or cores) or workers * each > ROOM * memory():
                break
            self.workers += [Worker(self.log, self.lock) for _ in range(workers - len(self.workers))]
            new = [worker for worker in self.workers[:workers] if worker not in ready]
            ready += new
            for worker in new:
                worker.send({"build": job})
            for worker in new:
                built = _answer(worker, "built")
                steps, each = float(built["built"]), max(each, float(built["bytes"]))
            for worker in ready:
                worker.send({"time": TIMED_S, "threads": threads})
            seconds = steps / sum(_answer(worker, "rate")["rate"] for worker in ready)
            if seconds > best[2]:
                break
            best = (workers, threads, seconds)
        for worker in self.workers[best[0] :]:
            worker.kill()
        self.workers, self.slots = self.workers[: best[0]], best[0]
        return best

    def close(self) -> None:
        """Ends all workers; a training writes its checkpoint first."""
        for worker in self.workers:
            worker.process.send_signal(signal.SIGTERM if worker.jobs else signal.SIGKILL)
        latest = time.monotonic() + GRACE_S
        for worker in self.workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.0, latest - time.monotonic()))
            worker.kill()
        self.workers = []


def _answer(worker: Worker, name: str) -> dict[str, Any]:
    """What a worker says to what it was asked."""
    while (said := worker.read()) is not None:
        for event in said:
            if name in event:
                return event
            refused(event)
    raise Failure(f"a worker died while it was timed, {_how(worker.process.returncode)}")


def memory() -> float:
    """The bytes of memory that this process and its children may fill: the machine's, or their group's."""
    machine = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        return min(machine, float(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return machine


def _how(status: int) -> str:
    return f"by signal {-status}" if status < 0 else f"with status {status}"
