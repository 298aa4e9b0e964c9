"""The compiled 3×3 convolution against PyTorch's, layer by layer of the speedrun network: forward and both gradients.

    python bench/kernels.py [--batch 125] [--rounds 20] [--threads 0] [--width 64] [--json]

Both sides get the same float32 channels_last tensors and give new ones. A figure is the seconds of one call, its clock
around the call alone: the compiled side's includes the transform of the weights, both include the output's memory. The
ratio is PyTorch's time over ours. GFLOP/s count the operations of the direct sum, 18·N·C·K·H·W, on either side. Where a
max-pool follows, it belongs to the layer: forward on both sides, backward to PyTorch's weight gradient and to both of
ours, which read the pool's gradient as it is.

`all convolutions` is all layers together: forward, both gradients, the first layer without its input's gradient. `whole
network` is a training pass of the whole network, forward and backward, with all of PyTorch's operators and with all of
our kernels; "in half precision": our convolutions so, PyTorch's in float32.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from interleave import Rounds, interleaved, machine
from torch import nn
from torch.nn import functional as F

from steepest import kernels
from steepest.kernels import conv3x3
from steepest.kernels.library import library
from steepest.models import speedrun
from steepest.techniques.layers import half_convolution
from steepest.train.machine import prepare

LAST = torch.channels_last
PASSES = ("forward", "input gradient", "weight gradient")


@dataclass(frozen=True)
class Layer:
    """A convolution of the network: C input and K output channels, H×H pixels, padding 1; with the pool behind it."""

    c: int
    k: int
    side: int
    pool: bool

    def __str__(self) -> str:
        return f"{self.c}→{self.k} @{self.side}{', pool' if self.pool else ''}"


def layers(width: int) -> list[Layer]:
    """The 3×3 convolutions of the speedrun network on CIFAR-10, in order."""
    found: list[Layer] = []
    net = speedrun.build(10, (3, 32, 32), width).eval()
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            pool = name.endswith("conv1")
            module.register_forward_hook(
                lambda conv, given, out, pool=pool: found.append(
                    Layer(conv.in_channels, conv.out_channels, out.shape[-1], pool)
                )
            )
    with torch.no_grad():
        net(torch.zeros(1, 3, 32, 32))
    return found


def calls(layer: Layer, batch: int) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """For each pass PyTorch's call and ours, on the same tensors."""
    x = torch.randn(batch, layer.c, layer.side, layer.side).contiguous(memory_format=LAST)
    weight = torch.randn(layer.k, layer.c, 3, 3).div_(layer.c**0.5).contiguous(memory_format=LAST)
    y, which = F.conv2d(x, weight, padding=1), None
    pooled, places = F.max_pool2d(y, 2, return_indices=True) if layer.pool else (y, None)
    dy = torch.randn_like(pooled)
    if layer.pool:
        _, which = conv3x3._forward(x, weight, None, 1, pool=True, chosen=True)

    def spread() -> torch.Tensor:
        pool = [2, 2], [2, 2], [0, 0], [1, 1], False
        return torch.ops.aten.max_pool2d_with_indices_backward(dy, y, *pool, places) if layer.pool else dy

    def backward(dy: torch.Tensor, *wanted: bool) -> Any:
        ones = [1, 1]
        return torch.ops.aten.convolution_backward(dy, x, weight, [0], ones, ones, ones, False, [0, 0], 1, wanted)

    def forward() -> torch.Tensor:
        y = F.conv2d(x, weight, padding=1)
        return F.max_pool2d(y, 2) if layer.pool else y

    return {
        "forward": (forward, partial(conv3x3._forward, x, weight, None, 1, pool=layer.pool, chosen=layer.pool)),
        "input gradient": (
            partial(backward, spread(), True, False, False),
            partial(conv3x3._input_gradient, dy, weight, x.shape, 1, which),
        ),
        "weight gradient": (
            lambda: backward(spread(), False, True, False),
            partial(conv3x3._weight_gradient, x, dy, weight.shape, weight.stride(), 1, which),
        ),
    }


def timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def row(name: str, what: str, rounds: Rounds, operations: float) -> dict[str, Any]:
    return {
        "what": f"{name}, {what}",
        "torch_ms": rounds.median("torch") * 1e3,
        "ours_ms": rounds.median("ours") * 1e3,
        "torch_gflops": operations / rounds.median("torch") / 1e9,
        "ours_gflops": operations / rounds.median("ours") / 1e9,
        "ratio": asdict(rounds.ratio("torch", "ours")),
    }


def measured(batch: int, rounds: int, width: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    total = Rounds({"torch": [0.0] * rounds, "ours": [0.0] * rounds})
    operations = 0.0
    for number, layer in enumerate(layers(width)):
        for what, (theirs, ours) in calls(layer, batch).items():
            if number == 0 and what == "input gradient":
                continue
            timing = interleaved({"torch": partial(timed, theirs), "ours": partial(timed, ours)}, rounds)
            flops = 18.0 * batch * layer.c * layer.k * layer.side**2
            rows.append(row(str(layer), what, timing, flops))
            operations += flops
            for side, figures in timing.figures.items():
                total.figures[side][:] = [sum(pair) for pair in zip(total.figures[side], figures, strict=True)]
    whole = {"whole network": False} | ({"whole network in half precision": True} if conv3x3.halves(2, 2) else {})
    return [
        *rows,
        row("all convolutions", "step", total, operations),
        *(row(name, "step", network(batch, rounds, width, half), operations) for name, half in whole.items()),
    ]


def network(batch: int, rounds: int, width: int, half: bool) -> Rounds:
    """A training pass of the whole network, with PyTorch's operators and with ours; the first layers rest."""
    theirs = speedrun.build(10, (3, 32, 32), width).to(memory_format=LAST)  # type: ignore[call-overload]
    theirs.whiten.requires_grad_(False)
    ours = kernels.apply(half_convolution.apply(copy.deepcopy(theirs)) if half else copy.deepcopy(theirs))
    images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=LAST)
    targets = torch.arange(batch) % 10

    def both(net: nn.Module) -> None:
        with torch.enable_grad():
            net.zero_grad(set_to_none=True)
            F.cross_entropy(net(images), targets).backward()

    return interleaved(
        {"torch": lambda: timed(partial(both, theirs)), "ours": lambda: timed(partial(both, ours))}, rounds
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=125)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch takes")
    parser.add_argument("--width", type=int, default=speedrun.WIDTH)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    prepare("cpu", asked.threads or torch.get_num_threads())
    torch.manual_seed(0)
    if library() is None:
        sys.exit("nothing to measure: the compiled convolution is not to be had here")
    with torch.no_grad():
        rows = measured(asked.batch, asked.rounds, asked.width)
    if asked.json:
        print(json.dumps({"machine": machine(), "batch": asked.batch, "rows": rows}, ensure_ascii=False))
        return
    print(machine())
    print(f"{'what':32}{'torch ms':>9}{'ours ms':>9}{'GFLOP/s':>9}{'ours':>7}  torch ÷ ours, 95 % interval")
    for one in rows:
        ratio = one["ratio"]
        print(
            f"{one['what']:32}{one['torch_ms']:9.2f}{one['ours_ms']:9.2f}"
            f"{one['torch_gflops']:9.0f}{one['ours_gflops']:7.0f}"
            f"  {ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] n={ratio['n']}"
        )


if __name__ == "__main__":
    main()
