"""What devices put into the log besides what the task takes: states, health, findings, the clock.

All of these are Diagnostics: they inform, and no decision of the task rests on them.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Event(msgspec.Struct, frozen=True, tag=True, tag_field="type", kw_only=True, gc=False):
    """Base of the devices' events; the tag is the class name."""


class Verdict(StrEnum):
    """What a check found."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


class Finding(Event, frozen=True):
    """One check of a device, a file or a session: name, verdict, figure with unit, how to mend."""

    name: str
    verdict: Verdict
    figure: str
    remedy: str = ""


class ClockFitted(Event, frozen=True):
    """The map from host to card clock was fitted anew over ``n`` of the last frame pulses."""

    n: int
    drift_ppm: float
    residual_us: float
    """Root mean square of what the fit leaves."""
    host_zero_s: float | None = None
    """Session time 0 on the host's clock, by this fit."""
    bound_us: float | None = None
    """The map is off by no more, but for the residual: the pulses lie within the calls that gave them."""


class MicroscopePhase(StrEnum):
    """What the microscope is doing."""

    IDLE = "idle"
    PREPARED = "prepared"
    ARMED = "armed"
    ACQUIRING = "acquiring"
    STOPPED = "stopped"
    FAILED = "failed"


class MicroscopeState(Event, frozen=True):
    """The microscope says what it is doing."""

    phase: MicroscopePhase
    n_frames: int | None
    """As it counts them itself: edges on its frame line, one a plane group; None where it counts none."""
    what: str = ""
    plane_groups: int = 1
    rate_hz: float | None = None
    """Frames a second of each plane, by its own measure; None where it does not say."""
    files: list[str] = []
    warnings: list[str] = []


class MicroscopeClock(Event, frozen=True):
    """How far the microscope computer's clock is from this one's, by timed exchanges of messages.

    Of the last ``n`` exchanges the quickest counts. Which way took longer can't be known, so the offset is off by half
    the round trip at most.
    """

    offset_s: float
    """Its clock minus the host's, at ``host_s``; both count from a zero of their own."""
    bound_s: float
    """Half the round trip, without the time that the other side held the message."""
    host_s: float
    n: int


class ImagingPhase(StrEnum):
    """Where a session stands with its microscope."""

    IDLE = "idle"
    PREPARING = "preparing"
    ARMING = "arming"
    STARTING = "starting"
    """The trigger has been given; the first frames are waited for."""
    RUNNING = "running"
    """Frames have been seen."""
    LOST = "lost"
    STOPPING = "stopping"
    FINISHED = "finished"


class ImagingStep(Event, frozen=True):
    """The session has come to another phase with its microscope, ``n_frames`` having been seen on the 2-photon line."""

    phase: ImagingPhase
    n_frames: int
    what: str = ""


class CameraState(Event, frozen=True):
    """The cameras say whether they record, into which files, and how many exposures each has made."""

    recording: bool
    what: str = ""
    files: list[str] = []
    n_exposures: list[int] = []


class LateFlip(Event, frozen=True):
    """``n_missed`` refreshes went by without a flip before this one, with ``stimulus`` being shown."""

    flip: int
    refresh: int
    n_missed: int
    stimulus: int


class Health(Event, frozen=True):
    """Once a second: how the session fares. Times are 0 on a virtual clock."""

    time_s: float
    n_late_flips: int
    n_licks: int
    backlog_events: int
    """Events waiting to be written."""
    step_p50_us: float
    step_max_us: float


class DeviceIdentified(Event, frozen=True):
    """What a device said it is, when it was opened."""

    device: str
    model: str
    serial: str
    details: dict[str, str]


class DeviceHealth(Event, frozen=True):
    """Once a minute: a device's own figures, by name with unit."""

    device: str
    figures: dict[str, float]


MicroscopeEvent = MicroscopeState | MicroscopeClock | Finding
"""What a microscope has to say."""


class ControllerFailed(Event, frozen=True):
    """The controller itself broke; the log ends here and counts as crashed."""

    what: str
