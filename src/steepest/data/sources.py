"""One door to all data: a known name, a name with settings, an image folder, or a record file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from steepest.data import NAMES, cifar, digits, idx
from steepest.data.dataset import Dataset
from steepest.mistake import unknown

if TYPE_CHECKING:
    from steepest.data.dataset import Progress

FIXED: dict[str, Callable[[Path | None, Progress | None], Dataset]] = {
    "digits": lambda data_dir, progress: digits.load(),
    "fashion_mnist": lambda data_dir, progress: idx.load(idx.FASHION_MNIST, data_dir, progress),
    "mnist": lambda data_dir, progress: idx.load(idx.MNIST, data_dir, progress),
    "cifar10": lambda data_dir, progress: cifar.load(cifar.CIFAR10, data_dir, progress),
    "cifar100": lambda data_dir, progress: cifar.load(cifar.CIFAR100, data_dir, progress),
}


def load(
    data: str,
    *,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    seed: int = 0,
    size: int | None = None,
    max_skip: float = 0.05,
) -> Dataset:
    """The data set of that name or path."""
    name = str(data)
    if name in FIXED:
        return FIXED[name](data_dir, progress)
    raise unknown("data set", name, NAMES)
