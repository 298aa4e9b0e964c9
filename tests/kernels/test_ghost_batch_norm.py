"""Ghost batch norm and the activation behind it, compiled, give what the technique gives, running statistics too."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from steepest import kernels
from steepest.kernels import library
from steepest.techniques.layers.ghost_batch_norm import GhostBatchNorm2d

pytestmark = pytest.mark.skipif(library.library() is None, reason="no compiled kernels here")


def nets(**settings):
    theirs = nn.Sequential(nn.Conv2d(3, 24, 1), GhostBatchNorm2d(24, size=8, **settings), nn.GELU())
    return kernels.apply(copy.deepcopy(theirs)), theirs


def maps(*shape):
    return torch.randn(*shape).contiguous(memory_format=torch.channels_last)


@pytest.fixture
def called(counting):
    return counting("batch_norm", "activation")


@pytest.mark.parametrize("images", [5, 8, 16, 27])
@pytest.mark.parametrize(
    "settings", [{}, {"affine": False}, {"track_running_stats": False}, {"momentum": None}], ids=str
)
def test_parts_are_normalised_and_activated_in_one_call_each_way(images, settings, called):
    ours, theirs = nets(**settings)
    x = maps(images, 3, 5, 4) + 3
    for _ in range(2):
        made, exact = ours(x), theirs(x)
        torch.testing.assert_close(made, exact, atol=2e-5, rtol=1e-5)
        dy = torch.randn(*made.shape)
        made.backward(dy)
        exact.backward(dy)
    parts = max(1, images // 8)
    assert called == (["steepest_norm"] * parts + ["steepest_norm_backward"] * parts) * 2
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-3, rtol=1e-3)
    for (name, one), other in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5, msg=name)


def test_in_evaluation_the_running_statistics_serve(called):
    ours, theirs = nets()
    for net in (ours, theirs):
        net[1].running_mean.fill_(0.5)
        net.eval()
    with torch.no_grad():
        x = maps(17, 3, 4, 4)
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    assert called == ["steepest_norm"]


def test_its_gradient_can_be_differentiated_again():
    ours, theirs = nets()
    x = maps(16, 3, 4, 4)
    seconds = []
    for net in (ours, theirs):
        given = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(net(given).square().sum(), given, create_graph=True)
        seconds.append(torch.autograd.grad(first.square().sum(), given)[0])
    torch.testing.assert_close(*seconds, atol=1e-3, rtol=1e-3)


def test_hooks_see_what_the_norm_gives():
    ours, theirs = nets()
    seen = []
    ours[1].register_forward_hook(lambda module, given, made: seen.append(made))
    x = maps(16, 3, 4, 4)
    torch.testing.assert_close(ours(x), theirs(x), atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(seen[0], theirs[1](theirs[0](x)), atol=2e-5, rtol=1e-5)
