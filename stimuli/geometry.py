"""Where on a flat screen the mouse sees what: degrees, centimetres, pixels, and the spherical warp.

The eye stands ``distance_cm`` before the screen's middle. Two planes are spoken of. In the *unwarped* plane a degree
is ``distance_cm * pi / 180`` everywhere, as if the sphere around the eye were rolled out flat: stimuli are drawn there
(PsychoPy's unit ``deg``). On the *screen* a point ``r`` from the middle lies ``distance_cm * atan(r / distance_cm)`` of
arc from it, so it shows what the unwarped plane has that far out on the same ray (azimuthal equidistant projection
about the foot of the eye). With the published 52 x 32.5 cm at 15 cm this reproduces the laboratory's own warped
picture to 0.6 grey levels on average; a test holds it to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hardware.arrays import FloatArray, GreyFrame


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """A flat screen before an eye.

    The defaults are the published set-up (TASK_FACTS 9). A small window for tests is the same screen with fewer
    pixels: what is drawn keeps its size in degrees.

    Raises
    ------
    ValueError
        A size that is not above 0, or fewer than two pixels.
    """

    width_px: int = 1920
    height_px: int = 1200
    width_cm: float = 52.0
    height_cm: float = 32.5
    distance_cm: float = 15.0

    def __post_init__(self) -> None:
        """Refuse what is no screen."""
        for field in ("width_px", "height_px", "width_cm", "height_cm", "distance_cm"):
            value = getattr(self, field)
            if not (1 if field.endswith("px") else 0) < value < math.inf:
                raise ValueError(f"{field} is {value:g}; give what the screen measures")

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a frame, ``(height_px, width_px)``."""
        return self.height_px, self.width_px

    @property
    def px_per_deg(self) -> tuple[float, float]:
        """Pixels a degree of the unwarped plane, along x and along y."""
        cm_per_deg = math.radians(self.distance_cm)
        return self.width_px / self.width_cm * cm_per_deg, self.height_px / self.height_cm * cm_per_deg

    @cached_property
    def x_deg(self) -> FloatArray:
        """Where the middles of the columns stand in the unwarped plane, shape (width_px,); right is positive."""
        return self._middles_cm(self.width_px, self.width_cm) / math.radians(self.distance_cm)

    @cached_property
    def y_deg(self) -> FloatArray:
        """Where the middles of the rows stand in the unwarped plane, shape (height_px,); up is positive."""
        return -self._middles_cm(self.height_px, self.height_cm) / math.radians(self.distance_cm)

    @cached_property
    def warp(self) -> Warp:
        """The warp of this screen, worked out once."""
        x_cm = self._middles_cm(self.width_px, self.width_cm)[np.newaxis, :]
        y_cm = self._middles_cm(self.height_px, self.height_cm)[:, np.newaxis]
        r_cm = np.hypot(x_cm, y_cm)
        nearer = np.ones(self.shape)
        np.divide(self.distance_cm * np.arctan(r_cm / self.distance_cm), r_cm, out=nearer, where=r_cm > 0)
        return Warp(
            column=(x_cm * nearer / self.width_cm + 0.5) * self.width_px - 0.5,
            row=(y_cm * nearer / self.height_cm + 0.5) * self.height_px - 0.5,
        )

    @staticmethod
    def _middles_cm(n_px: int, size_cm: float) -> FloatArray:
        return ((np.arange(n_px) + 0.5) / n_px - 0.5) * size_cm


class Warp:
    """Which pixels of an unwarped frame each pixel of the screen shows, and with what weights (bilinear).

    Parameters
    ----------
    column, row
        Place in the unwarped frame that each pixel of the screen shows, in pixels from the middle of the upper left
        one, shape (height_px, width_px) each. What lies outside the frame is taken from its edge.
    """

    def __init__(self, *, column: FloatArray, row: FloatArray) -> None:
        self.shape = height_px, width_px = column.shape
        self.column, self.row = np.clip(column, 0, width_px - 1), np.clip(row, 0, height_px - 1)
        left = np.minimum(self.column.astype(np.intp), width_px - 2)
        top = np.minimum(self.row.astype(np.intp), height_px - 2)
        self._corner: NDArray[np.intp] = top * width_px + left
        self._across = (self.column - left).astype(np.float32)
        self._down = (self.row - top).astype(np.float32)

    def __call__(self, unwarped: GreyFrame, *, rows: slice = slice(None), columns: slice = slice(None)) -> GreyFrame:
        """Return what the screen, or those rows and columns of it, shows of an unwarped frame; grey levels rounded.

        ``unwarped`` is uint8 of shape (height_px, width_px).
        """
        pixels = unwarped.ravel().astype(np.float32)
        corner, across, down = (each[rows, columns] for each in (self._corner, self._across, self._down))
        width_px = self.shape[1]
        upper = pixels[corner]
        upper += (pixels[corner + 1] - upper) * across
        lower = pixels[corner + width_px]
        lower += (pixels[corner + width_px + 1] - lower) * across
        upper += (lower - upper) * down
        shown: GreyFrame = np.rint(upper).astype(np.uint8)
        return shown

    def seen(self) -> NDArray[np.bool_]:
        """Return which pixels of an unwarped frame have a part in what is shown, shape (height_px, width_px)."""
        seen = np.zeros(self.shape, bool).ravel()
        corner, width_px = self._corner.ravel(), self.shape[1]
        for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
            has_part = ((self._across > 0) | (right == 0)) & ((self._down > 0) | (below == 0))
            seen[corner[has_part.ravel()] + right + below * width_px] = True
        return seen.reshape(self.shape)
