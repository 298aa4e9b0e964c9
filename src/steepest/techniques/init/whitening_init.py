"""Sets the first layer's filters from training images, so that its outputs are decorrelated and of like size.

Formula: with P = E[p pᵀ] over all k×k patches p of the images (flattened to C·k² values) and P = Σᵢ λᵢ vᵢ vᵢᵀ, the
filters are vᵢ / √(λᵢ + ε), in order of rising λᵢ, then the same with a minus; ε = `eps`.

Source: D. Page, How to train your ResNet 8: Bag of tricks, 2019; K. Jordan, 2024, arXiv 2404.00498,
https://github.com/KellerJordan/cifar10-airbench (both signs, 2×2 patches, ε = 5e-4).

Differs: each vᵢ gets the sign that makes its largest entry positive, so that the filters depend on the images only.

Helps: in short trainings on natural images, whose neighbouring pixels are alike: the network need not learn to undo
that.

Hurts: where patches hardly vary in some direction (drawings, digits on black): it is blown up by up to 1/√ε. Needs a
model whose first layer is whiten_conv, like speedrun; an initialisation of all convolutions after it would overwrite
the filters.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ...mistake import Mistake
from ..card import Card
from ..layers.whiten_conv import WhitenConv2d

CARD = Card(allows={"eps": "(0, 1e6]"}, pictures=True)
IMAGES = 5000
CHUNK = 250


@torch.no_grad()
def whitening_init(model: nn.Module, images: torch.Tensor, *, generator: torch.Generator, eps: float = 5e-4) -> None:
    """Sets the filters of the model's first WhitenConv2d, in place; draws nothing.

    images: (N,C,H,W) normalised training images; the first 5000 are used. eps: above 0, in units of the patches'
    variance. Raises Mistake (a ValueError) where there is no such layer, no image, or the images do not fit it.
    """
    CARD.check(eps=eps)
    layer = next((module for module in model.modules() if isinstance(module, WhitenConv2d)), None)
    if layer is None:
        raise Mistake(
            f"whitening_init needs a model with a whiten_conv layer, like speedrun: {type(model).__name__} has none"
        )
    if images.dim() != 4 or len(images) == 0 or images.shape[1] != layer.in_channels:
        raise Mistake(f"whitening_init needs images (N,{layer.in_channels},H,W): got {tuple(images.shape)}")
    if min(images.shape[2:]) < layer.kernel:
        raise Mistake(
            f"whitening_init needs images of at least {layer.kernel} pixels a side: got {tuple(images.shape)}"
        )
    variances, axes = torch.linalg.eigh(patch_moment(images[:IMAGES], layer.kernel))
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    filters = (axes * largest.sign() / (variances.clamp(min=0) + eps).sqrt()).T
    layer.weight.copy_(torch.cat((filters, -filters)).view(layer.weight.shape))


def patch_moment(images: torch.Tensor, kernel: int) -> torch.Tensor:
    """E[p pᵀ] (C·k², C·k²) over all k×k patches of images (N,C,H,W): float64, on the CPU (not every device has it)."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for part in images.split(CHUNK):
        patches = F.unfold(part.float(), kernel).transpose(0, 1).flatten(1)
        total = total + (patches @ patches.T).cpu().double()
        count += patches.shape[1]
    return total / count
