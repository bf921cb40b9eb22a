"""From the wheel's two voltages to AllenSDK's running speed, step by step as AllenSDK 2.16.2 takes it (TASK_FACTS 7).

A turn ends at the highest voltage seen below 5.1 V. Steps of more than 1 V are no readings. Speed where the signal
wraps is kept within what it is a quarter of a second around. Speeds ten standard deviations out are none. The filter
is a Butterworth of order 3, forwards and backwards, at 4 Hz; what is no reading counts as standing still.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import signal

from hardware.arrays import AnyArray, FloatArray
from rig.records.running import HIGH_V, LARGEST_STEP_V, LOW_V

CUT_OFF_HZ = 4.0
FILTER_ORDER = 3
LARGEST_SIGNAL_V = 5.1
AROUND_WRAP_S = 0.25
LARGEST_Z = 10.0
ALLEN_RADIUS_CM = 6.5 * 2.54 / 3.0
"""Two thirds of the radius of a disk 6.5 inches across; ``hardware.wheel`` has the same, rounded."""
_SHORTEST = 3 * (FILTER_ORDER + 1)
"""The filter wants more samples than this."""


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """One value a flip in each array, shape (n flips,)."""

    turned_deg: FloatArray
    """Since the flip before; 0 at the first one, NaN where there is no reading."""
    speed_unfiltered_cm_s: FloatArray
    """NaN where there is no reading, and at the first three flips."""
    speed_cm_s: FloatArray
    """Low-passed at 4 Hz, finite."""


def running_of(flips: AnyArray, *, refresh_hz: float) -> Running:
    """Return AllenSDK's running speed from an array of ``FLIP_DTYPE``.

    Parameters
    ----------
    refresh_hz
        The filter takes samples to come at this rate, though flips may be late; AllenSDK does so with 60 Hz.
    """
    signal_v, supply_v = flips["signal_v"].astype(float), flips["supply_v"].astype(float)
    n = len(signal_v)
    if n < 2 or not np.isfinite(signal_v).any():
        nothing = np.full(n, np.nan)
        return Running(nothing, nothing.copy(), np.zeros(n))
    before_v = np.concatenate([[np.nan], signal_v[:-1]])
    ups = (signal_v < LOW_V) & (before_v > HIGH_V)
    downs = (signal_v > HIGH_V) & (before_v < LOW_V)
    below = signal_v[signal_v < LARGEST_SIGNAL_V]
    turn_v = float(below.max()) if len(below) else LARGEST_SIGNAL_V
    step_v = signal_v - before_v + turn_v * ups - turn_v * downs
    with np.errstate(invalid="ignore"):
        step_v[~(np.abs(step_v) <= LARGEST_STEP_V)] = np.nan
    turned_deg = step_v / supply_v * 360.0
    turned_deg[0] = 0.0
    unwrapped_v = np.where(np.isnan(step_v), np.nan, np.nancumsum(step_v))
    turned_rad = np.diff(unwrapped_v, prepend=np.nan) / supply_v * 2 * np.pi
    angle_rad = np.where(np.isnan(turned_rad), np.nan, np.nancumsum(turned_rad))
    times_s = flips["time_s"]
    speed = np.diff(angle_rad, prepend=np.nan) / np.diff(times_s, prepend=np.nan) * ALLEN_RADIUS_CM
    speed = _without_outliers(_kept_around_wraps(speed, times_s, np.flatnonzero(ups | downs)))
    smooth = np.nan_to_num(speed)
    if n > _SHORTEST:
        b, a = signal.butter(FILTER_ORDER, Wn=CUT_OFF_HZ, fs=refresh_hz, btype="lowpass")
        smooth = np.asarray(signal.filtfilt(b, a, smooth), np.float64)
    return Running(turned_deg, speed, smooth)


def _kept_around_wraps(speed: FloatArray, times_s: FloatArray, wraps: AnyArray) -> FloatArray:
    """Return speeds with those at wraps within the extremes of what is around them."""
    kept = speed.copy()
    first = np.searchsorted(times_s, times_s[wraps] - AROUND_WRAP_S, side="left")
    last = np.searchsorted(times_s, times_s[wraps] + AROUND_WRAP_S, side="right")
    for wrap, begin, end in zip(wraps.tolist(), first.tolist(), last.tolist(), strict=True):
        around = np.concatenate([speed[begin:wrap], speed[wrap + 1 : end]])
        there = around[~np.isnan(around)]
        kept[wrap] = np.clip(speed[wrap], there.min(), there.max()) if len(there) else np.nan
    return kept


def _without_outliers(speed: FloatArray) -> FloatArray:
    there = speed[~np.isnan(speed)]
    if not len(there) or not (spread := float(there.std())):
        return speed
    with np.errstate(invalid="ignore"):
        return np.where(np.abs((speed - there.mean()) / spread) > LARGEST_Z, np.nan, speed)
