"""Means and differences of means by Student's t: with intervals, for many comparisons, and tests of equivalence.

Where there is only one value, or all are the same, nothing is known about how far others would lie: there is then no
interval and no p-value (None). Two seeds that agree by chance, as shares of a few images do, prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from ..mistake import Mistake

SAME = 1e-6
"""Values nearer to each other than this share of the largest one are the same: accuracies are rounded to float32."""


@dataclass(frozen=True)
class Mean:
    """The mean of n values, and its interval; low and high are None where it has none."""

    n: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """A difference of two means or shares, a - b, with its interval and its two-sided p-value against none (None: not
    known). n: pairs; not paired: the values of the smaller side.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    n: int
    paired: bool


@dataclass(frozen=True)
class Equivalence:
    """Whether a difference lies within ± margin: held is None where that cannot be told.

    low, high: the interval of the difference that must lie within. p: the larger of the two one-sided tests'.
    """

    held: bool | None
    low: float | None
    high: float | None
    p: float | None
    margin: float
    n: int


def mean(values: Sequence[float], confidence: float = 0.95) -> Mean:
    """The mean of values (n,), n from 1, with its interval by Student's t; confidence in (0, 1).

    Raises Mistake for no values, and for one that is no number. Source: Student, Biometrika 6, 1908.
    """
    middle, variance = _moments(values)
    check_share("confidence", confidence)
    n = len(values)
    if variance == 0:
        return Mean(n, middle, None, None)
    half = t_quantile(0.5 + confidence / 2, n - 1) * math.sqrt(variance / n)
    return Mean(n, middle, middle - half, middle + half)


def mean_of(figure: str, values: Sequence[float]) -> Mean:
    """`mean` of a figure by its name, whose 95 % interval ends where the figure does, which Student's does not know: an
    accuracy's at 0 and 1, that of anything else of which no value is below 0, as losses and seconds, at 0."""
    found = mean(values)
    if found.low is None or found.high is None or min(values) < 0:
        return found
    most = 1.0 if figure.endswith("accuracy") else math.inf
    return replace(found, low=max(0.0, found.low), high=min(most, found.high))


def difference(
    a: Sequence[float], b: Sequence[float], *, paired: bool = True, confidence: float = 0.95, comparisons: int = 1
) -> Difference:
    """The mean of a (n,) minus that of b (m,), with its interval and p-value.

    paired: a and b are of the same seeds in the same order (n = m), by the t-test of their differences; else by Welch's
    test, which lets the two sides spread differently. comparisons: this is one of so many: the interval is then made
    wider by Bonferroni's rule (1 - confidence is divided among them), so that all of them hold at once at
    `confidence`; p stays as it is, for `holm`. Source: B. L. Welch, Biometrika 34, 1947; O. J. Dunn, J. Am. Stat.
    Assoc. 56, 1961. Raises Mistake for values that are no numbers, none of them, or pairs of unequal number.
    """
    check_share("confidence", confidence)
    found = _contrast(a, b, paired)
    if found.error == 0:
        return Difference(found.difference, None, None, None, found.n, paired)
    low, high = found.interval(0.5 + confidence / 2, comparisons)
    return Difference(found.difference, low, high, 2 * found.above(abs(found.difference)), found.n, paired)


def equivalence(
    a: Sequence[float],
    b: Sequence[float],
    margin: float,
    *,
    paired: bool = True,
    alpha: float = 0.05,
    comparisons: int = 1,
) -> Equivalence:
    """Whether the means of a and b differ by less than a margin (above 0, in the unit of the values).

    Two one-sided t-tests at level alpha, which is the same as that the interval of 1 - 2 alpha (90 %) lies within
    ± margin. paired: as in `difference`. comparisons: alpha is divided among so many. Source: D. J. Schuirmann, J.
    Pharmacokinet. Biopharm. 15, 1987. Raises Mistake as `difference` does, and for a margin that is not above 0.
    """
    if not (isinstance(margin, int | float) and 0 < margin < math.inf):
        raise Mistake(f"the margin of an equivalence must be above 0: got {margin!r}")
    check_share("alpha", alpha)
    found = _contrast(a, b, paired)
    if found.error == 0:
        return Equivalence(None, None, None, None, float(margin), found.n)
    low, high = found.interval(1 - alpha, comparisons)
    p = found.above(margin - abs(found.difference))
    return Equivalence(-margin < low and high < margin, low, high, p, float(margin), found.n)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Holm's p-values of several tests: below alpha where the test still holds when the chance that any of them is
    wrong shall be alpha. Never above Bonferroni's.

    values: p-values in [0, 1]; None, of a test that could not be made, counts as a test and stays None. Source: S.
    Holm, Scand. J. Stat. 6, 1979.
    """
    for p in values:
        if p is not None and not 0 <= p <= 1:
            raise Mistake(f"a p-value must be in [0, 1]: got {p!r}")
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    known = [(p, place) for place, p in enumerate(values) if p is not None]
    for rank, (p, place) in enumerate(sorted(known)):
        largest = max(largest, min(1.0, (len(values) - rank) * p))
        adjusted[place] = largest
    return adjusted


@dataclass(frozen=True)
class _Contrast:
    """A difference, its standard error (0: none was seen) and the degrees of freedom of that."""

    difference: float
    error: float
    freedom: float
    n: int

    def interval(self, place: float, comparisons: int) -> tuple[float, float]:
        """Between the quantiles `place` and 1 - place, in (0.5, 1), of which the tail is divided by the comparisons."""
        if comparisons < 1:
            raise Mistake(f"the number of comparisons must be at least 1: got {comparisons}")
        half = t_quantile(1 - (1 - place) / comparisons, self.freedom) * self.error
        return self.difference - half, self.difference + half

    def above(self, distance: float) -> float:
        """The chance that Student's t lies above a distance, which is in the unit of the values."""
        from scipy.special import stdtr

        return float(stdtr(self.freedom, -distance / self.error))


def _contrast(a: Sequence[float], b: Sequence[float], paired: bool) -> _Contrast:
    if paired:
        if len(a) != len(b):
            raise Mistake(f"pairs need as many values on either side: got {len(a)} and {len(b)}")
        middle, variance = _moments([x - y for x, y in zip(a, b, strict=True)], scale=largest([*a, *b]))
        return _Contrast(middle, math.sqrt(variance / len(a)), len(a) - 1, len(a))
    (first, one), (second, other) = _moments(a), _moments(b)
    one, other = one / len(a), other / len(b)
    n = min(len(a), len(b))
    if n == 1 or one + other == 0:
        return _Contrast(first - second, 0.0, 0.0, n)
    freedom = (one + other) ** 2 / (one**2 / (len(a) - 1) + other**2 / (len(b) - 1))
    return _Contrast(first - second, math.sqrt(one + other), freedom, n)


def _moments(values: Sequence[float], scale: float | None = None) -> tuple[float, float]:
    """Mean and variance (divided by n - 1); the variance of one value, or of values that are all the same, is 0."""
    if not len(values):
        raise Mistake("a mean needs at least one value: got none")
    scale = largest(values) if scale is None else scale
    n, middle = len(values), math.fsum(values) / len(values)
    if n == 1 or max(values) - min(values) <= SAME * scale:
        return float(middle), 0.0
    return float(middle), math.fsum((value - middle) ** 2 for value in values) / (n - 1)


def largest(values: Sequence[float]) -> float:
    """The largest size of a value. Raises Mistake for one that is no number."""
    for value in values:
        if not math.isfinite(value):
            raise Mistake(f"a mean is of numbers: got {value!r}")
    return max((abs(value) for value in values), default=0.0)


@cache
def t_quantile(place: float, freedom: float) -> float:
    """Below it lies the share `place` of Student's t distribution with `freedom` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, place))


def check_share(name: str, value: float) -> None:
    """Raises Mistake unless a chance or a confidence is in (0, 1)."""
    if not 0 < value < 1:
        raise Mistake(f"{name} must be in (0, 1): got {value!r}")
