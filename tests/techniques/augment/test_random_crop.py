"""Random crops: windows of the image, at every place alike."""

import pytest
import torch

from steepest.mistake import Mistake
from steepest.techniques.augment.random_crop import random_crop


def cropped(x, seed=0, **settings):
    targets = torch.arange(len(x))
    y, kept = random_crop(x, targets, progress=0.0, generator=torch.Generator().manual_seed(seed), **settings)
    assert kept is targets
    return y


def images(count=300, channels=3, height=7, width=6):
    """Each pixel tells its image, channel and place."""
    return torch.arange(count * channels * height * width).view(count, channels, height, width).float()


def offsets(x, y):
    """Where each window was, by its first pixel; the whole window is held to it."""
    found = []
    for image, window in zip(x, y, strict=True):
        down, right = divmod(int(window[0, 0, 0] - image[0, 0, 0]), x.shape[3])
        high, wide = window.shape[1:]
        assert torch.equal(window, image[:, down : down + high, right : right + wide])
        found.append((down, right))
    return found


@pytest.mark.parametrize("kept", [torch.contiguous_format, torch.channels_last])
def test_windows_are_parts_of_their_images_at_every_place(kept):
    x = images().contiguous(memory_format=kept)
    y = cropped(x, size=5)
    assert y.shape == (300, 3, 5, 5) and y.is_contiguous(memory_format=kept) and y.dtype == x.dtype
    places = offsets(x, y)
    assert set(places) == {(down, right) for down in range(3) for right in range(2)}
    assert all(30 < places.count(place) < 70 for place in set(places))


def test_the_same_windows_are_cut_in_every_memory_format():
    x = images()
    assert torch.equal(cropped(x, size=4), cropped(x.contiguous(memory_format=torch.channels_last), size=4))


def test_a_side_that_is_no_longer_than_the_window_stays_whole():
    x = images(height=4, width=9)
    y = cropped(x, size=6)
    assert y.shape[2:] == (4, 6)
    assert {down for down, _ in offsets(x, y)} == {0}
    assert cropped(x, size=9) is x


def test_no_images_give_no_windows():
    assert cropped(images(count=0), size=3).shape == (0, 3, 3, 3)


@pytest.mark.parametrize("size", [0, -3, 5000])
def test_a_size_out_of_range_is_a_mistake(size):
    with pytest.raises(Mistake, match="size"):
        cropped(images(), size=size)
