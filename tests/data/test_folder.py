from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import steepest.data
from steepest.data import folder, records
from steepest.mistake import Failure, Mistake


def _image(path, seed=0, size=(24, 20), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)


def _photos(root, classes=("cat", "dog"), n=20, **named):
    for k, name in enumerate(classes):
        for i in range(n):
            _image(root / name / f"{i}.png", 1000 * k + i, **named)
    return root


def _load(root, **named):
    return steepest.data.load(str(root), **named)


def test_a_folder_of_classes_is_read_and_a_stratified_share_held_out(tmp_path):
    root = _photos(tmp_path / "my photos ü", ("cat", "Hund ß", "鳥"))
    data = _load(root, size=16)
    assert data.test is not None and data.val is None
    assert data.classes == ("Hund ß", "cat", "鳥") and data.name == "my photos ü" and data.source == str(root)
    assert data.train.images.shape == (51, 16, 16, 3) and data.train.images.dtype == np.uint8
    assert (np.bincount(data.test.targets) == 3).all() and (np.bincount(data.train.targets) == 17).all()
    expected = {
        (label, steepest.data.decode(path, 16, 3).tobytes())
        for label, name in enumerate(data.classes)
        for path in (root / name).iterdir()
    }
    found = {
        (int(target), image.tobytes())
        for split in (data.train, data.test)
        for target, image in zip(split.targets, np.asarray(split.images), strict=True)
    }
    assert found == expected and len(expected) == 60


def test_rows_are_in_random_order_so_that_any_part_has_every_class(tmp_path):
    data = _load(_photos(tmp_path / "p", n=40))
    assert 5 <= data.train.targets[:30].sum() <= 25


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_given_splits_are_kept(tmp_path, val):
    root = tmp_path / "p"
    for k, (name, n) in enumerate((("train", 6), (val, 3), ("test", 2))):
        _photos(root / name, n=n, size=(20 + k, 20))
    data = _load(root)
    assert data.val is not None and data.test is not None
    assert (len(data.train), len(data.val), len(data.test)) == (12, 6, 4)


def test_the_size_is_chosen_from_the_median_short_side(tmp_path):
    assert _load(_photos(tmp_path / "a", size=(60, 45), n=4)).train.images.shape[1:] == (40, 40, 3)
    assert _load(_photos(tmp_path / "b", size=(9, 9), n=4)).train.images.shape[1:] == (16, 16, 3)
    assert _load(_photos(tmp_path / "c", size=(300, 200), n=2)).train.images.shape[1:] == (128, 128, 3)


def test_grey_images_have_one_channel_and_one_colour_image_makes_it_three(tmp_path):
    root = _photos(tmp_path / "p", mode="L", n=4)
    assert _load(root).train.images.shape[3] == 1
    _image(root / "cat" / "colour.png")
    assert _load(root).train.images.shape[3] == 3


def test_the_record_file_is_reused_until_something_changes(tmp_path, monkeypatch, own_cache):
    root = _photos(tmp_path / "p", n=6)
    built = []
    real = folder.build

    def counted(*args):
        built.append(args)
        real(*args)

    monkeypatch.setattr(folder, "build", counted)
    first = _load(root)
    assert _load(root).fingerprint == first.fingerprint and len(built) == 1
    os.utime(root / "cat" / "0.png", ns=(1, 1))
    assert _load(root).fingerprint == first.fingerprint and len(built) == 2
    _image(root / "dog" / "0.png", 99)
    assert _load(root).fingerprint != first.fingerprint and len(built) == 3
    (root / "dog" / "1.png").unlink()
    assert len(_load(root).train) == 9 and len(built) == 4
    _load(root, size=8)
    assert len(built) == 5 and len(list((own_cache / "records").iterdir())) == 2


def test_a_corrupt_record_file_is_built_anew(tmp_path, own_cache):
    root = _photos(tmp_path / "p", n=6)
    first = _load(root)
    (place,) = (own_cache / "records").iterdir()
    whole = place.read_bytes()
    for broken in (whole[:-5], b"", whole[:5000] + b"xx" + whole[5002:]):
        place.write_bytes(broken)
        again = _load(root)
        assert again.fingerprint == first.fingerprint and place.read_bytes() == whole


def test_bad_files_are_named_and_skipped_up_to_a_share_and_refused_beyond(tmp_path):
    root = _photos(tmp_path / "p", n=19)
    (root / "cat" / "empty.jpg").write_bytes(b"")
    (root / "dog" / "text.jpg").write_text("no picture")
    data = _load(root)
    assert len(data.skipped) == 2 and any("empty.jpg is empty" in line for line in data.skipped)
    assert any("text.jpg is not an image" in line for line in data.skipped)
    for i in range(4):
        (root / "dog" / f"broken{i}.png").write_bytes((root / "dog" / "0.png").read_bytes()[:200])
    with pytest.raises(Mistake, match=r"6 of 44 images in .* are bad, more than the 5% .*empty.jpg.*; …"):
        _load(root)
    assert len(_load(root, max_skip=0.2).skipped) == 6


def test_a_huge_picture_is_skipped_without_decoding_it(tmp_path, png_header):
    root = _photos(tmp_path / "p", n=20)
    (root / "cat" / "huge.png").write_bytes(png_header(30_000, 30_000))
    data = _load(root)
    assert len(data.skipped) == 1 and "huge.png has more than 100 million pixels" in data.skipped[0]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root: None, "there is no file or folder"),
        (lambda root: root.write_text("x"), "is a file; a data set is a folder"),
        (lambda root: root.mkdir(), "has no images"),
        (lambda root: (root / "cat").mkdir(parents=True), "has no images"),
        (lambda root: _image(root / "0.png"), "has only images without a class"),
        (lambda root: _photos(root, ("cat",)), "has one class only, 'cat'"),
        (lambda root: (_photos(root), _image(root / "emu" / "0.png")), "class 'emu' of .* has one image"),
        (lambda root: (_photos(root), (root / "emu").mkdir()), "class 'emu' of .* has no images"),
        (lambda root: _photos(root / "test"), "has test but no train folder"),
        (
            lambda root: (_photos(root / "train"), _photos(root / "test", ("cat", "emu"))),
            "has a class 'emu' that .*train has not",
        ),
        (
            lambda root: (_photos(root / "train"), _photos(root / "val"), _photos(root / "valid")),
            "has two folders for val",
        ),
    ],
)
def test_folders_that_cannot_be_used_are_refused_with_a_sentence(tmp_path, make, sentence, own_cache):
    make(tmp_path / "p")
    with pytest.raises(Mistake, match=sentence):
        _load(tmp_path / "p")
    assert not own_cache.exists()


def test_a_folder_of_nothing_but_bad_files_is_refused(tmp_path, own_cache):
    for name in ("cat/0.jpg", "cat/1.jpg", "dog/0.jpg", "dog/1.jpg"):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_text("x")
    with pytest.raises(Mistake, match=r"has no image that can be read; the first: .*0\.jpg is not an image"):
        _load(tmp_path / "p", max_skip=1.0)
    assert list((own_cache / "records").iterdir()) == []


def test_a_class_that_loses_all_but_one_image_to_damage_is_refused(tmp_path):
    root = _photos(tmp_path / "p", n=30)
    for i in range(3):
        (root / "emu").mkdir(exist_ok=True)
        (root / "emu" / f"{i}.png").write_bytes(b"")
    with pytest.raises(Mistake, match=r"class 'emu' of .* has no images to train on"):
        _load(root)


def test_a_class_with_one_good_image_left_is_refused_and_so_is_one_that_is_only_in_the_test_set(tmp_path):
    root = _photos(tmp_path / "p", n=40)
    _image(root / "emu" / "good.png")
    (root / "emu" / "bad.png").write_bytes(b"")
    with pytest.raises(Mistake, match=r"class 'emu' of .* has one image to train on"):
        _load(root)
    split = tmp_path / "split"
    _photos(split / "train", n=40)
    _photos(split / "test", ("cat", "emu"), n=3)
    (split / "train" / "emu").mkdir()
    for i in range(2):
        (split / "train" / "emu" / f"{i}.png").write_bytes(b"")
    with pytest.raises(Mistake, match=r"class 'emu' of .* has no images to train on"):
        _load(split)


def test_link_loops_hidden_and_other_files_are_passed_over_and_deep_images_found(tmp_path):
    root = _photos(tmp_path / "p", n=4)
    (root / "cat" / "up").symlink_to(root, target_is_directory=True)
    (root / "cat" / "self").symlink_to(root / "cat", target_is_directory=True)
    (root / "cat" / "round").symlink_to(root / "cat" / "round")
    (root / "loop").symlink_to(root / "loop")
    (root / ".hidden").mkdir()
    (root / "cat" / "._0.png").write_bytes(b"mac")
    (root / "cat" / "notes.txt").write_text("mine")
    _image(root / "dog" / "2024" / "June" / "a.png", 77)
    data = _load(root)
    assert data.test is not None and data.skipped == ()
    counts = np.bincount(np.concatenate([data.train.targets, data.test.targets]))
    assert counts.tolist() == [4, 5]


def test_a_class_folder_may_be_a_link_to_elsewhere(tmp_path):
    elsewhere = _photos(tmp_path / "elsewhere", ("dog",))
    root = _photos(tmp_path / "p", ("cat",))
    (root / "dog").symlink_to(elsewhere / "dog", target_is_directory=True)
    assert _load(root).classes == ("cat", "dog")


def test_classes_named_as_splits_are_classes(tmp_path):
    data = _load(_photos(tmp_path / "p", ("train", "plane"), n=4))
    assert data.classes == ("plane", "train")


def test_data_dir_receives_the_record_file(tmp_path, own_cache):
    _load(_photos(tmp_path / "p", n=4), data_dir=tmp_path / "d")
    assert len(list((tmp_path / "d" / "records").iterdir())) == 1 and not own_cache.exists()


def test_a_cache_that_cannot_be_written_is_told(tmp_path):
    root = _photos(tmp_path / "p", n=4)
    (tmp_path / "file").write_text("x")
    with pytest.raises(Mistake, match="no record file can be written into"):
        _load(root, data_dir=tmp_path / "file")
    with pytest.raises(Mistake, match="no record file can be written into"):
        _load(root, data_dir="/proc")


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root on Linux")
def test_a_full_disk_while_decoding_is_told_and_leaves_no_file(tmp_path):
    root = _photos(tmp_path / "p", n=30)
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run([shutil.which("mount") or "mount", "-t", "tmpfs", "-o", "size=64k", "none", place]).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(Failure, match="the disk is full"):
            _load(root, data_dir=place, size=128)
        assert list((place / "records").iterdir()) == []
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_folder_that_may_not_be_entered_is_told(tmp_path, monkeypatch):
    root = _photos(tmp_path / "p", n=4)
    real = os.scandir

    def guarded(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(Mistake, match="dog cannot be read: Permission denied"):
        _load(root)


def test_progress_tells_every_file(tmp_path):
    told = []
    _load(_photos(tmp_path / "p", n=4), progress=lambda *step: told.append(step))
    assert ("looking at images", 8, 8) in told and ("decoding images", 8, 8) in told


@pytest.mark.parametrize("wrong", [{"size": 4}, {"size": 5000}, {"max_skip": 1.5}, {"max_skip": float("nan")}])
def test_settings_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(Mistake, match="must be from"):
        _load(_photos(tmp_path / "p", n=2), **wrong)


def test_the_same_folder_gives_the_same_file_however_many_threads(tmp_path, monkeypatch):
    root = _photos(tmp_path / "p", n=10)
    one = _load(root, data_dir=tmp_path / "a")
    monkeypatch.setattr(folder, "workers", lambda: 1)
    monkeypatch.setattr(folder, "CHUNK", 3)
    two = _load(root, data_dir=tmp_path / "b")
    assert one.fingerprint == two.fingerprint
    assert records.Records(next((tmp_path / "a" / "records").iterdir())).about["splits"]["test"][1] == 20


def test_each_image_knows_its_file(tmp_path):
    for name in ("cat", "dog ü"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(10):
            shade = 20 * number + 10 * (name == "cat")
            Image.new("L", (16, 16), shade).save(tmp_path / "set" / name / f"{number}.png")
    found = _load(tmp_path / "set", data_dir=tmp_path / "cache")
    for split in (found.train, found.test):
        for image, target, file in zip(split.images, split.targets, split.files, strict=True):
            name, number = Path(file).parent.name, int(Path(file).stem)
            assert found.classes[target] == name
            assert image[0, 0, 0] == 20 * number + 10 * (name == "cat")
