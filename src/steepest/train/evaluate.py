"""Evaluation: loss, accuracy, and what each image was taken for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..data.batches import Batches

Infer = Callable[[nn.Module, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Scores:
    """n images; mean loss; accuracy (a fraction; None for regression); each image's logits (N,K) and targets (N,)."""

    n: int
    loss: float
    accuracy: float | None
    logits: torch.Tensor
    targets: torch.Tensor

    def confusion(self) -> torch.Tensor:
        """(K,K) counts: row the true class, column the predicted one."""
        classes = self.logits.shape[1]
        pairs = self.targets * classes + self.logits.argmax(1)
        return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)

    def mistakes(self, most: int = 20) -> list[tuple[int, int, float]]:
        """The most confident wrong predictions: (row, predicted class, its probability), most confident first."""
        probabilities, predicted = self.logits.softmax(1).max(1)
        wrong = torch.nonzero(predicted != self.targets).flatten()
        order = wrong[probabilities[wrong].argsort(descending=True, stable=True)][:most]
        return [(int(row), int(predicted[row]), float(probabilities[row])) for row in order]


@torch.no_grad()
def evaluate(model: nn.Module, batches: Batches, infer: Infer, loss: Callable[..., torch.Tensor]) -> Scores:
    """The scores of a network in eval mode over every image of `batches`. `loss(logits, targets)` gives the mean."""
    logits, targets = [], []
    for images, wanted in batches.epoch(0):
        logits.append(infer(model, images).cpu())
        targets.append(wanted.cpu())
    said, true = torch.cat(logits), torch.cat(targets)
    classify = not true.is_floating_point()
    value = float(loss(said if classify else said.view(true.shape), true))
    return Scores(len(true), value, float((said.argmax(1) == true).float().mean()) if classify else None, said, true)
