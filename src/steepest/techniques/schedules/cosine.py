"""The learning rate falls to 0 along half a wave of the cosine, after a straight rise where a warm-up is wanted.

Formula: m(t) = t/w for t < w, else ½(1 + cos(π(t - w)/(1 - w))), with t the share of the training that is done, w =
`warmup` and m the multiplier of the base learning rate.

Source: I. Loshchilov and F. Hutter, SGDR, 2016, arXiv 1608.03983; the warm-up: P. Goyal et al., 2017, arXiv 1706.02677.

Differs: one fall, without restarts.

Helps: long trainings: much of the time at high rates, a gentle end.

Hurts: like every fall to 0 it leaves a training that is stopped early far from its best.
"""

from __future__ import annotations

import math

from ..card import Card

CARD = Card(allows={"warmup": "[0, 1)"})


def cosine(progress: float, *, warmup: float = 0.0) -> float:
    """The multiplier in [0, 1] at a progress in [0, 1). warmup: a share of the training in [0, 1), else Mistake."""
    CARD.check(warmup=warmup)
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
