"""SGD: against a loop over the formula, and both published forms of momentum."""

import numpy as np
import pytest
import torch
from torch import nn

from steepest.techniques.optimizers.sgd import sgd

RATES = [0.1, 0.1, 0.05, 0.2, 0.0, 0.1]


def gradient(w):
    """Of a bent valley, in NumPy or torch."""
    return 2 * w + w**3 - 1


def run(momentum, weight_decay, rates=RATES):
    weight = nn.Parameter(torch.tensor([1.5, -0.5], dtype=torch.float64))
    optimizer = sgd([("w", weight)], lr=0.1, momentum=momentum, weight_decay=weight_decay)
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = gradient(weight.detach())
        optimizer.step()
    return weight.detach().numpy()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_it_equals_a_loop_over_the_formula(momentum, weight_decay):
    w, v = np.array([1.5, -0.5]), np.zeros(2)
    for rate in RATES:
        v = momentum * v + gradient(w) + weight_decay * w
        w = w - rate * v
    np.testing.assert_allclose(run(momentum, weight_decay), w, rtol=1e-12)


def polyak(rates, momentum=0.9):
    w, v = np.array([1.5, -0.5]), np.zeros(2)
    for rate in rates:
        v = momentum * v - rate * gradient(w)
        w = w + v
    return w


def test_polyaks_form_is_the_same_while_the_rate_is_constant():
    np.testing.assert_allclose(run(0.9, 0.0, [0.05] * 8), polyak([0.05] * 8), rtol=1e-12)


def test_polyaks_form_differs_when_the_rate_changes():
    assert not np.allclose(run(0.9, 0.0), polyak(RATES))


def test_a_negative_rate_is_refused():
    with pytest.raises(ValueError, match="learning rate"):
        sgd([("w", nn.Parameter(torch.zeros(1)))], lr=-0.1)
