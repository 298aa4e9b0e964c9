"""Clipping by norm: against the formula, and that short gradients are left as they are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from steepest.techniques.gradients.clip_norm import clip_norm


def parameters(*gradients):
    made = []
    for gradient in gradients:
        made.append(nn.Parameter(torch.zeros(len(gradient or [0]))))
        made[-1].grad = None if gradient is None else torch.tensor(gradient)
    return made


def clip(given_parameters, max_norm):
    clip_norm(iter(given_parameters), progress=0.0, generator=torch.Generator(), max_norm=max_norm)
    return given_parameters


numbers = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=5)


@given(one=numbers, other=numbers, max_norm=st.floats(0.01, 100))
@settings(max_examples=80, deadline=None)
def test_it_shortens_to_the_greatest_length_and_keeps_the_direction(one, other, max_norm):
    before = torch.tensor(one + other).double()
    after = torch.cat([p.grad for p in clip(parameters(one, other), max_norm)]).double()
    slow = before * min(1, max_norm / (before.norm().item() + 1e-6))
    torch.testing.assert_close(after, slow, rtol=1e-5, atol=1e-6)
    assert after.norm() <= max_norm * (1 + 1e-5)


def test_the_length_is_that_of_all_gradients_together():
    one, other = clip(parameters([3.0], [4.0]), 1.0)
    assert one.grad.item() == pytest.approx(0.6) and other.grad.item() == pytest.approx(0.8)


def test_a_gradient_within_the_limit_keeps_every_bit():
    (one,) = clip(parameters([0.1, -0.7]), 1.0)
    assert torch.equal(one.grad, torch.tensor([0.1, -0.7]))


def test_weights_without_a_gradient_are_skipped():
    one, other = clip(parameters([30.0], None), 1.0)
    assert other.grad is None and one.grad.item() == pytest.approx(1.0)
