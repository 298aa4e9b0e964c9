"""Ends the training when a figure of the curve has not become better for a number of measurements.

Formula: stop at measurement n when n - argbest(x₁, …, xₙ) ≥ p, with x the figure at each measurement, argbest the place
of its first best value (the least loss, the greatest accuracy) and p = `patience`.

Source: L. Prechelt, Early stopping - but when?, 1998 (its UP criteria are kin); in this form long in common use.

Differs: any improvement counts, however small. The last weights are kept, not the best ones.

Helps: where nobody knows how many epochs are enough, with a constant learning rate.

Hurts: with a schedule that falls at the end, whose best part it may cut off; and with a noisy figure of a small
validation set.
"""

from __future__ import annotations

import math

from ...run import Curve
from ..card import Card

CARD = Card(
    tiny={"patience": 1},
    allows={"patience": "[1, inf)", "figure": ("val_loss", "val_accuracy", "train_loss", "train_accuracy")},
)


class EarlyStopping:
    """patience: measurements, from 1. figure: a loss or an accuracy of the curve. Else Mistake (a ValueError)."""

    def __init__(self, patience: int = 3, figure: str = "val_loss") -> None:
        CARD.check(patience=patience, figure=figure)
        self.patience = patience
        self.figure = figure

    def should_stop(self, curve: Curve) -> str | None:
        """The reason to stop now, or None. Points of the curve without the figure do not count."""
        values = curve.column(self.figure)
        sign = -1 if self.figure.endswith("accuracy") else 1
        losses = [math.inf if math.isnan(value) else sign * value for value in values]
        best = min(range(len(losses)), key=losses.__getitem__, default=0)
        waited = len(losses) - 1 - best
        if waited < self.patience:
            return None
        return f"{self.figure} has not become better than {values[best]:.4g} for {waited} measurements"
