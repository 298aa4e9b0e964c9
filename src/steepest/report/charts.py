"""Charts as plain data, as Plotly draws them: from curves and tables to traces and a layout. No file is read here.

A colour is told by its name, like `--blue`: the page takes it from its style sheet, light or dark, and a picture from
`COLOURS`. Text that comes from files is escaped, since Plotly reads some HTML in it.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Interval = Mapping[str, float | None]
"""A mean with its 95 % interval: n, mean, low, high; low and high None where there is one value."""

COLOURS: dict[str, tuple[str, str]] = {
    "page": ("#ffffff", "#14171b"),
    "panel": ("#f5f6f8", "#1d2127"),
    "text": ("#1a1e24", "#e9ebee"),
    "soft": ("#59626e", "#a4adb9"),
    "line": ("#e1e5ea", "#313840"),
    "strong-line": ("#8a94a1", "#75808d"),
    "blue": ("#0068b3", "#5cb3f2"),
    "orange": ("#c24e00", "#ff9b52"),
    "green": ("#007f5f", "#3cc99c"),
    "purple": ("#a4428a", "#e394cb"),
    "blue-band": ("rgba(0,104,179,.15)", "rgba(92,179,242,.2)"),
    "orange-band": ("rgba(194,78,0,.15)", "rgba(255,155,82,.2)"),
    "green-band": ("rgba(0,127,95,.15)", "rgba(60,201,156,.2)"),
    "purple-band": ("rgba(164,66,138,.15)", "rgba(227,148,203,.2)"),
}
"""Each colour on a light and on a dark page; the series' hues are told apart by colour-blind people too."""
MOST_POINTS = 500
"""Points of a line; a longer curve is thinned evenly."""


@dataclass(frozen=True)
class Chart:
    """A chart: its name (for a file), title, a sentence on how to read it, and what Plotly draws.

    wide: it takes the page's whole width. width: pixels that it needs: on a narrower screen it is moved sideways.
    """

    name: str
    title: str
    about: str
    data: list[Json]
    layout: Json
    wide: bool = False
    width: int = 0


def plain(text: object) -> str:
    """Text as Plotly shows it letter by letter."""
    return html.escape(str(text), quote=False)


def resolved(value: Any, dark: bool = False) -> Any:
    """Plotly's data with every named colour as its value."""
    if isinstance(value, dict):
        return {key: resolved(part, dark) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(part, dark) for part in value]
    if isinstance(value, str) and value[:2] == "--" and value[2:] in COLOURS:
        return COLOURS[value[2:]][dark]
    return value


def layout(height: int = 320, x: Json | None = None, y: Json | None = None, **more: Any) -> Json:
    """What all charts share: no frame, thin grid, the legend above, the page's colours."""
    axis: Json = {
        "gridcolor": "--line",
        "linecolor": "--strong-line",
        "zeroline": False,
        "automargin": True,
        "ticks": "",
        "tickfont": {"color": "--soft"},
    }
    title = {"standoff": 10, "font": {"color": "--soft", "size": 13}}

    def told(one: Json | None) -> Json:
        one = dict(one or {})
        one["title"] = title | {"text": one.pop("title", "")}
        return axis | one

    return {
        "height": height,
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": "--text"},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": "--text"}},
        "hoverlabel": {"bgcolor": "--panel", "bordercolor": "--line", "font": {"color": "--text"}, "namelength": -1},
        "xaxis": told({"showline": True} | (x or {})),
        "yaxis": told(y),
    } | more


def axis_of(figure: str, values: Sequence[float | None] = ()) -> Json:
    """The axis of a figure: percent for accuracies; logarithmic where positive values span a factor of 30 or more."""
    if figure.endswith("accuracy"):
        return {"tickformat": ".3~p", "hoverformat": ".2%"}
    real = [value for value in values if value is not None]
    wide = bool(real) and min(real) > 0 and max(real) >= 30 * min(real)
    return {"type": "log" if wide else "linear", "hoverformat": ".4g"} | ({"dtick": 1} if wide else {})


def thinned(points: Sequence[Any], most: int = MOST_POINTS) -> list[Any]:
    """At most so many points, evenly, with the first and the last."""
    if len(points) <= most:
        return list(points)
    return [points[round(place * (len(points) - 1) / (most - 1))] for place in range(most)]


def finite(value: Any) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if good else None


def run_curve(curve: Sequence[Mapping[str, Any]], what: str, test: Interval | None = None) -> Chart | None:
    """Training and validation `what` (accuracy or loss) of one run over its epochs; None where neither was measured.

    test: the final figure on the test set, drawn at the end with its interval.
    """
    points = thinned([point for point in curve if finite(point.get("epoch")) is not None])
    data, seen = [], []
    for part, colour, dash in (("train", "orange", "dot"), ("val", "blue", "solid")):
        values = [finite(point.get(f"{part}_{what}")) for point in points]
        if not any(value is not None for value in values):
            continue
        seen += values
        data.append(
            {
                "type": "scatter",
                "mode": "lines" if len(points) > 1 else "markers",
                "name": {"train": "training", "val": "validation"}[part],
                "x": [point["epoch"] for point in points],
                "y": values,
                "line": {"color": f"--{colour}", "width": 2.25, "dash": dash},
            }
        )
    if not data:
        return None
    if test and test.get("mean") is not None:
        data.append(_test_mark(points[-1]["epoch"], test))
    shape = layout(x={"title": "epoch", "rangemode": "tozero"}, y=axis_of(what, seen), hovermode="x unified")
    return Chart(what, what.capitalize(), "", data, shape)


def _test_mark(epoch: float, test: Interval) -> Json:
    mean, low, high = test["mean"], test.get("low"), test.get("high")
    mark: Json = {
        "type": "scatter",
        "mode": "markers",
        "name": "test",
        "x": [epoch],
        "y": [mean],
        "marker": {"color": "--green", "symbol": "diamond", "size": 10},
    }
    if mean is not None and low is not None and high is not None:
        mark["error_y"] = {"array": [high - mean], "arrayminus": [mean - low], "color": "--green", "thickness": 2}
    return mark


def schedule(curve: Sequence[Mapping[str, Any]]) -> Chart | None:
    """The learning rate as it was at each measurement; None where it was not recorded."""
    points = thinned([p for p in curve if finite(p.get("epoch")) is not None and finite(p.get("lr")) is not None])
    if not points:
        return None
    line = {
        "type": "scatter",
        "mode": "lines" if len(points) > 1 else "markers",
        "name": "learning rate",
        "x": [point["epoch"] for point in points],
        "y": [point["lr"] for point in points],
        "line": {"color": "--purple", "width": 2.25},
    }
    y = {"rangemode": "tozero", "hoverformat": ".4g"}
    shape = layout(200, {"title": "epoch", "rangemode": "tozero"}, y, hovermode="x unified", showlegend=False)
    about = "As it was when each point of the curve was measured."
    return Chart("learning-rate", "Learning rate", about, [line], shape, wide=True)


def confusion(classes: Sequence[str], matrix: Sequence[Sequence[float]]) -> Chart:
    """What each true class (a row) was taken for (a column): shares of the row, hits apart from mistakes by hover."""
    names = [plain(name) for name in classes]
    shares = [[count / max(1, sum(row)) for count in row] for row in matrix]
    few = len(names) <= 12
    data: Json = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": shares,
        "customdata": [list(row) for row in matrix],
        "colorscale": [[0, "--page"], [0.02, "--blue-band"], [1, "--blue"]],
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "hovertemplate": "%{y} taken for %{x}: %{customdata} (%{z:.1%})<extra></extra>",
    }
    if few:
        data |= {"text": [[str(count or "") for count in row] for row in matrix], "texttemplate": "%{text}"}
    side = {"type": "category", "showgrid": False}
    shape = layout(
        max(320, 60 + 30 * len(names)) if few else 520,
        side | {"title": "taken for", "showline": False},
        side | {"title": "true class", "autorange": "reversed"},
    )
    return Chart("confusion", "What was taken for what", "A row a true class, a column a prediction.", [data], shape)
