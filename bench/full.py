"""Time to 94 % on CIFAR-10: `steepest train cifar10 --recipe speedrun94` against the plain port, seed by seed.

    python bench/full.py [--seeds 5] [--first-seed 0] [--port-seeds N] [--easy] [--data-dir DIR] [--json]

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
from dataclasses import asdict
from functools import partial
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


def row(side: str, seen: list[dict[str, Any]]) -> dict[str, Any]:
    """What the trainings of one side come to: the accuracy of each, the mean of their times."""
    accuracies, times = ([one[key] for one in seen] for key in ("test_accuracy", "wall_s"))
    return {"what": side, "test_accuracy": accuracies, "wall_s": float(np.mean(times)), "walls": times, "n": len(seen)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0, help="those after a choice should be fresh ones")
    parser.add_argument("--port-seeds", type=int, help="how many of them, the last ones, the port trains too; all")
    parser.add_argument("--easy", action="store_true")
    parser.add_argument("--data-dir", default=str(Path("~/.cache/steepest").expanduser()))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    port, both = "plain port", given.seeds if given.port_seeds is None else given.port_seeds
    port += ", eased" if given.easy else ""
    say = partial(print, file=sys.stderr, flush=True)
    if both:
        rate = next(found["images_per_s"][port] for found in measured(1) if port in found["images_per_s"])
        say(f"the {port} alone will take about {both * IMAGES * EPOCHS / rate / 3600:.1f} hours for {both} seeds")
    seen: dict[str, list[dict[str, Any]]] = {"steepest": [], port: []}
    end = given.first_seed + given.seeds
    for seed in range(given.first_seed, end):
        shared = ("--seed", str(seed), "--data-dir", given.data_dir)
        with tempfile.TemporaryDirectory() as out:
            ours = (STEEPEST, "train", "cifar10", "--recipe", "speedrun94", "--out", out, *shared)
            theirs = (sys.executable, PORT, *(["--every-easy-fix"] if given.easy else []), *shared)
            sides = {"steepest": ours} | ({port: theirs} if seed >= end - both else {})
            for side in list(sides) if seed % 2 == 0 else list(sides)[::-1]:
                seen[side].append(trained(*sides[side]))
                say(f"seed {seed}, {side}: {seen[side][-1]['test_accuracy']:.2%} in {seen[side][-1]['wall_s']:.0f} s")
        rows = [row(side, made) for side, made in seen.items() if made]
        if trained_too := len(seen[port]):
            times = Rounds({side: [one["wall_s"] for one in made[-trained_too:]] for side, made in seen.items()})
            rows.append({"what": f"time of the {port} / steepest's", "ratio": asdict(times.ratio(port, "steepest"))})
        found = {"machine": machine(), "clock": "whole processes, from their start to their end", "rows": rows}
        path = filed("time-to-94", found)
    if given.json:
        print(json.dumps(found))
    for one in rows:
        say(one)
    say(path)


if __name__ == "__main__":
    main()
