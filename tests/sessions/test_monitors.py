"""What the loop watches by itself, each judged on edges and samples at given times."""

from __future__ import annotations

import numpy as np
import pytest

from hardware.clock import TICKS_PER_S
from hardware.protocols import Edge
from rig.session.monitors import LickLineMonitor
from stages.events import DeviceFault, DeviceRecovered


def judged(monitor: LickLineMonitor, edges_s: np.ndarray, until_s: float) -> list[DeviceFault | DeviceRecovered]:
    """Show the monitor a line that toggles at these times, and have it judge every refresh."""
    told: list[DeviceFault | DeviceRecovered] = []
    at = 0
    for now_s in np.arange(0.0, until_s, 1 / 60).tolist():
        while at < len(edges_s) and edges_s[at] <= now_s:
            monitor.see(Edge(ticks=round(float(edges_s[at]) * TICKS_PER_S), rising=at % 2 == 0))
            at += 1
        told += monitor.tick(now_ticks=round(now_s * TICKS_PER_S), ticks_per_s=TICKS_PER_S, time_s=now_s)
    return told


@pytest.mark.parametrize("rises_hz", [7.0, 12.0, 24.0])
def test_licks_are_no_chatter(rises_hz: float) -> None:
    assert judged(LickLineMonitor(), np.arange(1.0, 20.0, 0.5 / rises_hz), 25.0) == []


@pytest.mark.parametrize("rises_hz", [30.0, 200.0, 2000.0])
def test_a_line_that_chatters_is_named_within_a_second_and_once_and_its_end_too(rises_hz: float) -> None:
    rises_s = np.arange(1.0, 4.0, 0.5 / rises_hz)
    fault, recovered = judged(LickLineMonitor(), rises_s[: len(rises_s) // 2 * 2], 8.0)
    assert isinstance(fault, DeviceFault)
    assert fault.what == f"the lick line rises {rises_hz:.0f} times a second"
    assert 0.0 < fault.time_s - 1.0 <= 1.0
    assert isinstance(recovered, DeviceRecovered)
    assert 4.0 < recovered.time_s < 5.1


def test_a_line_that_stays_high_is_named_and_its_end_too() -> None:
    fault, recovered = judged(LickLineMonitor(), np.array([1.0, 5.0]), 8.0)
    assert isinstance(fault, DeviceFault)
    assert fault.what == "the lick line has been high for 2.0 s"
    assert isinstance(recovered, DeviceRecovered)
    assert recovered.time_s == pytest.approx(5.0, abs=0.02)
