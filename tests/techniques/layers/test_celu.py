"""CELU: the formula, its limits, and what it refuses."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from steepest.mistake import Mistake
from steepest.techniques.layers.celu import CELU, apply


def small():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 4), nn.GELU()), nn.Linear(4, 2))


@settings(max_examples=30, deadline=None)
@given(x=st.floats(-30, 30), alpha=st.floats(0.05, 10))
def test_it_is_the_formula_at_every_number(x, alpha):
    made = CELU(alpha)(torch.tensor(x, dtype=torch.float64)).item()
    assert made == pytest.approx(max(0.0, x) + min(0.0, alpha * math.expm1(x / alpha)), rel=1e-9, abs=1e-12)


def test_a_small_alpha_is_nearly_relu_and_the_slope_at_zero_is_one():
    x = torch.randn(50)
    torch.testing.assert_close(CELU(1e-6)(x), x.relu(), atol=1e-6, rtol=0)
    zero = torch.zeros(1, requires_grad=True)
    CELU()(zero).backward()
    assert zero.grad is not None and zero.grad.item() == 1.0


def test_by_default_it_is_the_one_of_the_script_of_the_26_second_recipe():
    model: Any = apply(small())
    assert CELU().alpha == model[1].alpha == 0.3
    assert CELU()(torch.tensor(-50.0)).item() == pytest.approx(-0.3)


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.inf, math.nan])
def test_an_alpha_that_is_not_above_zero_is_refused(alpha):
    for make in (CELU, lambda alpha: apply(small(), alpha)):
        with pytest.raises(Mistake, match="alpha"):
            make(alpha)
