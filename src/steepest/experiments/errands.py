"""What a worker does for a study beside its trainings: the test set, a range test, the size of a penalty.

An errand is a job (`worker.py`) that also has ``"errand": {"kind": …}``; its number only has to be its own. What comes
of it is told as the figures of a trial that is done.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .. import techniques
from ..data.dataset import Dataset
from ..mistake import Failure, Mistake
from ..recipe import Recipe, Use
from ..run import Run
from ..techniques.search.lr_range_test import lr_range_test
from ..train import adapt, build, loop, machine, start
from ..train.assess import assess
from ..train.parts import optimizer
from ..train.request import Request
from ..train.trained import FILE
from ..train.training import Schedule, Training
from .ledger import DONE, FAILED

Figures = dict[str, Any]


def do(job: dict[str, Any]) -> dict[str, Any]:
    """Runs an errand: its `state`, `figures` and `problem`."""
    told: dict[str, Any] = {"state": DONE, "figures": {}, "run": None, "problem": None}
    kinds: dict[str, Any] = {"test": test, "range": lr_range, "penalty": penalty}
    kind = kinds[job["errand"]["kind"]]
    try:
        return told | {"figures": kind(job, **{name: value for name, value in job["errand"].items() if name != "kind"})}
    except (Mistake, Failure) as error:
        return told | {"state": FAILED, "problem": str(error)}


def built(job: dict[str, Any], threads: int | None = None, dataset: Dataset | None = None) -> Training:
    """The training of a job, as `start.begin` builds it, without a run folder. dataset: its data, if they are there."""
    request = Request(**job["request"])
    dataset = dataset or start.load(request)
    recipe, _ = adapt.adapt(Recipe.from_dict(job["recipe"]), dataset, request)
    device = machine.prepare(request.device, threads)
    return build.build(adapt.sized(recipe, dataset, request, []), dataset, request.seed, device)


def test(job: dict[str, Any]) -> Figures:
    """The test set's figures of a finished training; where its network was not kept, it is trained once more.

    `n` is the number of images, 0 where the data have no test set; then there are no other figures.
    """
    request = Request(**job["request"])
    folder = Path(request.out) / str(request.run_name)
    if (folder / FILE).is_file():
        machine.prepare(request.device, request.threads)
        run = Run(folder)
        if not run.read("data.json")["test"]:
            return {"n": 0}
        scores = assess(run, split="test").scores
        return {"n": scores.n, "test_accuracy": scores.accuracy, "test_loss": scores.loss}
    again = replace(request, test=True, run_name=f"{request.run_name}-test")
    begun = folder.with_name(str(again.run_name))
    run = start.resume(begun) if begun.is_dir() else start.begin(Recipe.from_dict(job["recipe"]), again)
    names = ("test_accuracy", "test_loss") if run.result["test_n"] else ()
    return {"n": run.result["test_n"], **{name: run.result[name] for name in names}}


def lr_range(job: dict[str, Any], *, low: float, high: float, steps: int) -> Figures:
    """A range test at the start of a training: the fields of `RangeTest`.

    All else is the recipe's own: batches, augmentation, optimiser, momentum, decay. Where only some of the optimiser's
    groups of weights follow the recipe's learning rate, only those do here.
    """
    t = built(job, job["request"]["threads"])
    groups, lr = t.optimizer.param_groups, t.recipe.lr
    doubled = optimizer(t.recipe.replace(lr=2 * lr), t.model).param_groups
    lines = [
        (one["initial_lr"], two["initial_lr"] - one["initial_lr"]) for one, two in zip(groups, doubled, strict=True)
    ]
    t.schedule = Schedule(lambda progress: 1.0, t.schedule.momentum)
    batches = _endless(t)

    def at(rate: float) -> float:
        for group, (own, more) in zip(groups, lines, strict=True):
            group["initial_lr"] = own + (rate / lr - 1) * more
        try:
            return loop.step(t, *next(batches), 0.0)
        except Failure:
            return math.nan

    found = lr_range_test(at, low=low, high=high, steps=steps)
    kept = [loss for loss in found.losses if math.isfinite(loss)]
    return vars(found) | {"losses": kept, "smoothed": found.smoothed[: len(kept)], "rates": found.rates[: len(kept)]}


def penalty(job: dict[str, Any], *, use: str, setting: str) -> Figures:
    """The first quarter of a training, at least an epoch of it, without a penalty: its mean loss over the last epoch,
    and the penalty's size then, which is its value at the weight 1. setting: the weight's name."""
    t = built(job, job["request"]["threads"])
    losses: deque[float] = deque(maxlen=t.batches.steps)
    for images, targets in _endless(t):
        if t.step >= max(t.batches.steps, t.steps / 4):
            break
        losses.append(loop.step(t, images, targets, min(t.step / t.steps, 1 - 2**-53)))
    one = Use.parse(use)
    with torch.no_grad():
        size = float(techniques.bind(Use(one.name, **{**one.settings, setting: 1.0}))(t.model))
    return {"loss": math.fsum(losses) / len(losses), "size": size, "epochs": t.epoch}


def _endless(t: Training) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of one epoch after another, in the training's own order."""
    for epoch in itertools.count():
        yield from t.batches.epoch(epoch)
