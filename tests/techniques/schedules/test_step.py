"""The step schedule: against PyTorch's own, and what it refuses."""

import pytest
import torch

from steepest.mistake import Mistake
from steepest.techniques.schedules.step import step


@pytest.mark.parametrize(("drops", "at"), [("0.5", [50]), ("0.5-0.75", [50, 75]), ("0.9-0.1-0.25", [10, 25, 90])])
def test_it_is_torchs_multi_step(drops, at):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    twin = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=at, gamma=0.2)
    for now in range(100):
        assert step(now / 100, drops=drops, factor=0.2) == pytest.approx(twin.get_last_lr()[0])
        optimizer.step()
        twin.step()


def test_a_single_drop_may_come_as_a_number():
    assert [step(t, drops=0.25, factor=0.5) for t in (0.0, 0.24, 0.25, 0.9)] == [1, 1, 0.5, 0.5]  # type: ignore[arg-type]


@pytest.mark.parametrize("drops", ["", "half", "0.5-", "0", "1", "1.5", "0.5-2", "nan", "-0.5"])
def test_drops_that_are_no_shares_are_refused(drops):
    with pytest.raises(Mistake, match="drops must be shares of the training"):
        step(0.0, drops=drops)
