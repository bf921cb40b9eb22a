"""The trials of a recorded session as columns, by AllenSDK's own bookkeeping (TASK_FACTS 5 and 6)."""

from __future__ import annotations

from functools import cache

import pytest

from rig.records.camstim.reader import read_camstim
from stages.metrics import TrialColumns
from tests.builders import SHARED

RECORDING = SHARED / "real" / "allen" / "example_stimulus.pkl.gz"


@cache
def recorded_trials() -> TrialColumns:
    """The recorded session's 953 trials; skips where there are no recorded data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not at hand: the recorded session stands beside the checkout or nowhere")
    return read_camstim(RECORDING).columns()
