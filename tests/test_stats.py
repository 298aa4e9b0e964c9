from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steepest.mistake import Mistake
from steepest.stats import wilson

SHARES = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


Z = {0.8: 1.2815515655446004, 0.95: 1.959963984540054, 0.99: 2.5758293035489004}
"""Quantiles of the normal distribution from tables: as much lies within ±z."""


@given(SHARES, st.sampled_from(sorted(Z)))
def test_the_bounds_solve_the_equation_that_defines_them(share, confidence):
    # |p̂ - p| = z √(p (1 - p) / n) at either bound p
    successes, n = share
    for bound in wilson(successes, n, confidence):
        if 0 < bound < 1:
            expected = Z[confidence] * math.sqrt(bound * (1 - bound) / n)
            assert math.isclose(abs(successes / n - bound), expected, rel_tol=1e-6)


@given(SHARES)
def test_the_interval_holds_the_share_and_mirrors_that_of_the_failures(share):
    successes, n = share
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1 and low < high
    assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_more_images_make_the_interval_narrower():
    widths = [high - low for low, high in (wilson(n * 9 // 10, n) for n in (10, 100, 1000, 10_000))]
    assert widths == sorted(widths, reverse=True)


def test_nothing_and_everything_reach_the_ends_exactly():
    assert wilson(0, 20)[0] == 0.0 and 0 < wilson(0, 20)[1] < 0.2
    assert wilson(20, 20)[1] == 1.0 and 0.8 < wilson(20, 20)[0] < 1


@pytest.mark.parametrize(("successes", "n", "confidence"), [(0, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)])
def test_what_is_no_share_is_refused(successes, n, confidence):
    with pytest.raises(Mistake, match=r"must|needs"):
        wilson(successes, n, confidence)
