"""Trains on a record file far larger than memory should hold, and reports the peak of resident memory.

    python bench/stream.py [--gb 10] [--folder DIR] [--json]

Writes a synthetic record file (64×64 RGB, ten classes), then, in a process of its own: opens it, takes the
statistics of all images, and trains a small network on one pass. Peak memory is VmHWM and ru_maxrss of that process;
what the operating system keeps of the file in its own cache is not counted. The file is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interleave import machine
from torch import nn

from steepest.data.batches import Batches, statistics
from steepest.data.dataset import Split
from steepest.data.records import Records, Writer
from steepest.techniques.augment.flip import flip

SIDE, CLASSES, BATCH = 64, 10, 512
LIMIT_GB = 2.0


def write(path: Path, gigabytes: float) -> int:
    """Noise, a little brighter from class to class; gives the number of images."""
    random = np.random.default_rng(0)
    part = 2048
    rounds = max(2, round(gigabytes * 1e9 / (part * SIDE * SIDE * 3)))
    with Writer(path) as writer:
        for _ in range(rounds):
            targets = random.integers(0, CLASSES, part)
            noise = np.frombuffer(random.bytes(part * SIDE * SIDE * 3), np.uint8).reshape(part, SIDE, SIDE, 3)
            writer.append(noise // 2 + (targets * 12).astype(np.uint8)[:, None, None, None], targets)
    return part * rounds


def train(path: Path) -> dict[str, Any]:
    """One pass over the file; figures of this process."""
    torch.manual_seed(0)
    begin = time.perf_counter()
    images = Records(path)
    split = Split(images, images.targets)
    index = np.arange(len(split))
    figures = statistics(split, index)
    prepared = time.perf_counter()
    batches = Batches(split, index, figures, batch_size=BATCH, pixels=[flip])
    model = nn.Sequential(
        nn.Conv2d(3, 16, 8, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for inputs, targets in batches.epoch(0):
        loss = nn.functional.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    done = time.perf_counter()
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    high = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return {
        "file_gb": round(path.stat().st_size / 1e9, 2),
        "images": len(split),
        "streamed": batches.streamed,
        "steps": len(losses),
        "first_loss": round(float(np.mean(losses[:10])), 3),
        "last_loss": round(float(np.mean(losses[-10:])), 3),
        "statistics_s": round(prepared - begin, 1),
        "epoch_s": round(done - prepared, 1),
        "images_per_s": round(len(losses) * BATCH / (done - prepared)),
        "vm_hwm_gb": round(high * 1024 / 1e9, 3),
        "ru_maxrss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gb", type=float, default=10.0)
    parser.add_argument("--folder", type=Path, help="where to write the file; default: a temporary folder")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        print(json.dumps(train(given.train)))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "synthetic.records"
        begin = time.perf_counter()
        write(path, given.gb)
        written = time.perf_counter() - begin
        command = [sys.executable, __file__, "--train", str(path)]
        child = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures = {"write_s": round(written, 1)} | json.loads(child.stdout)
    figures["within_limit"] = max(figures["vm_hwm_gb"], figures["ru_maxrss_gb"]) < LIMIT_GB
    if given.json:
        print(json.dumps(figures | {"limit_gb": LIMIT_GB, "machine": machine()}))
    else:
        print("\n".join(f"{name:<16}{figure:>12}" for name, figure in figures.items()))
    raise SystemExit(0 if figures["within_limit"] else 1)


if __name__ == "__main__":
    main()
