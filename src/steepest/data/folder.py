"""Image folders: one sub-folder a class, decoded once on all cores into a record file that is reused.

A folder may hold its classes directly, or under train/, val/ (also valid/, validation/) and test/. Without test/ a
stratified 15 % of the images is held out for the test, the same ones in every run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.cache import cache_dir
from steepest.data.dataset import Array, Dataset, Split, stratified
from steepest.data.images import GREY_MODES, SUFFIXES, decoded, opened, quiet
from steepest.data.records import Records, Writer
from steepest.mistake import Mistake

if TYPE_CHECKING:
    from steepest.data.dataset import Progress

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
TEST_SHARE = 0.15
FIXED_SEED = 0
SMALLEST, LARGEST = 16, 128
CHUNK = 128
FORM = 2


@dataclass(frozen=True)
class Listing:
    """The image files of a folder: per file its split, class index and path; and the class names, sorted."""

    folder: Path
    classes: tuple[str, ...]
    files: tuple[tuple[str, int, Path], ...]

    def state(self) -> str:
        """SHA-256 over classes and every file's split, relative path, size and time of change."""
        digest = hashlib.sha256(repr((FORM, self.classes)).encode())
        for split, label, path in self.files:
            try:
                found = path.stat()
                stamp = (found.st_size, found.st_mtime_ns)
            except OSError:
                stamp = (-1, -1)
            name = os.fsencode(path.relative_to(self.folder))
            digest.update(repr((split, label, name, *stamp)).encode())
        return digest.hexdigest()


def listing(folder: Path) -> Listing:
    """The image files in a folder; refuses one without images, and one whose classes cannot be told or trained."""
    if not folder.exists():
        raise Mistake(f"there is no folder {folder}")
    if not folder.is_dir():
        raise Mistake(f"{folder} is a file; a data set is a folder with one sub-folder per class")
    roots = _roots(folder)
    classes = tuple(sorted(path.name for path in _folders(roots["train"])))
    labels, files = {name: label for label, name in enumerate(classes)}, []
    above = {_identity(path) for path in (folder, *folder.parents, *roots.values())}
    for split, root in roots.items():
        for sub in sorted(_folders(root)):
            if sub.name not in labels:
                raise Mistake(f"{root} has a class {sub.name!r} that {roots['train']} has not")
            files += [(split, labels[sub.name], path) for path in sorted(_images(sub, set(above)))]
    if not files:
        direct = any(path.suffix.lower() in SUFFIXES for path in _entries(folder))
        why = "only images without a class; put them into one sub-folder per class" if direct else "no images"
        raise Mistake(f"{folder} has {why}")
    found = Listing(folder, classes, tuple(files))
    refuse_counts(folder, classes, [label for split, label, _ in files if split == "train"], 2)
    return found


def refuse_counts(folder: Path, classes: tuple[str, ...], labels: list[int], least: int) -> None:
    """Refuses fewer than two classes, and a class with fewer than `least` images."""
    if len(classes) < 2:
        raise Mistake(f"{folder} has one class only, {classes[0]!r}; at least two sub-folders are needed")
    for name, count in zip(classes, np.bincount(np.array(labels, int), minlength=len(classes)), strict=True):
        if count < least:
            have = "one image" if count else "no images"
            raise Mistake(f"class {name!r} of {folder} has {have} to train on; at least two are needed")


def _roots(folder: Path) -> dict[str, Path]:
    """The folders whose sub-folders are the classes, by split."""
    named = {sub: SPLITS[sub.name] for sub in _folders(folder) if sub.name in SPLITS}
    split = {sub for sub in named if any(True for _ in _folders(sub))}
    if not split:
        return {"train": folder}
    roots: dict[str, Path] = {}
    for sub in sorted(split):
        if named[sub] in roots:
            raise Mistake(f"{folder} has two folders for {named[sub]}: {roots[named[sub]].name} and {sub.name}")
        roots[named[sub]] = sub
    if "train" not in roots:
        raise Mistake(f"{folder} has {', '.join(sorted(sub.name for sub in split))} but no train folder")
    return {name: roots[name] for name in ("train", "val", "test") if name in roots}


def _entries(folder: Path) -> list[Path]:
    try:
        return [folder / entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        raise Mistake(f"{folder} cannot be read: {error.strerror}") from error


def _folders(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_dir()]


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def _images(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Image files at any depth; a folder that was entered already (a loop of links) is passed over."""
    if _identity(folder) in seen:
        return
    seen.add(_identity(folder))
    for path in _entries(folder):
        if path.is_dir():
            yield from _images(path, seen)
        elif path.suffix.lower() in SUFFIXES:
            yield path


def workers() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _header(path: Path) -> tuple[int, bool] | str:
    """(short side, whether grey) from the file's header, or what is wrong with it."""
    try:
        with opened(path) as image:
            return min(image.size), image.mode in GREY_MODES
    except Mistake as mistake:
        return str(mistake)


def survey(found: Listing, progress: Progress | None = None) -> list[tuple[int, bool] | str]:
    """For each file (short side, whether grey) from its header, or what is wrong with it."""
    out: list[tuple[int, bool] | str] = []
    with quiet(), ThreadPoolExecutor(workers()) as pool:
        for start in range(0, len(found.files), CHUNK):
            out += pool.map(_header, [path for _, _, path in found.files[start : start + CHUNK]])
            if progress:
                progress("looking at images", len(out), len(found.files))
    return out


def square(headers: list[tuple[int, bool] | str]) -> int:
    """The side that images are brought to: the median short side, down to a multiple of 8, from 16 to 128."""
    sides = [header[0] for header in headers if not isinstance(header, str)]
    return int(np.clip(int(np.median(sides)) // 8 * 8, SMALLEST, LARGEST)) if sides else SMALLEST


def _order(found: Listing) -> dict[str, list[int]]:
    """File numbers by split, each in a fixed random order; the test split is held out here where there is none."""
    numbers = {name: np.array([i for i, file in enumerate(found.files) if file[0] == name], int) for name in _parts()}
    if not len(numbers["test"]):
        labels = np.array([found.files[i][1] for i in numbers["train"]], np.int64)
        train, test = stratified(labels, TEST_SHARE, FIXED_SEED)
        numbers["train"], numbers["test"] = numbers["train"][train], numbers["train"][test]
    rng = np.random.default_rng(FIXED_SEED)
    return {name: rng.permutation(mine).tolist() for name, mine in numbers.items()}


def _parts() -> tuple[str, str, str]:
    return "train", "val", "test"


def _try(path: Path, size: int, channels: int) -> Array | str:
    try:
        return decoded(path, size, channels)
    except Mistake as mistake:
        return str(mistake)


def build(found: Listing, place: Path, size: int | None, progress: Progress | None = None) -> None:
    """Decodes every file into the record file `place`; bad files are left out and told in its `about`."""
    state = found.state()
    headers = survey(found, progress)
    good = [header for header in headers if not isinstance(header, str)]
    if not good:
        raise Mistake(f"{found.folder} has no image that can be read; the first: {headers[0]}")
    size = size or square(headers)
    channels = 1 if all(grey for _, grey in good) else 3
    skipped: list[str] = []
    paths: list[str] = []
    about: dict[str, Any] = {"state": state, "splits": {}, "skipped": skipped, "paths": paths}
    done = 0
    with Writer(place, found.classes, about) as writer, quiet(), ThreadPoolExecutor(workers()) as pool:
        for name, numbers in _order(found).items():
            first = writer.count
            for start in range(0, len(numbers), CHUNK):
                part = numbers[start : start + CHUNK]
                arrays = list(pool.map(lambda i: _try(found.files[i][2], size, channels), part))
                kept = [i for i, array in enumerate(arrays) if not isinstance(array, str)]
                skipped += [array for array in arrays if isinstance(array, str)]
                if kept:
                    labels = np.array([found.files[part[i]][1] for i in kept], np.int64)
                    writer.append(np.stack([arrays[i] for i in kept]), labels)
                    inside = (found.files[part[i]][2].relative_to(found.folder) for i in kept)
                    paths += [os.fsencode(path).decode(errors="replace") for path in inside]
                done += len(part)
                if progress:
                    progress("decoding images", done, len(found.files))
            about["splits"][name] = [first, writer.count]
        skipped.sort()


def place_of(folder: Path, size: int | None, data_dir: Path | None) -> Path:
    """Where the record file of a folder lies: records/ in `data_dir` or the user cache."""
    home = (Path(data_dir).expanduser() if data_dir else cache_dir()) / "records"
    key = hashlib.sha256(os.fsencode(folder) + f" {size or 'auto'}".encode()).hexdigest()[:16]
    return home / f"{key}.records"


def load(
    folder: Path,
    *,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    size: int | None = None,
    max_skip: float = 0.05,
) -> Dataset:
    """The images of a folder as (N,size,size,C) uint8; C is 1 where every image is grey, else 3.

    size: 8 to 1024, or None to choose it from the images. max_skip: the share of bad files, 0 to 1, that is left out;
    beyond it the folder is refused.
    """
    if size is not None and not 8 <= size <= 1024:
        raise Mistake(f"the size of the images must be from 8 to 1024 pixels, but is {size}")
    if not 0 <= max_skip <= 1:
        raise Mistake(f"the share of files that may be skipped must be from 0 to 1, but is {max_skip}")
    folder = Path(folder).expanduser().resolve()
    found = listing(folder)
    place = place_of(folder, size, data_dir)
    records = reusable(found, place)
    if records is None:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Mistake(f"no record file can be written into {place.parent}: {error.strerror}") from error
        build(found, place, size, progress)
        records = Records(place)
    skipped = tuple(str(line) for line in records.about["skipped"])
    if len(skipped) > max_skip * len(found.files):
        raise Mistake(
            f"{len(skipped)} of {len(found.files)} images in {folder} are bad, more than the {max_skip:.0%} that may "
            f"be skipped: {'; '.join(skipped[:3])}{'; …' if len(skipped) > 3 else ''}"
        )
    refuse_counts(folder, found.classes, records.targets.tolist(), 2)
    refuse_counts(folder, found.classes, records.targets[slice(*records.about["splits"]["train"])].tolist(), 1)
    return from_records(records, folder.name, str(folder))


def reusable(found: Listing, place: Path) -> Records | None:
    """The record file, where it is whole and made from the folder as it is now."""
    if not place.is_file():
        return None
    try:
        records = Records(place)
    except Mistake:
        return None
    return records if records.about.get("state") == found.state() else None


def from_records(records: Records, name: str, source: str) -> Dataset:
    """The data set in a record file: by the splits it tells of, else its last 15 % of rows are the test split.

    Rows written in order of their classes cannot be cut that way, and are refused.
    """
    told = records.about.get("splits") or {}
    if not told:
        cut = len(records) - max(1, round(TEST_SHARE * len(records)))
        told = {"train": [0, cut], "test": [cut, len(records)]}
    paths = tuple(str(path) for path in records.about.get("paths", ()))
    parts: dict[str, Split | None] = dict.fromkeys(_parts())
    for part, (start, stop) in told.items():
        if part in parts and stop > start:
            view = records.slice(start, stop)
            parts[part] = Split(view.images(), view.targets, paths[start:stop] if len(paths) == len(records) else ())
    train = parts["train"]
    if train is None:
        raise Mistake(f"{records.path} has no rows to train on")
    if records.classes and len(np.unique(train.targets)) < len(np.unique(records.targets)):
        raise Mistake(f"{records.path} has classes among its last rows only: write its rows in random order")
    task = "classify" if records.classes else "regress"
    skipped = tuple(str(line) for line in records.about.get("skipped", ()))
    return Dataset(
        name, train, parts["val"], parts["test"], records.classes, records.fingerprint, task, source, skipped
    )
