"""Shortens the gradient to a greatest length, keeping its direction.

Formula: g ← g · min(1, c / (‖g‖ + 1e-6)), with g the gradients of all weights as one vector, ‖g‖ its Euclidean length
and c = `max_norm`.

Source: R. Pascanu et al., On the difficulty of training recurrent neural networks, 2012, arXiv 1211.5063.

Differs: the 1e-6, as in torch.nn.utils.clip_grad_norm_, which it is.

Helps: where single batches give huge gradients and throw the weights far off: high learning rates, no normalisation.

Hurts: a threshold below the usual length is a smaller learning rate in disguise. No effect on muon's filters, whose
step has a fixed size.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ..card import Card

CARD = Card(off={"max_norm": 1e30}, allows={"max_norm": "(0, inf)"})


def clip_norm(
    parameters: Iterable[nn.Parameter], *, progress: float, generator: torch.Generator, max_norm: float = 1.0
) -> None:
    """Scales the gradients in place; parameters without one are skipped. max_norm: above 0, else Mistake."""
    CARD.check(max_norm=max_norm)
    nn.utils.clip_grad_norm_(parameters, max_norm)
