"""Charts are what Plotly accepts, of every kind, and show the numbers that they were given."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as some
from plotly import graph_objects

from steepest import report
from steepest.report import charts, figures, study_charts, sweep_charts


def accepted(chart):
    """Plotly's own check: it knows every property, and raises for what it does not know."""
    graph_objects.Figure(charts.resolved({"data": chart.data, "layout": chart.layout}))
    return chart


def row(value, n=3, **settings):
    one = {"n": n, "mean": value, "low": value - 0.01, "high": value + 0.01}
    return {"settings": settings, "n": n, "failed": 0, "val_accuracy": one, "val_loss": one}


CURVE = [
    {"step": 9 * at, "epoch": float(at), "lr": 0.1 / at, "train_loss": 1 / at, "val_loss": 2 / at, "val_accuracy": 0.5}
    for at in range(1, 2001)
]


def test_every_chart_of_every_page_is_accepted_by_plotly(every_kind, evaluated_run, read, tmp_path):
    seen = set()
    for place in (evaluated_run.path, *every_kind.values()):
        for name, chart in read(report.write(place, tmp_path / "page.html")).charts.items():
            graph_objects.Figure(charts.resolved(chart))
            seen.add(name)
    drawn = "accuracy loss learning-rate confusion sweep forest-bought forest-seconds steps range-test"
    assert seen == set(drawn.split())


def test_a_long_curve_is_thinned_with_its_ends_and_in_order():
    chart = accepted(charts.run_curve(CURVE, "loss", {"mean": 0.1, "n": 9}))
    x = chart.data[0]["x"]
    assert len(x) == charts.MOST_POINTS and x[0] == 1.0 and x[-1] == 2000.0 and x == sorted(set(x))
    assert chart.layout["yaxis"]["type"] == "log"
    assert charts.run_curve(CURVE[:3], "loss").layout["yaxis"]["type"] == "linear"


@given(some.lists(some.integers(), min_size=2), some.integers(2, 9))
def test_thinning_keeps_what_is_few(points, most):
    thin = charts.thinned(points, most)
    assert len(thin) == min(most, len(points)) and (thin[0], thin[-1]) == (points[0], points[-1])


def test_what_was_not_measured_is_not_drawn():
    chart = accepted(charts.run_curve([{"step": 1, "epoch": 1.0, "val_accuracy": 0.5}], "accuracy"))
    assert [line["name"] for line in chart.data] == ["validation"] and chart.data[0]["mode"] == "markers"
    assert charts.run_curve([{"step": 1, "epoch": 1.0}], "loss") is None and charts.schedule([]) is None


def test_the_test_mark_has_the_ends_of_its_interval():
    mark = charts.run_curve(CURVE, "accuracy", {"mean": 0.5, "low": 0.4, "high": 0.55}).data[-1]
    assert mark["x"] == [2000.0] and mark["error_y"]["array"] == pytest.approx([0.05])
    assert mark["error_y"]["arrayminus"] == pytest.approx([0.1])


def test_a_cell_of_the_confusion_is_the_share_of_its_row():
    data = accepted(charts.confusion(["a", "b"], [[3, 1], [0, 0]])).data[0]
    assert data["z"] == [[0.75, 0.25], [0, 0]] and data["customdata"] == [[3, 1], [0, 0]]


@pytest.mark.parametrize(
    ("values", "log"),
    [([0.01, 0.1, 1], True), ([0.1, 0.2, 0.4], True), ([1, 2, 3], False), ([0, 0.1, 1], False), ([1, 10], True)],
)
def test_an_axis_is_logarithmic_where_its_values_are(values, log):
    assert sweep_charts.logarithmic(values) is log
    assert sweep_charts.number_axis("lr", values)["tickvals"] == values


def test_the_chart_of_a_sweep_suits_its_settings():
    line = accepted(sweep_charts.sweep([row(0.5 + lr, lr=lr) for lr in (0.2, 0.1)], "val_accuracy"))
    assert line.data[-1]["x"] == [0.1, 0.2] and line.data[-1]["y"] == [0.6, 0.7]
    named = accepted(sweep_charts.sweep([row(0.5, model="mlp"), row(0.6, model="resnet9")], "val_accuracy"))
    assert named.layout["yaxis"]["ticktext"] == ["model = resnet9", "model = mlp"]
    grid = [row(a * b, lr=a, momentum=b) for a, b in itertools.product((0.1, 0.2), (0.3, 0.4, 0.5))]
    cells = accepted(sweep_charts.sweep(grid[:-1], "val_accuracy")).data[0]
    assert cells["type"] == "heatmap" and cells["z"][2] == [pytest.approx(0.05), None]
    random = [row(a, lr=a, momentum=a * a) for a in (0.1, 0.2, 0.3)]
    assert accepted(sweep_charts.sweep(random, "val_accuracy")).data[0]["mode"] == "markers"
    assert sweep_charts.sweep([row(0.5, lr=0.1)], "val_accuracy") is None
    assert sweep_charts.sweep([{"settings": {"lr": 0.1}, "n": 0}, row(0.5, lr=0.2)], "val_accuracy") is None


def test_dots_of_single_seeds_stand_beside_the_line():
    dots = [({"lr": lr}, value) for lr in (0.1, 0.2) for value in (0.5, 0.6)]
    chart = accepted(sweep_charts.sweep([row(0.55, lr=0.1), row(0.55, lr=0.2)], "val_accuracy", dots))
    assert next(one for one in chart.data if one["name"] == "one seed")["y"] == [0.5, 0.6, 0.5, 0.6]


@pytest.mark.parametrize("figure", ["val_accuracy", "val_loss"])
def test_parallel_lines_go_through_their_values_and_the_best_are_apart(figure):
    rows = [row(0.5 + p / 100, lr=10.0**-p, momentum=p / 10, model="ab"[p % 2]) for p in range(10)]
    chart = accepted(sweep_charts.sweep(rows, figure))
    by_name = {one["name"]: one for one in chart.data}
    best = 9 if figure == "val_accuracy" else 0
    expected = [1 - best / 9, best / 9, (best % 2 + 0.5) / 2, best / 9]
    assert by_name["best tenth"]["y"][:4] == pytest.approx(expected)
    assert [len(by_name[name]["y"]) // 5 for name in ("best tenth", "better half", "the rest")] == [1, 4, 5]
    assert chart.data[-1]["name"] == "best tenth"  # drawn last, above all others
    told = {(mark["x"], mark["y"]): mark["text"] for mark in chart.layout["annotations"]}
    assert (told[0, 0.0], told[0, 1.0]) == ("1e-09", "1") and (told[2, 0.25], told[2, 0.75]) == ("a", "b")


def test_of_very_many_settings_the_best_are_drawn_and_that_is_said():
    rows = [row(p / 2000, lr=p + 1, momentum=p / 9999, model="ab"[p % 2]) for p in range(2000)]
    chart = sweep_charts.sweep(rows, "val_accuracy")
    drawn = [len(one["y"]) // 5 for one in chart.data]
    assert sum(drawn) == sweep_charts.MOST and "of 2,000" in chart.about


def test_a_comparison_without_an_interval_has_none():
    rows: list[dict[str, object]] = [{"name": "cutout", "difference": 0.5}, {"name": "tta", "difference": None}]
    data = accepted(study_charts.forest(rows, "bought", "points")).data[0]
    assert data["x"] == [0.5] and data["error_x"]["array"] == [0.0]
    assert study_charts.forest(rows[1:], "bought", "points") is None
    assert study_charts.ranges([{"rates": [0.1], "smoothed": [None]}], None) is None


def test_the_best_so_far_leaves_out_what_was_ended_early():
    tried: list[dict[str, object]] = [
        {"value": 0.5},
        {"value": None},
        {"value": 0.9, "stopped": True},
        {"value": 0.4},
        {"value": 0.6},
    ]
    line, dots = accepted(study_charts.steps(tried, "val_accuracy")).data
    assert line["x"] == [1, 4, 5] and line["y"] == [0.5, 0.5, 0.6] and dots["x"] == [1, 3, 4, 5]
    assert accepted(study_charts.steps(tried, "val_loss")).data[0]["y"] == [0.5, 0.4, 0.4]
    assert study_charts.steps([{"value": None}], "val_loss") is None


def test_colours_follow_the_page_and_pictures():
    assert charts.resolved({"a": ["--blue", "--nothing", 3]}) == {"a": ["#0068b3", "--nothing", 3]}
    assert charts.resolved("--blue", dark=True) == charts.COLOURS["blue"][1]


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("shade", [0, 1])
def test_text_and_lines_stand_out_from_the_page(shade):
    """WCAG 2.2: contrast of text at least 4.5, of graphics at least 3."""
    page = luminance(charts.COLOURS["page"][shade])
    least_of = {"text": 7, "soft": 4.5, "strong-line": 3} | dict.fromkeys(study_charts.SERIES, 4.5)
    for name, least in least_of.items():
        light, dark = sorted([page, luminance(charts.COLOURS[name][shade])], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= least, name


@pytest.mark.parametrize(
    ("figure", "value", "said"),
    [
        ("test_accuracy", 0.98765, "98.77 %"),
        ("val_loss", 0.123456, "0.1235"),
        ("train_s", 3.14159, "3.14 s"),
        ("total_s", 600.0, "10.0 min"),
        ("total_s", 9000.0, "2.5 h"),
        ("val_accuracy", None, "–"),
        ("val_accuracy", math.nan, "–"),
    ],
)
def test_figures_are_written_with_their_unit(figure, value, said):
    assert figures.written(figure, value) == said


def test_settings_are_written_as_they_are_typed():
    settings = {"lr": 0.1, "batch_size": 64, "cutout": False, "tta": True, "width": None, "ghost.on": True, "wd": 1 / 3}
    said = "lr = 0.1, batch_size = 64, without cutout, with tta, width = none, ghost.on = true, wd = 0.3333"
    assert figures.label(settings) == said and figures.label(settings, 8) == "lr = 0.…"
    assert figures.label({}) == "the recipe as it is"
