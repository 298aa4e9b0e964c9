"""Leaky ReLU: the formula, slopes at the ends and beyond."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from steepest.mistake import Mistake
from steepest.techniques.layers.leaky_relu import LeakyReLU, apply


def small():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 4), nn.GELU()), nn.Linear(4, 2))


@settings(max_examples=30, deadline=None)
@given(x=st.floats(-30, 30), slope=st.floats(0, 1))
def test_it_is_the_formula_at_every_number(x, slope):
    made = LeakyReLU(slope)(torch.tensor(x, dtype=torch.float64)).item()
    assert made == pytest.approx(x if x > 0 else slope * x, rel=1e-9, abs=1e-12)


def test_by_default_the_slope_is_the_published_one():
    model: Any = apply(small())
    assert LeakyReLU().negative_slope == model[1].negative_slope == 0.01


def test_a_slope_of_zero_is_relu_and_of_one_changes_nothing():
    x = torch.randn(50)
    assert torch.equal(LeakyReLU(0.0)(x), x.relu()) and torch.equal(LeakyReLU(1.0)(x), x)


@pytest.mark.parametrize("slope", [-0.1, 1.1, math.nan])
def test_a_slope_outside_zero_and_one_is_refused(slope):
    for make in (LeakyReLU, lambda slope: apply(small(), slope)):
        with pytest.raises(Mistake, match="slope"):
            make(slope)
