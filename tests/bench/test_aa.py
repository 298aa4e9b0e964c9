"""The A/A bench: which rules raise a false alarm, and how often, over pools that are made up here."""

from __future__ import annotations

import aa
import numpy as np
import pytest
from record import figures


def test_all_rules_see_a_difference_that_is_there_and_none_in_equal_numbers() -> None:
    noise = np.random.default_rng(0).normal(0, 0.001, (3, 10))
    assert set(aa.told(noise + np.array([[0.8], [0.9], [0.8]])).values()) == {True}
    assert set(aa.told(np.full((3, 10), 0.9)).values()) == {False}


def test_the_rules_that_are_used_keep_the_error_rate_and_the_others_do_not() -> None:
    rows = {row["what"]: row for row in aa.rates(np.random.default_rng(0).normal(0.9, 0.01, 2000), 6, 5, 300)}
    share = {what: row["false alarms"]["share"] for what, row in rows.items()}
    assert share["paired t-test, Holm"] < 0.08 and share["sequential rule"] < 0.05
    assert share["paired t-test after every seed, not corrected"] > share["paired t-test, not corrected"] > 0.12
    found = dict(figures({"rows": list(rows.values())}))["paired t-test, Holm, false alarms"]
    assert found["value"] == share["paired t-test, Holm"] and found["low"] < found["value"] < found["high"]
    assert found["unit"] == "fraction" and "300 ablations drawn from 2000 trainings" in found["interval"]


def test_a_pool_that_is_too_small_is_refused() -> None:
    with pytest.raises(SystemExit, match="4 comparisons of 5 seeds need 25 trainings: got 24"):
        aa.rates(np.zeros(24), 5, 4, 10)
