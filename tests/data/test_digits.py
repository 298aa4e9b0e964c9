from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from sklearn.datasets import load_digits

from steepest.data import digits
from steepest.mistake import Failure


def test_the_digits_are_those_of_scikit_learn_scaled_to_255():
    images, targets = digits.read()
    bunch = load_digits()
    assert images.shape == (1797, 8, 8, 1) and images.dtype == np.uint8 and targets.dtype == np.int64
    assert (targets == bunch.target).all()
    assert (images[..., 0] == np.rint(bunch.images * 255 / 16)).all()
    assert images.max() == 255


def test_a_fifth_is_held_out_in_every_class_and_always_the_same():
    data, again = digits.load(), digits.load()
    assert data.test is not None and again.test is not None
    assert len(data.train) + len(data.test) == 1797
    for label in range(10):
        held, rest = (data.test.targets == label).sum(), (data.train.targets == label).sum()
        assert abs(held - 0.2 * (held + rest)) <= 0.5
    assert data.fingerprint == again.fingerprint and np.array_equal(data.test.images[:], again.test.images[:])
    assert data.classes == tuple("0123456789") and data.task == "classify"


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    assert importlib.util.find_spec("sklearn") is not None
    with pytest.raises(Failure, match="pip install scikit-learn"):
        digits.read()
