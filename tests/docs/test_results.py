"""The README's table of results: made from the records and from nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import results


def record(**changed: Any) -> dict[str, Any]:
    figure = {"value": 0.9123, "low": 0.9, "high": 0.92, "interval": "95 %", "unit": "fraction"}
    return {
        "what": "a set in a minute",
        "command": "steepest train a|b",
        "commit": "abc",
        "machine": {"cpu": "A processor", "cores": 2},
        "n": 3,
        "figures": {"test accuracy": figure, "wall time": {"value": 61.04, "unit": "s"}},
        "note": "",
    } | changed


def lay(folder: Path, name: str, content: dict[str, Any]) -> None:
    (folder / name).mkdir()
    (folder / name / "record.json").write_text(json.dumps(content), encoding="utf-8")


def shown(folder: Path) -> list[str]:
    """The table's rows, for records of one machine."""
    return results.table(folder).splitlines()[4:]


def test_each_record_is_a_row_that_links_to_it(tmp_path: Path) -> None:
    more = {"value": 2.0, "low": 1.5, "high": 2.5, "interval": "range", "unit": "ratio", "n": 2}
    lay(tmp_path, "2026-01-02_set", record(figures=record()["figures"] | {"ratio": more}))
    lines = results.table(tmp_path).splitlines()
    assert lines[:2] == ["On A processor, 2 cores:", ""]
    assert lines[4:] == [
        "| [a set in a minute](records/2026-01-02_set) "
        "| test accuracy: 91.23% (90.00% to 92.00%)<br>wall time: 61.0 s<br>ratio: 2 × (1.5 × to 2.5 ×), n = 2 "
        "| 95 %; range | 3 | `steepest train a/b` |",
    ]
    assert {line.count("|") for line in lines[2:]} == {len(results.COLUMNS) + 1}


def test_each_machine_has_a_table_of_its_own(tmp_path: Path) -> None:
    for name, cpu in (("1", "A"), ("2", "B"), ("3", "A")):
        lay(tmp_path, name, record(readme=["wall time"], machine={"cpu": cpu, "cores": 4}))
    first, second = results.table(tmp_path).split("\n\nOn ")
    assert first.startswith("On A, 4 cores:") and second.startswith("B, 4 cores:")
    assert ["records/1" in first, "records/2" in second, "records/3" in first] == [True] * 3


def test_a_record_says_which_of_its_figures_stand_in_the_readme(tmp_path: Path) -> None:
    lay(tmp_path, "one", record(readme=["wall time"]))
    assert len(shown(tmp_path)) == 1
    lay(tmp_path, "two", record(readme=[]))
    assert len(shown(tmp_path)) == 1


def test_rows_are_in_order_and_then_by_name_and_number(tmp_path: Path) -> None:
    wanted = [
        "2026-03-01_time-to-94",
        "2026-02-01_rivals-a-3m",
        "2026-01-01_rivals-a-10m",
        "2026-02-01_b",
        "2026-01-01_c",
    ]
    for name in sorted(wanted):
        lay(tmp_path, name, record())
    assert [line.split("records/")[1].split(")")[0] for line in shown(tmp_path)] == wanted


def test_no_records_are_told_as_such(tmp_path: Path) -> None:
    assert results.table(tmp_path) == "No results have been recorded yet."


@pytest.mark.parametrize("field", results.FIELDS)
def test_a_record_without_one_of_the_fields_is_refused(tmp_path: Path, field: str) -> None:
    content = record()
    del content[field]
    lay(tmp_path, "torn", content)
    with pytest.raises(ValueError, match=f"torn.*lacks {field}$"):
        results.records(tmp_path)


def test_an_unknown_unit_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, "odd", record(figures={"speed": {"value": 1, "unit": "furlongs"}}))
    with pytest.raises(ValueError, match="furlongs"):
        results.records(tmp_path)


def test_only_what_stands_between_the_comments_is_replaced() -> None:
    text = f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n"
    new = results.renewed(text, "new")
    assert new == f"before\n{results.BEGIN}\nnew\n{results.END}\nafter\n"
    assert results.renewed(new, "new") == new


@pytest.mark.parametrize("text", ["", results.BEGIN, results.END, f"{results.END} {results.BEGIN}"])
def test_a_readme_without_both_comments_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="README"):
        results.renewed(text, "new")


def test_the_readmes_table_is_what_the_records_say() -> None:
    readme = (results.ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == results.renewed(readme, results.table(results.ROOT / "records"))
