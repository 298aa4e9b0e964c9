"""Random search: its distributions against SciPy's, and its order."""

import numpy as np
import pytest
from scipy import stats

from steepest.techniques.search.random_search import random_search

SPACE = {"lr": (1e-4, 1.0, "log"), "momentum": (0.5, 0.9, "linear"), "model": ["a", "b", "c"]}


@pytest.fixture(scope="module")
def drawn():
    return [trial.settings for trial in random_search(lambda given: 0.0, SPACE, trials=600, seed=5)]


def test_a_log_range_is_uniform_in_the_logarithm(drawn):
    logs = np.log10([given["lr"] for given in drawn])
    assert stats.kstest(logs, stats.uniform(-4, 4).cdf).pvalue > 0.01


def test_a_linear_range_is_uniform(drawn):
    values = [given["momentum"] for given in drawn]
    assert stats.kstest(values, stats.uniform(0.5, 0.4).cdf).pvalue > 0.01


def test_every_choice_is_as_likely(drawn):
    counts = [sum(given["model"] == name for given in drawn) for name in "abc"]
    assert stats.chisquare(counts).pvalue > 0.01


def test_settings_are_drawn_independently_and_stay_in_their_ranges(drawn):
    logs, values = np.log([given["lr"] for given in drawn]), np.array([given["momentum"] for given in drawn])
    assert abs(np.corrcoef(logs, values)[0, 1]) < 0.1
    assert -4 * np.log(10) <= logs.min() and logs.max() <= 0 and values.min() >= 0.5 and values.max() <= 0.9


def test_more_trials_begin_with_the_same_ones():
    few, many = (random_search(lambda given: given["lr"], SPACE, trials=trials) for trials in (3, 7))
    assert many[:3] == few and len(many) == 7


def test_values_do_not_change_what_is_drawn():
    one, other = (random_search(objective, SPACE) for objective in (lambda given: 0.0, lambda given: given["lr"]))
    assert [trial.settings for trial in one] == [trial.settings for trial in other]
