"""Stochastic gradient descent, with heavy-ball momentum where the recipe's momentum is above 0.

Formula: v ← μv + g + λw, w ← w - ηv, with w a weight, g its gradient, v its velocity (0 at the start), η the learning
rate at this step, μ = `momentum` and λ = `weight_decay`.

Source: H. Robbins and S. Monro, A stochastic approximation method, 1951; B. Polyak, Some methods of speeding up the
convergence of iteration methods, 1964.

Differs: the learning rate stands outside the velocity, as in torch.optim.SGD, which it is. Polyak's form v ← μv - ηg, w
← w + v is the same while η is constant.

Helps: as the standard optimiser of convolutional networks; momentum 0.9 with a learning rate ten times smaller.

Hurts: it needs its learning rate within a factor of about 3 of the best, where adam forgives more.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ..card import Card

CARD = Card()


def sgd(
    named_parameters: Iterable[tuple[str, torch.nn.Parameter]],
    *,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """One group with every parameter that takes a gradient. lr from 0, momentum in [0, 1), weight_decay from 0."""
    trained = [parameter for _, parameter in named_parameters if parameter.requires_grad]
    groups = [{"params": trained, "initial_lr": lr}]
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, weight_decay=weight_decay)
