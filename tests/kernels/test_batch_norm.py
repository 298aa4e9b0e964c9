"""The compiled batch norm, with the activation behind it, computes what a float64 twin of both does."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx, nn

from steepest.kernels import library, replace
from steepest.kernels.batch_norm import BatchNorm2d

LAST = torch.channels_last
ACTIVATIONS = {
    "none": None,
    "relu": nn.ReLU(),
    "leaky": nn.LeakyReLU(0.1),
    "gelu": nn.GELU(),
    "tanh": nn.GELU("tanh"),
    "silu": nn.SiLU(),
    "celu": nn.CELU(0.3),
}

pytestmark = pytest.mark.skipif(library.library() is None, reason="no compiled kernels here")


def network(channels, act=None, **settings):
    """A batch norm with random weights and statistics, and an activation."""
    net = nn.Sequential(nn.BatchNorm2d(channels, **settings), *([copy.deepcopy(act)] if act else []))
    with torch.no_grad():
        for one in (*net.parameters(), *(one for one in net.buffers() if one.dim())):
            one.uniform_(0.5, 2)
    return net


def compiled(net):
    """The network with the compiled norm, also where no activation is behind it."""
    for norm in replace.apply(net).modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.__class__ = BatchNorm2d
    return net


def passed(net, x, dy):
    """Output, the gradients, and the state after a training pass."""
    x = x.requires_grad_()
    y = net(x)
    y.backward(dy)
    return [y.detach(), x.grad, *[one.grad for one in net.parameters() if one.requires_grad], *net.buffers()]


def compare(net, x, bound=2e-6):
    """One training pass of ours, against PyTorch's in float64: the largest error, of the largest number of each."""
    dy = torch.randn(x.shape).contiguous(memory_format=LAST)
    exact = passed(copy.deepcopy(net).double(), x.double(), dy.double())
    ours = passed(compiled(copy.deepcopy(net)), x.clone(), dy)
    for one, other in zip(ours, exact, strict=True):
        assert one.shape == other.shape
        scale = other.abs().max().clamp(min=1e-30)
        assert (one.double() - other).abs().max() <= bound * scale
    assert 1 in x.shape or ours[0].stride() == ours[1].stride() == x.stride()


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("channels", [1, 3, 8, 16, 24, 64, 70, 256])
def test_a_training_pass_is_right(act, channels, counted):
    x = torch.randn(5, channels, 7, 6).add_(0.5).contiguous(memory_format=LAST)
    compare(network(channels, ACTIVATIONS[act]), x)
    assert counted == ["steepest_norm", "steepest_norm_backward"]


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 9),
    channels=st.integers(1, 70),
    h=st.integers(3, 20),
    w=st.integers(3, 20),
    act=st.sampled_from(sorted(ACTIVATIONS)),
)
def test_every_shape(n, channels, h, w, act):
    torch.manual_seed(n + channels)
    compare(network(channels, ACTIVATIONS[act]), torch.randn(n, channels, h, w).contiguous(memory_format=LAST), 1e-4)


@pytest.mark.parametrize("channels", [8, 64])
def test_maps_of_many_blocks(channels):
    compare(network(channels, nn.GELU()), torch.randn(40, channels, 31, 31).contiguous(memory_format=LAST))


@pytest.mark.parametrize(("mean", "deviation"), [(1e4, 1.0), (-1e3, 1e-2), (1e-6, 1e-3), (0.0, 1e4)])
def test_a_mean_far_from_0_costs_no_digits(mean, deviation):
    """Of the very numbers given, which are rounded; the running mean is itself a float."""
    x = torch.randn(20, 24, 11, 11).mul_(deviation).add_(mean).contiguous(memory_format=LAST)
    compare(network(24, nn.GELU()), x, 5e-6)


def test_a_first_pixel_far_from_the_others_costs_no_digits():
    x = torch.randn(20, 24, 11, 11).contiguous(memory_format=LAST)
    x[0, :, 0, 0] = 1000
    compare(network(24), x, 2e-5)


def test_a_channel_that_is_the_same_everywhere_is_its_shift():
    net = compiled(nn.Sequential(nn.BatchNorm2d(24, eps=1e-12)))
    x = torch.linspace(-1000, 1000, 24)[None, :, None, None].expand(9, 24, 9, 9).contiguous(memory_format=LAST)
    assert not net(x).any()


@pytest.mark.parametrize("frozen", [("weight",), ("bias",), ("weight", "bias")], ids=str)
def test_frozen_weights_take_no_gradient(frozen):
    net = network(8, nn.GELU(), eps=1e-12, momentum=0.4)
    for name in frozen:
        getattr(net[0], name).requires_grad_(False)
    compare(net, torch.randn(9, 8, 5, 5).contiguous(memory_format=LAST))


@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": 0.4, "eps": 1e-12},
        {"momentum": None},
        {"momentum": 0.0},
        {"affine": False},
        {"track_running_stats": False},
    ],
    ids=str,
)
def test_settings_are_followed_over_several_steps_and_in_evaluation(settings, counted):
    theirs = network(9, nn.SiLU(), **settings)
    ours = compiled(copy.deepcopy(theirs))
    for step in range(3):
        x = torch.randn(4, 9, 5, 6).add_(step).contiguous(memory_format=LAST)
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, one in ours.state_dict().items():
        torch.testing.assert_close(one, theirs.state_dict()[name])
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), atol=1e-5, rtol=1e-5)
    assert counted == ["steepest_norm"] * 4
    for name, one in ours.state_dict().items():
        torch.testing.assert_close(one, theirs.state_dict()[name])


def test_a_gradient_in_evaluation_is_pytorchs(counted):
    theirs = network(9, nn.GELU()).eval()
    ours, x = compiled(copy.deepcopy(theirs)), torch.randn(4, 9, 5, 6).contiguous(memory_format=LAST)
    for one, other in zip(passed(ours, x.clone(), x), passed(theirs, x.clone(), x), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert "steepest_norm" not in counted


def test_any_number_of_threads_gives_the_same_bits():
    x = torch.randn(40, 33, 15, 14).contiguous(memory_format=LAST)
    net, before, given = network(33, nn.GELU()), torch.get_num_threads(), []
    try:
        for threads in (1, 1, 2, 3):
            torch.set_num_threads(threads)
            given.append(passed(compiled(copy.deepcopy(net)), x.clone(), x))
    finally:
        torch.set_num_threads(before)
    for one in given[1:]:
        assert all(torch.equal(a, b) for a, b in zip(one, given[0], strict=True))


@pytest.mark.parametrize("act", ["none", "gelu", "celu"])
def test_gradients_of_gradients_are_pytorchs(act):
    net = network(5, ACTIVATIONS[act])

    def second(net, x):
        x = x.requires_grad_()
        wanted = [x, *net.parameters()]
        y = net(x)
        by = torch.linspace(-1, 1, y.numel(), dtype=x.dtype).view_as(y)
        first = torch.autograd.grad((y**2 * by).sum(), wanted, create_graph=True)
        return torch.autograd.grad(torch.stack([(one**3).sum() for one in first]).sum(), wanted)

    x = torch.randn(3, 5, 4, 4).contiguous(memory_format=LAST)
    exact = second(copy.deepcopy(net).double(), x.double())
    for one, other in zip(second(compiled(net), x.clone()), exact, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-4 * other.abs().max().item(), rtol=1e-3)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_what_it_does_not_serve_is_pytorchs(counted):
    theirs = network(3, nn.GELU())
    ours = compiled(copy.deepcopy(theirs))
    x = torch.randn(4, 3, 6, 6)
    for one in (x, x[:, :, ::2], x.bfloat16().contiguous(memory_format=LAST)):
        torch.testing.assert_close(ours(one), theirs(one))
    last = x.contiguous(memory_format=LAST)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(ours(last), theirs(last))
    torch.testing.assert_close(torch.jit.trace(ours.eval(), last, check_trace=False)(last), theirs.eval()(last))
    exported = torch.export.export(ours, (last,)).module()
    torch.testing.assert_close(exported(last), theirs(last))
    torch.testing.assert_close(torch.vmap(lambda one: ours(one[None])[0])(last), theirs(last))
    assert "steepest_norm" not in counted
    graph = fx.symbolic_trace(ours)
    torch.testing.assert_close(graph(last).detach(), theirs(last).detach(), atol=1e-5, rtol=1e-5)
    assert graph.get_submodule("0") is ours[0] and ours[0].num_batches_tracked == theirs[0].num_batches_tracked


def test_what_pytorch_refuses_is_refused():
    norm = compiled(nn.BatchNorm2d(3))
    with pytest.raises(ValueError, match="more than 1 value"):
        norm(torch.zeros(1, 3, 1, 1).contiguous(memory_format=LAST))
    with pytest.raises(ValueError, match="4D"):
        norm(torch.zeros(2, 3))
    with pytest.raises(RuntimeError):
        norm(torch.zeros(2, 4, 5, 5).contiguous(memory_format=LAST))
    assert isinstance(norm, BatchNorm2d)


def test_running_statistics_that_a_gradient_needs_are_seen_to_change():
    """A gradient of an earlier pass in evaluation, which would be computed with other statistics, is refused."""
    norm = compiled(nn.BatchNorm2d(3)).eval()
    x = torch.randn(4, 3, 5, 5).contiguous(memory_format=LAST).requires_grad_()
    y = norm(x)
    norm.train()(x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_only_the_input_and_the_statistics_are_kept():
    net = compiled(network(8, nn.GELU()))
    x, kept = torch.randn(2, 8, 6, 6).contiguous(memory_format=LAST), []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one.numel()), lambda one: one):
        net(x.requires_grad_())
    assert sorted(kept) == [8, 8, 24, x.numel()]


def test_without_gradients_nothing_is_computed_backward(counted):
    """Only the gradients asked for."""
    net = compiled(network(8, nn.GELU()))
    for into_x, into_weights in itertools.product((False, True), repeat=2):
        net.requires_grad_(into_weights).zero_grad()
        x = torch.randn(2, 8, 6, 6).contiguous(memory_format=LAST).requires_grad_(into_x)
        y = net(x)
        if into_x or into_weights:
            y.sum().backward()
        assert (x.grad is not None) is into_x and (net[0].weight.grad is not None) is into_weights
        assert y.requires_grad is (into_x or into_weights)
    assert counted.count("steepest_norm_backward") == 3
