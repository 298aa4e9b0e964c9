"""Sweeps: a grid, a list or random draws of settings, each with several seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..mistake import Mistake
from ..recipe import Recipe, Value
from . import settings
from .conduct import conducting, prepare
from .settings import Settings
from .study import Study

CHECKED = 10_000
"""Settings, at most, that are checked together before the first training; each value alone is always checked."""


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
    if not points:
        settings.check_axes(asked.recipe, grid | ranges)
    wanted: list[Settings] | settings.Grid | settings.Draws = points or settings.Grid(grid)
    if ranges:
        wanted = settings.Draws(asked.recipe, grid | ranges, draws)
    for each in itertools.islice(wanted, CHECKED):
        try:
            settings.apply(asked.recipe, each)
        except Mistake as mistake:
            shown = " ".join(f"{name}={value}" for name, value in each.items())
            raise Mistake(f"{mistake} ({shown})") from None
    vary = {"grid": grid, "ranges": {name: list(ends) for name, ends in ranges.items()}, "list": points}
    asked = replace(asked, vary=vary | ({"draws": draws} if ranges else {}))
    with conducting(asked, how, len(wanted) * len(asked.seeds)) as conductor:
        conductor.train(Trainings(wanted, asked.seeds))
    return conductor.study


@dataclass(frozen=True)
class Trainings:
    """Every setting with every seed, the first seed of all of them first; may be gone through again."""

    settings: Iterable[Settings]
    seeds: Sequence[int]

    def __iter__(self) -> Iterator[tuple[Settings, int]]:
        return ((each, seed) for seed in self.seeds for each in self.settings)
