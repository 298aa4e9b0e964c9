"""The bare PyTorch loop that bench/lanes.py has run by other processes: they import it, so it stands by itself."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from steepest import data
from steepest.data.dataset import Dataset

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


@dataclass(frozen=True)
class Network:
    """hidden: layer sizes with hyphens between. epochs of whole batches; SGD has momentum 0.9."""

    data: str
    hidden: str
    activation: str
    batch_size: int
    epochs: int
    optimizer: str = "sgd"


@functools.cache
def loaded(name: str) -> Dataset:
    return data.load(name, seed=0)


@functools.cache
def tensors(name: str) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """The training and the validation rows, normalised, as a bare loop has them: in memory before it begins."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    split = loaded(name).train
    rows = torch.from_numpy(np.array(split.images)).float().flatten(1)
    rows, targets = (rows - rows.mean(0)) / rows.std(0).clamp(min=1e-3), torch.from_numpy(split.targets)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(rows)))
    held, kept = order[: len(rows) // 10], order[len(rows) // 10 :]
    return (rows[kept], targets[kept]), (rows[held], targets[held])


def trained(case: Network, lr: float, seed: int) -> float:
    """One training by a bare loop; gives its accuracy."""
    (x, y), (held, wanted) = tensors(case.data)
    torch.manual_seed(seed)
    sizes = [x.shape[1], *map(int, case.hidden.split("-"))]
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), ACTIVATIONS[case.activation]())]
    model = nn.Sequential(*layers, nn.Linear(sizes[-1], len(loaded(case.data).classes)))
    more = {"momentum": 0.9} if case.optimizer == "sgd" else {}
    optimizer = OPTIMIZERS[case.optimizer](model.parameters(), lr=lr, **more)
    correct = 0.0
    for _ in range(case.epochs):
        order = torch.randperm(len(x))
        for low in range(0, len(x) - case.batch_size + 1, case.batch_size):
            places = order[low : low + case.batch_size]
            loss = F.cross_entropy(model(x[places]), y[places])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            scores = model(held)
            float(F.cross_entropy(scores, wanted))
            correct = float((scores.argmax(1) == wanted).float().mean())
    return correct
