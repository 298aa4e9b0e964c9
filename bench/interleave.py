"""What every bench shares: sides measured in turn, the ratio with its interval, the machine's description, the filing.

Sides are measured A B B A …, so that a machine that slows down or is shared slows both; the first figure of each is
warm-up and left out. A ratio is the median of the rounds' ratios, its interval a bootstrap over rounds (of fewer than
six that is their range).
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steepest.stats import mean_of, wilson


@dataclass(frozen=True)
class Ratio:
    """The median of `n` rounds' ratios, and its 95 % interval."""

    median: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.median:.3g} [{self.low:.3g}, {self.high:.3g}] n={self.n}"


@dataclass(frozen=True)
class Rounds:
    """The figures of each side, round by round."""

    figures: dict[str, list[float]]

    def median(self, side: str) -> float:
        return float(np.median(self.figures[side]))

    def ratio(self, above: str, below: str) -> Ratio:
        """One side's figure over another's."""
        ratios = np.array(self.figures[above]) / np.array(self.figures[below])
        draws = np.random.default_rng(0).integers(0, len(ratios), (10_000, len(ratios)))
        low, high = np.quantile(np.median(ratios[draws], axis=1), (0.025, 0.975))
        return Ratio(float(np.median(ratios)), float(low), float(high), len(ratios))


def interleaved(sides: Mapping[str, Callable[[], float]], rounds: int) -> Rounds:
    """Measures the sides in turn, forth and back. A side gives one figure (seconds, images/s) a call."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for measure in sides.values():
        measure()
    for number in range(rounds):
        names = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for name in names:
            figures[name].append(sides[name]())
    return Rounds(figures)


def accuracy(values: list[float], images: int | None = None) -> dict[str, Any]:
    """A record's figure of the accuracies of some runs: their mean, and an interval.

    Of one run Wilson's over so many test images, or none where they are not told; of two, or equal ones, their range;
    else of the mean, within [0, 1].
    """
    found = mean_of("accuracy", values)
    figure = {"value": found.mean, "unit": "fraction"}
    if len(values) == 1:
        if images is None:
            return figure
        low, high = wilson(round(values[0] * images), images)
        return figure | {"low": low, "high": high, "interval": f"95 %, Wilson, over {images:,} test images"}
    if len(values) == 2 or found.low is None or found.high is None:
        return figure | {"low": min(values), "high": max(values), "interval": "range of the runs"}
    return figure | {"low": found.low, "high": found.high, "interval": "95 % of the mean, Student's t over the runs"}


def machine() -> dict[str, Any]:
    """What a figure depends on: processor, cores, threads, memory, versions, commit, day."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else ""),
        "day": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def filed(name: str, seen: dict[str, Any]) -> Path:
    """Files what a bench saw under bench/results/, by day and name; written whole each time, so also row by row."""
    folder = Path(__file__).parent / "results"
    path = folder / f"{datetime.datetime.now(datetime.UTC).date().isoformat()}_{name}.json"
    write(path, seen)
    return path


def write(path: Path, content: dict[str, Any]) -> None:
    """As a JSON file that can be read, its folder made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
