"""Sweeps: a grid, a list or random draws of settings, each with several seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..mistake import Mistake
from ..recipe import Recipe, Value
from . import settings
from .conduct import How, conducting, prepare
from .settings import Settings
from .study import Asked, Study

CHECKED = 2000
"""Settings, at most, that are checked before the first training; of more, spread over all, and each value by itself."""
FEW = 1000
"""So many settings are checked sooner than the study's ledger is read."""
Axes = Mapping[str, Any]
Wanted = Sequence[Settings] | settings.Grid | settings.Draws


def sweep(
    data: str | Path = "digits",
    *,
    recipe: str | Path | Recipe = "quick",
    grid: Mapping[str, Sequence[Value | None]] | None = None,
    ranges: Mapping[str, tuple[float, float, str]] | None = None,
    listed: Sequence[Mapping[str, Value | None]] = (),
    draws: int = 20,
    seeds: int = 1,
    **options: Any,
) -> Study:
    """Trains a recipe with every combination of a grid, with random draws of ranges, or with the settings of a list.

    grid: ``{"lr": [0.1, 0.2], "label_smoothing.smoothing": [0.1, 0.2]}``; the names are those of `settings`. ranges:
    ``{"lr": (1e-3, 1.0, "log")}``, of which `draws` settings are drawn; of a grid beside them any value. seeds:
    trainings of each setting, with consecutive seeds. options: `workers`, `on`, `out`, `name`, `storage`, `figure`,
    `test`, `yes`, `show`, and all that `train` takes. The same sweep again goes on where it was; more values, draws and
    seeds may be added. Raises Mistake for anything wrong with what was asked, before any work.
    """
    asked, how = prepare("sweep", data, recipe, seeds, options)
    grid = {name: values if isinstance(values, str) else list(values) for name, values in (grid or {}).items()}
    ranges, points = dict(ranges or {}), [dict(each) for each in listed]
    if bool(grid or ranges) == bool(points):
        raise Mistake("a sweep varies settings: give a grid, ranges or both, or else a list of settings")
    if twice := sorted(grid.keys() & ranges.keys()):
        raise Mistake(f"{twice[0]} is given both values and a range")
    wanted: Wanted = points or settings.Grid(grid)
    if ranges:
        wanted = settings.Draws(asked.recipe, grid | ranges, draws)
    _check(asked, how, wanted, grid | ranges)
    vary = {"grid": grid, "ranges": {name: list(ends) for name, ends in ranges.items()}, "list": points}
    asked = replace(asked, vary=vary | ({"draws": draws} if ranges else {}))
    with conducting(asked, how, len(wanted) * len(asked.seeds)) as conductor:
        conductor.train(Trainings(wanted, asked.seeds))
    return conductor.study


def _check(asked: Asked, how: How, wanted: Wanted, axes: Axes) -> None:
    """Raises Mistake where an axis, or one of the settings that were not tried yet, cannot be."""
    if axes:
        settings.check_axes(asked.recipe, axes, values=len(wanted) > CHECKED)
    path, tried = Path(how.out) / asked.name, set[str]()
    if len(wanted) > FEW and (path / "study.json").is_file():
        tried = {settings.key(trial.settings, 0) for trial in Study.open(path).trials()}
    names = {*axes} or {name for each in wanted for name in each}
    if asked.request.time_s is not None and "epochs" in names:
        raise Mistake("--time chooses the number of epochs itself: vary epochs without it")
    for each in itertools.islice(wanted, 0, None, -(-len(wanted) // CHECKED)):
        if settings.key(each, 0) in tried:
            continue
        try:
            settings.apply(asked.recipe, each)
        except Mistake as mistake:
            shown = " ".join(f"{name}={value}" for name, value in each.items())
            raise Mistake(f"{mistake} ({shown})") from None


@dataclass(frozen=True)
class Trainings:
    """Every setting with every seed, the first seed of all of them first; may be gone through again."""

    wanted: Wanted
    seeds: Sequence[int]

    def __len__(self) -> int:
        return len(self.wanted) * len(self.seeds)

    def __iter__(self) -> Iterator[tuple[Settings, int]]:
        return ((each, seed) for seed in self.seeds for each in self.wanted)
