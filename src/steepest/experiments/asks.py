"""Settings that Optuna asks for, one whenever a worker is free, with what the ledger has as what it knows.

The settings are of a space (`techniques/search/space.py`); the value of one is the mean of its trainings, the worst
there is where one of them failed. What is asked for k-th hangs on k and on the values known by then, so with several
workers at a time, or after a kill, it need not be what it would have been else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import stats
from ..mistake import Mistake
from ..run import Point
from ..techniques.search import space as room
from . import settings
from .conduct import Conductor
from .ledger import DONE, RUNNING, Trial
from .settings import Settings

if TYPE_CHECKING:
    import optuna

MISSES = 100
"""After so many asked for in a row that were tried before, or that cannot be, nothing new is left."""
Rule = Callable[[int], "optuna.samplers.BaseSampler"]
"""The sampler that asks for the k-th settings."""


def trainings(conductor: Conductor, each: Mapping[str, Any], seeds: Sequence[int]) -> list[Trial]:
    """Those of a setting that were begun."""
    found = (conductor.known.get(settings.key(each, seed)) for seed in seeds)
    return [trial for trial in found if trial is not None]


def value(conductor: Conductor, each: Mapping[str, Any], seeds: Sequence[int]) -> float:
    """The mean of the study's figure over a setting's trainings; nan unless all of them are done."""
    found = [
        trial.figures[conductor.asked.figure] for trial in trainings(conductor, each, seeds) if trial.state == DONE
    ]
    return stats.mean(found).mean if len(found) == len(seeds) else math.nan


def tried(conductor: Conductor, seeds: Sequence[int]) -> list[Settings]:
    """Every setting of which a training with one of these seeds was begun, in that order."""
    mine = (trial for trial in conductor.known.values() if trial.seed in seeds)
    return list({settings.key(trial.settings, 0): dict(trial.settings) for trial in mine}.values())


class Asks:
    """The trainings of settings that are asked for, until `count` settings were tried; `seeds` of each.

    start: what is tried first. Those that the study has already are only told to the sampler, and what is missing of
    them is trained.
    """

    def __init__(
        self, conductor: Conductor, space: room.Space, count: int, seeds: Sequence[int], start: Settings, rule: Rule
    ) -> None:
        self.conductor, self.space, self.count = conductor, space, count
        self.seeds, self.start, self.rule = seeds, start, rule
        self.kinds = room.distributions(space)
        self.study = room.study(conductor.study.maximise)
        self.open: dict[int, Settings] = {}
        self.known = tried(conductor, seeds)
        for each in self.known:
            self._remember(each)

    def __iter__(self) -> Iterator[Trial]:
        if self.start not in self.known:
            self.known.append(self.start)
            self._remember(self.start)
        for each in self.known[:]:
            yield from self._trainings(each)
        misses = 0
        while len(self.known) < self.count and misses < MISSES:
            each = self._ask(len(self.known) + misses)
            if each in self.known or not self._possible(each):
                misses += 1
                continue
            misses = 0
            self.known.append(each)
            self._remember(each)
            yield from self._trainings(each)

    def _trainings(self, each: Settings) -> Iterator[Trial]:
        """Those of a setting that were not begun yet."""
        params = {}
        if self._within(each):
            turned = room.turned(self.space, each)
            for name, values in self.space.items():
                near_one = isinstance(values, tuple) and values[2] == "reverse_log"
                params[f"1 - {name}" if near_one else name] = (turned[name], self.kinds[name])
        for seed in self.seeds:
            if settings.key(each, seed) not in self.conductor.known:
                yield self.conductor.add(each, seed, params)

    def _ask(self, k: int) -> Settings:
        """The k-th settings, as they are tried: rounded, and still within the space."""
        self._tell()
        self.study.sampler = self.rule(k)
        asked = self.study.ask(self.kinds)
        self.study.tell(asked, state=room.library().trial.TrialState.FAIL)  # what is tried is told by `_remember`
        found = room.turned(self.space, asked.params)
        for name, values in self.space.items():
            if isinstance(values, tuple):
                near = settings.drawn(self.conductor.asked.recipe, name, found[name])
                found[name] = near if values[0] <= near <= values[1] else found[name]
        return found

    def _possible(self, each: Settings) -> bool:
        """Whether the recipe can have these settings together."""
        try:
            settings.apply(self.conductor.asked.recipe, each)
        except Mistake:
            return False
        return True

    def _within(self, each: Settings) -> bool:
        """Whether settings lie in the space, so that the sampler can be told of them."""
        return each.keys() == self.space.keys() and all(
            values[0] <= each[name] <= values[1] if isinstance(values, tuple) else each[name] in values
            for name, values in self.space.items()
        )

    def _remember(self, each: Settings) -> None:
        """Tells the sampler of a setting that is tried."""
        if not self._within(each):
            return
        kinds = room.library()
        running = kinds.trial.TrialState.RUNNING
        params = room.turned(self.space, each)
        self.open[len(self.study.get_trials(deepcopy=False))] = each
        self.study.add_trial(kinds.trial.create_trial(state=running, params=params, distributions=self.kinds))

    def _tell(self) -> None:
        """Tells the sampler the values of the settings whose trainings are over."""
        worst = -math.inf if self.conductor.study.maximise else math.inf
        for number, each in list(self.open.items()):
            begun = trainings(self.conductor, each, self.seeds)
            if len(begun) == len(self.seeds) and all(trial.state != RUNNING for trial in begun):
                found = value(self.conductor, each, self.seeds)
                self.study.tell(number, worst if math.isnan(found) else found)
                del self.open[number]


def pruning(conductor: Conductor, pruner: optuna.pruners.BasePruner, start: Settings) -> Callable[[Trial, Point], bool]:
    """Ends a training where the pruner says so after one of its epochs; never the start's."""
    ledger = conductor.study.ledger
    ledger.study(pruner=pruner)

    def heard(trial: Trial, point: Point) -> bool:
        epoch, found = int(point["epoch"]), point.get(conductor.asked.figure)
        if epoch < 1 or found is None:
            return False
        ledger.report(trial.number, epoch, found)
        return trial.settings != start and ledger.should_prune(trial.number)

    return heard
