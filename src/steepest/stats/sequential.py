"""A t-test that may be looked at after every seed and stopped at any time, for whatever reason.

A plain t-test that is repeated after every seed finds a difference in the end, whether there is one or not. This one
does not: the chance that it ever tells a difference where there is none is at most alpha, however often one looks.

Formula: of n differences with mean m and variance s² let t² = n m² / s², ν = n - 1, and g = EFFECT². Then
E = (1 + n g)^(-1/2) · [(1 + t² / ν) / (1 + t² / (ν (1 + n g)))]^(n/2), and there is a difference where E ≥ 1/alpha.
E is the Bayes factor of an effect size (mean / sd) drawn from a normal distribution with mean 0 and standard deviation
EFFECT against an effect of 0, the scale having the right-Haar prior on both sides. Without an effect, E is a
nonnegative martingale that begins at 1, whatever the true scale, so that Ville's inequality bounds its maximum. The
means that would not be rejected make an interval that holds for all n at once (a confidence sequence).

Source: T. L. Lai, Ann. Stat. 4, 1976; A. Hendriksen, R. de Heide, P. Grünwald, arXiv 1807.09077, 2021; H. Wang, A.
Ramdas, arXiv 2310.03722, 2023. The Bayes factor in this form: M. Gönen and others, Am. Stat. 59, 2005.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..mistake import Mistake
from .means import SAME, check_share, largest

Array = npt.NDArray[np.float64]
EFFECT = 1.0
"""The expected size of a difference, in standard deviations of the pairs: much smaller ones take more seeds than people
have, much larger ones are found soon with any."""


@dataclass(frozen=True)
class Sequential:
    """What n pairs tell by now.

    different: at some number of seeds so far the rule told a difference; what was told stays told. p: at most alpha
    where `different` (the least 1/E so far, times the comparisons). low, high: the interval of the difference, which
    holds at every look (None: none yet).
    """

    n: int
    difference: float
    low: float | None
    high: float | None
    p: float
    different: bool


def sequential(a: Sequence[float], b: Sequence[float], *, alpha: float = 0.05, comparisons: int = 1) -> Sequential:
    """The rule for pairs a (n,), b (n,) of the same seeds, in an order that their values did not decide.

    alpha in (0, 1): the chance of ever telling a difference in any of the comparisons, among which it is divided, if
    there is none. At 0.05 nothing can be told before 5 pairs, in ten comparisons before 7. Raises Mistake for values
    that are no numbers, no pairs, or a setting out of range.
    """
    check_share("alpha", alpha)
    if len(a) != len(b) or not len(a):
        raise Mistake(f"pairs need as many values on either side, 1 or more: got {len(a)} and {len(b)}")
    if comparisons < 1:
        raise Mistake(f"the number of comparisons must be at least 1: got {comparisons}")
    level, differences = alpha / comparisons, np.asarray(a, np.float64) - np.asarray(b, np.float64)
    tolerance = SAME * largest([*a, *b])
    best = float(e_values(differences, tolerance=tolerance).max())
    low, high = _intervals(differences, level, tolerance)
    if low.max() <= high.min():  # what was ruled out stays ruled out
        low, high = low.max(keepdims=True), high.min(keepdims=True)
    known = [float(ends[-1]) if math.isfinite(ends[-1]) else None for ends in (low, high)]
    p, n = min(1.0, comparisons / best), len(differences)
    return Sequential(n, float(differences.mean()), known[0], known[1], p, best >= 1 / level)


def e_values(differences: npt.ArrayLike, tolerance: float = 0.0) -> Array:
    """The evidence E, from 0, after each of the differences (…, n): same shape. 1 where nothing is known: at the first,
    and as long as all lie within `tolerance` of the first.
    """
    values = np.asarray(differences, np.float64)
    count, mean, squares = _running(values, tolerance)
    wide = 1 + count * EFFECT**2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = count * mean**2 / squares  # t² / ν
        found = np.exp(0.5 * count * (np.log1p(ratio) - np.log1p(ratio / wide)) - 0.5 * np.log(wide))
    return np.where(squares > 0, found, 1.0)


def _intervals(differences: Array, level: float, tolerance: float) -> tuple[Array, Array]:
    """After each difference (n,) the means that E does not reject at 1/level: those with t² / ν at most (K - 1) /
    (1 - K / (1 + n g)), K = (√(1 + n g) / level)^(2/n)."""
    count, mean, squares = _running(differences, tolerance)
    wide = 1 + count * EFFECT**2
    factor = np.exp((0.5 * np.log(wide) - math.log(level)) * 2 / count)
    bounded = (factor < wide) & (squares > 0)
    ratio = (factor - 1) / np.where(bounded, 1 - factor / wide, np.nan)
    half = np.where(bounded, np.sqrt(ratio * squares / count), np.inf)
    return mean - half, mean + half


def _running(values: Array, tolerance: float) -> tuple[Array, Array, Array]:
    """After each of the values (…, n): how many, their mean, and the sum of squared distances from it, which is 0 as
    long as all lie within the tolerance of the first."""
    count = np.arange(1, values.shape[-1] + 1, dtype=np.float64)
    moved = values - values[..., :1]
    mean = np.cumsum(moved, -1) / count
    squares = np.maximum(np.cumsum(moved**2, -1) - count * mean**2, 0.0)
    apart = np.maximum.accumulate(np.abs(moved), -1) > tolerance
    return count, mean + values[..., :1], np.where(apart, squares, 0.0)
