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

    @property
    def correct(self) -> int:
        """How many images were taken for what they are."""
        return int((self.logits.argmax(1) == self.targets).sum())

    def confusion(self) -> torch.Tensor:
        """(K,K) counts: row the true class, column the predicted one."""
        classes = self.logits.shape[1]
        pairs = self.targets * classes + self.logits.argmax(1)
        return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)

    def per_class(self) -> list[dict[str, float | None]]:
        """For each class `n` images of it, `precision`, `recall` and `f1` (fractions; None where nothing is counted).

        precision: how many of those taken for the class are of it. recall: how many of those of it were taken for it.
        f1: their harmonic mean, 2·hits / (images of it + taken for it).
        """
        predicted, classes = self.logits.argmax(1), self.logits.shape[1]
        of_each = self.targets[predicted == self.targets], self.targets, predicted
        sums = zip(*(torch.bincount(labels, minlength=classes).tolist() for labels in of_each), strict=True)
        return [
            {
                "n": n,
                "precision": hits / taken if taken else None,
                "recall": hits / n if n else None,
                "f1": 2 * hits / (n + taken) if n + taken else None,
            }
            for hits, n, taken in sums
        ]

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
    return scores(torch.cat(logits), torch.cat(targets), loss)


def scores(logits: torch.Tensor, targets: torch.Tensor, loss: Callable[..., torch.Tensor]) -> Scores:
    """The scores of logits (N,K) against classes (N,) int64, or of values (N,1) against float targets (N,)."""
    classify = not targets.is_floating_point()
    value = float(loss(logits if classify else logits.view(targets.shape), targets))
    accuracy = float((logits.argmax(1) == targets).float().mean()) if classify else None
    return Scores(len(targets), value, accuracy, logits, targets)
