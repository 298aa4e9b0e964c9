from __future__ import annotations

import numpy as np
import pytest

from steepest.data import synthetic
from steepest.mistake import Mistake


def test_shapes_types_and_balance():
    data = synthetic.load(n=105, test=40)
    assert data.test is not None
    assert data.train.images.shape == (105, 32, 32, 3) and data.train.images.dtype == np.uint8
    assert np.asarray(data.train.images).flags["C_CONTIGUOUS"]
    assert np.ptp(np.bincount(data.train.targets, minlength=10)) <= 1
    assert (np.bincount(data.test.targets) == 4).all()
    assert len(data.classes) == 10


def test_the_same_seed_gives_the_same_images_and_train_and_test_share_none():
    first, again, other = (synthetic.load(n=60, test=60, seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.test is not None
    train, test = ({image.tobytes() for image in np.asarray(split.images)} for split in (first.train, first.test))
    assert len(train) == len(test) == 60 and not train & test


def test_each_class_has_an_inside_and_an_outside_and_no_two_are_the_same_shape():
    line = np.linspace(-1.2, 1.2, 60, dtype=np.float32)
    u, v = np.meshgrid(line, line)
    masks = [synthetic.outside(label, u, v) < 0 for label in range(10)]
    assert all(0.1 < mask.mean() < 0.6 for mask in masks)
    for i, one in enumerate(masks):
        for two in masks[:i]:
            assert (one != two).mean() > 0.03


def test_the_shape_can_be_seen_once_all_nuisance_is_averaged_away():
    rng = np.random.default_rng(0)
    rings, discs = (np.abs(np.float64(synthetic.draw(rng, np.full(400, label))) - 128).mean((0, 3)) for label in (1, 0))
    middle = slice(15, 17)
    assert discs[middle, middle].mean() > rings[middle, middle].mean()


def test_neither_mean_colour_nor_brightness_tells_the_class():
    data = synthetic.load(n=2000, test=20)
    means = np.asarray(data.train.images).mean((1, 2))
    by_class = np.stack([means[data.train.targets == label].mean(0) for label in range(10)])
    assert np.abs(by_class - by_class.mean(0)).max() < 0.25 * means.std()


def test_it_is_hard_nearest_neighbours_do_little_better_than_chance():
    data = synthetic.load(n=1000, test=200)
    assert data.test is not None
    train, test = (
        np.asarray(split.images, np.float32).reshape(len(split), -1) / 255 for split in (data.train, data.test)
    )
    apart = (test**2).sum(1)[:, None] - 2 * test @ train.T + (train**2).sum(1)
    accuracy = (data.train.targets[apart.argmin(1)] == data.test.targets).mean()
    assert accuracy < 0.35


@pytest.mark.parametrize("wrong", [{"n": 3}, {"test": 0}, {"n": 10**9}])
def test_sizes_out_of_range_are_refused(wrong):
    with pytest.raises(Mistake, match="of synthetic must be from 20"):
        synthetic.load(**wrong)
