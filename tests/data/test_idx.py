from __future__ import annotations

import gzip
import hashlib
import os
import struct
from dataclasses import replace

import numpy as np
import pytest

import steepest.data
from steepest.data import idx
from steepest.data.known import Content, unzipped
from steepest.mistake import Failure, Mistake

REAL = os.environ.get("STEEPEST_DATA")


def packed(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def small(tmp_path):
    """A set of 6 + 3 images in `tmp_path/data/small`, and what is known of it."""
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, 256, shape, dtype=np.uint8) % top
        for shape, top in (((6, 28, 28), 255), ((6,), 10), ((3, 28, 28), 255), ((3,), 10))
    ]
    folder = tmp_path / "data" / "small"
    folder.mkdir(parents=True)
    contents = []
    for stem, array in zip(idx.STEMS, arrays, strict=True):
        data = packed(array)
        (folder / stem).write_bytes(data)
        contents.append(Content(stem, len(data), hashlib.sha256(data).hexdigest()))
    known = replace(idx.MNIST, name="small", contents=tuple(contents), folders=("small", ""), remotes=())
    return known, folder, arrays


@pytest.mark.parametrize("zipped", [(), (0,), (0, 1, 2, 3)])
def test_plain_and_gzipped_files_are_read(small, zipped):
    known, folder, arrays = small
    for i in zipped:
        path = folder / idx.STEMS[i]
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    data = idx.load(known, folder.parent)
    assert data.test is not None and data.source == str(folder)
    assert data.train.images.shape == (6, 28, 28, 1) and data.train.images.dtype == np.uint8
    assert data.train.targets.dtype == np.int64 and data.classes == tuple("0123456789")
    np.testing.assert_array_equal(data.train.images[:][..., 0], arrays[0])
    np.testing.assert_array_equal(data.test.images[:][..., 0], arrays[2])
    np.testing.assert_array_equal(data.train.targets, arrays[1])
    np.testing.assert_array_equal(data.test.targets, arrays[3])


def _where(known, data_dir):
    found = idx.find(known, data_dir)
    assert found is not None
    return found[0].parent


def test_the_places_are_searched_in_order(small, monkeypatch, tmp_path, own_cache):
    known, folder, _ = small
    assert idx.find(known, None) is None
    monkeypatch.setenv("STEEPEST_DATA", str(folder.parent))
    assert _where(known, None) == folder
    assert _where(known, tmp_path / "none") == folder
    own_cache.parent.mkdir()
    (folder.parent).rename(own_cache)
    assert _where(known, None) == own_cache / "small"


def test_a_changed_file_and_one_of_another_size_are_refused(small):
    known, folder, _ = small
    path = folder / idx.STEMS[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(Mistake, match="does not have the known SHA-256"):
        idx.load(known, folder.parent)
    for wrong in (whole[:-1], whole + b"x", gzip.compress(whole + bytes(10**6))):
        path.write_bytes(wrong)
        with pytest.raises(Mistake, match=f"bytes instead of {len(whole)}"):
            idx.load(known, folder.parent)


def test_no_more_is_unpacked_than_is_asked_for(tmp_path):
    for data in (bytes(1000), gzip.compress(bytes(1000))):
        (tmp_path / "a").write_bytes(data)
        assert len(unzipped(tmp_path / "a", 10)) == 11


def test_a_cut_off_gzip_file_is_refused(small):
    known, folder, _ = small
    path = folder / idx.STEMS[0]
    path.write_bytes(gzip.compress(path.read_bytes())[:-20])
    with pytest.raises(Mistake, match="is a cut-off or broken gzip file"):
        idx.load(known, folder.parent)


def test_a_missing_file_is_named(small):
    known, folder, _ = small
    (folder / idx.STEMS[1]).unlink()
    with pytest.raises(Mistake, match=r"has a part of small only: train-labels-idx1-ubyte \(.gz\) is missing"):
        idx.load(known, folder.parent)


def test_the_files_of_the_other_set_are_passed_over(small, monkeypatch):
    known, folder, _ = small
    other = replace(known, name="other", contents=tuple(replace(c, sha256="0" * 64) for c in known.contents))
    monkeypatch.setattr(idx, "MNIST", known)
    monkeypatch.setattr(idx, "FASHION_MNIST", other)
    monkeypatch.setattr(idx, "SIZES", [content.size for content in known.contents])
    assert idx.find(known, folder) is not None
    assert idx.find(other, folder) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0",
        b"\0\0\x08\x00",
        b"\0\0\x09\x01\0\0\0\x01a",
        b"\0\0\x08\x03\0\0",
        b"\0\0\x08\x01\0\0\0\x02a",
        b"\0\0\x08\x01\0\0\0\x01ab",
        b"\0\0\x08\x02" + b"\xff" * 8,
        b"PNG picture",
    ],
)
def test_bytes_that_are_no_idx_file_are_refused(data):
    with pytest.raises(Mistake, match=r"^f (is not an IDX file|says .* in its header)"):
        idx.parse(data, "f")


@pytest.mark.skipif(REAL is None, reason="needs $STEEPEST_DATA")
def test_the_real_fashion_mnist_is_read(monkeypatch):
    monkeypatch.setenv("STEEPEST_DATA", str(REAL))
    if idx.find(idx.FASHION_MNIST, None) is None:
        pytest.skip("no Fashion-MNIST in $STEEPEST_DATA")
    data = steepest.data.load("fashion_mnist")
    assert data.test is not None and (len(data.train), len(data.test)) == (60_000, 10_000)
    assert (np.bincount(data.train.targets) == 6000).all() and (np.bincount(data.test.targets) == 1000).all()
    assert data.classes[data.train.targets[0]] == "Ankle boot"


def test_an_unreadable_file_is_a_failure(small, monkeypatch):
    known, folder, _ = small
    path = folder / idx.STEMS[0]
    real = type(path).open

    def guarded(self, *args, **named):
        if self == path:
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **named)

    monkeypatch.setattr(type(path), "open", guarded)
    with pytest.raises(Failure, match="cannot be read: Permission denied"):
        idx.load(known, folder.parent)
