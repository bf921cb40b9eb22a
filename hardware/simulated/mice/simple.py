"""Model mice: told what they see and when they drink, they say when they will lick and how they run.

A mouse draws lick *times*, never a chance per refresh, so that a session can jump to the next lick.
Host times throughout.
"""

from __future__ import annotations

import heapq
import math
from enum import StrEnum
from typing import Protocol

import numpy as np

from hardware.arrays import FloatArray

GRAY_IDENTITY = "gray"
"""What the mouse is told when it sees no stimulus."""


class MouseKind(StrEnum):
    """The model mice there are."""

    PERFECT = "perfect"
    """Answers every change, never licks otherwise."""
    NEVER = "never"
    """Never licks."""
    ALWAYS = "always"
    """Licks every half second whatever it sees."""


class ModelMouse(Protocol):
    """What a simulated rig asks of a mouse."""

    def see(self, *, host_s: float, identity: str) -> None:
        """Take note of what has just come on the screen (``gray`` between flashes)."""

    def drink(self, *, host_s: float) -> None:
        """Take note of water at the spout."""

    def next_lick_s(self) -> float:
        """Return the time of the next lick as things stand, or infinity."""

    def take_lick(self) -> float:
        """Make that lick; return how long the tongue touches the spout, in seconds."""

    def distance_cm(self, host_s: FloatArray) -> FloatArray:
        """Return the distance run at the wheel's rim since time 0, shape (n,)."""


SHORTEST_INTERVAL_S = 0.06
"""Real mice lick no faster than every 0.083 s (MOUSE_FACTS C); the line needs its contact to end."""
CONTACT_S = 0.03
BOUT_INTERVAL_S = 0.15
"""Between licks of a drinking bout: 0.15 +- 0.02 s (MOUSE_FACTS E, parameter 10)."""
BOUT_LICKS = 11
"""Licks after a reward (MOUSE_FACTS E, parameter 10)."""
REACTION_S = 0.42
"""Mean time from change to first lick (TASK_FACTS 1.3: 0.419 s in the recorded session)."""
REACTION_SD_S = 0.05
KNOT_S = 0.1
"""Between these the mouse runs evenly; its waves are 2 s and longer."""
RUNNING_CM_S = 15.0
"""Mean speed of the mice that run (MOUSE_FACTS E: 16-32 cm/s in 7 of 12)."""


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

    def distance_cm(self, host_s: FloatArray) -> FloatArray:
        """See ``ModelMouse.distance_cm``: the integral of the waves, in closed form at every knot."""
        if not len(host_s):
            return host_s
        first, last = math.floor(host_s[0] / KNOT_S), math.ceil(host_s[-1] / KNOT_S)
        knots_s = np.arange(first, last + 1) * KNOT_S
        w = 2 * math.pi / self._periods_s
        waves = (np.cos(np.outer(knots_s, w) + self._phases) - np.cos(self._phases)) @ (self._amplitudes / w)
        distance: FloatArray = np.interp(host_s, knots_s, RUNNING_CM_S * knots_s - waves)
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
        if identity == GRAY_IDENTITY:
            return
        if self._identity not in (None, identity):
            reaction_s = min(max(self._rng.normal(REACTION_S, REACTION_SD_S), 0.2), 0.7)
            self._will_lick(host_s + reaction_s)
        self._identity = identity

    def drink(self, *, host_s: float) -> None:
        """Lick the drop up."""
        intervals_s = np.clip(self._rng.normal(BOUT_INTERVAL_S, 0.02, BOUT_LICKS), 0.09, 0.25)
        for lick_s in (host_s + np.cumsum(intervals_s)).tolist():
            self._will_lick(lick_s)


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


def make_mouse(kind: MouseKind, rng: np.random.Generator, *, start_host_s: float) -> ModelMouse:
    """Return a model mouse of a kind, put on the wheel at a host time."""
    match kind:
        case MouseKind.PERFECT:
            return PerfectMouse(rng)
        case MouseKind.NEVER:
            return NeverMouse(rng)
        case MouseKind.ALWAYS:
            return AlwaysMouse(rng, start_host_s=start_host_s)
