"""Conducts the trials of a study: none is lost, none is trained twice, whatever is killed.

A trial is in the ledger before it starts, and its settings and seed name its run folder. A study that is begun again
first goes on with the trials that were running: their folders say how far they came; of a finished one the result is
only read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..data.sources import POINTS
from ..mistake import Failure, Mistake, unknown
from ..recipe import Recipe
from ..run import Point
from ..train.adapt import for_points
from ..train.request import ask
from . import settings
from .executors import Executor, refused
from .executors.local import Local
from .ledger import DONE, FAILED, RUNNING, Ledger, Trial, without_password
from .settings import Settings
from .study import LEDGER, Asked, Study
from .worker import came_to

LANES, STACK = 16, 256
"""So many trainings may be lanes, which have no run folders; and the most of one stack."""
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
    if how.storage is not None:
        without_password(how.storage)
    found, request = ask(data, recipe, threads=how.threads, **options)
    if Path(request.data).name.partition(":")[0] in POINTS:
        found = for_points(found, request.chosen)
    figure = figure or ("val_loss" if Path(request.data).name.startswith("reg_") else "val_accuracy")
    if str(figure).startswith("test"):
        raise Mistake("settings are compared on the validation set: choosing by the test set would spoil it")
    if figure not in ("val_accuracy", "val_loss", "train_accuracy", "train_loss"):
        raise unknown("figure", str(figure), ("val_accuracy", "val_loss", "train_accuracy", "train_loss"))
    if found.val_fraction == 0:
        if "val_fraction" in request.chosen:
            raise Mistake("a study compares settings on images held out to validate: val_fraction must be above 0")
        found = found.replace(val_fraction=Recipe().val_fraction)
    if how.name is not None and (Path(how.name).name != how.name or how.name.startswith(".")):
        raise Mistake(f"a study's name is that of its folder under --out: got {how.name!r}")
    name = how.name or f"{Path(request.data).name.partition(':')[0]}-{found.name}-{kind}"
    first = request.seed
    request = replace(request, test=test, seed=0, out=str(Path(how.out) / name / "runs"), threads=None)
    return Asked(kind, name, found, request, figure, {}, tuple(range(first, first + seeds)), how.storage), how


@contextlib.contextmanager
def conducting(asked: Asked, how: How, trainings: int | None = None) -> Iterator[Conductor]:
    """The study as it is asked, with its lock held; its workers come when they are needed.

    trainings: how many it will be in all, where that is known; many are refused unless `how` says yes. Ctrl-C is a
    Failure that says how to go on; trainings write their checkpoints first.
    """
    path = Path(how.out) / asked.name
    if asked.storage is None and (path / "study.json").is_file():
        asked = replace(asked, storage=Study.open(path).about["storage"])
    if trainings is not None and trainings > MANY and not how.yes:
        _agreed(asked, trainings, path)
    with contextlib.ExitStack() as held:
        lock = held.enter_context(Study(path).alone())
        held.enter_context(Ledger(asked.storage or path / LEDGER, asked.name).alone())
        study = Study.begin(asked, Path(how.out))
        conductor = Conductor(study, asked, how, _executor(study, how, lock))
        try:
            yield conductor
        except KeyboardInterrupt:
            done = sum(trial.state != RUNNING for trial in conductor.known.values())
            raise Failure(f"stopped after {done:,} trainings of {study.path}: the same command goes on") from None
        finally:
            conductor.executor.close()
            study.ledger.close()
            for leftover in (study.path / "runs").glob(".new-*"):  # of a killed worker; nobody else writes there
                shutil.rmtree(leftover, ignore_errors=True)


def _agreed(asked: Asked, trainings: int, path: Path) -> None:
    """Raises Mistake where so many trainings are new that the person is to say yes to their cost."""
    left = trainings - (len(Study.open(path).trials()) if (path / "study.json").is_file() else 0)
    if left <= MANY:
        return
    local = Local(1, Path(os.devnull))
    try:
        each = local.shares(_example(asked), cores(), most=1)[2]
    finally:
        local.close()
    raise Mistake(f"this asks for {left:,} trainings, {lasting(each * left)} on this machine: --yes begins them")


def _example(asked: Asked) -> dict[str, Any]:
    """A training like those of the study, to be timed."""
    return {"recipe": asked.recipe.as_dict(), "request": asked.request.as_dict() | {"seed": asked.seeds[0]}}


def _executor(study: Study, how: How, lock: int) -> Executor:
    if how.on == "ray":
        from .executors.cluster import Cluster

        return Cluster(study.path / "runs", how.workers, how.threads or 1, study.about["request"]["device"] == "cuda")
    return Local(how.workers or 1, study.path / "workers.log", lock)


@dataclass
class Conductor:
    """A study that can train."""

    study: Study
    asked: Asked
    how: How
    executor: Executor
    threads: int | None = None
    shared: bool = False
    fingerprint: str | None = None
    stack: int = 1
    known: dict[str, Trial] = field(default_factory=dict)
    running: dict[int, Trial] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known = {trial.key: trial for trial in self.study.trials()}
        self.fingerprint = self._kept("data.json").get("fingerprint")
        half_told = set(self.study.ledger.half_told())
        for key, trial in self.known.items():
            if trial.number in half_told and trial.state == FAILED:  # its process died; now it may live
                self.known[key] = Trial(trial.number, trial.settings, trial.seed)
            elif trial.number in half_told:
                self.study.ledger.tell(trial, self.value(trial))

    def value(self, trial: Trial) -> float | None:
        """What the study looks at of a trial; None where it has none."""
        return None if trial.state == FAILED else trial.figures.get(self.asked.figure)

    @property
    def unfinished(self) -> list[Trial]:
        """The trials that were begun and are not over, and that this process is not at."""
        return [each for each in self.known.values() if each.state == RUNNING and each.number not in self.running]

    def share(self, left: int | None) -> None:
        """Settles, once, how many trainings go at a time with how many threads, and says what is left to do."""
        if self.shared:
            return
        how, kept, each, self.shared = self.how, self._kept("machine.json"), None, True
        if not isinstance(self.executor, Local) or self.asked.request.device == "cuda":
            self.threads = how.threads or (1 if how.on == "ray" else None)
        elif how.workers or how.threads:
            self.threads = how.threads or max(1, cores() // (how.workers or 1))
            self.executor.slots = how.workers or max(1, cores() // self.threads)
        elif kept.get("cores") == cores():
            self.executor.slots, self.threads = kept["workers"], kept["threads"]
        elif left == 1:
            self.threads = cores()
        else:
            workers, self.threads, each = self.executor.shares(
                _example(self.asked) | {"fingerprint": self.fingerprint}, cores()
            )
            self.study.write("machine.json", {"cores": cores(), "workers": workers, "threads": self.threads})
            each = (self.asked.request.time_s or 0.0) / workers or each
        if self.how.show and left:
            cost = f", {lasting(each * left)}" if each else ""
            over = sum(trial.state != RUNNING for trial in self.known.values())
            done = f" ({over:,} are done)" if over else ""
            sys.stderr.write(f"{left:,} trainings{done}{cost}\n")

    def _kept(self, name: str) -> dict[str, Any]:
        """One of the study's files; empty where there is none yet."""
        return self.study.read(name) if (self.study.path / name).is_file() else {}

    def train(self, asked: Iterable[tuple[Settings, int]]) -> list[Trial]:
        """Trains what was not trained yet; gives every trial that was asked for, once each, in that order."""
        keys: dict[str, None] = {}
        left = len(asked) if isinstance(asked, Sized) else None
        if isinstance(asked, Sized) and self.known:
            left = len(self.unfinished) + sum(settings.key(*each) not in self.known for each in asked)

        def rest() -> Iterator[Trial]:
            for each, seed in asked:
                key = settings.key(each, seed)
                keys[key] = None
                if key not in self.known:
                    yield self.add(each, seed)

        with self._stacked(left):
            self.run(rest(), left=left)
        return [self.known[key] for key in keys]

    @contextlib.contextmanager
    def _stacked(self, left: int | None) -> Iterator[None]:
        """Within, trainings are lanes, many at once in one worker on all cores, where that is sooner; nobody chose
        another way, and nothing is asked of them that lanes do not give."""
        free = self.how.workers is None and self.how.threads is None and not self.asked.request.test
        local = self.executor
        if not (isinstance(local, Local) and free and left is not None and left >= LANES) or not local.lanes(
            _example(self.asked) | {"fingerprint": self.fingerprint}, left
        ):
            yield
            return
        before = (local.slots, self.threads, self.stack, self.shared)
        local.slots, self.threads, self.stack, self.shared = 1, cores(), STACK, True
        if self.how.show:
            sys.stderr.write(f"{left:,} trainings, many at once\n")
        try:
            yield
        finally:
            local.slots, self.threads, self.stack, self.shared = before

    def add(self, each: Mapping[str, Any], seed: int, params: Mapping[str, Any] | None = None) -> Trial:
        """A new trial in the ledger, about to be trained."""
        trial = self.study.ledger.add(each, seed, params)
        self.known[trial.key] = trial
        return trial

    def run(self, trials: Iterator[Trial], heard: Heard | None = None, left: int | None = None) -> None:
        """Trains what is unfinished, then the trials, each asked for when there is a place for it. left: their number,
        where it is known."""
        rest = self._to_train(itertools.chain(self.unfinished, trials))
        while True:
            while self.executor.free and (jobs := list(itertools.islice(rest, self.stack))):
                self.share(left)
                self.running |= {trial.number: trial for trial in jobs}
                self.executor.submit([self.job(trial) for trial in jobs])
            if not self.running:
                return
            for event in self._told():
                if "end" in event:
                    self.end(self.running.pop(event["end"]), event)
                elif heard and heard(self.running[event["point"]], event["figures"]):
                    self.executor.stop(event["point"])

    def _to_train(self, trials: Iterable[Trial]) -> Iterator[Trial]:
        """Those whose training is not over, each once: where it is, as after a kill or without the ledger that it was
        begun with, its result is read."""
        seen: set[int] = set()
        for trial in trials:
            if trial.number in seen:
                continue
            seen.add(trial.number)
            run = self.study.run(trial)
            if run is not None and run.done:
                self.end(trial, came_to(run))
                continue
            try:
                settings.apply(self.asked.recipe, trial.settings)
            except Mistake as mistake:  # one of a grid too large to be checked whole
                self.end(trial, {"state": FAILED, "figures": {}, "run": None, "problem": str(mistake)})
                continue
            yield trial

    def _told(self) -> list[dict[str, Any]]:
        """What the trainings tell of points and ends. Raises what keeps all of them from going on."""
        told = []
        for event in self.executor.wait():
            refused(event)
            if "data" not in event:
                told.append(event)
            elif self.fingerprint is None:
                self.fingerprint = event["data"]
                self.study.write("data.json", {"fingerprint": self.fingerprint})
        return told

    def errands(self, jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The figures of jobs that are no trials (`errands.py`), in their order; one that fails is a Failure."""
        waiting, ended = list(jobs), dict[int, dict[str, Any]]()
        self.share(len(jobs))
        while len(ended) < len(jobs):
            while waiting and self.executor.free:
                self.executor.submit([waiting.pop(0)])
            for event in self._told():
                if event.get("state") == FAILED:
                    raise Failure(event["problem"])
                ended |= {event["end"]: event["figures"]}
        return [ended[job["number"]] for job in jobs]

    def job(self, trial: Trial) -> dict[str, Any]:
        """A trial as its worker is told of it."""
        chosen = {*self.asked.request.chosen, *(name.partition(".")[0] for name in trial.settings)}
        mine = {"seed": trial.seed, "run_name": trial.folder, "threads": self.threads, "chosen": sorted(chosen)}
        recipe = settings.apply(self.asked.recipe, trial.settings)
        request = self.asked.request.as_dict() | mine
        return {
            "number": trial.number,
            "recipe": recipe.as_dict(),
            "request": request,
            "fingerprint": self.fingerprint,
        }

    def end(self, trial: Trial, event: Mapping[str, Any]) -> None:
        """Writes into the ledger what a trial came to."""
        trial = replace(trial, **{name: event[name] for name in ("state", "figures", "run", "problem")})
        if trial.state == DONE and self.value(trial) is None:
            trial = replace(trial, state=FAILED, problem=f"its curve has no {self.asked.figure}")
        self.study.ledger.tell(trial, self.value(trial), event.get("curve", ()), final="died" not in event)
        self.known[trial.key] = trial
        if self.how.show:
            shown = " ".join(f"{name}={setting}" for name, setting in trial.settings.items())
            value = self.value(trial)
            told = f"{self.asked.figure} {value:.4f}" if value is not None else trial.problem
            sys.stderr.write(f"{trial.number}: {shown} seed {trial.seed}: {told}\n")


def cores() -> int:
    """The processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lasting(seconds: float) -> str:
    """A duration in words."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"about {seconds / size:,.1f} {unit}"
    return f"about {seconds:.0f} s"
