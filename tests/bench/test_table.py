"""The table of all benches."""

from __future__ import annotations

import pytest
from growth import curve
from table import BENCHES, HERE, rows

RATIO = {"median": 2.0, "low": 1.5, "high": 2.5, "n": 6}


def test_every_kind_of_row_is_one_line_with_its_figure():
    seen = [
        {"what": "a", "ratio": RATIO},
        {"what": "b", "ratio": {"x / y": RATIO, "x / z": RATIO}},
        {"what": "c", "median_s": 0.25, "limit_s": 1.0, "n": 3},
        {"what": "d", "missing": "build it"},
    ]
    found = dict(rows({"rows": seen}))
    assert list(found) == ["a", "b: x / y", "b: x / z", "c", "d"]
    assert found["a"].split() == ["2.00", "[1.50,", "2.50]", "n=6"]
    assert found["c"].split() == ["0.25", "s", "n=3"] and found["d"] == "build it"


def test_every_bench_of_the_table_is_there():
    assert all((HERE / bench.words[0]).is_file() for bench in BENCHES.values())


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_a_power_law_gives_its_exponent(power):
    sides = [(size, lambda size=size: 0.001 * size**power) for size in (10, 100, 1000)]
    found = curve("a", "sizes", iter(sides), 1)
    assert found["exponent"] == pytest.approx(power) and found["last_exponent"] == pytest.approx(power)
