"""The Protocol of a screen: it shows what it is asked for with its next flip, and counts refreshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from hardware.arrays import FloatArray, IntArray
from hardware.events import Finding
from hardware.protocols import Identity
from stimuli.spec import Stimulus


class Flip(msgspec.Struct, frozen=True, gc=False):
    """One flip: its number, the refresh it came with, its time on the host's clock."""

    flip: int
    refresh: int
    host_s: float


@dataclass(frozen=True, slots=True)
class FlipRows:
    """Consecutive flips as columns, shape (n,) each.

    ``stimulus`` indexes the prepared stimuli, ``movie_frame`` is -1 where that is no movie, and
    ``n_missed`` counts the refreshes that went by without a flip before this one.
    """

    first_flip: int
    refresh: IntArray
    host_s: FloatArray
    stimulus: IntArray
    movie_frame: IntArray
    n_missed: IntArray


class Screen(Protocol):
    """Shows prepared stimuli. ``advance`` is the only call of a session that waits."""

    name: str
    rows_per_take: int
    """How many flips make a stretch for ``take``; on a screen that keeps real time at most 50 ms of them, since what
    has not been taken is not in the log yet."""

    def open(self) -> Identity:
        """Open the window."""

    def prepare(self, stimuli: Sequence[Stimulus]) -> None:
        """Make every stimulus ready to be shown without delay."""

    def check(self) -> list[Finding]:
        """Examine refresh rate and geometry before a session."""

    def advance(self, *, stimulus: int, until_refresh: int, until_host_s: float, until_flip: int) -> Flip:
        """Show ``stimulus`` with the next flip and return that flip.

        A screen that keeps real time flips once. A virtual one goes on flipping, showing the same,
        until the first flip that reaches one of the three limits, or shows something new.
        """

    def take(self) -> FlipRows:
        """Return all flips since the last call, as columns."""

    def close(self) -> None:
        """Close the window; idempotent."""
