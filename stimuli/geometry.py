"""Where on a flat screen the mouse sees what: degrees, centimetres, pixels, and the spherical warp.

The eye stands ``distance_cm`` before the screen's middle. Two planes are spoken of. In the *unwarped* plane a degree
is ``distance_cm * pi / 180`` everywhere, as if the screen were a sphere around the eye rolled flat: stimuli are drawn
there. On the *screen* a point ``r`` from the middle lies ``distance_cm * atan(r / distance_cm)`` of arc from it, so
it shows what the unwarped plane has that far out on the same ray (azimuthal equidistant projection about the foot of
the eye). With the published 52 x 32.5 cm at 15 cm this reproduces the laboratory's own warped picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hardware.arrays import FloatArray, GreyFrame, IntArray


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """A flat screen before an eye.

    The defaults are the published set-up (TASK_FACTS 9). A small window for tests is the same screen with fewer
    pixels: what is drawn keeps its size in degrees.

    Raises
    ------
    ValueError
        A size that is not above 0.
    """

    width_px: int = 1920
    height_px: int = 1200
    width_cm: float = 52.0
    height_cm: float = 32.5
    distance_cm: float = 15.0

    def __post_init__(self) -> None:
        for field in ("width_px", "height_px", "width_cm", "height_cm", "distance_cm"):
            if not 0 < getattr(self, field) < math.inf:
                raise ValueError(f"{field} is {getattr(self, field):g}; give what the screen measures, above 0")

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a frame, ``(height_px, width_px)``."""
        return self.height_px, self.width_px

    @property
    def deg_per_cm(self) -> float:
        """Degrees a centimetre of the unwarped plane."""
        return math.degrees(1.0 / self.distance_cm)

    @property
    def px_per_deg(self) -> tuple[float, float]:
        """Pixels a degree of the unwarped plane, along x and y."""
        cm_per_deg = math.radians(self.distance_cm)
        return self.width_px / self.width_cm * cm_per_deg, self.height_px / self.height_cm * cm_per_deg

    @cached_property
    def x_deg(self) -> FloatArray:
        """Where the middles of the columns stand in the unwarped plane, shape (width_px,), right is positive."""
        return self._middles_cm(self.width_px, self.width_cm) * self.deg_per_cm

    @cached_property
    def y_deg(self) -> FloatArray:
        """Where the middles of the rows stand in the unwarped plane, shape (height_px,), up is positive."""
        return -self._middles_cm(self.height_px, self.height_cm) * self.deg_per_cm

    @cached_property
    def warp(self) -> Warp:
        """The warp of this screen, worked out once."""
        return Warp.of(self)

    @staticmethod
    def _middles_cm(n_px: int, size_cm: float) -> FloatArray:
        return ((np.arange(n_px) + 0.5) / n_px - 0.5) * size_cm


@dataclass(frozen=True, eq=False)
class Warp:
    """Which pixels of an unwarped frame each pixel of the screen shows, and with what weights (bilinear)."""

    corner: IntArray
    """Flat index of the upper left of the four pixels, shape (height_px * width_px,)."""
    across: FloatArray
    """Share of the right ones, 0 to 1, same shape."""
    down: FloatArray
    """Share of the lower ones, 0 to 1, same shape."""
    shape: tuple[int, int]

    @classmethod
    def of(cls, geometry: Geometry) -> Warp:
        """Return the warp of a screen."""
        raise NotImplementedError

    def __call__(self, unwarped: GreyFrame) -> GreyFrame:
        """Return what the screen shows of an unwarped frame, both of shape (height_px, width_px), rounded."""
        raise NotImplementedError
