"""The triangular schedule: against interpolation and PyTorch's own, and its limits."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steepest.techniques.schedules.triangular import triangular

shares = st.floats(0, 1)


@given(t=st.floats(0, 1, exclude_max=True), start=shares, peak=st.floats(0.01, 0.99), end=shares)
def test_it_is_the_straight_lines_through_start_peak_and_end(t, start, peak, end):
    wanted = np.interp(t, [0, peak, 1], [start, 1, end])
    assert triangular(t, start=start, peak=peak, end=end) == pytest.approx(wanted, abs=1e-9)


def test_with_the_peak_at_the_start_it_falls_in_a_line_as_torch_does():
    steps = 40
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    twin = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=steps)
    for step in range(steps):
        assert triangular(step / steps, peak=0.0) == pytest.approx(twin.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        twin.step()


def test_with_the_peak_at_the_end_it_only_rises():
    values = [triangular(t / 100, start=0.5, peak=1.0) for t in range(100)]
    assert values == pytest.approx([0.5 + t / 200 for t in range(100)])
    assert triangular(1.0, peak=1.0) == 1.0


def test_it_is_one_at_the_peak_and_nowhere_more():
    values = [triangular(t / 1000, peak=0.2) for t in range(1000)]
    assert max(values) == values[200] == 1.0 and values[0] == 0.0 and values[-1] == pytest.approx(1 / 800)
