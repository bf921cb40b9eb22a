"""The trials of a recorded session as columns, by AllenSDK's own bookkeeping (TASK_FACTS 5 and 6)."""

from __future__ import annotations

from functools import cache

from stages.metrics import TrialColumns
from tests.builders import recorded_session


@cache
def recorded_trials() -> TrialColumns:
    """The recorded session's 953 trials."""
    return recorded_session().columns()
