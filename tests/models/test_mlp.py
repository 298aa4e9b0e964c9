"""The multi-layer perceptron against matrix products, on points and on images."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from steepest import models
from steepest.mistake import Mistake

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


def sizes(net):
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    return [linear[0].in_features, *(layer.out_features for layer in linear)]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(2,), (3, 4, 5)])
def test_it_is_matrix_products_with_the_activation_between_them(activation, shape):
    torch.manual_seed(0)
    net = models.build("mlp", classes=3, shape=shape, hidden="7-6-5", activation=activation).double()
    given = torch.randn(4, *shape, dtype=torch.float64)
    parameters = [p.detach().numpy() for p in net.parameters()]
    x = given.numpy().reshape(4, -1)
    for layer in range(4):
        x = x @ parameters[2 * layer].T + parameters[2 * layer + 1]
        x = ACTIVATIONS[activation](x) if layer < 3 else x
    np.testing.assert_allclose(net(given).detach().numpy(), x, rtol=1e-10)


def test_the_documents_networks_have_their_sizes():
    assert sizes(models.build("mlp", classes=10, shape=(1, 28, 28))) == [784, 200, 100, 10]
    net = models.build("mlp", classes=1, shape=(100,), hidden="50-20", activation="sigmoid")
    assert sizes(net) == [100, 50, 20, 1]
    assert sum(isinstance(layer, nn.Sigmoid) for layer in net.modules()) == 2


def test_regression_on_points_gives_one_number_a_point():
    net = models.build("mlp", classes=1, shape=(2,), hidden="8")
    assert net(torch.zeros(5, 2)).shape == (5, 1)


def test_one_hidden_layer_may_be_given_as_a_number():
    assert sizes(models.build("mlp", classes=2, shape=(2,), hidden=12)) == [2, 12, 2]


@pytest.mark.parametrize(("width", "hidden"), [(200, [200, 100]), (50, [50, 25]), (1, [1, 1]), (300, [300, 150])])
def test_width_sets_the_first_layer_and_the_others_keep_their_proportion(width, hidden):
    net = models.build("mlp", classes=4, shape=(9,), width=width)
    assert sizes(net) == [9, *hidden, 4]


@pytest.mark.parametrize("hidden", ["", "200,100", "200-", "-5", "0", "20-0", "a", "2.5", "20 - 10", 0, -3])
def test_hidden_that_is_no_list_of_sizes_is_refused(hidden):
    with pytest.raises(Mistake, match="hidden of mlp is layer sizes such as '200-100', not"):
        models.build("mlp", classes=2, shape=(2,), hidden=hidden)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_residual_layer_adds_its_input_where_sizes_agree(activation):
    torch.manual_seed(0)
    net = models.build("mlp", classes=3, shape=(4,), hidden="4-6-6-5", activation=activation, residual=True).double()
    given = torch.randn(7, 4, dtype=torch.float64)
    parameters = [p.detach().numpy() for p in net.parameters()]
    x = given.numpy()
    for layer in range(5):
        y = x @ parameters[2 * layer].T + parameters[2 * layer + 1]
        y = ACTIVATIONS[activation](y) if layer < 4 else y
        x = y + x if layer in (0, 2) else y
    np.testing.assert_allclose(net(given).detach().numpy(), x, rtol=1e-10)


def test_batch_norm_stands_between_each_hidden_layer_and_its_activation():
    torch.manual_seed(0)
    net = models.build("mlp", classes=3, shape=(4,), hidden="4-6", residual=True, batch_norm=True).double()
    given = torch.randn(7, 4, dtype=torch.float64)
    first, weight, shift, second, *_ = [p.detach().numpy() for p in net.parameters()]
    assert (weight == 1).all() and (shift == 0).all()
    branch = given.numpy() @ first.T
    branch = np.maximum((branch - branch.mean(0)) / np.sqrt(branch.var(0) + 1e-5), 0)
    y = (given.numpy() + branch) @ second.T
    y = np.maximum((y - y.mean(0)) / np.sqrt(y.var(0) + 1e-5), 0)
    last = net[-1]
    np.testing.assert_allclose(net(given).detach().numpy(), last(torch.from_numpy(y)).detach().numpy(), rtol=1e-7)


def test_the_residual_changes_no_parameter():
    shapes = [
        [p.shape for p in models.build("mlp", classes=2, shape=(2,), hidden="2-2-2-2-2-2", residual=r).parameters()]
        for r in (True, False)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", ["1", "2", "3", "4-2", "2-2-2-2-2-2", "8-8-8-8-8-8"])
def test_the_playgrounds_networks_can_be_built(hidden, activation):
    net = models.build("mlp", classes=1, shape=(2,), hidden=hidden, activation=activation)
    assert sizes(net) == [2, *map(int, hidden.split("-")), 1]
    assert net(torch.zeros(3, 2)).shape == (3, 1)


def test_a_residual_without_a_layer_to_add_to_is_refused():
    with pytest.raises(Mistake, match="residual of mlp needs a hidden layer as large as its input, which hidden=4-2"):
        models.build("mlp", classes=2, shape=(2,), hidden="4-2", residual=True)


def test_the_notebooks_regression_network_computes_its_first_loss():
    # Printed in the notebook "Pitfalls in training": seed 7, 1000 samples of 100 features, one target for all of them
    torch.manual_seed(7)
    x = torch.randn(1000, 100)
    total = torch.sum(x[:, :50] / 10)
    net = models.build("mlp", classes=1, shape=(100,), hidden="50-20", activation="sigmoid")
    loss = (net(x) - (total**2 + total)).square().mean()
    assert loss.item() == pytest.approx(616232.8125, rel=1e-5)
