"""Running: bouts and rests, slower while the mouse drinks, as the distance run until any time.

Speed is even between knots. What lies behind the last time asked for stays as it was given; a drop changes
only what comes half a second later and after, so blocks of any size give the same distance.
"""

from __future__ import annotations

import math

import numpy as np

from hardware.arrays import FloatArray

KNOT_S = 0.1
BLOCK_KNOTS = 600
DELAY_S = 0.5
"""From drop to slowing: longer than a monitor's longest stall, within which a drop may be told late."""
SLOW_S = 3.5
SLOWEST = 0.15
"""How long and how much a drinking mouse slows down. By hand: no data show a runner drinking (MOUSE_FACTS C)."""
SHAKE_CM_S = 1.8
"""Licking shakes the wheel a second after the reward (MOUSE_FACTS C: 1.84 +- 0.19 cm/s in a mouse at rest)."""
SHAKE_S = 1.5
ACCELERATION_S = 0.5
"""Time constant of starting and stopping. By hand."""
BOUT_SPEED_SD = 0.3
"""Of a bout's speed, as a share of the mean (MOUSE_FACTS C assumes it)."""
JITTER = 0.1

_n_slow = round(SLOW_S / KNOT_S)
_phase = np.arange(_n_slow) / _n_slow
_FACTOR: FloatArray = 1 - (1 - SLOWEST) * np.sin(np.pi * _phase) ** 0.5
_n_shake = round(SHAKE_S / KNOT_S)
_SHAKE_CM_S: FloatArray = np.pad(
    SHAKE_CM_S * np.sin(np.pi * np.arange(_n_shake) / _n_shake) ** 2, (0, _n_slow - _n_shake)
)


class Running:
    """How far a mouse has run.

    Parameters
    ----------
    mean_cm_s, share, bout_s
        Mean speed over everything, share of the time spent running, mean length of a running bout.
    """

    def __init__(self, rng: np.random.Generator, *, mean_cm_s: float, share: float, bout_s: float) -> None:
        self._rng = rng
        self._bout_cm_s = mean_cm_s / share
        self._bout_s = (bout_s, bout_s * (1 - share) / share)
        self._runs = bool(rng.random() < share)
        self._changes_at = 0.0  # knot at which the present bout or rest ends
        self._target_cm_s = 0.0
        self._cm_s = 0.0
        self._free_cm_s: FloatArray = np.empty(0)  # without any drop
        self._distance_cm: FloatArray = np.zeros(1)  # at each knot
        self._drops: list[int] = []  # the knots from which they slow the mouse; filled by the loop's thread
        self._first_drop = 0
        self._change(0.0)

    def drink(self, time_s: float) -> None:
        """Slow down for water that came at a time since the first flip."""
        self._drops.append(math.ceil((time_s + DELAY_S) / KNOT_S))

    def distance_cm(self, time_s: FloatArray) -> FloatArray:
        """See ``ModelMouse.distance_cm``."""
        if not len(time_s):
            return time_s
        last = max(math.ceil(time_s[-1] / KNOT_S), 0)
        if last >= len(self._distance_cm):
            self._extend(last)
        first = max(math.floor(time_s[0] / KNOT_S), 0)
        distance: FloatArray = np.interp(
            time_s, np.arange(first, last + 1) * KNOT_S, self._distance_cm[first : last + 1]
        )
        return distance

    def _extend(self, last: int) -> None:
        begin = len(self._distance_cm) - 1
        while len(self._free_cm_s) < last:
            self._free_cm_s = np.concatenate([self._free_cm_s, self._block()])
        cm_s = self._free_cm_s[begin:last].copy()
        for i in range(self._first_drop, len(self._drops)):
            drop = self._drops[i]
            a, b = max(drop, begin), min(drop + _n_slow, last)
            if a < b:
                cm_s[a - begin : b - begin] *= _FACTOR[a - drop : b - drop]
                cm_s[a - begin : b - begin] += _SHAKE_CM_S[a - drop : b - drop]
            if i == self._first_drop and drop + _n_slow <= last:
                self._first_drop += 1
        run_cm = self._distance_cm[-1] + np.cumsum(cm_s) * KNOT_S
        self._distance_cm = np.concatenate([self._distance_cm, run_cm])

    def _block(self) -> FloatArray:
        """Return the speeds of a minute more."""
        n = len(self._free_cm_s)
        cm_s, target_cm_s, nearer = self._cm_s, self._target_cm_s, KNOT_S / ACCELERATION_S
        speeds = []
        for knot in range(n, n + BLOCK_KNOTS):
            if knot >= self._changes_at:
                self._change(float(knot))
                target_cm_s = self._target_cm_s
            cm_s += (target_cm_s - cm_s) * nearer
            speeds.append(cm_s)
        self._cm_s = cm_s
        jitter = np.clip(self._rng.normal(1.0, JITTER, BLOCK_KNOTS), 0.0, 2.0)
        return np.array(speeds) * jitter

    def _change(self, knot: float) -> None:
        self._runs = not self._runs
        speed = min(max(self._rng.normal(1.0, BOUT_SPEED_SD), 0.2), 1.8)
        self._target_cm_s = float(self._bout_cm_s * speed) if self._runs else 0.0
        length_s = self._rng.exponential(self._bout_s[0 if self._runs else 1])
        self._changes_at = knot + float(length_s) / KNOT_S
