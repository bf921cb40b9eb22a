"""A session's edges on session time: the one place where the record's ticks become seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardware.arrays import AnyArray, FloatArray, IntArray
from hardware.clock import TICKS_PER_S
from hardware.lines import IDLE_STATE, Line
from hardware.pulses import changes_of
from rig.log.reader import SessionLog
from stages.events import Lick


@dataclass(frozen=True, slots=True, eq=False)
class CardLines:
    """All edges of a session, and what each line did."""

    edges: AnyArray
    before: int
    """The state of all lines before the first edge."""
    zero: int | None
    """The card's count at session time 0; None where nothing tells it."""

    @classmethod
    def of(cls, log: SessionLog) -> CardLines:
        """Return a session's."""
        edges = log.edges()
        before = IDLE_STATE if log.started.lines_before is None else log.started.lines_before
        return cls(edges=edges, before=before, zero=_zero_ticks(log, edges, before))

    def states(self) -> IntArray:
        """Return the lines' state before the first edge and after each, shape (n edges + 1,)."""
        states: IntArray = np.concatenate([[self.before], self.edges["state"]]).astype(np.int64)
        return states

    def changes(self, line: Line) -> tuple[IntArray, AnyArray]:
        """Return the ticks at which a line changed, and its level from each on."""
        return changes_of(line, self.edges["ticks"].astype(np.int64), self.edges["state"], before=self.before)

    def changes_s(self, line: Line) -> tuple[FloatArray, AnyArray]:
        """Return the session times at which a line changed, and its level from each on; none without a zero."""
        ticks, levels = self.changes(line)
        if self.zero is None:
            return np.empty(0), np.empty(0, bool)
        return self.seconds(ticks), levels

    def rises_s(self, line: Line) -> FloatArray:
        """Return the session times at which a line rose."""
        times_s, levels = self.changes_s(line)
        return times_s[levels]

    def falls_s(self, line: Line) -> FloatArray:
        """Return the session times at which a line fell."""
        times_s, levels = self.changes_s(line)
        return times_s[~levels]

    def seconds(self, ticks: IntArray) -> FloatArray:
        """Return session times of counts, which must have a zero."""
        if self.zero is None:
            raise ValueError("these edges have no session time 0")
        times_s: FloatArray = (ticks - self.zero) / TICKS_PER_S
        return times_s


def _zero_ticks(log: SessionLog, edges: AnyArray, before: int) -> int | None:
    """Return the card's count at session time 0: from a lick, which has both times, else the first flip's pulse."""
    for entry in log.entries:
        if isinstance(entry.event, Lick) and entry.event.ticks >= 0:
            return entry.event.ticks - round(entry.event.time_s * TICKS_PER_S)
    ticks, levels = changes_of(Line.VSYNC_STIM, edges["ticks"].astype(np.int64), edges["state"], before=before)
    falls = ticks[~levels]
    return int(falls[0]) if len(falls) else None
