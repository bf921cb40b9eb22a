"""A mouse for this rig alone while its session runs, agreed on with the laboratory or, by an override, without it.

With the mouse held, what others recorded meanwhile is heard once more: a stage that was decided before that is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from rig.lab.errors import LaboratoryAway, StartRefused
from rig.lab.rows import Override, OverrideKind, Session, Start
from rig.training.begun import refused_by_starts
from rig.training.parties import Asked, Operator, Rigged
from rig.training.standing import Standing, placements
from stages.history import SessionFacts

if TYPE_CHECKING:
    from rig.lab.lab import Lab


@contextmanager
def held(
    lab: Lab,
    now: Standing,
    session_id: UUID,
    crashed: SessionFacts | None,
    *,
    asked: Asked,
    operator: Operator,
    rig: Rigged,
) -> Iterator[UUID]:
    """Have a mouse for this rig alone; without the laboratory only by an override. Gives the session's identity."""
    mouse = now.mouse.name
    why = asked.override_why
    second = None
    part_of = None if crashed is None else crashed.session_id
    if why is not None and crashed is None and had_session(lab, mouse, asked.day):
        second = Override(
            mouse=mouse,
            day=asked.day,
            kind=OverrideKind.SECOND_SESSION,
            session_id=str(session_id),
            why=why,
            who=asked.who,
        )
    with ExitStack() as stack:
        try:
            stack.enter_context(
                lab.lease(
                    mouse,
                    rig=rig.name,
                    session_id=str(session_id),
                    day=asked.day,
                    part_of=part_of,
                    override=second,
                    on_trouble=lambda words: operator.tell(f"▲ {words}"),
                )
            )
        except LaboratoryAway as error:
            if why is None:
                raise LaboratoryAway(
                    f"{error}. Whether {mouse} has a session elsewhere can't be known now; if you know that it has "
                    f"none, start it with --override --why REASON"
                ) from error
            session_id = rig.new_id()  # the laboratory may have granted the other, and its answer been lost
            lab.start_away(
                mouse, rig=rig.name, session_id=str(session_id), day=asked.day, why=why, part_of=part_of, second=second
            )
            operator.tell("▲ The laboratory is away: the session runs all the same, and is recorded there later.")
        else:
            heard = False
            try:
                _refuse_news(lab, now, str(session_id), why)
                heard = True
            finally:  # an interrupt, too: nothing was shown
                if not heard:
                    withdraw_start(lab, str(session_id), why="it was broken off before its session")
        stack.enter_context(lab.reconciling())
        yield session_id


def had_session(lab: Lab, mouse: str, day: str) -> bool:
    """Return whether a mouse had a session on a day, or a start of one."""
    not_its = {row.session_id for row in lab.overrides(mouse, OverrideKind.NOT_ITS)}
    starts = [row for row in lab.rows(Start, mouse=mouse, day=day) if row.session_id not in not_its]
    return bool(starts or lab.rows(Session, mouse=mouse, day=day))


def _refuse_news(lab: Lab, now: Standing, session_id: str, why: str | None) -> None:
    """Refuse a decision that was made before the laboratory was heard: with the mouse held, no session can come.

    Raises
    ------
    StartRefused
        Sessions or placements of the mouse were recorded that this start does not know, or its record was changed; or
        one was begun that is not on record.
    LaboratoryAway
        It was there for the lease and is not any more, and nobody has overridden that.
    """
    mouse = now.mouse.name
    try:
        lab.reconcile()
    except LaboratoryAway:
        if why is None:
            withdraw_start(lab, session_id, why="the laboratory went away before it was heard")
            raise
    if tuple(lab.sessions(mouse)) != now.history:
        withdraw_start(lab, session_id, why="other rigs had recorded sessions that were not known here")
        raise StartRefused(
            f"another rig has recorded a session of {mouse} meanwhile: start again, its stage may change"
        )
    if (missing := refused_by_starts(lab, mouse, but=session_id)) is not None:
        withdraw_start(lab, session_id, why="another session of it is not on record")
        raise StartRefused(f"{mouse} keeps its stage: {missing}")
    if tuple(placements(lab, mouse)) != now.placements or lab.mouse(mouse) != now.mouse:
        withdraw_start(lab, session_id, why="its stage or its limits were changed meanwhile")
        raise StartRefused(f"{mouse} was placed, or its record was changed, meanwhile: start again")


def withdraw_start(lab: Lab, session_id: str, *, why: str) -> None:
    """Record that a start came to nothing: it takes no day away."""
    for row in lab.rows(Start, session_id=session_id):
        lab.withdraw(row, why=why)
