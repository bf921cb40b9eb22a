"""The Protocols every device keeps, real or simulated, and the values that cross them.

Common to all: ``open`` and ``check`` may take seconds and happen before the session; ``close`` is idempotent and
never raises. Everything else must return within microseconds: it takes what is there and never waits. A
device that has to wait for something (a card, a serial line) does so in a thread of its own and keeps a
queue. All may raise ``DeviceError``.

Threads: the loop calls everything, but for ``EdgeSource.flush``, ``Encoder.read``, ``SyncOutputs.flips_made`` and
``Screen.take``, which the thread that gathers columns calls in real time, while the loop may be in any other
method of the same device. These four only empty queues.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import msgspec
import numpy as np

from hardware.arrays import AnyArray, FloatArray, IntArray
from hardware.events import CameraState, Finding, MicroscopeEvent


class DeviceError(Exception):
    """A device does not do what it was asked: which one, what is wrong, how to mend it."""

    def __init__(self, *, device: str, what: str, remedy: str) -> None:
        super().__init__(f"{device}: {what}. {remedy[:1].upper()}{remedy[1:]}.")
        self.device = device
        self.what = what
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device says it is."""

    device: str
    model: str
    serial: str = ""
    details: dict[str, str] = field(default_factory=dict)


class Device(Protocol):
    """What all devices have in common."""

    name: str

    def open(self) -> Identity:
        """Connect, make ready, say who you are."""

    def check(self) -> list[Finding]:
        """Examine yourself before a session; takes at most a few seconds."""

    def health(self) -> dict[str, float]:
        """Return figures worth watching (fill levels, counts), by name with unit."""

    def close(self) -> None:
        """Let go of everything, safe side out. May be called twice; never raises."""


class Edge(msgspec.Struct, frozen=True, gc=False):
    """A change of the lick line: the card's ticks, and whether it rose."""

    ticks: int
    rising: bool


@dataclass(frozen=True, slots=True)
class FramePulses:
    """Frame pulses seen back, one a flip, in order, as columns of shape (n,) each.

    ``given_host_s`` is when each was given on the host's clock, the middle of the call that gave it, and
    ``half_s`` half that call's length: the pulse lies no further from its middle. Both are nan where no call is
    sure to be the pulse's own.
    """

    ticks: IntArray
    given_host_s: FloatArray
    half_s: FloatArray

    def __len__(self) -> int:
        return len(self.ticks)

    def __getitem__(self, which: slice | AnyArray) -> FramePulses:
        """Return some of them: a slice, a mask or indices."""
        return FramePulses(self.ticks[which], self.given_host_s[which], self.half_s[which])

    @staticmethod
    def none() -> FramePulses:
        """Return no pulses."""
        return FramePulses(np.empty(0, np.int64), np.empty(0), np.empty(0))

    @staticmethod
    def joined(parts: Sequence[FramePulses]) -> FramePulses:
        """Return the pulses of all parts, in their order."""
        if not parts:
            return FramePulses.none()
        return FramePulses(
            np.concatenate([part.ticks for part in parts]),
            np.concatenate([part.given_host_s for part in parts]),
            np.concatenate([part.half_s for part in parts]),
        )


class EdgeSink(Protocol):
    """Where all edges of all lines go: the file ``edges.bin``, by way of the log."""

    def __call__(self, *, ticks: IntArray, states: AnyArray) -> None:
        """Take edges in order: ticks and the state word after each, shape (n,) both."""


class EdgeSource(Device, Protocol):
    """The card's digital inputs, all on one clock."""

    def read(self) -> Sequence[Edge]:
        """Return the lick line's edges since the last call, in order."""

    def read_frame_pulses(self) -> FramePulses:
        """Return the frame pulses seen back since the last call."""

    @property
    def read_until_s(self) -> float:
        """Host time from before which every edge has been read: what is missing later may be under way."""

    def next_due_s(self) -> float:
        """Return the host time before which nothing new can come: -infinity if it may come at any time.

        Covers whatever shares the card, the valve's reports too.
        """

    def flush(self) -> None:
        """Hand every edge seen so far to the sink."""


class PulseOutcome(StrEnum):
    """What became of a pulse that was armed or asked for."""

    FIRED = "fired"
    DISARMED = "disarmed"
    CONFIRMED = "confirmed"
    FAILED = "failed"


class PulseReport(msgspec.Struct, frozen=True, gc=False):
    """What the valve says of a reward. ``ticks``: opening; ``lick_ticks``: the paid lick, -1 without."""

    reward: int
    outcome: PulseOutcome
    ticks: int = -1
    lick_ticks: int = -1
    path: str = "commanded"
    open_s: float = 0.0
    why: str = ""


class RewardValve(Device, Protocol):
    """Opens for one finite pulse, timed by hardware, whichever way it was started.

    One counter serves an armed lick, the software path and commanded pulses, so they exclude each
    other. No call leaves the valve open longer than the pulse.
    """

    def open_time_s(self, *, volume_ul: float) -> float:
        """Return the open time for a volume; raises outside the calibrated range."""

    def arm(self, *, reward: int, volume_ul: float, opens_ticks: int, closes_ticks: int) -> None:
        """Pay the first lick between the two counts, ends included, once.

        Raises while another reward is armed.
        """

    def disarm(self, *, reward: int) -> None:
        """Withdraw an armed reward; whether it had fired is read back and comes with ``poll``."""

    def pulse(self, *, reward: int, volume_ul: float) -> None:
        """Open now for ``volume_ul``; raises while the valve is open or a reward is armed."""

    def poll(self) -> Sequence[PulseReport]:
        """Return what happened to rewards since the last call, in order."""

    def close_now(self) -> None:
        """Close the valve whatever it is doing. Never raises."""


class Encoder(Device, Protocol):
    """The running wheel's angle as a pair of voltages."""

    def read(self, *, host_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return signal and supply in volts at each of the flips since the last call, shape (n,)."""


class SyncOutputs(Device, Protocol):
    """Lines that the rig drives so that everything else can be aligned."""

    def flip_pulse(self) -> None:
        """Give a frame pulse now: called right after every flip the loop has waited for."""

    def flips_made(self, *, host_s: FloatArray) -> None:
        """Take note of all flips since the last call, shape (n,), some of them jumped over.

        A card that has given its pulses one by one has nothing to do; a simulated one computes them here.
        """

    def running(self, *, level: bool) -> None:
        """Say whether the stimulus runs; alignment pulses are given while it does."""

    def acquire(self, *, level: bool) -> None:
        """Drive the acquisition trigger."""


@dataclass(frozen=True, slots=True)
class SpoutReport:
    """The spout has arrived: ``at_mouse`` or ``retracted``, at this host time."""

    position: str
    host_s: float


class Spout(Device, Protocol):
    """The lick spout's stage."""

    def move(self, *, position: str) -> None:
        """Begin to move to ``at_mouse`` or ``retracted``."""

    def where(self) -> str:
        """Return the last position reached."""

    def poll(self) -> Sequence[SpoutReport]:
        """Return the arrivals since the last call."""

    def next_due_s(self) -> float:
        """Return the host time before which the spout can't arrive: -infinity if nobody knows."""


class Microscope(Device, Protocol):
    """The 2-photon microscope. Commands only set things going; what came of them is a state.

    A command that was refused, or not answered in time, is a state of phase ``FAILED``, and so is a microscope that is
    no longer heard of. Once that has been said, the command is never begun any more; what had been acknowledged may
    still be under way.
    """

    def prepare(self, *, session_id: str, mouse: str, stage: str) -> None:
        """Hand over what the recording will be called."""

    def arm(self) -> None:
        """Wait for the acquisition trigger, with whose rise the recording begins."""

    def start(self) -> None:
        """Begin to acquire now, without a trigger; one that acquires already by its trigger goes on."""

    def stop(self) -> None:
        """End the recording and write it out."""

    def abort(self) -> None:
        """End the recording and throw it away."""

    def poll(self) -> Sequence[MicroscopeEvent]:
        """Return what it has said since the last call: states, its clock, what was found of the link to it."""


class Cameras(Device, Protocol):
    """Eye and behaviour cameras."""

    def start(self, *, session_id: str) -> None:
        """Begin to record."""

    def stop(self) -> None:
        """End the recording."""

    def poll(self) -> Sequence[CameraState]:
        """Return the states since the last call."""


@dataclass(frozen=True, slots=True)
class Command:
    """An operator's request to a running session, void after ``expires_at`` (wall clock, seconds)."""

    id: str
    who: str
    verb: str
    text: str = ""
    volume_ul: float | None = None
    position: str | None = None
    expires_at: float = math.inf


class CommandSource(Protocol):
    """Where operators' requests come from."""

    def poll(self) -> Sequence[Command]:
        """Return the requests since the last call; never waits."""

    def answer(self, *, command: str, applied: bool, what: str) -> None:
        """Say what became of a request."""

    def next_due_s(self) -> float:
        """Return the host time before which no request can come: -infinity if nobody knows."""

    def found(self) -> Sequence[Finding]:
        """Return what was not taken, such as requests of strangers; something once a second at most."""
