"""Mice whose answers are known beforehand: they try a rig, not a theory of mice."""

from __future__ import annotations

import heapq
import math

import numpy as np

from hardware.arrays import FloatArray
from hardware.simulated.mice.parameters import (
    DRINK_LICKS,
    LICK_INTERVAL_S,
    LICK_INTERVAL_SD_S,
    LONGEST_LICK_S,
    SHORTEST_LICK_S,
)
from hardware.simulated.mice.protocol import CONTACT_S, GRAY_IDENTITY, MOVIE_IDENTITY, SHORTEST_INTERVAL_S

REACTION_S = 0.42
"""Mean time from change to first lick (TASK_FACTS 1.3: 0.419 s in the recorded session)."""
REACTION_SD_S = 0.05
LATE_S = (0.05, 1.5)
"""The late mouse answers between this long after the window's close and this long after the change."""
KNOT_S = 0.1
"""Between these the mouse runs evenly; its waves are 2 s and longer."""
RUNNING_CM_S = 15.0
"""Mean speed, between the two groups of mice that there are (MOUSE_FACTS E)."""


class _Mouse:
    """Lick times in a heap, and running that is a sum of slow waves around a mean."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._licks: list[float] = []
        self._last_lick_s = -math.inf
        n_waves = 8
        self._periods_s = rng.uniform(2.0, 60.0, n_waves)
        self._amplitudes = rng.uniform(0.2, 1.0, n_waves) * 0.7 * RUNNING_CM_S / n_waves
        self._phases = rng.uniform(0.0, 2 * math.pi, n_waves)

    def see(self, *, host_s: float, identity: str) -> None:
        """See ``ModelMouse.see``."""

    def drink(self, *, host_s: float) -> None:
        """See ``ModelMouse.drink``."""

    def next_lick_s(self) -> float:
        """See ``ModelMouse.next_lick_s``."""
        try:
            return self._licks[0]
        except IndexError:  # asked by the thread that gathers edges while the loop takes the last one
            return math.inf

    def take_lick(self) -> float:
        """See ``ModelMouse.take_lick``."""
        self._last_lick_s = heapq.heappop(self._licks)
        while self._licks and self._licks[0] < self._last_lick_s + SHORTEST_INTERVAL_S:
            heapq.heappop(self._licks)
        return CONTACT_S

    def distance_cm(self, time_s: FloatArray) -> FloatArray:
        """See ``ModelMouse.distance_cm``: the integral of the waves, in closed form at every knot."""
        if not len(time_s):
            return time_s
        first, last = math.floor(time_s[0] / KNOT_S), math.ceil(time_s[-1] / KNOT_S)
        knots_s = np.arange(first, last + 1) * KNOT_S
        w = 2 * math.pi / self._periods_s
        waves = (np.cos(np.outer(knots_s, w) + self._phases) - np.cos(self._phases)) @ (self._amplitudes / w)
        distance: FloatArray = np.interp(time_s, knots_s, RUNNING_CM_S * knots_s - waves)
        return distance

    def _will_lick(self, host_s: float) -> None:
        if host_s >= self._last_lick_s + SHORTEST_INTERVAL_S:
            heapq.heappush(self._licks, host_s)


class PerfectMouse(_Mouse):
    """Licks once for each change it sees, and drinks what it is given."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self._identity: str | None = None

    def see(self, *, host_s: float, identity: str) -> None:
        """Remember what is shown; answer if it is not what was shown before."""
        if identity in (GRAY_IDENTITY, MOVIE_IDENTITY):
            return
        if self._identity not in (None, identity):
            self._will_lick(host_s + self._reaction_s())
        self._identity = identity

    def drink(self, *, host_s: float) -> None:
        """Lick the drop up."""
        intervals_s = self._rng.normal(LICK_INTERVAL_S, LICK_INTERVAL_SD_S, round(DRINK_LICKS))
        intervals_s = np.clip(intervals_s, SHORTEST_LICK_S, LONGEST_LICK_S)
        for lick_s in (host_s + np.cumsum(intervals_s)).tolist():
            self._will_lick(lick_s)

    def _reaction_s(self) -> float:
        return float(min(max(self._rng.normal(REACTION_S, REACTION_SD_S), 0.2), 0.7))


class LateMouse(PerfectMouse):
    """Notices every change but answers when the response window has closed."""

    def __init__(self, rng: np.random.Generator, *, window_closes_s: float) -> None:
        super().__init__(rng)
        after_s, latest_s = LATE_S
        self._earliest_s = window_closes_s + after_s
        self._latest_s = max(latest_s, self._earliest_s)

    def _reaction_s(self) -> float:
        return float(self._rng.uniform(self._earliest_s, self._latest_s))


class NeverMouse(_Mouse):
    """Runs and never licks."""


class AlwaysMouse(_Mouse):
    """Licks twice a second, seeing nothing."""

    INTERVAL_S = 0.5

    def __init__(self, rng: np.random.Generator, *, start_host_s: float) -> None:
        super().__init__(rng)
        self._licks = [start_host_s + float(rng.uniform(0.0, self.INTERVAL_S))]

    def take_lick(self) -> float:
        """Lick, and plan the next lick."""
        heapq.heappush(self._licks, self._licks[0] + self.INTERVAL_S)
        return super().take_lick()


class ScriptedMouse(_Mouse):
    """Licks at given host times: the mouse of the tests."""

    def __init__(self, rng: np.random.Generator, *, lick_times_s: list[float]) -> None:
        super().__init__(rng)
        self._licks = sorted(lick_times_s)
