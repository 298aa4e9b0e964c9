from __future__ import annotations

import json
import sys

import pytest
import record
from interleave import Rounds
from record import FEW, figures, rounds

RATIO = {"median": 2.0, "low": 1.5, "high": 2.5, "n": 6}


def test_every_ratio_is_a_figure_with_its_interval():
    seen = {"rows": [{"what": "a", "ratio": RATIO}, {"what": "b", "ratio": {"x / y": RATIO}}], "machine": {"cores": 2}}
    found = dict(figures(seen))
    assert set(found) == {"a, ratio", "b, x / y"}
    assert all((f["value"], f["low"], f["high"], f["unit"]) == (2.0, 1.5, 2.5, "ratio") for f in found.values())
    assert {f["interval"] for f in found.values()} == {"95 %, bootstrap over rounds"}


def test_of_a_few_rounds_the_interval_is_their_range():
    few, one = (dict(figures({"rows": [{"what": "a", "ratio": RATIO | {"n": n}}]}))["a, ratio"] for n in (FEW - 1, 1))
    assert few["interval"] == "range of the rounds" and one == {"value": 2.0, "unit": "ratio"}
    for count in range(1, FEW):
        theirs = [3.0, 1.0, 2.0, 5.0, 4.0][:count]
        ratio = Rounds({"x": theirs, "y": [1.0] * count}).ratio("x", "y")
        assert (ratio.low, ratio.high) == (min(theirs), max(theirs))


def test_times_and_accuracies_are_figures_and_limits_are_not():
    row = {"what": "train", "median_s": 12.5, "limit_s": 20.0, "n": 3, "test_accuracy": [0.9, 1.0]}
    found = dict(figures({"rows": [row]}))
    assert found["train, median"] == {"value": 12.5, "unit": "s", "n": 3}
    accuracy = found["train, test accuracy"]
    assert (accuracy["value"], accuracy["low"], accuracy["high"]) == (0.95, 0.9, 1.0)
    assert len(found) == 2
    assert dict(figures({"rows": [row | {"median_s": 0.25}]}))["train, median"] == {
        "value": 250.0,
        "unit": "ms",
        "n": 3,
    }


def test_one_run_has_no_interval():
    assert dict(figures({"test_accuracy": [0.94]}))["test accuracy"] == {"value": 0.94, "unit": "fraction"}


def test_the_mean_of_three_and_more_runs_has_students_interval():
    accuracy = dict(figures({"what": "train", "test_accuracy": [0.93, 0.94, 0.95]}))["test accuracy"]
    assert accuracy["value"] == pytest.approx(0.94)
    assert (
        accuracy["high"] - 0.94
        == pytest.approx(0.94 - accuracy["low"])
        == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-4)
    )


def test_memory_and_counts_are_figures_and_yes_or_no_is_not():
    found = dict(figures({"vm_hwm_gb": 1.25, "kills": 100, "good": True, "limit_gb": 2.0}))
    assert found == {"vm hwm": {"value": 1.25, "unit": "GB"}, "kills": {"value": 100, "unit": "count"}}
    (last,) = figures({"rows": [{"what": "batch", "last_exponent": 0.9, "n": 5}]})
    assert last == ("batch, last exponent", {"value": 0.9, "unit": "exponent", "n": 5})


def test_every_n_is_found():
    assert rounds({"rows": [{"ratio": {"x / y": RATIO}, "images_per_s": {"x": 1}}, {"n": 3}]}) == [6, 3]
    assert rounds({"vm_hwm_gb": 1.0}) == []


def test_where_the_data_lie_is_no_part_of_the_command():
    assert record.asked(["bench/x.py", "--data-dir", "/home/me/data", "--seeds", "2"]) == ["bench/x.py", "--seeds", "2"]


def test_a_record_made_again_keeps_what_was_written_by_hand(tmp_path, monkeypatch):
    bench = tmp_path / "bench.py"
    bench.write_text('"""A bench."""\nimport json\nprint(json.dumps({"rows": [{"what": "x", "took_s": 2}]}))\n')
    monkeypatch.setattr(record, "RECORDS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["record.py", "mine", str(bench)])
    record.main()
    (made,) = tmp_path.glob("*_mine/record.json")
    first = json.loads(made.read_text())
    assert first["what"] == "A bench." and first["note"] == "" and "readme" not in first
    made.write_text(json.dumps(first | {"what": "Mine", "note": "quiet", "readme": ["x, took"], "figures": {}}))
    record.main()
    again = json.loads(made.read_text())
    assert (again["what"], again["note"], again["readme"]) == ("Mine", "quiet", ["x, took"])
    assert again["figures"] == first["figures"]
