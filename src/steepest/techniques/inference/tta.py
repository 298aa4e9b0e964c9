"""Averages the outputs for an image over a few views of it: mirrored, and shifted by a pixel.

Formula: z̄ = ½z(x) + ½z(x') with x' the mirror of x ("mirror"); ½z̄(x) + ¼z̄(x↖) + ¼z̄(x↘) with x↖ and x↘ the image
under a window moved by one pixel up and left, down and right, on the image reflected at its edge ("mirror_translate");
z are the logits.

Source: K. Jordan, 2024, arXiv 2404.00498, https://github.com/KellerJordan/cifar10-airbench (tta_level 1 and 2).

Differs: nothing.

Helps: a few tenths of a point of accuracy without any training, for 2 or 6 times the work of a prediction.

Hurts: where a mirror changes the class. A prediction with it is not what the network alone would say: compare like with
like.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..card import Card

CARD = Card(off={"views": "none"}, allows={"views": ("none", "mirror", "mirror_translate")}, pictures=True)


def tta(model: nn.Module, images: torch.Tensor, *, views: str = "mirror") -> torch.Tensor:
    """Logits (N,K) of a model in the mode in which it is. images: (N,C,H,W), for "mirror_translate" of 2×2 and more.

    views: "none", "mirror" (2 runs of the model) or "mirror_translate" (6 runs). Raises Mistake for another word.
    """
    CARD.check(views=views)
    if views == "none":
        return model(images)  # type: ignore[no-any-return]
    logits = _mirror(model, images)
    if views == "mirror":
        return logits
    height, width = images.shape[2:]
    padded = F.pad(images, (1, 1, 1, 1), "reflect")
    up_left, down_right = padded[:, :, :height, :width], padded[:, :, 2:, 2:]
    return 0.5 * logits + 0.25 * _mirror(model, up_left) + 0.25 * _mirror(model, down_right)


def _mirror(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return 0.5 * model(images) + 0.5 * model(images.flip(-1))  # type: ignore[no-any-return]
