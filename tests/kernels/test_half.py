"""Convolutions in half precision: close to the exact sums whatever the numbers' size, float32 elsewhere."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from steepest import kernels
from steepest.kernels import conv3x3 as room
from steepest.kernels import library, max_pool, plain
from steepest.kernels.conv3x3 import conv3x3, halves
from steepest.techniques.layers import half_convolution

LAST = torch.channels_last
BOUND = 0.04
"""The largest error allowed of a mean square, of the exact result's."""

pytestmark = pytest.mark.skipif(library.library() is None, reason="no compiled convolution here")
has_halves = pytest.mark.skipif(not halves(2, 2), reason="a processor or a compiler without half precision")


@pytest.fixture
def counted(counting):
    """The names of the compiled functions called."""
    return counting("conv3x3")


def tensors(n, c, k, h, w, padding=1, seed=0):
    """x, not centred, as behind an activation; weight, and a gradient of the output."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (n, c, h, w), (k, c, 3, 3), (n, k, h + 2 * padding - 2, w + 2 * padding - 2)
    x, weight, dy = (torch.randn(shape, generator=generator) for shape in shapes)
    return F.gelu(x).contiguous(memory_format=LAST), weight, dy.contiguous(memory_format=LAST)


def error(ours, exact):
    """Of the mean square, of the exact result's."""
    assert ours.shape == exact.shape and ours.dtype in (torch.float32, torch.bfloat16)
    off, size = (one.square().mean().sqrt().item() for one in (ours.detach().double() - exact, exact))
    return off / size if size else off


def errors(tensors, padding, tile=0):
    """Of the output and both gradients, then of the same with a pool behind it."""
    x, weight, dy = tensors
    found = []
    for pool in (False, True):
        exact = plain.conv3x3(x, weight, None, padding)
        y, which = room._forward(x, weight, None, padding, pool=pool, chosen=True, tile=tile, half=True)
        full = dy
        if which is not None:
            exact = F.max_pool2d(exact, 2)
            dy = dy[:, :, : y.shape[2], : y.shape[3]].contiguous(memory_format=LAST)
            full = max_pool.unpooled(dy, room._unpacked(which, y.shape[1]), full.shape)
        dx, dw, _ = plain.gradients(x, weight, full, padding)
        found.append(error(y, exact))
        found.append(error(room._input_gradient(dy, weight, x.shape, padding, which, tile, half=True), dx))
        dw_ours = room._weight_gradient(x, dy, weight.shape, weight.stride(), padding, which, tile, half=True)
        found.append(error(dw_ours, dw))
    return found


@has_halves
@pytest.mark.parametrize("tile", [0, 3, 4, 6])
@pytest.mark.parametrize("padding", [0, 1])
def test_every_size_of_map_and_tile(padding, tile):
    for side in (*range(4, 17), 31):
        for h, w in ((side, side), (4 + side % 5, side)):
            assert max(errors(tensors(3, 6, 10, h, w, padding), padding, tile)) < BOUND


@has_halves
@pytest.mark.parametrize("shape", [(3, 24, 64, 31, 1), (5, 64, 64, 15, 1), (2, 64, 256, 15, 0), (9, 256, 256, 6, 1)])
def test_the_layers_of_the_speed_record(shape):
    n, c, k, side, padding = shape
    assert max(errors(tensors(n, c, k, side, side, padding), padding)) < BOUND


@has_halves
@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 40),
    c=st.integers(1, 40),
    k=st.integers(1, 40),
    h=st.integers(4, 20),
    w=st.integers(4, 20),
    padding=st.integers(0, 1),
    seed=st.integers(0, 99),
)
def test_any_shape_is_within_the_bound(n, c, k, h, w, padding, seed):
    assert max(errors(tensors(n, 2 * c, 2 * k, h, w, padding, seed), padding)) < BOUND


@has_halves
@pytest.mark.parametrize("sizes", [(1e-18, 1e12, 1e-12), (1e15, 1e-15, 1e9), (1, 1e-4, 1e-6)])
def test_numbers_of_any_size_are_as_exact(sizes):
    """Far outside the range of a half, and where a power of two is not."""
    x, weight, dy = (one * size for one, size in zip(tensors(4, 16, 16, 12, 12), sizes, strict=True))
    assert max(errors((x, weight, dy), 1)) < BOUND


@has_halves
def test_one_image_a_thousand_times_as_bright_as_the_others_does_not_overflow():
    x, weight, dy = tensors(40, 16, 16, 12, 12)
    x[17] *= 1000
    dy[3] *= 1000
    assert max(errors((x, weight, dy), 1)) < BOUND


@has_halves
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("side", [8, 12, 31])
def test_where_a_number_is_too_large_for_halves_float32_serves(counted, pool, side):
    x, weight, dy = tensors(40, 34, 18, side, side)
    y = room._forward(x, weight, None, 1, pool=pool)[0]
    dy = dy[:, :, : y.shape[2], : y.shape[3]].contiguous(memory_format=LAST)
    x[5, 33, side - 2, 1] = dy[5, 17, 2, -1] = 1e8  # not among the pixels that the scale is taken from
    x, dy = x.bfloat16().float(), dy.bfloat16().float()

    def all_three(half):
        counted.clear()
        y, which = room._forward(x, weight, None, 1, pool=pool, chosen=True, half=half)
        dx = room._input_gradient(dy, weight, x.shape, 1, which, half=half)
        dw = room._weight_gradient(x, dy, weight.shape, weight.stride(), 1, which, half=half)
        return y, dx, dw

    ours = all_three(True)
    assert counted == [
        f"steepest_{kind}{one}" for one in ("conv", "input_gradient", "weight_gradient") for kind in ("half_", "")
    ]
    assert all(torch.equal(one, exact.to(one.dtype)) for one, exact in zip(ours, all_three(False), strict=True))


@has_halves
def test_nothing_gives_nothing_and_a_nan_stays_one():
    x, weight, dy = tensors(2, 4, 6, 8, 8)
    for zeros in ((x * 0, weight, dy), (x, weight * 0, dy * 0)):
        assert max(errors(zeros, 1)) < BOUND
    assert room._forward(x[:0], weight, None, 1, half=True)[0].shape == (0, 6, 8, 8)
    assert not room._weight_gradient(x[:0], dy[:0], weight.shape, weight.stride(), 1, half=True).any()
    x[1, 2, 3, 3] = float("nan")
    y = conv3x3(x, weight, half=True)
    assert y[1, :, 3, 3].isnan().all() and not y[0].isnan().any()


@has_halves
def test_any_strides_of_the_weights_are_taken():
    x, weight, _ = tensors(2, 4, 6, 8, 8)
    exact = plain.conv3x3(x, weight[:1].expand_as(weight))
    assert error(conv3x3(x, weight[:1].expand_as(weight), half=True), exact) < BOUND
    other = weight.contiguous(memory_format=LAST)
    assert torch.equal(conv3x3(x, other, half=True), conv3x3(x, weight, half=True))


@has_halves
@pytest.mark.parametrize("shape", [(7, 6, 24, 13, 11), (40, 64, 64, 15, 15), (37, 100, 98, 10, 16)])
def test_any_number_of_threads_agrees_and_each_gives_the_same_bits_again(threads, shape):
    x, weight, dy = tensors(*shape)
    given = []
    for count in (1, 2, 2, 3):
        threads(count)
        y = room._forward(x, weight, None, 1, half=True)[0]
        dx = room._input_gradient(dy, weight, x.shape, 1, half=True)
        given.append([y, dx, room._weight_gradient(x, dy, weight.shape, weight.stride(), 1, half=True)])
    for one in given[1:]:
        assert all(torch.equal(a, b) for a, b in zip(one[:2], given[0][:2], strict=True))
        assert error(one[2], given[0][2]) < BOUND
    assert torch.equal(given[1][2], given[2][2])


def network():
    torch.manual_seed(0)
    convolutions = nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 4, 3), nn.MaxPool2d(2)
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(16, 3))


def marked(net):
    return kernels.apply(half_convolution.apply(net))


def test_marked_convolutions_of_even_channels_multiply_so_while_they_are_trained(counted):
    net, images = marked(network()), torch.randn(4, 3, 6, 6)
    net(images).sum().backward()
    kind = "half_" if halves(2, 2) else ""
    assert counted[:2] == ["steepest_conv", f"steepest_{kind}conv"], "three channels are odd"
    assert set(counted[2:]) == {
        f"steepest_{kind}input_gradient",
        f"steepest_{kind}weight_gradient",
        "steepest_weight_gradient",
    }
    counted.clear()
    net.eval()(images)
    kernels.apply(network())(images)
    assert counted == ["steepest_conv"] * 4


class Chain(nn.Module):
    """Two convolutions with norms, the first with a pool; a branch that joins what the second norm gives."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.pool, self.norm1, self.act1 = (
            nn.Conv2d(8, 16, 3),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(16),
            nn.GELU(),
        )
        self.conv2, self.norm2, self.act2 = nn.Conv2d(16, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.conv3, self.conv4, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        x = self.act1(self.norm1(self.pool(self.conv1(x))))
        x = self.act2(self.norm2(self.conv2(x)))
        return self.head(self.conv4(self.conv3(x) + x).mean((2, 3)))


def kinds(net, images):
    """What type of numbers each part is given and gives."""
    seen: dict[str, tuple[torch.dtype, torch.dtype]] = {}

    def look(name):
        return lambda module, given, made: seen.__setitem__(name, (given[0].dtype, made.dtype))

    hooks = [
        one.register_forward_hook(look(name)) for name, one in net.named_children() if name[:4] in ("conv", "norm")
    ]
    net(images)
    for hook in hooks:
        hook.remove()
    return seen


@has_halves
def test_between_a_convolution_and_its_norm_and_before_the_next_convolution_maps_are_bfloat16():
    net, images = marked(Chain()), torch.randn(6, 8, 12, 12).contiguous(memory_format=LAST)
    wide, narrow, seen = torch.float32, torch.bfloat16, []
    assert (net.conv1.into, net.norm1.into, net.norm2.into, net.conv3.into) == ((net.norm1,), (net.conv2,), (), ())
    for one in (net.pool, net.act1, net.act2):
        one.register_forward_hook(lambda module, given, made: seen.append(made.dtype))
    net(images)
    assert seen == [narrow, narrow, wide], "the second norm's maps are also added to others"
    for one in (images, images.contiguous()):  # which PyTorch's norms compute
        found = kinds(net, one)
        assert found["conv1"] == (wide, narrow) and found["norm2"] == (narrow, wide) and found["conv3"] == (wide, wide)
    assert set(kinds(net.eval(), images).values()) == {(wide, wide)}
    net.train().conv2.eval()
    assert kinds(net, images)["conv2"] == (wide, wide), "it does not multiply in halves now"


@has_halves
def test_a_network_of_narrow_maps_has_the_gradients_of_a_wide_one():
    images = torch.randn(64, 8, 12, 12)
    ours, theirs = marked(Chain()), Chain()
    for net in (ours, theirs):
        F.cross_entropy(net(images), torch.arange(64) % 3).backward()
    assert all(one.grad.dtype == torch.float32 for one in ours.parameters())
    for (name, weight), twin in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if name not in ("conv1.bias", "conv2.bias"):  # a norm behind makes these 0
            assert error(weight.grad, twin.grad) < 0.15, name
    for one, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(one, other, atol=0.02, rtol=0.02)


@has_halves
def test_narrow_maps_can_be_differentiated_twice():
    net, images = marked(Chain()), torch.randn(8, 8, 12, 12, requires_grad=True)
    (slope,) = torch.autograd.grad(net(images).square().sum(), images, create_graph=True)
    assert slope.dtype == torch.float32
    slope.square().sum().backward()
    twin, other = Chain(), images.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(twin(other).square().sum(), other, create_graph=True)
    slope.square().sum().backward()
    assert error(images.grad, other.grad) < 0.2
    assert error(net.conv2.weight.grad, twin.conv2.weight.grad) < 0.2


@has_halves
def test_somebody_elses_bfloat16_stays_so():
    images = torch.randn(6, 8, 12, 12)
    for net in (kernels.apply(Chain()), marked(Chain())):
        with torch.autocast("cpu", torch.bfloat16):
            assert net(images).dtype == torch.bfloat16
            assert kinds(net, images)["norm1"] == (torch.bfloat16, torch.bfloat16)
        assert net.bfloat16()(images.bfloat16()).dtype == torch.bfloat16


@has_halves
def test_a_network_of_float64_is_computed_in_it():
    images = torch.randn(6, 8, 12, 12, dtype=torch.float64)
    assert torch.equal(marked(Chain()).double()(images), Chain().double()(images))


def test_a_network_learns_as_with_float32():
    def losses(change):
        net = change(copy.deepcopy(network()))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        images, targets = torch.randn(16, 3, 6, 6, generator=torch.Generator().manual_seed(1)), torch.arange(16) % 3
        seen = []
        for _ in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images), targets)
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        return torch.tensor(seen)

    ours = losses(marked)
    torch.testing.assert_close(ours, losses(kernels.apply), atol=1e-3, rtol=1e-2)
    assert ours[-1] < ours[0]
