"""The commands that use what there is: evaluate, predict, export, and those about data."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_show import printable, show_card, show_json, show_rows
from .mistake import Mistake

Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object.")]
DataDir = Annotated[Path | None, typer.Option(help="Where known data sets are kept.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Network = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a model.safetensors.")]

MOST_CLASSES = 20
"""Classes of a confusion matrix that is still printed for people."""

data = typer.Typer(help="Known data sets, and what a folder holds.", no_args_is_help=True)


class Split(StrEnum):
    """What to evaluate on."""

    test = "test"
    val = "val"
    train = "train"
    all = "all"


class Form(StrEnum):
    """What to export to."""

    onnx = "onnx"
    torchscript = "torchscript"
    safetensors = "safetensors"


def evaluate(
    run: RunFolder,
    data: Annotated[str | None, typer.Argument(help="Other data with the same classes; the run's own else.")] = None,
    split: Annotated[Split, typer.Option(help="Which images; all: every one there is.")] = Split.test,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Tell how good a run's network is: accuracy with its 95 % interval, by class, and its worst mistakes."""
    from .train import machine
    from .train.assess import assess

    device = machine.prepare("auto", None)
    with progress(not as_json) as told:
        found = assess(run, data, split=split.value, data_dir=data_dir, device=device, progress=told).as_dict()
    if as_json:
        return show_json(found)
    where = f"{found['split']} split of {found['data']}" if split != Split.all else f"all of {found['data']}"
    if found["accuracy"] is None:
        return print(f"loss (mean squared error) {found['loss']:.4f} (n={found['n']}) on the {where}")
    interval = f"95 % interval {found['low']:.2%} to {found['high']:.2%}"
    print(f"accuracy {found['accuracy']:.2%} (n={found['n']}, {interval}), loss {found['loss']:.4f}, on {where}\n")
    show_rows(found["classes"], ("name", "n", "precision", "recall", "f1"), False, "classes")
    names = [row["name"] for row in found["classes"]]
    if len(names) <= MOST_CLASSES:
        print("\nconfusion: a row a true class, a column what it was taken for")
        pairs = zip(names, found["confusion"], strict=True)
        show_rows([{"": name} | dict(zip(names, row, strict=True)) for name, row in pairs], ("", *names), False, "")
    print("\nmost confident mistakes")
    place = ("file",) if any(row["file"] for row in found["mistakes"]) else ("split", "row")
    show_rows(found["mistakes"][:10], (*place, "true", "predicted", "probability"), False, "mistakes")
    return None


def predict(
    run: Network,
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Image files, or folders of them.")],
    top: Annotated[int, typer.Option(help="How many classes to name for each.")] = 3,
    as_json: Json = False,
) -> None:
    """Name the most probable classes of image files."""
    from .train import machine
    from .train.trained import load

    device = machine.prepare("auto", None)
    good, bad = [], []
    for one in load(run, device).predict(files, top):
        if one.problem is None:
            good.append((str(one.file), one.classes))
        else:
            bad.append({"file": str(one.file), "reason": one.problem})
            print(f"left out: {printable(one.problem)}", file=sys.stderr)
    if not good:
        raise Mistake(f"none of {len(bad)} files can be predicted: {bad[0]['reason']}")
    if as_json:
        told = [
            {"file": file, "classes": [{"name": name, "probability": probability} for name, probability in classes]}
            for file, classes in good
        ]
        return show_json({"predictions": told, "left_out": bad})
    ranks = [str(rank) for rank in range(1, 1 + len(good[0][1]))]
    cells = [[f"{name} {probability:.1%}" for name, probability in classes] for _, classes in good]
    rows = [{"file": file} | dict(zip(ranks, row, strict=True)) for (file, _), row in zip(good, cells, strict=True)]
    return show_rows(rows, ("file", *ranks), False, "predictions")


def export(
    run: Network,
    to: Annotated[Form, typer.Option(help="The form of the file.")],
    out: Annotated[Path | None, typer.Option(help="A file or a folder; by default the run folder.")] = None,
    as_json: Json = False,
) -> None:
    """Write a run's network as a file for other programs, checked to compute the same."""
    from .train.export import export

    place = export(run, to.value, out)
    if as_json:
        return show_json({"file": str(place), "to": to.value, "bytes": place.stat().st_size})
    return print(place)


@data.command("list", epilog="Example: steepest data list")
def data_list(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the known data sets: what each is, its size, and where it lies."""
    from .data import catalogue

    entries = catalogue(data_dir)
    if as_json:
        return show_json({"data": entries})
    for entry in entries:
        entry["shape"] = "×".join(str(size) for size in entry["shape"])
        entry["download"] = f"{entry['bytes'] / 1e6:.0f} MB" if entry["bytes"] else ""
        entry["place"] = entry["problem"] or entry["place"] or ("" if entry["here"] else "to be fetched")
    return show_rows(
        entries, ("name", "about", "classes", "train", "test", "shape", "download", "place"), False, "data"
    )


@data.command("fetch", epilog="Example: steepest data fetch cifar10")
def data_fetch(
    name: Annotated[str, typer.Argument(help="A known data set.")], data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Download a known data set, where it is not on this machine yet; prints its place."""
    from .data import fetch

    with progress(not as_json) as told:
        place = fetch(name, data_dir, told)
    return show_json({"name": name, "place": str(place)}) if as_json else print(place)


@data.command("info", epilog="Example: steepest data info ./photos")
def data_info(
    data: Annotated[str, typer.Argument(help="A known data set, or a folder with one sub-folder a class.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Tell what a data set or a folder holds, and what is wrong with it."""
    from .data import info

    with progress(not as_json) as told:
        found = info(data, data_dir, told)
    if as_json:
        return show_json(found)
    splits = found.pop("splits")
    for key in ("classes", "shape"):
        if key in found:
            found[key] = ("×" if key == "shape" else ", ").join(map(str, found[key])) or "none"
    show_card(found, False)
    for name, split in splits.items():
        counts = sorted(set(split["classes"].values()))
        each = "" if not counts else f", {counts[0]:,} a class" if len(counts) == 1 else ""
        each = each or (f", {counts[0]:,} to {counts[-1]:,} a class" if counts else "")
        print(f"{name + ':':<16}{split['n']:,}{each}")
    return None


@contextlib.contextmanager
def progress(show: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """A function (what, done, total) that draws a bar on standard error; None where it is no terminal or not wanted."""
    if not show or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield tell
