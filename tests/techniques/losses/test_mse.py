"""Mean squared error: against the formula, its shapes, and what it refuses."""

import pytest
import torch

from steepest.mistake import Mistake
from steepest.techniques.losses.mse import mse


def test_it_is_the_mean_over_the_outputs_of_each_image():
    logits, targets = torch.randn(4, 3), torch.randn(4, 3)
    slow = [sum((z - t) ** 2 for z, t in zip(*rows, strict=True)) / 3 for rows in zip(logits, targets, strict=True)]
    torch.testing.assert_close(mse(logits, targets), torch.stack(slow))
    torch.testing.assert_close(mse(logits, targets).mean(), torch.nn.functional.mse_loss(logits, targets))


@pytest.mark.parametrize("outputs", [(5,), (5, 1)])
@pytest.mark.parametrize("wanted", [(5,), (5, 1)])
def test_single_outputs_come_as_a_row_or_a_column(outputs, wanted):
    logits, targets = torch.arange(5.0).view(outputs), torch.ones(wanted)
    assert mse(logits, targets).tolist() == [1, 0, 1, 4, 9]


@pytest.mark.parametrize("targets", [torch.arange(4), torch.rand(4), torch.rand(3, 4), torch.rand(12)])
def test_classes_and_shapes_that_do_not_fit_are_refused(targets):
    with pytest.raises(Mistake, match="mse needs a number for each output"):
        mse(torch.rand(4, 3), targets)


def test_the_gradient_pulls_to_the_target():
    logits = torch.tensor([[2.0], [-1.0]], requires_grad=True)
    mse(logits, torch.tensor([1.0, 1.0])).sum().backward()
    assert logits.grad is not None and logits.grad.tolist() == [[2.0], [-4.0]]
