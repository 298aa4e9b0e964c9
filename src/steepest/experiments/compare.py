"""Compares two runs, two studies, or rows of studies: what differs, by how much, and how sure that is.

Two runs are compared over the images that both were measured on: that tells these two networks apart, not their
recipes. Studies are compared setting by setting over their seeds: paired where both trained with a seed, else by
Welch's test. That two sides perform the same is said only against a margin, by a test of equivalence. Importing this
loads no torch; comparing studies does not either.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import stats
from ..mistake import Mistake, unknown
from ..run import Curve, Run
from .ledger import DONE, Trial
from .predictions import Pair, over_images
from .settings import Settings, listed
from .study import Study
from .worker import came_to

ALPHA = 0.05
MOST_CURVES = 10
"""Rows whose curves are read."""
CURVE = ("train_accuracy", "val_accuracy", "train_loss", "val_loss")
FIRST = ("test_accuracy", "val_accuracy", "test_loss", "val_loss")
"""What two runs are compared by where nothing is asked for: the first that both have."""
Row = dict[str, Any]


def compare(
    a: str | Path | Run | Study, b: str | Path | Run | Study, *, margin: float | None = None, figure: str | None = None
) -> dict[str, Any]:
    """What differs between two runs or two studies, as plain data, ready for JSON.

    a, b: two run folders, or two study folders; ``FOLDER: name=value …`` is those rows of a study that have these
    settings, compared by what else is set. margin: they perform the same where they differ by less: in points for an
    accuracy, else in the figure's unit. figure: by default the test accuracy of runs, and what studies are judged by.

    Gives `a`, `b`, `kind` (runs, studies), `data`, `figure`, `unit` (points, s or none), `margin`, `comparisons`;
    `rows`, one a setting: `settings`, `a` and `b` (n, mean, low, high; fractions for accuracies), `difference` (a - b)
    with `low` and `high` in the unit, at 95 % for all rows at once (Bonferroni), `p`, `p_holm`, `n`, `method`, with a
    margin `equivalent` (true, false, or null where it cannot be told) and `equivalence` (the 90 % interval that must
    lie within it), `verdict` (same, different, undecided) and `said`, a sentence; `only_a`, `only_b`: settings that are
    not compared, for want of figures on the other side; `curves` of the first rows: `side`, `settings`, `epochs`,
    `figures` (of each a list of n, mean, low, high); `notes`: what one has to know. Raises Mistake for what cannot be
    compared.
    """
    if margin is not None and not (isinstance(margin, int | float) and 0 < margin < math.inf):
        raise Mistake(f"the margin must be a number above 0, in points for an accuracy: got {margin!r}")
    texts = [str(given.path if isinstance(given, Run | Study) else given) for given in (a, b)]
    first, second = map(_side, texts)
    if isinstance(first, Run) and isinstance(second, Run):
        found = _runs(first, second, figure, margin)
    elif isinstance(first, Rows) and isinstance(second, Rows):
        found = _studies(first, second, figure, margin)
    else:
        kinds = {Run: "a run", Rows: "a study"}
        raise Mistake(
            f"{texts[0]} is {kinds[type(first)]} and {texts[1]} {kinds[type(second)]}: compare two runs, or two studies"
        )
    _judge(found["rows"], found["unit"], margin)
    return {"a": texts[0], "b": texts[1], "margin": margin, "comparisons": len(found["rows"])} | found


def _side(text: str) -> Run | Rows:
    """What is to be compared: a run, or rows of a study."""
    folder, _, chosen = (text, "", "") if Path(text).exists() else text.partition(":")
    if (Path(folder) / "study.json").is_file():
        return Rows(Study.open(folder), listed(chosen))
    if chosen and Path(folder).exists():
        raise Mistake(f"{folder} is not a study folder: it has no rows like {chosen.strip()!r}")
    if not (Path(folder) / "run.json").is_file():
        raise Mistake(f"{folder} is neither a run folder nor a study folder: it has no run.json and no study.json")
    return Run.open(folder)


def _runs(a: Run, b: Run, figure: str | None, margin: float | None) -> dict[str, Any]:
    """Two runs: one row."""
    for run in (a, b):
        if not run.done:
            raise Mistake(f"the run {run.path} is not finished: steepest resume {run.path} goes on with it")
    data = _same_data([a, b])
    known: list[dict[str, float]] = [came_to(run)["figures"] for run in (a, b)]
    both = known[0].keys() & known[1].keys()
    figure = figure or next((name for name in FIRST if name in both), "")
    if figure not in both:
        raise unknown("figure of both runs", figure, both)
    factor, unit = _unit(figure)
    values = known[0][figure], known[1][figure]
    pair, notes = over_images((a, b), figure, values, None if margin is None else margin / factor)
    seeds = "one training a side: other seeds may come out otherwise, which two studies with several seeds tell"
    return {
        "kind": "runs",
        "data": data,
        "figure": figure,
        "unit": unit,
        "rows": [_row({}, pair, factor)],
        "only_a": [],
        "only_b": [],
        "curves": [{"side": side, "settings": {}} | _band([run.curve]) for side, run in (("a", a), ("b", b))],
        "notes": [*notes, seeds],
    }


@dataclass(frozen=True)
class Rows:
    """The rows of a study that have certain settings, all of them where none are given."""

    study: Study
    chosen: Settings

    def trials(self) -> dict[frozenset[Any], list[Trial]]:
        """The trials by what is set beside the chosen settings: those that confirm what a search found, if any did."""
        found: dict[frozenset[Any], list[Trial]] = {}
        for trial in self.study.trials():
            if self.chosen.items() <= trial.settings.items():
                found.setdefault(frozenset(self.rest(trial).items()), []).append(trial)
        if not found:
            chosen = " ".join(f"{name}={value}" for name, value in self.chosen.items())
            raise Mistake(f"the study {self.study.path} has no trial" + (f" with {chosen}" if chosen else ""))
        fresh = {key: [trial for trial in rows if self.study.confirms(trial)] for key, rows in found.items()}
        return {key: fresh[key] if any(one.state == DONE for one in fresh[key]) else found[key] for key in found}

    def rest(self, trial: Trial) -> Settings:
        """What is set beside the chosen settings."""
        return {name: value for name, value in trial.settings.items() if name not in self.chosen}


def _studies(a: Rows, b: Rows, figure: str | None, margin: float | None) -> dict[str, Any]:
    """Two studies: a row for every setting of which both have the figure."""
    figures = [str(side.study.about["figure"]) for side in (a, b)]
    if figure is None and figures[0] != figures[1]:
        raise Mistake(f"{a.study.path} is judged by {figures[0]}, {b.study.path} by {figures[1]}: name one figure")
    figure = figure or figures[0]
    trials = a.trials(), b.trials()
    if not trials[0].keys() & trials[1].keys():
        some = [_spelt(side.rest(next(iter(rows.values()))[0])) for side, rows in zip((a, b), trials, strict=True)]
        raise Mistake(
            f"{a.study.path} and {b.study.path} have no settings in common (the first: {some[0]}; {some[1]}): "
            f"name the rows to compare, like '{a.study.path}: lr=0.1'"
        )
    done = [{key: [trial for trial in rows[key] if trial.state == DONE] for key in rows} for rows in trials]
    has = [{name for rows in side.values() for trial in rows for name in trial.figures} for side in done]
    if figure not in has[0] & has[1]:
        raise unknown("figure of both studies", figure, has[0] & has[1])
    values = [
        {
            key: {trial.seed: trial.figures[figure] for trial in rows if figure in trial.figures}
            for key, rows in side.items()
        }
        for side in done
    ]
    keys = [key for key in values[0] if values[0][key] and values[1].get(key)]
    factor, unit = _unit(figure)
    rows, curves = [], []
    for key in keys:
        named = a.rest(trials[0][key][0])
        limit = None if margin is None else margin / factor
        pair = _seeds(figure, values[0][key], values[1][key], limit, len(keys))
        rows.append(_row(named, pair, factor))
        for name, side, found in zip("ab", (a, b), done, strict=True):
            if len(rows) <= MOST_CURVES:
                curves.append({"side": name, "settings": named} | _band(map(side.study.curve, found[key])))
    only = [
        [side.rest(found[0]) for key, found in own.items() if key not in keys]
        for side, own in zip((a, b), trials, strict=True)
    ]
    return {
        "kind": "studies",
        "data": _studied((a.study, b.study), [[side[key] for key in keys] for side in done]),
        "figure": figure,
        "unit": unit,
        "rows": rows,
        "only_a": only[0],
        "only_b": only[1],
        "curves": curves,
        "notes": [
            note
            for name, side, found in zip("AB", (a, b), trials, strict=True)
            for note in (*_left_out(name, found, keys), *_partly_luck(name, side.study, found, keys))
        ],
    }


def _seeds(figure: str, a: Mapping[int, float], b: Mapping[int, float], margin: float | None, comparisons: int) -> Pair:
    """Trainings of one setting on either side, by seed: paired where at least half of the fewer have their partner."""
    shared, fewer = sorted(a.keys() & b.keys()), min(len(a), len(b))
    paired = 2 * len(shared) >= fewer and len(shared) >= min(2, fewer)
    one, other = ([side[seed] for seed in (shared if paired else side)] for side in (a, b))
    found = stats.difference(one, other, paired=paired, comparisons=comparisons)
    within = None if margin is None else stats.equivalence(one, other, margin, paired=paired, comparisons=comparisons)
    method = "the same seeds, Student's t" if paired else "different seeds, Welch's t"
    means = [asdict(stats.mean_of(figure, list(side.values()))) for side in (a, b)]
    return Pair(means[0], means[1], method, found, within)


def _row(named: Settings, pair: Pair, factor: float) -> Row:
    """A comparison as plain data, the difference in the figure's unit, which is `factor` times the values'."""

    def scaled(*values: float | None) -> list[float | None]:
        return [None if value is None else factor * value for value in values]

    found, within = pair.difference, pair.equivalence
    difference, low, high = scaled(found.difference, found.low, found.high)
    row: Row = {"settings": named, "a": pair.a, "b": pair.b, "difference": difference, "low": low, "high": high}
    row |= {"p": found.p, "n": found.n, "method": pair.method}
    if within is not None:
        row |= {"equivalent": within.held, "equivalence": scaled(within.low, within.high)}
    return row


def _judge(rows: Sequence[Row], unit: str, margin: float | None) -> None:
    """Adds to all rows Holm's p-value, the verdict, and a sentence that says it from the higher side."""
    for row, p in zip(rows, stats.holm([row["p"] for row in rows]), strict=True):
        side, size, low, high = "A", row["difference"], row["low"], row["high"]
        if size < 0:
            side, size, low, high = "B", -size, *(None if end is None else -end for end in (high, low))
        told = f"{size:.3g} {unit}".strip()
        ends = "" if low is None else f", interval {low:.3g} to {high:.3g}"
        if row.get("equivalent"):
            within = "{:.3g} to {:.3g}".format(*row["equivalence"])
            verdict, said = "same", f"the same within ± {margin:g}: A - B is {within}"
        elif p is not None and p < ALPHA:
            verdict, said = "different", f"{side} is {told} higher{ends}"
        else:
            seen = f"{side} came out {told} higher" if size > 1e-9 else "both came out equal"
            verdict, said = "undecided", f"not told apart: {seen}{ends}"
        row |= {"p_holm": p, "verdict": verdict, "said": f"{said}, n = {row['n']}"}


def _unit(figure: str) -> tuple[float, str]:
    """What a figure's difference is told in: how many of it are 1 of the figure, and its name."""
    if figure.endswith("accuracy"):
        return 100.0, "points"
    return 1.0, "s" if figure.endswith("_s") else ""


def _band(curves: Iterable[Curve]) -> dict[str, Any]:
    """Curves of several seeds together: at every epoch at which any was measured, the mean of those that were."""
    together: dict[float, list[Mapping[str, float]]] = {}
    for point in (point for curve in curves for point in curve if "epoch" in point):
        together.setdefault(point["epoch"], []).append(point)
    epochs, figures = sorted(together), {}
    for name in CURVE:
        values = [[point[name] for point in together[epoch] if name in point] for epoch in epochs]
        if any(values):
            none = {"n": 0, "mean": None, "low": None, "high": None}
            figures[name] = [asdict(stats.mean_of(name, each)) if each else none for each in values]
    return {"epochs": epochs, "figures": figures}


def _same_data(runs: Sequence[Run]) -> str:
    """The name of the data that all the runs were trained on; other data, or another task, are a Mistake."""
    first = runs[0].read("data.json")
    for run in runs[1:]:
        other = run.read("data.json")
        if first.get("task") != other.get("task"):
            tasks = [f"{data.get('data')} is to {data.get('task')}" for data in (first, other)]
            raise Mistake(f"{runs[0].path} and {run.path} have different tasks: {tasks[0]}, {tasks[1]}")
        if first.get("fingerprint") != other.get("fingerprint"):
            names = [str(data.get("data")) for data in (first, other)]
            told = " and ".join(names) if names[0] != names[1] else f"{names[0]}, which has changed between them"
            raise Mistake(f"{runs[0].path} and {run.path} were trained on different data: {told}")
    return str(first.get("data"))


def _studied(studies: Sequence[Study], done: Sequence[Sequence[list[Trial]]]) -> str:
    """The name of the data of the compared rows, of each of which one run folder is looked at, if it has any."""
    firsts = [
        next(filter(None, map(study.run, trials)), None)
        for study, rows in zip(studies, done, strict=True)
        for trials in rows
    ]
    if all(firsts):
        return _same_data([run for run in firsts if run is not None])
    names = [str(study.about["data"]) for study in studies]
    if names[0] != names[1]:
        raise Mistake(f"{studies[0].path} and {studies[1].path} were trained on different data: {' and '.join(names)}")
    return names[0]


def _spelt(named: Settings) -> str:
    return " ".join(f"{name}={value}" for name, value in named.items()) or "none"


def _left_out(name: str, trials: Mapping[frozenset[Any], list[Trial]], keys: Iterable[frozenset[Any]]) -> list[str]:
    """What the compared rows have beside finished trials, of which no figure tells."""
    states = [trial.state for key in keys for trial in trials[key]]
    counts = {state: states.count(state) for state in dict.fromkeys(states) if state != DONE}
    told = " and ".join(f"{count} {state}" for state, count in counts.items())
    return [f"of {len(states)} trials of {name}, {told} are left out"] if told else []


def _partly_luck(
    name: str, study: Study, trials: Mapping[frozenset[Any], list[Trial]], keys: Iterable[frozenset[Any]]
) -> list[str]:
    """A warning where a search may have chosen a row by the very trials that are compared."""
    if study.about["kind"] != "tune" or all(study.confirms(trial) for key in keys for trial in trials[key]):
        return []
    return [f"{name} is a search, which chose by these very figures: the best of them are partly luck (--confirm 10)"]
