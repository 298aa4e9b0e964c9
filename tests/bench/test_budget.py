"""The record that the budget's bench writes: what it promises, and that the README's table takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import budget
import pytest
import results

from steepest.stats import wilson

MACHINE = {"cpu": "A processor", "cores": 2, "commit": "abc"}


def made(*runs: tuple[float, float]) -> dict[str, Any]:
    seen = [{"test_accuracy": accuracy, "test_n": 1000, "wall_s": wall} for accuracy, wall in runs]
    return budget.record("a_set", "1m", seen, MACHINE)


@pytest.mark.parametrize(("asked", "allowed"), [(10.0, 13.0), (60.0, 63.0), (600.0, 630.0)])
def test_the_promise_is_five_percent_or_three_seconds(asked: float, allowed: float) -> None:
    assert budget.allowed_s(asked) == pytest.approx(allowed)


def test_one_run_has_wilsons_interval_over_the_test_images() -> None:
    figure = made((0.9, 60.0))["figures"]["test accuracy"]
    assert (figure["low"], figure["high"]) == wilson(900, 1000)
    assert "1,000 test images" in figure["interval"]


def test_two_runs_have_their_mean_and_range() -> None:
    record = made((0.9, 60.0), (0.8, 62.0))
    figure = record["figures"]["test accuracy"]
    assert record["n"] == 2
    assert (figure["low"], figure["high"]) == (0.8, 0.9)
    assert figure["value"] == pytest.approx(0.85)


@pytest.mark.parametrize(("walls", "kept"), [((60.0, 63.0), True), ((60.0, 63.1), False)])
def test_the_longest_run_decides_whether_the_promise_was_kept(walls: tuple[float, float], kept: bool) -> None:
    record = made(*((0.9, wall) for wall in walls))
    assert record["figures"]["longest wall time"]["value"] == max(walls)
    assert record["note"].endswith("kept") == kept


def test_the_readmes_table_takes_the_record(tmp_path: Path) -> None:
    (tmp_path / "2026-01-01_a_set-1m").mkdir()
    (tmp_path / "2026-01-01_a_set-1m" / "record.json").write_text(json.dumps(made((0.9, 60.0))), encoding="utf-8")
    (row,) = results.table(tmp_path).splitlines()[4:]
    assert "test accuracy: 90.00% (" in row and "<br>longest wall time: 60.0 s | " in row
