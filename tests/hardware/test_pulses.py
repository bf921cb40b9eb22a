"""What edges say: trains with pulses missing, extra and short, the photodiode's delays, copies that belong together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.lines import IDLE_STATE, Line
from hardware.pulses import FEWEST_MATCHES, changes_of, delays_of, match, train_of
from tests.telling import Tell

RATE_HZ = 31.0
WIDTH_S = 0.005


def rises(n: int = 3100, *, jitter_s: float = 2e-6, seed: int = 1) -> np.ndarray:
    return np.arange(n) / RATE_HZ + np.random.default_rng(seed).normal(0.0, jitter_s, n)


def test_an_even_train_has_its_rate_and_nothing_else() -> None:
    train = train_of(rises(), rises() + WIDTH_S)
    assert train.rate_hz == pytest.approx(RATE_HZ, rel=1e-5)
    assert (train.n, train.n_missing, train.n_extra, train.n_short) == (3100, 0, 0, 0)
    assert train.uneven_s < 20e-6


@pytest.mark.parametrize(
    ("gone", "n_missing"),
    [
        ([1000], 1),
        ([1000, 1001, 1002], 3),
        ([10, 500, 2000], 3),
    ],
    ids=["one", "three in a row", "three apart"],
)
def test_missing_pulses_are_counted_by_the_gaps_they_leave(gone: list[int], n_missing: int) -> None:
    times_s = np.delete(rises(), gone)
    train = train_of(times_s, times_s + WIDTH_S)
    assert (train.n_missing, train.n_extra) == (n_missing, 0)


def test_extra_pulses_are_counted_wherever_they_come() -> None:
    extra_s = np.array([10.0, 20.01, 50.013])
    times_s = np.sort(np.concatenate([rises(), extra_s]))
    train = train_of(times_s, times_s + WIDTH_S)
    assert (train.n_missing, train.n_extra) == (0, 3)


def test_many_extra_pulses_are_as_many_as_they_are() -> None:
    """Each leaves a short interval beside one that is not short: what is left over must not add up."""
    extra_s = (np.arange(40) * 50 + 7.3) / RATE_HZ
    times_s = np.sort(np.concatenate([rises(), extra_s]))
    assert train_of(times_s, times_s + WIDTH_S).n_extra == 40


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("rate_hz", [11.0, 31.0, 44.0])
@pytest.mark.parametrize("at_the_start", [True, False])
def test_extra_pulses_before_the_first_frame_or_after_the_last_are_all_counted(
    n: int, rate_hz: float, at_the_start: bool
) -> None:
    """One to six at the start: SDK 1926 (RIG_LESSONS)."""
    frames_s = np.arange(1000) / rate_hz
    extra_s = np.arange(1, n + 1) * 0.003
    extra_s = -extra_s[::-1] if at_the_start else frames_s[-1] + extra_s
    times_s = np.sort(np.concatenate([frames_s, extra_s]))
    assert train_of(times_s, times_s + 0.001).n_extra == n


def test_a_solenoids_spike_is_a_short_pulse_and_no_frame() -> None:
    spikes_s = np.array([12.003, 40.007])
    times_s = np.concatenate([rises(), spikes_s])
    falls_s = np.concatenate([rises() + WIDTH_S, spikes_s + 50e-6])
    train = train_of(np.sort(times_s), np.sort(falls_s))
    assert (train.n, train.n_short, train.n_extra) == (3100, 2, 0)


@pytest.mark.parametrize("n", [0, 1, 9])
def test_a_few_pulses_have_no_rate(n: int) -> None:
    train = train_of(rises(n), rises(n) + WIDTH_S)
    assert train.n == n
    assert np.isnan(train.rate_hz)


def test_a_line_that_is_high_before_the_first_edge_falls_first() -> None:
    states = np.array([IDLE_STATE, IDLE_STATE | Line.VSYNC_2P.mask])
    ticks, level = changes_of(Line.VSYNC_2P, np.array([5, 9]), states, before=IDLE_STATE | Line.VSYNC_2P.mask)
    assert ticks.tolist() == [5, 9]
    assert level.tolist() == [False, True]


def patch(n_flips: int, *, delay_s: float, sd_s: float = 3e-4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return flips, and the photodiode's changes with a splash before and after."""
    flips_s = np.arange(n_flips) / 60
    changes_s = flips_s[::60] + delay_s + np.random.default_rng(2).normal(0.0, sd_s, len(flips_s[::60]))
    levels = np.arange(len(changes_s)) % 2 == 0
    before_s, after_s = -0.5 + np.arange(6) / 12 + delay_s, flips_s[-1] + 1 / 60 + np.arange(6) / 12 + delay_s
    splash = np.arange(6) % 2 == 0
    if levels[-1]:
        after_s, splash_after = after_s[1:], splash[1:]
    else:
        splash_after = splash
    return (
        flips_s,
        np.concatenate([before_s, changes_s, after_s]),
        np.concatenate([splash, levels, splash_after]),
    )


@pytest.mark.parametrize("delay_s", [0.0, 0.004, 0.02115, 0.036, 0.069, 0.1])
@pytest.mark.parametrize("n_flips", [61, 600, 36_001])
def test_the_delay_is_found_whatever_it_is_and_the_splashes_are_left_out(n_flips: int, delay_s: float) -> None:
    flips_s, changes_s, levels = patch(n_flips, delay_s=delay_s, sd_s=0.0)
    delays_s, at = delays_of(changes_s, levels, flips_s=flips_s, every=60)
    assert at.tolist() == list(range(0, n_flips, 60))
    assert delays_s == pytest.approx(delay_s, abs=1e-9)


def test_changes_that_were_not_seen_spoil_no_other() -> None:
    flips_s, changes_s, levels = patch(6000, delay_s=0.02)
    kept = np.delete(np.arange(len(changes_s)), [20, 21, 50])
    delays_s, at = delays_of(changes_s[kept], levels[kept], flips_s=flips_s, every=60)
    assert len(at) == 97
    assert np.abs(delays_s - 0.02).max() < 0.002


def pulses(n: int, seed: int) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).uniform(5.0, 15.0, n))


@given(
    seed=st.integers(0, 10_000),
    first=st.integers(0, 200),
    n=st.integers(30, 200),
    offset_s=st.floats(-5000, 5000),
    drift_ppm=st.floats(-90, 90),
    lost=st.integers(0, 5),
)
def test_a_copy_that_began_late_ended_early_drifts_and_lost_pulses_is_found(
    seed: int, first: int, n: int, offset_s: float, drift_ppm: float, lost: int
) -> None:
    ours_s = pulses(400, seed)
    rng = np.random.default_rng(seed + 1)
    kept = np.sort(rng.choice(np.arange(first, first + n), n - lost, replace=False))
    rate = 1 + drift_ppm * 1e-6
    theirs_s = offset_s + rate * ours_s[kept] + rng.normal(0.0, 10e-6, len(kept))
    found = match(ours_s, theirs_s)
    assert found is not None
    assert found.n >= 0.9 * len(kept)
    at_s = ours_s[kept]
    assert np.abs(found.offset_s + found.rate * at_s - (offset_s + rate * at_s)).max() < 50e-6
    assert abs(found.rate / rate - 1) < 2e-6


@given(seed=st.integers(0, 10_000), n=st.integers(FEWEST_MATCHES + 1, 200))
def test_recordings_of_two_sessions_do_not_belong_together(seed: int, n: int) -> None:
    assert match(pulses(400, seed), pulses(n, seed + 1_000_000)) is None


def test_offset_and_rate_of_another_recorders_copy_are_told(tell: Tell) -> None:
    ours_s = pulses(450, 3)
    theirs_s = 1234.5 + (1 - 60e-6) * ours_s[40:]
    found = match(ours_s, theirs_s)
    assert found is not None
    assert found.offset_s == pytest.approx(1234.5, abs=1e-4)
    tell(
        f"another recorder's copy of the alignment pulses: offset and rate found over {found.n} pulses, off by "
        f"{abs(found.offset_s - 1234.5) * 1e6:.1f} us and {abs(found.rate - (1 - 60e-6)) * 1e6:.3f} ppm"
    )


@pytest.mark.parametrize("n", [0, 1, 2, FEWEST_MATCHES - 1])
def test_too_few_pulses_are_no_match(n: int) -> None:
    assert match(pulses(n, 1), pulses(n, 1)) is None
