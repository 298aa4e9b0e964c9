"""How fast a study's ledger is: trials a second, and how long 10,000 of them take to list, to report and to go on with.

    python bench/ledger.py [--trials 10000] [--json]

A ledger on SQLite, as every study has one, is told of trials as a sweep tells it: each is added, and its figures are
told. The clock of `add and tell` is around those two, in blocks of 500. Then real commands are timed from the start of
the process to its end: `steepest runs` lists the study's trials, `steepest report` writes its page (the trials have no
run folders, so no curves), `steepest sweep` with all of them done goes on (and shows the rows, as it always does), and
`rows` reads the study and computes the rows in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from interleave import filed, machine

from steepest.experiments.conduct import prepare
from steepest.experiments.study import Study

BLOCK = 500
SEEDS = 5
ROWS = "import sys; from steepest.experiments.study import Study; print(len(Study.open(sys.argv[1]).rows()))"


def filled(folder: Path, trials: int) -> tuple[Path, list[float]]:
    """A study with so many finished trials, and the trials a second of each block."""
    values = [0.001 * k for k in range(1, trials // SEEDS + 1)]
    asked, _ = prepare("sweep", "digits", "quick", SEEDS, {"out": str(folder), "epochs": 1})
    study = Study.begin(replace(asked, vary={"grid": {"lr": values}, "ranges": {}, "list": []}), folder)
    random, speeds, begin = np.random.default_rng(0), [], time.perf_counter()
    for number in range(trials):
        settings, seed = {"lr": values[number % len(values)]}, number // len(values)
        trial = study.ledger.add(settings, seed)
        names = ("val_accuracy", "val_loss", "train_accuracy", "train_loss", "epochs", "steps", "train_s", "total_s")
        figures = dict(zip(names, random.random(len(names)).tolist(), strict=True))
        study.ledger.tell(replace(trial, state="done", figures=figures, run=trial.folder), figures["val_accuracy"])
        if number % BLOCK == BLOCK - 1:
            speeds.append(BLOCK / (time.perf_counter() - begin))
            begin = time.perf_counter()
    study.ledger.close()
    return study.path, speeds


def timed(words: list[str], times: int = 3) -> list[float]:
    """Seconds of a process, each time; the first time is left out."""
    seconds = []
    for _ in range(times + 1):
        begin = time.perf_counter()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - begin)
    return seconds[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        path, speeds = filled(Path(place), asked.trials)
        values = ",".join(f"{value!r}" for value in json.loads((path / "study.json").read_text())["vary"]["grid"]["lr"])
        steepest = [sys.executable, "-m", "steepest"]
        again = ["sweep", "digits", "--epochs", "1", "--grid", f"lr={values}", "--seeds", str(SEEDS), "--out", place]
        seen: dict[str, Any] = {
            "trials": asked.trials,
            "add_and_tell_per_s": {"median": float(np.median(speeds)), "first": speeds[0], "last": speeds[-1]},
            "list_s": timed([*steepest, "runs", "--out", str(path)]),
            "report_s": timed([*steepest, "report", str(path)]),
            "rows_s": timed([sys.executable, "-c", ROWS, str(path)]),
            "go_on_s": timed([*steepest, *again, "--yes"]),
            "machine": machine(),
        }
    if asked.json:
        print(json.dumps(seen))
    else:
        print(json.dumps(seen, indent=2))
        print(filed("ledger", seen))


if __name__ == "__main__":
    main()
