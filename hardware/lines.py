"""The digital lines of a rig and the bit each one has in a state word.

Labels and bits follow the laboratory's sync files (TASK_FACTS 8), so that their readers find ours.
"""

from __future__ import annotations

from enum import IntEnum


class Line(IntEnum):
    """Bit of each line."""

    VSYNC_2P = 0
    VSYNC_STIM = 2
    STIM_PHOTODIODE = 4
    ACQ_TRIGGER = 5
    STIM_RUNNING = 6
    REWARD_ECHO = 7
    CAM1_EXPOSURE = 8
    CAM2_EXPOSURE = 9
    ALIGN = 10
    LICK_SENSOR = 31

    def __init__(self, bit: int) -> None:
        self.mask = 1 << bit
        """The line's bit as a mask."""

    @property
    def label(self) -> str:
        """The line's label in a sync file."""
        return self.name.lower()


MOST_LICKS_PER_S = 25
"""Mice lick seven times a second, in bursts up to twelve; a lick line that rises more often is no tongue's."""
IDLE_STATE = Line.VSYNC_STIM.mask
"""The state word before a session's first edge: frame pulses fall from high, everything else is low."""
