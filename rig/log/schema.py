"""All events of a log, the kind of each, and the line they are written as.

A type that is not in ``KINDS`` can't be logged; a test compares the table with the two event modules.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
import numpy as np

from hardware import events as device
from stages import events as task

SCHEMA_VERSION = 1


class Kind(StrEnum):
    """What an event is to a replay."""

    INPUT = "input"
    """Came from outside: fed to the task again."""
    DECISION = "decision"
    """The task's answer: must come out byte for byte the same."""
    DIAGNOSTIC = "diagnostic"
    """Informs; plays no part."""


_I, _D, _X = Kind.INPUT, Kind.DECISION, Kind.DIAGNOSTIC

KINDS: dict[type[msgspec.Struct], Kind] = {
    task.SessionStarted: _X,  # what a replay is built from, neither fed nor compared
    task.SessionEnded: _D,
    task.BlockStarted: _D,
    task.BlockEnded: _D,
    task.FlashPlanned: _D,
    task.FlashShown: _D,
    task.FlashOmitted: _D,
    task.FlashLost: _D,
    task.Lick: _I,
    task.TrialStarted: _D,
    task.Change: _D,
    task.ShamChange: _D,
    task.Aborted: _D,
    task.TimeoutEnded: _D,
    task.TrialOutcome: _D,
    task.TrialEnded: _D,
    task.RewardArmed: _D,
    task.RewardWithdrawn: _D,
    task.RewardCommanded: _D,
    task.RewardDisarmed: _I,
    task.RewardFired: _I,
    task.RewardConfirmed: _I,
    task.RewardFailed: _I,
    task.SpoutCommanded: _D,
    task.SpoutMoved: _I,
    task.CommandReceived: _I,
    task.CommandApplied: _D,
    task.CommandRefused: _D,
    task.Paused: _D,
    task.Resumed: _D,
    task.Note: _D,
    task.DeviceFault: _I,
    task.DeviceRecovered: _I,
    task.AlarmRaised: _D,
    task.AlarmCleared: _D,
    device.Finding: _X,
    device.ClockFitted: _X,
    device.MicroscopeState: _X,
    device.ImagingStep: _X,
    device.MicroscopeClock: _X,
    device.CameraState: _X,
    device.LateFlip: _X,
    device.Health: _X,
    device.DeviceIdentified: _X,
    device.DeviceHealth: _X,
    device.ControllerFailed: _X,
}

AnyEvent = (
    task.SessionStarted
    | task.SessionEnded
    | task.BlockStarted
    | task.BlockEnded
    | task.FlashPlanned
    | task.FlashShown
    | task.FlashOmitted
    | task.FlashLost
    | task.Lick
    | task.TrialStarted
    | task.Change
    | task.ShamChange
    | task.Aborted
    | task.TimeoutEnded
    | task.TrialOutcome
    | task.TrialEnded
    | task.RewardArmed
    | task.RewardWithdrawn
    | task.RewardCommanded
    | task.RewardDisarmed
    | task.RewardFired
    | task.RewardConfirmed
    | task.RewardFailed
    | task.SpoutCommanded
    | task.SpoutMoved
    | task.CommandReceived
    | task.CommandApplied
    | task.CommandRefused
    | task.Paused
    | task.Resumed
    | task.Note
    | task.DeviceFault
    | task.DeviceRecovered
    | task.AlarmRaised
    | task.AlarmCleared
    | device.Finding
    | device.ClockFitted
    | device.MicroscopeState
    | device.ImagingStep
    | device.MicroscopeClock
    | device.CameraState
    | device.LateFlip
    | device.Health
    | device.DeviceIdentified
    | device.DeviceHealth
    | device.ControllerFailed
)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One line of ``events.jsonl``: the flip and refresh at which the session stood, and the event."""

    flip: int
    refresh: int
    event: AnyEvent


class LogError(Exception):
    """A log can't be read: which file, what is wrong, how to mend it."""


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """Return the entry as one line, without its end."""
    return _ENCODER.encode(entry)


def encode_lines(entries: list[Entry]) -> bytes:
    """Return the entries as lines, each with its end."""
    return _ENCODER.encode_lines(entries)


def decode(line: bytes) -> Entry:
    """Return the entry of a line.

    Raises
    ------
    msgspec.DecodeError, msgspec.ValidationError
        The line is torn, or of another schema.
    """
    return _DECODER.decode(line)


def to_plain(value: object) -> dict[str, Any]:
    """Return a mapping as plain lists, dicts and scalars, as it will stand in the log."""
    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain


FLIP_DTYPE = np.dtype(
    [
        ("flip", "<u4"),
        ("refresh", "<u4"),
        ("time_s", "<f8"),
        ("stimulus", "<i2"),
        ("n_missed", "<u2"),
        ("movie_frame", "<i4"),
        ("signal_v", "<f4"),
        ("supply_v", "<f4"),
    ]
)
"""One record of ``flips.bin``, 32 bytes: session time, stimulus shown, refreshes missed before it,
frame of the movie (-1 without), the wheel's two voltages (NaN without)."""

EDGE_DTYPE = np.dtype([("ticks", "<u8"), ("state", "<u4")])
"""One record of ``edges.bin``, 12 bytes: the card's ticks, the state of all lines after the edge."""
