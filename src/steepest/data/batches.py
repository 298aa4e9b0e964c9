"""Batches of normalised images for training and evaluation, made whole epochs at a time, without worker processes.

Images stay uint8, rows in (N,H,W,C), until their batch is due. An epoch is worked in blocks of a few thousand images:
gather the rows, apply the pixel augmentations to the whole block (so that random choices are drawn in bulk), then make
the float batches. The order and every random choice are a pure function of (seed, epoch, block).
"""

from __future__ import annotations

import functools
import inspect
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.cache import cache_dir
from steepest.data.dataset import Array, Images, Indices, Split
from steepest.data.records import Records, Writer
from steepest.mistake import Mistake

BLOCK_BYTES = 4 << 20  # a larger block leaves the caches and makes fresh pages: half the speed
Statistics = tuple[Array, Array]
Order = Callable[[int, float, Indices, int, np.random.Generator], Indices]
KEEP = ("nothing", "images", "normalised")


@dataclass(eq=False)
class Batches:
    """The batches of one part of a data set: the rows `index` (sorted int64) of `split`.

    statistics: mean and std from `statistics`, of the training rows. pixels: the pixel-stage augmentations, each
    ``f(images (N,C,H,W) uint8, targets, *, progress, generator[, index][, epoch])`` with its settings bound.
    resolution: the square size to train at, None for the stored one. shuffle: False for evaluation: rows in the order
    of `index`, the last batch short. memory: bytes; images that need more are streamed, in about that many bytes.
    keep: what is made at the first epoch and kept on the device: the "images", resized; their "normalised" batches,
    where nothing is done to the pixels; or "nothing". whole: augmentations get all images of an epoch at once.
    order: ``f(epoch, progress, index, count, random) -> places``, which `count` places in `index` make an epoch and in
    what order, with repetition allowed; progress is that at the epoch's first step. Streamed images come in an order
    that suits the file. Where it has `views`, how often each place was seen before, augmentations get these numbers of
    the images as their `epoch`. share: in (0, 1], of the images, that are an epoch.

    Shuffled epochs have whole batches only: each epoch drops (at most a batch of) other images. With fewer images than
    a batch, an epoch is one batch with all of them. ``dataclasses.replace(batches, …)`` costs next to nothing: images
    are read when an epoch first asks for them.
    """

    split: Split
    index: Indices
    statistics: Statistics
    batch_size: int
    seed: int = 0
    pixels: Sequence[Callable[..., tuple[Tensor, Tensor]]] = ()
    resolution: int | None = None
    device: str | torch.device = "cpu"
    shuffle: bool = True
    memory: int = 1 << 30
    keep: str = "images"
    whole: bool = False
    order: Order | None = None
    share: float = 1.0

    def __post_init__(self) -> None:
        self.device = torch.device(self.device)
        stored = tuple(self.split.images.shape[1:])
        self.points = len(stored) == 1
        if self.points and (self.pixels or self.resolution):
            raise Mistake("augmentations and resolution are for images, but these data are points")
        shape = stored if self.points or not self.resolution else (self.resolution, self.resolution, stored[2])
        self.resized = shape != stored
        row, resized = (self.split.images.dtype.itemsize * int(np.prod(sizes)) for sizes in (stored, shape))
        self.streamed = len(self.index) * resized > self.memory
        self.chunk = max(1, self.memory // 256 // row)
        batch = max(row, resized) * self.batch_size
        self.block = max(1, self.steps) if self.whole else max(1, min(BLOCK_BYTES, self.memory // 8) // batch)
        self._check_fit(len(self.index) * resized)
        self.window = max(1, self.memory // 4 // (batch * self.block)) * self.block
        mean, std = (np.asarray(figure, np.float64) for figure in self.statistics)
        unit = 1.0 if self.points else 255.0
        self.scale, self.shift = (
            torch.from_numpy(row.astype(np.float32)).to(self.device) for row in (1 / (unit * std), -mean / std)
        )
        self.wide = self.scale, self.shift  # repeated for each pixel: several times faster than per channel
        self.targets = torch.from_numpy(self.split.targets[self.index])

    def _check_fit(self, size: int) -> None:
        """Raises Mistake where what is to be kept, or worked at once, does not go with the size of the images."""
        if self.keep not in KEEP:
            raise Mistake(f"keep must be one of {', '.join(KEEP)}: got {self.keep!r}")
        if self.streamed and self.whole:
            raise Mistake(f"{size:,} bytes of images cannot be augmented at once in a memory of {self.memory:,}")
        if self.keep == "normalised" and self.pixels:
            raise Mistake("normalised images cannot be kept where an augmentation changes the pixels before")
        if self.keep == "normalised" and size * (1 if self.points else 4) > self.memory:
            raise Mistake(f"{size:,} bytes of images cannot be kept as floats in a memory of {self.memory:,}")

    def __len__(self) -> int:
        """The images of this part."""
        return len(self.index)

    @property
    def steps(self) -> int:
        """Batches of one epoch."""
        whole, rest = divmod(round(self.share * len(self.index)), self.batch_size)
        return max(1, whole) if self.shuffle else whole + (rest > 0)

    def epoch(
        self, epoch: int, start: int = 0, progress: float | Callable[[int], float] = 0.0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch from step `start` on: images (N,C,H,W) or points (N,D), and targets.

        Images are float32 in channels_last, each batch in fresh memory. The batches are the same whatever `start` is.
        progress: in [0,1), or a function of the step in this epoch; augmentations get it as it is at the first step of
        a block.
        """
        at = progress if callable(progress) else lambda step: progress
        order = self.places(epoch, at(0) if self.order else 0.0)
        ready = self.keep == "normalised"
        for first, raw in self._blocks(order, start - start % self.block):
            places = torch.from_numpy(order[first * self.batch_size :][: len(raw)])
            images, targets = raw, self.targets[places].to(self.device)
            if not self.points:
                images, targets = self._augmented(raw.permute(0, 3, 1, 2), targets, places, epoch, first, at(first))
            for low in range(max(0, start - first) * self.batch_size, len(images), self.batch_size):
                part = slice(low, low + self.batch_size)
                yield images[part] if ready else self._normalised(images[part]), targets[part]

    def places(self, epoch: int, progress: float = 0.0) -> Indices:
        """Places in `index`, in the order of this epoch. Streamed: chunks in random order, then shuffled in windows."""
        count = len(self.index)
        if not self.shuffle:
            return np.arange(count)
        random = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch,)))
        used = min(count, self.steps * self.batch_size)
        chosen = self.order(epoch, progress, self.index, used, random) if self.order else None
        if not self.streamed:
            return random.permutation(count)[:used] if chosen is None else chosen
        chunk = (self.index if chosen is None else self.index[chosen]) // self.chunk
        rank = random.permutation(int(chunk.max()) + 1)
        if chosen is None:  # its chunks are runs, so that runs need sorting, not rows
            runs = np.split(np.arange(count), np.flatnonzero(np.diff(chunk)) + 1)
            order = np.concatenate(sorted(runs, key=lambda run: int(rank[chunk[run[0]]])))[:used]
        else:
            order = chosen[np.argsort(rank[chunk], kind="stable")[:used]]
        for low in range(0, used, self.window * self.batch_size):
            random.shuffle(order[low : low + self.window * self.batch_size])
        return order

    def _blocks(self, order: Indices, start: int) -> Iterator[tuple[int, Tensor]]:
        """Each block's first step and its images (N,H,W,C) or points (N,D), from that of `start` or before."""
        size = self.block * self.batch_size
        if not self.streamed:
            for low in range(start * self.batch_size, len(order), size):
                yield low // self.batch_size, self._block(order[low : low + size])
            return
        span = self.window * self.batch_size
        origin = start // self.window * span
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self._read, order[origin : origin + span])
            for window in range(origin, len(order), span):
                read = coming.result()
                coming = reader.submit(self._read, order[window + span :][:span])
                for low in range(0, len(read), size):
                    part = torch.from_numpy(read[low : low + size])
                    yield (window + low) // self.batch_size, self._resize(part).to(self.device)

    def _read(self, places: Indices) -> Array:
        return _gathered(self.split.images, self.index[places], self.chunk)

    def _block(self, places: Indices) -> Tensor:
        """The images (N,H,W,C) at these places: of those that are kept, or fetched anew."""
        if self.keep != "nothing":
            return self.kept.index_select(0, torch.from_numpy(places).to(self.device))
        images = torch.from_numpy(np.ascontiguousarray(self.split.images[self.index[places]]))
        return self._resize(images).to(self.device)

    @functools.cached_property
    def kept(self) -> Tensor:
        """All images of this part, resized, on the device, normalised if so asked: made when first needed."""
        if not self.resized:
            images = torch.from_numpy(np.ascontiguousarray(self.split.images[self.index]))
        else:
            count = self.block * self.batch_size
            places = [np.arange(low, min(low + count, len(self.index))) for low in range(0, len(self.index), count)]
            images = torch.cat([self._resize(torch.from_numpy(self._read(part))) for part in places])
        images = images.to(self.device)
        if self.keep != "normalised":
            return images
        if self.points:
            return self._normalised(images)
        floats = torch.empty(images.shape, device=self.device)
        for part, made in zip(images.split(self.batch_size), floats.split(self.batch_size), strict=True):
            made.copy_(self._normalised(part.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return floats

    def measured(self) -> Statistics:
        """Mean and standard deviation of these rows as they are now, see `statistics`."""
        return statistics(self.split, self.index)

    def packed(self, memory: int, folder: Path | None = None) -> Batches:
        """The same batches, streamed in about `memory` bytes from a record file where they do not fit into so many.

        The file holds the whole split and is written into `folder`, packed/ in the user's cache where None. It loses
        its name as soon as it is open, so that its space is free again when the last of its batches or the process
        ends, however it ends. Images that are in a record file already are read from there.
        """
        if isinstance(self.split.images, Records):
            return replace(self, memory=memory)
        return replace(self, memory=memory, split=replace(self.split, images=_packed(self.split, folder)))

    def _resize(self, images: Tensor) -> Tensor:
        if not self.resized:
            return images
        assert self.resolution is not None
        planes = images.permute(0, 3, 1, 2)
        size = (self.resolution, self.resolution)
        resized = torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True)
        return resized.permute(0, 2, 3, 1).contiguous()

    def _augmented(
        self, images: Tensor, targets: Tensor, places: Tensor, epoch: int, first: int, progress: float
    ) -> tuple[Tensor, Tensor]:
        generator = torch.Generator(self.device)
        key = np.random.SeedSequence(self.seed, spawn_key=(epoch, first))
        generator.manual_seed(int(key.generate_state(1, np.uint64)[0]) >> 1)
        views = getattr(self.order, "views", None)
        own = epoch if views is None else torch.from_numpy(views)[places].to(self.device)
        offered: dict[str, Any] = {"index": None, "epoch": own}
        for augment in self.pixels:
            asked = {name: offered[name] for name in offered if name in inspect.signature(augment).parameters}
            if "index" in asked:
                asked["index"] = torch.from_numpy(self.index)[places].to(self.device)
            images, targets = augment(images, targets, progress=progress, generator=generator, **asked)
        return images, targets

    def _normalised(self, images: Tensor) -> Tensor:
        if self.points:
            return torch.addcmul(self.shift, images, self.scale)
        count, channels, height, width = images.shape
        flat = images.permute(0, 2, 3, 1).reshape(count, -1).float()
        if self.wide[0].shape != flat.shape[1:]:
            self.wide = self.scale.repeat(height * width), self.shift.repeat(height * width)
        scale, shift = self.wide
        torch.addcmul(shift, flat, scale, out=flat)
        return flat.view(count, height, width, channels).permute(0, 3, 1, 2)


def _packed(split: Split, folder: Path | None) -> Records:
    """The images of a split in a record file that has no name any more."""
    folder = folder or cache_dir() / "packed"
    place = folder / f"{uuid.uuid4().hex}.records"
    rows = max(1, BLOCK_BYTES // (split.images.dtype.itemsize * int(np.prod(split.images.shape[1:]))))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.part"):  # being written, its time changes; an hour old, its writer was killed
            if time.time() - old.stat().st_mtime > 3600:
                old.unlink(missing_ok=True)
    except OSError as error:
        raise Mistake(f"no record file can be written into {folder}: {error.strerror}") from error
    try:
        with Writer(place) as writer:
            for low in range(0, len(split), rows):
                writer.append(split.images[low : low + rows], split.targets[low : low + rows])
        return Records(place)
    finally:
        place.unlink(missing_ok=True)


def _gathered(images: Images, rows: Indices, chunk: int) -> Array:
    """images[rows], read in runs of at most `chunk` rows in the order of the file, for the disk."""
    gathered = np.empty((len(rows), *images.shape[1:]), images.dtype)
    by_row = np.argsort(rows)
    distinct = bool(np.diff(rows[by_row]).all())
    for run in np.split(by_row, np.flatnonzero(np.diff(rows[by_row] // chunk)) + 1):
        if len(run):
            first, last = rows[run[0]], rows[run[-1]]
            part = images[first : last + 1]
            gathered[run] = part if distinct and len(part) == len(run) else part[rows[run] - first]
    return gathered


def statistics(split: Split, index: Indices) -> Statistics:
    """Mean and standard deviation (float64) per channel over the rows `index`; for images in units of [0,1].

    The sums over uint8 are exact. A constant channel has std 1/255 (points: 1), so that dividing is always safe.
    """
    images, width, count = split.images, split.images.shape[-1], len(index)
    if images.dtype != np.uint8:
        points = np.asarray(images[index], np.float64)
        std = points.std(axis=0)
        return points.mean(axis=0), np.where(std > 0, std, 1.0)
    total, squares = np.zeros(width, np.int64), np.zeros(width, np.int64)
    block = max(1, BLOCK_BYTES // int(np.prod(images.shape[1:])))
    for low in range(0, count, block):
        gathered = torch.from_numpy(_gathered(images, index[low : low + block], block))
        for part in gathered.split(256):  # 256 · 255² < 2²⁴: exact in float32
            floats = part.flatten(1).float()
            total += floats.sum(0).view(-1, width).long().sum(0).numpy()
            squares += floats.square_().sum(0).view(-1, width).long().sum(0).numpy()
    pixels = count * int(np.prod(images.shape[1:-1]))
    mean = total / pixels
    variance = [(pixels * int(q) - int(s) ** 2) / pixels**2 for s, q in zip(total, squares, strict=True)]
    return mean / 255, np.sqrt([v if v > 0 else 1.0 for v in variance]) / 255
