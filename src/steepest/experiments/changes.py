"""What can be left out of a recipe or added to it, and which of that changes a training on certain data.

Importing this loads no torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import data as room
from .. import techniques
from ..data.dataset import Dataset, stratified
from ..mistake import Mistake, unknown
from ..recipe import Recipe, Use
from ..train.adapt import adapt, unsuited
from ..train.request import SINGLE
from . import settings
from .settings import Settings
from .study import Asked

FIELDS: dict[str, Any] = {"momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}
"""Fields of a recipe that can be left out, with their values then."""


@dataclass(frozen=True)
class Change:
    """One change of a recipe: techniques left out, or added. parts: of a pair, the two changes that it is made of."""

    name: str
    settings: Settings
    added: bool = False
    parts: tuple[Change, ...] = ()

    @property
    def kind(self) -> str:
        return "added" if self.added else "left_out"


@dataclass(frozen=True)
class Held:
    """The images that are held out to validate. each: by one seed. fixed: by all seeds the same; else each seed holds
    others out of `of`."""

    each: int
    of: int
    fixed: bool

    def seen(self, seeds: int) -> int:
        """Different images that so many seeds hold out, about."""
        return self.each if self.fixed else round(self.of * (1 - (1 - self.each / self.of) ** seeds))


def changes(recipe: Recipe, without: Sequence[str], add: Sequence[str | Use], pairs: bool) -> list[Change]:
    """What is left out, one at a time, by default all that the recipe has, then what is added; each makes a recipe.

    pairs: then every two of one kind together. Raises Mistake for what cannot be left out or added.
    """
    fields = [name for name, off in FIELDS.items() if recipe.as_dict()[name] != off]
    out = {use.name: Change(use.name, {use.name: False}) for use in recipe.use}
    out |= {name: Change(name, {name: FIELDS[name]}) for name in fields}
    aliases = {recipe.schedule.name: "schedule"} if "schedule" in fields else {}
    for name in without:
        if name == recipe.optimizer.name and name not in out:  # momentum is a field too
            raise Mistake(f"{name} cannot be left out: a recipe needs an optimizer; a sweep compares several")
        if aliases.get(name, name) not in out:
            raise unknown("technique of the recipe", name, [*out, *aliases])
    wanted = [aliases.get(name, name) for name in without] or ([] if add else list(out))
    found = [out[name] for name in wanted] + [_added(recipe, Use.parse(item)) for item in add]
    if not found:
        raise Mistake("the recipe has nothing to leave out: name techniques to add")
    if pairs:
        found += [_both(a, b) for a, b in itertools.combinations(found, 2) if _together(a, b)]
        if not any(each.parts for each in found):
            raise Mistake("a pair needs two techniques that are both left out, or both added")
    for place, change in enumerate(found):
        if change in found[:place]:
            raise Mistake(f"{change.name} is named twice")
        settings.apply(recipe, change.settings)
    return found


def _added(recipe: Recipe, use: Use) -> Change:
    field = SINGLE.get(techniques.entry(use.name).family)
    if use.name in ([getattr(recipe, field).name] if field else [each.name for each in recipe.use]):
        raise Mistake(f"{use.name} is on already: leave it out, or let a sweep vary its settings")
    varied = {field: str(use)} if field else {f"{use.name}.{key}": value for key, value in use.settings.items()}
    return Change(str(use), dict(varied or {use.name: True}), True)


def _together(a: Change, b: Change) -> bool:
    one, other = ({name.partition(".")[0] for name in each.settings} for each in (a, b))
    return a.kind == b.kind and not one & other


def _both(a: Change, b: Change) -> Change:
    return Change(f"{a.name} + {b.name}", {**a.settings, **b.settings}, a.added, (a, b))


def measurable(asked: Asked, wanted: Sequence[Change]) -> tuple[Held, list[Change], list[dict[str, str]]]:
    """What is held out, the changes that change the training on the study's data, and of the others why they do not.

    A technique that is to be added and does not suit the data is a Mistake; so is it where nothing is left to measure.
    """
    folder = asked.request.data_dir
    dataset = room.load(asked.request.data, data_dir=Path(folder) if folder else None, seed=0)
    whole, _ = adapt(asked.recipe, dataset, asked.request)
    idle: dict[str, dict[str, str]] = {}
    for change in wanted:
        chosen = {*asked.request.chosen, *(name.partition(".")[0] for name in change.settings)}
        recipe = settings.apply(asked.recipe, change.settings)
        if adapt(recipe, dataset, replace(asked.request, chosen=tuple(chosen)))[0] == whole:
            use = next((use for use in asked.recipe.use if use.name == change.name), None)
            why = (use and unsuited(use, whole, dataset)) or f"on {dataset.name} the training is the same"
            idle[change.name] = {change.kind: change.name, "why": why}
    kept = [each for each in wanted if not idle.keys() & {each.name, *(part.name for part in each.parts)}]
    if not kept:
        reasons = dict.fromkeys(one["why"] for one in idle.values())
        raise Mistake(f"nothing of it can be measured on {dataset.name}: {'; '.join(reasons)}")
    alone = [one for name, one in idle.items() if not next(each for each in wanted if each.name == name).parts]
    return _held(asked, dataset), kept, alone


def _held(asked: Asked, dataset: Dataset) -> Held:
    if dataset.val is not None:
        return Held(len(dataset.val), len(dataset.val), True)
    split = stratified(dataset.train.targets, asked.recipe.val_fraction, asked.seeds[0])
    return Held(len(split[1]), len(dataset.train), False)
