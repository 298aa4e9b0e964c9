from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_moons

from steepest.data import points
from steepest.mistake import Mistake

EVERY = [*points.CLASSIFY, *points.REGRESS]


def _all(data):
    assert data.test is not None
    return np.concatenate([data.train.images, data.test.images]), np.concatenate(
        [data.train.targets, data.test.targets]
    )


@pytest.mark.parametrize("name", EVERY)
def test_shapes_types_and_halves(name):
    data = points.load(name, n=101, noise=0.1)
    assert data.test is not None and len(data.train) == 50 and len(data.test) == 51
    assert data.train.images.shape == (50, 2) and data.train.images.dtype == np.float32
    if name in points.CLASSIFY:
        assert data.train.targets.shape == (50,) and data.train.targets.dtype == np.int64
        assert set(_all(data)[1].tolist()) == {0, 1} and data.task == "classify" and len(data.classes) == 2
    else:
        assert data.train.targets.shape == (50, 1) and data.train.targets.dtype == np.float32
        assert data.task == "regress" and data.classes == ()


@given(st.sampled_from(EVERY), st.integers(0, 3), st.floats(0, 0.5), st.integers(8, 60))
@settings(max_examples=60, deadline=None)
def test_the_same_seed_gives_the_same_points_and_they_are_finite(name, seed, noise, n):
    first, again = (points.load(name, n=n, noise=noise, seed=seed) for _ in range(2))
    assert first.fingerprint == again.fingerprint
    assert points.load(name, n=n, noise=noise, seed=seed + 1).fingerprint != first.fingerprint
    where, targets = _all(first)
    assert np.isfinite(where).all() and np.isfinite(targets).all()
    assert name == "gauss" or name == "moons" or np.abs(where).max() <= 6


def test_circles_without_noise_are_a_disc_inside_a_ring():
    where, label = _all(points.load("circles", n=2000))
    radius = np.hypot(*where.T)
    assert (radius[label == 1] < 2.5).all()
    assert (radius[label == 0] >= 3.5 - 1e-6).all() and radius.max() <= 5 + 1e-6


def test_xor_without_noise_is_the_sign_of_the_product_with_a_gap_at_the_axes():
    where, label = _all(points.load("xor", n=2000))
    assert (label == (where[:, 0] * where[:, 1] >= 0)).all()
    assert np.abs(where).min() >= 0.3 - 1e-6 and np.abs(where).max() <= 5.3 + 1e-6


@pytest.mark.parametrize(("noise", "variance"), [(0.0, 0.5), (0.25, 2.25), (0.5, 4.0)])
def test_gauss_has_its_centres_and_a_variance_that_grows_with_noise(noise, variance):
    where, label = _all(points.load("gauss", n=20_000, noise=noise))
    for value, centre in ((1, 2.0), (0, -2.0)):
        mine = where[label == value]
        assert np.allclose(mine.mean(0), centre, atol=0.1)
        assert np.allclose(mine.var(0), variance, rtol=0.06)


def test_spiral_without_noise_lies_on_its_two_arms():
    where, label = _all(points.load("spiral", n=400))
    radius = np.hypot(*where.T)
    angle = 1.75 * radius / 5 * 2 * np.pi + np.where(label == 1, 0, np.pi)
    assert np.allclose(where, radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1), atol=1e-4)


def test_moons_without_noise_are_those_of_scikit_learn():
    where, label = _all(points.load("moons", n=100))
    theirs, their_label = make_moons(100, shuffle=False)
    for value in (0, 1):
        ours = where[label == value]
        expected = theirs[their_label == value]
        assert np.allclose(ours[np.argsort(ours[:, 0])], expected[np.argsort(expected[:, 0])], atol=1e-6)


def test_reg_plane_is_a_tenth_of_the_sum():
    where, target = _all(points.load("reg_plane"))
    assert np.allclose(target[:, 0], where.sum(1) / 10, atol=1e-6)


def test_reg_gauss_is_a_loop_over_its_six_cones():
    where, target = _all(points.load("reg_gauss"))
    cones = [(-4, 2.5, 1), (0, 2.5, -1), (4, 2.5, 1), (-4, -2.5, -1), (0, -2.5, 1), (4, -2.5, -1)]
    for (x, y), value in zip(where.astype(float), target[:, 0], strict=True):
        best = 0.0
        for cx, cy, sign in cones:
            height = sign * max(0.0, 1 - np.hypot(x - cx, y - cy) / 2)
            best = height if abs(height) > abs(best) else best
        assert value == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("name", ["circles", "xor", "reg_plane"])
def test_noise_moves_labels_or_targets_but_not_the_range_of_points(name):
    quiet, loud = (_all(points.load(name, n=1000, noise=noise)) for noise in (0.0, 0.5))
    assert np.allclose(quiet[0], loud[0])
    assert (quiet[1] != loud[1]).mean() > 0.05


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"noise": 0.6}, "noise of xor"),
        ({"noise": -0.1}, "noise of xor"),
        ({"noise": float("nan")}, "noise of xor"),
        ({"n": 3}, "number of points"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, sentence):
    with pytest.raises(Mistake, match=sentence):
        points.load("xor", **wrong)
