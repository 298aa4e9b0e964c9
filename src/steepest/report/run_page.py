"""The page of one run: what it reached and how sure that is, its curves, its mistakes, and how to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..mistake import Failure, Mistake
from ..run import Run
from ..stats import wilson
from . import mistakes, page
from .charts import Chart, confusion, finite, run_curve, schedule
from .figures import count, grouped, interval, large, listed, named, number, sample, seconds, written
from .page import Cell, Page, Picture, Section, Table, Tile, left_out

MOST_CLASSES = 40
"""Classes of a confusion matrix that is still drawn."""


def page_of_run(run: Run) -> Page:
    """The page of a run folder. Raises Mistake for a damaged one."""
    asked, data = run.read("run.json"), run.read("data.json")
    result = run.result if run.done else {}
    curve = [point for point in run.curve if number(point, "epoch") is not None]
    notices, found = [], {}
    if not run.done:
        epoch = f"epoch {curve[-1]['epoch']:g}" if curve else "its first measurement"
        notices.append(f"This run has not ended: it stands after {epoch}. Go on with: steepest resume {run.path}")
    elif (run.path / "model.safetensors").is_file():
        try:
            found = mistakes.evaluated(run)
        except (Mistake, Failure) as error:
            notices.append(f"Mistakes and classes are not shown: {error}")
    if result.get("ended") not in (None, "done"):
        notices.append(f"Ended early: {result['ended']}.")
    tiles = _tiles(result, data, curve)
    return Page(
        kind="run",
        title=run.path.resolve().name,
        headline=tiles[0],
        summary=_summary(asked, result, run.read("environment.json"), run.recipe.name),
        tiles=tiles[1:],
        notices=notices,
        sections=[
            *_curves(curve, result),
            *_mistakes(found),
            *_classes(found),
            _origin(run, asked, data),
        ],
    )


def share(name: str, accuracy: float, n: float | None) -> Tile:
    """An accuracy with n and its 95 % Wilson interval."""
    if not n or not 0 <= accuracy <= 1:
        return Tile(named(name), written(name, accuracy), "n not known")
    low, high = wilson(round(accuracy * n), int(n))
    return Tile(named(name), written(name, accuracy), f"95 % interval {interval(name, low, high)}, {sample(n)}")


def _tiles(result: Mapping[str, Any], data: Mapping[str, Any], curve: Sequence[Mapping[str, Any]]) -> list[Tile]:
    """The figures in the order of their rank: the first is the headline."""
    last = curve[-1] if curve else {}
    n = {"test": number(result, "test_n") or number(data, "test"), "val": number(data, "val")}
    tiles = []
    for part in ("test", "val"):
        for what in ("accuracy", "loss"):
            name = f"{part}_{what}"
            value = number(result, name) if part == "test" or result else number(last, name)
            if value is not None:
                told = share(name, value, n[part])
                tiles.append(told if what == "accuracy" else told._replace(detail=sample(n[part])))
    for name in ("train_accuracy", "train_loss"):
        value = number(result or last, name)
        if value is not None:
            tiles.append(Tile(named(name), written(name, value), "while training"))
    tiles = tiles or [Tile("measured so far", "nothing", "")]
    times = grouped(result, "time_s")
    if (total := number(times, "total")) is not None:
        parts = [
            f"{part} {seconds(value)}"
            for part in ("load", "prepare", "train", "evaluate")
            if (value := number(times, part))
        ]
        tiles.append(Tile("time in all", seconds(total), ", ".join(parts)))
    if (speed := number(result, "images_per_s")) is not None:
        tiles.append(Tile("images a second", count(speed), "while training"))
    if (params := number(result, "params")) is not None:
        tiles.append(Tile("parameters", large(params), f"{large(number(result, 'flops_per_image'))} FLOPs an image"))
    return tiles


def _summary(asked: Mapping[str, Any], result: Mapping[str, Any], machine: Mapping[str, Any], recipe: str) -> str:
    request = grouped(asked, "request")
    text = f"Recipe {recipe} on {request.get('data')}, seed {request.get('seed')}"
    if (epochs := number(result, "epochs")) is not None:
        text += f", {epochs:g} epochs ({count(number(result, 'steps'))} steps)"
    threads = asked.get("threads")
    where = machine.get("gpu") or machine.get("processor")
    return f"{text}, on {where} with {threads} thread{'s' * (threads != 1)}." if where else f"{text}."


def _curves(curve: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> list[Section]:
    charts: list[Chart | None] = []
    for what in ("accuracy", "loss"):
        mean, n = number(result, f"test_{what}"), number(result, "test_n")
        test = {"mean": mean, "n": n}
        if what == "accuracy" and mean is not None and n and 0 <= mean <= 1:
            test["low"], test["high"] = wilson(round(mean * n), int(n))
        charts.append(run_curve(curve, what, test))
    drawn = [chart for chart in (*charts, schedule(curve)) if chart is not None]
    about = "Solid: validation. Dotted: training, as the network saw the images (augmented, where the recipe says so)."
    return [Section("Curves", about, charts=drawn)] if drawn else []


def _mistakes(found: Mapping[str, Any]) -> list[Section]:
    worst = [one for one in listed(found, "mistakes") if isinstance(one, dict)]
    if not worst:
        return []
    pictures = []
    for one in worst:
        source = str(one.get("image") or "")
        sure = number(one, "probability")
        where = one.get("file") or f"{one.get('split')} row {one.get('row')}"
        pictures.append(
            Picture(
                source if source.startswith("data:image/png;base64,") else "",
                f"{one.get('true')} taken for {one.get('predicted')}",
                f"{100 * sure:.1f} % sure · {where}" if sure is not None else str(where),
            )
        )
    about = f"The {len(worst)} of which it was surest, of {count(number(found, 'n'))} {_set(found)} images."
    return [Section("Most confident mistakes", about, pictures=pictures)]


def _classes(found: Mapping[str, Any]) -> list[Section]:
    rows = [row for row in listed(found, "classes") if isinstance(row, dict)]
    if not rows:
        return []
    keys = ("precision", "recall", "f1")
    cells = [
        [Cell(str(row.get("name"))), Cell(count(number(row, "n")), number(row, "n"))]
        + [Cell("–" if (value := number(row, key)) is None else f"{100 * value:.1f} %", value) for key in keys]
        for row in rows
    ]
    table = Table("Each class", ("class", "n", *keys), cells[: page.MOST_ROWS], left_out(len(rows)))
    matrix = listed(found, "confusion")
    square = len(matrix) == len(rows) and all(
        isinstance(row, list) and len(row) == len(rows) and all(finite(count) is not None for count in row)
        for row in matrix
    )
    charts = [confusion([str(row.get("name")) for row in rows], matrix)] if square and len(rows) <= MOST_CLASSES else []
    return [Section("Classes", f"On the {_set(found)} images.", charts=charts, tables=[table], beside=True)]


def _set(found: Mapping[str, Any]) -> str:
    return {"test": "test", "val": "validation"}.get(str(found.get("split")), "evaluated")


def _origin(run: Run, asked: Mapping[str, Any], data: Mapping[str, Any]) -> Section:
    """All that is needed to make the run again, and to know whether it is the same."""
    return Section(
        "Where it comes from",
        facts=[
            *data_facts(data),
            *(("fitted to the data", str(note)) for note in listed(asked, "notes")),
            *machine_facts(run.read("environment.json")),
            ("run folder", str(run.path)),
        ],
        texts=[
            ("Command", str(asked.get("command") or "none: it was trained from Python")),
            ("Recipe", run.recipe.to_toml()),
        ],
    )


def data_facts(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    sizes = ", ".join(f"{key} {count(number(data, key))}" for key in ("train", "val", "test") if number(data, key))
    return [
        ("data", f"{data.get('data')} ({data.get('source')})"),
        ("images", f"{sizes}; each {'×'.join(map(str, listed(data, 'shape')))}"),
        ("data fingerprint", f"SHA-256 {data.get('fingerprint')}"),
    ]


def machine_facts(machine: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = grouped(machine, "versions")
    gpu = [("GPU", str(machine["gpu"]))] if machine.get("gpu") else []
    return [
        ("machine", f"{machine.get('processor')}, {machine.get('cores')} cores, {machine.get('memory_gib')} GiB"),
        *gpu,
        ("system", f"{machine.get('system')}, Python {machine.get('python')}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("commit", str(machine.get("commit") or "not known")),
    ]
