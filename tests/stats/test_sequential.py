from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate
from scipy import stats as scipy_stats

from steepest.mistake import Mistake
from steepest.stats import e_values, sequential

NULL = np.random.default_rng(0).standard_normal((4000, 100))
"""4,000 comparisons of equals, of up to 100 pairs each."""


def bayes_factor(values):
    """The definition: the densities of the noncentral t, averaged over effects drawn from a standard normal."""
    n = len(values)
    t = math.sqrt(n) * np.mean(values) / np.std(values, ddof=1)

    def weighed(effect):
        return scipy_stats.nct.pdf(t, n - 1, math.sqrt(n) * effect) * scipy_stats.norm.pdf(effect)

    return integrate.quad(weighed, -10, 10, limit=200)[0] / scipy_stats.t.pdf(t, n - 1)


@pytest.mark.parametrize("shift", [0.0, 0.7, -2.0])
def test_the_closed_form_is_the_bayes_factor_that_it_stands_for(shift):
    values = NULL[0, :6] + shift
    found = e_values(values)
    assert found[0] == 1.0
    for n in range(2, 7):
        assert found[n - 1] == pytest.approx(bayes_factor(values[:n]), rel=1e-5)


def test_looking_after_every_seed_keeps_the_error_rate_and_plain_t_tests_break_it():
    # told from none at any of the looks at 2, 3, … 100 pairs
    ever = (e_values(NULL) >= 1 / 0.05).any(1).mean()
    count = np.arange(1, 101)
    mean = NULL.cumsum(1) / count
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = ((NULL**2).cumsum(1) - count * mean**2) / (count - 1)
        t = np.abs(mean) / np.sqrt(variance / count)
    naive = (t[:, 1:] > scipy_stats.t.ppf(0.975, count[1:] - 1)).any(1).mean()
    assert 0.005 < ever <= 0.05
    assert naive > 6 * 0.05


def test_the_evidence_is_one_on_average_at_a_time_to_stop_when_there_is_no_difference():
    # bounded by stopping at the first look above 3, so that the average is not carried by a few huge values
    found = e_values(NULL[:, :20])
    stop = np.where((found > 3).any(1), (found > 3).argmax(1), 19)
    stopped = found[np.arange(len(found)), stop]
    assert stopped.mean() == pytest.approx(1.0, abs=4 * stopped.std() / math.sqrt(len(stopped)))


def test_the_unit_and_the_side_do_not_matter():
    values = NULL[1] + 0.5
    assert e_values(1e-4 * values) == pytest.approx(e_values(values))
    assert e_values(-values) == pytest.approx(e_values(values))
    assert e_values(NULL[:3]) == pytest.approx(np.stack([e_values(row) for row in NULL[:3]]))


def test_a_difference_is_found():
    a = (NULL[:200, :30] + 1.0).tolist()
    told = [sequential(row, [0.0] * 30).different for row in a]
    assert np.mean(told) > 0.9


@pytest.mark.parametrize(("comparisons", "fewest"), [(1, 5), (10, 7)])
def test_a_few_pairs_tell_nothing_however_far_apart(comparisons, fewest):
    a = [100.0 + place / 100 for place in range(8)]
    told = [sequential(a[:n], [0.0] * n, comparisons=comparisons).different for n in range(1, 9)]
    assert told.index(True) + 1 == fewest


@pytest.mark.parametrize(("shift", "comparisons"), [(0.0, 1), (0.8, 1), (1.5, 4)])
def test_the_interval_holds_the_means_that_are_not_rejected(shift, comparisons):
    for row in NULL[:20, :12] + shift:
        found = sequential(row.tolist(), [0.0] * 12, comparisons=comparisons)
        level = 0.05 / comparisons

        def rejected(mean, row=row, level=level):
            return e_values(row - mean).max() >= 1 / level

        assert found.low is not None and found.high is not None
        assert found.different == rejected(0.0) == (not found.low <= 0 <= found.high)
        assert (found.p <= 0.05) == found.different
        width = found.high - found.low
        for end, out in ((found.low, -1), (found.high, 1)):
            assert rejected(end + out * 1e-6 * width) and not rejected(end - out * 1e-6 * width)


def test_the_interval_holds_the_truth_at_every_look():
    held = []
    for row in (NULL[:300, :25] + 3.0).tolist():
        looks = [sequential(row[:n], [0.0] * n, alpha=0.2) for n in range(2, 26)]
        held.append(all((x.low or -math.inf) <= 3.0 <= (x.high or math.inf) for x in looks))
    assert 0.8 <= np.mean(held) < 0.99


def test_what_was_told_stays_told():
    a = [1.0, 1.1, 0.9, 1.05, 1.0, 0.95, *[-1.0, 1.0] * 20]
    looks = [sequential(a[:n], [0.0] * n) for n in range(1, len(a) + 1)]
    told = [look.different for look in looks]
    assert told[5] and told[-1] and told == sorted(told)
    assert [look.p for look in looks] == sorted((look.p for look in looks), reverse=True)
    assert e_values(a)[-1] < 1


@pytest.mark.parametrize("values", [[0.1], [0.0] * 9, [1 / 144] * 9])
def test_seeds_that_agree_to_the_last_digit_tell_nothing(values):
    b = np.linspace(0.2, 0.9, len(values))
    found = sequential((b + values).tolist(), b.tolist())
    assert (found.low, found.high, found.p, found.different) == (None, None, 1.0, False)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: sequential([], []), "1 or more: got 0 and 0"),
        (lambda: sequential([1.0], [1.0, 2.0]), "got 1 and 2"),
        (lambda: sequential([1.0], [math.nan]), "got nan"),
        (lambda: sequential([1.0], [2.0], alpha=1.0), "alpha"),
        (lambda: sequential([1.0], [2.0], comparisons=0), "comparisons must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(call, sentence):
    with pytest.raises(Mistake, match=sentence):
        call()
