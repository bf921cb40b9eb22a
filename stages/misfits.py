"""Histories that no decision may rest on: rows that no true history holds, whatever the curriculum."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from stages.events import EndReason
from stages.history import SessionFacts
from stages.parameters import named_image_set

MOST_D_PRIME = 4.66
"""No peak can be further from 0: rates are clipped to 0.01 and 0.99 (TASK_FACTS 4.2), which gives 4.653."""


class Answer(NamedTuple):
    """The placement with which a history would fit."""

    stage: str
    after: str | None
    """The session that it follows; None: before the first."""


class HistoryMisfit(ValueError):
    """A history that no decision may rest on; names the session, what is wrong, how to mend it."""

    def __init__(self, words: str, *, answer: Answer | None = None) -> None:
        super().__init__(words)
        self.answer = answer


def named(session: SessionFacts) -> str:
    """Return a session as sentences name it."""
    return f"session {session.session_id} of {session.day}"


def refuse_impossible(history: Sequence[SessionFacts]) -> None:
    """Raise HistoryMisfit for what no true history holds, whatever the curriculum."""
    seen: set[str] = set()
    before: tuple[SessionFacts, np.datetime64] | None = None
    for session in history:
        for problem in _problems_of(session):
            raise HistoryMisfit(f"{named(session)}: {problem}; make the row again from the session's log")
        began = _instant(session)
        if began is None:
            what = f"its start is {session.started_at!r}, no time with an offset in ISO 8601"
            raise HistoryMisfit(f"{named(session)}: {what}; make the row again from the session's log")
        if session.session_id in seen:
            raise HistoryMisfit(f"{named(session)} is there twice; each session is one row")
        seen.add(session.session_id)
        if before is not None:
            last, last_began = before
            if session.mouse != last.mouse:
                raise HistoryMisfit(f"{named(session)} is of mouse {session.mouse}, those before of {last.mouse}")
            if began <= last_began or session.day < last.day:
                raise HistoryMisfit(
                    f"{named(session)} began at {session.started_at}, not after {named(last)}, which began at "
                    f"{last.started_at}: the rows are out of order, or a clock was wrong"
                )
        before = session, began


def _problems_of(s: SessionFacts) -> Iterator[str]:
    """Yield what can't be of a session by itself."""
    for field in ("session_id", "mouse", "stage"):
        if not getattr(s, field):
            yield f"has no {field}"
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", s.day):
        yield f"its day is {s.day!r}, not YYYY-MM-DD"
    if s.ended not in list(EndReason):
        yield f"it ended by {s.ended!r}, which is no way to end"
    if not 0 <= s.task_min < math.inf:
        yield f"its task ran {s.task_min:g} min"
    if not 0 < s.planned_min < math.inf:
        yield f"its task was to run {s.planned_min:g} min"
    if s.peak_d_prime is not None and not abs(s.peak_d_prime) <= MOST_D_PRIME:
        yield f"its peak d′ is {s.peak_d_prime:g}, and none is beyond ±{MOST_D_PRIME:g}"
    for field in ("n_contingent", "n_hit"):
        if getattr(s, field) < 0:
            yield f"its {field} is {getattr(s, field)}"
    if s.n_hit > s.n_contingent:
        yield f"has {s.n_hit} hits in {s.n_contingent} go and catch trials"
    for field in ("response_rate", "aborted_time_share"):
        share = getattr(s, field)
        if share is not None and not 0 <= share <= 1:
            yield f"its {field} is {share:g}, no share"
    if named_image_set(s.stage) not in (None, s.image_set):
        yield f"ran {s.stage} with image set {s.image_set or 'none'}"


def _instant(session: SessionFacts) -> np.datetime64 | None:
    """Return when a session began, in UTC; None if it does not say so."""
    written = re.fullmatch(
        r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?)(?:Z|([+-])(\d\d):?(\d\d))", session.started_at
    )
    if written is None:
        return None
    local, sign, hours, minutes = written.groups()
    try:
        instant = np.datetime64(local, "us")
    except ValueError:
        return None
    offset = np.timedelta64(60 * int(hours or 0) + int(minutes or 0), "m")
    return instant + offset if sign == "-" else instant - offset
