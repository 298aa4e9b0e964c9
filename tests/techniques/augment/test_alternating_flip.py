"""Alternating flip: both forms in two epochs, halves of equal size, and no dependence but on place and epoch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.techniques.augment.alternating_flip import alternating_flip


def turned(index, epoch, salt=0, seed=0):
    """Which images are mirrored."""
    images = torch.tensor([0, 1], dtype=torch.uint8).expand(len(index), 1, 1, 2)
    generator = torch.Generator().manual_seed(seed)
    made, _ = alternating_flip(
        images, torch.zeros(len(index)), index=index, epoch=epoch, progress=0.0, generator=generator, salt=salt
    )
    return made[:, 0, 0, 0].bool()


def lowbias32(x):
    """The published hash, on Python's whole numbers."""
    x ^= x >> 16
    x = x * 0x21F0AAAD % 2**32
    x ^= x >> 15
    x = x * 0x735A2D97 % 2**32
    return x ^ x >> 15


@given(index=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20), epoch=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_after_any_two_epochs_each_image_was_seen_in_both_forms(index, epoch):
    places = torch.tensor(index)
    assert torch.equal(turned(places, epoch), ~turned(places, epoch + 1))
    assert torch.equal(turned(places, epoch), turned(places, epoch + 2))


@given(index=st.integers(0, 2**32 - 1), epoch=st.integers(0, 5), salt=st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_it_equals_the_published_hash_in_whole_numbers(index, epoch, salt):
    wanted = (lowbias32((index ^ salt * 0x9E3779B9) % 2**32) + epoch) % 2 == 1
    assert turned(torch.tensor([index]), epoch, salt).tolist() == [wanted]


@pytest.mark.parametrize("salt", [0, 1, 12345])
def test_one_half_of_the_images_is_mirrored_in_each_epoch(salt):
    rate = turned(torch.arange(40_000), 0, salt).float().mean()
    assert abs(rate - 0.5) < 5 * 0.5 / 200


def test_neighbouring_places_are_independent():
    bits = turned(torch.arange(40_000), 0)
    for apart in (1, 2, 10, 1000):
        assert abs((bits[apart:] == bits[:-apart]).float().mean() - 0.5) < 5 * 0.5 / 190


def test_another_salt_divides_otherwise():
    one, other = turned(torch.arange(10_000), 0, salt=1), turned(torch.arange(10_000), 0, salt=2)
    assert 0.45 < (one == other).float().mean() < 0.55


def test_it_follows_the_place_not_the_order_nor_the_generator():
    index = torch.randperm(500, generator=torch.Generator().manual_seed(3))
    assert torch.equal(turned(index, 1), turned(torch.arange(500), 1, seed=8)[index])
