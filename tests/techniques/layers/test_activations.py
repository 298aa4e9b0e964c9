"""The activations: each is PyTorch's own, takes the place of every other one, and leaves what it is given."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from steepest.mistake import Mistake
from steepest.techniques.layers import celu, gelu, leaky_relu, relu, sigmoid, tanh

Apply = Callable[[nn.Module], Any]
ACTIVATIONS: dict[str, tuple[Apply, type[nn.Module], nn.Module]] = {
    "celu": (partial(celu.apply, alpha=0.075), celu.CELU, nn.CELU(0.075)),
    "gelu": (partial(gelu.apply, approximate="tanh"), gelu.GELU, nn.GELU("tanh")),
    "leaky_relu": (partial(leaky_relu.apply, slope=0.2), leaky_relu.LeakyReLU, nn.LeakyReLU(0.2)),
    "relu": (relu.apply, relu.ReLU, nn.ReLU()),
    "sigmoid": (sigmoid.apply, sigmoid.Sigmoid, nn.Sigmoid()),
    "tanh": (tanh.apply, tanh.Tanh, nn.Tanh()),
}
"""How it is put in, its class, and PyTorch's own."""
each = pytest.mark.parametrize(("apply", "ours", "torchs"), ACTIVATIONS.values(), ids=ACTIVATIONS.keys())


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 9), nn.ReLU(), nn.Sequential(nn.Linear(9, 9), nn.GELU()), nn.Linear(9, 2))


@each
def test_forward_and_backward_are_torchs_over_several_steps(
    apply: Apply, ours: type[nn.Module], torchs: nn.Module
) -> None:
    torch.manual_seed(0)
    model = apply(small())
    twin = copy.deepcopy(model)
    twin[1] = twin[2][1] = torchs
    begun = copy.deepcopy(model)
    for _ in range(3):
        x = torch.randn(5, 3)
        for one in (model, twin):
            optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
            optimizer.zero_grad()
            (one(x) - x[:, :2]).square().sum().backward()
            optimizer.step()
    for weights, theirs, first in zip(model.parameters(), twin.parameters(), begun.parameters(), strict=True):
        assert torch.equal(weights, theirs) and not torch.equal(weights, first)


@each
def test_every_activation_is_replaced_and_nothing_else(apply: Apply, ours: type[nn.Module], torchs: nn.Module) -> None:
    model = apply(small())
    found = [type(module) for module in model.modules() if not list(module.children())]
    assert found == [nn.Linear, ours, nn.Linear, ours, nn.Linear]
    assert set(model.state_dict()) == set(small().state_dict())


@each
def test_the_input_is_left_as_it_is(apply: Apply, ours: type[nn.Module], torchs: nn.Module) -> None:
    x = torch.tensor([-1.0, 0.0, 2.0])
    apply(small())[1](x)
    assert x.tolist() == [-1.0, 0.0, 2.0]


@each
def test_a_network_without_activations_is_refused(apply: Apply, ours: type[nn.Module], torchs: nn.Module) -> None:
    with pytest.raises(Mistake, match="Linear has no activation"):
        apply(nn.Linear(2, 2))
