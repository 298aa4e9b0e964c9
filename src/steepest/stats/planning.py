"""How many seeds a comparison needs, and what so many seeds can find: exact, by the noncentral t distribution.

For differences of pairs that are normally distributed, as those of trainings with the same seed about are. The pairs'
standard deviation comes from a pilot: a few seeds. A pilot's sd is as often too small as too large, and one that is too
small makes a plan that finds too little; so a plan takes the sd's upper limit (`sd_limit`), not the sd itself.
"""

from __future__ import annotations

import math

from ..mistake import Mistake
from .means import check_share, t_quantile

MOST = 1_000_000
"""Seeds above which nobody plans."""


def sd_limit(sd: float, freedom: int, confidence: float = 0.8) -> float:
    """The upper limit of a standard deviation of which `sd` was seen with `freedom` degrees of freedom (n - 1 of a
    pilot of n; of pilots pooled, the sum, or less where they share a side). It lies above the true one with chance
    `confidence`.

    sd · √(freedom / quantile of χ² at 1 - confidence). With the sd itself about half of all plans find less than they
    say; with the limit at 80 % a fifth do, which is the usual choice: higher confidence costs many more seeds (a pilot
    of 5 already makes it 1.56 sd, thus 2.4 times the seeds). Source: R. H. Browne, Stat. Med. 14, 1995.
    """
    from scipy.special import chdtri

    check_share("confidence", confidence)
    if not (sd >= 0 and math.isfinite(sd)) or freedom < 1:
        raise Mistake(f"a pilot needs two seeds or more, and their spread from 0: got sd {sd!r}, freedom {freedom!r}")
    return sd * math.sqrt(freedom / float(chdtri(freedom, confidence)))


def power_of(difference: float, sd: float, n: int, *, alpha: float = 0.05, comparisons: int = 1) -> float:
    """The chance in (0, 1] that n pairs (from 2), whose differences have this mean and standard deviation (same unit,
    sd above 0), are told from none by the two-sided t-test at alpha, divided among the comparisons (Bonferroni).

    Source: J. Cohen, Statistical Power Analysis, 1988. Raises Mistake for anything out of range.
    """
    from scipy.special import nctdtr

    check_share("alpha", alpha)
    if not (sd > 0 and math.isfinite(sd) and math.isfinite(difference)):
        raise Mistake(f"a plan needs a difference, and a standard deviation above 0: got {difference!r} and {sd!r}")
    if n < 2 or comparisons < 1:
        raise Mistake(f"a plan needs 2 seeds and 1 comparison at least: got {n} and {comparisons}")
    critical = t_quantile(1 - alpha / (2 * comparisons), n - 1)
    shift = abs(difference) / sd * math.sqrt(n)
    if shift > 50 * critical:  # found for certain; SciPy's series ends in nan out there
        return 1.0
    below = float(nctdtr(n - 1, shift, -critical))
    found = 1 - float(nctdtr(n - 1, shift, critical)) + (0.0 if math.isnan(below) else below)
    return min(1.0, found)


def seeds_needed(difference: float, sd: float, *, power: float = 0.8, alpha: float = 0.05, comparisons: int = 1) -> int:
    """The fewest pairs, from 2, that tell a difference (not 0, in the unit of sd) from none with this power.

    sd: of the pairs' differences, above 0; from a pilot its `sd_limit`. comparisons: so many techniques are compared,
    and alpha is divided among them. Raises Mistake where more than a million seeds would be needed.
    """
    check_share("power", power)
    enough = 2
    while (found := power_of(difference, sd, enough, alpha=alpha, comparisons=comparisons)) < power:
        if enough >= MOST or difference == 0:
            raise Mistake(
                f"a difference of {difference!r} is too small to be told from none where seeds spread by {sd!r}"
            )
        enough = min(2 * enough, MOST)
    few = enough // 2
    while few + 1 < enough:
        middle = (few + enough) // 2
        found = power_of(difference, sd, middle, alpha=alpha, comparisons=comparisons)
        few, enough = (few, middle) if found >= power else (middle, enough)
    return enough


def smallest_difference(n: int, sd: float, *, power: float = 0.8, alpha: float = 0.05, comparisons: int = 1) -> float:
    """The smallest difference, in the unit of sd, that n pairs (from 2) tell from none with this power."""
    check_share("power", power)
    low, high = 0.0, sd
    while power_of(high, sd, n, alpha=alpha, comparisons=comparisons) < power:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        found = power_of(middle, sd, n, alpha=alpha, comparisons=comparisons)
        low, high = (low, middle) if found >= power else (middle, high)
    return high
