"""What lanes compute: the shape of a multi-layer perceptron, read off a network, and the rules of its optimisers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ... import techniques
from ...models.mlp import Residual
from ...recipe import Recipe
from ...techniques.layers.dropout import Dropout

ACTIVATIONS: tuple[type[nn.Module], ...] = (nn.ReLU, nn.Tanh, nn.Sigmoid)
OPTIMIZERS = ("sgd", "nesterov", "momentum", "adam", "adamw")
"""The compiled lanes have their numbers, but for momentum's outer form, which is sgd."""


@dataclass(frozen=True)
class Net:
    """sizes: inputs, hidden units …, outputs. activation: its place in `ACTIVATIONS`. kept: what dropout multiplies the
    kept units by in training, and all of them in evaluation; None without. smoothing: of the cross-entropy's targets;
    None where the loss is the squared error. classes: whether the data have any."""

    sizes: tuple[int, ...]
    activation: int
    residual: bool
    norm: tuple[float, float] | None
    kept: tuple[float, float] | None
    smoothing: float | None
    classes: bool

    @property
    def hidden(self) -> tuple[int, ...]:
        return self.sizes[1:-1]

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        normed = sum(self.hidden) if self.norm else 0  # two for each in the place of a bias
        return normed + sum((a + 1) * b for a, b in zip(self.sizes, self.sizes[1:], strict=False))


def read(model: nn.Module, recipe: Recipe, classes: bool) -> Net:
    """The shape of a network that was built by a recipe which `suits`."""
    modules = list(model.modules())
    linear = [part for part in modules if isinstance(part, nn.Linear)]
    kinds = {place for part in modules for place, kind in enumerate(ACTIVATIONS) if isinstance(part, kind)}
    norm = next((part for part in modules if isinstance(part, nn.BatchNorm1d)), None)
    drop = next((part for part in modules if isinstance(part, Dropout)), None)
    losses = {use.name: use.settings for use in recipe.use if techniques.names()[use.name] == "losses"}
    squared = "mse" in losses or not (losses or classes)
    smoothing = settings(recipe, "label_smoothing")["smoothing"] if "label_smoothing" in losses else 0.0
    kept = None
    if drop is not None:
        share = 1 - drop.drop_prob
        kept = (1 / share, 1.0) if drop.scaling == "training" else (1.0, share)
    return Net(
        sizes=(linear[0].in_features, *(layer.out_features for layer in linear)),
        activation=kinds.pop(),
        residual=any(isinstance(part, Residual) for part in modules),
        norm=None if norm is None else (norm.eps, norm.momentum or 0.0),
        kept=kept,
        smoothing=None if squared else float(smoothing),
        classes=classes,
    )


def floats(model: nn.Module) -> dict[str, torch.Tensor]:
    """A network's parameters and running statistics by name: of each layer the weight and the bias, in whose place a
    batch norm has γ, β, running mean and variance."""
    return {name: value for name, value in model.state_dict().items() if value.is_floating_point()}


@dataclass(frozen=True)
class Rule:
    """One lane's optimiser. kind: its place in `OPTIMIZERS`. momentum: β₁ for Adam."""

    kind: int
    lr: float
    momentum: float
    weight_decay: float
    beta2: float = 0.0
    eps: float = 0.0

    def at(self, rate: float, momentum: float | None) -> Rule:
        """This rule at a step: the learning rate times `rate`, and the step's own momentum unless that is None."""
        return replace(self, lr=self.lr * rate, momentum=self.momentum if momentum is None else momentum)


def rule(recipe: Recipe) -> Rule:
    """The optimiser that a recipe names, with its settings."""
    name = recipe.optimizer.name
    its = settings(recipe, name)
    momentum = float(its.get("beta1", its.get("momentum", recipe.momentum)))
    if (name == "nesterov" and momentum == 0) or its.get("form") == "outside":
        name = "sgd"
    more = (float(its["beta2"]), float(its["eps"])) if "beta2" in its else (0.0, 0.0)
    return Rule(OPTIMIZERS.index(name), float(recipe.lr), momentum, float(recipe.weight_decay), *more)


def settings(recipe: Recipe, name: str) -> dict[str, Any]:
    """A technique's settings in a recipe, with the defaults of those that it leaves open; an optimiser's own only."""
    use = next(use for use in (recipe.optimizer, *recipe.use) if use.name == name)
    return {**techniques.entry(name).settings, **use.settings}
