"""Clocks: the host's, a virtual one, the card's ticks, and the map from host to card.

Nothing here is global: a clock is an argument. Host times are seconds of a monotonic clock.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hardware.arrays import FloatArray, IntArray

TICKS_PER_S = 100_000_000
"""The card's fast timebase, 100 MHz, unwrapped to 64 bits (NIDAQ_NOTES 8.1 says why not 100 kHz)."""


class Clock(Protocol):
    """A monotonic clock that can be waited on."""

    def now_s(self) -> float:
        """Return the present time in seconds of this clock."""

    def sleep_until(self, time_s: float) -> None:
        """Return when ``time_s`` has come; at once if it has passed."""


class HostClock:
    """The machine's finest monotonic clock, the same for all processes of one machine.

    ``perf_counter``, since ``monotonic`` ticks every 15.6 ms on Windows before Python 3.13.
    """

    SPIN_S = 0.0005
    """The last half millisecond is waited out awake: a sleep may end that late."""

    def now_s(self) -> float:
        """Return seconds of the monotonic clock."""
        return time.perf_counter()

    def sleep_until(self, time_s: float) -> None:
        """Sleep, then spin, until ``time_s``."""
        while (left := time_s - time.perf_counter()) > 0:
            if left > self.SPIN_S:
                time.sleep(left - self.SPIN_S)


class VirtualClock:
    """A clock that only moves when it is told to, and never backwards."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        """Return the time the clock was last moved to."""
        return self._now_s

    def sleep_until(self, time_s: float) -> None:
        """Move the clock to ``time_s`` at once; earlier times leave it where it is."""
        if time_s > self._now_s:
            self._now_s = time_s


@dataclass(frozen=True, slots=True)
class CardClock:
    """How a simulated card's counter runs against the host's clock.

    ``drift_ppm`` is how much faster than nominal it counts; ``zero_ticks`` its count at host time 0.
    """

    drift_ppm: float
    zero_ticks: int

    def ticks(self, host_s: float) -> int:
        """Return the counter at a host time."""
        return self.zero_ticks + round(host_s * TICKS_PER_S * (1 + self.drift_ppm * 1e-6))

    def ticks_of(self, host_s: FloatArray) -> IntArray:
        """Return the counter at each of the host times, shape (n,)."""
        counts = np.rint(host_s * TICKS_PER_S * (1 + self.drift_ppm * 1e-6))
        return self.zero_ticks + counts.astype(np.int64)

    def host_s(self, ticks: int) -> float:
        """Return the host time at which the counter stood at ``ticks``."""
        return (ticks - self.zero_ticks) / (TICKS_PER_S * (1 + self.drift_ppm * 1e-6))


class ClockMap:
    """Maps the host's clock onto session time, which is the card's: ticks since the first flip.

    Fitted by least squares through pairs of (flip on the host's clock, its frame pulse on the
    card's). Until there are pairs enough, one pair and the nominal rate must do.

    Parameters
    ----------
    host_s, ticks
        The first flip on both clocks; session time is 0 there.
    """

    def __init__(self, *, host_s: float, ticks: int) -> None:
        self._zero_ticks = ticks
        self._host_s = host_s
        self._session_s = 0.0
        self._rate = 1.0

    @property
    def drift_ppm(self) -> float:
        """How much faster the card's clock runs than the host's."""
        return (self._rate - 1) * 1e6

    def session_s(self, host_s: float) -> float:
        """Return session time of a host time."""
        return self._session_s + (host_s - self._host_s) * self._rate

    def session_s_of(self, host_s: FloatArray) -> FloatArray:
        """Return session time of each host time, shape (n,); the same numbers as one by one."""
        return self._session_s + (host_s - self._host_s) * self._rate

    def host_s(self, session_s: float) -> float:
        """Return the host time of a session time."""
        return self._host_s + (session_s - self._session_s) / self._rate

    def seconds(self, ticks: int) -> float:
        """Return session time of a count of the card: exact, no fit."""
        return (ticks - self._zero_ticks) / TICKS_PER_S

    def ticks(self, session_s: float) -> int:
        """Return the card's count at a session time."""
        return self._zero_ticks + round(session_s * TICKS_PER_S)

    def seconds_of(self, ticks: IntArray) -> FloatArray:
        """Return session time of each count of the card, shape (n,): exact, no fit."""
        return np.asarray((ticks - self._zero_ticks) / TICKS_PER_S, np.float64)

    def become(self, other: ClockMap) -> None:
        """Map from now on as another map of the same session does."""
        self._host_s, self._session_s, self._rate = other._host_s, other._session_s, other._rate

    def fit(self, *, host_s: FloatArray, ticks: IntArray) -> float:
        """Fit the map anew through pairs, shape (n,) each; return the RMS residual in microseconds."""
        session_s = self.seconds_of(ticks)
        centre_h, centre_s = float(host_s.mean()), float(session_s.mean())
        h, s = host_s - centre_h, session_s - centre_s
        spread = float(h @ h)
        self._rate = float(h @ s) / spread if spread > 0 else 1.0
        self._host_s, self._session_s = centre_h, centre_s
        residual = s - h * self._rate
        return float(np.sqrt((residual @ residual) / len(residual))) * 1e6
