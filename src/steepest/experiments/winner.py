"""The end of a search: its winner, measured anew with fresh seeds where that is asked for, and once on the test set.

The test set decides nothing here: it is looked at after the winner is known, and a study remembers that it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .. import stats
from ..mistake import Failure
from ..run import writing
from ..techniques.search import space as room
from . import asks, settings
from .conduct import Conductor
from .ledger import DONE, Trial
from .settings import Settings
from .study import FRESH

RESULT, RECIPE = "result.json", "recipe.toml"


def finish(
    conductor: Conductor,
    found: Sequence[room.Trial],
    start: Settings,
    more: Mapping[str, Any],
    confirm: int = 0,
    everything: bool = False,
) -> dict[str, Any]:
    """Writes what a search came to into the study's result.json and recipe.toml, and gives it.

    found: the settings in the order tried. start: those that it began from. more: what else is told. confirm: fresh
    seeds of winner and start. everything: whether the tuned recipe holds no images out to validate, as the original.

    It has `steps`, for each of the settings `settings`, `n`, `value` (the mean figure), `gain` over the best before,
    and `stopped` where it was ended early; `start` and `best`, with `interval` (95 %, over the seeds); `confirm`; of
    the test set `test_accuracy`, `test_loss` and `test_images`; `tested`, each look at it; and sentences in `said`.
    """
    best = room.ranked(found, conductor.study.maximise)[0]
    if math.isnan(best.value) or best.stopped:
        problems = [trial.problem for trial in conductor.known.values() if trial.problem]
        why = f"; the first: {problems[0]}" if problems else ""
        raise Failure(f"none of {len(found)} settings came to a {conductor.asked.figure}{why}")
    each = dict(best.settings)
    confirmed = _confirm(conductor, each, start, confirm) if confirm and each != start else None
    _write_recipe(conductor, each, len(found), everything)
    result = {
        **more,
        "figure": conductor.asked.figure,
        "steps": [_step(conductor, one) for one in found],
        "start": _reached(conductor, start),
        "best": _reached(conductor, each),
        "confirm": confirmed,
        "recipe": RECIPE,
        **_tested(conductor, each),
    }
    result["said"] = [*more.get("said", ()), *_said(conductor, result, len(found))]
    conductor.study.write(RESULT, result)
    return result


def _step(conductor: Conductor, one: room.Trial) -> dict[str, Any]:
    n = sum(trial.state == DONE for trial in asks.trainings(conductor, dict(one.settings), conductor.asked.seeds))
    value = None if math.isnan(one.value) else one.value
    step = {"settings": dict(one.settings), "n": n, "value": value, "gain": one.gain}
    return step | ({"stopped": True} if one.stopped else {})


def _figures(conductor: Conductor, each: Settings, seeds: Sequence[int]) -> dict[int, float]:
    """The study's figure of a setting's trainings that are done, by seed."""
    figure = conductor.asked.figure
    begun = asks.trainings(conductor, each, seeds)
    return {trial.seed: trial.figures[figure] for trial in begun if trial.state == DONE}


def _reached(conductor: Conductor, each: Settings) -> dict[str, Any]:
    values = list(_figures(conductor, each, conductor.asked.seeds).values())
    if not values:
        return {"settings": each, "n": 0, "value": None, "interval": None}
    mean = stats.mean_of(conductor.asked.figure, values)
    interval = None if mean.low is None else [mean.low, mean.high]
    return {"settings": each, "n": mean.n, "value": mean.mean, "interval": interval}


def _confirm(conductor: Conductor, each: Settings, start: Settings, count: int) -> dict[str, Any]:
    """The winner against the start, over pairs of trainings with seeds that chose nothing."""
    first = conductor.asked.seeds[0] + FRESH
    seeds = range(first, first + count)
    conductor.train([(one, seed) for seed in seeds for one in (each, start)])
    ours, theirs = (_figures(conductor, one, seeds) for one in (each, start))
    pairs = [seed for seed in seeds if seed in ours and seed in theirs]
    told: dict[str, Any] = {"seeds": list(seeds), "n": len(pairs)}
    if not pairs:
        return told | {"difference": None, "low": None, "high": None, "p": None}
    found = stats.difference([ours[seed] for seed in pairs], [theirs[seed] for seed in pairs])
    means = {
        name: stats.mean([side[seed] for seed in pairs]).mean for name, side in (("best", ours), ("start", theirs))
    }
    return told | means | {name: getattr(found, name) for name in ("difference", "low", "high", "p")}


def _write_recipe(conductor: Conductor, each: Settings, count: int, everything: bool) -> None:
    asked = conductor.asked
    tuned = settings.apply(asked.recipe, each)
    tuned = tuned.replace(name=f"{tuned.name[:54]}-tuned", **({"val_fraction": 0.0} if everything else {}))
    reached = _reached(conductor, each)
    head = f"# {asked.recipe.name}, tuned on {conductor.study.about['data']}: {asked.figure} {reached['value']:.4f} "
    head += f"(n={reached['n']}), the best of {count} settings; {RESULT} tells more.\n"
    with writing(conductor.study.path / RECIPE) as temporary:
        temporary.write_text(head + tuned.to_toml(), encoding="utf-8")


def _tested(conductor: Conductor, each: Settings) -> dict[str, Any]:
    """The winner's figures on the test set, which is looked at unless the study looked at this winner before."""
    study, seeds = conductor.study, list(conductor.asked.seeds)
    looks = study.read(RESULT)["tested"] if (study.path / RESULT).is_file() else []
    look = next((one for one in looks if one["settings"] == each and one["seeds"] == seeds), None)
    if look is None:
        look = {"settings": each, "seeds": seeds, "figures": _look(conductor, asks.trainings(conductor, each, seeds))}
        looks = [*looks, look]
    told: dict[str, Any] = {"tested": looks, "test_images": look["figures"][0]["n"]}
    for name in ("test_accuracy", "test_loss"):
        values = [one[name] for one in look["figures"] if one.get(name) is not None]
        told[name] = asdict(stats.mean_of(name, values)) if values else None
    one = told["test_accuracy"]
    if one and one["n"] == 1:  # one network: how it would do on other images
        low, high = stats.wilson(round(one["mean"] * told["test_images"]), told["test_images"])
        told["test_accuracy"] = one | {"low": low, "high": high}
    return told


def _look(conductor: Conductor, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    return conductor.errands([conductor.job(trial) | {"errand": {"kind": "test"}} for trial in trials])


def _said(conductor: Conductor, result: Mapping[str, Any], count: int) -> list[str]:
    """What a person should know before believing it."""
    best, start, confirm = result["best"], result["start"], result["confirm"]
    said = []
    if best["settings"] == start["settings"]:
        said.append(f"nothing was better than where it began, of {count} settings")
    else:
        said.append(f"the best of {count} settings looks better than it is: its {result['figure']} is partly luck")
        said.append(_fresh(conductor, confirm) if confirm else "--confirm 10 trains it and the start with fresh seeds")
        said += _too_small(conductor, result)
    if result["test_images"] == 0:
        said.append("the data have no test set")
    elif result["test_accuracy"] and result["test_accuracy"]["n"] == 1:
        said.append(f"the interval of the test accuracy is over its {result['test_images']:,} images, for one training")
    if len(result["tested"]) > 1:
        said.append(f"the test set was looked at for {len(result['tested'])} winners of this study, one after another")
    return said


def _fresh(conductor: Conductor, confirm: Mapping[str, Any]) -> str:
    if confirm["difference"] is None:
        return "with fresh seeds, no pair of trainings of the winner and of the start was done"
    figure = conductor.asked.figure
    by, unit = (100, " points") if figure.endswith("accuracy") else (1, "")
    more, less = by * abs(confirm["difference"]), "higher" if confirm["difference"] > 0 else "lower"
    ends = "no interval"
    if confirm["low"] is not None:
        ends = f"difference, 95 %: {by * confirm['low']:+.3g} to {by * confirm['high']:+.3g}"
    return (
        f"with {confirm['n']} fresh seeds the winner's {figure} is {more:.3g}{unit} {less} than the start's ({ends}): "
        "this is the difference to believe"
    )


def _too_small(conductor: Conductor, result: Mapping[str, Any]) -> list[str]:
    """A warning where the validation set is too small for what was gained."""
    best, start = result["best"], result["start"]
    trial = asks.trainings(conductor, best["settings"], conductor.asked.seeds)[0]
    run = conductor.study.run(trial)
    if run is None or start["value"] is None or result["figure"] != "val_accuracy":
        return []
    images, gained = int(run.read("data.json")["val"]), best["value"] - start["value"]
    least = stats.smallest_share_difference(images, best["value"])
    if gained >= least:
        return []
    return [
        f"it is {100 * gained:.2g} points better than the start on images of which one training sees {images:,}: "
        f"alone these tell differences of {100 * least:.2g} points or more"
    ]
