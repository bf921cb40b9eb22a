"""Replay: feed the Inputs of a log to a new task and compare its Decisions byte by byte.

The flips come from ``flips.bin``, the inputs at the flip at which the task saw them. A difference is a bug in
the task, in the log, or a change of the rules since; it is named with the line it is in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rig.log.reader import SessionLog
from rig.log.schema import KINDS, Entry, Kind, LogError, encode
from stages.events import EndReason, InputEvent, SessionEnded
from stages.task import At, Task


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay found."""

    n_inputs: int
    n_decisions: int
    """Decisions compared."""
    difference: str | None
    """The first difference in words, None if there was none."""


def replay(log: SessionLog, task: Task | None = None) -> ReplayResult:
    """Return whether a recorded session's inputs lead to its decisions again.

    A log that was torn or crashed is replayed as far as both its events and its flips reach; the end that
    ``rig recover`` gave it was nobody's decision.

    Raises
    ------
    LogError
        Another program ran the session.
    """
    if log.started.imported_from is not None:
        raise LogError(
            f"{log.folder}: was imported from {log.started.imported_from}, whose decisions are not this program's; "
            f"compare them with: rig replay --camstim FILE"
        )
    task = task or Task.of(log.started)
    inputs: dict[int, list[InputEvent]] = {}
    recorded: list[tuple[int, bytes]] = []
    ended = log.ended
    broke_off = ended is None or ended.reason is EndReason.CRASHED
    for number, (entry, line) in enumerate(zip(log.entries, log.lines, strict=True), start=1):
        kind = KINDS[type(entry.event)]
        if kind is Kind.INPUT:
            inputs.setdefault(entry.flip, []).append(entry.event)  # type: ignore[arg-type]
        elif kind is Kind.DECISION and not (broke_off and isinstance(entry.event, SessionEnded)):
            recorded.append((number, line))
    n_inputs = sum(len(events) for events in inputs.values())
    flips = log.flips
    refreshes, times_s = flips["refresh"].astype(np.int64), flips["time_s"]
    input_flips = sorted(inputs)
    next_input = 0
    n = 0
    flip = 0
    while flip < len(flips):
        at = At(flip, int(refreshes[flip]), float(times_s[flip]))
        out = task.step(at, inputs.get(flip, ()))
        for event in out.events:
            line = encode(Entry(at.flip, at.refresh, event))  # type: ignore[arg-type]
            if n >= len(recorded):
                if broke_off:
                    return ReplayResult(n_inputs, n, None)  # the log breaks off before its flips do
                return ReplayResult(n_inputs, n, f"the replay decides what the log does not hold: {line.decode()}")
            number, was = recorded[n]
            if line != was:
                return ReplayResult(
                    n_inputs, n, f"line {number} of the log says\n  {was.decode()}\nthe replay says\n  {line.decode()}"
                )
            n += 1
        if out.finished:
            break
        while next_input < len(input_flips) and input_flips[next_input] <= flip:
            next_input += 1
        flip = min(
            max(flip + 1, int(np.searchsorted(refreshes, out.due_refresh))),
            max(flip + 1, int(np.searchsorted(times_s, out.due_s))) if out.due_s < math.inf else len(flips),
            input_flips[next_input] if next_input < len(input_flips) else len(flips),
        )
    if n < len(recorded) and not broke_off:
        number, was = recorded[n]
        return ReplayResult(n_inputs, n, f"line {number} of the log has no counterpart: {was.decode()}")
    return ReplayResult(n_inputs, n, None)
