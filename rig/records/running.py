"""From the wheel's two voltages to speed, one value a flip.

Wraps: up if the signal falls below 1.5 V from above 3.5 V, down if the other way round; a step of more than
1 V left after that is no reading. Radius 5.5033 cm (TASK_FACTS 7). No filter here: files that readers
expect filtered name their own.
"""

from __future__ import annotations

import numpy as np

from hardware.arrays import AnyArray, FloatArray
from hardware.wheel import RUNNING_RADIUS_CM

LOW_V, HIGH_V, LARGEST_STEP_V = 1.5, 3.5, 1.0


def speed_cm_s(flips: AnyArray) -> FloatArray:
    """Return the speed at each flip in cm/s, shape (n,), NaN where there is no reading.

    Parameters
    ----------
    flips
        Array of ``FLIP_DTYPE``.
    """
    if len(flips) < 2:
        return np.full(len(flips), np.nan)
    signal_v = flips["signal_v"].astype(float)
    supply_v = flips["supply_v"].astype(float)
    previous_v, present_v = signal_v[:-1], signal_v[1:]
    step_v = present_v - previous_v
    step_v = np.where((present_v < LOW_V) & (previous_v > HIGH_V), step_v + supply_v[1:], step_v)
    step_v = np.where((present_v > HIGH_V) & (previous_v < LOW_V), step_v - supply_v[1:], step_v)
    step_v[np.abs(step_v) > LARGEST_STEP_V] = np.nan
    angle_rad = step_v / supply_v[1:] * 2 * np.pi
    speed = np.empty(len(flips))
    speed[1:] = angle_rad * RUNNING_RADIUS_CM / np.diff(flips["time_s"])
    speed[0] = speed[1]
    return speed
