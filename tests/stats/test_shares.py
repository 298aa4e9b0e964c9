from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from steepest.mistake import Mistake
from steepest.stats import apart, paired_shares, smallest_share_difference, wilson

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


COUNTS = st.tuples(*[st.integers(0, 60)] * 4).filter(any)


def test_the_published_examples_come_out():
    # R. G. Newcombe, Stat. Med. 17, 1998: 56/70 against 48/80, and the table 36, 12, 2, 0 (both papers' method 10)
    other: Any = apart(56, 70, 48, 80)
    assert (round(other.low, 4), round(other.high, 4)) == (0.0524, 0.3339)
    same: Any = paired_shares(36, 12, 2, 0)
    assert (round(same.low, 4), round(same.high, 4)) == (0.0569, 0.3404)
    # M. W. Fagerland and others, Stat. Med. 33, 2014: 1, 1, 7, 12, where the correlation is corrected to none
    same = paired_shares(1, 1, 7, 12)
    assert (round(same.low, 3), round(same.high, 3)) == (-0.507, -0.026)


@given(COUNTS)
def test_the_paired_interval_holds_the_difference_and_mirrors_that_of_the_sides_swapped(counts):
    both, only_a, only_b, neither = counts
    found, swapped = paired_shares(*counts), paired_shares(both, only_b, only_a, neither)
    assert found.n == sum(counts) and found.difference == (only_a - only_b) / found.n
    assert -1 <= found.low <= found.difference <= found.high <= 1 and found.low < found.high
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low), abs=1e-12)
    assert (
        swapped.p
        == found.p
        == pytest.approx(scipy_stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0)
    )


@given(SHARES, SHARES)
def test_the_interval_of_other_images_holds_the_difference_and_p_is_the_chi_square_tests(a, b):
    found = apart(*a, *b)
    assert -1 <= found.low <= found.difference <= found.high <= 1
    table = np.array([[a[0], a[1] - a[0]], [b[0], b[1] - b[0]]])
    if table.sum(0).all():
        assert found.p == pytest.approx(scipy_stats.chi2_contingency(table, correction=False).pvalue, abs=1e-9)
    else:
        assert found.p == 1.0


@pytest.mark.parametrize("agree", [0.0, 0.6])
def test_the_paired_interval_holds_the_truth_as_often_as_it_says(agree):
    # two networks of 90 % and 85 %; `agree` of the images are hard or easy for both alike
    rng = np.random.default_rng(0)
    own, shared = rng.random((2, 1500, 200)), rng.random((1500, 200))
    luck = np.where(rng.random((1500, 200)) < agree, shared, own)
    a, b = luck[0] < 0.9, luck[1] < 0.85
    held, told = [], []
    for x, y in zip(a, b, strict=True):
        found = paired_shares(*(int(k.sum()) for k in (x & y, x & ~y, ~x & y, ~x & ~y)))
        held.append(found.low <= 0.05 <= found.high)
        told.append(found.high - found.low)
    assert 0.93 < np.mean(held) < 0.98
    assert np.mean(told) < (0.14 if agree == 0 else 0.11)


def chance_to_tell(images, differ, difference):
    """By enumeration: how often McNemar's test tells that difference of networks that differ on a share of images."""
    more = (differ + difference) / 2 / differ
    discordant = np.arange(1, images + 1)
    weight, told = scipy_stats.binom.pmf(discordant, images, differ), []
    for n in discordant:
        ones = np.arange(n + 1)
        wide = np.abs(2 * ones - n) / math.sqrt(n) > Z[0.95]
        told.append(scipy_stats.binom.pmf(ones, n, more)[wide].sum())
    return float((weight * told).sum())


@pytest.mark.parametrize(("images", "differ"), [(200, 0.2), (400, 0.1), (1000, 0.05)])
def test_the_smallest_difference_of_a_set_is_told_in_four_of_five(images, differ):
    smallest = smallest_share_difference(images, 0.9, differ=differ)
    assert chance_to_tell(images, differ, smallest) == pytest.approx(0.8, abs=0.03)


@given(st.integers(20, 10**5), st.floats(0.1, 1), st.sampled_from([0.5, 0.8, 0.9]))
def test_the_smallest_difference_solves_connors_equation(images, differ, power):
    d = smallest_share_difference(images, 0.9, differ=differ, power=power)
    if 6 / images < d < differ:
        found = (d * math.sqrt(images) - Z[0.95] * math.sqrt(differ)) / math.sqrt(differ - d**2)
        assert scipy_stats.norm.cdf(found) == pytest.approx(power, abs=1e-6)


@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_set_and_networks_that_agree_more_tell_smaller_differences(images, accuracy, differ):
    found = smallest_share_difference(images, accuracy, differ=differ)
    assert 0 < found <= 1
    assert smallest_share_difference(2 * images, accuracy, differ=differ) <= found
    assert smallest_share_difference(images, accuracy, differ=differ / 2) <= found


def test_a_few_images_must_differ_whatever_the_size_of_the_set():
    # six images on one side and none on the other are the fewest that the exact test tells: 2 / 2^6 < 0.05
    assert smallest_share_difference(1000, 1.0) == 6 / 1000
    assert paired_shares(994, 6, 0, 0).p < 0.05 < paired_shares(995, 5, 0, 0).p


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: paired_shares(1, -1, 0, 0), "from 0"),
        (lambda: paired_shares(0, 0, 0, 0), "some above"),
        (lambda: apart(3, 2, 1, 2), "got 3 of 2"),
        (lambda: apart(0, 0, 1, 2), "got 0 of 0"),
        (lambda: smallest_share_difference(0, 0.9), "at least 1 image"),
        (lambda: smallest_share_difference(10, 1.5), r"fractions in \[0, 1\]"),
        (lambda: smallest_share_difference(10, 0.5, differ=-0.1), r"fractions in \[0, 1\]"),
        (lambda: smallest_share_difference(10, 0.5, power=1.0), "power"),
    ],
)
def test_differences_of_what_is_no_share_are_refused(call, sentence):
    with pytest.raises(Mistake, match=sentence):
        call()
