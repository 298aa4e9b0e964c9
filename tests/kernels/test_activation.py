"""A compiled activation is torch's to 1e-6 over the whole range of numbers; PyTorch's own serves elsewhere."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import fx, nn
from torch.autograd import forward_ad

from steepest.kernels import activation, library, replace
from steepest.kernels.activation import KINDS, activate, kind_of, torchs

LAST = torch.channels_last
MODULES = {
    "relu": nn.ReLU(),
    "leaky": nn.LeakyReLU(0.1),
    "gelu": nn.GELU(),
    "tanh": nn.GELU("tanh"),
    "silu": nn.SiLU(),
    "celu": nn.CELU(),
    "narrow celu": nn.CELU(0.075),
    "narrowest celu": nn.CELU(1e-6),
    "wide celu": nn.CELU(1e6),
}

pytestmark = pytest.mark.skipif(library.library() is None, reason="no compiled kernels here")


@pytest.fixture(params=MODULES)
def module(request):
    return replace.apply(copy.deepcopy(MODULES[request.param]))


def both(kind, x, dy):
    """Value and gradient, and those of PyTorch's operators in float64."""
    ours, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    y, z = activate(ours, kind), torchs(exact, kind)
    y.backward(dy)
    z.backward(dy.double())
    return (y.detach(), ours.grad), (z.detach(), exact.grad)


def far(limit):
    """Numbers from -limit to limit, denser about 0, with 0 and the smallest ones."""
    x = torch.logspace(-38, math.log10(limit), 100_001, dtype=torch.float64).float()
    return torch.cat((-x, x, torch.linspace(-8, 8, 100_001), torch.zeros(3)))


@pytest.mark.parametrize("limit", [1e4, 1e18])
def test_values_and_slopes_are_right_over_the_whole_range(module, limit):
    x = far(limit)
    (y, dx), (exact, slope) = both(kind_of(module), x, torch.ones_like(x))
    assert ((y.double() - exact).abs() <= 1e-6 * exact.abs().clamp(min=1)).all()
    assert (dx.double() - slope).abs().max() < 1e-6


def test_gelu_is_right_to_half_a_millionth_where_it_is_small():
    x = torch.linspace(-12, 0, 100_001)
    (y, _), (exact, _) = both(kind_of(activation.GELU()), x, torch.ones_like(x))
    assert (y.double() - exact).abs().max() < 5e-7


@pytest.mark.parametrize("kind", [(6, 1.0), (6, 1e6)])
def test_celu_has_all_its_digits_next_to_0(kind):
    x = -torch.logspace(-30, 0, 10_001)
    (y, _), (exact, _) = both(kind, x, torch.ones_like(x))
    assert ((y.double() - exact) / exact).abs().max() < 1e-6


def test_nan_stays_nan_and_infinity_has_its_limit(module):
    strange = torch.tensor([math.nan, math.inf, -math.inf] * 7)
    y = activate(strange, kind_of(module))
    assert y[::3].isnan().all() and (y[1::3] == math.inf).all()
    low = torchs(torch.tensor([-math.inf]).double(), kind_of(module))
    assert low.isnan().all() or torch.equal(y[2::3].double(), low.expand(7).double()) or kind_of(module)[0] == 6


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (2, 3, 5, 7), (5, 24, 31, 31), (1, 1, 1, 1), (40, 1000)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
def test_every_shape_and_layout(module, shape, layout, counted):
    if layout is LAST and len(shape) != 4:
        return
    x, dy = torch.randn(2, *shape)
    x = x.contiguous(memory_format=layout)
    ours, exact = both(kind_of(module), x, dy)
    assert ours[0].stride() == ours[1].stride() == x.stride() and len(counted) == 2
    for one, other in zip(ours, exact, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-5, rtol=1e-5)


def test_a_module_has_its_own_settings_and_computes_what_torchs_does(module):
    theirs = next(one for one in MODULES.values() if repr(one) == repr(module))
    x = torch.randn(3, 5, 7, 7)
    assert isinstance(module, type(theirs)) and type(module) in KINDS
    torch.testing.assert_close(module(x), theirs(x), atol=1e-6, rtol=1e-6)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert type(other) is type(module) and torch.equal(other(x), module(x))


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_what_it_does_not_serve_is_pytorchs(module, counted):
    theirs = next(one for one in MODULES.values() if repr(one) == repr(module))
    x = torch.randn(3, 5, 7, 7)
    for one in (x.double(), x[:, :, ::2], x[:0], x.bfloat16()):
        assert torch.equal(module(one), theirs(one))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(x), theirs(x))
    assert torch.equal(torch.vmap(module)(x), theirs(x))
    assert torch.equal(torch.jit.trace(module, x, check_trace=False)(x), theirs(x))
    graph = fx.symbolic_trace(nn.Sequential(module)).graph
    assert [node.op for node in graph.nodes] == ["placeholder", "call_module", "output"]
    with forward_ad.dual_level():
        assert torch.equal(
            forward_ad.unpack_dual(module(forward_ad.make_dual(x, x))).tangent,
            forward_ad.unpack_dual(theirs(forward_ad.make_dual(x, x))).tangent,
        )
    assert not counted


def test_an_activation_in_place_stays_in_place(counted):
    for made in (nn.ReLU(inplace=True), nn.SiLU(inplace=True), nn.CELU(inplace=True)):
        x = torch.randn(2, 3, 4, 4)
        assert replace.apply(made)(x) is x
    assert not counted


def test_only_those_that_are_faster_alone_are_compiled(counted):
    for made in (nn.ReLU(), nn.LeakyReLU(), nn.GELU(), nn.SiLU(), nn.CELU()):
        replace.apply(made)(torch.randn(5))
    assert counted == ["steepest_activation"] * 3


def test_gradients_of_gradients_are_pytorchs(module):
    x, dy = torch.randn(2, 4, 3, 3, 3)

    def second(function, x, dy):
        x = x.requires_grad_()
        (first,) = torch.autograd.grad((function(x) * dy).sum(), x, create_graph=True)
        return torch.autograd.grad((first**3).sum(), x, allow_unused=True)[0]

    kind = kind_of(module)
    if kind[0] > 2:  # the others are straight
        exact = second(lambda x: torchs(x, kind), x.double(), dy.double())
        ours = second(lambda x: activate(x, kind), x, dy)
        torch.testing.assert_close(ours.double(), exact, atol=1e-4, rtol=1e-4)


def test_a_gradient_in_any_layout_is_taken():
    x = torch.randn(2, 5, 4, 3).contiguous(memory_format=LAST)
    for dy in (torch.randn(2, 5, 4, 3), torch.ones(()).expand(2, 5, 4, 3), torch.randn(2, 5, 3, 4).transpose(2, 3)):
        ours, exact = both((3, 0.0), x, dy)
        torch.testing.assert_close(ours[1].double(), exact[1], atol=1e-5, rtol=1e-5)
