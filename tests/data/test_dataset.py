from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steepest.data.dataset import Split, fingerprint, stratified
from steepest.mistake import Mistake

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=80).map(lambda labels: np.array(labels, np.int64))


@given(LABELS, st.floats(0, 0.9), st.integers(0, 5))
def test_the_two_parts_are_sorted_disjoint_and_together_all(targets, fraction, seed):
    train, val = stratified(targets, fraction, seed)
    assert train.dtype == val.dtype == np.int64
    assert (np.sort(train) == train).all() and (np.sort(val) == val).all()
    assert sorted([*train, *val]) == list(range(len(targets)))


@given(LABELS, st.floats(0.01, 0.9))
def test_each_class_gives_about_its_share_at_least_one_and_never_all(targets, fraction):
    _, val = stratified(targets, fraction, 0)
    for label in np.unique(targets):
        count = int((targets == label).sum())
        given_ = int((targets[val] == label).sum())
        if count == 1:
            assert given_ == 0
        else:
            assert 1 <= given_ <= count - 1
            assert abs(given_ - fraction * count) <= 1


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    targets = np.arange(200) % 4
    first, again, other = (stratified(targets, 0.3, seed)[1] for seed in (7, 7, 8))
    assert (first == again).all()
    assert (first != other).any()


def test_a_share_of_zero_holds_nothing_out():
    train, val = stratified(np.arange(10) % 2, 0.0, 0)
    assert len(val) == 0 and len(train) == 10


def test_float_targets_are_split_plainly_at_random():
    train, val = stratified(np.linspace(0, 1, 40, dtype=np.float32)[:, None], 0.25, 3)
    assert len(val) == 10 and len(train) == 30


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_share_outside_zero_to_one_is_refused(fraction):
    with pytest.raises(Mistake, match="share to hold out"):
        stratified(np.zeros(4, int), fraction, 0)


def _split(n=6, seed=0):
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (n, 4, 4, 1), dtype=np.uint8), np.arange(n) % 2)


def test_a_split_with_a_target_too_few_is_refused():
    with pytest.raises(Mistake, match="one target an image"):
        Split(np.zeros((3, 2), np.float32), np.zeros(2, np.int64))


def test_the_fingerprint_changes_with_a_pixel_a_target_a_class_name_and_the_place_of_a_row():
    split = _split()
    first = fingerprint(("a", "b"), split, None)
    assert first == fingerprint(("a", "b"), _split(), None)
    pixels = split.images.copy()
    pixels[5, 3, 3, 0] ^= 1
    targets = split.targets.copy()
    targets[0] = 1
    others = [
        fingerprint(("a", "b"), Split(pixels, split.targets), None),
        fingerprint(("a", "b"), Split(split.images, targets), None),
        fingerprint(("a", "c"), split, None),
        fingerprint(("a", "b"), None, split),
        fingerprint(("a", "b"), split.take(np.array([1, 0, 2, 3, 4, 5])), None),
    ]
    assert len({first, *others}) == 6


def test_the_fingerprint_does_not_depend_on_memory_layout_or_on_the_chunks(monkeypatch):
    split = _split(50)
    first = fingerprint((), split)
    turned = np.ascontiguousarray(split.images.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    assert fingerprint((), Split(turned, split.targets)) == first
    monkeypatch.setattr("steepest.data.dataset.CHUNK_BYTES", 48)
    assert fingerprint((), split) == first


def test_the_data_room_loads_neither_torch_nor_scikit_learn_nor_pillow_before_they_are_needed():
    code = (
        "import sys, steepest.data as d; d.load('digits'); d.load('circles'); "
        "print([m for m in ('torch', 'sklearn', 'PIL', 'scipy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
