"""Which trainings can be lanes, and when that is worth it."""

from __future__ import annotations

import numpy as np
import torch

from ... import models, techniques
from ...data.dataset import Dataset
from ...kernels.library import library
from ...mistake import Mistake
from ...recipe import Recipe
from ...train.adapt import adapt
from ...train.request import Request
from .net import OPTIMIZERS

TECHNIQUES = ("dropout", "cross_entropy", "label_smoothing", "mse", "relu", "tanh", "sigmoid")
FAMILIES = ("init", "stopping")
"""Techniques that lanes compute, and families that have no part in a step."""
LARGEST, LARGEST_PLAIN = 500_000, 5_000
"""Parameters of the largest network for which lanes win, compiled and plain."""
FEWEST, FEWEST_PLAIN = 2, 16
"""The least lanes with which they win."""
MEMORY = 1 << 30
"""Images of more bytes than this are streamed, which lanes do not do."""


def suits(recipe: Recipe, dataset: Dataset, request: Request | None = None) -> str | None:
    """None where trainings of a recipe on a data set can be lanes, each equal to one by itself; else why not."""
    try:
        suited(recipe, dataset, request or Request())
    except Mistake as mistake:
        return str(mistake)
    return None


def suited(recipe: Recipe, dataset: Dataset, request: Request) -> Recipe:
    """The recipe as it will be trained in a lane. Raises Mistake where it cannot be."""
    recipe, _ = adapt(recipe, dataset, request)
    if reason := _unlike(request) or _unsuited(recipe) or _too_large(recipe, dataset):
        raise Mistake(reason)
    return recipe


def _unlike(request: Request) -> str | None:
    """Why a request's trainings cannot go on step by step together on this processor."""
    if request.time_s is not None or request.target is not None:
        return f"trainings with a {'time' if request.time_s is not None else 'target'} do not all take the same steps"
    if request.device == "cuda" or (request.device == "auto" and torch.cuda.is_available()):
        return "lanes are computed by the CPU, and the device would be a GPU"
    return None


def _unsuited(recipe: Recipe) -> str | None:
    if recipe.model.name != "mlp":
        return f"lanes are networks of the kind mlp, not {recipe.model.name}"
    if recipe.optimizer.name not in OPTIMIZERS:
        return f"lanes are trained by {', '.join(OPTIMIZERS[:-1])} or {OPTIMIZERS[-1]}, not {recipe.optimizer.name}"
    if recipe.optimizer.settings.get("eps") == 0:
        return f"lanes need an eps above 0 in {recipe.optimizer.name}"
    if "batch" in techniques.schedule(recipe.schedule, recipe.batch_size):
        return f"the batches of lanes keep their size, which {recipe.schedule.name} changes"
    if 0 < recipe.micro_batch < recipe.batch_size:
        return f"lanes take their batches whole, not in parts of micro_batch {recipe.micro_batch}"
    for use in recipe.use:
        if use.name not in TECHNIQUES and techniques.names()[use.name] not in FAMILIES:
            return (
                f"{use.name} is not among the techniques of lanes: {', '.join(TECHNIQUES)}, initialisations, stopping"
            )
    return None


def _too_large(recipe: Recipe, dataset: Dataset) -> str | None:
    images = dataset.train.images
    shape = images.shape[1:]
    if recipe.resolution:
        shape = (recipe.resolution, recipe.resolution, shape[-1])
    size = len(images) * images.dtype.itemsize * int(np.prod(shape))
    return f"lanes hold all images in memory, and {size:,} bytes are more than {MEMORY:,}" if size > MEMORY else None


def wins(recipe: Recipe, dataset: Dataset, lanes: int) -> bool:
    """Whether so many trainings of a recipe are over sooner in lanes than one by one in worker processes.

    The rule is bench/lanes.py's: see `LARGEST` and `FEWEST`.
    """
    try:
        recipe = suited(recipe, dataset, Request())
    except Mistake:
        return False
    fast = library() is not None
    if lanes < (FEWEST if fast else FEWEST_PLAIN):
        return False
    shape = dataset.train.images.shape[1:]
    if recipe.resolution:
        shape = (recipe.resolution, recipe.resolution, shape[-1])
    with torch.device("meta"):
        settings = recipe.model.settings
        model = models.build("mlp", classes=len(dataset.classes) or 1, shape=shape, width=recipe.width, **settings)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return bool(parameters <= (LARGEST if fast else LARGEST_PLAIN))
