"""The training loop: one step and one training, each on one page, every technique called in the open."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..mistake import Failure
from ..run import Point
from ..techniques.splitting.gradient_accumulation import gradient_accumulation
from .evaluate import evaluate
from .training import Sums, Training

Batch = tuple[Tensor, Tensor]


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
        batches = t.batches.epoch(epoch, start, progress=partial(_progress, pace, t.step - start))
        for images, targets in _grown(batches, lambda: t.schedule.batch(pace.progress(t.step))):
            loss = step(t, images, targets, pace.progress(t.step))
            over = pace.over(t.step)
            if over or pace.measure(t.step % t.batches.steps == 0):
                begin = time.monotonic()
                t.parallel.gather(t.model)
                reason = watch.measured(t, measure(t)) or should_stop(t)
                pace.measured(time.monotonic() - begin)
            reason = t.parallel.agreed(reason or watch.stepped(t, loss))
            if over or reason:
                break
    return reason or "done"


def should_stop(t: Training) -> str | None:
    """The reason of the first stopping technique that has one."""
    return next(filter(None, (rule.should_stop(t.curve) for rule in t.stopping)), None)


def _progress(pace: Pace, first: int, step: int) -> float:
    """Progress at a step of an epoch whose first step is `first`."""
    return pace.progress(first + step)


def _grown(batches: Iterator[Batch], times: Callable[[], float]) -> Iterator[Batch]:
    """The batches, joined into larger ones while a schedule asks for `times` the size; at an epoch's end, what is left.

    The next batches are looked at only when they are due, so that their augmentation sees the present progress.
    """
    for batch in batches:
        joined = [batch, *itertools.islice(batches, max(1, round(times())) - 1)]
        yield batch if len(joined) == 1 else (torch.cat([b[0] for b in joined]), torch.cat([b[1] for b in joined]))


def step(t: Training, images: Tensor, targets: Tensor, progress: float) -> float:
    """One optimiser step on a batch; gives the mean loss. `progress` in [0, 1) is how much of the training is done."""
    set_progress(t, progress)
    for augment in t.augment:
        images, targets = augment(images, targets, progress=progress, generator=t.generator)
    count = len(images)
    images, targets = t.parallel.share(images, targets)

    def gradients(graph: bool = False, again: bool = True) -> tuple[float, float]:
        """Leaves the treated gradients of the batch's mean loss in the parameters; gives that loss and the correct."""
        loss, correct = t.parallel.reduce(t.model, passes(t, images, targets, count, graph=graph, again=again))
        t.scaler.unscale_(t.optimizer)
        for gauge in t.gauges if not again else ():
            gauge.whole(t.model)
        for treat in t.gradients if not graph else ():
            treat(t.model.parameters(), progress=progress, generator=t.generator, step=t.step)
        return loss, correct

    def closure(graph: bool = False) -> Tensor:
        """The loss, with its gradients anew at the present weights: for optimisers that look at several places."""
        t.optimizer.zero_grad(set_to_none=True)
        return torch.tensor(gradients(graph)[0])

    loss, correct = gradients(again=False)
    if not math.isfinite(loss):
        raise Failure(diverged(t, loss, step=t.step + 1))
    t.scaler.step(t.optimizer, *([closure] if getattr(t.optimizer, "needs_closure", False) else []))
    t.scaler.update()
    t.optimizer.zero_grad(set_to_none=True)
    t.step += max(1, round(count / t.recipe.batch_size))
    t.parallel.after_step(t.model, step=t.step)
    for average in t.averaging:
        average.after_step(t.model, progress=progress)
    t.sums.add(count, loss, correct)
    return loss


def set_progress(t: Training, progress: float) -> None:
    """Brings all that depends on the step up to it: random numbers, what asks for `progress`, and for every group of
    parameters the learning rate, and the momentum where the schedule sets one."""
    t.reseed()
    for part in t.aware:
        part.progress = progress
    multiplier = t.schedule.rate(progress)
    for group in t.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * multiplier
        if t.schedule.momentum is not None:
            momentum = t.schedule.momentum(progress)
            group |= {"betas": (momentum, group["betas"][1])} if "betas" in group else {"momentum": momentum}


def passes(
    t: Training, images: Tensor, targets: Tensor, count: int, *, graph: bool = False, again: bool = False
) -> tuple[float, float]:
    """Forward and backward, part by part: adds to the gradients those of the sum of losses over `count`, the images of
    the whole batch; gives that sum and the number of correct images. graph: to be differentiated again. again: the
    batch has been seen already."""
    total, correct = 0.0, 0
    observe = None if again else getattr(t.order, "observe", None)
    place = t.step % t.batches.steps * t.recipe.batch_size
    parts = gradient_accumulation(images, targets, size=t.recipe.micro_batch)
    for number, (part, wanted) in enumerate(parts):
        for module in t.told:
            module.targets = wanted
        with t.autocast():
            logits = t.model(part)
            losses = t.loss(logits, wanted, part)
            loss = losses.sum() / count
        for penalty in t.penalties:
            loss = loss + penalty(t.model) * (len(part) / count)
        for module in t.adding:
            if module.added_loss is not None:  # it is, where another technique skipped the module
                loss, module.added_loss = loss + module.added_loss * (len(part) / count), None
        t.scaler.scale(loss).backward(create_graph=graph)
        total += loss.item()
        if observe is not None:  # the order of the images hangs on their losses
            observe(place, losses)
            place += len(part)
        if t.classes:
            labels = wanted if wanted.dim() == 1 else wanted.argmax(1)
            correct += int((logits.detach().argmax(1) == labels).sum())
        for gauge in t.gauges if number == 0 and not again else ():
            gauge.part(t.model, len(part) / count)
    for module in t.told:
        module.targets = None
    return total, correct


def measure(t: Training) -> Point:
    """A point of the curve: training figures since the last one, as the network saw the images, and validation's."""
    point: Point = {"step": t.step, "epoch": round(t.epoch, 6), "lr": t.optimizer.param_groups[0]["lr"]}
    seen = max(1, t.sums.images)
    point["train_loss"] = t.sums.loss / seen
    if t.classes:
        point["train_accuracy"] = t.sums.correct / seen
    if t.validation is not None and t.parallel.rank == 0:
        finished = t.prepared(t.finished_model())
        scores = evaluate(finished, t.validation, t.infer, F.cross_entropy if t.classes else F.mse_loss)
        if not math.isfinite(scores.loss):
            raise Failure(diverged(t, scores.loss, "validation loss"))
        point["val_loss"] = scores.loss
        if scores.accuracy is not None:
            point["val_accuracy"] = scores.accuracy
    for gauge in (*t.gauges, t.parallel):
        point |= gauge.figures()
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
