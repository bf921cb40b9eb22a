"""Durations are written in seconds and become whole refreshes here, once.

A duration that is not a whole number of the screen's nominal refreshes is refused with the two
nearest that are; nothing is ever rounded in silence.
"""

from __future__ import annotations

import math

TOLERANCE_REFRESHES = 1e-3
"""How far from whole still counts as whole: 17 us at 60 Hz, far below what a refresh can hold."""


class NotWholeRefreshes(ValueError):
    """A duration does not fit the screen's refresh grid."""

    def __init__(self, *, field: str, seconds: float, refresh_hz: float) -> None:
        n = seconds * refresh_hz
        low, high = math.floor(n), math.ceil(n)
        super().__init__(
            f"{field}: {seconds:g} s is {n:.3f} refreshes at {refresh_hz:g} Hz; the nearest whole ones are "
            f"{low / refresh_hz:.6g} s ({low} refreshes) and {high / refresh_hz:.6g} s ({high} refreshes)"
        )
        self.field = field


def whole_refreshes(seconds: float, *, refresh_hz: float, field: str) -> int:
    """Return ``seconds`` as a count of refreshes of the nominal rate.

    Raises
    ------
    NotWholeRefreshes
        Names the field, the value and the two nearest durations that fit.
    """
    n = seconds * refresh_hz
    whole = round(n)
    if abs(n - whole) > TOLERANCE_REFRESHES or (seconds > 0 and whole == 0):
        raise NotWholeRefreshes(field=field, seconds=seconds, refresh_hz=refresh_hz)
    return whole
