"""What steepest's training loop costs over a bare PyTorch loop: the lab network, CIFAR-10, batches of 128, plain SGD.

    python bench/loop.py [--rounds 12] [--steps 10] [--json]

A figure is the seconds for so many steps; the two sides take turns in one process, so that both have the same threads
and memory allocator. Both train the same network, from the same weights, in channels_last.

First row, the loop alone: both sides get the same normalised float batches, made beforehand. The bare side does
forward, loss, backward, step, zero_grad and loss.item(); ours is `steepest.train.loop.fit` with nobody watching, which
also counts the training accuracy, follows the schedule, reseeds at each step and looks for a diverging loss.

Second row, with data: the images lie in memory as uint8. The bare side shuffles their indices, gathers a batch and
normalises it as one tensor; ours does the same through `Batches`. Shuffling a whole epoch is in each figure of both.

Then the same network on ready batches in the loops of Lightning, fastai and Keras, each against the bare loop in one
process of its own environment, which `make bench-peers` builds (see peers/side.py for what the clock includes).
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from batches import cifar_shaped
from interleave import interleaved, machine
from peers import PEERS, asked
from torch import Tensor, nn
from torch.nn import functional as F

from steepest.data.dataset import Dataset
from steepest.recipe import Recipe, Use
from steepest.run import Point
from steepest.train.build import build
from steepest.train.loop import fit
from steepest.train.machine import prepare
from steepest.train.pace import BySteps
from steepest.train.training import Training

BATCH = 128
RECIPE = Recipe(model=Use("lab_cnn"), batch_size=BATCH, optimizer=Use("sgd"), lr=0.01, val_fraction=0.0)


@dataclass
class Ready:
    """Batches made beforehand, in place of `Batches`."""

    made: list[tuple[Tensor, Tensor]]

    @property
    def steps(self) -> int:
        return len(self.made)

    def epoch(self, epoch: int, start: int = 0, progress: Any = 0.0) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.made[start:])


class Nobody:
    """Watches nothing."""

    def measured(self, training: Training, point: Point) -> str | None:
        return None

    def stepped(self, training: Training, loss: float) -> str | None:
        return None


def bare(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """The loop as one writes it."""
    model.train()
    for images, targets in batches:
        loss = F.cross_entropy(model(images), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()


def plain_batches(images: Tensor, targets: Tensor, mean: Tensor, std: Tensor, steps: int) -> Iterator[Any]:
    """Shuffled, normalised batches as one writes them for images (N,H,W,C) that lie in memory."""
    order = torch.randperm(len(images))
    for low in range(0, steps * BATCH, BATCH):
        part = order[low : low + BATCH]
        yield (images[part].float().div_(255).sub_(mean).div_(std)).permute(0, 3, 1, 2), targets[part]


def sides(rounds: int, steps: int, data: bool) -> dict[str, Any]:
    """One row: seconds for `steps` steps on both sides, and the ratio."""
    name, split = cifar_shaped()
    classes = tuple(str(label) for label in range(10))
    ours = build(RECIPE, Dataset(name, split, None, None, classes, ""), 0, torch.device("cpu"))
    model = copy.deepcopy(ours.model)
    optimizer = torch.optim.SGD(model.parameters(), lr=RECIPE.lr)
    made = [batch for _, batch in zip(range(steps), ours.batches.epoch(0), strict=False)]
    images, targets = torch.from_numpy(np.asarray(split.images)), torch.from_numpy(split.targets)
    mean, std = (torch.from_numpy(figure).float() for figure in ours.batches.statistics)
    if not data:
        ours.batches = Ready(made)  # type: ignore[assignment]

    def bare_s() -> float:
        begin = time.perf_counter()
        bare(model, optimizer, plain_batches(images, targets, mean, std, steps) if data else made)
        return time.perf_counter() - begin

    def ours_s() -> float:
        begin = time.perf_counter()
        fit(ours, BySteps(ours.step + steps), Nobody())
        return time.perf_counter() - begin

    seen = interleaved({"ours": ours_s, "bare": bare_s}, rounds)
    ratio = seen.ratio("ours", "bare")
    milliseconds = {side: round(1000 * seen.median(side) / steps, 2) for side in ("ours", "bare")}
    return {"what": f"{'with data' if data else 'the loop alone'}, {name}", "ms_per_step": milliseconds} | {
        "ratio": vars(ratio)
    }


def peer(name: str, rounds: int) -> dict[str, Any]:
    """A peer's row, or how to come by it."""
    row = asked(name, "loop", "--rounds", str(rounds))
    if row is None:
        return {"what": f"{PEERS[name].title}, the loop alone", "missing": "make bench-peers builds its environment"}
    times = {side: round(1000 * BATCH / rate, 2) for side, rate in row["images_per_s"].items()}
    return {"what": f"{row['what']}, the loop alone", "ms_per_step": times, "ratio": row["ratio"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    prepare("cpu", None)
    with torch.random.fork_rng():
        rows = [sides(given.rounds, given.steps, data) for data in (False, True)]
    rows += [peer(name, given.rounds) for name in ("lightning", "fastai", "keras")]
    if given.json:
        print(json.dumps({"rows": rows, "machine": machine()}))
        return
    for row in rows:
        if "missing" in row:
            print(f"{row['what']:<36}{row['missing']}")
            continue
        ratio, (first, bare) = row["ratio"], row["ms_per_step"].values()
        print(
            f"{row['what']:<36}{first:.2f} ms a step, bare {bare:.2f}: "
            f"ratio {ratio['median']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}], n={ratio['n']}"
        )


if __name__ == "__main__":
    main()
