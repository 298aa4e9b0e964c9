"""The parts that a recipe names, each with its settings bound: network, optimiser, inference."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from .. import kernels, models, techniques
from ..recipe import Recipe, Use
from ..techniques import bind
from .evaluate import Infer


def uses(recipe: Recipe, family: str) -> tuple[Use, ...]:
    """The techniques of a family that a recipe has on, in its order."""
    return tuple(use for use in recipe.use if techniques.names()[use.name] == family)


def network(
    use: Use,
    width: int | None,
    classes: int,
    shape: tuple[int, ...],
    device: torch.device | str,
    layers: Iterable[Use] = (),
    init: Callable[[nn.Module], None] | None = None,
) -> nn.Module:
    """A network for inputs of `shape`, drawn from torch's generator, in the layout and kernels that the machine likes.

    classes 0 is a regression: one output. init: sets the weights, before the layers' techniques are put in.
    """
    model = models.build(use.name, classes=classes or 1, shape=shape, width=width, **use.settings).to(device)
    if init is not None:
        init(model)
    for layer in layers:
        model = bind(layer, classes=classes or 1)(model)
    if len(shape) == 3:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return kernels.apply(model) if torch.device(device).type == "cpu" else model


def optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimiser over a network's parameters, within its wrappers, the first one innermost.

    Each group's base rate stands in ``initial_lr``. Parameters with an attribute `lr_scale` have groups of their own.
    """
    rates = {"lr": recipe.lr, "momentum": recipe.momentum, "weight_decay": recipe.weight_decay}
    made: torch.optim.Optimizer = bind(recipe.optimizer)(model.named_parameters(), **rates)
    made.param_groups[:] = [part for group in made.param_groups for part in _by_scale(group)]
    for use in uses(recipe, "wrappers"):
        made = bind(use, model=model)(made)
    return made


def _by_scale(group: dict[str, Any]) -> list[dict[str, Any]]:
    """A group of parameters as one group for each `lr_scale` among them; the decay per step stays the same for all."""
    group.setdefault("initial_lr", group["lr"])
    parts: dict[float, list[nn.Parameter]] = {}
    for parameter in group["params"]:
        parts.setdefault(getattr(parameter, "lr_scale", 1.0), []).append(parameter)
    if parts.keys() <= {1.0}:
        return [group]
    rates = {key: group[key] for key in ("lr", "initial_lr")}
    decays = {key: group[key] for key in ("weight_decay", "decay") if key in group}
    return [
        group
        | {"params": its}
        | {key: rate * scale for key, rate in rates.items()}
        | {key: decay / scale for key, decay in decays.items()}
        for scale, its in parts.items()
    ]


def inference(on: Iterable[Use]) -> tuple[Callable[[nn.Module], nn.Module], Infer]:
    """How a network is prepared for inference, and how logits are then made of images: (prepare, infer)."""
    bound = [bind(use) for use in on]
    runs = [part for part in bound if "images" in inspect.signature(part).parameters]
    prepares = [part for part in bound if part not in runs]

    def prepare(model: nn.Module) -> nn.Module:
        return functools.reduce(lambda made, part: part(made), prepares, model)

    def infer(model: Callable[..., Any], images: torch.Tensor) -> torch.Tensor:
        for run in runs:
            model = functools.partial(run, model)
        logits: torch.Tensor = model(images)
        return logits

    return prepare, infer
