"""A study: a folder with what was asked, its trials' run folders, and its ledger. No torch.

study.json     what was asked: data, recipe, settings to vary, seeds, …
ledger.db      the trials (unless they are kept on a database server, whose address study.json then has)
runs/000000    the run folder of each trial, by its number
result.json    what a comparison or a search came to; there when it is done
workers.log    what the worker processes said
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import stats
from ..mistake import Mistake
from ..recipe import Recipe
from ..run import Curve, Run
from ..train.request import Request
from .ledger import DONE, FAILED, Ledger, Trial

VERSION = 1
"""Of study.json and of what is in the ledger."""
SAME = ("kind", "data", "recipe", "request", "figure")
"""What two studies of one name must have in common; settings to vary and seeds may be added."""


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
            "storage": self.storage,
        }


@dataclass(frozen=True)
class Study:
    """A study's folder."""

    path: Path

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
        study, wanted = Study(out / asked.name), asked.as_dict()
        url = asked.storage or f"sqlite:///{(study.path / 'ledger.db').absolute()}"
        ledger = Ledger(url, asked.name)
        known = ledger.about()
        if known is None and (study.path / "study.json").is_file():
            known = study.about
        if known is not None:
            _readable(known, study.path)
            _same(known, wanted)
        if known != wanted:
            study.path.mkdir(parents=True, exist_ok=True)
            ledger.create(wanted, maximise=asked.figure.endswith("accuracy"))
        if not (study.path / "study.json").is_file() or study.about != wanted:
            study.write("study.json", wanted)
        return study

    @cached_property
    def about(self) -> dict[str, Any]:
        """What was asked, as `Asked.as_dict` says."""
        return self.read("study.json")

    @cached_property
    def ledger(self) -> Ledger:
        url = self.about["storage"] or f"sqlite:///{(self.path / 'ledger.db').absolute()}"
        return Ledger(url, self.about["name"])

    def trials(self) -> list[Trial]:
        """Every trial that was ever begun, by number."""
        return self.ledger.trials()

    def run(self, trial: Trial) -> Run | None:
        """The run folder of a trial, where it has one on this machine."""
        folder = self.path / "runs" / (trial.run or f"{trial.number:06d}")
        return Run(folder) if (folder / "run.json").is_file() else None

    def curve(self, trial: Trial) -> Curve:
        """The measurements of a trial on its way."""
        run = self.run(trial)
        return run.curve if run else Curve(self.ledger.curve(trial.number))

    @property
    def maximise(self) -> bool:
        """Whether more of the figure is better."""
        return str(self.about["figure"]).endswith("accuracy")

    def rows(self, trials: Iterable[Trial] | None = None) -> list[dict[str, Any]]:
        """A row a setting, in the order first tried: settings, n, and the mean of each figure with its interval."""
        found: dict[str, list[Trial]] = {}
        for trial in self.trials() if trials is None else trials:
            found.setdefault(json.dumps(dict(sorted(trial.settings.items()))), []).append(trial)
        return [row(together) for together in found.values()]

    def read(self, name: str) -> dict[str, Any]:
        """One of the folder's JSON files."""
        return Run(self.path).read(name)

    def write(self, name: str, fields: Mapping[str, Any]) -> None:
        """One of the folder's JSON files, whole or not at all."""
        self.__dict__.pop("about", None)
        Run(self.path).write(name, fields)


def row(trials: list[Trial]) -> dict[str, Any]:
    """What the trials of one setting come to: over those that were done, mean and 95 % interval of each figure."""
    done = [trial for trial in trials if trial.state == DONE]
    names = dict.fromkeys(name for trial in done for name in trial.figures)
    figures = {name: [trial.figures[name] for trial in done if name in trial.figures] for name in names}
    return {
        "settings": dict(trials[0].settings),
        "n": len(done),
        "failed": sum(trial.state == FAILED for trial in trials),
        **{name: asdict(stats.mean(values)) for name, values in figures.items()},
    }


def _readable(about: Mapping[str, Any], path: Path) -> None:
    if about.get("version", 0) > VERSION:
        raise Mistake(
            f"the study {path} was written by a newer steepest (version {about['version']}; this one reads {VERSION})"
        )


def _same(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises Mistake where a study of this name is another one."""
    for name in SAME:
        if known[name] == wanted[name]:
            continue
        was, now = known[name], wanted[name]
        if isinstance(was, dict):
            key = next(key for key in {**was, **now} if was.get(key) != now.get(key))
            name, was, now = f"{name}'s {key}", was.get(key), now.get(key)
        raise Mistake(
            f"there is a study {known['name']!r} already, whose {name} is {was!r}, not {now!r}: give another --name"
        )
