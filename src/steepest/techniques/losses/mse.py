"""Mean squared error between the outputs and the wanted numbers.

Formula: ℓ = (1/K) Σₖ (zₖ - tₖ)², with z an image's K outputs and t the K numbers wanted; K = 1 for a single number.

Source: A.-M. Legendre, Nouvelles méthodes pour la détermination des orbites des comètes, 1805.

Differs: no factor ½, as in torch.nn.functional.mse_loss, which it is for each image.

Helps: on the regression sets.

Hurts: where single targets are far off, whose squares outweigh all others; and for classes, where it learns slower than
cross_entropy. Only one loss can be used at a time.
"""

from __future__ import annotations

import torch

from ...mistake import Mistake
from ..card import Card

CARD = Card(clashes=("losses",))


def mse(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Losses (N,). logits: (N,K), or (N,) for K = 1. targets: float, (N,K), or (N,) for K = 1.

    Raises Mistake (a ValueError) for other shapes and for class numbers.
    """
    if not targets.is_floating_point() or targets.numel() != logits.numel() or len(targets) != len(logits):
        raise Mistake(
            f"mse needs a number for each output: got {targets.dtype} targets {tuple(targets.shape)} "
            f"for outputs {tuple(logits.shape)}"
        )
    squares = (logits - targets.view(logits.shape)).square()
    return squares.unsqueeze(-1).flatten(1).mean(1)
