from __future__ import annotations

import numpy as np
import pytest

import steepest.data
from steepest.data import NAMES, load, sources
from steepest.data.records import Writer
from steepest.mistake import Mistake


@pytest.mark.parametrize("name", ["digits", "synthetic:n=40,test=20", *sources.POINTS])
def test_what_needs_no_download_is_loaded(name):
    data = load(name)
    assert data.name == name.partition(":")[0] and data.test is not None and len(data.fingerprint) == 64


def test_settings_reach_the_set():
    data = load("circles:noise=0.2,n=90,seed=3")
    assert data.test is not None and len(data.train) + len(data.test) == 90
    assert data.fingerprint == load("circles:noise=0.2,n=90", seed=3).fingerprint
    assert data.fingerprint != load("circles:noise=0.2,n=90").fingerprint != load("circles:n=90").fingerprint
    assert load("circles:").fingerprint == load("circles").fingerprint


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("cifr10", "unknown data set 'cifr10': did you mean 'cifar10'"),
        ("", "unknown data set ''"),
        ("zzz:n=3", "unknown data set 'zzz'"),
        ("./nowhere", "there is no file or folder ./nowhere"),
        ("circles:nose=0.1", "unknown setting of circles 'nose': did you mean 'noise'"),
        ("circles:noise", "noise of circles must be a number, but is ''"),
        ("circles:n=many", "n of circles must be a whole number, but is 'many'"),
        ("circles:n=1.5", "n of circles must be a whole number"),
        ("circles:noise=0.9", "the noise of circles must be from 0 to 0.5"),
        ("circles:noise=nan", "the noise of circles must be from 0 to 0.5"),
        ("circles:seed=-1", "seed of circles must not be negative"),
        ("digits:n=5", "unknown setting of digits 'n'"),
        ("synthetic:noise=1", "unknown setting of synthetic 'noise'"),
    ],
)
def test_wrong_names_and_settings_are_refused_with_a_sentence(given, sentence):
    with pytest.raises(Mistake, match=f"^{sentence.replace('.', '[.]')}"):
        load(given)


def test_a_record_file_is_loaded_by_its_path(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    with Writer(tmp_path / "mine.records", ("a", "b")) as writer:
        writer.append(images, np.arange(40) % 2)
    data = load(str(tmp_path / "mine.records"))
    assert data.name == "mine" and data.test is not None and (len(data.train), len(data.test)) == (34, 6)
    (tmp_path / "false.records").write_text("x")
    with pytest.raises(Mistake, match="is not a whole record file"):
        load(str(tmp_path / "false.records"))


def test_every_public_name_is_there_and_no_other():
    for name in steepest.data.__all__:
        assert getattr(steepest.data, name) is not None
    with pytest.raises(AttributeError):
        _ = steepest.data.nothing
    assert len(set(NAMES)) == len(NAMES) and set(sources.SETTINGS) < set(NAMES)
