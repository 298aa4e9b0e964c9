from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from steepest.experiments import conduct
from steepest.experiments.executors import local
from steepest.experiments.executors.local import Local
from steepest.experiments.sweep import sweep
from steepest.mistake import Failure, Mistake
from steepest.recipes import load
from steepest.train.request import Request
from steepest.train.start import train


def conducting(folder):
    """Of a study of a few trainings in one real worker."""
    options = {"out": str(folder), "epochs": 3, "model": "mlp", "workers": 1, "threads": 1}
    return conduct.conducting(*conduct.prepare("sweep", "circles", "lab", 1, options))


@pytest.fixture
def conductor(tmp_path):
    with conducting(tmp_path) as one:
        yield one


def job(data="circles"):
    recipe = load("lab").replace(model="mlp", width=None, epochs=1)
    return {"recipe": recipe.as_dict(), "request": Request(data=data).as_dict()}


def killing(conductor, lr):
    """What hears of a training's points and kills the worker where the rate is this."""

    def heard(trial, point):
        if trial.settings["lr"] == lr:
            (worker,) = conductor.executor.workers
            os.kill(worker.process.pid, signal.SIGKILL)
        return False

    return heard


def test_a_training_that_kills_its_worker_three_times_has_failed_and_the_rest_goes_on(conductor):
    heard = killing(conductor, 0.05)
    trials = (conductor.add({"lr": lr}, 0) for lr in (0.1, 0.05, 0.2))
    conductor.run(trials, heard=heard)
    first, killed, last = conductor.study.trials()
    assert (first.state, killed.state, last.state) == ("done", "failed", "done")
    assert "its process died 3 times, the last time by signal 9" in killed.problem and "workers.log" in killed.problem
    assert [row["failed"] for row in conductor.study.rows()] == [0, 1, 0]


def test_what_died_is_tried_again_when_the_study_goes_on_and_what_failed_by_itself_is_not(tmp_path):
    wanted: list[Any] = [({"lr": 0.05}, 0), ({"lr": 1e30}, 0)]
    with conducting(tmp_path) as first:
        first.run(iter([first.add(*each) for each in wanted]), heard=killing(first, 0.05))
        assert [trial.state for trial in first.known.values()] == ["failed", "failed"]
    with conducting(tmp_path) as second:
        assert [trial.settings["lr"] for trial in second.unfinished] == [0.05]
        assert [trial.state for trial in second.train(wanted)] == ["done", "failed"]
    with conducting(tmp_path) as third:
        assert third.unfinished == [] and [trial.state for trial in third.study.trials()] == ["done", "failed"]
        assert [each.state.name for each in third.study.ledger.study().trials] == ["COMPLETE", "FAIL"]


def test_a_worker_that_is_told_to_end_by_somebody_else_is_replaced_and_its_training_goes_on(conductor):
    ended: list[int] = []

    def heard(trial, point):
        if not ended:
            (worker,) = conductor.executor.workers
            ended.append(worker.process.pid)
            os.kill(worker.process.pid, signal.SIGTERM)
        return False

    conductor.run(iter([conductor.add({}, 0)]), heard=heard)
    (trial,) = conductor.study.trials()
    assert trial.state == "done" and trial.problem is None
    epochs = [point["epoch"] for point in conductor.study.run(trial).curve]
    assert epochs == sorted(set(epochs)) and epochs[-1] == 3


def test_workers_that_die_before_they_begin_fail_no_training_but_the_study(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    executor = Local(1, tmp_path / "log")
    executor.submit([{"number": 0}])
    with pytest.raises(Failure, match="no worker lives long enough to begin: the last one died with status 1"):
        executor.wait()
    executor.close()


def test_the_processor_is_shared_by_as_many_workers_as_was_found_and_they_are_kept(tmp_path):
    executor = Local(1, tmp_path / "log")
    try:
        workers, threads, seconds = executor.shares(job(), 2)
        assert (workers, threads) in ((1, 2), (2, 1)) and seconds > 0
        assert executor.slots == len(executor.workers) == workers
        assert all(worker.process.poll() is None for worker in executor.workers)
        kept = list(executor.workers)
        executor.submit([job() | {"number": 0, "request": job()["request"] | {"out": str(tmp_path), "run_name": "a"}}])
        assert executor.workers == kept
        events: list[dict[str, Any]] = []
        while not (events and "end" in events[-1]):
            events += executor.wait()
        assert events[-1]["state"] == "done"
    finally:
        executor.close()
    assert not executor.workers


def test_no_more_workers_are_tried_than_the_memory_holds_or_than_is_asked(tmp_path, monkeypatch):
    for most, memory in ((1, 1e15), (None, 1.0)):
        monkeypatch.setattr(local, "memory", lambda memory=memory: memory)
        executor = Local(1, tmp_path / "log")
        try:
            assert executor.shares(job(), 2, most)[:2] == (1, 2)
        finally:
            executor.close()


def test_data_that_are_not_there_are_a_sentence_when_workers_are_timed(tmp_path):
    executor = Local(1, tmp_path / "log")
    try:
        with pytest.raises(Mistake, match="there is no file or folder"):
            executor.shares(job("/nowhere/photos"), 2)
    finally:
        executor.close()


def test_how_the_machine_is_shared_is_kept_for_going_on(tmp_path, monkeypatch):
    timed = []

    def shares(self, job, cores, most=None):
        timed.append(cores)
        self.slots = 2
        return 2, 1, 0.5

    monkeypatch.setattr(Local, "shares", shares)
    monkeypatch.setattr(conduct, "cores", lambda: 2)
    options = {"out": str(tmp_path), "epochs": 1, "model": "mlp"}
    for _ in range(2):
        with conduct.conducting(*conduct.prepare("sweep", "circles", "lab", 1, dict(options))) as one:
            one.share(8)
            assert (vars(one.executor)["slots"], one.threads) == (2, 1)
    assert timed == [2]
    monkeypatch.setattr(conduct, "cores", lambda: 4)
    with conduct.conducting(*conduct.prepare("sweep", "circles", "lab", 1, dict(options))) as one:
        one.share(8)
    assert timed == [2, 4]
    with conduct.conducting(*conduct.prepare("sweep", "circles", "lab", 1, options | {"workers": 3})) as one:
        one.share(8)
        assert (vars(one.executor)["slots"], one.threads) == (3, 1) and timed == [2, 4]


def test_the_memory_is_that_of_the_machine_or_less():
    assert 1e8 < local.memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


RATES: dict[str, Any] = {"lr": [0.02, 0.05, 0.1, 0.2], "optimizer": ["sgd", "adam"]}


def test_many_small_trainings_are_lanes_each_as_by_itself_and_others_are_trained_beside(tmp_path, monkeypatch):
    options: dict[str, Any] = {"recipe": "lab", "model": "mlp", "epochs": 3}
    study = sweep("circles", grid=RATES, seeds=2, out=str(tmp_path), **options)
    trials = study.trials()
    assert len(trials) == 16 and {trial.state for trial in trials} == {"done"}
    assert {trial.run for trial in trials} == {None} and not (study.path / "runs").exists()
    for trial in (trials[1], trials[-1]):
        alone = train(
            "circles", seed=trial.seed, test=False, out=tmp_path / "alone", **options, **dict[str, Any](trial.settings)
        )
        assert trial.figures["val_loss"] == pytest.approx(alone.result["val_loss"], abs=1e-4)
        assert [point["epoch"] for point in study.curve(trial)] == [point["epoch"] for point in alone.curve]
    assert [row["n"] for row in study.rows()] == [2] * 8
    monkeypatch.setattr(conduct, "LANES", 2)
    more: dict[str, Any] = {"lr": [0.3], "optimizer": ["sgd", "adagrad"]}
    again = sweep("circles", grid=more, out=str(tmp_path), **options)
    assert again.trials()[:16] == trials and len(again.trials()) == 18
    lane, beside = again.trials()[16:]
    assert lane.state == beside.state == "done" and lane.run is None and beside.run == beside.folder


def test_a_stack_whose_worker_dies_is_trained_one_after_the_other(tmp_path):
    executor = Local(1, tmp_path / "log")
    jobs = []
    for number in range(3):
        request = {"out": str(tmp_path), "run_name": f"run{number}", "seed": number, "threads": 1}
        jobs.append(job() | {"number": number, "request": job()["request"] | request})
    try:
        executor.submit(jobs)
        os.kill(executor.workers[0].process.pid, signal.SIGKILL)
        ended: dict[int, dict[str, Any]] = {}
        while len(ended) < 3:
            ended |= {event["end"]: event for event in executor.wait() if "end" in event}
    finally:
        executor.close()
    assert {(event["state"], event["run"]) for event in ended.values()} == {("done", f"run{n}") for n in range(3)}
