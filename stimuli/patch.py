"""The photodiode patch: when it is bright, and where it stands.

It alternates every 60 flips, from bright on flip 0 (TASK_FACTS 8): readers compare its edges with every 60th flip. It
counts flips, not refreshes, so it says nothing of time. A splash of short pulses goes before flip 0 and follows the
last flip; readers strip it off, since its edges are closer than half a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PATCH_FLIPS = 60
SPLASH_FLIPS = 30
SPLASH_EVERY_FLIPS = 5
"""camstim's splash: 30 flips, alternating every 5 (TASK_FACTS 8)."""


class Corner(StrEnum):
    """Where on the monitor the photodiode sits, as seen from before it."""

    UPPER_LEFT = "upper_left"
    UPPER_RIGHT = "upper_right"
    LOWER_LEFT = "lower_left"
    LOWER_RIGHT = "lower_right"


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A square in a corner of the monitor."""

    corner: Corner
    size_px: int

    def box(self, *, width_px: int, height_px: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom in pixels of the monitor, row 0 on top, ends exclusive."""
        size = self.size_px
        left = width_px - size if self.corner in (Corner.UPPER_RIGHT, Corner.LOWER_RIGHT) else 0
        top = height_px - size if self.corner in (Corner.LOWER_LEFT, Corner.LOWER_RIGHT) else 0
        return left, top, left + size, top + size


def bright(flip: int) -> bool:
    """Return whether the patch is white, not black, on a flip of the session."""
    return flip // PATCH_FLIPS % 2 == 0


def splash() -> list[bool]:
    """Return the patch on each flip of a splash; it ends black, so that flip 0 of a session is an edge."""
    return [flip // SPLASH_EVERY_FLIPS % 2 == 0 for flip in range(SPLASH_FLIPS)]
