"""Stochastic gradient descent with heavy-ball momentum, in either of its two published forms.

Formula: inside, the learning rate enters the velocity: v ← μv - η(g + λw), w ← w + v. Outside, it scales the velocity:
v ← γv + g + λw, w ← w - ηv. With w a weight, g its gradient, v its velocity (0 at the start), η the learning rate at
this step, μ = γ = `momentum` and λ = `weight_decay`.

Source: B. Polyak, Some methods of speeding up the convergence of iteration methods, 1964; inside as in I. Sutskever et
al., On the importance of initialization and momentum in deep learning, 2013.

Differs: nothing. The two forms are the same while η is constant (the inner velocity is -η times the outer). When η
falls, what the inner form has gathered goes on at the old rate; the outer form slows down at once. Outside is
torch.optim.SGD, as sgd is.

Helps: over plain descent, in long narrow valleys; momentum 0.9 with a learning rate ten times smaller.

Hurts: inside, for a few steps after each sharp fall of the learning rate; a rise takes as long to be felt.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ..card import Card
from .each_parameter import EachParameter

CARD = Card(allows={"momentum": "[0, 1)", "lr": "[0, inf)", "weight_decay": "[0, inf)", "form": ("inside", "outside")})


def momentum(
    named_parameters: Iterable[tuple[str, torch.nn.Parameter]],
    *,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    form: str = "inside",
) -> torch.optim.Optimizer:
    """One group with every parameter that takes a gradient. lr from 0, momentum in [0, 1), weight_decay from 0.

    form: "inside" or "outside". Raises Mistake (a ValueError) for a setting out of range.
    """
    CARD.check(lr=lr, momentum=momentum, weight_decay=weight_decay, form=form)
    trained = [parameter for _, parameter in named_parameters if parameter.requires_grad]
    groups = [{"params": trained, "initial_lr": lr}]
    if form == "outside":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, weight_decay=weight_decay)
    return RateInside(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})


class RateInside(EachParameter):
    """The inside form: v ← μv - η(g + λw), w ← w + v. defaults: lr, momentum and weight_decay of the groups."""

    def __init__(self, groups: list[dict[str, Any]], defaults: dict[str, Any]) -> None:
        super().__init__(groups, defaults)

    def move(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        rate, decay, state = group["lr"], group["weight_decay"], self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter)
        velocity = state["velocity"].mul_(group["momentum"]).add_(gradient, alpha=-rate)
        if decay:
            velocity.add_(parameter, alpha=-rate * decay)
        parameter.add_(velocity)
