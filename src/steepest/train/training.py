"""A training, ready to run: what the loop needs, and the state that goes on from step to step."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..data.batches import Batches
from ..mistake import Mistake
from ..recipe import Recipe
from ..run import Curve
from ..techniques.averaging.swa import refresh_statistics
from .parts import inference, uses

EVALUATE = 500
"""Images at once when evaluating: large enough to be fast, small enough to stay in cache."""


@dataclass
class Sums:
    """Running sums over the images seen since the last measurement."""

    images: int = 0
    loss: float = 0.0
    correct: float = 0.0

    def add(self, images: int, loss: float, correct: float) -> None:
        """Takes in a batch with its mean loss."""
        self.images += images
        self.loss += loss * images
        self.correct += correct


@dataclass(frozen=True)
class Schedule:
    """What changes with progress: `rate` times the base learning rate, `momentum` where the schedule sets one, `batch`
    times the recipe's batch size."""

    rate: Callable[[float], float]
    momentum: Callable[[float], float] | None = None
    batch: Callable[[float], float] = lambda progress: 1.0


@dataclass
class Training:
    """What the loop needs. `step` counts batches of the recipe's size from 0; `steps` is their planned number.

    autocast: the context of a forward pass. aware, told, adding: modules (and optimisers) with an attribute `progress`,
    `targets` or `added_loss`, which the loop serves.
    """

    recipe: Recipe
    seed: int
    device: torch.device
    model: nn.Module
    batches: Batches
    validation: Batches | None
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    autocast: Callable[[], contextlib.AbstractContextManager[Any]]
    scaler: torch.amp.GradScaler
    augment: list[Callable[..., Any]]
    penalties: list[Callable[..., torch.Tensor]]
    gradients: list[Callable[..., None]]
    gauges: list[Any]
    parallel: Any
    averaging: list[Any]
    stopping: list[Any]
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    step: int = 0
    sums: Sums = field(default_factory=Sums)
    curve: Curve = field(default_factory=Curve)

    def __post_init__(self) -> None:
        self.prepared, self.infer = inference(uses(self.recipe, "inference"))
        self.generator = torch.Generator(self.device)
        self.order: Any = self.batches.order
        modules: list[Any] = list(self.model.modules())
        self.aware = [part for part in (*modules, self.optimizer) if hasattr(part, "progress")]
        self.told = [module for module in modules if hasattr(module, "targets")]
        self.adding = [module for module in modules if hasattr(module, "added_loss")]

    @property
    def steps(self) -> int:
        """The number of steps that the recipe asks for: its epochs, but at least its min_steps."""
        return max(1, round(self.recipe.epochs * self.batches.steps), self.recipe.min_steps)

    @property
    def epoch(self) -> float:
        """Epochs done so far, with the fraction."""
        return self.step / self.batches.steps

    def reseed(self) -> None:
        """Makes everything random in this step a function of seed, step and process, so that a resume needs no state.

        `generator` is alike in all processes, torch's own differs: what layers draw is for a share of the batch.
        """
        digest = hashlib.blake2b(f"{self.seed} {self.step}".encode(), digest_size=8).digest()
        value = int.from_bytes(digest, "little") >> 1
        self.generator.manual_seed(value)
        torch.manual_seed(value + self.parallel.rank)

    def finished_model(self) -> nn.Module:
        """The network to be evaluated and kept: a copy, with the averaged weights where an averaging is on."""
        finished = copy.deepcopy(self.model)
        averages = [part for part in (*self.averaging, self.optimizer) if hasattr(part, "copy_to")]
        for average in averages:
            average.copy_to(finished)
            if images := getattr(average, "refresh", 0):
                refresh_statistics(finished, self._some(images))
        return finished.eval()

    def _some(self, images: int) -> Iterator[torch.Tensor]:
        """Batches of training images, in the order of the first epoch, until there are `images` of them or no more."""
        left = images
        for batch, _ in self.batches.epoch(0):
            yield batch[:left]
            left -= len(batch)
            if left <= 0:
                return

    def state(self) -> dict[str, Any]:
        """All that goes on from step to step, as nested plain data and tensors."""
        return {
            "step": self.step,
            "sums": vars(self.sums).copy(),
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "averaging": [average.state_dict() for average in self.averaging],
            "gauges": [gauge.state_dict() for gauge in self.gauges],
            "scaler": self.scaler.state_dict(),
            "order": self.order.state_dict() if hasattr(self.order, "state_dict") else {},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Puts a state back; one of another network or recipe is a Mistake."""
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            for average, saved in zip(self.averaging, state["averaging"], strict=True):
                average.load_state_dict(saved)
            for gauge, saved in zip(self.gauges, state["gauges"], strict=True):
                gauge.load_state_dict(saved)
            self.scaler.load_state_dict(state["scaler"])
            if hasattr(self.order, "load_state_dict"):
                self.order.load_state_dict(state["order"])
            self.step, self.sums = int(state["step"]), Sums(**state["sums"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            why = " ".join(str(error).split())
            raise Mistake(f"the checkpoint does not fit this run's recipe: {why}") from error
