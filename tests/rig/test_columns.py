"""Columns: flips made while others are being gathered, fits that wait to be taken over, maps that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hardware.clock import TICKS_PER_S, ClockMap
from hardware.protocols import FramePulses
from rig.log.writer import MemoryLog
from rig.session.columns import Columns, Fit
from rig.session.monitors import WheelMonitor
from stimuli.screen import FlipRows

START_HOST_S, HZ, DRIFT_PPM = 100.0, 60.0, 50.0


class Rig:
    """A screen, a wheel and a card of which nothing is simulated but what columns ask of them."""

    def __init__(self, *, first_late_s: float = 0.0) -> None:
        self.n_made = self.n_taken = self.n_read = 0
        self.first_late_s = first_late_s
        self.is_held_up = self.is_dead = False
        self.while_wheel_is_read: Callable[[], None] = lambda: None
        self.log = MemoryLog()
        whole: Any = self
        self.columns = Columns(
            screen=whole, encoder=whole, sync=whole, edges=whole, log=self.log, wheel=WheelMonitor(), refresh_hz=HZ
        )
        self.make(1)
        first = self.read_frame_pulses()
        self.map = ClockMap(host_s=START_HOST_S, ticks=int(first.ticks[0]) + round(first_late_s * TICKS_PER_S))
        self.columns.begin(clock_map=self.map, first=first, rows=self.take())

    def make(self, n: int) -> None:
        self.n_made += n

    def host_s(self, first: int, last: int) -> np.ndarray:
        return START_HOST_S + np.arange(first, last) / HZ

    def take(self) -> FlipRows:
        first, self.n_taken = self.n_taken, self.n_made
        host_s = self.host_s(first, self.n_made)
        n = len(host_s)
        nothing = np.zeros(n, np.int64)
        return FlipRows(first, np.arange(first, first + n), host_s, nothing, nothing - 1, nothing)

    def flips_made(self, *, host_s: np.ndarray) -> None:
        """The pulses were given one by one."""

    def read_frame_pulses(self) -> FramePulses:
        first, last = self.n_read, self.n_read if self.is_held_up or self.is_dead else self.n_made
        self.n_read = last
        host_s = self.host_s(first, last)
        ticks = np.rint((host_s - START_HOST_S) * TICKS_PER_S * (1 + DRIFT_PPM * 1e-6)).astype(np.int64)
        return FramePulses(ticks, host_s, np.full(len(host_s), 1e-5))

    @property
    def read_until_s(self) -> float:
        return START_HOST_S + (self.n_read if self.is_held_up else self.n_made) / HZ

    def read(self, *, host_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.while_wheel_is_read()
        return np.ones(len(host_s)), np.full(len(host_s), 5.0)

    def flush(self) -> None:
        """No edges but frame pulses."""

    def fit(self) -> Fit:
        self.columns.ask_for_fit(window=3600)
        self.columns.gather()
        fit = self.columns.take_fit()
        assert fit is not None
        return fit


def test_flips_made_while_the_wheel_is_read_are_neither_missing_nor_extra() -> None:
    rig = Rig()
    rig.while_wheel_is_read = lambda: rig.make(3)
    for _ in range(60):
        rig.make(1)
        rig.columns.gather()
    fit = rig.fit()
    assert (fit.n_missing, fit.n_extra) == (0, 0)
    assert fit.n_new > 200
    assert fit.taken


def test_pulses_that_nobody_has_read_yet_are_not_missing_and_those_of_a_dead_line_are() -> None:
    for is_held_up in (True, False):
        rig = Rig()
        rig.make(30)
        rig.columns.gather()
        rig.is_held_up, rig.is_dead = is_held_up, not is_held_up
        rig.make(90)
        n_missing = [rig.fit().n_missing]
        rig.is_held_up = False
        rig.make(60)
        n_missing.append(rig.fit().n_missing)
        assert n_missing == [0, 0] if is_held_up else all(n >= 60 for n in n_missing)


def test_a_fit_that_nobody_has_taken_over_yet_is_kept_and_the_next_one_waits() -> None:
    rig = Rig(first_late_s=-0.003)
    rig.make(60)
    rig.columns.ask_for_fit(window=3600)
    rig.columns.gather()
    rig.make(60)
    rig.columns.ask_for_fit(window=3600)
    rig.columns.gather()
    first = rig.columns.take_fit()
    assert first is not None
    assert first.taken
    assert first.jump_s == pytest.approx(0.003, abs=2e-4)
    assert rig.columns.take_fit() is None
    rig.columns.gather()
    second = rig.columns.take_fit()
    assert second is not None
    assert second.taken
    assert second.n_new == 60
    assert rig.map.drift_ppm == pytest.approx(DRIFT_PPM, abs=1)


def test_a_flip_keeps_the_time_it_had_when_a_new_map_comes() -> None:
    rig = Rig(first_late_s=-0.003)
    rig.make(60)
    rig.columns.ask_for_fit(window=3600)
    rig.columns.gather()
    rig.make(1)
    told_s = rig.map.session_s(float(rig.host_s(61, 62)[0]))
    assert rig.columns.take_fit() is not None
    rig.make(1)
    rig.columns.gather()
    times_s = np.concatenate([rows["time_s"] for rows in rig.log.flip_rows])
    assert times_s[61] == told_s
    assert times_s[62] - times_s[61] == pytest.approx(1 / HZ + 0.003, abs=2e-4)


def test_a_map_that_would_jump_is_refused_once_and_taken_when_the_next_fit_agrees_with_it() -> None:
    rig = Rig(first_late_s=-0.02)
    rig.make(120)
    refused = rig.fit()
    assert not refused.taken
    assert refused.jump_s == pytest.approx(0.02, abs=2e-4)
    assert rig.map.drift_ppm == 0
    rig.make(120)
    assert rig.fit().taken
    assert rig.map.drift_ppm == pytest.approx(DRIFT_PPM, abs=1)
