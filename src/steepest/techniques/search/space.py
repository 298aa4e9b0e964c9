"""Where a search looks, what it finds, and Optuna's part in it.

A space says for each setting where its values lie: ``{"lr": (1e-4, 1.0, "log"), "momentum": (0.0, 0.99, "linear"),
"batch_size": [64, 128, 256]}``, a range of numbers as a tuple, or a list of choices (numbers, text, true, false, None).
The scale reverse_log is for what lies near 1, like a momentum: it is even in log(1 - x).
An objective takes the settings as a dict and gives a value; nan says that there is none, as when a training diverged,
and ranks last. A search asks and is told in a fixed order that only its seed and the values decide: with an objective
that looks up what it has already been asked, the same search again goes on where it ended.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...mistake import Mistake

if TYPE_CHECKING:
    import optuna

Space = Mapping[str, tuple[float, float, str] | Sequence[Any]]
Settings = dict[str, Any]
Objective = Callable[[Settings], float]
SCALES = ("log", "linear", "reverse_log")
RANGE = "(low, high, 'log', 'linear' or 'reverse_log')"


@dataclass(frozen=True)
class Trial:
    """One try: settings, the value they gave, and by how much that is better than the best before (never below 0, and
    0 for the first). stopped: whether it was ended early."""

    settings: Mapping[str, Any]
    value: float
    gain: float = 0.0
    stopped: bool = False


def ranked(trials: Sequence[Trial], maximise: bool = False) -> list[Trial]:
    """The trials, best first: those ended early after the others, nan at the end, the earlier first among equals."""
    return sorted(trials, key=lambda trial: (math.isnan(trial.value), trial.stopped, loss(trial.value, maximise)))


def loss(value: float, maximise: bool) -> float:
    """A value as one to be made small; nan is infinitely bad."""
    return math.inf if math.isnan(value) else -value if maximise else value


def gain(value: float, before: Sequence[Trial], maximise: bool) -> float:
    """By how much a value is better than the best of the trials before it."""
    best = min((loss(trial.value, maximise) for trial in before if not trial.stopped), default=math.inf)
    mine = loss(value, maximise)
    return best - mine if mine < best < math.inf else 0.0


def check_space(space: Space) -> None:
    """Raises Mistake where a space is empty, or a range or a list of choices is none."""
    if not space:
        raise Mistake("the space has no settings: give at least one, like {'lr': (0.001, 1.0, 'log')}")
    for name, values in space.items():
        if isinstance(values, tuple):
            _check_range(name, values)
        elif isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise Mistake(f"the space of {name} is {RANGE} or a list of choices: got {values!r}")
        elif not all(choice is None or isinstance(choice, bool | int | float | str) for choice in values):
            raise Mistake(f"the choices of {name} must be numbers, text, true, false or None: got {values!r}")
        elif len(set(values)) < len(values):
            raise Mistake(f"the choices of {name} must differ from each other: got {values!r}")


def _check_range(name: str, values: tuple[Any, ...]) -> None:
    if len(values) != 3 or values[2] not in SCALES:
        raise Mistake(f"a range of {name} is {RANGE}: got {values!r}")
    low, high, scale = values
    for end in (low, high):
        if isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end):
            raise Mistake(f"the ends of the range of {name} must be numbers: got {values!r}")
    if not low < high or (scale == "log" and low <= 0) or (scale == "reverse_log" and not 0 <= low < high < 1):
        needs = {"log": "0 < low < high", "linear": "low < high", "reverse_log": "0 <= low < high < 1"}[scale]
        raise Mistake(f"a {scale} range of {name} needs {needs}: got {values!r}")


def whole(**numbers: float) -> None:
    """Raises Mistake for a number that is not whole, by its name."""
    for name, number in numbers.items():
        if number != int(number):
            raise Mistake(f"{name} must be a whole number: got {number!r}")


def choices(space: Space, points: int) -> dict[str, list[Any]]:
    """A space with each range replaced by `points` values, evenly from end to end on its scale."""
    return {
        name: _spread(values, points) if isinstance(values, tuple) else list(values) for name, values in space.items()
    }


def _spread(values: tuple[float, float, str], points: int) -> list[float]:
    if points == 1:
        return [between(values, 0.5)]
    inner = [between(values, k / (points - 1)) for k in range(1, points - 1)]
    return [float(values[0]), *inner, float(values[1])]


def between(values: tuple[float, float, str], share: float) -> float:
    """The value at a share in [0, 1] of a range, on its scale."""
    low, high, scale = values
    if scale == "reverse_log":
        return float(1 - (1 - low) * ((1 - high) / (1 - low)) ** share)
    return float(low * (high / low) ** share) if scale == "log" else low + (high - low) * share


def library() -> Any:
    """Optuna, imported when a search needs it."""
    import optuna

    return optuna


def study(maximise: bool, **parts: Any) -> optuna.Study:
    """An Optuna study in memory, made without a word in anybody's log. parts: its sampler, its pruner."""
    with quietly():
        made: optuna.Study = library().create_study(direction="maximize" if maximise else "minimize", **parts)
    return made


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Within, Optuna's log says no more than warnings; it tells of every study that it makes."""
    log = library().logging
    before = log.get_verbosity()
    log.set_verbosity(log.WARNING)
    try:
        yield
    finally:
        log.set_verbosity(before)


def distributions(space: Space) -> dict[str, Any]:
    """The space in Optuna's form, which for a reverse_log range is that of 1 - x."""
    kinds, found = library().distributions, {}
    for name, values in space.items():
        if isinstance(values, tuple):
            ends = sorted(_turned(values, float(end)) for end in values[:2])
            found[name] = kinds.FloatDistribution(*ends, log=values[2] != "linear")
        else:
            found[name] = kinds.CategoricalDistribution(tuple(values))
    return found


def turned(space: Space, given: Mapping[str, Any]) -> Settings:
    """Settings as Optuna's parameters, or those as settings: it is the same both ways."""
    return {name: _turned(space[name], given[name]) for name in space}


def _turned(values: Any, given: Any) -> Any:
    """1 - x for a reverse_log range."""
    return 1 - given if isinstance(values, tuple) and values[2] == "reverse_log" else given


def ask_and_tell(made: optuna.Study, space: Space, objective: Objective, trials: int, maximise: bool) -> list[Trial]:
    """Asks the study for settings, tries them and tells it the value, one after another; the trials in that order."""
    found: list[Trial] = []
    kinds = distributions(space)
    for _ in range(int(trials)):
        asked = made.ask(kinds)
        found.append(attempt(objective, turned(space, asked.params), found, maximise))
        worst = -math.inf if maximise else math.inf
        made.tell(asked, worst if math.isnan(found[-1].value) else found[-1].value)
    return found


def attempt(objective: Objective, settings: Settings, before: Sequence[Trial], maximise: bool) -> Trial:
    """The trial of these settings, after those before it."""
    value = float(objective(dict(settings)))
    return Trial(settings, value, gain(value, before, maximise))
