"""The loop of a session: poll every source, step the task, act, draw and wait for the flip, log.

    poll -> Inputs -> task.step -> Outputs -> actions -> screen.advance -> frame pulse, columns -> log

``screen.advance`` is the only call that waits. On a virtual clock it jumps to whatever is due next; with
``stepping`` it is held to one flip at a time, and the bytes that come out are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hardware.clock import TICKS_PER_S, Clock, ClockMap
from hardware.events import (
    ClockFitted,
    ControllerFailed,
    DeviceHealth,
    Finding,
    Health,
    MicroscopePhase,
    MicroscopeState,
    Verdict,
)
from hardware.protocols import (
    Cameras,
    Command,
    CommandSource,
    Device,
    DeviceError,
    EdgeSource,
    Encoder,
    Microscope,
    PulseOutcome,
    PulseReport,
    RewardValve,
    Spout,
    SyncOutputs,
)
from rig.log.schema import AnyEvent, Entry
from rig.log.writer import Log
from rig.session.columns import Columns
from rig.session.monitors import LickLineMonitor, Monitor, SpoutMonitor, WheelMonitor
from stages.events import (
    Action,
    CommandApplied,
    CommandReceived,
    CommandRefused,
    DeviceFault,
    InputEvent,
    Lick,
    Resumed,
    RewardArmed,
    RewardCommanded,
    RewardConfirmed,
    RewardDisarmed,
    RewardFailed,
    RewardFired,
    RewardPath,
    RewardWithdrawn,
    SessionEnded,
    SessionStarted,
    SpoutCommanded,
    SpoutMoved,
    SpoutPosition,
    Verb,
)
from stages.task import At, Outputs, Task
from stimuli.screen import Flip, Screen

HEALTH_REFRESHES = 60
FIGURES_REFRESHES = 3600
"""The devices' own figures are logged once a minute."""
FIT_FLIPS = 3600
"""The clock map is fitted through this many pulses, and anew after as many; sooner at the start."""
FIRST_FIT_FLIPS = 60
ECHO_LIMIT_S = 0.5
"""The first frame pulse must be seen back this soon."""

Observer = Callable[[Entry], None]
StartedAt = Callable[[float], SessionStarted]
"""Makes the first event, given the host time of the first flip."""


@dataclass(frozen=True, slots=True)
class Devices:
    """Everything with a wire, behind its Protocol."""

    screen: Screen
    edges: EdgeSource
    valve: RewardValve
    encoder: Encoder
    sync: SyncOutputs
    spout: Spout
    commands: CommandSource
    microscope: Microscope | None = None
    cameras: Cameras | None = None


class Loop:
    """Runs one session to its end.

    Parameters
    ----------
    refresh_hz
        The screen's nominal rate.
    preface
        Logged right after ``SessionStarted``: what the devices are and what their checks found.
    observers
        Told of every entry as it is logged: live folds.
    stepping
        Take one flip at a time even on a virtual clock.
    on_step
        Told how long each step took on the clock, in seconds, without the wait for the flip.
    """

    def __init__(
        self,
        *,
        task: Task,
        devices: Devices,
        clock: Clock,
        log: Log,
        started: StartedAt,
        refresh_hz: float,
        preface: Sequence[AnyEvent] = (),
        observers: Sequence[Observer] = (),
        stepping: bool = False,
        on_step: Callable[[float], None] | None = None,
    ) -> None:
        self._task = task
        self._devices = devices
        self._clock = clock
        self._log = log
        self._started = started
        self._preface = tuple(preface)
        self._observers = tuple(observers)
        self._stepping = stepping
        self._on_step = on_step
        self._lick_line = LickLineMonitor()
        self._wheel = WheelMonitor()
        self._spout = SpoutMonitor()
        self._dead: set[str] = set()
        self._owed: list[InputEvent] = []
        self._inputs_due_s = -math.inf
        self._inputs_changed = True
        self._frame = 0
        self._ending: SessionEnded | None = None
        self._map: ClockMap
        self._time_s = 0.0
        self._safe = False
        self._figures_refresh = FIGURES_REFRESHES
        d = devices
        own: list[Device | None] = [d.edges, d.valve, d.encoder, d.spout, d.microscope, d.cameras]
        self._health_of = [device for device in own if device is not None]
        self._stretch_took_s = 0.0
        self._stretch_flip = 1
        self._gathered_elsewhere = False
        self._health_refresh = 0
        self._fit_flip = FIRST_FIT_FLIPS
        self._columns = Columns(
            screen=devices.screen,
            encoder=devices.encoder,
            sync=devices.sync,
            edges=devices.edges,
            log=log,
            wheel=self._wheel,
            refresh_hz=refresh_hz,
        )
        self._n_late = 0
        self._n_licks = 0
        self._step_s: list[float] = []

    def run(self) -> SessionEnded:
        """Run until the task is finished; return how it ended.

        Raises
        ------
        DeviceError
            The card does not answer at the start.
        """
        d = self._devices
        flip = d.screen.advance(stimulus=0, until_refresh=0, until_host_s=math.inf, until_flip=0)
        d.sync.flip_pulse()
        try:
            self._begin(flip)
            try:
                while self._ending is None:
                    flip = self._one_step(flip)
                self._end(flip)
            except BaseException as error:
                self._record(flip, ControllerFailed(what=f"{type(error).__name__}: {error}"))
                raise
            self._record(flip, self._ending)
            return self._ending
        finally:
            self._make_safe()

    # --- one step ---------------------------------------------------------------------------------

    def _one_step(self, flip: Flip) -> Flip:
        begun_s = self._clock.now_s()
        number, refresh, host_s = flip
        inputs, self._owed = self._owed, []
        if host_s >= self._inputs_due_s:
            self._poll(flip, inputs)
            self._inputs_changed = True
        if refresh >= self._health_refresh:
            self._health_refresh = refresh - refresh % HEALTH_REFRESHES + HEALTH_REFRESHES
            self._inputs_changed = True  # a command may have come that nobody could foresee
            self._watch(flip, inputs)
        if inputs:
            self._record_all(flip, inputs)
        out = self._task.step(At(number, refresh, self._time_s), inputs)
        if out.events:
            self._follow(out, flip)
        if out.finished:
            return flip
        if self._inputs_changed:
            self._inputs_due_s = self._next_input_s()
        until_flip = number + 1 if self._stepping or out.actions or self._owed else self._stretch_flip
        until_host_s = self._inputs_due_s
        if out.due_s < math.inf:
            until_host_s = min(until_host_s, self._map.host_s(out.due_s))
        self._inputs_changed = out.frame != self._frame  # a model mouse may answer what it is shown
        self._frame = out.frame
        took_s = self._clock.now_s() - begun_s + self._stretch_took_s
        self._stretch_took_s = 0.0
        self._step_s.append(took_s)
        if self._on_step is not None:
            self._on_step(took_s)
        flip = self._devices.screen.advance(
            stimulus=out.frame,
            until_refresh=min(out.due_refresh, self._health_refresh),
            until_host_s=until_host_s,
            until_flip=until_flip,
        )
        try:
            self._devices.sync.flip_pulse()
        except DeviceError as error:
            self._fault(error, self._owed, self._time_s)
        self._time_s = self._map.session_s(flip.host_s)  # before a new fit: flips.bin holds the same number
        if flip.flip >= self._stretch_flip:
            begun_s = self._clock.now_s()
            self._stretch_ends(flip)
            self._stretch_took_s = self._clock.now_s() - begun_s
        return flip

    def _follow(self, out: Outputs, flip: Flip) -> None:
        """Record what the task decided, answer operators, have devices act."""
        commands = self._devices.commands
        events: list[AnyEvent] = list(out.events)  # type: ignore[arg-type]  # all of them are in AnyEvent (tested)
        if out.finished:
            self._ending = next(event for event in events if isinstance(event, SessionEnded))
            events.remove(self._ending)  # recorded last, when the devices have been stopped
        self._record_all(flip, events)
        for decision in out.events:
            if isinstance(decision, CommandApplied):
                commands.answer(command=decision.command, applied=True, what=decision.what)
            elif isinstance(decision, CommandRefused):
                commands.answer(command=decision.command, applied=False, what=decision.why)
            elif isinstance(decision, Resumed):
                self._dead.clear()  # what fails again after the operator has looked is named again
        for action in out.actions:
            self._act(action, flip)
            self._inputs_changed = True

    def _next_input_s(self) -> float:
        """Return the host time before which no device has anything to say."""
        d = self._devices
        return min(d.edges.next_due_s(), d.spout.next_due_s(), d.commands.next_due_s())

    def _poll(self, flip: Flip, inputs: list[InputEvent]) -> None:
        """Add everything that has arrived since the last step."""
        for hear in (self._hear_edges, self._hear_valve, self._hear_spout):
            try:
                hear(inputs)
            except DeviceError as error:
                self._fault(error, inputs, self._time_s)
        inputs.extend(_received(command) for command in self._devices.commands.poll())

    def _hear_edges(self, inputs: list[InputEvent]) -> None:
        for edge in self._devices.edges.read():
            self._lick_line.see(edge)
            if edge.rising:
                self._n_licks += 1
                inputs.append(Lick(time_s=self._map.seconds(edge.ticks), ticks=edge.ticks))

    def _hear_valve(self, inputs: list[InputEvent]) -> None:
        inputs.extend(self._reward_event(report) for report in self._devices.valve.poll())

    def _hear_spout(self, inputs: list[InputEvent]) -> None:
        for arrival in self._devices.spout.poll():
            self._spout.arrived()
            inputs.append(
                SpoutMoved(position=SpoutPosition(arrival.position), time_s=self._map.session_s(arrival.host_s))
            )

    def _reward_event(self, report: PulseReport) -> InputEvent:
        match report.outcome:
            case PulseOutcome.FIRED:
                paid = report.lick_ticks >= 0
                return RewardFired(
                    reward=report.reward,
                    path=RewardPath(report.path),
                    time_s=self._map.seconds(report.ticks),
                    lick_time_s=self._map.seconds(report.lick_ticks) if paid else None,
                )
            case PulseOutcome.CONFIRMED:
                return RewardConfirmed(
                    reward=report.reward, time_s=self._map.seconds(report.ticks), open_s=report.open_s
                )
            case PulseOutcome.DISARMED:
                return RewardDisarmed(reward=report.reward)
            case PulseOutcome.FAILED:
                return RewardFailed(reward=report.reward, why=report.why)

    def _act(self, action: Action, flip: Flip) -> None:
        """Have a device carry out a decision; a failure comes back as an input of the next step."""
        d = self._devices
        time_s = self._time_s
        try:
            match action:
                case RewardArmed():
                    d.valve.arm(
                        reward=action.reward,
                        volume_ul=action.volume_ul,
                        opens_ticks=self._map.ticks(action.opens_s),
                        closes_ticks=self._map.ticks(action.closes_s),
                    )
                case RewardWithdrawn():
                    d.valve.disarm(reward=action.reward)
                case RewardCommanded():
                    d.valve.pulse(reward=action.reward, volume_ul=action.volume_ul)
                case SpoutCommanded():
                    self._spout.sent(position=action.position.value, time_s=time_s)
                    d.spout.move(position=action.position.value)
        except DeviceError as error:
            if not isinstance(action, SpoutCommanded):
                self._owed.append(RewardFailed(reward=action.reward, why=error.what))
            self._fault(error, self._owed, time_s)

    # --- once a second, once a stretch --------------------------------------------------------------

    def _watch(self, flip: Flip, inputs: list[InputEvent]) -> None:
        """Judge the monitors, ask the slow devices, say how the session fares."""
        time_s = self._time_s
        inputs += self._lick_line.tick(now_ticks=self._map.ticks(time_s), ticks_per_s=TICKS_PER_S, time_s=time_s)
        inputs += self._wheel.tick(time_s=time_s)
        inputs += self._spout.tick(time_s=time_s)
        if (trouble := self._log.trouble()) is not None:
            inputs += Monitor("log").judge(
                faulty=True, what=trouble, remedy="look at the data disk: its free space, its cable", time_s=time_s
            )
        self._poll_slow(flip)
        if self._gathered_elsewhere:
            self._hear_columns(flip)
        if flip.refresh >= self._figures_refresh:
            self._figures_refresh = flip.refresh + FIGURES_REFRESHES
            for device in self._health_of:
                self._record(flip, DeviceHealth(device=device.name, figures=device.health()))
        steps_us = sorted(step_s * 1e6 for step_s in self._step_s)
        self._step_s.clear()
        self._record(
            flip,
            Health(
                time_s=time_s,
                n_late_flips=self._n_late,
                n_licks=self._n_licks,
                backlog_events=self._log.backlog(),
                step_p50_us=steps_us[len(steps_us) // 2] if steps_us else 0.0,
                step_max_us=steps_us[-1] if steps_us else 0.0,
            ),
        )

    def _poll_slow(self, flip: Flip) -> None:
        """Ask microscope and cameras what they are doing; a failure is a fault for the policy to judge."""
        d = self._devices
        for device in (d.microscope, d.cameras):
            try:
                for state in device.poll() if device is not None else ():
                    self._record(flip, state)
                    if isinstance(state, MicroscopeState) and state.phase is MicroscopePhase.FAILED:
                        what = state.what or "it has failed"
                        error = DeviceError(device="microscope", what=what, remedy="look at the microscope")
                        self._fault(error, self._owed, self._time_s)
            except DeviceError as error:
                self._fault(error, self._owed, self._time_s)

    def _stretch_ends(self, flip: Flip) -> None:
        """Gather the columns if nobody else does, fit the clock if it is time, take note of what came up."""
        if flip.flip >= self._fit_flip:
            self._fit_flip = flip.flip + min(flip.flip, FIT_FLIPS)
            self._fit(flip)
        elif not self._gathered_elsewhere:
            self._columns.gather()
        self._hear_columns(flip)
        self._set_stretch(flip)
        self._log.settle()

    def _fit(self, flip: Flip) -> None:
        """Fit the clock map anew and say how it went."""
        fit = self._columns.fit(window=FIT_FLIPS)
        if fit is None:
            return
        if fit.taken:
            self._record(flip, ClockFitted(n=fit.n, drift_ppm=self._map.drift_ppm, residual_us=fit.residual_us))
        elif fit.n_new:
            self._record(
                flip,
                _found(
                    "clock map",
                    f"frame pulses and flips are {fit.jump_s * 1e3:.2f} ms apart; the map before stays",
                    "check the frame-pulse line and its echo",
                ),
            )
        if fit.n_missing > fit.n_new:
            what = f"{fit.n_missing} of {fit.n_missing + fit.n_new} frame pulses were not seen back"
            remedy = "check the frame-pulse line and its echo"
            self._fault(DeviceError(device="card", what=what, remedy=remedy), self._owed, self._time_s)
        elif fit.n_missing or fit.n_extra:
            self._record(
                flip,
                _found(
                    "frame pulses",
                    f"{fit.n_missing} flips without pulse, {fit.n_extra} pulses without flip",
                    "check the frame-pulse line and its echo",
                ),
            )

    def _hear_columns(self, flip: Flip) -> None:
        """Record late flips and name failures that gathering the columns met with."""
        if late := self._columns.late():
            self._n_late += len(late)
            self._record_all(flip, late)
        for error in self._columns.errors():
            self._fault(error, self._owed, self._time_s)

    def _set_stretch(self, flip: Flip) -> None:
        take = self._devices.screen.rows_per_take
        self._stretch_flip = self._fit_flip if self._gathered_elsewhere else min(flip.flip + take, self._fit_flip)

    # --- beginning and end --------------------------------------------------------------------------

    def _begin(self, flip: Flip) -> None:
        d = self._devices
        rows = d.screen.take()
        d.sync.flips_made(host_s=rows.host_s)
        first = d.edges.read_frame_pulses()
        limit_s = self._clock.now_s() + ECHO_LIMIT_S
        while not len(first) and self._clock.now_s() < limit_s:
            self._clock.sleep_until(self._clock.now_s() + 0.001)
            first = d.edges.read_frame_pulses()
        if not len(first):
            raise DeviceError(
                device="card",
                what=f"the first frame pulse was not seen back within {ECHO_LIMIT_S:g} s",
                remedy="check the wire from the frame-pulse output to its input line",
            )
        self._map = ClockMap(host_s=flip.host_s, ticks=int(first[0]))
        started = self._started(flip.host_s)
        self._record(flip, started)
        self._record_all(flip, self._preface)
        self._columns.begin(clock_map=self._map, first_ticks=first, rows=rows)
        self._gathered_elsewhere = self._log.gather_with(self._columns.gather)
        self._set_stretch(flip)
        d.sync.running(level=True)
        try:
            if d.cameras is not None:
                d.cameras.start(session_id=started.session_id)
            if d.microscope is not None:
                d.sync.acquire(level=True)
                d.microscope.start()
        except DeviceError as error:  # the policy of that device decides, as in mid-session
            self._fault(error, self._owed, 0.0)

    def _end(self, flip: Flip) -> None:
        """Stop what runs and log what is left. What fails now is found, not a fault: the task has ended."""
        for error in self._make_safe():
            self._record(flip, _found(error.device, error.what, error.remedy))
        self._poll_slow(flip)
        self._hear_columns(flip)
        for event in self._owed:
            if isinstance(event, DeviceFault):
                self._record(flip, _found(event.device, event.what, event.remedy))
            elif isinstance(event, RewardFailed):
                self._record(flip, _found("reward", event.why, "look at the valve"))

    def _make_safe(self) -> list[DeviceError]:
        """Close the valve, then stop everything that runs, then gather the last columns; return what failed.

        Whatever fails, the rest is still done. Done twice it does nothing more.
        """
        if self._safe:
            return []
        self._safe = True
        d = self._devices
        d.valve.close_now()
        calls: list[Callable[[], None]] = [lambda: d.sync.running(level=False)]
        if d.microscope is not None:
            calls += [d.microscope.stop, lambda: d.sync.acquire(level=False)]
        if d.cameras is not None:
            calls.append(d.cameras.stop)
        self._log.gather_with(None)
        calls.append(self._columns.gather)
        errors = []
        for call in calls:
            try:
                call()
            except DeviceError as error:
                errors.append(error)
            except Exception as error:  # noqa: BLE001 - whatever a driver raises, the next device is still stopped
                errors.append(DeviceError(device="rig", what=f"{type(error).__name__}: {error}", remedy="see the log"))
        return errors

    def _fault(self, error: DeviceError, into: list[InputEvent], time_s: float) -> None:
        """Name a device's failure once."""
        if error.device in self._dead:
            return
        self._dead.add(error.device)
        into.append(DeviceFault(device=error.device, what=error.what, remedy=error.remedy, time_s=time_s))

    def _record(self, flip: Flip, event: AnyEvent) -> None:
        self._record_all(flip, (event,))

    def _record_all(self, flip: Flip, events: Sequence[AnyEvent]) -> None:
        append, observers = self._log.append, self._observers
        for event in events:
            entry = Entry(flip.flip, flip.refresh, event)
            append(entry)
            for observer in observers:
                observer(entry)


def _found(name: str, figure: str, remedy: str) -> Finding:
    return Finding(name=name, verdict=Verdict.FAIL, figure=figure, remedy=remedy)


def _received(command: Command) -> CommandReceived:
    return CommandReceived(
        command=command.id,
        verb=Verb(command.verb),
        who=command.who,
        text=command.text,
        volume_ul=command.volume_ul,
        position=SpoutPosition(command.position) if command.position is not None else None,
    )
