"""How a mouse stands today: its history from its logs, the stage that follows, and what it has seen.

Nothing is decided on a history that can't be read, was edited, or does not follow from the decisions before it: each
is a ``NoDecision`` with a sentence, and the mouse keeps its stage.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from rig.lab.rows import Decided, Fact, Mouse, OverrideKind, Session, Start
from rig.log.reader import SessionLog, read_session
from rig.log.schema import LogError
from rig.records.recover import recover
from rig.training.imaging import found_on_streams, judged_by_rig
from rig.training.memory import Memory
from rig.training.projection import DayOf, ProjectionError, day_of, project, shown_in, water_of
from rig.training.recompute import Recomputed, by_session, edited, recompute
from rig.training.unrecorded import find_in
from stages.curriculum import Curriculum
from stages.decisions import Decision, Placement, climb
from stages.experience import Shown
from stages.history import SessionFacts
from stages.misfits import Answer, HistoryMisfit

if TYPE_CHECKING:
    from rig.lab.lab import Lab

AnyFact = TypeVar("AnyFact", bound=Fact)

ID_SHOWN = 8
"""So much of a session's id stands in its folder's name and in the commands that are shown."""


class NoDecision(Exception):
    """No stage can be given to a mouse; says why, where, and what to do. It keeps the one it has."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a mouse before its next session."""

    mouse: Mouse
    recomputed: Recomputed
    decisions: tuple[Decision, ...]
    """One before its first session, one after each."""
    placements: tuple[Placement, ...]
    """What operators decided about its stage, in the order they did."""
    seen: tuple[Shown, ...]
    """What its sessions put before it, in order."""

    @property
    def history(self) -> tuple[SessionFacts, ...]:
        """Its sessions, oldest first."""
        return self.recomputed.history

    @property
    def decision(self) -> Decision:
        """What its next session will be."""
        return self.decisions[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """Where logs are, and what they came to before.

    Parameters
    ----------
    folders
        Where this rig keeps its sessions.
    memory
        See ``recompute``.
    """

    folders: Collection[Path]
    memory: Memory | None = None


def standing(lab: Lab, mouse: Mouse, *, curriculum: Curriculum, archive: Archive) -> Standing:
    """Return how a mouse stands, from its logs as far as they can be reached.

    Raises
    ------
    NoDecision
        A log differs from its row, the history does not fit, or the last decision on record does not follow from it.
    """
    rows = lab.session_rows(mouse.name)
    recomputed = recompute(rows, find=find_in(archive.folders).get, memory=archive.memory)
    if recomputed.differences:
        raise NoDecision(f"{mouse.name} keeps its stage: " + "\n".join(recomputed.differences))
    return _standing(lab, mouse, curriculum, rows, recomputed)


def refused_by_rows(lab: Lab, mouse: Mouse, *, curriculum: Curriculum) -> str | None:
    """Return why no stage can be given to a mouse, as far as its rows tell without its logs; None if one can."""
    rows = lab.session_rows(mouse.name)
    history = tuple(parts[-1].facts for parts in by_session(rows))
    try:
        _standing(lab, mouse, curriculum, rows, Recomputed(history, 0, (), ()))
    except NoDecision as error:
        return str(error)
    return None


def _standing(
    lab: Lab, mouse: Mouse, curriculum: Curriculum, rows: Sequence[Session], recomputed: Recomputed
) -> Standing:
    placed = placements(lab, mouse.name)
    try:
        decisions = climb(
            curriculum,
            recomputed.history,
            placements=placed,
            recorded=decisions_on_record(lab, mouse.name),
        )
    except HistoryMisfit as error:
        mend = "" if error.answer is None else f". If it was meant: {placing_command(mouse.name, error.answer)}"
        raise NoDecision(f"{mouse.name} keeps its stage: {error}{mend}") from error
    seen = tuple(shown_in(parts) for parts in by_session(rows))
    now = Standing(mouse=mouse, recomputed=recomputed, decisions=tuple(decisions), placements=tuple(placed), seen=seen)
    _refuse_other_decision(lab, now, rows)
    return now


def placing_command(mouse: str, answer: Answer) -> str:
    """Return the command that records a placement."""
    where = "--before-first" if answer.after is None else f"--after {answer.after[:ID_SHOWN]}"
    return f"rig mouse place {mouse} {answer.stage} {where} --why REASON"


def placements(lab: Lab, mouse: str) -> list[Placement]:
    """Return what operators decided about a mouse's stage, in the order they did."""
    return [
        Placement(id=row.id, after=row.after_session, stage=row.stage or "", who=row.who, reason=row.why)
        for row in lab.overrides(mouse, OverrideKind.STAGE)
    ]


def decisions_on_record(lab: Lab, mouse: str) -> dict[str | None, Decision]:
    """Return the last decision on record after each of a mouse's sessions.

    Raises
    ------
    NoDecision
        One is not written as this program writes them.
    """
    try:
        return {row.after_session: msgspec.convert(row.decision, Decision) for row in lab.decisions(mouse)}
    except msgspec.ValidationError as error:
        raise NoDecision(
            f"{mouse} keeps its stage: a decision on record can't be read ({error}); it is of another version of this "
            "program"
        ) from error


def record_decision(lab: Lab, mouse: str, decision: Decision, *, day: str) -> Decided:
    """Record a decision, unless it is the last one on record; return the row that stands for it."""
    row = Decided(
        mouse=mouse,
        day=day,
        after_session=decision.after,
        stage=decision.stage,
        from_stage=decision.from_stage,
        move=decision.move.value,
        sentence=decision.sentence,
        curriculum=str(decision.curriculum),
        decision=as_recorded(decision),
    )
    recorded = lab.decisions(mouse)
    if recorded and recorded[-1].decision == row.decision:
        return recorded[-1]
    return lab.record(row)


def as_recorded(decision: Decision) -> dict[str, Any]:
    """Return all of a decision, its evidence too, as it stands in the laboratory's row."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(decision))
    return plain


def record_log(
    lab: Lab,
    folder: Path,
    *,
    who: str,
    archive: Archive,
    day_of_session: DayOf = day_of,
    put_right: str | None = None,
) -> Session:
    """Record what a log came to: the water that was drunk, the session, what the rig judges of one with imaging.

    Water and session are there once, however often this is done.

    A log that breaks off is closed first. Whose part it is stands in the start that was recorded with the lease.

    Parameters
    ----------
    who
        Closes a log that breaks off.
    put_right
        Why rows that were withdrawn stand again, and rows that differ from the log are put right.

    Raises
    ------
    NoDecision
        The log, or that of an earlier part, can't be made into a row, or is not the one that was recorded; or the
        session still runs.
    """
    try:
        log = _closed(read_session(folder), who=who)
        parts = [*_earlier_parts(lab, log, archive=archive), log]
        first_day = [row.day for row in lab.rows(Start, session_id=parts[0].started.session_id)]
        row = project(parts, day=(first_day or [day_of_session(parts[0].started.started_at)])[0])
    except (LogError, ProjectionError) as error:
        raise NoDecision(str(error)) from error
    if put_right is not None and (was := lab.versions(row)) and was[-1].log_sha256 != row.log_sha256:
        raise NoDecision(edited(was[-1], folder))
    if (water := water_of(row)) is not None:  # before the session: once that is known, nobody looks for its water again
        _record(lab, water, put_right)
    row = _record(lab, row, put_right)
    if row.imaging:
        for verdict in judged_by_rig(log, session_id=row.session_id, alignment=found_on_streams(log)):
            lab.record(verdict)
    return row


def _record(lab: Lab, fact: AnyFact, put_right: str | None) -> AnyFact:
    return lab.record(fact) if put_right is None else lab.put_right(fact, why=put_right)


def _closed(log: SessionLog, *, who: str) -> SessionLog:
    """Return a log with an end: that of a session that crashed gets one."""
    if log.ended is not None:
        return log
    told = recover(log, by=who)
    after = read_session(log.folder)
    if after.ended is None:
        raise LogError(f"{log.folder}: {told.note or told.problem or 'has no end'}; wait until its session is over")
    return after


def _earlier_parts(lab: Lab, log: SessionLog, *, archive: Archive) -> list[SessionLog]:
    """Return the logs of the session's parts before this one, in order."""
    this = log.started.session_id
    first = next((start.part_of for start in lab.rows(Start, session_id=this)), None)
    if first is None:
        return []
    where = find_in(archive.folders)
    began = datetime.fromisoformat(log.started.started_at)

    def before(row: Session) -> bool:
        return datetime.fromisoformat(row.log_started_at) < began

    earlier = []
    for row in lab.session_rows(log.started.mouse):
        if row.session_id == first and row.log_id != this and before(row):
            if (folder := where.get(row.folder)) is None:
                raise ProjectionError(
                    f"{log.folder}: goes on with a session whose first part, {row.folder}, can't be reached; bring "
                    f"that folder to this computer"
                )
            earlier.append(read_session(folder))
    return earlier


def _refuse_other_decision(lab: Lab, now: Standing, rows: Collection[Session]) -> None:
    """Refuse where the last decision on record is not the one that follows, though nothing came in between.

    What it came to and from which figures counts, not the words: a program that is renewed may say it better.
    """
    recorded = [row for row in lab.decisions(now.mouse.name) if row.after_session == now.decision.after]
    if not recorded:
        return
    last, due = recorded[-1], now.decision
    came_later = any(row.recorded_at > last.recorded_at for row in rows)
    if came_later or last.curriculum != str(due.curriculum) or last.decision.get("placement") != due.placement:
        return  # another curriculum, an operator's word or a row that was corrected: it is decided anew
    if last.stage != due.stage or _came_to(msgspec.convert(last.decision, Decision)) != _came_to(due):
        raise NoDecision(
            f"{now.mouse.name} keeps its stage: on {last.day} it was decided: {last.sentence}; from the same sessions "
            f"it now follows: {due.sentence}. Find out what changed, then place the mouse: "
            f"rig mouse place {now.mouse.name} {due.stage} --why REASON"
        )


def _came_to(decision: Decision) -> tuple[object, ...]:
    """Return all of a decision but its words."""
    tried = [
        (
            each.dest,
            each.taken,
            [(it.values, it.session_ids) for judged in (*each.when, *each.unless) for it in judged.figures],
        )
        for each in decision.evidence
    ]
    return decision.stage, decision.from_stage, decision.move, tried, [each.session_id for each in decision.left_out]
