"""A peer's training is cut to its budget; a clock that only the work moves forward tells how much it took."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import peers
import pytest
from peers import side


class Worker:
    """Trains and predicts in so many seconds an image, on a clock of its own."""

    def __init__(self, train_s, predict_s, setup_s=0.0):
        self.now, self.train_s, self.predict_s, self.setup_s = 1000.0, train_s, predict_s, setup_s
        self.trained: list[tuple[int, int]] = []

    def train(self, task, epochs):
        self.now += self.setup_s + self.train_s * len(task.images) * epochs
        self.trained.append((len(task.images), epochs))
        return task

    def predict(self, model, images):
        self.now += self.predict_s * len(images)
        return np.zeros(len(images), np.int64)


@pytest.fixture
def file(tmp_path):
    targets = np.arange(1000) % 2
    images = {"images": np.zeros((4000, 8, 8, 1), np.uint8), "test_images": np.zeros((1000, 8, 8, 1), np.uint8)}
    np.savez(tmp_path / "data.npz", classes=2, targets=np.arange(4000) % 2, test_targets=targets, **images)  # type: ignore[arg-type]
    return tmp_path / "data.npz"


def run(worker, file, budget, monkeypatch):
    clock = SimpleNamespace(time=lambda: worker.now, perf_counter=lambda: worker.now)
    monkeypatch.setattr(side, "time", clock)
    return side.within(1000.0 + budget, file, False, worker.train, worker.predict)


@pytest.mark.parametrize("train_s", [0.001, 0.004, 0.02, 0.1])
def test_a_training_ends_within_its_budget_and_uses_most_of_it(train_s, file, monkeypatch):
    worker = Worker(train_s, train_s / 10, setup_s=0.1)
    seen = run(worker, file, 200.0, monkeypatch)
    assert 170.0 < worker.now - 1000.0 <= 200.0
    rows, epochs = worker.trained[-1]
    assert seen["epochs"] == pytest.approx(rows * epochs / 4000, abs=0.02)
    assert seen["test_accuracy"] == 0.5


def test_part_of_an_epoch_is_fewer_images_and_more_are_epochs_of_equal_size(file, monkeypatch):
    worker = Worker(0.1, 0.001)
    run(worker, file, 200.0, monkeypatch)
    rows, epochs = worker.trained[-1]
    assert epochs == 1 and rows < 4000
    worker = Worker(0.01, 0.001)
    run(worker, file, 200.0, monkeypatch)
    rows, epochs = worker.trained[-1]
    assert epochs == 5 and 3000 < rows <= 4000


def test_a_peer_without_its_environment_gives_no_answer(monkeypatch, tmp_path):
    monkeypatch.setattr(peers, "ROOT", tmp_path)
    assert peers.asked("keras", "loop") is None
