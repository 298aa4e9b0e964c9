"""What happens beside the training: curve, TensorBoard, checkpoints, progress bar, and the wish to stop."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..run import Point, Run
from . import checkpoint
from .clock import Clock
from .pace import BySteps, ByTime
from .request import Request
from .training import Training

FILE = "checkpoint.safetensors"
INTERRUPTED = "interrupted"
TARGET = "target reached"
Told = Callable[[Point], str | None]
"""Hears of each measurement; a reason ends the training."""


class Watcher:
    """Writes the curve and the checkpoints of a run, shows how it goes, and tells when it is to stop.

    A checkpoint is written every `request.checkpoint_s` seconds, but takes at most a fiftieth of the time. `step`: the
    one that a resumed run goes on from; TensorBoard forgets what it was told of later ones.
    """

    def __init__(
        self,
        run: Run,
        request: Request,
        clock: Clock,
        pace: BySteps | ByTime,
        bar: Progress | None = None,
        told: Told | None = None,
        *,
        step: int = 0,
    ) -> None:
        self.run, self.request, self.clock, self.pace, self.bar, self.told = run, request, clock, pace, bar, told
        self.saved, self.save_s, self.shown = time.monotonic(), 0.0, 0.0
        self.since, self.images, self.speed = time.monotonic(), 0, 0.0
        self.stop = threading.Event()
        self.task = bar.add_task("training", total=1.0, figures="") if bar else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(run.path), purge_step=step + 1 if step else None)

    def stepped(self, training: Training, loss: float) -> str | None:
        """After every step: shows it, and saves a checkpoint where one is due."""
        now = time.monotonic()
        self.images += training.recipe.batch_size
        if self.bar and now - self.shown > 0.1:
            self.shown = now
            self._show(training, {"loss": loss})
        if now - self.saved > max(self.request.checkpoint_s, 50 * self.save_s):
            self.save(training)
        return INTERRUPTED if self.stop.is_set() else None

    def measured(self, training: Training, point: Point) -> str | None:
        """After every measurement: adds it to the curve, and tells whether the target is reached."""
        now = time.monotonic()
        self.speed = self.images / max(1e-9, now - self.since)
        point["images_per_s"] = round(self.speed, 1)
        point["time_s"] = round(self.clock.elapsed_s, 3)
        self.images, self.since = 0, now
        self.run.append(point)
        for name, value in point.items():
            if name not in ("step", "time_s"):
                self.board.add_scalar(name.replace("_", "/", 1), value, int(point["step"]))
        if self.bar:
            self._show(training, point)
        target = self.request.target
        if target is not None and point.get("val_accuracy", 0.0) >= target:
            return TARGET
        return self.told(point) if self.told else None

    def save(self, training: Training) -> None:
        """Writes a checkpoint, whole or not at all."""
        begin = time.monotonic()
        state: dict[str, Any] = {"training": training.state(), "clock": self.clock.state()}
        if isinstance(self.pace, ByTime):
            state["pace"] = self.pace.state()
        checkpoint.save(self.run.path / FILE, state)
        self.saved = time.monotonic()
        self.save_s = self.saved - begin

    def _show(self, training: Training, point: Point) -> None:
        last = training.curve[-1] if training.curve else {}
        known = [
            f"epoch {training.epoch:.1f}",
            f"loss {point.get('loss', point.get('train_loss', float('nan'))):.3f}",
            *(f"{name[:-9]} {last[name]:.2%}" for name in ("train_accuracy", "val_accuracy") if name in last),
            *([f"{self.speed:,.0f} images/s"] if self.speed else []),
        ]
        assert self.bar is not None and self.task is not None
        self.bar.update(self.task, completed=round(self.pace.progress(training.step), 9), figures="  ".join(known))

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Within, Ctrl-C and SIGTERM stop the training at the next step; a second Ctrl-C stops at once."""
        if threading.current_thread() is not threading.main_thread():
            with contextlib.closing(self.board):
                yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self.stop.is_set():
                raise KeyboardInterrupt
            self.stop.set()

        before = {number: signal.signal(number, on_signal) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.board.close()


class Blind:
    """The watch of a process that keeps no run: it never asks to stop."""

    def measured(self, training: Training, point: Point) -> str | None:
        return None

    def stepped(self, training: Training, loss: float) -> str | None:
        return None


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM do nothing: the first process, which hears them too, ends the others."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def progress_bar(show: bool) -> Progress | None:
    """A progress bar on standard error; None where it is no terminal or is not wanted."""
    if not show or not sys.stderr.isatty():
        return None
    columns = (BarColumn(bar_width=24), TextColumn("{task.fields[figures]}"), TimeRemainingColumn(compact=True))
    return Progress(TextColumn("{task.description}"), *columns, console=Console(stderr=True), transient=False)
