"""The page of a study: what its best setting reached and how sure that is, the comparison, curves, every trial."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import stats
from ..experiments.ledger import DONE, FAILED, Trial
from ..experiments.study import Study
from ..mistake import Mistake
from ..recipe import Recipe
from ..run import Run
from . import page
from .charts import Chart, finite, thinned
from .figures import (
    grouped,
    interval,
    label,
    listed,
    lower_is_better,
    named,
    number,
    sample,
    seconds,
    sentence,
    setting,
    written,
)
from .outcome import compared, comparisons, range_test, recommended, search
from .page import Cell, Page, Section, Table, Tile, left_out
from .run_page import data_facts, machine_facts
from .study_charts import bands
from .sweep_charts import Row, best, changed_one_by_one, of, sweep, varied

CURVES = 4
"""Settings whose curves are drawn, and read: the best ones."""
SEEDS = 20
"""Curves, at most, of each."""
MOST_LETTERS = 400
"""Of what was varied, told in one line."""
AXES = 8
"""Settings that have a column of their own in a table."""


def page_of_study(path: Path) -> Page:
    """The page of a study folder. Raises Mistake for a damaged one."""
    study = Study.open(path)
    if missing := [name for name in ("kind", "name", "recipe", "figure", "storage") if name not in study.about]:
        raise Mistake(f"{path / 'study.json'} is damaged: it has no {missing[0]}")
    trials = study.trials()
    rows, figure = study.rows(trials), str(study.about["figure"])
    found = study.read("result.json") if (path / "result.json").is_file() else {}
    ranked = best(rows, figure)
    first = _first(ranked, study.about["kind"])
    done = [trial for trial in trials if trial.state == DONE and not study.confirms(trial)]
    tiles = _tiles(trials, rows, first, found)
    shown = _shown(study, first, ranked, done)
    return Page(
        kind=str(study.about["kind"]),
        title=path.resolve().name,
        headline=recommended(found) or _headline(first, figure),
        summary=_summary(study.about, rows, first, found),
        tiles=tiles,
        notices=[*_notices(trials), *map(sentence, listed(found, "warnings"))],
        sections=[
            *comparisons(found),
            *search(found, figure),
            *range_test(found),
            *_settings(rows, figure, done),
            *_curves(shown),
            *_trials(trials, figure),
            _origin(study, [run for _, _, runs in shown for run in runs]),
        ],
    )


def _first(ranked: Sequence[Row], kind: str) -> Row | None:
    """What the page is headed by: of an ablation the whole recipe; else the best of the settings with most seeds."""
    whole = [row for row in ranked if not row["settings"]] if kind == "ablate" else []
    most = max((row["n"] for row in ranked), default=0)
    return next(iter([*whole, *(row for row in ranked if row["n"] == most)]), None)


def _headline(row: Row | None, figure: str) -> Tile:
    if row is None:
        return Tile(named(figure), "–", "no trial has finished, n = 0")
    if fresh := _confirmed(row, figure):
        return Tile(named(figure), written(figure, fresh["mean"]), _sure(figure, fresh, "fresh seed"))
    return Tile(named(figure), written(figure, row[figure]["mean"]), _sure(figure, row[figure]))


def _confirmed(row: Row, figure: str) -> dict[str, Any]:
    """What a setting came to with seeds by which nothing was chosen; empty where it was not trained so."""
    return grouped(grouped(row, "confirmed"), figure)


def _sure(figure: str, one: Mapping[str, Any], what: str = "seed") -> str:
    """How sure a mean is: its interval, or that there is none, and n."""
    ends = interval(figure, one.get("low"), one.get("high"))
    return f"{f'95 % interval {ends}' if ends else 'no interval'}, {sample(one['n'], what)}"


def _summary(about: Mapping[str, Any], rows: Sequence[Row], first: Row | None, found: Mapping[str, Any]) -> str:
    start = f"Recipe {about['recipe'].get('name')} on {about.get('data')}"
    if first is None:
        return f"{start}."
    barnacles = [str(one.get("name")) for one in compared(found) if one["barnacle"]]
    if about["kind"] == "ablate":
        said = f" Barnacles, which could go: {', '.join(barnacles)}." if barnacles else ""
        return f"{start}, as it is; {len(compared(found))} changes of it are compared with it.{said}"
    if len(rows) == 1:
        return f"{start}, {label(first['settings'])}."
    known = sum(row["n"] > 0 for row in rows)
    luck = "The best of many is partly luck: trained anew it will likely reach a little less."
    if _confirmed(first, str(about["figure"])):
        luck = "The figure above is of trainings with fresh seeds, by which nothing was chosen."
    return f"{start}: {label(first['settings'])}, the best of {known:,} settings. {luck}"


def _tiles(trials: Sequence[Trial], rows: Sequence[Row], first: Row | None, found: Mapping[str, Any]) -> list[Tile]:
    states = Counter(trial.state for trial in trials)
    tiles = [
        Tile("settings", f"{len(rows):,}"),
        Tile("trials", f"{len(trials):,}", ", ".join(f"{many:,} {state}" for state, many in states.items())),
    ]
    tested = grouped(found, "test_accuracy")  # of a search's winner
    if number(tested, "mean") is not None and tested.get("n") is not None:
        tiles.append(Tile("test accuracy", written("test_accuracy", tested["mean"]), _sure("test_accuracy", tested)))
    for name in ("test_accuracy", "val_loss", "train_accuracy", "train_s"):
        if first is not None and (one := first.get(name)):
            tiles.append(Tile(named(name), written(name, one["mean"]), _sure(name, one)))
    spent = sum(number(trial.figures, "total_s") or 0.0 for trial in trials)
    return [*tiles, Tile("time of all trials", seconds(spent), "added up")] if spent else tiles


def _notices(trials: Sequence[Trial]) -> list[str]:
    states = Counter(trial.state for trial in trials)
    told = []
    if not trials:
        told.append("No trial has begun.")
    if states["running"]:
        told.append(f"{states['running']:,} trials have not ended: this is how the study stands now.")
    if states[FAILED]:
        told.append(
            f"{states[FAILED]:,} of {len(trials):,} trials failed: they count in no mean; see the table of trials."
        )
    return told


def _settings(rows: Sequence[Row], figure: str, done: Sequence[Trial]) -> list[Section]:
    """The sweep's chart, and a row a setting."""
    if not rows:
        return []
    ranked = [*best(rows, figure), *(row for row in rows if not row.get(figure))]
    names = varied(rows)
    if len(names) > AXES or changed_one_by_one(rows):
        names = []
    others = [name for name in ("test_accuracy", "val_loss", "train_s") if any(name in row for row in rows)]
    sure = any((row.get(figure) or {}).get("low") is not None for row in rows)
    fresh = any(_confirmed(row, figure) for row in rows)
    cells = []
    for row in ranked[: page.MOST_ROWS]:
        one = row.get(figure) or {"mean": None, "n": 0}
        line = [_value(of(row, name)) for name in names] or [Cell(label(row["settings"]))]
        line += [Cell(str(row["n"]), row["n"]), Cell(str(row["failed"]), row["failed"])]
        line.append(Cell(written(figure, one["mean"]), one["mean"]))
        if sure:
            line.append(Cell(interval(figure, one.get("low"), one.get("high")) or "–", one.get("low")))
        if fresh:
            line.append(_anew(figure, _confirmed(row, figure)))
        for name in others:
            mean = (row.get(name) or {}).get("mean")
            line.append(Cell(written(name, mean), mean))
        cells.append(line)
    columns = (*(names or ["settings"]), "n", "failed", named(figure), *["95 % interval"] * sure)
    columns += (*["with fresh seeds"] * fresh, *map(named, others))
    table = Table("Settings, best first", columns, cells, left_out(len(ranked)))
    dots = [(trial.settings, value) for trial in done if (value := number(trial.figures, figure)) is not None]
    chart = sweep(rows, figure, dots)
    about = f"Of each figure the mean over seeds. {'Less' if lower_is_better(figure) else 'More'} is better."
    return [Section("Settings", about, charts=[chart] if chart else [], tables=[table])]


def _anew(figure: str, one: Mapping[str, Any]) -> Cell:
    """What a setting reached with fresh seeds."""
    return Cell(f"{written(figure, one['mean'])}, {sample(one['n'])}", one["mean"]) if one else Cell("–")


def _value(value: Any) -> Cell:
    return Cell(setting(value), finite(value))


Shown = tuple[str, list[list[Mapping[str, Any]]], list[Run]]


def _shown(study: Study, first: Row | None, ranked: Sequence[Row], done: Sequence[Trial]) -> list[Shown]:
    """Label, curves and run folders of the settings whose curves are drawn."""
    if first is None:
        return []
    chosen = [first, *(row for row in ranked if row is not first)][:CURVES]
    names = varied(ranked)
    wanted: dict[frozenset[tuple[str, Any]], list[Trial]] = {_key(row["settings"]): [] for row in chosen}
    for trial in done:
        if len(group := wanted.get(_key(trial.settings), [])) < SEEDS:
            group.append(trial)
    found = []
    for row in chosen:
        trials = wanted[_key(row["settings"])]
        curves: list[list[Mapping[str, Any]]] = [list(study.curve(trial)) for trial in trials]
        runs = [run for trial in trials if (run := study.run(trial)) is not None]
        differs = {name: value for name, value in row["settings"].items() if name in names}
        found.append((f"{label(differs, 40)}, n = {len(trials)}", curves, runs))
    return found


def _key(settings: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset(settings.items())


def _curves(shown: Sequence[Shown]) -> list[Section]:
    charts: list[Chart | None] = []
    for what in ("accuracy", "loss"):
        series = []
        for name, curves, _ in shown:
            together: dict[float, list[Mapping[str, Any]]] = {}
            for point in (point for curve in curves for point in curve):
                if (epoch := number(point, "epoch")) is not None:
                    together.setdefault(epoch, []).append(point)
            epochs = thinned(sorted(together))
            parts = {
                part: [_mean([number(point, f"{part}_{what}") for point in together[epoch]], what) for epoch in epochs]
                for part in ("train", "val")
            }
            series.append((name, parts, epochs))
        charts.append(bands(series, what))
    drawn = [chart for chart in charts if chart is not None]
    said = "Solid: validation, the mean over seeds with its 95 % interval as a band. Dotted: training."
    said = f"The best {len(shown)} settings. {said}" if len(shown) > 1 else said
    return [Section("Curves", said, charts=drawn)] if drawn else []


def _mean(values: Sequence[float | None], what: str) -> dict[str, Any]:
    real = [value for value in values if value is not None]
    return dict(vars(stats.mean_of(what, real))) if real else {"n": 0, "mean": None, "low": None, "high": None}


def _trials(trials: Sequence[Trial], figure: str) -> list[Section]:
    """Every trial, the failed ones first where not all can be shown."""
    if not trials:
        return []
    shown = sorted(trials, key=lambda trial: (trial.state != FAILED, trial.number))[: page.MOST_ROWS]
    cells = [
        [
            Cell(str(trial.number), trial.number),
            Cell(label(trial.settings)),
            Cell(str(trial.seed), trial.seed),
            Cell(f"{trial.state}: {trial.problem}" if trial.problem else trial.state),
            Cell(written(figure, number(trial.figures, figure)), number(trial.figures, figure)),
            Cell(written("total_s", number(trial.figures, "total_s")), number(trial.figures, "total_s")),
        ]
        for trial in shown
    ]
    columns = ("trial", "settings", "seed", "state", named(figure), "time")
    return [Section("Trials", tables=[Table("Every trial", columns, cells, left_out(len(trials)))])]


def _origin(study: Study, runs: Sequence[Run]) -> Section:
    """All that is needed to make the study again, and to know whether it is the same."""
    about = study.about
    facts = [("data", str(about.get("data")))]
    for run in runs[:1]:
        facts = data_facts(run.read("data.json"))
    machines: dict[str, dict[str, Any]] = {}
    for run in runs:
        try:
            machines.setdefault(json.dumps(found := run.read("environment.json"), sort_keys=True), found)
        except Mistake:
            continue  # a page can do without one trial's machine
    for machine in machines.values():
        facts += machine_facts(machine)
    facts += [("seeds", ", ".join(map(str, listed(about, "seeds")))), ("study folder", str(study.path))]
    texts = [("Command", str(about["command"]))] if about.get("command") else []
    texts.append(("Recipe", Recipe.from_dict(about["recipe"]).to_toml()))
    return Section("Where it comes from", facts=[*_vary(grouped(about, "vary")), *facts], texts=texts)


def _vary(asked: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was varied, a line each, whatever the form of the study's kind."""
    found = []
    for name, value in asked.items():
        parts = value.items() if isinstance(value, dict) else [(name, value)] if value not in ([], None) else []
        for key, part in parts:
            text = ", ".join(map(setting, part)) if isinstance(part, list) else setting(part)
            found.append((f"varied: {key}", text if len(text) <= MOST_LETTERS else text[:MOST_LETTERS] + "…"))
    return found
