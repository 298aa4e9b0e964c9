"""What changes of a recipe buy: differences of paired trainings, with intervals that hold for all of them at once.

A technique's difference is the figure with it minus the figure without it, seed by seed, so that above 0 it helps (a
loss is counted the other way round); its seconds are training time with it minus without it, so that above 0 it costs.
Importing this loads neither SciPy nor torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .. import stats
from ..mistake import Mistake
from ..stats.means import SAME
from .changes import Change
from .ledger import DONE, FAILED, Trial
from .settings import key

ALPHA, POWER = 0.05, 0.8
WILD = 2.0
"""A comparison that spreads so many times as far as the middle one is left out of the plan for all."""
Comparison = dict[str, Any]
Seeds = Mapping[int, Trial]


@dataclass(frozen=True)
class Rule:
    """How comparisons are judged.

    figure: of the curve. comparisons: intervals share 5 % among so many. precision: the smallest difference that
    matters, in points for an accuracy; None: not said. sequential: whether the number of seeds was decided by looking.
    """

    figure: str
    comparisons: int
    precision: float | None = None
    sequential: bool = False

    @property
    def unit(self) -> str:
        return "points" if self.figure.endswith("accuracy") else self.figure

    def worth(self, figures: Mapping[str, float], figure: str | None = None) -> float:
        """A figure as what is bought: points of an accuracy, or a loss below 0."""
        figure = figure or self.figure
        return 100 * figures[figure] if figure.endswith("accuracy") else -figures[figure]

    def difference(self, a: Sequence[float], b: Sequence[float]) -> dict[str, Any]:
        """a - b of pairs in the order of their seeds: difference, low, high, p; None where nothing is known."""
        if not a:
            return {"difference": None, "low": None, "high": None, "p": None}
        found: Any = (stats.sequential if self.sequential else stats.difference)(a, b, comparisons=self.comparisons)
        p = stats.sequential(a, b).p if self.sequential else found.p
        return {"difference": found.difference, "low": found.low, "high": found.high, "p": p}

    def within(self, one: Mapping[str, Any]) -> bool:
        """Whether a difference's interval lies within ± the precision."""
        known = self.precision is not None and one["low"] is not None and one["high"] is not None
        return known and -self.precision < one["low"] and one["high"] < self.precision  # type: ignore[operator]


def by_seed(trials: Iterable[Trial]) -> dict[str, dict[int, Trial]]:
    """The trials of each setting by their seeds."""
    found: dict[str, dict[int, Trial]] = {}
    for trial in trials:
        found.setdefault(key(trial.settings, 0), {})[trial.seed] = trial
    return found


def pairs(change: Change, trials: Mapping[str, Seeds]) -> list[tuple[Trial, Trial]]:
    """(with the technique, without it) for every seed of which both are done, in the order of the seeds."""
    whole, changed = (trials.get(key(settings, 0), {}) for settings in ({}, change.settings))
    both = [(whole[seed], changed[seed]) for seed in sorted(whole.keys() & changed.keys())]
    done = [each for each in both if each[0].state == each[1].state == DONE]
    return [(b, a) for a, b in done] if change.added else done


def differences(change: Change, trials: Mapping[str, Seeds], rule: Rule) -> list[float]:
    """What the technique buys, seed by seed."""
    return [rule.worth(one.figures) - rule.worth(other.figures) for one, other in pairs(change, trials)]


def decided(change: Change, trials: Mapping[str, Seeds], rule: Rule) -> bool:
    """Whether a sequential comparison may stop: it is told from none, or is too small to matter."""
    found = pairs(change, trials)
    if not found:
        return False
    sides = [[rule.worth(trial.figures) for trial in side] for side in zip(*found, strict=True)]
    told = stats.sequential(sides[0], sides[1], comparisons=rule.comparisons)
    return told.different or rule.within(asdict(told))


def compare(changes: Sequence[Change], trials: Mapping[str, Seeds], rule: Rule, test: str = "") -> list[Comparison]:
    """A comparison for each change, what is bought most first. test: a figure of the test set to tell beside."""
    found = [_compared(change, trials, rule, test) for change in changes]
    both = [one["interaction"] for one in found if "interaction" in one]
    _adjust([*found, *both])
    _adjust([one["test"] for one in found if test])
    for change, one in zip(changes, found, strict=True):
        same = _identical(pairs(change, trials))
        one["barnacle"], one["verdict"] = _verdict(one, rule, same)
        one["said"] = _said(change, one, rule)
    return sorted(found, key=lambda one: -math.inf if one["difference"] is None else one["difference"], reverse=True)


def _compared(change: Change, trials: Mapping[str, Seeds], rule: Rule, test: str) -> Comparison:
    found = pairs(change, trials)
    sides = list(zip(*found, strict=True)) if found else [(), ()]
    worth = [[rule.worth(trial.figures) for trial in side] for side in sides]
    seconds = rule.difference(*[[trial.figures["train_s"] for trial in side] for side in sides])
    failed = [each for each in trials.get(key(change.settings, 0), {}).values() if each.state == FAILED]
    one: Comparison = {change.kind: change.name, "n": len(found), "failed": len(failed)}
    one |= rule.difference(*worth) | {"p_holm": None, "finds": _finds(worth, rule)}
    one["seconds"] = {name: seconds[name] for name in ("difference", "low", "high")}
    if test:
        measured = [pair for pair in found if test in pair[0].figures and test in pair[1].figures]
        sides = [tuple(rule.worth(pair[side].figures, test) for pair in measured) for side in (0, 1)]
        one["test"] = {"n": len(measured)} | rule.difference(*sides)
    if change.parts:
        one["interaction"] = _interaction(change, trials, rule)
    return one


def _interaction(change: Change, trials: Mapping[str, Seeds], rule: Rule) -> Comparison:
    """What two techniques buy together beyond what each buys by itself."""
    bought = [
        {with_.seed: rule.worth(with_.figures) - rule.worth(without.figures) for with_, without in pairs(each, trials)}
        for each in (change, *change.parts)
    ]
    seeds = sorted(set.intersection(*map(set, bought)))
    together, first, second = ([each[seed] for seed in seeds] for each in bought)
    apart = [a + b for a, b in zip(first, second, strict=True)]
    return {"n": len(seeds)} | rule.difference(together, apart)


def _adjust(found: Sequence[Comparison]) -> None:
    for one, p in zip(found, stats.holm([one["p"] for one in found]), strict=True):
        one["p_holm"] = p


def _finds(worth: Sequence[Sequence[float]], rule: Rule) -> float | None:
    """The difference that so many seeds, which spread so far, find with 80 % power; of a fixed number of seeds."""
    sd = spread([a - b for a, b in zip(*worth, strict=True)])
    if rule.sequential or not sd:
        return None
    return stats.smallest_difference(len(worth[0]), sd, power=POWER, alpha=ALPHA, comparisons=rule.comparisons)


def _identical(found: Sequence[tuple[Trial, Trial]]) -> bool:
    """Whether the trainings came out the same to the last bit, so that the change changed nothing."""
    losses = ("val_loss", "train_loss")
    sides = [[[trial.figures.get(name) for name in losses] for trial in pair] for pair in found]
    return len(sides) > 1 and all(a == b and None not in a for a, b in sides)


def _verdict(one: Comparison, rule: Rule, same: bool) -> tuple[bool | None, str]:
    """(whether it is a barnacle, verdict), as `definition` says."""
    seconds, precision = one["seconds"], rule.precision
    dear = seconds["low"] is not None and seconds["low"] > 0
    if not one["n"]:
        return None, "failed"
    if same:
        return not (seconds["high"] is not None and seconds["high"] < 0), "identical"
    ruled_out = precision is not None and one["high"] is not None and one["high"] < precision
    barnacle = rule.within(one) or (dear and ruled_out)
    told = one["p_holm"] is not None and one["p_holm"] < ALPHA
    if told and not rule.within(one):
        return barnacle, "helps" if one["difference"] > 0 else "hurts"
    return (True, "barnacle") if barnacle else (None, "undecided")


def definition(rule: Rule) -> str:
    """What a barnacle is, and the other verdicts."""
    if rule.precision is None:
        barnacle = "Which techniques are barnacles is told when it is said what difference matters: --detect."
    else:
        size = f"{rule.precision:g} {rule.unit}"
        barnacle = (
            f"A barnacle: its interval lies within ± {size}; or it costs time (the interval of its seconds lies above "
            f"0) and its interval ends below {size}; or its trainings are the same to the last bit and no faster."
        )
    return f"{barnacle} It helps or hurts: its difference is told from none at 5 % (p by Holm). Else it is undecided."


def _said(change: Change, one: Comparison, rule: Rule) -> str:
    """The comparison as a sentence."""
    if not one["n"]:
        return f"{change.name} could not be measured: no seed has both trainings."
    unit, seconds, size = rule.unit, one["seconds"], f"{rule.precision:g} {rule.unit}" if rule.precision else ""
    bought = f"{change.name} buys {ranged(one)} {unit} and costs {ranged(seconds)} s of training (n = {one['n']})"
    finds = "" if one["finds"] is None else f": so many seeds find {brief(one['finds'])} {unit}"
    told = "told from none, but " if one["p_holm"] is not None and one["p_holm"] < ALPHA else ""
    barnacle = f"{told}less than {size}" if rule.within(one) else f"it costs time and does not buy {size}"
    ends = {
        "helps": "it helps",
        "hurts": "it hurts",
        "barnacle": f"a barnacle, {barnacle}",
        "identical": "the trainings are the same with and without it",
        "undecided": f"not told from none{finds}",
    }
    both = one.get("interaction")
    more = "" if both is None else f" Beyond what each buys by itself, both together buy {ranged(both)} {unit}."
    return f"{bought}: {ends[one['verdict']]}.{more}"


def ranged(one: Mapping[str, Any]) -> str:
    """A difference with its sign and its interval, where it has one."""
    if one["difference"] is None:
        return "an unknown number of"
    ends = [brief(one[end], "+.3g") for end in ("low", "high") if one[end] is not None]
    return brief(one["difference"], "+.3g") + (f" ({' to '.join(ends)})" if len(ends) == 2 else "")


def brief(value: float, form: str = ".2g") -> str:
    """A number in few digits, without an exponent; what is below 1e-6 is 0."""
    return f"{float(format(round(value, 6), form)):{'+' if '+' in form else ''}.10g}"


@dataclass(frozen=True)
class Plan:
    """How many seeds find a difference, by a pilot.

    sd: by how much the pairs' differences spread in the pilot; limit: where it lies at most, at 80 % confidence. wild:
    the changes that spread much further, and which the plan is not for: of each what so many seeds find.
    """

    sd: float
    limit: float
    seeds: int
    wild: Mapping[str, float]


def plan(pilot: Mapping[str, Sequence[float]], detect: float, comparisons: int) -> Plan | None:
    """The seeds that find `detect` with 80 % power in each of the comparisons; None where the pilot shows no spread.

    pilot: by the change's name, what it bought with each seed. The spreads are pooled: all comparisons have the whole
    recipe's trainings in common, so that their differences are correlated by about a half, and k of them tell as much
    of the spread as k / (1 + (k - 1) / 4) would that have nothing in common. At least twice the pilot's seeds: their
    number hangs on the very spread that the test then uses. Of simulated studies of equals with a pilot of 8, 5 of 100
    then tell a difference, at worst 6 where there is a single comparison; with fewer seeds up to 7.
    """
    sds = {name: sd for name, values in pilot.items() if (sd := spread(values))}
    if not sds:
        return None
    middle = sorted(sds.values())[(len(sds) - 1) // 2]
    alike = {name: sd for name, sd in sds.items() if sd <= WILD * middle}
    many, fewest = len(alike), min(len(pilot[name]) for name in alike)
    pooled = math.sqrt(math.fsum(sd**2 for sd in alike.values()) / many)
    limit = stats.sd_limit(pooled, max(fewest - 1, int((fewest - 1) * many / (1 + (many - 1) / 4))))
    try:
        needed = stats.seeds_needed(detect, limit, power=POWER, alpha=ALPHA, comparisons=comparisons)
    except Mistake as error:
        raise Mistake(f"by the pilot, no number of seeds is enough: {error}") from None
    seeds = max(needed, 2 * max(map(len, pilot.values())))
    wild = {
        name: stats.smallest_difference(seeds, sd, power=POWER, alpha=ALPHA, comparisons=comparisons)
        for name, sd in sds.items()
        if name not in alike
    }
    return Plan(pooled, limit, seeds, wild)


def spread(values: Sequence[float]) -> float:
    """The standard deviation of differences; 0 where none can be told."""
    if len(values) < 2 or max(values) - min(values) <= SAME * max(map(abs, values)):
        return 0.0
    middle = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))
