"""Shares, such as accuracies: intervals, differences on the same images or on others, and what a set can tell."""

from __future__ import annotations

import math
from statistics import NormalDist

from ..mistake import Mistake
from .means import Difference, check_share


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval (low, high), in [0, 1], of a share of which `successes` of `n` were seen.

    n from 1, successes in [0, n], confidence in (0, 1). Unlike mean ± z·s it stays within [0, 1] and is not empty at 0
    or n successes. Source: E. B. Wilson, J. Am. Stat. Assoc. 22, 1927. Raises Mistake for anything out of range.
    """
    if n < 1 or not 0 <= successes <= n:
        raise Mistake(f"a share needs n from 1 and successes in [0, n]: got {successes} of {n}")
    check_share("confidence", confidence)
    z, share = NormalDist().inv_cdf(0.5 + confidence / 2), successes / n
    middle = share + z**2 / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((middle + sign * spread) / (1 + z**2 / n) for sign in (-1, 1))
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def paired_shares(both: int, only_a: int, only_b: int, neither: int, confidence: float = 0.95) -> Difference:
    """The difference of the shares that two networks got right of the same images: how many both, only one of them, or
    neither got right.

    The interval is Newcombe's: Wilson's intervals of the two shares, put together with their correlation. p is that of
    the exact McNemar test: whether the images on which they differ fall to either side like coins. Source: R. G.
    Newcombe, Stat. Med. 17, 2635-2650, 1998 (method 10); Q. McNemar, Psychometrika 12, 1947. Raises Mistake for counts
    below 0, or no images.
    """
    from scipy.special import bdtr

    n = both + only_a + only_b + neither
    if min(both, only_a, only_b, neither) < 0 or n < 1:
        raise Mistake(f"counts of images must be from 0, and some above: got {(both, only_a, only_b, neither)}")
    a, b = both + only_a, both + only_b
    agreed, margins = float(both * neither - only_a * only_b), a * (n - a) * b * (n - b)
    agreed = max(0.0, agreed - n / 2) if agreed > 0 else agreed
    low, high = _squared(a, n, b, n, confidence, agreed / math.sqrt(margins) if margins else 0.0)
    p = min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
    return Difference((only_a - only_b) / n, low, high, p, n, paired=True)


def apart(a: int, images_a: int, b: int, images_b: int, confidence: float = 0.95) -> Difference:
    """The difference of the shares a of images_a and b of images_b, which are different images.

    The interval is Newcombe's, of Wilson's intervals; p is that of the score test (pooled χ²). On the same images it is
    too cautious by as much as the two networks agree. Source: R. G. Newcombe, Stat. Med. 17, 873-890, 1998 (method 10).
    Raises Mistake for what is no share.
    """
    low, high = _squared(a, images_a, b, images_b, confidence, 0.0)
    difference, pooled = a / images_a - b / images_b, (a + b) / (images_a + images_b)
    error = math.sqrt(pooled * (1 - pooled) * (1 / images_a + 1 / images_b))
    p = math.erfc(abs(difference) / error / math.sqrt(2)) if error else 1.0
    return Difference(difference, low, high, p, min(images_a, images_b), paired=False)


def smallest_share_difference(
    images: int, accuracy: float, *, differ: float | None = None, alpha: float = 0.05, power: float = 0.8
) -> float:
    """The smallest difference of two networks' accuracies that a set of so many images tells from none (McNemar's
    test at alpha with this power): a fraction, above 0. What is smaller may belong to these images, not to all.

    accuracy in [0, 1]: about that of both. differ: the share of images that only one of them gets right, where it is
    known; else as if their mistakes had nothing to do with each other, which is the cautious side (networks err on much
    the same images). More seeds do not help here, unless each holds other images out (count then the images of all):
    their interval is about these very images, and tells nothing of others. Source: R. J. Connor, Biometrics 43, 1987.
    Raises Mistake for anything out of range.
    """
    if images < 1:
        raise Mistake(f"a set needs at least 1 image: got {images}")
    check_share("alpha", alpha)
    check_share("power", power)
    share = 2 * accuracy * (1 - accuracy) if differ is None else differ
    if not 0 <= accuracy <= 1 or not 0 <= share <= 1:
        raise Mistake(f"accuracy and differ are fractions in [0, 1]: got {accuracy!r} and {differ!r}")
    quantile = NormalDist().inv_cdf
    reject, find = quantile(1 - alpha / 2), quantile(power)
    under = max(0.0, images - reject**2 + find**2)
    told = math.sqrt(share) * (reject * math.sqrt(images) + find * math.sqrt(under)) / (images + find**2)
    fewest = math.ceil(1 - math.log2(alpha)) / images  # so many images on one side only, none on the other
    return min(1.0, max(told, fewest))


def _squared(a: int, n: int, b: int, m: int, confidence: float, correlation: float) -> tuple[float, float]:
    """The interval of a/n - b/m that the distances of Wilson's bounds make, added as squares."""
    (low_a, high_a), (low_b, high_b) = wilson(a, n, confidence), wilson(b, m, confidence)
    first, second = a / n, b / m

    def distance(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x**2 - 2 * correlation * x * y + y**2))

    below, above = distance(first - low_a, high_b - second), distance(high_a - first, second - low_b)
    return max(-1.0, first - second - below), min(1.0, first - second + above)
