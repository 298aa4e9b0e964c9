"""Bad input on the command line: one sentence on standard error, status 2, nothing on standard output, nothing made."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from steepest import cli
from steepest.train import checkpoint
from steepest.train.watch import FILE


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("STEEPEST_KERNELS", "off")  # in an empty cache they would be compiled, and that said
    monkeypatch.delenv("STEEPEST_DATA", raising=False)


@pytest.fixture
def typed(monkeypatch, capsys):
    """Types a command; gives its status, standard output and standard error."""

    def type_in(*words):
        monkeypatch.setattr(sys, "argv", ["steepest", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return ended.value.code, shown.out, shown.err

    return type_in


@pytest.fixture
def refused(typed, tmp_path):
    """Types a command that is refused: status 2 and one line on standard error, nothing else; gives the sentence."""

    def type_in(*words):
        status, out, err = typed(*words)
        assert status == 2, err
        assert out == ""
        assert err.startswith("steepest: ") and err.endswith("\n") and len(err.splitlines()) == 1, err
        assert not (tmp_path / "runs").is_dir() or not list((tmp_path / "runs").glob("digits*"))
        return err.removeprefix("steepest: ").strip()

    return type_in


TRAIN = [
    (["digit"], "unknown data set 'digit': did you mean 'digits'"),
    (["circles:nois=0.1"], "unknown setting of circles 'nois': did you mean 'noise'"),
    (["circles:noise=9"], "noise of circles must be from 0 to 0.5"),
    (["./nowhere"], "there is no file or folder ./nowhere"),
    (["/nowhere/at all/ü"], "there is no file or folder /nowhere/at all/ü"),
    (["--recipe", "quik"], "unknown recipe 'quik': did you mean 'quick'"),
    (["--recipe", "my.toml"], "there is no recipe file my.toml"),
    (["--model", "resnet19"], "unknown model 'resnet19': did you mean 'resnet"),
    (["--model", "resnet9:depth=3"], "unknown setting of resnet9 'depth'"),
    (["--model", "mlp:hidden=a"], "hidden of mlp is layer sizes"),
    (["--use", "flop"], "unknown technique 'flop': did you mean 'flip'"),
    (["--use", "cutout:sizes=3"], "unknown setting of cutout 'sizes': did you mean 'size'"),
    (["--use", "cutout:size=-1"], "cutout: size must be in [0, 4096]: got -1"),
    (["--use", "cutout:size=nan"], "cutout: size must be"),
    (["--use", "ema:decay=1"], "ema: decay must be in [0, 1): got 1"),
    (["--use", "early_stopping", "--set", "val_fraction=0"], "no images of digits are held out to validate"),
    (["--use", "pad_crop:mode=wrap"], "pad_crop: unknown mode 'wrap'"),
    (["--use", ""], "a technique is written name:key=value"),
    (["--drop", "mixup"], "unknown technique to drop 'mixup'"),
    (["--set", "lr=nan"], "lr must be a number from 0 to 1e12: got nan"),
    (["--set", "lr=-0.1"], "lr must be a number from 0 to 1e12: got -0.1"),
    (["--set", "lr=inf"], "lr must be a number from 0 to 1e12: got inf"),
    (["--set", "lr"], "--set is written key=value: got 'lr'"),
    (["--set", "learning_rate=1"], "unknown recipe field 'learning_rate'"),
    (["--set", "use=flip"], "techniques are switched on by --use"),
    (["--set", "optimizer=adamm"], "unknown optimizer 'adamm': did you mean 'adam'"),
    (["--set", "schedule=cosin"], "unknown schedule 'cosin': did you mean 'cosine'"),
    (["--set", "name=../../x"], "name must be 1 to 60 letters"),
    (["--set", "width=0"], "width must be a whole number from 1"),
    (["--set", "micro_batch=1"], "cannot learn from one image at a time"),
    (["--epochs", "0"], "epochs must be a number above 0"),
    (["--epochs", "-1"], "epochs must be a number above 0"),
    (["--epochs", "nan"], "epochs must be a number above 0"),
    (["--epochs", "inf"], "epochs must be a number above 0"),
    (["--epochs", "many"], "--epochs"),
    (["--batch-size", "0"], "batch_size must be a whole number from 1"),
    (["--batch-size", "1"], "cannot learn from one image at a time"),
    (["--batch-size", "5000"], "batch_size 5000 is larger than the data: digits has 1295 training images"),
    (["--time", "0.01s"], "0.01 s are too short to train at all: this machine needs"),
    (["--time", "0"], "time must be a number above 0 s"),
    (["--time", "ten"], "a time is written like 90s, 10m or 1h30m: got 'ten'"),
    (["--time", "-5s"], "a time is written like"),
    (["--time", "10s", "--epochs", "3"], "give --time or --epochs, not both"),
    (["--target", "94"], "target is a validation accuracy in (0, 1], like 0.94: got 94"),
    (["--target", "0"], "target is a validation accuracy"),
    (["--target", "nan"], "target is a validation accuracy"),
    (["--target", "0.9", "--set", "val_fraction=0"], "no images of digits are held out to validate"),
    (["--threads", "0"], "threads must be a whole number in [1, 1024]: got 0"),
    (["--threads", "9999"], "threads must be a whole number in [1, 1024]: got 9999"),
    (["--seed", "-1"], "seed must be a whole number from 0"),
    (["--seed", "x"], "--seed"),
    (["--device", "tpu"], "'tpu' is not one of"),
    (["--nonsense"], "No such option"),
    (["digits", "mnist"], "unexpected extra argument"),
    (["spiral", "--model", "resnet9"], "takes images, not points"),
    (["spiral", "--set", "resolution=8"], "resolution 8 is for pictures"),
    (["reg_plane", "--target", "0.9"], "reg_plane is a regression set"),
]


@pytest.mark.parametrize(("words", "said"), TRAIN, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_training_that_cannot_be_is_refused_and_nothing_is_made(refused, tmp_path, words, said):
    assert said in refused("train", *words)
    assert not (tmp_path / "runs").exists()


def test_a_budget_shorter_than_the_programs_start_is_refused(tmp_path):
    code = "import sys; sys.argv = ['steepest', 'train', '--time', '0.3s', '--threads', '1']\n"
    code += "from steepest.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert (
        done.stderr.startswith("steepest: 0.3 s are too short to train at all") and len(done.stderr.splitlines()) == 1
    )
    assert not (tmp_path / "runs").exists()


def test_a_gpu_that_is_not_there_is_refused(refused, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "PyTorch finds no GPU on this machine: use --device cpu" in refused("train", "--device", "cuda")


RECIPES = [
    ("x.toml", "learning_rate = 1", "unknown recipe field 'learning_rate'"),
    ("x.toml", "lr = ", "is not valid TOML"),
    ("x.toml", "use = ['flop']", "unknown technique 'flop'"),
    ("x.toml", "use = 'flip'", "use must be a list of techniques"),
    ("x.toml", "use = ['flip', 'alternating_flip']", "flip clashes with alternating_flip"),
    ("x.toml", "use = ['muon']", "muon belongs in the recipe's optimizer"),
    ("x.json", "[1]", "must hold fields"),
    ("x.json", '{"epochs": "ten"}', "epochs must be a number"),
]


@pytest.mark.parametrize(("name", "text", "said"), RECIPES)
def test_a_bad_recipe_file_is_refused(refused, tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    assert said in refused("train", "--recipe", name)


def test_a_setting_that_does_not_suit_the_images_leaves_no_run(typed, tmp_path):
    status, out, err = typed("train", "--set", "resolution=4", "--use", "pad_crop:pixels=8", "--threads", "1")
    assert (status, out) == (2, "")
    assert "pixels must be below the image's sides 4×4: got 8" in err.splitlines()[-1]
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_file_in_place_of_the_folder_of_runs_is_refused(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot write runs under file: " in refused("train", "--out", "file")
    assert "cannot write runs under file/below: " in refused("train", "--out", "file/below")


def test_a_read_only_folder_of_runs_is_refused(refused, tmp_path):
    place = tmp_path / "locked"
    place.mkdir()
    place.chmod(0o555)
    if os.access(place, os.W_OK):
        place = "/proc/runs"
    assert f"cannot write runs under {place}" in refused("train", "--out", place)


def test_a_file_in_place_of_an_image_folder_is_refused(refused, tmp_path):
    (tmp_path / "photo.jpg").write_text("not an image")
    assert "photo.jpg" in refused("train", "./photo.jpg")
    (tmp_path / "empty").mkdir()
    assert "empty" in refused("train", "./empty")


def photos(tmp_path, classes=3, each=3):
    random = np.random.default_rng(0)
    for k in range(classes):
        folder = tmp_path / "my photos" / f"class {k} ü"
        folder.mkdir(parents=True)
        for number in range(each):
            pixels = random.integers(0, 256, (16, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "my photos"


def test_three_images_a_class_are_enough(typed, tmp_path):
    folder = photos(tmp_path)
    status, out, err = typed("train", folder, "--epochs", "2", "--threads", "1", "--json")
    assert status == 0, err
    told = json.loads(out)
    assert told["steps"] == 2 and told["data"] == "my photos"


def test_own_validation_images_are_taken(typed, tmp_path):
    folder = photos(tmp_path, each=6)
    for sub in sorted(folder.iterdir()):
        for part, numbers in (("train", "012"), ("val", "34"), ("test", "5")):
            (folder / part / sub.name).mkdir(parents=True)
            for number in numbers:
                (sub / f"{number}.png").rename(folder / part / sub.name / f"{number}.png")
        sub.rmdir()
    status, out, err = typed("train", folder, "--epochs", "2", "--threads", "1", "--json")
    assert status == 0, err
    told = json.loads(out)
    run = json.loads((tmp_path / told["run"] / "data.json").read_text())
    assert (run["train"], run["val"], run["test"], told["test_n"]) == (9, 6, 3, 3)
    assert told["val_accuracy"] is not None


@pytest.mark.parametrize("command", ["resume", "evaluate", "export"])
def test_what_is_no_run_is_refused(refused, tmp_path, command):
    (tmp_path / "file").write_text("")
    extra = ["--to", "safetensors"] if command == "export" else []
    for place in ("nowhere", "file", tmp_path):
        assert str(place) in refused(command, place, *extra)


@pytest.fixture
def begun(typed, monkeypatch, tmp_path):
    """A run that was stopped after three steps."""
    from steepest.train import watch

    plain = watch.Watcher.stepped

    def stepped(self, training, loss):
        if training.step == 3:
            self.stop.set()
        return plain(self, training, loss)

    monkeypatch.setattr(watch.Watcher, "stepped", stepped)
    status, out, err = typed("train", "--out", "begun", "--threads", "1", "--epochs", "5")
    assert status == 1 and out == ""
    assert err.splitlines()[-1].startswith("steepest: stopped at step 3 of begun/digits-quick-seed0")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "begun" / "digits-quick-seed0"


def test_a_run_whose_data_changed_is_not_resumed(refused, begun):
    path = begun / "data.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "other"}))
    assert "the data digits are not those that the run" in refused("resume", begun)


def test_a_corrupt_checkpoint_is_refused(refused, begun):
    content = (begun / FILE).read_bytes()
    for wrong in (content[:-1], content[:100], b"", content[:-9] + b"x" + content[-8:]):
        (begun / FILE).write_bytes(wrong)
        assert "is damaged" in refused("resume", begun)
    checkpoint.save(begun / FILE, [1])
    assert "is damaged" in refused("resume", begun)


def test_a_run_that_was_stopped_is_resumed_and_then_only_shown(typed, begun):
    for _ in range(2):
        status, out, err = typed("resume", begun, "--json")
        assert status == 0 and json.loads(out)["steps"] == 10, err


CATALOGUES = [
    (["techniques", "zzzz"], "unknown technique 'zzzz'"),
    (["recipes", "quik"], "unknown recipe 'quik': did you mean 'quick'"),
    (["models", "resnet19"], "unknown model 'resnet19': did you mean 'resnet"),
    (["models", "resnet9", "--shape", "wide"], "--shape is written like 3x32x32"),
    (["models", "resnet9", "--shape", "3x2x2"], "too small for resnet9"),
    (["models", "resnet9", "--shape", "0x32x32"], "an input is"),
    (["models", "resnet9", "--classes", "0"], "at least 1 output"),
    (["models", "resnet9", "--width", "0"], "width of resnet9"),
    (["trian"], "trian"),
]


@pytest.mark.parametrize(
    ("words", "said"), CATALOGUES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_name_that_is_in_no_catalogue_is_refused(refused, words, said):
    assert said in refused(*words)


def test_a_defect_says_that_it_is_one_and_debug_shows_it(typed, monkeypatch):
    monkeypatch.setattr("steepest.train.start.build", lambda *args: 1 / 0)
    status, out, err = typed("train", "--threads", "1")
    assert (status, out) == (1, "") and "this is a defect; --debug shows where" in err and "Traceback" not in err
    assert "Traceback" in typed("train", "--threads", "1", "--debug")[2]
