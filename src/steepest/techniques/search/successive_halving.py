"""Tries settings drawn at random, and ends early those that are not among the best after little training.

Formula: a trial that has reported r·ηᵏ times (k = 0, 1, …) goes on only if its last value is among the best ⌊m/η⌋, but
at least one, of the m values that have been seen at that rung k, its own counted; r = `least` and η = `factor`.
After R = `most` reports it is done.

Source: K. Jamieson and A. Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, 2015,
arXiv 1502.07943; without waiting for each other, L. Li et al., A system for massively parallel hyperparameter tuning
(ASHA), 2018, arXiv 1810.05934.

Differs: Optuna's form, SuccessiveHalvingPruner with its RandomSampler: trials run one after another, and one that has
been ended never goes on, though later ones may turn out worse; so early trials are judged against few.

Helps: many settings for the price of few, where a bad one shows itself early.

Hurts: settings that begin slowly and end well, such as low learning rates or strong regularisers, are ended; with a
schedule that falls at the end, what is reported midway says little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ...mistake import Mistake
from ..card import Card
from . import space as room
from .space import Settings, Space, Trial

if TYPE_CHECKING:
    import optuna

CARD = Card(
    tiny={"trials": 3},
    allows={
        "trials": "[1, inf)",
        "least": "[1, inf)",
        "most": "[1, inf)",
        "factor": "[2, inf)",
        "seed": "[0, 4294967295]",
    },
)


def successive_halving(
    objective: Callable[[Settings], Iterator[float]],
    space: Space,
    *,
    trials: int = 20,
    least: int = 1,
    most: int = 16,
    factor: int = 4,
    seed: int = 0,
    maximise: bool = False,
) -> list[Trial]:
    """The trials in the order tried, each with its last value. objective: gives an iterator, like a generator, of the
    values after each part of the training (an epoch, say); one that is ended early is closed.

    trials: from 1. least, most: parts that each trial gets, and that one gets at most, from 1. factor: at least 2.
    maximise: whether a higher value is better. A trial whose value is nan is ended. Raises Mistake (a ValueError) for a
    space or a setting out of range, or an objective without values.
    """
    CARD.check(trials=trials, least=least, most=most, factor=factor, seed=seed)
    room.whole(trials=trials, least=least, most=most, factor=factor, seed=seed)
    room.check_space(space)
    if least > most:
        raise Mistake(f"least must not be above most: got {least} and {most}")
    library = room.library()
    sampler = library.samplers.RandomSampler(seed=int(seed))
    study = room.study(maximise, sampler=sampler, pruner=pruner(least=least, factor=factor))
    kinds = room.distributions(space)
    found: list[Trial] = []
    for _ in range(int(trials)):
        asked = study.ask(kinds)
        settings = room.turned(space, asked.params)
        value, stopped = _run(objective(dict(settings)), asked, int(most))
        if stopped:
            study.tell(asked, state=library.trial.TrialState.PRUNED)
        else:
            study.tell(asked, value)
        found.append(Trial(settings, value, 0.0 if stopped else room.gain(value, found, maximise), stopped))
    return found


def pruner(*, least: int = 1, factor: int = 4) -> optuna.pruners.BasePruner:
    """The rule by itself, for a study of Optuna's whose trials go on several at a time."""
    CARD.check(least=least, factor=factor)
    made: optuna.pruners.BasePruner = room.library().pruners.SuccessiveHalvingPruner(
        min_resource=int(least), reduction_factor=int(factor)
    )
    return made


def _run(reports: Iterator[float], asked: optuna.Trial, most: int) -> tuple[float, bool]:
    """The last value of a training, and whether it was ended early: at a rung, or because it had no value any more."""
    value, part = math.nan, 0
    try:
        for part, report in enumerate(reports, 1):
            value = float(report)
            asked.report(value, part)
            if part == most:
                return value, math.isnan(value)
            if math.isnan(value) or asked.should_prune():
                return value, True
    finally:
        if hasattr(reports, "close"):
            reports.close()
    if part == 0:
        raise Mistake("the objective of successive_halving must give a value after each part of a training: got none")
    return value, False
