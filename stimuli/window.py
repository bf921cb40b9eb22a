"""How a window stands on the computer's monitors, and what goes out for each grey level."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hardware.arrays import AnyArray
from stimuli.patch import Patch


@dataclass(frozen=True, kw_only=True)
class WindowSettings:
    """How a window stands on the computer's monitors.

    Raises
    ------
    ValueError
        A gamma that is not above 0.
    """

    screen_number: int = 0
    """Which monitor, from 0, as the system counts them."""
    full_screen: bool = False
    upside_down: bool = False
    """The monitor hangs turned by 180 degrees."""
    mirrored: bool = False
    """The mouse sees the monitor by a mirror, or through a screen from behind: left and right are swapped."""
    gamma: tuple[float, float, float] | None = None
    """Exponents of red, green and blue, to be undone; None where levels go out as they are."""
    patch: Patch | None = None

    def __post_init__(self) -> None:
        if self.gamma is not None and not all(0 < gamma < math.inf for gamma in self.gamma):
            raise ValueError(f"gamma is {self.gamma}; give what was measured, above 0")

    @property
    def table(self) -> AnyArray:
        """What goes out for each grey level, uint8 (256, 3)."""
        exponents = np.array([1.0, 1.0, 1.0] if self.gamma is None else [1 / gamma for gamma in self.gamma])
        table: AnyArray = np.rint(255 * (np.arange(256)[:, None] / 255) ** exponents).astype(np.uint8)
        return table
