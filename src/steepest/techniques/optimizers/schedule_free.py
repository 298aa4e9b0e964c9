"""Descends without a schedule: gradients are taken between a fast sequence of weights and its running average.

Formula: at step t = 1, 2, …: y = (1 - β)z + βx are the weights in the network and g their gradient; z ← z - γ(d + λy),
S ← S + γ², x ← (1 - c)x + cz with c = γ²/S, with x the average, which predicts, and all three the first weights at the
start; β = `beta`, λ = `weight_decay`. Form sgd: d = g, γ = η·min(1, t/T), with η the learning rate and T =
`warmup_steps`. Form adamw: v ← β₂v + (1 - β₂)g², d = g/(√v + ε), and γ has √(1 - β₂ᵗ) as a further factor, with β₂ =
`beta2` and ε = 1e-8.

Source: A. Defazio et al., The road less scheduled, 2024, arXiv 2405.15682.

Differs: x is stored beside z and not worked out from y and z, so that β may be 0 (Polyak's average) and nothing drifts.
The recipe's momentum is not used: `beta` takes its part.

Helps: where the length of the training is not known beforehand: it may end at any time. Wants the constant schedule, a
warm-up, and learning rates above those of a schedule: 10 to 50 times sgd's, 1 to 10 times adamw's.

Hurts: under a falling schedule it gains nothing. x is its own average, so other averages, lookahead, switch_optimizer
and decoupled do not go with it. Batch norms' running statistics are those of y and must be estimated anew for x:
`refresh` says over how many images. Costs one more copy of the weights than its source.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..card import Card
from .each_parameter import EachGroup

CARD = Card(
    tiny={"warmup_steps": 3},
    clashes=("averaging", "lookahead", "switch_optimizer", "decoupled"),
    allows={
        "lr": "[0, inf)",
        "weight_decay": "[0, inf)",
        "form": ("sgd", "adamw"),
        "beta": "[0, 1]",
        "beta2": "[0, 1)",
        "warmup_steps": "[0, inf)",
    },
)
EPS = 1e-8


class ScheduleFree(EachGroup):
    """One group with every parameter that takes a gradient.

    lr, weight_decay, warmup_steps: from 0; momentum is not used. form: "sgd" or "adamw". beta: in [0, 1]. beta2: in
    [0, 1). Raises Mistake (a ValueError) for a setting out of range.
    """

    refresh = 5000
    """Images over which batch norms' statistics are to be estimated anew after `copy_to`."""

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        *,
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        form: str = "sgd",
        beta: float = 0.9,
        beta2: float = 0.999,
        warmup_steps: int = 0,
    ) -> None:
        CARD.check(lr=lr, weight_decay=weight_decay, form=form, beta=beta, beta2=beta2, warmup_steps=warmup_steps)
        self.named = {name: parameter for name, parameter in named_parameters if parameter.requires_grad}
        own = {"form": form, "beta": beta, "beta2": beta2, "warmup_steps": warmup_steps, "step": 0, "weight": 0.0}
        groups = [{"params": list(self.named.values()), "initial_lr": lr}]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay} | own)

    def move_group(self, group: dict[str, Any]) -> None:
        group["step"] += 1
        rate = group["lr"] * min(1.0, group["step"] / max(1, group["warmup_steps"]))
        if group["form"] == "adamw":
            rate *= (1 - group["beta2"] ** group["step"]) ** 0.5
        group["weight"] += rate**2
        share = rate**2 / group["weight"] if group["weight"] else 0.0
        for parameter in group["params"]:
            if parameter.grad is not None:
                self._move(parameter, parameter.grad, group, rate, share)

    def _move(self, y: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any], rate: float, share: float) -> None:
        state = self.state[y]
        if not state:
            state |= {"z": y.clone(), "x": y.clone()}
        direction = gradient
        if group["form"] == "adamw":
            if "square" not in state:
                state["square"] = torch.zeros_like(y)
            square = state["square"].mul_(group["beta2"]).addcmul_(gradient, gradient, value=1 - group["beta2"])
            direction = gradient / square.sqrt().add_(EPS)
        z = state["z"].add_(direction, alpha=-rate).add_(y, alpha=-rate * group["weight_decay"])
        x = state["x"].lerp_(z, share)
        y.copy_(torch.lerp(z, x, group["beta"]))

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Writes the average x into a model of the same structure; before the first step it leaves the model alone."""
        for name, parameter in model.named_parameters():
            if name in self.named and (state := self.state.get(self.named[name])):
                parameter.copy_(state["x"])

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"named": self.named}
