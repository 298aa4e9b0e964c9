"""The compiled convolution computes what the plain twin does, whatever the shape, and PyTorch's serves elsewhere."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from steepest.kernels import conv3x3 as room
from steepest.kernels import library, max_pool, plain
from steepest.kernels.conv3x3 import Conv3x3, apply, conv3x3, fits
from steepest.kernels.eager import serves
from steepest.mistake import Mistake

LAST = torch.channels_last
BOUND = 2e-5
"""The largest error allowed, of the largest number in the exact result."""

pytestmark = pytest.mark.skipif(library.library() is None, reason="no compiled convolution here")


@pytest.fixture
def counted(counting):
    """The names of the compiled functions called."""
    return counting("conv3x3")


def tensors(n, c, k, h, w, padding=1, seed=0):
    """x, weight, bias and a gradient of the output; x and dy in channels_last."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (n, c, h, w), (k, c, 3, 3), (k,), (n, k, h + 2 * padding - 2, w + 2 * padding - 2)
    x, weight, bias, dy = (torch.randn(shape, generator=generator) for shape in shapes)
    return x.contiguous(memory_format=LAST), weight, bias, dy.contiguous(memory_format=LAST)


def error(ours, exact):
    """The largest error, of the largest exact number."""
    assert ours.shape == exact.shape and ours.dtype == torch.float32
    if exact.numel() == 0:
        return 0.0
    largest = exact.abs().max().item()
    worst = (ours.detach().double() - exact).abs().max().item()
    return worst / largest if largest else worst


def errors(tensors, padding):
    """Of the output and of all three gradients."""
    x, weight, bias, dy = tensors
    ours = [one.detach().requires_grad_() for one in (x, weight, bias)]
    y = conv3x3(ours[0], ours[1], ours[2], padding)
    y.backward(dy)
    *exact, into_bias = plain.conv3x3(x, weight, bias, padding), *plain.gradients(x, weight, dy, padding)
    found = [error(one, other) for one, other in zip([y, *[one.grad for one in ours[:2]]], exact, strict=True)]
    # The bias's gradient is a sum that may happen to be near 0: beside its terms.
    terms = dy.abs().sum((0, 2, 3)).max().clamp(min=1e-30)
    return [*found, ((ours[2].grad.double() - into_bias).abs().max() / terms).item()]


def test_the_plain_twin_is_a_convolution():
    for padding in (0, 1):
        x, weight, bias, dy = [one.double() for one in tensors(2, 3, 4, 5, 6, padding)]
        wanted = [one.requires_grad_() for one in (x, weight, bias)]
        y = F.conv2d(x, weight, bias, padding=padding)
        y.backward(dy)
        torch.testing.assert_close(plain.conv3x3(x, weight, bias, padding), y)
        for ours, leaf in zip(plain.gradients(x, weight, dy, padding), wanted, strict=True):
            torch.testing.assert_close(ours, leaf.grad)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("side", [*range(1, 18), 31, 32, 33])
def test_every_size_of_map(side, padding):
    if side + 2 * padding < 3:
        return
    for h, w in ((side, side), (side, 3 + side % 5), (3 + side % 4, side)):
        assert max(errors(tensors(2, 9, 7, h, w, padding), padding)) < BOUND


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 70])
def test_every_number_of_channels(channels):
    for c, k in ((channels, 5), (6, channels), (channels, channels)):
        assert max(errors(tensors(2, c, k, 6, 7), 1)) < BOUND


@pytest.mark.parametrize(
    "shape", [(3, 24, 64, 31), (2, 64, 64, 15), (2, 64, 256, 15), (3, 256, 256, 7), (5, 256, 256, 3)]
)
def test_the_layers_of_the_speed_record(shape):
    n, c, k, side = shape
    assert max(errors(tensors(n, c, k, side, side), 1)) < BOUND


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(0, 5),
    c=st.integers(1, 70),
    k=st.integers(1, 70),
    h=st.integers(1, 33),
    w=st.integers(1, 33),
    padding=st.integers(0, 1),
    seed=st.integers(0, 99),
)
def test_any_shape_is_within_the_bound(n, c, k, h, w, padding, seed):
    if min(h, w) + 2 * padding < 3:
        h, w = h + 2, w + 2
    assert max(errors(tensors(n, c, k, h, w, padding, seed), padding)) < BOUND


@pytest.mark.parametrize("tile", [0, 3, 4, 6])
@pytest.mark.parametrize("padding", [0, 1])
def test_every_size_of_tile_computes_the_same(tile, padding):
    for n, c, k, h, w in ((1, 1, 1, 3, 3), (2, 5, 18, 9, 4), (4, 33, 20, 13, 12)):
        x, weight, bias, dy = tensors(n, c, k, h, w, padding)
        dx, dw, _ = plain.gradients(x, weight, dy, padding)
        assert (
            error(room._forward(x, weight, bias, padding, tile=tile)[0], plain.conv3x3(x, weight, bias, padding))
            < BOUND
        )
        assert error(room._input_gradient(dy, weight, x.shape, padding, None, tile), dx) < BOUND
        assert error(room._weight_gradient(x, dy, weight.shape, weight.stride(), padding, None, tile), dw) < BOUND


def pooled(tensors, padding, tile=0):
    """The errors of a convolution with its pool behind it, by the compiled functions, and those of its choice.

    Of the two largest of four pixels either may be chosen where they are as good as equal: the gradients go there too.
    """
    x, weight, bias, dy = tensors
    exact = plain.conv3x3(x, weight, bias, padding)
    y, which = room._forward(x, weight, bias, padding, pool=True, chosen=True, tile=tile)
    alone, none = room._forward(x, weight, bias, padding, pool=True, tile=tile)
    assert none is None and which is not None and torch.equal(alone, y)
    choice = room._unpacked(which, y.shape[1])
    dy = dy[:, :, : y.shape[2], : y.shape[3]].contiguous(memory_format=LAST)
    ones = max_pool.unpooled(torch.ones_like(dy).double(), choice, exact.shape)
    chosen = F.avg_pool2d(exact * ones, 2) * 4
    dx, dw, _ = plain.gradients(x, weight, max_pool.unpooled(dy, choice, exact.shape), padding)
    largest = exact.abs().max() / F.max_pool2d(exact, 2).abs().max()
    return [
        error(y, F.max_pool2d(exact, 2)) / largest,
        error(chosen.float(), F.max_pool2d(exact, 2)) / largest,
        error(room._input_gradient(dy, weight, x.shape, padding, which, tile), dx),
        error(room._weight_gradient(x, dy, weight.shape, weight.stride(), padding, which, tile), dw),
    ]


@pytest.mark.parametrize("tile", [0, 3, 4, 6])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("side", [*range(2, 18), 31, 32])
def test_a_pool_behind_it_at_every_size_of_map(side, padding, tile):
    if side + 2 * padding < 4:
        return
    for n, c, k, h, w in ((2, 9, 7, side, side), (3, 5, 18, side, 4 + side % 5), (2, 17, 3, 4 + side % 4, side)):
        assert max(pooled(tensors(n, c, k, h, w, padding), padding, tile)) < BOUND


@pytest.mark.parametrize("channels", [1, 2, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 70])
def test_a_pool_behind_it_at_every_number_of_channels(channels):
    for c, k in ((channels, 5), (6, channels), (channels, channels)):
        assert max(pooled(tensors(2, c, k, 6, 7), 1)) < BOUND
        assert max(pooled(tensors(2, c, k, 14, 15), 1, 6)) < BOUND


@pytest.mark.parametrize("shape", [(3, 24, 64, 31), (2, 64, 256, 15), (3, 256, 256, 7)])
def test_the_pooled_layers_of_the_speed_record(shape):
    n, c, k, side = shape
    assert max(pooled(tensors(n, c, k, side, side), 1)) < BOUND


def test_the_pool_takes_the_first_of_equal_pixels_and_nan_for_the_largest():
    x, weight, bias, _ = tensors(2, 3, 20, 8, 8)
    flat, which = room._forward(x, torch.zeros_like(weight), bias, 1, pool=True, chosen=True)
    assert torch.equal(flat, bias[None, :, None, None].expand_as(flat)) and not which.any()
    x[0, 1, 5, 5] = float("nan")
    y = conv3x3(x, weight, bias, pool=True)
    assert y[0, :, 2, 2].isnan().all() and y[0, :, 3, 3].isnan().all() and not y[1].isnan().any()


def test_a_pool_behind_it_is_differentiable_any_number_of_times():
    def squares(function, number):
        x, weight, bias, _ = [one.to(number) for one in tensors(2, 3, 4, 6, 7)]
        wanted = [one.requires_grad_() for one in (x, weight, bias)]
        y = function(*wanted)
        first = torch.autograd.grad(y.tanh().sum(), wanted, create_graph=True)
        return y, *first, *torch.autograd.grad(torch.stack([(one**2).sum() for one in first]).sum(), wanted)

    theirs = squares(lambda x, weight, bias: F.max_pool2d(F.conv2d(x, weight, bias, padding=1), 2), torch.float64)
    for one, other in zip(squares(lambda *given: conv3x3(*given, pool=True), torch.float32), theirs, strict=True):
        assert error(one, other.detach()) < 1e-4


def test_a_pool_behind_it_where_the_kernel_does_not_serve(counted):
    x, weight, bias, _ = (one.double() for one in tensors(2, 3, 4, 6, 7))
    exact = F.max_pool2d(F.conv2d(x, weight, bias, padding=1), 2)
    assert torch.equal(conv3x3(x, weight, bias, pool=True), exact) and not counted
    with pytest.raises(Mistake, match="takes maps of 2×2 and more, not 1×5"):
        conv3x3(x[:, :, :1, :5], weight, pool=True)


@pytest.mark.parametrize("shape", [(7, 3, 24, 13, 11), (9, 70, 33, 7, 7), (40, 64, 64, 15, 15)])
def test_any_number_of_threads_agrees_with_a_pool_behind_it(threads, shape):
    x, weight, bias, dy = tensors(*shape)
    given = []
    for count in (1, 2, 2, 3):
        threads(count)
        y, which = room._forward(x, weight, bias, 1, pool=True, chosen=True)
        assert which is not None
        dy = dy[:, :, : y.shape[2], : y.shape[3]].contiguous(memory_format=LAST)
        given.append([y, which, room._input_gradient(dy, weight, x.shape, 1, which)])
        given[-1].append(room._weight_gradient(x, dy, weight.shape, weight.stride(), 1, which))
    for one in given:
        assert all(torch.equal(a, b) for a, b in zip(one[:3], given[0][:3], strict=True))
        assert error(one[3], given[0][3].double()) < BOUND
    assert torch.equal(given[1][3], given[2][3])


def test_smaller_tiles_are_more_exact():
    x, weight, _, _ = tensors(2, 64, 16, 12, 12)
    exact = plain.conv3x3(x, weight)
    three, four = (error(room._forward(x, weight, None, 1, tile=tile)[0], exact) for tile in (3, 4))
    assert three < four


@pytest.mark.parametrize("shape", [(0, 4, 5, 6, 6), (0, 1, 1, 1, 1), (0, 64, 256, 7, 7)])
def test_an_empty_batch_gives_an_empty_output_and_zero_gradients(shape, counted):
    x, weight, bias, dy = [one.requires_grad_() for one in tensors(*shape)]
    y = conv3x3(x, weight, bias)
    y.backward(dy.detach())
    assert y.shape == dy.shape and x.grad is not None and x.grad.shape == x.shape
    assert weight.grad is not None and not weight.grad.any() and bias.grad is not None and not bias.grad.any()
    assert len(counted) == 3


@pytest.mark.parametrize("shape", [(7, 3, 24, 13, 11), (9, 70, 33, 7, 7), (40, 64, 64, 15, 15), (3, 130, 70, 5, 5)])
def test_one_and_more_threads_agree_and_each_gives_the_same_bits_again(threads, shape):
    x, weight, bias, dy = tensors(*shape)
    given = []
    for count in (1, 1, 2, 2, 3, 3):
        threads(count)
        ours = [one.detach().requires_grad_() for one in (x, weight, bias)]
        y = conv3x3(*ours)
        y.backward(dy)
        given.append([y.detach(), *[one.grad for one in ours[:2]]])
    for one, again in zip(given[::2], given[1::2], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    for one in given[1:]:
        assert error(one[2], given[0][2].double()) < BOUND
        assert torch.equal(one[0], given[0][0]) and torch.equal(one[1], given[0][1])


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("side", [8, 9, 10, 13, 14, 15, 20])
def test_an_input_gradient_of_tiles_that_overlap(threads, side, padding, pool):
    """In several blocks of whole maps, on memory that holds anything."""
    for c, k, wide in ((70, 20, side), (5, 130, side - 1), (16, 33, 7)):
        x, weight, bias, dy = tensors(31, c, k, side, wide, padding)
        which = room._forward(x, weight, bias, padding, pool=True, chosen=True)[1] if pool else None
        full = dy
        if which is not None:
            dy = dy[:, :, : dy.shape[2] // 2, : dy.shape[3] // 2].contiguous(memory_format=LAST)
            full = max_pool.unpooled(dy, room._unpacked(which, k), full.shape)
        exact = plain.gradients(x, weight, full, padding)[0]
        given = []
        for count in (1, 2, 3):
            threads(count)
            torch.full_like(x, float("nan"))
            given.append(room._input_gradient(dy, weight, x.shape, padding, which))
            assert error(given[-1], exact) < BOUND and torch.equal(given[-1], given[0])


def test_a_weight_gradient_that_the_threads_share_is_the_same_on_any_number_of_them(threads):
    """In several blocks, the last of them smaller, with tiles of every size."""
    x, weight, _, dy = tensors(37, 100, 98, 10, 16)
    _, exact, _ = plain.gradients(x, weight, dy, 1)
    given = []
    for count in (1, 2, 3):
        threads(count)
        given.append(room._weight_gradient(x, dy, weight.shape, weight.stride(), 1))
        assert error(given[-1], exact) < BOUND and torch.equal(given[-1], given[0])


def test_without_pytorchs_threads_it_starts_its_own(threads):
    threads(2)
    compiled = library.library()
    assert compiled is not None
    compiled.steepest_threads(None)
    try:
        assert max(errors(tensors(9, 20, 40, 15, 15), 1)) < BOUND
    finally:
        compiled.steepest_threads(library._openmp())


def test_pytorchs_own_threads_are_used():
    assert library._openmp() is not None


LAYOUTS = {
    "nchw": lambda x: x.contiguous(),
    "every second row": lambda x: x.repeat_interleave(2, 2)[:, :, ::2],
    "part of the channels": lambda x: torch.cat((x, x), 1)[:, : x.shape[1]],
    "turned": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "not aligned": lambda x: (
        torch.cat((x.new_zeros(1), x.permute(0, 2, 3, 1).flatten()))[1:]
        .view(x.shape[0], *x.shape[2:], x.shape[1])
        .permute(0, 3, 1, 2)
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_is_taken(layout):
    x, weight, bias, dy = tensors(2, 19, 21, 6, 9)
    assert torch.equal(LAYOUTS[layout](x), x)
    assert max(errors((LAYOUTS[layout](x), weight, bias, LAYOUTS[layout](dy)), 1)) < BOUND
    assert max(errors((x, LAYOUTS[layout](weight), bias, dy), 1)) < BOUND


def test_a_gradient_that_is_one_number_everywhere():
    x, weight, bias, dy = tensors(2, 4, 5, 6, 6)
    assert max(errors((x, weight, bias, torch.ones(()).expand(dy.shape)), 1)) < BOUND


@pytest.mark.parametrize("of_x", [LAST, torch.contiguous_format])
@pytest.mark.parametrize("of_weight", [LAST, torch.contiguous_format])
def test_the_output_and_the_weights_gradient_are_laid_out_as_pytorchs(of_x, of_weight):
    x, weight, _, _ = tensors(2, 4, 5, 6, 6)
    x, weight = x.contiguous(memory_format=of_x), weight.contiguous(memory_format=of_weight).requires_grad_()
    y, theirs = conv3x3(x, weight), F.conv2d(x, weight, padding=1)
    assert y.stride() == theirs.stride()
    (dw,) = torch.autograd.grad(y.sum(), weight)
    assert dw.stride() == weight.stride()


def test_only_the_gradients_asked_for_are_computed(counted):
    x, weight, bias, dy = tensors(2, 3, 5, 6, 6)
    conv3x3(x, weight.requires_grad_(), bias).backward(dy)
    assert counted == ["steepest_conv", "steepest_weight_gradient"] and x.grad is None
    counted.clear()
    conv3x3(x.requires_grad_(), weight.detach()).backward(dy)
    assert counted == ["steepest_conv", "steepest_input_gradient"]


@pytest.mark.parametrize("of_x", [False, True])
@pytest.mark.parametrize("of_weight", [False, True])
def test_only_what_the_gradients_need_is_kept(of_x, of_weight):
    x, weight, _, _ = tensors(2, 3, 5, 6, 6)
    bias = torch.zeros(5, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one.data_ptr()), lambda one: one):
        conv3x3(x.requires_grad_(of_x), weight.requires_grad_(of_weight), bias)
    assert sorted(kept) == sorted([x.data_ptr()] * of_weight + [weight.data_ptr()] * of_x)


def test_gradients_of_gradients_are_pytorchs():
    def squares(function):
        x, weight, bias, dy = [one.double() for one in tensors(2, 3, 4, 5, 5)]
        if function is conv3x3:
            x, weight, bias, dy = (one.float() for one in (x, weight, bias, dy))
        wanted = [one.requires_grad_() for one in (x, weight, bias)]
        first = torch.autograd.grad((function(*wanted) * dy).tanh().sum(), wanted, create_graph=True)
        return torch.autograd.grad(torch.stack([(one**2).sum() for one in first]).sum(), wanted)

    theirs = squares(lambda x, weight, bias: F.conv2d(x, weight, bias, padding=1))
    for one, other in zip(squares(conv3x3), theirs, strict=True):
        assert error(one, other) < 1e-4


def test_a_gradient_of_the_inputs_gradient_needs_no_gradient_of_the_weights():
    x, weight, _, dy = tensors(2, 3, 4, 5, 5)
    x.requires_grad_()
    (dx,) = torch.autograd.grad((conv3x3(x, weight) ** 2 * dy).sum(), x, create_graph=True)
    (again,) = torch.autograd.grad(dx.sum(), x)
    assert again.shape == x.shape and torch.isfinite(again).all()


def test_nan_stays_nan_and_infinity_is_not_lost():
    for strange in (float("nan"), float("inf")):
        x, weight, _, _ = tensors(1, 4, 5, 16, 16)
        x[0, 2, 7, 8] = strange
        y = conv3x3(x, weight)
        assert not torch.isfinite(y[:, :, 6:9, 7:10]).any()
        assert torch.isfinite(y[:, :, :4]).all() and torch.isfinite(y[:, :, 12:]).all()


def test_inputs_stay_as_they_are():
    given = tensors(2, 17, 5, 6, 6)
    before = [one.clone() for one in given]
    errors(given, 1)
    assert all(torch.equal(one, other) for one, other in zip(given, before, strict=True))


@pytest.mark.parametrize(
    ("shapes", "padding", "sentence"),
    [
        (((2, 3, 5, 5), (4, 3, 3, 3), None), 2, "padding of a 3×3 convolution is 0 or 1, not 2"),
        (((2, 3, 5, 5), (4, 2, 3, 3), None), 1, r"not \(2, 3, 5, 5\) and \(4, 2, 3, 3\)"),
        (((2, 3, 5, 5), (4, 3, 5, 5), None), 1, r"not \(2, 3, 5, 5\) and \(4, 3, 5, 5\)"),
        (((3, 5, 5), (4, 3, 3, 3), None), 1, r"takes maps \(N, C, H, W\)"),
        (((2, 3, 5, 5), (4, 3, 3, 3), (3,)), 1, r"bias of 4 filters has the shape \(4,\), not \(3,\)"),
        (((2, 3, 2, 5), (4, 3, 3, 3), None), 0, "padding 0 takes maps of 3×3 and more, not 2×5"),
        (((2, 3, 0, 5), (4, 3, 3, 3), None), 1, "padding 1 takes maps of 1×1 and more, not 0×5"),
    ],
)
def test_other_shapes_are_mistakes(shapes, padding, sentence):
    with pytest.raises(Mistake, match=sentence):
        x, weight, bias = (shape and torch.zeros(shape) for shape in shapes)
        conv3x3(x, weight, bias, padding)


def same_as_pytorchs(x, weight, bias):
    return torch.equal(conv3x3(x, weight, bias), F.conv2d(x, weight, bias, padding=1))


def test_what_it_does_not_serve_is_pytorchs(counted):
    x, weight, bias, _ = tensors(2, 3, 4, 5, 5)
    assert serves(x, weight, bias)
    assert same_as_pytorchs(x.double(), weight.double(), bias.double())
    assert same_as_pytorchs(x.bfloat16(), weight.bfloat16(), bias.bfloat16())
    assert conv3x3(x.to("meta"), weight.to("meta"), bias.to("meta")).shape == (2, 4, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert conv3x3(x, weight, bias).dtype == torch.bfloat16
    with pytest.raises(RuntimeError):
        conv3x3(x, weight.double())
    assert not counted


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_function_transforms_tracers_and_dual_numbers_see_pytorchs(counted):
    x, weight, bias, dy = tensors(2, 3, 4, 5, 5)
    each = torch.func.vmap(lambda one: conv3x3(one[None], weight, bias)[0])(x)
    torch.testing.assert_close(each, F.conv2d(x, weight, bias, padding=1))
    given = torch.func.grad(lambda one: (conv3x3(x, one) * dy).sum())(weight)
    assert error(given, plain.gradients(x, weight, dy)[1]) < BOUND
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(conv3x3(forward_ad.make_dual(x, x), weight)).tangent
        torch.testing.assert_close(tangent, F.conv2d(x, weight, padding=1))
    assert not counted


def test_the_switch_turns_it_off_but_not_in_mid_training(monkeypatch, counted):
    x, weight, bias, dy = tensors(2, 3, 4, 5, 5)
    y = conv3x3(x, weight.requires_grad_(), bias)
    monkeypatch.setenv("STEEPEST_KERNELS", "off")
    y.backward(dy)
    assert error(weight.grad, plain.gradients(x, weight.detach(), dy)[1]) < BOUND
    counted.clear()
    assert same_as_pytorchs(x, weight, bias) and not counted


def test_an_exported_network_has_pytorchs_convolution(counted):
    net = apply(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))).eval()
    graph = torch.export.export(net, (torch.zeros(2, 3, 5, 5),)).graph
    assert [str(node.target) for node in graph.nodes if node.op == "call_function"] == ["aten.conv2d.default"]
    assert not counted


def test_the_module_is_a_conv2d_with_the_same_state():
    theirs = nn.Conv2d(5, 7, 3, padding=1)
    ours = Conv3x3(5, 7, 3, padding=1)
    ours.load_state_dict(theirs.state_dict())
    x = tensors(2, 5, 7, 9, 9)[0]
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    theirs.load_state_dict(copy.deepcopy(ours).state_dict())


OTHERS = [
    {"kernel_size": 1},
    {"kernel_size": 5, "padding": 2},
    {"kernel_size": 3, "padding": 2},
    {"kernel_size": (3, 1)},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "dilation": 2},
    {"kernel_size": 3, "groups": 2},
    {"kernel_size": 3, "padding": (1, 0)},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
]


@pytest.mark.parametrize("settings", OTHERS, ids=str)
def test_other_convolutions_are_left_alone(settings, counted):
    conv = nn.Conv2d(4, 6, **settings)
    x = tensors(1, 4, 6, 8, 8)[0]
    assert not fits(conv) and type(apply(conv)) is nn.Conv2d
    module = Conv3x3(4, 6, **settings)
    module.load_state_dict(conv.state_dict())
    assert torch.equal(module(x), conv(x)) and not counted


@pytest.mark.parametrize("padding", [0, 1, "valid", "same"])
def test_a_convolution_that_fits_is_compiled(padding, counted):
    conv = nn.Conv2d(4, 6, 3, padding=padding)
    x = tensors(1, 4, 6, 8, 8)[0]
    exact = conv(x).double()
    assert error(apply(conv)(x), exact) < BOUND and counted == ["steepest_conv"]


def test_a_module_takes_an_image_without_a_batch_and_refuses_what_pytorch_refuses():
    conv = Conv3x3(3, 4, 3)
    assert conv(torch.zeros(3, 5, 5)).shape == (4, 3, 3)
    with pytest.raises(RuntimeError):
        conv(torch.zeros(1, 2, 5, 5))
    with pytest.raises(RuntimeError):
        conv(torch.zeros(1, 3, 2, 5))


def test_a_network_keeps_its_parameters_hooks_and_mode(counted):
    class Own(nn.Conv2d):
        pass

    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Sequential(nn.Conv2d(8, 8, 3)), Own(8, 4, 3)
    ).eval()
    parameters, state = [id(one) for one in net.parameters()], copy.deepcopy(net.state_dict())
    seen = []
    net[0].register_forward_hook(lambda module, given, out: seen.append(out.shape))
    x = tensors(2, 3, 8, 9, 9)[0]
    exact = net(x).double()
    assert apply(net) is net and not net.training
    assert [type(one) for one in net.modules()].count(Conv3x3) == 2 and type(net[3]) is Own
    assert [id(one) for one in net.parameters()] == parameters
    assert all(torch.equal(one, state[name]) for name, one in net.state_dict().items())
    assert error(net(x), exact) < BOUND and len(seen) == 2 and len(counted) == 2
    assert apply(nn.Linear(2, 3)) is not None


def test_a_network_learns_as_with_pytorchs():
    """Ten steps of gradient descent: the losses of both stay together."""

    def losses(change):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, 3)
        )
        net = change(net)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        x = torch.randn(16, 3, 6, 6).contiguous(memory_format=LAST)
        targets, seen = torch.arange(16) % 3, []
        for _ in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), targets)
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        return torch.tensor(seen)

    ours, theirs = losses(apply), losses(lambda net: net)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert ours[-1] < ours[0]
