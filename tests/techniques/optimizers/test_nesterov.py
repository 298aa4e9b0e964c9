"""Nesterov's momentum: against a loop over the formula, and against Nesterov's own two sequences."""

import numpy as np
import pytest
import torch
from torch import nn

from steepest.techniques.optimizers.nesterov import nesterov
from steepest.techniques.optimizers.sgd import sgd

START = [1.5, -0.5]


def gradient(w):
    return 2 * w + w**3 - 1


def run(optimizer, rates, **settings):
    weight = nn.Parameter(torch.tensor(START, dtype=torch.float64))
    made = optimizer([("w", weight)], lr=0.1, **settings)
    for rate in rates:
        made.param_groups[0]["lr"] = rate
        weight.grad = gradient(weight.detach())
        made.step()
    return weight.detach().numpy()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_it_equals_a_loop_over_the_formula(momentum, weight_decay):
    rates = [0.1, 0.1, 0.05, 0.2, 0.0, 0.1]
    w, v = np.array(START), np.zeros(2)
    for rate in rates:
        g = gradient(w) + weight_decay * w
        v = momentum * v + g
        w = w - rate * (g + momentum * v)
    made = run(nesterov, rates, momentum=momentum, weight_decay=weight_decay)
    np.testing.assert_allclose(made, w, rtol=1e-12)


def test_the_weights_are_nesterovs_looked_ahead_points():
    rate, momentum = 0.05, 0.8
    x, v = np.array(START), np.zeros(2)
    for _ in range(6):
        v = momentum * v - rate * gradient(x + momentum * v)
        x = x + v
    np.testing.assert_allclose(run(nesterov, [rate] * 6, momentum=momentum), x + momentum * v, rtol=1e-12)


def test_momentum_zero_is_plain_sgd():
    assert np.array_equal(run(nesterov, [0.1] * 4, momentum=0.0), run(sgd, [0.1] * 4, momentum=0.0))


def test_it_is_not_heavy_ball_momentum():
    assert not np.allclose(run(nesterov, [0.1] * 4, momentum=0.9), run(sgd, [0.1] * 4, momentum=0.9))
