"""Gradient descent with a step size for each weight, from running means of its gradient and of the gradient's square.

Formula: g ← g + λw, m ← β₁m + (1 - β₁)g, v ← β₂v + (1 - β₂)g², w ← w - η·m̂ / (√v̂ + ε), with m̂ = m/(1 - β₁ᵗ) and v̂ =
v/(1 - β₂ᵗ) at step t = 1, 2, …; w a weight, g its gradient, η the learning rate, λ = `weight_decay`, β₁ = `beta1`, β₂ =
`beta2`, ε = `eps`.

Source: D. Kingma and J. Ba, 2014, arXiv 1412.6980.

Differs: nothing; it is torch.optim.Adam. The recipe's momentum is not used: `beta1` takes its part.

Helps: to get a network going without a search for the learning rate; 1e-3 is rarely far off.

Hurts: image classifiers trained to the end reach a little more with sgd or nesterov. Its weight decay is weakened where
gradients are large; adamw's is not.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ..card import Card

CARD = Card(allows={"beta1": "[0, 1)", "beta2": "[0, 1)", "eps": "[0, inf)"})


def adam(
    named_parameters: Iterable[tuple[str, torch.nn.Parameter]],
    *,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> torch.optim.Optimizer:
    """One group with every parameter that takes a gradient. lr and weight_decay from 0; momentum is not used.

    beta1, beta2: in [0, 1). eps: from 0. Raises Mistake (a ValueError) for a setting out of range.
    """
    CARD.check(beta1=beta1, beta2=beta2, eps=eps)
    trained = [parameter for _, parameter in named_parameters if parameter.requires_grad]
    groups = [{"params": trained, "initial_lr": lr}]
    return torch.optim.Adam(groups, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)
