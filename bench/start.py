"""How soon the command line answers, the package is imported, and a first training is done.

    python bench/start.py [--processes 10] [--trainings 3] [--json]

Every figure is a median over whole processes, from starting one to its end: `steepest --help`; Python with
`import steepest` less Python without it, the two taken in turn; and `steepest train digits`, seeds 0, 1, …, which loads
PyTorch and the data, trains, tests and writes the run folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from interleave import interleaved, machine

STEEPEST = str(Path(sys.executable).with_name("steepest"))


def wall_s(*command: str) -> float:
    """Seconds from the start of a process to its end."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def answers(processes: int) -> list[dict[str, Any]]:
    """The command line's help, and what importing the package adds to Python's own start."""
    sides = {
        "help": lambda: wall_s(STEEPEST, "--help"),
        "import": lambda: wall_s(sys.executable, "-c", "import steepest"),
        "python": lambda: wall_s(sys.executable, "-c", "pass"),
    }
    seen = interleaved(sides, processes)
    beyond = np.subtract(seen.figures["import"], seen.figures["python"])
    return [
        row("steepest --help", seen.median("help"), 0.5, processes),
        row("import steepest, beyond Python", float(np.median(beyond)), 0.1, processes),
    ]


def trainings(count: int) -> dict[str, Any]:
    """`steepest train digits` in a cold process."""
    times, accuracies = [], []
    for seed in range(count):
        with tempfile.TemporaryDirectory() as out:
            command = [STEEPEST, "train", "digits", "--seed", str(seed), "--out", out, "--json"]
            begin = time.perf_counter()
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            times.append(time.perf_counter() - begin)
            accuracies.append(json.loads(done.stdout)["test_accuracy"])
    return row("steepest train digits", float(np.median(times)), 20.0, count) | {"test_accuracy": accuracies}


def row(what: str, median_s: float, limit_s: float, n: int) -> dict[str, Any]:
    return {"what": what, "median_s": round(median_s, 3), "limit_s": limit_s, "n": n}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--trainings", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = answers(given.processes) + ([trainings(given.trainings)] if given.trainings else [])
    if given.json:
        print(json.dumps({"rows": rows, "machine": machine()}))
        return
    for each in rows:
        said = f"{each['what']:<32}{each['median_s']:>8.3f} s   limit {each['limit_s']:g} s, n={each['n']}"
        accuracy = each.get("test_accuracy")
        print(said + (f", test accuracy {', '.join(f'{figure:.2%}' for figure in accuracy)}" if accuracy else ""))


if __name__ == "__main__":
    main()
