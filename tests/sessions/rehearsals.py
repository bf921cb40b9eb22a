"""Rehearsals: a session's microscope with everything real but the screen and the card.

The simulated microscope is a process of its own, commanded over a socket by the rig's client; the sequence of
``rig.session.imaging`` is stepped with the time, and what it loses goes to a real task, whose policy decides. So a
hundred failures take a minute. Frames are seen where the process announces them.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from hardware.clock import HostClock
from hardware.events import Event, Finding, ImagingPhase, ImagingStep, MicroscopeEvent, MicroscopeState
from hardware.microscope.client import MicroscopeClient, Peer
from hardware.microscope.commander import LinkSettings
from hardware.microscope.messages import Recording
from hardware.microscope.messages import Verb as LinkVerb
from hardware.protocols import DeviceError
from hardware.simulated.microscope.faults import MicroscopeFault as Fault
from hardware.simulated.microscope.faults import MicroscopeStep as Step
from hardware.simulated.microscope.instrument import Wrong
from hardware.simulated.microscope.process import SimulatedMicroscopeProcess
from rig.session.imaging import FramesSeen, ImagingLimits, ImagingSequence
from stages import events as task
from stages.events import DeviceFault, DeviceRecovered, FaultPolicy, InputEvent, Verb
from stages.task import At, Task, stimuli_of
from tests.builders import SWEEP, rig_config, stage

HEARTBEAT_S, REPLY_S, AHEAD_S = 0.1, 0.6, 0.1
LIMITS = ImagingLimits(reply_s=0.9, first_frames_s=1.0, silent_s=0.6, stop_s=1.2)
RUN_S = 1.6
"""How long a session is let run, from its beginning."""
STEP_S = 0.02
ANSWER_S = 0.2
"""The operator takes so long to resume."""
PAUSES_WITHIN_S = 1.5
BUSY_S = 6.0
"""For whatever else this machine is doing."""
LONGEST_S = (
    6 * HEARTBEAT_S  # hello
    + 2 * (2 * LIMITS.reply_s + LIMITS.first_frames_s)  # begun, and begun anew after a pause
    + RUN_S
    + PAUSES_WITHIN_S
    + LIMITS.stop_s
    + LIMITS.reply_s  # aborted
    + REPLY_S  # goodbye
)
STOPS_WITHIN_S = 6 * HEARTBEAT_S + 1.0 + AHEAD_S
"""The microscope alone: the rig is missed, a stop that failed is tried again, announced frames come to their end."""


@dataclass(frozen=True)
class Draw:
    """One row: what goes wrong, when, and what the policy says."""

    kind: Fault | None
    step: Step
    delay_s: float
    lasts_s: float
    policy: FaultPolicy
    wired: bool
    """Whether the trigger line leads to the microscope."""

    def __str__(self) -> str:
        wire = "" if self.wired else ", no trigger wire"
        return f"{self.kind} at {self.step} + {self.delay_s:g} s for {self.lasts_s:g} s, {self.policy}{wire}"

    @property
    def must_be_told(self) -> bool:
        """Whether it can't pass without the session's noticing."""
        lost = self.lasts_s > 6 * HEARTBEAT_S and self.delay_s + self.lasts_s < RUN_S
        before_end = self.step is not Step.STOP and self.delay_s <= 0.1
        match self.kind:
            case Fault.DIES | Fault.RESTARTS:
                return before_end and self.step is not Step.HELLO
            case Fault.FREEZES:
                return before_end and lost and self.step is not Step.HELLO
            case Fault.REFUSES:
                return self.delay_s == 0 and self.step in (Step.PREPARE, Step.ARM)
            case Fault.DROPS_FRAMES:
                return before_end and self.lasts_s > LIMITS.silent_s + 0.2 and self.step in (Step.START, Step.ACQUIRING)
            case _:
                return False


@dataclass
class Rehearsed:
    """What became of a draw."""

    draw: Draw
    took_s: float = 0.0
    refused: str = ""
    """Why the session was not even begun."""
    entries: list[tuple[float, Event | task.Event]] = field(default_factory=list)
    """The log, with seconds since the beginning."""
    ended: task.SessionEnded | None = None
    ended_s: float = 0.0
    """When the session was over, on the host's clock."""
    stopped_after_s: float = 0.0
    """How long after that the microscope acquired."""
    asked: Counter[str] = field(default_factory=Counter)
    """How often it was told to do what."""
    called: list[tuple[str, str, float]] = field(default_factory=list)
    """What the instrument did."""

    def all(self, kind: type) -> list[Event | task.Event]:
        return [event for _, event in self.entries if isinstance(event, kind)]

    def story(self) -> str:
        """The log in words, for who has to find out."""
        lines = [f"{self.draw}; took {self.took_s:.2f} s; {self.refused or self.ended}"]
        lines += [f"  {at_s:5.2f} {event}" for at_s, event in self.entries if not isinstance(event, task.FlashPlanned)]
        lines += [
            f"  called {name} at {at_s - (self.ended_s or at_s):+.2f} s of the end" for name, _, at_s in self.called
        ]
        return "\n".join(lines)


class _Line:
    """The acquisition line, led to the microscope or to nowhere."""

    def __init__(self, process: SimulatedMicroscopeProcess, *, wired: bool) -> None:
        self._process = process
        self._wired = wired

    def acquire(self, *, level: bool) -> None:
        if self._wired:
            self._process.trigger(level=level, host_s=time.perf_counter())

    def flip_pulse(self) -> None:
        raise NotImplementedError

    def flips_made(self, *, host_s: object) -> None:
        raise NotImplementedError

    def running(self, *, level: bool) -> None:
        raise NotImplementedError


class _Client(MicroscopeClient):
    """Counts how often it is told to do what."""

    def __init__(self, *, peer: Peer, settings: LinkSettings, clock: HostClock) -> None:
        self.asked: Counter[str] = Counter()
        super().__init__(peer=peer, settings=settings, clock=clock)

    def _ask(self, verb: LinkVerb, recording: Recording | None = None) -> None:
        self.asked[verb.value] += 1
        super()._ask(verb, recording)


OnPhase = Callable[[ImagingPhase], None]


def rehearse(draw: Draw) -> Rehearsed:
    """Run a session's microscope with one thing going wrong."""
    wrong = None if draw.kind is None else Wrong(draw.kind, draw.step, draw.delay_s, draw.lasts_s)
    with SimulatedMicroscopeProcess(drift_ppm=50.0, offset_s=0.03, wrong=wrong, ahead_s=AHEAD_S) as process:
        return rehearse_with(draw, process=process, peer=process.peer, patient=draw.step is not Step.HELLO)


def rehearse_with(
    draw: Draw,
    *,
    process: SimulatedMicroscopeProcess,
    peer: Peer,
    patient: bool,
    on_phase: OnPhase = lambda _phase: None,
) -> Rehearsed:
    """Run a session with a microscope that is there, over some way to it; tell each step of the sequence.

    With ``patient`` the hello is waited for as long as this machine may be busy with something else.
    """
    return _Rehearsal(draw, process, peer, on_phase, patient=patient).run()


class _Rehearsal:
    def __init__(
        self, draw: Draw, process: SimulatedMicroscopeProcess, peer: Peer, on_phase: OnPhase, *, patient: bool
    ) -> None:
        self.patient = patient
        self.out = Rehearsed(draw)
        self.on_phase = on_phase
        self.process = process
        settings = LinkSettings(
            who="rehearsal", heartbeat_s=HEARTBEAT_S, reply_s=REPLY_S, plane_groups=2, frame_rate_hz=31.0
        )
        self.client = _Client(peer=peer, settings=settings, clock=HostClock())
        parameters = stage(SWEEP, gray_before_s=0.25, gray_after_s=0.25, n_repeats=20)
        self.task = Task(
            parameters,
            stimuli=stimuli_of(parameters, image_names=[], refresh_hz=60.0),
            refresh_hz=60.0,
            seed=1,
            policies={**rig_config().policies, "microscope": draw.policy},
        )
        self.begun_s = time.perf_counter()
        self.inputs: list[InputEvent] = []
        self.answer_at_s: float | None = None
        self.n_pauses = 0

    def run(self) -> Rehearsed:
        out = self.out
        begun_s = time.perf_counter()
        try:
            self._open_and_run()
        finally:
            self.client.close()
            out.took_s = time.perf_counter() - begun_s
        out.ended_s = time.perf_counter()
        limit_s = out.ended_s + STOPS_WITHIN_S + BUSY_S
        while self.process.acquiring and time.perf_counter() < limit_s:
            time.sleep(STEP_S)
        out.stopped_after_s = time.perf_counter() - out.ended_s
        out.asked = self.client.asked
        out.called = [(called.name, called.session, called.host_s) for called in self.process.called]
        return out

    def _open_and_run(self) -> None:
        for left in range(int(BUSY_S / REPLY_S) if self.patient else 1, 0, -1):
            try:
                self.client.open()
                break
            except DeviceError as error:
                if left == 1:
                    self.out.refused = str(error)
                    return
        self.client.check()
        sequence = ImagingSequence(
            microscope=self.client,
            sync=_Line(self.process, wired=self.out.draw.wired),  # type: ignore[arg-type]
            session_id=str(uuid4()),
            mouse="M1",
            stage="STAGE",
            limits=LIMITS,
        )
        self.begun_s = time.perf_counter()
        self._take(sequence.begin(now_s=self.begun_s, frames=self._frames()))
        while self.out.ended is None:
            time.sleep(STEP_S)
            self._operate(sequence)
            self._take(sequence.step(now_s=time.perf_counter(), frames=self._frames()))
            self._step_task(sequence)
        self._take(sequence.end(now_s=time.perf_counter()))
        while not sequence.finished:
            time.sleep(STEP_S)
            self._take(sequence.step(now_s=time.perf_counter(), frames=self._frames()))

    def _frames(self) -> FramesSeen:
        now_s = time.perf_counter()
        read_until_s = min(now_s, self.process.known_until_s)
        pulses_s = self.process.pulses_s
        return FramesSeen(n=bisect_right(pulses_s, read_until_s, hi=len(pulses_s)), read_until_s=read_until_s)

    def _take(self, happened: object) -> None:
        at_s = time.perf_counter() - self.begun_s
        self.out.entries += [(at_s, event) for event in happened.events]  # type: ignore[attr-defined]
        for event in happened.events:  # type: ignore[attr-defined]
            if isinstance(event, ImagingStep):
                self.on_phase(event.phase)
        fault, recovered = happened.fault, happened.recovered  # type: ignore[attr-defined]
        if fault is not None:
            self.inputs.append(DeviceFault(device=fault.device, what=fault.what, remedy=fault.remedy, time_s=at_s))
        if recovered:
            self.inputs.append(DeviceRecovered(device="microscope", time_s=at_s))

    def _operate(self, sequence: ImagingSequence) -> None:
        """Resume once, then give up; end the session when it has run long enough."""
        at_s = time.perf_counter() - self.begun_s
        if self.answer_at_s is not None and at_s >= self.answer_at_s:
            self.answer_at_s = None
            verb = Verb.RESUME if self.n_pauses == 1 else Verb.STOP_NOW
            self.inputs.append(task.CommandReceived(command=f"answer {self.n_pauses}", verb=verb, who="operator"))
        lost = sequence.phase is ImagingPhase.LOST
        pauses = self.out.draw.policy is FaultPolicy.PAUSE and lost and self.n_pauses == 0
        if at_s >= RUN_S + (PAUSES_WITHIN_S if pauses else 0.0) + (ANSWER_S if self.answer_at_s else 0.0):
            self.inputs.append(task.CommandReceived(command=f"end {at_s}", verb=Verb.STOP_NOW, who="end"))

    def _step_task(self, sequence: ImagingSequence) -> None:
        at_s = time.perf_counter() - self.begun_s
        inputs, self.inputs = self.inputs, []
        self.out.entries += [(at_s, event) for event in inputs]
        refresh = round(at_s * 60)
        decided = self.task.step(At(refresh, refresh, at_s), inputs)
        for event in decided.events:
            self.out.entries.append((at_s, event))
            match event:
                case task.Paused():
                    self.n_pauses += 1
                    self.answer_at_s = at_s + ANSWER_S
                case task.CommandApplied(verb=Verb.RESUME):
                    self._take(sequence.retry(now_s=time.perf_counter()))
                case task.SessionEnded():
                    self.out.ended = event


def wrongs(rehearsed: Rehearsed) -> list[str]:
    """What is not as it must be; nothing, if all is well."""
    found = []
    draw, names = rehearsed.draw, [name for name, _, _ in rehearsed.called]
    if rehearsed.took_s > LONGEST_S + BUSY_S:
        found.append(f"hung: {rehearsed.took_s:.1f} s where {LONGEST_S:.1f} s are the limit")
    if rehearsed.stopped_after_s > STOPS_WITHIN_S + BUSY_S - 1.0:
        found.append(f"was left acquiring {rehearsed.stopped_after_s:.1f} s after the session's end")
    if late := [at_s for name, _, at_s in rehearsed.called if name == "began" and at_s > rehearsed.ended_s]:
        found.append(f"began {late[0] - rehearsed.ended_s:.2f} s after the session's end: stale")
    prepared = armed = acquires = False
    for name in names:
        if (name == "began" and not (prepared and armed)) or (name == "began" and acquires):
            found.append(f"began out of order: {names}")
        prepared = name == "prepare" or (prepared and name not in ("began", "started anew", "abort"))
        armed = name == "arm" or (armed and name not in ("began", "started anew", "prepare", "stop", "abort"))
        acquires = name == "began" or (acquires and name not in ("ended", "started anew"))
    found += [
        f"was told to {verb} {names.count(verb)} times, asked {rehearsed.asked[verb]} times"
        for verb in ("prepare", "arm", "start")
        if names.count(verb) > rehearsed.asked[verb]
    ]
    return found + ([] if rehearsed.refused else _wrong_with_policy(rehearsed)) + _wrong_with_log(rehearsed, draw)


def _wrong_with_policy(rehearsed: Rehearsed) -> list[str]:
    draw, ended = rehearsed.draw, rehearsed.ended
    if ended is None:
        return ["has no end"]
    faults = rehearsed.all(DeviceFault)
    paused = rehearsed.all(task.Paused)
    closed = any(
        isinstance(event, task.BlockStarted) and event.block is task.BlockKind.GRAY_AFTER
        for event in rehearsed.all(task.BlockStarted)
    )
    followed = {
        FaultPolicy.CONTINUE: ended.who == "end" and not paused,
        FaultPolicy.PAUSE: bool(paused) and ended.who in ("end", "operator"),
        FaultPolicy.STOP: ended.reason is task.EndReason.FAULT and closed,
        FaultPolicy.STOP_NOW: ended.reason is task.EndReason.FAULT and not closed,
    }
    asked = followed[draw.policy] if faults else ended.who == "end" and not paused
    if faults and draw.policy is not FaultPolicy.CONTINUE and ended.who == "end":
        asked = asked or faults[0].time_s > RUN_S - 0.4  # type: ignore[union-attr]  # too late for the policy
    return [] if asked else [f"policy {draw.policy} was not followed: {ended}"]


def _wrong_with_log(rehearsed: Rehearsed, draw: Draw) -> list[str]:
    if rehearsed.refused:
        early = draw.kind in (Fault.DIES, Fault.FREEZES, Fault.NO_ANSWER, Fault.RESTARTS) and draw.step is Step.HELLO
        return [] if early or draw.kind is None else [f"refused: {rehearsed.refused}"]
    found = []
    phases = [event.phase for event in rehearsed.all(ImagingStep)]  # type: ignore[union-attr]
    if phases[0] is not ImagingPhase.PREPARING or phases[-1] is not ImagingPhase.FINISHED:
        found.append(f"the log does not tell from preparing to finished: {phases}")
    faults = rehearsed.all(DeviceFault)
    if draw.must_be_told and not faults:
        found.append("the log does not tell of it")
    said = [event for event in rehearsed.all(MicroscopeState) if event.phase == "failed"]  # type: ignore[union-attr]
    if not all(event.what for event in said):  # type: ignore[union-attr]
        found.append("a failure without a word")
    left = rehearsed.stopped_after_s > STOPS_WITHIN_S
    if left and not any("go and look" in event.remedy for event in rehearsed.all(Finding)):  # type: ignore[union-attr]
        found.append("nobody is told to go and look")
    return found


__all__ = ["Draw", "MicroscopeEvent", "Rehearsed", "rehearse", "wrongs"]
