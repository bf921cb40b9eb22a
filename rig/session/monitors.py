"""What the loop watches besides the devices' own errors: once a second, never in a hurry.

Each monitor turns a condition into one ``DeviceFault`` when it begins and one ``DeviceRecovered`` when it
is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np

from hardware.arrays import FloatArray
from hardware.lines import MOST_LICKS_PER_S
from hardware.protocols import Edge
from stages.events import DeviceFault, DeviceRecovered

LICK_LINE_HIGH_S = 2.0
"""A tongue touches the spout for some 30 ms; a line high this long is wet, bent or broken."""
QUIET_S = 1.0
"""A line that has not risen for so long chatters no more."""
WHEEL_STILL_S = 5.0
"""A live analog signal moves in its last digits all the time; one that does not is not alive."""

SPOUT_ARRIVES_S = 5.0
"""The stage moves some millimetres; one that takes this long is stuck or has lost its place."""

FaultEvent = DeviceFault | DeviceRecovered


class Monitor:
    """Says once that a fault has begun and once that it is over."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._faulty = False

    def judge(self, *, faulty: bool, what: str, remedy: str, time_s: float) -> Iterable[FaultEvent]:
        """Return the event that this judgement calls for, if any."""
        if faulty == self._faulty:
            return ()
        self._faulty = faulty
        if faulty:
            return (DeviceFault(device=self.device, what=what, remedy=remedy, time_s=time_s),)
        return (DeviceRecovered(device=self.device, time_s=time_s),)

    def forget(self) -> None:
        """Say a fault that is still there anew: its alarm has been cleared, since the device works again."""
        self._faulty = False


class LickLineMonitor(Monitor):
    """The lick line must fall again, and not rise more often than a tongue can."""

    def __init__(self) -> None:
        super().__init__("lick_sensor")
        self._rose_ticks: int | None = None
        self._rises: deque[int] = deque(maxlen=MOST_LICKS_PER_S + 1)

    def see(self, edge: Edge) -> None:
        """Take note of an edge."""
        self._rose_ticks = edge.ticks if edge.rising else None
        if edge.rising:
            self._rises.append(edge.ticks)

    def tick(self, *, now_ticks: int, ticks_per_s: int, time_s: float) -> Iterable[FaultEvent]:
        """Judge the line: of the last rises, those of a second."""
        high_s = 0.0 if self._rose_ticks is None else (now_ticks - self._rose_ticks) / ticks_per_s
        rises = self._rises
        chatters = (
            len(rises) > MOST_LICKS_PER_S
            and rises[-1] - rises[0] < ticks_per_s
            and now_ticks - rises[-1] < QUIET_S * ticks_per_s
        )
        if (high_s > LICK_LINE_HIGH_S or chatters) == self._faulty:
            return ()
        if chatters:
            what = f"the lick line rises {MOST_LICKS_PER_S * ticks_per_s / (rises[-1] - rises[0]):.0f} times a second"
            remedy = "check the sensor's threshold, its cable and its ground: no mouse licks so fast"
        else:
            what = f"the lick line has been high for {high_s:.1f} s"
            remedy = "dry the spout, look whether the mouse holds it, check the sensor and its wire"
        return self.judge(faulty=not self._faulty, what=what, remedy=remedy, time_s=time_s)


class WheelMonitor(Monitor):
    """The wheel's signal must move."""

    def __init__(self) -> None:
        super().__init__("encoder")
        self._last_v: float | None = None
        self._moved_s = 0.0
        self._seen_s = 0.0

    def see(self, *, times_s: FloatArray, signal_v: FloatArray) -> None:
        """Take note of new samples."""
        if not len(signal_v):
            return
        moved = np.empty(len(signal_v), bool)
        moved[0] = signal_v[0] != self._last_v
        moved[1:] = signal_v[1:] != signal_v[:-1]
        if moved.any():
            self._moved_s = float(times_s[len(moved) - 1 - int(np.argmax(moved[::-1]))])
        self._last_v, self._seen_s = float(signal_v[-1]), float(times_s[-1])

    def tick(self, *, time_s: float) -> Iterable[FaultEvent]:
        """Judge the signal."""
        still_s = self._seen_s - self._moved_s
        if (still_s > WHEEL_STILL_S) == self._faulty:
            return ()
        return self.judge(
            faulty=still_s > WHEEL_STILL_S,
            what=f"the wheel's signal has not moved by a digit for {still_s:.1f} s",
            remedy="check the encoder's supply and the wires to the card's analog inputs",
            time_s=time_s,
        )


class SpoutMonitor(Monitor):
    """A spout that was sent must arrive."""

    def __init__(self) -> None:
        super().__init__("spout")
        self._sent_s: float | None = None
        self._to = ""

    def sent(self, *, position: str, time_s: float) -> None:
        """Take note of a command to move."""
        self._sent_s, self._to = time_s, position

    def arrived(self) -> None:
        """Take note of an arrival."""
        self._sent_s = None

    def tick(self, *, time_s: float) -> Iterable[FaultEvent]:
        """Judge the stage."""
        under_way_s = 0.0 if self._sent_s is None else time_s - self._sent_s
        if (under_way_s > SPOUT_ARRIVES_S) == self._faulty:
            return ()
        return self.judge(
            faulty=under_way_s > SPOUT_ARRIVES_S,
            what=f"the spout has not arrived at {self._to} after {under_way_s:.1f} s",
            remedy="look whether it touches something; check its cable and power",
            time_s=time_s,
        )
