"""`steepest train DATA --time T` beside three peers with the same wall time: test accuracy at each budget.

    python bench/rivals.py DATA [--budgets 1m,3m,10m] [--seeds 1] [--data-dir DIR] [--records DIR]

The peers are a plain PyTorch ResNet-18 with one cycle, fastai's xresnet18 with fit_one_cycle, and Keras' example
network; all start from nothing, one process at a time, in turn. `make bench-peers` builds their environments; a peer
without one is left out. The clock covers each whole process, from starting it to its end. What was seen is filed in
bench/results/ after each training, and with --records each budget as a record (see records/README.md).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from budget import train
from interleave import accuracy, filed, machine, write
from peers import PEERS, PeerFailed, asked

from steepest.data import load
from steepest.train.adapt import NOT_MIRRORED
from steepest.train.clock import seconds

TRAINED = ("plain", "fastai", "keras")
Row = dict[str, Any]


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


def trained(name: str, data: str, budget: str, seed: int, data_dir: Path | None, file: Path) -> Row | None:
    """One training of one side; None where its environment has not been built, or it failed."""
    begin = time.time()
    seen: Row | None
    if name == "steepest":
        seen = train(data, budget, seed, str(data_dir) if data_dir else None, None)
    else:
        flip = [] if data in NOT_MIRRORED else ["--flip"]
        told = {"--budget": seconds(budget), "--began": begin, "--seed": seed}
        try:
            seen = asked(name, "train", str(file), *(str(word) for pair in told.items() for word in pair), *flip)
        except PeerFailed as problem:
            print(problem, file=sys.stderr)
            return None
    if seen is None:
        print(f"{PEERS[name].title}: not here; make bench-peers builds it", file=sys.stderr)
        return None
    return {
        "what": name if name == "steepest" else PEERS[name].title,
        "data": Path(data).name,
        "budget_s": seconds(budget),
        "seed": seed,
        "test_accuracy": seen["test_accuracy"],
        "wall_s": round(time.time() - begin, 1),
        "epochs": seen["epochs"],
    }


def record(data: str, budget: str, rows: list[Row], count: int, described: Row) -> Row:
    """The trainings of one budget, over `count` test images, in the form of records/README.md."""
    sides: dict[str, list[Row]] = {}
    for row in rows:
        sides.setdefault(row["what"], []).append(row)
    figures = {side: accuracy([row["test_accuracy"] for row in made], count) for side, made in sides.items()}
    best = sorted((side for side in figures if side != "steepest"), key=lambda side: float(figures[side]["value"]))[-1:]
    walls = {
        f"{side}, longest": {"value": max(row["wall_s"] for row in made), "unit": "s"} for side, made in sides.items()
    }
    peers, seeds = ("no", "one", "two", "three")[len(sides) - 1], max(map(len, sides.values()))
    return {
        "what": f"{data} in {budget}, beside {peers} peers with the same wall time",
        "command": f"python bench/rivals.py {data} --budgets {budget}" + (f" --seeds {seeds}" if seeds > 1 else ""),
        "commit": described["commit"],
        "machine": described,
        "n": min(map(len, sides.values())),
        "figures": figures | walls,
        "note": "",
        "readme": ["steepest", *best],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--budgets", default="1m,3m,10m")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--records", type=Path)
    given = parser.parse_args()
    described, data = machine(), given.data
    with tempfile.TemporaryDirectory() as folder:
        file = images_file(data, given.data_dir, Path(folder))
        for budget in given.budgets.split(","):
            rows: list[Row] = []
            for seed in range(given.seeds):
                for name in ("steepest", *TRAINED):
                    if row := trained(name, data, budget, seed, given.data_dir, file):
                        rows.append(row)
                        filed(f"rivals-{Path(data).name}-{budget}", {"rows": rows, "machine": described})
                        print(shown(row), flush=True)
            if given.records:
                with np.load(file) as images:
                    made = record(Path(data).name, budget, rows, len(images["test_targets"]), described)
                place = given.records / f"{described['day']}_rivals-{Path(data).name}-{budget}"
                write(place / "record.json", made)
                write(place / "bench.json", {"rows": rows})


def shown(row: Row) -> str:
    return (
        f"{row['data']:<16}{row['budget_s']:>6g} s  seed {row['seed']}  {row['what']:<32}"
        f"{row['test_accuracy']:>8.2%}  wall {row['wall_s']:.1f} s, {row['epochs']:g} epochs"
    )


if __name__ == "__main__":
    main()
