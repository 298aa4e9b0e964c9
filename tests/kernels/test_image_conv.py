"""A frozen first layer gives what PyTorch's operators give, and steps aside where a gradient is wanted."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steepest import kernels, models
from steepest.kernels import eager, library
from steepest.kernels.activation import torchs
from steepest.kernels.image_conv import image_conv
from steepest.techniques.layers import half_convolution
from steepest.techniques.layers.whiten_conv import WhitenConv2d

GELU, KINDS = (3, 0.0), [(0, 0.0), (1, 0.0), (3, 0.0), (6, 0.075)]

pytestmark = pytest.mark.skipif(library.library() is None, reason="no compiled kernels here")


@pytest.mark.parametrize("outputs", [1, 8, 17, 24, 32, 70])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 3, 16])
def test_it_is_the_exact_convolution_and_activation(outputs, size, channels):
    for high, wide in ((size, size), (4, 9), (13, 32)):
        x = torch.randn(3, channels, high, wide)
        weight, bias = torch.randn(outputs, channels, size, size), torch.randn(outputs)
        for kind in KINDS:
            exact = torchs(F.conv2d(x.double(), weight.double(), bias.double()), kind)
            y = image_conv(x, weight, bias, kind)
            assert y.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(y.double(), exact, atol=5e-5, rtol=1e-5)
        without = F.conv2d(x.double(), weight.double())
        torch.testing.assert_close(image_conv(x, weight, None, (0, 0.0)).double(), without, atol=5e-5, rtol=1e-5)


def test_any_number_of_threads_gives_the_same_bits():
    x, weight, before = torch.randn(9, 3, 32, 31), torch.randn(24, 3, 2, 2), torch.get_num_threads()
    made = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            made.append(image_conv(x, weight, None, GELU))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(made[0], made[1]) and torch.equal(made[0], made[2])


@pytest.mark.skipif(not eager.halves(), reason="a processor or a compiler without half precision")
def test_its_maps_can_be_bfloat16_for_convolutions_in_half_precision():
    x, weight, bias = torch.randn(3, 3, 9, 8), torch.randn(24, 3, 2, 2), torch.randn(24)
    narrow = image_conv(x, weight, bias, GELU, narrow=True)
    assert torch.equal(narrow, image_conv(x, weight, bias, GELU).bfloat16())
    net = kernels.apply(half_convolution.apply(models.build("speedrun", classes=10, shape=(3, 32, 32), width=8)))
    given = []
    net.group1.conv1.register_forward_pre_hook(lambda module, args: given.append(args[0].dtype))
    for training in (True, False):
        net.train(training)(torch.randn(2, 3, 32, 32))
    assert given == [torch.float32] * 2, "its bias still learns, or nothing is trained"
    net.train().whiten.progress = 1.0
    net(torch.randn(2, 3, 32, 32))
    assert given[2] == torch.bfloat16


@pytest.fixture
def nets():
    whiten = WhitenConv2d(3, bias_until=0.5)
    nn.init.normal_(whiten.bias)
    theirs = nn.Sequential(whiten, nn.GELU(), nn.Flatten(), nn.Linear(24 * 9, 2))
    return kernels.apply(copy.deepcopy(theirs)), theirs


@pytest.fixture
def called(counting):
    return counting("image_conv")


def test_it_serves_where_nothing_wants_a_gradient(nets, called):
    ours, theirs = nets
    x = torch.randn(5, 3, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    assert called == ["steepest_image_conv"]
    for net in nets:
        net[0].progress = 0.5
        net(x).square().sum().backward()
    assert len(called) == 2
    torch.testing.assert_close(ours[3].weight.grad, theirs[3].weight.grad, atol=1e-4, rtol=1e-4)
    assert ours[0].bias.grad is None


def test_torch_does_it_while_the_bias_or_the_images_take_a_gradient(nets, called):
    ours, theirs = nets
    x = torch.randn(5, 3, 4, 4)
    for net in nets:
        net(x).square().sum().backward()
    torch.testing.assert_close(ours[0].bias.grad, theirs[0].bias.grad, atol=1e-4, rtol=1e-4)
    ours[0].progress = 1.0
    ours(x.requires_grad_()).sum().backward()
    assert x.grad is not None and not called


def test_hooks_and_half_precision_see_what_torch_computes(nets, called):
    ours, theirs = nets
    seen = []
    hook = ours[0].register_forward_hook(lambda module, given, made: seen.append(made))
    with torch.no_grad():
        x = torch.randn(5, 3, 4, 4)
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(seen[0], theirs[0](x))
        hook.remove()
        ours.double()(x.double())
    assert not called


def test_an_image_that_is_too_small_is_told_by_torch(nets):
    with torch.no_grad(), pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        nets[0](torch.randn(1, 3, 1, 1))
