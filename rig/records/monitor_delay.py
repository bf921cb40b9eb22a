"""How long after its flip a picture is on the screen: a value, and where it comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from hardware.arrays import FloatArray
from hardware.pulses import FEWEST_CHANGES, LARGEST_DELAY_S
from stages.metrics import MONITOR_DELAY_S


class DelayOrigin(StrEnum):
    """Where a monitor's delay comes from."""

    NOMINAL = "nominal"
    """From the rig's file, or what AllenSDK takes for every behaviour rig."""
    MEASURED = "measured"
    """With a photodiode, in this session or on this rig."""


@dataclass(frozen=True, slots=True)
class MonitorDelay:
    """Seconds from a flip to the picture, with origin.

    Raises
    ------
    ValueError
        The delay is not above 0 and at most 0.07 s, or a measured one has no spread, or a nominal one has.
    """

    delay_s: float
    origin: DelayOrigin
    spread_s: float | None = None
    """Standard deviation over what was measured; None for a nominal one."""

    def __post_init__(self) -> None:
        if not 0 < self.delay_s <= LARGEST_DELAY_S:
            raise ValueError(
                f"a monitor's delay is above 0 and at most {LARGEST_DELAY_S} s; {self.delay_s:g} s is none"
            )
        if (self.spread_s is None) is (self.origin is DelayOrigin.MEASURED):
            raise ValueError("a measured delay comes with its spread, a nominal one without; give both or neither")
        if self.spread_s is not None and not 0 <= self.spread_s < math.inf:
            raise ValueError(f"the spread of a delay is 0 or above; {self.spread_s:g} s is none")

    def words(self) -> str:
        """Return it as an operator would say it."""
        spread = f" ± {self.spread_s * 1000:.2f}" if self.spread_s is not None else ""
        return f"{self.delay_s * 1000:.2f}{spread} ms, {self.origin.value}"


def nominal_delay(rig_parameters: Mapping[str, Any]) -> MonitorDelay:
    """Return the delay that a session's rig was given; AllenSDK's 0.02115 s where its log has none."""
    return MonitorDelay(float(rig_parameters.get("monitor_delay_s", MONITOR_DELAY_S)), DelayOrigin.NOMINAL)


MOST_MISSING = 0.1
LARGEST_DELAY_SPREAD_S = 0.005
"""A third of a refresh; what spreads more is not one delay."""
OUTLIER_S = 0.015
"""A change that is off the median by almost a refresh was drawn late, or is none of the patch's."""


def measured_delay(delays_s: FloatArray, *, n_expected: int) -> tuple[MonitorDelay | None, str]:
    """Return the delay that a photodiode has measured, or None and why it is none.

    It is the mean over the changes of the patch, as the laboratory's readers take it (TASK_FACTS 8), of those that are
    no outliers.

    Parameters
    ----------
    delays_s
        From the flip to the change that the photodiode saw, of each change that it saw.
    n_expected
        How many changes the patch has made.
    """
    if not len(delays_s):
        return None, "no change of the patch was seen"
    median_s = float(np.median(delays_s))
    good_s = delays_s[np.abs(delays_s - median_s) < OUTLIER_S]
    if len(good_s) < FEWEST_CHANGES:
        return None, f"too few changes of the patch were seen for the monitor's delay: {len(good_s)}"
    mean_s, spread_s = float(good_s.mean()), float(good_s.std(ddof=1))
    if not 0 < mean_s <= LARGEST_DELAY_S:
        return (
            None,
            f"a monitor's delay of {mean_s * 1e3:.2f} ms is refused: none is below 0 or above {LARGEST_DELAY_S:g} s",
        )
    if len(good_s) < (1 - MOST_MISSING) * n_expected:
        return None, f"the monitor's delay is not taken from {len(good_s)} of {n_expected} changes of the patch"
    if spread_s > LARGEST_DELAY_SPREAD_S:
        return None, f"a monitor's delay of {mean_s * 1e3:.2f} ± {spread_s * 1e3:.2f} ms is none"
    return MonitorDelay(mean_s, DelayOrigin.MEASURED, spread_s), ""
