"""The 1797 handwritten 8×8 digits that come with scikit-learn: no download needed.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998
(its test part), as bundled by scikit-learn. Values 0..16 are scaled to 0..255.
"""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from steepest.data.dataset import Array, Dataset, Split, fingerprint, stratified
from steepest.mistake import Failure

TEST_SHARE = 0.2
TEST_SEED = 1797


def read() -> tuple[Array, Array]:
    """All digits: images (1797,8,8,1) uint8 and targets (1797,) int64.

    Reads scikit-learn's file directly, since importing scikit-learn takes a second.
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise Failure("the digits come with scikit-learn, which is not installed: pip install scikit-learn")
    path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path, "rt", encoding="ascii") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.float32)
    images = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    return images, table[:, 64].astype(np.int64)


def load() -> Dataset:
    """The digits with a fixed stratified test split of 20 %."""
    images, targets = read()
    train, test = stratified(targets, TEST_SHARE, TEST_SEED)
    whole = Split(images, targets)
    classes = tuple(str(digit) for digit in range(10))
    parts = whole.take(train), whole.take(test)
    return Dataset("digits", parts[0], None, parts[1], classes, fingerprint(classes, *parts), source="scikit-learn")
