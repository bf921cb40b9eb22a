"""One session as the row that the curriculum, the welfare rules and the laboratory's tables rest on.

A session that a crash cut in two has two logs and is one session: rates and d-prime go over the trials of all its
parts together, as if nothing had been between them. The same logs give the same row, whenever and wherever it is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, datetime, tzinfo
from itertools import pairwise, zip_longest
from typing import Any

import msgspec

from rig.lab.rows import Session, Water, WaterKind
from rig.log.reader import SessionLog
from rig.log.schema import Entry, to_plain
from rig.log.writer import EVENTS
from rig.records.folds import Folds
from rig.records.performance import trial_columns, with_performance
from stages.events import (
    BlockEnded,
    BlockKind,
    BlockStarted,
    EndReason,
    Outcome,
    SessionEnded,
)
from stages.experience import Shown
from stages.history import SessionFacts
from stages.metrics import n_contingent, peak_d_prime, rate

DayOf = Callable[[str], str]
"""The laboratory's day of an instant written in ISO 8601."""
WORKING_BLOCKS = {BlockKind.TASK, BlockKind.SWEEP}
"""Blocks that count as the session's task."""


class ProjectionError(Exception):
    """Logs that can't be made into a row; says which, where and what to do."""


def day_of(started_at: str, zone: tzinfo | None = None) -> str:
    """Return the laboratory's day of a moment, ``YYYY-MM-DD``.

    Parameters
    ----------
    started_at
        ISO 8601 with offset.
    zone
        Of the laboratory; that of this computer where there is none.
    """
    return datetime.fromisoformat(started_at).astimezone(zone).date().isoformat()


def project(logs: Sequence[SessionLog], *, day: str) -> Session:
    """Return the row of a log: its own figures, and the facts of the session as far as it goes.

    Parameters
    ----------
    logs
        The session's parts in order, up to the log whose row it is; of nearly all sessions there is one.
    day
        The laboratory's day, ``YYYY-MM-DD``.

    Raises
    ------
    ProjectionError
        A log is damaged in its middle, is of another mouse or stage than the first, or is out of order; or the day is
        not the one on which the session began, in any time zone.
    """
    if not logs:
        raise ProjectionError("a session without a log can't be made into a row; name its folders")
    _refuse_misfits(logs, day=day)
    folds = [Folds.of(log.entries) for log in logs]
    last, own = logs[-1], folds[-1]
    summary = with_performance(own.summary.summary(), own.trials.rows, stage_parameters=last.started.stage_parameters)
    return Session(
        log_id=last.started.session_id,
        log_started_at=last.started.started_at,
        rig=last.started.rig,
        why_ended=summary.why,
        duration_s=summary.duration_s,
        water_ml=summary.water_ul / 1000,
        n_licks=summary.n_licks,
        n_trials=summary.n_trials,
        simulated=last.started.simulated,
        log_sha256=last.sha256(),
        folder=last.folder.name,
        code_version=last.started.code_version,
        summary=to_plain(summary),
        **msgspec.structs.asdict(_facts(logs, folds, day=day)),
    )


def _facts(logs: Sequence[SessionLog], folds: Sequence[Folds], *, day: str) -> SessionFacts:
    first = logs[0].started
    columns = trial_columns([row for fold in folds for row in fold.trials.rows])
    n_answered = columns.count(Outcome.HIT, Outcome.FALSE_ALARM)
    parameters = first.stage_parameters
    is_sweep = "sweep" in parameters
    return SessionFacts(
        session_id=first.session_id,
        mouse=first.mouse,
        stage=first.stage,
        day=day,
        started_at=first.started_at,
        ended=EndReason.CRASHED.value if logs[-1].ended is None else logs[-1].ended.reason.value,
        task_min=sum(_task_s(log.entries) for log in logs) / 60,
        planned_min=planned_min(parameters),
        peak_d_prime=_or_none(peak_d_prime(columns)),
        n_contingent=n_contingent(columns),
        n_hit=columns.count(Outcome.HIT),
        response_rate=_or_none(rate(n_answered, n_contingent(columns))),
        aborted_time_share=_aborted_time_share(logs, folds),
        image_set=None if is_sweep else parameters["stimulus"].get("image_set"),
        omissions=bool(parameters.get("omission_probability")),
        passive=is_sweep or bool(parameters.get("passive")),
        imaging=bool(parameters.get("imaging")),
    )


def planned_min(parameters: dict[str, Any]) -> float:
    """Return how long the task of a stage was to run, from the parameters in its log."""
    if "sweep" not in parameters:
        return float(parameters["task_duration_min"])
    sweep = parameters["sweep"]
    n = len(sweep["azimuths_deg"]) * len(sweep["altitudes_deg"]) * len(sweep["orientations_deg"]) * sweep["n_repeats"]
    return float(n * (sweep["duration_s"] + sweep["gap_s"]) / 60)


def water_of(row: Session) -> Water | None:
    """Return what was drunk in a log's part of a session, as the row that is there once; None if nothing was."""
    if not row.water_ml:
        return None
    return Water(mouse=row.mouse, day=row.day, kind=WaterKind.SESSION, volume_ml=row.water_ml, session_id=row.log_id)


def shown_in(parts: Sequence[Session]) -> Shown:
    """Return what a session put before its mouse; one that broke off before its first flash showed no image.

    Parameters
    ----------
    parts
        The rows of all of its logs.
    """
    last = parts[-1]
    seen = any(part.summary["n_flashes_shown"] + part.summary["n_flashes_omitted"] for part in parts)
    return Shown(stage=last.stage, image_set=last.image_set if seen else None, omissions=last.omissions and seen)


def _refuse_misfits(logs: Sequence[SessionLog], *, day: str) -> None:
    first = logs[0].started
    began = datetime.fromisoformat(first.started_at)
    if abs((date.fromisoformat(day) - began.date()).days) > 1:
        what = f"is said to be of {day}, and its log begins {first.started_at}; correct the day"
        raise ProjectionError(f"{logs[0].folder}: {what}")
    for before, log in pairwise(logs):
        this = log.started
        if (this.mouse, this.stage) != (first.mouse, first.stage):
            raise ProjectionError(
                f"{log.folder}: holds {this.mouse} at {this.stage}, and the session it is said to continue is "
                f"{first.mouse}'s at {first.stage}; they are two sessions"
            )
        if datetime.fromisoformat(this.started_at) <= datetime.fromisoformat(before.started.started_at):
            raise ProjectionError(f"{log.folder}: began before the part it is said to follow; give them in order")
    for log in logs:
        if lost := _lost(log):
            raise ProjectionError(
                f"{log.folder / EVENTS}: can't be counted on ({'; '.join(lost)}); bring back the file from a copy"
            )


def _lost(log: SessionLog) -> list[str]:
    """Return what can't be read in a log's middle; where a crash tore its last line, nothing is lost but that."""
    lost = [damage for damage in log.damage if damage.startswith(f"{EVENTS}:") and "the last line" not in damage]
    crashed = log.ended is not None and log.ended.reason is EndReason.CRASHED
    before_the_end = f"{EVENTS}:{len(log.lines)}:"  # the end that was added later stands on a line of its own
    return [] if crashed and len(lost) == 1 and lost[0].startswith(before_the_end) else lost


def _task_s(entries: Sequence[Entry]) -> float:
    """Return how long the task ran, in seconds; of a log that breaks off in it, up to the last thing on record."""
    began_s: float | None = None
    total_s, last_s = 0.0, 0.0
    for entry in entries:
        match entry.event:
            case BlockStarted() as event:
                began_s = event.time_s if event.block in WORKING_BLOCKS else None
            case BlockEnded() as event if began_s is not None and event.block in WORKING_BLOCKS:
                total_s, began_s = total_s + event.time_s - began_s, None
            case SessionEnded():
                pass  # that of a crashed session came later, from elsewhere
            case _:
                last_s = max(last_s, getattr(entry.event, "time_s", None) or 0.0)
    return total_s if began_s is None else total_s + max(last_s - began_s, 0.0)


def _aborted_time_share(logs: Sequence[SessionLog], folds: Sequence[Folds]) -> float | None:
    """Return the share of the trials' time in aborted ones, each up to the next one's start as in the published tables.

    A pause between two trials is nobody's time.
    """
    aborted_s = total_s = 0.0
    for log, fold in zip(logs, folds, strict=True):
        rows = fold.trials.rows
        pauses_s = [
            entry.event.time_s
            for entry in log.entries
            if isinstance(entry.event, BlockStarted) and entry.event.block is BlockKind.PAUSE
        ]
        for row, after in zip_longest(rows, rows[1:]):
            ended_s = row.end_time_s
            if after is not None and not any(ended_s <= pause_s <= after.start_time_s for pause_s in pauses_s):
                ended_s = after.start_time_s
            if row.outcome is Outcome.INCOMPLETE or math.isnan(ended_s):
                continue
            total_s += ended_s - row.start_time_s
            aborted_s += (ended_s - row.start_time_s) * (row.outcome is Outcome.ABORTED)
    return aborted_s / total_s if total_s else None


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
