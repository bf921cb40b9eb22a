"""One mouse, one rig: who has a mouse, and since when.

Rules
    * A lease is had by one statement: inserted if nobody has the mouse, taken over if the holder's heart has stood
      still for the lease's limit, else refused. Two can't both have it, however many ask at once.
    * Only the database's clock counts, read when the row is held: rigs' clocks may be wrong.
    * With the lease, in one transaction, the start is recorded and held against the mouse's other starts of the day.
    * The heart beats in a thread of its own, on connections of its own. What goes wrong there is said, never raised:
      the session goes on, since the mouse is on the rig.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from rig.lab.corrections import standing
from rig.lab.errors import LabError, LaboratoryAway, MouseHeld, SecondSession, StartRefused
from rig.lab.rows import Fact, Override, OverrideKind, Session, Start
from rig.lab.store import Store
from rig.lab.tables import LEASES_TABLE
from stages.events import EndReason

LIMIT_S = 60.0
"""How long a heart may stand still before others may take the mouse: longer than a restart of the server takes."""
BEATS_PER_LIMIT = 6
_FIRST_PAUSE_S = 0.05


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

    @property
    def expired(self) -> bool:
        """Whether others may take the mouse over."""
        return self.expires_s <= self.now_s

    @property
    def words(self) -> str:
        """Who has the mouse since when, as an operator reads it."""
        beat = f"its heart beat {self.now_s - self.beaten_s:.0f} s ago"
        return f"{self.rig} ({self.who} on {self.host}) since {_time(self.acquired_s)}; {beat}"


def leases(store: Store) -> list[LeaseRow]:
    """Return all leases, expired ones too."""
    with store.reading() as connection:
        return _read(store, connection)


def acquire(
    store: Store,
    start: Start,
    *,
    holder: str,
    limit_s: float,
    known: Sequence[Fact],
    override: Override | None,
) -> None:
    """Take a mouse for a session, and record the start.

    A server that has as many connections as it allows refuses more: it is asked again for as long as a call may take.

    Parameters
    ----------
    start
        Complete; its author is the lease's.
    known
        Rows of this mouse and day that the rig has and the laboratory may lack: recorded first.
    override
        Complete; what lets a second session start on one day.

    Raises
    ------
    MouseHeld
        Somebody else has it.
    SecondSession
        The mouse had a session that day, and there is no override.
    StartRefused
        A part of a session that is none, or that did not crash.
    LaboratoryAway, LabError
        See ``Store``.
    """
    until_s, pause_s = time.monotonic() + store.call_s, _FIRST_PAUSE_S
    while True:
        try:
            with store.writing() as connection:
                _take(store, connection, start, holder=holder, limit_s=limit_s)
                for kind in (Start, Session, Override):
                    store.insert_into(connection, kind, [row for row in known if isinstance(row, kind)])
                if override is not None:
                    store.insert_into(connection, Override, [override])
                refuse_second(store, connection, start, override=override)
                store.insert_into(connection, Start, [start])
            return
        except LaboratoryAway:
            if time.monotonic() >= until_s:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 1.0)


def refuse_second(store: Store, connection: Connection, start: Start, *, override: Override | None) -> None:
    """Refuse a start that is the mouse's second of the day, but for a part of a crashed one or with an override.

    Raises
    ------
    SecondSession, StartRefused
        See ``acquire``.
    """
    day = {"mouse": start.mouse, "day": start.day}
    overrides = standing(store.find_in(connection, Override, mouse=start.mouse))
    not_its = {row.session_id for row in overrides if row.kind is OverrideKind.NOT_ITS and row.mouse == start.mouse}
    starts = [
        row
        for row in standing(store.find_in(connection, Start, **day))
        if _of(row, day) and row.session_id not in not_its
    ]
    sessions = [row for row in standing(store.find_in(connection, Session, **day)) if _of(row, day)]
    others = {row.part_of or row.session_id: row.rig for row in starts if row.session_id != start.session_id}
    others |= {row.session_id: row.rig for row in sessions if row.log_id != start.session_id}
    if start.part_of is not None:
        _refuse_part(start, others, [row for row in sessions if row.session_id == start.part_of])
    elif others and (override is None or override.kind is not OverrideKind.SECOND_SESSION or not _of(override, day)):
        session, rig = next(iter(others.items()))
        raise SecondSession(
            f"{start.mouse} had a session on {start.day} already ({session} on {rig}); a second one on a day needs an "
            "override with a reason and a name, or is the second part of one that crashed"
        )


def _refuse_part(start: Start, others: dict[str, str], parts: list[Session]) -> None:
    if start.part_of not in others:
        raise StartRefused(
            f"{start.mouse} had no session {start.part_of} on {start.day} that could be continued; a session is "
            "continued on its own day, under the identity of its first part"
        )
    if parts and (last := max(parts, key=lambda row: datetime.fromisoformat(row.log_started_at))).ended != (
        EndReason.CRASHED
    ):
        raise StartRefused(
            f"session {start.part_of} of {start.mouse} did not crash, it ended by itself ({last.ended}): it can't be "
            "continued; a second session on a day needs an override with a reason and a name"
        )


def _take(store: Store, connection: Connection, start: Start, *, holder: str, limit_s: float) -> None:
    table, now_s = LEASES_TABLE, store.clock_s()
    insert = sqlite.insert(table) if store.is_file else postgresql.insert(table)
    values: dict[str, Any] = {
        "mouse": start.mouse,
        "rig": start.rig,
        "who": start.who,
        "host": start.host,
        "session_id": start.session_id,
        "holder": holder,
        "acquired_s": now_s,
        "beaten_s": now_s,
        "expires_s": now_s + limit_s,
    }
    free = sa.or_(table.c.expires_s <= now_s, table.c.holder == holder)
    taken = insert.values(values).on_conflict_do_update(index_elements=["mouse"], set_=values, where=free)
    if connection.execute(taken.returning(table.c.mouse)).first() is not None:
        return
    held = _read(store, connection, mouse=start.mouse)
    if not held:
        raise MouseHeld(f"{start.mouse} was let go of by another rig this very moment: try again", free_in_s=0.0)
    free_in_s = max(0.0, held[0].expires_s - held[0].now_s)
    raise MouseHeld(
        f"{start.mouse} is held by {held[0].words}. If that session is dead, the mouse may be taken over in "
        f"{free_in_s:.0f} s",
        free_in_s=free_in_s,
    )


class Lease:
    """A mouse that this program has, and the heart that says so.

    Parameters
    ----------
    on_trouble
        Called from the heart's thread with a sentence when the laboratory is away, and when the lease was lost. Must
        not raise.
    """

    def __init__(
        self, store: Store, start: Start, *, holder: str, limit_s: float, on_trouble: Callable[[str], None] | None
    ) -> None:
        self.start = start
        """As it was recorded; ``Lab.withdraw`` it if nothing was shown to the mouse."""
        self.holder = holder
        self.trouble: str | None = None
        """What is wrong now: the laboratory is away, or the lease was lost."""
        self.lost = False
        """Whether somebody else has taken the mouse over, or the lease was removed; for good."""
        self._store = store
        self._limit_s = limit_s
        self._on_trouble = on_trouble
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lease of {start.mouse}", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Let the mouse go; where the laboratory is away, the lease ends by itself at its limit."""
        self._stop.set()
        self._thread.join()
        try:
            with self._store.writing() as connection:
                connection.execute(sa.delete(LEASES_TABLE).where(*self._mine()))
        except LabError as error:
            self._say(f"{self.start.mouse} could not be let go: {error}; its lease ends within {self._limit_s:.0f} s")

    def _run(self) -> None:
        while not self.lost and not self._stop.wait(self._limit_s / BEATS_PER_LIMIT):
            try:
                with self._store.writing() as connection:
                    self._beat(connection)
            except LabError as error:
                self._say(
                    f"the lease of {self.start.mouse} can't be renewed: {error}. The session goes on; if this lasts "
                    f"for {self._limit_s:.0f} s, another rig may take the mouse"
                )

    def _beat(self, connection: Connection) -> None:
        now_s = self._store.clock_s()
        beat = sa.update(LEASES_TABLE).where(*self._mine())
        beaten = connection.execute(beat.values(beaten_s=now_s, expires_s=now_s + self._limit_s))
        if beaten.rowcount == 1:
            self.trouble = None
            return
        self.lost = True
        has = _read(self._store, connection, mouse=self.start.mouse)
        whose = f"{has[0].words} has it now" if has else "nobody has it now"
        self._say(f"the lease of {self.start.mouse} is lost: {whose}. Is the mouse on this rig, and on no other?")

    def _mine(self) -> tuple[sa.ColumnElement[bool], ...]:
        return LEASES_TABLE.c.mouse == self.start.mouse, LEASES_TABLE.c.holder == self.holder

    def _say(self, sentence: str) -> None:
        before, self.trouble = self.trouble, sentence
        if self._on_trouble is not None and (before is None or self.lost):
            self._on_trouble(sentence)


def _read(store: Store, connection: Connection, **equal: str) -> list[LeaseRow]:
    table = LEASES_TABLE
    query = sa.select(table, store.clock_s().label("now_s")).order_by(table.c.mouse)
    rows = connection.execute(query.where(*(table.c[name] == value for name, value in equal.items())))
    return [LeaseRow(**{str(name): value for name, value in row.items()}) for row in rows.mappings()]


def _of(row: Start | Session | Override, day: dict[str, str]) -> bool:
    return row.mouse == day["mouse"] and row.day == day["day"]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
