"""Which width is best for a time: the recipe quick at several widths, each with as many epochs as fit the time.

    python bench/widths.py DATA [--widths 16,32,64,96] [--times 15,45,135] [--seeds 1] [--data-dir DIR] [--json]

A cell is the validation accuracy of whole trainings whose epochs take the time of its row on this machine, by the speed
of a few steps, as `--time` measures it; the test set is not looked at. Below: for several rules, how much accuracy is
lost, mean over the times, against the best width of each time, where the widest network is taken that still sees each
image so many times, always the same number or one in proportion to its width: what `steepest.train.plan` goes by.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from interleave import machine

import steepest
from steepest import recipes
from steepest.data import load
from steepest.train.machine import prepare
from steepest.train.plan import Probe

Cell = dict[str, Any]
Rule = tuple[float, float]
"""The epochs that a width must allow: so many, and one more for so many channels (0: none)."""
TRIED: tuple[Rule, ...] = (
    *((epochs, 0.0) for epochs in (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)),
    *((0.0, channels) for channels in (32.0, 22.0, 16.0, 11.0, 8.0, 5.0)),
)


def cells(data: str, widths: list[int], times: list[float], seeds: int, data_dir: Path | None) -> list[Cell]:
    """Each width at each time: its epochs, and the validation accuracies of its trainings."""
    recipe, dataset = recipes.load("quick"), load(data, data_dir=data_dir)
    probe = Probe(recipe, dataset, prepare("cpu", None), 1.0)
    epoch_s = {width: probe.train_s(width, None) * len(dataset.train) * (1 - recipe.val_fraction) for width in widths}
    made: list[Cell] = []
    for seconds in times:
        for width in widths:
            epochs = round(seconds / epoch_s[width], 2)
            accuracies = []
            for seed in range(seeds):
                with tempfile.TemporaryDirectory() as out:
                    sized = recipe.replace(width=width, epochs=epochs, min_steps=0)
                    run = steepest.train(data, recipe=sized, seed=seed, data_dir=data_dir, out=out, test=False)
                    accuracies.append(run.result["val_accuracy"])
            made.append({"seconds": seconds, "width": width, "epochs": epochs, "val_accuracy": accuracies})
            print(f"{seconds:g} s, width {width}, {epochs:g} epochs: {np.mean(accuracies):.2%}", file=sys.stderr)
    return made


def lost(made: list[Cell], rule: Rule) -> float:
    """Accuracy lost, mean over the times, by the widest network that the rule allows, or else the narrowest."""
    fixed, channels = rule
    losses = []
    for seconds in sorted({cell["seconds"] for cell in made}):
        here = sorted((cell for cell in made if cell["seconds"] == seconds), key=lambda cell: int(cell["width"]))
        least = {cell["width"]: fixed + (cell["width"] / channels if channels else 0) for cell in here}
        taken = [cell for cell in here if cell["epochs"] >= least[cell["width"]]] or here[:1]
        best = max(np.mean(cell["val_accuracy"]) for cell in here)
        losses.append(best - np.mean(taken[-1]["val_accuracy"]))
    return float(np.mean(losses))


def told(rule: Rule) -> str:
    return f"{rule[0]:g} epochs" if rule[0] else f"an epoch for {rule[1]:g} channels"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--widths", default="16,32,64,96")
    parser.add_argument("--times", default="15,45,135")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    widths, times = [int(one) for one in given.widths.split(",")], [float(one) for one in given.times.split(",")]
    made = cells(given.data, widths, times, given.seeds, given.data_dir)
    rows: list[Cell] = [
        {"what": f"{one['seconds']:g} s, width {one['width']}, {one['epochs']:g} epochs"} | one for one in made
    ]
    rows += [{"what": f"the widest of {told(rule)}", "lost_fraction": lost(made, rule)} for rule in TRIED]
    if given.json:
        print(json.dumps({"rows": rows, "machine": machine(), "n": given.seeds}))
        return
    for row in rows[len(made) :]:
        print(f"{row['what']}: {row['lost_fraction']:.2%} lost")


if __name__ == "__main__":
    main()
