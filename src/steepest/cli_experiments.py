"""The commands that train many times: sweep, tune, find-lr, ablate."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from .cli_show import printable, show_comparisons, show_json, show_rows
from .cli_use import Json

Data = Annotated[str, typer.Argument(help="A known data set, or a folder with one sub-folder a class.")]
Texts = list[str] | None


class Place(StrEnum):
    """Where trainings run."""

    local = "local"
    ray = "ray"


def _shared(  # noqa: PLR0913
    recipe: Annotated[str, typer.Option(help="A recipe that ships, or a TOML or JSON file.")] = "quick",
    model: Annotated[str | None, typer.Option(help="Another network.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Epochs of each training.")] = None,
    time: Annotated[str | None, typer.Option(help="Wall time of each training, like 90s or 10m.")] = None,
    target: Annotated[float | None, typer.Option(help="Stop a training at this validation accuracy.")] = None,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    use: Annotated[Texts, typer.Option(help="Switch a technique on: name:key=value,…")] = None,
    drop: Annotated[Texts, typer.Option(help="Leave one of the recipe's techniques out.")] = None,
    set_: Annotated[Texts, typer.Option("--set", help="Change a field of the recipe: key=value.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data_dir: Annotated[str | None, typer.Option(help="Where known data sets are kept.")] = None,
    figure: Annotated[str | None, typer.Option(help="What is compared; by default val_accuracy.")] = None,
    workers: Annotated[int | None, typer.Option(help="Trainings at a time; by default found by timing.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of each training.")] = None,
    on: Annotated[Place, typer.Option(help="This machine, or a Ray cluster.")] = Place.local,
    out: Annotated[str, typer.Option(help="Receives the study's folder.")] = "studies",
    name: Annotated[
        str | None, typer.Option(help="The study's name; the same name goes on with it, and tries what died again.")
    ] = None,
    storage: Annotated[str | None, typer.Option(help="A ledger elsewhere: postgresql://…")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Begin even a very long study.")] = False,
    as_json: Json = False,
) -> None: ...


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A command with its own options and those that all studies share, which it gets as `options`."""
    shared = inspect.signature(_shared, eval_str=True).parameters
    theirs = inspect.signature(function, eval_str=True).parameters.values()
    own = [item for item in theirs if item.name not in ("options", "as_json")]

    @functools.wraps(function)
    def run(**given: Any) -> None:
        from .train.clock import seconds

        as_json, options = given.pop("as_json"), {key: given.pop(key) for key in shared if key in given}
        time = options.pop("time")
        options |= {"time_s": None if time is None else seconds(time), "on": options["on"].value, "show": not as_json}
        options |= {"sets": options.pop("set_") or (), "use": options["use"] or (), "drop": options["drop"] or ()}
        function(**given, as_json=as_json, options=options)

    named = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in (*own, *shared.values())]
    run.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in named}
    return run


@command
def sweep(  # noqa: PLR0913
    data: Data = "digits",
    grid: Annotated[Texts, typer.Option(help="An axis: lr=0.1,0.2 or label_smoothing.smoothing=0,0.1")] = None,
    range_: Annotated[Texts, typer.Option("--range", help="An axis of random draws: lr=1e-3..1")] = None,
    list_: Annotated[Texts, typer.Option("--list", help='One setting to try: "lr=0.1 batch_size=64"')] = None,
    draws: Annotated[int, typer.Option(help="Random settings, where there are ranges.")] = 20,
    seeds: Annotated[int, typer.Option(help="Trainings of each setting.")] = 1,
    test: Annotated[bool, typer.Option("--test", help="Measure each training on the test set too.")] = False,
    as_json: bool = False,
    options: Any = None,
) -> None:
    """Train every setting of a grid, of random draws or of a list, each with several seeds."""
    from .experiments import settings
    from .experiments.sweep import sweep as swept

    axes, ranges = settings.axes(grid or ()), dict(settings.range_axis(text) for text in range_ or ())
    listed = [settings.listed(text) for text in list_ or ()]
    study = swept(data, grid=axes, ranges=ranges, listed=listed, draws=draws, seeds=seeds, test=test, **options)
    show_study(study, as_json)


class Method(StrEnum):
    """How to search."""

    descent = "descent"
    tpe = "tpe"
    halving = "halving"
    lambda_ = "lambda"


@command
def tune(
    data: Data = "digits",
    method: Annotated[
        Method,
        typer.Option(
            help="descent halves or doubles one setting after another; tpe and halving search a space; "
            "lambda sets the weight of a penalty by its rule."
        ),
    ] = Method.descent,
    space: Annotated[
        Texts,
        typer.Option(help="What tpe and halving search: lr=1e-3..1, momentum=0.5..0.99:reverse_log or width=16,32"),
    ] = None,
    trials: Annotated[int, typer.Option("--trials", "--draws", help="Settings that tpe and halving try.")] = 20,
    seeds: Annotated[int, typer.Option(help="Trainings of each setting.")] = 3,
    confirm: Annotated[int, typer.Option(help="Fresh seeds to train the winner and the start with.")] = 0,
    as_json: bool = False,
    options: Any = None,
) -> None:
    """Search better settings on the validation set; the winner is measured on the test set once."""
    from .experiments import settings
    from .experiments.tune import tune as tuned

    searched = settings.space(space) if space else None
    study = tuned(data, method=method.value, space=searched, trials=trials, seeds=seeds, confirm=confirm, **options)
    result = study.read("result.json")
    if as_json:
        return show_study(study, as_json, result)
    steps = [
        step["settings"] | step | {"gain": step["gain"] or None, result["figure"]: step["value"]}
        for step in result["steps"]
    ]
    names = dict.fromkeys(name for step in result["steps"] for name in step["settings"])
    ended = ("stopped",) if any("stopped" in step for step in steps) else ()
    show_rows(steps, (*names, "n", result["figure"], "gain", *ended), False, "steps")
    for sentence in (best_of(result), *result["said"]):
        print(sentence)
    return print(f"steepest train {data} --recipe {study.path / result['recipe']}\n{study.path}")


def best_of(result: dict[str, Any]) -> str:
    """The winner of a search and what it reached, in a line."""
    found, test = result["best"], result["test_accuracy"] or result["test_loss"]
    line = " ".join(f"{name}={value}" for name, value in found["settings"].items())
    line += f": {result['figure']} {found['value']:.4f} (n={found['n']})"
    if test is None:
        return line
    ends = "" if test["low"] is None else f", 95 % {test['low']:.4f} to {test['high']:.4f}"
    name = "test_accuracy" if result["test_accuracy"] else "test_loss"
    return f"{line}, {name} {test['mean']:.4f} (n={test['n']}{ends})"


@command
def find_lr(
    data: Data = "digits",
    seeds: Annotated[int, typer.Option(help="Range tests, and short trainings of each rate.")] = 3,
    low: Annotated[float, typer.Option(help="The range test's first rate.")] = 1e-7,
    high: Annotated[float, typer.Option(help="The range test's last rate.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Steps of a range test.")] = 100,
    as_json: bool = False,
    options: Any = None,
) -> None:
    """Suggest a learning rate by range tests, and confirm it by short trainings."""
    from .experiments.find_lr import find_lr as found

    study = found(data, seeds=seeds, low=low, high=high, steps=steps, **options)
    result = study.read("result.json")
    if not as_json:
        show_study(study, as_json)
        return print("\n".join([*result["said"], f"--set lr={result['recommended']:g}"]))
    return show_study(study, as_json, result)


def show_study(study: Any, as_json: bool, more: dict[str, Any] | None = None) -> None:
    """A study's rows: all as JSON, or what is looked at as a table, the best first."""
    rows, figure = study.rows(), study.about["figure"]
    if as_json:
        return show_json({"study": str(study.path), "figure": figure, "rows": rows} | (more or {}))
    sign = -1 if study.maximise else 1
    ranked = sorted(rows, key=lambda row: sign * row[figure]["mean"] if figure in row else float("inf"))
    names = list(dict.fromkeys(name for row in rows for name in row["settings"]))
    columns = (
        *names,
        "n",
        "failed",
        figure,
        "low",
        "high",
        *(["test_accuracy"] if study.about["request"]["test"] else []),
    )
    cells = [
        row["settings"]
        | {"n": row["n"], "failed": row["failed"] or None, "train_s": row.get("train_s", {}).get("mean")}
        | {key: row.get(figure, {}).get(name) for key, name in ((figure, "mean"), ("low", "low"), ("high", "high"))}
        | {"test_accuracy": row.get("test_accuracy", {}).get("mean")}
        for row in ranked
    ]
    show_rows(cells, (*columns, "train_s"), False, "rows")
    return print(study.path)


@command
def ablate(  # noqa: PLR0913
    data: Data = "digits",
    without: Annotated[Texts, typer.Option(help="Leave out only this; may be repeated.")] = None,
    add: Annotated[Texts, typer.Option(help="Add a technique to the recipe: name:key=value,…")] = None,
    pairs: Annotated[bool, typer.Option("--pairs", help="Every two techniques together, too.")] = False,
    seeds: Annotated[int | None, typer.Option(help="Trainings of each; 5, or as many as --detect needs.")] = None,
    detect: Annotated[float | None, typer.Option(help="The difference that matters, in points, like 0.2.")] = None,
    sequential: Annotated[bool, typer.Option("--sequential", help="Stop each comparison once it is decided.")] = False,
    test: Annotated[bool, typer.Option("--test", help="Tell the test set's differences too.")] = False,
    as_json: bool = False,
    options: Any = None,
) -> None:
    """Tell what each technique of a recipe buys, in points and in seconds, by leaving it out."""
    from .experiments.ablate import ablate as ablated

    changes: dict[str, Any] = {"without": without or (), "add": add or (), "pairs": pairs}
    study = ablated(data, **changes, seeds=seeds, detect=detect, sequential=sequential, test=test, **options)
    found = study.read("result.json")
    if as_json:
        for sentence in found["warnings"]:
            print(f"steepest: {printable(sentence)}", file=sys.stderr)
        return show_json({"study": str(study.path), "rows": study.rows(), **found})
    show_comparisons(found)
    return print(study.path)
