"""GELU: the formula, its approximation, and what it refuses."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from steepest.mistake import Mistake
from steepest.techniques.layers.gelu import GELU, apply


def small():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 4), nn.GELU()), nn.Linear(4, 2))


@settings(max_examples=30, deadline=None)
@given(x=st.floats(-30, 30), approximate=st.just("none"))
def test_it_is_the_formula_at_every_number(x, approximate):
    made = GELU(approximate)(torch.tensor(x, dtype=torch.float64)).item()
    assert made == pytest.approx(x * (1 + math.erf(x / math.sqrt(2))) / 2, rel=1e-9, abs=1e-12)


def test_the_approximation_is_its_formula_and_near():
    x = torch.linspace(-6, 6, 500, dtype=torch.float64)
    cubic = 0.5 * x * (1 + (math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)).tanh())
    torch.testing.assert_close(GELU("tanh")(x), cubic)
    difference = (GELU("tanh")(x) - GELU()(x)).abs().max()
    assert 1e-5 < difference < 5e-4


@pytest.mark.parametrize("approximate", ["", "sigmoid"])
def test_an_unknown_approximation_is_refused(approximate):
    for make in (GELU, lambda approximate: apply(small(), approximate)):
        with pytest.raises(Mistake, match="approximate"):
            make(approximate)
