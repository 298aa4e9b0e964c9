"""Record files: any number of images and targets in one checked file, written and read in bounded memory.

Layout: a 64-byte preamble (magic, version, place and CRC-32 of the description, its own CRC-32); the raw images in
blocks of whole rows from byte 4096 on; the raw targets; the description as JSON (shape, types, classes, fingerprint,
CRC-32 of each block and of the targets). The preamble is written last, the file is synced, then renamed into place.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import struct
import tempfile
import weakref
import zlib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from steepest.data.dataset import Array
from steepest.data.download import sync_folder
from steepest.mistake import Failure, Mistake

MAGIC = b"steeprec"
VERSION = 1
START = 4096
BLOCK_BYTES = 4 << 20
SMALL_BYTES = 1 << 30
Bytes = npt.NDArray[np.uint8]
_PREAMBLE = struct.Struct("<8sIQQI")


class Writer:
    """Writes a record file row by row; in a `with` block, at whose end the file appears whole, or not at all.

    classes: names in the order of the class indices; where empty, integer targets are named by their number.
    about: what else the file should say of itself, as JSON can hold it. Memory is bounded by a block and the targets.
    """

    def __init__(self, path: Path, classes: Iterable[str] = (), about: dict[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.classes = tuple(classes)
        self.about = dict(about or {})
        self.count = 0
        self._row: tuple[tuple[int, ...], np.dtype[Any]] | None = None
        self._targets: list[Array] = []
        self._waiting = bytearray()
        self._crcs: list[int] = []
        self._digest = hashlib.sha256()

    def __enter__(self) -> Writer:
        try:
            handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", suffix=".part", dir=self.path.parent)
        except OSError as error:
            raise Mistake(f"no record file can be written into {self.path.parent}: {error.strerror}") from error
        self._temporary = Path(name)
        self._file = os.fdopen(handle, "wb")
        self._file.seek(START)
        return self

    def append(self, images: Array, targets: Array) -> None:
        """Rows: images (N,H,W,C) uint8 or (N,D) float32, targets (N,) integers, or (N,) or (N,1) floats."""
        images = np.asarray(images)
        targets = np.asarray(targets)
        targets = targets.astype(np.int64 if targets.dtype.kind in "iub" else np.float32)
        row = images.shape[1:], images.dtype
        self._row = self._row or row
        if images.ndim not in (2, 4) or images.dtype not in (np.uint8, np.float32) or row != self._row:
            raise Mistake(
                f"rows of {images.dtype} {images.shape[1:]} cannot be written beside {self._row[1]} {self._row[0]}"
                if row != self._row
                else f"a record file holds (N,H,W,C) uint8 or (N,D) float32, not {images.dtype} {images.shape}"
            )
        if len(images) != len(targets) or (self._targets and targets.dtype != self._targets[0].dtype):
            raise Mistake(f"{len(images)} images came with {len(targets)} targets of {targets.dtype}")
        self._targets.append(targets)
        self.count += len(images)
        self._waiting += np.ascontiguousarray(images).data.cast("B")
        self._flush(self._block_bytes())

    def _block_bytes(self) -> int:
        assert self._row is not None
        row_bytes = max(1, int(np.prod(self._row[0])) * self._row[1].itemsize)
        return max(1, BLOCK_BYTES // row_bytes) * row_bytes

    def _flush(self, block_bytes: int) -> None:
        """Writes the blocks that are full."""
        done = 0
        with memoryview(self._waiting) as waiting:
            while len(waiting) - done >= block_bytes:
                self._write(waiting[done : done + block_bytes])
                done += block_bytes
        del self._waiting[:done]

    def _write(self, block: memoryview) -> None:
        self._crcs.append(zlib.crc32(block))
        self._digest.update(block)
        self._guarded(self._file.write, block)

    def _guarded(self, write: Any, *args: Any) -> None:
        try:
            write(*args)
        except OSError as error:
            what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
            raise Failure(f"{self.path} could not be written: {what}; nothing was left behind") from error

    def _finish(self) -> None:
        if self._row is None or self.count == 0:
            raise Mistake(f"{self.path} would have no rows")
        if self._waiting:
            self._write(memoryview(bytes(self._waiting)))
        targets = np.concatenate(self._targets)
        if targets.dtype == np.int64:
            self.classes = self.classes or tuple(str(label) for label in range(int(targets.max()) + 1))
            if targets.min() < 0 or targets.max() >= len(self.classes):
                raise Mistake(f"{self.path}: a target lies outside the {len(self.classes)} classes")
        self._digest.update(targets.data)
        shape = (self.count, *self._row[0])
        self._digest.update(repr((self.classes, shape, self._row[1].str, targets.shape, targets.dtype.str)).encode())
        description = {
            "shape": shape,
            "dtype": self._row[1].str,
            "targets_shape": targets.shape,
            "targets_dtype": targets.dtype.str,
            "targets_crc": zlib.crc32(targets.data),
            "classes": self.classes,
            "fingerprint": self._digest.hexdigest(),
            "block_bytes": self._block_bytes(),
            "crcs": self._crcs,
            "about": self.about,
        }
        text = json.dumps(description).encode()
        self._guarded(self._file.write, targets.data)
        place = self._file.tell()
        self._guarded(self._file.write, text)
        preamble = _PREAMBLE.pack(MAGIC, VERSION, place, len(text), zlib.crc32(text))
        self._guarded(self._file.seek, 0)
        self._guarded(self._file.write, preamble + struct.pack("<I", zlib.crc32(preamble)))
        self._guarded(self._file.flush)
        self._guarded(os.fsync, self._file.fileno())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
                self._file.close()
                self._guarded(self._temporary.replace, self.path)
                sync_folder(self.path.parent)
        finally:
            with contextlib.suppress(OSError):  # bytes that did not fit on the disk go with the temporary file
                self._file.close()
            self._temporary.unlink(missing_ok=True)


class Records:
    """The images of a record file, read with pread into buffers, so that resident memory does not grow.

    `[a:b]` reads contiguous rows, checking each block's CRC-32 when it is first touched; `[indices]` gathers rows.
    A file of up to 1 GiB is checked whole when opened; `mapped()` then serves it at memory speed.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            self._handle = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            weakref.finalize(self, os.close, self._handle)
            described = self._describe()
            self.classes = tuple(str(name) for name in described["classes"])
            self.fingerprint = str(described["fingerprint"])
            self.about: dict[str, Any] = dict(described["about"])
        except OSError as error:
            raise Mistake(f"{self.path} cannot be opened: {error.strerror}") from error
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, Mistake):
                raise
            raise self._corrupt("its description is broken") from error
        labels = self._targets if self._targets.dtype.kind in "iu" else np.zeros(0, np.int64)
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise self._corrupt("a target lies outside its classes")
        self._start, self._stop = 0, self._total
        self._checked = np.zeros(len(self._crcs), bool)
        if self._total * self._row_bytes <= SMALL_BYTES:
            for block in range(len(self._crcs)):
                self._block(block)

    def _corrupt(self, why: str) -> Mistake:
        return Mistake(f"{self.path} is not a whole record file: {why}; remove it and make it again")

    def _describe(self) -> dict[str, Any]:
        size = os.fstat(self._handle).st_size
        head = self._pread(0, min(size, _PREAMBLE.size + 4)).tobytes()
        if len(head) < _PREAMBLE.size + 4 or head[: len(MAGIC)] != MAGIC:
            raise self._corrupt("it does not begin as one")
        preamble, crc = head[:-4], struct.unpack("<I", head[-4:])[0]
        _, version, place, length, text_crc = _PREAMBLE.unpack(preamble)
        if zlib.crc32(preamble) != crc or place + length != size:
            raise self._corrupt("it is cut off or changed")
        if version != VERSION:
            raise Mistake(f"{self.path} has version {version} of the record format; this release reads {VERSION}")
        text = self._pread(place, length).tobytes()
        if zlib.crc32(text) != text_crc:
            raise self._corrupt("its description was changed")
        described: dict[str, Any] = json.loads(text)
        self._total, *row = (int(n) for n in described["shape"])
        self._row: tuple[int, ...] = tuple(row)
        self.dtype = np.dtype(described["dtype"])
        self._row_bytes: int = int(np.prod(self._row)) * self.dtype.itemsize
        self._block_bytes, self._crcs = int(described["block_bytes"]), list(described["crcs"])
        targets_shape, targets_dtype = tuple(described["targets_shape"]), np.dtype(described["targets_dtype"])
        targets_bytes = int(np.prod(targets_shape)) * targets_dtype.itemsize
        images_bytes = self._total * self._row_bytes
        blocks = -(-images_bytes // max(1, self._block_bytes))
        if (
            START + images_bytes + targets_bytes != place
            or blocks != len(self._crcs)
            or targets_shape[0] != self._total
        ):
            raise self._corrupt("its parts do not fit together")
        raw = self._pread(START + images_bytes, targets_bytes)
        if zlib.crc32(raw.data) != described["targets_crc"]:
            raise self._corrupt("its targets were changed")
        self._targets = np.frombuffer(raw, targets_dtype).reshape(targets_shape)
        return described

    def _pread(self, offset: int, count: int) -> Bytes:
        """`count` bytes from `offset`, as a new (count,) uint8 array."""
        buffer = np.empty(count, np.uint8)
        self._pread_into(offset, buffer)
        return buffer

    def _pread_into(self, offset: int, buffer: Bytes) -> None:
        view, done = buffer.data, 0
        while done < len(view):
            part = os.pread(self._handle, min(len(view) - done, BLOCK_BYTES), offset + done)
            if not part:
                raise self._corrupt("it was cut off while it was read")
            view[done : done + len(part)] = part
            done += len(part)

    def _block(self, block: int) -> Bytes:
        """The bytes of one block, checked."""
        offset = block * self._block_bytes
        data = self._pread(START + offset, min(self._block_bytes, self._total * self._row_bytes - offset))
        if zlib.crc32(data.data) != self._crcs[block]:
            raise self._corrupt(f"block {block} of {len(self._crcs)} was changed")
        self._checked[block] = True
        return data

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._stop - self._start, *self._row)

    @property
    def nbytes(self) -> int:
        return len(self) * self._row_bytes

    @property
    def targets(self) -> Array:
        """The targets of these rows, (N,) int64, or (N,) or (N,1) float32; in memory."""
        return self._targets[self._start : self._stop]

    def __len__(self) -> int:
        return self._stop - self._start

    def slice(self, start: int, stop: int) -> Records:
        """A view of rows `start` to `stop` that shares file and checks with this one."""
        if not 0 <= start <= stop <= len(self):
            raise Mistake(f"rows {start} to {stop} are not within the {len(self)} rows of {self.path}")
        view = object.__new__(Records)
        view.__dict__.update(self.__dict__, _owner=self, _start=self._start + start, _stop=self._start + stop)
        return view

    def __getitem__(self, key: Any) -> Array:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step != 1:
                return self[np.arange(start, stop, step)]
            return self._contiguous(self._start + start, self._start + max(start, stop))
        indices = np.asarray(key)
        if indices.dtype == bool and indices.shape == (len(self),):
            indices = np.flatnonzero(indices)
        if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
            raise Mistake("a record file is read by a slice or by a one-dimensional array of row numbers")
        if indices.size and not -len(self) <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"row numbers must be from 0 to {len(self) - 1}")
        rows = np.where(indices < 0, indices + len(self), indices) + self._start
        out = np.empty((len(rows), self._row_bytes), np.uint8)
        for target in np.argsort(rows, kind="stable"):
            self._pread_into(START + int(rows[target]) * self._row_bytes, out[target])
        return self._shaped(out)

    def _contiguous(self, start: int, stop: int) -> Array:
        first, last = start * self._row_bytes, stop * self._row_bytes
        for block in range(first // self._block_bytes, -(-last // self._block_bytes)):
            if not self._checked[block]:
                self._block(block)
        return self._shaped(self._pread(START + first, last - first))

    def _shaped(self, raw: Bytes) -> Array:
        rows: Array = raw.reshape(-1).view(self.dtype).reshape(-1, *self._row)
        return rows

    def mapped(self) -> Array:
        """These rows as a read-only memory map: at memory speed, but its pages count as resident."""
        whole: Array = np.memmap(self.path, self.dtype, "r", START, (self._total, *self._row))
        return whole[self._start : self._stop]

    def images(self) -> Array | Records:
        """What a `Split` takes: the memory map of a file of up to 1 GiB, else the streaming view."""
        return self.mapped() if self._total * self._row_bytes <= SMALL_BYTES else self
