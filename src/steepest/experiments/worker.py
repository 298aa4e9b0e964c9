"""One process that trains the trials it is sent: JSON lines in, JSON lines out.

In: ``{"train": [job, …], "stacked": whether as lanes}``, ``{"stop": number}``, ``{"lanes": how many, "job": one of
them}``, ``{"build": job}``, ``{"time": seconds, "threads": n}``. A job has the trial's `number`, its `recipe` and its
`request` as plain data, and the `fingerprint` that its data must have, if that is known.

Out: ``{"data": fingerprint}`` when the data are there, ``{"point": number, "figures": {…}}`` as a training goes,
``{"end": number, "state": …, "figures": {…}, "run": …, "problem": …}``, of a lane with its `curve`, ``{"refused":
sentence, "failed": …}`` where nothing can be trained (no data, a full disk), ``{"wins": whether lanes are sooner}``,
``{"built": steps, "bytes": memory}``, ``{"rate": steps a second}``.

When its input ends it ends too, at once: a training goes on from its checkpoint. SIGTERM lets it write one first.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..mistake import Failure, Interrupted, Mistake
from ..recipe import Recipe
from ..run import Point, Run
from ..train.request import Request
from .ledger import DONE, FAILED, PRUNED

if TYPE_CHECKING:
    from ..data.dataset import Dataset

STOPPED = "stopped by its study"
FIGURES = ("val_accuracy", "val_loss", "train_accuracy", "train_loss", "test_accuracy", "test_loss", "epochs", "steps")
KIB = 1024 if sys.platform == "linux" else 1
"""The unit of a process's largest memory, in bytes."""
Job = dict[str, Any]
Told = Callable[[Point], str | None]


def trial(job: Job, dataset: Dataset | None = None, told: Told | None = None) -> dict[str, Any]:
    """Trains one trial, or goes on with it, or reads what it came to: its `state`, `figures`, `run` and `problem`.

    A training that fails has failed for good: the same seed would fail again. What is not the training's own fault, a
    full disk or a signal, is raised. An errand is run instead (`errands.py`).
    """
    from ..train import start

    if "errand" in job:
        from . import errands

        return errands.do(job)
    recipe, request = Recipe.from_dict(job["recipe"]), Request(**job["request"])
    folder = Path(request.out) / str(request.run_name)
    try:
        if (folder / "run.json").is_file():
            run = start.resume(folder, told=told, dataset=dataset)
        else:
            run = start.begin(recipe, request, told=told, dataset=dataset)
    except (Mistake, Failure) as error:
        if isinstance(error, Interrupted) or isinstance(error.__cause__, OSError):
            raise
        return {"state": FAILED, "figures": {}, "run": folder.name if folder.exists() else None, "problem": str(error)}
    return came_to(run)


def came_to(run: Run) -> dict[str, Any]:
    """What a finished run gives to its study's ledger."""
    result = run.result
    figures = {name: result[name] for name in FIGURES if result.get(name) is not None}
    figures |= {"train_s": result["time_s"]["train"], "total_s": result["time_s"]["total"]}
    state = PRUNED if result["ended"] == STOPPED else DONE
    return {"state": state, "figures": figures, "run": run.path.name, "problem": None}


class Probe:
    """A training that is timed, not kept."""

    def __init__(self, job: Job, dataset: Dataset) -> None:
        from .errands import built

        self.training = built(job, dataset=dataset)
        self.rate(1, 0.0)

    def rate(self, threads: int, seconds: float) -> float:
        """Steps a second with so many threads, the first step left out; at least one step is timed."""
        import torch

        from ..train import loop

        torch.set_num_threads(threads)
        begin, steps = 0.0, -1
        while steps < 1 or time.monotonic() - begin < seconds:
            for images, targets in self.training.batches.epoch(0):
                loop.step(self.training, images, targets, 0.0)
                steps += 1
                if steps == 0:
                    begin = time.monotonic()
                elif time.monotonic() - begin > seconds:
                    break
        return steps / (time.monotonic() - begin)


class Worker:
    """What this process was told and tells."""

    def __init__(self, tell: Callable[[dict[str, Any]], object]) -> None:
        self.tell, self.stopped = tell, -1
        self.probe: Probe | None = None
        self.loaded: tuple[tuple[str, str | None], Dataset] | None = None

    def do(self, order: dict[str, Any]) -> None:
        """Does as it was told, and tells what came of it."""
        try:
            if "build" in order:
                self.probe = Probe(order["build"], self.data(order["build"]))
                largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
                self.tell({"built": self.probe.training.steps, "bytes": largest})
            elif "time" in order:
                assert self.probe is not None
                self.tell({"rate": self.probe.rate(order["threads"], order["time"])})
            elif "lanes" in order:
                from .lanes.suited import wins

                job = order["job"]
                self.tell({"wins": wins(Recipe.from_dict(job["recipe"]), self.data(job), order["lanes"])})
            else:
                self.probe = None
                for job in self.lanes(order["train"]) if order.get("stacked") else order["train"]:
                    self.tell({"end": job["number"], **trial(job, self.data(job), self._told(job["number"]))})
        except Interrupted:
            raise
        except (Mistake, Failure) as error:
            self.tell({"refused": str(error), "failed": isinstance(error, Failure)})

    def lanes(self, jobs: list[Job]) -> list[Job]:
        """Trains all that can be lanes of one stack, and tells of each as it ends; gives the others."""
        from .lanes.suited import suits
        from .lanes.train import finished

        dataset, fit, others = self.data(jobs[0]), [], []
        for job in jobs:
            recipe, request = Recipe.from_dict(job["recipe"]), Request(**job["request"])
            begun = (Path(request.out) / str(request.run_name)).exists()
            if begun or suits(recipe, dataset, request) is not None:
                others.append(job)
            else:
                fit.append((job["number"], (recipe, request)))
        for place, lane in finished([asked for _, asked in fit], dataset, threads=jobs[0]["request"]["threads"]):
            figures = {name: value for name, value in lane.figures.items() if value is not None}
            told = {"state": FAILED if lane.problem else DONE, "figures": figures, "run": None, "problem": lane.problem}
            self.tell({"end": fit[place][0], **told, "curve": lane.curve})
        return others

    def data(self, job: Job) -> Dataset:
        """The data of a job, which are kept for the next one; others than the study began with are refused."""
        from ..train import start

        request = Request(**job["request"])
        place = (request.data, request.data_dir)
        if self.loaded is None or self.loaded[0] != place:
            self.loaded = None
            self.loaded = place, start.load(request)
        found = self.loaded[1]
        self.tell({"data": found.fingerprint})
        if job.get("fingerprint") not in (None, found.fingerprint):
            raise Mistake(f"the data {request.data} are not those that the study began with: give another --name")
        return found

    def _told(self, number: int) -> Told:
        def told(point: Point) -> str | None:
            self.tell({"point": number, "figures": point})
            return STOPPED if self.stopped == number else None

        return told


def main() -> None:
    """Serves until the input ends. What anything else prints goes to standard error."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    worker = Worker(lambda said: out.write(json.dumps(said) + "\n"))

    def listen() -> None:
        for line in sys.stdin:
            order = json.loads(line)
            if "stop" in order:
                worker.stopped = order["stop"]
            else:
                orders.put(order)
        os._exit(1)

    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(1))
    threading.Thread(target=listen, daemon=True).start()
    try:
        while True:
            worker.do(orders.get())
    except Interrupted:
        pass
    except BaseException:  # a defect: whoever sent the order begins it again elsewhere
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    main()
