from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from scipy import stats as scipy_stats

from steepest.mistake import Mistake
from steepest.stats import power_of, sd_limit, seeds_needed, smallest_difference


def integrated(difference, sd, n, alpha):
    """The power as an integral over the standard deviation that is seen, of the normal chances given it."""
    critical, shift = scipy_stats.t.ppf(1 - alpha / 2, n - 1), difference / sd * math.sqrt(n)

    def given_the_spread(square):
        bound = critical * math.sqrt(square / (n - 1))
        chance = scipy_stats.norm.sf(bound - shift) + scipy_stats.norm.cdf(-bound - shift)
        return chance * scipy_stats.chi2.pdf(square, n - 1)

    return integrate.quad(given_the_spread, 0, np.inf, limit=200)[0]


@pytest.mark.parametrize("n", [3, 5, 20])
@pytest.mark.parametrize("effect", [0.3, 1.0, 3.0])
def test_power_is_the_integral_that_defines_it(n, effect):
    assert power_of(2 * effect, 2.0, n) == pytest.approx(integrated(2 * effect, 2.0, n, 0.05), abs=1e-6)
    assert power_of(2 * effect, 2.0, n, comparisons=5) == pytest.approx(integrated(effect, 1.0, n, 0.01), abs=1e-6)


def test_without_a_difference_power_is_the_level():
    assert power_of(0.0, 1.0, 8) == pytest.approx(0.05)
    assert power_of(0.0, 1.0, 8, comparisons=10) == pytest.approx(0.005)


@pytest.mark.parametrize("n", [2, 3, 50])
def test_power_stays_a_chance_far_out(n):
    found = [power_of(difference, 1.0, n) for difference in np.logspace(-3, 160, 400)]
    assert all(0 < chance <= 1 for chance in found) and found[-1] == 1.0
    assert np.all(np.diff(found) > -1e-9)


def test_simulated_trainings_find_the_difference_as_often_as_planned():
    n, rng = seeds_needed(0.2, 0.25), np.random.default_rng(0)
    p = scipy_stats.ttest_1samp(rng.normal(0.2, 0.25, (4000, n)), 0.0, axis=-1).pvalue
    assert (p < 0.05).mean() == pytest.approx(power_of(0.2, 0.25, n), abs=0.02)


@given(st.floats(0.05, 5), st.sampled_from([0.5, 0.8, 0.95]), st.sampled_from([1, 7]))
def test_seeds_needed_are_the_fewest(difference, power, comparisons):
    n = seeds_needed(difference, 1.0, power=power, comparisons=comparisons)
    assert power_of(difference, 1.0, n, comparisons=comparisons) >= power
    assert n == 2 or power_of(difference, 1.0, n - 1, comparisons=comparisons) < power


def test_the_examples_of_the_tables_come_out():
    # R: power.t.test(delta=, sd=1, power=, type="paired")$n is 9.94, 33.4 and 172.4
    assert [seeds_needed(1.0, 1.0), seeds_needed(0.5, 1.0), seeds_needed(0.25, 1.0, power=0.9)] == [10, 34, 171]


@given(st.integers(2, 300), st.floats(0.01, 100), st.sampled_from([1, 7]))
def test_the_smallest_difference_is_found_with_just_the_power(n, sd, comparisons):
    smallest = smallest_difference(n, sd, comparisons=comparisons)
    assert power_of(smallest, sd, n, comparisons=comparisons) == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_a_plan_by_a_pilots_limit_holds_what_it_promises_in_four_of_five(n):
    # pilots of n trainings whose differences truly spread by 1: how often do the planned seeds find it with 80 %?
    sds = np.random.default_rng(n).standard_normal((300, n)).std(1, ddof=1)
    needed = seeds_needed(1.0, 1.0)
    for limit, share in ((lambda sd: sd_limit(sd, n - 1), 0.8), (lambda sd: sd, scipy_stats.chi2.sf(n - 1, n - 1))):
        enough = np.mean([smallest_difference(needed, 1.0) <= smallest_difference(needed, limit(sd)) for sd in sds])
        assert enough == pytest.approx(share, abs=0.08)


def test_a_pilots_limit_lies_above_the_true_spread_as_often_as_it_says():
    sds = np.random.default_rng(0).standard_normal((20_000, 4)).std(1, ddof=1)
    for confidence in (0.5, 0.8, 0.95):
        factor = sd_limit(1.0, 3, confidence)
        assert np.mean(factor * sds > 1) == pytest.approx(confidence, abs=0.01)
    assert sd_limit(1.0, 10_000) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: seeds_needed(1e-9, 1.0), "too small to be told"),
        (lambda: seeds_needed(0.0, 1.0), "too small to be told"),
        (lambda: seeds_needed(0.1, 0.0), "standard deviation above 0"),
        (lambda: seeds_needed(0.1, 1.0, power=1.0), r"power must be in \(0, 1\)"),
        (lambda: power_of(0.1, 1.0, 1), "2 seeds"),
        (lambda: power_of(math.nan, 1.0, 3), "got nan"),
        (lambda: power_of(0.1, 1.0, 3, alpha=0.0), "alpha"),
        (lambda: power_of(0.1, 1.0, 3, comparisons=0), "1 comparison"),
        (lambda: sd_limit(1.0, 0), "two seeds or more"),
        (lambda: sd_limit(math.nan, 3), "two seeds or more"),
    ],
)
def test_what_makes_no_sense_is_refused(call, sentence):
    with pytest.raises(Mistake, match=sentence):
        call()
