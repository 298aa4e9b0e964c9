"""Ten shapes on 32×32 colour images, drawn by seed: real enough to over-fit, and no download.

A picture holds one shape of its class at a random place, size, angle and colour, on a patterned ground, among small
clutter of which one piece lies over it, under noise. Class, place and look are independent. Own work.
"""

from __future__ import annotations

import numpy as np

from steepest.data.dataset import Array, Dataset, Split, fingerprint
from steepest.mistake import Mistake

CLASSES = ("disc", "ring", "square", "frame", "triangle", "star", "plus", "crescent", "bars", "half")
SIDE = 32
TRAIN_N = 10_000
TEST_N = 2_000
CHUNK = 256
CLUTTER = 3
NOISE = 0.06
CONTRAST = 0.4
TURN = 0.6


def outside(label: int, u: Array, v: Array) -> Array:
    """About how far (u, v) lies outside the shape of that class, whose radius is about 1; negative inside."""
    radius: Array = np.hypot(u, v)
    box: Array = np.maximum(np.abs(u), np.abs(v))
    far: Array
    if label == 0:
        far = radius - 0.8
    elif label == 1:
        far = np.abs(radius - 0.65) - 0.2
    elif label == 2:
        far = box - 0.7
    elif label == 3:
        far = np.abs(box - 0.62) - 0.17
    elif label == 4:
        far = np.maximum(-v, np.abs(u) * np.float32(0.866) + v / 2) - np.float32(0.5)
    elif label == 5:
        far = radius - (0.65 + 0.27 * np.cos(5 * np.arctan2(v, u)))
    elif label == 6:
        far = np.maximum(box - 0.85, np.minimum(np.abs(u), np.abs(v)) - 0.25)
    elif label == 7:
        far = np.maximum(radius - 0.85, 0.65 - np.hypot(u - 0.4, v))
    elif label == 8:
        far = np.maximum(np.abs(u) - 0.8, np.abs(np.abs(v) - 0.45) - 0.2)
    else:
        far = np.maximum(radius - 0.9, v - 0.15)
    return far


def draw(rng: np.random.Generator, labels: Array) -> Array:
    """Images (N,32,32,3) uint8 of the shapes with those labels (N,)."""
    images = np.empty((len(labels), SIDE, SIDE, 3), np.uint8)
    for start in range(0, len(labels), CHUNK):
        images[start : start + CHUNK] = _draw(rng, labels[start : start + CHUNK])
    return images


def _draw(rng: np.random.Generator, labels: Array) -> Array:
    n = len(labels)
    ground = rng.uniform(0.25, 0.75, (n, 3, 1, 1)).astype(np.float32)
    images = ground + _pattern(rng, n, 0.15)
    for _ in range(CLUTTER - 1):
        images = _clutter(rng, images)
    # The shape: its colour differs from the ground's by CONTRAST at least.
    direction = rng.normal(size=(n, 3, 1, 1))
    direction *= rng.uniform(CONTRAST, 2 * CONTRAST, (n, 1, 1, 1)) / np.linalg.norm(direction, axis=1, keepdims=True)
    colour = (ground + direction).astype(np.float32) + _pattern(rng, n, 0.08)
    u, v, size = _frame(rng, n, 7.0, 12.0, 4.0, TURN)
    far = np.empty_like(u)
    for label in np.unique(labels):
        mine = labels == label
        far[mine] = outside(int(label), u[mine], v[mine])
    images = _lay(images, colour, far * size)
    images = _clutter(rng, images)
    images += rng.standard_normal(images.shape, np.float32) * np.float32(NOISE)
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)


def _frame(
    rng: np.random.Generator, n: int, small: float, large: float, shift: float, turn: float = np.pi
) -> tuple[Array, Array, Array]:
    """Pixel coordinates (n,32,32) in units of a shape's own randomly placed, sized and turned axes; sizes (n,1,1)."""
    size, angle, cx, cy = (
        rng.uniform(low, high, (n, 1, 1)).astype(np.float32)
        for low, high in ((small, large), (-turn, turn), (-shift, shift), (-shift, shift))
    )
    line = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    x, y = line[None, None, :] - cx, line[None, :, None] - cy
    cos, sin = np.cos(angle) / size, np.sin(angle) / size
    return cos * x + sin * y, cos * y - sin * x, size


def _pattern(rng: np.random.Generator, n: int, strength: float) -> Array:
    """A coloured wave of random direction and length (n,3,32,32)."""
    u, _, _ = _frame(rng, n, 1.0, 5.0, 16.0)
    tint = rng.uniform(-strength, strength, (n, 3, 1, 1)).astype(np.float32)
    return np.sin(u)[:, None] * tint


def _clutter(rng: np.random.Generator, images: Array) -> Array:
    """One small disc or bar laid over each image."""
    n = len(images)
    u, v, size = _frame(rng, n, 1.5, 4.0, 15.0)
    long = rng.uniform(1, 3, (n, 1, 1)).astype(np.float32)
    far = np.where(rng.random((n, 1, 1)) < 0.5, np.hypot(u, v), np.maximum(np.abs(u) / long, np.abs(v) * 2)) - 1
    colour = rng.uniform(0.1, 0.9, (n, 3, 1, 1)).astype(np.float32)
    return _lay(images, colour, far * size)


def _lay(images: Array, colour: Array, far: Array) -> Array:
    """`colour` over images where `far` (pixels, (n,32,32)) is negative, with an edge one pixel soft."""
    cover = np.clip(0.5 - far, 0, 1).astype(np.float32)[:, None]
    return images + (colour - images) * cover


def load(*, n: int = TRAIN_N, test: int = TEST_N, seed: int = 0) -> Dataset:
    """`n` training and `test` test images (N,32,32,3) uint8; equally many of each class, give or take one."""
    for what, count in (("n", n), ("test", test)):
        if not 20 <= count <= 1_000_000:
            raise Mistake(f"{what} of synthetic must be from 20 to 1000000 images, but is {count}")
    splits = []
    for stream, count in enumerate((n, test)):
        rng = np.random.default_rng([seed, stream])
        labels = rng.permutation(np.arange(count, dtype=np.int64) % len(CLASSES))
        splits.append(Split(draw(rng, labels), labels))
    train, held_out = splits
    identity = fingerprint(CLASSES, train, held_out)
    return Dataset("synthetic", train, None, held_out, CLASSES, identity, source=f"drawn with seed {seed}")
