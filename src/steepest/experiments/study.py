"""A study: a folder with what was asked, its trials' run folders, and its ledger. No torch.

study.json     what was asked: data, recipe, settings to vary, seeds, …
ledger.db      the trials (unless they are kept on a database server, whose address study.json then has)
runs/          a run folder for each trial; `Trial.folder` is its name
machine.json   how the trainings share this machine
data.json      the fingerprint of the data
result.json    what a comparison or a search came to; there when it is done
workers.log    what the worker processes said
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import stats
from ..mistake import Mistake
from ..recipe import Recipe
from ..run import Curve, Run
from ..train.request import Request
from . import settings
from .ledger import DONE, FAILED, Ledger, Trial, without_password

VERSION = 1
"""Of study.json and of what is in the ledger."""
SAME = ("kind", "data", "recipe", "request", "figure", "storage")
"""What two studies of one name must have in common; settings to vary and seeds may be added."""
MOVED = ("data_dir",)
"""What may differ all the same: where the data lie on this machine."""
LEDGER = "ledger.db"
FRESH = 10_000
"""So far from a study's first seed those begin that nothing was chosen by; a study has no more seeds than that."""
GONE_S, WAIT_S = 30.0, 0.05
"""How long the workers of a killed process may take to end, and how often they are looked for."""


@dataclass(frozen=True)
class Asked:
    """What a study is.

    kind: sweep, ablate, tune, find-lr. recipe: what its settings change. request: what its trials have in common; the
    seed, the folder and the threads are each trial's own. figure: what is looked at, a name in the curve. vary: the
    settings to vary, in the form of its kind. seeds: the trainings of each setting.
    """

    kind: str
    name: str
    recipe: Recipe
    request: Request
    figure: str = "val_accuracy"
    vary: Mapping[str, Any] | None = None
    seeds: tuple[int, ...] = (0,)
    storage: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As study.json has it."""
        request = self.request.as_dict()
        shared = {name: request[name] for name in ("time_s", "target", "device", "data_dir", "test", "chosen")}
        return {
            "version": VERSION,
            "kind": self.kind,
            "name": self.name,
            "data": self.request.data,
            "recipe": self.recipe.as_dict(),
            "request": shared,
            "figure": self.figure,
            "vary": dict(self.vary or {}),
            "seeds": list(self.seeds),
            "storage": without_password(self.storage) if self.storage else None,
        }


@dataclass(frozen=True)
class Study:
    """A study's folder. place: of its ledger, where that is on a server: its address with the password, if it has one,
    which no file holds."""

    path: Path
    place: str | None = field(default=None, repr=False, compare=False)

    @staticmethod
    def open(path: Path | str) -> Study:
        """The study in a folder; a folder that holds none is refused."""
        if not (Path(path) / "study.json").is_file():
            raise Mistake(f"{path} is not a study folder: it has no study.json")
        study = Study(Path(path))
        _readable(study.about, study.path)
        return study

    @staticmethod
    def begin(asked: Asked, out: Path) -> Study:
        """A new study under `out`, or the one of this name, to go on with; one that was asked otherwise is refused."""
        study, wanted = Study(out / asked.name, asked.storage), asked.as_dict()
        ledger = vars(study)["ledger"] = Ledger(asked.storage or study.path / LEDGER, asked.name)
        written = study.about if (study.path / "study.json").is_file() else None
        known = ledger.about()
        for about in (written, known):
            if about is not None:
                _readable(about, study.path)
                _same(about, wanted)
        if known != wanted:
            study.path.mkdir(parents=True, exist_ok=True)
            ledger.create(wanted, maximise=asked.figure.endswith("accuracy"))
        if written != wanted:
            study.write("study.json", wanted)
        return study

    @cached_property
    def about(self) -> dict[str, Any]:
        """What was asked, as `Asked.as_dict` says."""
        return self.read("study.json")

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.place or self.about["storage"] or self.path / LEDGER, self.about["name"])

    @contextlib.contextmanager
    def alone(self) -> Iterator[int]:
        """Within, no other process runs this study on this machine: that one is refused. Gives what holds the lock.

        Workers inherit it. Where the process that began them was killed, they are about to end, and are waited for.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("a+")
        except OSError as error:
            raise Mistake(f"the study {self.path} cannot be written: {error.strerror or error}") from error
        with lock:
            for waits in itertools.count():
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    lock.seek(0)
                    if _lives(lock.read()) or waits * WAIT_S > GONE_S:
                        raise Mistake(f"the study {self.path} is being run by another process") from None
                    time.sleep(WAIT_S)
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield lock.fileno()

    def trials(self) -> list[Trial]:
        """Every trial that was ever begun, by number."""
        return self.ledger.trials()

    def run(self, trial: Trial) -> Run | None:
        """The run folder of a trial, where it has one on this machine."""
        folder = self.path / "runs" / (trial.run or trial.folder)
        return Run(folder) if (folder / "run.json").is_file() else None

    def curve(self, trial: Trial) -> Curve:
        """The measurements of a trial on its way."""
        run = self.run(trial)
        return run.curve if run else Curve(self.ledger.curve(trial.number))

    @property
    def maximise(self) -> bool:
        """Whether more of the figure is better."""
        return str(self.about["figure"]).endswith("accuracy")

    def confirms(self, trial: Trial) -> bool:
        """Whether a trial is one of those that confirm what a search found, with a seed by which nothing was chosen."""
        first: int = self.about["seeds"][0]
        return self.about["kind"] == "tune" and trial.seed >= first + FRESH

    def rows(self, trials: Iterable[Trial] | None = None) -> list[dict[str, Any]]:
        """A row a setting, in the order first tried: settings, n, and the mean of each figure with its interval.

        Trials that confirm what a search found count in none of these: they are `confirmed`, of the same form.
        """
        found: dict[str, tuple[list[Trial], list[Trial]]] = {}
        for trial in self.trials() if trials is None else trials:
            found.setdefault(settings.key(trial.settings, 0), ([], []))[self.confirms(trial)].append(trial)
        return [
            {"settings": dict((tried or fresh)[0].settings), **summary(tried)}
            | ({"confirmed": summary(fresh)} if fresh else {})
            for tried, fresh in found.values()
        ]

    def read(self, name: str) -> dict[str, Any]:
        """One of the folder's JSON files."""
        return Run(self.path).read(name)

    def write(self, name: str, fields: Mapping[str, Any]) -> None:
        """One of the folder's JSON files, whole or not at all."""
        self.__dict__.pop("about", None)
        Run(self.path).write(name, fields)


def summary(trials: list[Trial]) -> dict[str, Any]:
    """What the trials of one setting come to: over those that were done, mean and 95 % interval of each figure."""
    done = [trial for trial in trials if trial.state == DONE]
    names = dict.fromkeys(name for trial in done for name in trial.figures)
    figures = {name: [trial.figures[name] for trial in done if name in trial.figures] for name in names}
    return {
        "n": len(done),
        "failed": sum(trial.state == FAILED for trial in trials),
        **{name: asdict(stats.mean_of(name, values)) for name, values in figures.items()},
    }


def _lives(pid: str) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def _readable(about: Mapping[str, Any], path: Path) -> None:
    if lacks := [name for name in ("name", "version", "seeds", *SAME) if name not in about]:
        raise Mistake(f"{path / 'study.json'} is damaged: it has no {lacks[0]}")
    if about["version"] > VERSION:
        raise Mistake(
            f"the study {path} was written by a newer steepest (version {about['version']}; this one reads {VERSION})"
        )


def _same(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises Mistake where a study of this name is another one."""
    for name in SAME:
        was, now = known[name], wanted[name]
        if isinstance(was, dict):
            differ = [key for key in {**was, **now} if was.get(key) != now.get(key) and key not in MOVED]
            if not differ:
                continue
            name, was, now = f"{name}'s {differ[0]}", was.get(differ[0]), now.get(differ[0])
        if was != now:
            raise Mistake(
                f"there is a study {known['name']!r} already, whose {name} is {was!r}, not {now!r}: give another --name"
            )
