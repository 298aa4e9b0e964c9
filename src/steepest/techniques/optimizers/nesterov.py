"""Stochastic gradient descent with Nesterov's momentum: the step looks ahead along the velocity.

Formula: v ← μv + g + λw, w ← w - η(g + λw + μv), with w a weight, g its gradient, v its velocity (0 at the start, and
the new one in the second assignment), η the learning rate at this step, μ = `momentum` and λ = `weight_decay`.

Source: Y. Nesterov, A method for solving the convex programming problem with convergence rate O(1/k²), 1983; I.
Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.

Differs: it is torch.optim.SGD with nesterov=True, which keeps the looked-ahead weights themselves. Momentum 0 is plain
sgd.

Helps: most where momentum is high (0.85 to 0.95) and the training short.

Hurts: little; like sgd it needs a well-chosen learning rate.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ..card import Card

CARD = Card()


def nesterov(
    named_parameters: Iterable[tuple[str, torch.nn.Parameter]],
    *,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """One group with every parameter that takes a gradient. lr from 0, momentum in [0, 1), weight_decay from 0."""
    trained = [parameter for _, parameter in named_parameters if parameter.requires_grad]
    groups = [{"params": trained, "initial_lr": lr}]
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0)
