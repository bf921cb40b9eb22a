"""Which stage a mouse gets next, and why: a function of its curriculum, its sessions and its operators' placements.

Rules
    * After each session the transitions of its stage are tried in order; the first whose criteria hold is taken, else
      the mouse stays. Nothing else moves it but a ``Placement``, which names who and why.
    * A session that hardly ran (``counts_from_share_of_task``, ours: the regimen says nothing) moves nobody and is left
      out of every window; the sentence says so. One that ended by its limit of water is whole, however soon.
    * No decision on a wrong history: it is walked through from its first session, and each must have run the stage that
      was due. ``HistoryMisfit`` names the first that did not, and the mouse keeps its stage until somebody has looked.
    * A curriculum that is changed in mid-training decides from the last session on. What was decided before by another
      one stands as it was recorded: the session that followed ran what was due then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType

import msgspec

from stages.considered import Considered, held, moved, tried_on
from stages.curriculum import Curriculum, CurriculumId, TransitionKind
from stages.events import EndReason
from stages.history import SessionFacts
from stages.judgement import Judgement, figure_text
from stages.misfits import Answer, HistoryMisfit, named, refuse_impossible


class Move(StrEnum):
    """What a decision does to the mouse."""

    FIRST = "first"
    ADVANCE = "advance"
    HOLD = "hold"
    LAPSE = "lapse"
    PLACED = "placed"


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's override: the stage of the session that follows."""

    id: str
    after: str | None
    """The session that it follows; None: before the first. Of several after one session the last given is in force."""
    stage: str
    who: str
    reason: str


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A session that hardly ran."""

    session_id: str
    day: str
    ran: str
    """How much of its task, in words: ``12.0 of 60 min``."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The stage of a mouse's next session, and why."""

    stage: str
    from_stage: str | None
    """The stage of the last session; None before the first."""
    move: Move
    sentence: str
    evidence: tuple[Considered, ...]
    left_out: tuple[LeftOut, ...] = ()
    """Sessions that hardly ran, among those the evidence is taken from."""
    suggestion: str | None = None
    """Where an operator would place the mouse next, if the order is kept; the curriculum does not do it."""
    after: str | None
    """The session it follows; None before the first."""
    placement: str | None = None
    """The id of the placement in force."""
    curriculum: CurriculumId


NONE_BEFORE: Mapping[str | None, Decision] = MappingProxyType({})
"""No decision on record: all are made anew."""


def decide(
    curriculum: Curriculum,
    history: Sequence[SessionFacts],
    *,
    placements: Sequence[Placement] = (),
    recorded: Mapping[str | None, Decision] = NONE_BEFORE,
) -> Decision:
    """Return the stage of the mouse's next session.

    Parameters
    ----------
    history
        All sessions of one mouse, oldest first.
    placements
        All overrides, in the order they were made.
    recorded
        The last decision on record after each session; None: before the first. Only those that another curriculum made
        are looked at.

    Raises
    ------
    HistoryMisfit
        The sessions don't follow from the curriculum and the placements, or hold what can't be.
    """
    return climb(curriculum, history, placements=placements, recorded=recorded)[-1]


def climb(
    curriculum: Curriculum,
    history: Sequence[SessionFacts],
    *,
    placements: Sequence[Placement] = (),
    recorded: Mapping[str | None, Decision] = NONE_BEFORE,
) -> list[Decision]:
    """Return every decision of a mouse's life: one before its first session, one after each; errors as ``decide``."""
    refuse_impossible(history)
    in_force = _in_force(curriculum, history, placements)
    identity = curriculum.identity()
    last = history[-1].session_id if history else None
    by_another = {
        after: each for after, each in recorded.items() if after != last and each.curriculum.sha256 != identity.sha256
    }
    first = by_another.get(None) or _first(curriculum, identity)
    decisions = [_placed(curriculum, first, in_force.get(None))]
    for n, session in enumerate(history):
        due = decisions[-1]
        if session.stage != due.stage:
            raise HistoryMisfit(
                f"{named(session)} ran {session.stage}, but {due.stage} was due ({due.sentence}): if it was meant, "
                "record a placement with its reason, else find out whose session it is",
                answer=Answer(session.stage, due.after),
            )
        own = by_another.get(session.session_id) or _decided(curriculum, identity, history[: n + 1])
        decisions.append(_placed(curriculum, own, in_force.get(session.session_id)))
    if decisions[-1].stage not in curriculum.stages:
        raise HistoryMisfit(
            f"{named(history[-1])} ran {history[-1].stage}, which {identity} doesn't have: record a placement at one "
            "of its stages"
        )
    return decisions


def counts(curriculum: Curriculum, session: SessionFacts) -> bool:
    """Return whether a session ran long enough to move a mouse; who has drunk all it may has done its task."""
    least_min = curriculum.counts_from_share_of_task * session.planned_min
    return session.ended == EndReason.VOLUME or session.task_min >= least_min


def _in_force(
    curriculum: Curriculum, history: Sequence[SessionFacts], placements: Sequence[Placement]
) -> dict[str | None, Placement]:
    """Return the placement in force after each session that has one."""
    known = {session.session_id for session in history}
    # an earlier curriculum may have had other stages
    known_stages = {*curriculum.stages, *(session.stage for session in history)}
    ids: set[str] = set()
    for each in placements:
        if not (each.who.strip() and each.reason.strip()):
            raise HistoryMisfit(f"placement {each.id} at {each.stage} lacks its reason or its name; both are needed")
        if each.id in ids:
            raise HistoryMisfit(f"placement {each.id} is there twice; each is one row")
        ids.add(each.id)
        if each.stage not in known_stages:
            raise HistoryMisfit(
                f"placement {each.id} by {each.who} is at {each.stage}, which {curriculum.identity()} doesn't have"
            )
        if each.after is not None and each.after not in known:
            raise HistoryMisfit(
                f"placement {each.id} by {each.who} at {each.stage} follows session {each.after}, which isn't in the "
                "history: a session is missing, or the placement is another mouse's"
            )
    return {each.after: each for each in placements}


def _first(curriculum: Curriculum, identity: CurriculumId) -> Decision:
    return Decision(
        stage=curriculum.first,
        from_stage=None,
        move=Move.FIRST,
        sentence=f"begins at {curriculum.first}: no session yet",
        evidence=(),
        suggestion=curriculum.suggested(curriculum.first),
        after=None,
        curriculum=identity,
    )


def _decided(curriculum: Curriculum, identity: CurriculumId, history: Sequence[SessionFacts]) -> Decision:
    """Return what the curriculum says after the last of these sessions."""
    last = history[-1]
    if not counts(curriculum, last):
        short = _left_out(curriculum, last)
        needed_min = curriculum.counts_from_share_of_task * last.planned_min
        sentence = f"held at {last.stage}: today's session ran {short.ran} and does not count; needs {needed_min:g} min"
        return _at(curriculum, identity, last, last.stage, Move.HOLD, sentence, (), left_out=(short,))
    counted = [session for session in history if counts(curriculum, session)]
    tried: list[Considered] = []
    for transition in curriculum.automatic(last.stage):
        tried.append(tried_on(transition, counted, stage=last.stage))
        if tried[-1].taken:
            break
    left_out = _left_out_of(curriculum, history, tried)
    taken = tried[-1] if tried and tried[-1].taken else None
    stage = last.stage if taken is None else taken.dest
    move = Move.HOLD if taken is None else Move.ADVANCE if taken.kind is TransitionKind.ADVANCE else Move.LAPSE
    sentence = held(last.stage, tried, curriculum.suggested(last.stage)) if taken is None else moved(last.stage, taken)
    if left_out:
        sentence += f" (left out, too short: {', '.join(f'{each.day} ran {each.ran}' for each in left_out)})"
    return _at(curriculum, identity, last, stage, move, sentence, tuple(tried), left_out=left_out)


def _at(
    curriculum: Curriculum,
    identity: CurriculumId,
    last: SessionFacts,
    stage: str,
    move: Move,
    sentence: str,
    evidence: tuple[Considered, ...],
    *,
    left_out: tuple[LeftOut, ...],
) -> Decision:
    return Decision(
        stage=stage,
        from_stage=last.stage,
        move=move,
        sentence=sentence,
        evidence=evidence,
        left_out=left_out,
        suggestion=curriculum.suggested(stage),
        after=last.session_id,
        curriculum=identity,
    )


def _placed(curriculum: Curriculum, own: Decision, placement: Placement | None) -> Decision:
    """Return the decision with an operator's placement in force; what the curriculum says stays in the sentence."""
    if placement is None or own.placement == placement.id:
        return own
    return msgspec.structs.replace(
        own,
        stage=placement.stage,
        move=Move.PLACED,
        sentence=f"placed at {placement.stage} by {placement.who}: {placement.reason} (by the curriculum: "
        f"{own.sentence})",
        suggestion=curriculum.suggested(placement.stage),
        placement=placement.id,
    )


def _left_out(curriculum: Curriculum, session: SessionFacts) -> LeftOut:
    limit_min = curriculum.counts_from_share_of_task * session.planned_min
    ran = figure_text(session.task_min, beside=[limit_min], decimals=1)
    return LeftOut(session_id=session.session_id, day=session.day, ran=f"{ran} of {session.planned_min:g} min")


def _left_out_of(
    curriculum: Curriculum, history: Sequence[SessionFacts], tried: Sequence[Considered]
) -> tuple[LeftOut, ...]:
    """Return the short sessions since the first one that the evidence is taken from."""
    used = {of for each in tried for judged in (*each.when, *each.unless) for of in _sessions_of(judged)}
    since = next((n for n, session in enumerate(history) if session.session_id in used), len(history))
    return tuple(_left_out(curriculum, session) for session in history[since:] if not counts(curriculum, session))


def _sessions_of(judged: Judgement) -> Iterable[str]:
    for figure in judged.figures:
        yield from figure.session_ids
