"""What the command line prints on standard output: JSON for scripts, tables for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MANY = 500
"""Of more rows than this, columns are as wide as they are: fitting them to the terminal would take seconds."""


def show_json(fields: dict[str, Any]) -> None:
    """Exactly one JSON object, in ASCII: any terminal and any file name."""
    print(json.dumps(fields))


def printable(text: str) -> str:
    """Text without control characters: names come from files, and could move the cursor or change colours."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def show_result(result: dict[str, Any], as_json: bool) -> None:
    """A run's figures: all as JSON, or the few that matter as text."""
    if as_json:
        show_json(result)
        return
    times, accuracy = result["time_s"], result["test_accuracy"]
    said = f"test accuracy {accuracy:.2%} (n={result['test_n']})" if accuracy is not None else "no test accuracy"
    if accuracy is None and result["test_loss"] is not None:
        said = f"test loss {result['test_loss']:.4f} (n={result['test_n']})"
    print(
        f"{said} after {result['epochs']:g} epochs, {result['steps']} steps\n"
        f"{result['model']}, {result['params']:,} parameters, {result['images_per_s']:,.0f} images/s\n"
        f"{times['total']:.1f} s in all: load {times['load']:.1f}, prepare {times['prepare']:.1f}, "
        f"train {times['train']:.1f}, evaluate {times['evaluate']:.1f}\n{result['run']}"
    )


def show_card(fields: dict[str, Any], as_json: bool) -> None:
    """One entry: a field a line."""
    if as_json:
        show_json(fields)
        return
    for key, value in fields.items():
        lines = [f"{k} = {v}" for k, v in value.items()] if isinstance(value, dict) else None
        lines = lines if lines is not None else [str(v) for v in value] if isinstance(value, list) else [str(value)]
        text = printable("\n".join(lines or ["none"]))
        print(f"{key + ':':<16}{text.replace(chr(10), chr(10) + ' ' * 16)}")


def show_technique(card: dict[str, Any], as_json: bool) -> None:
    """A technique's card, with its settings and what they may be in one line each, and its cost in a sentence."""
    if as_json:
        show_json(card)
        return
    allows = {
        key: f"   in {range_}" if isinstance(range_, str) else f"   one of {', '.join(range_)}"
        for key, range_ in card["allows"].items()
    }
    settings = {key: f"{value}{allows.get(key, '')}" for key, value in card["settings"].items()}
    shown = {key: value for key, value in card.items() if key not in ("allows", "cost")}
    show_card(shown | {"settings": settings, "measured here": _cost(card["cost"])}, False)


def _cost(cost: dict[str, Any] | None) -> list[str]:
    if cost is None:
        return ["not measured here"]
    told = [
        f"{what} × {row['median']:.3g} [{row['low']:.3g}, {row['high']:.3g}], n={row['n']}"
        for what, row in (("time of an epoch", cost["step_time"]), ("peak memory", cost["peak_memory"]))
    ]
    return [*told, f"{cost['setting']}; {cost['machine']}; commit {cost['commit']}, {cost['day']}", cost["command"]]


def show_plot(curves: dict[str, list[float]], as_json: bool) -> None:
    """Curves over the progress of a training: each drawn, with its value at every tenth; or all as JSON."""
    if as_json:
        show_json(curves)
        return
    progress = curves["progress"]
    tenths = range(0, len(progress), len(progress) // 10)
    for name, values in curves.items():
        if name != "progress":
            print(f"{name}\n{drawn(values, low=min(values) if name == 'momentum' else 0.0)}")
            print(f"{'':>9}  0{'progress':^58}1\n")
    rows = [{name: values[place] for name, values in curves.items()} for place in tenths]
    show_rows(rows, tuple(curves), False, "values")


def drawn(values: list[float], low: float = 0.0, columns: int = 60, rows: int = 10) -> str:
    """A chart in text: a column for each of the evenly spaced values, from `low` up, in eighths of a row."""
    high = max(values)
    span = (high - low) or 1.0
    points = [values[round(place * (len(values) - 1) / (columns - 1))] for place in range(columns)]
    heights = [round(8 * rows * (value - low) / span) for value in points]
    lines = []
    for row in range(rows - 1, -1, -1):
        filled = "".join(" ▁▂▃▄▅▆▇█"[min(8, max(0, height - 8 * row))] for height in heights)
        label = {rows - 1: f"{high:.4g}", 0: f"{low:.4g}"}.get(row, "")
        lines.append(f"{label:>9} ┤{filled}".rstrip())
    return "\n".join(lines)


def show_rows(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool, name: str) -> None:
    """A table on standard output, or ``{name: rows}`` as JSON."""
    if as_json:
        show_json({name: rows})
        return
    if len(rows) > MANY:
        cells = [columns, *(tuple(_cell(row.get(column)).replace("\n", " ") for column in columns) for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(Text(printable(column)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=100_000)
    console.print(table)


def show_trials(path: Path, as_json: bool) -> None:
    """The trainings of a study."""
    from .experiments.study import Study

    study = Study.open(path)
    figure, trials = study.about["figure"], study.trials()
    if as_json:
        return show_json({"study": str(path), "trials": [vars(trial) for trial in trials]})
    names = dict.fromkeys(name for trial in trials for name in trial.settings)
    rows = [
        {"trial": trial.number, "seed": trial.seed, "state": trial.state, "run": trial.run, "problem": trial.problem}
        | {name: trial.settings.get(name) for name in names}
        | {name: trial.figures.get(name) for name in (figure, "train_s")}
        for trial in trials
    ]
    columns = ("trial", *names, "seed", "state", figure, "train_s", "run")
    return show_rows(rows, columns + (("problem",) if any(row["problem"] for row in rows) else ()), False, "trials")


def show_studies(paths: list[Path], as_json: bool) -> None:
    """Studies, each with how many of its trainings are done and have failed."""
    from .experiments.study import Study
    from .mistake import Mistake

    rows = []
    for path in paths:
        row: dict[str, Any] = {"study": str(path)}
        try:
            study = Study.open(path)
            states = [trial.state for trial in study.trials()]
            row |= {"kind": study.about["kind"], "data": study.about["data"], "recipe": study.about["recipe"]["name"]}
            row |= {"trials": len(states), "done": states.count("done"), "failed": states.count("failed")}
        except Mistake as mistake:
            row["problem"] = str(mistake)
        rows.append(row)
    columns = ("study", "kind", "data", "recipe", "trials", "done", "failed")
    show_rows(rows, columns + (("problem",) if any("problem" in row for row in rows) else ()), as_json, "studies")


def show_comparisons(found: dict[str, Any]) -> None:
    """What each technique buys as a table, the most first, then in sentences."""
    columns = ["left out", "added"]
    rows = []
    for one in found["comparisons"]:
        row = {name: one.get(name.replace(" ", "_")) for name in columns}
        for what, part in (("", one), ("seconds", one["seconds"]), ("test", one.get("test", {}))):
            values = [part.get("difference"), part.get("low"), part.get("high")]
            row[what or found["unit"]], row[f"{what} low".strip()], row[f"{what} high".strip()] = [
                None if value is None else f"{value:+.3g}" for value in values
            ]
        rows.append(row | {"n": one["n"], "p": one["p_holm"], "verdict": one["verdict"]})
    columns = [name for name in columns if any(row[name] for row in rows)]
    columns += ["n", found["unit"], "low", "high", "p", "seconds", "seconds low", "seconds high"]
    columns += ["test", "test low", "test high"] if "test" in found["comparisons"][0] else []
    show_rows(rows, (*columns, "verdict"), False, "comparisons")
    idle = [f"{one.get('left_out', one.get('added'))} is not measured: {one['why']}." for one in found["not_measured"]]
    sentences = [one["said"] for one in found["comparisons"]] + idle, found["notes"]
    print(printable("\n\n".join("\n".join(part) for part in sentences if part)))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else printable(str(value))
