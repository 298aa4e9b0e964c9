"""ResNet-9 (DavidNet), the nine-layer residual network that won DAWNBench's CIFAR-10 contest.

Layers (width 64), where "conv" is conv 3×3 without bias, batch norm, ReLU: prep conv 64; conv 128, max-pool 2,
residual of two convs; conv 256, max-pool 2; conv 512, max-pool 2, residual of two convs; the map's maximum; linear
without bias; × 0.125. PyTorch's own initialisation.

Source: D. Page, How to train your ResNet, 2018, https://github.com/davidcpage/cifar10-fast (dawn_utils.py).

Differs: the last pool (4×4 there) takes the maximum over the whole map, so any image from 8×8 fits; among equal
maxima the gradient is shared, where a max-pool gives it to the first.
"""

from __future__ import annotations

import torch
from torch import nn

WIDTH = 64
SMALLEST = 8


def build(classes: int, shape: tuple[int, ...], width: int) -> ResNet9:
    """For images of `shape` (C, H, W) with sides of at least 8."""
    return ResNet9(classes, shape[0], width)


class ResNet9(nn.Module):
    """(N, C, H, W) -> logits (N, K)."""

    def __init__(self, classes: int, channels: int, width: int = WIDTH) -> None:
        super().__init__()
        self.prep = ConvNorm(channels, width)
        self.layer1 = ConvNorm(width, 2 * width)
        self.residual1 = Residual(2 * width)
        self.layer2 = ConvNorm(2 * width, 4 * width)
        self.layer3 = ConvNorm(4 * width, 8 * width)
        self.residual3 = Residual(8 * width)
        self.pool = nn.MaxPool2d(2)
        self.linear = nn.Linear(8 * width, classes, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.prep(x)
        x = self.residual1(self.pool(self.layer1(x)))
        x = self.pool(self.layer2(x))
        x = self.residual3(self.pool(self.layer3(x)))
        logits: torch.Tensor = self.linear(x.amax((2, 3))) * 0.125
        return logits


class ConvNorm(nn.Module):
    """conv 3×3, batch norm, ReLU: (N, C_in, H, W) -> (N, C, H, W)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.activ = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.activ(self.bn(self.conv(x)))
        return y


class Residual(nn.Module):
    """x plus two ConvNorms of x: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.res1 = ConvNorm(channels, channels)
        self.res2 = ConvNorm(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x + self.res2(self.res1(x))
        return y
