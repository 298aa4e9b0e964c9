from __future__ import annotations

import numpy as np
import pytest

from steepest import stats
from steepest.experiments.changes import Change
from steepest.experiments.contrasts import Rule, brief, by_seed, compare, decided, plan
from steepest.experiments.ledger import Trial
from steepest.experiments.settings import Settings
from steepest.mistake import Mistake

A, B = Change("a", {"a": False}), Change("b", {"b": False})
PAIR = Change("a + b", {"a": False, "b": False}, parts=(A, B))
FOUR = [Change(name, {name: False}) for name in ("a", "b", "c", "d")]


def trials(settings, values, *, figure="val_accuracy", seconds=None, more=None):
    """Done trainings of a setting with the seeds 0, 1, …; a text instead of a value: it failed so."""
    found = []
    for seed, value in enumerate(values):
        if isinstance(value, str):
            found.append(Trial(seed, settings, seed, "failed", problem=value))
            continue
        figures = {figure: float(value), "train_s": 10.0 if seconds is None else seconds[seed]}
        found.append(Trial(seed, settings, seed, "done", figures | (more or {})))
    return found


def study(random, n, effects, spread=0.003, changes=FOUR):
    """A made-up study: the whole recipe at 90 %, a technique's effect in points, everything spread by as much."""
    found = trials({}, random.normal(0.9, spread, n))
    for change, effect in zip(changes, effects, strict=True):
        found += trials(change.settings, random.normal(0.9 - effect / 100, spread, n))
    return by_seed(found)


def test_a_comparison_is_the_paired_difference_in_points_of_with_minus_without():
    whole, without = [0.91, 0.93, 0.92, 0.95], [0.90, 0.91, 0.92, 0.91]
    seen = by_seed([*trials({}, whole), *trials(A.settings, without, seconds=[9, 9.5, 9, 8])])
    (one,) = compare([A], seen, Rule("val_accuracy", 3))
    expected = stats.difference([100 * x for x in whole], [100 * x for x in without], comparisons=3)
    assert (one["left_out"], one["n"], one["difference"]) == ("a", 4, pytest.approx(1.75))
    assert (one["low"], one["high"], one["p"]) == (expected.low, expected.high, expected.p)
    seconds = stats.difference([10.0] * 4, [9, 9.5, 9, 8], comparisons=3)
    assert one["seconds"] == {"difference": 1.125, "low": seconds.low, "high": seconds.high}


def test_what_is_added_is_counted_from_the_other_side_so_that_above_0_is_always_good():
    seen = by_seed([*trials({}, [0.90, 0.91]), *trials({"c": True}, [0.92, 0.94])])
    (one,) = compare([Change("c", {"c": True}, added=True)], seen, Rule("val_accuracy", 1))
    assert one["added"] == "c" and one["difference"] == pytest.approx(2.5)


def test_a_lower_loss_is_bought_too():
    seen = by_seed([*trials({}, [0.2, 0.3], figure="val_loss"), *trials(A.settings, [0.5, 0.7], figure="val_loss")])
    (one,) = compare([A], seen, Rule("val_loss", 1))
    assert one["difference"] == pytest.approx(0.35) and "val_loss" in one["said"]


def test_only_seeds_that_both_sides_finished_are_paired_whatever_their_order():
    whole = trials({}, [0.9, "diverged", 0.8, 0.7])
    without = trials(A.settings, [0.8, 0.9, "diverged", 0.5, 0.1])
    (one,) = compare([A], by_seed([*whole, *without[::-1]]), Rule("val_accuracy", 1))
    assert (one["n"], one["failed"], one["difference"]) == (2, 1, pytest.approx(15.0))


def test_a_change_whose_trainings_all_failed_has_no_difference_and_comes_last():
    seen = by_seed([*trials({}, [0.9, 0.8]), *trials(A.settings, ["x", "x"]), *trials(B.settings, [0.95, 0.9])])
    found = compare([A, B], seen, Rule("val_accuracy", 2, 0.2))
    assert [one["left_out"] for one in found] == ["b", "a"]
    assert (found[1]["difference"], found[1]["verdict"], found[1]["barnacle"]) == (None, "failed", None)


def test_known_effects_are_found_and_sorted_and_none_is_not_claimed():
    found = compare(FOUR, study(np.random.default_rng(0), 20, (0.0, 3.0, -2.0, 1.0)), Rule("val_accuracy", 4, 0.1))
    assert [(one["left_out"], one["verdict"]) for one in found] == [
        ("b", "helps"),
        ("d", "helps"),
        ("a", "undecided"),
        ("c", "hurts"),
    ]
    assert [one["barnacle"] for one in found] == [False, False, None, False]
    assert all(one["low"] < truth < one["high"] for one, truth in zip(found, (3.0, 1.0, 0.0, -2.0), strict=True))


@pytest.mark.parametrize("sequential", [False, True])
def test_studies_of_equals_claim_a_difference_no_oftener_than_stated(sequential):
    # A/A: four techniques that do nothing; any claim of any of them is wrong, and 5 of 100 studies may make one
    random, rule = np.random.default_rng(1), Rule("val_accuracy", 4, 0.2, sequential)
    wrong, held = 0, 0
    for _ in range(400):
        found = compare(FOUR, study(random, 8, (0.0,) * 4), rule)
        wrong += any(one["p_holm"] < 0.05 for one in found)
        held += all(one["low"] is None or one["low"] < 0 < one["high"] for one in found)
    assert wrong <= 0.08 * 400 and held >= 0.92 * 400
    assert sequential or wrong >= 0.02 * 400


def test_stopping_as_soon_as_a_difference_is_told_keeps_the_error_rate():
    random, rule, wrong = np.random.default_rng(2), Rule("val_accuracy", 2, None, sequential=True), 0
    for _ in range(200):
        seen = study(random, 20, (0.0, 0.0), changes=(A, B))
        looks = ({name: dict(list(each.items())[:n]) for name, each in seen.items()} for n in range(2, 21))
        wrong += any(decided(change, look, rule) for look in looks for change in (A, B))
    assert wrong <= 0.08 * 200


def test_a_sequential_comparison_is_decided_by_its_difference_or_by_its_smallness():
    rule, random = Rule("val_accuracy", 1, 0.5, sequential=True), np.random.default_rng(3)
    assert decided(A, study(random, 12, (3.0,), changes=(A,)), rule)
    assert not decided(A, study(random, 12, (0.1,), changes=(A,)), rule)
    assert decided(A, study(random, 12, (0.0,), spread=0.0005, changes=(A,)), rule)
    assert not decided(A, {}, rule)


def test_a_sequential_comparison_has_the_interval_that_holds_at_every_look():
    seen = study(np.random.default_rng(4), 12, (1.0,), changes=(A,))
    (one,) = compare([A], seen, Rule("val_accuracy", 3, 0.2, sequential=True))
    sides = [
        [100 * trial.figures["val_accuracy"] for trial in seen[key].values()]
        for key in ("[{}, 0]", '[{"a": false}, 0]')
    ]
    expected = stats.sequential(*sides, comparisons=3)
    assert (one["low"], one["high"], one["p"]) == (expected.low, expected.high, stats.sequential(*sides).p)


@pytest.mark.parametrize(
    ("points", "seconds", "barnacle", "verdict"),
    [
        ([0.01, -0.01, 0.0, 0.02, -0.02], [0.1, -0.1, 0.0, 0.1, 0.0], True, "barnacle"),  # within ± 0.2
        ([0.09, 0.1, 0.11, 0.1, 0.1], [0.0, 0.1, 0.0, -0.1, 0.0], True, "barnacle"),  # told, but less than 0.2
        ([-0.5, 0.1, -0.3, 0.1, -0.4], [2.0, 2.1, 1.9, 2.0, 2.2], True, "barnacle"),  # costs time, does not buy 0.2
        ([-0.5, 0.1, -0.3, 0.1, -0.4], [0.1, -0.1, 0.0, 0.1, 0.0], None, "undecided"),
        ([-0.5, 0.9, -0.3, 0.8, -0.4], [2.0, 2.1, 1.9, 2.0, 2.2], None, "undecided"),  # costs time, might buy 0.2
        ([1.0, 1.1, 1.2, 1.0, 1.1], [2.0, 2.1, 1.9, 2.0, 2.2], False, "helps"),
        ([-1.0, -1.1, -1.2, -1.0, -1.1], [0.1, -0.1, 0.0, 0.1, 0.0], False, "hurts"),
        ([-1.0, -1.1, -1.2, -1.0, -1.1], [2.0, 2.1, 1.9, 2.0, 2.2], True, "hurts"),
    ],
)
def test_what_is_a_barnacle(points, seconds, barnacle, verdict):
    without = trials(A.settings, [0.9 - x / 100 for x in points], seconds=[10 - x for x in seconds])
    (one,) = compare([A], by_seed([*trials({}, [0.9] * 5), *without]), Rule("val_accuracy", 1, 0.2))
    assert (one["barnacle"], one["verdict"]) == (barnacle, verdict)
    (one,) = compare([A], by_seed([*trials({}, [0.9] * 5), *without]), Rule("val_accuracy", 1))
    assert not one["barnacle"] and one["verdict"] != "barnacle"


@pytest.mark.parametrize(("seconds", "barnacle"), [([9.0, 9.1, 9.0], True), ([11.0, 11.1, 11.0], False)])
def test_trainings_that_are_the_same_to_the_last_bit_are_said_to_be_so(seconds, barnacle):
    same = {"val_loss": 0.25, "train_loss": 0.125}
    seen = [*trials({}, [0.9] * 3, more=same), *trials(A.settings, [0.9] * 3, more=same, seconds=seconds)]
    (one,) = compare([A], by_seed(seen), Rule("val_accuracy", 1, 0.2))
    assert (one["verdict"], one["barnacle"], one["difference"], one["low"]) == ("identical", barnacle, 0.0, None)


def test_two_seeds_that_agree_by_chance_prove_nothing():
    (one,) = compare([A], by_seed([*trials({}, [0.9] * 3), *trials(A.settings, [0.9] * 3)]), Rule("val_accuracy", 1, 1))
    assert (one["verdict"], one["barnacle"], one["p_holm"]) == ("undecided", None, None)


def test_a_pair_tells_what_two_techniques_buy_beyond_their_sum():
    random = np.random.default_rng(5)
    means: tuple[tuple[Settings, float], ...] = (
        ({}, 0.9),
        (A.settings, 0.89),
        (B.settings, 0.88),
        (PAIR.settings, 0.82),
    )
    found = by_seed([each for name, mean in means for each in trials(name, random.normal(mean, 1e-3, 30))])
    one = next(each for each in compare([A, B, PAIR], found, Rule("val_accuracy", 4)) if each["left_out"] == "a + b")
    assert one["difference"] == pytest.approx(8.0, abs=0.1)
    both = one["interaction"]
    assert both["difference"] == pytest.approx(5.0, abs=0.15) and both["low"] < 5.0 < both["high"]
    assert both["n"] == 30 and both["p_holm"] < 0.05 and "both together buy +" in one["said"]


def test_test_figures_are_told_beside_and_decide_nothing():
    def seen(test):
        whole = trials({}, [0.9, 0.91, 0.92], more={"test_accuracy": 0.9})
        return by_seed([*whole, *trials(A.settings, [0.9, 0.92, 0.91], more={"test_accuracy": test})])

    low, high = (compare([A], seen(test), Rule("val_accuracy", 1, 0.2), "test_accuracy")[0] for test in (0.1, 0.9))
    assert low.pop("test")["difference"] == pytest.approx(80.0) and high.pop("test")["difference"] == 0.0
    assert low == high


def test_the_plan_of_one_comparison_is_that_of_the_statistics():
    values = [0.1, 0.5, -0.3, 0.2, 0.4]
    sd = float(np.std(values, ddof=1))
    found = plan({"a": values}, 0.2, 1)
    assert found.sd == pytest.approx(sd) and found.limit == pytest.approx(stats.sd_limit(sd, 4))
    assert found.seeds == stats.seeds_needed(0.2, stats.sd_limit(sd, 4)) > 10 and not found.wild


def test_a_plan_takes_at_least_twice_the_pilot():
    assert plan({"a": [1.0, 1.1, 0.9]}, 50.0, 1).seeds == 6


def test_several_comparisons_plan_together_but_one_that_is_wild_plans_nothing():
    calm = {name: [0.1, 0.5, -0.3, 0.2, 0.4] for name in "abcd"}
    found = plan(calm | {"e": [9.0, -9.0, 5.0, 0.0, 2.0]}, 0.2, 5)
    limit = stats.sd_limit(float(np.std(calm["a"], ddof=1)), int(4 * 4 / 1.75))
    assert found.seeds == stats.seeds_needed(0.2, limit, comparisons=5)
    finds = stats.smallest_difference(found.seeds, float(np.std([9, -9, 5, 0, 2], ddof=1)), comparisons=5)
    assert found.wild == {"e": pytest.approx(finds)}


@pytest.mark.parametrize("many", [1, 3, 8])
def test_the_planned_spread_lies_above_the_true_one_as_often_as_it_says(many):
    random, above = np.random.default_rng(6), 0
    for _ in range(400):
        values = random.standard_normal(5) - random.standard_normal((many, 5))  # all have the whole recipe in common
        found = plan({str(name): list(row) for name, row in enumerate(values)}, 50.0, many)
        above += found.limit > np.sqrt(2)
    assert above / 400 == pytest.approx(0.8, abs=0.06)


def test_a_study_of_equals_with_as_many_seeds_as_its_own_pilot_asks_for_keeps_the_error_rate():
    random, wrong = np.random.default_rng(7), 0
    for _ in range(1000):
        values = list(random.standard_normal(200))
        seeds = plan({"a": values[:8]}, 1.0, 1).seeds
        wrong += stats.difference(values[:seeds], [0.0] * len(values[:seeds])).p < 0.05
    assert 0.03 * 1000 <= wrong <= 0.075 * 1000


def test_a_pilot_without_spread_plans_nothing_and_one_with_too_much_says_so():
    assert plan({"a": [0.0] * 5, "b": [0.7] * 5}, 0.2, 2) is None
    with pytest.raises(Mistake, match="no number of seeds is enough"):
        plan({"a": [1.0, 5.0, 3.0]}, 1e-6, 1)


@pytest.mark.parametrize(
    ("value", "form", "text"), [(133.0, ".2g", "130"), (9e-18, "+.3g", "+0"), (-0.12, "+.3g", "-0.12")]
)
def test_numbers_are_told_in_few_digits(value, form, text):
    assert brief(value, form) == text
