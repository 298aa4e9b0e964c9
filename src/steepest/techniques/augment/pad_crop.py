"""Shifts every image by a few pixels: pads it on all sides, then crops a window of the old size at a random place.

Formula: y[i, j] = x̃[i + a, j + b], with x̃ the image x padded by p = `pixels` on each side and the offsets a, b drawn
for each image, independently and uniformly, from 0, 1, …, 2p; a = b = p gives x back.

Source: A. Krizhevsky, Convolutional deep belief networks on CIFAR-10, 2010, and K. He et al., 2015, arXiv 1512.03385 (4
pixels of zeros); D. Page, How to train your ResNet, 2018, https://github.com/davidcpage/cifar10-fast (reflection).

Differs: works on a block of images at once. Zeros are put around the raw pixels, so they are black; the sources pad
normalised images, where zero is the mean colour.

Helps: on nearly every set of natural images from a few epochs on; 2 pixels for short trainings at 32×32, 4 for long
ones.

Hurts: where the place itself carries the class, and where objects touch the border of very small images, which the crop
cuts.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ...mistake import Mistake
from ..card import Card

CARD = Card(
    off={"pixels": 0},
    tiny={"pixels": 1},
    allows={"pixels": "[0, 64]", "mode": ("reflect", "zero")},
    stage="pixels",
    pictures=True,
)


def pad_crop(
    images: torch.Tensor,
    targets: torch.Tensor,
    *,
    progress: float,
    generator: torch.Generator,
    pixels: int = 4,
    mode: str = "reflect",
) -> tuple[torch.Tensor, torch.Tensor]:
    """New images (N,C,H,W) of the same type and memory format, and the targets unchanged.

    images: of any type. pixels: from 0; for "reflect" below H and W. mode: "reflect" mirrors at the edge pixel,
    "zero" pads with zeros. Raises Mistake (a ValueError) for a setting out of range.
    """
    CARD.check(pixels=pixels, mode=mode)
    count, channels, height, width = images.shape
    if mode == "reflect" and pixels >= min(height, width):
        raise Mistake(f"pad_crop: pixels must be below the image's sides {height}×{width}: got {pixels}")
    if pixels == 0 or count == 0:
        return images, targets
    offsets = torch.randint(2 * pixels + 1, (2, count, 1), generator=generator, device=generator.device)
    down, right = offsets.to(images.device)

    # In (N,H,W,C) a row of a crop is one run of W·C values: all rows are gathered by where they start.
    rows = images.permute(0, 2, 3, 1)
    if mode == "zero":
        padded = F.pad(rows, (0, 0, pixels, pixels, pixels, pixels)).contiguous()
        taken = torch.arange(height, device=images.device) + down
    else:
        columns = _reflected(width, pixels, images.device)
        left_side, right_side = (rows.index_select(2, side) for side in (columns[:pixels], columns[-pixels:]))
        padded = torch.cat((left_side, rows, right_side), 2).contiguous()
        taken = _reflected(height, pixels, images.device)[torch.arange(height, device=images.device) + down]
    image_start = torch.arange(count, device=images.device)[:, None] * padded.shape[1]
    starts = ((image_start + taken) * padded.shape[2] + right) * channels
    run = width * channels
    windows = padded.as_strided((padded.numel() - run + 1, run), (1, 1))
    cropped = windows.index_select(0, starts.flatten()).view(count, height, width, channels).permute(0, 3, 1, 2)
    kept = torch.channels_last if images.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    return cropped.contiguous(memory_format=kept), targets


def _reflected(size: int, pixels: int, device: torch.device) -> torch.Tensor:
    """Where each of the padded places comes from: p, …, 1, 0, 1, …, size-1, size-2, …, size-1-p."""
    place = torch.arange(-pixels, size + pixels, device=device).abs()
    return size - 1 - (size - 1 - place).abs()
