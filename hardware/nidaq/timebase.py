"""Where the card's counter stands, as far as the host can know it.

Each call that causes an edge bounds the edge's host time: it lies between the call's begin and its return.
The start of the counter is the first such pair, every frame pulse seen back is a further one. The estimate
serves decisions with margins of milliseconds (when to arm, what has expired), the unwrapping of the count, and the
time of a pulse that software has started until its echo tells the exact one.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from hardware.clock import TICKS_PER_S

DRIFT_PPM = 200.0
"""How far two quartz clocks may run apart; what a pair says grows worse by that much."""
SLACK_S = 1e-4
WRAP_TICKS = 1 << 32
AHEAD_TICKS = TICKS_PER_S
"""How far the estimate may lag behind an edge."""


class _Call(NamedTuple):
    """A call that gave a frame pulse."""

    before_s: float
    after_s: float
    gap_s: float
    """Since the call before it."""


class Given(NamedTuple):
    """When a call gave a pulse: its middle, and half its length."""

    host_s: float
    half_s: float


NOT_GIVEN = Given(math.nan, math.nan)


class _Pair(NamedTuple):
    host_s: float
    half_s: float
    ticks: int


class Timebase:
    """Host time to ticks, by the last pair that bounds it best.

    ``pulsed`` is called by the thread that gives frame pulses, ``seen_back`` by the one that reads edges;
    estimates may be asked for by any.
    """

    def __init__(self) -> None:
        self._pair = _Pair(0.0, 0.0, 0)
        self._given: deque[_Call] = deque(maxlen=1000)
        self._given_s = -math.inf

    def begin(self, *, before_s: float, after_s: float) -> None:
        """Take the start of the counter, which counts from 0, in a call between these host times."""
        self._pair = _Pair((before_s + after_s) / 2, (after_s - before_s) / 2, 0)

    def ticks(self, host_s: float) -> int:
        """Return the estimated count at a host time."""
        pair = self._pair
        return pair.ticks + round((host_s - pair.host_s) * TICKS_PER_S)

    def host_s(self, ticks: int) -> float:
        """Return the estimated host time of a count."""
        pair = self._pair
        return pair.host_s + (ticks - pair.ticks) / TICKS_PER_S

    def uncertainty_s(self, host_s: float) -> float:
        """Return how far the estimate at a host time may be off."""
        pair = self._pair
        return pair.half_s + abs(host_s - pair.host_s) * DRIFT_PPM * 1e-6

    def pulsed(self, *, before_s: float, after_s: float) -> None:
        """Take note of a frame pulse given in a call between these host times."""
        self._given.append(_Call(before_s, after_s, before_s - self._given_s))
        self._given_s = after_s

    def seen_back(self, ticks: int) -> Given | None:
        """Pair a frame pulse seen back with the call that gave it; keep the pair if it is the best there is.

        A call is only taken if no other is so near that the pulse could be the other's as well; else None.
        """
        seen_s = self.host_s(ticks)
        slack_s = SLACK_S + self.uncertainty_s(seen_s)
        given = self._given
        while given and given[0].after_s + slack_s < seen_s:
            given.popleft()
        if not given or given[0].before_s - slack_s > seen_s:
            return None
        call = given.popleft()
        next_gap_s = given[0].gap_s if given else math.inf
        half_s = (call.after_s - call.before_s) / 2
        if min(call.gap_s, next_gap_s) <= 2 * slack_s:
            return None
        pair = Given(call.before_s + half_s, half_s)
        if half_s <= self.uncertainty_s(call.after_s):
            self._pair = _Pair(*pair, ticks)
        return pair
