"""How long after its flip a picture is on the screen: a value, and where it comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stages.metrics import MONITOR_DELAY_S

LARGEST_S = 0.07
"""AllenSDK takes a longer one for a mistake (TASK_FACTS 8)."""


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
        if not 0 < self.delay_s <= LARGEST_S:
            raise ValueError(f"a monitor's delay is above 0 and at most {LARGEST_S} s; {self.delay_s:g} s is none")
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
