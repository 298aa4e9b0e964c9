"""The learning rate stays as it is from the first step to the last.

Formula: m(t) = 1, with t the share of the training that is done and m the multiplier of the base learning rate.

Source: no single one; the plain method of H. Robbins and S. Monro, 1951, with the decay left out.

Differs: nothing.

Helps: to watch what another change does alone, and with averaged weights, which take over the part of the decay.

Hurts: the last percent of accuracy, because the weights keep moving around the minimum.
"""

from __future__ import annotations

from ..card import Card

CARD = Card()


def constant(progress: float) -> float:
    """1 at every progress in [0, 1)."""
    return 1.0
