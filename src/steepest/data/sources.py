"""One door to all data: a known name, a name with settings, an image folder, or a record file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from steepest.data import NAMES
from steepest.data.dataset import Dataset
from steepest.mistake import Mistake, unknown

if TYPE_CHECKING:
    from steepest.data.dataset import Progress

POINTS = ("circles", "xor", "gauss", "spiral", "moons", "reg_plane", "reg_gauss")
SETTINGS: dict[str, dict[str, type]] = {name: {"noise": float, "n": int, "seed": int} for name in POINTS}
SETTINGS["synthetic"] = {"n": int, "test": int, "seed": int}


def load(
    data: str,
    *,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    seed: int = 0,
    size: int | None = None,
    max_skip: float = 0.05,
) -> Dataset:
    """The data set of a known name (`cifar10`), of a name with settings (`circles:noise=0.2,n=500`), or of a path.

    A path is a folder with one sub-folder per class, or a `.records` file. seed draws the points and the synthetic
    images, and nothing else: every test split is fixed. size (pixels) and max_skip (share) are for image folders.
    progress(what, done, total) is called while something takes long. Raises `Mistake` for what a person can mend,
    `Failure` for a download or a disk that failed.
    """
    data = str(data)
    name, colon, text = data.partition(":")
    if name in NAMES and not (colon and Path(data).exists()):
        return _known(name, parse(name, text), data_dir, progress, seed)
    from steepest.data import folder
    from steepest.data.records import Records

    path = Path(data).expanduser()
    if path.suffix == ".records" and path.is_file():
        return folder.from_records(Records(path), path.stem, str(path.resolve()))
    if data and path.exists():
        return folder.load(path, data_dir=data_dir, progress=progress, size=size, max_skip=max_skip)
    if "/" in data or "\\" in data or path.is_symlink():
        raise Mistake(f"there is no file or folder {data}; known data sets: {', '.join(NAMES)}")
    raise unknown("data set", name, NAMES)


def parse(name: str, text: str) -> dict[str, int | float]:
    """The settings in `noise=0.2,n=500`, checked against those that the set has."""
    kinds = SETTINGS.get(name, {})
    settings: dict[str, int | float] = {}
    for item in filter(None, text.split(",")):
        key, _, value = item.partition("=")
        if key not in kinds:
            raise unknown(f"setting of {name}", key, kinds)
        try:
            settings[key] = kinds[key](value)
        except ValueError as error:
            what = "a whole number" if kinds[key] is int else "a number"
            raise Mistake(f"{key} of {name} must be {what}, but is {value!r}") from error
    if settings.get("seed", 0) < 0:
        raise Mistake(f"seed of {name} must not be negative, but is {settings['seed']}")
    return settings


def _known(
    name: str, settings: dict[str, int | float], data_dir: Path | None, progress: Progress | None, seed: int
) -> Dataset:
    if name in POINTS:
        from steepest.data import points

        n = settings.get("n")
        noise, drawn = float(settings.get("noise", 0.0)), int(settings.get("seed", seed))
        return points.load(name, noise=noise, n=None if n is None else int(n), seed=drawn)
    if name == "synthetic":
        from steepest.data import synthetic

        counts = {key: int(value) for key, value in settings.items()}
        return synthetic.load(**{"seed": seed, **counts})
    if name == "digits":
        from steepest.data import digits

        return digits.load()
    if name in ("mnist", "fashion_mnist"):
        from steepest.data import idx

        return idx.load(idx.MNIST if name == "mnist" else idx.FASHION_MNIST, data_dir, progress)
    from steepest.data import cifar

    return cifar.load(cifar.CIFAR10 if name == "cifar10" else cifar.CIFAR100, data_dir, progress)
