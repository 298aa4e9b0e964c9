"""Averages the outputs for an image over a few views of it: mirrored, and shifted by a pixel.

Formula: z̄ = ½z(x) + ½z(x') with x' the mirror of x ("mirror"); ½z̄(x) + ¼z̄(x↖) + ¼z̄(x↘) with x↖ and x↘ the image
under a window moved by one pixel up and left, down and right, on the image reflected at its edge ("mirror_translate");
z are the logits. With `unsure` u < 1, an image whose most probable class has softmax(z(x)) ≥ u keeps z(x).

Source: K. Jordan, 2024, arXiv 2404.00498, https://github.com/KellerJordan/cifar10-airbench (tta_level 1 and 2); views
for the unsure alone: https://github.com/hiverge/cifar10-speedrun, 2025.

Differs: the second source takes the least sure quarter of the test set; a bound on the probability does not let one
image's answer depend on the others.

Helps: a few tenths of a point of accuracy without any training, for 2 or 6 times the work of a prediction, and less
where only unsure images are looked at again.

Hurts: where a mirror changes the class. A prediction with it is not what the network alone would say: compare like with
like.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..card import Card

CARD = Card(
    off={"views": "none"},
    allows={"views": ("none", "mirror", "mirror_translate"), "unsure": "(0, 1]"},
    pictures=True,
)


def tta(model: nn.Module, images: torch.Tensor, *, views: str = "mirror", unsure: float = 1.0) -> torch.Tensor:
    """Logits (N,K) of a model in the mode in which it is. images: (N,C,H,W), for "mirror_translate" of 2×2 and more.

    views: "none", "mirror" (2 runs of the model) or "mirror_translate" (6 runs). unsure: in (0, 1]; the other views are
    only of images with a greatest probability below it, 1: of all. Raises Mistake for a setting out of range.
    """
    CARD.check(views=views, unsure=unsure)
    logits: torch.Tensor = model(images)
    if views == "none":
        return logits
    if unsure == 1:
        return _mean(model, images, logits, views)
    again = logits.softmax(1).amax(1) < unsure
    if (
        torch._C._get_tracing_state() is not None or torch.compiler.is_compiling()
    ):  # no way through the network may hang on the data
        return torch.where(again[:, None], _mean(model, images, logits, views), logits)
    return logits.index_put((again,), _mean(model, images[again], logits[again], views)) if again.any() else logits


def _mean(model: nn.Module, images: torch.Tensor, logits: torch.Tensor, views: str) -> torch.Tensor:
    """Over the views; `logits` are those of the images as they are."""
    mean: torch.Tensor = 0.5 * logits + 0.5 * model(images.flip(-1))
    if views == "mirror":
        return mean
    height, width = images.shape[2:]
    padded = F.pad(images, (1, 1, 1, 1), "reflect")
    up_left, down_right = padded[:, :, :height, :width], padded[:, :, 2:, 2:]
    return 0.5 * mean + 0.25 * _mirror(model, up_left) + 0.25 * _mirror(model, down_right)


def _mirror(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return 0.5 * model(images) + 0.5 * model(images.flip(-1))  # type: ignore[no-any-return]
