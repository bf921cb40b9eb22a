"""What a simulated rig asks of a mouse, and what all mice have in common."""

from __future__ import annotations

from typing import Protocol

from hardware.arrays import FloatArray

GRAY_IDENTITY = "gray"
"""What the mouse is told when it sees no stimulus."""
MOVIE_IDENTITY = "movie"
"""What it is told when a movie begins."""
SHORTEST_INTERVAL_S = 0.06
"""Real mice lick no faster than every 0.083 s (MOUSE_FACTS C); the line needs its contact to end."""
CONTACT_S = 0.03


class ModelMouse(Protocol):
    """What a simulated rig asks of a mouse."""

    def see(self, *, host_s: float, identity: str) -> None:
        """Take note of what has just come on the screen (``gray`` between flashes)."""

    def drink(self, *, host_s: float) -> None:
        """Take note of water at the spout."""

    def next_lick_s(self) -> float:
        """Return the time of the next lick as things stand, or infinity."""

    def take_lick(self) -> float:
        """Make that lick; return how long the tongue is out at the spout, in seconds."""

    def distance_cm(self, time_s: FloatArray) -> FloatArray:
        """Return the distance run at the wheel's rim, shape (n,), at rising times since the first flip.

        Asked of one stretch after the other by whichever thread gathers the columns, up to half a second
        ahead of what the mouse has been told.
        """
