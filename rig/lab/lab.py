"""What a rig asks of the laboratory.

    lab = open_lab("postgresql://rig@server/vision", replica=Path("replica.sqlite"), who="ana", host="rig-3")
    lab.record(Weight(mouse="M1", day="2026-03-02", weight_g=21.3))
    with lab.lease("M1", rig="rig-3", session_id=session_id, day="2026-03-02") as lease, lab.reconciling():
        ...                                   # the session; nothing in here raises because of a database
        lease.trouble                         # a sentence when the lease was lost or the laboratory is away
    lab.reconcile()

Recording and reading need only the rig's own file. ``lease``, ``leases`` and ``reconcile`` need the laboratory's
database and raise ``LaboratoryAway`` without it; with ``sqlite:///FILE`` as URL the two are one file, never away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from rig.lab.rows import Decided, Fact, Mouse, Override, Session, Water, Weight
from stages.history import SessionFacts

AnyFact = TypeVar("AnyFact", bound=Fact)


class MouseToday(msgspec.Struct, frozen=True, kw_only=True):
    """One mouse on one day, as ``rig today`` shows it."""

    mouse: Mouse
    weight: Weight | None
    """The last one, whenever it was."""
    water: tuple[Water, ...]
    """Of the day."""
    sessions_today: tuple[Session, ...]
    last_session: Session | None
    """The last one before the day, with the facts of all its parts."""
    decision: Decided | None
    """The last one."""
    lease: "LeaseRow | None"
    """None where nobody has the mouse, or the laboratory is away."""


class LeaseRow(msgspec.Struct, frozen=True, kw_only=True):
    """Who has a mouse. Times are seconds since 1970 by the clock of the laboratory's database."""

    mouse: str
    rig: str
    who: str
    host: str
    session_id: str
    holder: str
    """UUID of the program that holds it."""
    acquired_s: float
    beaten_s: float
    expires_s: float
    """From then on others may take the mouse over."""
    now_s: float
    """When this was read."""


class Lab(Protocol):
    def close(self) -> None: ...

    # Writing. Idempotent: the same fact twice is there once, and the row that stands is returned.
    def record(self, fact: AnyFact) -> AnyFact: ...
    def correct(self, earlier: AnyFact, *, why: str, **changes: object) -> AnyFact: ...
    def withdraw(self, earlier: AnyFact, *, why: str) -> None: ...

    # Reading: what stands now (corrections applied, withdrawn rows left out), oldest first.
    def rows(self, kind: type[AnyFact], **equal: object) -> list[AnyFact]: ...
    def history_of(self, fact: AnyFact) -> list[AnyFact]: ...
    def mice(self) -> list[Mouse]: ...
    def mouse(self, name: str) -> Mouse: ...  # LabError naming the nearest known ones
    def sessions(self, mouse: str) -> list[SessionFacts]: ...  # by started_at; one a session, parts joined
    def session_rows(self, mouse: str) -> list[Session]: ...  # one a log
    def decisions(self, mouse: str) -> list[Decided]: ...
    def overrides(self, mouse: str) -> list[Override]: ...
    def today(self, day: str) -> "Today": ...

    # The laboratory's database.
    def lease(
        self,
        mouse: str,
        *,
        rig: str,
        session_id: str,
        day: str,
        part_of: str | None = None,
        override: Override | None = None,
        limit_s: float = 60.0,
        on_trouble: Callable[[str], None] | None = None,
    ) -> AbstractContextManager["Lease"]: ...  # MouseHeld, SecondSession, StartRefused, LaboratoryAway
    def start_away(self, mouse: str, *, rig: str, session_id: str, day: str, why: str) -> None: ...
    def leases(self) -> list[LeaseRow]: ...
    def reconcile(self) -> "Reconciled": ...
    def reconciling(self, *, every_s: float = 10.0) -> AbstractContextManager["Reconciler"]: ...


def open_lab(
    url: str, *, replica: Path | None = None, who: str, host: str, now: Callable[[], datetime] | None = None
) -> Lab: ...
