from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from steepest.data import NAMES, catalogue, describe, fetch, info, load
from steepest.mistake import Mistake


def test_the_catalogue_has_every_set_and_is_json():
    entries = catalogue()
    assert tuple(entry["name"] for entry in entries) == NAMES
    assert json.loads(json.dumps(entries)) == entries
    for entry in entries:
        assert entry["about"] and entry["source"] and entry["license"] and entry["problem"] is None
        assert entry["bytes"] == sum(file["bytes"] for file in entry["files"])
        assert all(len(file["sha256"]) == 64 for file in entry["files"])
        assert entry["here"] == (entry["bytes"] == 0)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*describe.IDX, *describe.CIFAR)])
def test_the_catalogue_says_what_a_set_holds(name):
    (entry,) = (entry for entry in catalogue() if entry["name"] == name)
    data = load(name)
    assert data.test is not None
    assert (entry["train"], entry["test"], entry["classes"]) == (len(data.train), len(data.test), len(data.classes))
    assert tuple(entry["shape"]) == data.train.images.shape[1:]


def test_a_half_set_is_a_problem_in_the_catalogue(tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-labels-idx1-ubyte").write_bytes(b"")
    (entry,) = (entry for entry in catalogue(tmp_path) if entry["name"] == "mnist")
    assert not entry["here"] and "has a part of mnist only" in entry["problem"]


def test_info_counts_each_class_in_each_split():
    held = info("digits")
    assert json.loads(json.dumps(held)) == held
    assert sum(held["splits"]["train"]["classes"].values()) == held["splits"]["train"]["n"] == 1438
    assert held["splits"]["test"]["n"] == 359 and held["problems"] == [] and "val" not in held["splits"]
    assert info("reg_plane")["splits"]["test"] == {"n": 600, "classes": {}}


def _photos(root):
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(5):
            Image.fromarray(np.full((16, 16, 3), 20 * i, np.uint8)).save(root / name / f"{i}.png")
    return root


def test_info_names_every_bad_file_of_a_folder(tmp_path):
    root = _photos(tmp_path / "p")
    for i in range(6):
        (root / "cat" / f"bad{i}.jpg").write_bytes(b"" if i % 2 else b"text")
    held = info(str(root))
    assert len(held["problems"]) == 6 and all("bad" in line for line in held["problems"])
    assert sum(split["classes"]["cat"] for split in held["splits"].values()) == 5


def test_info_of_an_unusable_folder_says_why_and_of_a_missing_one_raises(tmp_path):
    (tmp_path / "p" / "cat").mkdir(parents=True)
    assert "has no images" in info(str(tmp_path / "p"))["problems"][0]
    for wrong in ("./nowhere", "cifr10", "circles:x=1"):
        with pytest.raises(Mistake):
            info(wrong)


def test_info_downloads_nothing(tmp_path):
    held = info("cifar10", tmp_path)
    assert "is not on this machine" in held["problems"][0] and list(tmp_path.iterdir()) == []


def test_only_sets_with_a_download_can_be_fetched(tmp_path):
    with pytest.raises(
        Mistake, match="digits needs no download; to be fetched there are mnist, fashion_mnist, cifar10"
    ):
        fetch("digits")
    with pytest.raises(Mistake, match="did you mean 'cifar10'"):
        fetch("cifar1")
