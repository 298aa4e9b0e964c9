"""Mirrors each image left to right with a given probability.

Formula: y[i, j] = x[i, W-1-j] with probability p = `prob`, drawn for each image independently, else y = x; W is the
width.

Source: A. Krizhevsky et al., ImageNet classification with deep convolutional neural networks, 2012.

Differs: works on a block of images at once.

Helps: on photographs and other images whose class survives a mirror.

Hurts: on digits, letters, and wherever left and right mean something. In short trainings it shows an image the same way
twice in a row half of the time: alternating_flip does not, and takes its place.
"""

from __future__ import annotations

import torch

from ..card import Card

CARD = Card(off={"prob": 0.0}, clashes=("alternating_flip",), allows={"prob": "[0, 1]"}, stage="pixels", pictures=True)


def flip(
    images: torch.Tensor,
    targets: torch.Tensor,
    *,
    progress: float,
    generator: torch.Generator,
    prob: float = 0.5,
) -> tuple[torch.Tensor, torch.Tensor]:
    """New images (N,C,H,W) of the same type and memory format, and the targets unchanged.

    images: of any type. prob: in [0, 1]. Raises Mistake (a ValueError) for a probability out of range.
    """
    CARD.check(prob=prob)
    chosen = torch.rand(len(images), generator=generator, device=generator.device) < prob
    return mirrored(images, chosen.to(images.device)), targets


def mirrored(images: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """A copy of images (N,C,H,W) with those that `chosen` (N,) bool marks mirrored left to right."""
    # bringing the mirrored ones together and back by two gathers is the fastest way on a CPU
    order = chosen.byte().argsort()
    sorted_images = _select(images, order)
    turned = sorted_images[len(images) - int(chosen.sum()) :]
    turned.copy_(turned.flip(-1))
    return _select(sorted_images, order.argsort())


def _select(images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """images[places] in the same memory format; in channels_last each image is one run of memory all the same."""
    if images.is_contiguous(memory_format=torch.channels_last):
        return images.permute(0, 2, 3, 1).index_select(0, places).permute(0, 3, 1, 2)
    return images.index_select(0, places)
