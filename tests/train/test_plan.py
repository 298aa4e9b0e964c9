"""What fits a budget, on a machine whose time for an image is a plain formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steepest.data.dataset import Dataset, Split
from steepest.mistake import Mistake
from steepest.train import plan
from steepest.train.clock import Clock
from steepest.train.request import ask


class Machine:
    """Takes `image_s` to train on an image at width 16 and 32×32 pixels, as many times more as there are operations."""

    def __init__(self, image_s):
        self.image_s = image_s

    def train_s(self, width, resolution):
        return self.image_s * (width / 16) ** 2 * ((resolution or 32) / 32) ** 2

    def infer_s(self, width, resolution):
        return self.train_s(width, resolution) / 3


@pytest.fixture
def planned(monkeypatch):
    def choose(budget_s, image_s, count=50_000, **options):
        monkeypatch.setattr(plan, "Probe", lambda *_: Machine(image_s))
        images, targets = np.broadcast_to(np.uint8(0), (count, 32, 32, 3)), np.arange(count) % 10
        names = tuple("abcdefghij")
        dataset = Dataset("blobs", Split(images, targets), None, Split(images[:1000], targets[:1000]), names, "f")
        recipe, request = ask("digits", "quick", time_s=float(budget_s), **options)
        return plan.choose(recipe, dataset, request, Clock(float(budget_s)), torch.device("cpu"))[0]

    return choose


@pytest.mark.parametrize("budget_s", [60, 180, 600, 1800, 7200])
def test_width_and_epochs_grow_together(planned, budget_s):
    found = planned(budget_s, 2e-4)
    assert found.resolution is None and found.width < plan.WIDTHS[-1]
    assert found.epochs > 0.9 * found.width / plan.CHANNELS
    wider = plan.WIDTHS[plan.WIDTHS.index(found.width) + 1]
    assert found.epochs * (found.width / wider) ** 2 < 1.1 * wider / plan.CHANNELS, "the next one would not be worth it"


def test_a_machine_as_fast_again_does_in_half_the_time_what_the_other_does(planned):
    assert planned(200, 2e-4).width == planned(100, 1e-4).width


def test_few_images_take_steps_and_no_more_epochs_than_bring_something(planned):
    few = planned(60, 2e-4, count=2000)
    assert few.epochs * 1800 / few.batch_size >= 0.9 * plan.STEPS
    endless = planned(3000, 1e-5, count=2000)
    assert endless.epochs == plan.MOST_EPOCHS and endless.width == plan.WIDTHS[-1]


def test_where_even_a_narrow_network_is_too_slow_the_resolution_is_lowered(planned):
    assert planned(60, 4e-4).resolution is None
    assert planned(60, 5e-4).resolution == 24
    assert planned(60, 5e-4, resolution=32).resolution == 32


def test_what_was_chosen_stays(planned):
    assert planned(60, 2e-4, width=7).width == 7


def test_a_budget_too_short_for_two_steps_is_refused(planned):
    with pytest.raises(Mistake, match="3 s are too short to train at all"):
        planned(3, 0.1)
