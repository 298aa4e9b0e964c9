"""Early stopping: hand-made curves."""

import math

import pytest

from steepest.run import Curve
from steepest.techniques.stopping.early_stopping import EarlyStopping


def stops_at(values, figure="val_loss", patience=2):
    """The number of measurements after which it stops, or None."""
    rule = EarlyStopping(patience=patience, figure=figure)
    for count in range(len(values) + 1):
        if rule.should_stop(Curve({"step": n, figure: value} for n, value in enumerate(values[:count]))):
            return count
    return None


@pytest.mark.parametrize(
    ("values", "patience", "stop"),
    [
        ([], 1, None),
        ([1], 1, None),
        ([3, 2, 1], 1, None),
        ([1, 1], 1, 2),
        ([3, 2, 2.5, 2.4], 2, 4),
        ([3, 2, 2.5, 1.9, 2.0], 2, None),
        ([3, 2, 2.5, 1.9, 2.0, 1.9], 2, 6),
        ([1, 2, 3, 4], 3, 4),
        ([1, math.nan, math.nan], 2, 3),
        ([math.nan, 5, 4], 2, None),
    ],
)
def test_it_stops_when_the_loss_was_not_better_for_the_patience(values, patience, stop):
    assert stops_at(values, patience=patience) == stop


def test_an_accuracy_is_better_when_greater():
    assert stops_at([0.1, 0.2, 0.3, 0.4], "val_accuracy") is None
    assert stops_at([0.4, 0.3, 0.2], "val_accuracy") == 3


def test_the_reason_says_the_figure_its_best_value_and_the_wait():
    curve = Curve({"step": n, "val_loss": value} for n, value in enumerate([0.5, 0.25, 0.75, 1.0]))
    reason = EarlyStopping(patience=2).should_stop(curve)
    assert reason == "val_loss has not become better than 0.25 for 2 measurements"


def test_points_without_the_figure_do_not_count():
    curve = Curve([{"step": 0, "val_loss": 1.0}, *({"step": n, "train_loss": 1.0} for n in range(1, 9))])
    assert EarlyStopping(patience=1).should_stop(curve) is None
