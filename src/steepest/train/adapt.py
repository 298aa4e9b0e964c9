"""Fits a recipe to a data set, saying what it changed; what the person chose by name is refused, never changed."""

from __future__ import annotations

from .. import models, techniques
from ..data.dataset import Dataset
from ..mistake import Mistake
from ..recipe import Recipe, Use
from .request import Request

POINT_NETWORK = Use("mlp", hidden="32-32")
"""What takes a convolutional network's place where the data are points, not pictures."""
NOT_MIRRORED = ("digits", "mnist")
"""Data sets whose mirrored images are no members of their class any more."""


def adapt(recipe: Recipe, dataset: Dataset, request: Request) -> tuple[Recipe, list[str]]:
    """The recipe as it will be trained on a data set, and a sentence for each change."""
    notes: list[str] = []
    shape = dataset.train.images.shape[1:]
    if len(shape) == 1:
        recipe = _for_points(recipe, dataset, request, notes)
    elif dataset.name.partition(":")[0] in NOT_MIRRORED:
        recipe = _without_mirror(recipe, dataset, request, notes)
    recipe = _for_count(recipe, dataset, request, notes)
    if request.target is not None and dataset.task != "classify":
        raise Mistake(f"--target is a validation accuracy, but {dataset.name} is a regression set")
    channels_first = (
        (shape[-1], recipe.resolution or shape[0], recipe.resolution or shape[1]) if len(shape) == 3 else shape
    )
    models.check(recipe.model.name, shape=channels_first, width=recipe.width, settings=recipe.model.settings)
    return recipe, notes


def _for_points(recipe: Recipe, dataset: Dataset, request: Request, notes: list[str]) -> Recipe:
    """Points (N,D): no network or technique for pictures; a regression set takes a regression loss."""
    try:
        models.check(recipe.model.name, shape=dataset.train.images.shape[1:], settings=recipe.model.settings)
    except Mistake:
        if "model" in request.chosen:
            raise
        notes.append(f"{dataset.name} holds points, not pictures: {POINT_NETWORK} takes the place of {recipe.model}")
        recipe = recipe.replace(model=POINT_NETWORK, width=None)
    for use in recipe.use:
        entry = techniques.entry(use.name)
        wrong_loss = dataset.task != "classify" and entry.family == "losses" and use.name != "mse"
        if entry.card.pictures or wrong_loss:
            why = "it has no classes" if wrong_loss else "it holds points, not pictures"
            recipe = _leave(recipe, use, f"{use.name} does not suit {dataset.name}: {why}", request, notes)
    return recipe.replace(resolution=None)


def _without_mirror(recipe: Recipe, dataset: Dataset, request: Request, notes: list[str]) -> Recipe:
    for use in recipe.use:
        if use.name in ("flip", "alternating_flip") or (
            use.name == "tta" and "mirror" in str(use.settings.get("views"))
        ):
            if use.name in request.chosen:
                continue
            recipe = recipe.drop(use.name)
            notes.append(f"{use.name} was left out: a mirrored image of {dataset.name} is another sign")
    return recipe


def _leave(recipe: Recipe, use: Use, sentence: str, request: Request, notes: list[str]) -> Recipe:
    if use.name in request.chosen:
        raise Mistake(sentence)
    notes.append(f"{sentence}; it was left out")
    return recipe.drop(use.name)


def _for_count(recipe: Recipe, dataset: Dataset, request: Request, notes: list[str]) -> Recipe:
    """A batch no larger than the training rows, and none of one image under batch statistics."""
    held_out = 0 if dataset.val is not None else recipe.val_fraction
    count = max(1, len(dataset.train) - round(held_out * len(dataset.train)))
    if recipe.batch_size > count:
        if "batch_size" in request.chosen:
            raise Mistake(
                f"batch_size {recipe.batch_size} is larger than the data: {dataset.name} has {count} training images"
            )
        notes.append(f"{dataset.name} has {count} training images: batch_size {recipe.batch_size} became {count}")
        recipe = recipe.replace(batch_size=count)
    return recipe
