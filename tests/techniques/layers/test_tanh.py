"""Tanh: the formula, and its ends."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.techniques.layers.tanh import Tanh


@settings(max_examples=30, deadline=None)
@given(x=st.floats(-30, 30))
def test_it_is_the_formula_at_every_number(x):
    made = Tanh()(torch.tensor(x, dtype=torch.float64)).item()
    assert made == pytest.approx((math.exp(x) - math.exp(-x)) / (math.exp(x) + math.exp(-x)), rel=1e-9, abs=1e-12)


def test_it_is_odd_and_flat_far_out():
    x = torch.linspace(-20, 20, 41)
    assert torch.equal(Tanh()(x), -Tanh()(-x)) and Tanh()(x)[-1] == 1.0
