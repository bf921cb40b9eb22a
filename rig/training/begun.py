"""Sessions that were begun, and of which nothing is on record.

One runs still, broke off on a rig that was switched off before it recorded it, or is on record there and nowhere else
since the laboratory was away. The mouse has seen its pictures and drunk its water: no stage is given on a history that
lacks it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rig.lab.rows import OverrideKind, Start

if TYPE_CHECKING:
    from rig.lab.lab import Lab


def not_recorded(lab: Lab, mouse: str, *, but: str | None = None) -> list[Start]:
    """Return the starts of a mouse whose logs are not on record, and that nobody has disowned or withdrawn.

    Parameters
    ----------
    but
        A session that is known to be about to run.
    """
    known = {row.log_id for row in lab.session_rows(mouse)}
    known |= {row.session_id for row in lab.overrides(mouse, OverrideKind.NOT_ITS) if row.session_id is not None}
    return [row for row in lab.rows(Start, mouse=mouse) if row.session_id not in known and row.session_id != but]


def refused_by_starts(lab: Lab, mouse: str, *, but: str | None = None) -> str | None:
    """Return why no stage can be given to a mouse that was begun with and never recorded; None if it was not."""
    found = not_recorded(lab, mouse, but=but)
    if not found:
        return None
    last = found[-1]
    n = f" ({len(found)} such sessions)" if len(found) > 1 else ""
    return (
        f"its session of {last.day}, begun on {last.rig}, is not on record{n}: it runs still, or that rig has not "
        f"recorded it or not sent it. Once it is over, rig start {mouse} there does both, or rig mouse take-in {mouse} "
        f"FOLDER --why REASON where its folder is; if nothing was shown: rig mouse withdraw {mouse} start --why REASON"
    )
