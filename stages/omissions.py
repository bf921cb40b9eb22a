"""Which flashes may be left out, and the draw.

Never a change or sham change, nor the flash before one, nor two in a row, nor the first flash of the
task (TASK_FACTS 1.8). Without aborts 3.98 % of all flashes are then left out (``share_without_aborts``),
which fits the measured 4.02 +- 0.07 % of sessions with few aborts. Eligibility is asked flash by flash,
so an abort between a protected flash and its change leaves no protection behind.

TASK_FACTS predicts 3.95 %: it takes the 224 change times of one session, 5.71 flashes in the mean where
the rule has 5.84, and p / (1 + p), the share that is reached long after the last protected flash. In fact
that flash was shown, so the one after it is left out with the full p. 3.93 % comes of p / (1 + p) with
the rule's change times if the next trial began as the last one ends, 5.67 flashes after its change: it
waits for the sixth.
"""

from __future__ import annotations

import numpy as np

from stages.draws import geometric_probabilities
from stages.parameters import GeometricChange


class Omissions:
    """Draws, ahead of each flash, whether it is left out."""

    def __init__(self, *, probability: float, rng: np.random.Generator) -> None:
        self._probability = probability
        self._rng = rng
        self._last_omitted = True  # as if one had gone before the first flash: that one is never left out

    def draw(self, *, is_change: bool, next_is_change: bool) -> bool:
        """Return whether the coming flash is left out; call exactly once a flash."""
        omitted = (
            self._probability > 0
            and not (is_change or next_is_change or self._last_omitted)
            and self._rng.random() < self._probability
        )
        self._last_omitted = omitted
        return omitted


def share_without_aborts(change: GeometricChange, *, probability: float, flashes_after_change: int = 6) -> float:
    """Return the expected share of omissions among all flashes if no trial is aborted.

    From one change to the next there are ``flashes_after_change`` flashes and those up to the change flash; the
    last two of them are always shown.
    """
    omitted = length = 0.0
    for k, p_k in enumerate(geometric_probabilities(change).tolist(), start=change.flashes_min):
        n = flashes_after_change + k
        length += p_k * n
        last = 0.0
        for _ in range(n - 2):
            last = probability * (1 - last)
            omitted += p_k * last
    return omitted / length
