"""Tries settings where good trials lie thicker than bad ones, by tree-structured Parzen estimators.

Formula: the next settings are argmax l(x) / g(x) over n = `candidates` draws from l, with l a density (a mixture of
Gaussians, one a trial, on the range's scale) of the trials with the best values and g that of the others; the share
that counts as best, γ, is a tenth of the trials and at most 25. The first `startup` trials are drawn at random.

Source: J. Bergstra, R. Bardenet, Y. Bengio and B. Kégl, Algorithms for hyper-parameter optimization, NeurIPS 2011; in
the form of S. Watanabe, 2023, arXiv 2304.11127.

Differs: nothing; it is Optuna's TPESampler with its γ and weights, whose version constraints.txt pins.

Helps: where a training is dear and some ten to a hundred of them can be paid for.

Hurts: with fewer trials than `startup` it is random_search. One trial after another: it cannot use many workers well,
and a noisy objective leads it after lucky trials.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..card import Card
from . import space as room
from .space import Objective, Space, Trial

if TYPE_CHECKING:
    import optuna

CARD = Card(
    tiny={"trials": 3, "startup": 2},
    allows={"trials": "[1, inf)", "startup": "[1, inf)", "candidates": "[1, inf)", "seed": "[0, 4294967295]"},
)


def tpe(
    objective: Objective,
    space: Space,
    *,
    trials: int = 20,
    startup: int = 10,
    candidates: int = 24,
    seed: int = 0,
    maximise: bool = False,
) -> list[Trial]:
    """The trials in the order tried. trials: from 1. startup: random ones first, from 1. candidates: from 1.

    maximise: whether a higher value is better. Raises Mistake (a ValueError) for a space or a setting out of range.
    """
    CARD.check(trials=trials, startup=startup, candidates=candidates, seed=seed)
    room.whole(trials=trials, startup=startup, candidates=candidates, seed=seed)
    room.check_space(space)
    study = room.study(maximise, sampler=sampler(startup=startup, candidates=candidates, seed=seed))
    return room.ask_and_tell(study, space, objective, trials, maximise)


def sampler(
    *, startup: int = 10, candidates: int = 24, seed: int = 0, several: bool = False
) -> optuna.samplers.BaseSampler:
    """The rule by itself, for a study of Optuna's. several: whether trials go on several at a time: those that are
    still running then count as bad, so that the next is another one."""
    CARD.check(startup=startup, candidates=candidates, seed=seed)
    made: optuna.samplers.BaseSampler = room.library().samplers.TPESampler(
        n_startup_trials=int(startup), n_ei_candidates=int(candidates), seed=int(seed), constant_liar=several
    )
    return made
