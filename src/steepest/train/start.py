"""One training from asking to result: load, adapt, build, fit, evaluate once, and lay down the run folder."""

from __future__ import annotations

import contextlib
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from .. import data as data_room
from ..data.batches import Batches
from ..data.dataset import Dataset
from ..mistake import Failure, Interrupted, Mistake
from ..models.summary import summary
from ..recipe import Recipe
from ..run import Run, writing
from ..techniques.parallel.async_sgd import AsyncSgd
from . import checkpoint, distributed, machine, plan, server, trained, watch
from .adapt import adapt, sized
from .build import build
from .clock import Clock
from .evaluate import Scores, evaluate
from .loop import diverged, fit
from .pace import BySteps, ByTime
from .request import Request, ask, check
from .training import EVALUATE, Training
from .watch import FILE, INTERRUPTED, Told, Watcher, progress_bar


def train(
    data: str | Path = "digits", *, recipe: str | Path | Recipe = "quick", show: bool = False, **options: Any
) -> Run:
    """Trains, evaluates once on the test set, and gives the run, whose folder stands alone.

    data: a known set's name, or a folder with one sub-folder a class. options: fields of `Recipe` or of `Request`
    (`seed`, `time_s`, `target`, `device`, `threads`, `data_dir`, `out`, …), and `use`, `drop`, `sets` as lists of
    text. show: a progress bar on standard error. Raises Mistake for anything wrong with what was asked, Failure where
    the training itself fails.
    """
    return begin(*ask(data, recipe, **options), show=show)


def begin(
    recipe: Recipe,
    request: Request,
    *,
    clock: Clock | None = None,
    show: bool = False,
    told: Told | None = None,
    dataset: Dataset | None = None,
) -> Run:
    """A new training of a checked recipe and request. told: hears of each measurement, and may end the training.
    dataset: the data, where they are loaded already."""
    clock = clock or Clock(request.time_s)
    bar = progress_bar(show and distributed.rank() == 0)
    check_processes(recipe, request)
    with (
        distributed.joined(request.device),
        bar or contextlib.nullcontext(),
        _own_state(),
        machine.kernels_for(request) as left,
    ):
        with clock.phase("load"), distributed.in_turn():
            dataset = dataset or load(request, bar)
            recipe, notes = adapt(recipe, dataset, request)
            notes += left
        with clock.phase("prepare"):
            device = machine.prepare(request.device, request.threads)
            pace: BySteps | ByTime
            if request.time_s is not None:
                recipe, pace = plan.choose(recipe, dataset, request, clock, device)
                width = f"width {recipe.width}, " if recipe.width else ""
                notes.append(f"{request.time_s:g} s on this machine: {width}about {recipe.epochs:g} epochs")
            if "half_convolution" in request.chosen and "half" not in machine.operators(device):
                notes.append("half_convolution changes nothing: there are no compiled kernels for halves here")
            training = build(sized(recipe, dataset, request, notes), dataset, request.seed, device)
            if request.time_s is None:
                pace = BySteps(training.steps)
            run = distributed.first(lambda: lay(training, dataset, request, notes, pace))
        for note in notes if distributed.rank() == 0 else ():
            say(note, bar)
        try:
            return go_on(run, training, dataset, request, clock, pace, bar, told)
        except Mistake:
            if training.step == 0 and distributed.rank() == 0:
                run.remove()
            raise


def check_processes(recipe: Recipe, request: Request) -> None:
    """Raises Mistake for what cannot be done by as many processes as there are."""
    many = distributed.processes()
    if many > 1 and request.time_s is not None:
        raise Mistake(f"--time is for one process, but torchrun started {many}: give --epochs")
    asynchronous = [use.name for use in recipe.use if use.name in ("async_sgd", "dc_asgd")]
    if asynchronous and many == 1:
        raise Mistake(f"{asynchronous[0]} needs a server and workers: torchrun --nproc-per-node 3 -m steepest train …")


def resume(path: Path | str, *, show: bool = False, told: Told | None = None, dataset: Dataset | None = None) -> Run:
    """Goes on from a run's last checkpoint; on the same CPU and threads the end is byte-equal to a run never stopped.

    A finished run is given as it is. Data that changed since are refused. told, dataset: as in `begin`.
    """
    run = Run.open(path)
    if run.done:
        return run
    try:
        request = Request(**run.read("run.json")["request"])
        threads, begun = int(run.read("run.json")["threads"]), run.read("data.json")["fingerprint"]
        limits = run.read("run.json")["pace"]
        begun_on = torch.device(run.read("run.json")["device"]).type
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise Mistake(f"the run {run.path} is damaged: its run.json or data.json lacks or holds {error}") from error
    check(run.recipe)
    if int(run.read("run.json").get("processes", 1)) != distributed.processes():
        many = run.read("run.json")["processes"]
        alone = "steepest resume" if many == 1 else f"torchrun --nproc-per-node {many} -m steepest resume"
        raise Mistake(f"the run was begun by {many} processes, not {distributed.processes()}: {alone} {run.path}")
    first = distributed.rank() == 0
    bar = progress_bar(show and first)
    with (
        distributed.joined(begun_on),
        bar or contextlib.nullcontext(),
        _own_state(),
        machine.kernels_for(request),
    ):
        saved = checkpoint.load(run.path / FILE) if (run.path / FILE).exists() else None
        parts = {"training", "clock", *(["pace"] if request.time_s else [])}
        if saved is not None and not (isinstance(saved, dict) and parts <= saved.keys()):
            raise Mistake(f"{run.path / FILE} is damaged: it does not fit this run's request")
        clock = Clock(request.time_s)
        if saved:
            clock.load_state(saved["clock"])
        with clock.phase("load"), distributed.in_turn():
            dataset = dataset or load(request, bar)
            if dataset.fingerprint != begun:
                raise Mistake(f"the data {request.data} are not those that the run {run.path} began with")
        with clock.phase("prepare"):
            device = machine.prepare(begun_on, threads)
            training = build(run.recipe, dataset, request.seed, device)
            if saved:
                training.load_state(saved["training"])
            training.curve = distributed.first(lambda: run.rewind(training.step))
            pace: BySteps | ByTime = BySteps(training.steps)
            if request.time_s is not None:
                pace = ByTime(clock, **(saved["pace"] if saved else limits))
        return go_on(run, training, dataset, request, clock, pace, bar, told)


def load(request: Request, bar: Any = None) -> Dataset:
    """The data that was asked for."""
    folder = Path(request.data_dir) if request.data_dir else None
    tasks: dict[str, Any] = {}

    def progress(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total, figures="")
        bar.update(tasks[what], completed=done, total=total)

    return data_room.load(request.data, data_dir=folder, progress=progress if bar else None, seed=0)


def lay(training: Training, dataset: Dataset, request: Request, notes: list[str], pace: BySteps | ByTime) -> Run:
    """A new run folder with all that is known before the first step; it appears whole or not at all."""
    draft = Run.draft(Path(request.out))
    data_name = Path(dataset.name).name.partition(":")[0].encode()[:100].decode(errors="ignore")
    try:
        describe(draft, training, dataset, request, notes, pace)
        return draft.rename(request.run_name or f"{data_name}-{training.recipe.name}-seed{request.seed}")
    except BaseException:
        draft.remove()
        raise


def describe(
    draft: Run, training: Training, dataset: Dataset, request: Request, notes: list[str], pace: BySteps | ByTime
) -> None:
    """Writes what is known before the first step: the recipe, the data, the surroundings and what was asked for."""
    batches = training.batches
    with writing(draft.path / "recipe.toml") as temporary:
        temporary.write_text(training.recipe.to_toml(), encoding="utf-8")
    mean, std = batches.statistics
    draft.write(
        "data.json",
        {
            "data": dataset.name,
            "source": dataset.source,
            "fingerprint": dataset.fingerprint,
            "task": dataset.task,
            "classes": list(dataset.classes),
            "train": len(batches),
            "val": len(training.validation) if training.validation else 0,
            "test": len(dataset.test) if dataset.test else 0,
            "shape": list(dataset.train.images.shape[1:]),
            "mean": [float(x) for x in mean.reshape(-1)],
            "std": [float(x) for x in std.reshape(-1)],
            "skipped": list(dataset.skipped),
        },
    )
    draft.write("environment.json", machine.environment())
    draft.write(
        "run.json",
        {
            "request": request.as_dict(),
            "device": str(training.device),
            "operators": machine.operators(training.device),
            "threads": torch.get_num_threads(),
            "processes": distributed.processes(),
            "command": shlex.join(["steepest", *sys.argv[1:]]) if "steepest" in sys.argv[0] else None,
            "pace": pace.state() if isinstance(pace, ByTime) else {},
            "notes": notes,
        },
    )


def go_on(
    run: Run,
    training: Training,
    dataset: Dataset,
    request: Request,
    clock: Clock,
    pace: BySteps | ByTime,
    bar: Any,
    told: Told | None,
) -> Run:
    """Trains to the end in this process's part: the first one keeps the run, others only compute."""
    with distributed.together(f": {distributed.again(run.path)} goes on with it"):
        distributed.align(training.model)
        if distributed.rank() == 0:
            with run.alone():
                return finish(run, training, dataset, request, clock, pace, bar, told)
        with watch.deaf():
            if isinstance(training.parallel, AsyncSgd):
                server.work(training, pace)
            else:
                fit(training, pace, watch.Blind())
        return run


def finish(
    run: Run,
    training: Training,
    dataset: Dataset,
    request: Request,
    clock: Clock,
    pace: BySteps | ByTime,
    bar: Any,
    told: Told | None,
) -> Run:
    """Trains to the end, evaluates once on the test set, writes model and result."""
    watcher = Watcher(run, request, clock, pace, bar, told, step=training.step)
    with watcher.listening():
        if not (run.path / FILE).exists():
            watcher.save(training)
        with clock.phase("train"):
            served = isinstance(training.parallel, AsyncSgd)
            reason = server.serve(training, pace, watcher) if served else fit(training, pace, watcher)
        model = trained.save(run.path / trained.FILE, training)
        if reason == INTERRUPTED:
            watcher.save(training)
            raise Interrupted(f"stopped at step {training.step} of {run.path}: {distributed.again(run.path)} goes on")
        with clock.phase("evaluate"):
            scores = test(training, model, dataset) if request.test else None
            if scores and not math.isfinite(scores.loss):
                raise Failure(diverged(training, scores.loss, "test loss"))
        run.write("result.json", result(run, training, dataset, request, clock, scores) | {"ended": reason})
        (run.path / FILE).unlink(missing_ok=True)
    return run


def test(training: Training, model: torch.nn.Module, dataset: Dataset) -> Scores | None:
    """The scores on the test split, or None where the data have none."""
    if dataset.test is None:
        return None
    held = Batches(
        dataset.test,
        torch.arange(len(dataset.test)).numpy(),
        training.batches.statistics,
        batch_size=EVALUATE,
        resolution=training.recipe.resolution,
        device=training.device,
        shuffle=False,
    )
    return evaluate(training.prepared(model), held, training.infer, F.cross_entropy if training.classes else F.mse_loss)


def result(
    run: Run, training: Training, dataset: Dataset, request: Request, clock: Clock, scores: Scores | None
) -> dict[str, Any]:
    """The figures of a finished run, as `train --json` prints them."""
    counted = summary(training.model, training.shape)
    curve, times = training.curve, clock.times()
    images = training.step * min(training.recipe.batch_size, len(training.batches))
    return {
        "run": str(run.path),
        "data": dataset.name,
        "recipe": training.recipe.name,
        "model": str(training.recipe.model),
        "width": training.recipe.width,
        "resolution": training.shape[-1] if len(training.shape) == 3 else None,
        "seed": request.seed,
        "device": str(training.device),
        "threads": torch.get_num_threads(),
        "epochs": round(training.epoch, 4),
        "steps": training.step,
        "train_accuracy": curve.last("train_accuracy"),
        "train_loss": curve.last("train_loss"),
        "val_accuracy": curve.last("val_accuracy"),
        "val_loss": curve.last("val_loss"),
        "test_accuracy": scores.accuracy if scores else None,
        "test_loss": scores.loss if scores else None,
        "test_n": scores.n if scores else 0,
        "params": counted.params,
        "flops_per_image": counted.flops_per_image,
        "time_s": times,
        "images_per_s": round(images / max(1e-9, times["train"]), 1),
    }


def say(sentence: str, bar: Any = None) -> None:
    """A sentence for the person, on standard error."""
    if bar:
        bar.console.print(sentence)
    else:
        print(sentence, file=sys.stderr)


@contextlib.contextmanager
def _own_state() -> Any:
    """Within, torch's generator, threads and handling of subnormal numbers are the training's own; after, as before."""
    threads, flushed = torch.get_num_threads(), float.fromhex("0x1p-1074") == 0
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushed)
