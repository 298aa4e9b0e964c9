"""Training: one loop, from a recipe and a data set to a run folder. Importing this loads no torch.

The room itself can be called: ``steepest.train("digits")`` is `steepest.train.start.train`.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..run import Run


os.environ.setdefault("OMP_WAIT_POLICY", "passive")
"""Threads that wait for each other sleep instead of spinning, so that another program on the machine does not slow the
training manyfold. OpenMP reads it when torch is loaded: a program that loads torch first keeps its own policy."""


class _Room(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Run:
        from .start import train

        return train(*args, **options)


sys.modules[__name__].__class__ = _Room
