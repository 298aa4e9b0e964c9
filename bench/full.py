"""Time to 94 % on CIFAR-10: `steepest train cifar10 --recipe speedrun94` against the plain port, seed by seed.

    python bench/full.py [--seeds 5] [--easy] [--data-dir DIR]

Each training is a process of its own, the two sides in turn. The clock covers all of a process, from starting it to its
end: loading, training, the evaluation of the test set. Each seed is printed and filed in bench/results/ as it ends.
`--easy`: the port with every easy fix.
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
from interleave import Rounds, filed, machine
from plain_port import EPOCHS
from training import PORT, measured

IMAGES = 50_000
STEEPEST = str(Path(sys.executable).with_name("steepest"))


def trained(*command: str) -> dict[str, Any]:
    """Test accuracy and seconds of a whole process."""
    begin = time.perf_counter()
    done = subprocess.run([*command, "--json"], check=True, stdout=subprocess.PIPE, text=True)
    wall_s = time.perf_counter() - begin
    return {"test_accuracy": json.loads(done.stdout)["test_accuracy"], "wall_s": round(wall_s, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--easy", action="store_true")
    parser.add_argument("--data-dir", default=str(Path("~/.cache/steepest").expanduser()))
    given = parser.parse_args()
    port = "plain port, eased" if given.easy else "plain port"
    rate = next(row["images_per_s"][port] for row in measured(1) if port in row["images_per_s"])
    hours = given.seeds * IMAGES * EPOCHS / rate / 3600
    print(f"the {port} alone will take about {hours:.1f} hours for {given.seeds} seeds", flush=True)
    rows: list[dict[str, Any]] = []
    for seed in range(given.seeds):
        shared = ("--seed", str(seed), "--data-dir", given.data_dir)
        with tempfile.TemporaryDirectory() as out:
            ours = (STEEPEST, "train", "cifar10", "--recipe", "speedrun94", "--out", out, *shared)
            theirs = (sys.executable, PORT, *(["--every-easy-fix"] if given.easy else []), *shared)
            sides = {"steepest": ours, port: theirs}
            seen = {side: trained(*sides[side]) for side in (list(sides) if seed % 2 == 0 else list(sides)[::-1])}
        rows.append({"seed": seed, "ratio": seen[port]["wall_s"] / seen["steepest"]["wall_s"]} | seen)
        path = filed("time-to-94", {"machine": machine(), "clock": "whole processes", "rows": rows})
        said = ", ".join(f"{side} {seen[side]['test_accuracy']:.2%} in {seen[side]['wall_s']:.0f} s" for side in sides)
        print(f"seed {seed}: {said}: {rows[-1]['ratio']:.2f} times as fast", flush=True)
    accuracy = {side: np.mean([row[side]["test_accuracy"] for row in rows]) for side in ("steepest", port)}
    times = Rounds({side: [row[side]["wall_s"] for row in rows] for side in accuracy})
    means = ", ".join(f"{side} {figure:.2%}" for side, figure in accuracy.items())
    print(f"mean accuracy: {means}; time of the {port} / steepest's: {times.ratio(port, 'steepest')}; {path}")


if __name__ == "__main__":
    main()
