"""Rates and d-prime of a session, as AllenSDK and the curriculum count them.

A hit rate is hits over completed go trials, a false-alarm rate false alarms over completed catch
trials; auto-rewarded and aborted trials count in neither (TASK_FACTS 4.1).
"""

from __future__ import annotations

import math
from statistics import NormalDist

CLIP = 0.01
"""Rates are clipped to [0.01, 0.99] before the z-transform (TASK_FACTS 4.2)."""


def rate(n: int, of: int) -> float:
    """Return ``n / of``, NaN when there were none."""
    return n / of if of else math.nan


def d_prime(hit_rate: float, false_alarm_rate: float) -> float:
    """Return z(hit rate) - z(false-alarm rate), both clipped to [0.01, 0.99]; NaN if either is."""
    if math.isnan(hit_rate) or math.isnan(false_alarm_rate):
        return math.nan
    z = NormalDist().inv_cdf
    return z(min(max(hit_rate, CLIP), 1 - CLIP)) - z(min(max(false_alarm_rate, CLIP), 1 - CLIP))
