"""Ablations: what each technique of a recipe buys, in points and in seconds, by trainings with paired seeds.

What the differences are and how they are judged is said in `contrasts`. The trainings of a seed run next to each other,
and which of them comes first changes from seed to seed, so that what else the machine does meets all of them alike.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import stats
from ..mistake import Failure, Mistake
from ..recipe import Recipe, Use
from . import contrasts, settings
from .changes import Change, Held, changes, measurable
from .conduct import Conductor, conducting, lasting, prepare
from .contrasts import POWER, Rule, brief, by_seed
from .executors.local import Local
from .ledger import DONE, FAILED, Trial
from .study import Asked, Study

SEEDS, PILOT = 5, 8
"""Trainings of each setting where nothing is asked for, and those by which it is planned how many are needed."""
MATTERS = 0.2
"""The difference in points that is taken to matter where none is asked for."""
LONG_H = 8.0
"""Hours, beyond which what was planned is begun only when the person said yes."""
FURTHER = 2
"""Where seeds are looked at one by one: up to so many times the seeds that were planned. The rule then finds the
difference in 84 to 96 of 100 studies (simulated, 1 to 8 comparisons), and stops after 1.1 times the planned seeds."""
Seen = Mapping[str, Mapping[int, Trial]]


def ablate(
    data: str | Path = "digits",
    *,
    recipe: str | Path | Recipe = "quick",
    without: Sequence[str] = (),
    add: Sequence[str | Use] = (),
    pairs: bool = False,
    seeds: int | None = None,
    detect: float | None = None,
    sequential: bool = False,
    **options: Any,
) -> Study:
    """Trains a recipe with each of its techniques left out, or with others added, and tells what each one buys.

    without: techniques, or momentum, weight_decay, schedule, to leave out one at a time; by default all that it has.
    add: techniques to add to it one at a time, ``"mixup:alpha=0.2"``. pairs: every two of them together too. seeds:
    trainings of each. detect: the difference that matters, in points for an accuracy; where no seeds are given, a pilot
    of 8 seeds tells how many find it with 80 % power. sequential: a comparison stops as soon as its difference is told
    from none, or is too small to matter, by a rule that keeps the error rate; at the latest after all seeds. options:
    as of `sweep`; with `test` the test set's differences are told too, by which nothing is judged.

    What came of it is in the study's result.json: `figure`, `unit`, `seeds`, `precision`, `plan`, `comparisons` (each
    with `left_out` or `added`, `n`, `difference`, `low`, `high`, `p`, `p_holm`, `finds`, `seconds`, `barnacle`,
    `verdict`, `said`), `not_measured`, `notes`, `warnings`. Raises Mistake for what was asked wrongly, before any work;
    and, after the pilot, which is kept, where the seeds needed take more than 8 hours and `yes` was not said.
    """
    _check(seeds, detect, pairs, sequential)
    many = seeds if seeds is not None else PILOT if detect is not None else SEEDS
    asked, how = prepare("ablate", data, recipe, many, options)
    held, kept, idle = measurable(asked, changes(asked.recipe, without, add, pairs))
    matters = detect or (MATTERS if asked.figure.endswith("accuracy") else None)
    rule = Rule(asked.figure, len(kept) + sum(bool(each.parts) for each in kept), matters, sequential)
    _check_detect(detect, held, rule)
    named = {kind: [each.name for each in kept if each.kind == kind] for kind in ("left_out", "added")}
    asked = replace(asked, vary=named | {"detect": detect, "sequential": sequential})
    with conducting(asked, how, len(asked.seeds) * (len(kept) + 1)) as conductor:
        ablation = Ablation(conductor, kept, rule, held)
        for one in idle:
            ablation.warn(f"{one.get('left_out') or one['added']} is not measured: {one['why']}")
        ablation.train(detect if seeds is None else None)
        conductor.study.write("result.json", ablation.result() | {"not_measured": idle})
    return conductor.study


def _check(seeds: int | None, detect: float | None, pairs: bool, sequential: bool) -> None:
    if detect is not None and not (isinstance(detect, int | float) and 0 < detect < math.inf):
        raise Mistake(f"detect is the difference that matters, above 0: got {detect!r}")
    if sequential and seeds is None and detect is None:
        raise Mistake("sequential stopping needs to know how far it may go: give seeds, or the difference to detect")
    if sequential and pairs:
        raise Mistake("pairs are compared over the same seeds as what they are made of: they cannot stop by themselves")


def _check_detect(detect: float | None, held: Held, rule: Rule) -> None:
    """Raises Mistake for a difference that is less than one of the images held out."""
    images = held.each if held.fixed else held.of
    if detect is None or rule.unit != "points":
        return
    if detect >= 100:
        raise Mistake(f"detect is a difference in points, below 100: got {detect:g}")
    if detect < 100 / images:
        raise Mistake(
            f"a difference of {detect:g} points is less than one image: of the {images:,} that can be validated with, "
            f"one is {100 / images:.2g} points"
        )


@dataclass
class Ablation:
    """The trainings of an ablation, and what is known of them."""

    conductor: Conductor
    changes: Sequence[Change]
    rule: Rule
    held: Held
    trials: list[Trial] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    plan: dict[str, Any] | None = None
    few: bool = False

    def __post_init__(self) -> None:
        path = self.conductor.study.path / "result.json"
        self.before = self.conductor.study.read("result.json") if path.is_file() else {}
        self.begun = len(self.conductor.known)

    @property
    def asked(self) -> Asked:
        return self.conductor.asked

    @property
    def seen(self) -> Seen:
        return by_seed(self.trials)

    def say(self, sentence: str) -> None:
        if self.conductor.how.show:
            sys.stderr.write(sentence + "\n")

    def warn(self, sentence: str) -> None:
        """A sentence for the person, once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)
            self.say(sentence)

    def train(self, detect: float | None) -> None:
        """All trainings. detect: the difference for which a pilot tells the number of seeds."""
        if detect is not None:
            first = self.asked.seeds
            self._seeds(first)
            self._grow(self._planned(detect, first))
        if self.rule.sequential:
            for seed in self.asked.seeds[len({trial.seed for trial in self.trials}) :]:
                seen = self.seen
                left = [each for each in self.changes if not contrasts.decided(each, seen, self.rule)]
                if not left:
                    break
                self._seeds([seed], left)
        else:
            self._seeds(self.asked.seeds)

    def _seeds(self, seeds: Iterable[int], changes: Sequence[Change] | None = None) -> None:
        """Trains the recipe and its changes with these seeds, seed by seed, each in its own turn."""
        wanted = [{}, *(dict(each.settings) for each in (self.changes if changes is None else changes))]
        order = []
        for seed in seeds:
            turn = (seed - self.asked.seeds[0]) % len(wanted)
            order += [(each, seed) for each in wanted[turn:] + wanted[:turn]]
        found = {trial.number: trial for trial in (*self.trials, *self.conductor.train(order))}
        self.trials = list(found.values())

    def _grow(self, seeds: int) -> None:
        """The study is from now on of so many seeds."""
        first = self.asked.seeds[0]
        self.conductor.asked = replace(self.asked, seeds=tuple(range(first, first + seeds)))
        self.conductor.study = Study.begin(self.asked, self.conductor.study.path.parent)

    def _planned(self, detect: float, first: Sequence[int]) -> int:
        """The number of seeds, by the pilot; its cost is told, and is agreed to where it is long."""
        self._comparable()
        seen = self.seen
        bought = {each.name: contrasts.differences(each, seen, self.rule) for each in self.changes}
        found = contrasts.plan(bought, detect, self.rule.comparisons)
        if found is None:
            self.warn(f"nothing can be planned: no technique makes a difference in the pilot of {len(first)} seeds")
            return len(first)
        seeds, unit = found.seeds * (FURTHER if self.rule.sequential else 1), self.rule.unit
        left, seconds = self._cost(range(first[0], first[0] + seeds))
        hours = seconds / 3600
        said = (
            f"by the pilot of {len(first)} seeds, differences spread by {brief(found.sd)} {unit} "
            f"(at most {brief(found.limit)}, at 80 % confidence): to find {detect:g} {unit} with 80 % power in each of "
            f"{len(self.changes)} comparisons takes {'at most ' * self.rule.sequential}{seeds:,} seeds, {left:,} more "
            f"trainings, {lasting(seconds)} ({brief(hours)} hours)"
        )
        plan: dict[str, Any] = {
            "detect": detect,
            "power": POWER,
            "pilot": len(first),
            "sd": found.sd,
            "sd_limit": found.limit,
        }
        plan |= {"seeds": seeds, "trainings": left, "hours": hours, "said": said}
        before = self.before.get("plan") or {}
        self.plan = before if not left and (before.get("detect"), before.get("seeds")) == (detect, seeds) else plan
        if left:
            self.say(said)
        for name, finds in found.wild.items():
            self.warn(f"{name} spreads much further than the others: so many seeds find {brief(finds)} {unit} of it")
        self._images(detect, seeds)
        if hours > LONG_H and not self.conductor.how.yes:
            raise Mistake(f"{said}: --yes begins them; the pilot's trainings are kept")
        return seeds

    def _cost(self, seeds: Iterable[int]) -> tuple[int, float]:
        """(trainings, seconds) that these seeds take beyond those that are done, as long as they took so far."""
        took = [trial.figures["total_s"] for trial in self.trials if "total_s" in trial.figures]
        wanted = [{}, *(each.settings for each in self.changes)]
        left = sum(settings.key(each, seed) not in self.conductor.known for seed in seeds for each in wanted)
        return left, left * (stats.mean(took).mean if took else 0.0) / self._workers()

    def _workers(self) -> int:
        """How many trainings run at a time."""
        executor = self.conductor.executor
        return executor.slots if isinstance(executor, Local) else self.conductor.how.workers or 1

    def _comparable(self) -> None:
        """Raises Failure where there is nothing to compare."""
        seen = self.seen
        if not any(contrasts.pairs(each, seen) for each in self.changes):
            problem = next((trial.problem for trial in self.trials if trial.state == FAILED), None)
            raise Failure(f"no seed has two trainings to compare: {problem}")

    def _images(self, detect: float | None, seeds: int) -> None:
        """Warns, once, where the images that so many seeds hold out are too few for the difference."""
        whole = [trial for trial in self.trials if not trial.settings and trial.state == DONE]
        if self.few or detect is None or self.rule.figure != "val_accuracy" or not whole:
            return
        accuracy = stats.mean([trial.figures["val_accuracy"] for trial in whole]).mean
        images = self.held.seen(seeds)
        finds = 100 * stats.smallest_share_difference(images, accuracy)
        if finds > detect:
            each = "the same for all seeds" if self.held.fixed else f"{self.held.each:,} a seed"
            self.few = True
            self.warn(
                f"the validation set is small for {detect:g} points: {images:,} different images ({each}) tell "
                f"differences from {brief(finds)} points on, if the two sides' mistakes are independent; what is "
                "smaller may belong to these images alone"
            )

    def _failed(self) -> None:
        """Tells of trainings that failed."""
        names = {settings.key({}, 0): "the recipe as it is"}
        names |= {settings.key(each.settings, 0): f"the change {each.name}" for each in self.changes}
        for key, trials in self.seen.items():
            problems = [trial.problem for trial in trials.values() if trial.state == FAILED]
            if problems:
                many = f"{len(problems)} of {len(trials)} trainings of {names[key]} failed"
                self.warn(f"{many} and count in nothing, the first because {problems[0]}")

    def result(self) -> dict[str, Any]:
        """What the study came to, as its result.json has it."""
        self._comparable()
        self._failed()
        seeds = len({trial.seed for trial in self.trials})
        self._images(self.rule.precision, seeds)
        if seeds == 1:
            self.warn("one seed tells nothing of how sure a difference is: give more seeds")
        test = ("test_accuracy" if self.rule.unit == "points" else "test_loss") if self.asked.request.test else ""
        trained = len(self.conductor.known) > self.begun
        workers = max(self._workers() if trained else 1, self.before.get("workers", 1))
        return {
            "figure": self.rule.figure,
            "unit": self.rule.unit,
            "seeds": seeds,
            "precision": self.rule.precision,
            "sequential": self.rule.sequential,
            "workers": workers,
            "plan": self.plan,
            "comparisons": contrasts.compare(self.changes, self.seen, self.rule, test),
            "notes": self._notes(workers, bool(test)),
            "warnings": self.warnings,
        }

    def _notes(self, workers: int, test: bool) -> list[str]:
        """What one has to know to read the comparisons."""
        unit, figure, many = self.rule.unit, self.rule.figure, self.rule.comparisons
        bought = "with the technique minus without it" if unit == "points" else "without the technique minus with it"
        looked = ", however often one looks" if self.rule.sequential else ""
        shared = {
            "ray": " They ran where Ray put them: their seconds are those of several machines.",
            "local": f" {workers} ran at a time: their seconds are those of a shared machine." if workers > 1 else "",
        }
        notes = [
            f"Bought: {figure} {bought}, over paired seeds; above 0 it helps. Seconds: training time with it minus "
            "without it; above 0 it costs.",
            f"Intervals hold at 95 % for all {many} differences at once (Bonferroni){looked}. p is by Holm, who tells "
            "some differences from none whose intervals still hold 0.",
            contrasts.definition(self.rule),
            "The trainings of a seed ran next to each other, which of them first changing from seed to seed."
            + shared[self.conductor.how.on],
        ]
        if any(each.parts for each in self.changes):
            more = "they stand in for each other where they were left out, and help each other where they were added"
            notes.append(f"Where two techniques buy more together than the sum of what each buys by itself, {more}.")
        if test:
            notes.append("The test set's differences are for the report alone: nothing was judged or stopped by them.")
        return notes
