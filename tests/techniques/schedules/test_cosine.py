"""The cosine schedule: against PyTorch's own, with and without a warm-up."""

import pytest
import torch

from steepest.techniques.schedules.cosine import cosine


def test_it_is_torchs_cosine_annealing():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    twin = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=60)
    for now in range(60):
        assert cosine(now / 60) == pytest.approx(twin.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        twin.step()


def test_a_warm_up_rises_in_a_line_and_the_wave_takes_the_rest():
    assert [cosine(t / 100, warmup=0.2) for t in range(0, 20, 5)] == pytest.approx([0, 0.25, 0.5, 0.75])
    for t in range(20, 100):
        assert cosine(t / 100, warmup=0.2) == pytest.approx(cosine((t - 20) / 80), abs=1e-9)


def test_it_starts_at_one_is_half_in_the_middle_and_ends_near_zero():
    assert cosine(0.0) == 1.0 and cosine(0.5) == pytest.approx(0.5) and cosine(1 - 1e-9) == pytest.approx(0, abs=1e-12)
