"""Batches against a PyTorch DataLoader with per-image transforms, and an image folder's second epoch against memory.

    OMP_WAIT_POLICY=passive python bench/batches.py [--rounds 6] [--json]

First part: the same work on all sides, for one epoch of CIFAR-10's training images (random ones of its shape where it
is not on this machine): reflect-pad 4, random crop, random flip, normalise, float32 batches of 128. Loaders have two
workers, which are kept between epochs. "DataLoader" does step by step what torchvision's transforms do on PIL images;
"lean" is as little as per-image tensors allow. The clock covers one epoch of batches and nothing else. Second part: a
folder of JPEGs, decoded once; its second epoch, and an epoch of the same images from an array in memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Sized
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interleave import interleaved, machine
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from steepest.data import load
from steepest.data.batches import Batches, statistics
from steepest.data.dataset import Split
from steepest.mistake import Failure, Mistake
from steepest.techniques.augment.flip import flip
from steepest.techniques.augment.pad_crop import pad_crop

BATCH = 128
PAD = 4


class PerImage(Dataset[tuple[Tensor, int]]):
    """One image at a time, lean: to a float tensor, padded, cropped, flipped, normalised."""

    def __init__(self, split: Split, mean: Any, std: Any) -> None:
        self.images, self.targets = np.asarray(split.images), split.targets
        self.mean, self.std = (torch.tensor(figure, dtype=torch.float32).view(-1, 1, 1) for figure in (mean, std))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        image = torch.from_numpy(self.images[place]).permute(2, 0, 1).contiguous().float().div(255)
        height, width = image.shape[1:]
        image = F.pad(image, (PAD, PAD, PAD, PAD), mode="reflect")
        top, left = (int(torch.randint(0, 2 * PAD + 1, (1,)).item()) for _ in range(2))
        image = image[:, top : top + height, left : left + width]
        if torch.rand(1) < 0.5:
            image = image.flip(-1)
        return image.sub(self.mean).div_(self.std), int(self.targets[place])


class AsPublished(PerImage):
    """One image at a time, as torchvision's CIFAR10, RandomCrop, RandomHorizontalFlip, ToTensor and Normalize do it."""

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[place])
        image = Image.fromarray(np.pad(np.asarray(image), ((PAD, PAD), (PAD, PAD), (0, 0)), "reflect"))
        width, height = (side - 2 * PAD for side in image.size)
        top, left = (int(torch.randint(0, 2 * PAD + 1, (1,)).item()) for _ in range(2))
        image = image.crop((left, top, left + width, top + height))
        if torch.rand(1) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        tensor = torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).contiguous().float().div(255).clone()
        if (self.std == 0).any():
            raise ValueError("a deviation is zero")
        return tensor.sub_(self.mean).div_(self.std), int(self.targets[place])


def cifar_shaped() -> tuple[str, Split]:
    """CIFAR-10's training images, or random ones of its shape."""
    try:
        return "cifar10", load("cifar10").train
    except (Mistake, Failure):
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (50_000, 32, 32, 3), dtype=np.uint8)
        return "random", Split(images, random.integers(0, 10, 50_000))


def rate(images: Sized, epoch: Iterable[Any]) -> float:
    """Images per second over one epoch."""
    begin = time.perf_counter()
    for _ in epoch:
        pass
    return len(images) / (time.perf_counter() - begin)


def against_loader(rounds: int) -> dict[str, Any]:
    name, split = cifar_shaped()
    index = np.arange(len(split))
    figures = statistics(split, index)
    pixels: list[Callable[..., tuple[Tensor, Tensor]]] = [partial(pad_crop, pixels=PAD, mode="reflect"), flip]
    batches = Batches(split, index, figures, batch_size=BATCH, pixels=pixels)
    loaders = {
        name: DataLoader(images, BATCH, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True)
        for name, images in {
            "DataLoader": AsPublished(split, *figures),
            "DataLoader, lean": PerImage(split, *figures),
        }.items()
    }
    epochs = iter(range(10**6))
    sides: dict[str, Callable[[], float]] = {
        "Batches": lambda: rate(split, batches.epoch(next(epochs))),
        **{name: partial(rate, split, loader) for name, loader in loaders.items()},
    }
    seen = interleaved(sides, rounds)
    return {
        "what": f"pad-crop-flip-normalise, {name}",
        "images_per_s": {side: round(seen.median(side)) for side in sides},
        "ratio": {f"Batches / {name}": vars(seen.ratio("Batches", name)) for name in loaders},
    }


def folder_against_memory(rounds: int, count: int = 2000, size: int = 96) -> dict[str, Any]:
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as made:
        for number in range(count):
            coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            place = Path(made) / "photos" / f"class{number % 4}"
            place.mkdir(parents=True, exist_ok=True)
            coarse.resize((size, size)).save(place / f"{number}.jpg")
        begin = time.perf_counter()
        split = load(str(Path(made) / "photos"), data_dir=Path(made) / "cache").train
        index = np.arange(len(split))
        figures = statistics(split, index)
        folder = Batches(split, index, figures, batch_size=BATCH, pixels=[flip])
        rate(split, folder.epoch(0))
        first = len(split) / (time.perf_counter() - begin)
        array = Split(np.array(split.images[index]), split.targets)
        memory = Batches(array, index, figures, batch_size=BATCH, pixels=[flip])
        epochs = iter(range(1, 10**6))
        sides = {
            "folder": lambda: rate(split, folder.epoch(next(epochs))),
            "memory": lambda: rate(split, memory.epoch(next(epochs))),
        }
        seen = interleaved(sides, 4 * rounds)
        return {
            "what": f"folder of {len(split)} JPEGs {size}×{size}, second epoch",
            "images_per_s": {"first, with decoding": round(first)} | {side: round(seen.median(side)) for side in sides},
            "ratio": {"folder / memory": vars(seen.ratio("folder", "memory"))},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = [against_loader(given.rounds), folder_against_memory(given.rounds)]
    if given.json:
        print(json.dumps({"rows": rows, "machine": machine()}))
        return
    for row in rows:
        print(row["what"])
        for side, figure in row["images_per_s"].items():
            print(f"  {side:<28}{figure:>9,} images/s")
        for sides, ratio in row["ratio"].items():
            print(f"  {sides:<28}{ratio['median']:>6.3g} [{ratio['low']:.3g}, {ratio['high']:.3g}], n={ratio['n']}")


if __name__ == "__main__":
    main()
