"""How hard each training image is, as a small network finds it that is trained for a few epochs beforehand.

The network is a proxy for the one to be trained: two convolutions of stride two with group norm, then a linear layer
(points: a hidden layer of 64). It sees the training rows without augmentations, and each row's loss after its training
is the row's hardness. It is a function of the batches and their seed alone; no random state is read or changed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from ...data.batches import Batches

BATCH, EVALUATE, RATE, DECAY = 64, 500, 0.01, 1e-3
WIDTHS = 32, 64
Scores = npt.NDArray[np.float32]


def losses(batches: Batches, classes: int, epochs: int = 3) -> Scores:
    """The proxy's loss on each row of `batches.index`, (N,) float32: cross-entropy, or squared error where K is 0."""
    plain = replace(batches, pixels=(), whole=False, order=None, share=1.0)
    training = replace(plain, batch_size=BATCH, shuffle=True)
    with torch.enable_grad():
        model = _trained(training, classes, epochs)
    with torch.no_grad():
        rows = replace(plain, batch_size=EVALUATE, shuffle=False).epoch(0)
        found = [_losses(model(images), targets).cpu() for images, targets in rows]
    return torch.cat(found).numpy() if found else np.zeros(0, np.float32)


def ranks(scores: npt.NDArray[Any], groups: npt.NDArray[Any] | None = None) -> npt.NDArray[np.float64]:
    """The share of rows that are easier, (N,) in [0, 1): of all rows, or of those of the same group. Ties go by row."""
    found = np.empty(len(scores))
    groups = np.zeros(len(scores), np.int64) if groups is None else groups
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        found[rows[np.argsort(scores[rows], kind="stable")]] = (np.arange(len(rows)) + 0.5) / len(rows)
    return found


def _trained(batches: Batches, classes: int, epochs: int) -> nn.Module:
    generator = torch.Generator().manual_seed(batches.seed)
    steps = epochs * batches.steps
    model, optimizer = None, None
    step = 0
    for epoch in range(epochs):
        for images, targets in batches.epoch(epoch):
            if model is None or optimizer is None:
                model = network(tuple(images.shape[1:]), max(1, classes), generator).to(images.device)
                optimizer = torch.optim.AdamW(model.parameters(), weight_decay=DECAY)
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps)
            optimizer.zero_grad(set_to_none=True)
            _losses(model(images), targets).mean().backward()
            optimizer.step()
            step += 1
    assert model is not None
    return model.eval()


def _losses(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if targets.is_floating_point():
        return (outputs.view(targets.shape) - targets).square().view(len(targets), -1).mean(1)
    return F.cross_entropy(outputs, targets, reduction="none")


def network(shape: tuple[int, ...], outputs: int, generator: torch.Generator) -> nn.Sequential:
    """The proxy for inputs of `shape`, (C,H,W) or (D,), its weights drawn from a generator on the CPU (He normal)."""
    made: list[nn.Module]
    if len(shape) == 1:
        made = [_layer(nn.Linear, shape[0], WIDTHS[1]), nn.ReLU()]
    else:
        made, channels = [], shape[0]
        for width in WIDTHS:
            convolution = _layer(nn.Conv2d, channels, width, kernel_size=3, stride=2, padding=1, bias=False)
            made += [convolution, nn.GroupNorm(8, width), nn.ReLU()]
            channels = width
        made += [nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    features = WIDTHS[1] * (4 if len(shape) > 1 else 1)
    model = nn.Sequential(*made, _layer(nn.Linear, features, outputs))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                nn.init.kaiming_normal_(parameter, generator=generator)
    return model.to(memory_format=torch.channels_last) if len(shape) > 1 else model  # type: ignore[call-overload]


def _layer(kind: type[nn.Module], *sizes: int, **settings: Any) -> nn.Module:
    """A layer whose weights take nothing from torch's generator; its bias is zero."""
    layer: nn.Module = nn.utils.skip_init(kind, *sizes, **settings)
    if isinstance(bias := getattr(layer, "bias", None), torch.Tensor):
        nn.init.zeros_(bias)
    return layer
