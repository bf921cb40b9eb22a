"""The photodiode over the patch of a simulated monitor: when its line changes.

The patch is bright on flips 0 to 59, dark on 60 to 119 and so on; a splash of short pulses goes before the first flip
and follows the last (TASK_FACTS 8, and ``stimuli.patch``, which draws the real one; a test holds the two equal).
"""

from __future__ import annotations

import numpy as np

from hardware.arrays import AnyArray, FloatArray

PATCH_FLIPS = 60
SPLASH_FLIPS = 30
SPLASH_EVERY_FLIPS = 5
MONITOR_DELAY_S = 0.02115
"""From flip to light: AllenSDK's constant for behaviour rigs (TASK_FACTS 8)."""
MONITOR_JITTER_S = 200e-6
"""Standard deviation: where in its rise the light passes the photodiode's threshold, noise and all."""
REFRESH_S = 1 / 60
"""Of the splash."""


class Photodiode:
    """What a photodiode makes of a monitor's flips.

    Parameters
    ----------
    delay_s, jitter_s
        From a flip to the light, mean and standard deviation.
    """

    def __init__(
        self, *, rng: np.random.Generator, delay_s: float = MONITOR_DELAY_S, jitter_s: float = MONITOR_JITTER_S
    ) -> None:
        self._rng = rng
        self._delay_s = delay_s
        self._jitter_s = jitter_s
        self._n_flips = 0
        self._last_s = 0.0
        self._has_ended = False

    def begin(self, host_s: float) -> FloatArray:
        """Return when the line changes for the splash before a first flip."""
        return self._seen(_splash(host_s - SPLASH_FLIPS * REFRESH_S))

    def flips(self, host_s: FloatArray) -> FloatArray:
        """Return when the line changes for the next flips, shape (n,)."""
        if not len(host_s):
            return np.empty(0)
        changes = host_s[-self._n_flips % PATCH_FLIPS :: PATCH_FLIPS]
        self._n_flips += len(host_s)
        self._last_s = float(host_s[-1])
        return self._seen(changes)

    def end(self, now_s: float) -> FloatArray:
        """Return when the line changes for the splash after the last flip, drawn now; once, and not without a flip."""
        if self._has_ended or not self._n_flips:
            return np.empty(0)
        self._has_ended = True
        is_bright = (self._n_flips - 1) // PATCH_FLIPS % 2 == 0
        changes = _splash(max(self._last_s + REFRESH_S, now_s))
        return self._seen(changes[1:] if is_bright else changes)

    def _seen(self, changes: FloatArray) -> FloatArray:
        jitter_s = self._rng.normal(0.0, self._jitter_s, len(changes))
        seen: FloatArray = changes + self._delay_s + np.clip(jitter_s, -4 * self._jitter_s, 4 * self._jitter_s)
        return seen


def _splash(begins_s: float) -> FloatArray:
    """Return when the patch changes during a splash: bright at first, dark in the end."""
    at: AnyArray = np.arange(0, SPLASH_FLIPS, SPLASH_EVERY_FLIPS)
    return begins_s + at * REFRESH_S
