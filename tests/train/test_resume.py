"""A run that was stopped, killed or interrupted anywhere ends as if it never had been: weights and curve byte-equal."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import steepest
from steepest.mistake import Failure, Mistake
from steepest.recipe import Recipe
from steepest.run import TEMPORARY, Run
from steepest.train import checkpoint, machine, trained, watch
from steepest.train.request import Request

TIMES = ("time_s", "images_per_s")
WIDE: dict[str, Any] = {"width": 8, "micro_batch": 0, "epochs": 3.0}
RECIPES = {
    "muon": Recipe().replace(
        **WIDE,
        model="speedrun:bias_until=0.375",
        batch_size=100,
        optimizer="muon",
        lr=0.24,
        momentum=0.6,
        weight_decay=2e-6,
        schedule="triangular:start=0.2,peak=0.1,end=0",
        use=("pad_crop:pixels=1", "whitening_init", "label_smoothing:smoothing=0.2"),
    ),
    "nesterov": Recipe().replace(
        **WIDE,
        model="basic_cnn",
        batch_size=90,
        optimizer="nesterov",
        lr=0.1,
        momentum=0.9,
        schedule="cosine",
        use=("flip", "cutout:size=3", "ema:decay=0.9,every=2", "clip_norm"),
    ),
    "chosen": Recipe().replace(
        **(WIDE | {"epochs": 6.0}),
        model="basic_cnn",
        batch_size=60,
        optimizer="sgd",
        lr=0.05,
        use=("online_batch_selection:start=0.3,end=0.8",),
    ),
    "adam": Recipe().replace(
        model="mlp", batch_size=64, optimizer="adam", lr=0.01, epochs=2.4, use=("weight_decay_l2", "early_stopping")
    ),
}


def train(out, recipe="muon", **options):
    return steepest.train("digits", recipe=RECIPES[recipe], out=out, threads=1, **options)


def curve(run):
    return [{key: value for key, value in point.items() if key not in TIMES} for point in run.curve]


def weights(run):
    return (run.path / "model.safetensors").read_bytes()


def figures(run):
    return {key: value for key, value in run.result.items() if key not in (*TIMES, "run")}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Each recipe's run, never stopped."""
    out = tmp_path_factory.mktemp("straight")
    return {name: train(out / name, name) for name in RECIPES}


@pytest.fixture
def stop_after(monkeypatch):
    """Makes a training ask itself to stop after so many more steps, as a signal would."""
    plain = watch.Watcher.stepped

    def set_to(steps):
        left = [steps]

        def stepped(self, training, loss):
            left[0] -= 1
            if left[0] == 0:
                self.stop.set()
            return plain(self, training, loss)

        monkeypatch.setattr(watch.Watcher, "stepped", stepped)

    yield set_to


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_stopped_at_random_steps_ends_as_one_never_stopped(tmp_path, straight, stop_after, name):
    rng, stops, run = random.Random(name), 0, None
    while run is None or not run.done:
        stop_after(rng.choice([1, 2, 5, 9, 13]))
        try:
            run = train(tmp_path, name) if run is None else steepest.resume(run.path)
        except Failure as error:
            stops += 1
            run = Run.open(next(tmp_path.iterdir()))
            assert f"steepest resume {run.path} goes on" in str(error)
            assert load_file(run.path / "model.safetensors")
    assert stops >= 2
    assert weights(run) == weights(straight[name])
    assert curve(run) == curve(straight[name])
    assert figures(run) == figures(straight[name])
    assert not (run.path / "checkpoint.safetensors").exists()


def test_the_same_seed_is_the_same_run_and_another_is_not(tmp_path, straight):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    assert weights(train(tmp_path)) == weights(straight["muon"])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert float.fromhex("0x1p-1074") > 0  # a training flushes subnormal numbers to zero, but only its own
    assert weights(train(tmp_path, seed=1)) != weights(straight["muon"])


def test_checkpoints_change_nothing(tmp_path, straight):
    assert weights(train(tmp_path, checkpoint_s=1e-9)) == weights(straight["muon"])


@pytest.fixture
def stopped(tmp_path, stop_after):
    """A run that was stopped after nine steps; nothing stops it again."""
    stop_after(9)
    with pytest.raises(Failure, match="stopped at step 9"):
        train(tmp_path / "runs")
    stop_after(0)
    return Run.open(tmp_path / "runs" / "digits-custom-seed0")


def test_a_run_without_a_checkpoint_begins_again(stopped, straight):
    (stopped.path / "checkpoint.safetensors").unlink()
    (stopped.path / "model.safetensors").unlink()
    assert weights(steepest.resume(stopped.path)) == weights(straight["muon"])
    assert curve(stopped) == curve(straight["muon"])


def test_a_run_killed_between_model_and_result_only_ends(stopped, straight):
    run = steepest.resume(stopped.path)
    (run.path / "result.json").unlink()
    resumed = steepest.resume(run.path)
    assert weights(resumed) == weights(straight["muon"]) and figures(resumed) == figures(straight["muon"])


def test_measurements_after_the_checkpoint_are_made_again(stopped, straight):
    stopped.append({"step": 12, "val_loss": 99.0})
    with (stopped.path / "curve.jsonl").open("ab") as file:
        file.write(b'{"step": 13, "val')
    assert curve(steepest.resume(stopped.path)) == curve(straight["muon"])


def test_leftovers_of_a_killed_writer_are_removed(stopped):
    (stopped.path / f".checkpoint.safetensors.x{TEMPORARY}").write_text("torn")
    steepest.resume(stopped.path)
    assert not [path for path in stopped.path.iterdir() if path.name.startswith(".")]


def test_the_time_of_all_processes_is_added_up(stopped):
    before = checkpoint.load(stopped.path / "checkpoint.safetensors")["clock"]
    result = steepest.resume(stopped.path).result
    assert result["time_s"]["train"] > before["phases"]["train"] > 0
    assert result["time_s"]["total"] > before["elapsed_s"]
    assert (
        sum(result["time_s"][phase] for phase in ("load", "prepare", "train", "evaluate")) <= result["time_s"]["total"]
    )


def test_a_checkpoint_within_the_training_has_the_time_so_far(tmp_path, monkeypatch):
    saved: list[float] = []
    monkeypatch.setattr(checkpoint, "save", lambda path, state: saved.append(state["clock"]["phases"]["train"]))
    train(tmp_path, checkpoint_s=1e-9, epochs=1)
    assert len(saved) > 2 and saved[1] > 0 and saved == sorted(saved)


def test_a_finished_run_is_given_as_it_is(straight):
    run = straight["muon"]
    before = {path: path.read_bytes() for path in run.path.iterdir()}
    assert steepest.resume(run.path).result == run.result
    assert {path: path.read_bytes() for path in run.path.iterdir()} == before


def test_a_run_that_was_moved_goes_on(stopped, straight, tmp_path, monkeypatch):
    moved = shutil.copytree(stopped.path, tmp_path / "elsewhere" / "my run")
    monkeypatch.chdir(tmp_path)
    assert weights(steepest.resume("elsewhere/my run")) == weights(straight["muon"])
    assert moved == tmp_path / "elsewhere" / "my run"


def changed(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGES = {
    "data that changed": (lambda run: changed(run.path / "data.json", fingerprint="0"), "are not those that the run"),
    "no request": (lambda run: (run.path / "run.json").write_text("{}"), "is damaged"),
    "odd request": (lambda run: changed(run.path / "run.json", request={"seed": 0, "x": 1}), "is damaged"),
    "no fingerprint": (lambda run: (run.path / "data.json").write_text("{}"), "is damaged"),
    "no data": (lambda run: (run.path / "data.json").unlink(), "has no data.json"),
    "no recipe": (lambda run: (run.path / "recipe.toml").unlink(), "cannot read the recipe"),
    "odd recipe": (lambda run: (run.path / "recipe.toml").write_text("use = ['flop']"), "unknown technique"),
    "another recipe": (
        lambda run: (run.path / "recipe.toml").write_text(run.recipe.replace(width=4).to_toml()),
        "does not fit this run's recipe",
    ),
    "torn checkpoint": (
        lambda run: (run.path / watch.FILE).write_bytes((run.path / watch.FILE).read_bytes()[:5000]),
        "is damaged",
    ),
    "foreign checkpoint": (lambda run: checkpoint.save(run.path / watch.FILE, {"step": 1}), "is damaged|does not fit"),
    "damaged curve": (lambda run: (run.path / "curve.jsonl").write_text("{}\n"), "curve.jsonl is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_refused_with_a_sentence_and_left_alone(stopped, damage):
    do, said = DAMAGES[damage]
    do(stopped)
    before = {path: path.read_bytes() for path in stopped.path.iterdir()}
    with pytest.raises(Mistake, match=said) as caught:
        steepest.resume(stopped.path)
    assert len(str(caught.value).splitlines()) == 1
    assert {path: path.read_bytes() for path in stopped.path.iterdir() if "events" not in path.name} == {
        path: content for path, content in before.items() if "events" not in path.name
    }


def test_a_run_that_is_being_trained_cannot_be_resumed_beside(stopped):
    with stopped.alone(), pytest.raises(Mistake, match="is being trained by another process"):
        steepest.resume(stopped.path)


def test_an_early_stop_is_found_again_after_a_kill(tmp_path, monkeypatch):
    """A checkpoint of the step that ended the training would not know of the end."""
    recipe = Recipe().replace(model="mlp", batch_size=300, lr=0.0, epochs=30, use=("early_stopping:patience=2",))
    monkeypatch.setattr(trained, "save", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        steepest.train("digits", recipe=recipe, out=tmp_path, threads=1, checkpoint_s=1e-9)
    monkeypatch.undo()
    run = Run.open(next(tmp_path.iterdir()))
    assert steepest.resume(run.path).result["steps"] == 12
    assert steepest.train("digits", recipe=recipe, out=tmp_path, threads=1).result["steps"] == 12


def test_a_target_stops_the_training_at_its_measurement(tmp_path):
    run = train(tmp_path, "adam", target=0.3)
    assert run.result["ended"] == "target reached"
    assert run.result["val_accuracy"] >= 0.3 > max([0, *run.curve.column("val_accuracy")[:-1]])


def test_a_budget_that_was_stopped_goes_on_with_what_is_left(tmp_path, stop_after):
    stop_after(3)
    with pytest.raises(Failure, match="stopped at step 3"):
        train(tmp_path, time_s=20.0, width=8)
    stop_after(0)
    run = Run.open(next(tmp_path.iterdir()))
    path = run.path / watch.FILE
    state = checkpoint.load(path)
    state["clock"]["elapsed_s"] = state["pace"]["end_s"] - 0.3
    checkpoint.save(path, state)
    result = steepest.resume(run.path).result
    assert result["steps"] >= 3 and result["ended"] == "done" and result["time_s"]["total"] < 20.5


def test_a_budget_without_a_checkpoint_begins_again(tmp_path, stop_after):
    stop_after(2)
    with pytest.raises(Failure):
        train(tmp_path, time_s=20.0, width=8)
    run = Run.open(next(tmp_path.iterdir()))
    (run.path / watch.FILE).unlink()
    pace = run.read("run.json")["pace"]
    assert set(pace) == {"begin_s", "end_s", "last"}
    changed(run.path / "run.json", pace=pace | {"begin_s": 0.0, "end_s": 0.5})
    stop_after(0)
    assert steepest.resume(run.path).done


def test_sigterm_stops_at_the_next_step_with_a_usable_resumable_run(tmp_path, straight, monkeypatch):
    plain = watch.Watcher.stepped
    sent: list[int] = []

    def stepped(self, training, loss):
        if training.step == 9 and not sent:
            sent.append(training.step)
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, training, loss)

    monkeypatch.setattr(watch.Watcher, "stepped", stepped)
    with pytest.raises(Failure, match=r"stopped at step 9 of .*: steepest resume .* goes on"):
        train(tmp_path)
    run = Run.open(next(tmp_path.iterdir()))
    assert steepest.load(run).model is not None
    assert weights(steepest.resume(run.path)) == weights(straight["muon"])


CHILD = """
import sys, steepest
from steepest.cli import tell
recipe = steepest.Recipe(model="mlp", batch_size=64, optimizer="adam", lr=0.001, epochs=1e5)
try:
    steepest.train("digits", recipe=recipe, out=sys.argv[1], threads=1)
except BaseException as error:
    sys.exit(tell(error))
"""


def test_ctrl_c_stops_a_real_process_at_the_next_step_with_a_usable_resumable_run(tmp_path):
    with subprocess.Popen([sys.executable, "-c", CHILD, tmp_path], stderr=subprocess.PIPE, text=True) as process:
        begin = time.monotonic()
        while not list(tmp_path.glob("*/curve.jsonl")) and time.monotonic() - begin < 120:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1].splitlines()
    run = Run.open(next(tmp_path.iterdir()))
    step = checkpoint.load(run.path / watch.FILE)["training"]["step"]
    assert process.returncode == 1
    assert said == [f"steepest: stopped at step {step} of {run.path}: steepest resume {run.path} goes on"]
    assert steepest.load(run).model is not None
    assert load_file(run.path / "model.safetensors").keys() == steepest.load(run).model.state_dict().keys()


def test_real_processes_killed_at_random_moments_end_byte_equal():
    """bench/kills.py does it a hundred times; here a few, to see that it stays so."""
    bench = Path(__file__).parents[2] / "bench" / "kills.py"
    asked = [sys.executable, "-W", "ignore", str(bench), "--kills", "3", "--epochs", "30", "--json"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["good"] and told["kills"] == 3 and told["models_equal"] == told["trainings"] >= 1


TWINS = """
import os, sys, steepest.train.start
pids = []
for _ in range(3):
    pid = os.fork()
    if not pid:
        steepest.train("digits", recipe=steepest.Recipe(model="mlp", epochs=1), out=sys.argv[1], threads=1)
        os._exit(0)
    pids.append(pid)
sys.exit(sum(os.waitpid(pid, 0)[1] for pid in pids))
"""


def test_trainings_at_once_into_one_place_do_not_meet(tmp_path):
    subprocess.run([sys.executable, "-W", "ignore", "-c", TWINS, tmp_path], check=True)
    runs = [Run.open(path) for path in sorted(tmp_path.iterdir())]
    assert [run.path.name for run in runs] == [f"digits-custom-seed0{end}" for end in ("", "-2", "-3")]
    assert len({weights(run) for run in runs}) == 1
    assert [run.result["run"] for run in runs] == [str(run.path) for run in runs]


def test_a_full_disk_ends_a_training_with_a_sentence(small_disk):
    out = small_disk(600)
    with pytest.raises(Mistake, match=r"cannot write .*No space left"):
        train(out, "nesterov", width=64, use=["adam"])
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_a_run_that_cannot_be_laid_down_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "environment", lambda: {"not": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        train(tmp_path, "adam")
    assert list(tmp_path.iterdir()) == []


def test_signals_are_as_before_after_a_training(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(tmp_path, "adam", epochs=0.1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    caught = []
    thread = threading.Thread(target=lambda: caught.append(train(tmp_path, "adam", epochs=0.1)))
    thread.start()
    thread.join()
    assert caught[0].done


def test_what_was_asked_stands_in_the_folder(tmp_path):
    run = train(tmp_path, "adam", epochs=0.1, seed=5)
    asked = run.read("run.json")
    assert Request(**asked["request"]).seed == 5
    assert asked["threads"] == 1 and asked["device"] == "cpu"
    assert run.recipe == RECIPES["adam"].replace(epochs=0.1)
    assert Path(run.result["run"]) == run.path
    assert run.read("environment.json")["versions"]["torch"]


def test_half_precision_that_was_asked_for_and_is_not_to_be_had_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STEEPEST_KERNELS", "off")
    told = "half_convolution changes nothing"
    for use, said in ((), False), (("half_convolution",), True):  # the recipe alone wants it where it is to be had
        run = steepest.train("digits", out=tmp_path, threads=1, epochs=0.05, min_steps=0, width=2, use=use)
        assert run.recipe.model.name == "speedrun" and "half_convolution" in {one.name for one in run.recipe.use}
        assert (told in capsys.readouterr().err) == said == (told in str(run.read("run.json")["notes"]))
        assert run.read("run.json")["operators"] == "PyTorch's"
