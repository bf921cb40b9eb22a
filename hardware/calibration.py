"""From volume to open time of the valve, in the one place that does it.

The relation is a straight line measured by weighing (TASK_FACTS 1.10: slope 6.4558 s/mL, intercept
0.02518 s on one rig, so 7 uL is 70.4 ms). Outside the measured range nothing is extrapolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from hardware.protocols import DeviceError


@dataclass(frozen=True, slots=True)
class ValveCalibration:
    """A dated straight line: open time = ``slope_s_per_ul`` * volume + ``intercept_s``."""

    slope_s_per_ul: float
    intercept_s: float
    volume_min_ul: float
    volume_max_ul: float
    measured_on: date

    def open_time_s(self, volume_ul: float) -> float:
        """Return how long the valve must be open for ``volume_ul``.

        Raises
        ------
        DeviceError
            The volume lies outside the range that was measured.
        """
        if not self.volume_min_ul <= volume_ul <= self.volume_max_ul:
            raise DeviceError(
                device="valve",
                what=f"{volume_ul:g} uL lies outside the calibrated range of {self.volume_min_ul:g} to "
                f"{self.volume_max_ul:g} uL (measured {self.measured_on})",
                remedy="choose a volume inside the range, or calibrate the valve over a wider one",
            )
        return self.slope_s_per_ul * volume_ul + self.intercept_s

    def age_days(self, today: date) -> int:
        """Return how many days ago the calibration was measured."""
        return (today - self.measured_on).days
