"""Recipe and Use: frozen data that says everything that decides a training, but the data, the seed and the machine.

No torch here. A recipe is read from and written to TOML and JSON; a `Use` names a technique (or a model, an optimiser,
a schedule) with its settings: ``Use("label_smoothing", smoothing=0.2)``, as text ``label_smoothing:smoothing=0.2``.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .mistake import Mistake, unknown

Value = bool | int | float | str


@dataclass(frozen=True, init=False)
class Use:
    """A name with settings. Settings are booleans, finite numbers, or text that spells neither and has no comma.

    >>> str(Use("label_smoothing", smoothing=0.2))
    'label_smoothing:smoothing=0.2'
    """

    name: str
    settings: Mapping[str, Value]

    def __init__(self, name: str, /, **settings: Value) -> None:
        for key, value in settings.items():
            _check_setting(name, key, value)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "settings", MappingProxyType(dict(settings)))

    def __hash__(self) -> int:
        return hash((self.name, tuple(sorted(self.settings.items()))))

    def __str__(self) -> str:
        text = ",".join(f"{key}={_text(value)}" for key, value in self.settings.items())
        return f"{self.name}:{text}" if text else self.name

    def __repr__(self) -> str:
        return f"Use({', '.join([repr(self.name), *(f'{k}={v!r}' for k, v in self.settings.items())])})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Use.parse, (str(self),)

    @staticmethod
    def parse(given: str | Use | Mapping[str, Any]) -> Use:
        """A Use from text (``name:key=value,key=value``), from a mapping with ``name``, or itself."""
        if isinstance(given, Use):
            return given
        if isinstance(given, Mapping):
            settings = {key: value for key, value in given.items() if key != "name"}
            if not isinstance(given.get("name"), str):
                raise Mistake(f"a technique needs a name, like {{name = 'flip'}}: got {dict(given)!r}")
            return Use(given["name"], **settings)
        if not isinstance(given, str):
            raise Mistake(f"a technique is written name:key=value,…: got {given!r}")
        name, _, rest = given.partition(":")
        if not re.fullmatch(r"\w+", name.strip()):
            raise Mistake(f"a technique is written name:key=value,…: got {given!r}")
        return Use(name.strip(), **dict(_pair(part, given) for part in rest.split(",") if part.strip()))


def _pair(part: str, given: str) -> tuple[str, Value]:
    key, equals, value = part.partition("=")
    if not equals or not key.strip().isidentifier():
        raise Mistake(f"a setting is written key=value: got {part.strip()!r} in {given!r}")
    return key.strip(), parse_value(value)


def _check_setting(name: str, key: str, value: Any) -> None:
    """Only values that their text gives back: else a recipe would not be the same after being written and read."""
    if not isinstance(value, Value) or "," in str(value) or parse_value(_text(value)) != value:
        raise Mistake(f"{name}: {key} must be true, false, a number or plain text: got {value!r}")


def parse_value(text: str) -> Value:
    """Text as the value that it spells: true and false, integers, floats (also 1e-3, nan, inf), else the text."""
    text = text.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training, but the data, the seed and the machine.

    `epochs` may be a fraction; where an epoch has few steps, `min_steps` lengthens the training to at least so many.
    `width` and `resolution` None mean the model's own and the data's own. `lr` is the peak (the schedule multiplies
    it), in units of a mean loss over the batch. `micro_batch` is the most images at once, 0 the whole batch.
    `val_fraction` is held out of the training split, stratified, before anything else is looked at.
    """

    name: str = "custom"
    model: Use = Use("speedrun")
    width: int | None = None
    resolution: int | None = None
    epochs: float = 10.0
    min_steps: int = 0
    batch_size: int = 128
    micro_batch: int = 0
    optimizer: Use = Use("sgd")
    lr: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: Use = Use("constant")
    val_fraction: float = 0.1
    use: tuple[Use, ...] = ()

    def __post_init__(self) -> None:
        for field in ("model", "optimizer", "schedule"):
            object.__setattr__(self, field, Use.parse(getattr(self, field)))
        if isinstance(self.use, (str, Use, Mapping)) or not isinstance(self.use, Iterable):
            raise Mistake(f"use must be a list of techniques: got {self.use!r}")
        object.__setattr__(self, "use", tuple(Use.parse(item) for item in self.use))
        names = [use.name for use in self.use]
        for name in names:
            if names.count(name) > 1:
                raise Mistake(f"technique {name!r} is named {names.count(name)} times; once is allowed")
        for field, (kind, low, high, said) in _ALLOWED.items():
            _check(field, getattr(self, field), kind, low, high, said)
        if not isinstance(self.name, str) or not re.fullmatch(r"[^\W_][\w .+()-]{0,59}", self.name):
            raise Mistake(f"name must be 1 to 60 letters, digits, spaces and - _ . + ( ): got {self.name!r}")

    def replace(self, /, **changes: Any) -> Recipe:
        """This recipe with some fields changed; unknown fields are refused."""
        for field in changes:
            if field not in FIELDS:
                raise unknown("recipe field", field, FIELDS)
        return dataclasses.replace(self, **changes)

    def set(self, text: str) -> Recipe:
        """This recipe with one field set from text ``key=value`` (the command line's ``--set``)."""
        key, equals, value = text.partition("=")
        if not equals:
            raise Mistake(f"--set is written key=value: got {text!r}")
        if key not in FIELDS:
            raise unknown("recipe field", key, FIELDS)
        if key == "use":
            raise Mistake("techniques are switched on by --use and off by --drop, not by --set use=…")
        parsed: Any = value if key in ("name", "model", "optimizer", "schedule") else parse_value(value)
        return self.replace(**{key: None if parsed == "none" else parsed})

    def add(self, use: Use) -> Recipe:
        """This recipe with a technique switched on; one that is on already takes the new settings in its old place."""
        if use.name in [item.name for item in self.use]:
            return self.replace(use=tuple(use if item.name == use.name else item for item in self.use))
        return self.replace(use=(*self.use, use))

    def drop(self, name: str) -> Recipe:
        """This recipe without a technique; one that is not on is refused."""
        on = [item.name for item in self.use]
        if name not in on:
            raise unknown("technique to drop", name, on)
        return self.replace(use=tuple(item for item in self.use if item.name != name))

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON: every Use as its text."""
        fields = {field: getattr(self, field) for field in FIELDS}
        texts = {field: str(fields[field]) for field in ("model", "optimizer", "schedule")}
        return fields | texts | {"use": [str(use) for use in self.use]}

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Recipe:
        """A recipe from plain data; unknown fields are refused, missing ones take their defaults."""
        return Recipe().replace(**fields)

    def to_toml(self) -> str:
        """This recipe as TOML (fields that are None are left out)."""
        lines = [f"{key} = {_toml(value)}" for key, value in self.as_dict().items() if value is not None]
        return "\n".join(lines) + "\n"


FIELDS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(Recipe))

_ALLOWED: dict[str, tuple[type, float, float, str]] = {
    "width": (int, 1, 65536, "a whole number from 1 to 65536"),
    "resolution": (int, 4, 4096, "a whole number of pixels from 4 to 4096"),
    "epochs": (float, 1e-9, 1e6, "a number above 0, from 1e-9 to 1e6"),
    "min_steps": (int, 0, 1e12, "a whole number from 0 to 1e12"),
    "batch_size": (int, 1, 1e9, "a whole number from 1 to 1e9"),
    "micro_batch": (int, 0, 1e9, "a whole number from 0 to 1e9"),
    "lr": (float, 0, 1e12, "a number from 0 to 1e12"),
    "momentum": (float, 0, 1 - 2**-53, "a number in [0, 1)"),
    "weight_decay": (float, 0, 1e12, "a number from 0 to 1e12"),
    "val_fraction": (float, 0, 0.9, "a fraction in [0, 0.9]"),
}


def _check(field: str, value: Any, kind: type, low: float, high: float, said: str) -> None:
    if value is None and field in ("width", "resolution"):
        return
    good = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
    if not good or not low <= value <= high:
        raise Mistake(f"{field} must be {said}: got {value!r}")


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return (
            "["
            + "".join(f"\n    {json.dumps(item, ensure_ascii=False)}," for item in value)
            + ("\n]" if value else "]")
        )
    return json.dumps(value, ensure_ascii=False)


def read(path: Path) -> Recipe:
    """A recipe from a TOML or JSON file; its name is the file's where the file gives none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(f"cannot read the recipe {path}: {error}") from error
    try:
        fields = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise Mistake(f"the recipe {path} is not valid {kind}: {error}") from error
    if not isinstance(fields, dict):
        raise Mistake(f"the recipe {path} must hold fields, like lr = 0.1: got {type(fields).__name__}")
    return Recipe.from_dict({"name": path.stem} | fields)
