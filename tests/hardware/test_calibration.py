"""From volume to open time, and what is refused."""

from __future__ import annotations

from datetime import date

import pytest

from hardware.calibration import ValveCalibration
from hardware.protocols import DeviceError

CALIBRATION = ValveCalibration(
    slope_s_per_ul=0.0064558, intercept_s=0.02518, volume_min_ul=1, volume_max_ul=15, measured_on=date(2026, 11, 1)
)
"""As measured on one rig (TASK_FACTS 1.10)."""


@pytest.mark.parametrize(
    ("volume_ul", "open_ms"),
    [
        (7.0, 70.4),  # an earned reward; the recorded session's own figure
        (5.0, 57.5),  # an auto reward; likewise
        (1.0, 31.6),  # the least that was measured
        (15.0, 122.0),  # the most
    ],
)
def test_a_volume_has_the_measured_open_time(volume_ul: float, open_ms: float) -> None:
    assert CALIBRATION.open_time_s(volume_ul) * 1000 == pytest.approx(open_ms, abs=0.05)


@pytest.mark.parametrize("volume_ul", [-1.0, 0.0, 0.99, 15.01, 5000.0, float("nan"), float("inf")])
def test_a_volume_outside_the_calibrated_range_is_refused_with_the_range(volume_ul: float) -> None:
    with pytest.raises(DeviceError) as refusal:
        CALIBRATION.open_time_s(volume_ul)
    assert "outside the calibrated range of 1 to 15 uL (measured 2026-11-01)" in str(refusal.value)
    assert "calibrate the valve over a wider one" in str(refusal.value)


def test_the_age_of_a_calibration_is_counted_in_days() -> None:
    assert CALIBRATION.age_days(date(2026, 11, 22)) == 21
