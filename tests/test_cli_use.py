from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from steepest import cli, data


@pytest.fixture
def steepest(monkeypatch, capsys):
    """The command line in this process: gives (status, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["steepest", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("STEEPEST_DATA", "STEEPEST_MIRROR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def photos(tmp_path):
    """Two digits as files with difficult names."""
    folder = tmp_path / "my photos"
    folder.mkdir()
    test = data.load("digits").test
    assert test is not None
    for name, image in zip(("[red] ü", "a\x1b[31m"), test.images[:2], strict=True):
        Image.fromarray(image[:, :, 0]).save(folder / f"{name}.png")
    return folder


def one_json(out):
    """Standard output as exactly one JSON object, on one line."""
    assert out.count("\n") == 1
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


# evaluate


def test_evaluate_prints_one_json_object(steepest, digits_run):
    status, out, err = steepest("evaluate", digits_run.path, "--json")
    found = one_json(out)
    assert (status, err) == (0, "")
    assert found["accuracy"] == digits_run.result["test_accuracy"] and found["low"] < found["accuracy"] < found["high"]
    assert {"run", "data", "split", "n", "loss", "classes", "confusion", "mistakes"} < set(found)


def test_evaluate_prints_accuracy_with_interval_table_confusion_and_mistakes(steepest, digits_run):
    status, out, _ = steepest("evaluate", digits_run.path, "--split", "val")
    assert status == 0 and f"accuracy {digits_run.result['val_accuracy']:.2%} (n=143, 95 % interval" in out
    assert "on val split of digits" in out and "precision" in out and "confusion:" in out and "most confident" in out


def test_evaluate_on_a_regression_prints_the_loss(steepest, plane_run):
    status, out, _ = steepest("evaluate", plane_run.path)
    assert status == 0 and f"loss (mean squared error) {plane_run.result['test_loss']:.4f} (n=600)" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("circles",), "has classes that the network does not know: negative, positive"),
        (("--split", "tests"), "--split"),
        (("no_such_data",), "unknown data set 'no_such_data'"),
    ],
)
def test_evaluate_refuses_in_one_sentence(steepest, digits_run, arguments, sentence):
    status, out, err = steepest("evaluate", digits_run.path, *arguments)
    assert (status, out) == (2, "") and sentence in err and err.count("\n") == 1


# predict


def test_predict_prints_files_with_their_classes(steepest, digits_run, photos):
    status, out, err = steepest("predict", digits_run.path, photos, "--json", "--top", 2)
    found = one_json(out)
    assert (status, err, found["left_out"]) == (0, "", [])
    assert [one["file"] for one in found["predictions"]] == [str(file) for file in sorted(photos.iterdir())]
    for one in found["predictions"]:
        assert [set(each) for each in one["classes"]] == [{"name", "probability"}] * 2


def test_the_table_shows_names_whole_and_harmless(steepest, digits_run, photos):
    status, out, _ = steepest("predict", digits_run.path, photos)
    assert status == 0 and f"{photos}/[red] ü.png" in out and f"{photos}/a\\x1b[31m.png" in out and "\x1b" not in out
    assert out.count("%") == 6


def test_a_name_that_is_no_unicode_is_printed_and_is_valid_json(steepest, digits_run, photos):
    name = photos / os.fsdecode(b"\xff.png")
    min(photos.iterdir()).rename(name)
    status, out, _ = steepest("predict", digits_run.path, name, "--json")
    assert status == 0 and one_json(out)["predictions"][0]["file"] == str(name)
    status, out, _ = steepest("predict", digits_run.path, name)
    assert status == 0 and f"{photos}/\\udcff.png" in out


def test_predict_names_bad_files_and_goes_on(steepest, digits_run, photos):
    bad = photos / "z.jpg"
    bad.write_text("no image")
    status, out, err = steepest("predict", digits_run.path, photos, "--json")
    found = one_json(out)
    assert status == 0 and len(found["predictions"]) == 2
    assert found["left_out"] == [{"file": str(bad), "reason": f"{bad} is not an image of a kind that can be read"}]
    assert err == f"left out: {found['left_out'][0]['reason']}\n"


def test_predict_with_nothing_good_is_wrong_usage(steepest, digits_run, tmp_path):
    status, out, err = steepest("predict", digits_run.path, tmp_path / "a.png", "--json")
    assert (status, out) == (2, "") and "steepest: none of 1 files can be predicted: " in err


@pytest.mark.parametrize("content", [b"", b"no network", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_network_is_one_sentence(steepest, digits_run, tmp_path, photos, content):
    run = shutil.copytree(digits_run.path, tmp_path / "run")
    (run / "model.safetensors").write_bytes(content)
    for command in (("predict", run, photos), ("evaluate", run), ("export", run, "--to", "safetensors")):
        status, out, err = steepest(*command)
        assert (status, out) == (2, "") and "is damaged or no network of steepest" in err and err.count("\n") == 1


def test_points_take_no_files(steepest, circles_run, photos):
    status, _, err = steepest("predict", circles_run.path, photos)
    assert status == 2 and "it takes no pictures" in err


def test_a_missing_run_is_one_sentence(steepest, tmp_path, photos):
    for command in (("predict", tmp_path, photos), ("evaluate", tmp_path), ("export", tmp_path, "--to", "onnx")):
        status, _, err = steepest(*command)
        assert status == 2 and err == f"steepest: {tmp_path} is not a run folder: it has no run.json\n"


# export


@pytest.mark.parametrize("to", ["onnx", "torchscript", "safetensors"])
def test_export_prints_the_place_of_the_file(steepest, digits_run, tmp_path, to):
    status, out, err = steepest("export", digits_run.path, "--to", to, "--out", tmp_path / "net", "--json")
    assert (status, err) == (0, "")
    assert one_json(out) == {"file": str(tmp_path / "net"), "to": to, "bytes": (tmp_path / "net").stat().st_size}
    status, out, _ = steepest("export", digits_run.path, "--to", to, "--out", tmp_path)
    assert status == 0 and out.startswith(f"{tmp_path}/model.")


def test_export_needs_to_know_the_form(steepest, digits_run):
    assert steepest("export", digits_run.path)[0] == 2
    status, _, err = steepest("export", digits_run.path, "--to", "onx")
    assert status == 2 and "'onnx', 'torchscript', 'safetensors'" in err


# data


def test_data_list_tells_every_known_set(steepest):
    status, out, _ = steepest("data", "list", "--json")
    assert status == 0 and [entry["name"] for entry in one_json(out)["data"]] == list(data.NAMES)
    status, out, _ = steepest("data", "list")
    assert status == 0 and all(name in out for name in data.NAMES) and "to be fetched" in out and "170 MB" in out


def test_data_list_loads_no_torch_and_prints_on_any_terminal():
    """A real process, whose terminal knows ASCII only."""
    told = "import sys; from steepest import cli; sys.argv[1:] = ['data', 'list']\ntry: cli.main()\nfinally: "
    check = f"{told}assert 'torch' not in sys.modules"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"") and rb"8\xd78\xd71" in done.stdout


def test_data_info_tells_what_a_set_holds(steepest):
    status, out, _ = steepest("data", "info", "digits", "--json")
    found = one_json(out)
    assert status == 0 and found["splits"]["test"]["n"] == 359 and found["problems"] == []
    status, out, _ = steepest("data", "info", "digits")
    assert status == 0 and "0, 1, 2, 3" in out and "8×8×1" in out and "1,438" in out


def test_data_info_tells_what_is_wrong_with_a_folder(steepest, tmp_path, photos):
    for name in ("cats", "dogs"):
        shutil.copytree(photos, tmp_path / "set" / name)
    (tmp_path / "set" / "cats" / "bad\x1b.png").write_text("no image")
    status, out, _ = steepest("data", "info", tmp_path / "set")
    assert status == 0 and "cats, dogs" in out and "bad\\x1b.png is not an image of a kind that can be read" in out
    assert "\x1b" not in out
    assert "only images without a class" in steepest("data", "info", photos)[1]


def test_data_info_refuses_what_is_not_there(steepest):
    status, _, err = steepest("data", "info", "digit")
    assert status == 2 and "did you mean 'digits'" in err


def test_data_fetch_prints_the_place(steepest, monkeypatch, tmp_path):
    asked = []

    def fetch(*given):
        asked.append(given)
        return tmp_path

    monkeypatch.setattr(data, "fetch", fetch, raising=False)
    status, out, _ = steepest("data", "fetch", "cifar10", "--data-dir", tmp_path)
    assert (status, out) == (0, f"{tmp_path}\n") and asked == [("cifar10", tmp_path, None)]
    assert one_json(steepest("data", "fetch", "cifar10", "--json")[1]) == {"name": "cifar10", "place": str(tmp_path)}


def test_data_fetch_refuses_what_cannot_be_fetched(steepest):
    for name, sentence in (("digits", "digits needs no download"), ("cifar", "did you mean 'cifar10'")):
        status, _, err = steepest("data", "fetch", name)
        assert status == 2 and sentence in err


@pytest.mark.parametrize("command", ["evaluate", "predict", "export", "data list", "data fetch", "data info"])
def test_every_command_has_help_with_an_example(steepest, command):
    status, out, _ = steepest(*command.split(), "--help")
    assert status == 0 and f"Example: steepest {command}" in out and "--json" in out
