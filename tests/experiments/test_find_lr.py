"""Finding a learning rate: what range tests advise, how short trainings confirm or refute it, and going on."""

from __future__ import annotations

import json
import math

import pytest

from steepest import recipes
from steepest.experiments.find_lr import find_lr
from steepest.mistake import Failure, Mistake
from steepest.techniques.search.lr_range_test import suggest

from .processes import COMMAND, started


def best_at(rate):
    return lambda recipe, seed: 0.9 - abs(math.log2(recipe.lr / rate)) / 100 + seed / 1000


def result(study):
    return study.read("result.json")


@pytest.fixture
def advise(made, monkeypatch):
    """Range tests that advise these rates, one a seed, and trainings of this value."""

    def give(value, *rates):
        executor = made(value)
        submit = executor.submit

        def submit_(jobs):
            submit(jobs)
            for job, points in executor.jobs:
                if "errand" in job:
                    points[0] = (1, {"suggested": rates[job["request"]["seed"]], "losses": [1.0]})

        executor.submit = submit_
        return executor

    return give


def test_the_suggestion_is_the_geometric_mean_of_the_seeds_with_its_band(advise):
    executor = advise(best_at(0.2), 0.1, 0.2, 0.4)
    found = result(find_lr(recipe="lab"))
    assert (found["suggested"], found["low"], found["high"]) == (0.2, 0.1, 0.4)
    assert found["agrees"] and found["recommended"] == 0.2 and found["difference"] is None
    assert [row["settings"]["lr"] for row in found["confirmed"]] == [0.05, 0.2, 0.8]
    assert all(row["n"] == 3 for row in found["confirmed"]) and len(executor.trained) == 9
    assert [curve["seed"] for curve in found["curves"]] == [0, 1, 2]
    assert "3 of 3 range tests suggest 0.2" in found["said"][0] and "agree" in found["said"][1]


@pytest.mark.parametrize(
    ("best", "rates"), [(4.0, [0.05, 0.2, 0.8, 3.2, 12.8]), (0.003, [0.000782, 0.00313, 0.0125, 0.05, 0.2, 0.8])]
)
def test_where_trainings_disagree_it_goes_on_to_that_side_and_recommends_the_best(advise, best, rates):
    advise(best_at(best), 0.2, 0.2)
    found = result(find_lr(recipe="lab", seeds=2))
    assert [row["settings"]["lr"] for row in found["confirmed"]] == rates
    assert found["suggested"] == 0.2 and found["recommended"] == rates[-2 if best > 1 else 1] and not found["agrees"]
    assert found["difference"]["difference"] > 0 and found["difference"]["n"] == 2
    assert "disagree" in found["said"][1] and "points" in found["said"][1]


def test_a_difference_within_the_seeds_noise_is_said_to_be_perhaps_luck(advise):
    def noisy(recipe, seed):
        return {0.2: (0.5, 0.6), 0.8: (0.7, 0.5)}.get(recipe.lr, (0.1, 0.1))[seed]

    advise(noisy, 0.2, 0.2)
    found = result(find_lr(recipe="lab", seeds=2))
    assert found["recommended"] == 0.8 and "may be luck" in found["said"][-1]
    advise(best_at(0.8), 0.2, 0.2)
    assert "may be luck" in result(find_lr(recipe="lab", seeds=2, name="same"))["said"][-1], "no interval: not known"


def test_a_rate_at_which_trainings_fail_is_not_recommended(advise):
    advise(lambda recipe, seed: math.nan if recipe.lr > 0.1 else best_at(0.01)(recipe, seed), 0.2)
    found = result(find_lr(recipe="lab", seeds=1))
    assert found["recommended"] < 0.1 and found["difference"] is None and "which fails" in found["said"][1]
    assert [row["failed"] for row in found["confirmed"] if row["settings"]["lr"] > 0.1] == [1, 1]


def test_a_seed_whose_loss_never_falls_advises_nothing_and_where_none_does_that_is_told(advise):
    advise(best_at(0.2), None, 0.2, None)
    assert "1 of 3 range tests suggest 0.2" in result(find_lr(recipe="lab"))["said"][0]
    advise(best_at(0.2), None, None, None)
    with pytest.raises(Failure, match="in none of 3 range tests from 1e-07 to 10 did the loss fall: give --steps more"):
        find_lr(recipe="lab", name="none")


def test_where_every_training_fails_that_is_told(advise):
    advise(lambda recipe, seed: math.nan, 0.2)
    with pytest.raises(Failure, match=r"no training around the suggested rate 0\.2 came to a val_accuracy"):
        find_lr(recipe="lab", seeds=1)


def test_trainings_are_short_unless_epochs_or_time_are_given(advise):
    for options, epochs in (({}, 5.0), ({"epochs": 3}, 3), ({"sets": ["epochs=2"]}, 2), ({"time_s": 9.0}, 20)):
        executor = advise(best_at(0.2), 0.2)
        find_lr(recipe="lab", seeds=1, name=f"study{epochs}", **options)
        assert {recipe.epochs for recipe, _ in executor.trained} == {epochs}
    assert recipes.load("lab").epochs == 20


def test_the_same_again_makes_no_range_test_and_no_training_again(advise):
    executor = advise(best_at(0.2), 0.2, 0.2, 0.2)
    first = result(find_lr(recipe="lab", seeds=2))
    assert len(executor.errands) == 2
    again = find_lr(recipe="lab", seeds=2)
    assert result(again) == first and (len(executor.errands), len(executor.trained)) == (2, 6)
    find_lr(recipe="lab", seeds=3)
    assert (len(executor.errands), len(executor.trained)) == (3, 9), "a seed more"
    find_lr(recipe="lab", seeds=3, steps=50)
    assert len(executor.errands) == 6, "another range test"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"low": 1.0, "high": 0.1}, "rises from low to high in 10 steps or more: got 1.0, 0.1 and 100"),
        ({"steps": 9}, "10 steps or more"),
        ({"steps": 20.5}, "steps must be a whole number"),
        ({"low": 0.0}, r"low must be in \(0, inf\)"),
        ({"test": True}, "leaves the test set alone"),
        ({"sets": ["lr=0"]}, "a recipe whose learning rate is above 0"),
        ({"figure": "test_loss"}, "choosing by the test set"),
        ({"seeds": 0}, "seeds is the number of trainings"),
        ({"sets": ["val_fraction=0"]}, "val_fraction must be above 0"),
    ],
)
def test_what_cannot_be_found_is_refused_before_any_work(made, tmp_path, options, sentence):
    made(best_at(0.2))
    with pytest.raises(Mistake, match=sentence):
        find_lr(recipe="lab", **options)
    assert not list(tmp_path.iterdir())


def test_a_real_one_is_printed_and_never_touches_the_test_set(tmp_path):
    words = ["find-lr", "circles", "--seeds", "2", "--workers", "2", *COMMAND, "--json"]
    with started(words, tmp_path) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    told = json.loads(out)
    assert told["low"] <= told["suggested"] * 1.01 and told["suggested"] <= told["high"] * 1.01
    for curve in told["curves"]:
        assert len(curve["rates"]) == len(curve["losses"]) == len(curve["smoothed"]) <= 100
        assert curve["suggested"] == suggest(curve["rates"], curve["smoothed"], "minimum", skip=10)
    rates = sorted(row["settings"]["lr"] for row in told["confirmed"])
    assert {told["suggested"], told["recommended"]} <= {*rates} and len(rates) >= 3
    for run in (tmp_path / told["study"]).glob("runs/*/result.json"):
        assert json.loads(run.read_text())["test_n"] == 0
