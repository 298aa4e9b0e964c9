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


os.environ.setdefault("GOMP_SPINCOUNT", "5000")
"""Threads that wait for each other spin only briefly, then sleep, so that another busy program on the machine does not
slow the training many times over. OpenMP reads it when torch is loaded: a program that loads torch first keeps its own
setting."""


class _Room(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Run:
        from .start import train

        return train(*args, **options)


sys.modules[__name__].__class__ = _Room
