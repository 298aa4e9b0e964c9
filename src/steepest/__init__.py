"""steepest trains image classifiers as fast as the machine at hand allows, and shows why a training goes as it goes.

The public names are loaded when they are first used, so that importing the package costs milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .experiments.ablate import ablate
    from .experiments.find_lr import find_lr
    from .experiments.sweep import sweep
    from .experiments.tune import tune
    from .mistake import Failure, Mistake
    from .recipe import Recipe, Use
    from .run import Run
    from .train.start import resume, train
    from .train.trained import load

__all__ = [
    "Failure",
    "Mistake",
    "Recipe",
    "Run",
    "Use",
    "ablate",
    "find_lr",
    "load",
    "resume",
    "sweep",
    "train",
    "tune",
]

_ROOMS = {
    "Failure": "mistake",
    "Mistake": "mistake",
    "Recipe": "recipe",
    "Use": "recipe",
    "Run": "run",
    "train": "train.start",
    "resume": "train.start",
    "load": "train.trained",
    "ablate": "experiments.ablate",
    "sweep": "experiments.sweep",
    "tune": "experiments.tune",
    "find_lr": "experiments.find_lr",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
