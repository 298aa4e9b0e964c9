"""The network of the CIFAR-10 speed record: a fixed whitening layer and three groups of two convolutions.

Layers (width 64): whitening conv 2×2 with 2·C·4 frozen filters and a trained bias, GELU; three groups with 64, 256, 256
channels; the map's maximum; linear without bias; × 1/9. A group is conv 3×3, max-pool 2, batch norm, GELU, conv 3×3,
batch norm, GELU. In group `unpadded` (0: in none) the first convolution has no padding: with 2, the groups make maps of
15, 6 and 3 pixels a side of an image of 32×32, not of 15, 7 and 3, and Winograd's tiles of 6 fit these far better.
Convolutions have no bias and pass their input through at the start (Dirac, in as many output channels as there are
input channels; the others have PyTorch's own initialisation); batch norm has its scale frozen at 1, ε = 1e-12 and
renews `norm_momentum` of its running statistics with each part that goes through the network.

Source: K. Jordan, 94% on CIFAR-10 in 3.29 seconds on a single GPU, 2024, arXiv 2404.00498;
https://github.com/KellerJordan/cifar10-airbench (airbench94).

Differs: the last pool (3×3 there) takes the maximum over the whole map, and a group whose map has a side below 2 does
not pool, so any image from 2×2 fits; which groups pool is settled for the size of image that the network is built for.
There all groups are padded; here a map with a side below 4 is, whatever `unpadded` says. Until an initialisation sets
the whitening filters from training images they are random and orthogonal. `bias_until` is the share of the training
after which the whitening bias stays as it is (3 of 9.9 epochs there; 1 never stops it). The source renews 0.4 with
batches of 1024 to 2000 images; with parts of 125 that leaves too noisy an estimate for evaluation.
"""

from __future__ import annotations

import torch
from torch import nn

from steepest.mistake import Mistake
from steepest.techniques.layers.whiten_conv import WhitenConv2d

WIDTH = 64
SMALLEST = 2


def build(
    classes: int,
    shape: tuple[int, ...],
    width: int,
    *,
    bias_until: float = 1.0,
    norm_momentum: float = 0.4,
    unpadded: int = 0,
) -> Speedrun:
    """For images of `shape` (C, H, W) with sides of at least 2. `bias_until` and `norm_momentum` lie in [0, 1],
    `unpadded` is 0 to 3."""
    if not 0 <= bias_until <= 1:
        raise Mistake(f"bias_until of speedrun is a share of the training from 0 to 1, not {bias_until}")
    if not 0 <= norm_momentum <= 1:
        raise Mistake(f"norm_momentum of speedrun is a share of the statistics from 0 to 1, not {norm_momentum}")
    if unpadded not in range(4):
        raise Mistake(f"unpadded of speedrun is a group from 1 to 3, or 0 for none, not {unpadded}")
    return Speedrun(classes, shape, width, bias_until, norm_momentum, unpadded)


class Speedrun(nn.Module):
    """(N, C, H, W) -> logits (N, K)."""

    def __init__(
        self,
        classes: int,
        shape: tuple[int, ...],
        width: int = WIDTH,
        bias_until: float = 1.0,
        norm_momentum: float = 0.4,
        unpadded: int = 0,
    ) -> None:
        super().__init__()
        self.whiten = WhitenConv2d(shape[0], bias_until=bias_until)
        self.activ = nn.GELU()
        side = min(shape[1:]) - 1
        self.group1 = Group(self.whiten.out_channels, width, side, unpadded == 1)
        self.group2 = Group(width, 4 * width, self.group1.side, unpadded == 2)
        self.group3 = Group(4 * width, 4 * width, self.group2.side, unpadded == 3)
        self.head = nn.Linear(4 * width, classes, bias=False)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = norm_momentum

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.activ(self.whiten(x))
        x = self.group3(self.group2(self.group1(x)))
        logits: torch.Tensor = self.head(x.amax((2, 3))) / 9
        return logits


class Group(nn.Module):
    """Two convolutions and a pool: (N, C_in, H, W) -> (N, C, H // 2, W // 2), or (N, C, H, W) without the pool.

    side: the lesser of H and W; afterwards that of the outputs. unpadded: H and W are less by 2 from the start.
    """

    def __init__(self, channels_in: int, channels: int, side: int, unpadded: bool) -> None:
        super().__init__()
        padding = 0 if unpadded and side >= 4 else 1
        side += 2 * padding - 2
        self.side = side // 2 if side >= 2 else side
        self.conv1 = _dirac_conv(channels_in, channels, padding)
        self.pool = nn.MaxPool2d(2) if side >= 2 else nn.Identity()
        self.norm1 = _norm(channels)
        self.activ1 = nn.GELU()
        self.conv2 = _dirac_conv(channels, channels)
        self.norm2 = _norm(channels)
        self.activ2 = nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.activ1(self.norm1(self.pool(self.conv1(x))))
        y: torch.Tensor = self.activ2(self.norm2(self.conv2(x)))
        return y


def _dirac_conv(channels_in: int, channels: int, padding: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(channels_in, channels, 3, padding=padding, bias=False)
    nn.init.dirac_(conv.weight.detach()[:channels_in])
    return conv


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=1e-12)
    norm.weight.requires_grad_(False)
    return norm
