"""Lanes against the trainings by themselves: the same losses, figures and weights, whatever else is trained beside."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
import torch

from steepest import data
from steepest.data.dataset import Dataset, Split, fingerprint
from steepest.experiments.lanes.net import floats
from steepest.experiments.lanes.train import finished, train
from steepest.kernels.library import library
from steepest.mistake import Failure, Mistake
from steepest.recipe import Recipe, Use
from steepest.train.adapt import adapt
from steepest.train.build import build
from steepest.train.loop import fit
from steepest.train.pace import BySteps
from steepest.train.request import Request
from steepest.train.watch import Blind

RECIPE = Recipe(model=Use.parse("mlp:hidden=4-4,activation=tanh"), epochs=2, batch_size=25, lr=0.05)
OPTIMIZERS = {
    "sgd": {"optimizer": "sgd"},
    "heavy ball": {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    "nesterov": {"optimizer": "nesterov", "momentum": 0.8, "weight_decay": 0.1},
    "nesterov without momentum": {"optimizer": "nesterov"},
    "rate inside": {"optimizer": "momentum", "momentum": 0.9, "weight_decay": 0.02},
    "rate outside": {"optimizer": "momentum:form=outside", "momentum": 0.5},
    "adam": {"optimizer": "adam:beta1=0.8,eps=1e-4", "lr": 0.01, "weight_decay": 0.01},
    "adamw": {"optimizer": "adamw:beta2=0.99", "lr": 0.01, "weight_decay": 0.1},
}
NETS = {
    "tanh": "mlp:hidden=4-4,activation=tanh",
    "relu": "mlp:hidden=19-33",
    "sigmoid": "mlp:hidden=3,activation=sigmoid",
    "residual": "mlp:hidden=2-2-5-5-1,residual=true,activation=tanh",
    "norm": "mlp:hidden=20-3,batch_norm=true",
    "residual with norm": "mlp:hidden=2-2-2,residual=true,batch_norm=true",
}
CASES = [
    *((NETS["tanh"], changes) for changes in OPTIMIZERS.values()),
    *((net, OPTIMIZERS[name]) for net in NETS.values() for name in ("heavy ball", "adam")),
]


@pytest.fixture(autouse=True, params=["compiled", "plain"])
def way(request, monkeypatch):
    """Both ways to compute lanes."""
    if request.param == "plain":
        monkeypatch.setenv("STEEPEST_KERNELS", "off")
    elif library() is None:
        pytest.skip("no compiled kernels here")
    torch.set_num_threads(1)
    return request.param


@pytest.fixture(scope="module")
def circles():
    return data.load("circles", seed=0)


def alone(recipe, request, dataset):
    """The training by itself: its curve, its weights, and the sentence of its failure."""
    recipe, _ = adapt(recipe, dataset, request)
    training = build(recipe, dataset, request.seed, torch.device("cpu"))
    try:
        fit(training, BySteps(training.steps), Blind())
    except Failure as failure:
        return training.curve, {}, str(failure)
    return training.curve, floats(training.model), None


def same(asked, dataset, tolerance=2e-6, **options):
    """Checks lanes against their trainings, and gives them."""
    lanes = train(asked, dataset, **options)
    for (recipe, request), lane in zip(asked, lanes, strict=True):
        curve, weights, problem = alone(recipe, request, dataset)
        assert lane.problem == problem
        assert [point.keys() for point in lane.curve] == [point.keys() for point in curve]
        for mine, wanted in zip(lane.curve, curve, strict=True):
            assert mine == pytest.approx(wanted, abs=tolerance, rel=tolerance)
        assert lane.state.keys() == weights.keys()
        for name, value in weights.items():
            torch.testing.assert_close(
                lane.state[name],
                value,
                atol=tolerance,
                rtol=tolerance,
            )
        for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy") if problem is None else ():
            assert lane.figures[name] == lane.curve.last(name)
    return lanes


def recipes(**axes):
    """A recipe for each combination of settings."""
    return [RECIPE.replace(**dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values())]


@pytest.mark.parametrize(("net", "changes"), CASES)
def test_each_lane_is_its_training_by_itself(net, changes, circles):
    asked = [
        (RECIPE.replace(model=net, **{**changes, "lr": lr}), Request(seed=seed))
        for lr in (0.002, 0.02)
        for seed in (0, 1)
    ]
    same(asked, circles)


def test_lanes_of_one_block_have_settings_of_their_own(circles):
    axes = {"lr": (0.01, 0.1), "momentum": (0.0, 0.9), "weight_decay": (0.0, 0.1), "schedule": ("cosine", "one_cycle")}
    asked = [(recipe, Request(seed=0)) for recipe in recipes(**axes)]
    asked += [(RECIPE.replace(use=[init]), Request(seed=0)) for init in ("glorot", "he:mode=fan_out", "orthogonal")]
    same(asked, circles)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "momentum", "adam"])
def test_a_schedule_sets_the_momentum_as_well(optimizer, circles):
    same(
        [(RECIPE.replace(optimizer=optimizer, lr=0.01, schedule="one_cycle"), Request(seed=s)) for s in (0, 1)], circles
    )


@pytest.mark.parametrize("net", ["mlp:hidden=6-20", "mlp:hidden=2-2-2-3,residual=true,activation=tanh", NETS["norm"]])
@pytest.mark.parametrize("scaling", ["training", "test"])
def test_dropout_keeps_the_units_that_the_training_by_itself_keeps(net, scaling, circles):
    uses = [[f"dropout:drop_prob={share},scaling={scaling}"] for share in (0.2, 0.6)]
    same([(RECIPE.replace(model=net, use=use), Request(seed=s)) for use in uses for s in (0, 1)], circles)


@pytest.mark.parametrize("loss", ["cross_entropy", "label_smoothing:smoothing=0.3", "mse"])
def test_each_loss_is_that_of_the_training_by_itself(loss, circles):
    same([(RECIPE.replace(use=[loss]), Request(seed=1))], circles)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_an_activation_may_be_put_in_by_a_technique(activation, circles):
    same([(RECIPE.replace(use=[activation, "dropout:drop_prob=0.1"]), Request())], circles)


def test_a_regression_has_the_squared_error_and_no_accuracy():
    (lane,) = same([(RECIPE, Request())], data.load("reg_plane", seed=0))
    assert lane.figures["val_accuracy"] is None and lane.figures["val_loss"] is not None


def colours(count=90):
    rng = np.random.default_rng(0)
    targets = np.arange(count) % 3
    images = rng.integers(0, 160, (count, 3, 5, 3)) + 40 * np.eye(3, dtype=int)[targets][:, None, None]
    split = Split(images.astype(np.uint8), targets)
    return Dataset("colours", split, None, split, ("r", "g", "b"), fingerprint(("r", "g", "b"), split))


@pytest.mark.parametrize("resolution", [None, 6])
def test_images_are_normalised_and_flattened_as_they_are_alone(resolution):
    recipe = RECIPE.replace(model="mlp:hidden=17", resolution=resolution, batch_size=16)
    same([(recipe.replace(lr=lr), Request(seed=s)) for lr in (0.01, 0.1) for s in (0, 1)], colours())


def test_the_digits_train_in_lanes():
    recipe = RECIPE.replace(model="mlp:hidden=32", batch_size=32, epochs=1, momentum=0.9)
    lanes = same([(recipe.replace(lr=lr), Request()) for lr in (0.01, 0.1)], data.load("digits"), tolerance=1e-5)
    assert all(lane.figures["val_accuracy"] > 0.6 for lane in lanes)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 1.6},
        {"epochs": 0.1},
        {"epochs": 0.5, "min_steps": 20},
        {"val_fraction": 0.0},
        {"batch_size": 1},
        {"batch_size": 225},
        {"batch_size": 224},
    ],
)
def test_points_of_the_curve_come_where_they_come_alone(changes, circles):
    same([(RECIPE.replace(**changes), Request(seed=2))], circles)


def test_spans_join_without_a_seam(circles, monkeypatch):
    """Work so little at once that each epoch is a span of its own."""
    recipe = RECIPE.replace(epochs=3.5, optimizer="adam", lr=0.01, schedule="cosine", use=["dropout:drop_prob=0.2"])
    whole = train([(recipe, Request())], circles)
    monkeypatch.setattr("steepest.experiments.lanes.block.WORK", 1.0)
    (lane,) = same([(recipe, Request())], circles)
    assert len(lane.curve) == 4
    assert lane.curve == whole[0].curve


def test_a_dead_lane_is_told_with_the_sentence_of_its_training(circles):
    asked = [(RECIPE.replace(lr=lr, model="mlp:hidden=8"), Request(seed=s)) for lr in (0.05, 1e12) for s in (0, 1)]
    lanes = same(asked, circles)
    assert [lane.problem is not None for lane in lanes] == [False, False, True, True]
    assert "learning rate 1e+12: try --set lr=1e+11" in (lanes[2].problem or "")
    assert lanes[2].figures == {} and lanes[2].state == {}


def test_a_lane_that_dies_after_some_epochs_keeps_its_curve_so_far(circles):
    """The rate is harmless for two epochs, then far too high."""
    recipe = RECIPE.replace(epochs=4, schedule="piecewise_linear:points=0:1 0.5:1 0.51:1e30 1:1e30")
    (lane,) = same([(recipe.replace(model="mlp:hidden=8"), Request())], circles)
    assert lane.problem is not None and len(lane.curve) == 2


def test_a_validation_loss_that_is_no_number_ends_a_lane_too(circles):
    """With one step, training ends before it can see what the step has done."""
    recipe = RECIPE.replace(model="mlp:hidden=8", lr=1e12, weight_decay=1e12, epochs=0.01)
    (lane,) = same([(recipe, Request())], circles)
    assert "the validation loss became" in (lane.problem or "")


def test_lanes_do_not_feel_each_other(circles):
    """Dead ones are dropped and the rest packed: not a bit changes, in whatever order and company."""
    axes = {"lr": (0.01, 0.05, 1e12, 0.1, 1e11, 0.2), "momentum": (0.0, 0.9), "model": ("mlp:hidden=8",)}
    asked = [(recipe, Request(seed=1)) for recipe in recipes(**axes)]
    lanes = train(asked, circles)
    assert 0 < sum(lane.problem is not None for lane in lanes) < len(lanes)
    order = np.random.default_rng(0).permutation(len(asked))
    others = train([asked[place] for place in order], circles)
    for lane, other in zip([lanes[place] for place in order], others, strict=True):
        alike(lane, other)


def test_threads_do_not_change_a_bit(circles, way):
    asked = [(RECIPE.replace(lr=lr), Request(seed=seed)) for lr in (0.01, 0.02, 0.03) for seed in range(4)]
    for one, two in zip(train(asked, circles, threads=1), train(asked, circles, threads=3), strict=True):
        alike(one, two, exactly=way == "compiled")


def alike(lane, other, exactly=True):
    """PyTorch's products add up in an order that hangs on their size: plain lanes are equal but for the rounding."""
    assert lane.problem == other.problem
    near = 0 if exactly and library() is not None else 1e-6
    assert [pytest.approx(point, abs=near) for point in lane.curve] == other.curve
    for name, value in lane.state.items():
        torch.testing.assert_close(value, other.state[name], atol=near, rtol=near)


def test_a_stopping_technique_ends_a_lane_where_it_ends_alone(circles):
    recipe = RECIPE.replace(epochs=30, use=["early_stopping:patience=2"], lr=0.2)
    lanes = same([(recipe.replace(lr=lr), Request(seed=s)) for lr in (0.01, 0.5) for s in (0, 1)], circles)
    assert len({lane.figures["epochs"] for lane in lanes}) > 1


def test_trainings_may_differ_in_anything(circles):
    asked = [
        (RECIPE, Request()),
        (RECIPE.replace(model="mlp:hidden=7"), Request()),
        (RECIPE.replace(batch_size=30), Request(seed=5)),
        (RECIPE.replace(use=["mse"]), Request()),
        (RECIPE.replace(use=["dropout"]), Request()),
        (RECIPE.replace(epochs=1, optimizer="adam", val_fraction=0.3), Request()),
    ]
    same(asked, circles)


def test_lanes_come_as_they_end_until_there_are_enough(circles):
    asked = [(RECIPE, Request(seed=seed)) for seed in range(6)]
    seen: list[int] = []
    for place, _ in finished(asked, circles, threads=1, should_stop=lambda: len(seen) >= 2):
        seen.append(place)
    assert 2 <= len(seen) <= 6 and len(set(seen)) == len(seen)
    endless = [(recipe.replace(epochs=1e6), request) for recipe, request in asked]
    assert list(finished(endless, circles, threads=2, should_stop=lambda: True)) == []


def test_whoever_looks_away_leaves_no_thread_behind(circles):
    torch.set_num_threads(2)
    before = threading.active_count()
    for _ in finished([(RECIPE, Request(seed=seed)) for seed in range(6)], circles, threads=2):
        break
    assert threading.active_count() == before
    assert torch.get_num_threads() == 2


def test_no_random_state_is_touched(circles):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    train([(RECIPE.replace(use=["dropout"]), Request())], circles)
    assert torch.equal(before, torch.get_rng_state())


def test_what_does_not_suit_is_refused_before_any_is_begun(circles):
    with pytest.raises(Mistake, match=r"lanes are trained by .* not lars"):
        train([(RECIPE, Request()), (RECIPE.replace(optimizer="lars"), Request())], circles)


def test_a_block_without_memory_is_told(circles, monkeypatch):
    def fail(*given):
        raise MemoryError("no memory for the work")

    monkeypatch.setattr("steepest.experiments.lanes.block.Block._span", fail)
    with pytest.raises(MemoryError):
        train([(RECIPE, Request())], circles)


def test_nothing_asked_for_gives_no_lanes(circles):
    assert train([], circles) == []
