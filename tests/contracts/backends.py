"""The backends that keep the devices' Protocols: one bench a backend, with a finger on the lick sensor.

A further backend joins by a function that builds its ``Bench`` and a line in ``BENCHES`` or ``SCREENS``; on a
real card the finger is an output wired to the lick line, and ``wait_until`` really waits.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np

from hardware.arrays import AnyArray, IntArray
from hardware.calibration import ValveCalibration
from hardware.clock import CardClock, VirtualClock
from hardware.lines import Line
from hardware.protocols import Cameras, Device, Edge, EdgeSource, Encoder, Microscope, RewardValve, Spout, SyncOutputs
from hardware.simulated.card import SimulatedCard
from hardware.simulated.faults import Faults
from hardware.simulated.imaging import SimulatedCameras, SimulatedMicroscope
from hardware.simulated.mice import ScriptedMouse
from hardware.simulated.spout import SimulatedSpout
from hardware.simulated.valve import SimulatedValve
from hardware.simulated.wheel import SimulatedWheel
from stimuli.headless import Behaviour, PacedScreen, RefreshTrain, VirtualScreen
from stimuli.screen import Screen

CALIBRATION = ValveCalibration(
    slope_s_per_ul=0.0064558, intercept_s=0.02518, volume_min_ul=1, volume_max_ul=15, measured_on=date(2026, 11, 1)
)
BOTH = ("card", "software")
START_S = 100.0
"""The host time at which every bench begins."""


class Bench(Protocol):
    """All devices of one backend, opened, and what a test does to them from outside."""

    edges: EdgeSource
    valve: RewardValve
    encoder: Encoder
    sync: SyncOutputs
    spout: Spout
    microscope: Microscope
    cameras: Cameras

    def lick(self, *times_s: float) -> None:
        """Have the lick line rise for some 30 ms at each of the host times, all ahead."""

    def wait_until(self, host_s: float) -> list[Edge]:
        """Let the time pass; return the lick line's edges until then."""

    def ticks(self, host_s: float) -> int:
        """Return the card's count at a host time."""

    def open_s(self, line: Line) -> list[float]:
        """Return how long each pulse on a line lasted that is over by now, in seconds."""

    def rises(self, line: Line) -> int:
        """Return how often a line has risen until now."""


class SimulatedBench:
    """The simulated devices on one card and a virtual clock."""

    def __init__(self, *, paths: tuple[str, ...], faults: Faults) -> None:
        self.clock = VirtualClock(START_S)
        self._mouse = ScriptedMouse(np.random.default_rng(1), lick_times_s=[])
        self._rows: list[tuple[IntArray, AnyArray]] = []
        card = SimulatedCard(
            clock=self.clock,
            card_clock=CardClock(drift_ppm=20.0, zero_ticks=2**33),
            mouse=self._mouse,
            seed=1,
            start_host_s=START_S,
            faults=faults,
            sink=lambda *, ticks, states: self._rows.append((ticks, states)),
        )
        self._card = card
        self.edges = self.sync = card
        self.valve = SimulatedValve(card=card, calibration=CALIBRATION, paths=paths, seed=1)
        self.encoder = SimulatedWheel(card=card, seed=1)
        self.spout = SimulatedSpout(clock=self.clock, stuck=faults.spout_stuck)
        self.microscope = SimulatedMicroscope(card=card)
        self.cameras = SimulatedCameras(card=card)

    def lick(self, *times_s: float) -> None:
        for time_s in times_s:
            heapq.heappush(self._mouse._licks, time_s)

    def wait_until(self, host_s: float) -> list[Edge]:
        self.clock.sleep_until(host_s)
        edges = list(self.edges.read())
        self.edges.next_due_s()  # as the loop does after each reading
        return edges

    def ticks(self, host_s: float) -> int:
        return self._card.card_clock.ticks(host_s)

    def open_s(self, line: Line) -> list[float]:
        ticks, level = self._levels(line)
        rose = ticks[level[1:] & ~level[:-1]]
        fell = ticks[~level[1:] & level[:-1]]
        return ((fell - rose[: len(fell)]) / 1e8).tolist()

    def rises(self, line: Line) -> int:
        _, level = self._levels(line)
        return int((level[1:] & ~level[:-1]).sum())

    def _levels(self, line: Line) -> tuple[IntArray, AnyArray]:
        self.edges.flush()
        rows = [row for row in self._rows if len(row[0])]
        if not rows:
            return np.empty(0, np.int64), np.zeros(1, bool)
        state = np.concatenate([states for _, states in rows])
        return np.concatenate([ticks for ticks, _ in rows]), np.concatenate([[False], state & line.mask != 0])


OpenBench = Callable[..., Bench]
BENCHES: dict[str, OpenBench] = {"simulated": SimulatedBench}


@contextmanager
def opened(backend: str, *, paths: tuple[str, ...] = BOTH, faults: Faults | None = None) -> Iterator[Bench]:
    """Open all devices of a backend and close them in reverse."""
    bench = BENCHES[backend](paths=paths, faults=faults or Faults())
    devices: list[Device] = [bench.edges, bench.valve, bench.encoder, bench.spout, bench.microscope, bench.cameras]
    for device in devices:
        device.open()
    try:
        yield bench
    finally:
        for device in reversed(devices):
            device.close()


Observer = Callable[[float, int], bool]


@dataclass(frozen=True, slots=True)
class ScreenBackend:
    """A screen on a clock that the test moves."""

    make: Callable[[RefreshTrain, VirtualClock, Observer], Screen]
    jumps: bool
    """It flips on until a limit is reached; the others flip once a call."""


SCREENS: dict[str, ScreenBackend] = {
    "virtual": ScreenBackend(lambda t, c, o: VirtualScreen(train=t, clock=c, observer=o), jumps=True),
    "paced": ScreenBackend(lambda t, c, o: PacedScreen(train=t, clock=c, observer=o), jumps=False),
}


def train(behaviour: Behaviour = Behaviour.JITTERING, *, seed: int = 1) -> RefreshTrain:
    """Return a monitor's behaviour."""
    return RefreshTrain(behaviour=behaviour, nominal_hz=60.0, seed=seed, start_host_s=START_S)
