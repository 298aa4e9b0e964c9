"""A block of lanes from the first step to the last: what they share, their curves, and which of them have ended."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ... import techniques
from ...recipe import Recipe, Use
from ...run import Curve, Point
from ...techniques.layers.dropout import Dropout
from ...train.loop import diverged
from ...train.pace import BySteps
from ...train.training import Training
from .net import Net, floats
from .span import Doubles, Passed, Span, Stack

WORK = 2e10
"""Operations, about, after which a block looks up from its work."""
STEPS, ROWS = 1 << 12, 1 << 22
"""The most steps, and rows of an order, before it does so."""

drawing = threading.Lock()
"""Held while PyTorch's own generator is used."""


@dataclass
class Lane:
    """One training. figures: val_accuracy, val_loss, train_accuracy, train_loss, epochs, steps and train_s, its share
    of the time in seconds of one thread; empty where it failed. curve: a point an epoch. problem: the sentence that the
    training by itself would have failed with. state: the network's parameters and statistics at the end, by name."""

    figures: dict[str, float | None] = field(default_factory=dict)
    curve: Curve = field(default_factory=Curve)
    problem: str | None = None
    state: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass
class Block:
    """Lanes that share data, order, network and dropout: `places` are theirs among all that were asked for, `recipes`
    and `trainings` (built, untrained; lanes may share one) their own."""

    net: Net
    stack: Stack
    places: list[int]
    recipes: list[Recipe]
    trainings: list[Training]

    def run(self, stop: threading.Event) -> Iterator[tuple[int, Lane]]:
        """Trains; gives each lane with its place as it ends. Whatever has not ended when `stop` is set is not given."""
        batches, total, spent_s = self.trainings[0].batches, self.trainings[0].steps, 0.0
        self.lanes, first = [Lane() for _ in self.places], 0
        while self.lanes and not stop.is_set():
            begin = time.monotonic()
            last = min(total, first + batches.steps * self._epochs())
            ends = [*range(first + batches.steps, last, batches.steps), last]
            span = self._span(first, last, total, tuple(ends))
            passed = self.stack.advance(span)
            spent_s += (time.monotonic() - begin) / len(self.lanes)
            ended = [self._ended(number, span, passed) or last == total for number in range(len(self.lanes))]
            alive = [number for number, died in enumerate(passed.died) if died is None]
            for number, lane in enumerate(self.lanes):
                if ended[number]:
                    place = alive.index(number) if number in alive and not lane.problem else None
                    yield self.places[number], self._finished(number, place, spent_s)
            self.stack.keep([place for place, number in enumerate(alive) if not ended[number]])
            for name in ("lanes", "places", "recipes", "trainings"):
                kept = [one for one, over in zip(getattr(self, name), ended, strict=True) if not over]
                setattr(self, name, kept)
            first = last

    def _epochs(self) -> int:
        """The epochs of the next span: one, where it may be a lane's last."""
        training = self.trainings[0]
        if training.stopping:
            return 1
        rows = training.batches.steps * _batch(training)
        work = 6.0 * self.net.parameters * rows * len(self.lanes)
        return max(1, int(min(WORK / work, ROWS / rows, STEPS / training.batches.steps)))

    def _span(self, first: int, last: int, total: int, ends: tuple[int, ...]) -> Span:
        batches, batch = self.trainings[0].batches, _batch(self.trainings[0])
        epochs = range(first // batches.steps, -(-last // batches.steps))
        order = np.concatenate([batches.places(epoch) for epoch in epochs])[: (last - first) * batch]
        pace, made = BySteps(total), dict[Use, tuple[Doubles, Doubles | None]]()
        for recipe in self.recipes:
            if recipe.schedule not in made:
                made[recipe.schedule] = _scheduled(recipe, [pace.progress(step) for step in range(first, last)])
        rates, momenta = zip(*(made[recipe.schedule] for recipe in self.recipes), strict=True)
        masks = _masks(self.trainings[0], self.net, range(first, last), batch) if self.net.kept else ()
        return Span(first, torch.from_numpy(order.reshape(-1, batch)), masks, ends, rates, momenta)

    def _ended(self, number: int, span: Span, passed: Passed) -> bool:
        """Adds a span's points to a lane's curve. Whether it is over before its last step: failed, or to be stopped."""
        training, recipe, lane = self.trainings[number], self.recipes[number], self.lanes[number]
        died, since = passed.died[number], span.first
        for end, sums in zip(span.ends, passed.figures[number].tolist(), strict=True):
            if died is not None and died[0] < end:
                lane.problem = self._problem(number, span, died[0], died[1], "loss")
                return True
            rate = float(span.rates[number][end - 1 - span.first])
            seen, held = (end - since) * _batch(training), training.validation
            point: Point = {"step": end, "epoch": round(end / training.batches.steps, 6), "lr": recipe.lr * rate}
            names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
            for name, total, count in zip(names, sums, (seen, seen, *[len(held or ())] * 2), strict=True):
                if count and (training.classes or name.endswith("loss")):
                    point[name] = total / count
            if not math.isfinite(point.get("val_loss", 0.0)):
                lane.problem = self._problem(number, span, end, point["val_loss"], "validation loss")
                return True
            lane.curve.append(point)
            since = end
        return any(rule.should_stop(lane.curve) for rule in training.stopping)

    def _problem(self, number: int, span: Span, step: int, loss: float, name: str) -> str:
        """The sentence of a training that failed, after so many steps, by a loss that is no number."""
        recipe, last = (
            self.recipes[number],
            min(step - span.first, len(span) - 1) if name == "loss" else step - 1 - span.first,
        )
        with drawing:
            training = replace(self.trainings[number], recipe=recipe, step=step)
            training.optimizer.param_groups[0]["lr"] = recipe.lr * float(span.rates[number][last])
            return diverged(training, loss, name, step + 1 if name == "loss" else 0)

    def _finished(self, number: int, place: int | None, spent_s: float) -> Lane:
        """A lane that has ended; its place in the stack, None where it failed."""
        training, lane = self.trainings[number], self.lanes[number]
        if place is None:
            return lane
        step = int(lane.curve[-1]["step"])
        for name in ("val_accuracy", "val_loss", "train_accuracy", "train_loss"):
            lane.figures[name] = lane.curve.last(name)
        lane.figures |= {"epochs": round(step / training.batches.steps, 4), "steps": step, "train_s": spent_s}
        lane.state = dict(zip(floats(training.model), self.stack.state(place), strict=True))
        return lane


def _batch(training: Training) -> int:
    """Rows of a batch: fewer than the recipe's where there are no more."""
    return min(training.recipe.batch_size, len(training.batches))


def _scheduled(recipe: Recipe, progress: list[float]) -> tuple[Doubles, Doubles | None]:
    """What a schedule makes of the learning rate at each progress, and the momentum itself where it sets one."""
    made = techniques.schedule(recipe.schedule, recipe.batch_size)
    rates = np.array([made["rate"](share) for share in progress], np.float64)
    return rates, np.array([made["momentum"](share) for share in progress], np.float64) if "momentum" in made else None


def _masks(training: Training, net: Net, steps: range, batch: int) -> tuple[torch.Tensor, ...]:
    """What dropout keeps at each step, drawn as a training by itself does, (steps, batch, units) a hidden layer."""
    drops = [part for part in training.model.modules() if isinstance(part, Dropout)]
    masks = tuple(torch.empty(len(steps), batch, units, dtype=torch.bool) for units in net.hidden)
    ones = [torch.ones(batch, units) for units in net.hidden]
    with drawing, torch.random.fork_rng(devices=[]):
        for number, training.step in enumerate(steps):
            training.reseed()
            for drop, one, mask in zip(drops, ones, masks, strict=True):
                torch.ne(drop(one), 0, out=mask[number])
        training.step = 0
    return masks
