"""Whether `steepest train DATA --time T` keeps its word, and how accurate the model is that it makes.

    python bench/budget.py [DATA:TIME …] [--seeds 1] [--data-dir DIR] [--records DIR] [--json]

Without arguments: fashion_mnist:3m and cifar10:10m. Each training is a process of its own; the clock covers all of it,
from starting it to its end, loading, testing and writing included. The promise is the time asked for and at most 5 % or
3 s over it, whichever is more. With --records, what was seen is written there as a record (see records/README.md).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from interleave import accuracy, machine, write

from steepest.train.clock import seconds

STEEPEST = str(Path(sys.executable).with_name("steepest"))
DEFAULT = ("fashion_mnist:3m", "cifar10:10m")
KEPT = ("recipe.toml", "result.json", "environment.json", "data.json", "curve.jsonl")


def allowed_s(budget_s: float) -> float:
    """The longest wall time that keeps the promise."""
    return budget_s + max(0.05 * budget_s, 3.0)


def train(data: str, budget: str, seed: int, data_dir: str | None, kept: Path | None) -> dict[str, Any]:
    """One training: its result, with the wall time that was measured from outside."""
    with tempfile.TemporaryDirectory() as out:
        command = [STEEPEST, "train", data, "--time", budget, "--seed", str(seed), "--out", out, "--json"]
        begin = time.perf_counter()
        done = subprocess.run(command + (["--data-dir", data_dir] if data_dir else []), stdout=subprocess.PIPE)
        wall_s = time.perf_counter() - begin
        if done.returncode:
            sys.exit(done.returncode)
        result: dict[str, Any] = json.loads(done.stdout)
        if kept:
            kept.mkdir(parents=True)
            for name in KEPT:
                shutil.copy(Path(result["run"]) / name, kept)
            for name, field in (("data.json", "source"), ("result.json", "run")):  # where it lay is of no interest
                told = json.loads((kept / name).read_text(encoding="utf-8"))
                told[field] = Path(told[field]).name
                (kept / name).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return result | {"wall_s": round(wall_s, 3)}


def record(data: str, budget: str, results: list[dict[str, Any]], described: dict[str, Any]) -> dict[str, Any]:
    """What was seen, in the form of records/README.md."""
    walls = [result["wall_s"] for result in results]
    limit = allowed_s(seconds(budget))
    return {
        "what": f"{data} with --time {budget}",
        "command": f"steepest train {data} --time {budget}",
        "commit": described["commit"],
        "machine": described,
        "n": len(results),
        "figures": {
            "test accuracy": accuracy([result["test_accuracy"] for result in results], results[0]["test_n"]),
            "longest wall time": {"value": max(walls), "unit": "s"},
        },
        "note": f"allowed {limit:g} s: {'kept' if max(walls) <= limit else 'BROKEN'}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trainings", nargs="*", default=DEFAULT, metavar="DATA:TIME")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data-dir")
    parser.add_argument("--records", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    described, rows = machine(), []
    for training in given.trainings:
        data, _, budget = training.rpartition(":")
        folder = given.records / f"{described['day']}_{data}-{budget}" if given.records else None
        results = [
            train(data, budget, seed, given.data_dir, folder / f"seed{seed}" if folder else None)
            for seed in range(given.seeds)
        ]
        rows.append(record(data, budget, results, described))
        if folder:
            write(folder / "record.json", rows[-1])
        if not given.json:
            shown, wall = rows[-1]["figures"].values()
            print(
                f"{rows[-1]['what']}: test accuracy {shown['value']:.2%}, wall {wall['value']:.1f} s at most, "
                f"{rows[-1]['note']}, n={rows[-1]['n']}"
            )
    if given.json:
        print(json.dumps({"rows": rows, "machine": described}))


if __name__ == "__main__":
    main()
