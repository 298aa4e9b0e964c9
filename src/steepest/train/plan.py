"""What fits a wall-time budget: width, resolution and epochs, from the machine's own speed."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from ..data.dataset import Dataset
from ..mistake import Mistake
from ..recipe import Recipe
from .build import check_parts, rows
from .clock import Clock
from .pace import END_S, ByTime
from .parts import inference, network, optimizer, uses
from .request import Request
from .training import EVALUATE

WIDTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
CHANNELS, STEPS = 16, 250
"""A wider network is worth it only while it sees each image once for so many channels, so that width and epochs grow
together (records/*_widths), and takes so many steps."""
EPOCHS = 3.0
"""A lower resolution is tried where not even width 16 sees each image so often."""
MOST_EPOCHS = 200.0
"""More epochs than this bring nothing; the run then ends before its budget."""
PROBE = 0.05
"""No further width is timed when timing has taken this share of the budget."""
RESOLUTIONS = (0.75, 0.5, 0.375, 0.25)
"""Shares of the data's own resolution that are tried, down to 24 pixels, where even a narrow network is too slow."""
SMALLEST = 24
SPARE = 1.1
"""Evaluating may take so much longer than the best time that was measured."""


def choose(
    recipe: Recipe, dataset: Dataset, request: Request, clock: Clock, device: torch.device
) -> tuple[Recipe, ByTime]:
    """The recipe with the width, resolution and epochs that fit the budget, and the pace that keeps it.

    Widths are tried from the narrowest up, each timed on this machine; the widest that still allows an epoch for each
    `CHANNELS` of its channels and `STEPS` steps is taken. Where width 16 does not allow `EPOCHS` epochs, lower
    resolutions are tried. What the person chose stays. Raises Mistake where not even a few steps fit.
    """
    assert request.time_s is not None
    (_, index), validation = rows(dataset, recipe, request.seed)
    held_out = len(validation[1]) if validation else 0
    last = held_out + (len(dataset.test) if dataset.test else 0)
    probe = Probe(recipe, dataset, device, PROBE * request.time_s / len(WIDTHS))
    steps = STEPS * recipe.batch_size / len(index)

    def epochs(width: int | None, resolution: int | None) -> float:
        """With as much time for an image of the evaluation as for one of training."""
        return ((clock.left_s - END_S) / probe.train_s(width, resolution) - last) / len(index)

    width, resolution = recipe.width, recipe.resolution
    pictures = len(dataset.train.images.shape) == 4
    probe.train_s(WIDTHS[1] if pictures else width, resolution)  # the first pays for what PyTorch loads once
    probed = clock.elapsed_s + PROBE * request.time_s
    if pictures and "resolution" not in request.chosen:
        side = dataset.train.images.shape[1]
        lower = [recipe.resolution, *(int(side * share) for share in RESOLUTIONS if side * share >= SMALLEST)]
        resolution = next((one for one in lower if epochs(WIDTHS[1], one) >= EPOCHS), lower[-1])
    if pictures and "width" not in request.chosen:
        width = WIDTHS[0]
        for wider in WIDTHS[1:]:
            if clock.elapsed_s > probed or epochs(wider, resolution) < max(wider / CHANNELS, steps):
                break
            width = wider
    after = SPARE * probe.infer_s(width, resolution) * last
    begin, end = clock.elapsed_s, request.time_s - END_S - after
    fit = (end - begin) / (probe.train_s(width, resolution) * len(index))
    if fit * len(index) < 2 * recipe.batch_size:
        needed = begin + after + END_S + 2 * recipe.batch_size * probe.train_s(width, resolution)
        raise Mistake(f"{request.time_s:g} s are too short to train at all: this machine needs about {needed:.0f} s")
    if fit > MOST_EPOCHS:
        end, fit, held_out = begin + (end - begin) * MOST_EPOCHS / fit, MOST_EPOCHS, 0
    chosen = recipe.replace(width=width, resolution=resolution, epochs=round(fit, 2), min_steps=0)
    return chosen, ByTime(clock, begin, end, SPARE * last / max(1, held_out) if held_out else 0.0)


class Probe:
    """Times networks on this machine, each once, in seconds an image."""

    def __init__(self, recipe: Recipe, dataset: Dataset, device: torch.device, most_s: float) -> None:
        self.recipe, self.dataset, self.device, self.most_s = recipe, dataset, device, most_s
        self.trained: dict[tuple[int | None, int | None], float] = {}

    def train_s(self, width: int | None, resolution: int | None) -> float:
        """To train: forward, backward and the image's share of the optimiser's step."""
        if (width, resolution) not in self.trained:
            recipe = self.recipe
            count = min(recipe.micro_batch or recipe.batch_size, recipe.batch_size)
            model, images = self._network(width, resolution, count)
            check_parts(recipe, recipe.batch_size, model)
            step = optimizer(recipe, model).step

            def work() -> None:
                model.zero_grad(set_to_none=True)
                F.log_softmax(model(images), 1).mean().backward()

            passes_s, step_s = best_s(work, self.most_s), best_s(step, self.most_s)
            self.trained[width, resolution] = passes_s / count + step_s / recipe.batch_size
        return self.trained[width, resolution]

    def infer_s(self, width: int | None, resolution: int | None) -> float:
        """To evaluate, with the recipe's inference technique; at most, for an untrained network is sure of nothing."""
        model, images = self._network(width, resolution, EVALUATE)
        prepare, infer = inference(uses(self.recipe, "inference"))
        finished = prepare(model.eval())
        with torch.no_grad():
            return best_s(lambda: infer(finished, images), self.most_s) / EVALUATE

    def _network(self, width: int | None, resolution: int | None, count: int) -> tuple[torch.nn.Module, torch.Tensor]:
        stored = self.dataset.train.images.shape[1:]
        shape = stored if len(stored) == 1 else (stored[2], resolution or stored[0], resolution or stored[1])
        with torch.random.fork_rng():
            torch.manual_seed(0)
            images = torch.randn(count, *shape, device=self.device)
            layers = uses(self.recipe, "layers")
            model = network(self.recipe.model, width, len(self.dataset.classes), tuple(shape), self.device, layers)
        return model, images.to(memory_format=torch.channels_last) if len(shape) == 3 else images


def best_s(work: Callable[[], object], most_s: float) -> float:
    """The best time of a few calls: at least one after a warm-up, at most five, in about `most_s` seconds."""
    best, begin = float("inf"), time.monotonic()
    for number in range(6):
        start = time.monotonic()
        work()
        best = min(best, time.monotonic() - start) if number else best
        if number and time.monotonic() - begin > most_s:
            break
    return best
