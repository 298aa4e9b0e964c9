"""The learning rate rises in a straight line to its peak, then falls in a straight line until the end.

Formula: m(t) = s + (1 - s)·t/p for t < p, and 1 + (e - 1)·(t - p)/(1 - p) from there on, with t the share of the
training that is done, m the multiplier of the base learning rate, s = `start`, p = `peak` and e = `end`.

Source: L. Smith, Cyclical learning rates for training neural networks, 2015, arXiv 1506.01186; J. Howard and S. Ruder,
2018, arXiv 1801.06146 (slanted); D. Page, How to train your ResNet, 2018 (0 → peak → 0).

Differs: one triangle over the whole training.

Helps: in short trainings: the rise lets a high peak rate start gently, the fall to 0 takes the noise out of the weights
at the end.

Hurts: stopped early, the weights are far from their best, because the fall has not come. With peak=0 it falls from the
first step, as in K. Jordan's speed record.
"""

from __future__ import annotations

from ..card import Card

CARD = Card(
    off={"start": 1.0, "end": 1.0},
    allows={"start": "[0, 1]", "peak": "[0, 1]", "end": "[0, 1]"},
)


def triangular(progress: float, *, start: float = 0.0, peak: float = 0.2, end: float = 0.0) -> float:
    """The multiplier in [0, 1] at a progress in [0, 1).

    start, end: multipliers at the start and the end, in [0, 1]. peak: share of the training at which the multiplier
    is 1, in [0, 1]. Raises Mistake (a ValueError) for a setting out of range.
    """
    CARD.check(start=start, peak=peak, end=end)
    if progress < peak:
        return start + (1 - start) * progress / peak
    return 1 + (end - 1) * (progress - peak) / (1 - peak) if peak < 1 else 1.0
