"""Shows what the newest digits run under runs/ makes of three test images, the first of their classes.

python docs/demo.py [RUNS]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import steepest
from steepest.data import load

SHADES = " ░▒▓█"
CLASSES = (0, 4, 7)


def drawn(image: np.ndarray[Any, Any]) -> list[str]:
    """A grey image (H,W,1) uint8 as lines of text, two characters a pixel."""
    return ["".join(SHADES[value * len(SHADES) // 256] * 2 for value in row) for row in image[:, :, 0].tolist()]


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    newest = max(out.glob("digits-*/result.json"), key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        sys.exit(f"no finished digits run under {out}: steepest train digits makes one")
    trained = steepest.load(steepest.Run.open(newest.parent))
    test = load("digits").test
    assert test is not None
    firsts = np.unique(test.targets, return_index=True)[1][list(CLASSES)]
    images, targets = test.images[firsts], test.targets[firsts]
    probabilities = trained.probabilities(images)
    print("\nThree digits that it has never seen:\n")
    for parts in zip(*map(drawn, images), strict=True):
        print("   ".join(parts))
    answers = (f"{trained.about.classes[row.argmax()]} ({row.max():.0%} sure)" for row in probabilities)
    print("   ".join(f"{answer:<16}" for answer in answers))
    print("   ".join(f"{'is a ' + trained.about.classes[target]:<16}" for target in targets))


if __name__ == "__main__":
    main()
