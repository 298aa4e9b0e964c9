"""Two runs over the images that both were measured on: which of them each gets right. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import stats
from ..mistake import Mistake
from ..run import Run

if TYPE_CHECKING:
    from ..train.assess import Assessment

Mean = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """Two sides and what differs. a, b: each one's n, mean, low, high. method: what was compared, and how."""

    a: Mean
    b: Mean
    method: str
    difference: stats.Difference
    equivalence: stats.Equivalence | None = None


def over_images(
    runs: tuple[Run, Run], figure: str, values: tuple[float, float], margin: float | None
) -> tuple[Pair, list[str]]:
    """Two finished runs compared over images by a figure that both have, with what has to be known about it.

    values: the figure of each. margin: in its own unit. Where the predictions cannot be made again, accuracies are
    compared as if they were of different images, which is cautious, and all else has no interval.
    """
    split, _, what = figure.partition("_")
    if split not in ("test", "val") or what not in ("accuracy", "loss"):
        return _single(values, margin), []
    try:
        a, b = _assessed(runs, split)
    except Mistake as problem:
        notes = [f"the predictions cannot be made again: {problem}"]
        if what == "loss":
            return _single(values, margin), notes
        n, m = (run.result["test_n"] if split == "test" else run.read("data.json")["val"] for run in runs)
        pair = _apart((round(values[0] * n), n), (round(values[1] * m), m), margin)
        return pair, [*notes, "compared as if of different images, which is cautious"]
    pairs = zip(a.parts, b.parts, strict=True)
    same = all(one[0] == other[0] and np.array_equal(one[2], other[2]) for one, other in pairs)
    notes = [] if same else [f"their {split} images are not the same: each seed holds out its own"]
    if what == "loss":
        return _losses(_each_loss(a), _each_loss(b), same, margin), notes
    one, other = _right(a), _right(b)
    if not same:
        return _apart((int(one.sum()), len(one)), (int(other.sum()), len(other)), margin), notes
    differ = int((one != other).sum())
    least = 100 * stats.smallest_share_difference(len(one), float(one.mean()), differ=differ / len(one))
    told = f"{len(one):,} images, of which these two differ on {differ:,}, tell apart from about {least:.2g} points on"
    return _same_images(one, other, margin), [told]


def _assessed(runs: tuple[Run, Run], split: str) -> tuple[Assessment, Assessment]:
    from ..train import machine
    from ..train.assess import assess

    device = machine.prepare("auto", None)
    return assess(runs[0], split=split, device=device), assess(runs[1], split=split, device=device)


def _right(found: Assessment) -> npt.NDArray[np.bool_]:
    """(N,): which images were taken for what they are."""
    return np.asarray(found.scores.logits.argmax(1) == found.scores.targets)


def _each_loss(found: Assessment) -> list[float]:
    """The loss of every image, as evaluation takes their mean."""
    from torch.nn import functional as F

    logits, targets = found.scores.logits, found.scores.targets
    if found.classes:
        return [float(loss) for loss in F.cross_entropy(logits, targets, reduction="none")]
    return [float(loss) for loss in (logits.view(targets.shape) - targets) ** 2]


def _same_images(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], margin: float | None) -> Pair:
    """Accuracies on the same images, of which (N,) each side got some right."""
    both, only_a, only_b, neither = (
        int(each.sum()) for each in (one & other, one & ~other, ~one & other, ~one & ~other)
    )
    counts = both, only_a, only_b, neither
    ninety = None if margin is None else _within(stats.paired_shares(*counts, 0.9), margin)
    sides = _share(both + only_a, len(one)), _share(both + only_b, len(one))
    return Pair(*sides, "the same images, McNemar's test", stats.paired_shares(*counts), ninety)


def _apart(a: tuple[int, int], b: tuple[int, int], margin: float | None) -> Pair:
    """Accuracies on different images: how many of how many were right."""
    ninety = None if margin is None else _within(stats.apart(*a, *b, 0.9), margin)
    return Pair(_share(*a), _share(*b), "different images, score test", stats.apart(*a, *b), ninety)


def _losses(a: Sequence[float], b: Sequence[float], same: bool, margin: float | None) -> Pair:
    """Mean losses over images."""
    method = "the same images, Student's t" if same else "different images, Welch's t"
    within = None if margin is None else stats.equivalence(a, b, margin, paired=same)
    sides = asdict(stats.mean(a)), asdict(stats.mean(b))
    return Pair(*sides, method, stats.difference(a, b, paired=same), within)


def _single(values: tuple[float, float], margin: float | None) -> Pair:
    """One value a side, of which nothing more is known."""
    a, b = ([value] for value in values)
    within = None if margin is None else stats.equivalence(a, b, margin)
    return Pair(asdict(stats.mean(a)), asdict(stats.mean(b)), "one value a side", stats.difference(a, b), within)


def _share(right: int, n: int) -> Mean:
    low, high = stats.wilson(right, n)
    return {"n": n, "mean": right / n, "low": low, "high": high}


def _within(found: stats.Difference, margin: float) -> stats.Equivalence:
    """Whether a difference's 90 % interval lies within the margin."""
    assert found.low is not None and found.high is not None
    held = -margin < found.low and found.high < margin
    return stats.Equivalence(held, found.low, found.high, None, margin, found.n)
