"""The clock counts each second once, and the pace keeps a budget. Time itself is a plain number here."""

from __future__ import annotations

import math
import pathlib
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.mistake import Mistake
from steepest.train.clock import Clock, process_age, seconds
from steepest.train.pace import END_S, BySteps, ByTime


@pytest.fixture
def passes(monkeypatch):
    """Lets so many seconds pass."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("1h30m", 5400), ("1h1m1s", 3661), (".5m", 30)],
        *[(" 10M ", 600), ("0s", 0), (0.25, 0.25), (2, 2), ("2.", 2)],
    ],
)
def test_a_duration_is_read(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "abc", "-5", "10x", "1:30", "nan", "inf", "1e3", "m", "10 m", "5ss", "1d", "١m"])
def test_a_duration_badly_written_is_refused(text):
    if text == "١m":
        assert seconds(text) == 60
        return
    with pytest.raises(Mistake, match="a time is written like 90s, 10m or 1h30m"):
        seconds(text)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_hours_minutes_and_seconds_add_up(h, m, s):
    assert seconds(f"{h}h{m}m{s}s") == 3600 * h + 60 * m + s


def test_a_process_knows_its_age():
    code = "import time; time.sleep(0.3); from steepest.train.clock import process_age; print(process_age())"
    aged = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 0.28 < aged < 600
    assert process_age() > aged


def test_without_proc_the_age_is_processor_time(monkeypatch):
    monkeypatch.setattr(pathlib.Path, "read_text", lambda path: "nonsense")
    assert process_age() >= 0


def test_a_clock_begins_at_its_age_and_counts_down_its_budget(passes):
    clock = Clock(10.0, age_s=3.0)
    assert clock.elapsed_s == 3 and clock.left_s == 7
    passes(5)
    assert clock.elapsed_s == 8 and clock.left_s == 2
    assert Clock().left_s == math.inf


def test_an_inner_phase_is_not_counted_twice(passes):
    clock = Clock()
    with clock.phase("train"):
        passes(1)
        with clock.phase("evaluate"):
            passes(2)
        passes(4)
    passes(8)
    with clock.phase("evaluate"):
        passes(16)
    assert clock.times() == {"load": 0, "prepare": 0, "train": 5, "evaluate": 18, "total": 31}


def test_a_phase_that_fails_is_counted(passes):
    clock = Clock()
    with pytest.raises(ZeroDivisionError), clock.phase("load"), clock.phase("prepare"):
        passes(2)
        raise ZeroDivisionError
    passes(1)
    assert clock.times() == {"load": 0, "prepare": 2, "train": 0, "evaluate": 0, "total": 3}


def test_a_state_taken_within_a_phase_has_all_of_its_time(passes):
    clock = Clock()
    with clock.phase("train"):
        passes(3)
        state = clock.state()
        passes(4)
    assert state == {"elapsed_s": 3, "phases": {"load": 0, "prepare": 0, "train": 3, "evaluate": 0}}
    assert clock.phases["train"] == 7

    passes(100)
    later = Clock(20.0)
    passes(1)
    later.load_state(state)
    with later.phase("train"):
        passes(2)
    assert later.times() == {"load": 0, "prepare": 0, "train": 5, "evaluate": 0, "total": 6}
    assert later.left_s == 14


def test_steps_are_counted_exactly():
    pace = BySteps(7)
    assert [step for step in range(10) if not pace.over(step)] == list(range(7))
    assert [pace.progress(step) for step in (0, 1, 6)] == [0, 1 / 7, 6 / 7]
    assert pace.progress(7) < 1 and pace.progress(100) < 1
    assert pace.measure(True) and not pace.measure(False)


def trained(clock, pace, passes, step_s, measure_s, epoch=10, most=100_000):
    """Walks through a training as the loop does; gives the steps done and the number of measurements."""
    step = measured = 0
    while not pace.over(step) and step < most:
        passes(step_s(step))
        step += 1
        over = pace.over(step)
        if over or pace.measure(step % epoch == 0):
            passes(measure_s)
            pace.measured(measure_s)
            measured += 1
        if over:
            break
    return step, measured


@settings(deadline=None)
@given(st.floats(5, 200), st.floats(0.01, 1), st.floats(0, 3), st.floats(0, 0.9), st.floats(0, 0.2), st.integers(0, 9))
def test_a_budget_is_kept_whatever_a_step_lasts(budget, step_s, spread, begin, measure_s, seed):
    now = [0.0]

    def wait(seconds):
        now[0] += seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now[0])
        clock = Clock(budget)
        wait(begin * budget)
        pace = ByTime(clock, clock.elapsed_s, budget - END_S - measure_s, last=1.0)
        steps, _ = trained(
            clock, pace, wait, lambda step: step_s * (1 + spread * ((step * 7 + seed) % 5 == 0)), measure_s
        )
        longest = step_s * (1 + spread)
        assert clock.elapsed_s <= max(begin * budget, budget - END_S) + longest + measure_s
        if pace.end_s - pace.begin_s > 5 * longest + measure_s:
            assert steps > 0
        assert 0 <= pace.progress(steps) < 1


def test_a_first_step_is_not_taken_to_have_lasted_since_the_start(passes):
    clock = Clock(10.0)
    passes(6)
    assert not ByTime(clock, 6.0, 9.0).over(0)


def test_a_step_that_would_pass_the_end_is_not_begun(passes):
    clock = Clock(100.0)
    steps, _ = trained(clock, ByTime(clock, 0.0, 98.5, last=1.0), passes, lambda step: 10.0, 0.0)
    assert steps == 9 and clock.elapsed_s == 90


def test_a_budget_is_used_up(passes):
    clock = Clock(100.0)
    steps, measured = trained(clock, ByTime(clock, 0.0, 98.0, last=1.0), passes, lambda step: 0.1, 0.2)
    assert 97 < clock.elapsed_s <= 99
    assert steps > 900 and measured > 10


def test_progress_is_time():
    clock = Clock(100.0, age_s=30.0)
    pace = ByTime(clock, 10.0, 50.0)
    assert 0.5 <= pace.progress(0) < 0.6
    assert ByTime(clock, 40.0, 50.0).progress(5) == 0
    assert 0.99 < ByTime(clock, 10.0, 20.0).progress(5) < 1
    assert ByTime(clock, 10.0, 10.0).progress(5) < 1


def test_measuring_takes_at_most_about_a_twentieth_of_the_time(passes):
    clock = Clock(1000.0)
    _, measured = trained(clock, ByTime(clock, 0.0, 990.0, last=1.0), passes, lambda step: 0.1, 2.0)
    assert 10 < measured <= 990 / 40 + 2


def test_each_measurement_moves_the_end_to_leave_the_time_for_the_last(passes):
    clock = Clock(100.0)
    pace, fixed = ByTime(clock, 0.0, 50.0, last=3.0), ByTime(clock, 0.0, 50.0)
    passes(30)
    assert pace.progress(1) == fixed.progress(1) == 0.6
    for took_s in (10.0, 1.0):
        pace.measured(took_s)
        fixed.measured(took_s)
        assert pace.end_s == 100 - END_S - 3 * took_s and fixed.end_s == 50
    assert pace.progress(2) == 0.6, "it waits"
    passes(60)
    assert pace.progress(3) == 90 / 96


def test_a_resumed_pace_goes_on_with_the_same_budget(passes):
    clock = Clock(100.0)
    pace = ByTime(clock, 5.0, 98.0, last=2.0)
    pace.measured(4.0)
    assert (state := pace.state()) == {"begin_s": 5.0, "end_s": 91.0, "last": 2.0}
    assert ByTime(clock, state["begin_s"], state["end_s"], state["last"]).state() == state
