"""Points in the plane: circles, xor, gauss, spiral, moons; and for regression reg_plane and reg_gauss.

Source: D. Smilkov et al., "Direct-Manipulation Visualization of Deep Networks", 2017, arXiv:1708.03788 (TensorFlow
Playground), with its ranges (about ±6), its meaning of noise (0..0.5) and its half-and-half split into train and test;
moons as scikit-learn makes them (within -1..2, noise is the standard deviation). Drawn anew here with NumPy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from steepest.data.dataset import Array, Dataset, Split, fingerprint
from steepest.mistake import Mistake

CLASSIFY_N = 500
REGRESS_N = 1200
RADIUS = 5.0
FIELD = 6.0

Drawn = tuple[Array, Array]
Draw = Callable[[np.random.Generator, int, float], Drawn]


def circles(rng: np.random.Generator, n: int, noise: float) -> Drawn:
    """A disc (1) inside a ring (0); noise moves the point that decides the label."""
    inside = np.arange(n) < n // 2
    radius = np.where(inside, rng.uniform(0, 0.5 * RADIUS, n), rng.uniform(0.7 * RADIUS, RADIUS, n))
    angle = rng.uniform(0, 2 * np.pi, n)
    points = np.stack([radius * np.sin(angle), radius * np.cos(angle)], 1)
    moved = points + rng.uniform(-RADIUS, RADIUS, (n, 2)) * noise
    return points, np.hypot(moved[:, 0], moved[:, 1]) < 0.5 * RADIUS


def xor(rng: np.random.Generator, n: int, noise: float) -> Drawn:
    """1 where both coordinates have the same sign; a gap of 0.3 beside the axes."""
    points = rng.uniform(-RADIUS, RADIUS, (n, 2))
    points += np.where(points > 0, 0.3, -0.3)
    moved = points + rng.uniform(-RADIUS, RADIUS, (n, 2)) * noise
    return points, moved[:, 0] * moved[:, 1] >= 0


def gauss(rng: np.random.Generator, n: int, noise: float) -> Drawn:
    """Two Gaussians at (2, 2) (1) and (-2, -2) (0), of variance 0.5 without noise and 4 at noise 0.5."""
    positive = np.arange(n) < n // 2
    centres = np.where(positive, 2.0, -2.0)[:, None]
    return centres + rng.normal(0, np.sqrt(0.5 + 7 * noise), (n, 2)), positive


def spiral(rng: np.random.Generator, n: int, noise: float) -> Drawn:
    """Two arms of one and three quarter turns; noise moves the points."""
    positive = np.arange(n) < n // 2
    along = np.concatenate([np.arange(n // 2) / max(1, n // 2), np.arange(n - n // 2) / (n - n // 2)])
    angle = 1.75 * along * 2 * np.pi + np.where(positive, 0, np.pi)
    arms = RADIUS * along[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)
    return arms + rng.uniform(-1, 1, (n, 2)) * noise, positive


def moons(rng: np.random.Generator, n: int, noise: float) -> Drawn:
    """Two interleaved half circles; noise is the standard deviation of the points."""
    lower = np.arange(n) >= n // 2
    angle = np.concatenate([np.linspace(0, np.pi, n // 2), np.linspace(0, np.pi, n - n // 2)])
    x = np.where(lower, 1 - np.cos(angle), np.cos(angle))
    y = np.where(lower, 0.5 - np.sin(angle), np.sin(angle))
    return np.stack([x, y], 1) + rng.normal(0, noise, (n, 2)), lower


def reg_plane(rng: np.random.Generator, n: int, noise: float) -> Drawn:
    """The target is (x + y) / 10; noise moves the point that decides it."""
    points = rng.uniform(-FIELD, FIELD, (n, 2))
    moved = points + rng.uniform(-FIELD, FIELD, (n, 2)) * noise
    return points, moved.sum(1) / 10


def reg_gauss(rng: np.random.Generator, n: int, noise: float) -> Drawn:
    """Six cones of radius 2, of alternating sign: the target is the value of the tallest at the (moved) point."""
    centres = np.array([(-4, 2.5), (0, 2.5), (4, 2.5), (-4, -2.5), (0, -2.5), (4, -2.5)])
    signs = np.array([1, -1, 1, -1, 1, -1])
    points = rng.uniform(-FIELD, FIELD, (n, 2))
    moved = points + rng.uniform(-FIELD, FIELD, (n, 2)) * noise
    heights = np.clip(1 - np.linalg.norm(moved[:, None] - centres, axis=2) / 2, 0, 1)
    tallest = heights.argmax(1)
    return points, signs[tallest] * heights[np.arange(n), tallest]


CLASSIFY: dict[str, Draw] = {"circles": circles, "xor": xor, "gauss": gauss, "spiral": spiral, "moons": moons}
REGRESS: dict[str, Draw] = {"reg_plane": reg_plane, "reg_gauss": reg_gauss}


def load(name: str, *, noise: float = 0.0, n: int | None = None, seed: int = 0) -> Dataset:
    """`n` points (500, or 1200 for regression) in random order, the first half to train and the rest to test.

    Points are (N,2) float32; targets (N,) int64 in {0, 1}, or (N,1) float32 in about [-1, 1] for regression.
    """
    n = n if n is not None else (CLASSIFY_N if name in CLASSIFY else REGRESS_N)
    if not 0 <= noise <= 0.5:
        raise Mistake(f"the noise of {name} must be from 0 to 0.5, but is {noise}")
    if not 8 <= n <= 10_000_000:
        raise Mistake(f"the number of points of {name} must be from 8 to 10000000, but is {n}")
    rng = np.random.default_rng(seed)
    points, values = (CLASSIFY | REGRESS)[name](rng, n, noise)
    order = rng.permutation(n)
    images = points[order].astype(np.float32)
    targets = values[order].astype(np.int64) if name in CLASSIFY else values[order, None].astype(np.float32)
    train, test = Split(images[: n // 2], targets[: n // 2]), Split(images[n // 2 :], targets[n // 2 :])
    classes = ("negative", "positive") if name in CLASSIFY else ()
    task = "classify" if classes else "regress"
    source = f"drawn with seed {seed}, noise {noise}"
    return Dataset(name, train, None, test, classes, fingerprint(classes, train, test), task, source)
