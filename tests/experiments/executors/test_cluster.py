"""A real Ray cluster of two nodes' worth of processes on this machine, with workers and a node that are killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from steepest.experiments.executors.cluster import home, packed
from steepest.experiments.study import Study
from steepest.experiments.sweep import sweep
from steepest.mistake import Mistake
from steepest.run import Run

from ..processes import COMMAND, TINY, started, until

NODES = """
from ray.cluster_utils import Cluster
cluster = Cluster()
nodes = [cluster.add_node(num_cpus=1, include_dashboard=False), cluster.add_node(num_cpus=1)]
print(cluster.address, flush=True)
while (order := input()) == "lose a node":
    cluster.remove_node(nodes[1], allow_graceful=False)
    print("lost", flush=True)
cluster.shutdown()
"""
SWEEP = ["sweep", "digits", "--grid", "lr=0.02,0.05,0.1", *COMMAND, "--epochs", "150", "--on", "ray"]
PRUNED = """
from steepest.experiments import conduct
if __name__ == "__main__":
    options = {"model": "mlp", "epochs": 5000, "on": "ray"}
    with conduct.conducting(*conduct.prepare("tune", "digits", "lab", 1, options)) as conductor:
        trials = [conductor.add({"lr": lr}, 0) for lr in (0.1, 0.2)]
        conductor.run(iter(trials), heard=lambda trial, point: point["epoch"] >= 2)
"""


class Nodes:
    """Two nodes of a core each."""

    def __init__(self, folder):
        pipes = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": (folder / "log").open("w"),
            "text": True,
        }
        self.settings = {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", NODES], env=os.environ | self.settings, start_new_session=True, **pipes
        )
        pipes["stderr"].close()
        self.settings["RAY_ADDRESS"] = self.process.stdout.readline().strip()
        assert self.settings["RAY_ADDRESS"], (folder / "log").read_text()

    def order(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def training(self):
        """The ids of the processes that train."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if path.read_bytes().startswith(b"ray::trained"):
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    one = Nodes(tmp_path_factory.mktemp("nodes"))
    yield one
    one.order("end")
    one.process.communicate(timeout=60)


def told(study):
    timed = ("train_s", "total_s")
    return {
        trial.key: (trial.state, {name: value for name, value in trial.figures.items() if name not in timed})
        for trial in study.trials()
    }


def test_points_come_to_whoever_hears_them_and_a_training_can_be_ended(nodes, tmp_path):
    command = [sys.executable, "-c", PRUNED]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | nodes.settings, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    study = Study.open(tmp_path / "studies" / "digits-lab-tune")
    assert [trial.state for trial in study.trials()] == ["pruned", "pruned"]
    assert all(2 <= study.run(trial).curve[-1]["epoch"] < 5000 and study.run(trial).done for trial in study.trials())


def test_a_sweep_on_two_nodes_comes_to_the_same_though_a_worker_and_a_node_are_killed_in_the_middle(nodes, tmp_path):
    with started([*SWEEP, "--json"], tmp_path, **nodes.settings) as process:
        until(lambda: len(nodes.training()) == 2)
        os.kill(nodes.training()[0], signal.SIGKILL)
        runs = tmp_path / "studies" / "digits-lab-sweep" / "runs"
        until(lambda: list(runs.glob("seed*/result.json")), 120)
        nodes.order("lose a node")
        assert nodes.process.stdout.readline() == "lost\n"
        out, err = process.communicate(timeout=180)
    assert process.returncode == 0 and "Traceback" not in err, err
    study = Study.open(tmp_path / "studies" / "digits-lab-sweep")
    assert [row["n"] for row in json.loads(out)["rows"]] == [1, 1, 1], study.trials()
    here = sweep("digits", grid={"lr": [0.02, 0.05, 0.1]}, workers=1, out=str(tmp_path / "b"), **TINY | {"epochs": 150})
    assert told(study) == told(here)
    for trial in study.trials():
        run = study.run(trial)
        assert run.done and run.curve.column("val_loss") == here.run(trial).curve.column("val_loss")
        names = [{path.name.partition(".1")[0] for path in one.path.iterdir()} for one in (run, here.run(trial))]
        assert names[0] == names[1]
    assert {path.name for path in (study.path / "runs").iterdir()} == {trial.folder for trial in study.trials()}
    assert len(study.trials()) == 3


def test_a_cluster_that_cannot_be_reached_is_a_sentence(tmp_path, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{probe.getsockname()[1]}"
    for address, says in ((nobody, "refused"), ("somewhere", "invalid literal|empty"), ("127.0.0.1:x", "invalid")):
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(Mistake, match=f"the Ray cluster at {address} cannot be reached: .*({says})"):
            sweep("circles", grid={"lr": [0.1]}, on="ray", out=str(tmp_path), **TINY)
    assert Study.open(tmp_path / "circles-lab-sweep").trials() == []


def test_a_run_folder_comes_home_whole_in_the_place_of_its_part(tmp_path, circles_run):
    part = Run(tmp_path / "runs" / circles_run.path.name)
    part.path.mkdir(parents=True)
    part.write("run.json", {})
    home(packed(circles_run.path), tmp_path / "runs")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [circles_run.path.name]
    files = {path.name: path.read_bytes() for path in circles_run.path.iterdir()}
    assert {path.name: path.read_bytes() for path in part.path.iterdir()} == files
