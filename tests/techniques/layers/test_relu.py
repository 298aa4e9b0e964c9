"""ReLU: the formula, and its ends."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.techniques.layers.relu import ReLU


@settings(max_examples=30, deadline=None)
@given(x=st.floats(-30, 30))
def test_it_is_the_formula_at_every_number(x):
    made = ReLU()(torch.tensor(x, dtype=torch.float64)).item()
    assert made == pytest.approx(max(0.0, x), rel=1e-9, abs=1e-12)


def test_the_slope_is_one_above_zero_and_none_below_and_at_it():
    x = torch.tensor([-2.0, -0.0, 0.0, 3.0], requires_grad=True)
    ReLU()(x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0.0, 0.0, 0.0, 1.0]
