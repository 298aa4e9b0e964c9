"""Which trainings can be lanes: a reason in a sentence for each that cannot, and none for those that can."""

from __future__ import annotations

import numpy as np
import pytest

from steepest import data
from steepest.data.dataset import Dataset, Split
from steepest.experiments.lanes.suited import suits, wins
from steepest.experiments.lanes.train import _divided
from steepest.recipe import Recipe, Use
from steepest.train.request import Request

RECIPE = Recipe(model=Use("mlp", hidden="4-4"), batch_size=25)


@pytest.fixture(scope="module")
def circles():
    return data.load("circles", seed=0)


def images(count=4, side=8):
    """Images that take their memory only where they are looked at."""
    split = Split(np.broadcast_to(np.uint8(0), (count, side, side, 3)), np.arange(count) % 2)
    return Dataset("zeros", split, None, None, ("a", "b"), "")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use": ["dropout", "label_smoothing", "glorot", "tanh", "early_stopping"]},
        {"use": ["mse"], "optimizer": "adamw", "schedule": "one_cycle"},
        {"model": "mlp:hidden=8,batch_norm=true,activation=sigmoid", "micro_batch": 25},
    ],
)
def test_small_perceptrons_suit(changes, circles):
    assert suits(RECIPE.replace(**changes), circles) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"optimizer": "lars"}, "lanes are trained by sgd, nesterov, momentum, adam or adamw, not lars"),
        ({"optimizer": "adam:eps=0"}, "lanes need an eps above 0 in adam"),
        ({"schedule": "batch_growth"}, "the batches of lanes keep their size, which batch_growth changes"),
        ({"micro_batch": 5}, "lanes take their batches whole, not in parts of micro_batch 5"),
        ({"use": ["clip_norm"]}, "clip_norm is not among the techniques of lanes: dropout, "),
        ({"use": ["dropout", "ema"]}, "ema is not among the techniques of lanes"),
        ({"use": ["gelu"]}, "gelu is not among the techniques of lanes"),
        ({"use": ["weight_decay_l1"]}, "weight_decay_l1 is not among the techniques of lanes"),
    ],
)
def test_what_lanes_do_not_compute_is_a_reason(changes, reason, circles):
    assert (suits(RECIPE.replace(**changes), circles) or "").startswith(reason)


def test_other_networks_are_a_reason():
    recipe = RECIPE.replace(model="speedrun", batch_size=2)
    assert suits(recipe, images()) == "lanes are networks of the kind mlp, not speedrun"


def test_images_that_must_be_streamed_are_a_reason():
    recipe = RECIPE.replace(batch_size=2)
    assert suits(recipe, images()) is None
    reason = suits(recipe, images(count=6_000_000))
    assert reason == "lanes hold all images in memory, and 1,152,000,000 bytes are more than 1,073,741,824"
    assert suits(recipe.replace(resolution=10000 // 4), images(count=100)) is not None


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"time_s": 5.0}, "trainings with a time do not all take the same steps"),
        ({"target": 0.9}, "trainings with a target do not all take the same steps"),
        ({"device": "cuda"}, "lanes are computed by the CPU, and the device would be a GPU"),
    ],
)
def test_what_the_request_rules_out_is_a_reason(request_, reason, circles):
    assert suits(RECIPE, circles, Request(**request_)) == reason


def test_a_mistake_that_a_training_would_be_refused_for_is_the_reason(circles):
    reason = suits(RECIPE.replace(batch_size=1000), circles, Request(chosen=("batch_size",)))
    assert reason == "batch_size 1000 is larger than the data: circles has 225 training images"


def test_lanes_win_with_small_networks_and_only_where_they_suit(circles, monkeypatch):
    assert wins(RECIPE, circles, 2)
    assert not wins(RECIPE, circles, 1)
    assert not wins(RECIPE.replace(optimizer="lars"), circles, 100)
    large = RECIPE.replace(model="mlp:hidden=2048-2048-2048")
    assert suits(large, circles) is None and not wins(large, circles, 100)
    monkeypatch.setenv("STEEPEST_KERNELS", "off")
    assert wins(RECIPE, circles, 64) and not wins(RECIPE, circles, 2)


@pytest.mark.parametrize("count", [1, 2, 5, 16, 17, 1000])
@pytest.mark.parametrize("parameters", [50, 25_450, 10_000_000])
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_blocks_have_every_lane_once_and_about_as_many_each(count, parameters, workers):
    places = [3 * number for number in range(count)]
    blocks = list(_divided(places, parameters, 0, workers))
    assert [place for block in blocks for place in block] == places
    sizes = [len(block) for block in blocks]
    assert max(sizes) - min(sizes) <= 1
    if workers:
        assert len(blocks) % workers == 0 or len(blocks) == count
        assert 8 * parameters * max(sizes) <= 1 << 20 or max(sizes) == 1
