"""The commands that train many times: sweep, and what is made of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from .cli_show import show_json, show_rows
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
    name: Annotated[str | None, typer.Option(help="The study's name; the same name goes on with it.")] = None,
    storage: Annotated[str | None, typer.Option(help="A ledger elsewhere: postgresql://…")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Begin even a very long study.")] = False,
    as_json: Json = False,
) -> None: ...


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A command with its own options and those that all studies share, which it gets as `options`."""
    shared = inspect.signature(_shared, eval_str=True).parameters
    own = [item for item in inspect.signature(function, eval_str=True).parameters.values() if item.name != "options"]

    @functools.wraps(function)
    def run(**given: Any) -> None:
        from .train.clock import seconds

        as_json, options = given.pop("as_json"), {key: given.pop(key) for key in shared if key in given}
        time = options.pop("time")
        options |= {"time_s": None if time is None else seconds(time), "on": options["on"].value, "show": not as_json}
        options |= {"sets": options.pop("set_") or (), "use": options["use"] or (), "drop": options["drop"] or ()}
        function(**given, as_json=as_json, options=options)

    own = [item for item in own if item.name != "as_json"]
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
