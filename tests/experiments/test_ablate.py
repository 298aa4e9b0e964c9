from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from steepest import stats
from steepest.experiments.ablate import ablate
from steepest.experiments.conduct import prepare
from steepest.experiments.settings import Settings
from steepest.experiments.study import Study
from steepest.mistake import Failure, Mistake

from .processes import COMMAND, TINY, started, until

SMOOTHED = TINY | {"use": ["label_smoothing"], "sets": ["momentum=0.5"]}
"""A recipe of which label smoothing and momentum can be left out."""
WITHOUT: dict[str, Settings] = {"momentum": {"momentum": 0.0}, "label_smoothing": {"label_smoothing": False}}


def written(out, bought, seeds, *, data="digits", spread=0.1, took=1.0, test=False, per_seed=None):
    """The study that `asked` asks for, its trainings made up: by how many points each technique's are worse without it.

    took: seconds of the whole recipe's training; without momentum a tenth less. per_seed: the differences, exactly.
    """
    study = Study.begin(prepare("ablate", data, "lab", 1, options(out, test=test))[0], out)
    random = np.random.default_rng(0)
    for seed in range(seeds):
        for name, less in {None: 0.0, **bought}.items():
            points = (
                90 - less + (random.normal(0, spread) if per_seed is None else -per_seed[seed] * (name is not None))
            )
            faster = 0.9 if name == "momentum" else 1.0
            figures = {
                "val_accuracy": points / 100,
                "train_s": faster * took * (1 + seed / 1000),
                "total_s": 1.1 * took,
            }
            figures |= {"test_accuracy": 0.5 + seed / 1000 - (name is not None) * 0.1} if test else {}
            trial = study.ledger.add(WITHOUT.get(str(name), {}), seed)
            study.ledger.tell(replace(trial, state="done", figures=figures), points / 100)
    return study


def options(out, **more):
    return {"out": str(out)} | {name: value for name, value in SMOOTHED.items() if name != "recipe"} | more


def asked(out, data="digits", **more):
    """An ablation of what is left out in made-up studies."""
    return ablate(data, recipe="lab", **options(out), **{"without": list(WITHOUT)} | more)


def by_name(found):
    return {one["left_out"]: one for one in found["comparisons"]}


def test_known_effects_of_a_ledger_are_told_without_a_training(here, tmp_path):
    written(tmp_path, {"momentum": 2.0, "label_smoothing": 0.0}, 8)
    found = asked(tmp_path, seeds=8).read("result.json")
    assert not here.trained
    assert [one["left_out"] for one in found["comparisons"]] == ["momentum", "label_smoothing"]
    momentum, smoothing = found["comparisons"]
    assert (momentum["verdict"], momentum["barnacle"]) == ("helps", False) and momentum["low"] < 2 < momentum["high"]
    assert smoothing["verdict"] != "helps" and smoothing["low"] < 0 < smoothing["high"]
    assert 0.09 < momentum["seconds"]["low"] < momentum["seconds"]["difference"] == pytest.approx(0.10035)
    assert (found["seeds"], found["precision"], found["plan"], found["unit"]) == (8, 0.2, None, "points")
    assert any("A barnacle: its interval lies within ± 0.2 points" in note for note in found["notes"])
    assert any("ran next to each other" in note for note in found["notes"])


def test_only_the_seeds_that_are_asked_for_count(here, tmp_path):
    written(tmp_path, {"momentum": 2.0, "label_smoothing": 0.0}, 6)
    found = asked(tmp_path, seeds=3).read("result.json")
    assert not here.trained and {one["n"] for one in found["comparisons"]} == {3}


def test_the_pilot_tells_how_many_seeds_find_the_difference_and_counts_as_the_first_of_them(here, tmp_path, capsys):
    differences = [0.6, -0.4, 0.1, 0.3, -0.2, 0.5, 0.0, 0.2]
    seeds = stats.seeds_needed(0.3, stats.sd_limit(float(np.std(differences, ddof=1)), 7))
    assert 16 < seeds < 40
    made = written(tmp_path, {"momentum": 0.0}, 40, per_seed=differences * 5)
    study = asked(tmp_path, without=["momentum"], detect=0.3, seed=2, show=True)
    found = study.read("result.json")
    assert not here.trained and found["seeds"] == found["plan"]["seeds"] == seeds == by_name(found)["momentum"]["n"]
    assert found["plan"]["sd"] == pytest.approx(float(np.std(differences, ddof=1)), rel=1e-4)
    assert Study.open(study.path).about["seeds"] == list(range(2, 2 + seeds)) and len(made.trials()) == 80
    assert sum("the validation set is small" in warning for warning in found["warnings"]) == 1
    assert "more trainings" not in capsys.readouterr().err  # nothing is left to do, nothing costs


def test_the_cost_is_said_before_the_rest_begins_and_is_to_be_agreed_to_where_it_is_long(here, tmp_path, capsys):
    differences = [0.6, -0.4, 0.1, 0.3, -0.2, 0.5, 0.0, 0.2]
    made = written(tmp_path, {"momentum": 0.0}, 8, per_seed=differences, took=3600.0)
    seeds = stats.seeds_needed(0.3, stats.sd_limit(float(np.std(differences, ddof=1)), 7))
    hours = 1.1 * 2 * (seeds - 8)
    with pytest.raises(Mistake, match=rf"{seeds} seeds, {2 * (seeds - 8)} more trainings.*hours\): --yes begins them"):
        asked(tmp_path, without=["momentum"], detect=0.3, show=True)
    told = capsys.readouterr().err
    assert f"{seeds} seeds" in told and f"{hours:.2g}"[:2] in told and "hours" in told
    assert not here.trained and len(made.trials()) == 16 and not (made.path / "result.json").exists()


def test_what_is_agreed_to_is_trained(here, tmp_path):
    differences = [6.0, -4.0, 1.0, 3.0, -2.0, 5.0, 0.0, 2.0]
    written(tmp_path, {"momentum": 0.0}, 8, data="circles", per_seed=differences, took=36_000.0)
    found = asked(tmp_path, "circles", without=["momentum"], detect=20.0, yes=True).read("result.json")
    assert found["seeds"] == 16 and len(here.trained) == 16
    assert found["plan"]["hours"] == pytest.approx(16 * 11)
    again = asked(tmp_path, "circles", without=["momentum"], detect=20.0).read("result.json")  # all is paid for
    assert again["plan"] == found["plan"] and again["comparisons"] == found["comparisons"] and len(here.trained) == 16


def test_a_pilot_in_which_nothing_differs_plans_nothing_and_says_so(here, tmp_path):
    written(tmp_path, {"momentum": 0.0}, 8, per_seed=[0.0] * 8)
    found = asked(tmp_path, without=["momentum"], detect=0.5).read("result.json")
    assert found["seeds"] == 8 and any("nothing can be planned" in sentence for sentence in found["warnings"])


def test_sequential_comparisons_stop_each_by_itself(here, tmp_path):
    made = written(tmp_path, {"momentum": 3.0, "label_smoothing": 0.1}, 30, spread=0.3)
    found = asked(tmp_path, sequential=True, seeds=30, detect=0.25).read("result.json")
    n = {name: one["n"] for name, one in by_name(found).items()}
    points = {
        trial.key: 100 * trial.figures["val_accuracy"] for trial in made.trials()
    }  # the first number of seeds at which the rule tells
    keys = [
        [replace(made.trials()[0], settings=each, seed=seed).key for seed in range(30)]
        for each in ({}, WITHOUT["momentum"])
    ]
    whole, without = ([points[key] for key in side] for side in keys)
    first = next(k for k in range(2, 31) if stats.sequential(whole[:k], without[:k], comparisons=2).different)
    assert n["momentum"] == first < n["label_smoothing"] <= 30 and not here.trained
    assert found["sequential"] and any("however often one looks" in note for note in found["notes"])
    assert by_name(found)["momentum"]["verdict"] == "helps"


def test_sequential_stopping_may_go_further_than_the_plan(here, tmp_path):
    differences = [0.6, -0.4, 0.1, 0.3, -0.2, 0.5, 0.0, 0.2]
    written(tmp_path, {"momentum": 0.0}, 40, per_seed=differences * 5)
    plain = asked(tmp_path, without=["momentum"], detect=0.6).read("result.json")["plan"]["seeds"]
    found = asked(tmp_path, without=["momentum"], detect=0.6, sequential=True).read("result.json")
    assert found["plan"]["seeds"] == 2 * plain and 8 < found["seeds"] <= 2 * plain and not here.trained


def test_test_figures_are_told_beside_and_judge_nothing(here, tmp_path):
    written(tmp_path, {"momentum": 0.0}, 5, per_seed=[0.6, -0.4, 0.1, 0.3, -0.2], test=True)
    found = asked(tmp_path, without=["momentum"], seeds=5, test=True).read("result.json")
    one = by_name(found)["momentum"]
    assert one["test"]["difference"] == pytest.approx(10.0) and one["verdict"] == "undecided" and not here.trained
    assert any("for the report alone" in note for note in found["notes"])


def test_failed_trainings_are_told_and_count_in_nothing(here, tmp_path):
    made = written(tmp_path, {"momentum": 1.0}, 4)
    for seed in (4, 5):
        for each in ({}, WITHOUT["momentum"]):
            trial = made.ledger.add(each, seed)
            bad = bool(each) or seed == 5
            figures = {} if bad else {"val_accuracy": 0.9, "train_s": 1.0}
            ended = replace(trial, state="failed" if bad else "done", figures=figures, problem="it diverged")
            made.ledger.tell(ended, None if bad else 0.9)
    found = asked(tmp_path, without=["momentum"], seeds=6).read("result.json")
    one = by_name(found)["momentum"]
    assert (one["n"], one["failed"]) == (4, 2)
    told = "2 of 6 trainings of the change momentum failed and count in nothing, the first because it diverged"
    assert told in found["warnings"] and any("1 of 6 trainings of the recipe as it is" in w for w in found["warnings"])


def test_where_nothing_can_be_compared_the_work_has_failed(here, tmp_path):
    made = written(tmp_path, {}, 2)
    for seed in (0, 1):
        trial = made.ledger.add(WITHOUT["momentum"], seed)
        made.ledger.tell(replace(trial, state="failed", problem="the loss is nan"), None)
    with pytest.raises(Failure, match="no seed has two trainings to compare: the loss is nan"):
        asked(tmp_path, without=["momentum"], seeds=2)


def test_few_images_held_out_are_warned_of_and_many_are_not(here, tmp_path):
    written(tmp_path, {"momentum": 2.0}, 4)
    found = asked(tmp_path, without=["momentum"], seeds=4, detect=1.0).read("result.json")
    (warning,) = found["warnings"]
    finds = 100 * stats.smallest_share_difference(492, 0.9)
    assert f"small for 1 points: 492 different images (143 a seed) tell differences from {finds:.2g} points" in warning
    assert not asked(tmp_path, without=["momentum"], seeds=4, detect=20.0).read("result.json")["warnings"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"detect": 0.0}, "above 0: got 0.0"),
        ({"detect": -1.0}, "above 0: got -1.0"),
        ({"detect": float("nan")}, "above 0: got nan"),
        ({"detect": 0.05}, "less than one image: of the 1,438 that can be validated with, one is 0.07 points"),
        ({"detect": 100.0}, "below 100: got 100"),
        ({"seeds": 0}, "seeds is the number of trainings"),
        ({"sequential": True}, "how far it may go"),
        ({"sequential": True, "pairs": True, "seeds": 5}, "cannot stop by themselves"),
        ({"without": ["cutout"]}, "unknown technique of the recipe"),
        ({"add": ["label_smoothing:smoothing=0.1"]}, "on already"),
        ({"figure": "test_accuracy"}, "choosing by the test set would spoil it"),
        ({"sets": ["val_fraction=0"]}, "val_fraction must be above 0"),
        ({"add": ["flip"]}, "a mirrored image of digits is another sign"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(given, sentence, here, tmp_path):
    with pytest.raises(Mistake, match=sentence):
        ablate("digits", recipe="lab", **options(tmp_path) | given)
    assert not list(tmp_path.iterdir()) and not here.trained


def test_a_seeds_trainings_run_next_to_each_other_each_first_in_its_turn(here, tmp_path):
    study = ablate("circles", recipe="lab", seeds=3, **options(tmp_path))
    settings = [{}, *({"label_smoothing": False}, {"momentum": 0.0})]
    order = [(dict(trial.settings), trial.seed) for trial in study.trials()]
    assert order == [(settings[(turn + seed) % 3], seed) for seed in range(3) for turn in range(3)]
    assert len(here.trained) == 9 and all(trial.state == "done" for trial in study.trials())


def test_what_changes_nothing_is_found_out_and_the_rest_is_measured(here, tmp_path):
    study = ablate(
        "digits", recipe="lab", seeds=2, add=["clip_norm:max_norm=1e30", "cutout:size=2"], **options(tmp_path)
    )
    found = {one["added"]: one for one in study.read("result.json")["comparisons"]}
    assert found["clip_norm:max_norm=1e+30"]["verdict"] == "identical" and found["cutout:size=2"]["n"] == 2
    whole, cut = (
        {trial.seed: trial for trial in study.trials() if dict(trial.settings) == each}
        for each in ({}, {"cutout.size": 2})
    )
    points = [100 * (cut[seed].figures["val_accuracy"] - whole[seed].figures["val_accuracy"]) for seed in (0, 1)]
    assert found["cutout:size=2"]["difference"] == pytest.approx(sum(points) / 2)


def test_a_regression_is_judged_by_its_loss(here, tmp_path):
    study = ablate(
        "reg_plane", recipe="lab", seeds=2, out=str(tmp_path), add=["clip_norm"], model="mlp", epochs=1, threads=1
    )
    found = study.read("result.json")
    assert (found["figure"], found["unit"], found["precision"]) == ("val_loss", "val_loss", None)
    assert any("it is said what difference matters: --detect" in note for note in found["notes"])


@pytest.fixture(scope="module")
def ablated(tmp_path_factory):
    """A real `steepest ablate` with real workers: its folder, its JSON, and what it said on standard error."""
    folder = tmp_path_factory.mktemp("ablated")
    return folder, *ran(folder, "--json")


def ran(folder, *more):
    words = ["ablate", "circles", *COMMAND, "--use", "label_smoothing", "--seeds", "2", "--workers", "2", *more]
    with started(words, folder) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out, err


def test_the_command_prints_one_json_object_and_warns_on_standard_error(ablated):
    folder, out, err = ablated
    found = json.loads(out)
    assert {"study", "rows", "comparisons", "seeds", "warnings"} <= found.keys()
    study = Study.open(folder / found["study"])
    assert found["seeds"] == 2 and found["workers"] == 2 and [row["n"] for row in found["rows"]] == [2, 2]
    assert any("seconds are those of a shared machine" in note for note in found["notes"])
    assert "the validation set is small for 0.2 points" in err and found["warnings"]
    assert study.read("result.json")["comparisons"] == found["comparisons"]


def test_the_same_command_again_only_reads_and_prints_a_table_for_people(ablated):
    folder, out, _ = ablated
    trials = Study.open(folder / json.loads(out)["study"]).trials()
    text, _ = ran(folder)
    assert Study.open(folder / json.loads(out)["study"]).trials() == trials
    one = json.loads(out)["comparisons"][0]
    assert "left out" in text and one["said"] in text and "A barnacle:" in text
    assert "2 ran at a time" in text


def test_an_ablation_goes_on_after_a_kill_and_its_pilot_is_not_trained_again(here, tmp_path):
    words = ["ablate", "circles", *COMMAND, "--use", "label_smoothing", "--detect", "60", "--workers", "1"]
    path = tmp_path / "studies" / "circles-lab-ablate"

    def done():
        trials = Study.open(path).trials() if (path / "study.json").exists() else []
        return [trial for trial in trials if trial.state == "done"]

    with started(words, tmp_path) as process:
        before = until(lambda: done() if len(done()) >= 3 else [])
        os.kill(process.pid, signal.SIGKILL)
    same: dict[str, Any] = TINY | {"use": ["label_smoothing"], "out": str(path.parent)}
    found = ablate("circles", detect=60, **same).read("result.json")
    trials = Study.open(path).trials()
    assert found["seeds"] == found["plan"]["seeds"] == 16 and found["comparisons"][0]["n"] == 16
    assert len({trial.key for trial in trials}) == len(trials) == 32
    assert [trials[trial.number] for trial in before] == before
    assert not {trial.number for trial in before} & set(here.trained)
