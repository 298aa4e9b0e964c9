"""How often equals are called different: comparisons of trainings that differ in nothing but their seeds.

    python bench/aa.py [--trainings 200] [--seeds 10] [--comparisons 4] [--draws 2000] [--epochs 4] [--out DIR] [--json]

A pool of real trainings of one recipe on the digits is made by a sweep (kept in DIR, so that it can be added to).
From it, again and again, an ablation is drawn in which nothing is ablated: a reference of so many seeds and as many
comparisons with others, no training twice. Counted are the ablations in which anything is called different at 0.05:
by the paired t-test with Holm's correction, by the rule that may be looked at after every seed, and, to see what these
are for, by the t-test without correction and by a t-test looked at after every seed. Nothing is timed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from interleave import machine

from steepest import stats
from steepest.experiments.sweep import sweep

ALPHA = 0.05
Values = npt.NDArray[np.float64]


def pool(trainings: int, epochs: float, out: str, figure: str) -> Values:
    """The figure of every training of the pool, in the order of their seeds."""
    options: dict[str, Any] = {"epochs": epochs, "out": out, "name": f"aa-{epochs:g}", "figure": figure, "show": True}
    study = sweep("digits", listed=[{}], seeds=trainings, **options)
    found = {trial.seed: trial.figures[figure] for trial in study.trials() if trial.state == "done"}
    return np.array([found[seed] for seed in sorted(found)])


def told(values: Values) -> dict[str, bool]:
    """Which rules call anything different. values: (1 + comparisons, seeds), the reference first."""
    reference, *others = values.tolist()
    many = len(others)
    plain = [stats.difference(other, reference).p for other in others]
    looks = [stats.difference(other[:n], reference[:n]).p for other in others for n in range(2, len(reference) + 1)]
    return {
        "paired t-test, Holm": _below(stats.holm(plain)),
        "sequential rule": any(stats.sequential(other, reference, comparisons=many).different for other in others),
        "paired t-test, not corrected": _below(plain),
        "paired t-test after every seed, not corrected": _below(looks),
    }


def _below(values: list[float | None]) -> bool:
    return any(p is not None and p < ALPHA for p in values)


def rates(values: Values, seeds: int, comparisons: int, draws: int) -> list[dict[str, Any]]:
    """Each rule's share of false alarms among so many ablations drawn from the pool, with its Wilson interval."""
    rng, size = np.random.default_rng(0), (1 + comparisons, seeds)
    if np.prod(size) > len(values):
        raise SystemExit(
            f"{comparisons} comparisons of {seeds} seeds need {np.prod(size)} trainings: got {len(values)}"
        )
    seen = [told(rng.choice(values, size, replace=False)) for _ in range(draws)]
    rows = []
    for rule in seen[0]:
        count = sum(one[rule] for one in seen)
        low, high = stats.wilson(count, draws)
        kind = f"95 %, Wilson, over {draws:,} ablations drawn from {len(values)} trainings"
        share = {"share": count / draws, "low": low, "high": high, "interval": kind}
        rows.append({"what": rule, "false alarms": share, "n": len(values)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--comparisons", type=int, default=4)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--figure", default="val_accuracy")
    parser.add_argument("--out", default=str(Path("~/.cache/steepest/bench").expanduser()))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    values = pool(given.trainings, given.epochs, given.out, given.figure)
    rows = rates(values, given.seeds, given.comparisons, given.draws)
    if given.json:
        spread = {"mean": float(values.mean()), "sd": float(values.std(ddof=1)), "different": len(set(values.tolist()))}
        asked = {"seeds": given.seeds, "comparisons": given.comparisons, "epochs": given.epochs, "figure": given.figure}
        return print(json.dumps({"rows": rows, "pool": spread | asked, "machine": machine()}))
    for row in rows:
        share = row["false alarms"]
        print(f"{row['what']}: {share['share']:.1%} [{share['low']:.1%}, {share['high']:.1%}], {share['interval']}")
    return None


if __name__ == "__main__":
    main()
