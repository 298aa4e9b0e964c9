"""Tuning: the winner of each method, what each step bought, the test set seen once, going on, and what is refused."""

from __future__ import annotations

import json
import math
import os
import signal
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from torch import nn

from steepest import recipes, stats, techniques
from steepest.experiments import tune as room
from steepest.experiments.asks import pruning
from steepest.experiments.conduct import conducting, prepare
from steepest.experiments.study import Study
from steepest.experiments.tune import coordinates, default_space, momentum_of, tune
from steepest.mistake import Failure, Mistake
from steepest.recipe import Recipe, Use
from steepest.techniques.search.coordinate_descent import coordinate_descent

from .processes import COMMAND, started, until

LAB = recipes.load("lab").replace(momentum=0.5, weight_decay=0.01)


def hill(recipe, seed=0):
    """Highest at a rate of 0.4, a momentum of 0.9 and a decay of 1e-3; seeds shift it by a little."""
    away = math.log2(recipe.lr / 0.4) ** 2 + math.log2((1 - recipe.momentum) / 0.1) ** 2
    away += math.log2(max(recipe.weight_decay, 1e-9) / 1e-3) ** 2
    return 0.9 - away / 400 + 0.001 * (seed % 3)


def result(study):
    return study.read("result.json")


def test_descent_moves_as_the_technique_does_and_tells_what_each_step_bought(made):
    executor = made(hill)
    study = tune(recipe=LAB, seeds=2)

    def value(given):
        return stats.mean([hill(LAB.replace(**given), seed) for seed in (0, 1)]).mean

    twin = coordinate_descent(value, rate=0.1, momentum_start=0.5, decay=0.01, maximise=True)
    steps = result(study)["steps"]
    assert [step["value"] for step in steps] == pytest.approx([trial.value for trial in twin])
    assert [step["gain"] for step in steps] == pytest.approx([trial.gain for trial in twin])
    for step, trial in zip(steps, twin, strict=True):
        assert step["settings"] == pytest.approx(dict(trial.settings)) and step["n"] == 2
    assert [seed for _, seed in executor.trained] == [0, 1] * len(steps)
    best = result(study)["best"]
    assert best["settings"] == {"lr": 0.4, "momentum": 0.875, "weight_decay": 0.00125}
    assert best["value"] == max(step["value"] for step in steps) and best["interval"][0] < best["value"]
    assert result(study)["start"]["settings"] == {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.01}
    assert sum(step["gain"] for step in steps) == pytest.approx(best["value"] - steps[0]["value"])
    assert study.about["kind"] == "tune" and study.about["vary"]["method"] == "descent"


def test_the_test_set_is_seen_once_by_the_winner_alone(made):
    executor = made(hill)
    study = tune(recipe=LAB, seeds=3)
    best = result(study)["best"]["settings"]
    assert [job["errand"] for job in executor.errands] == [{"kind": "test"}] * 3
    for job, seed in zip(executor.errands, (0, 1, 2), strict=True):
        assert {name: job["recipe"][name] for name in best} == best and job["request"]["seed"] == seed
    reached = [hill(LAB.replace(**best), seed) - 0.01 for seed in range(3)]
    assert result(study)["test_accuracy"] == pytest.approx(vars(stats.mean(reached)))
    assert result(study)["test_images"] == 500
    assert not any("test_accuracy" in trial.figures for trial in study.trials())
    before = (study.path / "result.json").read_bytes()
    tune(recipe=LAB, seeds=3)
    assert len(executor.errands) == 3 and (study.path / "result.json").read_bytes() == before


def test_another_winner_is_another_look_at_the_test_set_and_that_is_told(made):
    executor = made(hill)
    space = {"lr": [0.1, 0.2, 0.4]}
    few = result(tune(recipe=LAB, method="tpe", space=space, trials=1, seeds=1))
    assert len(few["tested"]) == 1 and "looked at" not in " ".join(few["said"])
    more = result(tune(recipe=LAB, method="tpe", space=space, trials=3, seeds=1))
    assert more["best"]["settings"] != few["best"]["settings"]
    assert len(more["tested"]) == 2 == len(executor.errands) and more["tested"][0] == few["tested"][0]
    assert any("looked at for 2 winners" in sentence for sentence in more["said"])


def test_of_one_network_the_test_accuracy_has_the_interval_of_its_images(made):
    made(hill)
    found = result(tune(recipe=LAB, seeds=1))["test_accuracy"]
    assert (found["low"], found["high"]) == pytest.approx(stats.wilson(round(500 * found["mean"]), 500))
    assert found["n"] == 1


def test_the_tuned_recipe_can_be_trained_by_its_file(made):
    made(hill)
    study = tune(recipe="speedrun94", method="tpe", space={"lr": [0.3, 0.4], "cutout": [True, False]}, trials=5)
    tuned = recipes.load(study.path / "recipe.toml")
    original = recipes.load("speedrun94")
    winner = result(study)["best"]["settings"]
    assert tuned.lr == winner["lr"] == 0.4 and ("cutout" in [use.name for use in tuned.use]) is winner["cutout"]
    assert tuned.replace(lr=original.lr, use=original.use, name=original.name) == original
    assert (study.path / "recipe.toml").read_text().startswith("# speedrun94, tuned on digits: val_accuracy 0.")
    assert study.about["recipe"]["val_fraction"] > 0 == tuned.val_fraction


def test_winner_and_start_are_confirmed_with_fresh_seeds_in_pairs(made):
    def noisy(recipe, seed):
        return hill(recipe) + np.random.default_rng([seed, int(1e6 * recipe.lr)]).normal() / 200

    executor = made(noisy)
    study = tune(recipe=LAB, seeds=2, seed=7, confirm=4)
    found, told = result(study), result(study)["confirm"]
    assert told["seeds"] == [10007, 10008, 10009, 10010] and told["n"] == 4
    sides = [
        [noisy(LAB.replace(**found[name]["settings"]), seed) for seed in told["seeds"]] for name in ("best", "start")
    ]
    expected = stats.difference(*sides)
    for name in ("difference", "low", "high", "p"):
        assert told[name] == pytest.approx(getattr(expected, name))
    assert (told["best"], told["start"]) == pytest.approx((np.mean(sides[0]), np.mean(sides[1])))
    fresh = [(recipe.lr, seed) for recipe, seed in executor.trained if seed > 10000]
    assert len(fresh) == 8 == len(set(fresh))
    assert any("fresh seeds" in sentence and "points higher" in sentence for sentence in found["said"])
    assert found["best"]["n"] == 2, "what chose the winner is not mixed with what confirms it"


def test_where_nothing_is_better_there_is_nothing_to_confirm(made):
    executor = made(lambda recipe, seed: 0.5)
    found = result(tune(recipe=LAB, seeds=2, confirm=5))
    assert found["best"] == found["start"] and found["confirm"] is None
    assert "nothing was better" in found["said"][0] and not [seed for _, seed in executor.trained if seed > 1]


def test_a_setting_of_which_a_training_fails_does_not_win(made):
    def dies(recipe, seed):
        return math.nan if recipe.lr > 0.3 and seed == 1 else hill(recipe, seed)

    made(dies)
    found = result(tune(recipe=LAB, seeds=2))
    assert found["best"]["settings"]["lr"] == 0.2
    failed = [step for step in found["steps"] if step["settings"]["lr"] > 0.3]
    assert failed and all(step["value"] is None and step["n"] == 1 and step["gain"] == 0 for step in failed)


@pytest.mark.parametrize("method", ["descent", "tpe", "halving"])
def test_where_every_training_fails_the_first_reason_is_given(made, method):
    made(lambda recipe, seed: math.nan)
    with pytest.raises(Failure, match="settings came to a val_accuracy; the first: it diverged"):
        tune(recipe=LAB, method=method, trials=5)


def test_less_of_a_loss_is_better(made):
    made(lambda recipe, seed: 1 - hill(recipe, seed), figure="val_loss")
    found = result(tune(recipe=LAB, seeds=1, figure="val_loss"))
    assert found["best"]["settings"]["lr"] == 0.4 and found["best"]["value"] < found["start"]["value"]


@pytest.mark.parametrize("method", ["descent", "tpe", "halving", "lambda"])
def test_a_search_that_was_stopped_goes_on_without_training_anything_twice(made, method):
    options = {"method": method, "trials": 12, "seeds": 2, "confirm": 2}
    options["recipe"] = LAB.add(Use("weight_decay_l2")) if method == "lambda" else LAB
    executor = made(hill)
    for ends in (1, 3, 2):
        executor.dies = ends
        with pytest.raises(Failure, match="the same command goes on"):
            tune(**options)
        executor.jobs.clear()
    executor.dies = math.inf
    study = tune(**options)
    trials = study.trials()
    assert len({trial.key for trial in trials}) == len(trials)
    assert all(trial.state in ("done", "pruned") for trial in trials)
    again = len(executor.trained) - len(trials)
    assert 0 <= again <= 3 * executor.slots, "only what was running when it was stopped is gone on with"
    straight = tune(**options, name="straight")
    if method in ("descent", "lambda"):
        assert result(straight) == result(study)
    elif method == "tpe":
        assert len(result(study)["steps"]) == 12 == len(result(straight)["steps"])


def test_one_at_a_time_a_tpe_that_was_stopped_asks_the_same_as_one_that_was_not(made):
    executor = made(hill, slots=1)
    executor.dies = 12
    with pytest.raises(Failure):
        tune(recipe=LAB, method="tpe", trials=16, seeds=1)
    executor.jobs.clear()
    executor.dies = math.inf
    whole = result(tune(recipe=LAB, method="tpe", trials=16, seeds=1))
    straight = result(tune(recipe=LAB, method="tpe", trials=16, seeds=1, name="straight"))
    assert straight["steps"] == whole["steps"]


def test_tpe_begins_with_the_recipe_and_learns(made):
    made(hill)
    study = tune(recipe=LAB, method="tpe", trials=40, seeds=2)
    steps = result(study)["steps"]
    assert steps[0]["settings"] == {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.01} and len(steps) == 40
    values = [step["value"] for step in steps]
    assert np.mean(values[20:]) > np.mean(values[1:11]) and max(values) > 0.88
    for step in steps[1:]:
        for name, (low, high, _) in study.about["vary"]["space"].items():
            assert low <= step["settings"][name] <= high
    assert all(step["n"] == 2 for step in steps)


def test_the_ledger_has_the_parameters_in_optunas_own_form(made):
    made(hill)
    study = tune(recipe=LAB, method="tpe", trials=3, seeds=1)
    for ours, theirs in zip(study.trials(), study.ledger.study().trials, strict=True):
        expected = {"lr": ours.settings["lr"], "1 - momentum": 1 - ours.settings["momentum"]}
        assert theirs.params == pytest.approx(expected | {"weight_decay": ours.settings["weight_decay"]})
        assert theirs.value == ours.figures["val_accuracy"]


def test_a_small_space_is_searched_to_its_end_and_no_further(made):
    executor = made(hill)
    space: dict[str, Any] = {"lr": [0.1, 0.2, 0.4], "cutout": [True, False]}
    study = tune(recipe=LAB, method="tpe", space=space, trials=50, seeds=1)
    assert len(result(study)["steps"]) == 6 == len(executor.trained)
    assert result(study)["start"]["settings"] == {"lr": 0.1, "cutout": False}


def test_settings_that_cannot_go_together_are_not_tried(made):
    executor = made(hill)
    space = {"gelu": [True, False], "celu": [True, False]}
    study = tune(recipe=LAB, method="tpe", space=space, trials=10, seeds=1)
    assert "celu" in techniques.clashes("gelu")
    tried = [step["settings"] for step in result(study)["steps"]]
    assert {"gelu": True, "celu": True} not in tried and len(tried) == 3 == len(executor.trained)


def test_whole_numbers_stay_whole_and_in_their_range(made):
    made(lambda recipe, seed: 0.5 - abs(recipe.batch_size - 100) / 1000)
    study = tune(recipe=LAB, method="tpe", space={"batch_size": (32.0, 128.0, "log")}, trials=15, seeds=1)
    sizes = [step["settings"]["batch_size"] for step in result(study)["steps"]]
    assert all(type(size) is int and 32 <= size <= 128 for size in sizes) and len(set(sizes)) == 15


def test_the_space_of_a_technique_that_is_off_has_no_start_for_it(made):
    made(hill)
    space = {"label_smoothing.smoothing": (0.0, 0.4, "linear"), "lr": (0.1, 1.0, "log")}
    study = tune(recipe=LAB, method="tpe", space=space, trials=4, seeds=1)
    assert [sorted(step["settings"]) for step in result(study)["steps"]] == [["lr"], *[[*sorted(space)]] * 3]


def test_halving_ends_what_is_bad_early_and_trains_the_rest_with_every_seed(made):
    executor = made(hill, curve=lambda value: [value * epoch / 16 for epoch in range(1, 17)])
    study = tune(recipe=LAB, method="halving", trials=30, seeds=3)
    found = result(study)
    stopped = [step for step in found["steps"] if step.get("stopped")]
    whole = [step for step in found["steps"] if not step.get("stopped")]
    assert len(stopped) > 15 and len(whole) >= 3 and len(found["steps"]) == 30
    assert all(step["n"] == 3 for step in whole) and all(step["n"] == 0 for step in stopped)
    assert found["steps"][0]["settings"] == found["start"]["settings"] and found["steps"][0] in whole
    assert found["best"]["value"] == max(step["value"] for step in whole)
    pruned = [trial for trial in study.trials() if trial.state == "pruned"]
    assert len(pruned) == len(stopped) and {trial.seed for trial in pruned} == {0}
    assert len(executor.trained) == 30 + 2 * len(whole)
    told = [trial.intermediate_values for trial in study.ledger.study().trials]
    assert max(map(len, told)) == 16, "what was measured on the way is in the ledger"


def test_where_it_began_is_never_ended_early(made):
    class Strict(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return True

    made(hill)
    with conducting(*prepare("tune", "digits", LAB, 1, {})) as conductor:
        heard = pruning(conductor, Strict(), {"lr": 0.1})
        start, other = conductor.add({"lr": 0.1}, 0), conductor.add({"lr": 0.2}, 0)
        assert heard(other, {"epoch": 1.0, "val_accuracy": 0.9})
        assert not heard(start, {"epoch": 1.0, "val_accuracy": 0.9})
        assert not heard(other, {"epoch": 0.5, "val_accuracy": 0.9}), "less than an epoch tells nothing"
        assert not heard(other, {"epoch": 2.0, "train_loss": 0.9}), "nor what was not measured"


def test_the_penalty_rule_sets_the_weight_and_weights_around_it_are_tried(made):
    def best_at(recipe, seed):
        decay = next(use for use in recipe.use if use.name == "weight_decay_l2").settings["decay"]
        return 0.5 + seed / 1000 - abs(decay - 0.0025) * 10

    executor = made(best_at)
    study = tune(recipe=LAB, method="lambda", use=["weight_decay_l2"], seeds=2, confirm=2)
    found = result(study)
    assert found["rule"] == {"seeds": [0, 1], "weight": 0.01, "bound": 0.6, "size": 30.0, "epochs": 2.0}
    weights = [step["settings"]["weight_decay_l2.decay"] for step in found["steps"]]
    assert weights == [0.0, 0.01, 0.04, 0.0025, 0.000625]
    assert found["best"]["settings"] == {"weight_decay_l2.decay": 0.0025}
    rule = [job for job in executor.errands if job["errand"]["kind"] == "penalty"]
    assert [job["recipe"]["use"] for job in rule] == [[], []], "it looks at trainings without the penalty"
    assert found["start"]["settings"] == {"weight_decay_l2.decay": 0.0} and found["confirm"]["difference"] > 0
    tune(recipe=LAB, method="lambda", use=["weight_decay_l2"], seeds=2)
    assert len([job for job in executor.errands if job["errand"]["kind"] == "penalty"]) == 2


def test_a_decay_of_zero_can_be_raised_and_is_then_halved_and_doubled():
    start, moves, said = coordinates(Recipe(lr=0.1))
    assert start == {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0} and said == []
    assert moves["weight_decay"](0.0, 2.0) == room.FIRST_DECAY and moves["weight_decay"](0.0, 0.5) is None
    assert moves["weight_decay"](0.1, 0.5) == 0.05 and moves["lr"](0.1, 2.0) == 0.2
    assert moves["momentum"](0.9, 2.0) == pytest.approx(0.95) and moves["momentum"](0.0, 0.5) is None


def moved(use, momentum, settings=None):
    """Where three steps of an optimiser lead."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    images, targets = torch.randn(5, 3), torch.randn(5, 2)
    made = techniques.bind(Use(use.name, **{**use.settings, **(settings or {})}))(
        model.named_parameters(), lr=0.01, momentum=momentum, weight_decay=0.01
    )

    def closure(graph=False):
        made.zero_grad()
        loss = (model(images) - targets).square().mean()
        loss.backward(create_graph=graph)
        return loss.detach()

    if hasattr(made, "progress"):
        made.progress = 0.5
    for _ in range(3):
        closure()
        made.step(closure) if getattr(made, "needs_closure", False) else made.step()
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


OPTIMIZERS = [Use(name) for name, family in techniques.names().items() if family == "optimizers"]


@pytest.mark.parametrize("use", [*OPTIMIZERS, Use("hypergradient", form="adam")], ids=str)
def test_the_momentum_that_is_tuned_is_the_one_that_the_optimiser_uses(use):
    name, why = momentum_of(Recipe(optimizer=use))
    used = not torch.equal(moved(use, 0.5), moved(use, 0.9))
    assert (name == "momentum") is used
    if name and name != "momentum":
        owner, _, setting = name.partition(".")
        assert owner == use.name
        assert not torch.equal(moved(use, 0.5, {setting: 0.5}), moved(use, 0.5, {setting: 0.8}))
    assert (name is None) is (why is not None)


def test_a_momentum_that_the_schedule_sets_is_left_out_and_that_is_told(made):
    recipe = LAB.replace(schedule=Use("one_cycle"))
    start, _, said = coordinates(recipe)
    assert list(start) == ["lr", "weight_decay"] and said == [
        "the momentum is left out: the schedule one_cycle sets it"
    ]
    made(hill)
    assert result(tune(recipe=recipe, seeds=1))["said"][0] == said[0]


def test_the_default_space_is_around_the_recipes_own_values():
    space = default_space(LAB.replace(momentum=0.9))
    ends = {"lr": (0.1 / 30, 3.0), "momentum": (0.0, 1 - 0.1 / 30), "weight_decay": (0.01 / 30, 0.3)}
    assert {name: values[:2] for name, values in space.items()} == {
        name: pytest.approx(values, rel=1e-5) for name, values in ends.items()
    }
    assert [values[2] for values in space.values()] == ["log", "reverse_log", "log"]
    assert list(default_space(LAB.replace(optimizer=Use("adam")))) == ["lr", "adam.beta1", "weight_decay"]
    assert list(default_space(LAB.replace(optimizer=Use("adagrad")))) == ["lr", "weight_decay"]
    assert default_space(LAB.replace(weight_decay=0.0))["weight_decay"][2] == "log"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"method": "decent"}, "unknown method 'decent': did you mean 'descent'"),
        ({"space": {"lr": [1, 2]}}, "descent starts from the recipe's own values"),
        ({"method": "lambda", "space": {"lr": [1, 2]}}, "lambda starts from the recipe's own values"),
        ({"method": "tpe", "space": {}}, "the space has no settings"),
        ({"method": "tpe", "space": {"lrr": [1, 2]}}, "unknown setting 'lrr': did you mean 'lr'"),
        ({"method": "halving", "space": {"lr": (0.1, 1.0)}}, "a range of lr is"),
        ({"method": "tpe", "space": {"momentum": (0.5, 1.5, "linear")}}, "momentum must be a number in"),
        ({"method": "tpe", "space": {"seed": [1, 2]}}, "seed is no setting to vary"),
        ({"method": "tpe", "trials": 0}, "trials is the number of settings to try, from 1: got 0"),
        ({"confirm": 1}, "confirm is a number of fresh seeds, from 2, or 0"),
        ({"confirm": 2.5}, "confirm is a number of fresh seeds"),
        ({"test": True}, "leave the test set alone"),
        ({"figure": "test_accuracy"}, "choosing by the test set would spoil it"),
        ({"figure": "train_loss"}, "chosen by a figure of the validation set, .*: got train_loss"),
        ({"sets": ["val_fraction=0"]}, "val_fraction must be above 0"),
        ({"sets": ["lr=0"]}, "a learning rate of 0 cannot be halved or doubled"),
        ({"method": "lambda"}, "the λ rule sets the weight of one penalty: --use one of .*; got none"),
        (
            {"method": "lambda", "use": ["weight_decay_l1", "weight_decay_l2"]},
            "one penalty.*got weight_decay_l1 and weight_decay_l2",
        ),
        ({"seeds": 0}, "seeds is the number of trainings of each setting"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_any_work(made, tmp_path, options, sentence):
    executor = made(hill)
    with pytest.raises(Mistake, match=sentence):
        tune(**({"recipe": LAB} | options))
    assert not executor.trained and not list(tmp_path.iterdir())


def test_another_search_under_the_same_name_is_refused(made):
    made(hill)
    study = tune(recipe=LAB, method="tpe", trials=2, seeds=1, name="mine")
    before = (study.path / "result.json").read_bytes()
    with pytest.raises(
        Mistake, match="study 'mine' already, whose method is 'tpe', not 'descent': give another --name"
    ):
        tune(recipe=LAB, seeds=1, name="mine")
    with pytest.raises(Mistake, match=r"study 'mine' already, whose space is .*, not .*: give another --name"):
        tune(recipe=LAB, method="tpe", space={"lr": [1.0, 2.0]}, trials=2, seeds=1, name="mine")
    assert (study.path / "result.json").read_bytes() == before


def over(folder):
    """The result files of the trainings that are over."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("studies/*/runs/*/result.json")}


@pytest.mark.parametrize("method", ["descent", "tpe"])
def test_a_killed_search_goes_on_and_trains_nothing_twice(tmp_path, method):
    words = ["tune", "circles", "--method", method, "--trials", "4", "--seeds", "2", "--workers", "2", "--confirm", "2"]
    words += [*COMMAND, "--json"]
    with started(words, tmp_path) as process:
        until(lambda: len(over(tmp_path)) >= 4 or process.poll() is not None)
        os.kill(process.pid, signal.SIGKILL)
    before = over(tmp_path)
    assert len(before) >= 4 and not list(tmp_path.glob("studies/*/result.json"))
    with started(words, tmp_path) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    told = json.loads(out)
    assert {path: over(tmp_path)[path] for path in before} == before
    study = Study.open(tmp_path / told["study"])
    trials = study.trials()
    assert len({trial.key for trial in trials}) == len(trials) == len(over(tmp_path))
    assert all(trial.state == "done" and "test_accuracy" not in trial.figures for trial in trials)
    assert told["steps"] == result(study)["steps"] and told["rows"] == study.rows()
    assert told["test_accuracy"]["n"] == 2 and told["test_images"] == 250 and told["confirm"]["n"] in (2, None)


def test_real_halving_and_the_penalty_rule_reach_a_result_that_is_printed(tmp_path):
    halving = ["tune", "circles", "--method", "halving", "--trials", "3", "--space", "lr=0.01..1"]
    rule = ["tune", "circles", "--method", "lambda", "--use", "weight_decay_l2"]
    for words, names in ((halving, "lr "), (rule, "weight_decay_l2.decay ")):
        with started([*words, "--seeds", "1", "--workers", "1", *COMMAND], tmp_path) as process:
            out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.startswith(names) and "test_accuracy" in out and "--recipe studies/circles-lab-tune-" in out
