"""Errands: the test set's figures are a training's own, a range test steps as a training does, a penalty is weighed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from steepest.experiments import errands
from steepest.experiments.worker import trial
from steepest.recipe import Use
from steepest.recipes import load
from steepest.techniques.penalties.weight_decay_l2 import weight_decay_l2
from steepest.techniques.search.lr_range_test import lr_range_test
from steepest.train import loop, start
from steepest.train.request import ask
from steepest.train.start import train

LAB = load("lab").replace(model="mlp", epochs=2, min_steps=0, momentum=0.5, weight_decay=0.01, width=None)


def job(out, recipe=LAB, data="circles", **errand):
    found, request = ask(data, recipe, threads=1, seed=3, out=str(out), run_name="one", test=False)
    made = {"number": 7, "recipe": found.as_dict(), "request": request.as_dict()}
    return made | ({"errand": errand} if errand else {})


def figures(told):
    assert told["state"] == "done", told
    return told["figures"]


@pytest.mark.parametrize("data", ["circles", "reg_plane"])
def test_the_test_figures_of_a_finished_training_are_those_that_it_would_have_given_itself(tmp_path, data):
    assert trial(job(tmp_path, data=data))["state"] == "done"
    found = figures(trial(job(tmp_path, data=data, kind="test")))
    alone = train(data, recipe=LAB, threads=1, seed=3, out=str(tmp_path / "alone")).result
    assert found["n"] == alone["test_n"] > 0
    for name in ("test_accuracy", "test_loss"):
        assert found[name] is None is alone[name] or found[name] == pytest.approx(alone[name], rel=1e-6)
    (tmp_path / "one" / "model.safetensors").unlink()
    again = figures(trial(job(tmp_path, data=data, kind="test")))
    assert again["test_loss"] == alone["test_loss"], "without its network it is trained once more"
    assert again == figures(trial(job(tmp_path, data=data, kind="test"))) and (tmp_path / "one-test").is_dir()


def test_data_without_a_test_set_have_no_test_figures(tmp_path, monkeypatch):
    whole = start.load
    monkeypatch.setattr(start, "load", lambda request, bar=None: replace(whole(request, bar), test=None))
    recipe = LAB.replace(epochs=1)
    trial(job(tmp_path, recipe=recipe))
    assert figures(trial(job(tmp_path, recipe=recipe, kind="test"))) == {"n": 0}
    (tmp_path / "one" / "model.safetensors").unlink()
    assert figures(trial(job(tmp_path, recipe=recipe, kind="test"))) == {"n": 0}


def test_a_range_test_is_sgd_with_momentum_and_decay_at_rising_rates(tmp_path):
    asked = job(tmp_path, kind="range", low=1e-3, high=1.0, steps=30)
    found = figures(trial(asked))
    twin = errands.built(asked, 1)
    batches = [batch for epoch in range(30) for batch in twin.batches.epoch(epoch)]
    weights = list(twin.model.parameters())
    velocity = [torch.zeros_like(w) for w in weights]
    done = iter(batches)

    def step(rate):
        images, targets = next(done)
        loss = torch.nn.functional.cross_entropy(twin.model(images), targets)
        grads = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for w, g, v in zip(weights, grads, velocity, strict=True):
                v.mul_(0.5).add_(g + 0.01 * w)
                w.sub_(rate * v)
        return loss.item()

    slow = lr_range_test(step, low=1e-3, high=1.0, steps=30)
    assert found["losses"] == pytest.approx(slow.losses, rel=1e-4)
    assert found["suggested"] == pytest.approx(slow.suggested) and found["rates"] == pytest.approx(slow.rates)


def test_only_what_follows_the_recipes_rate_rises_in_a_range_test(tmp_path, monkeypatch):
    seen = []

    def step(training, images, targets, progress):
        loop.set_progress(training, progress)
        seen.append([group["lr"] for group in training.optimizer.param_groups])
        return 1.0

    monkeypatch.setattr(loop, "step", step)
    recipe = load("quick").replace(optimizer="muon:bias_lr=2,head_lr=0.5", lr=0.3, schedule="triangular:start=0.2")
    figures(errands.do(job(tmp_path, recipe=recipe, data="digits", kind="range", low=0.01, high=1.0, steps=10)))
    rates = [0.01 * 100 ** (t / 9) for t in range(10)]
    for column, first in zip(zip(*seen, strict=True), seen[0], strict=True):
        assert column == pytest.approx(rates if first == pytest.approx(0.01) else [first] * 10)
    assert {0.01, 2.0, 0.5} <= {round(rate, 9) for rate in seen[0]}


def test_a_range_test_that_ends_in_no_number_gives_what_was_seen(tmp_path):
    found = figures(trial(job(tmp_path, data="reg_plane", kind="range", low=1e-3, high=1e30, steps=20)))
    assert len(found["losses"]) == len(found["rates"]) == len(found["smoothed"]) < 20 and found["diverged"]
    assert all(math.isfinite(loss) for loss in found["losses"])


def test_a_penalty_is_weighed_after_a_quarter_of_a_training_without_it(tmp_path):
    recipe = LAB.replace(epochs=8)
    use = Use("weight_decay_l2", decay=0.3)
    asked = job(tmp_path, recipe=recipe, kind="penalty", use=str(use), setting="decay")
    found = figures(trial(asked))
    twin = errands.built(asked, 1)
    losses = []
    for epoch in range(2):
        for images, targets in twin.batches.epoch(epoch):
            losses.append(loop.step(twin, images, targets, twin.step / twin.steps))
    assert found["epochs"] == 2 and found["loss"] == pytest.approx(
        sum(losses[-twin.batches.steps :]) / twin.batches.steps
    )
    assert found["size"] == pytest.approx(weight_decay_l2(twin.model, decay=1.0).item())


def test_an_errand_that_fails_tells_why(tmp_path):
    told = errands.do(
        job(
            tmp_path,
            data="reg_plane",
            recipe=LAB.replace(lr=1e12),
            kind="penalty",
            use="weight_decay_l2",
            setting="decay",
        )
    )
    assert told["state"] == "failed" and "with learning rate" in told["problem"]
