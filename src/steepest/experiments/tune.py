"""Tuning: settings that are better than the recipe's own, found on the validation set; the test set is seen once.

descent: one setting after another is halved or doubled (`techniques/search/coordinate_descent.py`). tpe, halving: a
space is searched by Optuna (`asks.py`). lambda: the weight of a penalty by a rule of thumb, and around it. What came of
it is in the study's result.json, and the tuned recipe in its recipe.toml.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from .. import recipes, stats, techniques
from ..mistake import Mistake, unknown
from ..recipe import Recipe, Use
from ..techniques.search import space as room
from ..techniques.search import successive_halving, tpe
from ..techniques.search.coordinate_descent import Move, descend, memory, times
from ..techniques.search.lambda_rule import lambda_rule
from . import asks, settings, winner
from .conduct import Conductor, conducting, cores, prepare
from .ledger import PRUNED
from .settings import Settings
from .study import FRESH, Study

METHODS = ("descent", "tpe", "halving", "lambda")
MEMORY: dict[str, str | None] = {
    **dict.fromkeys(("adam", "adamw", "lamb"), "beta1"),
    "schedule_free": "beta",
    **dict.fromkeys(("adagrad", "newton"), None),
}
"""Optimisers that do not use the recipe's momentum, with the setting that takes its part, if one does."""
FIRST_DECAY = 1e-4
"""Where a weight decay of 0 is first tried above it."""
AROUND = 30.0
"""By how much the default space goes up and down from the recipe's own values."""
AROUND_RULE = (0.0, 1.0, 4.0, 1 / 4, 1 / 16)
"""Weights of a penalty that are tried, as multiples of the one that the rule gives: often a smaller one is better."""


def tune(
    data: str | Path = "digits",
    *,
    recipe: str | Path | Recipe = "quick",
    method: str = "descent",
    space: Mapping[str, tuple[float, float, str] | Sequence[Any]] | None = None,
    trials: int = 20,
    seeds: int = 3,
    confirm: int = 0,
    **options: Any,
) -> Study:
    """Searches settings whose mean figure over the seeds, on the validation set, is better than the recipe's own.

    method: "descent" moves learning rate, momentum and weight decay by factors of two; "tpe" and "halving" try
    `trials` settings of a space, the recipe's own first; "lambda" sets the weight of the one penalty that is switched
    on. space: ``{"lr": (1e-3, 1.0, "log"), "momentum": (0.5, 0.99, "reverse_log"), "batch_size": [64, 128]}``; None:
    learning rate, momentum and weight decay around the recipe's own. seeds: trainings of each setting. confirm:
    trainings, with fresh seeds, of the winner and of the start each, whose difference is then told. options: as for
    `sweep`, but no `test`.

    Gives the study; its `result` is that of `winner.finish`. The same search again goes on where it was; more trials
    and seeds may be added. Raises Mistake for anything wrong with what was asked, before any work; Failure where no
    training comes to a figure.
    """
    if method not in METHODS:
        raise unknown("method", str(method), METHODS)
    if options.pop("test", False):
        raise Mistake("trials of a search leave the test set alone: the winner is measured on it once, at the end")
    _check_counts(method, space, trials, confirm)
    asked, how = prepare(f"tune-{method}", data, recipe, seeds, options)
    if not asked.figure.startswith("val_"):
        raise Mistake(
            f"settings are chosen by a figure of the validation set, val_accuracy or val_loss: got {asked.figure}"
        )
    search, vary, count = _METHODS[method](asked.recipe, space, trials)
    asked = replace(asked, kind="tune", vary={"method": method} | vary)
    _same_search(Path(how.out) / asked.name, asked.vary or {})
    if count is None and how.on == "local" and how.workers is None and how.threads is None:
        how = replace(how, workers=min(cores(), seeds))  # one setting at a time: more workers would wait
    original = recipe if isinstance(recipe, Recipe) else recipes.load(recipe)
    everything = original.val_fraction == 0 and "val_fraction" not in asked.request.chosen
    with conducting(asked, how, None if count is None else count * seeds) as conductor:
        found, start, more = search(conductor)
        winner.finish(conductor, found, start, more | {"method": method}, confirm, everything)
    return conductor.study


def _check_counts(method: str, space: Any, trials: int, confirm: int) -> None:
    if space is not None and method in ("descent", "lambda"):
        raise Mistake(
            f"{method} starts from the recipe's own values, which --set changes: a space is for tpe and halving"
        )
    if type(trials) is not int or not 1 <= trials <= 1_000_000:
        raise Mistake(f"trials is the number of settings to try, from 1: got {trials!r}")
    if type(confirm) is not int or not (confirm == 0 or 2 <= confirm <= FRESH):
        raise Mistake(f"confirm is a number of fresh seeds, from 2, or 0 for none: got {confirm!r}")


def _same_search(folder: Path, vary: Mapping[str, Any]) -> None:
    """Raises Mistake where a study of this name searches otherwise."""
    if not (folder / "study.json").is_file():
        return
    known = Study.open(folder).about["vary"]
    for name in ("method", "space", "penalty"):
        was, now = known.get(name), json.loads(json.dumps(vary.get(name)))
        if was != now:
            raise Mistake(
                f"there is a study {folder.name!r} already, whose {name} is {was!r}, not {now!r}: give another --name"
            )


Found = tuple[list[room.Trial], Settings, dict[str, Any]]
"""The settings tried, the one that it began from, and what else is to be told."""
Search = Callable[[Conductor], Found]


def _descent(recipe: Recipe, space: Any, trials: int) -> tuple[Search, dict[str, Any], None]:
    start, moves, skipped = coordinates(recipe)

    def search(conductor: Conductor) -> Found:
        maximise = conductor.study.maximise
        found = descend(partial(_measured, conductor), dict(start), moves, maximise=maximise)
        return [replace(trial, settings=_tidy(trial.settings)) for trial in found], _tidy(start), {"said": skipped}

    return search, {"start": start}, None


def coordinates(recipe: Recipe) -> tuple[dict[str, float], dict[str, Move], list[str]]:
    """Where a recipe's descent starts, how each setting moves, in order, and why any of the three is left out."""
    if recipe.lr <= 0:
        raise Mistake(f"a learning rate of {recipe.lr:g} cannot be halved or doubled: --set lr=…")
    start = {"lr": float(recipe.lr)}
    moves: dict[str, Move] = {"lr": times}
    name, why = momentum_of(recipe)
    if name:
        start[name], moves[name] = float(settings.own(recipe, name) or 0.0), memory
    start["weight_decay"], moves["weight_decay"] = float(recipe.weight_decay), _decay
    return start, moves, [why] if why else []


def momentum_of(recipe: Recipe) -> tuple[str | None, str | None]:
    """The setting that is the momentum of a recipe's optimiser; None, and why, where it has none."""
    used = recipe.optimizer
    if "momentum" in techniques.schedule(recipe.schedule, recipe.batch_size):
        return None, f"the momentum is left out: the schedule {recipe.schedule.name} sets it"
    takes_part = MEMORY.get(used.name, "momentum")
    if used.name == "hypergradient" and used.settings.get("form") == "adam":
        takes_part = None
    if not takes_part:
        return None, f"the momentum is left out: {used} has none"
    return takes_part if takes_part == "momentum" else f"{used.name}.{takes_part}", None


def _decay(value: float, factor: float) -> float | None:
    """The next weight decay; from 0 the first step up."""
    return times(value, factor) if value else FIRST_DECAY if factor > 1 else None


def _measured(conductor: Conductor, each: Settings) -> float:
    """Trains a setting with every seed, and gives its mean figure; nan where a training failed."""
    each, seeds = _tidy(each), conductor.asked.seeds
    conductor.train([(each, seed) for seed in seeds])
    return asks.value(conductor, each, seeds)


def _tidy(each: Mapping[str, Any]) -> Settings:
    """Settings without the last digits, where doubling and halving leave noise."""
    return {name: float(f"{value:.12g}") if isinstance(value, float) else value for name, value in each.items()}


def default_space(recipe: Recipe) -> room.Space:
    """Learning rate, momentum and weight decay around a recipe's own, the momentum in what it lacks to 1."""
    space: dict[str, tuple[float, float, str]] = {}
    for name, value in coordinates(recipe)[0].items():
        if name == "lr" or (name == "weight_decay" and value):
            space[name] = (value / AROUND, value * AROUND, "log")
        elif name == "weight_decay":
            space[name] = (FIRST_DECAY / AROUND, FIRST_DECAY * AROUND, "log")
        else:
            space[name] = (max(0.0, 1 - AROUND * (1 - value)), 1 - (1 - value) / AROUND, "reverse_log")
    return {name: (float(f"{low:.6g}"), float(f"{high:.6g}"), scale) for name, (low, high, scale) in space.items()}


def _asked_for(method: str, recipe: Recipe, space: Any, trials: int) -> tuple[Search, dict[str, Any], int]:
    space = default_space(recipe) if space is None else dict(space)
    room.check_space(space)
    settings.check_axes(recipe, space)
    own = {name: settings.own(recipe, name) for name in space}
    start: Settings = {name: value for name, value in own.items() if value is not None}

    def search(conductor: Conductor) -> Found:
        seeds = conductor.asked.seeds
        if method == "tpe":
            rule: asks.Rule = lambda k: tpe.sampler(seed=k, several=True)  # noqa: E731
            conductor.run(iter(asks.Asks(conductor, space, trials, seeds, start, rule)))
        else:
            rule = lambda k: room.library().samplers.RandomSampler(seed=k)  # noqa: E731
            heard = asks.pruning(conductor, successive_halving.pruner(), start)
            conductor.run(iter(asks.Asks(conductor, space, trials, seeds[:1], start, rule)), heard)
            _train_others(conductor)
        return _tried(conductor, asks.tried(conductor, seeds)), start, {}

    return search, {"space": {name: list(values) for name, values in space.items()}, "trials": trials}, trials


def _train_others(conductor: Conductor) -> None:
    """After a halving over the first seed, the other seeds of what it did not end."""
    first, *others = conductor.asked.seeds
    every = asks.tried(conductor, (first,))
    kept = [each for each in every if asks.trainings(conductor, each, (first,))[0].state != PRUNED]
    conductor.train([(each, seed) for each in kept for seed in others])


def _tried(conductor: Conductor, every: Sequence[Settings]) -> list[room.Trial]:
    """Settings in the order tried, each with its value and what it gained."""
    found: list[room.Trial] = []
    seeds, maximise = conductor.asked.seeds, conductor.study.maximise
    for each in every:
        value, first = asks.value(conductor, each, seeds), asks.trainings(conductor, each, seeds)[0]
        if stopped := first.state == PRUNED:
            value = first.figures.get(conductor.asked.figure, value)
        found.append(room.Trial(each, value, 0.0 if stopped else room.gain(value, found, maximise), stopped))
    return found


def _rule(recipe: Recipe, space: Any, trials: int) -> tuple[Search, dict[str, Any], None]:
    on = [use for use in recipe.use if techniques.names()[use.name] == "penalties"]
    if len(on) != 1:
        names = [name for name, family in techniques.names().items() if family == "penalties"]
        got = " and ".join(use.name for use in on) or "none"
        raise Mistake(f"the λ rule sets the weight of one penalty: --use one of {', '.join(names)}; got {got}")
    setting = next(iter(techniques.entry(on[0].name).card.off or {}))
    name = f"{on[0].name}.{setting}"

    def search(conductor: Conductor) -> Found:
        told = _weigh(conductor, on[0], setting)
        wanted: list[Settings] = [{name: float(f"{told['weight'] * times:.3g}")} for times in AROUND_RULE]
        conductor.train([(each, seed) for seed in conductor.asked.seeds for each in wanted])
        return _tried(conductor, wanted), wanted[0], {"rule": told}

    return search, {"penalty": name}, None


def _weigh(conductor: Conductor, use: Use, setting: str) -> dict[str, Any]:
    """The weight that the λ rule gives, from short trainings without the penalty; read where it is known."""
    study, seeds = conductor.study, list(conductor.asked.seeds)
    known = study.read("rule.json") if (study.path / "rule.json").is_file() else {}
    if known.get("seeds") == seeds:
        return known
    recipe, request = conductor.asked.recipe.drop(use.name).as_dict(), conductor.asked.request.as_dict()
    errand = {"kind": "penalty", "use": str(use), "setting": setting}
    seen = conductor.errands(
        [
            {
                "number": -1 - seed,
                "recipe": recipe,
                "request": request | {"seed": seed, "threads": conductor.threads},
                "errand": errand,
            }
            for seed in seeds
        ]
    )
    bound, size = (stats.mean([one[name] for one in seen]).mean for name in ("loss", "size"))
    weight = float(f"{lambda_rule(lambda none: size, bound=bound):.3g}")
    told = {"seeds": seeds, "weight": weight, "bound": bound, "size": size, "epochs": seen[0]["epochs"]}
    study.write("rule.json", told)
    return told


_METHODS: dict[str, Callable[[Recipe, Any, int], tuple[Search, dict[str, Any], int | None]]] = {
    "descent": _descent,
    "tpe": partial(_asked_for, "tpe"),
    "halving": partial(_asked_for, "halving"),
    "lambda": _rule,
}
