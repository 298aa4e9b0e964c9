"""The whitening convolution: its filters, its frozen weight, and the bias that rests."""

import numpy as np
import pytest
import torch

from steepest.techniques.layers.whiten_conv import WhitenConv2d


@pytest.mark.parametrize(("channels", "kernel"), [(1, 1), (1, 2), (3, 2), (3, 3)])
def test_it_equals_the_loop_over_patches(channels, kernel):
    layer = WhitenConv2d(channels, kernel).double()
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, channels, 6, 5, dtype=torch.float64)
    weight, bias = layer.weight.numpy(), layer.bias.detach().numpy()
    out = np.empty((2, 2 * channels * kernel**2, 7 - kernel, 6 - kernel))
    for i in range(7 - kernel):
        for j in range(6 - kernel):
            patch = x.numpy()[:, :, i : i + kernel, j : j + kernel]
            out[:, :, i, j] = np.einsum("ncij,fcij->nf", patch, weight) + bias
    np.testing.assert_allclose(layer(x).detach().numpy(), out, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("channels", "kernel", "filters"), [(1, 2, 8), (3, 2, 24), (3, 3, 54)])
def test_the_filters_are_orthonormal_and_come_in_pairs_of_opposite_sign(channels, kernel, filters):
    layer = WhitenConv2d(channels, kernel)
    assert layer.weight.shape == (filters, channels, kernel, kernel)
    first, second = layer.weight.flatten(1).chunk(2)
    torch.testing.assert_close(first @ first.T, torch.eye(filters // 2))
    assert torch.equal(second, -first)
    assert not layer.bias.any()


def test_only_the_bias_is_trained():
    layer = WhitenConv2d(3)
    layer(torch.randn(2, 3, 5, 5)).square().sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None and layer.bias.grad.shape == (24,)


def test_from_bias_until_on_nothing_reaches_the_layer_and_the_output_is_the_same():
    layer = WhitenConv2d(3, bias_until=0.5)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 5, 5)
    layer.progress = 0.499
    before = layer(x)
    assert before.requires_grad
    layer.progress = 0.5
    after = layer(x)
    assert not after.requires_grad
    assert torch.equal(before, after)


@pytest.mark.parametrize(("until", "shares"), [(0.5, (1.0, 0.5, 0.02)), (1.0, (1.0, 1.0, 1.0))])
def test_the_gradient_fades_until_then_unless_there_is_no_end(until, shares):
    layer, x = WhitenConv2d(3, bias_until=until), torch.randn(2, 3, 5, 5)
    torch.nn.init.normal_(layer.bias)
    for progress, share in zip((0.0, 0.25, 0.49), shares, strict=True):
        layer.progress = progress
        (gradient,) = torch.autograd.grad(layer(x).sum(), layer.bias)
        torch.testing.assert_close(gradient, torch.full((24,), 32 * share))


def test_a_bias_until_of_one_trains_to_the_end_and_of_zero_never():
    x = torch.randn(1, 1, 4, 4)
    always, never = WhitenConv2d(1), WhitenConv2d(1, bias_until=0.0)
    always.progress = 1 - 1e-9
    assert always(x).requires_grad and not never(x).requires_grad


def test_the_input_still_gets_its_gradient_when_the_bias_rests():
    layer = WhitenConv2d(1, bias_until=0.0)
    x = torch.randn(1, 1, 4, 4, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None and x.grad.any() and layer.bias.grad is None


def test_progress_is_no_part_of_the_state():
    assert sorted(WhitenConv2d(3).state_dict()) == ["bias", "weight"]


def test_the_same_seed_gives_the_same_filters():
    torch.manual_seed(5)
    one = WhitenConv2d(3).weight
    torch.manual_seed(5)
    assert torch.equal(one, WhitenConv2d(3).weight)
