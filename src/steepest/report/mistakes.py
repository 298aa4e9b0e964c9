"""What a run's network gets wrong, with the images: found once by `steepest evaluate` and kept in the run folder."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..mistake import Failure, Mistake
from ..run import Run

NAME = "mistakes.json"
MOST = 20
"""How many mistakes are kept."""
PIXELS = 128
"""The longest side of a kept image."""


def evaluated(run: Run) -> dict[str, Any]:
    """What ``evaluate --json`` tells of a finished run, each of its mistakes with its `image` as a PNG `data:` address.

    The network is evaluated in a process of its own (the report itself loads no torch), once: the answer is kept as
    `mistakes.json` in the run folder, where that can be written. Test images where the run measured itself on them,
    else validation images. Raises Mistake or Failure with the reason where it cannot be told.
    """
    if (run.path / NAME).is_file():
        with contextlib.suppress(Mistake):  # damaged: it is made anew
            return run.read(NAME)
    split = "test" if run.result.get("test_n") else "val"
    print(f"evaluating {run.path} once, to show its mistakes", file=sys.stderr)
    command = [sys.executable, "-m", "steepest", "evaluate", str(run.path), "--split", split, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"evaluate ended with status {done.returncode}"]
        raise Failure(said[0].removeprefix("steepest: "))
    found: dict[str, Any] = json.loads(done.stdout)
    found.pop("run")
    found["mistakes"] = _with_images(run, found.get("mistakes", [])[:MOST])
    with contextlib.suppress(Mistake):  # a folder that is not ours to write: the page is made all the same
        run.write(NAME, found)
    return found


def _with_images(run: Run, mistakes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each mistake with its image, where the data are images."""
    from ..data import load

    if not mistakes or len(run.read("data.json").get("shape", ())) != 3:
        return mistakes
    request = run.read("run.json")["request"]
    dataset = load(request["data"], data_dir=Path(request["data_dir"]) if request["data_dir"] else None)
    return [one | {"image": png(getattr(dataset, one["split"]).images[one["row"]])} for one in mistakes]


def png(image: Any) -> str:
    """An image, (H,W,C) uint8 with C 1 or 3, as a PNG's `data:` address; larger than PIXELS it is made smaller."""
    from PIL import Image

    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    picture.thumbnail((PIXELS, PIXELS))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
