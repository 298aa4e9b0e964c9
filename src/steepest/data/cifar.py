"""CIFAR-10 and CIFAR-100 in their binary and Python versions, from folders or .tar.gz archives.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
Both versions hold the same records: one label byte (CIFAR-100: coarse, then fine), then 3072 pixel bytes, channel
first. The Python version's are rebuilt as records, so that one SHA-256 a file checks both.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from steepest.data import download, unpickle
from steepest.data.dataset import Array, Dataset, Split, fingerprint
from steepest.data.known import Content, Remote, check, places
from steepest.mistake import Failure, Mistake

if TYPE_CHECKING:
    from steepest.data.dataset import Progress

PIXELS = 3 * 32 * 32
PICKLE_LIMIT = 512 << 20


@dataclass(frozen=True)
class CifarSet:
    """One set: its files in the binary version (the last is the test set), and the same in the Python version.

    labels: keys of the label lists in the pickles, in the order of a record's label bytes; the last one is used.
    sums: SHA-256 (or MD5, where only that is published) of the pickles.
    """

    name: str
    classes: tuple[str, ...]
    contents: tuple[Content, ...]
    pickles: tuple[str, ...]
    sums: tuple[str, ...]
    labels: tuple[bytes, ...]
    binary_folder: str
    python_folder: str
    remote: Remote
    python_archive: str

    @property
    def binary_names(self) -> tuple[str, ...]:
        return tuple(content.name for content in self.contents)


HOSTS = ("https://www.cs.toronto.edu/~kriz/",)

CIFAR10 = CifarSet(
    "cifar10",
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    (
        Content("data_batch_1.bin", 30_730_000, "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
        Content("data_batch_2.bin", 30_730_000, "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
        Content("data_batch_3.bin", 30_730_000, "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
        Content("data_batch_4.bin", 30_730_000, "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
        Content("data_batch_5.bin", 30_730_000, "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
        Content("test_batch.bin", 30_730_000, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
    ),
    ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"),
    (
        "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd",
        "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8",
        "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9",
        "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b",
        "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154",
        "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831",
    ),
    (b"labels",),
    "cifar-10-batches-bin",
    "cifar-10-batches-py",
    Remote(
        "cifar-10-binary.tar.gz",
        170_052_171,
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        HOSTS,
    ),
    "cifar-10-python.tar.gz",
)

CIFAR100_CLASSES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard "
    "lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear "
    "pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark "
    "shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone "
    "television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)

CIFAR100 = CifarSet(
    "cifar100",
    tuple(CIFAR100_CLASSES.split()),
    (
        Content("train.bin", 153_700_000, "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"),
        Content("test.bin", 30_740_000, "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"),
    ),
    ("train", "test"),
    ("16019d7e3df5f24257cddd939b257f8d", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
    (b"coarse_labels", b"fine_labels"),
    "cifar-100-binary",
    "cifar-100-python",
    Remote(
        "cifar-100-binary.tar.gz",
        168_513_733,
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        HOSTS,
    ),
    "cifar-100-python.tar.gz",
)


def find(known: CifarSet, data_dir: Path | None) -> Path | None:
    """The first folder or archive that holds the set, in either version, or None."""
    for place in places(data_dir):
        for base in (place, place / known.name):
            for folder in (known.binary_folder, known.python_folder):
                if (base / folder).is_dir():
                    return base / folder
            if any((base / name).is_file() for name in known.binary_names):
                return base
            for archive in (known.remote.name, known.python_archive):
                if (base / archive).is_file():
                    return base / archive
    return None


def fetch(known: CifarSet, data_dir: Path | None, progress: Progress | None = None) -> Path:
    """The folder or archive of the set, downloaded into `data_dir` or the user cache where it is not here."""
    found = find(known, data_dir)
    if found:
        return found
    with download.target(known.name, data_dir) as folder:
        place = folder / known.binary_folder
        if not place.is_dir():
            archive = download.fetch(known.remote, folder, lambda path: _verify(known, path), progress)
            download.lay_folder(place, _checked(known, archive))
            archive.unlink()
    return place


def _verify(known: CifarSet, archive: Path) -> None:
    for _ in _checked(known, archive):
        pass


def load(known: CifarSet, data_dir: Path | None = None, progress: Progress | None = None) -> Dataset:
    """The set with images (N,32,32,3) uint8, its own test split, and every file checked against its SHA-256."""
    path = fetch(known, data_dir, progress)
    width = len(known.labels)
    sizes = [content.size // (width + PIXELS) for content in known.contents]
    starts = dict(zip(known.binary_names, np.cumsum([0, *sizes]), strict=False))
    images = np.empty((sum(sizes), 32, 32, 3), np.uint8)
    targets = np.empty(sum(sizes), np.int64)
    for done, (name, data) in enumerate(_checked(known, path), 1):
        rows = np.frombuffer(data, np.uint8).reshape(-1, width + PIXELS)
        part = slice(starts[name], starts[name] + len(rows))
        planes = rows[:, width:].reshape(-1, 3, 32, 32)
        for channel in range(3):  # a plane at a time is faster than one transposed copy
            images[part, ..., channel] = planes[:, channel]
        targets[part] = rows[:, width - 1]
        if progress:
            progress(f"reading {known.name}", done, len(sizes))
    cut = sum(sizes[:-1])
    train, test = Split(images[:cut], targets[:cut]), Split(images[cut:], targets[cut:])
    return Dataset(
        known.name, train, None, test, known.classes, fingerprint(known.classes, train, test), source=str(path)
    )


def _checked(known: CifarSet, path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, records) of each of the binary version's files, in any order, each checked; from either version."""
    python = path.name in (known.python_folder, known.python_archive)
    wanted = known.pickles if python else known.binary_names
    limits = [PICKLE_LIMIT] * len(wanted) if python else [content.size for content in known.contents]
    found = set()
    for name, data in _members(path, dict(zip(wanted, limits, strict=True))):
        content = known.contents[wanted.index(name)]
        found.add(name)
        if not python:
            check(content, data, path)
            yield name, data
            continue
        rows = _records(known, data, f"{path}: {name}")
        summed = known.sums[wanted.index(name)]
        if hashlib.new("sha256" if len(summed) == 64 else "md5", data, usedforsecurity=False).hexdigest() != summed:
            check(content, rows, path)
        yield content.name, rows
    lacking = [name for name in wanted if name not in found]
    if lacking:
        raise Mistake(f"{path} has a part of {known.name} only: {', '.join(lacking)} is missing")


def _members(path: Path, limits: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the wanted files in a folder or archive; at most limit + 1 bytes of each are read."""
    try:
        if path.is_dir():
            for name, limit in limits.items():
                if (path / name).is_file():
                    with (path / name).open("rb") as file:
                        yield name, file.read(limit + 1)
            return
        with tarfile.open(path, "r|*") as archive:
            left = dict(limits)
            for member in archive:
                name = Path(member.name).name
                stream = archive.extractfile(member) if member.isfile() and name in left else None
                if stream is not None:
                    yield name, stream.read(left.pop(name) + 1)
                if not left:
                    return
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise Mistake(f"{path} is a cut-off or broken archive: {error}") from error
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror or error}") from error


def _records(known: CifarSet, data: bytes, where: str) -> bytes:
    """The records of the binary version from a pickle of the Python version."""
    batch = unpickle.loads(data, where)
    keys = (*known.labels, b"data")
    if not isinstance(batch, dict):
        raise Mistake(f"{where} is not a CIFAR batch: it holds a {type(batch).__name__}")
    batch = {key.encode() if isinstance(key, str) else key: value for key, value in batch.items()}
    lacking = [key.decode() for key in keys if key not in batch]
    if lacking:
        raise Mistake(f"{where} is not a {known.name} batch: it has no {', '.join(lacking)}")
    try:
        pixels: Array = np.asarray(batch[b"data"])
        labels = [np.asarray(batch[key], np.uint8).reshape(-1, 1) for key in known.labels]
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (PIXELS,):
            raise ValueError(f"the pixels are {pixels.dtype} {pixels.shape}")
        return np.concatenate([*labels, pixels], axis=1).tobytes()
    except (ValueError, OverflowError, TypeError) as error:
        raise Mistake(f"{where} is not a {known.name} batch: {error}") from error
