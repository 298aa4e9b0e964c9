"""What more views of each image buy: the recipe quick's networks, evaluated under several settings of `tta`.

    python bench/views.py [--data A,B] [--widths 16,32] [--epochs 6] [--seeds 2] [--data-dir DIR] [--json]

Of each network, trained once on the training rows, the accuracy on its validation rows under each setting, and the
seconds that evaluating 1000 images then takes; the test set is not looked at. A row's numbers are those of the seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from interleave import machine

import steepest
from steepest import recipes
from steepest.data import load
from steepest.techniques.inference.tta import tta
from steepest.train.build import rows
from steepest.train.machine import prepare

SETTINGS = (("none", 1.0), ("mirror", 1.0), ("mirror_translate", 0.6), ("mirror_translate", 1.0))
"""Views, and the probability below which an image is unsure enough to get them."""
Seen = dict[str, dict[str, list[float]]]


def trained(data: str, width: int, epochs: float, seed: int, data_dir: Path | None, seen: Seen) -> None:
    """Trains one network, and adds its figures to those of each setting."""
    recipe = recipes.load("quick").replace(width=width, epochs=epochs, min_steps=0)
    with tempfile.TemporaryDirectory() as out:
        run = steepest.train(data, recipe=recipe, seed=seed, data_dir=data_dir, out=out, test=False)
        made, (_, validation) = steepest.load(run), rows(load(data, data_dir=data_dir), recipe, seed)
    assert validation is not None
    batches = list(made.batches(*validation).epoch(0))
    targets = torch.cat([right for _, right in batches])
    for views, unsure in SETTINGS:
        begin = time.perf_counter()
        with torch.no_grad():
            logits = torch.cat([tta(made.model, images, views=views, unsure=unsure) for images, _ in batches])
        row = seen.setdefault(f"{data}, width {width}, {views} below {unsure:g}", {"val": [], "s": []})
        row["s"].append((time.perf_counter() - begin) / len(targets) * 1000)
        row["val"].append(float((logits.argmax(1) == targets).float().mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10,fashion_mnist")
    parser.add_argument("--widths", default="16,32")
    parser.add_argument("--epochs", type=float, default=6)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    prepare("cpu", None)
    seen: Seen = {}
    for data in given.data.split(","):
        for width in map(int, given.widths.split(",")):
            for seed in range(given.seeds):
                trained(data, width, given.epochs, seed, given.data_dir, seen)
    made: list[dict[str, Any]] = [
        {"what": name, "val_accuracy": row["val"], "thousand_images": {"seconds": row["s"]}}
        for name, row in seen.items()
    ]
    if given.json:
        print(json.dumps({"rows": made, "machine": machine(), "n": given.seeds}))
        return
    for name, row in seen.items():
        accuracies = ", ".join(f"{one:.2%}" for one in row["val"])
        print(f"{name}: {accuracies} ({min(row['s']):.3f} s for 1000 images)")


if __name__ == "__main__":
    main()
