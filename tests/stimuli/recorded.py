"""A monitor that repeats a recorded session's flips, and how many refreshes really went by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from hardware.arrays import FloatArray, IntArray
from stimuli.headless import BLOCK_REFRESHES, Behaviour, RefreshTrain
from tests.builders import recorded_session

PERIOD_MS = 16.681
"""The recorded monitor's refresh, 59.95 Hz (TASK_FACTS 1.3): its intervals are whole multiples of it."""


@cache
def intervals_ms() -> FloatArray:
    """Return the recorded session's intervals between flips, shape (270071,)."""
    return np.diff(flip_times_s()) * 1000


def flip_times_s() -> FloatArray:
    """Return when the recorded session flipped, from 0 on."""
    return recorded_session().frame_times_s


def true_refreshes() -> IntArray:
    """Return the refresh each recorded flip came with: its interval to the flip before, in whole refreshes."""
    return np.concatenate([[0], np.cumsum(np.rint(intervals_ms() / PERIOD_MS))]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class RecordedTrain(RefreshTrain):
    """Flips when the recorded session did, and regularly after its end."""

    def block(self, number: int) -> tuple[FloatArray, np.ndarray]:
        """See ``RefreshTrain.block``; every entry is a flip."""
        times_s = flip_times_s()
        wanted = np.arange(number * BLOCK_REFRESHES, (number + 1) * BLOCK_REFRESHES)
        beyond = np.maximum(wanted - (len(times_s) - 1), 0)
        block_s = times_s[np.minimum(wanted, len(times_s) - 1)] + beyond * PERIOD_MS / 1000
        return self.start_host_s + block_s, np.ones(BLOCK_REFRESHES, bool)


def recorded_train() -> RecordedTrain:
    """Return the recorded monitor, with 60 Hz configured as it was."""
    return RecordedTrain(behaviour=Behaviour.DRIFTING, nominal_hz=60.0, seed=0, start_host_s=0.0)
