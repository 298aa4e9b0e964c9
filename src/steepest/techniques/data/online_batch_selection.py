"""Spends the middle of the training on the images that the network itself finds hardest, by its loss on each when it
last saw it.

Formula: an epoch is κN of the N training images, κ = `keep`. One that begins at progress t with a ≤ t < b (a = `start`,
b = `end`) has the (1 - ρ)κN images with the greatest last known loss, images not yet seen first, and ρκN of the others
at random, ρ = `random_share`. Before a, those seen least often; from b on, κN at random. The loss is that of the
training, of the augmented image, and costs nothing: the forward pass that trains gives it.

Source: I. Loshchilov, F. Hutter, Online batch selection for faster training of neural networks, 2015, arXiv 1511.06343
(last known losses); K. Jordan, 2024, https://github.com/KellerJordan/cifar10-airbench, airbench96_faster (the hardest
half); Z. Qin et al., InfoBatch, 2023, arXiv 2303.04947 (all images again at the end).

Differs: the first source draws by rank, with a probability that falls exponentially, and renews all losses from time to
time; the second takes the losses of a small network trained beside; the third rescales gradients.

Helps: where epochs are dear and most images are learnt early: what the forward and backward passes of those would have
cost goes to the others.

Hurts: with wrong labels, which stay the hardest; where the loss is to be calibrated, for the network sees hard images
more often than they are. An epoch has fewer steps: ask for more epochs. Only one process can train with it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from ...mistake import Mistake
from ..card import Card

if TYPE_CHECKING:
    from ...data.batches import Batches

CARD = Card(
    off={"keep": 1.0},
    place="order",
    clashes=("parallel",),
    allows={"keep": "(0, 1]", "random_share": "[0, 1]", "start": "[0, 1]", "end": "[0, 1]"},
)
Indices = npt.NDArray[np.int64]


def online_batch_selection(
    batches: Batches,
    *,
    keep: float = 0.5,
    random_share: float = 0.1,
    start: float = 0.4,
    end: float = 0.9,
) -> Batches:
    """The batches in epochs of a share of the images, chosen as the training goes.

    keep: in (0, 1]; 1 changes nothing. random_share: in [0, 1]. start, end: progress, in [0, 1] and in this order.
    Raises Mistake (a ValueError) outside.
    """
    CARD.check(keep=keep, random_share=random_share, start=start, end=end)
    if start > end:
        raise Mistake(f"online_batch_selection: start must be at most end: got {start} and {end}")
    if keep == 1:
        return batches
    if batches.streamed:
        raise Mistake("online_batch_selection needs images that fit in memory: these are streamed from the disk")
    return replace(batches, order=Hardest(len(batches), random_share, start, end), share=keep)


class Hardest:
    """The order of the epochs, as Batches asks for it; the loop tells it the losses, which are its state."""

    def __init__(self, images: int, random_share: float, start: float, end: float) -> None:
        self.losses = np.full(images, np.inf, np.float32)
        self.views = np.zeros(images, np.int64)
        self.epoch, self.places = -1, np.zeros(0, np.int64)
        self.random_share, self.start, self.end = random_share, start, end

    def __call__(self, epoch: int, progress: float, index: Indices, count: int, random: np.random.Generator) -> Indices:
        """`count` places. The next epoch's are chosen now and kept; of an epoch that is over, any."""
        if len(index) != len(self.losses):
            raise Mistake("online_batch_selection: there are rows that were not there when the training began")
        if epoch < self.epoch:
            return random.permutation(len(index))[:count]
        if epoch > self.epoch:
            self.epoch, self.places = epoch, self.chosen(progress, count, random)
        return self.places

    def chosen(self, progress: float, count: int, random: np.random.Generator) -> Indices:
        """The places of an epoch that begins now, in random order."""
        mixed = random.permutation(len(self.losses))
        if progress >= self.end:
            return mixed[:count]
        if progress < self.start:
            return mixed[np.argsort(self.views[mixed], kind="stable")[:count]]
        hard = count - round(self.random_share * count)
        ranked = mixed[np.argsort(-self.losses[mixed], kind="stable")]
        both = np.concatenate((ranked[:hard], random.permutation(ranked[hard:])[: count - hard]))
        return random.permutation(both)

    def observe(self, first: int, losses: torch.Tensor) -> None:
        """Takes the losses (n,) of the present epoch's images from place `first` of its order on."""
        places = self.places[first : first + len(losses)]
        self.losses[places] = losses.detach().cpu().numpy()
        self.views[places] += 1

    def state_dict(self) -> dict[str, Any]:
        tensors = {name: torch.tensor(getattr(self, name)) for name in ("losses", "views", "places")}
        return {"epoch": self.epoch, **tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if len(state["losses"]) != len(self.losses):
            raise ValueError(f"it knows the losses of {len(state['losses'])} images, not of {len(self.losses)}")
        self.epoch = int(state["epoch"])
        self.losses, self.views, self.places = (state[name].numpy().copy() for name in ("losses", "views", "places"))
