"""A rig's card on the twin, through the real nidaqmx library: stepped without threads, or live with them."""

from __future__ import annotations

import atexit
import heapq
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import cache

import numpy as np

from hardware.arrays import AnyArray, IntArray
from hardware.calibration import ValveCalibration
from hardware.clock import Clock, HostClock
from hardware.lines import Line
from hardware.nidaq.connection import CardConfig, Connection
from hardware.nidaq.edges import NidaqEdges
from hardware.nidaq.encoder import NidaqEncoder
from hardware.nidaq.outputs import NidaqOutputs
from hardware.nidaq.valve import NidaqValve
from hardware.protocols import Edge, PulseReport
from hardware.simulated.twin import Twin, TwinBench

CALIBRATION = ValveCalibration(
    slope_s_per_ul=0.0064558, intercept_s=0.02518, volume_min_ul=1, volume_max_ul=15, measured_on=date(2026, 11, 1)
)
BOTH = ("card", "software")
CONTACT_S = 0.03
SEEN_AFTER_S = 0.0003
"""How long after an edge the stepped reader looks."""
LICK, ECHO = "port0/line31", "port0/line7"
WIRES = [
    ("ctr0", ECHO),
    ("PFI0", LICK),
    ("port1/line4", "port0/line2"),
    ("port1/line6", "port0/line5"),
    ("port1/line5", "port0/line6"),
    ("port1/line7", "port0/line10"),
]
"""The finger is at PFI0, which the lick sensor's line is wired to."""


@cache
def stepped_twin() -> Twin:
    """Return this process's twin whose time only moves when it is told to; reset it before use."""
    twin = Twin(stepped=True, drift_ppm=20.0, zero_ticks=2**33)
    atexit.register(twin.__exit__)
    return twin.__enter__()


class SteppedClock:
    """The twin's stepped clock, some time ahead of it if so wished."""

    def __init__(self, twin: TwinBench, *, ahead_s: float = 0.0) -> None:
        self._twin = twin
        self.ahead_s = ahead_s

    def now_s(self) -> float:
        return self._twin.now_s() + self.ahead_s

    def sleep_until(self, time_s: float) -> None:
        self._twin.advance(time_s - self.ahead_s)


class CardOnTwin:
    """All of the card's devices, wired up; not yet opened."""

    def __init__(
        self,
        twin: Twin,
        *,
        paths: Sequence[str] = BOTH,
        live: bool = False,
        unwired: Sequence[str] = (),
        config: CardConfig | None = None,
        clock: Clock | None = None,
        valve: type[NidaqValve] = NidaqValve,
    ) -> None:
        self.bench = twin.bench
        for source, target in WIRES:
            if source not in unwired:
                self.bench.wire(source, target)
        self.clock = clock or (HostClock() if live else SteppedClock(self.bench))
        self.config = replace(config or CardConfig(watchdog_s=None), address=twin.address)
        self.rows: list[tuple[IntArray, AnyArray]] = []
        self._stops_s: list[float] = []
        self.late_s = 0.0
        """How long after the time for it the stepped reader comes to anything."""
        connection = self.connection = Connection(self.config)
        self.edges = NidaqEdges(
            connection=connection,
            clock=self.clock,
            threaded=live,
            sink=lambda *, ticks, states: self.rows.append((ticks, states)),
        )
        self.sync = NidaqOutputs(connection=connection, edges=self.edges, clock=self.clock, seed=1)
        self.valve = valve(
            connection=connection,
            edges=self.edges,
            clock=self.clock,
            calibration=CALIBRATION,
            paths=paths,
            threaded=live,
        )
        self.encoder = NidaqEncoder(connection=connection, edges=self.edges, clock=self.clock)
        self.devices = (self.edges, self.sync, self.valve, self.encoder)

    def open(self) -> None:
        for device in self.devices:
            device.open()

    def close(self) -> None:
        for device in reversed(self.devices):
            device.close()

    def lick(self, *times_s: float, contact_s: float = CONTACT_S) -> None:
        """Touch the sensor at host times ahead."""
        for time_s in times_s:
            self.bench.edges("PFI0", [time_s, time_s + contact_s])
            self.look_at(time_s, time_s + contact_s)

    def look_at(self, *times_s: float) -> None:
        """Have the stepped reader look soon after these host times."""
        for time_s in times_s:
            heapq.heappush(self._stops_s, time_s + SEEN_AFTER_S + self.late_s)

    def run_until(self, host_s: float, *, longest_s: float = 5.0) -> list[Edge]:
        """Step the twin from one thing to the next, polling at each; return the lick line's edges."""
        self.step_until(host_s, longest_s=longest_s)
        return list(self.edges.read())

    def step_until(self, host_s: float, *, longest_s: float = 5.0) -> None:
        """Step the twin from one thing to the next, polling at each."""
        ahead_s = self.clock.ahead_s if isinstance(self.clock, SteppedClock) else 0.0
        self.edges.poll_once()
        while (now_s := self.bench.now_s()) < host_s:
            while self._stops_s and self._stops_s[0] <= now_s:
                heapq.heappop(self._stops_s)
            due_s = self.edges.due_s() - ahead_s
            stops = [host_s, now_s + longest_s, self._stops_s[0] if self._stops_s else math.inf]
            if due_s + self.late_s >= now_s:
                stops.append(due_s + self.late_s + 1e-6)
            self.bench.advance(min(stops))
            self.edges.poll_once()

    def reports(self, until_s: float) -> list[PulseReport]:
        """Run, poll the valve, and return what it said."""
        self.step_until(until_s)
        reports: list[PulseReport] = []
        while some := self.valve.poll():
            reports += some
        return reports

    def seen(self, line: Line) -> list[tuple[int, bool]]:
        """Return all changes of a line that went to the sink; it was low at first."""
        self.edges.flush()
        ticks = np.concatenate([np.empty(0, np.int64), *(ticks for ticks, _ in self.rows)])
        states = np.concatenate([np.zeros(1, np.int64), *(states for _, states in self.rows)])
        level = states & line.mask != 0
        return [(int(ticks[i]), bool(level[i + 1])) for i in np.flatnonzero(level[1:] != level[:-1])]

    def pulses_s(self) -> list[tuple[int, float]]:
        """Return the valve's openings as the scope saw them: ticks and how long, in seconds."""
        changes = self.bench.scope("ctr0")
        pulses = []
        for (rose, up), (fell, down) in itertools.pairwise(changes):
            if up and not down:
                pulses.append((rose, (fell - rose) / 1e8))
        return pulses


@contextmanager
def opened(rig: CardOnTwin) -> Iterator[CardOnTwin]:
    """Open all devices and close them in reverse."""
    try:
        rig.open()
        yield rig
    finally:
        rig.close()
