"""Conducts the trials of a study: none is lost, none is trained twice, whatever is killed.

A trial is in the ledger before it starts, and its run folder has its number. A study that is begun again first goes on
with the trials that were running: their folders say how far they came; of a finished one the result is only read.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..mistake import Failure, Mistake, unknown
from ..recipe import Recipe
from ..run import Point
from ..train.request import ask
from . import settings
from .executors import Executor
from .executors.local import Local
from .ledger import DONE, FAILED, RUNNING, Trial
from .settings import Settings
from .study import Asked, Study

MANY = 1000
"""More trainings than this are begun only when the person said yes to their cost."""
Heard = Callable[[Trial, Point], bool]
"""Hears of each measurement of a running trial; True ends it."""


@dataclass(frozen=True)
class How:
    """How the trainings of a study are run, which decides nothing of what they come to.

    workers: trainings at a time, threads: of each; None: by timing. on: "local" or "ray". out: receives the study's
    folder. name: of the folder. storage: a database for the ledger. yes: whether many trainings are agreed to. show:
    whether progress is told on standard error.
    """

    workers: int | None = None
    threads: int | None = None
    on: str = "local"
    out: str = "studies"
    name: str | None = None
    storage: str | None = None
    yes: bool = False
    show: bool = False

    def __post_init__(self) -> None:
        if self.workers is not None and not (type(self.workers) is int and 1 <= self.workers <= 1024):
            raise Mistake(f"workers must be a whole number in [1, 1024]: got {self.workers!r}")
        if self.on not in ("local", "ray"):
            raise unknown("place to train", self.on, ("local", "ray"))


def prepare(kind: str, data: str | Path, recipe: str | Path | Recipe, seeds: int, options: dict[str, Any]) -> Any:
    """What a study of this kind is without what it varies, and how it is run: (Asked, How).

    seeds: trainings of each setting. options: fields of `How`, `figure`, `test`, and all that `ask` takes. Everything
    wrong with them is a Mistake here.
    """
    mine = {item.name for item in dataclasses.fields(How)}
    how = How(**{key: options.pop(key) for key in tuple(options) if key in mine and options[key] is not None})
    options = {key: value for key, value in options.items() if value is not None and key not in mine}
    figure, test = options.pop("figure", None), bool(options.pop("test", False))
    if type(seeds) is not int or not 1 <= seeds <= 10_000:
        raise Mistake(f"seeds is the number of trainings of each setting, from 1 to 10000: got {seeds!r}")
    found, request = ask(data, recipe, threads=how.threads, **options)
    figure = figure or ("val_loss" if Path(request.data).name.startswith("reg_") else "val_accuracy")
    if str(figure).startswith("test"):
        raise Mistake("settings are compared on the validation set: choosing by the test set would spoil it")
    if figure not in ("val_accuracy", "val_loss", "train_accuracy", "train_loss"):
        raise unknown("figure", str(figure), ("val_accuracy", "val_loss", "train_accuracy", "train_loss"))
    if found.val_fraction == 0:
        if "val_fraction" in request.chosen:
            raise Mistake("a study compares settings on images held out to validate: val_fraction must be above 0")
        found = found.replace(val_fraction=Recipe().val_fraction)
    name = how.name or f"{Path(request.data).name.partition(':')[0]}-{found.name}-{kind}"
    first = request.seed
    request = replace(request, test=test, seed=0, out=str(Path(how.out) / name / "runs"), threads=None)
    return Asked(kind, name, found, request, figure, {}, tuple(range(first, first + seeds)), how.storage), how


@contextmanager
def conducting(asked: Asked, how: How, trainings: int | None = None) -> Iterator[Conductor]:
    """The study as it is asked, with its lock held and its workers there.

    trainings: how many it will be in all, where that is known; many are refused unless `how` says yes.
    """
    job = {"recipe": asked.recipe.as_dict(), "request": asked.request.as_dict() | {"seed": asked.seeds[0]}}
    if trainings is not None and trainings > MANY and not how.yes:
        known = len(Study.open(Path(how.out) / asked.name).trials()) if (Path(how.out) / asked.name).is_dir() else 0
        if trainings - known > MANY:
            share = Local(1, Path(os.devnull))
            each = share.shares(job, cores())[2]
            share.close()
            raise Mistake(f"this asks for {trainings:,} trainings, {lasting(each * trainings)}: --yes begins them")
    study = Study.begin(asked, Path(how.out))
    with study.ledger.alone():
        conductor = Conductor(study, asked, _executor(study, how), how.show)
        left = None if trainings is None else trainings - len(conductor.known)
        try:
            if left is None or left > 0 or conductor.unfinished:
                conductor.share(job, how, left)
            yield conductor
        finally:
            conductor.executor.close()


def _executor(study: Study, how: How) -> Executor:
    if how.on == "ray":
        from .executors.cluster import Cluster

        return Cluster(how.workers)
    return Local(how.workers or 1, study.path / "workers.log")


@dataclass
class Conductor:
    """A study that can train."""

    study: Study
    asked: Asked
    executor: Executor
    show: bool = False
    threads: int | None = None
    stack: int = 1
    known: dict[str, Trial] = field(default_factory=dict)
    running: dict[int, Trial] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known = {trial.key: trial for trial in self.study.trials()}

    @property
    def unfinished(self) -> list[Trial]:
        """The trials that were begun and are not over, and that this process is not at."""
        return [each for each in self.known.values() if each.state == RUNNING and each.number not in self.running]

    def share(self, job: dict[str, Any], how: How, left: int | None) -> None:
        """Settles how many trainings go at a time with how many threads, and says what is left to do."""
        there = self.study.path / "machine.json"
        kept = self.study.read("machine.json") if there.is_file() else {}
        each = None
        if how.on != "local" or self.asked.request.device == "cuda":
            self.threads = how.threads
        elif how.workers or how.threads:
            threads = how.threads or max(1, cores() // (how.workers or 1))
            self._slots(how.workers or max(1, cores() // threads), threads)
        elif kept.get("cores") == cores():
            self._slots(kept["workers"], kept["threads"])
        elif left == 1 or not isinstance(self.executor, Local):
            self._slots(1, cores())
        else:
            workers, threads, each = self.executor.shares(job, cores())
            self._slots(workers, threads)
            self.study.write("machine.json", {"cores": cores(), "workers": workers, "threads": threads})
        if self.show and left:
            cost = f", {lasting(each * left)}" if each else ""
            done = f" ({len(self.known)} are done)" if self.known else ""
            print(f"{left} trainings{done}{cost}", file=sys.stderr)

    def _slots(self, workers: int, threads: int) -> None:
        self.threads = threads
        if isinstance(self.executor, Local):
            self.executor.slots = workers

    def train(self, asked: Iterable[tuple[Settings, int]]) -> list[Trial]:
        """Trains what was not trained yet; gives every trial that was asked for, once each, in that order."""
        keys: dict[str, None] = {}

        def rest() -> Iterator[Trial]:
            for each, seed in asked:
                key = settings.key(each, seed)
                keys[key] = None
                if key not in self.known:
                    yield self.add(each, seed)

        self.run(rest())
        return [self.known[key] for key in keys]

    def add(self, each: Mapping[str, Any], seed: int, params: Mapping[str, Any] | None = None) -> Trial:
        """A new trial in the ledger, about to be trained."""
        trial = self.study.ledger.add(each, seed, params)
        self.known[trial.key] = trial
        return trial

    def run(self, trials: Iterator[Trial], heard: Heard | None = None) -> None:
        """Trains what is unfinished, then the trials, each asked for when there is a place for it."""
        trials = itertools.chain(self.unfinished, trials)
        while True:
            while self.executor.free and (jobs := list(itertools.islice(trials, self.stack))):
                self.running |= {trial.number: trial for trial in jobs}
                self.executor.submit([self.job(trial) for trial in jobs])
            if not self.running:
                return
            for event in self.executor.wait():
                if "end" in event:
                    self.end(self.running.pop(event["end"]), event)
                elif heard and heard(self.running[event["point"]], event["figures"]):
                    self.executor.stop(event["point"])

    def errands(self, jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The figures of jobs that are no trials (`errands.py`), in their order; one that fails is a Failure."""
        waiting, ended = list(jobs), {}
        while len(ended) < len(jobs):
            while waiting and self.executor.free:
                self.executor.submit([waiting.pop(0)])
            for event in self.executor.wait():
                if event.get("state") == FAILED:
                    raise Failure(event["problem"])
                ended |= {event["end"]: event["figures"]}
        return [ended[job["number"]] for job in jobs]

    def job(self, trial: Trial) -> dict[str, Any]:
        """A trial as its worker is told of it."""
        chosen = {*self.asked.request.chosen, *(name.partition(".")[0] for name in trial.settings)}
        mine = {"seed": trial.seed, "run_name": f"{trial.number:06d}", "threads": self.threads, "chosen": list(chosen)}
        recipe = settings.apply(self.asked.recipe, trial.settings)
        return {"number": trial.number, "recipe": recipe.as_dict(), "request": self.asked.request.as_dict() | mine}

    def end(self, trial: Trial, event: Mapping[str, Any]) -> None:
        """Writes into the ledger what a trial came to."""
        came_to = {name: event[name] for name in ("state", "figures", "run", "problem")}
        trial = replace(trial, **came_to)
        value = trial.figures.get(self.asked.figure)
        if trial.state == DONE and value is None:
            trial = replace(trial, state=FAILED, problem=f"its curve has no {self.asked.figure}")
        self.study.ledger.tell(trial, None if trial.state == FAILED else value, event.get("curve", ()))
        self.known[trial.key] = trial
        if self.show:
            shown = " ".join(f"{name}={setting}" for name, setting in trial.settings.items())
            told = f"{self.asked.figure} {value:.4f}" if value is not None else trial.problem
            print(f"{trial.number}: {shown} seed {trial.seed}: {told}", file=sys.stderr)


def cores() -> int:
    """The processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lasting(seconds: float) -> str:
    """A duration in words."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"about {seconds / size:,.1f} {unit}"
    return f"about {seconds:.0f} s"
