"""A real `steepest sweep` and its workers, killed at random moments until it ends: nothing is lost, nothing twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from steepest.experiments.study import Study
from steepest.run import Run

from .processes import COMMAND, started, until, workers_of

SWEEP = ["sweep", "circles", "--grid", "lr=0.02,0.05,0.1", "--seeds", "2", "--workers", "2", *COMMAND]
NAME = "circles-lab-sweep"


def told(study):
    """What came of each training, but for its times and its number."""
    timed = ("train_s", "total_s")
    return {
        trial.key: (trial.state, {name: value for name, value in trial.figures.items() if name not in timed})
        for trial in study.trials()
    }


def curve(run):
    return [
        {name: value for name, value in point.items() if name not in ("time_s", "images_per_s")} for point in run.curve
    ]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The sweep, never killed."""
    folder = tmp_path_factory.mktemp("straight")
    with started([*SWEEP, "--json"], folder) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert len(json.loads(out)["rows"]) == 3
    return Study.open(folder / "studies" / NAME)


def once(folder, rng):
    """Begins the sweep, or goes on with it; kills a worker, or none, and then the whole, at moments at which something
    was just written. Gives whether it ended by itself."""
    with started(SWEEP, folder) as process:
        if rng.random() < 0.5:
            moment(process, folder, rng)
            if workers := workers_of(process):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(workers), signal.SIGKILL)
        moment(process, folder, rng)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            return False
        assert process.returncode == 0, process.stderr.read()
        return True


def moment(process, folder, rng):
    """Waits until a run folder, a result or a row of the ledger appears, or the process ends; and a little longer."""
    study = folder / "studies" / NAME
    name = rng.choice(("runs/seed*", "runs/*/result.json", "ledger.db*"))

    def seen():
        found = set()
        for path in study.glob(name):
            with contextlib.suppress(FileNotFoundError):
                found.add((path, path.stat().st_size if path.parent == study else 0))
        return found

    before = seen()
    until(lambda: seen() - before or process.poll() is not None)
    time.sleep(rng.choice((0.0, 0.001, 0.01, 0.1)))


def test_whatever_is_killed_every_training_is_done_once_with_the_figures_of_a_sweep_never_killed(straight, tmp_path):
    rng, rounds = random.Random(5), 0
    while not once(tmp_path, rng):
        rounds += 1
        assert rounds < 40
        ledger = Study(tmp_path / "studies" / NAME)
        if (ledger.path / "study.json").is_file():
            keys = [trial.key for trial in ledger.trials()]
            assert len(keys) == len(set(keys))
    assert rounds >= 3
    study = Study.open(tmp_path / "studies" / NAME)
    assert told(study) == told(straight) and len(told(study)) == len(study.trials()) == 6
    names = {path.name for path in (study.path / "runs").iterdir()}
    assert names == {trial.folder for trial in study.trials()} == {trial.run for trial in study.trials()}
    other = {trial.key: straight.run(trial) for trial in straight.trials()}
    for trial in study.trials():
        run = study.run(trial)
        assert run.done and curve(run) == curve(other[trial.key])
        assert {path.name for path in run.path.iterdir()} >= {"model.safetensors", "recipe.toml", "data.json"}
        assert not list(run.path.glob(".*"))
    assert {row["n"] for row in study.rows()} == {2}
    states = [each.state.name for each in study.ledger.study().trials]
    assert states == ["COMPLETE"] * 6  # Optuna's own tools see the same


def test_ctrl_c_lets_workers_write_their_checkpoints_says_how_to_go_on_and_the_same_command_does(tmp_path):
    command = ["sweep", "digits", "--grid", "lr=0.1,0.2", "--workers", "2", *COMMAND]
    command[command.index("--epochs") + 1] = "4000"
    runs = tmp_path / "studies" / "digits-lab-sweep" / "runs"
    with started(command, tmp_path) as process:
        until(lambda: len(list(runs.glob("seed*/curve.jsonl"))) == 2)
        workers = workers_of(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and not out
    assert err.splitlines()[-1].endswith(
        "stopped after 0 trainings of studies/digits-lab-sweep: the same command goes on"
    )
    assert "Traceback" not in err
    study = Study.open(runs.parent)
    assert [trial.state for trial in study.trials()] == ["running", "running"]
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    ended = {path: Run(path).curve[-1]["epoch"] for path in runs.iterdir()}
    assert len(ended) == 2 and all((path / "checkpoint.safetensors").is_file() for path in ended)
    with started(command, tmp_path) as process:
        until(lambda: all(Run(path).curve[-1]["epoch"] > epoch + 1 for path, epoch in ended.items()))
        assert all(
            [p["epoch"] for p in Run(path).curve] == sorted({p["epoch"] for p in Run(path).curve}) for path in ended
        )


def test_a_second_process_is_refused_and_the_first_goes_on(tmp_path):
    with started(SWEEP, tmp_path) as first:
        until(lambda: workers_of(first))
        with started(SWEEP, tmp_path) as second:
            out, err = second.communicate(timeout=60)
        assert (second.returncode, out) == (2, "")
        assert err == f"steepest: the study studies/{NAME} is being run by another process\n"
        assert first.wait(120) == 0
    assert {trial.state for trial in Study.open(tmp_path / "studies" / NAME).trials()} == {"done"}
