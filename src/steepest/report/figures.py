"""How measured figures are named and written for people: percent, seconds, counts, and which way is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_PARTS = {"val": "validation", "train": "training", "test": "test"}
_NAMES = {"train_s": "training time", "total_s": "time in all", "epochs": "epochs"}


def number(fields: Mapping[str, Any], key: str) -> float | None:
    """A finite number among fields that come from a file, or None."""
    value = fields.get(key)
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if good else None


def listed(fields: Mapping[str, Any], key: str) -> list[Any]:
    """A list among fields that come from a file; empty where there is none."""
    value = fields.get(key)
    return value if isinstance(value, list) else []


def grouped(fields: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Fields among fields that come from a file; empty where there are none."""
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def named(figure: str) -> str:
    """A figure's name in words: `val_accuracy` is "validation accuracy"."""
    part, _, rest = figure.partition("_")
    return _NAMES.get(figure) or (f"{_PARTS[part]} {rest}" if part in _PARTS else figure.replace("_", " "))


def lower_is_better(figure: str) -> bool:
    return figure.endswith(("loss", "_s"))


def written(figure: str, value: float | None) -> str:
    """A figure's value with its unit; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if figure.endswith("accuracy"):
        return f"{100 * value:.2f} %"
    return seconds(value) if figure.endswith("_s") else f"{value:.4g}"


def interval(figure: str, low: float | None, high: float | None) -> str:
    """An interval in the figure's unit, told once; empty where there is none."""
    if low is None or high is None:
        return ""
    if figure.endswith("accuracy"):
        ends = f"{100 * low:.2f} – {100 * high:.2f} %"
    else:
        ends = f"{written(figure, low)} – {written(figure, high)}"
    return ends.replace(" ", "\N{NO-BREAK SPACE}")


def seconds(value: float) -> str:
    """A duration: seconds with three digits, from two minutes on in minutes, from two hours on in hours."""
    if value < 120:
        return f"{value:.3g} s"
    if value < 7200:
        return f"{value / 60:.1f} min"
    return f"{value / 3600:.1f} h"


def count(value: float | None) -> str:
    """A whole number with thousands set apart; a dash where there is none."""
    return "–" if value is None else f"{value:,.0f}"


def sample(n: float | None, what: str = "") -> str:
    """How many a figure is of, kept on one line: n = 5 seeds."""
    said = f"n = {count(n)}{f' {what}' if what else ''}{'s' if what and n != 1 else ''}"
    return said.replace(" ", "\N{NO-BREAK SPACE}")


def sentence(text: object) -> str:
    """What a study said, as a sentence."""
    said = str(text)
    return said[:1].upper() + said[1:] + "." * (not said.endswith("."))


def large(value: float | None) -> str:
    """A large count in thousands, millions or billions."""
    if value is None:
        return "–"
    for size, unit in ((1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}"


def setting(value: object) -> str:
    """A setting's value as it is typed; a long number with four digits."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    text = str(value)
    return f"{value:.4g}" if isinstance(value, float) and len(text) > 7 else text.removesuffix(".0")


def label(settings: Mapping[str, Any], most: int | None = None) -> str:
    """Settings in one line: ``lr = 0.1, without cutout``. most: characters, where it must be short."""
    words = {True: "with {}", False: "without {}"}
    parts = [
        words[value].format(key) if isinstance(value, bool) and "." not in key else f"{key} = {setting(value)}"
        for key, value in settings.items()
    ]
    text = ", ".join(parts) or "the recipe as it is"
    return text if most is None or len(text) <= most else text[: most - 1] + "…"
