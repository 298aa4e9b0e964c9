"""Sigmoid: the formula, and its ends."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.techniques.layers.sigmoid import Sigmoid


@settings(max_examples=30, deadline=None)
@given(x=st.floats(-30, 30))
def test_it_is_the_formula_at_every_number(x):
    made = Sigmoid()(torch.tensor(x, dtype=torch.float64)).item()
    assert made == pytest.approx(1 / (1 + math.exp(-x)), rel=1e-9, abs=1e-12)


def test_far_out_it_is_zero_or_one_and_its_gradient_finite():
    x = torch.tensor([-1e4, 1e4], requires_grad=True)
    y = Sigmoid()(x)
    y.sum().backward()
    assert y.tolist() == [0.0, 1.0] and x.grad is not None and x.grad.tolist() == [0.0, 0.0]
