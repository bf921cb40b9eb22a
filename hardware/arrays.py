"""Names for the arrays that pass between devices, screens and the log."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
AnyArray = NDArray[Any]
GreyFrame = NDArray[np.uint8]
"""Linear grey of a screen or a picture, shape (rows, columns), row 0 on top."""
GreyFrames = NDArray[np.uint8]
"""Several of one size, shape (n, rows, columns)."""
