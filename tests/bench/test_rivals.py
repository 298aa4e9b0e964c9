"""The record of a budget beside the peers: each side's accuracy, the best peer in the README's table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import peers
import pytest
import rivals

from steepest.stats import wilson

MACHINE = {"cpu": "A processor", "cores": 2, "commit": "abc"}


def row(side: str, accuracy: float, wall_s: float = 60.0) -> dict[str, Any]:
    return {"what": side, "test_accuracy": accuracy, "wall_s": wall_s}


def test_the_best_peer_stands_beside_ours_in_the_readme() -> None:
    made = rivals.record("a_set", "1m", [row("steepest", 0.5), row("a", 0.7, 61), row("b", 0.9)], 1000, MACHINE)
    assert made["readme"] == ["steepest", "b"] and made["n"] == 1 and made["command"].endswith("--budgets 1m")
    assert (made["figures"]["b"]["low"], made["figures"]["b"]["high"]) == wilson(900, 1000)
    assert made["figures"]["a, longest"] == {"value": 61, "unit": "s"} and "beside two peers" in made["what"]


def test_a_side_of_several_seeds_counts_by_its_mean() -> None:
    rows = [row("steepest", 0.5), row("steepest", 0.7), row("a", 0.9), row("a", 0.1, 70), row("b", 0.6), row("b", 0.6)]
    made = rivals.record("a_set", "1m", rows, 1000, MACHINE)
    assert made["readme"] == ["steepest", "b"] and made["n"] == 2 and made["command"].endswith("--budgets 1m --seeds 2")
    assert made["figures"]["a"] | {"interval": ""} == {
        "value": 0.5,
        "unit": "fraction",
        "low": 0.1,
        "high": 0.9,
        "interval": "",
    }
    assert made["figures"]["a, longest"]["value"] == 70


def test_the_command_asks_for_all_seeds_where_a_peer_failed_in_one() -> None:
    made = rivals.record("a_set", "1m", [row("steepest", 0.5), row("steepest", 0.7), row("a", 0.9)], 1000, MACHINE)
    assert made["n"] == 1 and made["command"].endswith("--seeds 2")


def test_a_peer_that_fails_is_told_and_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text("import sys; sys.exit(3)")
    python = tmp_path / ".peers" / "here" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    monkeypatch.setattr(peers, "ROOT", tmp_path)
    monkeypatch.setattr(peers, "HERE", tmp_path)
    monkeypatch.setitem(peers.PEERS, "keras", peers.Peer("Keras", "fails", "here"))
    assert rivals.trained("keras", "digits", "1s", 0, None, tmp_path) is None
    with pytest.raises(SystemExit, match="Keras failed"):
        peers.asked("keras")


def test_without_peers_ours_stands_alone() -> None:
    assert rivals.record("a_set", "1m", [row("steepest", 0.5)], 1000, MACHINE)["readme"] == ["steepest"]
