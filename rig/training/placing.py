"""An operator's word on a mouse's stage, and the withdrawal of what was recorded by mistake."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from rig.lab.rows import Fact, Mouse, Override, OverrideKind, Remark, Water, WaterKind, Weight
from stages.curriculum import Curriculum

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
    NOTE = "note"


def place(
    lab: Lab,
    mouse: Mouse,
    *,
    stage: str | None,
    why: str | None,
    after: str | None,
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
        The session that it follows; None for the last one.

    Raises
    ------
    Misplaced
        No such stage or session, no reason, or nothing follows in the usual order.
    """
    history = lab.sessions(mouse.name)
    if after is not None and after not in {facts.session_id for facts in history}:
        raise Misplaced(f"{mouse.name} had no session {after}; rig mouse show {mouse.name} lists its last ones")
    follows = after or (history[-1].session_id if history else None)
    of_stage = next((facts.stage for facts in history if facts.session_id == follows), None)
    suggested = None if of_stage is None else curriculum.suggested(of_stage)
    asked = stage or suggested
    if asked is None:
        raise Misplaced(f"nothing follows by itself where {mouse.name} is; name the stage")
    if asked not in curriculum.stages:
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


def withdraw(lab: Lab, mouse: str, what: Withdrawn, *, why: str) -> Fact:
    """Record that the last weight, water by hand, placement or note of a mouse does not stand; return it.

    Raises
    ------
    Misplaced
        There is none.
    """
    found: list[Fact]
    match what:
        case Withdrawn.WEIGHT:
            found = [*lab.rows(Weight, mouse=mouse)]
        case Withdrawn.WATER:
            found = [row for row in lab.rows(Water, mouse=mouse) if row.kind is not WaterKind.SESSION]
        case Withdrawn.PLACEMENT:
            found = [*lab.overrides(mouse, OverrideKind.STAGE)]
        case Withdrawn.NOTE:
            found = [*lab.rows(Remark, mouse=mouse)]
    if not found:
        raise Misplaced(f"there is no {what.value} of {mouse} to withdraw")
    last = max(found, key=lambda row: row.recorded_at)
    lab.withdraw(last, why=why)
    return last
