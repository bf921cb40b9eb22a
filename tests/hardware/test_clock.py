"""Clocks: the virtual one never goes back, the map from host to card is fitted to some microseconds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.clock import TICKS_PER_S, CardClock, ClockMap, VirtualClock

MINUTE = 3600
"""Flips of a minute: as many as a fit goes through."""


def pairs(*, drift_ppm: float, jitter_us: float, n: int = MINUTE, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Flips on the host's clock and their frame pulses on the card's, which come late by some microseconds."""
    host_s = 5000.0 + np.arange(n) / 60
    late_s = np.abs(np.random.default_rng(seed).normal(20e-6, jitter_us * 1e-6, n))
    return host_s, CardClock(drift_ppm=drift_ppm, zero_ticks=2**40).ticks_of(host_s + late_s)


def fitted(host_s: np.ndarray, ticks: np.ndarray) -> tuple[ClockMap, float]:
    clock_map = ClockMap(host_s=float(host_s[0]), ticks=int(ticks[0]))
    return clock_map, clock_map.fit(host_s=host_s, ticks=ticks)


@pytest.mark.parametrize("drift_ppm", [-50.0, 0.0, 20.0, 50.0])
@pytest.mark.parametrize("jitter_us", [0.0, 5.0, 15.0])
def test_the_fit_leaves_at_most_20_us_and_finds_the_drift(drift_ppm: float, jitter_us: float) -> None:
    clock_map, residual_us = fitted(*pairs(drift_ppm=drift_ppm, jitter_us=jitter_us))
    assert residual_us <= 20.0
    assert clock_map.drift_ppm == pytest.approx(drift_ppm, abs=0.1)


def test_a_minute_after_the_fit_the_map_is_still_right_to_50_us() -> None:
    host_s, ticks = pairs(drift_ppm=50.0, jitter_us=5.0, n=2 * MINUTE)
    clock_map, _ = fitted(host_s[:MINUTE], ticks[:MINUTE])
    ahead_s = clock_map.session_s_of(host_s[MINUTE:]) - (ticks[MINUTE:] - ticks[0]) / TICKS_PER_S
    assert np.abs(ahead_s).max() < 50e-6


@given(drift_ppm=st.floats(-100, 100), jitter_us=st.floats(0, 15), n=st.integers(2, MINUTE))
def test_the_map_is_monotone_and_goes_there_and_back(drift_ppm: float, jitter_us: float, n: int) -> None:
    host_s, ticks = pairs(drift_ppm=drift_ppm, jitter_us=jitter_us, n=n)
    clock_map, _ = fitted(host_s, ticks)
    session_s = clock_map.session_s_of(host_s)
    assert (np.diff(session_s) > 0).all()
    assert session_s.tolist() == [clock_map.session_s(time_s) for time_s in host_s.tolist()]
    assert clock_map.host_s(clock_map.session_s(5123.4)) == pytest.approx(5123.4, abs=1e-9)


def test_before_any_fit_one_pair_and_the_nominal_rate_must_do() -> None:
    clock_map = ClockMap(host_s=10.0, ticks=1_000)
    assert clock_map.session_s(10.0) == 0.0
    assert clock_map.session_s(11.5) == 1.5
    assert clock_map.drift_ppm == 0.0


def test_one_pair_alone_does_not_break_the_fit() -> None:
    clock_map, residual_us = fitted(np.array([10.0]), np.array([1_000]))
    assert (clock_map.session_s(11.0), residual_us) == (1.0, 0.0)


@given(counts=st.integers(0, 2**50))  # 130 days; beyond that a float no longer holds every tick
def test_card_counts_are_seconds_without_a_fit_and_come_back_to_the_tick(counts: int) -> None:
    clock_map = ClockMap(host_s=10.0, ticks=77)
    assert clock_map.ticks(clock_map.seconds(77 + counts)) == 77 + counts


@given(drift_ppm=st.floats(-100, 100), host_s=st.floats(0, 1e6))
def test_a_simulated_card_counts_the_same_one_by_one_and_in_arrays(drift_ppm: float, host_s: float) -> None:
    card = CardClock(drift_ppm=drift_ppm, zero_ticks=123)
    assert card.ticks(host_s) == card.ticks_of(np.array([host_s]))[0]
    assert card.host_s(card.ticks(host_s)) == pytest.approx(host_s, abs=1e-8)


@given(times_s=st.lists(st.floats(-1e6, 1e6), max_size=30))
def test_a_virtual_clock_never_goes_backwards(times_s: list[float]) -> None:
    clock = VirtualClock(3.0)
    seen = [clock.now_s()]
    for time_s in times_s:
        clock.sleep_until(time_s)
        seen.append(clock.now_s())
    assert seen == sorted(seen)
    assert seen[-1] == max([3.0, *times_s])
