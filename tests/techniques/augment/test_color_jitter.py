"""Colour jitter: one shift and one scale an image, within their ranges."""

import pytest
import torch

from steepest.mistake import Mistake
from steepest.techniques.augment.color_jitter import color_jitter

TARGETS = torch.arange(400) % 10


def images():
    return torch.randn(400, 3, 4, 5, generator=torch.Generator().manual_seed(1)).contiguous(
        memory_format=torch.channels_last
    )


def jittered(x, seed=0, **settings):
    y, targets = color_jitter(x, TARGETS, progress=0.0, generator=torch.Generator().manual_seed(seed), **settings)
    assert targets is TARGETS
    return y


def shift_and_scale(x, y):
    """b and c of y = (x + b)·c for each image, by least squares, and what they leave unexplained."""
    flat, seen = x.double().flatten(1), y.double().flatten(1)
    middle, mean = flat.mean(1, keepdim=True), seen.mean(1, keepdim=True)
    scale = ((flat - middle) * (seen - mean)).sum(1) / (flat - middle).square().sum(1)
    shift = mean[:, 0] / scale - middle[:, 0]
    return shift, scale, (seen - (flat + shift[:, None]) * scale[:, None]).abs().max()


def test_every_image_has_one_shift_and_one_scale_of_its_own():
    x = images()
    shift, scale, left = shift_and_scale(x, jittered(x, brightness=0.3, contrast=0.2))
    assert left < 1e-5
    assert len(shift.unique()) == len(scale.unique()) == len(x)


def test_shifts_and_scales_are_uniform_in_their_ranges():
    x = images()
    shift, scale, _ = shift_and_scale(x, jittered(x, brightness=0.3, contrast=0.2))
    for drawn, reach in ((shift, 0.3), (scale - 1, 0.2)):
        assert drawn.abs().max() <= reach + 1e-5
        assert drawn.max() > 0.95 * reach and drawn.min() < -0.95 * reach
        assert abs(drawn.mean()) < 0.15 * reach and drawn.std() == pytest.approx(reach / 3**0.5, rel=0.1)
    assert abs(torch.corrcoef(torch.stack((shift, scale)))[0, 1]) < 0.2


def test_one_of_the_two_may_be_off():
    x = images()
    bright, same = shift_and_scale(x, jittered(x, brightness=0.3, contrast=0.0))[:2]
    assert bright.abs().max() > 0.1 and (same - 1).abs().max() < 1e-5
    still, strong = shift_and_scale(x, jittered(x, brightness=0.0, contrast=0.3))[:2]
    assert still.abs().max() < 1e-5 and (strong - 1).abs().max() > 0.1


def test_the_memory_format_stays_and_the_images_are_not_touched():
    x = images()
    before = x.clone()
    y = jittered(x)
    assert y.is_contiguous(memory_format=torch.channels_last) and torch.equal(x, before)
    torch.testing.assert_close(jittered(x.contiguous()), y, rtol=0, atol=0)


@pytest.mark.parametrize("settings", [{"brightness": -0.1}, {"contrast": 1.5}, {"brightness": float("nan")}])
def test_a_setting_out_of_range_is_a_mistake(settings):
    with pytest.raises(Mistake, match=next(iter(settings))):
        jittered(images(), **settings)


def test_raw_pixels_are_a_mistake():
    with pytest.raises(Mistake, match="normalised"):
        jittered(torch.zeros(400, 3, 4, 4, dtype=torch.uint8))
