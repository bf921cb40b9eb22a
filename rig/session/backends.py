"""The devices of a rig: all simulated, on a card, or on the twin of one. Which class stands behind which Protocol.

The session's loop, the log and the checks know none of this: they get a ``Backend``. A card keeps the host's time,
so a session on it or on its twin runs in real time only. The twin has the model mouse behind it, in its own
process; what comes on the screen is told to it by a thread, since telling takes a call.
"""

from __future__ import annotations

import dataclasses
import math
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from hardware.arrays import AnyArray, IntArray
from hardware.calibration import ValveCalibration
from hardware.clock import CardClock, Clock
from hardware.events import CameraState, Finding, Verdict
from hardware.lines import Line
from hardware.nidaq.connection import Connection
from hardware.nidaq.edges import NidaqEdges
from hardware.nidaq.encoder import NidaqEncoder
from hardware.nidaq.outputs import NidaqOutputs
from hardware.nidaq.valve import NidaqValve
from hardware.protocols import (
    Cameras,
    Device,
    DeviceError,
    EdgeSink,
    EdgeSource,
    Encoder,
    Identity,
    Microscope,
    RewardValve,
    Spout,
    SpoutReport,
    SyncOutputs,
)
from hardware.simulated.card import SimulatedCard
from hardware.simulated.faults import Faults
from hardware.simulated.imaging import CAMERA_RATE_HZ, PULSE_S, SimulatedCameras, SimulatedMicroscope, camera_files
from hardware.simulated.mice import ModelMouse, MouseKind, Setting
from hardware.simulated.microscope.process import SimulatedMicroscopeProcess
from hardware.simulated.microscope.wires import AtTwin, OnSimulatedCard
from hardware.simulated.spout import SimulatedSpout
from hardware.simulated.valve import SimulatedValve
from hardware.simulated.wheel import SimulatedWheel
from rig.config.rig import (
    FaultsConfig,
    MicroscopeConfig,
    NidaqCardConfig,
    RigConfig,
    SimulatedCardConfig,
    SimulatedMicroscopeConfig,
)

if TYPE_CHECKING:
    from hardware.simulated.twin import Twin, TwinBench

GATHER_LAG_S = 0.02
"""A refresh and some: until then the loop has read every lick."""
NO_TWIN_ADDRESS = "127.0.0.1:0"
JOIN_S = 2.0
CAMERA_LEAD_S = 0.05
"""A twin's cameras expose from so long after they are started on: telling the twin takes a call."""
CHATTER_HZ = 200.0
LATE_ANSWER_S = 0.06
"""What a twin's line or server does when its fault is asked for."""
TWINS_MOUSE = "mouse at the twin"
"""Named as a device is; no policy knows it, so it ends no session."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Devices behind their Protocols, all but the screen; none of them open yet."""

    edges: EdgeSource
    valve: RewardValve
    encoder: Encoder
    sync: SyncOutputs
    spout: Spout
    in_order: Sequence[Device]
    """Each device once, in the order in which they open."""
    echo_is_high: Callable[[], bool] | None = None
    """Whether the valve's echo is high now, where a loop-back wire can be told apart from nothing."""
    see: Callable[[float, str], bool] = lambda _host_s, _identity: False
    """Tell the mouse, if it is a model, what has come on the screen; see ``stimuli.headless.Observer``."""
    lines_before: Callable[[], int | None] = lambda: None
    """The state of all lines before the session's first edge, where there is a card that can tell."""
    begin: Callable[[float], None] = lambda _start_host_s: None
    """Take note that all is open and checked, and when the first flip will be."""
    wire_microscope: Callable[[SimulatedMicroscopeProcess], AbstractContextManager[object]] | None = None
    """Lead a simulated microscope's frame pulses to the card's lines, and the trigger to it."""
    microscope: Microscope | None = None
    cameras: Cameras | None = None


@dataclass(frozen=True, slots=True)
class MouseAtTwin:
    """The model mouse that a twin gets; none sits before a real card."""

    kind: MouseKind
    seed: int
    setting: Setting


def calibration_of(config: RigConfig) -> ValveCalibration:
    """Return the rig's valve calibration."""
    v = config.valve
    return ValveCalibration(
        slope_s_per_ul=v.slope_s_per_ul,
        intercept_s=v.intercept_s,
        volume_min_ul=v.volume_min_ul,
        volume_max_ul=v.volume_max_ul,
        measured_on=v.measured_on,
    )


def simulated(
    config: RigConfig,
    card: SimulatedCardConfig,
    *,
    clock: Clock,
    mouse: ModelMouse,
    start_host_s: float,
    seed: int,
    sink: EdgeSink | None,
    imaging: bool,
    fast: bool,
) -> Backend:
    """Return a rig without hardware.

    Parameters
    ----------
    start_host_s
        The host time of the first flip.
    imaging
        Whether this session has a microscope and cameras.
    """
    spout = SimulatedSpout(clock=clock, stuck=config.faults.spout_stuck)
    simulated_card = SimulatedCard(
        clock=clock,
        card_clock=CardClock(drift_ppm=card.drift_ppm, zero_ticks=seed),
        mouse=mouse,
        seed=seed,
        start_host_s=start_host_s,
        faults=_faults(config.faults),
        spout_in_reach=spout.in_reach,
        sink=sink,
        gather_lag_s=0.0 if fast else GATHER_LAG_S,
    )
    valve = SimulatedValve(
        card=simulated_card, calibration=calibration_of(config), paths=list(config.valve.paths), seed=seed
    )
    wheel = SimulatedWheel(card=simulated_card, seed=seed)
    within = config.microscope is None or isinstance(config.microscope, SimulatedMicroscopeConfig)
    microscope = _in_process(config.microscope, simulated_card) if imaging and within else None
    cameras = SimulatedCameras(card=simulated_card) if imaging else None

    def see(host_s: float, identity: str) -> bool:
        foreseen_s = mouse.next_lick_s()
        mouse.see(host_s=host_s, identity=identity)
        return mouse.next_lick_s() < foreseen_s

    in_order: list[Device] = [simulated_card, valve, wheel, spout]
    in_order += [device for device in (microscope, cameras) if device is not None]
    return Backend(
        edges=simulated_card,
        valve=valve,
        encoder=wheel,
        sync=simulated_card,
        spout=spout,
        in_order=in_order,
        see=see,
        wire_microscope=lambda process: nullcontext(OnSimulatedCard(process, simulated_card)),
        microscope=microscope,
        cameras=cameras,
    )


def _in_process(config: MicroscopeConfig | None, card: SimulatedCard) -> SimulatedMicroscope:
    if config is None:
        return SimulatedMicroscope(card=card)
    return SimulatedMicroscope(card=card, plane_groups=config.plane_groups, frame_rate_hz=config.frame_rate_hz)


def _faults(config: FaultsConfig) -> Faults:
    def at(seconds: float | None) -> float:
        return math.inf if seconds is None else seconds

    return Faults(
        lick_line_stuck_s=at(config.lick_line_stuck_s),
        encoder_frozen_s=at(config.encoder_frozen_s),
        valve_silent_s=at(config.valve_silent_s),
        device_gone_s=at(config.device_gone_s),
        spout_stuck=config.spout_stuck,
        photodiode_unplugged_s=at(config.photodiode_unplugged_s),
        patch_covered_s=at(config.patch_covered_s),
        vsync_2p_dead_s=at(config.vsync_2p_dead_s),
        vsync_2p_and_photodiode_swapped_s=at(config.vsync_2p_and_photodiode_swapped_s),
    )


@contextmanager
def on_card(
    config: RigConfig,
    card: NidaqCardConfig,
    *,
    clock: Clock,
    seed: int,
    sink: EdgeSink | None,
    mouse: MouseAtTwin,
    imaging: bool = False,
    twin: Twin | None = None,
) -> Iterator[Backend]:
    """Yield the devices of a card; start its twin before, where there is one, and end it afterwards.

    Parameters
    ----------
    imaging
        Whether this session has a microscope and cameras; a twin's cameras are simulated.
    mouse
        Sits behind a twin.
    twin
        One that runs already, in place of a new one: tests.

    Raises
    ------
    DeviceError
        The library is not installed, or the twin does not start.
    """
    with ExitStack() as stack:
        at_twin: _AtTwin | None = None
        wired = card.wired()
        if card.twin is not None:
            if twin is None:
                twin = stack.enter_context(new_twin(card, seed=seed))
            wired = card.wired(address=twin.address)
            at_twin = stack.enter_context(_AtTwin(twin.bench, card, config.faults))
            with _bench_calls():
                stack.enter_context(twin.bench.lease())  # what a session that was killed had taken, the next one can
                _wire(twin.bench, card)
                twin.bench.mouse(
                    mouse.kind.value,
                    mouse.seed,
                    clock.now_s(),
                    card.lick_terminal,
                    valve=card.valve_terminal,
                    wheel=(card.signal_channel, card.supply_channel),
                    setting=dataclasses.asdict(mouse.setting),
                )
                twin.bench.spout(at_mouse=False)
        gate = _Gate(sink)
        connection = Connection(wired)
        edges = NidaqEdges(connection=connection, clock=clock, sink=gate)
        sync = NidaqOutputs(connection=connection, edges=edges, clock=clock, seed=seed)
        valve = NidaqValve(
            connection=connection,
            edges=edges,
            clock=clock,
            calibration=calibration_of(config),
            paths=list(config.valve.paths),
        )
        encoder = NidaqEncoder(connection=connection, edges=edges, clock=clock)
        cameras = None if at_twin is None or not imaging else _CamerasAtTwin(clock, at_twin)
        stuck = config.faults.spout_stuck
        spout = SimulatedSpout(clock=clock, stuck=stuck) if at_twin is None else _SpoutAtTwin(clock, at_twin, stuck)

        def begin(start_host_s: float) -> None:
            edges.read()  # what was licked and pulsed until now belongs to the checks
            edges.read_frame_pulses()
            gate.open(edges)
            if at_twin is not None and twin is not None:
                with _bench_calls():
                    if Line.STIM_PHOTODIODE.label in card.lines:
                        twin.bench.photodiode(
                            _input(card, Line.STIM_PHOTODIODE), card.frame_output, card.running_output, start_host_s
                        )
                    at_twin.ask_for_faults(start_host_s)

        yield Backend(
            edges=edges,
            valve=valve,
            encoder=encoder,
            sync=sync,
            spout=spout,
            in_order=[edges, sync, valve, encoder, spout, *([cameras] if cameras is not None else [])],
            cameras=cameras,
            echo_is_high=lambda: bool(edges.state & Line.REWARD_ECHO.mask),
            see=at_twin.see if at_twin is not None else lambda _host_s, _identity: False,
            begin=begin,
            wire_microscope=None if twin is None else partial(_at_twin, twin.bench, card),
            lines_before=lambda: gate.lines_before,
        )


class _Gate:
    """Keeps the edges of the checks out of the session's file."""

    def __init__(self, sink: EdgeSink | None) -> None:
        self._sink = sink
        self._is_open = False
        self.lines_before: int | None = None
        """The state of all lines before the session's first edge, once it is open."""

    def open(self, edges: NidaqEdges) -> None:
        """Let edges through from now on."""
        self.lines_before = edges.state
        edges.flush()
        self._is_open = True

    def __call__(self, *, ticks: IntArray, states: AnyArray) -> None:
        if not self._is_open:
            self.lines_before = int(states[-1])
        elif self._sink is not None:
            self._sink(ticks=ticks, states=states)


@contextmanager
def new_twin(card: NidaqCardConfig, *, seed: int) -> Iterator[Twin]:
    """Yield a twin of a card, whose file has one; end it afterwards.

    Raises
    ------
    DeviceError
        The library is not installed, or the twin does not start.
    """
    drift_ppm = card.twin.drift_ppm if card.twin is not None else 0.0
    probe = Connection(card.wired(address=NO_TWIN_ADDRESS))
    probe.open()  # says in a sentence what is not installed
    probe.close()
    from hardware.simulated.twin import Twin  # noqa: PLC0415 - needs grpc, which no other rig does

    with ExitStack() as stack:
        try:
            twin = stack.enter_context(Twin(device=card.device, drift_ppm=drift_ppm, seed=seed))
        except (OSError, RuntimeError) as error:
            what = f"its twin can't be started: {error}"
            raise DeviceError(device="card", what=what, remedy="see what its process said above") from error
        yield twin


@contextmanager
def _bench_calls() -> Iterator[None]:
    """Say in a sentence that a twin does not do what it is asked for."""
    from hardware.simulated.twin import BenchError  # noqa: PLC0415 - needs grpc, which no other rig does

    try:
        yield
    except BenchError as error:
        what = f"its twin does not do what it is asked for ({error})"
        raise DeviceError(device="card", what=what, remedy="start the session again") from error


def _wire(bench: TwinBench, card: NidaqCardConfig) -> None:
    """Lead the rig's outputs back to its input lines, and the lick sensor to both of its places."""
    back = {
        Line.REWARD_ECHO: card.valve_terminal,
        Line.LICK_SENSOR: card.lick_terminal,
        Line.VSYNC_STIM: card.frame_output,
        Line.STIM_RUNNING: card.running_output,
        Line.ACQ_TRIGGER: card.acquire_output,
        Line.ALIGN: card.align_output,
    }
    for line, output in back.items():
        if line.label in card.lines:
            bench.wire(output, _input(card, line))


def _at_twin(bench: TwinBench, card: NidaqCardConfig, process: SimulatedMicroscopeProcess) -> AtTwin:
    """Lead a simulated microscope to a twin's lines."""
    from hardware.simulated.twin import BenchError  # noqa: PLC0415 - needs grpc, which no other rig does

    return AtTwin(
        process,
        bench,
        frame_line=_input(card, Line.VSYNC_2P),
        trigger_output=card.acquire_output,
        gone=BenchError,
    )


def _input(card: NidaqCardConfig, line: Line) -> str:
    return f"port0/line{card.lines[line.label]}"


class _AtTwin:
    """Tells the twin's mouse what happens, in a thread of its own, in order.

    With the first thing that fails it ends: a mouse that was not told all is not told more. ``take_error`` says so.
    """

    def __init__(self, bench: TwinBench, card: NidaqCardConfig, faults: FaultsConfig) -> None:
        self._bench = bench
        self._card = card
        self._faults = faults
        self._told: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._error: DeviceError | None = None
        self._thread = threading.Thread(target=self._run, name="mouse at the twin", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._told.put(None)
        self._thread.join(JOIN_S)

    def see(self, host_s: float, identity: str) -> bool:
        """Tell what has come on the screen; on the host's clock nothing is to be stopped for it."""
        self._told.put(lambda: self._bench.see(host_s, identity))
        return False

    def spout(self, *, at_mouse: bool) -> None:
        """Tell that the spout has come, or goes."""
        self._told.put(lambda: self._bench.spout(at_mouse))

    def tell(self, what: Callable[[], None]) -> None:
        """Have something done in its turn."""
        self._told.put(what)

    def cameras(self, *, start_host_s: float) -> None:
        """Give exposures on the cameras' lines."""
        for line in self._camera_lines():
            self._bench.train(line, CAMERA_RATE_HZ, PULSE_S, start_host_s)

    def stop_cameras(self) -> list[int]:
        """Give no more; return how many there were, of each camera."""
        return [self._bench.stop_train(line) for line in self._camera_lines()]

    def _camera_lines(self) -> list[str]:
        lines = (Line.CAM1_EXPOSURE, Line.CAM2_EXPOSURE)
        return [_input(self._card, line) for line in lines if line.label in self._card.lines]

    def ask_for_faults(self, start_host_s: float) -> None:
        """Have the twin break what the rig's file asks for, when it asks for it."""
        card, asked = self._card, self._faults
        lick, echo, frame, running, photodiode, frames_2p = (
            _input(card, line) if line.label in card.lines else ""
            for line in (
                Line.LICK_SENSOR,
                Line.REWARD_ECHO,
                Line.VSYNC_STIM,
                Line.STIM_RUNNING,
                Line.STIM_PHOTODIODE,
                Line.VSYNC_2P,
            )
        )
        for name, after_s, fields in (
            ("stuck", asked.lick_line_stuck_s, {"net": card.lick_terminal, "level": True}),
            ("wheel_frozen", asked.encoder_frozen_s, {}),
            ("cut", asked.valve_silent_s, {"source": card.valve_terminal, "target": echo}),
            ("unplugged", asked.device_gone_s, {}),
            ("chatter", asked.lick_line_chatters_s, {"net": card.lick_terminal, "hz": CHATTER_HZ}),
            ("swapped", asked.lick_and_echo_swapped_s, {"one": lick, "other": echo}),
            ("swapped", asked.frame_and_running_swapped_s, {"one": frame, "other": running}),
            ("stuck", asked.photodiode_unplugged_s, {"net": photodiode, "level": False}),
            ("stuck", asked.patch_covered_s, {"net": photodiode, "level": True}),
            ("stuck", asked.vsync_2p_dead_s, {"net": frames_2p, "level": False}),
            ("swapped", asked.vsync_2p_and_photodiode_swapped_s, {"one": frames_2p, "other": photodiode}),
            ("overflow", asked.buffer_overflows_s, {}),
            ("late_answers", asked.answers_late_s, {"seconds": LATE_ANSWER_S}),
        ):
            if after_s is not None:
                self._bench.fault(name, at_s=start_host_s + after_s, **fields)

    def take_error(self) -> DeviceError | None:
        """Return, once, why the mouse is told no more."""
        error, self._error = self._error, None
        return error

    def _run(self) -> None:
        while (tell := self._told.get()) is not None:
            try:
                tell()
            except Exception as error:  # noqa: BLE001 - whatever it was, a thread that ends says why
                self._error = DeviceError(
                    device=TWINS_MOUSE,
                    what=f"the model mouse no longer learns what is shown ({type(error).__name__}: {error})",
                    remedy="start the session again; what it records from here on is no mouse's behaviour",
                )
                return


class _CamerasAtTwin:
    """Behaviour and eye camera whose exposures are pulses on the twin's lines."""

    name = "cameras"

    def __init__(self, clock: Clock, twin: _AtTwin) -> None:
        self._clock = clock
        self._twin = twin
        self._files: list[str] = []
        self._states: queue.SimpleQueue[CameraState] = queue.SimpleQueue()

    def open(self) -> Identity:
        """Say what is simulated."""
        return Identity(device=self.name, model=f"simulated at the twin, two at {CAMERA_RATE_HZ:g} Hz")

    def check(self) -> list[Finding]:
        """Two cameras that are always there."""
        return [Finding(name="cameras", verdict=Verdict.PASS, figure="2 present")]

    def health(self) -> dict[str, float]:
        """Return nothing: the exposures are counted where they are seen."""
        return {}

    def close(self) -> None:
        """Nothing: pulses end with the twin, or are stopped before."""

    def start(self, *, session_id: str) -> None:
        """See ``Cameras.start``."""
        self._files = camera_files(session_id)
        start_s = self._clock.now_s() + CAMERA_LEAD_S

        def tell() -> None:
            self._twin.cameras(start_host_s=start_s)
            self._states.put(CameraState(recording=True, what=session_id, files=self._files))

        self._twin.tell(tell)

    def stop(self) -> None:
        """See ``Cameras.stop``."""

        def tell() -> None:
            n_exposures = self._twin.stop_cameras()
            self._states.put(CameraState(recording=False, files=self._files, n_exposures=n_exposures))

        self._twin.tell(tell)

    def poll(self) -> Sequence[CameraState]:
        """See ``Cameras.poll``."""
        return [self._states.get() for _ in range(self._states.qsize())]


class _SpoutAtTwin(SimulatedSpout):
    """A simulated stage that the twin's mouse knows of."""

    def __init__(self, clock: Clock, twin: _AtTwin, stuck: bool) -> None:
        super().__init__(clock=clock, stuck=stuck)
        self._twin = twin

    def move(self, *, position: str) -> None:
        """See ``Spout.move``."""
        super().move(position=position)
        if position != "at_mouse":
            self._twin.spout(at_mouse=False)

    def poll(self) -> Sequence[SpoutReport]:
        """See ``Spout.poll``; says as well when the mouse is told no more."""
        if (error := self._twin.take_error()) is not None:
            raise error
        arrivals = super().poll()
        for arrival in arrivals:
            if arrival.position == "at_mouse":
                self._twin.spout(at_mouse=True)
        return arrivals
