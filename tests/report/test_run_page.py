"""The page of a run tells what the run folder holds, with n and interval, and nothing else."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from steepest import data, report
from steepest.mistake import Mistake
from steepest.report import mistakes
from steepest.run import Run
from steepest.stats import wilson


def test_the_headline_is_the_test_accuracy_with_its_interval_and_n(evaluated_run, read, tmp_path):
    page = read(report.write(evaluated_run.path, tmp_path / "page.html"))
    result = evaluated_run.result
    assert page.headline == f"{100 * result['test_accuracy']:.2f} %"
    low, high = wilson(round(result["test_accuracy"] * result["test_n"]), result["test_n"])
    assert page.saying(f"95 % interval {100 * low:.2f} – {100 * high:.2f} %, n = 359")
    assert page.facts["validation accuracy"].startswith(f"{100 * result['val_accuracy']:.2f} %")
    assert "n = 143" in page.facts["validation accuracy"] and "n = 143" in page.facts["validation loss"]


def test_it_tells_command_recipe_data_machine_and_commit(run, read):
    run.write("run.json", run.read("run.json") | {"command": "steepest train --seed 7"})
    page = read(report.write(run.path))
    assert "steepest train --seed 7" in page.text["pre"] and run.recipe.to_toml() in page.text["pre"]
    machine = run.read("environment.json")
    assert run.read("data.json")["fingerprint"] in page.facts["data fingerprint"]
    assert machine["processor"] in page.facts["machine"] and page.facts["commit"] == (machine["commit"] or "not known")


def test_the_charts_hold_the_curve(evaluated_run, read, tmp_path):
    charts = read(report.write(evaluated_run.path, tmp_path)).charts
    curve = evaluated_run.curve
    for what in ("accuracy", "loss"):
        training, validation, test = charts[what]["data"]
        assert training["y"] == curve.column(f"train_{what}") and validation["y"] == curve.column(f"val_{what}")
        assert test["y"] == [evaluated_run.result[f"test_{what}"]]
    assert charts["learning-rate"]["data"][0]["y"] == curve.column("lr")


def test_the_mistakes_are_the_surest_wrong_ones_each_with_its_own_image(run, read):
    page = read(report.write(run.path))
    found, images = run.read(mistakes.NAME), data.load("digits").test.images
    assert found["split"] == "test" and len(found["mistakes"]) > 3
    sure = [one["probability"] for one in found["mistakes"]]
    assert sure == sorted(sure, reverse=True)
    shown = [attributes["src"] for tag, attributes in page.elements if tag == "img"]
    for one, source in zip(found["mistakes"], shown, strict=True):
        assert one["true"] != one["predicted"]
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
            assert image.tobytes() == images[one["row"]].tobytes()
    classes = next(table for table in page.tables if table[0][0] == "class")
    assert [row[0] for row in classes[1:]] == [row["name"] for row in found["classes"]]


def test_mistakes_are_found_once_and_kept(run, capsys):
    (run.path / mistakes.NAME).unlink()
    first = report.write(run.path).read_text()
    assert "once" in capsys.readouterr().err
    (run.path / "model.safetensors").write_bytes(b"no network any more")
    assert report.write(run.path).read_text() == first
    assert capsys.readouterr().err == ""
    (run.path / mistakes.NAME).write_text("{ torn")
    assert "Mistakes and classes are not shown: " in report.write(run.path).read_text()


def test_a_trial_that_left_the_test_set_alone_is_judged_on_validation(run, read):
    result = run.result | {"test_accuracy": None, "test_loss": None, "test_n": None}
    run.write("result.json", result)
    (run.path / mistakes.NAME).unlink()
    page = read(report.write(run.path))
    assert page.headline == f"{100 * result['val_accuracy']:.2f} %"
    assert run.read(mistakes.NAME)["split"] == "val" and run.read(mistakes.NAME)["n"] == 143


@pytest.mark.parametrize("name", ["circles_run", "plane_run"])
def test_points_have_a_page_without_pictures(name, request, read, tmp_path):
    run = request.getfixturevalue(name)
    run = Run(shutil.copytree(run.path, tmp_path / "points"))
    page = read(report.write(run.path))
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert page.headline == (f"{run.result['test_loss']:.4g}" if name == "plane_run" else page.headline)
    assert page.charts["loss"]["data"]


def test_a_run_that_has_not_ended_says_so(run, read):
    (run.path / "result.json").unlink()
    page = read(report.write(run.path))
    assert page.saying(f"This run has not ended: it stands after epoch {run.curve.last('epoch'):g}.")
    assert page.headline == f"{100 * run.curve.last('val_accuracy'):.2f} %"
    (run.path / "curve.jsonl").unlink()
    assert read(report.write(run.path)).headline == "nothing"


def test_a_curve_that_diverged_is_drawn_as_far_as_it_goes(run, read):
    run.append({"step": 10**6, "epoch": 2.0, "train_loss": float("nan"), "val_loss": float("inf"), "lr": 0.1})
    loss = read(report.write(run.path)).charts["loss"]["data"]
    assert loss[0]["y"][-1] is None and loss[1]["y"][-1] is None


def test_hostile_names_stay_text(run, read):
    names = ['<script>alert("1")</script>', "</script><img src=x onerror=alert(2)>", "&amp; %{x} $1$ {{ 7*7 }}"]
    told = run.read("data.json") | {"data": names[0], "source": names[1]}
    run.write("data.json", told)
    run.write("run.json", run.read("run.json") | {"notes": [names[1]], "command": names[2]})
    row = {"n": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    wrong = {"split": "test", "row": 1, "true": names[0], "predicted": names[1], "probability": 0.9}
    evaluated = {
        "split": "test",
        "n": 6,
        "confusion": [[1, 2, 3]] * 3,
        "classes": [row | {"name": name} for name in names],
    }
    evaluated |= {"mistakes": [wrong | {"image": "javascript:alert(3)"}, wrong | {"image": '"><script>'}]}
    run.write(mistakes.NAME, evaluated)
    page = read(report.write(run.path))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 3 and "img" not in tags
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.facts["data"] == f"{names[0]} ({names[1]})" and names[2] in page.text["pre"]
    assert [row[0] for row in page.tables[0][1:]] == names
    shown = page.charts["confusion"]["data"][0]["x"]
    assert all("<" not in name for name in shown)  # Plotly reads HTML: it is given &lt;


def test_damaged_folders_are_a_sentence(run, tmp_path):
    with pytest.raises(Mistake, match=r"neither a run folder nor a study folder"):
        report.write(tmp_path)
    with pytest.raises(Mistake, match=r"there is no folder"):
        report.write(run.path, tmp_path / "no" / "such" / "page.html")
    (run.path / "environment.json").unlink()
    with pytest.raises(Mistake, match=r"has no environment\.json"):
        report.write(run.path)
    (run.path / "curve.jsonl").write_text("[1]\n")
    with pytest.raises(Mistake, match="damaged"):
        report.write(run.path)


def test_numbers_that_are_none_leave_gaps_not_errors(run, read):
    (run.path / mistakes.NAME).write_text(json.dumps({"classes": [3], "mistakes": "x", "confusion": [["a"]]}))
    run.write(
        "result.json", {"test_accuracy": "much", "val_accuracy": True, "time_s": 3, "params": [], "ended": "done"}
    )
    run.write("run.json", {"request": None, "notes": 7})
    assert read(report.write(run.path)).headline == "nothing"


def test_a_folder_that_cannot_be_written_is_reported_elsewhere(run, tmp_path, read):
    (run.path / mistakes.NAME).unlink()
    if os.geteuid() == 0:
        (run.path / mistakes.NAME).mkdir()  # root may write anywhere, but not over a folder
    else:
        run.path.chmod(0o555)
    page = read(report.write(run.path, tmp_path / "page.html"))
    assert page.headline == f"{100 * run.result['test_accuracy']:.2f} %"
    run.path.chmod(0o755)


def test_nothing_of_it_loads_torch(run):
    (run.path / mistakes.NAME).unlink()
    code = f"import sys; from steepest import report; report.write({str(run.path)!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert (run.path / mistakes.NAME).is_file()
