"""Momentum whose steps are orthogonalised for filters and hidden matrices; Nesterov's momentum for all other weights.

Formula: for a convolution's filters or a hidden matrix, as a matrix W with a row for each output: B ← μB + G, W ←
W·√n/‖W‖ - η·N(G + μB), with G the gradient, B its velocity (0 at the start, the new one in the second assignment), n
the number of rows, μ = `momentum`, η the learning rate, and N Newton-Schulz steps: X ← M/(‖M‖ + 1e-7), then `steps`
times X ← aX + (bA + cA²)X with A = XXᵀ, a = 3.4445, b = -4.7750, c = 2.0315. They bring the singular values of M near 1
and keep its singular vectors. For all other weights: v ← ρv + g + κw, w ← w - η'(g + κw + ρv), with ρ =
`other_momentum`, η' = `head_lr` for the last matrix (the classifier) and `bias_lr` for the rest, and κ = λ/η'₀, λ =
`weight_decay`, η'₀ the group's base rate: a weight shrinks by λ a step at the full rate, whatever its base rate.

Source: K. Jordan et al., Muon, 2024, https://kellerjordan.github.io/posts/muon; airbench94_muon.py of
https://github.com/KellerJordan/cifar10-airbench, whose settings are the defaults.

Differs: the source sums the loss over a batch of 2000, and its network divides by 256 after a classifier of unit
variance; this house takes means. So there the rates of biases and classifier are 2000 times as large in our units: set
them for the network. One schedule for all, where the source lets the first layer's bias end early. Three steps at a
time are multiplied together as polynomials in their first A, which is small, and X by their product once. The products
with X are float32 on a CPU and bfloat16 on a CUDA device only.

Helps: in short trainings of networks with normalisation after each layer; with its schedule from 1 straight to 0.

Hurts: costs two matrix products of the filters' size for each update and some of its shorter side's, which counts at
small batches. Each step sets the length of the filters, so a layer without normalisation behind it cannot choose its
scale; weight decay does not reach them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ..card import Card
from .each_parameter import EachParameter

CARD = Card(
    allows={
        "lr": "[0, inf)",
        "momentum": "[0, 1)",
        "weight_decay": "[0, inf)",
        "bias_lr": "(0, inf)",
        "head_lr": "(0, inf)",
        "other_momentum": "[0, 1)",
        "steps": "[0, 100]",
    }
)
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
TOGETHER = 3
"""Newton-Schulz steps that are multiplied together: rounding errors of A grow tenfold with each."""


class Muon(EachParameter):
    """Up to three groups: filters and hidden matrices at `lr`, the last matrix at `head_lr`, all else at `bias_lr`.

    named_parameters: in the order of the network; those that take no gradient are left out. A parameter of four
    dimensions is a convolution's filters; the last one of two dimensions is the head, those before it are hidden.
    lr, weight_decay: from 0. momentum, other_momentum: in [0, 1). steps: Newton-Schulz steps, from 0.
    Raises Mistake (a ValueError) for a setting out of range.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, torch.nn.Parameter]],
        *,
        lr: float = 0.24,
        momentum: float = 0.6,
        weight_decay: float = 0.0,
        bias_lr: float = 0.053,
        head_lr: float = 0.67,
        other_momentum: float = 0.85,
        steps: int = 3,
    ) -> None:
        CARD.check(lr=lr, momentum=momentum, weight_decay=weight_decay)
        CARD.check(bias_lr=bias_lr, head_lr=head_lr, other_momentum=other_momentum, steps=steps)
        trained = [parameter for _, parameter in named_parameters if parameter.requires_grad]
        head = [parameter for parameter in trained if parameter.dim() == 2][-1:]
        hidden = [p for p in trained if p.dim() == 4 or (p.dim() == 2 and p is not head[0])]
        rest = [parameter for parameter in trained if parameter.dim() not in (2, 4)]
        shared = {"momentum": other_momentum, "steps": 0, "orthogonal": False}
        groups = [
            {"params": hidden, "lr": lr, "momentum": momentum, "decay": 0.0, "steps": steps, "orthogonal": True},
            {"params": head, "lr": head_lr, "decay": weight_decay / head_lr, **shared},
            {"params": rest, "lr": bias_lr, "decay": weight_decay / bias_lr, **shared},
        ]
        filled = [group | {"initial_lr": group["lr"]} for group in groups if group["params"]]
        super().__init__(filled, {})

    def move(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[parameter], group["momentum"]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter)
        if group["decay"]:
            gradient = gradient.add(parameter, alpha=group["decay"])
        velocity = state["velocity"].mul_(momentum).add_(gradient)
        direction = gradient.add(velocity, alpha=momentum)
        if group["orthogonal"]:
            if parameter.dim() == 4 and parameter.is_contiguous(memory_format=torch.channels_last):
                # as the numbers lie in memory
                parameter, direction = (one.permute(0, 2, 3, 1) for one in (parameter, direction))
            direction = orthogonalised(direction.flatten(1), group["steps"]).view(parameter.shape)
            parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp(min=1e-12))
        parameter.add_(direction, alpha=-group["lr"])


def orthogonalised(matrix: torch.Tensor, steps: int) -> torch.Tensor:
    """Newton-Schulz: a matrix (M,N) with its singular values brought near 1 and its singular vectors kept; 0 stays 0.

    steps: from 0; after 3, all singular values above about a tenth of the largest are between 0.5 and 1.3.
    """
    a, b, c = COEFFICIENTS
    x = matrix.bfloat16() if matrix.is_cuda else matrix
    x = x / (x.norm() + 1e-7)
    tall = len(x) > x.shape[1]
    if tall:
        x = x.T
    one = torch.eye(len(x), dtype=matrix.dtype, device=matrix.device)

    def factor(square: torch.Tensor) -> torch.Tensor:
        return a * one + b * square + c * square @ square

    for first in range(0, steps, TOGETHER):
        square = (x @ x.T).to(matrix.dtype)
        whole = last = factor(square)
        for _ in range(first + 1, min(first + TOGETHER, steps)):
            square = last @ square @ last
            last = factor(square)
            whole = last @ whole
        x = whole.to(x.dtype) @ x
    made: torch.Tensor = (x.T if tall else x).to(matrix.dtype)
    return made
