"""What data sets there are, where they lie on this machine, what they hold, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.data import NAMES, cifar, idx, points, synthetic
from steepest.data.dataset import Dataset
from steepest.data.sources import load, parse
from steepest.mistake import Mistake, unknown

if TYPE_CHECKING:
    from steepest.data.dataset import Progress
    from steepest.data.known import Remote

IDX = {known.name: known for known in (idx.MNIST, idx.FASHION_MNIST)}
CIFAR = {known.name: known for known in (cifar.CIFAR10, cifar.CIFAR100)}

ABOUT = {
    "digits": "handwritten digits, small; comes with scikit-learn",
    "fashion_mnist": "pictures of clothes, in grey",
    "mnist": "handwritten digits",
    "cifar10": "small colour photographs of ten kinds of things",
    "cifar100": "small colour photographs of a hundred kinds of things",
    "synthetic": "ten shapes amid clutter and noise, drawn by seed; over-fits; settings n, test, seed",
    "circles": "points: a disc inside a ring; settings noise, n, seed",
    "xor": "points: 1 where both signs agree; settings noise, n, seed",
    "gauss": "points: two Gaussians; settings noise, n, seed",
    "spiral": "points: two arms; settings noise, n, seed",
    "moons": "points: two half circles; settings noise, n, seed",
    "reg_plane": "points, regression: a tilted plane; settings noise, n, seed",
    "reg_gauss": "points, regression: six cones; settings noise, n, seed",
}

SOURCES = {
    "digits": ("UCI Machine Learning Repository, through scikit-learn", "CC BY 4.0"),
    "fashion_mnist": ("https://github.com/zalandoresearch/fashion-mnist", "MIT"),
    "mnist": ("http://yann.lecun.com/exdb/mnist/", "CC BY-SA 3.0"),
    "cifar10": ("https://www.cs.toronto.edu/~kriz/cifar.html", "not stated by its authors"),
    "cifar100": ("https://www.cs.toronto.edu/~kriz/cifar.html", "not stated by its authors"),
}
GENERATED = ("drawn by this program", "Apache-2.0")


def _shape(name: str) -> tuple[tuple[int, ...], int, int, int]:
    """(shape of one image, number of classes, training images, test images) at the default settings."""
    if name in IDX:
        return (28, 28, 1), 10, idx.SIZES[1] - 8, idx.SIZES[3] - 8
    if name in CIFAR:
        known = CIFAR[name]
        counts = [content.size // (len(known.labels) + cifar.PIXELS) for content in known.contents]
        return (32, 32, 3), len(known.classes), sum(counts[:-1]), counts[-1]
    if name == "synthetic":
        return (32, 32, 3), len(synthetic.CLASSES), synthetic.TRAIN_N, synthetic.TEST_N
    if name == "digits":
        return (8, 8, 1), 10, 1438, 359
    n = points.CLASSIFY_N if name in points.CLASSIFY else points.REGRESS_N
    return (2,), 2 if name in points.CLASSIFY else 0, n // 2, n - n // 2


def _remotes(name: str) -> tuple[Remote, ...]:
    if name in IDX:
        return IDX[name].remotes
    return (CIFAR[name].remote,) if name in CIFAR else ()


def _place(name: str, data_dir: Path | None) -> str | None:
    """Where a set to be downloaded lies on this machine."""
    if name in IDX:
        found = idx.find(IDX[name], data_dir)
        return str(found[0].parent) if found else None
    place = cifar.find(CIFAR[name], data_dir) if name in CIFAR else None
    return str(place) if place else None


def catalogue(data_dir: Path | None = None) -> list[dict[str, Any]]:
    """One entry a known set: `name`, `about`, `classes` (how many; 0 for regression), `train` and `test` (how many),
    `shape` of an image, `bytes` to download, `files` (each with name, bytes and sha256), `source`, `license`, `here`
    (whether it can be used without a download), `place` (where it lies) and `problem` (what is wrong there).
    """
    entries = []
    for name in NAMES:
        shape, classes, train, test = _shape(name)
        remotes = _remotes(name)
        source, license_ = SOURCES.get(name, GENERATED)
        problem = place = None
        try:
            place = _place(name, data_dir)
        except Mistake as mistake:
            problem = str(mistake)
        entries.append(
            {
                "name": name,
                "about": ABOUT[name],
                "classes": classes,
                "train": train,
                "test": test,
                "shape": list(shape),
                "bytes": sum(remote.size for remote in remotes),
                "files": [{"name": file.name, "bytes": file.size, "sha256": file.sha256} for file in remotes],
                "source": source,
                "license": license_,
                "here": place is not None or not remotes,
                "place": place,
                "problem": problem,
            }
        )
    return entries


def info(data: str, data_dir: Path | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """What a set or a folder holds: `name`, `task`, `shape`, `dtype`, `classes`, `source`, `fingerprint`, `splits` (by
    name: `n`, and `classes`: how many of each), and `problems`: every bad file and whatever else is wrong, a sentence
    each. A folder that cannot be used is told of in `problems`; an unknown name or missing path raises `Mistake`.
    """
    name, _, settings = data.partition(":")
    if name in NAMES:
        parse(name, settings)
    elif not Path(data).expanduser().exists():
        load(data)  # raises the sentence for an unknown name or a missing path
    try:
        if _remotes(name) and _place(name, data_dir) is None:
            raise Mistake(f"{name} is not on this machine; `steepest data fetch {name}` fetches it")
        held = load(data, data_dir=data_dir, progress=progress, max_skip=1.0)
    except Mistake as mistake:
        return {"name": data, "splits": {}, "problems": [str(mistake)]}
    return {
        "name": held.name,
        "task": held.task,
        "shape": list(held.train.images.shape[1:]),
        "dtype": str(held.train.images.dtype),
        "classes": list(held.classes),
        "source": held.source,
        "fingerprint": held.fingerprint,
        "splits": _counts(held),
        "problems": list(held.skipped),
    }


def _counts(held: Dataset) -> dict[str, Any]:
    splits = {"train": held.train, "val": held.val, "test": held.test}
    out: dict[str, Any] = {}
    for name, split in splits.items():
        if split is not None:
            counted = np.bincount(split.targets, minlength=len(held.classes)) if held.classes else ()
            by_class = {label: int(count) for label, count in zip(held.classes, counted, strict=True)}
            out[name] = {"n": len(split), "classes": by_class}
    return out


def fetch(name: str, data_dir: Path | None = None, progress: Progress | None = None) -> Path:
    """Where the set lies, after a download into `data_dir` or the user cache if it is not on this machine yet."""
    if name in IDX:
        return idx.fetch(IDX[name], data_dir, progress)[0].parent
    if name in CIFAR:
        return cifar.fetch(CIFAR[name], data_dir, progress)
    if name in NAMES:
        raise Mistake(f"{name} needs no download; to be fetched there are {', '.join([*IDX, *CIFAR])}")
    raise unknown("data set to fetch", name, [*IDX, *CIFAR])
