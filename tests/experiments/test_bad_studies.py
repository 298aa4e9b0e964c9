"""What is wrong with a study is one sentence before any work, and nothing is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from steepest import cli
from steepest.experiments import conduct
from steepest.experiments.executors.local import Local
from steepest.experiments.study import Study
from steepest.experiments.sweep import sweep
from steepest.mistake import Mistake

from .processes import COMMAND, TINY


@pytest.fixture(autouse=True)
def idle(monkeypatch):
    """Nothing is trained."""

    def trains(*given):
        raise AssertionError("a training was begun")

    monkeypatch.setattr(conduct, "_executor", lambda *given: Idle())
    monkeypatch.setattr(Idle, "submit", trains)


class Idle:
    free = 1

    def submit(self, jobs): ...

    def close(self): ...


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--grid", "lrr=0.1"], "unknown setting 'lrr': did you mean 'lr'?"),
        (["--grid", "label_smothing.smoothing=0.1"], "did you mean 'label_smoothing'"),
        (["--grid", "label_smoothing.smoothin=0.1"], "smoothing"),
        (["--grid", "lr="], "the grid over lr has an empty value"),
        (["--grid", "lr=0.1,,0.2"], "the grid over lr has an empty value"),
        (["--grid", "lr"], "an axis of a grid is written name=value,value"),
        (["--grid", ""], "an axis of a grid is written name=value,value"),
        (["--grid", "lr=0.1,0.1"], "the values of lr must differ"),
        (["--grid", "lr=0.1", "--grid", "lr=0.2"], "the grid has lr twice"),
        (["--grid", "lr=fast"], "lr must be a number"),
        (["--grid", "seed=1,2"], "seeds are an axis of their own: --seeds"),
        (["--grid", "use=cutout"], "a technique's name with true or false switches it"),
        (["--grid", "cutout=1"], "cutout is a technique: it is true or false"),
        (["--grid", "sgd=true,false"], "sgd cannot be left out"),
        (["--grid", "resnet9.widths=2"], "resnet9 is not the recipe's model"),
        ([], "a sweep varies settings: give a grid, ranges or both"),
        (["--grid", "lr=0.1", "--list", "lr=0.2"], "a sweep varies settings: give a grid, ranges or both"),
        (["--range", "lr=0.1"], "a range is written name=low..high"),
        (["--range", "lr=1..0.1"], "needs 0 < low < high"),
        (["--range", "lr=0.1..1", "--grid", "lr=0.1"], "lr is given both values and a range"),
        (["--range", "lr=0.1..1", "--draws", "0"], "draws is the number of random settings, from 1"),
        (["--list", "lr"], "settings are listed as name=value name=value"),
        (["--grid", "lr=0.1", "--seeds", "0"], "seeds is the number of trainings of each setting"),
        (["--grid", "lr=0.1", "--workers", "0"], "workers must be a whole number"),
        (["--grid", "lr=0.1", "--figure", "test_accuracy"], "choosing by the test set would spoil it"),
        (["--grid", "lr=0.1", "--figure", "val_acc"], "unknown figure 'val_acc'"),
        (["--grid", "lr=0.1", "--set", "val_fraction=0"], "val_fraction must be above 0"),
        (["--grid", "lr=0.1", "--name", "../up"], "a study's name is that of its folder"),
        (["--grid", "lr=0.1", "--storage", "mysql://host/db"], "a ledger elsewhere is at postgresql://"),
        (["--grid", "epochs=1,2", "--time", "1s"], "--time chooses the number of epochs itself"),
        (["--grid", "swa=false,true", "--grid", "ema=false,true"], "(swa=True ema=True)"),
    ],
)
def test_what_cannot_be_swept_is_a_sentence_before_any_work(given, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if "resnet9" not in str(given) and "--time" not in given:
        given = [*given, "--model", "mlp"]
    monkeypatch.setattr("sys.argv", ["steepest", "sweep", "digits", "--recipe", "lab", *given])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and not out
    assert err.startswith("steepest: ") and says in err and err.count("\n") == 1
    assert not Path("studies").exists()


def test_a_million_trainings_are_begun_only_by_yes_and_their_cost_is_said_first(tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(Local, "shares", lambda self, job, cores, most=None: (1, cores, 2.0))
    monkeypatch.setattr(Local, "close", lambda self: closed.append(True))
    values = [0.001 * k for k in range(1, 1001)]
    options = TINY | {"grid": {"lr": values, "weight_decay": values}, "out": str(tmp_path)}
    with pytest.raises(Mistake, match=r"this asks for 1,000,000 trainings, about 23.1 days on this machine: --yes"):
        sweep("digits", **options)
    assert closed and not list(tmp_path.iterdir())
    with pytest.raises(AssertionError, match="a training was begun"):
        sweep("digits", yes=True, **options)


def test_a_value_that_cannot_be_is_found_in_a_grid_of_any_size(tmp_path):
    values = [0.001 * k for k in range(1, 1001)]
    with pytest.raises(Mistake, match="weight_decay must be"):
        sweep("digits", grid={"lr": values, "weight_decay": [*values, -1.0]}, out=str(tmp_path), **TINY)


@pytest.fixture
def begun(tmp_path):
    """The folder of a study without trainings, and how to ask for it again."""

    def again(**options):
        asked, how = conduct.prepare("sweep", "digits", "lab", 1, {"out": str(tmp_path), "model": "mlp"} | options)
        with conduct.conducting(asked, how) as conductor:
            return conductor.study

    again()
    return tmp_path / "digits-lab-sweep", again


def test_two_studies_of_one_name_with_different_recipes_are_refused_and_the_first_stays(begun):
    path, again = begun
    before = (path / "study.json").read_bytes()
    for changed, says in (
        ({"lr": 0.3}, "whose recipe's lr is 0.1, not 0.3"),
        ({"target": 0.9}, "whose request's target is None, not 0.9"),
        ({"figure": "val_loss"}, "whose figure is 'val_accuracy', not 'val_loss'"),
        ({"storage": "postgresql://127.0.0.1:1/x"}, "storage is None, not 'postgresql"),
    ):
        with pytest.raises(
            Mistake, match=f"there is a study 'digits-lab-sweep' already, {says}.*: give another --name|refused"
        ):
            again(**changed)
        assert (path / "study.json").read_bytes() == before
    again(data_dir=str(path))  # where the data lie may change


def test_a_study_of_a_newer_version_is_refused(begun):
    path, again = begun
    about = json.loads((path / "study.json").read_text())
    (path / "study.json").write_text(json.dumps(about | {"version": 99}))
    for use in (again, lambda: Study.open(path)):
        with pytest.raises(Mistake, match=r"was written by a newer steepest \(version 99; this one reads 1\)"):
            use()


def test_a_damaged_study_is_a_sentence_and_nothing_is_written_over_it(begun):
    path, again = begun
    for text, says in (("{", "cannot be read"), ("[]", "must hold one JSON object"), ("{}", "it has no name")):
        (path / "study.json").write_text(text)
        with pytest.raises(Mistake, match=says):
            again()
        assert (path / "study.json").read_text() == text


def test_a_damaged_ledger_is_a_sentence_and_nothing_is_written_over_it(begun):
    path, again = begun
    (path / "ledger.db").write_bytes(b"x" * 5000)
    with pytest.raises(Mistake, match=r"the ledger .* cannot be used: file is not a database"):
        again()
    assert (path / "ledger.db").read_bytes() == b"x" * 5000


def test_a_folder_that_cannot_be_written_is_a_sentence(begun, small_disk):
    path, _ = begun
    place = small_disk(4000)
    shutil.copytree(path, place / path.name)
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    options = {"out": str(place), "grid": {"lr": [0.1]}, **TINY}
    with pytest.raises(Mistake, match=r"read-only|Read-only"):
        sweep("digits", **options | {"epochs": None})
    study = Study.open(place / path.name)
    assert study.trials() == [] and study.rows() == []


def test_runs_lists_the_studies_of_a_folder_and_the_trainings_of_a_study(begun, monkeypatch, capsys):
    path, _ = begun
    ledger = Study.open(path).ledger
    ledger.add({"lr": 0.1, "batch_size": 32}, 3)
    ledger.close()
    runner = CliRunner()
    shown = runner.invoke(cli.app, ["runs", "--out", str(path)]).output.splitlines()
    assert shown[0].split() == ["trial", "lr", "batch_size", "seed", "state", "val_accuracy", "train_s", "run"]
    assert shown[1].split() == ["0", "0.1", "32", "3", "running"]
    told = json.loads(runner.invoke(cli.app, ["runs", "--out", str(path), "--json"]).output)
    assert told["study"] == str(path) and told["trials"][0]["settings"] == {"lr": 0.1, "batch_size": 32}
    (path.parent / "broken").mkdir()
    (path.parent / "broken" / "study.json").write_text("{")
    told = json.loads(runner.invoke(cli.app, ["runs", "--out", str(path.parent), "--json"]).output)
    assert [row["study"] for row in told["studies"]] == [str(path.parent / "broken"), str(path)]
    assert "cannot be read" in told["studies"][0]["problem"]
    assert told["studies"][1] | {"kind": "sweep", "trials": 1, "done": 0} == told["studies"][1]


def test_many_rows_are_shown_in_columns(capsys):
    from steepest.cli_show import show_rows

    show_rows([{"a": number, "b": "x\ny"} for number in range(1000)], ("a", "b"), False, "rows")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1001 and lines[0] == "a    b" and lines[-1] == "999  x y"


def test_a_command_line_of_a_sweep_reaches_it(tmp_path, monkeypatch):
    asked: dict[str, Any] = {}
    monkeypatch.setattr(
        "steepest.experiments.sweep.sweep", lambda data, **given: asked.update(given, data=data) or Shown()
    )
    given = ["--grid", "lr=0.1,0.2", "--range", "momentum=0..0.9", "--seeds", "3", "--draws", "4", "--json"]
    done = CliRunner().invoke(cli.app, ["sweep", "circles", *given, *COMMAND, "--out", str(tmp_path), "--yes"])
    assert done.exit_code == 0 and json.loads(done.output)["rows"] == []
    assert asked["grid"] == {"lr": [0.1, 0.2]} and asked["ranges"] == {"momentum": (0.0, 0.9, "linear")}
    assert (asked["data"], asked["seeds"], asked["draws"], asked["yes"], asked["epochs"]) == (
        "circles",
        3,
        4,
        True,
        1.0,
    )


class Shown:
    path, about = "a-study", {"figure": "val_accuracy", "request": {"test": False}}

    def rows(self):
        return []
