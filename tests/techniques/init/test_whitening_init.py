"""Whitening: the patches' moment against a loop, white outputs, and what it refuses."""

import numpy as np
import pytest
import torch
from torch import nn

from steepest.mistake import Mistake
from steepest.techniques.init.whitening_init import IMAGES, patch_moment, whitening_init
from steepest.techniques.layers.whiten_conv import WhitenConv2d


def smooth(count, channels=3, side=12, seed=0):
    """Images whose neighbouring pixels and channels are alike, as in photographs, of mean 0."""
    noise = torch.randn(count, channels, side + 4, side + 4, generator=torch.Generator().manual_seed(seed))
    blurred = nn.functional.avg_pool2d(noise, 5, 1)
    return (blurred + 0.8 * blurred.mean(1, keepdim=True)) * 4


def set_up(model, images, **settings):
    whitening_init(model, images, generator=torch.Generator(), **settings)
    return model


@pytest.mark.parametrize(("channels", "kernel"), [(1, 1), (1, 2), (3, 2), (3, 3)])
def test_the_moment_equals_a_loop_over_all_patches(channels, kernel):
    images = smooth(5, channels, side=6)
    total, count = np.zeros(()), 0
    for image in images.double().numpy():
        for i in range(7 - kernel):
            for j in range(7 - kernel):
                patch = image[:, i : i + kernel, j : j + kernel].ravel()
                total, count = total + np.outer(patch, patch), count + 1
    np.testing.assert_allclose(patch_moment(images, kernel).numpy(), total / count, rtol=1e-5, atol=1e-6)


def test_the_moment_does_not_depend_on_how_the_images_are_divided():
    images = smooth(600)
    parts = [patch_moment(part, 2) for part in images.split(100)]
    torch.testing.assert_close(patch_moment(images, 2), torch.stack(parts).mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", [2, 3])
def test_the_layers_outputs_are_white(kernel):
    images = smooth(400)
    layer = set_up(WhitenConv2d(3, kernel), images, eps=1e-6)
    half = layer(images).detach()[:, : layer.out_channels // 2].transpose(0, 1).flatten(1).double()
    moment = half @ half.T / half.shape[1]
    torch.testing.assert_close(moment, torch.eye(len(moment), dtype=torch.float64), atol=2e-3, rtol=0)
    raw = images.unfold(2, kernel, 1).unfold(3, kernel, 1).transpose(1, 3).reshape(-1, 3 * kernel**2).T
    assert (raw @ raw.T / raw.shape[1] - torch.eye(len(raw))).abs().max() > 0.3, "they were not white before"


def test_the_filters_are_those_of_numpys_eigenvectors():
    images = smooth(50)
    filters = set_up(WhitenConv2d(3), images, eps=0.01).weight.flatten(1)[:12].double()
    values, vectors = np.linalg.eigh(patch_moment(images, 2).numpy())
    for made, value, vector in zip(filters.numpy(), values, vectors.T, strict=True):
        vector = vector * np.sign(vector[np.abs(vector).argmax()])
        np.testing.assert_allclose(made, vector / np.sqrt(value + 0.01), rtol=1e-4, atol=1e-5)


def test_the_second_half_is_minus_the_first_and_the_largest_entry_is_positive():
    first, second = set_up(WhitenConv2d(3), smooth(50)).weight.flatten(1).chunk(2)
    assert torch.equal(second, -first)
    assert (first.gather(1, first.abs().argmax(1, keepdim=True)) > 0).all()


def test_the_same_images_give_the_same_filters_whatever_the_layer_was():
    torch.manual_seed(0)
    one, other = (set_up(WhitenConv2d(3), smooth(50)) for _ in range(2))
    assert torch.equal(one.weight, other.weight)


def test_channels_last_images_give_the_same_filters():
    images = smooth(50)
    one = set_up(WhitenConv2d(3), images)
    other = set_up(WhitenConv2d(3), images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(one.weight, other.weight, rtol=1e-4, atol=1e-4)


def test_only_the_first_such_layers_filters_change_and_they_stay_frozen():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), WhitenConv2d(3), WhitenConv2d(24))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    set_up(model, smooth(20))
    changed = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
    assert changed == ["1.weight"]
    assert not model[1].weight.requires_grad


def test_images_after_the_five_thousandth_are_not_looked_at():
    images = smooth(IMAGES + 10, channels=1, side=4)
    assert torch.equal(set_up(WhitenConv2d(1), images).weight, set_up(WhitenConv2d(1), images[:IMAGES]).weight)


def test_constant_images_give_finite_filters():
    assert set_up(WhitenConv2d(3), torch.ones(4, 3, 5, 5)).weight.isfinite().all()
    assert set_up(WhitenConv2d(3), torch.zeros(4, 3, 5, 5)).weight.abs().max() <= 1 / 5e-4**0.5 + 1e-3


def test_a_model_without_the_layer_is_refused():
    with pytest.raises(Mistake, match="Linear has none"):
        set_up(nn.Linear(3, 3), smooth(2))


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (0, 3, 8, 8), (2, 3), (2, 3, 1, 8)])
def test_images_that_do_not_fit_are_refused(shape):
    with pytest.raises(Mistake, match="whitening_init needs images"):
        set_up(WhitenConv2d(3), torch.zeros(shape))
