"""The estimate of the card's time is never worse than it says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hardware.nidaq.timebase import Timebase


@given(
    drift_ppm=st.floats(-150, 150),
    start=st.tuples(st.floats(0, 0.01), st.floats(0, 1)),
    calls=st.lists(
        st.tuples(st.floats(1e-5, 0.008), st.floats(0, 1), st.sampled_from(["seen", "seen", "seen", "lost", "late"])),
        max_size=60,
    ),
    idle_s=st.floats(0, 100),
)
def test_the_estimate_lies_within_its_own_uncertainty(
    drift_ppm: float,
    start: tuple[float, float],
    calls: list[tuple[float, float, str]],
    idle_s: float,
) -> None:
    time = Timebase()
    took_s, share = start
    zero_s = 1000.0 + took_s * share
    rate = 1e8 * (1 + drift_ppm * 1e-6)
    time.begin(before_s=1000.0, after_s=1000.0 + took_s)
    now_s = 1000.0 + took_s + idle_s
    waiting: list[int] = []

    def check() -> None:
        error_s = abs(time.ticks(now_s) / 1e8 - (now_s - zero_s) * rate / 1e8)
        assert error_s <= time.uncertainty_s(now_s) + 5e-6  # drift over half a call

    check()
    for took_s, share, fate in calls:
        now_s += 1 / 60
        time.pulsed(before_s=now_s, after_s=now_s + took_s)
        ticks = round((now_s + took_s * share - zero_s) * rate)
        now_s += took_s
        if fate != "lost":
            waiting.append(ticks)
        if fate == "seen":
            for seen in waiting:
                time.seen_back(seen)
            waiting.clear()
        check()


def test_a_pulse_that_no_call_gave_changes_nothing() -> None:
    time = Timebase()
    time.begin(before_s=10.0, after_s=10.001)
    before = time.ticks(11.0)
    time.seen_back(50_000_000)
    time.pulsed(before_s=12.0, after_s=12.0001)
    time.seen_back(100_000_000)
    assert time.ticks(11.0) == before


def test_after_a_long_idleness_the_first_pulse_is_taken_and_those_that_could_be_others_are_not() -> None:
    for lost in (False, True):
        time = Timebase()
        time.begin(before_s=10.0, after_s=10.0)
        now_s = 70.0
        for n in range(3):
            time.pulsed(before_s=now_s, after_s=now_s + 0.001)
            if not (lost and n == 0):
                time.seen_back(round((now_s - 10.0) * 1e8))
            now_s += 1 / 60
        assert (time.uncertainty_s(now_s) < 0.001) != lost


def test_a_pair_bounded_better_is_taken_and_a_worse_one_is_not_until_the_better_has_aged() -> None:
    time = Timebase()
    time.begin(before_s=10.0, after_s=10.002)
    time.pulsed(before_s=11.0, after_s=11.0002)
    time.seen_back(99_910_000)
    assert time.uncertainty_s(11.0001) < 0.00011
    time.pulsed(before_s=11.1, after_s=11.101)
    time.seen_back(109_950_000)
    assert time.uncertainty_s(11.1) < 0.00013
    time.pulsed(before_s=21.0, after_s=21.001)
    time.seen_back(1_099_950_000)
    assert time.uncertainty_s(21.0005) < 0.00051
