from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from dataclasses import replace

import optuna
import pytest

from steepest.experiments.ledger import Ledger, Trial, without_password
from steepest.mistake import Mistake


@pytest.fixture
def ledger(tmp_path):
    """A ledger with a trial of each state."""
    made = Ledger(tmp_path / "ledger.db", "a-study")
    made.create({"kind": "sweep"}, maximise=True)
    for seed, state in enumerate(("done", "failed", "pruned", "running")):
        trial = made.add({"lr": 0.1, "model": "mlp"}, seed)
        over = replace(trial, state=state, figures={"val_accuracy": 0.5 + seed / 10}, run=trial.folder)
        if state == "failed":
            over = replace(trial, state=state, problem="it diverged")
        if state != "running":
            made.tell(over, None if state == "failed" else 0.5 + seed / 10, [{"epoch": 1.0}] if state == "done" else ())
    made.close()
    return made


def test_what_was_told_is_read_again_by_another_process_and_by_optuna(ledger):
    other = Ledger(ledger.place, "a-study")
    trials = other.trials()
    assert [trial.state for trial in trials] == ["done", "failed", "pruned", "running"]
    assert trials[0] == Trial(0, {"lr": 0.1, "model": "mlp"}, 0, "done", {"val_accuracy": 0.5}, trials[0].folder)
    assert trials[1].problem == "it diverged" and trials[3].figures == {}
    assert other.about() == {"kind": "sweep"} and other.curve(0) == [{"epoch": 1.0}] and other.curve(1) == []
    stored = optuna.storages.RDBStorage(f"sqlite:///{ledger.place}")
    theirs = optuna.load_study(study_name="a-study", storage=stored).trials
    stored.engine.dispose()
    assert [each.state.name for each in theirs] == ["COMPLETE", "FAIL", "PRUNED", "RUNNING"]
    assert theirs[0].value == 0.5 and theirs[0].user_attrs["asked"] == {
        "settings": {"lr": 0.1, "model": "mlp"},
        "seed": 0,
    }


def test_optuna_says_nothing_and_its_log_is_left_as_it_was(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(optuna.logging._get_library_root_logger(), "propagate", True)
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        made = Ledger(tmp_path / "ledger.db", "a-study")
        for _ in range(2):
            made.create({}, maximise=True)
        made.tell(replace(made.add({}, 0), state="done"), 0.5)
        made.study(pruner=optuna.pruners.NopPruner())
        made.close()
        assert not caplog.records and optuna.logging.get_verbosity() == optuna.logging.INFO
        optuna.create_study()
        assert caplog.records, "the listener hears"
    finally:
        optuna.logging.set_verbosity(before)


def test_what_a_kill_left_half_told_counts_and_is_told_again(ledger, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*given):
        raise Killed

    trial = ledger.trials()[3]
    stored = ledger._storage()
    monkeypatch.setattr(stored, "set_trial_state_values", killed)
    over = replace(trial, state="done", figures={"val_accuracy": 0.9}, run="seed3")
    with pytest.raises(Killed):
        ledger.tell(over, 0.9)
    monkeypatch.undo()
    other = Ledger(ledger.place, "a-study")
    assert other.trials()[3] == over and other.half_told() == [3]
    other.tell(over, 0.9)
    assert other.half_told() == [] and other.study().trials[3].value == 0.9


def test_two_studies_may_share_a_database_and_see_only_their_own(ledger):
    other = Ledger(ledger.place, "another")
    assert other.about() is None and other.trials() == []
    other.create({"kind": "tune"}, maximise=False)
    assert other.add({}, 0).number == 0
    assert len(other.trials()) == 1 and len(ledger.trials()) == 4
    assert ledger.about() == {"kind": "sweep"}


def test_a_folder_is_named_by_settings_in_any_order_and_by_the_seed():
    one, same = Trial(0, {"lr": 0.1, "momentum": 0.9}, 3), Trial(7, {"momentum": 0.9, "lr": 0.1}, 3)
    assert one.folder == same.folder and one.folder.startswith("seed3-")
    others = [
        Trial(0, {"lr": 0.1}, 3),
        Trial(0, {"lr": 0.1, "momentum": 0.9}, 4),
        Trial(0, {"lr": 0.1, "momentum": 1}, 3),
    ]
    assert len({one.folder, *(each.folder for each in others)}) == 4


def test_a_ledger_that_is_not_there_or_that_has_no_tables_yet_is_empty(tmp_path):
    assert Ledger(tmp_path / "none.db", "x").trials() == []
    (tmp_path / "new.db").touch()
    assert Ledger(tmp_path / "new.db", "x").about() is None
    assert not (tmp_path / "none.db").exists()


def test_a_damaged_ledger_and_one_of_another_version_are_a_sentence(ledger, tmp_path):
    (tmp_path / "text.db").write_text("no database at all " * 100)
    with pytest.raises(Mistake, match=r"the ledger .*text\.db cannot be used: file is not a database"):
        Ledger(tmp_path / "text.db", "x").trials()
    with pytest.raises(Mistake, match="cannot be used: file is not a database"):
        Ledger(tmp_path / "text.db", "x").create({}, maximise=True)
    torn = tmp_path / "torn.db"
    shutil.copy(ledger.place, torn)
    torn.write_bytes(torn.read_bytes()[:8192])
    with pytest.raises(Mistake, match="cannot be used: database disk image is malformed"):
        Ledger(torn, "a-study").trials()
    for change, says in (
        ("UPDATE alembic_version SET version_num = 'v9.0.0.a'", r"its tables are Optuna's v9\.0\.0\.a, not v3"),
        ("UPDATE trial_user_attributes SET value_json = '{'", "is damaged"),
    ):
        shutil.copy(ledger.place, torn)
        with sqlite3.connect(torn) as open_:
            open_.execute(change)
        open_.close()
        with pytest.raises(Mistake, match=says):
            Ledger(torn, "a-study").trials()


def test_a_ledger_is_read_where_nothing_can_be_written(ledger, tmp_path, small_disk):
    place = small_disk(4000)
    shutil.copy(ledger.place, place / "ledger.db")
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    read = Ledger(place / "ledger.db", "a-study")
    assert read.trials() == ledger.trials()
    with pytest.raises(Mistake, match=r"cannot be used: (attempt to write|unable to open)"):
        read.add({}, 9)


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("postgresql://me:secret@host:5433/db", "postgresql://me@host:5433/db"),
        ("postgres://host/db?sslmode=require&password=secret", "postgres://host/db?sslmode=require"),
        ("postgresql://me:se%40cret@[::1]/db", "postgresql://me@[::1]/db"),
        ("postgresql:///db?host=/tmp/socket", "postgresql:///db?host=/tmp/socket"),
    ],
)
def test_an_address_is_shown_without_its_password(place, shown):
    assert without_password(place) == shown == str(Ledger(place, "x"))


@pytest.mark.parametrize(
    "place", ["mysql://me:secret@host/db", "postgresql://me:secret@host", "postgresql://h:x/db", "x"]
)
def test_an_address_that_is_none_is_refused_without_its_password(place):
    with pytest.raises(Mistake, match="a ledger elsewhere is at postgresql://USER@HOST/DATABASE") as told:
        Ledger(place, "x")
    assert "secret" not in str(told.value)


def test_what_is_kept_is_plain_json(ledger):
    with sqlite3.connect(ledger.place) as open_:
        rows = open_.execute("SELECT value_json FROM trial_user_attributes WHERE key = 'given'").fetchall()
    open_.close()
    assert json.loads(rows[0][0]) == {
        "state": "done",
        "figures": {"val_accuracy": 0.5},
        "run": ledger.trials()[0].run,
        "problem": None,
    }
