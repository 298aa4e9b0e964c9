"""Batch norm whose statistics are those of small parts of the batch, each part being normalised by its own.

Formula: y = γ·(x - μ_s) / √(σ²_s + ε) + β for every image x of part s, with μ_s and σ²_s the mean and the (biased)
variance of each channel over the images and pixels of that part alone, ε a small number against division by zero, and
γ, β the channel's trained scale and shift, the same for all parts. A batch of N images has max(1, ⌊N / size⌋) parts of
consecutive images, as equal as can be: none has fewer than `size`, unless the batch itself has. The running mean and
variance move by `momentum` towards the average over the parts of μ_s and of the unbiased variance; in evaluation they
are used as in any batch norm.

Source: D. Page, How to train your ResNet 8: Bag of tricks, 2019, https://github.com/davidcpage/cifar10-fast (512
images in 16 parts, that is 32 in each); the idea is from E. Hoffer, I. Hubara, D. Soudry, Train longer, generalize
better, 2017, arXiv 1705.08741.

Differs: the setting is the number of images in a part, where Page has the number of parts: what matters is how noisy
the statistics are, and a last, smaller batch then keeps that noise. His part s holds every 16th image, here they are
neighbours; in shuffled batches that is the same. A number of images that does not divide the batch is allowed. Page
keeps running statistics for each part and averages them before evaluation, which gives the same numbers.

Helps: where batches are large for speed: it brings back the noise of small batches, which regularises. About 32 images
in a part are best for CIFAR-10, by the source.

Hurts: below about 16 images in a part, where the noise becomes too much, and a little speed, because the parts are
normalised one after another. It takes the place of the network's batch norms, so it clashes with what else does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .. import surgery
from ..card import Card
from .batch_norm import renewed_share, require_batch, require_shape

CARD = Card(off={"size": 65536}, tiny={"size": 8}, place="norm", allows={"size": "[1, 65536]"})


def apply(model: nn.Module, size: int = 32) -> nn.Module:
    """The network with ghost batch norm in the place of batch norm, with its weights and running statistics."""
    CARD.check(size=size)
    return surgery.renew_norms(model, GhostBatchNorm1d, GhostBatchNorm2d, size=size)


def _normalised(module: _GhostBatchNorm, x: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """Parts of so many images, each by its own statistics; one or none of them: as in any batch norm."""
    if len(sizes) < 2:
        return nn.modules.batchnorm._BatchNorm.forward(module, x)
    kind = x.dtype if module.running_mean is None else module.running_mean.dtype
    means, variances = torch.zeros(2, len(sizes), x.shape[1], device=x.device, dtype=kind)
    # A momentum of 1 leaves each part's own mean and unbiased variance in its row.
    out = [
        F.batch_norm(part, mean, variance, module.weight, module.bias, True, 1.0, module.eps)
        for part, mean, variance in zip(x.split(sizes), means, variances, strict=True)
    ]
    if module.running_mean is not None and module.running_var is not None:
        share = renewed_share(module)
        module.running_mean.lerp_(means.mean(0), share)
        module.running_var.lerp_(variances.mean(0), share)
    return torch.cat(out)


class _GhostBatchNorm(nn.modules.batchnorm._BatchNorm):
    folds = True
    normalise = staticmethod(_normalised)  # a module may have another one, which also activates what comes out

    def __init__(self, num_features: int, *settings: Any, size: int = 32, **more: Any) -> None:
        CARD.check(size=size)
        super().__init__(num_features, *settings, **more)
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        require_shape(self, x)
        if not self.training:
            return self.normalise(self, x, [])
        parts = max(1, len(x) // self.size)
        require_batch(x, len(x) // parts)
        less, longer = divmod(len(x), parts)
        return self.normalise(self, x, [less + 1] * longer + [less] * (parts - longer))

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, size={self.size}"


class GhostBatchNorm1d(_GhostBatchNorm, nn.BatchNorm1d):
    """(N, C) or (N, C, L) -> the same, normalised part by part; settings as GhostBatchNorm2d's."""


class GhostBatchNorm2d(_GhostBatchNorm, nn.BatchNorm2d):
    """(N, C, H, W) -> the same, normalised part by part.

    Settings are those of torch.nn.BatchNorm2d, and size: the number of images in a part, from 1. Raises Mistake (a
    ValueError) for a setting out of range, and where a channel of a part has a single value.
    """
