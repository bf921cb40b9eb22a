"""The cameras' part of a session: started, watched, stopped; the same rules as the microscope's (see ``imaging``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hardware.events import CameraState, Finding, Verdict
from hardware.protocols import Cameras, DeviceError
from rig.session.imaging import Happened, ImagingLimits


class CameraSequence:
    """The cameras of one session: started at its beginning, stopped at its end."""

    name = "cameras"

    def __init__(self, *, cameras: Cameras, session_id: str, limits: ImagingLimits) -> None:
        self._cameras = cameras
        self._start = lambda: cameras.start(session_id=session_id)
        self._limits = limits
        self._begun_s = 0.0
        self._records = False
        self._has_recorded = False
        self._ending = False
        self._lost = self._said_lost = False
        self.finished = False
        """Whether nothing more will come of it."""

    @property
    def expects_exposures(self) -> bool:
        """Whether exposures are to be seen on the cameras' lines now."""
        return self._records and not self._ending

    def begin(self, *, now_s: float) -> Happened:
        """Have them record."""
        self._begun_s = now_s
        out = Happened()
        self._command(self._start, out)
        return self._go_on(out, now_s)

    def step(self, *, now_s: float) -> Happened:
        """Take what they say, judge the limits."""
        return self._go_on(Happened(), now_s)

    def retry(self, *, now_s: float) -> Happened:
        """Have cameras that were lost record again."""
        out = Happened()
        if self._lost and not self._records:
            self._has_recorded, self._begun_s = False, now_s
            self._said_lost = False
            self._command(self._start, out)
        return out

    def end(self, *, now_s: float) -> Happened:
        """Have them stop; ``finished`` says when they have."""
        out = Happened()
        if not self._ending:
            self._ending, self._begun_s = True, now_s
            self._records = True  # until they say that they do not
            self._command(self._cameras.stop, out)
        return out

    def _go_on(self, out: Happened, now_s: float) -> Happened:
        states: Sequence[CameraState] = ()
        try:
            states = self._cameras.poll()
        except DeviceError as error:
            self._lose(error, out)
        for state in states:
            out.events.append(state)
            if state.recording and self._lost and not self._ending:
                self._lost = self._said_lost = False
                out.recovered = True
            self._records = state.recording
            self._has_recorded = self._has_recorded or state.recording
        waited_s = now_s - self._begun_s
        if self._ending:
            self._judge_ending(out, waited_s)
        elif not self._records and (self._has_recorded or waited_s > self._limits.reply_s):
            within = f"do not record {self._limits.reply_s:g} s after they were started"
            what = "have stopped recording" if self._has_recorded else within
            self._lose(DeviceError(device=self.name, what=what, remedy="look at the cameras and their computer"), out)
        return out

    def _judge_ending(self, out: Happened, waited_s: float) -> None:
        if self.finished:
            return
        if not self._records:
            self.finished = True
        elif waited_s > self._limits.stop_s:
            self.finished = True
            figure = f"have not stopped within {self._limits.stop_s:g} s"
            remedy = "look at the cameras' computer, and stop them there"
            out.events.append(Finding(name=self.name, verdict=Verdict.FAIL, figure=figure, remedy=remedy))

    def _command(self, command: Callable[[], None], out: Happened) -> None:
        try:
            command()
        except DeviceError as error:
            self._lose(error, out)

    def _lose(self, error: DeviceError, out: Happened) -> None:
        if not self._said_lost and not self._ending:
            self._lost = self._said_lost = True
            out.fault = error
