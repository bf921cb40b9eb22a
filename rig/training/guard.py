"""Is this the mouse that it is said to be? Doubts about it, each a sentence; pure.

A doubt refuses nothing. It asks for the mouse's name, which stands there in large letters: who reads it off the cage
and types it has looked. Elsewhere the wrong animal went through the wrong task (RIG_LESSONS).

What a weight can tell: from one day to the next a mouse on restricted water changes by 2 to 3 %, and after a night with
all it likes by 8 or so; mice of one sex and age differ with an SD of about 10 %. So 10 % off its own recent weights is
rare in a mouse and common in a mix-up; it can't catch every one, which is why the name is always shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from operator import itemgetter
from statistics import median


class Doubtful(StrEnum):
    """What does not fit the mouse."""

    WEIGHT = "weight"
    HISTORY = "history"


TREND_WEIGHTS = 5
"""The trend is the median of so many weights: one slip among them does not move it."""
TREND_DAYS = 21
"""Older weights say little of a mouse that grows or was on holiday."""
OFF_TREND = 0.10
"""See above."""
OFF_BASELINE = 0.20
"""Of a mouse without recent weights: restriction takes it to 80 or 85 % of its baseline, and none grows so fast."""
AWAY_DAYS = 14
"""A mouse that had no session for longer: holidays and surgery are known to everyone in the room."""


def doubts(
    mouse: str,
    *,
    weight_g: float,
    day: str,
    baseline_g: float,
    weights: Sequence[tuple[str, float]],
    last_session_day: str | None,
) -> dict[Doubtful, str]:
    """Return what makes it doubtful that this is the mouse, a sentence each; none if nothing does.

    Parameters
    ----------
    day
        Today, ``YYYY-MM-DD``.
    weights
        Day and grams, those of a day in order; those of today are left out.
    last_session_day
        None if it never had a session.
    """
    found: dict[Doubtful, str] = {}
    by_day = sorted(weights, key=itemgetter(0))
    recent = [grams for when, grams in by_day if 0 < _days(when, day) <= TREND_DAYS][-TREND_WEIGHTS:]
    expected_g, limit = (median(recent), OFF_TREND) if recent else (baseline_g, OFF_BASELINE)
    off = weight_g / expected_g - 1
    if abs(off) > limit:
        of = f"its last {len(recent)} weights" if len(recent) > 1 else "its last weight" if recent else "its baseline"
        found[Doubtful.WEIGHT] = (
            f"{weight_g:.1f} g is {abs(off):.0%} {'above' if off > 0 else 'below'} {of}, {expected_g:.1f} g "
            f"(more than {limit:.0%})"
        )
    if last_session_day is not None and (away := _days(last_session_day, day)) > AWAY_DAYS:
        found[Doubtful.HISTORY] = f"{mouse} had no session for {away} days"
    return found


def _days(earlier: str, later: str) -> int:
    return (date.fromisoformat(later) - date.fromisoformat(earlier)).days
