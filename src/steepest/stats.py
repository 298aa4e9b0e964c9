"""Statistics of measured figures: intervals that tell how much a number is worth. No torch."""

from __future__ import annotations

import math
from statistics import NormalDist

from .mistake import Mistake


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval (low, high), in [0, 1], of a share of which `successes` of `n` were seen.

    n from 1, successes in [0, n], confidence in (0, 1). Unlike mean ± z·s it stays within [0, 1] and is not empty at 0
    or n successes. Source: E. B. Wilson, J. Am. Stat. Assoc. 22, 1927. Raises Mistake for anything out of range.
    """
    if n < 1 or not 0 <= successes <= n:
        raise Mistake(f"a share needs n from 1 and successes in [0, n]: got {successes} of {n}")
    if not 0 < confidence < 1:
        raise Mistake(f"confidence must be in (0, 1): got {confidence!r}")
    z, share = NormalDist().inv_cdf(0.5 + confidence / 2), successes / n
    middle = share + z**2 / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((middle + sign * spread) / (1 + z**2 / n) for sign in (-1, 1))
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)
