"""Trains on a window of each image, cut at a random place, and tests on whole images.

Formula: y[i, j] = x[i + a, j + b] for 0 ≤ i, j < `size`, with the offsets a and b drawn for each image, independently
and uniformly, from all at which the window lies within the image.

Source: A. Krizhevsky, I. Sutskever, G. Hinton, ImageNet classification with deep convolutional neural networks, 2012
(windows of 224×224 in images of 256×256); H. Touvron et al., Fixing the train-test resolution discrepancy, 2019, arXiv
1906.06423 (testing on more than was trained on).

Differs: from the first source, which tests on five windows and their mirrors.

Helps: time: a window of 28 pixels in an image of 32 is about three quarters of the work, and it shifts the image
without making up a border.

Hurts: networks whose size of input is fixed. Where the class hangs on what lies near the border. Far below the whole
size the last maps are smaller in training than in testing, and what a network takes over a map no longer agrees.
"""

from __future__ import annotations

import torch

from ..card import Card
from .windows import gathered

CARD = Card(
    off={"size": 4096},
    tiny={"size": 6},
    allows={"size": "[1, 4096]"},
    resizes=True,
    pictures=True,
)


def random_crop(
    images: torch.Tensor, targets: torch.Tensor, *, progress: float, generator: torch.Generator, size: int = 28
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N,C,h,w) of the same type and memory format, h = min(H, size) and w = min(W, size); the same targets.

    size: in pixels, from 1; one not below the image's sides changes nothing. Raises Mistake (a ValueError) outside.
    """
    CARD.check(size=size)
    count, channels, height, width = images.shape
    high, wide = min(size, height), min(size, width)
    if count == 0:
        return images[:, :, :high, :wide], targets
    if (high, wide) == (height, width):
        return images, targets
    down, right = (
        torch.randint(room + 1, (count, 1), generator=generator, device=generator.device).to(images.device)
        for room in (height - high, width - wide)
    )
    image, row = (torch.arange(length, device=images.device) for length in (count, high))
    starts = ((image[:, None] * height) + row + down) * width + right
    windows = gathered(images.permute(0, 2, 3, 1).reshape(-1), starts, (count, high, wide, channels))
    last = images.is_contiguous(memory_format=torch.channels_last)
    kept = torch.channels_last if last else torch.contiguous_format
    return windows.permute(0, 3, 1, 2).contiguous(memory_format=kept), targets
