"""The command line: parses, calls a room, prints. Progress goes to standard error, results to standard output."""

from __future__ import annotations

import io
import json
import os
import sys
import time
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .cli_experiments import ablate, find_lr, sweep, tune
from .cli_report import compare, report
from .cli_show import printable, show_card, show_plot, show_result, show_rows, show_studies, show_technique, show_trials
from .cli_use import Json, data, evaluate, export, predict
from .mistake import Failure, Mistake
from .run import Run

HELP = "Trains image classifiers as fast as the machine at hand allows, and shows why a training goes as it goes."
app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(data, name="data")


class Device(StrEnum):
    """Where to train."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


@app.command(epilog="Example: steepest train cifar10 --time 10m")
def train(  # noqa: PLR0913
    data: Annotated[str, typer.Argument(help="A known data set, or a folder with one sub-folder a class.")] = "digits",
    recipe: Annotated[str, typer.Option(help="A recipe that ships, or a TOML or JSON file.")] = "quick",
    model: Annotated[str | None, typer.Option(help="Another network: steepest models lists them.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Exactly so many epochs.")] = None,
    time: Annotated[
        str | None, typer.Option(help="The best model within this wall time, like 90s, 10m, 1h30m.")
    ] = None,
    target: Annotated[float | None, typer.Option(help="Stop at this validation accuracy, like 0.94.")] = None,
    seed: Annotated[int, typer.Option(help="Decides everything random.")] = 0,
    use: Annotated[list[str] | None, typer.Option(help="Switch a technique on: name:key=value,…")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Leave one of the recipe's techniques out.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change a field of the recipe: key=value.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.auto,
    threads: Annotated[int | None, typer.Option(help="Processor threads; the machine's own number by default.")] = None,
    data_dir: Annotated[str | None, typer.Option(help="Where known data sets are kept.")] = None,
    out: Annotated[str, typer.Option(help="Receives the run folder.")] = "runs",
    as_json: Json = False,
) -> None:
    """Train a network, evaluate it once on the test set, and write a run folder."""
    from .train.clock import Clock, process_age, seconds
    from .train.request import ask

    budget_s = None if time is None else seconds(time)
    options: dict[str, Any] = {"seed": seed, "time_s": budget_s, "target": target, "device": device.value}
    options |= {"threads": threads, "data_dir": data_dir, "out": out}
    options |= {"model": model, "epochs": epochs, "batch_size": batch_size}
    asked = ask(data, recipe, use=use or (), drop=drop or (), sets=set_ or (), **options)
    clock = Clock(budget_s, age_s=process_age())
    from .train.start import begin

    _show(begin(*asked, clock=clock, show=not as_json), as_json)


@app.command(epilog="Example: steepest resume runs/digits-quick-seed0")
def resume(run: Annotated[Path, typer.Argument(help="A run folder.")], as_json: Json = False) -> None:
    """Go on with a run from its last checkpoint."""
    from .train import start

    _show(start.resume(run, show=not as_json), as_json)


def _show(run: Run, as_json: bool) -> None:
    """A finished run's figures, once where several processes trained it."""
    if _speaks():
        show_result(run.result, as_json)


@app.command(epilog="Example: steepest runs --out runs")
def runs(
    out: Annotated[Path, typer.Option(help="A folder of runs or of studies, or a study.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List the runs in a folder, the studies in one, or the trainings of a study."""
    if (out / "study.json").is_file():
        return show_trials(out, as_json)
    if studies := sorted(path.parent for path in out.glob("[!.]*/study.json")):
        return show_studies(studies, as_json)
    found = [Run(path.parent) for path in sorted(out.glob("[!.]*/run.json"))]
    rows = [run.result if run.done else {"run": str(run.path), "ended": None} for run in found]
    columns = ("run", "data", "recipe", "epochs", "val_accuracy", "test_accuracy", "ended")
    return show_rows(rows, columns, as_json, "runs")


@app.command(epilog="Example: steepest techniques one_cycle --plot")
def techniques(
    name: Annotated[
        str | None, typer.Argument(help="A technique, with settings where it is plotted, or a word to search for.")
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw a schedule over the training.")] = False,
    as_json: Json = False,
) -> None:
    """List the techniques by family, show one's card, or plot a schedule."""
    from . import techniques as room
    from .recipe import Use

    if plot:
        from .techniques.plot import curves

        return show_plot(curves(Use.parse(name or "")), as_json)
    if name in room.names():
        return show_technique(room.card(str(name)), as_json)
    cards = [room.card(each) for each in room.names()]
    if name is not None:
        plain = [card for card in cards if name.lower() in f"{card['name']} {card['family']} {card['summary']}".lower()]
        cards = plain or [card for card in cards if name.lower() in json.dumps(card, ensure_ascii=False).lower()]
        if not cards:
            room.entry(name)
    return show_rows(cards, ("family", "name", "summary"), as_json, "techniques")


@app.command(epilog="Example: steepest recipes speedrun94")
def recipes(
    name: Annotated[str | None, typer.Argument(help="A recipe that ships, or a file.")] = None, as_json: Json = False
) -> None:
    """List the recipes, or show one."""
    from . import recipes as room

    if name is None:
        rows = [{"name": each, "about": room.about(each).partition("\n")[0]} for each in room.names()]
        return show_rows(rows, ("name", "about"), as_json, "recipes")
    about = {"about": room.about(name)} if name in room.names() else {}
    return show_card(about | room.load(name).as_dict(), as_json)


@app.command(epilog="Example: steepest models resnet9")
def models(
    name: Annotated[str | None, typer.Argument(help="A network.")] = None,
    shape: Annotated[
        str, typer.Option(help="One input: channels×height×width, or the numbers of a point.")
    ] = "3x32x32",
    classes: Annotated[int, typer.Option(help="Classes to tell apart.")] = 10,
    width: Annotated[int | None, typer.Option(help="Channels of the first block.")] = None,
    as_json: Json = False,
) -> None:
    """List the networks, or show one's layers, shapes, parameters and FLOPs."""
    from . import models as room
    from .recipe import Use

    if name is None:
        return show_rows(room.catalogue(), ("name", "summary"), as_json, "models")
    use = Use.parse(name)
    try:
        sizes = tuple(int(size) for size in shape.replace("×", "x").split("x"))
    except ValueError:
        raise Mistake(f"--shape is written like 3x32x32, or 2 for points: got {shape!r}") from None
    room.check(use.name, shape=sizes, width=width, settings=use.settings)
    from .models.summary import summary

    found = summary(room.build(use.name, classes=classes, shape=sizes, width=width, **use.settings), sizes)
    entry = next(each for each in room.catalogue() if each["name"] == use.name)
    totals = {"params": found.params, "flops_per_image": found.flops_per_image}
    rows = [vars(row) for row in found.rows]
    if as_json:
        return show_card(entry | {"shape": list(sizes), "classes": classes, "layers": rows} | totals, as_json)
    print(entry["text"])
    show_rows(rows, tuple(rows[0]), False, "layers")
    return print(f"{found.params:,} parameters, {found.flops_per_image:,} FLOPs an image (forward)")


app.command(epilog="Example: steepest evaluate runs/digits-quick-seed0 --split val")(evaluate)
app.command(epilog="Example: steepest predict runs/photos-quick-seed0 new.jpg more/ --top 5")(predict)
app.command(epilog="Example: steepest sweep cifar10 --grid lr=0.05,0.1,0.2 --seeds 5")(sweep)
app.command(epilog="Example: steepest tune cifar10 --method tpe --space lr=1e-3..1 --trials 30 --confirm 5")(tune)
app.command(name="find-lr", epilog="Example: steepest find-lr cifar10 --recipe lab")(find_lr)
app.command(epilog="Example: steepest ablate cifar10 --recipe quick --detect 0.2")(ablate)
app.command(epilog="Example: steepest compare studies/a studies/b --margin 0.5")(compare)
app.command(epilog="Example: steepest report runs/digits-quick-seed0")(report)
app.command(epilog="Example: steepest export runs/digits-quick-seed0 --to onnx")(export)


def main() -> NoReturn:
    """Runs the command line. Status 0 done, 1 the work failed, 2 wrong usage or bad input; no traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        status = app(arguments, standalone_mode=False)
    except typer.Exit as error:
        status = error.exit_code
    except (Mistake, Failure, KeyboardInterrupt, Exception) as error:
        if debug:
            traceback.print_exc()
        status = tell(error)
    leave(status if isinstance(status, int) else 0)


def _several() -> bool:
    """Whether this process is one of several, which torchrun started."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def _speaks() -> bool:
    """Whether this process is the only one, or the first of several, which speaks for all."""
    return not _several() or os.environ.get("RANK", "0") == "0"


def leave(status: int) -> NoReturn:
    """Ends the process. One of several ends at once: tearing down a group's threads can abort it after all is done."""
    if _several():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def tell(error: BaseException) -> int:
    """Prints the sentence for an error and gives the exit status."""
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        print("steepest: stopped", file=sys.stderr)
        return 1
    wrong_usage = isinstance(error, Mistake) or getattr(error, "exit_code", 1) == 2
    if not _speaks() and isinstance(error, Mistake | Failure) and not str(error).startswith("another process"):
        time.sleep(3)  # the first process says it, and is ended as soon as this one has ended
        return 2 if wrong_usage else 1
    sentence = getattr(error, "format_message", lambda: str(error))()
    print(f"steepest: {printable(sentence)}", file=sys.stderr)
    if not isinstance(error, Mistake | Failure) and not hasattr(error, "exit_code"):
        print("steepest: this is a defect; --debug shows where", file=sys.stderr)
    return 2 if wrong_usage else 1
