"""MNIST and Fashion-MNIST from IDX files, plain or gzipped.

Sources: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998;
H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", 2017, arXiv:1708.07747.
The format: two zero bytes, a type byte, the number of dimensions, each dimension (big-endian, 32 bits), the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from steepest.data import download
from steepest.data.dataset import Array, Dataset, Split, fingerprint
from steepest.data.known import Content, Remote, check, places, unzipped
from steepest.mistake import Mistake

if TYPE_CHECKING:
    from steepest.data.dataset import Progress

STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SIZES = (47_040_016, 60_008, 7_840_016, 10_008)


@dataclass(frozen=True)
class IdxSet:
    """One set in IDX form: its four files after unpacking, the four downloads, and the folders it may lie in."""

    name: str
    classes: tuple[str, ...]
    contents: tuple[Content, ...]
    remotes: tuple[Remote, ...]
    folders: tuple[str, ...]


def _contents(*sha256: str) -> tuple[Content, ...]:
    return tuple(Content(stem, size, digest) for stem, size, digest in zip(STEMS, SIZES, sha256, strict=True))


def _remotes(hosts: tuple[str, ...], *files: tuple[int, str]) -> tuple[Remote, ...]:
    return tuple(Remote(f"{stem}.gz", *file, hosts) for stem, file in zip(STEMS, files, strict=True))


MNIST = IdxSet(
    "mnist",
    tuple(str(digit) for digit in range(10)),
    _contents(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    _remotes(
        ("https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
        (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    ("mnist", "MNIST/raw", ""),
)

FASHION_MNIST = IdxSet(
    "fashion_mnist",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    _contents(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    _remotes(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    ("fashion_mnist", "FashionMNIST/raw", ""),
)


def parse(data: bytes, where: str) -> Array:
    """The array in the bytes of an IDX file of unsigned bytes; a view, shape as the header says."""
    if len(data) < 4 or data[:3] != b"\0\0\x08" or not 1 <= data[3] <= 4:
        raise Mistake(f"{where} is not an IDX file of unsigned bytes")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise Mistake(f"{where} is not an IDX file: it ends within its header")
    shape = tuple(int(n) for n in np.frombuffer(data[4:start], ">u4"))
    if len(data) - start != int(np.prod(shape, dtype=object)):
        raise Mistake(f"{where} says {shape} in its header, but has {len(data) - start} bytes of data")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def find(known: IdxSet, data_dir: Path | None) -> list[Path] | None:
    """The four files of the first folder that has them, or None.

    MNIST and Fashion-MNIST have the same file names: a folder with the files of the other set is passed over.
    """
    for place in places(data_dir):
        for folder in known.folders:
            paths = [_either(place / folder, stem) for stem in STEMS]
            found = [path for path in paths if path]
            if not found or (folder == "" and _other_set(known, paths[1])):
                continue
            if len(found) < 4:
                lacking = ", ".join(stem for stem, path in zip(STEMS, paths, strict=True) if path is None)
                raise Mistake(f"{place / folder} has a part of {known.name} only: {lacking} (.gz) is missing")
            return found
    return None


def _either(folder: Path, stem: str) -> Path | None:
    return next((path for path in (folder / stem, folder / f"{stem}.gz") if path.is_file()), None)


def _other_set(known: IdxSet, labels: Path | None) -> bool:
    """Whether the training labels are those of another known set."""
    if labels is None:
        return False
    for other in (MNIST, FASHION_MNIST):
        if other.name != known.name:
            try:
                check(other.contents[1], unzipped(labels, SIZES[1]), labels)
            except Mistake:
                continue
            return True
    return False


def fetch(known: IdxSet, data_dir: Path | None, progress: Progress | None = None) -> list[Path]:
    """The four files of the set, downloaded into `data_dir` or the user cache where they are not on this machine."""
    found = find(known, data_dir)
    if found:
        return found
    with download.target(known.name, data_dir) as folder:
        for remote, content in zip(known.remotes, known.contents, strict=True):
            download.fetch(remote, folder, partial(_read, content), progress)
    return [folder / remote.name for remote in known.remotes]


def _read(content: Content, path: Path) -> bytes:
    data = unzipped(path, content.size)
    check(content, data, path)
    return data


def load(known: IdxSet, data_dir: Path | None = None, progress: Progress | None = None) -> Dataset:
    """The set with images (N,28,28,1) uint8, its own test split, and every file checked against its SHA-256."""
    paths = fetch(known, data_dir, progress)
    arrays = [parse(_read(content, path), str(path)) for content, path in zip(known.contents, paths, strict=True)]
    train = Split(arrays[0][..., None], arrays[1].astype(np.int64))
    test = Split(arrays[2][..., None], arrays[3].astype(np.int64))
    identity = fingerprint(known.classes, train, test)
    return Dataset(known.name, train, None, test, known.classes, identity, source=str(paths[0].parent))
