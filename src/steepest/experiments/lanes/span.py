"""A span of steps that all lanes of a block go over together, and what it came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from ...data.batches import Batches

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """One part of the data: rows (N, D) uint8 or float32, to be normalised as scale·x + shift, and their targets, (N,)
    int64 classes or (N, K) float32."""

    rows: torch.Tensor
    scale: torch.Tensor
    shift: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def normalised(self, places: torch.Tensor | slice) -> torch.Tensor:
        """The rows at these places as the network sees them, (n, D)."""
        return torch.addcmul(self.shift, self.rows[places].float(), self.scale)

    @staticmethod
    def of(batches: Batches) -> Rows:
        """All rows of a part, in the order of its index; images as (C, H, W)."""
        images, repeated = batches.kept, 1
        if not batches.points:
            repeated = images[0, ..., 0].numel()
            images = images.permute(0, 3, 1, 2)
        flat = images.reshape(len(images), -1).contiguous()
        scale, shift = (row.repeat_interleave(repeated).contiguous() for row in (batches.scale, batches.shift))
        targets = batches.targets
        if targets.is_floating_point():
            targets = targets.float().view(len(targets), -1)
        return Rows(flat, scale, shift, targets.contiguous())


@dataclass(frozen=True)
class Span:
    """Steps `first` to ``first + len(order)``, counted from 0.

    order: (steps, n) places in the training rows. masks: with dropout, for each hidden layer (steps, n, units), true
    where a unit is kept. ends: the steps, counted from 1, after which figures are taken. rates: for each lane (steps,)
    multipliers of its learning rate; momenta: (steps,) or None where the lane's own holds.
    """

    first: int
    order: torch.Tensor
    masks: tuple[torch.Tensor, ...]
    ends: tuple[int, ...]
    rates: Sequence[Doubles]
    momenta: Sequence[Doubles | None]

    def __len__(self) -> int:
        return len(self.order)


@dataclass(frozen=True)
class Passed:
    """What a span came to.

    figures: (lanes, ends, 4), sums of the losses and of the correct over the rows since the last end, then over the
    validation rows. died: for each lane the step, from 0, whose loss was no number any more, and that loss; or None.
    """

    figures: Doubles
    died: list[tuple[int, float] | None]


class Stack(Protocol):
    """Lanes that are trained together. They have the places 0, 1, …; where some are dropped, the rest count anew."""

    def advance(self, span: Span) -> Passed:
        """Trains all lanes over a span. A lane whose loss is no number any more is dropped."""
        ...

    def keep(self, places: Sequence[int]) -> None:
        """Drops all lanes but these, in rising order, and packs them."""
        ...

    def state(self, place: int) -> list[torch.Tensor]:
        """A copy of a lane's parameters and running statistics, in the order of `net.floats`."""
        ...
