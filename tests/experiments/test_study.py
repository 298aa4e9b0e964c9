"""What a study tells of its trials: a row a setting."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steepest.experiments.study import Asked, Study
from steepest.recipe import Recipe
from steepest.train.request import Request


@pytest.fixture
def study(tmp_path):
    """A study of these trials, which were not trained: settings, seed, figure."""

    def make(*trials, kind="sweep", seeds=(0,)):
        made = Study.begin(Asked(kind, "mine", Recipe(), Request(), seeds=seeds), tmp_path)
        for settings, seed, value in trials:
            trial = made.ledger.add(settings, seed)
            figures = {"val_accuracy": value, "train_s": 10 * value}
            made.ledger.tell(replace(trial, state="done", figures=figures), value)
        return made

    return make


def test_intervals_of_a_row_end_where_their_figures_do(study):
    (row,) = study(({}, 0, 0.1), ({}, 1, 0.99)).rows()
    assert (row["val_accuracy"]["low"], row["val_accuracy"]["high"]) == (0.0, 1.0)
    assert row["train_s"]["low"] == 0.0 and row["train_s"]["high"] > 10


def test_settings_in_any_order_are_one_row(study):
    one, other = study(
        ({"lr": 0.1, "width": 8}, 0, 0.5), ({"lr": 0.2}, 0, 0.6), ({"width": 8, "lr": 0.1}, 1, 0.7)
    ).rows()
    assert (one["settings"], one["n"], other["n"]) == ({"lr": 0.1, "width": 8}, 2, 1)
    assert one["val_accuracy"]["mean"] == pytest.approx(0.6)


def test_what_confirms_the_winner_of_a_search_is_told_apart_from_what_chose_it(study):
    chose = [({"lr": lr}, seed, lr) for lr in (0.1, 0.2) for seed in (7, 8)]
    fresh = [({"lr": 0.2}, 10_007 + seed, 0.1) for seed in range(4)]
    one, best = study(*chose, *fresh, kind="tune", seeds=(7, 8)).rows()
    assert best["n"] == 2 and best["val_accuracy"]["mean"] == 0.2
    assert best["confirmed"]["n"] == 4 and best["confirmed"]["val_accuracy"]["mean"] == pytest.approx(0.1)
    assert "settings" not in best["confirmed"] and "confirmed" not in one


def test_a_sweep_may_have_any_seeds(study):
    (row,) = study(({}, 0, 0.5), ({}, 10_000, 0.6)).rows()
    assert row["n"] == 2 and "confirmed" not in row
