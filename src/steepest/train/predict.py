"""Prediction: image files, decoded on all cores a few at a time, and what a trained network takes each one for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from ..data.dataset import Array
from ..data.folder import workers
from ..data.images import SUFFIXES, decoded, quiet
from ..mistake import Mistake
from .about import About

MOST_FILES, MOST_BYTES = 256, 64 << 20
"""Files at once, and bytes of their images at once."""


@dataclass(frozen=True)
class Prediction:
    """A file with its most probable classes, each with its probability, most probable first; or what is wrong with it:
    a sentence that names it."""

    file: Path
    classes: tuple[tuple[str, float], ...] = ()
    problem: str | None = None


def predict(
    about: About, probabilities: Callable[[Array], Array], paths: Iterable[Path | str], top: int
) -> Iterator[Prediction]:
    """See `Trained.predict`, which has checked what is given."""
    coming = iter(files(paths))
    most = max(1, min(MOST_FILES, MOST_BYTES // (about.stored**2 * about.shape[0])))
    with ThreadPoolExecutor(workers()) as pool:
        while part := list(islice(coming, most)):
            with quiet():
                tried = list(pool.map(lambda one: one[1] or _attempt(one[0], about), part))
            images = [one for one in tried if not isinstance(one, str)]
            rows: Iterator[Array] = iter(probabilities(np.stack(images)) if images else ())
            for (file, _), one in zip(part, tried, strict=True):
                if isinstance(one, str):
                    yield Prediction(file, problem=one)
                else:
                    row = next(rows)
                    best = np.argsort(-row, kind="stable")[:top]
                    yield Prediction(file, tuple((about.classes[k], float(row[k])) for k in best))


def files(paths: Iterable[Path | str]) -> Iterator[tuple[Path, str | None]]:
    """Every file that is named, and the image files at any depth of every folder, each with what is wrong already.

    Hidden files and folders are left out, and links to folders are not followed.
    """
    for path in map(Path, paths):
        if not path.is_dir():
            yield path, None
            continue
        count, closed = 0, list[OSError]()
        for here, folders, names in os.walk(path, onerror=closed.append):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                    count += 1
                    yield Path(here, name), None
        for error in closed:
            yield Path(error.filename), f"{error.filename} cannot be read: {error.strerror}"
        if not count and not closed:
            yield path, f"{path} holds no images"


def _attempt(path: Path, about: About) -> Array | str:
    """The image (H,W,C) as the network's data were stored, or what is wrong with it.

    Only a network of square images resizes; one of others gets the centre of the square.
    """
    try:
        image = decoded(path, about.stored, about.shape[0])
    except Mistake as mistake:
        return str(mistake)
    height, width = about.shape[1:]
    if height == width:
        return image
    top, left = (about.stored - height) // 2, (about.stored - width) // 2
    return image[top : top + height, left : left + width]
