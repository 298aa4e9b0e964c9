"""Blanks a square patch at a random place of each image.

Formula: y[i, j] = 0 for a ≤ i < a + s and b ≤ j < b + s, else x[i, j], with s = `size` and the corner a, b drawn for
each image, uniformly from 0, …, H - s and 0, …, W - s; the images are normalised, so 0 is the mean colour.

Source: T. DeVries and G. Taylor, 2017, arXiv 1708.04552; in the form of D. Page, How to train your ResNet, 2018.

Differs: from the first source, as the second does: the patch always lies wholly inside the image.

Helps: in trainings of some 20 epochs and more on natural images, 8×8 pixels at 32×32; the network learns to use more
than one feature of an object.

Hurts: trainings of a few epochs, which are too short to fit the training set anyway, and small objects, which the patch
can hide.
"""

from __future__ import annotations

import torch

from ...mistake import Mistake
from ..card import Card

CARD = Card(off={"size": 0}, tiny={"size": 2}, allows={"size": "[0, 4096]"}, pictures=True)


def cutout(
    images: torch.Tensor,
    targets: torch.Tensor,
    *,
    progress: float,
    generator: torch.Generator,
    size: int = 8,
) -> tuple[torch.Tensor, torch.Tensor]:
    """New images (N,C,H,W) of the same type and memory format, and the targets unchanged.

    images: normalised float. size: pixels, from 0 to the image's shorter side. Raises Mistake (a ValueError) outside.
    """
    CARD.check(size=size)
    count, _, height, width = images.shape
    if size > min(height, width):
        raise Mistake(f"cutout: size must be at most the image's sides {height}×{width}: got {size}")
    if size == 0:
        return images, targets
    corners = torch.rand((2, count), generator=generator, device=generator.device).to(images.device)
    sides = torch.tensor([[height - size + 1], [width - size + 1]], device=images.device)
    top, left = (corners * sides).long()[:, :, None]
    row, column = (torch.arange(side, device=images.device) for side in (height, width))
    rows = ((row >= top) & (row < top + size))[:, None, :, None]
    columns = ((column >= left) & (column < left + size))[:, None, None, :]
    cut = images.clone()
    return cut.masked_fill_(rows & columns, 0.0), targets
