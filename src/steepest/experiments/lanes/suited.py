"""Which trainings can be lanes, and when that is worth it."""

from __future__ import annotations

import numpy as np

from ... import techniques
from ...data.dataset import Dataset
from ...mistake import Mistake
from ...recipe import Recipe
from ...train.adapt import adapt
from ...train.request import Request
from .net import OPTIMIZERS

TECHNIQUES = ("dropout", "cross_entropy", "label_smoothing", "mse", "relu", "tanh", "sigmoid")
FAMILIES = ("init", "stopping")
"""Techniques that lanes compute, and families that have no part in a step."""
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
    if request.device != "cpu":
        import torch

        if request.device == "cuda" or torch.cuda.is_available():
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
