"""Adds half the squared length of all trained weights to the loss, times a small factor.

Formula: R = (λ/2) Σ w², over every weight w that takes a gradient, with λ = `decay`; its gradient is λw.

Source: A. Krogh and J. Hertz, A simple weight decay can improve generalization, 1991.

Differs: biases and normalisation weights are decayed too.

Helps: long trainings, against over-fitting; and wherever the penalised loss itself is to be seen.

Hurts: costs a pass over the weights, where the optimiser's own weight_decay gives the same gradient for nothing with
sgd and nesterov. With adam the two are the same, but both are weakened where gradients are large; adamw decays all
weights alike.
"""

from __future__ import annotations

import torch
from torch import nn

from ..card import Card

CARD = Card(off={"decay": 0.0}, allows={"decay": "[0, inf)"})


def weight_decay_l2(model: nn.Module, *, decay: float = 5e-4) -> torch.Tensor:
    """A scalar () on the model's device. decay: from 0. Raises Mistake (a ValueError) below."""
    CARD.check(decay=decay)
    squares = [parameter.square().sum() for parameter in model.parameters() if parameter.requires_grad]
    return decay / 2 * torch.stack(squares).sum() if squares else torch.zeros(())
