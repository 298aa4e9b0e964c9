"""Real `steepest` processes that train in real workers, and trainings that take a moment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TINY: dict[str, Any] = {"recipe": "lab", "model": "mlp", "epochs": 1, "threads": 1}
"""Options of a training that takes a moment: points, or the digits, through a small dense network."""
COMMAND = ["--recipe", "lab", "--model", "mlp", "--epochs", "1", "--threads", "1"]
"""The same for the command line."""


@contextlib.contextmanager
def started(arguments, folder, **surroundings):
    """A real `steepest` process in a group of its own, which is ended with all that it began."""
    command = [sys.executable, "-m", "steepest", *map(str, arguments)]
    settings = {"OMP_NUM_THREADS": "1", **surroundings}
    process = subprocess.Popen(
        command,
        cwd=folder,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's background ignores it
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def workers_of(process):
    """The ids of a study's worker processes."""
    try:
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    except OSError:
        return []


def until(true, most_s=60.0):
    """Waits until something is true, and gives it."""
    latest = time.monotonic() + most_s
    while not (found := true()):
        assert time.monotonic() < latest, "it never came true"
        time.sleep(0.005)
    return found
