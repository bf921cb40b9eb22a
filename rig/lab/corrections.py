"""What stands, of rows that correct each other: a fold that gives the same on every database with the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from rig.lab.rows import Fact

AnyFact = TypeVar("AnyFact", bound=Fact)


def standing(rows: Iterable[AnyFact]) -> list[AnyFact]:
    """Return the rows that stand, in the order in which their first versions were recorded.

    Where two rigs corrected one row without knowing of each other, the later correction stands. A correction whose
    earlier row has not arrived yet stands for itself.
    """
    known = {row.id: row for row in rows}
    corrected = {row.corrects for row in known.values()}
    last: dict[str, AnyFact] = {}
    for row in sorted(known.values(), key=_when):
        if row.id not in corrected:
            last[first_of(row, known).id] = row
    in_order = sorted(last, key=lambda identity: _when(known[identity]))
    return [last[identity] for identity in in_order if not last[identity].withdrawn]


def first_of(row: AnyFact, known: Mapping[str, AnyFact]) -> AnyFact:
    """Return the row that began the corrections which led to this one."""
    passed = {row.id}
    while (earlier := known.get(row.corrects or "")) is not None and earlier.id not in passed:
        passed.add(earlier.id)
        row = earlier
    return row


def _when(row: Fact) -> tuple[str, str]:
    return row.recorded_at, row.id
