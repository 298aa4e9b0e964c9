"""Fits a recipe to a data set, saying what it changed; what the person chose by name is refused, never changed."""

from __future__ import annotations

from collections.abc import Collection

from .. import models, techniques
from ..data.dataset import Dataset, stratified
from ..mistake import Mistake
from ..recipe import Recipe, Use
from .request import Request

POINTS = {"model": Use("mlp", hidden="32-32"), "width": None, "optimizer": Use("adam"), "lr": 0.01, "batch_size": 32}
"""What takes the place of a recipe for pictures where the data are points."""
WHITENED = ("fast26", "speedrun")
"""The networks whose first layer whitening_init can set."""
WITHOUT_3X3 = ("lab_cnn", "mlp")
"""The networks that have nothing for half_convolution."""
IN_PIXELS = {"pad_crop": "pixels", "cutout": "size"}
"""Settings that are lengths in an image."""
NOT_MIRRORED = ("digits", "mnist")
"""Data sets whose mirrored images are no members of their class any more."""


def adapt(recipe: Recipe, dataset: Dataset, request: Request) -> tuple[Recipe, list[str]]:
    """The recipe as it will be trained on a data set, and a sentence for each change."""
    notes: list[str] = []
    shape = dataset.train.images.shape[1:]
    if len(shape) == 1:
        meant, recipe = recipe, for_points(recipe, request.chosen)
        if recipe != meant:
            notes.append(f"{dataset.name} holds points, not pictures: {recipe.model} takes the place of {meant.model}")
    if len(shape) == 1 and recipe.resolution is not None:
        if "resolution" in request.chosen:
            raise Mistake(f"resolution {recipe.resolution} is for pictures, but {dataset.name} holds points")
        recipe = recipe.replace(resolution=None)
    if request.target is not None and (why := _unmeasured("val_accuracy", recipe, dataset)):
        raise Mistake(f"--target is a validation accuracy, but {why}")
    recipe = _leave_out(recipe, dataset, request, notes)
    recipe = _for_count(recipe, dataset, request, notes)
    if len(shape) == 3:
        shape = (shape[2], recipe.resolution or shape[0], recipe.resolution or shape[1])
    models.check(recipe.model.name, shape=shape, width=recipe.width, settings=recipe.model.settings)
    return recipe, notes


def for_points(recipe: Recipe, chosen: Collection[str]) -> Recipe:
    """The recipe for points (N,D): a network for pictures cannot take them, and its optimiser's settings are not the
    new one's. Of what was chosen by name nothing changes."""
    takes_points = {entry["name"] for entry in models.catalogue() if entry["smallest"] is None}
    if recipe.model.name in takes_points or "model" in chosen:
        return recipe
    return recipe.replace(**{field: value for field, value in POINTS.items() if field not in chosen}, micro_batch=0)


def unsuited(use: Use, recipe: Recipe, dataset: Dataset) -> str | None:
    """Why a technique does not suit a data set or the recipe's network; None where it does."""
    entry = techniques.entry(use.name)
    if entry.card.pictures and len(dataset.train.images.shape) == 2:
        return f"{dataset.name} holds points, not pictures"
    if entry.family == "losses" and not dataset.classes and not entry.card.regression:
        return f"{dataset.name} is a regression set"
    if use.name == "whitening_init" and recipe.model.name not in WHITENED:
        return f"{recipe.model.name} has no whitening layer, as {' and '.join(WHITENED)} has"
    if use.name == "half_convolution" and recipe.model.name in WITHOUT_3X3:
        return f"{recipe.model.name} has no 3×3 convolution"
    settings = {**entry.settings, **use.settings}
    if entry.family == "stopping" and (why := _unmeasured(str(settings.get("figure")), recipe, dataset)):
        return why
    mirrors = use.name in ("flip", "alternating_flip") or "mirror" in str(settings.get("views"))
    if mirrors and dataset.name.partition(":")[0] in NOT_MIRRORED:
        return f"a mirrored image of {dataset.name} is another sign"
    return None


def _unmeasured(figure: str, recipe: Recipe, dataset: Dataset) -> str | None:
    """Why the curve will not have a figure; None where it will."""
    if figure.endswith("accuracy") and not dataset.classes:
        return f"{dataset.name} is a regression set"
    if figure.startswith("val_") and dataset.val is None and recipe.val_fraction == 0:
        return f"no images of {dataset.name} are held out to validate: val_fraction is 0"
    return None


def _leave_out(recipe: Recipe, dataset: Dataset, request: Request, notes: list[str]) -> Recipe:
    """Without the techniques that do not suit; one note a reason."""
    reasons: dict[str, list[str]] = {}
    for use in recipe.use:
        why = unsuited(use, recipe, dataset)
        if why and use.name in request.chosen:
            raise Mistake(f"{use.name} cannot be used here: {why}")
        if why:
            reasons.setdefault(why, []).append(use.name)
            recipe = recipe.drop(use.name)
    notes += [f"left out {', '.join(names)}: {why}" for why, names in reasons.items()]
    return recipe


def sized(recipe: Recipe, dataset: Dataset, request: Request, notes: list[str]) -> Recipe:
    """Pixels that a recipe's augmentations move or cut, which are meant for 32 × 32, in proportion to the images."""
    stored = dataset.train.images.shape[1:]
    side = recipe.resolution or stored[0]
    for use in recipe.use if len(stored) == 3 else ():
        key = IN_PIXELS.get(use.name)
        if key is None or use.name in request.chosen:
            continue
        meant = int(use.settings.get(key, techniques.entry(use.name).settings[key]))
        fit = max(1, round(meant * side / 32))
        if fit != meant:
            notes.append(f"{use.name} takes {fit} pixels, not {meant}: the images are {side} × {side}, not 32 × 32")
            recipe = recipe.add(Use(use.name, **{**use.settings, key: fit}))
    return recipe


def _for_count(recipe: Recipe, dataset: Dataset, request: Request, notes: list[str]) -> Recipe:
    """A batch no larger than the training rows."""
    held_out = 0.0 if dataset.val is not None else recipe.val_fraction
    every = len(dataset.train)
    if recipe.batch_size <= every - held_out * every - max(1, len(dataset.classes)):  # a class rounds up by one at most
        return recipe
    count = len(stratified(dataset.train.targets, held_out, request.seed)[0])
    if recipe.batch_size <= count:
        return recipe
    found = f"{dataset.name} has {count} training images"
    if "batch_size" in request.chosen:
        raise Mistake(f"batch_size {recipe.batch_size} is larger than the data: {found}")
    notes.append(f"{found}: batch_size {recipe.batch_size} became {count}")
    return recipe.replace(batch_size=count)
