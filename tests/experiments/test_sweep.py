from __future__ import annotations

import json

import pytest

from steepest.experiments import conduct, settings
from steepest.experiments.study import Study
from steepest.experiments.sweep import sweep
from steepest.mistake import Failure, Mistake
from steepest.recipe import Recipe
from steepest.recipes import load
from steepest.train.start import train

from .processes import TINY


def asked(study):
    return [(dict(trial.settings), trial.seed, trial.state) for trial in study.trials()]


def test_a_grid_trains_every_combination_with_every_seed_and_gives_what_each_training_by_itself_gives(here, tmp_path):
    grid = {"lr": [0.1, 0.2], "label_smoothing.smoothing": [0.0, 0.1]}
    study = sweep("circles", grid=grid, seeds=2, out=str(tmp_path), **TINY)
    points = [{"lr": lr, "label_smoothing.smoothing": s} for lr in (0.1, 0.2) for s in (0.0, 0.1)]
    assert asked(study) == [(point, seed, "done") for seed in (0, 1) for point in points]
    alone = train(
        "circles", lr=0.2, use=["label_smoothing:smoothing=0.1"], seed=1, test=False, out=tmp_path / "alone", **TINY
    )
    last = study.trials()[-1]
    assert last.figures["val_loss"] == alone.result["val_loss"] and last.figures["train_loss"]
    assert study.run(last).recipe.lr == 0.2 and study.run(last).result["test_n"] == 0
    row = study.rows()[-1]
    seeds = [trial.figures["val_loss"] for trial in study.trials() if dict(trial.settings) == points[-1]]
    assert row["settings"] == points[-1] and row["n"] == 2 and row["val_loss"]["mean"] == pytest.approx(sum(seeds) / 2)


def test_the_same_sweep_again_trains_nothing_and_more_values_and_seeds_only_what_is_new(here, tmp_path):
    def again(lr, **options):
        return sweep("circles", grid={"lr": lr}, out=str(tmp_path), **options, **TINY)

    again([0.1], seeds=2)
    assert here.trained == [0, 1]
    before = Study.open(tmp_path / "circles-lab-sweep").trials()
    assert again([0.1], seeds=2).trials() == before and here.trained == [0, 1]
    study = again([0.1, 0.2], seeds=3)
    assert here.trained == [0, 1, 2, 3, 4, 5] and study.trials()[:2] == before
    assert {(trial.settings["lr"], trial.seed) for trial in study.trials()} == {
        (lr, seed) for lr in (0.1, 0.2) for seed in (0, 1, 2)
    }
    again([0.2], seed=7)
    assert [(t.settings["lr"], t.seed) for t in study.trials()][6:] == [(0.2, 7)]


def test_a_list_trains_its_settings_and_those_that_occur_twice_once(here, tmp_path):
    listed = [{"lr": 0.1}, {"lr": 0.2, "batch_size": 32}, {"lr": 0.1}, {}]
    study = sweep("circles", listed=listed, out=str(tmp_path), **TINY)
    assert [dict(trial.settings) for trial in study.trials()] == [{"lr": 0.1}, {"lr": 0.2, "batch_size": 32}, {}]
    steps = [trial.figures["steps"] for trial in study.trials()]
    assert steps[1] > steps[0]  # smaller batches: more steps in the epoch


def test_ranges_are_drawn_the_same_each_time_whole_settings_rounded_and_more_draws_only_add(here, tmp_path):
    ranges = {"lr": (1e-3, 1.0, "log"), "batch_size": (16, 64, "linear")}
    study = sweep("circles", ranges=ranges, grid={"momentum": [0.0, 0.9]}, draws=2, out=str(tmp_path), **TINY)
    first = [dict(trial.settings) for trial in study.trials()]
    assert all(type(each["batch_size"]) is int and 16 <= each["batch_size"] <= 64 for each in first)
    assert all(1e-3 <= each["lr"] <= 1 and each["momentum"] in (0.0, 0.9) for each in first)
    sweep("circles", ranges=ranges, grid={"momentum": [0.0, 0.9]}, draws=3, out=str(tmp_path), **TINY)
    assert [dict(trial.settings) for trial in study.trials()][:2] == first and len(study.trials()) == 3


def test_draws_lie_evenly_on_their_scale():
    draws = settings.Draws(Recipe(), {"lr": (1e-4, 1.0, "log"), "momentum": (0.0, 0.8, "linear")}, 4000)
    drawn = list(draws)
    assert len(draws) == len(drawn) and drawn == list(draws)
    for share in (0.25, 0.5, 0.75):
        assert sum(each["lr"] < 10 ** (-4 + 4 * share) for each in drawn) / 4000 == pytest.approx(share, abs=0.03)
        assert sum(each["momentum"] < 0.8 * share for each in drawn) / 4000 == pytest.approx(share, abs=0.03)


def test_a_diverged_training_is_told_as_failed_with_its_sentence_and_counted(here, tmp_path):
    study = sweep("reg_plane", grid={"lr": [0.01, 1e12]}, out=str(tmp_path), **TINY)
    good, bad = study.rows()
    assert (good["n"], good["failed"], bad["n"], bad["failed"]) == (1, 0, 0, 1)
    trial = study.trials()[1]
    assert trial.state == "failed" and "the loss became" in trial.problem and study.about["figure"] == "val_loss"
    sweep("reg_plane", grid={"lr": [0.01, 1e12]}, out=str(tmp_path), **TINY)
    assert here.trained == [0, 1]  # it would diverge again


def test_the_test_set_is_left_alone_unless_it_is_asked_for(here, tmp_path):
    plain = sweep("circles", grid={"lr": [0.1]}, out=str(tmp_path / "a"), **TINY)
    tested = sweep("circles", grid={"lr": [0.1]}, test=True, out=str(tmp_path / "b"), **TINY)
    assert "test_accuracy" not in plain.trials()[0].figures and "test_accuracy" in tested.trials()[0].figures
    assert plain.rows()[0]["val_loss"] == tested.rows()[0]["val_loss"]


def test_a_switch_leaves_a_technique_out_or_adds_it(here, tmp_path):
    study = sweep("circles", grid={"dropout": [False, True]}, out=str(tmp_path), **TINY)
    uses = [{use.name for use in study.run(trial).recipe.use} for trial in study.trials()]
    assert [("dropout" in names) for names in uses] == [False, True]


def test_a_lost_ledger_is_made_again_from_the_run_folders(here, tmp_path):
    study = sweep("circles", grid={"lr": [0.1, 0.2]}, seeds=2, out=str(tmp_path), **TINY)
    before = study.trials()
    (study.path / "ledger.db").unlink()
    again = sweep("circles", grid={"lr": [0.2, 0.1]}, seeds=2, out=str(tmp_path), **TINY)
    assert here.trained == [0, 1, 2, 3]
    told = {trial.key: (trial.state, trial.figures, trial.run) for trial in again.trials()}
    assert told == {trial.key: (trial.state, trial.figures, trial.run) for trial in before}


def test_data_that_changed_between_stop_the_study_and_lose_nothing(here, tmp_path):
    from PIL import Image

    def paint(shade):
        for name in ("a", "b"):
            for number in range(8):
                folder = tmp_path / "photos" / name
                folder.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (shade, number, 0 if name == "a" else 255)).save(folder / f"{number}.png")

    options = TINY | {"grid": {"lr": [0.1]}, "out": str(tmp_path)}
    paint(0)
    study = sweep(tmp_path / "photos", **options)
    before = study.trials()
    paint(9)
    here.worker.loaded = None
    with pytest.raises(Mistake, match="are not those that the study began with"):
        sweep(tmp_path / "photos", seeds=2, **options)
    assert [trial.state for trial in study.trials()] == ["done", "running"]
    assert len(list((study.path / "runs").iterdir())) == 1
    paint(0)
    here.worker.loaded = None
    again = sweep(tmp_path / "photos", seeds=2, **options).trials()
    assert again[0] == before[0] and again[1].state == "done" and again[1].seed == 1


def test_a_measurement_ends_a_training_where_whoever_asked_says_so(here, tmp_path):
    options = TINY | {"epochs": 5, "out": str(tmp_path)}
    wanted, how = conduct.prepare("tune", "circles", options.pop("recipe"), 1, options)
    with conduct.conducting(wanted, how) as conductor:
        first = conductor.add({"lr": 0.1}, 0)
        conductor.run(iter([first]), heard=lambda trial, point: point["epoch"] >= 2)
    trial = conductor.study.trials()[0]
    assert trial.state == "pruned" and trial.figures["epochs"] == 2
    assert conductor.study.rows()[0]["n"] == 0


def test_a_full_disk_stops_the_study_and_fails_no_trial(here, tmp_path, small_disk):
    place = small_disk(700)
    with pytest.raises((Mistake, Failure), match=r"No space left|is full"):
        sweep("digits", grid={"lr": [0.1, 0.2]}, seeds=9, out=str(place), **TINY)
    study = Study.open(place / "digits-lab-sweep")
    assert {trial.state for trial in study.trials()} <= {"done", "running"}


def test_a_sweep_of_the_public_interface_prints_what_it_promises(here, tmp_path, capsys):
    from steepest.cli_experiments import show_study

    study = sweep("circles", grid={"lr": [0.1, 0.2]}, seeds=2, out=str(tmp_path), **TINY)
    capsys.readouterr()
    show_study(study, True)
    told = json.loads(capsys.readouterr().out)
    assert told["study"] == str(study.path) and told["rows"] == study.rows()
    assert {"settings", "n", "failed", "val_accuracy"} <= told["rows"][0].keys()
    assert told["rows"][0]["val_accuracy"].keys() == {"n", "mean", "low", "high"}
    show_study(study, False)
    assert str(study.path) in capsys.readouterr().out


def test_a_recipe_of_ones_own_may_be_swept(here, tmp_path):
    recipe = load("lab").replace(name="mine", epochs=1, min_steps=0, model="mlp", width=None)
    study = sweep("circles", recipe=recipe, grid={"lr": [0.1]}, threads=1, out=str(tmp_path))
    assert study.path.name == "circles-mine-sweep" and study.trials()[0].state == "done"


def test_what_cannot_be_together_in_a_grid_too_large_to_check_is_told_as_failed(here, tmp_path, monkeypatch):
    monkeypatch.setattr("steepest.experiments.sweep.CHECKED", 1)
    study = sweep("circles", grid={"swa": [False, True], "ema": [False, True]}, out=str(tmp_path), **TINY)
    assert [trial.state for trial in study.trials()] == ["done", "done", "done", "failed"]
    assert "ema" in study.trials()[3].problem and here.trained == [0, 1, 2]


def test_a_study_of_points_varies_the_recipe_with_which_points_are_trained():
    asked, _ = conduct.prepare("sweep", "circles:noise=0.1", "quick", 1, {"lr": 0.03})
    assert (asked.recipe.model.name, asked.recipe.optimizer.name, asked.recipe.lr) == ("mlp", "adam", 0.03)
    asked, _ = conduct.prepare("sweep", "circles", "quick", 1, {"model": "mlp:hidden=4"})
    assert (str(asked.recipe.model), asked.recipe.optimizer.name) == ("mlp:hidden=4", "muon")
