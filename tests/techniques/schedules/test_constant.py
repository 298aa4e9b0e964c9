"""The constant schedule."""

from steepest.techniques.schedules.constant import constant


def test_it_is_one_all_along():
    assert {constant(t / 100) for t in range(100)} == {1.0}
