"""Compiled pooling, batch norm and activations against PyTorch's, alone and in whole networks, forward and backward.

    python bench/pointwise.py [--batch 125] [--rounds 20] [--threads 0] [--json]

Both sides get the same float32 channels_last tensors and give new ones. A figure is the seconds of one call, its clock
around the call alone; the ratio is PyTorch's time over ours. A `step` of a network is a training pass on 32×32 images,
forward and backward, with the compiled convolution on both sides.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from interleave import Rounds, interleaved, machine
from torch import nn
from torch.nn import functional as F

from steepest import kernels, models
from steepest.kernels import conv3x3, replace
from steepest.kernels.library import library
from steepest.train.machine import prepare

LAST = torch.channels_last
NETWORKS = (("speedrun", 16), ("speedrun", 32), ("speedrun", 64), ("resnet9", 16), ("resnet9", 32))


def operators() -> Iterator[tuple[str, Callable[[], nn.Module], tuple[int, int]]]:
    """What is measured: its name, how it is made, channels and side of its maps."""
    for size in ((64, 31), (256, 15), (256, 7), (16, 31), (8, 31)):
        yield "max-pool", lambda: nn.Sequential(nn.MaxPool2d(2)), size
    for size in ((64, 15), (256, 7), (256, 3), (32, 15), (16, 15), (8, 15)):
        yield "norm, GELU", partial(_norm, size[0], nn.GELU()), size
    for act in (nn.GELU("tanh"), nn.ReLU(), nn.LeakyReLU(), nn.SiLU(), nn.CELU(0.3)):
        yield f"norm, {_name(act)}", partial(_norm, 64, act), (64, 15)
    for act in (nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.CELU(0.3)):
        for size in ((24, 31), (256, 3)):
            yield _name(act), partial(nn.Sequential, act), size


def _name(act: nn.Module) -> str:
    return f"{type(act).__name__} tanh" if getattr(act, "approximate", "") == "tanh" else type(act).__name__


def _norm(channels: int, act: nn.Module) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(channels), copy.deepcopy(act))


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def forward_and_backward(made: nn.Module, size: tuple[int, int], batch: int, rounds: int) -> tuple[Rounds, Rounds]:
    x = torch.randn(batch, size[0], *size[1:] * 2).contiguous(memory_format=LAST).requires_grad_()
    sides = {"torch": made, "ours": replace.apply(copy.deepcopy(made))}
    wanted = {name: [x, *net.parameters()] for name, net in sides.items()}
    dy = torch.randn_like(made(x))

    def backward(name: str) -> float:
        y = sides[name](x)
        return seconds(lambda: torch.autograd.grad(y, wanted[name], dy))

    forward = {name: partial(seconds, partial(net, x)) for name, net in sides.items()}
    return interleaved(forward, rounds), interleaved({name: partial(backward, name) for name in sides}, rounds)


def step(name: str, width: int, batch: int, rounds: int) -> Rounds:
    """A training pass of a whole network."""
    theirs = models.build(name, classes=10, shape=(3, 32, 32), width=width)
    theirs = conv3x3.apply(theirs.to(memory_format=LAST))  # type: ignore[call-overload]
    sides = {"torch": theirs, "ours": kernels.apply(copy.deepcopy(theirs))}
    images, targets = torch.randn(batch, 3, 32, 32).contiguous(memory_format=LAST), torch.arange(batch) % 10

    def both(net: nn.Module) -> None:
        net.zero_grad(set_to_none=True)
        F.cross_entropy(net(images), targets).backward()

    return interleaved({name: partial(seconds, partial(both, net)) for name, net in sides.items()}, rounds)


def measured(batch: int, rounds: int) -> Iterator[dict[str, Any]]:
    for name, make, size in operators():
        for what, timing in zip(
            ("forward", "backward"), forward_and_backward(make(), size, batch, rounds), strict=True
        ):
            yield row(f"{name} {size[0]} @{size[1]}, {what}", timing)
    for name, width in NETWORKS:
        yield row(f"{name} {width}, step", step(name, width, batch, rounds))


def row(what: str, timing: Rounds) -> dict[str, Any]:
    medians = {f"{side}_ms": timing.median(side) * 1e3 for side in ("torch", "ours")}
    return {"what": what, **medians, "ratio": asdict(timing.ratio("torch", "ours"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=125)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch takes")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    prepare("cpu", asked.threads or torch.get_num_threads())
    torch.manual_seed(0)
    if library() is None:
        sys.exit("nothing to measure: the compiled kernels are not to be had here")
    rows = measured(asked.batch, asked.rounds)
    if asked.json:
        print(json.dumps({"machine": machine(), "batch": asked.batch, "rows": list(rows)}, ensure_ascii=False))
        return
    print(machine())
    print(f"{'what':36}{'torch ms':>9}{'ours ms':>9}  torch ÷ ours, 95 % interval")
    for one in rows:
        ratio = one["ratio"]
        print(
            f"{one['what']:36}{one['torch_ms']:9.2f}{one['ours_ms']:9.2f}"
            f"  {ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] n={ratio['n']}",
            flush=True,
        )


if __name__ == "__main__":
    main()
