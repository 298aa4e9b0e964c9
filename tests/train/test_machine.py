"""What the machine gives to a training: kernels that are there, or time enough to compile them."""

from __future__ import annotations

import os

import pytest

import steepest
from steepest.kernels import library
from steepest.train import machine


@pytest.mark.skipif(library.library() is None, reason="no compiled kernels here")
@pytest.mark.parametrize(("budget_s", "wanted"), [(20.0, "PyTorch's"), (machine.WORTH_S, "compiled")])
def test_a_short_budget_is_not_spent_on_compiling(tmp_path, monkeypatch, budget_s, wanted):
    monkeypatch.setattr(library, "cache_dir", lambda: tmp_path / "cache")
    before = os.environ.get(library.SWITCH)
    run = steepest.train("digits", width=8, time_s=budget_s, target=0.01, out=tmp_path / "runs")
    told = run.read("run.json")
    assert told["operators"].startswith(wanted)
    assert any("have not been compiled" in note for note in told["notes"]) == (wanted == "PyTorch's")
    assert not (tmp_path / "cache" / "kernels").exists() and os.environ.get(library.SWITCH) == before
