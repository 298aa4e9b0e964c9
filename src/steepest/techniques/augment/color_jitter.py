"""Makes every image a little brighter or darker, and its contrast a little stronger or weaker.

Formula: y = (x + b)·c with x the normalised image and, for each image, b uniform in [-β, β], β = `brightness`, in
standard deviations of the pixels, and c uniform in [1 - γ, 1 + γ], γ = `contrast`. All pixels and channels of an image
share b and c.

Source: A. Krizhevsky, I. Sutskever, G. Hinton, ImageNet classification with deep convolutional neural networks, 2012
(changing colours at random); in this form and with these defaults https://github.com/hiverge/cifar10-speedrun, 2025.

Differs: from the second source, which draws in half precision. No hue and no saturation, which other libraries' jitter
has.

Helps: a little, on photographs taken in different light, in trainings long enough to overfit.

Hurts: where brightness itself carries the class. Values are not clipped to what a camera could give.
"""

from __future__ import annotations

import torch

from ...mistake import Mistake
from ..card import Card

CARD = Card(
    off={"brightness": 0.0, "contrast": 0.0},
    allows={"brightness": "[0, 10]", "contrast": "[0, 1]"},
    pictures=True,
)


def color_jitter(
    images: torch.Tensor,
    targets: torch.Tensor,
    *,
    progress: float,
    generator: torch.Generator,
    brightness: float = 0.14,
    contrast: float = 0.13,
) -> tuple[torch.Tensor, torch.Tensor]:
    """New images (N,C,H,W) of the same type and memory format, and the targets unchanged.

    images: normalised float. brightness: in units of the normalised input, from 0 to 10. contrast: from 0 to 1. Both 0
    change nothing. Raises Mistake (a ValueError) outside and for raw pixels.
    """
    CARD.check(brightness=brightness, contrast=contrast)
    if not images.is_floating_point():
        raise Mistake(f"color_jitter takes normalised float images: got {images.dtype}")
    if brightness == contrast == 0:
        return images, targets
    drawn = torch.rand((2, len(images), 1, 1, 1), generator=generator, device=generator.device) * 2 - 1
    shift, scale = drawn.to(images) * drawn.new_tensor((brightness, contrast)).to(images).view(2, 1, 1, 1, 1)
    return (images + shift).mul_(1 + scale), targets
