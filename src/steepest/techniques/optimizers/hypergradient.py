"""Gradient descent that learns its learning rate on the way, by descending the loss along the rate too.

Formula: a ← a + β·⟨g, u⟩, u ← the new direction, w ← w - a·u, with a the rate (at the start the learning rate), β =
`hyper_lr`, g the gradient with the weight decay's part λw, λ = `weight_decay`, u the direction of the last step (none
before the first), ⟨·,·⟩ the sum of products over all weights: -⟨g, u⟩ is the slope of the loss along the last step's
rate. Directions: with form sgd u = g, with `momentum` μ above 0 Nesterov's u = g + μv, v ← μv + g; with form adam u =
m̂/(√v̂ + ε), m ← 0.9m + 0.1g, v ← 0.999v + 0.001g², m̂ and v̂ corrected for their start at 0, ε = 1e-8.

Source: A. Baydin et al., Online learning rate adaptation with hypergradient descent, 2017, arXiv 1703.04782 (SGD-HD,
SGDN-HD and Adam-HD); R. Almeida et al., Parameter adaptation in stochastic optimization, 1998.

Differs: under a schedule with the multiplier c the step is c·a·u and the slope gets the last step's c as a factor; with
a constant schedule all is the paper's. Each group of parameters learns a rate of its own.

Helps: where the learning rate was chosen badly: it climbs from one that is far too small. The rate in use stands in
``group["rate"]``.

Hurts: β must suit the scale of the gradients: 0.001 for sgd, but 1e-8 to 1e-7 for adam, whose directions are long; too
large a β diverges. It looks one step ahead only, and so settles on small rates where gradients are noisy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ..card import Card
from .each_parameter import EachGroup

CARD = Card(
    allows={
        "lr": "[0, inf)",
        "momentum": "[0, 1)",
        "weight_decay": "[0, inf)",
        "hyper_lr": "[0, inf)",
        "form": ("sgd", "adam"),
    }
)
BETAS, EPS = (0.9, 0.999), 1e-8


class Hypergradient(EachGroup):
    """One group with every parameter that takes a gradient.

    lr, weight_decay, hyper_lr: from 0. momentum: in [0, 1), not used by form "adam". form: "sgd" or "adam".
    After a step, ``group["rate"]`` is the rate that it used. Raises Mistake (a ValueError) for a setting out of range.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, torch.nn.Parameter]],
        *,
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        hyper_lr: float = 0.001,
        form: str = "sgd",
    ) -> None:
        CARD.check(lr=lr, momentum=momentum, weight_decay=weight_decay, hyper_lr=hyper_lr, form=form)
        trained = [parameter for _, parameter in named_parameters if parameter.requires_grad]
        rates = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "hyper_lr": hyper_lr}
        own = {"form": form, "learned": 0.0, "rate": lr, "multiplier": 1.0}
        super().__init__([{"params": trained, "initial_lr": lr}], rates | own)

    def move_group(self, group: dict[str, Any]) -> None:
        moved = {p: p.grad.add(p, alpha=group["weight_decay"]) for p in group["params"] if p.grad is not None}
        slopes = [(g * self.state[p]["direction"]).sum() for p, g in moved.items() if "direction" in self.state[p]]
        if slopes:
            group["learned"] += group["hyper_lr"] * group["multiplier"] * torch.stack(slopes).sum().item()
        base = group["initial_lr"]
        group["multiplier"] = group["lr"] / base if base else 1.0
        group["rate"] = group["multiplier"] * (base + group["learned"])
        for parameter, gradient in moved.items():
            self._turn(self.state[parameter], gradient, group)
            parameter.sub_(group["rate"] * self.state[parameter]["direction"])

    def _turn(self, state: dict[str, Any], gradient: torch.Tensor, group: dict[str, Any]) -> None:
        """Sets a parameter's new direction. `gradient` may be kept."""
        if group["form"] == "adam":
            if not state:
                state |= {"step": 0, "mean": torch.zeros_like(gradient), "square": torch.zeros_like(gradient)}
            state["step"] += 1
            mean = state["mean"].lerp_(gradient, 1 - BETAS[0])
            square = state["square"].mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            root = (square / (1 - BETAS[1] ** state["step"])).sqrt_().add_(EPS)
            state["direction"] = (mean / (1 - BETAS[0] ** state["step"])).div_(root)
        elif group["momentum"]:
            if "velocity" not in state:
                state["velocity"] = torch.zeros_like(gradient)
            velocity = state["velocity"].mul_(group["momentum"]).add_(gradient)
            state["direction"] = gradient.add_(velocity, alpha=group["momentum"])
        else:
            state["direction"] = gradient
