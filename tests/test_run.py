"""The run folder: whole or not at all, whatever is killed and whatever disk is full."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steepest.mistake import Mistake
from steepest.recipe import Recipe
from steepest.run import TEMPORARY, Curve, Run, writing


@pytest.fixture
def run(tmp_path):
    made = Run.draft(tmp_path / "runs")
    made.write("run.json", {})
    return made.rename("run")


def test_a_draft_is_hidden_and_a_rename_shows_it(tmp_path):
    draft = Run.draft(tmp_path / "a" / "runs")
    assert draft.path.name.startswith(".")
    run = draft.rename("digits")
    assert run.path == tmp_path / "a" / "runs" / "digits" and run.path.is_dir()
    assert not draft.path.exists()
    assert run.path.stat().st_mode & 0o777 == 0o777 & ~umask()


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_names_that_are_taken_are_counted_on(tmp_path):
    (tmp_path / "digits").write_text("a file")
    names = []
    for _ in range(3):
        draft = Run.draft(tmp_path)
        draft.write("run.json", {})
        names.append(draft.rename("digits").path.name)
    assert names == ["digits-2", "digits-3", "digits-4"]


def test_many_at_once_never_share_a_folder(tmp_path):
    barrier = threading.Barrier(8)

    def one(number):
        draft = Run.draft(tmp_path)
        draft.write("run.json", {"number": number})
        barrier.wait()
        return draft.rename("digits").path, number

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(one, range(8)))
    assert len({path for path, _ in made}) == 8
    assert all(Run.open(path).read("run.json") == {"number": number} for path, number in made)


def test_a_name_that_cannot_be_is_refused_at_once(tmp_path):
    with pytest.raises(Mistake, match=r"cannot write the run"):
        Run.draft(tmp_path).rename("x" * 300)


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/steepest"])
def test_a_place_that_cannot_hold_runs_is_refused(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(Mistake, match=r"cannot write runs under"):
        Run.draft(tmp_path / place)


def test_a_folder_without_a_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(Mistake, match=r"is not a run folder: it has no run\.json"):
            Run.open(path)


def test_what_is_written_is_read_again(run):
    fields = {"a": 0.1, "b": [1, None, "ü\n"], "c": {"d": True}}
    run.write("data.json", fields)
    assert run.read("data.json") == fields
    assert sorted(path.name for path in run.path.iterdir()) == ["data.json", "run.json"]


def test_numbers_that_json_has_not_are_never_written(run):
    run.write("result.json", {"loss": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.write("result.json", {"loss": math.nan})
    assert run.result == {"loss": 1.0}
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"5"])
def test_a_damaged_file_is_one_sentence(run, content):
    (run.path / "data.json").write_bytes(content)
    with pytest.raises(Mistake, match=r"data\.json") as caught:
        run.read("data.json")
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_result_says_that_the_run_did_not_get_there(run):
    assert not run.done
    with pytest.raises(Mistake, match=r"has no result\.json: it did not get that far"):
        _ = run.result


def test_the_recipe_is_read_from_the_folder(run):
    recipe = Recipe().replace(name="mine", lr=0.25, use=("flip",))
    (run.path / "recipe.toml").write_text(recipe.to_toml())
    assert run.recipe == recipe


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(run):
    run.write("data.json", {"old": True})
    with pytest.raises(ZeroDivisionError), writing(run.path / "data.json") as temporary:
        temporary.write_text("half")
        assert temporary.name.endswith(TEMPORARY) and temporary.name.startswith(".")
        raise ZeroDivisionError
    assert run.read("data.json") == {"old": True}
    assert sorted(path.name for path in run.path.iterdir()) == ["data.json", "run.json"]


def test_a_folder_that_is_gone_is_told(tmp_path):
    with pytest.raises(Mistake, match=r"cannot write .*No such file"), writing(tmp_path / "gone" / "a.json"):
        raise AssertionError


def test_a_reader_sees_the_old_file_or_the_new_one(run):
    texts = {"0" * 200_000, "1" * 200_000}
    path, seen, stop = run.path / "text", set(), threading.Event()
    path.write_text("0" * 200_000)

    def read():
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        with writing(path) as temporary:
            temporary.write_text(str(number % 2) * 200_000)
    stop.set()
    reader.join()
    assert seen <= texts and len(seen) == 2


def test_a_killed_writer_leaves_the_old_file(run):
    run.write("data.json", {"old": True})
    code = "import os,sys; from pathlib import Path; from steepest.run import writing\n"
    code += "with writing(Path(sys.argv[1])) as part: part.write_text('half'); os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", code, run.path / "data.json"], check=False)
    assert killed.returncode == -9
    assert run.read("data.json") == {"old": True}
    assert [path.name.endswith(TEMPORARY) for path in run.path.iterdir()].count(True) == 1
    with run.alone():
        assert sorted(path.name for path in run.path.iterdir()) == ["data.json", "run.json"]


def test_one_process_at_a_time_trains_a_run(run):
    code = "import sys; from steepest.run import Run\nwith Run.open(sys.argv[1]).alone(): pass"
    with run.alone():
        beside = subprocess.run([sys.executable, "-c", code, run.path], capture_output=True, text=True, check=False)
    assert "Mistake" in beside.stderr and "is being trained by another process" in beside.stderr
    after = subprocess.run([sys.executable, "-c", code, run.path], capture_output=True, text=True, check=False)
    assert after.returncode == 0, after.stderr


def test_an_error_within_is_not_taken_for_another_process(run):
    with pytest.raises(BlockingIOError), run.alone():
        raise BlockingIOError


def test_a_run_without_a_curve_has_an_empty_one(run):
    assert run.curve == [] and run.curve.column("loss") == [] and run.curve.last("loss") is None


def test_the_curve_gives_columns_and_last_figures(run):
    run.append({"step": 1, "train_loss": 2.0})
    run.append({"step": 2, "train_loss": 0.0, "val_loss": 3.0})
    run.append({"step": 3})
    assert run.curve == [{"step": 1, "train_loss": 2.0}, {"step": 2, "train_loss": 0.0, "val_loss": 3.0}, {"step": 3}]
    assert isinstance(run.curve, Curve)
    assert run.curve.column("train_loss") == [2.0, 0.0]
    assert run.curve.last("train_loss") == 0.0 and run.curve.last("val_loss") == 3.0


points = st.lists(st.integers(1, 50), unique=True, max_size=8).map(sorted)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(points, st.integers(0, 60), st.binary(max_size=20).filter(lambda torn: b"\n" not in torn))
def test_a_rewind_keeps_what_was_before_and_forgets_a_torn_line(run, steps, step, torn):
    (run.path / "curve.jsonl").unlink(missing_ok=True)
    for each in steps:
        run.append({"step": each, "loss": 1 / each})
    if torn:
        with (run.path / "curve.jsonl").open("ab") as file:
            file.write(torn)
    whole = [{"step": each, "loss": 1 / each} for each in steps]
    assert run.curve == whole
    kept = run.rewind(step)
    assert kept == [point for point in whole if point["step"] <= step] == run.curve
    run.append({"step": 99})
    assert [json.loads(line) for line in (run.path / "curve.jsonl").read_text().splitlines()] == run.curve
    assert run.curve == [*kept, {"step": 99}]


@pytest.mark.parametrize("line", [b"{", b"5", b"[]", b"{}", b"\xff", b""])
def test_a_damaged_curve_is_one_sentence(run, line):
    (run.path / "curve.jsonl").write_bytes(b'{"step": 1}\n' + line + b"\n")
    with pytest.raises(Mistake, match=r"curve\.jsonl is damaged"):
        _ = run.curve


def test_remove_takes_the_whole_folder(run):
    run.remove()
    assert not run.path.exists() and run.path.parent.is_dir()


def test_a_full_disk_is_told_and_the_old_file_is_intact(small_disk):
    run = Run.draft(small_disk(64)).rename("run")
    run.write("data.json", {"old": True})
    with pytest.raises(Mistake, match=r"cannot write .*No space left"):
        run.write("data.json", {"new": "x" * 100_000})
    assert run.read("data.json") == {"old": True}
    assert [path.name for path in run.path.iterdir()] == ["data.json"]
    with pytest.raises(Mistake, match=r"cannot write .*No space left"):
        for step in range(10_000):
            run.append({"step": step, "loss": 0.1})
    assert len(run.curve) > 100


def test_a_draft_that_a_killed_process_left_is_removed_and_a_young_one_is_not(tmp_path):
    old, young = Run.draft(tmp_path), Run.draft(tmp_path)
    os.utime(old.path, (0, 0))
    Run.draft(tmp_path)
    assert not old.path.exists() and young.path.exists()
