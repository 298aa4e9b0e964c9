"""A multi-layer perceptron: linear layers with an activation between them, on points or on flattened images.

Layers: flatten; for each number of `hidden` ("200-100" is two layers) a linear layer and the activation; a linear
layer to the outputs, without activation: its outputs are logits, or with one class the number to regress or a single
logit. PyTorch's own initialisation. With `residual`, a hidden layer that keeps the size of its input adds its input to
its output. With `batch_norm`, a hidden layer normalises over the batch before its activation, in the place of a bias.

The documents' networks: 784-200-100-10 with ReLU is `hidden="200-100"` on 28×28 grey images; 100-50-20-1 with sigmoid
is `hidden="50-20", activation="sigmoid"`, one class, points of 100 numbers; regression is one class. Those of
TensorFlow's playground are small ones on points of 2 numbers: `hidden="4-2", activation="tanh"`, or six layers of two
units, `hidden="2-2-2-2-2-2"`, which with `residual` are no harder to train than few.

Source: D. Rumelhart, G. Hinton, R. Williams, Learning representations by back-propagating errors, Nature 323, 1986,
https://doi.org/10.1038/323533a0; residual: K. He, X. Zhang, S. Ren, J. Sun, 2015, arXiv 1512.03385.

Differs: `width` sets the size of the first hidden layer and the others keep their proportion to it; by default all
are as `hidden` says. The residual of a layer is the activation's output, and nothing follows the sum.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import nn

from steepest.mistake import Mistake

WIDTH = None
SMALLEST = None
_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def build(
    classes: int,
    shape: tuple[int, ...],
    width: int | None,
    *,
    hidden: str = "200-100",
    activation: Literal["relu", "sigmoid", "tanh"] = "relu",
    residual: bool = False,
    batch_norm: bool = False,
) -> MLP:
    """For inputs of any `shape`.

    Raises Mistake unless `hidden` is whole numbers from 1, joined by hyphens, and for a `residual` without a layer that
    keeps the size of its input.
    """
    parts = str(hidden).split("-")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise Mistake(f"hidden of mlp is layer sizes such as '200-100', not {hidden!r}")
    sizes = [int(part) for part in parts]
    if width is not None:
        sizes = [max(1, round(size * width / sizes[0])) for size in sizes]
    if residual and all(one != other for one, other in pairwise([torch.Size(shape).numel(), *sizes])):
        raise Mistake(f"residual of mlp needs a hidden layer as large as its input, which hidden={hidden} has not")
    return MLP(classes, shape, sizes, _ACTIVATIONS[activation], residual, batch_norm)


class MLP(nn.Sequential):
    """(N, *shape) -> logits (N, K)."""

    def __init__(
        self,
        classes: int,
        shape: tuple[int, ...],
        hidden: list[int],
        activation: type[nn.Module] = nn.ReLU,
        residual: bool = False,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        size = torch.Size(shape).numel()
        self.append(nn.Flatten())
        for units in hidden:
            norm = (nn.BatchNorm1d(units),) if batch_norm else ()
            layer = (nn.Linear(size, units, bias=not norm), *norm, activation())
            self.extend((Residual(*layer),) if residual and units == size else layer)
            size = units
        self.append(nn.Linear(size, classes))


class Residual(nn.Module):
    """x plus what the layers make of it: (N, D) -> (N, D)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x + self.branch(x)
        return y
