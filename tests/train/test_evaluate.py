from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torch import nn
from torch.nn import functional as F

from steepest.data.batches import Batches
from steepest.data.dataset import Split
from steepest.train.evaluate import evaluate, scores

GUESSES = st.integers(2, 6).flatmap(
    lambda k: st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1, max_size=40).map(
        lambda pairs: (k, pairs)
    )
)


def made(k, pairs):
    """Scores of a network that says the second of each pair (true, said), more surely the later."""
    true, said = (torch.tensor(row) for row in zip(*pairs, strict=True))
    sureness = torch.linspace(1, 2, len(pairs)).view(-1, 1)
    return scores(F.one_hot(said, k) * sureness, true, F.cross_entropy)


@given(GUESSES)
def test_the_confusion_matrix_and_the_table_are_those_of_sklearn(guesses):
    k, pairs = guesses
    found, (true, said) = made(k, pairs), zip(*pairs, strict=True)
    assert found.confusion().tolist() == confusion_matrix(true, said, labels=range(k)).tolist()
    twin = precision_recall_fscore_support(true, said, labels=range(k), zero_division=np.nan)
    for name, column in zip(("precision", "recall", "f1", "n"), twin, strict=True):
        ours = [np.nan if row[name] is None else row[name] for row in found.per_class()]
        np.testing.assert_allclose(ours, column, err_msg=name)


@given(GUESSES)
def test_accuracy_counts_the_diagonal(guesses):
    found = made(*guesses)
    assert found.correct == int(found.confusion().diagonal().sum())
    assert found.accuracy == pytest.approx(found.correct / found.n)


def test_a_class_that_is_not_there_and_never_said_has_no_figures():
    assert made(3, [(0, 0), (1, 0)]).per_class()[2] == {"n": 0, "precision": None, "recall": None, "f1": None}


@given(GUESSES)
def test_mistakes_are_all_wrong_and_the_surest_come_first(guesses):
    k, pairs = guesses
    found = made(k, pairs).mistakes(most=100)
    assert sorted(row for row, _, _ in found) == [row for row, (true, said) in enumerate(pairs) if true != said]
    sureness = [probability for _, _, probability in found]
    assert sureness == sorted(sureness, reverse=True)
    assert all(predicted == pairs[row][1] and 1 / k < probability < 1 for row, predicted, probability in found)


def test_only_so_many_mistakes_are_told():
    assert len(made(2, [(0, 1)] * 9).mistakes(most=4)) == 4


def points(count, targets):
    values = np.arange(count * 2, dtype=np.float32).reshape(count, 2)
    return Batches(Split(values, targets), np.arange(count), (np.zeros(2), np.ones(2)), batch_size=4, shuffle=False)


def test_every_row_is_evaluated_once_and_in_order():
    batches = points(10, np.arange(10, dtype=np.int64) % 2)
    found = evaluate(nn.Identity(), batches, lambda model, rows: model(rows), F.cross_entropy)
    assert found.n == 10 and found.accuracy == 0.5
    assert found.logits.tolist() == [[2.0 * row, 2.0 * row + 1] for row in range(10)]
    assert found.loss == pytest.approx(float(F.cross_entropy(found.logits, found.targets)))


def test_a_regression_has_a_loss_and_no_accuracy():
    batches = points(10, np.zeros(10, np.float32))
    found = evaluate(nn.Identity(), batches, lambda model, rows: model(rows)[:, :1], F.mse_loss)
    assert found.accuracy is None
    assert found.loss == pytest.approx(np.mean([(2.0 * row) ** 2 for row in range(10)]))
