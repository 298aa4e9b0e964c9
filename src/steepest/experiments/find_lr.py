"""A learning rate to begin with: range tests with several seeds, and short trainings that confirm what they advise.

The test set has no part in it. What came of it is in the study's result.json.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import stats
from ..mistake import Failure, Mistake
from ..recipe import Recipe
from ..techniques.search import space as room
from ..techniques.search.lr_range_test import CARD
from . import asks
from .conduct import Conductor, conducting, cores, prepare
from .ledger import DONE
from .settings import Settings
from .study import Study

SHORT = 4
"""A short training is this share of the recipe's epochs, but at least one."""
APART = 4.0
"""How far apart the rates lie that are tried."""
RESULT, CURVES = "result.json", "range.json"


def find_lr(
    data: str | Path = "digits",
    *,
    recipe: str | Path | Recipe = "quick",
    seeds: int = 3,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 100,
    **options: Any,
) -> Study:
    """Suggests a learning rate for a recipe: batches, augmentation, optimiser, momentum and decay are its own.

    seeds: range tests, and short trainings of each rate. low, high: the first and the last rate of a range test, above
    0. steps: of a range test, from 10. options: as for `sweep`, but no `test`; `epochs` is that of the short trainings,
    else a quarter of the recipe's.

    Gives the study, whose result has `suggested`, the (geometric) mean over the seeds, `low` and `high`, the least and
    the greatest of them; `curves`, one a seed; `confirmed`, a row for each rate that was tried; `recommended`, the best
    of these; `agrees`, whether that is the suggested one; `difference`, of the two; and `said`, in words. The same
    again goes on where it was. Raises Mistake for anything wrong with what was asked, before any work; Failure where no
    range test advises anything, or no training comes to a figure.
    """
    if options.pop("test", False):
        raise Mistake("find-lr leaves the test set alone")
    CARD.check(low=low, high=high, steps=steps)
    room.whole(steps=steps)
    if not low < high or steps < 10:
        raise Mistake(f"a range test rises from low to high in 10 steps or more: got {low!r}, {high!r} and {steps!r}")
    asked, how = prepare("find-lr", data, recipe, seeds, options)
    if asked.recipe.lr <= 0:
        raise Mistake(f"a range test needs a recipe whose learning rate is above 0: got {asked.recipe.lr!r}")
    if not {"epochs", "time_s"} & {*asked.request.chosen, *(["time_s"] if asked.request.time_s else [])}:
        few = {"epochs": max(1.0, asked.recipe.epochs / SHORT), "min_steps": asked.recipe.min_steps // SHORT}
        asked = replace(asked, recipe=asked.recipe.replace(**few))
    asked = replace(asked, vary={"low": low, "high": high, "steps": int(steps)})
    if how.on == "local" and how.workers is None and how.threads is None:
        how = replace(how, workers=min(cores(), 3 * seeds))
    with conducting(asked, how) as conductor:
        curves = _curves(conductor)
        conductor.study.write(RESULT, _result(conductor, curves))
    return conductor.study


def _curves(conductor: Conductor) -> list[dict[str, Any]]:
    """The range tests, one a seed; read where they were made."""
    study, vary, seeds = conductor.study, dict(conductor.asked.vary or {}), conductor.asked.seeds
    known = study.read(CURVES) if (study.path / CURVES).is_file() else {}
    made = {one["seed"]: one for one in known.get("curves", ())} if known.get("vary") == vary else {}
    missing = [seed for seed in seeds if seed not in made]
    recipe, request = conductor.asked.recipe.as_dict(), conductor.asked.request.as_dict()
    jobs = [
        {"number": -1 - seed, "recipe": recipe, "request": request | {"seed": seed}, "errand": {"kind": "range"} | vary}
        for seed in missing
    ]
    for seed, curve in zip(missing, conductor.errands(jobs) if jobs else (), strict=True):
        made[seed] = {"seed": seed} | curve
    study.write(CURVES, {"vary": vary, "curves": list(made.values())})
    return [made[seed] for seed in seeds]


def _result(conductor: Conductor, curves: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found = [curve["suggested"] for curve in curves if curve["suggested"] is not None]
    if not found:
        ends = conductor.asked.vary or {}
        raise Failure(
            f"in none of {len(curves)} range tests from {ends['low']:g} to {ends['high']:g} did the loss fall: "
            "give --steps more, or other ends by --low and --high"
        )
    suggested = _round(math.exp(stats.mean([math.log(rate) for rate in found]).mean))
    rates = _tried(conductor, suggested)
    figure, maximise = conductor.asked.figure, conductor.study.maximise
    values = {rate: asks.value(conductor, {"lr": rate}, conductor.asked.seeds) for rate in rates}
    best = min(rates, key=lambda rate: room.loss(values[rate], maximise))
    if math.isnan(values[best]):
        raise Failure(f"no training around the suggested rate {suggested:g} came to a {figure}")
    difference = None if best == suggested else _difference(conductor, best, suggested)
    every = {rate: {"lr": rate} for rate in sorted(rates)}
    rows = conductor.study.rows(
        [one for each in every.values() for one in asks.trainings(conductor, each, conductor.asked.seeds)]
    )
    result = {
        "suggested": suggested,
        "low": min(found),
        "high": max(found),
        "recommended": best,
        "agrees": best == suggested,
        "difference": difference,
        "figure": figure,
        "confirmed": rows,
        "curves": list(curves),
    }
    return result | {"said": _said(result, len(found), len(curves))}


def _tried(conductor: Conductor, suggested: float) -> list[float]:
    """The rates of the short trainings, the suggested one first: one to either side, and on where that is better."""
    seeds, maximise = conductor.asked.seeds, conductor.study.maximise

    def trained(*rates: float) -> list[float]:
        wanted: list[tuple[Settings, int]] = [({"lr": rate}, seed) for rate in rates for seed in seeds]
        conductor.train(wanted)
        return [room.loss(asks.value(conductor, {"lr": rate}, seeds), maximise) for rate in rates]

    rates = [suggested, _round(suggested * APART), _round(suggested / APART)]
    losses = trained(*rates)
    for last, times in ((1, APART), (2, 1 / APART)):
        while losses[last] == min(losses) < losses[0] and 1e-12 < rates[last] < 1e6:
            rates.append(_round(rates[last] * times))
            losses += trained(rates[-1])
            last = len(rates) - 1
    return rates


def _difference(conductor: Conductor, best: float, suggested: float) -> dict[str, Any] | None:
    """Of the best rate and the suggested one, over the same seeds; None where the suggested one has no figure."""
    seeds, figure = conductor.asked.seeds, conductor.asked.figure
    sides = [asks.trainings(conductor, {"lr": rate}, seeds) for rate in (best, suggested)]
    if any(trial.state != DONE for side in sides for trial in side):
        return None
    return vars(stats.difference(*([trial.figures[figure] for trial in side] for side in sides)))


def _round(rate: float) -> float:
    """A rate with three digits: it is not known any better."""
    return float(f"{rate:.3g}")


def _said(result: dict[str, Any], advised: int, tests: int) -> list[str]:
    suggested, best, difference = result["suggested"], result["recommended"], result["difference"]
    said = [
        f"{advised} of {tests} range tests suggest {suggested:g}, between {result['low']:.3g} and {result['high']:.3g}"
    ]
    n = result["confirmed"][0]["n"]
    if result["agrees"]:
        said.append(f"short trainings agree: of {len(result['confirmed'])} rates it is the best (n={n} each)")
        return said
    how = "which fails"
    if difference is not None:
        by, unit = (100, " points") if result["figure"].endswith("accuracy") else (1, "")
        ends = "no interval"
        if difference["low"] is not None:
            ends = f"95 %: {by * difference['low']:+.3g} to {by * difference['high']:+.3g}"
        how = f"{result['figure']} {by * difference['difference']:+.3g}{unit} ({ends}, n={difference['n']})"
    said.append(f"short trainings disagree: {best:g} is better than {suggested:g}, {how}; it is recommended instead")
    if difference is not None and (difference["low"] is None or difference["low"] <= 0 <= difference["high"]):
        said.append("that difference may be luck: more --seeds would tell")
    return said
