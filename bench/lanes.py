"""Trainings a minute: lanes against joblib with two processes that run bare PyTorch loops.

    python bench/lanes.py [--rounds 5] [--only playground,images,width] [--data fashion_mnist] [--json]

Both sides train the same networks on the same data, with the same number of steps, and measure loss and accuracy on the
validation rows once an epoch. A bare loop has its tensors in memory and one thread: it indexes a permutation and calls
forward, backward and the optimiser of torch.optim, nothing else (bench/bare.py). Its processes are started and its data
loaded before the clock; the clock includes whole trainings, from building the network on, and on our side also the
split, the statistics and the order of the data, which each seed has for itself. A ratio is ours over theirs. `gflops`:
what the products of the lanes' matrices come to, on all threads; a large product reaches `peak_gflops` on as many.

The rows of `width` show where lanes stop winning, by which `steepest.experiments.lanes.suited.wins` goes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import torch
from bare import Network, loaded, tensors, trained
from interleave import interleaved, machine
from table import peak_gflops

from steepest.experiments.lanes import compiled
from steepest.experiments.lanes.train import train
from steepest.recipe import Recipe, Use
from steepest.train.request import Request

PROCESSES = 2


@dataclass(frozen=True)
class Case:
    """Trainings of one network: as many as learning rates times seeds."""

    network: Network
    rates: int
    seeds: int

    def __str__(self) -> str:
        net = self.network
        what = f"{net.data} {net.hidden} {net.activation}, {net.optimizer}, batch {net.batch_size}, {net.epochs} epochs"
        return f"{what}, {self.rates} rates × {self.seeds} seeds"

    @property
    def asked(self) -> list[tuple[Recipe, Request]]:
        net = self.network
        recipe = Recipe(
            model=Use.parse(f"mlp:hidden={net.hidden},activation={net.activation}"),
            batch_size=net.batch_size,
            epochs=net.epochs,
            optimizer=Use(net.optimizer),
            momentum=0.9 if net.optimizer == "sgd" else 0.0,
        )
        return [
            (recipe.replace(lr=float(lr)), Request(data=net.data, seed=seed))
            for lr in np.geomspace(1e-3, 1e-1, self.rates)
            for seed in range(self.seeds)
        ]

    @property
    def work(self) -> int:
        """Operations of the products of one training: three a layer, two in the first, whose input has no gradient."""
        net = self.network
        (x, _), _ = tensors(net.data)
        sizes = [x.shape[1], *map(int, net.hidden.split("-")), len(loaded(net.data).classes)]
        weights = [a * b for a, b in pairwise(sizes)]
        rows = net.epochs * (len(x) // net.batch_size) * net.batch_size
        return rows * (6 * sum(weights) - 2 * weights[0])


CASES = {
    "playground": (
        Case(Network("circles", "4-4", "tanh", 10, 30), 8, 2),
        Case(Network("circles", "4-4", "tanh", 30, 60), 8, 2),
        Case(Network("spiral", "8-8-8", "relu", 10, 30, "adam"), 8, 2),
        Case(Network("circles", "4-4", "tanh", 10, 30), 1, 16),
    ),
    "images": (
        Case(Network("", "32", "relu", 32, 4), 8, 2),
        Case(Network("", "32", "relu", 128, 4), 8, 2),
        Case(Network("", "32", "relu", 32, 4, "adam"), 8, 2),
    ),
    "width": tuple(
        Case(Network("", hidden, "relu", batch_size, 1), 4, 1)
        for hidden in ("64", "128", "256", "512", "512-512")
        for batch_size in (32, 128)
    ),
}


def measured(case: Case, rounds: int) -> dict[str, Any]:
    """Trainings a minute of both sides, in turn."""
    asked, count = case.asked, case.rates * case.seeds
    jobs = [joblib.delayed(trained)(case.network, recipe.lr, request.seed) for recipe, request in asked]

    def theirs() -> float:
        begin = perf_counter()
        with joblib.parallel_config("loky", inner_max_num_threads=1):
            joblib.Parallel(n_jobs=PROCESSES)(jobs)
        return 60 * count / (perf_counter() - begin)

    def ours() -> float:
        begin = perf_counter()
        train(asked, loaded(case.network.data), threads=PROCESSES)
        return 60 * count / (perf_counter() - begin)

    seen = interleaved({"lanes": ours, "joblib": theirs}, rounds)
    return {
        "what": str(case),
        "ratio": vars(seen.ratio("lanes", "joblib")),
        "a_minute": {side: round(seen.median(side), 1) for side in seen.figures},
        "gflops": round(case.work * seen.median("lanes") / 60e9, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--data", default="fashion_mnist", help="the images")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if unknown := set(given.only.split(",")) - CASES.keys():
        parser.error(f"--only: there is no {unknown.pop()!r}; there are {', '.join(CASES)}")
    torch.set_num_threads(PROCESSES)
    about = machine() | {"compiled": compiled.serves(), "peak_gflops": round(peak_gflops(), 1)}
    if not given.json:
        print(about)
    rows = []
    for case in [case for name in given.only.split(",") for case in CASES[name]]:
        network = dataclasses.replace(case.network, data=case.network.data or given.data)
        rows.append(measured(dataclasses.replace(case, network=network), given.rounds))
        if not given.json:
            ratio, speeds = rows[-1]["ratio"], rows[-1]["a_minute"]
            said = ", ".join(f"{side} {speed:g}/min" for side, speed in speeds.items())
            interval = f"{ratio['median']:6.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] n={ratio['n']}"
            print(f"{rows[-1]['what']:<74}{interval}  {said}, {rows[-1]['gflops']} GFLOP/s", flush=True)
    if given.json:
        print(json.dumps({"machine": about, "rows": rows}, ensure_ascii=False))


if __name__ == "__main__":
    main()
