"""Cutout: exactly one patch changes, it lies inside, and every corner occurs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.mistake import Mistake
from steepest.techniques.augment.cutout import cutout


def cut(images, seed=0, **settings):
    generator = torch.Generator().manual_seed(seed)
    return cutout(images, torch.zeros(len(images)), progress=0.0, generator=generator, **settings)[0]


@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=60, deadline=None)
def test_exactly_one_square_in_each_image_is_zero(height, width, seed, data):
    size = data.draw(st.integers(1, min(height, width)))
    images = torch.rand(5, 3, height, width) + 1
    made = cut(images, seed, size=size)
    for image, old in zip(made, images, strict=True):
        zero = image == 0
        assert torch.equal(zero[0], zero[1]) and torch.equal(zero[0], zero[2])
        rows, columns = zero[0].any(1).nonzero()[:, 0], zero[0].any(0).nonzero()[:, 0]
        assert len(rows) == len(columns) == size and zero[0].sum() == size * size
        assert rows[-1] - rows[0] == columns[-1] - columns[0] == size - 1
        assert torch.equal(image[~zero], old[~zero])


def test_every_corner_occurs_equally_often():
    count = 20_000
    made = cut(torch.ones(count, 1, 6, 5), size=2)
    corners = (made[:, 0] == 0).flatten(1).float().argmax(1)
    counts = torch.bincount(corners, minlength=30).view(6, 5)
    assert counts[:5, :4].sum() == count
    expected = count / 20
    assert ((counts[:5, :4] - expected).abs() < 5 * expected**0.5).all()


def test_a_patch_of_the_whole_image_leaves_nothing():
    assert not cut(torch.ones(3, 3, 4, 4), size=4).any()


def test_a_patch_larger_than_the_image_is_refused():
    with pytest.raises(Mistake, match="size must be at most the image's sides 4×9"):
        cut(torch.ones(3, 3, 4, 9), size=5)
