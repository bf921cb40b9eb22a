"""The messages between rig and microscope: bytes to typed values and back, without IO.

Each is one UTF-8 JSON object in one ZeroMQ frame. What the fields mean, and when which is sent, stands in the package's
docstring. A field that is not known is passed over, so that later versions may add some; one that is missing, or out of
its bounds, is an error.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from hardware.events import MicroscopePhase
from hardware.links.secured import LARGEST_MESSAGE

VERSION = 1
"""Of the protocol. Another one is refused by name."""
LONGEST_TTL_S = 60.0
"""No command may wait longer for being carried out."""
LOST_BEATS = 6
"""A peer that is not heard of for so many of its heartbeats is lost."""

Token = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+$")]
Text = Annotated[str, Meta(max_length=400)]
Seconds = Annotated[float, Meta(ge=-1e12, le=1e12)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
MOST_HZ, MOST_GROUPS = 100_000, 64
Rate = Annotated[float, Meta(gt=0, le=MOST_HZ)]
Groups = Annotated[int, Meta(ge=1, le=MOST_GROUPS)]
HeartbeatS = Annotated[float, Meta(ge=0.01, le=60)]
Files = Annotated[list[Text], Meta(max_length=64)]


class MessageError(Exception):
    """Bytes are no message of this protocol: what is wrong with them."""


class Verb(StrEnum):
    """What a rig may ask for."""

    PREPARE = "prepare"
    ARM = "arm"
    START = "start"
    STOP = "stop"
    ABORT = "abort"
    STATUS = "status"


class Stage(StrEnum):
    """How far a command has come."""

    ACKNOWLEDGED = "acknowledged"
    DONE = "done"
    REFUSED = "refused"
    STALE = "stale"
    """Not even looked at: it came under an epoch that is over. Say hello, then ask again."""


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=str.lower):
    """What all have in common."""

    v: Annotated[int, Meta(ge=1, le=1_000_000)] = VERSION


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording will be called, and how it is to be made."""

    session: Token
    mouse: Text
    stage: Text
    plane_groups: Groups
    frame_rate_hz: Rate


class Hello(Message, frozen=True, kw_only=True):
    """Who are you? Asks for an epoch; ``resumes`` names the one that this rig held until now."""

    id: Token
    who: Text
    heartbeat_s: HeartbeatS
    resumes: Token | None = None


class Command(Message, frozen=True, kw_only=True):
    """Do something, once, before ``expires_at_s`` on the microscope's clock."""

    id: Token
    epoch: Token
    verb: Verb
    session: Token
    sent_at_s: Seconds
    """On the rig's clock: for the record, nothing rests on it."""
    expires_at_s: Seconds
    recording: Recording | None = None
    """With ``prepare``."""


class Beat(Message, frozen=True, kw_only=True):
    """The rig lives; the first half of a timed exchange."""

    epoch: Token
    n: Count
    sent_at_s: Seconds


class Goodbye(Message, frozen=True, kw_only=True):
    """The session has ended; the epoch is over, and whatever still runs is stopped."""

    epoch: Token


class Welcome(Message, frozen=True, kw_only=True):
    """Answers ``Hello``: who this is, and the epoch under which commands are taken."""

    id: Token
    epoch: Token
    run: Token
    """Names this run of the microscope's program: another one knows nothing of what was before."""
    now_s: Seconds
    name: Text
    model: Text
    serial: Text = ""
    software: Text = ""
    phase: MicroscopePhase = MicroscopePhase.IDLE


class Reply(Message, frozen=True, kw_only=True):
    """What became of a command, or of a greeting that was turned away."""

    id: Token
    stage: Stage
    what: Text
    phase: MicroscopePhase
    at_s: Seconds


class BeatBack(Message, frozen=True, kw_only=True):
    """The microscope lives; the second half of a timed exchange, its times on its own clock."""

    epoch: Token
    n: Count
    sent_at_s: Seconds
    received_at_s: Seconds
    answered_at_s: Seconds


class Status(Message, frozen=True, kw_only=True):
    """What the microscope is doing; sent unasked, and after every command."""

    epoch: Token
    phase: MicroscopePhase
    session: Token | None
    n_frames: Count | None
    plane_groups: Groups
    rate_hz: Rate | None
    files: Files
    warnings: Files
    at_s: Seconds


ToMicroscope = Hello | Command | Beat | Goodbye
ToRig = Welcome | Reply | BeatBack | Status

AnyMessage = TypeVar("AnyMessage", bound=Message)

_ENCODER = msgspec.json.Encoder()
_TO_MICROSCOPE: msgspec.json.Decoder[ToMicroscope] = msgspec.json.Decoder(ToMicroscope)
_TO_RIG: msgspec.json.Decoder[ToRig] = msgspec.json.Decoder(ToRig)


def to_bytes(message: ToMicroscope | ToRig) -> bytes:
    """Return a message as it is sent."""
    return _ENCODER.encode(message)


def for_microscope(data: bytes) -> ToMicroscope:
    """Return a message from a rig.

    Raises
    ------
    MessageError
        Not one of this protocol and version.
    """
    try:
        return _checked(_TO_MICROSCOPE.decode(_bounded(data)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"not understood: {error}"[:400]) from error


def for_rig(data: bytes) -> ToRig:
    """Return a message from a microscope; raises as ``for_microscope``."""
    try:
        return _checked(_TO_RIG.decode(_bounded(data)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"not understood: {error}"[:400]) from error


def cut(text: str) -> str:
    """Return as much of a text as a message may hold."""
    return text if len(text) <= 400 else text[:399] + "…"


def _bounded(data: bytes) -> bytes:
    if len(data) > LARGEST_MESSAGE:
        raise MessageError(f"{len(data)} bytes are more than any message has")
    return data


def _checked(message: AnyMessage) -> AnyMessage:
    if message.v != VERSION:
        raise MessageError(f"version {message.v} of the protocol; this side speaks version {VERSION}")
    return message
