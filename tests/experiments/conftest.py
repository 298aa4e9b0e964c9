"""Studies without worker processes: trained in the test's own process, or not at all, by a formula."""

from __future__ import annotations

import math
import threading
from collections import deque
from queue import SimpleQueue
from typing import Any

import pytest

from steepest.experiments import conduct
from steepest.experiments.worker import Worker
from steepest.recipe import Recipe


class Here:
    """An executor that trains in this process, one trial at a time, and goes on only when it is waited for.

    trained: the numbers of the trials, in the order begun. worker: what a worker process would be.
    """

    free = 1

    def __init__(self):
        self.trained: list[int] = []
        self.orders, self.told, self.seen = SimpleQueue[Any](), SimpleQueue[Any](), SimpleQueue[None]()
        self.worker = Worker(self.tell)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while (order := self.orders.get()) is not None:
            self.worker.do(order)

    def tell(self, event):
        self.told.put(event)
        self.seen.get()

    def submit(self, jobs):
        assert self.free
        self.free = 0
        self.trained += [job["number"] for job in jobs]
        self.orders.put({"train": jobs})

    def stop(self, number):
        self.worker.stopped = number

    def wait(self):
        if self.waited:
            self.seen.put(None)
        event = self.told.get(timeout=60)
        self.waited = True
        if "end" in event or "refused" in event:
            self.release()
        return [event]

    waited = False

    def release(self):
        self.seen.put(None)
        self.waited, self.free = False, 1

    def close(self):
        if self.waited:
            self.release()


@pytest.fixture
def here(monkeypatch):
    """Studies train in this process."""
    executor = Here()
    monkeypatch.setattr(conduct, "_executor", lambda *given: executor)
    yield executor
    executor.orders.put(None)


ERRANDS = {
    "test": lambda value, recipe, seed: {"n": 500, "test_accuracy": value(recipe, seed) - 0.01, "test_loss": 0.5},
    "penalty": lambda value, recipe, seed: {"loss": 0.6, "size": 30.0, "epochs": 2.0},
    "range": lambda value, recipe, seed: {"suggested": 0.1 * (1 + seed), "rates": [], "losses": [], "diverged": None},
}
"""What comes of an errand of each kind."""


class Made:
    """An executor that trains nothing. value: of a recipe and a seed, the figure; nan where the training fails. curve:
    the figures on the way to it, one an epoch. dies: raise KeyboardInterrupt after so many ends, as Ctrl-C does.

    trained: (recipe, seed) of each training in the order begun. errands: the jobs that were none.
    """

    def __init__(self, value, curve=lambda value: [value], slots=2, figure="val_accuracy"):
        self.value, self.curve, self.slots, self.figure = value, curve, slots, figure
        self.trained, self.errands, self.jobs, self.stopped = [], [], deque[Any](), set()
        self.dies = math.inf

    @property
    def free(self):
        return self.slots - len(self.jobs)

    def submit(self, jobs):
        assert len(jobs) <= self.free
        for job in jobs:
            recipe, seed = Recipe.from_dict(job["recipe"]), job["request"]["seed"]
            if "errand" in job:
                self.errands.append(job)
                points = [ERRANDS[job["errand"]["kind"]](self.value, recipe, seed)]
            else:
                assert job["request"]["test"] is False
                self.trained.append((recipe, seed))
                points = self.curve(self.value(recipe, seed))
            self.jobs.append((job, deque(enumerate(points, 1))))

    def stop(self, number):
        self.stopped.add(number)

    def close(self):
        pass

    def wait(self):
        """The next point of each job in turn, or its end."""
        job, points = self.jobs.popleft()
        number, (epoch, figures) = job["number"], points.popleft()
        told = {"end": number, "state": "done", "figures": figures, "run": None, "problem": None}
        if "errand" in job:
            return [told]
        told["figures"] = {self.figure: figures, "train_s": 1.0, "total_s": 2.0}
        if math.isnan(figures):
            return self.ended(told | {"state": "failed", "figures": {}, "problem": "it diverged"})
        point = {"point": number, "figures": {"epoch": float(epoch), self.figure: figures}}
        if number in self.stopped:
            return self.ended(told | {"state": "pruned"})
        if not points:
            return [point, *self.ended(told)]
        self.jobs.append((job, points))
        return [point]

    def ended(self, event):
        self.dies -= 1
        if self.dies < 0:
            raise KeyboardInterrupt
        return [event]


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Gives an executor of this value to the studies of a test, which are in a folder of their own."""
    monkeypatch.chdir(tmp_path)

    def give(value, **options):
        executor = Made(value, **options)
        monkeypatch.setattr(conduct, "_executor", lambda *given: executor)
        return executor

    return give
