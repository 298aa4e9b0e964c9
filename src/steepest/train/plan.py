"""What fits a wall-time budget: the network's width and the number of epochs, from this machine's own speed."""

from __future__ import annotations

import time

import torch
from torch import nn
from torch.nn import functional as F

from ..data.dataset import Dataset
from ..mistake import Mistake
from ..recipe import Recipe
from .clock import Clock
from .pace import ByTime
from .request import Request
from .training import EVALUATE, network, rows

WIDTHS = (8, 16, 32, 48, 64, 96, 128)
EPOCHS = 8.0
"""A wider network is worth it only while it still sees each image about so often."""
MOST_EPOCHS = 200.0
"""More epochs than this bring nothing; the run then ends before its budget."""
END_S = 1.0
"""For writing the run's files at the end."""
PROBE = 0.03
"""At most this share of the budget goes into measuring speed, for each width that is tried."""


def choose(
    recipe: Recipe, dataset: Dataset, request: Request, clock: Clock, device: torch.device
) -> tuple[Recipe, ByTime]:
    """The recipe with the width and epochs that fit the budget, and the pace that keeps it.

    Widths are tried from the narrowest up, each timed on this machine; the widest one that still allows `EPOCHS`
    epochs is taken. A width that the person chose stays. Raises Mistake where not even a few steps fit.
    """
    assert request.time_s is not None
    (_, index), _ = rows(dataset, recipe, request.seed)
    chosen: tuple[int | None, float, float] | None = None
    widths = (recipe.width,) if "width" in request.chosen else WIDTHS
    for width in widths:
        train_s, infer_s = speed(recipe.replace(width=width), dataset, device, PROBE * request.time_s)
        after = infer_s * (len(dataset.test) if dataset.test else 0) + END_S
        epochs = (clock.left_s - after) / (train_s * len(index))
        if chosen is not None and epochs < EPOCHS:
            break
        chosen = (width, after, epochs)
    assert chosen is not None
    width, after, epochs = chosen
    begin, end = clock.elapsed_s, request.time_s - after
    if end <= begin or epochs * len(index) < 2 * recipe.batch_size:
        needed = begin + after + 2 * recipe.batch_size * (end - begin) / max(1e-9, epochs * len(index))
        raise Mistake(f"{request.time_s:g} s are too short to train at all: this machine needs at least {needed:.0f} s")
    if epochs > MOST_EPOCHS:
        end = begin + (end - begin) * MOST_EPOCHS / epochs
    return recipe.replace(width=width, epochs=round(min(epochs, MOST_EPOCHS), 2), min_steps=0), ByTime(
        clock, begin, end
    )


def speed(recipe: Recipe, dataset: Dataset, device: torch.device, most_s: float) -> tuple[float, float]:
    """Seconds an image to train on and to infer, the better of a few batches in at most about `most_s` seconds."""
    shape = dataset.train.images.shape[1:]
    side = recipe.resolution
    size = shape if len(shape) == 1 else (shape[2], side or shape[0], side or shape[1])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = network(recipe.model, recipe.width, len(dataset.classes), size, device)
        count = min(recipe.micro_batch or recipe.batch_size, recipe.batch_size)
        train = _seconds(model, torch.randn(count, *size, device=device), most_s / 2, backward=True)
        infer = _seconds(model.eval(), torch.randn(EVALUATE, *size, device=device), most_s / 2, backward=False)
    return train / count, infer / EVALUATE


def _seconds(model: nn.Module, images: torch.Tensor, most_s: float, *, backward: bool) -> float:
    if images.dim() == 4:
        images = images.to(memory_format=torch.channels_last)
    begin, best = time.monotonic(), float("inf")
    for number in range(6):
        start = time.monotonic()
        with torch.set_grad_enabled(backward):
            logits = model(images)
            if backward:
                F.log_softmax(logits, 1).mean().backward()
                model.zero_grad(set_to_none=True)
        if number:
            best = min(best, time.monotonic() - start)
        if number and time.monotonic() - begin > most_s:
            break
    return best
