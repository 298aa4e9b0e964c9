"""What the trials of a study differ in: settings by name, read from the command line and put into a recipe.

A setting's name is a recipe field (``lr``), a setting of a technique, a network, an optimiser or a schedule
(``label_smoothing.smoothing``, which also switches the technique on), or a technique's own name with true or false
(switched on, left out). Importing this loads no torch.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import models, techniques
from ..mistake import Mistake, unknown
from ..recipe import FIELDS, Recipe, Use, Value, parse_value
from ..techniques.search.space import SCALES, Space, between, check_space
from ..train.request import SINGLE, check, follow, switch_on

Settings = dict[str, Value | None]
FIXED = {
    "use": "a technique's name with true or false switches it, like cutout=true,false",
    "name": "a recipe's name decides nothing",
    "seed": "seeds are an axis of their own: --seeds",
}
"""Names that are no settings, with what to do instead."""


def names() -> list[str]:
    """Every name of a setting but those of techniques' own settings."""
    return [*(field for field in FIELDS if field not in FIXED), *techniques.names()]


def apply(recipe: Recipe, settings: Mapping[str, Value | None]) -> Recipe:
    """The recipe with these settings; anything wrong with a name, a value or how they go together is a Mistake."""
    recipe = follow(recipe, set(settings))
    for name, value in settings.items():
        recipe = _one(recipe, name, value)
    check(recipe)
    return recipe


def _one(recipe: Recipe, name: str, value: Value | None) -> Recipe:
    if name in FIXED:
        raise Mistake(f"{name} is no setting to vary: {FIXED[name]}")
    if name in FIELDS:
        return recipe.replace(**{name: value})
    owner, dot, key = name.partition(".")
    if dot:
        return _within(recipe, owner, key, value)
    if owner not in techniques.names():
        raise unknown("setting", name, names())
    if not isinstance(value, bool):
        raise Mistake(f"{owner} is a technique: it is true or false, or a setting of it is varied: got {value!r}")
    on = owner in [use.name for use in recipe.use]
    if value:
        return recipe if on else switch_on(recipe, Use(owner))
    family = techniques.names()[owner]
    if family in SINGLE:
        raise Mistake(f"{owner} cannot be left out: a recipe needs one of the {family}; vary {SINGLE[family]} instead")
    return recipe.drop(owner) if on else recipe


def _within(recipe: Recipe, owner: str, key: str, value: Value | None) -> Recipe:
    """The recipe with one setting of a network or a technique changed; a technique that is not on is switched on."""
    if value is None:
        raise Mistake(f"{owner}.{key} must be true, false, a number or plain text: got none")
    for field in ("model", "optimizer", "schedule"):
        use: Use = getattr(recipe, field)
        if use.name == owner:
            return recipe.replace(**{field: Use(owner, **{**use.settings, key: value})})
    if owner in models.NAMES:
        raise Mistake(f"{owner} is not the recipe's model, which is {recipe.model.name}")
    on = next((use for use in recipe.use if use.name == owner), Use(owner))
    return switch_on(recipe, Use(owner, **{**on.settings, key: value}))


def own(recipe: Recipe, name: str) -> Value | None:
    """A recipe's own value of a setting; None where it has none."""
    if name in FIELDS:
        found = getattr(recipe, name)
        return str(found) if isinstance(found, Use) else found
    owner, dot, key = name.partition(".")
    on = next(
        (use for use in (recipe.model, recipe.optimizer, recipe.schedule, *recipe.use) if use.name == owner), None
    )
    if not dot:
        return on is not None
    if on is None or owner not in techniques.names():
        return on.settings.get(key) if on else None
    return on.settings[key] if key in on.settings else techniques.entry(owner).settings.get(key)


def axes(texts: Iterable[str]) -> dict[str, list[Value | None]]:
    """The axes of a grid, each from ``name=a,b,c``; none twice."""
    found: dict[str, list[Value | None]] = {}
    for text in texts:
        name, values = grid_axis(text)
        if name in found:
            raise Mistake(f"the grid has {name} twice: give all its values at once")
        found[name] = values
    return found


def grid_axis(text: str) -> tuple[str, list[Value | None]]:
    """An axis from ``name=a,b,c``; values that hold commas themselves are parted by ``|``."""
    name, equals, values = text.partition("=")
    parts = [part.strip() for part in values.split("|" if "|" in values else ",")]
    if not equals or not name.strip():
        raise Mistake(f"an axis of a grid is written name=value,value,…: got {text!r}")
    if not any(parts) or "" in parts:
        raise Mistake(f"the grid over {name.strip()} has an empty value: write name=value,value,…: got {text!r}")
    read: list[Value | None] = [parse(name.strip(), part) for part in parts]
    if len({json.dumps(value) for value in read}) < len(read):
        raise Mistake(f"the values of {name.strip()} must differ from each other: got {text!r}")
    return name.strip(), read


def parse(name: str, text: str) -> Value | None:
    """The value that a text spells for a setting; ``none`` is a field's own default."""
    if name in ("model", "optimizer", "schedule"):
        return text
    return None if text == "none" and name in FIELDS else parse_value(text)


def range_axis(text: str) -> tuple[str, tuple[float, float, str]]:
    """An axis from ``name=low..high`` or ``name=low..high:SCALE``; on a log scale unless it says another (linear, or
    reverse_log for what lies near 1) or low is 0 or below."""
    name, equals, rest = text.partition("=")
    bounds, colon, scale = rest.partition(":")
    ends = [parse_value(end) for end in bounds.split("..")]
    numbers = [float(end) for end in ends if isinstance(end, int | float) and not isinstance(end, bool)]
    if not equals or len(ends) != 2 or len(numbers) != 2 or (colon and scale not in SCALES):
        raise Mistake(f"a range is written name=low..high, or name=low..high:linear: got {text!r}")
    if not colon:
        scale = "log" if numbers[0] > 0 else "linear"
    axis = (numbers[0], numbers[1], scale)
    check_space({name: axis})
    return name.strip(), axis


def space(texts: Iterable[str]) -> dict[str, Any]:
    """A space to search, each axis a range (``name=low..high``) or a list of values; none twice."""
    found: dict[str, Any] = {}
    for text in texts:
        name, axis = range_axis(text) if ".." in text else grid_axis(text)
        if name in found:
            raise Mistake(f"the space has {name} twice")
        found[name] = axis
    return found


def listed(text: str) -> Settings:
    """The settings of one trial from ``name=value name=value``."""
    found: Settings = {}
    for part in text.split():
        name, equals, value = part.partition("=")
        if not equals or not name or not value:
            raise Mistake(f"settings are listed as name=value name=value: got {part!r} in {text!r}")
        found[name] = parse(name, value)
    return found


class Grid:
    """Every combination of the axes' values, the last axis fastest; may be gone through again."""

    def __init__(self, axes: Mapping[str, Sequence[Value | None]]) -> None:
        self.axes = axes

    def __len__(self) -> int:
        return math.prod(len(values) for values in self.axes.values())

    def __iter__(self) -> Iterator[Settings]:
        for values in itertools.product(*self.axes.values()):
            yield dict(zip(self.axes, values, strict=True))


class Draws:
    """Random settings, evenly over each range on its scale or over a list of values; the same again each time.

    They are the first `count` of an endless list that the axes alone decide. What is a whole number is rounded.
    """

    def __init__(self, recipe: Recipe, axes: Mapping[str, Any], count: int) -> None:
        if type(count) is not int or count < 1:
            raise Mistake(f"draws is the number of random settings, from 1: got {count!r}")
        self.recipe, self.axes, self.count = recipe, axes, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Settings]:
        random = np.random.default_rng(0)
        for _ in range(self.count):
            yield {name: self._draw(name, values, random.random()) for name, values in self.axes.items()}

    def _draw(self, name: str, values: Any, share: float) -> Value | None:
        if not isinstance(values, tuple):
            found: Value | None = values[int(share * len(values))]
            return found
        return drawn(self.recipe, name, between(values, share))


def check_axes(recipe: Recipe, axes: Space | Mapping[str, Sequence[Any]], values: bool = True) -> None:
    """Raises Mistake where an axis is empty or no setting of the recipe, or one of its values alone cannot be; with
    `values` False only the first one is looked at."""
    check_space(axes)
    for name, given in axes.items():
        whole = isinstance(given, tuple) and _is_whole(recipe, name)
        for value in given[:2] if isinstance(given, tuple) else given if values else given[:1]:
            apply(recipe, {name: round(float(value)) if whole else value})


def drawn(recipe: Recipe, name: str, value: float) -> Value:
    """A number drawn from a range as it is tried: whole where the setting is, else with six digits; with more of them
    just below 1, as a momentum may be."""
    if _is_whole(recipe, name):
        return round(value)
    return float(f"{value:.12g}" if 0.99 < value < 1 else f"{value:.6g}")


def _is_whole(recipe: Recipe, name: str) -> bool:
    """Whether a setting is a whole number."""
    owner, dot, setting = name.partition(".")
    if name in FIELDS:
        return Recipe.__dataclass_fields__[name].type.startswith("int")
    if not dot or owner not in techniques.names():
        return False
    return type(techniques.entry(owner).settings.get(setting)) is int


def key(settings: Mapping[str, Value | None], seed: int) -> str:
    """What tells a trial from all others of its study."""
    return json.dumps([dict(sorted(settings.items())), seed])
