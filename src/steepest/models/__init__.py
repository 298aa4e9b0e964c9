"""The networks, one a file: their names, what each is, and how to build one.

Importing this room loads no PyTorch; neither do `catalogue` and `check`, which read the files' text instead.
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from steepest.mistake import Mistake, unknown

if TYPE_CHECKING:
    from torch import nn

NAMES: tuple[str, ...] = (
    "backbone",
    "basic_cnn",
    "dawnbench18",
    "fast26",
    "lab_cnn",
    "mlp",
    "resnet18",
    "resnet9",
    "revnet",
    "search_net",
    "speedrun",
)


def load(name: str) -> ModuleType:
    """The module of the network `name`; loads PyTorch. Raises Mistake for an unknown name."""
    if name not in NAMES:
        raise unknown("model", name, NAMES)
    return importlib.import_module(f"steepest.models.{name}")


def build(name: str, *, classes: int, shape: tuple[int, ...], width: int | None = None, **settings: Any) -> nn.Module:
    """The network `name`, initialised from PyTorch's default generator.

    classes: number of outputs, at least 1. shape: one input, (C, H, W) for an image or (D,) for a point.
    width: size of the first layer, from which the others follow; None is the published one.
    settings: the network's own, see `catalogue`. Raises Mistake for anything that does not fit.
    """
    check(name, shape=shape, width=width, settings=settings)
    if classes < 1:
        raise Mistake(f"a network needs at least 1 output, not {classes}")
    module = load(name)
    network: nn.Module = module.build(classes, tuple(shape), module.WIDTH if width is None else width, **settings)
    return network


def check(
    name: str,
    *,
    shape: tuple[int, ...] | None = None,
    width: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Raises Mistake unless the network `name` exists and takes these settings, this width and inputs of this shape."""
    if name not in NAMES:
        raise unknown("model", name, NAMES)
    entry = _read(name)
    if width is not None and (type(width) is not int or width < 1):
        raise Mistake(f"width of {name} is a whole number from 1, not {width!r}")
    for key, value in (settings or {}).items():
        if key not in entry["settings"]:
            raise unknown(f"setting of {name}", key, entry["settings"])
        _check_value(name, key, value, entry["settings"][key], entry["choices"].get(key))
    if shape is not None:
        _check_shape(name, shape, entry["smallest"])


def catalogue() -> list[dict[str, Any]]:
    """One entry a network, in the order of `NAMES`, read from the files without loading PyTorch.

    Keys: `name`, `summary` (one sentence), `text` (the whole docstring), `source`, `width` (the published one),
    `smallest` (least side of an image in pixels; None: takes points as well), `settings` (name to default),
    `choices` (name to the allowed values, where they are few).
    """
    return [dict(_read(name)) for name in NAMES]


@functools.cache
def _read(name: str) -> dict[str, Any]:
    tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
    text = ast.get_docstring(tree) or ""
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if node.targets[0].id in ("WIDTH", "SMALLEST")
    }
    signature = next(node.args for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "build")
    settings, choices = {}, {}
    for argument, default in zip(signature.kwonlyargs, signature.kw_defaults, strict=True):
        if default is not None:
            settings[argument.arg] = ast.literal_eval(default)
        kind = argument.annotation
        if isinstance(kind, ast.Subscript) and isinstance(kind.value, ast.Name) and kind.value.id == "Literal":
            choices[argument.arg] = ast.literal_eval(kind.slice)
    source = re.search(r"^Source: (.+?)(\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    return {
        "name": name,
        "summary": " ".join(re.split(r"(?<=\.)\s", text, maxsplit=1)[0].split()),
        "text": text,
        "source": " ".join(source[1].split()) if source else "",
        "width": constants["WIDTH"],
        "smallest": constants["SMALLEST"],
        "settings": settings,
        "choices": choices,
    }


def _check_value(name: str, key: str, value: object, default: object, choices: tuple[str, ...] | None) -> None:
    if choices is not None and value not in choices:
        raise unknown(f"{key} of {name}", str(value), choices)
    # "hidden=200" may reach us as a number, and 1 is a fine value of a fraction
    fits = {bool: (bool,), int: (int,), float: (float, int), str: (str, int)}[type(default)]
    if type(value) not in fits:
        kind = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[type(default)]
        raise Mistake(f"{key} of {name} is {kind}, not {value!r}")


def _check_shape(name: str, shape: tuple[int, ...], smallest: int | None) -> None:
    given = "×".join(str(size) for size in shape)
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise Mistake(f"an input is a point (D,) or an image (C, H, W), not {given or 'nothing'}")
    if smallest is None:
        return
    if len(shape) == 1:
        raise Mistake(f"{name} is a convolutional network and takes images, not points of {given} numbers: try mlp")
    if min(shape[1:]) < smallest:
        raise Mistake(f"images of {given} are too small for {name}, which takes {smallest}×{smallest} pixels or more")
