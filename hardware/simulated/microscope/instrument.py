"""What a simulated microscope does when it is told to, and what it does wrong when that was asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from hardware.events import MicroscopePhase
from hardware.microscope.messages import Recording, Verb
from hardware.microscope.receiver import About, Progress
from hardware.microscope.server import Cannot
from hardware.simulated.microscope.clock import DriftingClock
from hardware.simulated.microscope.faults import MicroscopeFault, MicroscopeStep
from hardware.simulated.microscope.frames import EXTRA_PULSES, SLOWER, Frames

Fault, Step = MicroscopeFault, MicroscopeStep
FIRST_FRAME_S = 0.05
"""From the trigger to the first frame, beyond the time that pulses are announced ahead."""
NEVER_S = float("inf")
STALE = {Step.PREPARE: Verb.PREPARE, Step.ARM: Verb.ARM, Step.STOP: Verb.STOP}


@dataclass(frozen=True, slots=True)
class Wrong:
    """A fault, and when it begins and ends on the host's clock: not before its step has come."""

    kind: MicroscopeFault
    step: MicroscopeStep
    delay_s: float
    lasts_s: float


class SimulatedInstrument:
    """Frames on a drifting clock, begun by the trigger line or by a command.

    Parameters
    ----------
    host_s
        The host's clock.
    ahead_s
        Pulses are announced so long before they come; a recording ends with those that have been.
    told
        Told what was done, as it is done: name of the call and session.
    broken
        Told when a fault begins that the process has to carry out itself.
    """

    def __init__(
        self,
        *,
        clock: DriftingClock,
        host_s: Callable[[], float],
        ahead_s: float,
        wrong: Wrong | None,
        told: Callable[[str, str], None],
        broken: Callable[[MicroscopeFault], None],
    ) -> None:
        self.clock = clock
        self._host_s = host_s
        self._ahead_s = ahead_s
        self._wrong = wrong
        self._wrong_from_s = NEVER_S
        self._told = told
        self._broken = broken
        self._lock = threading.RLock()
        self._recording: Recording | None = None
        self._armed = False
        self._frames: Frames | None = None
        self._n_before = 0
        self._part = 1
        """Of the session: one that is recorded again gets files of its own."""
        self._announced_s = self._host_s()

    def reached(self, step: MicroscopeStep) -> None:
        """Take note that a recording has come so far."""
        wrong = self._wrong
        if wrong is not None and wrong.step is step and self._wrong_from_s == NEVER_S:
            self._wrong_from_s = self._host_s() + wrong.delay_s
            if wrong.delay_s == 0:
                self._break(self._host_s())

    def suffers(self, kind: MicroscopeFault) -> bool:
        """Return whether a fault has begun and not ended."""
        wrong = self._wrong
        return (
            wrong is not None
            and wrong.kind is kind
            and self._wrong_from_s <= self._host_s() < self._wrong_from_s + wrong.lasts_s
        )

    @property
    def stale_verb(self) -> Verb | None:
        """The command as which the connection breaks, to arrive late; None without that fault."""
        wrong = self._wrong
        if wrong is None or wrong.kind is not Fault.STALE_START:
            return None
        return STALE.get(wrong.step, Verb.START)

    def expects(self, kind: MicroscopeFault) -> bool:
        """Return whether a fault was asked for at all."""
        return self._wrong is not None and self._wrong.kind is kind

    def _break(self, host_s: float) -> None:
        """Carry out what has become due."""
        wrong = self._wrong
        if wrong is None or host_s < self._wrong_from_s:
            return
        if wrong.kind in (Fault.FREEZES, Fault.RESTARTS, Fault.DIES):
            self._wrong = None
            self._broken(wrong.kind)
        elif wrong.kind is Fault.DROPS_FRAMES and self._frames is not None:
            from_s = self.clock.at(max(self._wrong_from_s, self._announced_s))
            self._frames.missing_from_s, self._frames.missing_until_s = from_s, from_s + wrong.lasts_s
            self._wrong = None

    def _call(self, name: str, session: str) -> None:
        if self.suffers(Fault.SLOW) and self._wrong is not None:
            time.sleep(self._wrong.lasts_s)
        if self.suffers(Fault.REFUSES):
            raise Cannot("its shutter is stuck")
        self._told(name, session)

    def about(self) -> About:
        """See ``Instrument.about``."""
        return About(name="simulated microscope", model="simulated, a process of its own", software="open vision rig")

    def prepare(self, recording: Recording) -> None:
        """See ``Instrument.prepare``."""
        self.reached(Step.PREPARE)
        self._call("prepare", recording.session)
        with self._lock:
            before = self._recording
            again = before is not None and before.session == recording.session
            self._part = self._part + (self._frames is not None) if again else 1
            self._recording, self._frames, self._armed, self._n_before = recording, None, False, 0

    def arm(self) -> None:
        """See ``Instrument.arm``."""
        self.reached(Step.ARM)
        self._call("arm", self._session)
        with self._lock:
            self._armed = True

    def start(self) -> None:
        """See ``Instrument.start``."""
        self.reached(Step.START)
        self._call("start", self._session)
        self._begin(self._host_s())

    def trigger(self, *, level: bool, host_s: float) -> None:
        """Take note of the trigger line; its rise begins the recording of a microscope that is armed."""
        if level and self._armed:
            self.reached(Step.START)
            if not self.suffers(Fault.REFUSES):
                self._told("triggered", self._session)
                self._begin(host_s)

    def stop(self) -> None:
        """See ``Instrument.stop``; the pulses that have been announced come first."""
        self.reached(Step.STOP)
        self._call("stop", self._session)
        self._end()

    def abort(self) -> None:
        """See ``Instrument.abort``."""
        self._call("abort", self._session)
        self._end()

    def progress(self) -> Progress:
        """See ``Instrument.progress``."""
        with self._lock:
            frames, recording = self._frames, self._recording
            n_frames = self._n_before
            groups = 1 if recording is None else recording.plane_groups
            rate_hz: float | None = None
            if frames is not None:
                n_frames += frames.n_until(self.clock.at(self._host_s()))
                rate_hz = frames.rate_hz / groups
            part = f"_part{self._part}" if self._part > 1 else ""
            files = () if recording is None else tuple(f"{recording.session}{part}_group{n}.tif" for n in range(groups))
            triggered = frames is not None and frames.until_s == NEVER_S
            return Progress(
                n_frames=n_frames,
                plane_groups=groups,
                rate_hz=rate_hz,
                files=files,
                phase=MicroscopePhase.ACQUIRING if triggered else None,
            )

    def announce(self) -> tuple[list[float], float]:
        """Return the pulses that have become known since the last call, and until when; on the host's clock."""
        with self._lock:
            host_s = self._host_s()
            self._break(host_s)
            self._announced_s = max(self._announced_s, host_s + self._ahead_s)
            frames = self._frames
            if frames is None:
                return [], self._announced_s
            pulses = [self.clock.host_s(own_s) for own_s in frames.take(self.clock.at(self._announced_s))]
            return pulses, self._announced_s

    @property
    def acquiring(self) -> bool:
        """Whether frames come."""
        frames = self._frames
        return frames is not None and frames.until_s == NEVER_S

    @property
    def _session(self) -> str:
        return "" if self._recording is None else self._recording.session

    def _begin(self, host_s: float) -> None:
        with self._lock:
            recording = self._recording
            if recording is None or self.acquiring:
                return
            self._armed = False
            first_s = max(host_s + self._ahead_s, self._announced_s) + FIRST_FRAME_S
            slower = SLOWER if self.expects(Fault.WRONG_RATE) else 1.0
            self._frames = Frames(
                first_s=self.clock.at(first_s),
                rate_hz=recording.frame_rate_hz * recording.plane_groups * slower,
                extra=EXTRA_PULSES if self.expects(Fault.EXTRA_PULSES) else 0,
            )
            self._told("began", recording.session)
        self.reached(Step.ACQUIRING)

    def _end(self) -> None:
        with self._lock:
            self._armed = False
            frames = self._frames
            if frames is None or frames.until_s < NEVER_S:
                return
            until_s = self._announced_s
            frames.until_s = self.clock.at(until_s)
            self._told("ended", self._session)
        while (left_s := until_s - self._host_s()) > 0:
            time.sleep(left_s)
