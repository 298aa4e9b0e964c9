"""Charts of studies as plain data: curves with bands, comparisons with intervals, the steps of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from .charts import Chart, Interval, Json, axis_of, finite, layout, plain
from .figures import label, listed, lower_is_better, named, written

SERIES = ("blue", "orange", "green", "purple")


def bands(series: Sequence[tuple[str, Mapping[str, Sequence[Interval]], Sequence[float]]], what: str) -> Chart | None:
    """Curves of several settings, each the mean over its seeds with the 95 % interval as a band.

    series: label, `{"train": intervals, "val": intervals}` and the epochs at which they were measured.
    """
    data: list[Json] = []
    means: list[float | None] = []
    for place, (name, parts, epochs) in enumerate(series):
        colour = SERIES[place % len(SERIES)]
        for part, width, dash in (("val", 2.25, "solid"), ("train", 1.25, "dot")):
            points = [point for point in zip(epochs, parts[part], strict=True) if point[1].get("mean") is not None]
            if not points:
                continue
            common = {"type": "scatter", "mode": "lines", "legendgroup": f"series {place}", "name": plain(name)}
            if part == "val" and (outline := band(points)):
                filled = {"fill": "toself", "fillcolor": f"--{colour}-band", "line": {"width": 0}}
                data.append(common | outline | filled | {"hoverinfo": "skip", "showlegend": False})
            y = [one["mean"] for _, one in points]
            means += y
            line = {"color": f"--{colour}", "width": width, "dash": dash}
            drawn = {"x": [epoch for epoch, _ in points], "y": y, "line": line, "showlegend": part == "val"}
            data.append(common | drawn)
    if not data:
        return None
    across = {"title": "epoch", "rangemode": "tozero"}
    shape = layout(360, across, axis_of(what, means), hovermode="closest")
    shape["legend"] = shape["legend"] | {"orientation": "v"}
    return Chart(what, what.capitalize(), "", data, shape)


def band(points: Sequence[tuple[float, Interval]]) -> Json:
    """The outline of the intervals: there along the high ends, back along the low ones; empty where there are none."""
    ends = [(x, one["low"], one["high"]) for x, one in points if one.get("low") is not None]
    back = ends[::-1]
    return {"x": [e[0] for e in (*ends, *back)], "y": [e[2] for e in ends] + [e[1] for e in back]} if ends else {}


def forest(comparisons: Sequence[Mapping[str, Any]], name: str, unit: str) -> Chart | None:
    """What each technique buys or costs: a row each, with its interval and the line of no difference.

    comparisons: name, difference, low, high, barnacle (it could as well go). name: "bought" or "seconds".
    """
    rows = [row for row in comparisons if row.get("difference") is not None]
    if not rows:
        return None
    told = []
    for row in rows:
        ends = [signed(row[end], unit) for end in ("low", "high") if row.get(end) is not None]
        said = f" ({' to '.join(ends)})" if ends else ""
        told.append(f"{plain(row['name'])}: {signed(row['difference'], unit)} {plain(unit)}{said}")
    means = [{"mean": row["difference"], "low": row.get("low"), "high": row.get("high")} for row in rows]
    colours = ["--strong-line" if row.get("barnacle") else "--blue" for row in rows]
    symbols = ["circle-open" if row.get("barnacle") else "circle" for row in rows]
    data = whiskers(means, told, colours, symbols)
    zero = {"zeroline": True, "zerolinecolor": "--text", "zerolinewidth": 1, "tickformat": "~g"}
    sides = {"bought": f"{plain(unit)}: above 0 it helps", "seconds": "seconds: above 0 it costs"}
    y = names_axis([str(row["name"]) for row in rows])
    shape = layout(90 + 30 * len(rows), zero | {"title": sides[name]}, y, hovermode="closest")
    title = f"{plain(unit)} that it buys" if name == "bought" else "Seconds of training that it costs"
    return Chart(f"forest-{name}", title[:1].upper() + title[1:], "", [data], shape)


def signed(value: float, unit: str) -> str:
    """A difference with its sign."""
    return (f"{value:+.2f}" if unit == "points" else f"{value:+.3g}").replace("-", "\N{MINUS SIGN}")


def steps(found: Sequence[Mapping[str, Any]], figure: str) -> Chart | None:
    """What each step of a search reached, and the best so far; hollow where it was ended early."""
    taken = [(place, one) for place, one in enumerate(found, 1) if finite(one.get("value")) is not None]
    if not taken:
        return None
    choose = min if lower_is_better(figure) else max
    kept = [one["value"] for _, one in taken if not one.get("stopped")]
    best = list(accumulate(kept, choose))
    reached = [place for place, one in taken if not one.get("stopped")]
    line = {"color": "--blue", "width": 2.25, "shape": "hv"}
    marks = ["circle-open" if one.get("stopped") else "circle" for _, one in taken]
    told = [
        f"{place}. {plain(label(one.get('settings') or {}))}<br>{written(figure, one['value'])}" for place, one in taken
    ]
    dots: Json = {"type": "scatter", "mode": "markers", "name": "tried", "x": [place for place, _ in taken]}
    dots |= {"y": [one["value"] for _, one in taken], "marker": {"color": "--orange", "size": 8, "symbol": marks}}
    dots |= {"customdata": told, "hovertemplate": "%{customdata}<extra></extra>"}
    data = [{"type": "scatter", "mode": "lines", "name": "best so far", "x": reached, "y": best, "line": line}, dots]
    y = axis_of(figure, dots["y"]) | {"title": named(figure)}
    shape = layout(340, {"title": "step", "dtick": max(1, len(found) // 10)}, y, hovermode="closest")
    return Chart("steps", f"The {named(figure)} of each step", "", data, shape, wide=True)


def ranges(curves: Sequence[Mapping[str, Any]], recommended: float | None) -> Chart | None:
    """The loss of range tests over the learning rate, a line a seed, with the rate that is recommended."""
    data: list[Json] = []
    for place, one in enumerate(curves):
        rates, losses = (listed(one, key) for key in ("rates", "smoothed"))
        points = [point for point in zip(rates, losses, strict=False) if None not in map(finite, point)]
        line = {"color": f"--{SERIES[place % len(SERIES)]}", "width": 2}
        drawn: Json = {"type": "scatter", "mode": "lines", "name": f"seed {one.get('seed')}", "line": line}
        data += [drawn | {"x": [rate for rate, _ in points], "y": [loss for _, loss in points]}] if points else []
    if not data:
        return None
    across = {"title": "learning rate", "type": "log", "dtick": 1, "exponentformat": "power"}
    mark = {"type": "line", "x0": recommended, "x1": recommended, "yref": "paper", "y0": 0, "y1": 1}
    shapes = [mark | {"line": {"color": "--text", "width": 1, "dash": "dash"}}] if recommended else []
    shape = layout(360, across, {"title": "training loss, smoothed", "hoverformat": ".4g"}, shapes=shapes)
    return Chart("range-test", "Loss over the learning rate", "Dashed: recommended.", data, shape, wide=True)


def whiskers(means: Sequence[Interval], told: Sequence[str], colours: Sequence[str], symbols: Sequence[str]) -> Json:
    """Dots with horizontal intervals, a row each."""
    ups, downs = [], []
    for one in means:
        mean, low, high = one["mean"], one.get("low"), one.get("high")
        ups.append(high - mean if mean is not None and high is not None else 0.0)
        downs.append(mean - low if mean is not None and low is not None else 0.0)
    bars = {"color": "--soft", "thickness": 1.5, "width": 4}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [one["mean"] for one in means],
        "y": list(range(len(means))),
        "marker": {
            "color": list(colours),
            "symbol": list(symbols),
            "size": 10,
            "line": {"width": 2, "color": list(colours)},
        },
        "error_x": bars | {"array": ups, "arrayminus": downs},
        "customdata": list(told),
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def names_axis(names: Sequence[str]) -> Json:
    """A row a name, the first on top."""
    short = [name if len(name) <= 28 else name[:27] + "…" for name in names]
    ticks = {"tickvals": list(range(len(names))), "ticktext": [plain(name) for name in short]}
    return ticks | {"range": [len(names) - 0.5, -0.5], "tickfont": {"color": "--text"}}
