"""One table of ratios of all short benches: both sides interleaved, the median of the rounds' ratios with its interval.

    python bench/table.py [--only training,kernels,…]

Each bench runs in a process of its own, one after another, and tells what its clock includes. Above the table: the
machine, its peak (the best of several products of 2048×2048 float32 matrices) and the time that other machines on the
same hardware took from it meanwhile (steal). A ratio above 1 says that steepest is faster; the loops' rows are ratios
of times to a bare loop's, where 1 is no overhead. All is filed in bench/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from interleave import filed, machine

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Bench:
    """A bench, its arguments, what its ratios are of, what its clock includes, and what it needs in the environment."""

    title: str
    words: tuple[str, ...]
    ratio: str
    clock: str
    env: dict[str, str] = field(default_factory=dict)


BENCHES = {
    "training": Bench(
        "training, images/s of the speed record's network and recipe",
        ("training.py",),
        "ours / theirs",
        "one step on 2000 images: batch, forward, backward, update; ours with its augmentation",
    ),
    "kernels": Bench(
        "compiled convolution, by layer, 125 images",
        ("kernels.py", "--rounds", "6"),
        "PyTorch's time / ours",
        "one call, its output's memory and the transform of the weights included",
    ),
    "pointwise": Bench(
        "compiled pointwise kernels",
        ("pointwise.py", "--rounds", "6"),
        "PyTorch's time / ours",
        "see bench/pointwise.py",
    ),
    "batches": Bench(
        "batches, images/s",
        ("batches.py", "--rounds", "3"),
        "ours / theirs",
        "one epoch of batches, augmented and normalised; no training",
        {"OMP_WAIT_POLICY": "passive"},  # a waiting thread must not take a core from a loader's workers
    ),
    "loop": Bench(
        "training loops on the lab network",
        ("loop.py", "--rounds", "6"),
        "time / a bare loop's time",
        "the steps of an epoch; what a framework sets up before is left out",
    ),
    "start": Bench(
        "cold start",
        ("start.py", "--processes", "8", "--trainings", "2"),
        "seconds",
        "whole processes, from starting one to its end",
    ),
}


def peak_gflops(side: int = 2048, tries: int = 8) -> float:
    """The fastest of several matrix products, in 10⁹ operations a second."""
    a, b = torch.randn(side, side), torch.randn(side, side)
    best = float("inf")
    for _ in range(tries):
        begin = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - begin)
    return 2e-9 * side**3 / best


def ticks() -> tuple[int, int] | None:
    """All and stolen processor time since the start of the machine, in its ticks, where the system tells."""
    if not Path("/proc/stat").is_file():
        return None
    figures = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return sum(figures), figures[7]


def rows(seen: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and figure of each row of what a bench printed."""
    for row in seen["rows"]:
        found = row.get("ratio")
        if found is None:
            yield row["what"], row["missing"] if "missing" in row else f"{row['median_s']:6.2f} s  n={row['n']}"
            continue
        for name, ratio in {"": found}.items() if "median" in found else found.items():
            interval = f"[{ratio['low']:.2f}, {ratio['high']:.2f}]"
            yield f"{row['what']}{': ' if name else ''}{name}", f"{ratio['median']:6.2f}  {interval:<16} n={ratio['n']}"


def run(bench: Bench) -> dict[str, Any]:
    """What a bench prints as JSON, and its seconds."""
    begin = time.perf_counter()
    command = [sys.executable, str(HERE / bench.words[0]), *bench.words[1:], "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | bench.env)
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen | {"took_s": round(time.perf_counter() - begin, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(BENCHES))
    wanted = parser.parse_args().only.split(",")
    if strange := [name for name in wanted if name not in BENCHES]:
        parser.error(f"there is no bench {strange[0]!r}, but {', '.join(BENCHES)}")
    began, described = ticks(), machine() | {"peak_gflops": round(peak_gflops(), 1)}
    print(", ".join(f"{name} {figure}" for name, figure in described.items()), flush=True)
    whole: dict[str, Any] = {"machine": described, "benches": {}}
    for name in wanted:
        bench = BENCHES[name]
        seen = run(bench)
        seen.pop("machine", None)
        whole["benches"][name] = {"clock": bench.clock, "ratio": bench.ratio, **seen}
        print(f"\n{bench.title} ({bench.ratio})\n  clock: {bench.clock}")
        for what, figure in rows(seen):
            print(f"  {what:<64}{figure}")
        described["peak_gflops_after"] = round(peak_gflops(), 1)
        if began and (now := ticks()):
            described["steal"] = round((now[1] - began[1]) / max(1, now[0] - began[0]), 4)
        path = filed("bench", whole)
        sys.stdout.flush()
    print(
        f"\npeak after it {described['peak_gflops_after']} GFLOP/s, steal {described.get('steal', 'unknown')}, {path}"
    )


if __name__ == "__main__":
    main()
