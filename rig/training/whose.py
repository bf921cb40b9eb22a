"""Logs on this rig's disk that are not on record: which are taken in, and whose the others are.

What ``rig start`` began is the mouse's by the name that was shown and the lease that was held, until an operator says
that it was another mouse. Anything else has the name that somebody typed for ``rig run``: it counts, or does not, by
an operator's word with a reason.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rig.lab.rows import Override, OverrideKind, Session, Start, Water, WaterKind
from rig.log.reader import read_session
from rig.log.schema import LogError
from rig.training.projection import DayOf, day_of
from rig.training.standing import Archive, NoDecision, record_log
from rig.training.unrecorded import Unrecorded, unrecorded

if TYPE_CHECKING:
    from rig.lab.lab import Lab


def take_in_unrecorded(
    lab: Lab, mouse: str, *, simulated: bool, who: str, archive: Archive, day_of_session: DayOf = day_of
) -> list[Session]:
    """Record the logs of a mouse that ``rig start`` began, that lie on this rig's disk and are not on record.

    Parameters
    ----------
    simulated
        See ``unrecorded``.

    Returns
    -------
    Their rows.

    Raises
    ------
    NoDecision
        As ``record_log``.
    """
    began = {row.session_id for row in lab.rows(Start, mouse=mouse)}
    found = [each for each in not_on_record(lab, mouse, simulated=simulated, archive=archive) if each.log_id in began]
    return [record_log(lab, each.folder, who=who, archive=archive, day_of_session=day_of_session) for each in found]


def not_on_record(lab: Lab, mouse: str, *, simulated: bool, archive: Archive) -> list[Unrecorded]:
    """Return the logs of a mouse on this rig's disk that are not on record and that nobody has disowned."""
    known = {row.log_id for row in lab.session_rows(mouse)}
    known |= {row.session_id for row in lab.overrides(mouse, OverrideKind.NOT_ITS) if row.session_id is not None}
    return unrecorded(archive.folders, mouse=mouse, simulated=simulated, known=known)


def refuse_not_begun(mouse: str, found: Sequence[Unrecorded], *, day_of_session: DayOf) -> None:
    """Refuse to decide while there are logs of a mouse that ``rig start`` did not begin, and nobody says whose.

    Raises
    ------
    NoDecision
        There are; gives the commands that settle it.
    """
    told = [
        f"{each.folder} holds a session of {mouse} on {day_of_session(each.started.started_at)} at "
        f"{each.started.stage} that was not started by rig start and is not on record. If it was {mouse}, count it "
        f"with its exposure and water: rig mouse take-in {mouse} {shlex.quote(str(each.folder))} --why REASON; if not: "
        f"rig mouse disown {mouse} {shlex.quote(str(each.folder))} --why REASON"
        for each in found
    ]
    if told:
        raise NoDecision(f"{mouse} keeps its stage: " + "\n".join(told))


def take_in(
    lab: Lab,
    mouse: str,
    folder: Path,
    *,
    day: str,
    why: str,
    who: str,
    archive: Archive,
    day_of_session: DayOf = day_of,
) -> Session:
    """Record the log of a session that ``rig start`` did not begin, by an operator's word that it was the mouse.

    A session that was disowned counts again, and a row that is not what its log says is put right.

    Parameters
    ----------
    day
        Today.

    Raises
    ------
    NoDecision
        As ``record_log``; or it is not a session of this mouse's, or of the other world (simulated or real), or not
        the log that was recorded.
    """
    log_id, simulated = _whose(mouse, folder)
    others = [row for row in lab.session_rows(mouse) if row.simulated != simulated]
    if others:
        here, there = ("simulated", "real") if simulated else ("real", "simulated")
        raise NoDecision(f"{folder} is of a {here} rig, and {mouse} had its sessions on {there} ones: not taken in")
    for row in lab.overrides(mouse, OverrideKind.NOT_ITS):
        if row.session_id == log_id:
            lab.withdraw(row, why=why)
    session = record_log(lab, folder, who=who, archive=archive, day_of_session=day_of_session, put_right=why)
    lab.record(Override(mouse=mouse, day=day, kind=OverrideKind.MISFIT, session_id=log_id, why=why))
    return session


def disown(lab: Lab, mouse: str, folder: Path, *, day: str, why: str) -> list[Session]:
    """Record that the log in a folder, though it has the mouse's name, is not of this mouse.

    If it is on record as one of the mouse's, its session does not stand any more, nor the other parts of it, the water
    drunk in them, and where the mouse was placed after it. Done again, it goes on where it was broken off.

    Returns
    -------
    The rows that stood for the session until now; none, if it was not on record.

    Raises
    ------
    NoDecision
        It has another name.
    """
    log_id, _ = _whose(mouse, folder)
    rows = lab.session_rows(mouse)
    session_id = next((row.session_id for row in rows if row.log_id == log_id), None)
    parts = [row for row in rows if row.session_id == session_id]
    for part in [log_id] if not parts else [row.log_id for row in parts]:
        lab.record(Override(mouse=mouse, day=day, kind=OverrideKind.NOT_ITS, session_id=part, why=why))
        for water in lab.rows(Water, mouse=mouse, kind=WaterKind.SESSION, session_id=part):
            lab.withdraw(water, why=why)
    if parts:
        for placed in lab.rows(Override, mouse=mouse, kind=OverrideKind.STAGE, after_session=session_id):
            lab.withdraw(placed, why=why)
    for row in parts:  # last: as long as it stands, all of this is done again
        lab.withdraw(row, why=why)
    return parts


def _whose(mouse: str, folder: Path) -> tuple[str, bool]:
    """Return a log's id and whether it is of a simulated rig; ``NoDecision`` if it hasn't this mouse's name."""
    try:
        started = read_session(folder).started
    except LogError as error:
        raise NoDecision(str(error)) from error
    if started.mouse != mouse:
        raise NoDecision(f"{folder} holds a session of {started.mouse}, not of {mouse}; look at the folder's name")
    return started.session_id, started.simulated
