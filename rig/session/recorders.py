"""What records beside the session, and the lines that it is aligned by: microscope, cameras, photodiode.

One object for the loop: it steps the sequences of ``imaging``, judges the lines by ``lines``, and hands back what is to
be logged and which faults and recoveries the task is to hear of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from hardware.clock import TICKS_PER_S, ClockMap
from hardware.events import Event
from hardware.lines import Line
from hardware.protocols import DeviceError
from rig.session.cameras import CameraSequence
from rig.session.imaging import BUSY_S, FramesSeen, Happened, ImagingSequence
from rig.session.lines import Expected, LineMonitors, LineWatch
from rig.session.monitors import FaultEvent

READ_EVERY_S = 1.9
"""In simulated time, where a reading costs as much as seconds of a session: with every second look at the lines."""
SUSPICIOUS_S = 1.2
"""A photodiode that has been silent for so long is looked at with every look."""


@dataclass(slots=True)
class Said:
    """What a step of the recorders has to say."""

    events: list[Event] = field(default_factory=list)
    """For the log, in order."""
    faults: list[DeviceError] = field(default_factory=list)
    worse: list[str] = field(default_factory=list)
    """Devices whose fault was named before, and is to be named anew."""
    recovered: list[str] = field(default_factory=list)
    """Devices that work again."""

    def take(self, happened: Happened, *, device: str) -> None:
        """Add what came of one device's step."""
        self.events += happened.events
        if happened.worse:
            self.worse.append(device)
        if happened.fault is not None:
            self.faults.append(happened.fault)
        if happened.recovered:
            self.recovered.append(device)


class Recorders:
    """Microscope and cameras of a session, where it has any, and its lines.

    Parameters
    ----------
    watch
        Sees every edge on its way to the log.
    frames_hz
        Edges a second on the 2-photon line: the rate of a plane times the plane groups.
    photodiode
        Whether one looks at the patch.
    patch_s
        How long the patch stays as it is.
    """

    def __init__(
        self,
        *,
        watch: LineWatch,
        microscope: ImagingSequence | None = None,
        cameras: CameraSequence | None = None,
        frames_hz: float | None = None,
        photodiode: bool = False,
        patch_s: float = 1.0,
    ) -> None:
        self._watch = watch
        self._microscope = microscope
        self._cameras = cameras
        self._frames_hz = frames_hz
        self._photodiode = photodiode
        self._monitors = LineMonitors(patch_s=patch_s)
        self._read_until_s = self._judged_until_s = -math.inf
        self._is_suspicious = False

    def wants_edges(self, *, now_s: float) -> bool:
        """Whether the edges of its lines are to be read now, where nobody reads them all the time."""
        if self._microscope is None:
            return False
        return self._microscope.is_busy or self._is_suspicious or now_s - self._read_until_s >= READ_EVERY_S

    @property
    def finished(self) -> bool:
        """Whether all have stopped."""
        return all(sequence is None or sequence.finished for sequence in (self._microscope, self._cameras))

    def next_due_s(self, *, now_s: float) -> float:
        """Return the host time at which a step is wanted sooner than once a second."""
        busy = self._microscope is not None and self._microscope.is_busy
        return now_s + BUSY_S if busy else math.inf

    def read(self, *, until_s: float) -> None:
        """Take note of the host time until which all edges have passed the watch."""
        self._read_until_s = until_s

    def begin(self, *, now_s: float) -> Said:
        """Have all of them begin."""
        said = Said()
        if self._cameras is not None:
            said.take(self._cameras.begin(now_s=now_s), device=self._cameras.name)
        if self._microscope is not None:
            said.take(self._microscope.begin(now_s=now_s, frames=self._frames()), device=self._microscope.name)
        return said

    def step(self, *, now_s: float) -> Said:
        """Take what they say and what their lines show."""
        said = Said()
        said.events += self._watch.streams.findings()
        if self._cameras is not None:
            said.take(self._cameras.step(now_s=now_s), device=self._cameras.name)
        if self._microscope is not None:
            said.take(self._microscope.step(now_s=now_s, frames=self._frames()), device=self._microscope.name)
        self._monitors.forget(said.recovered)
        return said

    def retry(self, *, now_s: float) -> Said:
        """Begin anew with what was lost."""
        said = Said()
        if self._cameras is not None:
            said.take(self._cameras.retry(now_s=now_s), device=self._cameras.name)
        if self._microscope is not None:
            said.take(self._microscope.retry(now_s=now_s), device=self._microscope.name)
        return said

    def end(self, *, now_s: float) -> Said:
        """Have all of them stop; ``finished`` says when they have."""
        said = Said()
        if self._microscope is not None:
            said.take(self._microscope.end(now_s=now_s), device=self._microscope.name)
        if self._cameras is not None:
            said.take(self._cameras.end(now_s=now_s), device=self._cameras.name)
        return said

    def last_word(self) -> Said:
        """Judge the streams once more, when all edges have passed the watch."""
        self._watch.streams.judge()
        return Said(events=list(self._watch.streams.findings()))

    def judge_lines(self, *, clock_map: ClockMap, time_s: float) -> Iterable[FaultEvent]:
        """Judge what the lines have shown until all of them were read."""
        if self._read_until_s == self._judged_until_s:
            return ()  # nothing has been read since
        self._judged_until_s = self._read_until_s
        expects_frames = self._microscope is not None and self._microscope.expects_frames
        read_ticks = clock_map.ticks(clock_map.session_s(self._read_until_s))
        silent_ticks = read_ticks - self._watch.seen[Line.STIM_PHOTODIODE].changed_ticks
        self._is_suspicious = self._photodiode and silent_ticks > SUSPICIOUS_S * TICKS_PER_S
        return self._monitors.tick(
            self._watch.seen,
            Expected(
                photodiode=self._photodiode,
                frames_hz=self._frames_hz if expects_frames else None,
                exposures=self._cameras is not None and self._cameras.expects_exposures,
            ),
            read_ticks=read_ticks,
            time_s=time_s,
        )

    def _frames(self) -> FramesSeen:
        return FramesSeen(n=self._watch.seen[Line.VSYNC_2P].n_rises, read_until_s=self._read_until_s)
