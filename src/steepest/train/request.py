"""What was asked for: the data, the seed, the limits and the machine; checked before any work starts. No torch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import models, recipes, techniques
from ..data import NAMES
from ..mistake import Mistake, unknown
from ..recipe import FIELDS, Recipe, Use
from ..techniques.card import REQUIRED

DEVICES = ("auto", "cpu", "cuda")
SINGLE = {"optimizers": "optimizer", "schedules": "schedule"}
"""Families that have a field of the recipe to themselves."""


@dataclass(frozen=True)
class Request:
    """One training as asked for, beside its recipe.

    time_s: wall-time budget. target: validation accuracy at which to stop. chosen: the recipe fields and techniques
    that the person named, which are refused rather than adapted when they do not suit the data. checkpoint_s: seconds
    between checkpoints. run_name: the run folder's name under `out`; None: made of data, recipe and seed. test: whether
    the test set is evaluated at the end; a trial by which settings are chosen leaves it alone.
    """

    data: str = "digits"
    seed: int = 0
    time_s: float | None = None
    target: float | None = None
    device: str = "auto"
    threads: int | None = None
    data_dir: str | None = None
    out: str = "runs"
    checkpoint_s: float = 5.0
    chosen: tuple[str, ...] = ()
    run_name: str | None = None
    test: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "chosen", tuple(self.chosen))
        for field in ("data", "out", "data_dir"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, str(getattr(self, field)))
        if self.time_s is not None and not (_number(self.time_s) and 0 < self.time_s < float("inf")):
            raise Mistake(f"time must be a number above 0 s: got {self.time_s!r}")
        if self.target is not None and not (_number(self.target) and 0 < self.target <= 1):
            raise Mistake(f"target is a validation accuracy in (0, 1], like 0.94: got {self.target!r}")
        if type(self.seed) is not int or not 0 <= self.seed < 2**63:
            raise Mistake(f"seed must be a whole number from 0 to 2^63 - 1: got {self.seed!r}")
        if not (_number(self.checkpoint_s) and self.checkpoint_s > 0):
            raise Mistake(f"checkpoint_s must be above 0 s: got {self.checkpoint_s!r}")
        check_machine(self.device, self.threads)

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"chosen": list(self.chosen)}

    def writable(self) -> Request:
        """This request, if runs can be written where it says; else a Mistake."""
        out = Path(self.out).absolute()
        place = next(place for place in (out, *out.parents) if place.exists())
        if not place.is_dir():
            raise Mistake(f"cannot write runs under {self.out}: {place} is not a folder")
        if not os.access(place, os.W_OK | os.X_OK):
            raise Mistake(f"cannot write runs under {self.out}: {place} is read-only")
        return self


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def ask(
    data: str | Path,
    recipe: str | Path | Recipe,
    *,
    use: Iterable[str | Use] = (),
    drop: Iterable[str] = (),
    sets: Iterable[str] = (),
    **options: Any,
) -> tuple[Recipe, Request]:
    """The checked recipe and request of a training.

    `options` are fields of `Request` or of `Recipe` (None: not asked for). Everything wrong with a name, a keyword or a
    value is a Mistake here, before any data is loaded.
    """
    options = {key: value for key, value in options.items() if value is not None}
    asked = {field.name for field in dataclasses.fields(Request)} - {"chosen"}
    for key in options:
        if key not in asked and key not in FIELDS:
            raise unknown("option", key, asked | set(FIELDS) | {"drop", "sets"})
    found = recipe if isinstance(recipe, Recipe) else recipes.load(recipe)
    changes = {key: value for key, value in options.items() if key in FIELDS}
    chosen = set(changes)
    found = found.replace(**changes)
    for text in sets:
        found = found.set(text)
        chosen.add(text.partition("=")[0])
    found = follow(found, chosen)
    for name in drop:
        found = found.drop(name)
    for item in map(Use.parse, use):
        if "run" in item.settings:  # a run holds from any working folder
            item = Use(item.name, **{**item.settings, "run": str(Path(str(item.settings["run"])).absolute())})
        found = switch_on(found, item)
        chosen.add(item.name)
    check(found)
    request = {key: value for key, value in options.items() if key in asked}
    if "time_s" in request and "epochs" in chosen:
        raise Mistake("--time chooses the number of epochs itself: give --time or --epochs, not both")
    if "target" in request and found.val_fraction == 0 and "val_fraction" not in chosen:
        found = found.replace(val_fraction=Recipe().val_fraction)
    if "data_dir" in request:
        request["data_dir"] = Path(request["data_dir"]).absolute()
    return found, Request(data=_anywhere(data), chosen=tuple(sorted(chosen)), **request).writable()


def _anywhere(data: str | Path) -> str:
    """A path as it holds from any working folder, so that a run can be resumed from there; a known name as it is."""
    path = Path(data).expanduser()
    return str(data) if str(data).partition(":")[0] in NAMES or not path.exists() else str(path.absolute())


def follow(recipe: Recipe, chosen: set[str]) -> Recipe:
    """The recipe without those of its own settings that what was chosen by name makes meaningless."""
    if "epochs" in chosen and "min_steps" not in chosen:
        recipe = recipe.replace(min_steps=0)
    if "model" in chosen and "width" not in chosen:
        recipe = recipe.replace(width=None)
    return recipe


def switch_on(recipe: Recipe, use: Use) -> Recipe:
    """The recipe with a technique on: in its own field for optimisers and schedules, else among `use`."""
    family = techniques.entry(use.name).family
    if family == "splitting":
        techniques.check([use])
        return recipe.replace(micro_batch=use.settings.get("size", techniques.entry(use.name).settings["size"]))
    return recipe.replace(**{SINGLE[family]: use}) if family in SINGLE else recipe.add(use)


def check_machine(device: str, threads: int | None) -> None:
    """Raises Mistake for a device or a number of threads that no machine has."""
    if threads is not None and not (type(threads) is int and 1 <= threads <= 1024):
        raise Mistake(f"threads must be a whole number in [1, 1024]: got {threads!r}")
    if device not in DEVICES:
        raise unknown("device", str(device), DEVICES)


def check(recipe: Recipe) -> None:
    """Raises Mistake for an unknown model, technique or setting, a value out of range, or a clash."""
    models.check(recipe.model.name, width=recipe.width, settings=recipe.model.settings)
    for family, field in SINGLE.items():
        use: Use = getattr(recipe, field)
        known = [name for name, home in techniques.names().items() if home == family]
        if use.name not in known:
            raise unknown(field, use.name, known)
    for use in recipe.use:
        entry = techniques.entry(use.name)
        if entry.family in SINGLE:
            raise Mistake(f"{use.name} belongs in the recipe's {SINGLE[entry.family]}, not in its use")
        if entry.family == "search":
            raise Mistake(f"{use.name} searches for settings: it is no part of a single training")
        if entry.family == "splitting":
            raise Mistake(f"{use.name} is the recipe's micro_batch, not in its use")
        if entry.family == "layers" and REQUIRED in entry.settings.values():
            raise Mistake(f"{use.name} is a layer to build networks with: no recipe can switch it on")
    techniques.check((recipe.optimizer, recipe.schedule, *recipe.use))
    techniques.bind(recipe.schedule, batch_size=recipe.batch_size)(0.0)
    for family in ("losses", "averaging", "precision", "parallel"):
        found = [use.name for use in recipe.use if techniques.entry(use.name).family == family]
        if len(found) > 1:
            raise Mistake(f"only one of the {family} techniques can be on at a time: got {' and '.join(found)}")
