"""What every peer's script shares. Each is run by the interpreter of its own environment, which sees src/ and bench/.

    python PEER.py loop [--rounds 8]                 an epoch of the framework's loop against one of a bare loop
    python PEER.py train FILE.npz --budget SECONDS   test accuracy of a training that ends within the budget

`loop`: the lab network on ready float batches of 128 images of 3×32×32, channels_last, plain SGD. The framework's clock
runs from the beginning of its training epoch to the end of it: what it sets up before is left out. Both sides take
turns.

`train`: from the start of the process to the last prediction, all within the budget. A few trainings of some batches
tell the time per image, and so how many images the real training may see: as many epochs as that makes, rounded up,
over as many images as then fit. The schedule is cut to that; the test set is predicted once.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interleave import interleaved
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from steepest.models import lab_cnn

BATCH, STEPS, LR = 128, 10, 0.01
LAST = torch.channels_last
SAFETY = 0.93
Batches = list[tuple[Tensor, Tensor]]
Array = NDArray[Any]


@dataclass(frozen=True)
class Task:
    """Training images (N,H,W,C) uint8, their targets, the number of classes; flip: a mirror image is as good."""

    images: Array
    targets: Array
    classes: int
    flip: bool

    def part(self, rows: int, random: np.random.Generator) -> Task:
        chosen = random.permutation(len(self.images))[:rows]
        return Task(self.images[chosen], self.targets[chosen], self.classes, self.flip)


Train = Callable[[Task, int], Any]
Predict = Callable[[Any, Array], Array]


def lab() -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = lab_cnn.build(10, (3, 32, 32), lab_cnn.WIDTH).to(memory_format=LAST)  # type: ignore[call-overload]
    return model


def bare(model: nn.Module, batches: Batches) -> float:
    """The seconds of an epoch of the loop as one writes it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    begin = time.perf_counter()
    model.train()
    for images, targets in batches:
        loss = F.cross_entropy(model(images), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
    return time.perf_counter() - begin


def loop_row(name: str, epoch: Callable[[nn.Module, Batches], float], rounds: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    pixels = [torch.randn(BATCH, 3, 32, 32, generator=generator).contiguous(memory_format=LAST) for _ in range(STEPS)]
    batches = [(images, torch.arange(BATCH) % 10) for images in pixels]  # what is in them changes no time
    theirs, plain = lab(), lab()
    seen = interleaved({"theirs": lambda: epoch(theirs, batches), "bare": lambda: bare(plain, batches)}, rounds)
    rates = {side: round(BATCH * STEPS / seen.median(side)) for side in ("theirs", "bare")}
    return {
        "what": name,
        "images_per_s": rates,
        "ratio": vars(seen.ratio("theirs", "bare")),
        "torch": torch.__version__,
    }


def within(end: float, file: Path, flip: bool, train: Train, predict: Predict) -> dict[str, Any]:
    """A training and a prediction of the test set that end at `end`, in seconds since 1970."""
    budget_s = end - time.time()
    data = np.load(file)
    task = Task(data["images"], data["targets"], int(data["classes"]), flip)
    random = np.random.default_rng(torch.initial_seed())
    rows, took = BATCH, 0.0
    for number in itertools.count():  # the first is warm-up
        begin = time.perf_counter()
        model = train(task.part(rows, random), 1)
        took = time.perf_counter() - begin
        if number and (took > 0.04 * budget_s or rows == len(task.images)):
            break
        rows = min(2 * rows, len(task.images)) if took < 0.04 * budget_s else rows
    some = data["test_images"][:256]
    predict(model, some)
    begin = time.perf_counter()
    predict(model, some)
    predict_s = (time.perf_counter() - begin) / len(some) * len(data["test_images"])
    left = end - (1 - SAFETY) * budget_s - time.time() - predict_s
    total = max(BATCH, int(left / (took / rows)))
    epochs = math.ceil(total / len(task.images))
    model = train(task.part(max(BATCH, total // epochs), random), epochs)
    right = int((predict(model, data["test_images"]) == data["test_targets"]).sum())
    return {"test_accuracy": right / len(data["test_images"]), "epochs": round(total / len(task.images), 2)}


def normalised(task: Task) -> Callable[[Array], Tensor]:
    """Makes of images (N,H,W,C) uint8 float tensors (N,C,H,W), by the mean and deviation of the training images."""
    some = task.images[:5000] / 255
    mean, std = (torch.from_numpy(figure.astype(np.float32)) for figure in (some.mean((0, 1, 2)), some.std((0, 1, 2))))

    def made(images: Array) -> Tensor:
        return ((torch.from_numpy(images).float() / 255 - mean) / (std + 1e-6)).permute(0, 3, 1, 2)

    return made


def main(name: str, epoch: Callable[[nn.Module, Batches], float] | None, train: Train, predict: Predict) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("job", choices=("loop", "train"))
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--began", type=float, default=time.time(), help="when the budget began, in seconds since 1970")
    parser.add_argument("--flip", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.job == "loop":
        assert epoch, f"{name} has no loop of its own"
        print(json.dumps(loop_row(name, epoch, given.rounds)))
    else:
        torch.manual_seed(given.seed)
        print(json.dumps(within(given.began + given.budget, given.file, given.flip, train, predict)))
