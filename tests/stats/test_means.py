from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from steepest.mistake import Mistake
from steepest.stats import difference, equivalence, holm, mean, mean_of

VALUES = st.lists(st.floats(-10, 10), min_size=2, max_size=8)
P = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def spread(values):
    return max(values) - min(values) > 1e-3


@given(VALUES, st.sampled_from([0.5, 0.9, 0.95]))
def test_the_interval_of_a_mean_is_scipys(values, confidence):
    assume(spread(values))
    found = mean(values, confidence)
    expected = scipy_stats.ttest_1samp(values, 0.0).confidence_interval(confidence)
    assert found.n == len(values) and found.mean == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("values", [[0.5], [0.9, 0.9], [0.9, np.float32(0.9)]])
def test_where_nothing_spreads_there_is_no_interval(values):
    found = mean(values)
    assert found.mean == pytest.approx(values[0]) and (found.low, found.high) == (None, None)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.sampled_from(["val_accuracy", "val_loss", "train_s"]))
def test_the_interval_of_a_figure_ends_where_the_figure_does(values, figure):
    plain, found = mean(values), mean_of(figure, values)
    assert (found.n, found.mean, found.low is None) == (plain.n, plain.mean, plain.low is None)
    if found.low is not None and found.high is not None and plain.low is not None and plain.high is not None:
        inside = np.clip([plain.low, plain.high], 0, 1 if figure == "val_accuracy" else math.inf)
        assert [found.low, found.high] == inside.tolist()


def test_a_loss_that_may_be_below_0_has_its_whole_interval():
    assert mean_of("train_loss", [-0.5, 0.1]) == mean([-0.5, 0.1])


@given(VALUES.flatmap(lambda a: st.tuples(st.just(a), st.lists(st.floats(-10, 10), min_size=len(a), max_size=len(a)))))
def test_paired_differences_are_tested_as_by_scipy(pair):
    a, b = pair
    assume(spread([x - y for x, y in zip(a, b, strict=True)]))
    found, expected = difference(a, b), scipy_stats.ttest_rel(a, b)
    assert found.paired and found.n == len(a)
    assert found.difference == pytest.approx(np.mean(a) - np.mean(b), abs=1e-9)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))


@given(VALUES, VALUES)
def test_unpaired_differences_are_tested_as_by_scipy(a, b):
    assume(spread(a) and spread(b))
    found, expected = difference(a, b, paired=False), scipy_stats.ttest_ind(a, b, equal_var=False)
    assert not found.paired and found.n == min(len(a), len(b))
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_seeds_that_agree_by_chance_prove_nothing():
    # the same number of images on either seed, but for the rounding of accuracies to float32
    a, b = (np.array(shares, np.float32).tolist() for shares in ([0.97, 0.53], [0.96, 0.52]))
    assert a[0] - b[0] != a[1] - b[1]
    for paired in (True, False):
        found = difference(a, b, paired=paired)
        assert found.difference == pytest.approx(0.01, abs=1e-6)
        assert paired == (found.p is None) == (found.low is None)
        assert paired == (equivalence(a, b, 0.1, paired=paired).held is None)


@pytest.mark.parametrize("paired", [True, False])
def test_one_seed_tells_a_difference_without_an_interval(paired):
    found = difference([0.9], [0.8], paired=paired)
    assert (found.low, found.high, found.p, found.n) == (None, None, None, 1)
    assert equivalence([0.9], [0.8], 1.0, paired=paired).held is None


def test_each_of_many_intervals_is_wide_enough_for_all_to_hold_at_once():
    a, b = [0.91, 0.93, 0.92, 0.95], [0.90, 0.90, 0.91, 0.92]
    alone, one_of_five = difference(a, b, confidence=0.99), difference(a, b, comparisons=5)
    assert (alone.low, alone.high) == pytest.approx((one_of_five.low, one_of_five.high))
    assert alone.p == one_of_five.p


@given(VALUES, VALUES, st.floats(0.01, 20), st.booleans(), st.sampled_from([1, 4]))
def test_equivalence_is_that_both_one_sided_tests_reject(a, b, margin, paired, comparisons):
    a, b = a[: min(len(a), len(b))], b[: min(len(a), len(b))]
    assume(spread(a) and spread(b) and spread([x - y for x, y in zip(a, b, strict=True)]))

    def test(shift, side):
        moved = [x + shift for x in a]
        if paired:
            return scipy_stats.ttest_rel(moved, b, alternative=side).pvalue
        return scipy_stats.ttest_ind(moved, b, equal_var=False, alternative=side).pvalue

    p = max(test(margin, "greater"), test(-margin, "less"))
    found = equivalence(a, b, margin, paired=paired, comparisons=comparisons)
    assert found.p == pytest.approx(p, abs=1e-9)
    if abs(p - 0.05 / comparisons) > 1e-9:
        assert found.held == (p < 0.05 / comparisons)


def test_equivalence_alone_looks_at_the_interval_of_90_percent():
    a, b = [0.91, 0.93, 0.92, 0.95], [0.90, 0.93, 0.91, 0.94]
    found, interval = equivalence(a, b, 0.02), difference(a, b, confidence=0.9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high)) and found.held
    assert not equivalence(a, b, 0.009).held


@given(P)
def test_holm_rejects_what_the_step_down_procedure_rejects(values):
    for alpha in (0.01, 0.05, 0.3):
        rejected, order = set(), np.argsort(values, kind="stable")
        for rank, place in enumerate(order):
            if values[place] * (len(values) - rank) > alpha:
                break
            rejected.add(int(place))
        adjusted = holm(values)
        assert {place for place, p in enumerate(adjusted) if p is not None and p <= alpha} == rejected


@given(P)
def test_holm_is_between_the_plain_and_bonferronis_values_and_keeps_their_order(values):
    adjusted = holm(values)
    for p, q in zip(values, adjusted, strict=True):
        assert q is not None and p <= q <= min(1, len(values) * p)
    order = np.argsort(values, kind="stable")
    assert sorted(np.array(adjusted)[order]) == list(np.array(adjusted)[order])


def test_a_test_that_could_not_be_made_counts_in_holm_and_stays_unknown():
    assert holm([0.01, None, 0.04]) == [pytest.approx(0.03), None, pytest.approx(0.08)]
    assert holm([]) == []


def test_holm_keeps_the_error_rate_of_the_family():
    # 20 comparisons of 4 pairs without any difference: in how many families is one told?
    rng = np.random.default_rng(0)
    p = scipy_stats.ttest_1samp(rng.standard_normal((2000, 20, 4)), 0.0, axis=-1).pvalue
    rejected = [min(x for x in holm(row) if x is not None) < 0.05 for row in p.tolist()]
    assert 0.03 < np.mean(rejected) < 0.065
    assert (p < 0.05).any(1).mean() > 0.6


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: mean([]), "at least one value"),
        (lambda: mean([0.9, math.nan]), "got nan"),
        (lambda: mean([0.9, 0.8], confidence=1.0), r"confidence must be in \(0, 1\)"),
        (lambda: difference([0.9, 0.8], [0.9]), "as many values on either side: got 2 and 1"),
        (lambda: difference([], []), "at least one value"),
        (lambda: difference([0.9, 0.8], [0.9, math.inf], paired=False), "got inf"),
        (lambda: difference([0.9, 0.8], [0.9, 0.7], comparisons=0), "at least 1: got 0"),
        (lambda: equivalence([0.9, 0.8], [0.9, 0.7], 0.0), "margin of an equivalence must be above 0"),
        (lambda: equivalence([0.9, 0.8], [0.9, 0.7], math.nan), "margin"),
        (lambda: holm([0.5, 1.5]), r"p-value must be in \[0, 1\]"),
    ],
)
def test_what_makes_no_sense_is_refused(call, sentence):
    with pytest.raises(Mistake, match=sentence):
        call()
