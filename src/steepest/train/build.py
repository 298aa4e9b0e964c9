"""Everything that a recipe names, built for a data set."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import techniques
from ..data.batches import Batches, statistics
from ..data.dataset import Dataset, Indices, Split, stratified
from ..mistake import Mistake
from ..recipe import Recipe, Use
from ..techniques import bind
from ..techniques.surgery import NORMS
from . import distributed, trained
from .parts import network, optimizer, uses
from .training import EVALUATE, Schedule, Training

SAMPLE = 5000
"""Training images, at most, that the initialisations see."""


Fed = tuple[Batches, Batches | None, torch.Tensor]
"""Training batches, validation batches, and the normalised training images that initialisations see."""


def feed(recipe: Recipe, dataset: Dataset, seed: int, device: torch.device) -> Fed:
    """What a training of this recipe and seed is fed with; trainings that agree in what decides it may share it."""
    classes = len(dataset.classes)
    (train, index), validation = rows(dataset, recipe, seed)
    pixels = [bind(use, classes=classes) for use in uses(recipe, "augment") if _stage(use) == "pixels"]
    part = functools.partial(Batches, seed=seed, resolution=recipe.resolution, device=device)
    batches = part(train, index, statistics(train, index), batch_size=recipe.batch_size, pixels=pixels)
    for use in uses(recipe, "data"):
        batches = bind(use, classes=classes)(batches)
    if hasattr(batches.order, "observe") and distributed.processes() > 1:
        raise Mistake("an order that hangs on the losses is for one process: each of several sees a share of them")
    held_out = part(*validation, batches.statistics, batch_size=EVALUATE, shuffle=False) if validation else None
    few = batches.index[:: -(-len(batches) // SAMPLE)]
    sample = next(part(batches.split, few, batches.statistics, batch_size=len(few), shuffle=False).epoch(0))[0]
    return batches, held_out, sample


def build(recipe: Recipe, dataset: Dataset, seed: int, device: torch.device, fed: Fed | None = None) -> Training:
    """A training of a recipe that has been checked and adapted to the data. fed: what `feed` gave before."""
    classes = len(dataset.classes)
    batches, held_out, sample = fed or feed(recipe, dataset, seed, device)
    torch.manual_seed(seed)

    def init(model: nn.Module) -> None:
        for use in uses(recipe, "init"):
            bind(use)(model, sample, generator=torch.Generator(device).manual_seed(seed))

    shape = tuple(sample.shape[1:])
    model = network(recipe.model, recipe.width, classes, shape, device, uses(recipe, "layers"), init)
    check_parts(recipe, len(batches), model)
    losses = loss(recipe, dataset, batches, device)
    autocast, scaler = precision(recipe, device)
    training = Training(
        recipe=recipe,
        seed=seed,
        device=device,
        model=model,
        batches=batches,
        validation=held_out,
        optimizer=optimizer(recipe, model),
        schedule=Schedule(**techniques.schedule(recipe.schedule, recipe.batch_size)),
        loss=losses,
        autocast=autocast,
        scaler=scaler,
        augment=_augment(recipe, model, losses, sample, classes),
        penalties=[bind(use) for use in uses(recipe, "penalties")],
        gradients=[_treatment(use) for use in uses(recipe, "gradients")],
        parallel=bind(next(iter(uses(recipe, "parallel")), Use("data_parallel")))(),
        gauges=[bind(use, batch_size=recipe.batch_size)() for use in uses(recipe, "gauges")],
        averaging=[bind(use)() for use in uses(recipe, "averaging")],
        stopping=[bind(use)() for use in uses(recipe, "stopping")],
        classes=dataset.classes,
        shape=shape,
    )
    training.prepared(copy.deepcopy(model).eval())  # what cannot be prepared for inference is told now, not at the end
    if scaler.is_enabled() and (training.gauges or getattr(training.optimizer, "needs_closure", False)):
        which = training.gauges[0] if training.gauges else training.optimizer
        raise Mistake(f"{type(which).__name__} needs gradients as they are, but float16 scales them: use bfloat16")
    return training


def _treatment(use: Use) -> Callable[..., None]:
    """A treatment of the gradients as ``f(parameters, *, progress, generator, step)``."""
    bound = bind(use)
    if "step" in inspect.signature(bound).parameters:
        return bound
    return lambda parameters, *, step, **seam: bound(parameters, **seam)


def _stage(use: Use) -> str:
    return techniques.entry(use.name).card.stage


def loss(
    recipe: Recipe, dataset: Dataset, batches: Batches, device: torch.device
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    """The recipe's loss as ``f(logits, targets, images) -> (N,)``."""
    use = next(iter(uses(recipe, "losses")), Use("cross_entropy" if dataset.classes else "mse"))
    offered: dict[str, Any] = {"classes": len(dataset.classes)}
    if dataset.classes:
        offered["counts"] = torch.bincount(batches.targets, minlength=len(dataset.classes)).to(device)
    if "run" in use.settings:
        teacher = trained.load(str(use.settings["run"]), device)
        if teacher.about.classes != dataset.classes:
            raise Mistake(f"the teacher {use.settings['run']} tells other classes apart than {dataset.name} has")
        offered["teacher"] = lambda images: teacher.infer(teacher.model, images)
    bound = bind(use, **offered)
    if "images" in inspect.signature(bound).parameters:
        return lambda logits, targets, images: bound(logits, targets, images=images)
    return lambda logits, targets, images: bound(logits, targets)


def precision(
    recipe: Recipe, device: torch.device
) -> tuple[Callable[[], contextlib.AbstractContextManager[Any]], torch.amp.GradScaler]:
    """The context of a forward pass, and the scaler of the loss; without the technique both do nothing."""
    found = uses(recipe, "precision")
    if not found:
        return contextlib.nullcontext, torch.amp.GradScaler(device.type, enabled=False)
    made: tuple[Any, torch.amp.GradScaler] = bind(found[0])(device)
    return made


def _augment(
    recipe: Recipe, model: nn.Module, losses: Callable[..., torch.Tensor], sample: torch.Tensor, classes: int
) -> list[Callable[..., Any]]:
    """The augmentations of the normalised batch. One that changes the size needs a network that takes any size."""
    found = [use for use in uses(recipe, "augment") if _stage(use) == "batch"]
    offered = {"model": model, "loss": lambda logits, targets: losses(logits, targets, sample), "classes": classes}
    bound = [bind(use, **offered) for use in found]
    for use, augment in zip(found, bound, strict=True):
        if techniques.entry(use.name).card.resizes:
            few = sample[:2]
            small, _ = augment(few, torch.zeros(len(few)).long(), progress=0.0, generator=torch.Generator(few.device))
            try:
                with torch.no_grad():
                    copy.deepcopy(model).eval()(small)
            except RuntimeError as error:
                sizes = "×".join(map(str, small.shape[2:]))
                raise Mistake(f"{use.name}: {recipe.model.name} cannot take images of {sizes} as well") from error
    return bound


def rows(dataset: Dataset, recipe: Recipe, seed: int) -> tuple[tuple[Split, Indices], tuple[Split, Indices] | None]:
    """The training rows and the validation rows: the data's own validation split, or a share of the training split."""
    everything = np.arange(len(dataset.train), dtype=np.int64)
    if dataset.val is not None:
        return (dataset.train, everything), (dataset.val, np.arange(len(dataset.val), dtype=np.int64))
    if recipe.val_fraction == 0:
        return (dataset.train, everything), None
    train, val = stratified(dataset.train.targets, recipe.val_fraction, seed)
    return (dataset.train, train), (dataset.train, val) if len(val) else None


def check_parts(recipe: Recipe, count: int, model: nn.Module) -> None:
    """Raises Mistake where a network with batch statistics would see one image at a time, or unequal processes wait."""
    many = distributed.processes()
    together = any(use.name == "sync_batch_norm" for use in recipe.use)
    whole = min(recipe.batch_size, count)
    size = whole if together else max(1, whole // many)
    least = size // -(-size // (recipe.micro_batch or size))
    if least == 1 and any(isinstance(module, NORMS) for module in model.modules()):
        shares = f" in each of {many} processes" if many > 1 else ""
        raise Mistake(
            f"{recipe.model.name} normalises over the batch and cannot learn from one image at a time: "
            f"batch_size {recipe.batch_size} and micro_batch {recipe.micro_batch} must give two or more{shares}"
        )
    if together and many > 1 and recipe.micro_batch and whole % many:
        raise Mistake(
            f"sync_batch_norm with a micro_batch needs equal shares: {many} processes do not divide the {whole} images"
        )
