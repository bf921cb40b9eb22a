"""An operator's word on a mouse's stage, and the withdrawal of what was recorded by mistake."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from rig.lab.rows import Fact, Mouse, Override, OverrideKind, Remark, Water, WaterKind, Weight
from rig.training.begun import not_recorded, refused_by_starts
from stages.curriculum import Curriculum
from stages.history import SessionFacts

if TYPE_CHECKING:
    from rig.lab.lab import Lab

IN_ORDER = "next in the usual order"


class Misplaced(Exception):
    """A placement that can't be, or nothing to withdraw; says why and what to do."""


class Withdrawn(StrEnum):
    """What may be taken back: the last one that was recorded of it."""

    WEIGHT = "weight"
    WATER = "water"
    """Given by hand; what a session gave stands in its log."""
    PLACEMENT = "placement"
    START = "start"
    """Of a session that is not on record: nothing was shown in it."""
    NOTE = "note"


def place(
    lab: Lab,
    mouse: Mouse,
    *,
    stage: str | None,
    why: str | None,
    after: str | None,
    before_first: bool = False,
    curriculum: Curriculum,
    day: str,
) -> Override:
    """Record where an operator places a mouse.

    Parameters
    ----------
    stage
        None for the next one in the usual order.
    why
        May be left out in the usual order, which is a reason by itself.
    after
        The session that it follows, its id or the beginning of it; None for the last one.
    before_first
        It follows no session: it says what the first one was to be.

    Raises
    ------
    Misplaced
        No such stage or session, no reason, or nothing follows in the usual order; or the last session is not on
        record, so that nobody knows what it would follow.
    """
    history = lab.sessions(mouse.name)
    if before_first and after is not None:
        raise Misplaced("--before-first and --after say different things; give one of them")
    if after is None and not before_first and (missing := refused_by_starts(lab, mouse.name)) is not None:
        raise Misplaced(f"{mouse.name} can't be placed after its last session: {missing}")
    last = history[-1].session_id if history and not before_first else None
    follows = last if after is None else _session(history, mouse.name, after)
    of_stage = next((facts.stage for facts in history if facts.session_id == follows), None)
    suggested = None if of_stage is None else curriculum.suggested(of_stage)
    asked = stage or suggested
    if asked is None:
        raise Misplaced(f"nothing follows by itself where {mouse.name} is; name the stage")
    if asked not in {*curriculum.stages, *(facts.stage for facts in history)}:
        raise Misplaced(f"there is no stage {asked} for {mouse.name}; there are {', '.join(curriculum.stages)}")
    if not (why or "").strip() and asked != suggested:
        raise Misplaced(f"{asked} is not the next one of the usual order; give the reason with --why")
    return lab.record(
        Override(
            mouse=mouse.name,
            day=day,
            kind=OverrideKind.STAGE,
            stage=asked,
            after_session=follows,
            why=(why or "").strip() or IN_ORDER,
        )
    )


def skipped(curriculum: Curriculum, history: Sequence[SessionFacts], placed: Override) -> str | None:
    """Return in a sentence which stages of a curriculum's order a placement leaves out; None if none."""
    before = next((facts.stage for facts in history if facts.session_id == placed.after_session), None)
    order = list(curriculum.stages)
    if placed.stage not in order or (before is not None and before not in order):
        return None
    first = 0 if before is None else order.index(before) + 1
    left_out = order[first : order.index(placed.stage)]
    if not left_out:
        return None
    n = f"{len(left_out)} stages, {left_out[0]} to {left_out[-1]}" if len(left_out) > 1 else left_out[0]
    return f"this leaves out {n}"


def _session(history: Sequence[SessionFacts], mouse: str, wanted: str) -> str:
    """Return the id of the session whose id begins so."""
    found = [facts.session_id for facts in history if facts.session_id.startswith(wanted)]
    if not found or not wanted:
        raise Misplaced(f"{mouse} had no session {wanted}; rig mouse show {mouse} lists its last ones")
    if len(found) > 1:
        raise Misplaced(f"{len(found)} sessions of {mouse} begin with {wanted}; give more of the id")
    return found[0]


def withdraw(lab: Lab, mouse: str, what: Withdrawn, *, why: str) -> Fact:
    """Record that the last weight, water by hand, placement, start or note of a mouse does not stand; return it.

    Raises
    ------
    Misplaced
        There is none; or the start is of a session that runs.
    LaboratoryAway
        Whether the session of a start runs can't be known.
    """
    found: list[Fact]
    match what:
        case Withdrawn.WEIGHT:
            found = [*lab.rows(Weight, mouse=mouse)]
        case Withdrawn.WATER:
            found = [row for row in lab.rows(Water, mouse=mouse) if row.kind is not WaterKind.SESSION]
        case Withdrawn.PLACEMENT:
            found = [*lab.overrides(mouse, OverrideKind.STAGE)]
        case Withdrawn.START:
            if held := [row for row in lab.leases() if row.mouse == mouse and not row.expired]:
                raise Misplaced(f"{mouse} is held by {held[0].words}: its session runs, wait until it is over")
            found = [*not_recorded(lab, mouse)]
        case Withdrawn.NOTE:
            found = [*lab.rows(Remark, mouse=mouse)]
    if not found:
        raise Misplaced(f"there is no {what.value} of {mouse} to withdraw")
    last = max(found, key=lambda row: row.recorded_at)
    lab.withdraw(last, why=why)
    return last
