"""Run and Curve: the record of one training, a folder that stands alone. No torch.

recipe.toml          the recipe as it was really trained
run.json             what was asked for: data, seed, device, threads, budget, command
data.json            the data's fingerprint, sizes, class names and normalisation
environment.json     machine, versions, commit
curve.jsonl          one line a measurement
result.json          the figures of `train --json`; there when the run is done
model.safetensors    the trained weights, with all that `predict` needs in its header
checkpoint.safetensors   where `resume` goes on
events.out.tfevents…     the same curve for TensorBoard
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import recipe as recipes
from .mistake import Mistake
from .recipe import Recipe

Point = dict[str, float]
TEMPORARY = ".part"
"""How the name of a file ends that is being written."""


class Curve(list[Point]):
    """Measurements in the order of steps, each a dict with `step`, `epoch`, `time_s` and what was measured."""

    def column(self, name: str) -> list[float]:
        """The values of one figure, over the points that have it."""
        return [point[name] for point in self if point.get(name) is not None]

    def last(self, name: str) -> float | None:
        """The latest value of one figure, or None."""
        return next(iter(self.column(name)[::-1]), None)


@dataclass(frozen=True)
class Run:
    """One training's folder."""

    path: Path

    @staticmethod
    def open(path: Path | str) -> Run:
        """The run in a folder; a folder that holds none is refused."""
        path = Path(path)
        if not (path / "run.json").is_file():
            raise Mistake(f"{path} is not a run folder: it has no run.json")
        return Run(path)

    @staticmethod
    def draft(out: Path) -> Run:
        """A new, hidden folder under `out`, to be filled and then renamed: so a run appears whole or not at all.

        Filling takes a moment: one that is an hour old is the leftover of a killed process, and is removed.
        """
        try:
            out.mkdir(parents=True, exist_ok=True)
            for old in out.glob(".new-*"):
                if time.time() - old.stat().st_mtime > 3600:
                    shutil.rmtree(old, ignore_errors=True)
            path = Path(tempfile.mkdtemp(prefix=".new-", dir=out))
            path.chmod(0o777 & ~_umask())
        except OSError as error:
            raise Mistake(f"cannot write runs under {out}: {error.strerror or error}") from error
        return Run(path)

    def rename(self, name: str) -> Run:
        """This folder under its first free name among ``name``, ``name-2``, …; two processes never share one."""
        for number in itertools.count(1):
            path = self.path.with_name(name if number == 1 else f"{name}-{number}")
            try:
                if not path.exists():
                    self.path.rename(path)
                    return Run(path)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise Mistake(f"cannot write the run {path}: {error.strerror}") from error
        raise AssertionError

    def remove(self) -> None:
        """Removes the folder and all in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Within, no other process can train this run (that is refused); leftovers of a killed one are removed."""
        with (self.path / "run.json").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Mistake(f"the run {self.path} is being trained by another process") from None
            for leftover in self.path.glob(f".*{TEMPORARY}"):
                leftover.unlink(missing_ok=True)
            yield

    def read(self, name: str) -> dict[str, Any]:
        """One of the folder's JSON files."""
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise Mistake(f"the run {self.path} has no {name}: it did not get that far") from None
        except (OSError, ValueError) as error:
            raise Mistake(f"{self.path / name} cannot be read: {error}") from error
        if not isinstance(found, dict):
            raise Mistake(f"{self.path / name} is damaged: it must hold one JSON object")
        return found

    def write(self, name: str, fields: Mapping[str, Any]) -> None:
        """One of the folder's JSON files, whole or not at all."""
        text = json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        with writing(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")

    @property
    def done(self) -> bool:
        return (self.path / "result.json").is_file()

    @property
    def recipe(self) -> Recipe:
        return recipes.read(self.path / "recipe.toml")

    @property
    def result(self) -> dict[str, Any]:
        """The figures of a finished run, as `train --json` prints them."""
        return self.read("result.json")

    @property
    def curve(self) -> Curve:
        """The measurements so far; a last line torn by a kill is left out."""
        try:
            lines = (self.path / "curve.jsonl").read_bytes().split(b"\n")[:-1]
            curve = Curve(json.loads(line) for line in lines)
        except FileNotFoundError:
            return Curve()
        except (OSError, ValueError) as error:
            raise Mistake(f"{self.path / 'curve.jsonl'} is damaged: {error}") from error
        if not all(isinstance(point, dict) and "step" in point for point in curve):
            raise Mistake(f"{self.path / 'curve.jsonl'} is damaged: each line must be a measurement with its step")
        return curve

    def append(self, point: Point) -> None:
        """Adds a measurement to the curve. A full disk is a Mistake."""
        path = self.path / "curve.jsonl"
        try:
            with path.open("ab") as file:
                file.write(json.dumps(point).encode() + b"\n")
        except OSError as error:
            raise Mistake(f"cannot write {path}: {error.strerror or error}") from error

    def rewind(self, step: int) -> Curve:
        """Drops the measurements after a step (those that a resumed run will make again); gives the rest."""
        kept = Curve(point for point in self.curve if point["step"] <= step)
        with writing(self.path / "curve.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(point) + "\n" for point in kept), encoding="utf-8")
        return kept


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; on leaving it is fsynced and renamed over `path`, on an error removed.

    So a reader sees the old file or the new one, never a torn one, whatever is killed and when. A full disk or a
    read-only folder is a Mistake with one sentence.
    """
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=TEMPORARY, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        temporary = None
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Mistake(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
