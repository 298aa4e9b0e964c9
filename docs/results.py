"""Writes the README's table of results from records/*/record.json; the format is told in records/README.md.

python docs/results.py [--check]

With --check nothing is written; the exit status is 1 where the table is not what the records say.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- results: made by docs/results.py -->", "<!-- end of results -->"
FIELDS = ("what", "command", "commit", "machine", "n", "figures", "note")
UNITS = {"fraction": "{:.2%}", "s": "{:.1f} s", "ms": "{:.2f} ms", "images/s": "{:,.0f} images/s", "ratio": "{:.3g} ×"}
UNITS |= {"GB": "{:.2f} GB", "count": "{:,.0f}", "exponent": "{:.2f}"}
FIRST = ("time-to-94", "rivals", "training", "batches", "loop", "start", "growth", "lanes")
"""What the names of records begin with, after the day, in the table's order; all others follow."""
COLUMNS = ("what", "result", "interval", "n", "command")


def records(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Name and content of each record, in the order of the names. Raises ValueError for one that lacks a field."""
    found = []
    for path in sorted(folder.glob("*/record.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        missing = [field for field in FIELDS if field not in record]
        if missing:
            raise ValueError(f"{path} lacks {', '.join(missing)}")
        for name, figure in record["figures"].items():
            if figure.get("unit") not in UNITS:
                raise ValueError(f"{path}: the unit of {name} is one of {', '.join(UNITS)}: got {figure.get('unit')!r}")
        found.append((path.parent.name, record))
    return found


def row(name: str, record: dict[str, Any]) -> tuple[str, ...] | None:
    """The table's row of one record, its figures one below the other; None where it shows none."""
    shown: list[str] = []
    intervals: dict[str, None] = {}
    for figure_name in record.get("readme", record["figures"]):
        figure = record["figures"][figure_name]
        value, low, high = (
            UNITS[figure["unit"]].format(figure[key]) if figure.get(key) is not None else None
            for key in ("value", "low", "high")
        )
        interval = f" ({low} to {high})" if low and high else ""
        intervals |= {figure["interval"]: None} if interval else {}
        count = f", n = {figure['n']}" if figure.get("n", record["n"]) != record["n"] else ""
        shown.append(f"{figure_name}: {value}{interval}{count}")
    what, told = f"[{record['what']}](records/{name})", "; ".join(intervals)
    return (what, "<br>".join(shown), told, str(record["n"]), f"`{record['command']}`") if shown else None


def place(name: str) -> tuple[int, list[str | int]]:
    """Where a record stands in the table: numbers in its name by their size."""
    kind = name.partition("_")[2]
    group = next((i for i, start in enumerate(FIRST) if kind.startswith(start)), len(FIRST))
    return group, [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", kind)]


def table(folder: Path) -> str:
    """All records that show a figure, as Markdown: a table for each machine, below its name."""
    machines: dict[str, list[tuple[str, ...]]] = {}
    for name, record in sorted(records(folder), key=lambda pair: place(pair[0])):
        if made := row(name, record):
            machines.setdefault(f"{record['machine']['cpu']}, {record['machine']['cores']} cores", []).append(made)
    tables = [
        "\n".join(
            [f"On {machine}:", ""]
            + [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in (COLUMNS, ("---",) * 5, *lines)]
        )
        for machine, lines in machines.items()
    ]
    return "\n\n".join(tables) or "No results have been recorded yet."


def renewed(readme: str, block: str) -> str:
    """The README with what stands between the two comments replaced."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README needs {BEGIN} and {END}")
    return f"{before}{begin}\n{block}\n{end}{after}"


def main() -> None:
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = renewed(old, table(ROOT / "records"))
    if "--check" in sys.argv[1:]:
        sys.exit(None if new == old else "README.md: the table of results is not what records/ say: make docs")
    path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
