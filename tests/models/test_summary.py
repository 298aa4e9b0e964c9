"""The summary's counts against counts by hand, and that it leaves the network as it was."""

import pytest
import torch
from torch import nn

from steepest import models
from steepest.models.summary import summary


def test_the_lab_cnn_counts_as_by_hand():
    found = summary(models.build("lab_cnn", classes=10, shape=(3, 32, 32)), (3, 32, 32))
    params = {
        "conv1": 32 * 3 * 25 + 32,
        "conv2": 64 * 32 * 25 + 64,
        "linear1": 1024 * 64 * 8 * 8 + 1024,
        "linear2": 10 * 1024 + 10,
    }
    flops = {
        "conv1": 2 * 32 * 32 * 32 * 3 * 25,
        "conv2": 2 * 16 * 16 * 64 * 32 * 25,
        "linear1": 2 * 1024 * 64 * 8 * 8,
        "linear2": 2 * 10 * 1024,
    }
    assert {row.name: row.params for row in found.rows if row.params} == params
    assert {row.name: row.flops for row in found.rows if row.flops} == flops
    assert found.params == found.trainable == sum(params.values())
    assert found.frozen == 0
    assert found.flops_per_image == sum(flops.values())


def test_the_rows_are_the_layers_in_the_order_in_which_they_run():
    found = summary(models.build("lab_cnn", classes=10, shape=(1, 8, 8)), (1, 8, 8))
    assert [(row.kind, row.output) for row in found.rows] == [
        ("Conv2d", (32, 8, 8)),
        ("ReLU", (32, 8, 8)),
        ("MaxPool2d", (32, 4, 4)),
        ("Conv2d", (64, 4, 4)),
        ("ReLU", (64, 4, 4)),
        ("MaxPool2d", (64, 2, 2)),
        ("Linear", (1024,)),
        ("ReLU", (1024,)),
        ("Linear", (10,)),
    ]


def test_a_perceptron_on_points_counts_as_by_hand():
    found = summary(models.build("mlp", classes=1, shape=(100,), hidden="50-20"), (100,))
    assert found.params == 100 * 50 + 50 + 50 * 20 + 20 + 20 + 1
    assert found.flops_per_image == 2 * (100 * 50 + 50 * 20 + 20)


def test_frozen_parameters_are_counted_apart():
    found = summary(models.build("speedrun", classes=10, shape=(3, 32, 32)), (3, 32, 32))
    norms = 2 * 64 + 4 * 256
    assert found.frozen == 24 * 3 * 2 * 2 + norms
    assert found.trainable == found.params - found.frozen
    assert found.rows[0].kind == "WhitenConv2d"
    assert found.rows[0].flops == 2 * 31 * 31 * 24 * 3 * 4


@pytest.mark.parametrize("name", models.NAMES)
def test_the_rows_add_up_to_the_totals(name):
    found = summary(models.build(name, classes=10, shape=(3, 32, 32)), (3, 32, 32))
    assert sum(row.params for row in found.rows) == found.params
    assert sum(row.flops for row in found.rows) == found.flops_per_image


def test_a_layer_that_runs_twice_has_its_parameters_once_and_its_work_twice():
    layer = nn.Linear(3, 3)
    found = summary(nn.Sequential(layer, layer), (3,))
    assert [row.params for row in found.rows] == [12, 0]
    assert [row.flops for row in found.rows] == [18, 18]
    assert (found.params, found.flops_per_image) == (12, 36)


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(name, training):
    net = models.build(name, classes=10, shape=(3, 16, 16), width=8).train(training)
    net.get_submodule(next(key for key, _ in net.named_modules() if key)).train(not training)
    modes = [module.training for module in net.modules()]
    state = {key: value.clone() for key, value in net.state_dict().items()}
    random = torch.get_rng_state()
    summary(net, (3, 16, 16))
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_failed_run_leaves_the_modes_and_no_hooks():
    net = models.build("lab_cnn", classes=10, shape=(3, 32, 32))
    with pytest.raises(RuntimeError):
        summary(net, (3, 16, 16))
    assert all(module.training for module in net.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_a_double_precision_network_is_summed_up_too():
    net = models.build("basic_cnn", classes=10, shape=(3, 32, 32))
    assert summary(net.double(), (3, 32, 32)) == summary(net.float(), (3, 32, 32))
