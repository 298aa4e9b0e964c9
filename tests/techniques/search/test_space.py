"""What a space is, how trials are ranked, and Optuna: quiet, loaded late, and asked for in a sentence."""

import io
import logging
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.mistake import Mistake
from steepest.techniques.search import space as room
from steepest.techniques.search.grid_search import grid_search
from steepest.techniques.search.random_search import random_search
from steepest.techniques.search.space import Trial, check_space, choices, gain, ranked
from steepest.techniques.search.successive_halving import successive_halving
from steepest.techniques.search.tpe import tpe

SPACE = {"lr": (1e-4, 1.0, "log"), "momentum": (0.0, 0.9, "linear"), "batch_size": [64, 128], "nesterov": [True, False]}
SEARCHES: list[Any] = [grid_search, random_search, tpe]


def value(given):
    return given["lr"] + given["momentum"] + given["batch_size"] / 128 + given["nesterov"]


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({}, "no settings"),
        ({"lr": (0.1, 1.0)}, "low, high, 'log', 'linear' or 'reverse_log'"),
        ({"lr": (0.1, 1.0, "exponential")}, "low, high, 'log', 'linear' or 'reverse_log'"),
        ({"lr": (0.0, 1.0, "log")}, "0 < low < high"),
        ({"lr": (1.0, 1.0, "linear")}, "low < high"),
        ({"lr": (2.0, 1.0, "log")}, "low < high"),
        ({"lr": (0.1, math.inf, "log")}, "must be numbers"),
        ({"lr": (math.nan, 1.0, "linear")}, "must be numbers"),
        ({"lr": (True, 2.0, "linear")}, "must be numbers"),
        ({"lr": ("0.1", "1", "log")}, "must be numbers"),
        ({"momentum": (0.5, 1.0, "reverse_log")}, "0 <= low < high < 1"),
        ({"momentum": (0.9, 0.5, "reverse_log")}, "0 <= low < high < 1"),
        ({"lr": []}, "list of choices"),
        ({"lr": "log"}, "list of choices"),
        ({"lr": 0.1}, "list of choices"),
        ({"lr": [[1], [2]]}, "must be numbers, text"),
        ({"lr": [1, 2, 1.0]}, "must differ"),
    ],
)
def test_a_space_that_is_none_is_refused_by_every_search_before_the_first_trial(space, says):
    with pytest.raises(Mistake, match=says):
        check_space(space)
    for search in (*SEARCHES, successive_halving):
        with pytest.raises(Mistake, match=says):
            search(lambda given: pytest.fail("tried"), space)


def test_every_kind_of_choice_is_allowed():
    check_space({"a": [None, True, 2, 0.5, "adam"], "b": (-1, 1, "linear"), "c": (1, 10, "log")})


@pytest.mark.parametrize("search", [*SEARCHES, successive_halving])
def test_a_number_that_is_not_whole_is_refused(search):
    with pytest.raises(Mistake, match="must be a whole number"):
        search(value, SPACE, seed=1.5)


def test_ranges_become_evenly_spaced_points_on_their_scale():
    lists = choices(SPACE, 5)
    np.testing.assert_allclose(lists["lr"], np.geomspace(1e-4, 1.0, 5))
    np.testing.assert_allclose(lists["momentum"], np.linspace(0.0, 0.9, 5))
    assert lists["batch_size"] == [64, 128]
    assert lists["lr"][-1] == 1.0 and lists["momentum"][-1] == 0.9, "the ends are exact"
    assert choices({"lr": (0.01, 1.0, "log")}, 1)["lr"] == [pytest.approx(0.1)]


def test_a_reverse_log_range_is_even_in_the_logarithm_of_what_is_missing_to_one():
    space = {"momentum": (0.0, 0.99, "reverse_log")}
    np.testing.assert_allclose(choices(space, 3)["momentum"], [0.0, 0.9, 0.99])
    for search in SEARCHES:
        drawn = [trial.settings["momentum"] for trial in search(lambda given: given["momentum"], space)]
        assert all(0 <= value <= 0.99 for value in drawn) and min(drawn) < 0.5, drawn
    many = [t.settings["momentum"] for t in random_search(lambda given: 0.0, space, trials=400)]
    assert np.mean(np.array(many) > 0.9) == pytest.approx(0.5, abs=0.1)
    halved = successive_halving(lambda given: iter([given["momentum"]]), space, trials=20)
    assert all(
        0 <= trial.settings["momentum"] <= 0.99 and trial.value == trial.settings["momentum"] for trial in halved
    )


@given(st.floats(0.0, 0.99))
def test_settings_turned_into_optunas_parameters_and_back_are_the_same(momentum):
    space = {"momentum": (0.0, 0.99, "reverse_log"), "lr": (0.1, 1.0, "log"), "batch_size": [64, 128]}
    given = {"momentum": momentum, "lr": 0.5, "batch_size": 128}
    params = room.turned(space, given)
    assert params == given | {"momentum": 1 - momentum}
    assert room.turned(space, params) == pytest.approx(given)


trials = st.lists(st.builds(Trial, st.just({}), st.floats(), st.just(0.0), st.booleans()), max_size=8)


@settings(max_examples=50, deadline=None)
@given(trials=trials, maximise=st.booleans())
def test_the_best_is_first_and_what_was_ended_early_or_has_no_value_is_last(trials, maximise):
    found = ranked(trials, maximise)
    assert sorted(map(id, found)) == sorted(map(id, trials))
    whole = [trial.value for trial in found if not trial.stopped and not math.isnan(trial.value)]
    assert whole == sorted(whole, reverse=maximise)
    assert [t.value for t in found[: len(whole)]] == whole, "they stand before all others"
    failed = [math.isnan(trial.value) for trial in found]
    assert failed == sorted(failed)


def test_among_equals_the_earlier_is_first():
    first, second = Trial({"x": 1}, 1.0), Trial({"x": 2}, 1.0)
    assert ranked([first, second])[0] is first and ranked([first, second], maximise=True)[0] is first


def test_a_gain_is_over_the_best_whole_trial_before():
    before = [Trial({}, 3.0), Trial({}, 1.0, stopped=True), Trial({}, math.nan)]
    assert gain(2.5, before, False) == 0.5 and gain(4.0, before, False) == 0.0 and gain(4.0, before, True) == 1.0
    assert gain(math.nan, before, False) == 0.0 and gain(1.0, [], False) == 0.0
    assert gain(1.0, [Trial({}, math.nan)], False) == 0.0


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("maximise", [False, True])
def test_a_search_gives_every_trial_with_its_value_its_gain_and_all_its_settings_in_order(search, maximise):
    asked = []

    def objective(given):
        asked.append(given)
        return value(given)

    found = search(objective, SPACE, maximise=maximise)
    assert [trial.settings for trial in found] == asked and all(list(given) == list(SPACE) for given in asked)
    sign = 1 if maximise else -1
    best = found[0].value
    for trial in found:
        assert trial.value == value(trial.settings) and not trial.stopped
        assert trial.gain == max(0.0, sign * (trial.value - best))
        best = max(best, trial.value) if maximise else min(best, trial.value)
    assert ranked(found, maximise)[0].value == best


@pytest.mark.parametrize("search", SEARCHES)
def test_the_seed_decides_the_trials(search):
    one, same, other = (search(value, SPACE, seed=seed) for seed in (3, 3, 4))
    assert one == same and [trial.settings for trial in one] != [trial.settings for trial in other]


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_that_was_broken_off_goes_on_with_what_it_had_asked(search):
    known: dict[tuple[Any, ...], float] = {}

    def remembers(given, least):
        key = tuple(given.values())
        if key not in known and len(known) >= least:
            raise KeyboardInterrupt
        return known.setdefault(key, value(given))

    with pytest.raises(KeyboardInterrupt):
        search(lambda given: remembers(given, 15), SPACE)
    assert len(known) == 15
    assert search(lambda given: remembers(given, 1000), SPACE) == search(value, SPACE)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("maximise", [False, True])
def test_trials_without_a_value_are_kept_and_rank_last(search, maximise):
    found = search(lambda given: math.nan if given["nesterov"] else given["lr"], SPACE, maximise=maximise)
    failed = [trial for trial in found if trial.settings["nesterov"]]
    assert failed and all(math.isnan(trial.value) and trial.gain == 0.0 for trial in failed)
    assert {id(trial) for trial in ranked(found, maximise)[-len(failed) :]} == set(map(id, failed))


def test_optuna_says_nothing_and_its_log_is_left_as_it_was():
    log, said = room.library().logging, io.StringIO()
    listener = logging.StreamHandler(said)
    before = log.get_verbosity()
    log.set_verbosity(log.INFO)
    logging.getLogger("optuna").addHandler(listener)
    try:
        for search in SEARCHES:
            search(value, SPACE)
        assert not said.getvalue() and log.get_verbosity() == logging.INFO
        room.library().create_study()
        assert said.getvalue(), "the listener hears"
    finally:
        logging.getLogger("optuna").removeHandler(listener)
        log.set_verbosity(before)


def test_the_catalogue_and_the_files_load_without_optuna():
    code = "import sys; from steepest import techniques; techniques.card('tpe')\n"
    code += "[techniques.load(name) for name, family in techniques.names().items() if family == 'search']\n"
    code += "print('optuna' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
