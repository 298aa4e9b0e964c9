"""What a network is made of: its layers with their outputs, parameters and floating-point operations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Row:
    """One layer as it ran: `output` without the batch dimension, `flops` of the forward pass of one input."""

    name: str
    kind: str
    output: tuple[int, ...]
    params: int
    flops: int


@dataclass(frozen=True)
class Summary:
    """The layers in the order in which they ran, and the whole network's totals.

    `flops_per_image` counts the forward pass's convolutions and matrix products, each multiplication and each addition
    as one; `params` is `trainable` plus `frozen`. A layer that runs more than once has a row each time, its parameters
    in the first.
    """

    rows: tuple[Row, ...]
    params: int
    trainable: int
    frozen: int
    flops_per_image: int


def summary(model: nn.Module, shape: tuple[int, ...]) -> Summary:
    """The layers of `model` for one input of `shape`, (C, H, W) or (D,).

    Runs an input of zeros in evaluation mode, without gradients, and leaves the model's modes and state as they were.
    """
    like = next(iter(model.parameters()), torch.empty(0))
    image = torch.zeros(1, *shape, dtype=like.dtype, device=like.device)
    modes = {module: module.training for module in model.modules()}
    counter = FlopCounterMode(display=False)
    rows: list[Row] = []
    seen: set[nn.Module] = set()
    before = 0

    def enter(module: nn.Module, inputs: object) -> None:
        nonlocal before
        before = counter.get_total_flops()

    def leave(name: str, module: nn.Module, output: torch.Tensor) -> None:
        params = 0 if module in seen else sum(p.numel() for p in module.parameters())
        seen.add(module)
        flops = counter.get_total_flops() - before
        rows.append(Row(name, type(module).__name__, tuple(output.shape[1:]), params, flops))

    hooks = []
    for name, module in model.named_modules():
        if next(module.children(), None) is None:
            hooks.append(module.register_forward_pre_hook(enter))
            hooks.append(module.register_forward_hook(lambda m, _, out, name=name: leave(name, m, out)))
    try:
        model.eval()
        with torch.no_grad(), counter:
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    params = sum(p.numel() for p in model.parameters())
    return Summary(tuple(rows), params, trainable, params - trainable, counter.get_total_flops())
