"""What a simulated microscope can be asked to do wrong, and when it begins to."""

from __future__ import annotations

from enum import StrEnum


class MicroscopeFault(StrEnum):
    """One way in which a microscope, its computer or the network to it fails."""

    NO_ANSWER = "no_answer"
    """Commands are taken and neither acknowledged nor carried out; heartbeats go on."""
    SLOW = "slow"
    """What it is told to do takes long."""
    REFUSES = "refuses"
    """It says that it can't."""
    FREEZES = "freezes"
    """The process stands still and goes on later; connections stay."""
    RESTARTS = "restarts"
    """The process ends and comes up again on the same address, knowing nothing."""
    DIES = "dies"
    """The process ends and does not come back; with it the frames."""
    DROPS_FRAMES = "drops_frames"
    """Frames are missing on the frame line."""
    EXTRA_PULSES = "extra_pulses"
    """Pulses that are no frames come before the first one (VBA #303, SDK #1926: one to six)."""
    WRONG_RATE = "wrong_rate"
    """Frames come a tenth slower than was asked for."""
    STALE_START = "stale_start"
    """The connection breaks as the start is under way; what was sent arrives after the rig has connected anew.

    With the steps ``prepare``, ``arm`` and ``stop`` it is that command."""


class MicroscopeStep(StrEnum):
    """How far a recording has come when a fault begins."""

    HELLO = "hello"
    PREPARE = "prepare"
    ARM = "arm"
    START = "start"
    ACQUIRING = "acquiring"
    STOP = "stop"
