from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from torch.nn import functional as F

import steepest
from steepest import stats
from steepest.experiments.compare import compare
from steepest.experiments.study import Asked, Study
from steepest.mistake import Mistake
from steepest.recipe import Recipe
from steepest.train.assess import assess
from steepest.train.request import Request

CURVE = [
    {"step": 10 * epoch, "epoch": float(epoch), "val_accuracy": 0.5 + 0.1 * epoch, "train_loss": 1.0 / epoch}
    for epoch in (1, 2, 3)
]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Makes a study of these rows: settings, and the figure of each seed (a text: the trial ended so, without one)."""
    folder, numbers = tmp_path_factory.mktemp("studies"), itertools.count()
    optuna.storages.RDBStorage(f"sqlite:///{folder / 'empty.db'}").engine.dispose()  # its tables take a while to make

    def make(*rows, data="digits", figure="val_accuracy", run=None, kind="sweep"):
        asked = Asked(kind, f"study{next(numbers)}", Recipe(), Request(data=data), figure)
        (folder / asked.name).mkdir()
        shutil.copy(folder / "empty.db", folder / asked.name / "ledger.db")
        return fill(Study.begin(asked, folder), rows, figure, run)

    return make


def fill(made, rows, figure, run):
    for settings, seeds in rows:
        for seed, value in seeds.items():
            trial = made.ledger.add(settings, seed)
            if run is not None:
                trial = replace(trial, run=f"{trial.number:06d}")
                shutil.copytree(run.path, made.path / "runs" / str(trial.run))
            if isinstance(value, str):
                if value != "running":
                    figures = {figure: 0.0} if value == "pruned" else {}
                    made.ledger.tell(replace(trial, state=value, figures=figures, problem="it failed"), None)
            else:
                curve = [point | {"val_accuracy": value * point["epoch"] / 3} for point in CURVE] if run is None else ()
                made.ledger.tell(replace(trial, state="done", figures={figure: value, "train_s": 2.0}), value, curve)
    return made


def seeds(*values, first=0):
    return dict(enumerate(values, first))


@pytest.fixture(scope="module")
def other_run(tmp_path_factory, digits_run):
    """The digits with another seed and learning rate."""
    from steepest.train.start import train

    return train("digits", epochs=1, threads=1, seed=1, out=str(tmp_path_factory.mktemp("runs")), sets=["lr=0.02"])


@pytest.fixture
def copied(other_run, tmp_path):
    """A run to be written into."""
    return steepest.Run(shutil.copytree(other_run.path, tmp_path / "copied"))


def scored(run):
    return assess(run).scores


def test_two_runs_are_compared_on_the_same_test_images(digits_run, other_run):
    found = compare(digits_run.path, other_run.path)
    (row,) = found["rows"]
    right = [np.asarray(each.logits.argmax(1) == each.targets) for each in map(scored, (digits_run, other_run))]
    only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    expected = stats.paired_shares(int((right[0] & right[1]).sum()), *only, int((~right[0] & ~right[1]).sum()))
    assert (found["kind"], found["data"], found["figure"], found["unit"]) == (
        "runs",
        "digits",
        "test_accuracy",
        "points",
    )
    assert row["difference"] == pytest.approx(
        100 * (digits_run.result["test_accuracy"] - other_run.result["test_accuracy"])
    )
    assert (row["low"], row["high"]) == pytest.approx((100 * expected.low, 100 * expected.high))
    assert row["p"] == row["p_holm"] == expected.p and row["n"] == row["a"]["n"] == 359
    assert row["verdict"] == ("different" if expected.p < 0.05 else "undecided") and "n = 359" in row["said"]
    assert row["method"] == "the same images, McNemar's test" and "equivalent" not in row
    assert any("one training a side" in note for note in found["notes"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_curves_of_both_runs_are_given(digits_run, other_run):
    for run, curve in zip((digits_run, other_run), compare(digits_run, other_run)["curves"], strict=True):
        assert curve["epochs"] == [point["epoch"] for point in run.curve]
        shown = [point["mean"] for point in curve["figures"]["val_accuracy"]]
        assert shown == run.curve.column("val_accuracy") and curve["figures"]["train_loss"][0]["low"] is None


def test_a_run_is_the_same_as_itself_only_against_a_margin(digits_run):
    row = compare(digits_run, digits_run)["rows"][0]
    assert (row["verdict"], row["difference"], row["p"]) == ("undecided", 0.0, 1.0)
    row = compare(digits_run, digits_run, margin=2.0)["rows"][0]
    assert (row["verdict"], row["equivalent"]) == ("same", True) and "± 2" in row["said"]
    row = compare(digits_run, digits_run, margin=0.01)["rows"][0]
    assert (row["verdict"], row["equivalent"]) == ("undecided", False)


def test_a_run_that_is_far_above_or_below_is_not_the_same(digits_run, other_run):
    right = [np.asarray(each.logits.argmax(1) == each.targets) for each in map(scored, (digits_run, other_run))]
    both, only_a, only_b = (int(x.sum()) for x in (right[0] & right[1], right[0] & ~right[1], right[1] & ~right[0]))
    ninety: Any = stats.paired_shares(both, only_a, only_b, 359 - both - only_a - only_b, confidence=0.9)
    for sides, sign in (((digits_run, other_run), 1), ((other_run, digits_run), -1)):
        row = compare(*sides, margin=5)["rows"][0]
        assert (row["equivalent"], row["verdict"]) == (False, "different")
        assert sorted(sign * end for end in row["equivalence"]) == pytest.approx([100 * ninety.low, 100 * ninety.high])


def test_losses_are_compared_image_by_image(digits_run, other_run, plane_run):
    row = compare(digits_run, other_run, figure="test_loss", margin=1000)["rows"][0]
    assert row["difference"] == pytest.approx(digits_run.result["test_loss"] - other_run.result["test_loss"], abs=1e-5)
    each = [
        F.cross_entropy(one.logits, one.targets, reduction="none").tolist()
        for one in map(scored, (digits_run, other_run))
    ]
    expected = stats.difference(*each)
    assert (row["low"], row["high"], row["p"], row["n"]) == pytest.approx(
        (expected.low, expected.high, expected.p, 359)
    )
    assert row["equivalent"]
    found = compare(plane_run, plane_run)
    assert found["figure"] == "test_loss" and found["rows"][0]["a"]["mean"] == pytest.approx(
        plane_run.result["test_loss"]
    )


def test_runs_validated_on_different_images_are_not_paired(digits_run, other_run):
    found = compare(digits_run, other_run, figure="val_accuracy")
    assert found["rows"][0]["method"] == "different images, score test"
    assert any("val images are not the same" in note for note in found["notes"])


def test_without_its_weights_a_run_is_compared_by_its_share_alone(digits_run, other_run, copied):
    paired = compare(other_run, copied)["rows"][0]
    (copied.path / "model.safetensors").unlink()
    found = compare(other_run, copied, margin=50)
    row = found["rows"][0]
    assert any("no trained network" in note for note in found["notes"])
    assert row["difference"] == paired["difference"] == 0 and row["low"] < paired["low"]
    assert row["method"].startswith("different images") and row["equivalent"] is True
    row = compare(digits_run, copied)["rows"][0]
    assert row["difference"] == pytest.approx(100 * (row["a"]["mean"] - row["b"]["mean"]))
    assert row["a"]["mean"] == pytest.approx(digits_run.result["test_accuracy"])
    row = compare(other_run, copied, figure="test_loss", margin=5)["rows"][0]
    assert (row["low"], row["p"], row["equivalent"], row["verdict"]) == (None, None, None, "undecided")


def test_a_figure_that_is_one_number_a_run_has_no_interval(digits_run, other_run):
    found = compare(digits_run, other_run, figure="train_s")
    times = [run.result["time_s"]["train"] for run in (digits_run, other_run)]
    assert found["rows"][0]["difference"] == pytest.approx(times[0] - times[1])
    assert found["unit"] == "s" and found["rows"][0]["low"] is None and found["rows"][0]["verdict"] == "undecided"


A = {"lr": 0.1}, seeds(0.90, 0.92, 0.91, 0.93)
B = {"lr": 0.2}, seeds(0.90, 0.90, 0.90, 0.91)


def test_studies_are_compared_setting_by_setting_over_the_same_seeds(study):
    one = study(A, B, ({"lr": 9}, seeds(0.1)))
    other = study(*[({"lr": 0.2}, seeds(0.90, 0.91, 0.89, 0.91)), ({"lr": 0.1}, seeds(0.80, 0.83, 0.82, 0.82))])
    found = compare(one, str(other.path))
    assert found["comparisons"] == 2 and [row["settings"] for row in found["rows"]] == [{"lr": 0.1}, {"lr": 0.2}]
    first, second = found["rows"]
    expected = stats.difference([90, 92, 91, 93], [80, 83, 82, 82], comparisons=2)
    for key in ("difference", "low", "high", "p", "n"):
        assert first[key] == pytest.approx(getattr(expected, key))
    assert first["a"] == pytest.approx(vars(stats.mean([0.90, 0.92, 0.91, 0.93])))
    assert [row["p_holm"] for row in found["rows"]] == pytest.approx(stats.holm([first["p"], second["p"]]))
    assert (first["verdict"], second["verdict"]) == ("different", "undecided")
    assert first["said"].startswith(
        f"A is 9.75 points higher, interval {first['low']:.3g} to {first['high']:.3g}, n = 4"
    )
    turned = compare(other, one)["rows"][1]["said"]
    assert turned == first["said"].replace("A is", "B is")
    assert "not told apart" in second["said"]
    assert (found["only_a"], found["only_b"]) == ([{"lr": 9}], [])


def test_seeds_that_only_one_side_has_are_left_out_of_the_pairs_but_not_of_the_means(study):
    one = study(({}, seeds(0.90, 0.92, 0.91, 0.99)))
    other = study(({}, seeds(0.80, 0.83, 0.82)))
    row = compare(one, other)["rows"][0]
    assert (
        row["n"] == 3 and row["difference"] == pytest.approx(100 * (0.91 - 2.45 / 3)) and "same seeds" in row["method"]
    )
    assert row["a"]["n"] == 4 and row["a"]["mean"] == pytest.approx(0.93)


def test_of_a_search_the_seeds_that_chose_nothing_are_compared(study):
    fresh = {10_000: 0.85, 10_001: 0.87, 10_002: 0.86}
    luck, none_done = seeds(0.99, 0.98, 0.97), {10_000: "failed"}
    plain = study(({"lr": 1}, seeds(0.80, 0.83, 0.82)), ({"lr": 2}, seeds(0.7, 0.8)))
    search = study(({"lr": 1}, luck | fresh), ({"lr": 2}, seeds(0.7, 0.8) | none_done), kind="tune")
    found = compare(search, plain)
    rows = {row["settings"]["lr"]: row for row in found["rows"]}
    assert rows[1]["a"]["mean"] == pytest.approx(0.86) and rows[1]["a"]["n"] == 3 and "Welch" in rows[1]["method"]
    assert rows[2]["a"]["n"] == 2 and any("A is a search" in note for note in found["notes"])
    assert not any("is a search" in note for note in compare(f"{search.path}: lr=1", f"{plain.path}: lr=1")["notes"])


def test_different_seeds_are_compared_by_welchs_test(study):
    one = study(({}, seeds(0.90, 0.92, 0.91)))
    other = study(({}, seeds(0.80, 0.83, 0.84, 0.81, 0.82, first=2)))
    row = compare(one, other)["rows"][0]
    expected = stats.difference([90, 92, 91], [80, 83, 84, 81, 82], paired=False)
    assert (row["low"], row["high"], row["p"], row["n"]) == pytest.approx((expected.low, expected.high, expected.p, 3))
    assert "Welch" in row["method"]


@pytest.mark.parametrize(("first", "count", "paired"), [(1, 2, False), (3, 5, False), (2, 5, True), (0, 1, True)])
def test_seeds_are_paired_where_half_of_them_have_their_partner(study, first, count, paired):
    one = study(({}, seeds(*np.linspace(0.8, 0.9, count))))
    other = study(({}, seeds(*np.linspace(0.7, 0.9, count) ** 2, first=first)))
    row = compare(one, other)["rows"][0]
    assert ("same seeds" in row["method"]) == paired and row["n"] == (count - first if paired else count)


def test_rows_are_named_by_their_settings_and_compared_by_what_else_is_set(study):
    rows = [({"lr": lr, "cutout": on}, seeds(lr + on / 10, lr + on / 9)) for lr in (0.1, 0.2) for on in (True, False)]
    made = study(*rows)
    found = compare(f"{made.path}: cutout=true", f"{made.path}:cutout=false", margin=90)
    assert [row["settings"] for row in found["rows"]] == [{"lr": 0.1}, {"lr": 0.2}]
    assert all(row["difference"] == pytest.approx(100 * (1 / 10 + 1 / 9) / 2) for row in found["rows"])
    found = compare(f"{made.path}: cutout=true lr=0.1", f"{made.path}: lr=0.2 cutout=true")
    assert found["rows"][0]["settings"] == {} and found["rows"][0]["difference"] == pytest.approx(-10)
    assert (found["a"], found["curves"][0]["side"]) == (f"{made.path}: cutout=true lr=0.1", "a")


def test_whole_numbers_and_decimals_are_the_same_setting(study):
    one, other = (study(({"lr": lr}, seeds(0.9, 0.8))) for lr in (1, 1.0))
    assert len(compare(one, other)["rows"]) == 1


def test_the_same_performance_is_said_only_against_a_margin(study):
    one = study(({}, seeds(0.900, 0.910, 0.905, 0.902)))
    other = study(({}, seeds(0.901, 0.911, 0.903, 0.903)))
    assert compare(one, other)["rows"][0]["verdict"] == "undecided"
    row = compare(one, other, margin=0.5)["rows"][0]
    expected = stats.equivalence([90.0, 91.0, 90.5, 90.2], [90.1, 91.1, 90.3, 90.3], 0.5)
    assert (row["verdict"], row["equivalent"]) == ("same", True)
    assert row["equivalence"] == pytest.approx([expected.low, expected.high])
    assert compare(one, other, margin=0.05)["rows"][0]["equivalent"] is False


def test_a_margin_is_in_the_figures_own_unit_where_that_is_no_accuracy(study):
    values = seeds(1.0, 1.3, 1.1), seeds(1.1, 1.2, 1.15)
    one, other = (study(({}, each), figure="val_loss") for each in values)
    assert compare(one, other, margin=0.5)["rows"][0]["equivalent"] is True
    assert compare(one, other, margin=0.05)["rows"][0]["equivalent"] is False


def test_seeds_that_agree_to_the_last_digit_prove_nothing(study):
    one = study(({}, seeds(0.9, 0.8)))
    row = compare(one, one, margin=1.0)["rows"][0]
    assert (row["low"], row["p"], row["p_holm"], row["equivalent"], row["verdict"]) == (None,) * 4 + ("undecided",)


def test_what_did_not_finish_is_told(study):
    one = study(
        *[({}, {0: 0.9, 1: 0.8, 2: "failed", 3: "running", 4: "pruned", 5: "failed"}), ({"lr": 1}, {0: "failed"})]
    )
    other = study(({}, seeds(0.8, 0.8)), ({"lr": 1}, seeds(0.5, 0.6)))
    found = compare(one, other)
    assert found["notes"] == ["of 6 trials of A, 2 failed and 1 running and 1 pruned are left out"]
    assert found["only_a"] == found["only_b"] == [{"lr": 1}] and len(found["rows"]) == 1
    assert found["rows"][0]["a"]["n"] == 2


def test_curves_are_the_mean_of_the_seeds_with_a_band(study):
    one, other = study(A, B), study(A)
    curves = compare(one, other)["curves"]
    assert [(curve["side"], curve["settings"]) for curve in curves] == [("a", {"lr": 0.1}), ("b", {"lr": 0.1})]
    assert curves[0]["epochs"] == [1.0, 2.0, 3.0] and set(curves[0]["figures"]) == {"val_accuracy", "train_loss"}
    assert curves[0]["figures"]["val_accuracy"][2] == pytest.approx(vars(stats.mean([0.90, 0.92, 0.91, 0.93])))


def test_the_data_of_studies_are_those_of_their_runs(study, digits_run, copied):
    one = study(({}, seeds(0.9, 0.8)), run=digits_run)
    assert compare(one, study(({}, seeds(0.8, 0.8)), run=digits_run))["data"] == "digits"
    copied.write("data.json", copied.read("data.json") | {"fingerprint": "0"})
    with pytest.raises(Mistake, match="different data: digits, which has changed between them"):
        compare(one, study(({}, seeds(0.8, 0.8)), run=copied))


@pytest.fixture(scope="module")
def places(study):
    """Studies that do not go together, by name."""
    one = study(A)
    loss = study(A, figure="val_loss")
    return {
        "one": one.path,
        "loss": loss.path,
        "moons": study(A, data="moons").path,
        "lr": study(B).path,
        "failed": study(({"lr": 0.1}, {0: "failed"})).path,
        "none": study().path,
    }


@pytest.mark.parametrize(
    ("a", "b", "options", "sentence"),
    [
        ("one", "loss", {}, "is judged by val_accuracy, .*study\\d+ by val_loss: name one figure"),
        ("one", "loss", {"figure": "val_accuracy"}, "unknown figure of both studies 'val_accuracy'.*Known: train_s"),
        ("one", "one", {"figure": "val_acuracy"}, "did you mean 'val_accuracy'"),
        ("one", "moons", {}, "different data: digits and moons"),
        ("one", "lr", {}, r"no settings in common \(the first: lr=0.1; lr=0.2\): name the rows"),
        ("one", "failed", {}, "unknown figure of both studies 'val_accuracy': Known: none"),
        ("one", "none", {}, "study\\d+ has no trial$"),
        ("one: lr=0.3", "one", {}, "has no trial with lr=0.3"),
        ("one: lr", "one", {}, "name=value"),
        ("one", "one", {"margin": 0.0}, "margin must be a number above 0"),
        ("one", "one", {"margin": float("nan")}, "margin"),
    ],
)
def test_studies_that_cannot_be_compared_are_refused(places, a, b, options, sentence):
    given = [text.replace(name, str(places[name]), 1) for text in (a, b) for name in [text.partition(":")[0]]]
    with pytest.raises(Mistake, match=sentence):
        compare(*given, **options)


def test_runs_that_cannot_be_compared_are_refused(study, digits_run, circles_run, plane_run, copied, tmp_path):
    a_study = study(A)
    cases: Any = (
        (circles_run, {}, "different data: digits and circles"),
        (plane_run, {}, "different tasks: digits is to classify, reg_plane is to regress"),
        (a_study, {}, "is a run and .*study: compare two runs, or two studies"),
        (f"{digits_run.path}: lr=0.1", {}, "is not a study folder: it has no rows like 'lr=0.1'"),
        (tmp_path / "nowhere", {}, "nowhere is neither a run folder nor a study folder"),
        (
            digits_run,
            {"figure": "test_acuracy"},
            "unknown figure of both runs 'test_acuracy': did you mean 'test_accuracy'",
        ),
    )
    for other, options, sentence in cases:
        with pytest.raises(Mistake, match=sentence):
            compare(digits_run, other, **options)
    (copied.path / "result.json").unlink()
    with pytest.raises(Mistake, match=f"the run {copied.path} is not finished: steepest resume"):
        compare(digits_run, copied)


def test_studies_are_compared_without_torch(study):
    one = study(A)
    code = "import sys; from steepest.experiments.compare import compare; "
    code += (
        f"compare({str(one.path)!r}, {str(one.path)!r}); print([m for m in ('torch', 'optuna') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
