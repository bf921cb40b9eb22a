"""A device server that is late all the time is told from one that was held up once."""

from __future__ import annotations

import pytest

from hardware.nidaq.connection import LATE_CALLS, LATE_FOR_S, Pace


def test_a_server_that_is_late_all_the_time_is_named_again_and_again() -> None:
    pace = Pace()
    named_s = []
    for n in range(30):
        now_s = 0.1 * (n + 1)
        pace.answered(took_s=0.1, now_s=now_s)
        if (late := pace.take(now_s=now_s)) is not None:
            named_s.append(now_s)
            assert late.device == "card"
            assert late.what.startswith("the device server answers late: 6 calls one after the other took up to 0.10 s")
    assert named_s == pytest.approx([0.6, 1.2, 1.8, 2.4, 3.0])


@pytest.mark.parametrize(
    "took_s",
    [
        [0.0004] * 100,  # in time
        [0.0004] * 5 + [2.0] * (LATE_CALLS - 1) + [0.0004] * 5,  # one stall, of all threads that call
        ([0.06] * 5 + [0.001]) * 20,  # slow, but not all the time
    ],
)
def test_a_server_that_is_held_up_now_and_then_is_not_late(took_s: list[float]) -> None:
    pace, now_s = Pace(), 0.0
    for took in took_s:
        now_s += took
        pace.answered(took_s=took, now_s=now_s)
        assert pace.take(now_s=now_s) is None


def test_many_late_answers_at_once_are_one_stall() -> None:
    pace = Pace()
    for n in range(10):
        pace.answered(took_s=0.3, now_s=5.0 + n * 1e-4)
    assert pace.take(now_s=5.0 + LATE_FOR_S - 0.31) is None
