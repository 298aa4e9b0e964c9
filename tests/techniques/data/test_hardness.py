"""Hardness: the proxy's losses tell hard rows from easy ones, and are a function of the batches alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.data.batches import Batches, statistics
from steepest.data.dataset import Split
from steepest.techniques.augment.flip import flip
from steepest.techniques.data.bulk_random import bulk_random
from steepest.techniques.data.hardness import losses, network, ranks
from steepest.techniques.data.label_noise import label_noise


@pytest.mark.parametrize("points", [False, True])
def test_wrongly_labelled_rows_are_the_hardest(make, points):
    plain = make(300, points=points)
    batches = label_noise(plain, classes=3, rate=0.1)
    wrong = (batches.targets != plain.targets).numpy()
    scores = losses(batches, 3, epochs=8)
    assert scores.shape == (300,) and scores.dtype == np.float32
    assert wrong[np.argsort(scores)[-30:]].mean() > 0.8
    assert np.median(scores[wrong]) > 3 * np.median(scores[~wrong])


def test_it_is_each_rows_own_loss_in_the_order_of_the_rows(make):
    rows = np.arange(5, 300, 4)
    batches = label_noise(make(rows=rows), classes=3, rate=0.05)
    scores = losses(batches, 3, epochs=8)
    wrong = np.flatnonzero((batches.targets != make(rows=rows).targets).numpy())
    assert set(wrong) <= set(np.argsort(scores)[-2 * len(wrong) :])


def test_nothing_but_the_batches_and_their_seed_decides(make):
    first = losses(make(), 3, epochs=1)
    torch.manual_seed(5)
    with torch.no_grad():
        assert np.array_equal(first, losses(make(), 3, epochs=1))
    assert not np.array_equal(first, losses(make(seed=2), 3, epochs=1))
    assert not np.array_equal(first, losses(make(), 3, epochs=2))


def test_augmentations_batch_size_and_order_of_the_training_are_left_out(make):
    plain = losses(make(), 3, epochs=1)
    changed = bulk_random(make(pixels=[flip], batch_size=7), per="epoch")
    changed = replace(changed, order=lambda epoch, progress, index, count, random: np.zeros(count, np.int64))
    assert np.array_equal(plain, losses(changed, 3, epochs=1))


def test_random_state_batches_and_modes_are_left_alone(make, same):
    batches = make()
    before, state = list(batches.epoch(0)), torch.get_rng_state()
    with torch.no_grad():
        losses(batches, 3, epochs=1)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled() and torch.equal(state, torch.get_rng_state())
    assert same(before, batches.epoch(0))


@pytest.mark.parametrize("shape", [(7,), (7, 1)])
def test_a_regression_has_squared_errors(shape):
    points = np.linspace(-1, 1, 7, dtype=np.float32)[:, None].repeat(2, 1)
    split = Split(points, np.arange(7, dtype=np.float32).reshape(shape))
    batches = Batches(split, np.arange(7), statistics(split, np.arange(7)), batch_size=4)
    scores = losses(batches, 0, epochs=60)
    assert scores.shape == (7,) and (scores >= 0).all() and scores.mean() < 4


@pytest.mark.parametrize(("count", "size"), [(1, 8), (2, 1), (5, 3)])
def test_tiny_sets_have_finite_losses(make, count, size):
    assert np.isfinite(losses(make(count, size=size), 3, epochs=1)).all()


def test_weights_are_drawn_by_he_and_the_generator_alone():
    model = network((3, 8, 8), 10, torch.Generator().manual_seed(1))
    again = network((3, 8, 8), 10, torch.Generator().manual_seed(1))
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), again.parameters(), strict=True))
    weight = model[3].weight
    assert abs(weight.std() / (2 / (32 * 9)) ** 0.5 - 1) < 0.05
    assert not model[-1].bias.any() and model(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


@given(scores=st.lists(st.integers(0, 9), max_size=30), groups=st.lists(st.integers(0, 3), min_size=30, max_size=30))
@settings(max_examples=60, deadline=None)
def test_a_rank_is_the_share_of_the_group_that_is_easier(scores, groups):
    values, kinds = np.array(scores, float), np.array(groups[: len(scores)])
    found = ranks(values, kinds)
    for row, (value, kind) in enumerate(zip(values, kinds, strict=True)):
        alike = kinds == kind
        easier = (alike & (values < value)).sum() + (alike & (values == value))[:row].sum()
        assert found[row] == (easier + 0.5) / alike.sum()
    assert np.array_equal(ranks(values), ranks(values, np.zeros(len(values))))
