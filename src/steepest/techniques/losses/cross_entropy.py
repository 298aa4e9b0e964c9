"""Softmax cross-entropy: minus the logarithm of the probability that the network gives to the right class.

Formula: ℓ = -Σₖ tₖ log pₖ with pₖ = exp(zₖ) / Σⱼ exp(zⱼ), z the logits and t the target distribution over the K classes
(1 at the label and 0 elsewhere, or given as probabilities).

Source: J. Bridle, Probabilistic interpretation of feedforward classification network outputs, 1990.

Differs: nothing; it is torch.nn.functional.cross_entropy for each image.

Helps: as the standard loss of classification.

Hurts: it pushes logits of already right answers apart without end, so long trainings become over-confident;
label_smoothing bounds that and takes its place.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ..card import Card

CARD = Card(clashes=("losses",))


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Losses (N,) in nats. logits: (N,K). targets: (N,) int64 classes, or (N,K) probabilities that sum to 1."""
    return F.cross_entropy(logits, targets, reduction="none")
