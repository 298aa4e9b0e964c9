"""Shows the easy images first and lets the harder ones in as the training goes on, where a small network that is
trained for a few epochs beforehand tells which are easy.

Formula: an epoch that begins at progress t draws from the ⌊s(t)·N + ½⌋ easiest of N training images, with s(t) = b +
(1 - b)·p(t/a) for t < a, and s(t) = 1 from then on; b is `start` and a is `full`. The pacing function p(u) is, by
`pace`: "linear" u, "quadratic" u², "root" √u, "exponential" (e¹⁰ᵘ - 1)/(e¹⁰ - 1), "logarithmic" 1 + ln(u + e⁻¹⁰)/10,
"step" 0.

Source: Y. Bengio et al., Curriculum learning, 2009, https://ronan.collobert.com/pub/matos/2009_curriculum_icml.pdf
("step"); the other pacing functions, and `first`: X. Wu et al., When do curricula work?, 2020, arXiv 2012.03107.

Differs: an epoch keeps its number of steps, so that while s(t) < 1 the images that are let in come more than once, each
equally often to within one. Hardness is a proxy's loss; the first source builds easy sets by hand, the second counts
how often held-out images are right. s changes between epochs only.

Helps: where the time is short or labels are noisy, according to the second source.

Hurts: in trainings of ordinary length with clean labels it hardly helps: `first`, "hard" or "random", tells the effect
of the order from that of the growing set. The first epochs repeat few images, which invites overfitting. The proxy's
training comes before the first step, and again at a resume.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...mistake import Mistake
from ..card import Card
from .hardness import losses, ranks

if TYPE_CHECKING:
    from ...data.batches import Batches

CARD = Card(
    off={"start": 1.0},
    tiny={"proxy_epochs": 1},
    place="order",
    allows={
        "start": "(0, 1]",
        "full": "[0, 1]",
        "pace": ("linear", "quadratic", "root", "exponential", "logarithmic", "step"),
        "first": ("easy", "hard", "random"),
        "proxy_epochs": "[1, 1000]",
    },
)
KEY = (0x6375_7272, 0, 0)
Indices = npt.NDArray[np.int64]


def curriculum(
    batches: Batches,
    *,
    classes: int,
    start: float = 0.2,
    full: float = 0.5,
    pace: str = "linear",
    first: str = "easy",
    balanced: bool = True,
    proxy_epochs: int = 3,
) -> Batches:
    """The batches in the order of a curriculum.

    classes: K, or 0 for a regression. start: in (0, 1]. full: in [0, 1]. pace, first: see above. balanced: whether the
    images let in are the same share of each class. proxy_epochs: from 1. Raises Mistake (a ValueError) for a setting
    out of range.
    """
    CARD.check(start=start, full=full, pace=pace, first=first, proxy_epochs=proxy_epochs)
    if start == 1:
        return batches
    if first == "random":
        random = np.random.default_rng(np.random.SeedSequence(batches.seed, spawn_key=KEY))
        scores: npt.NDArray[Any] = random.random(len(batches))
    else:
        scores = losses(batches, classes, proxy_epochs) * (-1 if first == "hard" else 1)
    ranked = np.full(len(batches.split), np.nan)
    ranked[batches.index] = ranks(scores, batches.split.targets[batches.index] if balanced and classes else None)
    paced = functools.partial(share, start=start, full=full, pace=pace)

    def order(epoch: int, progress: float, index: Indices, count: int, random: np.random.Generator) -> Indices:
        return easiest(ranked[index], paced(progress), count, random)

    return replace(batches, order=order)


def share(progress: float, start: float = 0.2, full: float = 0.5, pace: str = "linear") -> float:
    """The share of the images, in (0, 1], that are let in at `progress` in [0, 1)."""
    CARD.check(start=start, full=full, pace=pace)
    if progress >= full:
        return 1.0
    part = progress / full
    paced: dict[str, float] = {
        "linear": part,
        "quadratic": part**2,
        "root": math.sqrt(part),
        "exponential": math.expm1(10 * part) / math.expm1(10),
        "logarithmic": max(0.0, 1 + math.log(part + math.exp(-10)) / 10),
        "step": 0.0,
    }
    return min(1.0, start + (1 - start) * paced[pace])


def easiest(ranked: npt.NDArray[np.float64], share: float, count: int, random: np.random.Generator) -> Indices:
    """`count` places of the easiest, in random order, each equally often to within one.

    ranked: (N,), smaller is easier. share: in (0, 1]: how many of the places are drawn from, at least one.
    """
    if np.isnan(ranked).any():
        raise Mistake("curriculum: there are rows that were not there when their hardness was measured")
    few = max(1, int(share * len(ranked) + 0.5))
    let_in = np.argsort(ranked, kind="stable")[:few] if few < len(ranked) else np.arange(len(ranked))
    rounds = [let_in[random.permutation(few)] for _ in range(-(-count // few))]
    return np.concatenate(rounds)[:count]
