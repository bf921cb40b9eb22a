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

ON_TIME = 0.4
"""A deviation below this share of a period can't be a late flip."""
_ONE_BY_ONE = 128
"""A stretch this short with a late flip in it is counted flip by flip."""
# The loop as a filter from deviations of a free-running clock to the tracked ones, all flips on time.
_NUMERATOR = (1.0, -2.0, 1.0)
_DENOMINATOR = (1.0, PHASE_GAIN + PERIOD_GAIN - 2.0, 1.0 - PHASE_GAIN)


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

        Stretches without a late flip, nearly all of them, are done at once: there the loop is a
        linear filter. The indices are those of ``flip`` called one by one (tested).
        """
        indices = np.empty(len(times_s), np.int64)
        self._fill(times_s, indices)
        return indices

    def _fill(self, times_s: FloatArray, indices: IntArray) -> None:
        """Count a stretch at once; halve one with a late flip in it until that is a short one."""
        n = len(times_s)
        if n <= _ONE_BY_ONE:
            if not self._on_time(times_s, indices):
                indices[:] = [self.flip(time_s) for time_s in times_s.tolist()]
        elif not self._on_time(times_s, indices):
            self._fill(times_s[: n // 2], indices[: n // 2])
            self._fill(times_s[n // 2 :], indices[n // 2 :])

    def _on_time(self, times_s: FloatArray, indices: IntArray) -> bool:
        """Fill ``indices`` if every flip of the block came with the very next refresh."""
        from scipy.signal import lfilter  # noqa: PLC0415 - a second that no command to a session must wait for

        if self.refresh < 0 or not len(times_s):
            return False
        steps = np.arange(1, len(times_s) + 1)
        open_loop = times_s - (self._smoothed_s + steps * self.period_s)
        deviations = lfilter(_NUMERATOR, _DENOMINATOR, open_loop)
        if np.abs(deviations).max() > ON_TIME * self.period_s:
            return False
        last = float(deviations[-1])
        self._smoothed_s = float(times_s[-1]) - last + PHASE_GAIN * last
        self.period_s += PERIOD_GAIN * float(deviations.sum())
        indices[:] = self.refresh + steps
        self.refresh += len(times_s)
        return True
