"""The fit of the clock map through calls that bound their pulses more or less well."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.clock import TICKS_PER_S, ClockMap
from hardware.protocols import FramePulses
from rig.session.clockfit import FEWEST, points

DRIFT_PPM = 50.0
START_HOST_S = 1000.0


def pulses(n: int, *, there_us: np.ndarray, back_us: np.ndarray) -> FramePulses:
    """Return pulses of a card 50 ppm fast, one a refresh, so long after their calls' begins and before their ends."""
    began_s = START_HOST_S + np.arange(n) / 60
    pulse_s = began_s + there_us * 1e-6
    ended_s = pulse_s + back_us * 1e-6
    ticks = np.rint((pulse_s - START_HOST_S) * TICKS_PER_S * (1 + DRIFT_PPM * 1e-6)).astype(np.int64)
    return FramePulses(ticks, (began_s + ended_s) / 2, (ended_s - began_s) / 2)


def first_map() -> ClockMap:
    return ClockMap(host_s=START_HOST_S, ticks=0)


def ways(seed: int, n: int, *, least_us: float, scatter_us: float) -> np.ndarray:
    """Return ways like a network's: never below the least, a few microseconds above it at best, often far longer."""
    rng = np.random.default_rng(seed)
    return least_us + rng.gamma(2.0, scatter_us / 2, n)


@given(
    seed=st.integers(0, 1000),
    there_us=st.floats(50, 500),
    back_us=st.floats(50, 500),
    scatter_us=st.floats(50, 500),
)
def test_long_calls_are_fitted_by_their_shortest_ways(
    seed: int, there_us: float, back_us: float, scatter_us: float
) -> None:
    n = 3600
    seen = pulses(
        n,
        there_us=ways(seed, n, least_us=there_us, scatter_us=scatter_us),
        back_us=ways(seed + 1, n, least_us=back_us, scatter_us=3 * scatter_us),
    )
    before = first_map()
    through = points(seen, before)
    assert through is not None
    assert before.drift_ppm == 0, "the map itself is not changed"
    after = copy.copy(before)
    residual_us = after.fit(host_s=through.host_s, ticks=through.ticks)
    assert residual_us <= 10 + scatter_us / 10
    assert after.drift_ppm == pytest.approx(DRIFT_PPM, abs=1 + scatter_us / 100)
    end_s = START_HOST_S + n / 60
    off_us = (after.session_s(end_s) - (end_s - START_HOST_S) * (1 + DRIFT_PPM * 1e-6)) * 1e6
    assert abs(off_us) <= through.bound_s * 1e6 + residual_us


def test_short_calls_all_count_by_their_middles() -> None:
    n = 600
    seen = pulses(n, there_us=ways(1, n, least_us=5, scatter_us=2), back_us=ways(2, n, least_us=5, scatter_us=2))
    through = points(seen, first_map())
    assert through is not None
    assert len(through.ticks) == n
    assert through.bound_s < 50e-6


def test_one_call_among_the_short_ones_that_took_long_is_left_out() -> None:
    there_us = np.full(100, 5.0)
    there_us[40] = 4000.0
    through = points(pulses(100, there_us=there_us, back_us=np.full(100, 5.0)), first_map())
    assert through is not None
    assert len(through.ticks) == 99


@pytest.mark.parametrize("n", [0, FEWEST - 1])
def test_too_few_pulses_make_no_fit(n: int) -> None:
    assert points(pulses(n, there_us=np.full(n, 5.0), back_us=np.full(n, 5.0)), first_map()) is None
