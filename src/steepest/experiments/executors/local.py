"""Trials in processes of this machine, each with its share of the processor's threads."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ...mistake import Failure
from ..ledger import FAILED
from . import TRIES

TIMED_S = 1.5
"""How long each way to share the processor is timed."""
GRACE_S = 10.0
"""How long a worker may take to write its checkpoint."""


class Worker:
    """One process, and what it is at."""

    def __init__(self, log: Path) -> None:
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "steepest.experiments.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the study, which then ends its workers in order
            )
        self.jobs: list[dict[str, Any]] = []
        self.left = b""

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
            self.process.wait()
            return None
        *lines, self.left = (self.left + block).split(b"\n")
        return [json.loads(line) for line in lines]

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()
        self.process.wait()


class Local:
    """`slots` worker processes, started when they are needed and again where one dies. log: their standard error."""

    def __init__(self, slots: int, log: Path) -> None:
        self.slots, self.log = slots, log
        self.workers: list[Worker] = []
        self.tries: dict[int, int] = {}

    @property
    def free(self) -> int:
        """How many jobs it would take now."""
        return self.slots - sum(bool(worker.jobs) for worker in self.workers)

    def submit(self, jobs: list[dict[str, Any]]) -> None:
        """Trains a trial, or a stack of them, in a free worker."""
        free = next((worker for worker in self.workers if not worker.jobs), None)
        if free is None:
            free = Worker(self.log)
            self.workers.append(free)
        free.jobs = list(jobs)
        for job in jobs:
            self.tries[job["number"]] = self.tries.get(job["number"], 0) + 1
        free.send({"train": jobs})

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
                ended: dict[str, Any] = {event["end"] for event in said if "end" in event}
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
        """Begins again what a dead worker was at; what has killed too many is told as failed."""
        self.workers.remove(worker)
        how = _how(worker.process.returncode)
        given_up = [job for job in worker.jobs if self.tries[job["number"]] >= TRIES]
        again = [job for job in worker.jobs if job not in given_up]
        if again:
            self.submit(again)
        why = f"its process died {TRIES} times, the last time {how}: {self.log} may say why"
        ended: dict[str, Any] = {"state": FAILED, "figures": {}, "run": None, "problem": why}
        return [{"end": job["number"], **ended} for job in given_up]

    def shares(self, job: dict[str, Any], cores: int) -> tuple[int, int, float]:
        """The fastest way to share `cores` among workers for trainings like this: (workers, threads of each, seconds a
        training takes when all are at work, over the number of workers), by timing a few steps of each way."""
        ways = [(cores // threads, threads) for threads in range(cores, 0, -1) if cores % threads == 0]
        probes = [Worker(self.log) for _ in range(cores)]
        try:
            for probe in probes:
                probe.send({"build": job})
            steps = [_answer(probe, "built") for probe in probes].pop()
            best = (1, cores, float("inf"))
            for workers, threads in ways:
                for probe in probes[:workers]:
                    probe.send({"time": TIMED_S, "threads": threads})
                rate = sum(_answer(probe, "rate") for probe in probes[:workers])
                best = min(best, (workers, threads, steps / rate), key=lambda way: way[2])
        finally:
            for probe in probes[best[0] if sys.exc_info()[0] is None else 0 :]:
                probe.kill()
        self.workers, self.slots = probes[: best[0]], best[0]
        return best

    def close(self) -> None:
        """Ends all workers; a training writes its checkpoint first."""
        for worker in self.workers:
            worker.process.send_signal(signal.SIGTERM if worker.jobs else signal.SIGKILL)
        for worker in self.workers:
            try:
                worker.process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                worker.kill()
        self.workers = []


def _answer(worker: Worker, name: str) -> float:
    """A number that a worker was asked for."""
    while (said := worker.read()) is not None:
        for event in said:
            if name in event:
                return float(event[name])
    raise Failure(f"a worker died while it was timed, {_how(worker.process.returncode)}")


def _how(status: int) -> str:
    return f"by signal {-status}" if status < 0 else f"with status {status}"
