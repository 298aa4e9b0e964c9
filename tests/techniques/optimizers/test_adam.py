"""Adam and AdamW: against loops over their formulas; the two differ only by where the decay goes."""

import numpy as np
import pytest
import torch
from torch import nn

from steepest.techniques.optimizers.adam import adam
from steepest.techniques.optimizers.adamw import adamw

RATES = [0.1, 0.1, 0.05, 0.2, 0.0, 0.1]


def gradient(w):
    return 2 * w + w**3 - 1


def run(optimizer, **settings):
    weight = nn.Parameter(torch.tensor([1.5, -0.5], dtype=torch.float64))
    made = optimizer([("w", weight)], lr=0.1, **settings)
    for rate in RATES:
        made.param_groups[0]["lr"] = rate
        weight.grad = gradient(weight.detach())
        made.step()
    return weight.detach().numpy()


def slow(decoupled, weight_decay=0.0, beta1=0.9, beta2=0.999, eps=1e-8):
    w, m, v = np.array([1.5, -0.5]), 0.0, 0.0
    for t, rate in enumerate(RATES, 1):
        g = gradient(w)
        if decoupled:
            w = w - rate * weight_decay * w
        else:
            g = g + weight_decay * w
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        w = w - rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return w


@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1}, {"beta1": 0.5, "beta2": 0.9, "eps": 0.1}])
@pytest.mark.parametrize(("optimizer", "decoupled"), [(adam, False), (adamw, True)])
def test_it_equals_a_loop_over_the_formula(optimizer, decoupled, settings):
    np.testing.assert_allclose(run(optimizer, **settings), slow(decoupled, **settings), rtol=1e-10)


def test_without_decay_the_two_are_the_same_and_with_it_they_are_not():
    np.testing.assert_allclose(run(adam), run(adamw), rtol=1e-12)
    assert not np.allclose(run(adam, weight_decay=0.1), run(adamw, weight_decay=0.1))


def test_the_recipes_momentum_is_not_used():
    assert np.array_equal(run(adam, momentum=0.9), run(adam)) and np.array_equal(run(adamw, momentum=0.9), run(adamw))
