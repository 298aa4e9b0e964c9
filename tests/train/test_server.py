"""The server and its workers: one worker is the plain loop bit for bit; several share the batches; losses are told."""

from __future__ import annotations

import copy
import itertools
import os
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from torch import nn

from steepest.data.dataset import Dataset, Split
from steepest.mistake import Failure, Mistake
from steepest.recipe import Recipe, Use
from steepest.train import build, loop, server
from steepest.train.distributed import together as as_one
from steepest.train.pace import BySteps

PROCESSES = {"process_two_workers": 3, "process_stopped": 3, "process_lost_worker": 3, "process_diverged": 3}
EVERYTHING: dict[str, Any] = {
    "model": "basic_cnn:batch_norm=true",
    "width": 4,
    "optimizer": "sgd",
    "momentum": 0.9,
    "weight_decay": 1e-3,
    "schedule": "one_cycle",
    "micro_batch": 6,
    "use": ["mixup", "label_smoothing", "clip_norm:max_norm=0.5", "ema", "flip", "switch_optimizer:at=0.5"],
}
"""Something of every family that a server or its worker has to do with."""


@pytest.fixture(autouse=True)
def own_randomness():
    with torch.random.fork_rng():
        yield


def dataset(count=60, classes=3, size=8):
    random = np.random.default_rng(0)

    def split(n):
        targets = np.arange(n) % classes
        images = random.integers(0, 120, (n, size, size, 3), dtype=np.uint8)
        images[np.arange(n), :, :, targets] += 100
        return Split(images, targets)

    return Dataset("blobs", split(count), None, split(12), tuple("abc"), "f", "classify")


def built(technique="async_sgd", **fields):
    recipe: dict[str, Any] = {
        "model": "mlp:hidden=16",
        "batch_size": 10,
        "lr": 0.05,
        "epochs": 3.0,
        "val_fraction": 0.2,
    } | fields
    recipe["use"] = [*recipe.get("use", ()), *([technique] if technique else [])]
    return build.build(Recipe.from_dict(recipe), dataset(), 0, torch.device("cpu"))


class Silent:
    """A watch that remembers what it was told, and gives a reason at a step."""

    def __init__(self, stop_at=None):
        self.points, self.losses, self.stop_at = [], [], stop_at

    def measured(self, training, point):
        self.points.append(point)

    def stepped(self, training, loss):
        self.losses.append(loss)
        return "interrupted" if training.step == self.stop_at else None


def trained(rank, technique="async_sgd", stop_at=None, **fields):
    """This process's part: the server gives all that it knows at the end, a worker the numbers of its batches."""
    made, watch = built(technique, **fields), Silent(stop_at)
    if rank == 0:
        reason = server.serve(made, BySteps(made.steps), watch)
        finished = made.finished_model().state_dict()
        return reason, made.step, made.model.state_dict(), finished, watch.points, watch.losses
    numbers, whole = [], server._Batches.at

    def at(self, step):
        numbers.append(step)
        return whole(self, step)

    server._Batches.at = at  # type: ignore[method-assign]
    server.work(made, BySteps(made.steps))
    return numbers


def process_one_worker(rank, place):
    torch.set_num_threads(1)
    return trained(rank, **EVERYTHING)


def process_two_workers(rank, place):
    return trained(rank, "dc_asgd:staleness=1", lr=0.02)


def process_stopped(rank, place):
    return trained(rank, stop_at=5)


def process_lost_worker(rank, place):
    made = built(epochs=50.0)
    if rank == 2:
        made.augment = [lambda *args, **kw: os._exit(0) if made.step > 4 else args]
    with pytest.raises(Failure) as told, as_one(": go on"):
        server.work(made, BySteps(made.steps)) if rank else server.serve(made, BySteps(made.steps), Silent())
    return str(told.value), made.step


def process_diverged(rank, place):
    made = built(lr=1e12, epochs=50.0, val_fraction=0.0)
    with pytest.raises(Failure) as told, as_one(": go on"):
        server.work(made, BySteps(made.steps)) if rank else server.serve(made, BySteps(made.steps), Silent())
    return str(told.value)


@pytest.fixture
def one_thread():
    """Sums in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_one_worker_is_the_plain_loop_bit_for_bit(together, one_thread):
    """With batch norm's buffers, an average, treated gradients, micro-batches, a schedule that moves the momentum."""
    (reason, steps, weights, finished, points, losses), numbers = together(__file__, "process_one_worker")
    made, watch = built(None, **EVERYTHING), Silent()
    assert loop.fit(made, BySteps(made.steps), watch) == reason == "done"
    assert steps == made.step == 12 and numbers == list(range(12))
    torch.testing.assert_close(losses, watch.losses, rtol=1e-6, atol=0)
    for ours, theirs in ((weights, made.model.state_dict()), (finished, made.finished_model().state_dict())):
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    for ours, theirs in zip(points, watch.points, strict=True):
        assert (ours.pop("staleness"), ours.pop("most_staleness")) == (0, 0)
        assert ours == pytest.approx(theirs, rel=1e-6)


def test_two_workers_do_every_batch_once_and_the_staleness_is_within_the_bound(together):
    (reason, steps, _, _, points, losses), *numbers = together(__file__, "process_two_workers")
    assert reason == "done" and steps == len(losses) == 12
    assert sorted([*itertools.chain(*numbers)]) == list(range(12)) and all(numbers)
    assert all(own == sorted(own) for own in numbers)
    assert all(0 <= point["staleness"] <= point["most_staleness"] <= 3 for point in points)
    assert [point["step"] for point in points] == [4, 8, 12]
    assert points[-1]["val_accuracy"] > 0.5


def test_a_wish_to_stop_ends_all_and_what_arrives_after_is_not_used(together):
    (reason, steps, *_, losses), *numbers = together(__file__, "process_stopped")
    assert reason == "interrupted" and steps == len(losses) == 5
    assert 5 <= len([*itertools.chain(*numbers)]) <= 7


def test_a_lost_worker_ends_the_server_and_the_other_worker_with_a_sentence(together):
    """The third process's results are missing: it has gone without a word."""
    told = together(__file__, "process_lost_worker")
    assert [sentence for sentence, _ in told] == ["another process of this training has ended: go on"] * 2
    assert 1 <= told[0][1] < 200


def test_a_loss_that_is_no_number_is_told_by_the_server_and_ends_the_workers(together):
    first, *others = together(__file__, "process_diverged")
    assert "the loss became" in first and "with learning rate" in first
    assert others == ["another process of this training has ended: go on"] * 2


class Gauge:
    """A gauge, as far as anybody looks."""


@pytest.mark.parametrize("what", ["Gauge", "Closure"])
def test_what_needs_images_at_the_server_is_a_mistake(what):
    made = built()
    if what == "Gauge":
        made.gauges = [Gauge()]
    else:
        made.optimizer = type("Closure", (torch.optim.SGD,), {"needs_closure": True})(made.model.parameters(), lr=0.1)
    with pytest.raises(Mistake, match=f"{what} needs images, which the server"):
        server.Post(made)


@pytest.mark.parametrize("technique", ["async_sgd", "dc_asgd"])
@pytest.mark.parametrize("other", ["sam", "newton", "batch_growth", "sync_batch_norm", "critical_batch_size"])
def test_what_needs_images_at_the_server_is_refused_before_the_start(technique, other):
    from steepest import techniques

    with pytest.raises(Mistake, match="clashes"):
        techniques.check([Use(technique), Use(other)])


@profile(max_examples=10, deadline=None)
@given(missing=st.sets(st.integers(0, 5)), seed=st.integers(0, 2**31))
def test_a_message_arrives_as_it_was_sent(missing, seed):
    """Gradients that are None stay None, whatever the layout; buffers too, but for whole numbers of others."""
    random = torch.Generator().manual_seed(seed)

    def network():
        made = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2), nn.Linear(2, 2))
        made[4].requires_grad_(False)
        made.register_buffer("seeds", torch.tensor([2**40 + 1]))
        return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    worker, first = built(), built()
    worker.model, first.model = network(), network()
    for tensor in worker.model.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape, generator=random) * 100)
    wanted = []
    for number, parameter in enumerate(p for p in worker.model.parameters() if p.requires_grad):
        parameter.grad = None if number in missing else torch.randn_like(parameter)
        wanted.append(parameter.grad)
    there, here = server.Post(worker), server.Post(first)
    message = there.message([7, 0.25, 10, 3])
    assert message.shape == (here.size,)
    letter = here.opened(message)
    assert letter.numbers == [7, 0.25, 10, 3]
    letter.deliver(2 * letter.gradient)
    for parameter, gradient in zip(here.parameters, wanted, strict=True):
        assert (parameter.grad is None) is (gradient is None)
        if parameter.grad is not None and gradient is not None:
            assert torch.equal(parameter.grad, 2 * gradient) and parameter.grad.stride() == parameter.stride()
    for name, buffer in first.model.named_buffers():
        assert torch.equal(buffer, worker.model.get_buffer(name)) is (name != "seeds")
    answer = here.answer(5, here.weights())
    server._spread(answer[1:], [parameter.data for parameter in there.parameters])
    assert answer[0] == 5 and all(map(torch.equal, there.parameters, here.parameters))


@profile(max_examples=10, deadline=None)
@given(numbers=st.lists(st.integers(0, 11), unique=True, max_size=8))
def test_batches_by_number_are_those_of_the_epochs_and_know_their_progress(numbers):
    """In whatever order; an order of images that follows progress is the same whichever batch comes first."""
    made, pace, told = built(), BySteps(12), []

    def order(epoch, progress, index, used, random):
        told.append(progress)
        return random.permutation(len(index))[:used]

    made.batches = copy.copy(made.batches)
    made.batches.order = order
    batches = server._Batches(made, pace)
    for number in numbers:
        told.clear()
        images, targets = batches.at(number)
        assert told in ([], [number // 4 * 4 / 12])
        wanted, labels = next(made.batches.epoch(number // 4, number % 4))
        assert torch.equal(images, wanted) and torch.equal(targets, labels)


def test_gradients_of_a_scaled_loss_are_unscaled_and_computed_again_where_they_overflow():
    made, plain = built(use=["mixed_precision:dtype=float16"]), built()
    made.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    images, targets = next(made.batches.epoch(0))
    loss, correct = server._gradients(made, images, targets)
    wanted, same = server._gradients(plain, images, targets)
    assert loss == pytest.approx(wanted, rel=1e-2) and correct == same
    assert made.scaler.get_scale() < 2.0**40
    for ours, theirs in zip(made.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=2e-3)


def test_a_scaled_loss_that_is_no_number_is_not_tried_for_ever():
    made = built(use=["mixed_precision:dtype=float16"])
    images, targets = next(made.batches.epoch(0))
    loss, _ = server._gradients(made, images * float("nan"), targets)
    assert loss != loss
