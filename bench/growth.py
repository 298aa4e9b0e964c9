"""Cost as work grows: time against width, resolution, batch, classes and number of records, with the fitted exponent.

    python bench/growth.py [CURVE …] [--rounds 5] [--most 10000000] [--folder DIR] [--json]

Each row is a curve: the total time at several amounts of work, the sizes in turn, forth and back, and of each the best
of its rounds; the exponent is the slope of a straight line through their logarithms, the last one that between the
two largest sizes, where fixed costs count least. "Linear" is an exponent of 1 of total time against:

    width        the operations of the network (a pass over 125 images; they grow with the square of the width)
    resolution   the pixels of an image (8 images up to 256×256)
    batch        the images of a batch
    classes      the classes, 10 to 10,000 (125 images; the rest of the network is fixed: far less than 1 is expected)
    scores       the classes, 10 to 10,000: the figures by class of an evaluation of 10,000 images
    held out     the records, 100 a class: the division into training and validation rows
    records      the records of a file of 8×8 RGB, 10³ to 10⁷: opening, statistics, and one epoch of batches of 1000,
                 all in 64 MB, so that the larger ones are streamed; no network. The clock excludes writing the file.

The first four time a training step of the speedrun network (width 16 unless it is what grows): forward, backward and
update on ready images. Every exponent may be up to 1; what is above 1.1 is told.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interleave import filed, interleaved, machine

from steepest.data.batches import Batches, statistics
from steepest.data.dataset import Dataset, Split, stratified
from steepest.data.records import Records, Writer
from steepest.models.summary import summary
from steepest.recipes import load
from steepest.train.build import build
from steepest.train.evaluate import Scores
from steepest.train.loop import step
from steepest.train.machine import prepare

PART, WIDTH, LIMIT = 125, 16, 1.1
Side = tuple[float, Callable[[], float]]
"""An amount of work, and what gives the seconds that it takes."""


def timed(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def stepping(
    images: int = PART, side: int = 32, classes: int = 10, width: int = WIDTH
) -> tuple[Any, Callable[[], float]]:
    """A training, and what gives the seconds of one step of it."""
    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, (images, side, side, 3), np.uint8), np.arange(images) % classes)
    names = tuple(str(label) for label in range(classes))
    recipe = load("speedrun94").replace(width=width, batch_size=images)
    training = build(recipe, Dataset("random", split, None, None, names, ""), 0, torch.device("cpu"))
    training.model.train()
    batch, targets = next(training.batches.epoch(0))
    return training, lambda: timed(lambda: step(training, batch, targets, 0.5))


def widths() -> Iterator[Side]:
    for width in (8, 16, 32, 64):
        training, call = stepping(width=width)
        yield summary(training.model, training.shape).flops_per_image, call


def resolutions() -> Iterator[Side]:
    for side in (16, 32, 64, 128, 256):
        yield side**2, stepping(images=8, side=side)[1]


def batches() -> Iterator[Side]:
    for images in (125, 250, 500, 1000, 2000):
        yield images, stepping(images=images)[1]


def classes() -> Iterator[Side]:
    for count in (10, 100, 1000, 10_000):
        yield count, stepping(classes=count)[1]


def scores() -> Iterator[Side]:
    for count in (10, 100, 1000, 10_000):
        logits = torch.zeros(10_000, 1).expand(-1, count)
        found = Scores(len(logits), 0.0, 0.0, logits, torch.arange(len(logits)) % count)
        yield count, partial(timed, found.per_class)


def held_out() -> Iterator[Side]:
    for count in (10, 30, 100, 300, 1000, 3000):
        targets = np.arange(100 * count) % count
        yield 100 * count, partial(timed, partial(stratified, targets, 0.1, 0))


def records(folder: Path, most: int) -> Iterator[Side]:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (10_000, 8, 8, 3), np.uint8)
    for count in (10**power for power in range(3, 9) if 10**power <= most):
        path = folder / f"{count}.records"
        with Writer(path) as writer:
            for low in range(0, count, len(noise)):
                rows = min(len(noise), count - low)
                writer.append(noise[:rows], np.arange(rows) % 10)
        yield count, partial(timed, partial(read, path))


def read(path: Path) -> None:
    opened = Records(path)
    split, index = Split(opened.images(), opened.targets), np.arange(len(opened))
    epoch = Batches(split, index, statistics(split, index), batch_size=1000, memory=64 << 20)
    for _ in epoch.epoch(0):
        pass


def curve(name: str, unit: str, sides: Iterator[Side], rounds: int) -> dict[str, Any]:
    """One row: the times at each size, and the exponents."""
    calls = dict(sides)
    seen = interleaved({str(size): call for size, call in calls.items()}, rounds)
    times = [min(figures) for figures in seen.figures.values()]
    sizes = np.log(list(calls))
    slope = float(np.polyfit(sizes, np.log(times), 1)[0])
    last = float(np.log(times[-1] / times[-2]) / (sizes[-1] - sizes[-2]))
    figures = [{"size": size, "time_s": taken} for size, taken in zip(calls, times, strict=True)]
    return {"what": name, "against": unit, "exponent": slope, "last_exponent": last, "n": rounds, "curve": figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", nargs="*", metavar="CURVE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most", type=int, default=10**7, help="records")
    parser.add_argument("--folder", type=Path, help="where the record files are written; default: a temporary folder")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    prepare("cpu", None)
    rows = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        known: dict[str, tuple[str, Callable[[], Iterator[Side]]]] = {
            "width": ("operations", widths),
            "resolution": ("pixels", resolutions),
            "batch": ("images", batches),
            "classes": ("classes", classes),
            "scores": ("classes", scores),
            "held out": ("records", held_out),
            "records": ("records", partial(records, Path(folder), given.most)),
        }
        for name in given.curves:
            if name not in known:
                parser.error(f"there is no curve {name!r}: the curves are {', '.join(known)}")
        for name in given.curves or known:
            unit, sides = known[name]
            rows.append(curve(name, unit, sides(), given.rounds))
            if not given.json:
                print(shown(rows[-1]), flush=True)
    seen = {"rows": rows, "machine": machine()}
    filed("growth", seen)
    if given.json:
        print(json.dumps(seen))


def shown(row: dict[str, Any]) -> str:
    worse = max(row["exponent"], row["last_exponent"]) > LIMIT
    times = ", ".join(f"{point['size']:,.0f}: {point['time_s'] * 1000:,.3g} ms" for point in row["curve"])
    told = f"exponent {row['exponent']:.2f}, last {row['last_exponent']:.2f}{'  WORSE THAN LINEAR' if worse else ''}"
    return f"{row['what']:<12}{told}  against {row['against']} ({times})"


if __name__ == "__main__":
    main()
