"""The machine: device, threads, memory allocator, and what a run records of its surroundings."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from .. import kernels
from ..kernels import library
from ..mistake import Mistake
from .request import Request, check_machine

WORTH_S = 120
"""A shorter budget is better spent on training with PyTorch's operators than half on compiling ours."""


def check(device: str, threads: int | None) -> None:
    """Raises Mistake for a device or a number of threads that this machine does not have."""
    check_machine(device, threads)
    if device == "cuda" and not torch.cuda.is_available():
        raise Mistake("device 'cuda' was asked for, but PyTorch finds no GPU on this machine: use --device cpu")


def prepare(device: str, threads: int | None) -> torch.device:
    """Sets this process up for training and gives the device. Subnormal numbers are flushed to zero."""
    check(device, threads)
    if threads is not None:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    return _found(device)


def _found(device: str) -> torch.device:
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def keep_freed_memory() -> None:
    """Tells glibc to keep freed memory instead of returning each big tensor's pages and faulting them in again.

    M_MMAP_MAX (-4) to 0, so that no tensor is mapped by itself; M_TRIM_THRESHOLD (-1) to its largest, -1. No-op
    where there is no glibc.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0)
        mallopt(-1, -1)


@contextlib.contextmanager
def kernels_for(request: Request) -> Iterator[list[str]]:
    """Within, kernels that are not compiled yet are left where the budget is too short for that; a note says so."""
    short = request.time_s is not None and request.time_s < WORTH_S and _found(request.device).type == "cpu"
    if not short or library.ready():
        yield []
        return
    with library.switched_off():
        yield [
            f"the kernels have not been compiled yet, which takes about a minute: in these {request.time_s:g} s "
            "PyTorch's operators serve; once `steepest train digits` has run, the faster ones do"
        ]


def operators(device: torch.device) -> str:
    """Whose operators compute there, as `kernels.kind` tells."""
    return kernels.kind() if device.type == "cpu" else "PyTorch's"


@functools.cache
def environment() -> dict[str, Any]:
    """The machine, the versions and the commit that a run records, found once a process."""
    packages = ("torch", "numpy", "steepest")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of the source tree that this package runs from, with ``+`` if it was changed; None when installed."""
    here = Path(__file__).parent
    if not any((parent / ".git").exists() for parent in here.parents[:4]):
        return None
    try:
        ask = ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
        return subprocess.run(ask, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
