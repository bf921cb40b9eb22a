"""When a flash comes on and goes off, counted in refreshes.

The grid is laid once, at the first refresh of the task, and never moved: not by aborts (TASK_FACTS
1.3), not by late flips, not by a pause. An onset that a dropped refresh made late does not push
the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Grid(Protocol):
    """Onsets and offsets of flashes, in refreshes."""

    def onset(self, k: int) -> int:
        """Return the refresh on which grid point ``k`` begins."""

    def off(self, k: int) -> int:
        """Return the refresh on which gray follows grid point ``k``."""

    def at_or_after(self, refresh: int) -> int:
        """Return the first grid point whose onset is not before ``refresh``."""

    def still_showable(self, refresh: int) -> int:
        """Return the first grid point of which at least one refresh can still be shown at ``refresh``."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """A grid of onsets: ``first + k * cycle``, each lasting ``on`` refreshes."""

    first: int
    cycle: int
    on: int

    def onset(self, k: int) -> int:
        """Return the refresh on which grid point ``k`` begins."""
        return self.first + k * self.cycle

    def off(self, k: int) -> int:
        """Return the refresh on which gray follows grid point ``k``."""
        return self.first + k * self.cycle + self.on

    def at_or_after(self, refresh: int) -> int:
        """Return the first grid point whose onset is not before ``refresh``."""
        return max(0, -((self.first - refresh) // self.cycle))

    def still_showable(self, refresh: int) -> int:
        """Return the first grid point of which at least one refresh can still be shown at ``refresh``."""
        return self.at_or_after(refresh - self.on + 1)
