"""The chart of a sweep as plain data: a line, a list, a map, or parallel axes, by what its settings are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from .charts import Chart, Interval, Json, axis_of, finite, layout, plain, thinned
from .figures import interval, label, lower_is_better, named, setting, written
from .study_charts import band, names_axis, whiskers

MOST = 500
"""Settings in a scatter or in parallel coordinates, the best ones; dots of single trials."""
SCALE = "Cividis"
"""From dark to bright: told apart by colour-blind people, and in grey."""
Row = Mapping[str, Any]
"""One setting: settings, n, and each figure's mean with its interval."""


def varied(rows: Sequence[Row]) -> list[str]:
    """The settings in which rows differ (one that a row lacks stands there as the recipe has it), in order."""
    names = dict.fromkeys(name for row in rows for name in row["settings"])
    return [name for name in names if len({repr(of(row, name)) for row in rows}) > 1]


def changed_one_by_one(rows: Sequence[Row]) -> bool:
    """Whether each row changes one of several settings, as an ablation does."""
    return len(varied(rows)) > 1 and all(len(row["settings"]) <= 1 for row in rows)


def sweep(rows: Sequence[Row], figure: str, dots: Sequence[tuple[Mapping[str, Any], float]] = ()) -> Chart | None:
    """The chart that suits the number of settings that rows differ in: a line or a list, a map, or parallel axes.

    dots: the settings and the figure of single trials, which the line shows too. None: nothing to compare.
    """
    rows = [row for row in rows if row.get(figure) and row[figure].get("mean") is not None]
    names = varied(rows)
    if not names:
        return None
    if changed_one_by_one(rows):
        return ranking(rows, figure)
    if len(names) == 1:
        values = [of(row, names[0]) for row in rows]
        if all(_number(value) for value in values):
            return line(rows, names[0], figure, dots)
        return ranking(rows, figure)
    if len(names) == 2:
        cells = math.prod(len({repr(of(row, name)) for row in rows}) for name in names)
        if len(rows) >= cells / 2:
            return heat_map(rows, names, figure)
        if all(_number(of(row, name)) for row in rows for name in names):
            return scatter(rows, names, figure)
    return parallel(rows, names, figure)


def logarithmic(values: Sequence[float]) -> bool:
    """Whether positive values lie more evenly by their logarithms: 0.01, 0.1, 1 do; 1, 2, 3, 4 do not."""
    values = sorted(set(values))
    if len(values) < 2 or values[0] <= 0:
        return False
    if len(values) == 2:
        return values[1] >= 10 * values[0]

    def unevenness(places: Sequence[float]) -> float:
        steps = [after - before for before, after in pairwise(places)]
        return max(steps) / min(steps)

    return unevenness([math.log(value) for value in values]) < unevenness(values)


def number_axis(name: str, values: Sequence[float]) -> Json:
    """An axis of a setting: logarithmic where its values are; where they are few, each has its tick."""
    axis: Json = {"title": plain(name), "type": "log" if logarithmic(values) else "linear"}
    few = sorted(set(values))
    if len(few) <= 9:
        return axis | {"tickvals": few, "ticktext": [setting(value) for value in few]}
    return axis | ({"dtick": 1, "exponentformat": "power"} if few[-1] >= 100 * few[0] > 0 else {})


def line(rows: Sequence[Row], name: str, figure: str, dots: Sequence[tuple[Mapping[str, Any], float]] = ()) -> Chart:
    """A figure over one number: the means as a line, their intervals as a band, the single trials as dots."""
    rows = sorted(rows, key=lambda row: row["settings"][name])
    points = [(row["settings"][name], row[figure]) for row in rows]
    x = [place for place, _ in points]
    data: list[Json] = []
    if outline := band(points):
        filled = {"fill": "toself", "fillcolor": "--blue-band", "line": {"width": 0}, "mode": "lines"}
        data.append({"type": "scatter", "name": "95 % interval", "hoverinfo": "skip"} | outline | filled)
    ours = thinned([(place[name], value) for place, value in dots if _number(place.get(name))], MOST)
    if ours and len(ours) > len(rows):
        marker = {"color": "--blue", "size": 5, "opacity": 0.45}
        across, up = [place for place, _ in ours], [value for _, value in ours]
        data.append({"type": "scatter", "mode": "markers", "name": "one seed", "x": across, "y": up, "marker": marker})
    means: Json = {"type": "scatter", "mode": "lines+markers", "name": "mean", "x": x}
    means |= {"y": [one["mean"] for _, one in points], "customdata": [_told(figure, row[figure]) for row in rows]}
    means |= {"line": {"color": "--blue", "width": 2.25}, "hovertemplate": "%{customdata}<extra></extra>"}
    data.append(means)
    y = axis_of(figure, means["y"]) | {"title": named(figure)}
    shape = layout(380, number_axis(name, x), y, hovermode="closest")
    about = "The mean over seeds; the band is its 95 % interval, where there are two seeds or more."
    return Chart("sweep", f"{_capital(named(figure))} by {name}", about, data, shape, wide=True)


def ranking(rows: Sequence[Row], figure: str, most: int = 30) -> Chart:
    """A figure for each of several settings that are no numbers, best on top."""
    ranked = best(rows, figure)[:most]
    told = [f"{plain(label(row['settings']))}<br>{_told(figure, row[figure])}" for row in ranked]
    data = whiskers([row[figure] for row in ranked], told, ["--blue"] * len(ranked), ["circle"] * len(ranked))
    y = names_axis([label(row["settings"]) for row in ranked])
    shape = layout(90 + 28 * len(ranked), axis_of(figure) | {"title": named(figure)}, y, hovermode="closest")
    about = f"The mean over seeds with its 95 % interval, best on top.{_left_out(rows, most)}"
    return Chart("sweep", f"{_capital(named(figure))} by setting", about, [data], shape, wide=True)


def heat_map(rows: Sequence[Row], names: Sequence[str], figure: str) -> Chart:
    """A figure over two settings, a cell each; a setting that failed or was not tried stays empty."""
    across, up = (_sorted([of(row, name) for row in rows]) for name in names)
    found = {tuple(repr(of(row, name)) for name in names): row[figure] for row in rows}
    cells = [[found.get((repr(a), repr(b))) for a in across] for b in up]
    data: Json = {
        "type": "heatmap",
        "x": [plain(setting(value)) for value in across],
        "y": [plain(setting(value)) for value in up],
        "z": [[cell and cell["mean"] for cell in row] for row in cells],
        "customdata": [[_told(figure, cell) if cell else "" for cell in row] for row in cells],
        "hovertemplate": f"{plain(names[0])} %{{x}}, {plain(names[1])} %{{y}}<br>%{{customdata}}<extra></extra>",
        "colorscale": SCALE,
        "reversescale": lower_is_better(figure),
        "xgap": 2,
        "ygap": 2,
        "colorbar": _colourbar(figure),
    }
    if len(across) <= 8 and len(up) <= 16:
        texts = [[written(figure, cell["mean"]).removesuffix(" %") if cell else "" for cell in row] for row in cells]
        data |= {"text": texts, "texttemplate": "%{text}"}
    side = {"type": "category", "showgrid": False, "showline": False}
    height = min(640, max(300, 110 + 36 * len(up)))
    shape = layout(height, side | {"title": plain(names[0])}, side | {"title": plain(names[1])})
    about = "A cell is the mean over the seeds of one setting; brighter is better. An empty one has no finished trial."
    return Chart("sweep", f"{_capital(named(figure))} by {names[0]} and {names[1]}", about, [data], shape, wide=True)


def scatter(rows: Sequence[Row], names: Sequence[str], figure: str) -> Chart:
    """A figure over two numbers drawn at random, a dot a setting, the best on top of the others."""
    about = f"A dot is the mean over the seeds of one setting; brighter is better.{_left_out(rows)}"
    rows = best(rows, figure)[:MOST][::-1]
    across, up = ([row["settings"][name] for row in rows] for name in names)
    marker = {
        "color": [row[figure]["mean"] for row in rows],
        "colorscale": SCALE,
        "reversescale": lower_is_better(figure),
        "size": 12,
        "line": {"color": "--page", "width": 1},
        "colorbar": _colourbar(figure),
    }
    told = [f"{plain(label(row['settings']))}<br>{_told(figure, row[figure])}" for row in rows]
    data: Json = {"type": "scatter", "mode": "markers", "x": across, "y": up, "marker": marker, "customdata": told}
    data["hovertemplate"] = "%{customdata}<extra></extra>"
    shape = layout(440, number_axis(names[0], across), number_axis(names[1], up), hovermode="closest")
    return Chart("sweep", f"{_capital(named(figure))} by {names[0]} and {names[1]}", about, [data], shape, wide=True)


def parallel(rows: Sequence[Row], names: Sequence[str], figure: str) -> Chart:
    """Three settings or more: an axis each, and a line through its values for every setting, the best on top."""
    about = f"A line is one setting, through its value on each axis, from the lowest below.{_left_out(rows)}"
    ranked = best(rows, figure)[:MOST]
    axes = [_upright(name, [of(row, name) for row in ranked]) for name in names]
    axes.append(_upright(named(figure), [row[figure]["mean"] for row in ranked], figure))
    told = [f"{plain(label(row['settings']))}<br>{_told(figure, row[figure])}" for row in ranked]
    tenth, half = math.ceil(len(ranked) / 10), math.ceil(len(ranked) / 2)
    groups = (
        ("the rest", range(half, len(ranked)), {"color": "--strong-line", "width": 1}, 0.45),
        ("better half", range(tenth, half), {"color": "--blue", "width": 1.25}, 0.6),
        ("best tenth", range(tenth), {"color": "--orange", "width": 2.5}, 1.0),
    )
    data: list[Json] = []
    for name, members, line, opacity in groups:
        drawn: Json = {"type": "scatter", "mode": "lines", "name": name, "line": line, "opacity": opacity}
        drawn |= {"x": [], "y": [], "customdata": [], "hovertemplate": "%{customdata}<extra></extra>"}
        for row in members:
            drawn["x"] += [*range(len(axes)), None]
            drawn["y"] += [*(places[row] for places, _, _ in axes), None]
            drawn["customdata"] += [told[row]] * (len(axes) + 1)
        data += [drawn] if members else []
    marks = [
        {"x": x, "y": y, "text": text, "showarrow": False, "xanchor": "left", "xshift": 4, "bgcolor": "--page"}
        for x, (_, ticks, _) in enumerate(axes)
        for y, text in ticks
    ]
    across = {"tickvals": list(range(len(axes))), "ticktext": [title for _, _, title in axes], "side": "top"}
    across |= {"range": [-0.1, len(axes) - 0.4], "gridcolor": "--strong-line", "showline": False}
    hidden = {"visible": False, "range": [-0.06, 1.06]}
    shape = layout(440, across, hidden, hovermode="closest", annotations=marks)
    shape["legend"] = shape["legend"] | {"y": -0.02, "yanchor": "top", "traceorder": "reversed"}
    title = f"{_capital(named(figure))} over {len(names)} settings"
    return Chart("sweep", title, about, data, shape, wide=True, width=130 * len(axes))


def _upright(name: str, values: Sequence[Any], figure: str = "") -> tuple[list[float], list[tuple[float, str]], str]:
    """One of the parallel axes: the places of values from 0 to 1, its ticks with their text, and its name."""
    if not all(_number(value) for value in values):
        kinds = _sorted(values)
        places = {repr(value): (rank + 0.5) / len(kinds) for rank, value in enumerate(kinds)}
        texts = [(places[repr(value)], plain(setting(value))) for value in kinds]
        return [places[repr(value)] for value in values], texts, plain(name)
    scale = math.log10 if not figure and logarithmic(values) else float
    low, high = scale(min(values)), scale(max(values))

    def place(value: float) -> float:
        return (scale(value) - low) / (high - low) if high > low else 0.5

    few = sorted(set(values))
    ends = few if len(few) <= 8 else [few[0], few[-1]]
    ticks = [(place(value), written(figure, value) if figure else setting(value)) for value in ends]
    return [place(value) for value in values], ticks, plain(name)


def best(rows: Sequence[Row], figure: str) -> list[Row]:
    """The rows that have a figure, best first."""
    known = [row for row in rows if row.get(figure) and row[figure].get("mean") is not None]
    return sorted(known, key=lambda row: row[figure]["mean"], reverse=not lower_is_better(figure))


def of(row: Row, name: str) -> Any:
    """A row's setting; one that it lacks is as the recipe has it."""
    return row["settings"].get(name, "as in the recipe")


def _colourbar(figure: str) -> Json:
    bar = {"thickness": 10, "outlinewidth": 0, "tickfont": {"color": "--soft"}}
    return bar | {"tickformat": axis_of(figure).get("tickformat", ".3~g")}


def _told(figure: str, one: Interval) -> str:
    """A mean with its interval and n, for the pointer that rests on it."""
    ends = interval(figure, one.get("low"), one.get("high"))
    return f"{written(figure, one['mean'])}{f' (95 % interval {ends})' if ends else ''}, n = {one['n']}"


def _sorted(values: Sequence[Any]) -> list[Any]:
    """Each value once: numbers by size, then what is no number by its text."""
    once = {repr(value): value for value in values}.values()
    return sorted(once, key=lambda value: (0, value, "") if _number(value) else (1, 0, str(value)))


def _left_out(rows: Sequence[Row], most: int = MOST) -> str:
    return f" The best {most} of {len(rows):,}." if len(rows) > most else ""


def _number(value: Any) -> bool:
    return finite(value) is not None


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
