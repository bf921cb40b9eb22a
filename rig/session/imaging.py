"""The microscope's part of a session, as a sequence that is stepped with the time.

    preparing -> arming -> starting -> running -> stopping -> finished; lost from any of the first four

Rules
    * A step takes what has been said and seen since the last one, gives the next command and returns. Nothing waits,
      and nothing here reads a clock: the loop says what time it is, on the host's.
    * The trigger is the acquisition line; the command to start goes with it. That frames come is believed when they
      have been seen on ``vsync_2p``, not when the microscope says so.
    * What is lost is said once, as a fault that the policy judges; once more where its frames stayed away at first, and
      then it says that it has failed, or its link is gone.
    * It is taken up again when frames come by themselves, or when the operator goes on: then the recording is stopped,
      so that what it holds is kept, and another one is prepared, armed and triggered; one that was never triggered is
      aborted.
    * However a session ends, the line goes low and the recording is stopped; once more where that was refused or not
      answered, since an abort throws away what was recorded. What does not say within its limit that it has stopped is
      aborted, and what does not then either is named in the log: somebody must go and look.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from hardware.events import (
    Event,
    Finding,
    ImagingPhase,
    ImagingStep,
    MicroscopePhase,
    MicroscopeState,
    Verdict,
)
from hardware.protocols import DeviceError, Microscope, SyncOutputs

FIRST_FRAMES = 3
"""So many pulses after the trigger are frames; one may be the artefact of a shutter or a relay (RIG_LESSONS)."""
QUIET_S = 0.2
"""A microscope that has stopped gives no frame for so long; the slowest planes come at some 10 Hz."""
BUSY_S = 0.02
"""How often a sequence wants to be stepped while something is to happen soon."""
CALM_S = 0.5


@dataclass(frozen=True, slots=True)
class ImagingLimits:
    """How long what may take, in seconds."""

    reply_s: float = 5.0
    """From prepare, arm or abort until the microscope has done so."""
    first_frames_s: float = 10.0
    """From the trigger to the first frames on the 2-photon line."""
    silent_s: float = 1.5
    """Without a frame in mid-recording."""
    stop_s: float = 20.0
    """From stop until the recording has been written out."""

    @property
    def start_s(self) -> float:
        """The longest that a start may take, from prepare to first frames."""
        return 2 * self.reply_s + self.first_frames_s


class FramesSeen(NamedTuple):
    """What has been seen on ``vsync_2p``."""

    n: int
    """Rises since the session began."""
    read_until_s: float
    """Host time until which the line has been read."""


@dataclass(slots=True)
class Happened:
    """What came of a step."""

    events: list[Event] = field(default_factory=list)
    """For the log, in order."""
    fault: DeviceError | None = None
    """The device has been lost."""
    worse: bool = False
    """It was lost before; the fault says what more is wrong with it."""
    recovered: bool = False
    """It works again."""


class ImagingSequence:
    """The microscope of one session.

    Parameters
    ----------
    microscope, sync
        What is commanded, and what drives the trigger line.
    limits
        How long what may take.
    """

    name = "microscope"

    def __init__(
        self,
        *,
        microscope: Microscope,
        sync: SyncOutputs,
        session_id: str,
        mouse: str,
        stage: str,
        limits: ImagingLimits,
    ) -> None:
        self._microscope = microscope
        self._sync = sync
        self._prepare = lambda: microscope.prepare(session_id=session_id, mouse=mouse, stage=stage)
        self._limits = limits
        self.phase = ImagingPhase.IDLE
        self._said = MicroscopePhase.IDLE
        self._has_said_stopped = False  # was its last word, before it failed or was not heard of any more
        self._begun_s = 0.0  # when the phase began
        self._triggered = False
        self._may_hold_frames = False  # triggered, and no other recording has been prepared since
        self._prepare_s = limits.reply_s  # how long the preparation may take
        self._n_before = 0  # frames before the trigger
        self._n_frames = 0
        self._grew_s = -math.inf  # when the last frame was seen
        self._aborted = False
        self._may_stop_again = True
        self._must_say = False  # lost by its own word: only that takes it up again
        self._was_lost = False

    @property
    def finished(self) -> bool:
        """Whether nothing more will come of it."""
        return self.phase is ImagingPhase.FINISHED

    @property
    def expects_frames(self) -> bool:
        """Whether frames are to be seen on the 2-photon line now, if all were well."""
        return self._triggered and self.phase in (ImagingPhase.STARTING, ImagingPhase.RUNNING, ImagingPhase.LOST)

    @property
    def is_busy(self) -> bool:
        """Whether something is to happen soon."""
        return self.phase not in (ImagingPhase.IDLE, ImagingPhase.RUNNING, ImagingPhase.LOST, ImagingPhase.FINISHED)

    def next_due_s(self, *, now_s: float) -> float:
        """Return the host time at which the next step is wanted."""
        if self.phase in (ImagingPhase.IDLE, ImagingPhase.FINISHED):
            return math.inf
        return now_s + (BUSY_S if self.is_busy else CALM_S)

    def begin(self, *, now_s: float, frames: FramesSeen) -> Happened:
        """Prepare the microscope; once."""
        out = Happened()
        self._n_frames, self._grew_s = frames.n, now_s
        self._hear(out, now_s)  # of what it did before: a link that was lost for a while and is back loses no session
        if self.phase is ImagingPhase.LOST:
            return out
        self._said = MicroscopePhase.IDLE
        self._to(ImagingPhase.PREPARING, now_s, out)
        self._command(self._prepare, out, now_s)
        return self._go_on(out, now_s, frames)

    def step(self, *, now_s: float, frames: FramesSeen) -> Happened:
        """Take what has happened, judge the limits, give the next command."""
        return self._go_on(Happened(), now_s, frames)

    def retry(self, *, now_s: float) -> Happened:
        """Begin anew with a microscope that was lost: the operator has looked and goes on."""
        out = Happened()
        if self.phase is ImagingPhase.LOST:
            self._triggered = False
            self._trigger(level=False, out=out)
            self._command(self._microscope.stop if self._may_hold_frames else self._microscope.abort, out, now_s)
            self._prepare_s = self._limits.reply_s + (self._limits.stop_s if self._may_hold_frames else 0.0)
            self._said = MicroscopePhase.IDLE
            self._to(ImagingPhase.PREPARING, now_s, out, what="once more, at the operator's wish")
            self._command(self._prepare, out, now_s)
        return out

    def end(self, *, now_s: float) -> Happened:
        """Stop, whatever it is doing; ``finished`` says when it has."""
        out = Happened()
        if self.phase in (ImagingPhase.STOPPING, ImagingPhase.FINISHED):
            return out
        if self.phase is ImagingPhase.IDLE:
            self._to(ImagingPhase.FINISHED, now_s, out)
            return out
        self._to(ImagingPhase.STOPPING, now_s, out)
        self._said = MicroscopePhase.ACQUIRING if self._may_hold_frames else MicroscopePhase.PREPARED
        self._grew_s = now_s
        self._aborted = not self._may_hold_frames
        self._trigger(level=False, out=out)
        self._command(self._microscope.stop if self._may_hold_frames else self._microscope.abort, out, now_s)
        return out

    def _go_on(self, out: Happened, now_s: float, frames: FramesSeen) -> Happened:
        """Step until nothing more happens: a microscope in this process answers at once."""
        if frames.n > self._n_frames:
            self._n_frames = frames.n
            self._grew_s = max(self._grew_s, min(now_s, frames.read_until_s))
        phase = None
        while phase is not self.phase:
            phase = self.phase
            self._hear(out, now_s)
            self._judge(out, now_s, frames)
        return out

    def _hear(self, out: Happened, now_s: float) -> None:
        try:
            said = self._microscope.poll()
        except DeviceError as error:
            self._lose(error.what, out, now_s, remedy=error.remedy, must_say=True)
            return
        for state in said:
            out.events.append(state)
            if isinstance(state, MicroscopeState):
                is_late = state.phase in (MicroscopePhase.PREPARED, MicroscopePhase.ARMED)
                if not (self.phase is ImagingPhase.STOPPING and is_late):  # the answer to what came before the stop
                    self._said = state.phase
                self._hear_state(state, out, now_s)

    def _hear_state(self, state: MicroscopeState, out: Happened, now_s: float) -> None:
        """Take note of what the microscope says it is; what it may not be now has ended the recording."""
        if state.phase is not MicroscopePhase.FAILED:
            self._has_said_stopped = state.phase in (MicroscopePhase.STOPPED, MicroscopePhase.IDLE)
        has_ended = state.phase in (MicroscopePhase.FAILED, MicroscopePhase.IDLE, MicroscopePhase.STOPPED)
        match self.phase:
            case ImagingPhase.PREPARING:
                is_lost = state.phase is MicroscopePhase.FAILED  # idle and stopped is what it was before
            case ImagingPhase.ARMING | ImagingPhase.STARTING | ImagingPhase.RUNNING:
                is_lost = has_ended
            case ImagingPhase.LOST:
                is_lost = state.phase is MicroscopePhase.FAILED
            case _:
                is_lost = False
        if is_lost:
            word = (
                "has failed" if state.phase is MicroscopePhase.FAILED else f"has become {state.phase.value} by itself"
            )
            self._lose(f"{word}: {state.what}" if state.what else word, out, now_s, must_say=True)

    def _judge(self, out: Happened, now_s: float, frames: FramesSeen) -> None:
        limits, waited_s = self._limits, now_s - self._begun_s
        match self.phase:
            case ImagingPhase.PREPARING:
                if self._said is MicroscopePhase.PREPARED:
                    self._may_hold_frames = False
                    self._to(ImagingPhase.ARMING, now_s, out)
                    self._command(self._microscope.arm, out, now_s)
                elif waited_s > self._prepare_s:
                    self._lose(f"has not been prepared within {self._prepare_s:g} s", out, now_s)
            case ImagingPhase.ARMING:
                if self._said is MicroscopePhase.ARMED:
                    self._to(ImagingPhase.STARTING, now_s, out)
                    self._n_before, self._triggered = self._n_frames, True
                    self._may_hold_frames = True
                    self._trigger(level=True, out=out)
                    self._command(self._microscope.start, out, now_s)
                elif waited_s > limits.reply_s:
                    self._lose(f"has not been armed within {limits.reply_s:g} s", out, now_s)
            case ImagingPhase.STARTING:
                if self._n_frames - self._n_before >= FIRST_FRAMES:
                    self._to(ImagingPhase.RUNNING, now_s, out, what=f"first frames {waited_s:.2f} s after the trigger")
                    out.recovered, self._was_lost = self._was_lost, False
                elif waited_s > limits.first_frames_s:
                    self._lose(self._no_frames(limits.first_frames_s, of=" of the trigger"), out, now_s)
            case ImagingPhase.RUNNING:
                silent_s = min(now_s, frames.read_until_s) - self._grew_s
                if silent_s > limits.silent_s:
                    self._lose(self._no_frames(silent_s), out, now_s)
            case ImagingPhase.LOST:
                self._judge_lost(out, now_s)
            case ImagingPhase.STOPPING:
                self._judge_stopping(out, now_s, waited_s)
            case _:
                pass

    def _no_frames(self, silent_s: float, *, of: str = "") -> str:
        acquires = self._said is MicroscopePhase.ACQUIRING
        though = ", though it says that it acquires: the 2-photon line is dead" if acquires else ""
        return f"no frame on vsync_2p within {silent_s:.1f} s{of}{though}"

    def _judge_lost(self, out: Happened, now_s: float) -> None:
        """Take it up again when frames come and nothing is said against it."""
        fresh = self._n_frames - self._n_before >= FIRST_FRAMES and self._grew_s > self._begun_s
        if self._triggered and fresh and (not self._must_say or self._said is MicroscopePhase.ACQUIRING):
            self._to(ImagingPhase.RUNNING, now_s, out, what="frames come again")
            out.recovered, self._was_lost = True, False

    def _judge_stopping(self, out: Happened, now_s: float, waited_s: float) -> None:
        has_stopped = self._said in (MicroscopePhase.STOPPED, MicroscopePhase.IDLE)
        if has_stopped and now_s - self._grew_s >= QUIET_S:
            self._to(ImagingPhase.FINISHED, now_s, out, what="aborted" if self._aborted else "stopped")
            return
        failed = self._said is MicroscopePhase.FAILED
        limit_s = self._limits.reply_s if self._aborted else self._limits.stop_s
        if failed and self._may_stop_again and not self._aborted:
            self._may_stop_again = False
            self._said = MicroscopePhase.ACQUIRING
            self._command(self._microscope.stop, out, now_s)
            return
        if waited_s <= limit_s and not (failed and not self._aborted):
            return  # after an abort even one that has failed may still say that it has stopped
        why = "has failed to stop" if failed else f"has not stopped within {waited_s:.1f} s"
        if has_stopped:
            why = "gives frames though it says that it has stopped"
        if not self._aborted:
            self._aborted = True
            self._said = MicroscopePhase.ACQUIRING
            self._to(ImagingPhase.STOPPING, now_s, out, what=f"{why}: is aborted")
            self._command(self._microscope.abort, out, now_s)
            return
        figure = f"{why}, though it was aborted"
        remedy = "go and look whether it still acquires, and stop it there"
        verdict = Verdict.FAIL
        if self._has_said_stopped and now_s - self._grew_s >= QUIET_S and not has_stopped:
            figure = "has stopped by itself, by its last word, and does not answer any more"
            remedy = "look whether its program runs, and whether it has kept its recording"
            verdict = Verdict.WARN
        out.events.append(Finding(name=self.name, verdict=verdict, figure=figure, remedy=remedy))
        self._to(ImagingPhase.FINISHED, now_s, out, what=figure)

    def _to(self, phase: ImagingPhase, now_s: float, out: Happened, *, what: str = "") -> None:
        self.phase, self._begun_s = phase, now_s
        out.events.append(ImagingStep(phase=phase, n_frames=self._n_frames, what=what))

    def _lose(
        self,
        what: str,
        out: Happened,
        now_s: float,
        *,
        remedy: str = "look at the microscope and its wires; rig resume tries again",
        must_say: bool = False,
    ) -> None:
        """Say that it is lost; at the end there is nothing to lose any more."""
        is_worse = self.phase is ImagingPhase.LOST and self._triggered and must_say and not self._must_say
        out.worse = out.worse or is_worse
        if self.phase in (ImagingPhase.LOST, ImagingPhase.STOPPING, ImagingPhase.FINISHED) and not is_worse:
            if self.phase is ImagingPhase.STOPPING:
                self._said = MicroscopePhase.FAILED
            return
        self._must_say, self._was_lost = must_say, True
        self._to(ImagingPhase.LOST, now_s, out, what=what)
        out.fault = DeviceError(device=self.name, what=what, remedy=remedy)

    def _command(self, command: Callable[[], None], out: Happened, now_s: float) -> None:
        """Give a command; one that can't even be given loses the microscope."""
        try:
            command()
        except DeviceError as error:
            self._lose(error.what, out, now_s, remedy=error.remedy, must_say=True)

    def _trigger(self, *, level: bool, out: Happened) -> None:
        """Drive the trigger line; a card that does not is the card's fault, which its own poll tells as well."""
        try:
            self._sync.acquire(level=level)
        except DeviceError as error:
            out.events.append(
                Finding(name="acquire line", verdict=Verdict.FAIL, figure=error.what, remedy=error.remedy)
            )
