"""What the command line prints on standard output: JSON for scripts, tables for people."""

from __future__ import annotations

import json
from typing import Any


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


def show_rows(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool, name: str) -> None:
    """A table on standard output, or ``{name: rows}`` as JSON."""
    if as_json:
        show_json({name: rows})
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


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else printable(str(value))
