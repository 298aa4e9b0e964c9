"""The speed record's network and recipe: our training step against a plain PyTorch port, as published and eased.

    python bench/training.py [--rounds 4] [--json]

A figure is the images per second of one training step on 2000 images of 3×32×32, each side in a process of its own,
one at work at a time. The rounds are spread over the whole training, from the first layer's bias still learning to its
rest. Ours is `steepest.train.loop.step` with the recipe speedrun94, its augmentation included: "steepest" with the
port's network, as published, in float32, "speedrun94" as the recipe ships, with another network and, where the
processor has it, half precision in its convolutions. The port's step (plain_port.py) leaves out its augmentation, which
it makes an epoch at a time. "eased" is `--every-easy-fix`, "in bfloat16" its `--bfloat16`, which is left out where the
processor does not multiply such matrices faster than those of float32.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interleave import interleaved, machine

from steepest.data.dataset import Dataset, Split
from steepest.recipe import Use
from steepest.recipes import load
from steepest.train.build import build
from steepest.train.loop import step
from steepest.train.machine import prepare

IMAGES = 2000
PORT = str(Path(__file__).with_name("plain_port.py"))
SIDES = {
    "steepest": (__file__, "--rates", "--published"),
    "speedrun94": (__file__, "--rates"),
    "plain port": (PORT, "--rates"),
    "plain port, eased": (PORT, "--rates", "--every-easy-fix"),
    "plain port, eased, in bfloat16": (PORT, "--rates", "--every-easy-fix", "--bfloat16"),
}


def rates(published: bool) -> None:
    """Answers each line read, a progress in [0, 1), with the images per second of one step there."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (5 * IMAGES, 32, 32, 3), dtype=np.uint8)
    data = Dataset("random", Split(images, np.arange(len(images)) % 10), None, None, tuple("abcdefghij"), "")
    recipe = load("speedrun94")
    if published:
        model = Use(recipe.model.name, **{**recipe.model.settings, "unpadded": 0})
        recipe = recipe.replace(model=model, use=tuple(use for use in recipe.use if use.name != "half_convolution"))
    training = build(recipe, data, 0, prepare("cpu", None))
    training.model.train()
    for line in sys.stdin:
        progress, seen = float(line), 0
        batches = training.batches.epoch(training.step, progress=progress)
        begin = time.perf_counter()
        while seen < IMAGES:
            batch, targets = next(batches)
            step(training, batch, targets, progress)
            seen += len(batch)
        print(seen / (time.perf_counter() - begin), flush=True)


def multiplies_bfloat16(side: int = 512) -> bool:
    """Whether a product of such matrices is faster here than one of float32."""

    def took_s(kind: torch.dtype) -> float:
        a, begin = torch.ones(side, side, dtype=kind), time.perf_counter()
        torch.mm(a, a)
        return time.perf_counter() - begin

    return min(took_s(torch.bfloat16) for _ in range(5)) < min(took_s(torch.float32) for _ in range(5))


def measured(rounds: int) -> list[dict[str, Any]]:
    pipe = subprocess.PIPE
    wanted = {name: words for name, words in SIDES.items() if "--bfloat16" not in words or multiplies_bfloat16()}
    started = {
        name: subprocess.Popen([sys.executable, *words], stdin=pipe, stdout=pipe, text=True)
        for name, words in wanted.items()
    }
    calls = dict.fromkeys(wanted, 0)

    def figure(name: str) -> float:
        """The rate at the next place of the training; the first call is warm-up."""
        progress = (max(calls[name], 1) - 0.5) / rounds
        calls[name] += 1
        process = started[name]
        assert process.stdin and process.stdout
        process.stdin.write(f"{progress}\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    try:
        seen = interleaved({name: partial(figure, name) for name in wanted}, rounds)
    finally:
        for process in started.values():
            process.kill()
            process.wait()
    return [
        {"what": f"{ours} / {other}", "ratio": vars(seen.ratio(ours, other))}
        | {"images_per_s": {name: round(seen.median(name), 1) for name in (ours, other)}}
        for ours in list(wanted)[:2]
        for other in list(wanted)[2:]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--rates", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--published", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.rates:
        return rates(given.published)
    rows = measured(given.rounds)
    if given.json:
        print(json.dumps({"rows": rows, "machine": machine()}))
        return None
    for row in rows:
        ratio, speeds = row["ratio"], row["images_per_s"]
        said = ", ".join(f"{name} {figure:g}" for name, figure in speeds.items())
        print(f"{row['what']:<32}{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]  images/s: {said}")
    return None


if __name__ == "__main__":
    main()
