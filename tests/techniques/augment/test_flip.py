"""Flip: against NumPy, the rate, and the edges."""

import numpy as np
import pytest
import torch

from steepest.techniques.augment.flip import flip, mirrored


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(count, height=5, width=6, channels=3):
    images = torch.randint(0, 256, (count, height, width, channels), dtype=torch.uint8, generator=generator(9))
    return images.permute(0, 3, 1, 2)


@pytest.mark.parametrize("width", [1, 2, 5, 8, 32])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_it_equals_a_loop_that_mirrors_each_image(width, dtype):
    images = numbered(40, width=width).to(dtype)
    chosen = torch.rand(40, generator=generator(5)).numpy() < 0.3
    for given in (images, images.contiguous()):
        made, _ = flip(given, torch.zeros(40), progress=0.0, generator=generator(5), prob=0.3)
        for n in range(40):
            image = images[n].numpy()
            np.testing.assert_array_equal(made[n].numpy(), image[:, :, ::-1] if chosen[n] else image)


def test_probability_one_mirrors_all_and_twice_gives_the_images_back():
    images = numbered(9)
    once, _ = flip(images, torch.zeros(9), progress=0.0, generator=generator(), prob=1.0)
    twice, _ = flip(once, torch.zeros(9), progress=0.0, generator=generator(), prob=1.0)
    assert torch.equal(once, images.flip(-1)) and torch.equal(twice, images)


def test_the_rate_is_the_probability():
    images = torch.tensor([0, 1], dtype=torch.uint8).expand(20_000, 1, 1, 2)
    made, _ = flip(images, torch.zeros(20_000), progress=0.0, generator=generator(), prob=0.2)
    assert abs(made[:, 0, 0, 0].float().mean() - 0.2) < 5 * (0.2 * 0.8 / 20_000) ** 0.5


def test_the_result_is_no_view_of_the_images():
    images = numbered(3)
    made = mirrored(images, torch.tensor([False, True, False]))
    kept = images.clone()
    made.zero_()
    assert torch.equal(images, kept)
