"""A person's mistake, told in one clear sentence: what was given, what is allowed, the nearest known name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Mistake(ValueError):
    """Wrong usage or bad input. The message is one sentence for the person; the command line exits with status 2."""


class Failure(RuntimeError):
    """The work itself failed (a diverged loss, a full disk). One sentence; the command line exits with status 1."""


class Interrupted(Failure):
    """The work was stopped from outside, and can be gone on with."""


def unknown(kind: str, given: str, allowed: Iterable[str]) -> Mistake:
    """The sentence for a name that is not known.

    >>> str(unknown("model", "resnet8", ["resnet9", "lab_cnn"]))
    "unknown model 'resnet8': did you mean 'resnet9'? Known: lab_cnn, resnet9"
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return Mistake(f"unknown {kind} {given!r}: {hint}Known: {', '.join(names) or 'none'}")
