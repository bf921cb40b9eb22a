"""From any photograph to a picture of an image set: its size, its luminance, its margin.

The laboratory's real picture im065 has a barrel-shaped gray margin: exactly what the warp leaves of it fills the
published screen. Its sets are called luminance-matched. Ours are prepared so too: mean and standard deviation of the
grey levels are those below in every picture (what the SHINE toolbox calls lumMatch), over what the mouse can see.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from hardware.arrays import GreyFrame
from stimuli.frames import CANVAS_SHAPE, GRAY, PICTURE_SHAPE, resized
from stimuli.geometry import Geometry
from stimuli.spec import StimulusError

MEAN = 127.0
"""Grey level of every picture on average: the background's, so that a flash changes contrast and not luminance."""
SPREAD = 55.0
"""Standard deviation of the grey levels; im065's, seen part, has 68, and three of ours would be cut off at it."""
TOLERANCE = 0.25
"""How far from either a matched picture may be, in grey levels."""


@cache
def visible() -> NDArray[np.bool_]:
    """Return which pixels of a picture the published screen shows once warped, shape (918, 1174)."""
    (height_px, width_px), (n_rows, n_columns) = PICTURE_SHAPE, CANVAS_SHAPE
    top, left = (n_rows - height_px) // 2, (n_columns - width_px) // 2
    seen = Geometry().warp.seen()[top : top + height_px, left : left + width_px]
    seen.setflags(write=False)
    return seen


def with_margin(picture: GreyFrame) -> GreyFrame:
    """Return a picture of 918 x 1174 with everything gray that the warp leaves out."""
    return np.where(visible(), picture, np.uint8(GRAY)).astype(np.uint8)


def cropped(photograph: GreyFrame) -> GreyFrame:
    """Return the largest middle part of a photograph that has a picture's proportions, as 918 x 1174."""
    height_px, width_px = PICTURE_SHAPE
    n_rows, n_columns = photograph.shape
    keep_rows, keep_columns = (
        min(n_rows, n_columns * height_px // width_px),
        min(n_columns, n_rows * width_px // height_px),
    )
    top, left = (n_rows - keep_rows) // 2, (n_columns - keep_columns) // 2
    return resized(photograph[top : top + keep_rows, left : left + keep_columns], PICTURE_SHAPE)


def luminance_matched(
    picture: GreyFrame, *, where: NDArray[np.bool_], name: str, mean: float = MEAN, spread: float = SPREAD
) -> GreyFrame:
    """Return a picture whose grey levels have that mean and standard deviation over the pixels ``where`` it is seen.

    Grey levels are stretched and moved, the same for all pixels, and cut off at 0 and 255; stretch and offset are
    sought until the levels that are left after the cut have the two figures.

    Raises
    ------
    StimulusError
        A photograph without contrast, or with so few levels that the figures can't be met.
    """
    counts = np.bincount(picture[where], minlength=256)
    levels = np.arange(256, dtype=np.float64)
    middle, found = _figures(counts, levels)
    if found < 1:
        raise StimulusError(f"picture {name} has no contrast (standard deviation {found:.2f}); take another")
    gain, offset = spread / found, mean
    for _ in range(200):
        new = np.clip(gain * (levels - middle) + offset, 0, 255)
        found_mean, found = _figures(counts, new)
        if abs(found_mean - mean) < TOLERANCE / 4 and abs(found - spread) < TOLERANCE / 4:
            matched: GreyFrame = np.rint(new).astype(np.uint8)[picture]
            return matched
        if found < 1:
            break
        gain *= spread / found
        offset += mean - found_mean
    raise StimulusError(
        f"picture {name} can't be brought to mean {mean:g} and standard deviation {spread:g}: too much of it is of one "
        "grey level; take another"
    )


def _figures(counts: NDArray[np.intp], levels: NDArray[np.float64]) -> tuple[float, float]:
    mean = float(counts @ levels / counts.sum())
    return mean, float(np.sqrt(counts @ (levels - mean) ** 2 / counts.sum()))


def figures(picture: GreyFrame) -> tuple[float, float]:
    """Return a picture's mean grey level and rms contrast (standard deviation over mean), over what is seen of it."""
    seen = picture[visible()].astype(np.float64)
    return float(seen.mean()), float(seen.std() / seen.mean())
