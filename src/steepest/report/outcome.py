"""What an ablation, a search or a range test came to: the parts of a study's page that are made of its result.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import page
from .figures import count, grouped, label, listed, named, number, sample, sentence, setting, written
from .page import Cell, Section, Table, Tile, left_out
from .study_charts import forest, ranges, signed, steps


def recommended(found: Mapping[str, Any]) -> Tile | None:
    """What a range test came to."""
    advised, low, high = (number(found, name) for name in ("recommended", "low", "high"))
    if advised is None:
        return None
    detail = f"range tests between {setting(low)} and {setting(high)}, {sample(len(listed(found, 'curves')), 'seed')}"
    return Tile("recommended learning rate", setting(advised), detail)


def compared(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The comparisons of an ablation, in one form: name, n, what it buys and costs with the ends, p, verdict."""
    return [
        {
            "name": str(one.get("left_out") or one.get("added") or "?"),
            "n": number(one, "n"),
            "bought": {end: number(one, end) for end in ("difference", "low", "high")},
            "seconds": {end: number(grouped(one, "seconds"), end) for end in ("difference", "low", "high")},
            "p": number(one, "p_holm"),
            "barnacle": one.get("barnacle") is True,
            "verdict": str(one.get("verdict") or ("barnacle" if one.get("barnacle") is True else "")),
        }
        for one in listed(found, "comparisons")
        if isinstance(one, dict)
    ]


def comparisons(found: Mapping[str, Any]) -> list[Section]:
    """Of an ablation: two forest plots and a table; none without comparisons."""
    rows, unit = compared(found), str(found.get("unit") or "points")
    if not rows:
        return []
    cells = [
        [
            Cell(row["name"]),
            Cell(setting(row["n"]), row["n"]),
            *_difference(row["bought"], unit),
            Cell("–" if row["p"] is None else f"{row['p']:.3g}", row["p"]),
            *_difference(row["seconds"], "seconds"),
            Cell(row["verdict"]),
        ]
        for row in rows
    ]
    charts = [
        forest([{"name": row["name"], "barnacle": row["barnacle"]} | row[side] for row in rows], side, of_what)
        for side, of_what in (("bought", unit), ("seconds", "seconds"))
    ]
    columns = ("technique", "n", f"buys {unit}", "its interval", "p (Holm)", "costs seconds", "its interval", "verdict")
    about = " ".join([*map(sentence, listed(found, "notes")), "Hollow: a barnacle."])
    table = Table("Comparisons", columns, cells)
    return [Section("What each technique buys", about, [chart for chart in charts if chart], tables=[table])]


def _difference(one: Mapping[str, float | None], unit: str) -> list[Cell]:
    value, low, high = (one[end] for end in ("difference", "low", "high"))
    ends = "–" if low is None or high is None else f"{signed(low, unit)} to {signed(high, unit)}"
    return [Cell("–" if value is None else signed(value, unit), value), Cell(ends, low)]


def search(found: Mapping[str, Any], figure: str) -> list[Section]:
    """Of a search: what each of its steps reached."""
    taken = [one for one in listed(found, "steps") if isinstance(one, dict)]
    if not taken:
        return []
    cells = [
        [
            Cell(str(place), place),
            Cell(label(one["settings"]) if isinstance(one.get("settings"), dict) else "–"),
            Cell("–" if (n := number(one, "n")) is None else count(n), n),
            Cell(written(figure, number(one, "value")), number(one, "value")),
            Cell(_gain(figure, number(one, "gain")), number(one, "gain")),
        ]
        for place, one in enumerate(taken, 1)
    ]
    columns = ("step", "settings", "n", named(figure), "gain")
    table = Table("Steps", columns, cells[: page.MOST_ROWS], left_out(len(cells)))
    chart = steps(taken, figure)
    said = " ".join(map(sentence, listed(found, "said")))
    return [Section("What each step bought", said, charts=[chart] if chart else [], tables=[table])]


def range_test(found: Mapping[str, Any]) -> list[Section]:
    """Of a search for the learning rate: the curves of its range tests."""
    chart = ranges([one for one in listed(found, "curves") if isinstance(one, dict)], number(found, "recommended"))
    said = " ".join(map(sentence, listed(found, "said")))
    return [Section("Range tests", said, charts=[chart])] if chart else []


def _gain(figure: str, gain: float | None) -> str:
    if gain is None:
        return "–"
    return f"{signed(100 * gain, 'points')} points" if figure.endswith("accuracy") else f"{gain:+.4g}"
