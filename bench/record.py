"""Runs another bench and files what it saw as a record (see records/README.md).

    python bench/record.py NAME SCRIPT [ARGUMENT …]        e.g. python bench/record.py loop bench/loop.py

The record lies in records/DAY_NAME/: record.json, and beside it bench.json, which is what the bench printed. A
record that is made again keeps its title, its note, and its choice of figures for the README.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interleave import accuracy, machine, write

RECORDS = Path(__file__).parents[1] / "records"
UNITS = {
    "_s": "s",
    "_fraction": "fraction",
    "_gb": "GB",
    "exponent": "exponent",
    "kills": "count",
    "trainings": "count",
    "models_equal": "count",
    "torn": "count",
}
MANY = 40
"""More figures than this are not for the README's table."""
FEW = 6
"""Of fewer rounds the bootstrap's interval is their range, which holds the true median less often than 95 %."""
Figure = tuple[str, dict[str, Any]]


def figures(seen: dict[str, Any], what: str = "") -> Iterator[Figure]:
    """Every ratio, accuracy and number with a unit in what a bench printed, under a name that tells what it is."""
    for row in seen.get("rows", ()):
        for name, figure in figures({key: value for key, value in row.items() if key != "what"}, row["what"]):
            yield name, figure | ({"n": row["n"]} if "n" in row else {})
    for key, value in seen.items():
        told = key.removesuffix("_s").removesuffix("_gb").replace("_", " ")
        name = f"{what}, {told}" if what else told
        unit = next((unit for end, unit in UNITS.items() if key.endswith(end)), None)
        if isinstance(value, dict) and {"median", "low", "high"} <= value.keys():
            kind = value.get("interval", "95 %, bootstrap over rounds" if value["n"] >= FEW else "range of the rounds")
            ends = {"low": value["low"], "high": value["high"], "interval": kind}
            yield name, {"value": value["median"], "unit": "ratio"} | (ends if value["n"] > 1 else {})
        elif isinstance(value, dict) and {"share", "low", "high", "interval"} <= value.keys():
            yield (
                name,
                {"value": value["share"], "unit": "fraction"}
                | {end: value[end] for end in ("low", "high", "interval")},
            )
        elif key == "ratio":
            yield from figures(value, what)
        elif key in ("test_accuracy", "val_accuracy"):
            yield name, accuracy(value)
        elif unit and isinstance(value, int | float) and not isinstance(value, bool) and "limit" not in key:
            short = unit == "s" and value < 1
            yield name, {"value": 1000 * value, "unit": "ms"} if short else {"value": value, "unit": unit}


def rounds(seen: Any) -> list[int]:
    """Every n that a bench tells of."""
    if isinstance(seen, dict):
        own = [seen["n"]] if isinstance(seen.get("n"), int) else []
        return own + [n for value in seen.values() for n in rounds(value)]
    return [n for value in seen for n in rounds(value)] if isinstance(seen, list) else []


def asked(command: list[str]) -> list[str]:
    """Without where the data lie on this machine."""
    words = iter(command)
    return [word for word in words if word != "--data-dir" or not next(words)]


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit((__doc__ or "").strip())
    name, *command = sys.argv[1:]
    described = machine()
    done = subprocess.run([sys.executable, *command, "--json"], check=True, stdout=subprocess.PIPE, text=True)
    seen = json.loads(done.stdout)
    record = {
        "what": (Path(command[0]).read_text(encoding="utf-8").partition("\n")[0]).strip('"'),
        "command": f"python {' '.join(asked(command))}",
        "commit": described["commit"],
        "machine": described,
        "n": min(rounds(seen), default=1),
        "figures": dict(figures(seen)),
        "note": "",
    }
    if len(record["figures"]) > MANY:
        record["readme"] = []
    if earlier := sorted(RECORDS.glob(f"[0-9]*_{name}/record.json")):  # what was written by hand stays
        old = json.loads(earlier[-1].read_text(encoding="utf-8"))
        record |= {field: old[field] for field in ("what", "note", "readme") if field in old}
    folder = RECORDS / f"{described['day']}_{name}"
    write(folder / "record.json", record)
    write(folder / "bench.json", seen)


if __name__ == "__main__":
    main()
