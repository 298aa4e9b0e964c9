"""The speedrun network against the published order of operations, and its initialisation."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steepest import models
from steepest.mistake import Mistake


def speedrun(shape=(3, 32, 32), width=8, **settings):
    torch.manual_seed(0)
    return models.build("speedrun", classes=10, shape=shape, width=width, **settings)


def published(state, x):
    """make_net() of airbench94 in training mode, written out: (N, 3, 32, 32) -> (N, 10)."""

    def norm(x, name):
        return F.batch_norm(x, None, None, None, state[f"{name}.bias"], training=True, eps=1e-12)

    x = F.gelu(F.conv2d(x, state["whiten.weight"], state["whiten.bias"]))
    for group in ("group1", "group2", "group3"):
        x = F.max_pool2d(F.conv2d(x, state[f"{group}.conv1.weight"], padding="same"), 2)
        x = F.gelu(norm(x, f"{group}.norm1"))
        x = F.conv2d(x, state[f"{group}.conv2.weight"], padding="same")
        x = F.gelu(norm(x, f"{group}.norm2"))
    return F.linear(F.max_pool2d(x, 3).flatten(1), state["head.weight"]) * (1 / 9)


def test_it_equals_the_published_network_forward_and_backward():
    net = speedrun().double()
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    image = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    twin = {key: p.detach().clone().requires_grad_(p.requires_grad) for key, p in net.named_parameters()}
    ours, theirs = net(image), published(twin, image)
    torch.testing.assert_close(ours, theirs)
    F.cross_entropy(ours, torch.arange(4)).backward()
    F.cross_entropy(theirs, torch.arange(4)).backward()
    for key, parameter in net.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, twin[key].grad, msg=key)


@pytest.mark.parametrize(("channels", "width"), [(3, 64), (1, 64), (3, 16)])
def test_the_parameters_are_those_of_the_formula(channels, width):
    net = speedrun((channels, 32, 32), width)
    filters, w = 8 * channels, width
    whiten = filters * channels * 4
    convs = 9 * (filters * w + w * w + w * 4 * w + 3 * (4 * w) ** 2)
    biases = filters + 2 * w + 4 * 4 * w
    scales = 2 * w + 4 * 4 * w
    assert sum(p.numel() for p in net.parameters()) == whiten + convs + biases + scales + 40 * w
    assert sum(p.numel() for p in net.parameters() if not p.requires_grad) == whiten + scales


def test_a_convolution_passes_its_input_through_at_the_start():
    net = speedrun(width=32)
    x = torch.randn(2, 24, 9, 9)
    torch.testing.assert_close(net.group1.conv1(x)[:, :24], x)
    others = net.group1.conv1.weight[24:].detach()
    assert others.std().item() == pytest.approx((1 / (3 * 24 * 9)) ** 0.5, rel=0.1)  # PyTorch's own
    x = torch.randn(2, 128, 5, 5)
    torch.testing.assert_close(net.group3.conv2(x), x)


def test_a_network_narrower_than_its_whitening_passes_the_first_channels_through():
    x = torch.randn(2, 24, 9, 9)
    torch.testing.assert_close(speedrun(width=4).group1.conv1(x), x[:, :4])


def test_batch_norm_has_the_published_settings():
    norms = [m for m in speedrun().modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.num_features for m in norms] == [8, 8, 32, 32, 32, 32]
    for norm in norms:
        assert (norm.eps, norm.momentum) == (1e-12, 0.4)
        assert not norm.weight.requires_grad and norm.weight.eq(1).all() and norm.bias.requires_grad


def test_the_momentum_of_every_norm_may_be_set():
    norms = [m for m in speedrun(norm_momentum=0.05).modules() if isinstance(m, nn.BatchNorm2d)]
    assert [norm.momentum for norm in norms] == [0.05] * 6
    with pytest.raises(Mistake, match="norm_momentum"):
        speedrun(norm_momentum=1.5)


def maps(side, **settings):
    """The sides of the three groups' outputs."""
    net, sides = speedrun((1, side, side), **settings), []
    for group in (net.group1, net.group2, net.group3):
        group.register_forward_hook(lambda _module, _inputs, out: sides.append(out.shape[-1]))
    net(torch.randn(2, 1, side, side))
    return sides


@pytest.mark.parametrize(
    ("side", "sides"),
    [(2, [1, 1, 1]), (5, [2, 1, 1]), (8, [3, 1, 1]), (9, [4, 2, 1]), (32, [15, 7, 3]), (64, [31, 15, 7])],
)
def test_a_map_of_one_pixel_is_not_pooled(side, sides):
    assert maps(side) == sides


@pytest.mark.parametrize(
    ("unpadded", "side", "sides"),
    [
        (1, 32, [14, 7, 3]),
        (2, 32, [15, 6, 3]),
        (3, 32, [15, 7, 2]),
        (2, 9, [4, 1, 1]),
        (2, 8, [3, 1, 1]),
        (1, 5, [1, 1, 1]),
    ],
)
def test_the_first_convolution_of_one_group_may_have_no_padding(unpadded, side, sides):
    assert maps(side, unpadded=unpadded) == sides


@pytest.mark.parametrize("unpadded", [-1, 4])
def test_there_are_three_groups_to_leave_unpadded(unpadded):
    with pytest.raises(Mistake, match=f"unpadded of speedrun is a group from 1 to 3, or 0 for none, not {unpadded}"):
        speedrun(unpadded=unpadded)


def test_the_whitening_bias_rests_after_its_share_of_the_training():
    net = speedrun(bias_until=0.3)
    for progress, trained in ((0.0, True), (0.29, True), (0.3, False), (0.9, False)):
        net.zero_grad(set_to_none=True)
        net.whiten.progress = progress
        net(torch.randn(4, 3, 32, 32)).sum().backward()
        assert (net.whiten.bias.grad is not None) == trained
        assert net.group1.conv1.weight.grad is not None
