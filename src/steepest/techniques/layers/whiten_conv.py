"""A first convolution whose filters are fixed whitening filters; only its bias is trained.

Formula: y = w * x + b, with x the image and w 2·C·k² filters of k×k, the second half minus the first. When the first
half are the principal axes of the training images' k×k patches, each divided by √(λ + ε) of its variance λ, the outputs
are decorrelated with variance about 1, whatever the images' own correlations. The filters are set once, by
whitening_init, from training images; until then they are random and orthonormal. The bias b starts at zero and is
trained until `progress` (the share of the training that is done, set by the training loop) reaches `bias_until`, with
its gradient times 1 - progress/bias_until, unless that is 1; from then on it gets no gradient, and the backward pass
need not reach this layer at all.

Source: D. Page, How to train your ResNet 8: Bag of tricks, 2019, https://github.com/davidcpage/cifar10-fast (3×3
filters); K. Jordan, 2024, arXiv 2404.00498, https://github.com/KellerJordan/cifar10-airbench (2×2 filters, both signs,
trained bias).

Differs: the random orthonormal start, where the source has PyTorch's own and always overwrites it; the source gives
the bias a rate that falls to 0 by itself, where here its gradient does so, under the rate of the whole training.

Helps: as the first layer in short trainings on natural images, where neighbouring pixels are alike.

Hurts: little elsewhere, but a frozen first layer cannot learn filters that differ from the images' principal axes. An
initialisation that sets every convolution's weight would overwrite the filters. Weight decay never reaches them,
because they take no gradient.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..card import Card

CARD = Card(
    tiny={"in_channels": 3},
    allows={"in_channels": "[1, 65536]", "kernel": "[1, 64]", "bias_until": "[0, 1]"},
    pictures=True,
)


def _convolved(module: nn.Module, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return F.conv2d(x, weight, bias)


class WhitenConv2d(nn.Module):
    """(N, C, H, W) -> (N, 2·C·k², H - k + 1, W - k + 1), with frozen filters and a trained bias.

    in_channels: C from 1. kernel: k from 1, at most the image's sides. bias_until: in [0, 1]; the bias takes no
    gradient once `progress` is at least this. progress: in [0, 1], set from outside, not part of the state. Raises
    Mistake (a ValueError) for a setting out of range.
    """

    convolve = staticmethod(_convolved)  # a module may have another one, which also activates what comes out

    def __init__(self, in_channels: int, kernel: int = 2, bias_until: float = 1.0) -> None:
        super().__init__()
        CARD.check(in_channels=in_channels, kernel=kernel, bias_until=bias_until)
        self.in_channels = in_channels
        self.kernel = kernel
        self.out_channels = 2 * in_channels * kernel**2
        self.bias_until = bias_until
        self.progress = 0.0
        half = nn.init.orthogonal_(torch.empty(self.out_channels // 2, in_channels, kernel, kernel))
        self.weight = nn.Parameter(torch.cat((half, -half)), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(self.out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias: torch.Tensor = self.bias
        if self.progress >= self.bias_until:
            bias = bias.detach()
        elif self.progress and self.bias_until < 1:
            bias = torch.lerp(bias.detach(), bias, 1 - self.progress / self.bias_until)
        return self.convolve(self, x, self.weight, bias)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel={self.kernel}, bias_until={self.bias_until}"
