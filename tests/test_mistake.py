"""The sentences for a person's mistakes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steepest.mistake import Failure, Mistake, unknown


def test_the_sentence_says_what_was_given_the_nearest_name_and_what_is_known():
    said = str(unknown("model", "resnet8", ["resnet9", "lab_cnn"]))
    assert said == "unknown model 'resnet8': did you mean 'resnet9'? Known: lab_cnn, resnet9"


def test_no_name_is_suggested_where_none_is_near():
    assert "did you mean" not in str(unknown("model", "zebra", ["resnet9", "lab_cnn"]))


def test_nothing_known_is_said_too():
    assert str(unknown("setting", "x", [])) == "unknown setting 'x': Known: none"


def test_a_mistake_is_a_value_error_and_a_failure_is_none():
    assert issubclass(Mistake, ValueError)
    assert issubclass(Failure, RuntimeError) and not issubclass(Failure, ValueError)


@given(st.text(), st.lists(st.from_regex(r"[a-z_0-9]+", fullmatch=True)))
def test_the_sentence_is_one_line_and_holds_every_known_name(given_name, names):
    said = str(unknown("technique", given_name, names))
    assert len(said.splitlines()) == 1
    assert all(name in said for name in names)
