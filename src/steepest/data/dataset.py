"""What a data set is: splits of images and targets, class names, and a fingerprint that tells two sets apart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from steepest.mistake import Mistake

if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[str, int, int], None]

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

CHUNK_BYTES = 4 << 20


class Images(Protocol):
    """What a split's images can do: an ndarray, a read-only memmap and `Records` all do."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True)
class Split:
    """Images and their targets, row by row.

    images: (N,H,W,C) uint8 with C 1 or 3, or (N,D) float32; an ndarray, a read-only memmap or `Records`.
    targets: (N,) int64 class indices, or (N,) float32 for regression. files: each image's file, relative to the
    data set's folder; empty where the images do not come from files.
    """

    images: Images
    targets: Array
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.images) != len(self.targets):
            raise Mistake(f"a split needs one target an image, but has {len(self.images)} and {len(self.targets)}")

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, indices: Indices) -> Split:
        """The rows at `indices`, copied."""
        return Split(self.images[indices], self.targets[indices])


@dataclass(frozen=True)
class Dataset:
    """A data set as every room of the house sees it.

    classes: names in the order of the class indices; empty for regression.
    fingerprint: SHA-256 (hex) of images, targets and class names; for record files taken from the header.
    task: "classify" or "regress". source: where it came from. skipped: files left out, each with why.
    """

    name: str
    train: Split
    val: Split | None
    test: Split | None
    classes: tuple[str, ...]
    fingerprint: str
    task: str = "classify"
    source: str = ""
    skipped: tuple[str, ...] = ()


def fingerprint(classes: tuple[str, ...], *splits: Split | None) -> str:
    """SHA-256 (hex) over class names, then shape, type, images and targets of each split, read in chunks."""
    digest = hashlib.sha256(repr(classes).encode())
    for split in splits:
        if split is None:
            digest.update(b"none")
            continue
        images, targets = split.images, split.targets
        digest.update(repr((images.shape, images.dtype.str, targets.shape, targets.dtype.str)).encode())
        row_bytes = max(1, images.dtype.itemsize * int(np.prod(images.shape[1:])))
        step = max(1, CHUNK_BYTES // row_bytes)
        for start in range(0, len(images), step):
            digest.update(np.ascontiguousarray(images[start : start + step]).data)
        digest.update(np.ascontiguousarray(targets).data)
    return digest.hexdigest()


def stratified(targets: Array, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Sorted, disjoint (train, val) indices that together are all; same seed, same split.

    Each class gives `fraction` of its images (rounded; at least one, and never all of them) where it has two or
    more; a class with one image stays in train. Float targets (regression) are split plainly at random.
    `fraction` in [0, 1); 0 leaves val empty.
    """
    if not 0 <= fraction < 1:
        raise Mistake(f"the share to hold out must be in [0, 1), but is {fraction}")
    rng = np.random.default_rng(seed)
    labels = targets if targets.dtype.kind in "iu" else np.zeros(len(targets), np.int64)
    chosen = np.zeros(len(targets), bool)
    order = np.argsort(labels, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        if fraction > 0 and len(members) > 1:
            count = min(max(1, round(fraction * len(members))), len(members) - 1)
            chosen[rng.permutation(members)[:count]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
