"""Pad and crop: against a loop over images, its offsets, and what it refuses."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.mistake import Mistake
from steepest.techniques.augment.pad_crop import pad_crop


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def crop(images, seed=0, **settings):
    return pad_crop(images, torch.arange(len(images)), progress=0.0, generator=generator(seed), **settings)[0]


def numbered(count, height, width, channels=3, dtype=torch.uint8):
    size = (count, height, width, channels)
    return torch.randint(0, 256, size, generator=generator(9)).to(dtype).permute(0, 3, 1, 2)


@given(
    count=st.integers(1, 5),
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    channels=st.sampled_from([1, 3, 4]),
    dtype=st.sampled_from([torch.uint8, torch.float32]),
    mode=st.sampled_from(["reflect", "zero"]),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_it_equals_a_loop_that_pads_and_crops_each_image(count, height, width, channels, dtype, mode, data):
    pixels = data.draw(st.integers(1, min(height, width) - 1))
    images = numbered(count, height, width, channels, dtype)
    down, right = torch.randint(2 * pixels + 1, (2, count), generator=generator(3)).numpy()
    around = ((0, 0), (pixels, pixels), (pixels, pixels))
    for given_images in (images, images.contiguous()):
        made = crop(given_images, seed=3, pixels=pixels, mode=mode)
        for n in range(count):
            image = images[n].numpy()
            padded = np.pad(image, around, mode="reflect" if mode == "reflect" else "constant")
            window = padded[:, down[n] : down[n] + height, right[n] : right[n] + width]
            np.testing.assert_array_equal(made[n].numpy(), window)


def test_all_offsets_occur_equally_often():
    pixels, count = 2, 20_000
    images = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    images[0, 0, 4, 4] = 1
    places = crop(images.expand(count, 1, 9, 9).contiguous(), pixels=pixels).flatten(1).argmax(1)
    counts = torch.bincount(places, minlength=81).view(9, 9)[2:7, 2:7]
    assert counts.sum() == count
    expected = count / 25
    assert ((counts - expected).abs() < 5 * expected**0.5).all()


def test_all_random_numbers_come_from_one_call():
    images = numbered(7, 8, 8)
    used = generator(1)
    pad_crop(images, torch.arange(7), progress=0.0, generator=used, pixels=2)
    alone = generator(1)
    torch.randint(5, (2, 7, 1), generator=alone)
    assert torch.equal(used.get_state(), alone.get_state())


def test_the_targets_are_returned_as_they_came():
    targets = torch.rand(4, 3)
    assert pad_crop(numbered(4, 8, 8), targets, progress=0.0, generator=generator())[1] is targets


@pytest.mark.parametrize(("height", "width"), [(4, 9), (9, 4)])
def test_a_reflection_deeper_than_the_image_is_refused(height, width):
    assert crop(numbered(2, height, width), pixels=3).shape == (2, 3, height, width)
    with pytest.raises(Mistake, match="pixels must be below"):
        crop(numbered(2, height, width), pixels=4)


def test_zeros_may_be_wider_than_the_image():
    assert crop(numbered(50, 4, 4), pixels=8, mode="zero").flatten(1).any(1).logical_not().any()


def test_images_that_are_views_are_cropped_as_their_copies():
    whole = numbered(8, 10, 10)
    for view in (whole[::2], whole[:, :, 1:9, 2:], whole.flip(0), whole[:, 1:]):
        assert torch.equal(crop(view, pixels=2), crop(view.clone(memory_format=torch.contiguous_format), pixels=2))
