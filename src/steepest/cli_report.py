"""The commands that tell what came of trainings: compare, report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .cli_show import printable, show_json, show_rows
from .cli_use import Json

Side = Annotated[str, typer.Argument(help='A run folder, a study folder, or "STUDY: name=value" for some of its rows.')]


def compare(
    a: Side,
    b: Side,
    margin: Annotated[
        float | None, typer.Option(help="They perform the same where they differ by less: points for an accuracy.")
    ] = None,
    figure: Annotated[str | None, typer.Option(help="What is compared, like val_accuracy.")] = None,
    as_json: Json = False,
) -> None:
    """Tell how two runs or two studies differ, with intervals, and whether they perform the same."""
    from .experiments.compare import compare as compared

    found = compared(a, b, margin=margin, figure=figure)
    if as_json:
        return show_json(found)
    for note in found["notes"]:
        print(f"steepest: {printable(note)}", file=sys.stderr)
    rows = found["rows"]
    if len(rows) == 1:
        return print(printable(rows[0]["said"]))
    cells = [row["settings"] | row | {side: (row[side] or {}).get("mean") for side in "ab"} for row in rows]
    names = dict.fromkeys(name for row in rows for name in row["settings"])
    print(f"{found['figure']}, a - b in {found['unit'] or 'its unit'}, 95 % intervals for all rows at once")
    columns = (*names, "a", "b", "difference", "low", "high", "p_holm", "n", "verdict")
    return show_rows(cells, columns, False, "rows")


def report(
    path: Annotated[Path, typer.Argument(metavar="RUN|STUDY", help="A run folder or a study folder.")],
    out: Annotated[Path | None, typer.Option(help="The page's file, or a folder for it.")] = None,
    png: Annotated[bool, typer.Option("--png", help="Write each chart as PNG and SVG too.")] = False,
    as_json: Json = False,
) -> None:
    """Write a page of plots and tables that opens offline."""
    from .report import write

    place = write(path, out, png)
    return show_json({"page": str(place)}) if as_json else print(place)
