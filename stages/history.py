"""What the curriculum takes of a mouse's past: one row a session, in order.

Rows are made from logs (``rig.training.projection``), never typed in. Parts of one session, where a crash cut it in
two, are one row: its figures are those of all its trials together. The pure core has no clock: the laboratory's day is
an argument, written ``YYYY-MM-DD``.
"""

from __future__ import annotations

import msgspec


class SessionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a session came to, as far as decisions rest on it. Rates are None where there was no such trial."""

    session_id: str
    """UUID4 of the session, or of its first part."""
    mouse: str
    stage: str
    day: str
    """The laboratory's day, ``YYYY-MM-DD``."""
    started_at: str
    """ISO 8601 with offset; rows are in this order."""
    ended: str
    """A value of ``stages.events.EndReason``; of the last part."""
    task_min: float
    """How long the task ran, in minutes, without pauses; over all parts."""
    planned_min: float
    """How long it was to run."""
    peak_d_prime: float | None
    """``stages.metrics.peak_d_prime`` (TASK_FACTS 4.3); None with fewer than 51 trials that were not aborted, and in a
    sweep."""
    n_contingent: int
    """Go and catch trials that were completed (TASK_FACTS 3.2)."""
    n_hit: int
    response_rate: float | None
    """Share of go and catch trials with a response: the criterion ``no_response_bias``."""
    aborted_time_share: float | None
    """Share of the trials' time that was spent in aborted ones: the criterion ``mostly_useful``."""
    image_set: str | None
    """None with gratings, and in a sweep."""
    omissions: bool
    """Whether flashes could be omitted."""
    passive: bool
    imaging: bool
