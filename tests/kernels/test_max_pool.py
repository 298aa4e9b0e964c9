"""The compiled pool is torch's to the last bit, forward and backward."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from steepest.kernels import library, replace
from steepest.kernels.max_pool import MaxPool2x2, fits

LAST = torch.channels_last

pytestmark = pytest.mark.skipif(library.library() is None, reason="no compiled kernels here")


def ours():
    return replace.apply(nn.MaxPool2d(2))


def both(x, seed=0):
    """Output and gradient, ours and PyTorch's."""
    given = []
    for pool in (ours(), nn.MaxPool2d(2)):
        leaf = x.clone().requires_grad_()
        y = pool(leaf)
        y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)))
        given.append((y.detach(), leaf.grad))
    return given


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 33, 64])
@pytest.mark.parametrize("size", [(2, 2), (3, 3), (2, 5), (7, 4), (9, 31), (32, 32)])
def test_every_shape(channels, size, counted):
    x = torch.randn(3, channels, *size).contiguous(memory_format=LAST)
    (y, dx), (exact, slope) = both(x)
    assert torch.equal(y, exact) and torch.equal(dx, slope) and len(counted) == 2
    assert channels == 1 or (y.stride() == exact.stride() and dx.stride() == slope.stride())


def test_of_equal_numbers_the_first_and_nan_is_the_largest():
    x = torch.randint(-1, 2, (50, 19, 6, 7)).float().contiguous(memory_format=LAST)
    x[x < 0] = math.nan
    x[:25][x[:25] == 0] = -math.inf
    for one, other in zip(*both(x), strict=True):
        assert torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0))


def test_any_number_of_threads_computes_the_same():
    x = torch.randn(40, 33, 15, 14).contiguous(memory_format=LAST)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert all(torch.equal(one, other) for one, other in zip(*both(x), strict=True))
    finally:
        torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_what_it_does_not_serve_is_pytorchs(counted):
    pool, x = ours(), torch.randn(2, 3, 6, 6)
    for one in (x, x[0].contiguous(), x.double().contiguous(memory_format=LAST), x[:, :, ::2]):
        assert torch.equal(pool(one), F.max_pool2d(one, 2))
    last = x.contiguous(memory_format=LAST)
    assert torch.equal(torch.vmap(pool)(last), F.max_pool2d(x, 2))
    assert torch.equal(torch.jit.trace(pool, last, check_trace=False)(last), F.max_pool2d(x, 2))
    with torch.autocast("cpu", torch.bfloat16):
        pool(last)
    assert "call_module" in [node.op for node in fx.symbolic_trace(nn.Sequential(pool)).graph.nodes]
    with pytest.raises(RuntimeError, match="too small"):
        pool(torch.zeros(1, 3, 1, 4).contiguous(memory_format=LAST))
    assert not counted


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 3},
        {"kernel_size": 2, "stride": 1},
        {"kernel_size": 2, "padding": 1},
        {"kernel_size": 2, "dilation": 2},
        {"kernel_size": 2, "ceil_mode": True},
        {"kernel_size": 2, "return_indices": True},
        {"kernel_size": (2, 3)},
    ],
    ids=str,
)
def test_other_pools_are_left_alone(settings):
    pool = nn.MaxPool2d(**settings)
    assert not fits(pool) and type(replace.apply(pool)) is nn.MaxPool2d


def test_pools_of_2_by_2_in_every_spelling_are_compiled():
    for pool in (nn.MaxPool2d((2, 2)), nn.MaxPool2d(2, (2, 2)), nn.MaxPool2d(2, 2, (0, 0))):
        assert type(replace.apply(pool)) is MaxPool2x2
    for other in (copy.deepcopy(ours()), pickle.loads(pickle.dumps(ours()))):
        assert type(other) is MaxPool2x2


def test_gradients_of_gradients_are_pytorchs():
    x = torch.randn(2, 5, 5, 7).contiguous(memory_format=LAST)

    def second(pool):
        leaf, by = x.clone().requires_grad_(), torch.randn(2, 5, 2, 3, generator=torch.Generator().manual_seed(0))
        y = pool(leaf)
        (first,) = torch.autograd.grad((y**3 * by).sum(), leaf, create_graph=True)
        return torch.autograd.grad((first**2).sum(), leaf)[0]

    torch.testing.assert_close(second(ours()), second(nn.MaxPool2d(2)))


def test_only_a_byte_an_output_is_kept():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one.nbytes), lambda one: one):
        y = ours()(torch.randn(2, 8, 6, 6).contiguous(memory_format=LAST).requires_grad_())
    assert kept == [y.numel()]
