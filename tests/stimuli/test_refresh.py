"""The refresh index: what it counts on a perfect, a drifting, a dropping and a recorded monitor.

Figures are printed; ``pytest -s tests/stimuli/test_refresh.py`` shows them.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.events import BlockEnded, BlockKind, FlashPlanned, FlashShown
from stimuli.refresh import RefreshTracker
from tests.builders import GRATINGS, run, stage
from tests.stimuli.recorded import flip_times_s, intervals_ms, recorded_train, true_refreshes
from tests.telling import Tell

HOUR = 60 * 60 * 60
"""Refreshes of an hour at 60 Hz."""
CYCLE, ON = 45, 15
CAMSTIM_OFF = 0.090
"""Share of flashes that were not 15 refreshes long in the recorded session (TASK_FACTS 1.3)."""


def tracked(times_s: np.ndarray, *, nominal_hz: float = 60.0) -> np.ndarray:
    return RefreshTracker(nominal_hz=nominal_hz).flips(times_s)


@given(
    seed=st.integers(0, 2**32 - 1),
    hz=st.floats(59.5, 60.5),
    jitter_ms=st.floats(0.0, 0.5),
    p_drop=st.sampled_from([0.0, 0.002, 0.05]),
    stall=st.integers(0, 30),
    sizes=st.lists(st.integers(0, 900), min_size=1, max_size=8),
)
def test_blocks_of_any_size_count_as_flips_one_by_one(
    seed: int, hz: float, jitter_ms: float, p_drop: float, stall: int, sizes: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    n = sum(sizes) + 1
    refreshes = np.cumsum(1 + (rng.random(n) < p_drop))
    refreshes[n // 2 :] += stall
    times_s = 100.0 + refreshes / hz + rng.normal(0.0, jitter_ms / 1000, n).clip(-0.003, 0.003)
    one_by_one = RefreshTracker(nominal_hz=60.0)
    expected = [one_by_one.flip(time_s) for time_s in times_s.tolist()]
    in_blocks = RefreshTracker(nominal_hz=60.0)
    found = [in_blocks.flips(block) for block in np.split(times_s, np.cumsum(sizes))]
    assert np.concatenate(found).tolist() == expected
    assert in_blocks.period_s == pytest.approx(one_by_one.period_s, rel=1e-9)


def test_a_perfect_hour_at_60_hz_is_counted_exactly() -> None:
    assert np.array_equal(tracked(np.arange(HOUR) / 60.0), np.arange(HOUR))


@pytest.mark.parametrize("jitter_ms", [0.0, 0.1, 0.5])
@pytest.mark.parametrize(
    "hz",
    [
        59.95,  # the recorded session's monitor (TASK_FACTS 1.3)
        59.94,  # the video standard's rate
        60.3,
        59.0,  # 1.7 % off
    ],
)
def test_a_monitor_that_is_not_at_the_configured_60_hz_repeats_and_skips_nothing(hz: float, jitter_ms: float) -> None:
    jitter_s = np.random.default_rng(1).normal(0.0, jitter_ms / 1000, HOUR)
    assert np.array_equal(tracked(np.arange(HOUR) / hz + jitter_s), np.arange(HOUR))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 10, 60, 600])
@pytest.mark.parametrize("after", [1, 5, 40, 1000])
def test_n_missed_refreshes_count_n(n: int, after: int) -> None:
    refreshes = np.concatenate([np.arange(after), np.arange(after, after + 2000) + n])
    jitter_s = np.random.default_rng(n).normal(0.0, 1e-4, len(refreshes))
    # A long gap is counted right once the period is known: 600 refreshes at 59.95 Hz are off by half a refresh.
    hz = 59.95 if after == 1000 or n < 60 else 60.0
    assert np.array_equal(tracked(refreshes / hz + jitter_s), refreshes)


def test_one_late_time_stamp_does_not_shift_the_count() -> None:
    times_s = np.arange(5000) / 60.0
    times_s[[100, 2500, 2600]] += 0.006  # late by 0.36 refreshes: the flip was on time, its stamp was not
    assert np.array_equal(tracked(times_s), np.arange(5000))


def test_the_recorded_cadence_is_tracked_without_a_repeat(tell: Tell) -> None:
    times_s, true = flip_times_s(), true_refreshes()
    assert len(intervals_ms()) == 270_071
    refresh = tracked(times_s)
    n_repeats = int((np.diff(refresh) < 1).sum())
    naive = {
        "the nominal 60 Hz": 1 / 60,
        "the exact mean interval between flips": times_s[-1] / (len(times_s) - 1),
        "the exact mean refresh, known only afterwards,": times_s[-1] / int(true[-1]),
    }
    by_division = {name: np.rint(times_s / period_s) for name, period_s in naive.items()}
    repeats = {name: int((np.diff(index) < 1).sum()) for name, index in by_division.items()}
    n_off = int((refresh != true).sum())
    tell(f"{len(times_s)} flips: tracked index repeats {n_repeats}, differs from the true refreshes at {n_off} flips")
    for name, n in repeats.items():
        tell(f"  round((t - t0) / period) with {name} repeats {n}")
    assert n_repeats == 0
    assert np.array_equal(refresh, true)
    assert list(repeats.values()) == [43, 122, 0]


def test_the_flashed_task_on_the_recorded_cadence_is_off_in_at_most_two_flashes(
    tell: Tell,
) -> None:
    true = true_refreshes()  # before the session: skips where there is no recording
    parameters = stage(GRATINGS, task_duration_min=60, gray_before_s=300, gray_after_s=300)
    ran = run(parameters, licks_s=[], train=recorded_train())
    flips = ran.log.all_flips()
    assert len(flips) <= len(true), "the session ran past the recording's end"
    assert [event.block for event in ran.all(BlockEnded)] == [
        BlockKind.GRAY_BEFORE,
        BlockKind.TASK,
        BlockKind.GRAY_AFTER,
    ]
    shown = flips["stimulus"]
    changes = np.flatnonzero(np.diff(shown)) + 1
    onsets = np.array([entry.flip for entry in ran.entries(FlashShown)])
    offsets = changes[np.searchsorted(changes, onsets, side="right")]
    late = np.array([event.late_refreshes > 0 for event in ran.all(FlashShown)])
    long_or_short = true[offsets] - true[onsets] != ON
    off_the_beat = np.diff(true[onsets], append=true[onsets[-1]] + CYCLE) != CYCLE
    off = late | long_or_short | off_the_beat
    assert len(onsets) == len(ran.all(FlashPlanned)) >= 4790
    tell(
        f"\n  {len(onsets)} flashes on the recorded cadence: {int(off.sum())} off "
        f"({int(late.sum())} late, {int(long_or_short.sum())} not {ON} refreshes long, "
        f"{int(off_the_beat.sum())} not {CYCLE} from onset to onset), {off.mean():.2%}; "
        f"camstim on the same monitor {CAMSTIM_OFF:.1%}"
    )
    assert off.sum() <= 2
