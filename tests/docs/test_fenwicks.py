"""The page on Fenwicks: every name has its place here, every place exists, and the units are converted as it says."""

from __future__ import annotations

import copy
import importlib
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import davidnet
import pytest
import torch
import typer
from torch.nn import functional as F

import steepest
from steepest import models, recipes
from steepest.cli import app
from steepest.data import Records, Writer, load
from steepest.models.resnet9 import GlobalMax, Scale
from steepest.recipe import Use
from steepest.train import loop
from steepest.train.build import build
from steepest.train.evaluate import evaluate
from steepest.train.request import ask

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "fenwicks.md").read_text(encoding="utf-8")
NAMES = [
    "numpy_tfrecord",
    "random_pad_crop",
    "random_flip",
    "cutout",
    "Sequential",
    "ConvBN",
    "ConvBlk",
    "ConvResBlk",
    "GlobalMaxPool2D",
    "Classifier",
    "PYTORCH_CONV_PARAMS",
    "init_pytorch",
    "triangular_lr",
    "sgd_optimizer",
    "get_clf_model_func",
    "get_tpu_estimator",
    "create_clean_dir",
    "get_gcs_dirs",
]
ROWS = {name: (here, differs) for name, here, differs in re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", PAGE, re.M)}
PLACES = [(name, text) for name, (here, _) in ROWS.items() for text in re.findall(r"`([^`]+)`", here)]
LINES = [line.partition("#")[0].strip() for line in PAGE.partition("```\n")[2].partition("```")[0].splitlines()]
COMMAND: Any = typer.main.get_command(app)
TECHNIQUES = sorted(set(re.findall(r"`--use ([^`]+)`", PAGE)))


def typed(line):
    """Reads a command line as the program does, without running it."""
    words = shlex.split(line)[1:]
    COMMAND.commands[words[0]].make_context("steepest", words[1:])
    return words


def test_every_name_of_the_document_has_one_row():
    assert sorted(ROWS) == sorted(NAMES)
    assert len(re.findall(r"^\| `", PAGE, re.M)) == len(ROWS)


@pytest.mark.parametrize("name", NAMES)
def test_every_row_says_what_does_the_job_and_what_differs(name):
    here, differs = ROWS[name]
    assert [text for owner, text in PLACES if owner == name]
    assert not re.sub(r"`[^`]+`|[, ]", "", here), "beside imports, commands and --use there is nothing in this column"
    assert differs.strip()


@pytest.mark.parametrize(("name", "text"), PLACES)
def test_every_place_exists(name, text):
    if found := re.fullmatch(r"from ([\w.]+) import ([\w, ]+)", text):
        module = importlib.import_module(found[1])
        assert all(callable(getattr(module, part)) for part in found[2].split(", "))
    elif text.startswith("--use "):
        ask("cifar10", "davidnet", use=[text.removeprefix("--use ")])
    else:
        words = typed(text)
        assert words[:2] == ["train", "cifar10"]
        assert "--recipe" not in words or words[words.index("--recipe") + 1] in recipes.names()


@pytest.mark.parametrize("text", TECHNIQUES)
def test_every_technique_that_is_named_takes_the_settings_that_are_written(text):
    use = Use.parse(text)
    with pytest.raises(steepest.Mistake):
        ask("cifar10", "davidnet", use=[f"{use},nonsense=1" if use.settings else f"{use}:nonsense=1"])
    ask("cifar10", "davidnet", use=[use])


def test_every_command_line_of_the_page_can_be_typed():
    assert len(LINES) == 3
    for line in LINES:
        if line.startswith("steepest"):
            typed(line)
        else:
            assert line.startswith("python docs/davidnet.py ")
            assert davidnet.parser().parse_args(shlex.split(line)[2:]).data == "digits"


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", PAGE)
    assert links and all((DOCS / link).exists() for link in links)


def test_the_page_is_reached_from_the_readme():
    assert "](docs/fenwicks.md)" in (DOCS.parent / "README.md").read_text(encoding="utf-8")


def test_the_parameters_that_need_no_passing_are_torchs_own():
    norm = torch.nn.BatchNorm2d(1)
    assert (norm.eps, norm.momentum) == (1e-5, 0.1)
    bound = 1 / (4 * 9) ** 0.5
    weight = torch.nn.Conv2d(4, 64, 3).weight
    assert 0.9 * bound < weight.abs().max() <= bound


def test_a_record_file_gives_back_single_rows_and_can_be_trained_on(tmp_path):
    data = load("digits").train
    with Writer(tmp_path / "train.records") as writer:
        writer.append(data.images[:], data.targets)
    assert (Records(tmp_path / "train.records")[[7, 3]] == data.images[[7, 3]]).all()
    assert load(tmp_path / "train.records").classes == tuple("0123456789")


def test_the_network_from_parts_is_davidnet():
    nets = []
    for make in (
        lambda: davidnet.build_nn(10, 3, 8),
        lambda: models.build("resnet9", classes=10, shape=(3, 32, 32), width=8),
    ):
        torch.manual_seed(0)
        nets.append(make())
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ours, theirs = (net(images) for net in nets)
    assert torch.equal(ours, theirs)
    gradients, expected = (
        torch.autograd.grad(out.logsumexp(1).sum(), list(net.parameters()))
        for out, net in ((ours, nets[0]), (theirs, nets[1]))
    )
    assert all(map(torch.equal, gradients, expected))


def test_global_max_shares_the_gradient_among_equal_maxima_as_keras_does():
    image = torch.tensor([[[[1.0, 3.0], [3.0, 2.0]]]], requires_grad=True)
    out = GlobalMax()(image)
    assert out.tolist() == [[3.0]]
    out.sum().backward()
    assert image.grad is not None and image.grad.tolist() == [[[[0.0, 0.5], [0.5, 0.0]]]]


def test_scale_multiplies_and_has_nothing_to_train():
    scale = Scale(0.125)
    assert scale(torch.tensor([8.0, -2.0])).tolist() == [1.0, -0.25]
    assert not scale.state_dict() and repr(scale) == "Scale(0.125)"


LEARNING_RATE, WEIGHT_DECAY, BATCH_SIZE, TOTAL, WARMUP = 0.4, 5e-3, 32, 8, 3


class Tutorial:
    """The tutorial's update, written out: SGD of train.py, which adds the decay to the gradients of its core's summed
    loss; the sum over cores; TensorFlow's momentum with use_nesterov; the rate of triangular_lr."""

    def __init__(self, model, cores):
        self.model, self.cores, self.step = model, cores, 0
        self.accumulated = [torch.zeros_like(parameter) for parameter in model.parameters()]

    def rate(self):
        peak = LEARNING_RATE / BATCH_SIZE
        if self.step <= WARMUP:
            return self.step * peak / WARMUP
        return (TOTAL - self.step) * peak / (TOTAL - WARMUP)

    def update(self, images, targets):
        weights = list(self.model.parameters())
        sums = [torch.zeros_like(weight) for weight in weights]
        for part, wanted in zip(images.chunk(self.cores), targets.chunk(self.cores), strict=True):
            loss = F.cross_entropy(self.model(part), wanted, reduction="sum")
            for total, gradient, weight in zip(sums, torch.autograd.grad(loss, weights), weights, strict=True):
                total += gradient + weight.detach() * (WEIGHT_DECAY * BATCH_SIZE)
        with torch.no_grad():
            for weight, gradient, accumulated in zip(weights, sums, self.accumulated, strict=True):
                accumulated.mul_(0.9).add_(gradient)
                weight -= self.rate() * (gradient + 0.9 * accumulated)
        self.step += 1


@pytest.mark.parametrize(
    ("schedule", "lr", "cores"),
    [
        ("triangular", LEARNING_RATE, 1),
        ("triangular_per_image", LEARNING_RATE / BATCH_SIZE, 1),
        ("triangular", LEARNING_RATE, 4),
    ],
)
def test_the_tutorials_update_is_ours_at_every_step(schedule, lr, cores):
    recipe = recipes.load("davidnet").replace(
        width=4,
        batch_size=BATCH_SIZE,
        lr=lr,
        weight_decay=cores * WEIGHT_DECAY,
        schedule=f"{schedule}:peak={WARMUP / TOTAL}",
        use=[f"ghost_batch_norm:size={BATCH_SIZE // cores}"] if cores > 1 else [],
    )
    training = build(recipe, load("digits"), 0, torch.device("cpu"))
    training.model.double().train()
    plain = copy.deepcopy(training.model)
    if cores > 1:
        plain = models.build("resnet9", classes=10, shape=(1, 8, 8), width=4).double()
        plain.load_state_dict(training.model.state_dict())
    tutorial, random = Tutorial(plain, cores), torch.Generator().manual_seed(0)
    before = [parameter.clone() for parameter in plain.parameters()]
    for step in range(TOTAL):
        images = torch.randn(BATCH_SIZE, 1, 8, 8, dtype=torch.float64, generator=random)
        targets = torch.randint(10, (BATCH_SIZE,), generator=random)
        tutorial.update(images, targets)
        loop.step(training, images, targets, step / TOTAL)
        for ours, theirs in zip(training.model.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
    moved = [float((now - old).detach().abs().max()) for now, old in zip(plain.parameters(), before, strict=True)]
    assert min(moved) > 1e-3


def test_the_recipe_and_the_example_have_the_documents_numbers():
    recipe = recipes.load("davidnet")
    there = [davidnet.LEARNING_RATE, davidnet.MOMENTUM, davidnet.WEIGHT_DECAY, davidnet.EPOCHS, davidnet.BATCH_SIZE]
    assert there == [recipe.lr, recipe.momentum, recipe.weight_decay, recipe.epochs, recipe.batch_size]
    assert recipe.schedule.settings["peak"] == pytest.approx(davidnet.WARMUP / davidnet.EPOCHS, abs=1e-4)
    assert [str(use) for use in recipe.use] == ["pad_crop:pixels=4", "flip", "cutout:size=8"]


def run_example(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["davidnet.py", "digits", "--epochs", "0.5", "--width", "4", *arguments])
    runpy.run_path(str(DOCS / "davidnet.py"), run_name="__main__")
    found = re.search(r"test accuracy ([\d.]+)%", capsys.readouterr().out)
    assert found and 0 < float(found[1]) < 100


def test_the_example_runs_from_parts(monkeypatch, capsys):
    run_example(monkeypatch, capsys)


def test_the_example_runs_by_name(monkeypatch, capsys, tmp_path):
    run_example(monkeypatch, capsys, "--recipe", "--out", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["digits-davidnet-seed0"]


@pytest.mark.parametrize(("data", "said"), [("nothing", "unknown data set"), ("moons", "resnet9")])
def test_the_example_tells_a_mistake_in_one_sentence(data, said):
    with pytest.raises(SystemExit, match=said):
        davidnet.main([data])


def test_parts_and_recipe_train_the_same_network(monkeypatch, tmp_path):
    """Without cutout, for the loop here draws its holes from another generator."""
    monkeypatch.setenv("STEEPEST_KERNELS", "off")  # one side has them, the other not
    trained: list[torch.nn.Module] = []
    monkeypatch.setattr(davidnet, "cutout", lambda images, targets, **_: (images, targets))

    def scored(net, *rest):
        trained.append(net)
        return evaluate(net, *rest)

    monkeypatch.setattr(davidnet, "evaluate", scored)
    options: dict[str, Any] = {"epochs": 2, "width": 4, "batch_size": 256}
    accuracy = davidnet.from_parts("digits", **options, data_dir=None)
    peak = davidnet.WARMUP / davidnet.EPOCHS
    run = steepest.train(
        "digits", recipe="davidnet", drop=["cutout"], use=[f"triangular:peak={peak}"], out=tmp_path, **options
    )
    there = steepest.load(run).model.parameters()
    for ours, theirs in zip(trained[0].parameters(), there, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert accuracy == pytest.approx(run.result["test_accuracy"], abs=0.01)
