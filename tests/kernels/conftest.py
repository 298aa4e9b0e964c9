from __future__ import annotations

import pytest
import torch

from steepest.kernels import eager


@pytest.fixture(autouse=True)
def seeded():
    """The same random numbers at every run: a sum that happens to be near 0 has a large error beside its size."""
    torch.manual_seed(0)


@pytest.fixture
def threads():
    """Sets the number of threads; the old one is put back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def counting(monkeypatch):
    """Of modules of kernels, the names of the compiled functions that they call from now on."""

    def begin(*rooms):
        called: list[str] = []
        real = eager.call

        def call(name, *given):
            called.append(name)
            return real(name, *given)

        for room in rooms:
            monkeypatch.setattr(f"steepest.kernels.{room}.call", call)
        return called

    return begin


@pytest.fixture
def counted(counting):
    """The names of the compiled functions called, those of the convolution left out."""
    return counting("activation", "batch_norm", "max_pool")
