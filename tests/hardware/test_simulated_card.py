"""What the lines of a simulated rig do over a whole session, read back from the edges as a reader would."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from hardware.arrays import AnyArray, IntArray
from hardware.clock import TICKS_PER_S, CardClock, VirtualClock
from hardware.lines import Line
from hardware.simulated import photodiode
from hardware.simulated.card import ALIGN_INTERVAL_S, ALIGN_WIDTH_S, PULSE_WIDTH_S, SimulatedCard
from hardware.simulated.faults import Faults
from hardware.simulated.mice import MouseKind, make_mouse
from hardware.simulated.photodiode import (
    MONITOR_DELAY_S,
    MONITOR_JITTER_S,
    PATCH_FLIPS,
    SPLASH_EVERY_FLIPS,
    SPLASH_FLIPS,
)
from rig.records.running import speed_cm_s
from stages.events import CommandApplied, Lick, RewardArmed, RewardCommanded, RewardConfirmed, RewardFired
from stimuli import patch
from tests.builders import Ran, command, rig_config, run, stage

IDLE = Line.VSYNC_STIM.mask
"""The frame line rests high; all others low."""


@cache
def session(behaviour: str = "dropping") -> Ran:
    """Four minutes on an imaging rig whose monitor drops flips; two free rewards among the earned ones."""
    return run(
        stage(task_duration_min=4, warm_up_trials=2),
        rig_config("simulated_imaging", behaviour=behaviour),
        commands=[command("reward", at_s=30.0), command("reward", at_s=31.5, volume_ul=3.0)],
    )


def edges(ran: Ran) -> tuple[np.ndarray, np.ndarray]:
    rows = np.concatenate(ran.log.edge_rows)
    return rows["ticks"].astype(np.int64), rows["state"].astype(np.int64)


def changes(ran: Ran, line: Line, *, rising: bool) -> np.ndarray:
    """Return the ticks at which a line rose, or fell."""
    ticks, state = edges(ran)
    level = state & line.mask != 0
    before = np.concatenate([[bool(IDLE & line.mask)], level[:-1]])
    return ticks[level & ~before] if rising else ticks[~level & before]


def test_edges_come_in_order_of_ticks_and_each_changes_one_line() -> None:
    ticks, state = edges(session())
    assert (np.diff(ticks) >= 0).all()
    changed = state ^ np.concatenate([[IDLE], state[:-1]])
    assert set(changed.tolist()) == {line.mask for line in Line}, "an edge that changes nothing, or two lines at once"


@pytest.mark.parametrize("line", list(Line), ids=lambda line: line.label)
def test_every_pulse_that_rose_has_fallen_when_the_session_is_over(line: Line) -> None:
    assert len(changes(session(), line, rising=True)) == len(changes(session(), line, rising=False)) > 0


def test_the_frame_line_falls_once_a_flip_and_rises_4_ms_later() -> None:
    ran = session()
    falls, rises = changes(ran, Line.VSYNC_STIM, rising=False), changes(ran, Line.VSYNC_STIM, rising=True)
    flips = ran.log.all_flips()
    assert len(falls) == len(flips)
    assert (rises - falls) / TICKS_PER_S == pytest.approx(PULSE_WIDTH_S, rel=1e-4)
    fell_s = (falls - falls[0]) / TICKS_PER_S
    assert np.abs(fell_s - flips["time_s"])[3600:].max() < 100e-6, "a frame pulse is far from its flip"


def test_the_photodiode_changes_every_60_flips_after_the_monitors_delay() -> None:
    ran = session()
    falls = changes(ran, Line.VSYNC_STIM, rising=False)
    found = np.sort(np.concatenate([changes(ran, Line.STIM_PHOTODIODE, rising=rising) for rising in (True, False)]))
    of_flip = falls[::PATCH_FLIPS]
    n_splash = SPLASH_FLIPS // SPLASH_EVERY_FLIPS
    last_is_bright = (len(falls) - 1) // PATCH_FLIPS % 2 == 0
    assert len(found) == n_splash + len(of_flip) + n_splash - last_is_bright, "a splash before and one after"
    delay_s = (found[n_splash:][: len(of_flip)] - of_flip) / TICKS_PER_S
    assert delay_s == pytest.approx(MONITOR_DELAY_S, abs=5 * MONITOR_JITTER_S)
    assert delay_s.std() == pytest.approx(MONITOR_JITTER_S, rel=0.3)


def test_the_simulated_patch_is_the_one_that_windows_draw() -> None:
    assert (photodiode.PATCH_FLIPS, photodiode.SPLASH_FLIPS) == (patch.PATCH_FLIPS, patch.SPLASH_FLIPS)
    assert photodiode.SPLASH_EVERY_FLIPS == patch.SPLASH_EVERY_FLIPS


def test_alignment_pulses_come_5_to_15_s_apart_and_never_evenly() -> None:
    rises = changes(session(), Line.ALIGN, rising=True)
    between_s = np.diff(rises) / TICKS_PER_S
    low_s, high_s = ALIGN_INTERVAL_S
    assert len(rises) > 240 / high_s - 1
    assert (between_s >= low_s - 1e-3).all()
    assert (between_s <= high_s + 1e-3).all()
    assert len(set(between_s.round(3).tolist())) == len(between_s)
    width_s = (changes(session(), Line.ALIGN, rising=False) - rises) / TICKS_PER_S
    assert width_s == pytest.approx(ALIGN_WIDTH_S, rel=1e-4)


def test_the_echo_of_each_reward_is_as_long_as_its_calibrated_open_time() -> None:
    ran = session()
    rises, falls = changes(ran, Line.REWARD_ECHO, rising=True), changes(ran, Line.REWARD_ECHO, rising=False)
    volume_ul = {event.reward: event.volume_ul for event in ran.all(RewardArmed, RewardCommanded)}
    fired = ran.all(RewardFired)
    assert len(ran.all(CommandApplied)) == 2
    assert {volume_ul[event.reward] for event in fired} == {7.0, 5.0, 3.0}
    assert len(rises) == len(fired) == len(ran.all(RewardConfirmed))
    expected_s = [0.02518 + 0.0064558 * volume_ul[event.reward] for event in fired]
    assert (falls - rises) / TICKS_PER_S == pytest.approx(expected_s, rel=1e-4)
    assert [event.open_s for event in ran.all(RewardConfirmed)] == pytest.approx(expected_s)


def test_every_logged_lick_is_a_rise_of_the_lick_line_to_the_tick() -> None:
    ran = session()
    rises = changes(ran, Line.LICK_SENSOR, rising=True).tolist()
    assert rises == [event.ticks for event in ran.all(Lick)]


@pytest.mark.parametrize("behaviour", ["jittering", "dropping"])
def test_the_wheel_wraps_and_its_decoded_speed_has_no_spikes(behaviour: str) -> None:
    flips = session(behaviour).log.all_flips()
    signal_v = flips["signal_v"].astype(float)
    n_wraps = int((np.diff(signal_v) < -3.0).sum())
    turns = 15.0 * 241 / (2 * np.pi * 5.5033)
    assert n_wraps == pytest.approx(turns, rel=0.2)
    speed = speed_cm_s(flips)
    assert not np.isnan(speed).any()
    assert speed.mean() == pytest.approx(15.0, abs=1.5)
    assert np.abs(speed - speed.mean()).max() < 30.0, "a spike: a wrap was read as a run"


def test_edges_come_in_order_though_a_flip_is_told_of_late() -> None:
    """Whoever gathers flips and edges may be held up between the two, by more than the lag."""
    handed: list[int] = []

    def sink(*, ticks: IntArray, states: AnyArray) -> None:
        handed.extend(int(each) for each in ticks)

    clock = VirtualClock()
    card = SimulatedCard(
        clock=clock,
        card_clock=CardClock(drift_ppm=0.0, zero_ticks=0),
        mouse=make_mouse(MouseKind.NEVER, np.random.default_rng(1), start_host_s=0.0),
        seed=1,
        start_host_s=0.0,
        faults=Faults(),
        sink=sink,
        gather_lag_s=0.02,
    )
    card.running(level=True)
    card.next_due_s()  # no lick is to come
    card.flips_made(host_s=np.array([0.0]))
    clock.sleep_until(0.1)  # flips at 0.017 and 0.033 were made, and nobody has told of them yet
    card.toggle(Line.ACQ_TRIGGER, host_s=0.05)
    card.flush()
    card.flips_made(host_s=np.array([0.017, 0.033, 0.1]))
    clock.sleep_until(0.2)
    card.flips_made(host_s=np.array([0.117, 0.2]))
    card.flush()
    card.close()
    assert handed == sorted(handed)
    assert len(handed) > 8
