"""The backends that keep the devices' Protocols: one bench a backend, with a finger on the lick sensor.

A further backend joins by a function that builds its ``Bench`` and a line in ``BENCHES`` or ``SCREENS``; on a
real card the finger is an output wired to the lick line, and ``wait_until`` really waits. The twin's bench runs
the code of a real card, through the real nidaqmx library, on a device server whose time is stepped.
"""

from __future__ import annotations

import heapq
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

import numpy as np

from hardware.arrays import AnyArray, GreyFrame, GreyFrames, IntArray
from hardware.calibration import ValveCalibration
from hardware.clock import CardClock, VirtualClock
from hardware.lines import Line
from hardware.nidaq.valve import NidaqValve
from hardware.protocols import (
    Cameras,
    Device,
    Edge,
    EdgeSource,
    Encoder,
    Microscope,
    PulseReport,
    RewardValve,
    Spout,
    SyncOutputs,
)
from hardware.simulated.card import SimulatedCard
from hardware.simulated.faults import Faults
from hardware.simulated.imaging import SimulatedCameras, SimulatedMicroscope
from hardware.simulated.mice import ScriptedMouse
from hardware.simulated.spout import SimulatedSpout
from hardware.simulated.valve import SimulatedValve
from hardware.simulated.wheel import SimulatedWheel
from stimuli.frames import PICTURE_SHAPE, Frames
from stimuli.geometry import Geometry
from stimuli.headless import Behaviour, PacedScreen, RefreshTrain, VirtualScreen
from stimuli.psychopy_screen import PsychopyScreen
from stimuli.screen import Screen
from stimuli.window import WindowSettings
from tests.hardware.card_on_twin import CardOnTwin, SteppedClock, stepped_twin

CALIBRATION = ValveCalibration(
    slope_s_per_ul=0.0064558, intercept_s=0.02518, volume_min_ul=1, volume_max_ul=15, measured_on=date(2026, 11, 1)
)
BOTH = ("card", "software")
PATHS = {"simulated": [("card",), ("software",), BOTH], "twin": [("software",), BOTH]}
"""The ways of paying that each backend can be told to use."""
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
    poll_every_s: float
    """How often a test that lets it run asks for news."""

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

    poll_every_s = 0.01

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
        self.edges.flush()
        return _pulses_s(self._rows, line)

    def rises(self, line: Line) -> int:
        self.edges.flush()
        return _rises(self._rows, line)


Rows = list[tuple[IntArray, AnyArray]]


def _levels(rows: Rows, line: Line) -> tuple[IntArray, AnyArray]:
    """Return a line's level after each edge of any line, and before the first, when it is low."""
    filled = [row for row in rows if len(row[0])]
    if not filled:
        return np.empty(0, np.int64), np.zeros(1, bool)
    state = np.concatenate([states for _, states in filled])
    return np.concatenate([ticks for ticks, _ in filled]), np.concatenate([[False], state & line.mask != 0])


def _pulses_s(rows: Rows, line: Line) -> list[float]:
    ticks, level = _levels(rows, line)
    rose = ticks[level[1:] & ~level[:-1]]
    fell = ticks[~level[1:] & level[:-1]]
    return ((fell - rose[: len(fell)]) / 1e8).tolist()


def _rises(rows: Rows, line: Line) -> int:
    _, level = _levels(rows, line)
    return int((level[1:] & ~level[:-1]).sum())


class _PumpedValve(NidaqValve):
    """The card's valve, for which the reader's thread is run when it is asked for news."""

    def poll(self) -> Sequence[PulseReport]:
        for _ in range(2):  # a withdrawal is over after a second reading
            self._edges.poll_once()
        return super().poll()


class TwinOfCardBench:
    """The code of a real card on a twin; spout and imaging have no wire to it and are the simulated ones."""

    poll_every_s = 0.1

    def __init__(self, *, paths: tuple[str, ...], faults: Faults) -> None:
        twin = stepped_twin()
        twin.bench.reset()
        clock = SteppedClock(twin.bench, ahead_s=START_S - twin.bench.now_s())
        unwired = ["ctr0"] if faults.valve_silent_s < math.inf else []
        rig = self._rig = CardOnTwin(twin, paths=paths, unwired=unwired, clock=clock, valve=_PumpedValve)
        self._ahead_s = clock.ahead_s
        now_s = twin.bench.now_s()
        if faults.device_gone_s < math.inf:
            twin.bench.fault("unplugged", at_s=now_s + faults.device_gone_s)
        twin.bench.analog("ai0", [(now_s, 0.1), (now_s + 1000.0, 4.8)])
        twin.bench.analog("ai1", 4.885)
        self.edges, self.valve, self.encoder, self.sync = rig.edges, rig.valve, rig.encoder, rig.sync
        simulated = SimulatedBench(paths=paths, faults=faults)
        self.spout = SimulatedSpout(clock=clock, stuck=faults.spout_stuck)
        self.microscope, self.cameras = simulated.microscope, simulated.cameras

    def lick(self, *times_s: float) -> None:
        self._rig.lick(*[time_s - self._ahead_s for time_s in times_s])

    def wait_until(self, host_s: float) -> list[Edge]:
        return self._rig.run_until(host_s - self._ahead_s)

    def ticks(self, host_s: float) -> int:
        return self._rig.bench.ticks(host_s - self._ahead_s)

    def open_s(self, line: Line) -> list[float]:
        self.edges.flush()
        return _pulses_s(self._rig.rows, line)

    def rises(self, line: Line) -> int:
        self.edges.flush()
        return _rises(self._rig.rows, line)


OpenBench = Callable[..., Bench]
BENCHES: dict[str, OpenBench] = {"simulated": SimulatedBench, "twin": TwinOfCardBench}
COMPUTED = ["simulated"]
"""Those fast enough to be opened for each of hundreds of examples, and with imaging of their own."""


@contextmanager
def opened(backend: str, *, paths: tuple[str, ...] = BOTH, faults: Faults | None = None) -> Iterator[Bench]:
    """Open all devices of a backend and close them in reverse."""
    bench = BENCHES[backend](paths=paths, faults=faults or Faults())
    devices: list[Device] = [bench.edges, bench.valve, bench.encoder, bench.spout, bench.microscope, bench.cameras]
    if bench.sync is not bench.edges:
        devices.insert(1, bench.sync)
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
    needs_display: bool = False
    """It opens a window, which takes too long to be done for each of hundreds of examples."""


class PlainPictures:
    """A source whose pictures and movies are even grey, another for each frame."""

    def picture(self, name: str) -> GreyFrame:
        return np.full(PICTURE_SHAPE, 200, np.uint8)

    def movie(self, name: str, *, n_frames: int) -> GreyFrames:
        return np.repeat(np.arange(n_frames, dtype=np.uint8), 4 * 6).reshape(n_frames, 4, 6)

    def movie_hash(self, name: str) -> str:
        return "plain"


def window(t: RefreshTrain, c: VirtualClock, o: Observer) -> PsychopyScreen:
    """A window of PsychoPy's, on the display that the test has started."""
    frames = Frames(geometry=Geometry(width_px=64, height_px=40), pictures=PlainPictures())
    folder = Path(tempfile.gettempdir()) / "rig-test-moving"
    return PsychopyScreen(
        frames=frames, settings=WindowSettings(), refresh_hz=60.0, clock=c, observer=o, moving_dir=folder, train=t
    )


SCREENS: dict[str, ScreenBackend] = {
    "virtual": ScreenBackend(lambda t, c, o: VirtualScreen(train=t, clock=c, observer=o), jumps=True),
    "paced": ScreenBackend(lambda t, c, o: PacedScreen(train=t, clock=c, observer=o), jumps=False),
    "psychopy": ScreenBackend(window, jumps=False, needs_display=True),
}


def train(behaviour: Behaviour = Behaviour.JITTERING, *, seed: int = 1) -> RefreshTrain:
    """Return a monitor's behaviour."""
    return RefreshTrain(behaviour=behaviour, nominal_hz=60.0, seed=seed, start_host_s=START_S)
