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
    count, _, height, width = images.shape
    if mode == "reflect" and pixels >= min(height, width):
        raise Mistake(f"pad_crop: pixels must be below the image's sides {height}×{width}: got {pixels}")
    if pixels == 0 or count == 0:
        return images, targets
    offsets = torch.randint(2 * pixels + 1, (2, count, 1), generator=generator, device=generator.device)
    down, right = offsets.to(images.device)
    inner = mode == "reflect" and 2 * pixels < width
    cropped = _mended(images, down, right, pixels) if inner else _windows(images, down, right, pixels, mode)
    kept = torch.channels_last if images.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    return cropped.permute(0, 3, 1, 2).contiguous(memory_format=kept), targets


def _windows(images: torch.Tensor, down: torch.Tensor, right: torch.Tensor, pixels: int, mode: str) -> torch.Tensor:
    """The crops (N,H,W,C), the plain way: pad all images, then gather."""
    count, _, height, width = images.shape
    padded = F.pad(images, (pixels,) * 4, mode if mode == "reflect" else "constant").permute(0, 2, 3, 1)
    row, image = (torch.arange(size, device=images.device) for size in (height, count))
    rows = image[:, None] * padded.shape[1] + row + down
    return _gathered(padded.reshape(-1), rows * padded.shape[2] + right, (count, height, width, padded.shape[3]))


def _mended(images: torch.Tensor, down: torch.Tensor, right: torch.Tensor, pixels: int) -> torch.Tensor:
    """The same crops for a reflection by less than half the width, without padding: several times faster on a CPU.

    Every row is read from the image where it starts or would start. What a shift lets in from the row beside is then
    overwritten by its reflection, which is inside the crop; for that, crops of one shift are brought together.
    """
    count, channels, height, width = images.shape
    row = torch.arange(-pixels, height + pixels, device=images.device).abs()
    row = height - 1 - (height - 1 - row).abs()  # p, …, 1, 0, 1, …, H-1, H-2, …, H-1-p
    image, inside = (torch.arange(size, device=images.device) for size in (count, height))
    starts = (image[:, None] * height + row[inside + down]) * width + right
    pixel_run = F.pad(images.permute(0, 2, 3, 1).reshape(-1), (pixels * channels, pixels * channels))
    order = right[:, 0].argsort()
    crops = _gathered(pixel_run, starts[order], (count, height, width, channels))
    shifts = torch.bincount(right[:, 0], minlength=2 * pixels + 1).tolist()
    for shift, part in zip(range(-pixels, pixels + 1), crops.split(shifts), strict=True):
        for column in range(abs(shift)):
            if shift < 0:
                part[:, :, column] = part[:, :, -2 * shift - column]
            else:
                part[:, :, width - 1 - column] = part[:, :, width - 1 - 2 * shift + column]
    return crops.index_select(0, order.argsort())


def _gathered(values: torch.Tensor, starts: torch.Tensor, shape: tuple[int, int, int, int]) -> torch.Tensor:
    """Crops (N,H,W,C) from pixels in a row: each row of a crop is one run of W·C values from its start (in pixels)."""
    run = shape[2] * shape[3]
    runs = values.as_strided((len(values) - run + 1, run), (1, 1))
    return runs.index_select(0, starts.flatten() * shape[3]).view(shape)
