"""Everything that is taken, decided and said by the task, as typed values that go into the log.

Three kinds. An *Input* came from outside and is fed to the task again on replay. A *Decision* is the
task's answer and must come out byte for byte the same on replay. A *Diagnostic* only informs.
``stages.events`` holds the events of task and session, ``hardware.events`` those of devices;
``rig.log.schema`` unites them and says which kind each one is.

Units stand in the names. ``time_s`` is session time: seconds since the session's first flip, on the
card's clock when there is one. Where an event was seen or decided (flip, refresh) stands in the log's
envelope, not here. Stimuli are indices into ``SessionStarted.stimuli``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from stimuli.spec import SourceKind, Stimulus


class Event(msgspec.Struct, frozen=True, tag=True, tag_field="type", kw_only=True, gc=False):
    """Base of all events; the tag is the class name."""


class Outcome(StrEnum):
    """How a trial was answered; exactly one a trial (TASK_FACTS 4.1)."""

    HIT = "hit"
    MISS = "miss"
    FALSE_ALARM = "false_alarm"
    CORRECT_REJECT = "correct_reject"
    AUTO_REWARDED = "auto_rewarded"
    ABORTED = "aborted"
    INCOMPLETE = "incomplete"
    """The session was stopped in mid-trial; no published data set has such rows."""


class BlockKind(StrEnum):
    """The blocks of a session, in the order a session has them: ``task`` or ``sweep``, and ``pause`` inside it."""

    GRAY_BEFORE = "gray_before"
    TASK = "task"
    SWEEP = "sweep"
    """In the task's place: patches are shown, there are no trials."""
    PAUSE = "pause"
    GRAY_AFTER = "gray_after"
    MOVIE = "movie"


class RewardKind(StrEnum):
    """Why water was given."""

    EARNED = "earned"
    AUTO = "auto"
    FREE = "free"


class RewardPath(StrEnum):
    """What opened the valve."""

    CARD = "card"
    """The card's own start trigger on the lick line."""
    SOFTWARE = "software"
    """The thread that reads the edges."""
    COMMANDED = "commanded"
    """An immediate pulse: auto and free rewards."""


class SpoutPosition(StrEnum):
    """Where the lick spout stands."""

    AT_MOUSE = "at_mouse"
    RETRACTED = "retracted"


class Verb(StrEnum):
    """What an operator may ask of a running session."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    STOP_NOW = "stop-now"
    REWARD = "reward"
    NOTE = "note"
    SPOUT = "spout"


class EndReason(StrEnum):
    """Why a session ended."""

    TIME = "time"
    VOLUME = "volume"
    STOPPED = "stopped"
    STOPPED_NOW = "stopped_now"
    FAULT = "fault"
    CRASHED = "crashed"


class FaultPolicy(StrEnum):
    """What a device's fault does to the session."""

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"
    STOP_NOW = "stop_now"


class PicturesFrom(msgspec.Struct, frozen=True, kw_only=True):
    """What stood behind the names of a session's pictures, or its movie."""

    kind: SourceKind
    name: str
    """Of the image set, or the movie."""
    sha256: dict[str, str]
    """Of each picture's grey levels as drawn, or of the movie, by the name it has in this log."""
    stands_for: dict[str, str]
    """The published names in whose place stand-ins were shown, by the name they have in this log."""


class SessionStarted(Event, frozen=True):
    """First event of every log: everything that the session is a function of, but its inputs."""

    schema_version: int
    code_version: str
    session_id: str
    mouse: str
    stage: str
    rig: str
    simulated: bool
    started_at: str
    """Wall-clock time of the first flip, ISO 8601 with offset."""
    host_zero_s: float
    """The host's monotonic clock at session time 0."""
    seed: int
    refresh_hz: float
    lick_latency_s: float
    """How late a lick may reach the task after it happened: windows close this much later."""
    policies: dict[str, FaultPolicy]
    stimuli: list[Stimulus]
    stage_parameters: dict[str, Any]
    rig_parameters: dict[str, Any]
    versions: dict[str, str]
    images: PicturesFrom | None = None
    """None in a stage without images, and in logs from before pictures were drawn: those name published ones."""
    movie: PicturesFrom | None = None
    """None likewise."""
    lines_before: int | None = None
    """The state of all lines before the first edge of ``edges.bin``; None where they rest as they should."""
    imported_from: str | None = None
    """The program that ran the session, where it was not this one: its decisions are not ours."""


class SessionEnded(Event, frozen=True):
    """Last event of every log that was closed: how, why and by whom the session ended."""

    reason: EndReason
    who: str
    why: str
    time_s: float


class BlockStarted(Event, frozen=True):
    """A block begins with the envelope's refresh."""

    block: BlockKind
    time_s: float


class BlockEnded(Event, frozen=True):
    """A block is over: the envelope's refresh is no longer part of it."""

    block: BlockKind
    time_s: float


class FlashPlanned(Event, frozen=True):
    """The coming flash, decided before it is drawn. ``refresh`` is its place on the grid."""

    flash: int
    refresh: int
    stimulus: int
    omitted: bool
    change: bool
    """A go trial's change or a catch trial's sham change falls on this flash."""


class FlashShown(Event, frozen=True):
    """The flash came on with this flip; ``late_refreshes`` after its place on the grid (0 is the rule).

    Gray is asked for with refresh ``off_refresh``, -1 if the stimulus stays on until the next one. When it
    really went off stands in ``flips.bin``.
    """

    flash: int
    stimulus: int
    time_s: float
    late_refreshes: int
    off_refresh: int


class FlashOmitted(Event, frozen=True):
    """The flash was left out: gray went on at the flip it would have come with."""

    flash: int
    time_s: float


class FlashLost(Event, frozen=True):
    """The screen stood still for a whole flash; nothing of it was shown."""

    flash: int


class Lick(Event, frozen=True):
    """A rising edge of the lick line. ``ticks`` of the card's clock, -1 where there is none."""

    time_s: float
    ticks: int


class TrialStarted(Event, frozen=True):
    """A trial begins. ``change_after`` counts flashes (flashed) or refreshes (static)."""

    trial: int
    attempt: int
    change_after: int
    catch: bool
    auto_rewarded: bool
    initial_stimulus: int
    change_stimulus: int
    time_s: float


class Change(Event, frozen=True):
    """The identity changed with this flip (go trial)."""

    trial: int
    from_stimulus: int
    to_stimulus: int
    time_s: float


class ShamChange(Event, frozen=True):
    """The flip on which a catch trial would have changed."""

    trial: int
    time_s: float


class Aborted(Event, frozen=True):
    """A lick before the change ended the trial; its time-out runs."""

    trial: int
    lick_time_s: float


class TimeoutEnded(Event, frozen=True):
    """No lick for the time-out's length: the aborted trial is over."""

    trial: int


class TrialOutcome(Event, frozen=True):
    """How the trial was answered. ``lick_time_s`` is the answering lick, NaN-free: null where none."""

    trial: int
    outcome: Outcome
    lick_time_s: float | None


class TrialEnded(Event, frozen=True):
    """The trial is over; every trial ends exactly once."""

    trial: int
    time_s: float


class RewardArmed(Event, frozen=True):
    """The first lick between the two times will be paid, by whatever sees it first, once."""

    reward: int
    trial: int
    volume_ul: float
    opens_s: float
    closes_s: float


class RewardWithdrawn(Event, frozen=True):
    """The armed reward is to be disarmed; ``RewardDisarmed`` or ``RewardFired`` answers."""

    reward: int


class RewardCommanded(Event, frozen=True):
    """A pulse at once: an auto reward of a trial, or the operator's free one (``trial`` -1)."""

    reward: int
    kind: RewardKind
    trial: int
    volume_ul: float


class RewardDisarmed(Event, frozen=True):
    """Read back from the device: disarmed without having fired."""

    reward: int


class RewardFired(Event, frozen=True):
    """The valve opened. For an armed reward ``lick_time_s`` is the lick that was paid."""

    reward: int
    path: RewardPath
    time_s: float
    lick_time_s: float | None


class RewardConfirmed(Event, frozen=True):
    """The echo of the valve's line was seen: open at ``time_s`` for ``open_s``."""

    reward: int
    time_s: float
    open_s: float


class RewardFailed(Event, frozen=True):
    """Water that was to flow is not known to have flowed."""

    reward: int
    why: str


class SpoutCommanded(Event, frozen=True):
    """The spout is to move."""

    position: SpoutPosition


class SpoutMoved(Event, frozen=True):
    """The spout stands where it says."""

    position: SpoutPosition
    time_s: float


class CommandReceived(Event, frozen=True):
    """An operator's request, as taken from the command socket."""

    command: str
    verb: Verb
    who: str
    text: str = ""
    volume_ul: float | None = None
    position: SpoutPosition | None = None


class CommandApplied(Event, frozen=True):
    """The request took effect."""

    command: str
    verb: Verb
    what: str


class CommandRefused(Event, frozen=True):
    """The request was not carried out, and why."""

    command: str
    verb: Verb
    why: str


class Paused(Event, frozen=True):
    """The task stands still, at an operator's or a policy's wish."""

    who: str


class Resumed(Event, frozen=True):
    """The task goes on with the next place on the grid."""

    who: str


class Note(Event, frozen=True):
    """An operator's remark."""

    who: str
    text: str
    time_s: float


class DeviceFault(Event, frozen=True):
    """A device failed. The session's policy for ``device`` decides what follows."""

    device: str
    what: str
    remedy: str
    time_s: float


class DeviceRecovered(Event, frozen=True):
    """A device that had failed works again."""

    device: str
    time_s: float


class AlarmRaised(Event, frozen=True):
    """The operator must look."""

    alarm: str
    what: str
    remedy: str


class AlarmCleared(Event, frozen=True):
    """The reason of the alarm is gone."""

    alarm: str


InputEvent = (
    Lick
    | RewardDisarmed
    | RewardFired
    | RewardConfirmed
    | RewardFailed
    | SpoutMoved
    | CommandReceived
    | DeviceFault
    | DeviceRecovered
)

Action = RewardArmed | RewardWithdrawn | RewardCommanded | SpoutCommanded
"""Decisions that a device carries out."""
