"""The monitor's refresh index, tracked from flip to flip.

At each flip the index grows by ``max(1, round((t - t_last) / period))``, where ``t_last`` and
``period`` are smoothed: a phase-locked loop of second order that follows drift and ignores jitter.
Never from elapsed time over a nominal period, never by counting draws.
"""

from __future__ import annotations

import numpy as np

from hardware.arrays import FloatArray, IntArray

PHASE_GAIN = 0.1
"""Share of a flip's deviation that moves the smoothed flip time (a time constant of ten flips)."""
PERIOD_GAIN = 0.001
"""Share of it that moves the period: the loop is overdamped and settles within some hundred flips."""
LONGEST_TRUSTED = 4
"""After a gap of more refreshes than this only the phase is set anew; it says nothing of the period."""

ON_TIME = 0.15
"""Of flips that a free-running clock foresees within this share of a period none is late: the tracked clock, which
is off by at most 2.2 times as much, counts each of them as the very next refresh."""
_STRETCH = 512
"""So many flips are counted at once; a stretch with a late flip in it, flip by flip."""


def _responses() -> tuple[FloatArray, FloatArray]:
    """Return how far a flip that is off by 1 moves smoothed time and period until the end, the first flip first."""
    smoothed, period = [PHASE_GAIN], [PERIOD_GAIN]
    for _ in range(_STRETCH - 1):
        predicted = smoothed[-1] + period[-1]
        smoothed.append(predicted - PHASE_GAIN * predicted)
        period.append(period[-1] - PERIOD_GAIN * predicted)
    return np.array(smoothed[::-1]), np.array(period[::-1])


_ON_SMOOTHED, _ON_PERIOD = _responses()


class RefreshTracker:
    """Counts refreshes from flip times.

    Parameters
    ----------
    nominal_hz
        Where the period starts from; it may be some per cent off.
    """

    def __init__(self, *, nominal_hz: float) -> None:
        self.period_s = 1.0 / nominal_hz
        self.refresh = -1
        self._smoothed_s = 0.0

    def flip(self, time_s: float) -> int:
        """Return the refresh index of a flip at ``time_s``; the first flip is refresh 0."""
        if self.refresh < 0:
            self.refresh, self._smoothed_s = 0, time_s
            return 0
        elapsed = (time_s - self._smoothed_s) / self.period_s
        n = 1 if elapsed < 1.5 else int(elapsed + 0.5)
        self.refresh += n
        predicted_s = self._smoothed_s + n * self.period_s
        deviation_s = time_s - predicted_s
        if n <= LONGEST_TRUSTED:
            self._smoothed_s = predicted_s + PHASE_GAIN * deviation_s
            self.period_s += PERIOD_GAIN * deviation_s
        else:
            self._smoothed_s = time_s
        return self.refresh

    def flips(self, times_s: FloatArray) -> IntArray:
        """Return the refresh index of each of the flips in order, shape (n,).

        Stretches without a late flip, nearly all of them, are done at once: there the loop is
        linear. The indices are those of ``flip`` called one by one (tested).
        """
        indices = np.empty(len(times_s), np.int64)
        for start in range(0, len(times_s), _STRETCH):
            stretch_s = times_s[start : start + _STRETCH]
            first = self.refresh + 1
            if first > 0 and self._on_time(stretch_s):
                indices[start : start + _STRETCH] = np.arange(first, self.refresh + 1)
            else:
                indices[start : start + _STRETCH] = [self.flip(time_s) for time_s in stretch_s.tolist()]
        return indices

    def _on_time(self, times_s: FloatArray) -> bool:
        """Count the flips if every one of them came with the very next refresh; return whether so."""
        n = len(times_s)
        free_running_s = self._smoothed_s + np.arange(1, n + 1) * self.period_s
        off_s = times_s - free_running_s
        if np.abs(off_s).max() > ON_TIME * self.period_s:
            return False
        self._smoothed_s = float(free_running_s[-1] + off_s @ _ON_SMOOTHED[-n:])
        self.period_s += float(off_s @ _ON_PERIOD[-n:])
        self.refresh += n
        return True
