"""The loop of a session: poll every source, step the task, act, draw and wait for the flip, log.

    poll -> Inputs -> task.step -> Outputs -> actions -> screen.advance -> frame pulse, columns -> log

``screen.advance`` is the only call that waits. On a virtual clock it jumps to whatever is due next; with
``stepping`` it is held to one flip at a time, and the bytes that come out are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from hardware.clock import TICKS_PER_S, Clock, ClockMap
from hardware.events import (
    ClockFitted,
    ControllerFailed,
    DeviceHealth,
    Finding,
    Health,
    Verdict,
)
from hardware.protocols import (
    DeviceError,
)
from rig.log.schema import AnyEvent, Entry
from rig.log.writer import Log
from rig.session.arrivals import Arrivals, Faults
from rig.session.columns import Columns, Fit
from rig.session.devices import Devices
from rig.session.monitors import LickLineMonitor, Monitor, SpoutMonitor, WheelMonitor
from rig.session.recorders import Recorders, Said
from stages.events import (
    Action,
    CommandApplied,
    CommandRefused,
    DeviceFault,
    DeviceRecovered,
    InputEvent,
    RewardArmed,
    RewardCommanded,
    RewardFailed,
    RewardWithdrawn,
    SessionEnded,
    SessionStarted,
    SpoutCommanded,
    Verb,
)
from stages.task import At, Outputs, Task
from stimuli.screen import Flip

HEALTH_REFRESHES = 60
FIGURES_REFRESHES = 3600
"""The devices' own figures are logged once a minute."""
FIT_FLIPS = 3600
"""The clock map is fitted through this many pulses, and anew after as many; sooner at the start."""
FIRST_FIT_FLIPS = 60
ECHO_LIMIT_S = 0.5
"""The first frame pulse must be seen back this soon."""
STOPS_S = 0.02
"""How often microscope and cameras are looked at while they stop, when the session is over."""

Observer = Callable[[Entry], None]
StartedAt = Callable[[float], SessionStarted]
"""Makes the first event, given the host time of the first flip."""


class Loop:
    """Runs one session to its end.

    Parameters
    ----------
    recorders
        What records beside the session, and the lines that it is aligned by.
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
        recorders: Recorders,
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
        self._recorders = recorders
        self._recorders_due_s = math.inf
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
        self._faults = Faults()
        self._arrivals = Arrivals(devices=devices, faults=self._faults, lick_line=self._lick_line, spout=self._spout)
        self._owed: list[InputEvent] = []
        self._inputs_due_s = -math.inf
        self._inputs_changed = True
        self._frame = 0
        self._ending: SessionEnded | None = None
        self._map: ClockMap
        self._time_s = 0.0
        self._has_begun = self._safe = False
        self._figures_refresh = FIGURES_REFRESHES
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
        self._step_s: list[float] = []

    @property
    def devices(self) -> Devices:
        """The devices it runs on."""
        return self._devices

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
                self._make_safe(flip)
                self._record(flip, ControllerFailed(what=f"{type(error).__name__}: {error}"))
                raise
            self._record(flip, self._ending)
            return self._ending
        finally:
            self._make_safe(flip)

    def _one_step(self, flip: Flip) -> Flip:
        begun_s = self._clock.now_s()
        number, refresh = flip.flip, flip.refresh
        inputs, self._owed = self._owed, []
        if flip.host_s >= self._inputs_due_s:
            self._arrivals.take(inputs, time_s=self._time_s)
            self._inputs_changed = True
        if flip.host_s >= self._recorders_due_s:
            self._step_recorders(flip, inputs)
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
            self._inputs_due_s = self._arrivals.next_due_s()
        until_flip = number + 1 if self._stepping or out.actions or self._owed else self._stretch_flip
        until_host_s = min(self._inputs_due_s, self._recorders_due_s)
        if out.due_s < math.inf:
            until_host_s = min(until_host_s, self._map.host_s(out.due_s))
        took_s = self._clock.now_s() - begun_s + self._stretch_took_s
        self._stretch_took_s = 0.0
        self._step_s.append(took_s)
        if self._on_step is not None:
            self._on_step(took_s)
        flip = self._devices.screen.advance(
            stimulus=out.frame,
            until_refresh=out.due_refresh if out.due_refresh < self._health_refresh else self._health_refresh,
            until_host_s=until_host_s,
            until_flip=until_flip,
        )
        # A model mouse may answer what it is shown; if it will, the screen has stopped at that flip.
        self._inputs_changed = out.frame != self._frame and flip.flip == number + 1
        self._frame = out.frame
        try:
            self._devices.sync.flip_pulse()
        except DeviceError as error:
            self._faults.name(error, self._owed, time_s=self._time_s)
        self._time_s = self._map.session_s(flip.host_s)  # before a new fit: flips.bin holds the same number
        if flip.flip >= self._stretch_flip:
            begun_s = self._clock.now_s()
            self._stretch_ends(flip)
            self._stretch_took_s = self._clock.now_s() - begun_s
        return flip

    def _follow(self, out: Outputs, flip: Flip) -> None:
        """Record what the task decided, answer operators, have devices act."""
        commands = self._devices.commands
        events: Sequence[AnyEvent] = out.events  # type: ignore[assignment]  # all of them are in AnyEvent (tested)
        if out.finished:
            self._ending = next(event for event in events if isinstance(event, SessionEnded))
            events = [event for event in events if event is not self._ending]  # recorded when all has been stopped
        self._record_all(flip, events)
        for decision in events:
            if isinstance(decision, CommandApplied):
                commands.answer(command=decision.command, applied=True, what=decision.what)
                if decision.verb is Verb.RESUME:
                    self._faults.forgive()
                    self._hear(self._recorders.retry(now_s=self._clock.now_s()), flip, self._owed)
            elif isinstance(decision, CommandRefused):
                commands.answer(command=decision.command, applied=False, what=decision.why)
        for action in out.actions:
            self._act(action, flip)
            self._inputs_changed = True

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
            self._faults.name(error, self._owed, time_s=time_s)

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
        self._step_recorders(flip, inputs)
        inputs += self._recorders.judge_lines(clock_map=self._map, time_s=time_s)
        self._record_all(flip, self._devices.commands.found())
        if self._gathered_elsewhere:
            self._hear_columns(flip)
        if flip.refresh >= self._figures_refresh:
            self._figures_refresh = flip.refresh + FIGURES_REFRESHES
            for device in self._devices.own():
                self._record(flip, DeviceHealth(device=device.name, figures=device.health()))
        steps_s = sorted(self._step_s)
        self._step_s.clear()
        self._record(
            flip,
            Health(
                time_s=time_s,
                n_late_flips=self._n_late,
                n_licks=self._arrivals.n_licks,
                backlog_events=self._log.backlog(),
                step_p50_us=steps_s[len(steps_s) // 2] * 1e6 if steps_s else 0.0,
                step_max_us=steps_s[-1] * 1e6 if steps_s else 0.0,
            ),
        )

    def _step_recorders(self, flip: Flip, inputs: list[InputEvent]) -> None:
        """Step microscope and cameras, by the edges of their lines until now."""
        if not self._gathered_elsewhere and self._recorders.wants_edges(now_s=self._clock.now_s()):
            self._columns.gather()
        self._recorders.read(until_s=self._columns.read_until_s)
        self._hear(self._recorders.step(now_s=self._clock.now_s()), flip, inputs)

    def _hear(self, said: Said, flip: Flip, inputs: list[InputEvent]) -> None:
        """Record what microscope and cameras have to say; a failure is a fault for the policy to judge."""
        self._record_all(flip, said.events)  # type: ignore[arg-type]  # all of them are in AnyEvent (tested)
        for device in said.worse:
            self._faults.forget(device)
        for error in said.faults:
            self._faults.name(error, inputs, time_s=self._time_s)
        for device in said.recovered:
            self._faults.forget(device)
            inputs.append(DeviceRecovered(device=device, time_s=self._time_s))
        self._recorders_due_s = self._recorders.next_due_s(now_s=self._clock.now_s())

    def _stretch_ends(self, flip: Flip) -> None:
        """Gather the columns if nobody else does, fit the clock if it is time, take note of what came up."""
        if flip.flip >= self._fit_flip:
            self._fit_flip = flip.flip + min(flip.flip, FIT_FLIPS)
            self._columns.ask_for_fit(window=FIT_FLIPS)
        if not self._gathered_elsewhere:
            self._columns.gather()
        self._hear_columns(flip)
        self._set_stretch(flip)
        self._log.settle()

    def _take_fit(self, fit: Fit, flip: Flip) -> None:
        """Say how a new fit of the clock map went."""
        if fit.taken:
            self._record(flip, _fitted(fit, self._map))
        elif fit.n_new:
            apart = f"frame pulses and flips are {fit.jump_s * 1e3:.2f} ms apart"
            few = "hardly a frame pulse came back alone and within the call that gave it"
            self._record(
                flip,
                _found(
                    "clock map",
                    f"{few if math.isnan(fit.jump_s) else apart}; the map before stays",
                    "check the frame-pulse line and its echo",
                ),
            )
        if fit.n_missing - fit.n_extra > fit.n_new:  # one that came late is missing at its flip and extra elsewhere
            what = f"{fit.n_missing} of {fit.n_missing + fit.n_new} frame pulses were not seen back"
            remedy = "check the frame-pulse line and its echo"
            self._faults.name(DeviceError(device="card", what=what, remedy=remedy), self._owed, time_s=self._time_s)
        elif fit.n_missing == fit.n_extra > 0:
            what = f"{fit.n_missing} of {fit.n_new + fit.n_missing} came more than half a refresh after their flips"
            self._record(flip, _found("frame pulses", what, "look what keeps this computer busy"))
        elif fit.n_missing or fit.n_extra:
            what = f"{fit.n_missing} flips without pulse, {fit.n_extra} pulses without flip"
            self._record(flip, _found("frame pulses", what, "check the frame-pulse line and its echo"))

    def _hear_columns(self, flip: Flip) -> None:
        """Take over a new fit, record late flips, name failures that gathering the columns met with."""
        if (fit := self._columns.take_fit()) is not None:
            self._take_fit(fit, flip)
        if late := self._columns.late():
            self._n_late += len(late)
            self._record_all(flip, late)
        for error in self._columns.errors():
            self._faults.name(error, self._owed, time_s=self._time_s)

    def _set_stretch(self, flip: Flip) -> None:
        take = self._devices.screen.rows_per_take
        self._stretch_flip = self._fit_flip if self._gathered_elsewhere else min(flip.flip + take, self._fit_flip)

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
        self._map = ClockMap(host_s=flip.host_s, ticks=int(first.ticks[0]))
        self._arrivals.begin(clock_map=self._map)
        started = self._started(flip.host_s)
        self._has_begun = True
        self._record(flip, started)
        self._record_all(flip, self._preface)
        self._columns.begin(clock_map=self._map, first=first, rows=rows)
        self._gathered_elsewhere = self._log.gather_with(self._columns.gather)
        self._set_stretch(flip)
        d.sync.running(level=True)
        self._recorders.read(until_s=self._columns.read_until_s)
        self._hear(self._recorders.begin(now_s=self._clock.now_s()), flip, self._owed)

    def _end(self, flip: Flip) -> None:
        """Stop what runs and log what is left. What fails now is found, not a fault: the task has ended."""
        self._make_safe(flip)
        self._hear_columns(flip)
        for event in self._owed:
            if isinstance(event, DeviceFault):
                self._record(flip, _found(event.device, event.what, event.remedy))
            elif isinstance(event, RewardFailed):
                self._record(flip, _found("reward", event.why, "look at the valve"))

    def _make_safe(self, flip: Flip) -> None:
        """Make all devices safe, wait for microscope and cameras to stop, gather the last columns. Once is enough."""
        if self._safe:
            return
        self._safe = True
        errors = self._devices.make_safe()
        self._log.gather_with(None)
        self._columns.gather()
        errors += self._stop_recorders(flip)
        for error in errors:
            self._record(flip, _found(error.device, error.what, error.remedy))

    def _stop_recorders(self, flip: Flip) -> list[DeviceError]:
        """Have microscope and cameras stop, and wait until they have: none of the sequences takes for ever."""
        recorders, clock = self._recorders, self._clock
        left: list[InputEvent] = []
        try:
            self._hear(recorders.end(now_s=clock.now_s()), flip, left)
            while not recorders.finished:
                clock.sleep_until(clock.now_s() + STOPS_S)
                self._columns.gather()
                recorders.read(until_s=self._columns.read_until_s)
                self._hear(recorders.step(now_s=clock.now_s()), flip, left)
            self._columns.gather()
            self._hear(recorders.last_word(), flip, left)
        finally:
            errors: list[DeviceError] = [] if recorders.finished else self._devices.stop_recording()
        return errors + [
            DeviceError(device=event.device, what=event.what, remedy=event.remedy)
            for event in left
            if isinstance(event, DeviceFault)
        ]

    def _record(self, flip: Flip, event: AnyEvent) -> None:
        self._record_all(flip, (event,))

    def _record_all(self, flip: Flip, events: Sequence[AnyEvent]) -> None:
        if not self._has_begun:
            return  # a log begins with its session, or not at all
        append, observers = self._log.append, self._observers
        for event in events:
            entry = Entry(flip.flip, flip.refresh, event)
            append(entry)
            for observer in observers:
                observer(entry)


def _fitted(fit: Fit, clock_map: ClockMap) -> ClockFitted:
    return ClockFitted(
        n=fit.n,
        drift_ppm=clock_map.drift_ppm,
        residual_us=fit.residual_us,
        bound_us=fit.bound_us,
        host_zero_s=clock_map.host_s(0.0),
    )


def _found(name: str, figure: str, remedy: str) -> Finding:
    return Finding(name=name, verdict=Verdict.FAIL, figure=figure, remedy=remedy)
