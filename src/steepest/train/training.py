"""A training, ready to run: every part that a recipe names, built and bound, and the state from step to step."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import models, techniques
from ..data.batches import Batches, statistics
from ..data.dataset import Dataset, Indices, Split, stratified
from ..mistake import Mistake
from ..recipe import Recipe, Use
from ..run import Curve
from .evaluate import Infer

EVALUATE = 500
"""Images at once when evaluating: large enough to be fast, small enough to stay in cache."""
SAMPLE = 5000
"""Training images, at most, that the initialisations see."""


@dataclass
class Sums:
    """Running sums over the images seen since the last measurement."""

    images: int = 0
    loss: float = 0.0
    correct: int = 0


@dataclass
class Training:
    """What the loop needs. `step` counts optimiser steps from 0; `steps` is their planned number."""

    recipe: Recipe
    seed: int
    device: torch.device
    model: nn.Module
    batches: Batches
    validation: Batches | None
    optimizer: torch.optim.Optimizer
    schedule: Callable[[float], float]
    loss: Callable[..., torch.Tensor]
    augment: list[Callable[..., Any]]
    penalties: list[Callable[..., torch.Tensor]]
    gradients: list[Callable[..., None]]
    averaging: list[Any]
    stopping: list[Any]
    inference: Use | None
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    step: int = 0
    sums: Sums = field(default_factory=Sums)
    curve: Curve = field(default_factory=Curve)

    def __post_init__(self) -> None:
        self.infer = inference(self.inference)
        self.generator = torch.Generator(self.device)
        self.aware: list[Any] = [module for module in self.model.modules() if hasattr(module, "progress")]

    @property
    def steps(self) -> int:
        """The number of steps that the recipe asks for: its epochs, but at least its min_steps."""
        return max(1, round(self.recipe.epochs * self.batches.steps), self.recipe.min_steps)

    @property
    def epoch(self) -> float:
        """Epochs done so far, with the fraction."""
        return self.step / self.batches.steps

    def reseed(self) -> None:
        """Makes everything random in this step a function of seed and step alone, so that a resume needs no state."""
        digest = hashlib.blake2b(f"{self.seed} {self.step}".encode(), digest_size=8).digest()
        value = int.from_bytes(digest, "little") >> 1
        self.generator.manual_seed(value)
        torch.manual_seed(value)

    def finished_model(self) -> nn.Module:
        """The network to be evaluated and kept: a copy, with the averaged weights where an averaging is on."""
        finished = copy.deepcopy(self.model)
        for average in self.averaging:
            average.copy_to(finished)
        return finished.eval()

    def state(self) -> dict[str, Any]:
        """All that goes on from step to step, as nested plain data and tensors."""
        return {
            "step": self.step,
            "sums": vars(self.sums).copy(),
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "averaging": [average.state_dict() for average in self.averaging],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Puts a state back; one of another network or recipe is a Mistake."""
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            for average, saved in zip(self.averaging, state["averaging"], strict=True):
                average.load_state_dict(saved)
            self.step, self.sums = int(state["step"]), Sums(**state["sums"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            why = " ".join(str(error).split())
            raise Mistake(f"the checkpoint does not fit this run's recipe: {why}") from error


def rows(dataset: Dataset, recipe: Recipe, seed: int) -> tuple[tuple[Split, Indices], tuple[Split, Indices] | None]:
    """The training rows and the validation rows: the data's own validation split, or a share of the training split."""
    everything = np.arange(len(dataset.train), dtype=np.int64)
    if dataset.val is not None:
        return (dataset.train, everything), (dataset.val, np.arange(len(dataset.val), dtype=np.int64))
    if recipe.val_fraction == 0:
        return (dataset.train, everything), None
    train, val = stratified(dataset.train.targets, recipe.val_fraction, seed)
    return (dataset.train, train), (dataset.train, val) if len(val) else None


def bind(use: Use) -> Callable[..., Any]:
    """A technique's function with its settings bound."""
    return functools.partial(techniques.load(use.name), **use.settings)


def inference(use: Use | None) -> Infer:
    """How logits are made of images: plainly, or by an inference technique."""
    return (lambda model, images: model(images)) if use is None else bind(use)


def build(recipe: Recipe, dataset: Dataset, seed: int, device: torch.device) -> Training:
    """Everything a recipe names, built for a data set. The recipe has been checked and adapted."""
    (train, index), validation = rows(dataset, recipe, seed)
    figures = statistics(train, index)
    kinds = techniques.FAMILIES
    of = {kind: [use for use in recipe.use if techniques.names()[use.name] == kind] for kind in kinds}
    pixels = [bind(use) for use in of["augment"] if techniques.entry(use.name).card.stage == "pixels"]
    part = functools.partial(Batches, statistics=figures, seed=seed, resolution=recipe.resolution, device=device)
    batches = part(train, index, batch_size=recipe.batch_size, pixels=pixels)
    held_out = part(*validation, batch_size=EVALUATE, shuffle=False) if validation else None
    few = index[:: -(-len(index) // SAMPLE)]
    sample = next(part(train, few, batch_size=len(few), shuffle=False).epoch(0))[0]
    torch.manual_seed(seed)
    model = network(recipe.model, recipe.width, len(dataset.classes), tuple(sample.shape[1:]), device)
    for use in of["init"]:
        bind(use)(model, sample, generator=torch.Generator(device).manual_seed(seed))
    for use in of["layers"]:
        model = bind(use)(model)
    check_parts(recipe, len(index), model)
    return Training(
        recipe=recipe,
        seed=seed,
        device=device,
        model=model,
        batches=batches,
        validation=held_out,
        optimizer=optimizer(recipe, model),
        schedule=bind(recipe.schedule),
        loss=bind(next(iter(of["losses"]), Use("cross_entropy" if dataset.classes else "mse"))),
        augment=[bind(use) for use in of["augment"] if techniques.entry(use.name).card.stage == "batch"],
        penalties=[bind(use) for use in of["penalties"]],
        gradients=[bind(use) for use in of["gradients"]],
        averaging=[bind(use)() for use in of["averaging"]],
        stopping=[bind(use)() for use in of["stopping"]],
        inference=next(iter(of["inference"]), None),
        classes=dataset.classes,
        shape=tuple(sample.shape[1:]),
    )


def optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimiser over a network's parameters; each group's base rate stands in ``initial_lr``."""
    rates = {"lr": recipe.lr, "momentum": recipe.momentum, "weight_decay": recipe.weight_decay}
    made: torch.optim.Optimizer = bind(recipe.optimizer)(model.named_parameters(), **rates)
    for group in made.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return made


def check_parts(recipe: Recipe, count: int, model: nn.Module) -> None:
    """Raises Mistake where a network with batch statistics would see one image at a time."""
    size = min(recipe.batch_size, count)
    least = size // -(-size // (recipe.micro_batch or size))
    if least == 1 and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        raise Mistake(
            f"{recipe.model.name} normalises over the batch and cannot learn from one image at a time: "
            f"batch_size {recipe.batch_size} and micro_batch {recipe.micro_batch} must give two or more"
        )


def network(use: Use, width: int | None, classes: int, shape: tuple[int, ...], device: torch.device | str) -> nn.Module:
    """A network for inputs of `shape`, in the layout that the machine likes, initialised from torch's generator.

    classes 0 is a regression: one output.
    """
    model = models.build(use.name, classes=classes or 1, shape=shape, width=width, **use.settings).to(device)
    return model.to(memory_format=torch.channels_last) if len(shape) == 3 else model  # type: ignore[call-overload]
