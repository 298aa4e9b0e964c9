from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from dataclasses import replace

import numpy as np
import pytest

import steepest.data
from steepest.data import cifar
from steepest.data.known import Content, Remote
from steepest.mistake import Mistake

REAL = os.environ.get("STEEPEST_DATA")


class Made:
    """A small set in the form of CIFAR-10 or CIFAR-100, in memory, and what is known of it."""

    def __init__(self, like, rows=(5, 4, 3)):
        rng = np.random.default_rng(0)
        width = len(like.labels)
        pickles = like.pickles if len(like.pickles) == 2 else ("data_batch_1", "data_batch_2", "test_batch")
        rows = rows[-len(pickles) :]
        self.files, self.batches, contents = {}, {}, []
        self.pixels = [rng.integers(0, 256, (n, 3072), dtype=np.uint8) for n in rows]
        self.labels = [rng.integers(0, len(like.classes), (n, width), dtype=np.uint8) for n in rows]
        for name, pixels, labels in zip(pickles, self.pixels, self.labels, strict=True):
            self.files[f"{name}.bin"] = np.concatenate([labels, pixels], 1).tobytes()
            named = {key: labels[:, i].tolist() for i, key in enumerate(like.labels)}
            self.batches[name] = {b"data": pixels, b"filenames": [b"a.png"] * len(pixels), **named}
            data = self.files[f"{name}.bin"]
            contents.append(Content(f"{name}.bin", len(data), hashlib.sha256(data).hexdigest()))
        self.known = replace(
            like, name="small", contents=tuple(contents), pickles=tuple(pickles), sums=("0" * 64,) * len(pickles)
        )

    def members(self, version, protocol=2):
        if version == "binary":
            return self.files
        return {name: pickle.dumps(batch, protocol) for name, batch in self.batches.items()}

    def lay(self, place, version, packed, members=None):
        """The set as a folder or an archive in `place`."""
        members = members or self.members(version)
        folder = self.known.binary_folder if version == "binary" else self.known.python_folder
        if not packed:
            (place / folder).mkdir(parents=True, exist_ok=True)
            for name, data in members.items():
                (place / folder / name).write_bytes(data)
            return place / folder
        place.mkdir(parents=True, exist_ok=True)
        path = place / (self.known.remote.name if version == "binary" else self.known.python_archive)
        with tarfile.open(path, "w:gz") as archive:
            for name, data in {"readme.html": b"x", **members}.items():
                member = tarfile.TarInfo(f"{folder}/{name}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return path


@pytest.mark.parametrize("like", [cifar.CIFAR10, cifar.CIFAR100], ids=["cifar10", "cifar100"])
@pytest.mark.parametrize("version", ["binary", "python"])
@pytest.mark.parametrize("packed", [False, True])
def test_both_versions_packed_or_not_give_the_same_set(tmp_path, like, version, packed):
    made = Made(like)
    path = made.lay(tmp_path, version, packed)
    data = cifar.load(made.known, tmp_path)
    assert data.test is not None and data.source == str(path)
    pixels = np.concatenate(made.pixels).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    labels = np.concatenate(made.labels)[:, -1]
    cut = len(data.train)
    assert cut == len(labels) - 3
    np.testing.assert_array_equal(data.train.images[:], pixels[:cut])
    np.testing.assert_array_equal(data.test.images[:], pixels[cut:])
    np.testing.assert_array_equal(data.train.targets, labels[:cut])
    np.testing.assert_array_equal(data.test.targets, labels[cut:])
    assert data.train.images.dtype == np.uint8 and data.train.targets.dtype == np.int64


def test_members_of_an_archive_in_another_order_and_the_set_in_a_folder_of_its_name_are_found(tmp_path):
    made = Made(cifar.CIFAR10)
    first = cifar.load(made.known, made.lay(tmp_path / "a", "binary", True).parent).fingerprint
    members = dict(reversed(made.members("binary").items()))
    made.lay(tmp_path / "b" / "small", "binary", True, members)
    assert cifar.load(made.known, tmp_path / "b").fingerprint == first
    made.lay(tmp_path / "c", "binary", False)
    assert cifar.load(made.known, tmp_path / "c" / made.known.binary_folder).fingerprint == first


def test_a_pickle_with_a_known_sum_is_taken_whatever_its_records(tmp_path):
    made = Made(cifar.CIFAR10)
    members = made.members("python")
    sums = [hashlib.sha256(data).hexdigest() for data in members.values()]
    sums[1] = hashlib.md5(list(members.values())[1], usedforsecurity=False).hexdigest()
    contents = tuple(replace(content, sha256="0" * 64) for content in made.known.contents)
    made.lay(tmp_path, "python", False)
    assert len(cifar.load(replace(made.known, sums=tuple(sums), contents=contents), tmp_path).train) == 9
    with pytest.raises(Mistake, match="SHA-256"):
        cifar.load(replace(made.known, contents=contents), tmp_path)


@pytest.mark.parametrize("version", ["binary", "python"])
@pytest.mark.parametrize("packed", [False, True])
def test_changed_missing_and_cut_off_files_are_refused(tmp_path, version, packed):
    made = Made(cifar.CIFAR10)
    members = made.members(version)
    name = list(members)[1]
    changed = dict(members)
    if version == "binary":
        changed[name] = members[name][:-1] + bytes([members[name][-1] ^ 1])
    else:
        changed[name] = pickle.dumps({**made.batches[name], b"data": 255 - made.pixels[1]})
    made.lay(tmp_path / "changed", version, packed, changed)
    with pytest.raises(Mistake, match="does not have the known SHA-256"):
        cifar.load(made.known, tmp_path / "changed")
    made.lay(tmp_path / "missing", version, packed, {k: v for k, v in members.items() if k != name})
    with pytest.raises(Mistake, match=f"has a part of small only: {name} is missing"):
        cifar.load(made.known, tmp_path / "missing")
    made.lay(tmp_path / "cut", version, packed, {**members, name: members[name][:-100]})
    with pytest.raises(Mistake, match=r"bytes instead of|is refused, nothing in it was executed"):
        cifar.load(made.known, tmp_path / "cut")


def test_a_cut_off_or_false_archive_is_refused(tmp_path):
    made = Made(cifar.CIFAR10)
    path = made.lay(tmp_path, "binary", True)
    whole = path.read_bytes()
    for wrong in (whole[: len(whole) // 2], b"", b"no archive", whole[:1000] + b"xxxx" + whole[1004:]):
        path.write_bytes(wrong)
        with pytest.raises(Mistake, match=r"cut-off or broken archive|part of small only|known SHA-256"):
            cifar.load(made.known, tmp_path)


class _Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("packed", [False, True])
def test_a_malicious_pickle_in_place_of_a_batch_does_not_run(tmp_path, packed):
    made = Made(cifar.CIFAR10)
    mark = tmp_path / "ran"
    members = made.members("python")
    members["data_batch_2"] = pickle.dumps({**made.batches["data_batch_2"], b"x": _Evil(mark)}, 2)
    made.lay(tmp_path, "python", packed, members)
    with pytest.raises(Mistake, match=r"data_batch_2 is refused, nothing in it was executed: it asks for posix.system"):
        cifar.load(made.known, tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        ([1, 2], "holds a list"),
        ({b"labels": [1]}, "has no data"),
        ({b"labels": [1, 2], b"data": np.zeros((1, 3072), np.uint8)}, "is not a small batch"),
        ({b"labels": [300], b"data": np.zeros((1, 3072), np.uint8)}, "is not a small batch"),
        ({b"labels": ["a"], b"data": np.zeros((1, 3072), np.uint8)}, "is not a small batch"),
        ({b"labels": [1], b"data": np.zeros((1, 3072))}, "the pixels are float64"),
        ({b"labels": [1], b"data": np.zeros((1, 5), np.uint8)}, "the pixels are"),
        ({b"labels": [1], b"data": [[1], [1, 2]]}, "is not a small batch"),
    ],
)
def test_pickles_of_something_else_are_refused(tmp_path, batch, sentence):
    made = Made(cifar.CIFAR10)
    made.lay(tmp_path, "python", False, {**made.members("python"), "data_batch_1": pickle.dumps(batch)})
    with pytest.raises(Mistake, match=sentence):
        cifar.load(made.known, tmp_path)


def test_a_link_inside_an_archive_is_not_followed(tmp_path):
    made = Made(cifar.CIFAR10)
    members = made.members("binary")
    path = made.lay(tmp_path, "binary", True, {k: v for k, v in members.items() if k != "test_batch.bin"})
    (tmp_path / "secret").write_bytes(members["test_batch.bin"])
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(f"x/{name}")
            if name == "test_batch.bin":
                member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
                archive.addfile(member)
            else:
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    with pytest.raises(Mistake, match=r"test_batch\.bin is missing"):
        cifar.load(made.known, tmp_path)


def test_the_tables_of_the_known_sets_fit_together():
    for known, classes, train in ((cifar.CIFAR10, 10, 50_000), (cifar.CIFAR100, 100, 50_000)):
        counts = [content.size / (len(known.labels) + 3072) for content in known.contents]
        assert (sum(counts[:-1]), counts[-1]) == (train, 10_000)
        assert len(known.contents) == len(known.pickles) == len(known.sums) and len(set(known.classes)) == classes
        assert isinstance(known.remote, Remote)
        assert all(len(content.sha256) == 64 for content in known.contents) and len(known.remote.sha256) == 64


@pytest.mark.skipif(REAL is None, reason="needs $STEEPEST_DATA")
def test_the_real_cifar_10_is_read(monkeypatch):
    monkeypatch.setenv("STEEPEST_DATA", str(REAL))
    if cifar.find(cifar.CIFAR10, None) is None:
        pytest.skip("no CIFAR-10 in $STEEPEST_DATA")
    data = steepest.data.load("cifar10")
    assert data.test is not None and (len(data.train), len(data.test)) == (50_000, 10_000)
    assert data.train.targets[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    mean = np.asarray(data.train.images).reshape(-1, 3).mean(0) / 255
    assert np.allclose(mean, (0.4914, 0.4822, 0.4465), atol=1e-4)
