"""Online batch selection: all images first, then the hardest by their last known loss, at the end any."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from steepest.data import digits
from steepest.data.batches import Batches
from steepest.data.dataset import Split
from steepest.mistake import Mistake
from steepest.recipe import Use
from steepest.recipes import load
from steepest.techniques.augment.alternating_flip import alternating_flip
from steepest.techniques.data.online_batch_selection import Hardest, online_batch_selection
from steepest.train.build import build
from steepest.train.loop import step

N, COUNT = 40, 20
INDEX = np.arange(N)


def order(random_share=0.0, start=0.4, end=0.9):
    return Hardest(N, random_share, start, end)


def ask(chooser, epoch, progress, count=COUNT):
    return chooser(epoch, progress, INDEX, count, np.random.default_rng(epoch))


def tell(chooser, losses):
    """The losses (N,) of all images, as the loop tells those of the epoch's, in parts of 7."""
    for first in range(0, COUNT, 7):
        places = chooser.places[first : min(first + 7, COUNT)]
        chooser.observe(first, torch.from_numpy(losses[places]))


def test_at_first_all_images_are_seen_equally_often():
    chooser = order()
    for epoch in range(4):
        assert len(set(ask(chooser, epoch, 0.0).tolist())) == COUNT
        tell(chooser, np.random.default_rng(epoch).random(N))
        assert chooser.views.max() - chooser.views.min() <= (epoch + 1) % 2
    assert chooser.views.tolist() == [2] * N


def test_then_the_hardest_by_the_last_known_loss_are_taken():
    chooser, losses = order(), np.linspace(0, 1, N)
    for epoch in range(2):
        ask(chooser, epoch, 0.0), tell(chooser, losses)
    assert set(ask(chooser, 2, 0.5)) == set(range(20, 40))
    tell(chooser, 1 - losses)  # now the images below 20 are harder than the last ones, whose new loss is small
    known = np.where(INDEX < 20, losses, 1 - losses)
    assert set(ask(chooser, 3, 0.5)) == set(np.argsort(-known, kind="stable")[:COUNT])


def test_each_image_is_mirrored_on_every_other_of_its_own_views():
    images = np.zeros((N, 4, 4, 3), np.uint8)
    images[:, :, 0] = 255
    plain = Batches(Split(images, INDEX), INDEX, (np.zeros(3), np.ones(3)), 10, pixels=[alternating_flip])
    batches = online_batch_selection(plain, start=0.5, end=0.9)
    sides: list[list[bool]] = [[] for _ in INDEX]
    for epoch in range(8):
        for number, (shown, targets) in enumerate(batches.epoch(epoch, progress=epoch / 8)):
            for image, target in zip(shown, targets, strict=True):
                sides[target].append(bool(image[0, 0, 0] > 0))
            batches.order.observe(10 * number, targets.float())
    assert min(map(len, sides)) == 2 and max(map(len, sides)) > 4
    assert all(before != after for own in sides for before, after in pairwise(own))


def test_a_share_of_the_others_comes_at_random():
    chooser, drawn = order(random_share=0.25), set()
    for epoch in range(2):
        ask(chooser, epoch, 0.0), tell(chooser, np.linspace(0, 1, N))
    for epoch in range(2, 30):
        chosen = set(ask(chooser, epoch, 0.5).tolist())
        assert len(chosen) == COUNT and chosen >= set(range(25, 40))
        drawn |= chosen - set(range(25, 40))
        chooser.losses = np.linspace(0, 1, N, dtype=np.float32)
    assert drawn == set(range(25))


def test_an_image_that_was_never_seen_counts_as_hardest():
    chooser = order()
    first = ask(chooser, 0, 0.0)
    tell(chooser, np.full(N, 9.0))
    assert set(ask(chooser, 1, 0.5)) == set(INDEX) - set(first)


def test_from_the_end_on_the_losses_do_not_count():
    chooser = order()
    chooser.losses = np.linspace(0, 1, N, dtype=np.float32)
    seen = np.concatenate([ask(chooser, epoch, 0.95) for epoch in range(60)])
    assert np.bincount(seen, minlength=N).min() > 15


def test_an_epoch_that_goes_on_keeps_its_places_and_a_past_one_changes_nothing():
    chooser = order()
    first = ask(chooser, 0, 0.0)
    tell(chooser, np.random.default_rng(0).random(N))
    assert ask(chooser, 0, 0.5) is first
    second = ask(chooser, 1, 0.5)
    assert len(ask(chooser, 0, 0.0)) == COUNT and ask(chooser, 1, 0.6) is second


def test_a_state_put_back_chooses_the_same_images():
    chooser, other = order(0.1), order(0.1)
    for epoch in range(3):
        ask(chooser, epoch, 0.5), tell(chooser, np.random.default_rng(epoch).random(N))
    other.load_state_dict(chooser.state_dict())
    assert np.array_equal(ask(other, 2, 0.5), ask(chooser, 2, 0.5))
    assert np.array_equal(ask(other, 3, 0.5), ask(chooser, 3, 0.5))
    with pytest.raises(ValueError, match="40 images, not of 7"):
        Hardest(7, 0.1, 0.4, 0.9).load_state_dict(chooser.state_dict())


def test_the_loop_tells_each_images_own_loss():
    """With a loss that is the image's own row, what is known at the end is that row."""
    recipe = load("quick").replace(batch_size=50, micro_batch=20, val_fraction=0, width=4, min_steps=0, use=())
    training = build(recipe.add(Use("online_batch_selection")), digits.load(), 0, torch.device("cpu"))
    chooser: Any = training.batches.order
    rows: dict[bytes, int] = {}
    for images, _ in Batches(training.batches.split, training.batches.index, training.batches.statistics, 1).epoch(0):
        rows.setdefault(images.numpy().tobytes(), len(rows))
    number = {key: float(value) for key, value in rows.items()}
    training.loss = lambda logits, targets, part: (
        logits.sum(1) * 0 + torch.tensor([number[image.numpy().tobytes()] for image in part])
    )
    steps = training.batches.steps
    assert steps == round(0.5 * len(training.batches)) // 50
    for epoch in range(2):
        for images, targets in training.batches.epoch(epoch):
            step(training, images, targets, 0.1)
    plain = Batches(training.batches.split, training.batches.index, training.batches.statistics, 100, shuffle=False)
    wanted = [number[image.numpy().tobytes()] for images, _ in plain.epoch(0) for image in images.split(1)]
    told = np.isfinite(chooser.losses)
    assert told.sum() == 2 * steps * 50
    assert np.array_equal(chooser.losses[told], np.array(wanted, np.float32)[told])


@pytest.mark.parametrize("settings", [{"keep": 0}, {"random_share": 1.5}, {"start": -1}, {"start": 0.9, "end": 0.4}])
def test_settings_out_of_range_are_a_mistake(make, settings):
    with pytest.raises(Mistake, match=next(iter(settings))):
        online_batch_selection(make(), **settings)


def test_streamed_images_are_refused(make):
    with pytest.raises(Mistake, match="memory"):
        online_batch_selection(make(memory=4096))


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr("steepest.train.distributed.processes", lambda: 2)
    with pytest.raises(Mistake, match="one process"):
        build(load("quick").add(Use("online_batch_selection")), digits.load(), 0, torch.device("cpu"))
