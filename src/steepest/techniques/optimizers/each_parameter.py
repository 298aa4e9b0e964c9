"""Optimisers that move their groups of parameters one after another, or one parameter after another."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch


class EachGroup(torch.optim.Optimizer):
    """Calls `move_group` for every group of parameters."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step from the gradients; parameters without one stay as they are, and so does their state."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self.move_group(group)
        return loss

    @abstractmethod
    def move_group(self, group: dict[str, Any]) -> None:
        """Moves those of a group's parameters in place that have a gradient."""


class EachParameter(EachGroup):
    """Calls `move` for every parameter that has a gradient, by a rule that sees nothing of the others."""

    def move_group(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            if parameter.grad is not None:
                self.move(parameter, parameter.grad, group)

    @abstractmethod
    def move(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        """Moves a parameter in place, from its gradient and the settings of its group."""
