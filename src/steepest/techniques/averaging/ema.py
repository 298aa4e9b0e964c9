"""Keeps a running mean of the weights that forgets old ones exponentially, and predicts with it.

Formula: a ← w at the first step, then a ← d·a + (1 - d)·w after every k-th step, with w the weights, a their average, d
= `decay` and k = `every`.

Source: B. Polyak and A. Juditsky, Acceleration of stochastic approximation by averaging, 1992; in the exponential form
A. Tarvainen and H. Valpola, 2017, arXiv 1703.01780.

Differs: the running statistics of batch norms are averaged like weights; whole-number buffers are taken as they are.

Helps: with a constant or a high learning rate at the end: the mean lies nearer to the minimum than the last weights.

Hurts: short trainings at the default: 0.999 looks back over some 1000 steps, so set the decay to the training's length;
and little use after a fall of the learning rate to 0. Costs a pass over the weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..card import Card

CARD = Card(off={"decay": 0.0, "every": 1}, tiny={"decay": 0.5}, allows={"decay": "[0, 1)", "every": "[1, inf)"})
PREFIX = "average."


class Ema:
    """The average of one model. decay: in [0, 1). every: steps between two updates, from 1. Else Mistake."""

    def __init__(self, decay: float = 0.999, every: int = 1) -> None:
        CARD.check(decay=decay, every=every)
        self.decay = decay
        self.every = every
        self.steps = 0
        self.average: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def after_step(self, model: nn.Module, *, progress: float) -> None:
        """Takes in the model's weights and buffers as they are now."""
        self.steps += 1
        current = model.state_dict()
        if not self.average:
            self.average = {name: value.detach().clone() for name, value in current.items()}
        elif self.steps % self.every == 0:
            for name, value in current.items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1 - self.decay)
                else:
                    self.average[name].copy_(value)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Writes the average into a model of the same structure; before the first step it leaves the model alone."""
        for name, value in model.state_dict().items():
            if name in self.average:
                value.copy_(self.average[name])

    def state_dict(self) -> dict[str, Any]:
        """``steps``, a whole number, and a tensor for each weight and buffer: copies."""
        return {"steps": self.steps} | {PREFIX + name: value.clone() for name, value in self.average.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self.steps = state["steps"]
        self.average = {
            name.removeprefix(PREFIX): value.clone() for name, value in state.items() if name.startswith(PREFIX)
        }
