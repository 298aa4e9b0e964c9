"""SIGKILLs at random moments across a digits training and its resumes: does the end differ, is a file ever torn?

    python bench/kills.py --kills 100

A process that has loaded torch forks children that train; each child is killed after a random time, or while it writes
a file, and the next one resumes. Some kills hit fresh `steepest resume` processes. After every kill each file is read.
At the end of each training its model must be byte-equal, and its curve the same, as those of a run never killed; where
kills are left, the next training, with the next seed, takes them.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ["OMP_NUM_THREADS"] = "1"  # so that no thread stands in the way of a fork

import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.utils.tensorboard  # noqa: F401 - so that no child has to load it
from safetensors.torch import load_file

import steepest
from steepest.run import TEMPORARY, Run
from steepest.train import checkpoint, start
from steepest.train.watch import FILE

CHECKPOINT_S = 0.05
TIMES = ("time_s", "images_per_s")
FRESH = "import sys; sys.argv = ['steepest', 'resume', sys.argv[1]]; from steepest.cli import main; main()"


def child(work: Callable[[], Any]) -> tuple[int, int]:
    """Does `work` in a forked process; gives its id and a pipe that has a byte as soon as it takes steps."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    status = 1
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        plain = vars(start)["fit"]
        vars(start)["fit"] = lambda *told: (os.write(writing, b"."), plain(*told))[1]
        work()
        status = 0
    finally:
        os._exit(status)


def train(out: Path, seed: int, epochs: float | None) -> None:
    steepest.train("digits", seed=seed, out=out, threads=1, epochs=epochs, checkpoint_s=CHECKPOINT_S)


def run_in(out: Path) -> Run | None:
    """The run under a folder, if one has appeared."""
    found = [path for path in out.glob("*") if not path.name.startswith(".")]
    assert len(found) <= 1, found
    return Run.open(found[0]) if found else None


def go_on(out: Path, seed: int, epochs: float | None) -> None:
    """Resumes the run under a folder; trains where there is none yet."""
    run = run_in(out)
    if run is None:
        train(out, seed, epochs)
    else:
        steepest.resume(run.path)


def parts(out: Path) -> list[Path]:
    """Files of a run that are being written, or were when their writer was killed."""
    return [path for path in out.glob("[!.]*/.*") if path.name.endswith(TEMPORARY)]


def wait(pid: int, most_s: float, until: Callable[[], Any] = lambda: False) -> int | None:
    """Waits for a process to end, at most so long, or until something holds; gives its status if it ended."""
    begin = time.monotonic()
    while time.monotonic() - begin < most_s and not until():
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0005)
    return None


def check(run: Run) -> None:
    """Reads every file of a run; raises for a torn one."""
    for path in run.path.glob("[!.]*"):
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.name == FILE:
            checkpoint.load(path)
        elif path.suffix == ".safetensors":
            load_file(path)
    assert run.recipe.name and run.curve == sorted(run.curve, key=lambda point: point["step"])


def kill_once(out: Path, rng: random.Random, seed: int, epochs: float | None, begin_s: float) -> Counter[str]:
    """Trains or resumes and kills it at a random moment; tells whether it was killed, and when.

    begin_s: about how long a process takes to its first step.
    """
    run = run_in(out)
    fresh = run is not None and rng.random() < 0.06
    if fresh and run is not None:
        command = [sys.executable, "-c", FRESH, str(run.path)]
        pid = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid
        status, reading = wait(pid, rng.uniform(0, 8)), None
    else:
        pid, reading = child(lambda: go_on(out, seed, epochs))
        if rng.random() < 0.3:
            status = wait(pid, rng.uniform(0, begin_s))
        else:
            status = wait(pid, 600, lambda: select.select([reading], [], [], 0)[0])
            status = wait(pid, rng.uniform(0, 1.5)) if status is None else status
        if status is None and rng.random() < 0.4:
            status = wait(pid, 3, lambda: parts(out))
    if status is None:
        os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    stepped = False
    if reading is not None:
        stepped = bool(os.read(reading, 1))
        os.close(reading)
    if status != -signal.SIGKILL:
        assert status == 0, f"a child ended with status {status}"
        return Counter()
    run = run_in(out)
    if run is not None:
        check(run)
    return Counter(
        kills=1,
        checks=run is not None,
        fresh_processes=fresh,
        while_writing=bool(parts(out)),
        before_the_first_step=not (stepped or fresh),
        before_the_run_folder=run is None,
    )


def whole(work: Callable[[], Any]) -> float:
    """Lets a child work to its end; gives the seconds to its first step."""
    begin = time.monotonic()
    pid, reading = child(work)
    os.read(reading, 1)
    begin_s = time.monotonic() - begin
    os.close(reading)
    assert os.waitpid(pid, 0)[1] == 0
    return begin_s


def curve(run: Run) -> list[dict[str, float]]:
    return [{key: value for key, value in point.items() if key not in TIMES} for point in run.curve]


def one_training(place: Path, rng: random.Random, seed: int, epochs: float | None, kills: int) -> Counter[str]:
    """Kills a training until it has ended or all kills are used, and compares its end with a run never killed."""
    seen: Counter[str] = Counter()
    straight, killed = place / f"straight{seed}", place / f"killed{seed}"
    begin_s = whole(lambda: train(straight, seed, epochs))
    while seen["kills"] < kills:
        told = kill_once(killed, rng, seed, epochs, begin_s)
        seen += told
        if not told:
            break
    else:
        whole(lambda: go_on(killed, seed, epochs))
    one, other = run_in(straight), run_in(killed)
    assert one is not None and other is not None and other.done
    model = "model.safetensors"
    seen["trainings"] = 1
    seen["models_equal"] = (one.path / model).read_bytes() == (other.path / model).read_bytes()
    seen["curves_equal"] = curve(one) == curve(other)
    seen["leftovers"] = len(parts(killed))
    seen["steps"] = other.result["steps"]
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--epochs", type=float, default=None, help="of each training; the recipe's own by default")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rng, total, begin = random.Random(asked.seed), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        while total["kills"] < asked.kills:
            total += one_training(Path(place), rng, total["trainings"], asked.epochs, asked.kills - total["kills"])
    good = total["models_equal"] == total["curves_equal"] == total["trainings"] and not total["leftovers"]
    if asked.json:
        print(json.dumps({**total, "good": good, "time_s": round(time.monotonic() - begin, 1)}))
    else:
        print(
            f"{total['kills']} kills over {total['trainings']} trainings of {total['steps']} steps in all: "
            f"{total['models_equal']} models byte-equal, {total['curves_equal']} curves equal, no torn file in "
            f"{total['checks']} checks, {total['leftovers']} leftovers ({total['before_the_first_step']} kills before "
            f"the first step, {total['before_the_run_folder']} before the run folder, {total['while_writing']} while "
            f"writing, {total['fresh_processes']} of fresh processes)"
        )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
