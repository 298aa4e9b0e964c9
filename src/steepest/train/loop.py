"""The training loop: one step and one training, each on one page, every technique called in the open."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Protocol

import torch
from torch.nn import functional as F

from ..mistake import Failure
from ..run import Point
from .evaluate import evaluate
from .training import Sums, Training


class Pace(Protocol):
    """Tells how far a training is and when it is over."""

    def progress(self, step: int) -> float: ...
    def over(self, step: int) -> bool: ...
    def measure(self, epoch_done: bool) -> bool: ...
    def measured(self, took_s: float) -> None: ...


class Watch(Protocol):
    """Told of every measurement and, after it, of every step; may ask to stop at once by giving a reason.

    The step whose measurement ended the training is not told of: a state kept after it would not know that it is over.
    """

    def measured(self, training: Training, point: Point) -> str | None: ...
    def stepped(self, training: Training, loss: float) -> str | None: ...


def fit(training: Training, pace: Pace, watch: Watch) -> str:
    """Trains until the pace, a stopping technique or the watch ends it; gives the reason."""
    t, reason = training, None
    t.model.train()
    while not pace.over(t.step) and not reason:
        epoch, start = divmod(t.step, t.batches.steps)
        for images, targets in t.batches.epoch(epoch, start, progress=partial(_progress, pace, t.step - start)):
            loss = step(t, images, targets, pace.progress(t.step))
            over = pace.over(t.step)
            if over or pace.measure(t.step % t.batches.steps == 0):
                begin = time.monotonic()
                reason = watch.measured(t, measure(t))
                pace.measured(time.monotonic() - begin)
                reason = reason or next(filter(None, (rule.should_stop(t.curve) for rule in t.stopping)), None)
            reason = reason or watch.stepped(t, loss)
            if over or reason:
                break
    return reason or "done"


def _progress(pace: Pace, first: int, step: int) -> float:
    """Progress at a step of an epoch whose first step is `first`."""
    return pace.progress(first + step)


def step(t: Training, images: torch.Tensor, targets: torch.Tensor, progress: float) -> float:
    """One optimiser step on a batch; gives the mean loss. `progress` in [0, 1) is how much of the training is done."""
    t.reseed()
    multiplier = t.schedule(progress)
    for group in t.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * multiplier
    for module in t.aware:
        module.progress = progress
    for augment in t.augment:
        images, targets = augment(images, targets, progress=progress, generator=t.generator)

    count, total = len(images), 0.0
    parts = -(-count // (t.recipe.micro_batch or count))
    for part, wanted in zip(images.tensor_split(parts), targets.tensor_split(parts), strict=True):
        logits = t.model(part)
        loss = t.loss(logits, wanted).sum() / count
        for penalty in t.penalties:
            loss = loss + penalty(t.model) * (len(part) / count)
        loss.backward()
        total += loss.item()
        if t.classes:
            labels = wanted if wanted.dim() == 1 else wanted.argmax(1)
            t.sums.correct += int((logits.detach().argmax(1) == labels).sum())
    if not math.isfinite(total):
        raise Failure(diverged(t, total, step=t.step + 1))

    for treat in t.gradients:
        treat(t.model.parameters(), progress=progress, generator=t.generator)
    t.optimizer.step()
    t.optimizer.zero_grad(set_to_none=True)
    t.step += 1
    for average in t.averaging:
        average.after_step(t.model, progress=progress)
    t.sums.images += count
    t.sums.loss += total * count
    return total


def measure(t: Training) -> Point:
    """A point of the curve: training figures since the last one, as the network saw the images, and validation's."""
    point: Point = {"step": t.step, "epoch": round(t.epoch, 6), "lr": t.optimizer.param_groups[0]["lr"]}
    seen = max(1, t.sums.images)
    point["train_loss"] = t.sums.loss / seen
    if t.classes:
        point["train_accuracy"] = t.sums.correct / seen
    if t.validation is not None:
        scores = evaluate(t.finished_model(), t.validation, t.infer, F.cross_entropy if t.classes else F.mse_loss)
        if not math.isfinite(scores.loss):
            raise Failure(diverged(t, scores.loss, "validation loss"))
        point["val_loss"] = scores.loss
        if scores.accuracy is not None:
            point["val_accuracy"] = scores.accuracy
    t.sums = Sums()
    t.curve.append(point)
    return point


def diverged(t: Training, loss: float, name: str = "loss", step: int = 0) -> str:
    """The sentence for a loss that is no number any more, at the last step done or the one that is given."""
    lr = t.optimizer.param_groups[0]["lr"]
    return (
        f"the {name} became {loss} at step {step or t.step} (epoch {t.epoch:.2f}) with learning rate {lr:.3g}: "
        f"try --set lr={t.recipe.lr / 10:.3g}, or --use clip_norm"
    )
