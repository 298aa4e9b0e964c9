"""Half convolution: which modules are marked, and that nothing else of the network changes."""

import pytest
import torch
from torch import nn

from steepest import kernels
from steepest.kernels.conv3x3 import Conv3x3
from steepest.mistake import Mistake
from steepest.techniques.layers.half_convolution import apply


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 2))


def test_the_3x3_convolutions_are_marked_and_all_else_stays():
    model = apply(network())
    assert [getattr(one, "half_products", False) for one in model.children()] == [False, True, False, False]
    images, plain = torch.randn(3, 2, 4, 4), network()
    assert torch.equal(model(images), plain(images)), "torch's own convolutions know nothing of it"
    assert all(torch.equal(one, plain.state_dict()[name]) for name, one in model.state_dict().items())


def test_the_compiled_convolution_knows_the_mark():
    compiled = kernels.apply(apply(network())).get_submodule("1")
    assert not Conv3x3.half_products and compiled.half_products


def test_a_network_without_such_a_convolution_is_refused():
    with pytest.raises(Mistake, match="Linear has no 3×3 convolution"):
        apply(nn.Linear(2, 2))
