from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steepest.data import folder, records
from steepest.data.records import START, Records, Writer
from steepest.mistake import Failure, Mistake


def _rows(n=50, seed=0, shape=(5, 4, 3)):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, *shape), dtype=np.uint8), rng.integers(0, 3, n)


def _write(path, images, targets, step=7, **named):
    with Writer(path, **named) as writer:
        for start in range(0, len(images), step):
            writer.append(images[start : start + step], targets[start : start + step])
    return path


@pytest.fixture(params=["small", "streamed"])
def both(request, monkeypatch):
    """Runs a test on a file that is checked whole when opened, and on one that is checked block by block."""
    monkeypatch.setattr(records, "BLOCK_BYTES", 200)
    if request.param == "streamed":
        monkeypatch.setattr(records, "SMALL_BYTES", 0)
    return request.param


def test_what_was_written_is_read(tmp_path, both):
    images, targets = _rows()
    read = Records(_write(tmp_path / "a.records", images, targets, classes=("x", "y", "z"), about={"k": [1, "é"]}))
    assert read.shape == (50, 5, 4, 3) and read.dtype == np.uint8 and len(read) == 50 and read.nbytes == images.nbytes
    assert read.classes == ("x", "y", "z") and read.about == {"k": [1, "é"]}
    np.testing.assert_array_equal(read.targets, targets)
    np.testing.assert_array_equal(read[:], images)
    np.testing.assert_array_equal(read.mapped(), images)
    assert isinstance(read.images(), np.ndarray) == (both == "small")
    assert not read.mapped().flags.writeable


@given(data=st.data())
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_slice_and_gather_is_that_of_the_array(tmp_path, both, data):
    images, targets = _rows(30)
    path = tmp_path / "b.records"
    whole = Records(path if path.exists() else _write(path, images, targets))
    low = data.draw(st.integers(0, 30))
    high = data.draw(st.integers(low, 30))
    view, expected = whole.slice(low, high), images[low:high]
    np.testing.assert_array_equal(view.targets, targets[low:high])
    bounds = st.none() | st.integers(-35, 35)
    key = slice(data.draw(bounds), data.draw(bounds), data.draw(st.sampled_from([None, 1, 2, -1, -3])))
    np.testing.assert_array_equal(view[key], expected[key])
    if len(expected):
        number = st.integers(-len(expected), len(expected) - 1)
        index = np.array(data.draw(st.lists(number, max_size=40)), np.int64)
        np.testing.assert_array_equal(view[index], expected[index])
        mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(expected), max_size=len(expected))))
        np.testing.assert_array_equal(view[mask], expected[mask])


def test_a_view_of_a_view_outlives_its_parents(tmp_path, both):
    images, targets = _rows()
    view = Records(_write(tmp_path / "a.records", images, targets)).slice(10, 40).slice(5, 20)
    np.testing.assert_array_equal(view[:], images[15:30])
    np.testing.assert_array_equal(view.mapped(), images[15:30])


def test_float_rows_with_float_targets_are_a_regression_set(tmp_path):
    points = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    path = _write(tmp_path / "r.records", points, points[:, :1])
    read = Records(path)
    assert read.classes == () and read.targets.shape == (20, 1) and read.targets.dtype == np.float32
    np.testing.assert_array_equal(read[3:9], points[3:9])
    data = folder.from_records(read, "r", str(path))
    assert data.task == "regress" and data.test is not None and (len(data.train), len(data.test)) == (17, 3)


def test_the_fingerprint_depends_on_contents_alone(tmp_path):
    images, targets = _rows()
    one = Records(_write(tmp_path / "a.records", images, targets, step=7)).fingerprint
    two = Records(_write(tmp_path / "b.records", images, targets, step=50)).fingerprint
    images[49, 4, 3, 2] ^= 1
    three = Records(_write(tmp_path / "c.records", images, targets)).fingerprint
    named = Records(_write(tmp_path / "d.records", images, targets, classes=("x", "y", "z"))).fingerprint
    assert one == two and len({one, three, named}) == 3


def test_every_single_flipped_byte_is_found(tmp_path, both):
    images, targets = _rows(12, shape=(4, 4, 1))
    path = _write(tmp_path / "a.records", images, targets)
    whole = path.read_bytes()
    where = [*range(40), *range(START, len(whole), 5), len(whole) - 1]
    for position in where:
        if 36 <= position < START:
            continue  # padding that nothing reads
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x40]) + whole[position + 1 :])
        with pytest.raises(Mistake, match=r"a.records (is not a whole record file|has version)"):
            Records(path)[:]


def test_a_target_changed_to_another_class_is_found(tmp_path, both):
    images, targets = _rows()
    path = _write(tmp_path / "a.records", images, targets)
    whole = bytearray(path.read_bytes())
    whole[START + images.nbytes] = (int(targets[0]) + 1) % 3
    path.write_bytes(whole)
    with pytest.raises(Mistake, match="its targets were changed"):
        Records(path)


@pytest.mark.parametrize("keep", [0, 10, 36, START, START + 100, -1])
def test_a_cut_off_file_is_refused(tmp_path, keep):
    path = _write(tmp_path / "a.records", *_rows())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(Mistake, match="is not a whole record file"):
        Records(path)


def _redescribe(path, **changes):
    """The file with a changed description whose checksums are right, as somebody could forge it."""
    whole = path.read_bytes()
    _, version, place, length, _ = records._PREAMBLE.unpack(whole[: records._PREAMBLE.size])
    described = json.loads(whole[place : place + length]) | changes
    text = json.dumps({key: value for key, value in described.items() if value is not None}).encode()
    head = records._PREAMBLE.pack(records.MAGIC, changes.get("version", version), place, len(text), zlib.crc32(text))
    head += zlib.crc32(head).to_bytes(4, "little")
    path.write_bytes(head + whole[len(head) : place] + text)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [10**15, 4, 4, 3]},
        {"shape": [-1, 5, 4, 3]},
        {"shape": "x"},
        {"dtype": "O"},
        {"dtype": "<f8"},
        {"crcs": []},
        {"block_bytes": 0},
        {"block_bytes": -5},
        {"classes": None},
        {"classes": ["a"]},
        {"about": 3},
        {"targets_dtype": "O"},
        {"targets_shape": []},
        {"crcs": ["a"]},
    ],
)
def test_a_forged_description_is_refused(tmp_path, changes):
    path = _write(tmp_path / "a.records", *_rows())
    _redescribe(path, **changes)
    with pytest.raises(Mistake, match="is not a whole record file"):
        Records(path)


def test_a_later_version_is_told(tmp_path):
    path = _write(tmp_path / "a.records", *_rows())
    _redescribe(path, version=2)
    with pytest.raises(Mistake, match="version 2 of the record format"):
        Records(path)


def test_a_file_that_is_missing_is_told(tmp_path):
    with pytest.raises(Mistake, match="cannot be opened: No such file"):
        Records(tmp_path / "none.records")


@pytest.mark.parametrize(
    ("images", "targets"),
    [
        (np.zeros((3, 4, 4, 1)), np.zeros(3, int)),
        (np.zeros((3, 4), np.uint8), np.zeros(2, int)),
        (np.zeros((3, 5, 4, 3), np.float32), np.zeros(3, int)),
        (np.zeros((3, 4, 4), np.uint8), np.zeros(3, int)),
        (np.zeros((3, 5, 4, 3), np.uint8), np.zeros(3, np.float32)),
        (np.zeros((3, 5, 4, 3), np.uint8), -np.ones(3, int)),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_nothing_is_left(tmp_path, images, targets):
    good, labels = _rows(3)
    with pytest.raises(Mistake), Writer(tmp_path / "a.records") as writer:
        writer.append(good, labels)
        writer.append(images, targets)
    assert list(tmp_path.iterdir()) == []


def test_no_rows_and_too_few_class_names_are_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(Mistake, match="would have no rows"), Writer(tmp_path / "a.records"):
        pass
    with pytest.raises(Mistake, match="outside the 1 classes"):
        _write(tmp_path / "a.records", *_rows(), classes=("only",))
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_is_broken_off_leaves_the_old_file_as_it_was(tmp_path):
    path = _write(tmp_path / "a.records", *_rows())
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), Writer(path) as writer:
        writer.append(*_rows(seed=1))
        raise KeyboardInterrupt
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_missing_folder_and_a_read_only_one_are_told(tmp_path):
    with pytest.raises(Mistake, match="no record file can be written into"):
        _write(tmp_path / "none" / "a.records", *_rows())
    with pytest.raises(Mistake, match="no record file can be written into"):
        _write(Path("/proc/a.records"), *_rows())


@pytest.fixture
def full_disk(tmp_path):
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if sys.platform != "linux" or os.geteuid() != 0 or mount is None:
        pytest.skip("mounting a small file system needs root on Linux")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=256k", "none", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("block_bytes", [1 << 12, 4 << 20])
def test_a_full_disk_is_told_and_leaves_no_file(full_disk, monkeypatch, block_bytes):
    monkeypatch.setattr(records, "BLOCK_BYTES", block_bytes)
    images = np.random.default_rng(0).integers(0, 256, (500, 32, 32, 3), dtype=np.uint8)
    with pytest.raises(Failure, match="the disk is full; nothing was left behind"):
        _write(full_disk / "a.records", images, np.arange(500) % 10)
    assert list(full_disk.iterdir()) == []
    images, targets = _rows()
    np.testing.assert_array_equal(Records(_write(full_disk / "a.records", images, targets))[:], images)


def test_a_large_file_is_written_and_streamed_in_little_memory(tmp_path):
    code = f"""
import resource, sys
from pathlib import Path
import numpy as np
from steepest.data import records
records.SMALL_BYTES = 0
rows = np.random.default_rng(0).integers(0, 256, (500, 32, 32, 3), dtype=np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with records.Writer(Path({str(tmp_path / "big.records")!r})) as writer:
    for _ in range(160):
        writer.append(rows, np.arange(500) % 10)
read = records.Records(Path({str(tmp_path / "big.records")!r}))
total = sum(int(read[start:start + 500][:, 0, 0, 0].sum()) for start in range(0, len(read), 500))
assert total == 160 * int(rows[:, 0, 0, 0].sum())
print(read.nbytes >> 10, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert int(out[0]) > 230_000  # KiB on the disk
    assert int(out[1]) < 40_000  # KiB in memory


def test_streaming_checks_only_the_blocks_it_touches(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "BLOCK_BYTES", 600)
    monkeypatch.setattr(records, "SMALL_BYTES", 0)
    images, targets = _rows()
    path = _write(tmp_path / "a.records", images, targets)
    with path.open("r+b") as file:
        file.seek(START + 49 * 60)
        file.write(bytes([images[49].flat[0] ^ 1]))
    read = Records(path)
    np.testing.assert_array_equal(read[:40], images[:40])
    with pytest.raises(Mistake, match="block 4 of 5 was changed"):
        read[45:50]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0


def test_bad_keys_are_refused(tmp_path):
    read = Records(_write(tmp_path / "a.records", *_rows()))
    for key in (np.zeros((2, 2), int), np.array([0.5]), 3):
        with pytest.raises(Mistake, match="read by a slice"):
            read[key]
    for key in (np.array([50]), np.array([-51])):
        with pytest.raises(IndexError):
            read[key]
    with pytest.raises(Mistake, match="not within the 50 rows"):
        read.slice(10, 51)


def test_the_last_rows_of_a_plain_record_file_are_its_test_split(tmp_path, both):
    images, targets = _rows(100)
    data = folder.from_records(Records(_write(tmp_path / "a.records", images, targets)), "a", "here")
    assert data.test is not None and data.val is None and data.classes == ("0", "1", "2")
    np.testing.assert_array_equal(data.test.images[:], images[85:])
    np.testing.assert_array_equal(data.train.targets, targets[:85])
    assert data.fingerprint == Records(tmp_path / "a.records").fingerprint


def test_rows_in_order_of_their_classes_cannot_be_cut(tmp_path):
    images, targets = _rows(100)
    targets = np.where(np.arange(100) < 90, 0, 1)
    with pytest.raises(Mistake, match="random order"):
        folder.from_records(Records(_write(tmp_path / "a.records", images, targets)), "a", "here")
