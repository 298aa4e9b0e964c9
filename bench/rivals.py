"""`steepest train DATA --time T` beside three peers with the same wall time: test accuracy at each budget.

    python bench/rivals.py DATA [--budgets 1m,3m,10m] [--seeds 1] [--data-dir DIR] [--json]

The peers are a plain PyTorch ResNet-18 with one cycle, fastai's xresnet18 with fit_one_cycle, and Keras' example
network; all start from nothing, one process at a time, in turn. `make bench-peers` builds their environments; a peer
without one is left out. The clock covers each whole process, from starting it to its end. What was seen is filed in
bench/results/ after each training.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from budget import train
from interleave import filed, machine
from peers import PEERS, asked

from steepest.data import load
from steepest.train.adapt import NOT_MIRRORED
from steepest.train.clock import seconds

TRAINED = ("plain", "fastai", "keras")


def images_file(data: str, data_dir: Path | None, folder: Path) -> Path:
    """The images of a data set, as the peers read them."""
    dataset = load(data, data_dir=data_dir)
    if dataset.test is None:
        sys.exit(f"{data} has no test images to compare on")
    whole = {
        f"{name}{part}": np.asarray(values)
        for name, split in (("", dataset.train), ("test_", dataset.test))
        for part, values in (("images", split.images[np.arange(len(split))]), ("targets", split.targets))
    }
    file = folder / "images.npz"
    np.savez(file, classes=len(dataset.classes), **whole)  # type: ignore[arg-type]
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--budgets", default="1m,3m,10m")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    described = machine()
    flip = [] if given.data in NOT_MIRRORED else ["--flip"]
    with tempfile.TemporaryDirectory() as folder:
        file = images_file(given.data, given.data_dir, Path(folder))
        for budget in given.budgets.split(","):
            for seed in range(given.seeds):
                for name in ("steepest", *TRAINED):
                    begin = time.time()
                    seen: dict[str, Any] | None
                    if name == "steepest":
                        seen = train(given.data, budget, seed, given.data_dir and str(given.data_dir), None)
                    else:
                        wanted = (
                            "--budget",
                            str(seconds(budget)),
                            "--began",
                            str(begin),
                            "--seed",
                            str(seed),
                            *flip,
                        )
                        seen = asked(name, "train", str(file), *wanted)
                    if seen is None:
                        print(f"{PEERS[name].title}: not here; make bench-peers builds it", file=sys.stderr)
                        continue
                    rows.append(
                        {"what": name if name == "steepest" else PEERS[name].title, "data": given.data}
                        | {"budget_s": seconds(budget), "seed": seed, "test_accuracy": seen["test_accuracy"]}
                        | {"wall_s": round(time.time() - begin, 1), "epochs": seen["epochs"]}
                    )
                    filed(f"rivals-{Path(given.data).name}", {"rows": rows, "machine": described})
                    if not given.json:
                        print(shown(rows[-1]), flush=True)
    if given.json:
        print(json.dumps({"rows": rows, "machine": described}))


def shown(row: dict[str, Any]) -> str:
    return (
        f"{row['data']:<16}{row['budget_s']:>6g} s  seed {row['seed']}  {row['what']:<32}"
        f"{row['test_accuracy']:>8.2%}  wall {row['wall_s']:.1f} s, {row['epochs']:g} epochs"
    )


if __name__ == "__main__":
    main()
