"""What a rig asks of the laboratory.

    lab = open_lab("postgresql://rig@server/vision", replica=Path("rig-3.sqlite"), who="ana", host="rig-3", now=utc_now)
    lab.reconcile()                           # what other rigs recorded; raises LaboratoryAway
    lab.record(Weight(mouse="M1", day="2026-03-02", weight_g=21.3))
    with lab.lease("M1", rig="rig-3", session_id=session_id, day="2026-03-02") as lease, lab.reconciling():
        ...                                   # the session; nothing in here raises because of a database
    lab.record(Water(mouse="M1", day="2026-03-02", kind=WaterKind.SESSION, volume_ml=0.42, session_id=session_id))

Recording and reading need only the rig's own file. ``lease``, ``leases`` and ``reconcile`` need the laboratory's
database and raise ``LaboratoryAway`` without it. With ``sqlite:///FILE`` the two are one file, and never away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar, cast
from uuid import uuid4

import msgspec

from rig.config.load import nearest
from rig.lab.corrections import first_of, standing
from rig.lab.errors import LabError, LaboratoryAway
from rig.lab.leases import LIMIT_S, Lease, LeaseRow, acquire, leases, refuse_second
from rig.lab.migrate import migrate
from rig.lab.reconcile import Reconciled, Reconciler, reconcile
from rig.lab.rows import DECODERS, Decided, Fact, Mouse, Override, OverrideKind, Session, Start, Water, Weight
from rig.lab.store import CALL_S, CONNECT_S, Store
from stages.history import SessionFacts

AnyFact = TypeVar("AnyFact", bound=Fact)

RECONCILE_EVERY_S = 10.0
NUL = rb"\u0000"
"""In JSON, the one character that PostgreSQL can't keep."""


class MouseToday(msgspec.Struct, frozen=True, kw_only=True):
    """One mouse on one day."""

    mouse: Mouse
    weight: Weight | None
    """The last one up to the day, whenever it was."""
    water: tuple[Water, ...]
    """Of the day."""
    sessions: tuple[Session, ...]
    """Of the day, a row a log."""
    last_session: Session | None
    """The last one before the day; its facts are those of all its parts."""
    decision: Decided | None
    """The last one."""
    lease: LeaseRow | None
    """None where nobody has the mouse, or the laboratory is away."""


class Today(msgspec.Struct, frozen=True, kw_only=True):
    """All mice on one day, by name."""

    day: str
    mice: tuple[MouseToday, ...]
    away: str | None
    """Why nothing is known of leases, and of what other rigs did since they last were reconciled."""


def open_lab(
    url: str,
    *,
    replica: Path | None = None,
    who: str,
    host: str,
    now: Callable[[], datetime],
    connect_s: int = CONNECT_S,
    call_s: float = CALL_S,
) -> Lab:
    """Open the laboratory; the rig's own file is made if missing, the laboratory's tables when it is first reached.

    Parameters
    ----------
    url
        ``sqlite:///FILE``, or ``postgresql://USER@HOST/NAME``.
    replica
        The rig's own file, with a PostgreSQL; its folder is made if missing.
    who, host
        Whose facts are recorded, and on which computer.
    now
        The present time, with its time zone.
    connect_s, call_s
        How long a server may take to accept, and to answer.

    Raises
    ------
    LabError
        No such kind of database, or the file can't be used.
    """
    there = Store(url, connect_s=connect_s, call_s=call_s)
    if there.is_file:
        here = there
    elif replica is None:
        raise LabError(f"{there.name} is for several rigs: say where this rig's own file is to be")
    else:
        replica.parent.mkdir(parents=True, exist_ok=True)
        here = Store(f"sqlite:///{replica.absolute()}", call_s=call_s)
    migrate(here)
    return Lab(here, there, who=who, host=host, now=now)


class Lab:
    """The laboratory, as one rig sees it; see ``open_lab``. Safe to use from any thread."""

    def __init__(self, here: Store, there: Store, *, who: str, host: str, now: Callable[[], datetime]) -> None:
        self._here = here
        self._there = there
        self._renewed = here is there
        self._who = who
        self._host = host
        self._now = now

    def close(self) -> None:
        """Give up what is kept open."""
        self._here.close()
        self._there.close()

    # Writing: into the rig's own file. Once it has returned, the row outlives a kill and a power cut.

    def record(self, fact: AnyFact) -> AnyFact:
        """Record a fact, and return the row that stands for it: with what was left out, or as it was recorded before.

        Raises
        ------
        LabError
            A field is none of its kind; the same fact was recorded with another content (a mouse of that name, the
            water of that session): ``correct`` it; or it was withdrawn: ``correct`` its last version with
            ``withdrawn=False``.
        """
        row = self._complete(fact)
        self._here.insert([row])
        versions = self.versions(row)
        stands = standing(versions)
        if not stands and not row.withdrawn:
            raise LabError(
                f"this was recorded in {row.table} before, and withdrawn by {versions[-1].who} ({versions[-1].why}): "
                "put it back by a correction, not by recording it again"
            )
        return stands[0] if stands else row

    def correct(self, earlier: AnyFact, *, why: str, **changes: object) -> AnyFact:
        """Record a row in the place of an earlier one, with some fields changed, and return the one that stands.

        Raises
        ------
        LabError
            As ``record``; there is no such field; no reason; what the fact is known by would change, such as a mouse's
            name.
        """
        if unknown := changes.keys() - set(earlier.__struct_fields__):
            raise LabError(f"a row of {earlier.table} has no {', '.join(sorted(unknown))}")
        fresh = {"id": "", "recorded_at": "", "who": "", "host": "", "corrects": earlier.id, "why": why}
        corrected = msgspec.structs.replace(earlier, **fresh, **changes)
        if corrected.said_once() != earlier.said_once():
            raise LabError(
                f"{' '.join(earlier.said_once() or ())} is what other rows know this row of {earlier.table} by, and "
                "can't be changed: withdraw it, and record another"
            )
        return self.record(corrected)

    def put_right(self, fact: AnyFact, *, why: str) -> AnyFact:
        """Record a fact whatever was recorded in its place before, and return the row that stands for it.

        Raises
        ------
        LabError
            As ``correct``.
        """
        versions = self.versions(fact)
        if not versions:
            return self.record(fact)
        content = {name: getattr(fact, name) for name in fact.__struct_fields__ if name not in Fact.__struct_fields__}
        stands = standing(versions)
        if stands and all(getattr(stands[0], name) == value for name, value in content.items()):
            return stands[0]
        return self.correct(versions[-1], why=why, withdrawn=False, **content)

    def withdraw(self, earlier: Fact, *, why: str) -> None:
        """Record that a row does not stand, and nothing in its place.

        Raises
        ------
        LabError
            As ``correct``.
        """
        self.correct(earlier, why=why, withdrawn=True)

    # Reading: from the rig's own file. What stands now, in the order in which it was first recorded.

    def rows(self, kind: type[AnyFact], /, **equal: object) -> list[AnyFact]:
        """Return the rows of a kind that stand, of those the ones whose fields have these values.

        Raises
        ------
        LabError
            A row was changed in the database, behind its program's back.
        """
        rows = standing(self._here.find(kind, **equal))
        return [row for row in rows if all(getattr(row, name) == value for name, value in equal.items())]

    def versions(self, fact: AnyFact) -> list[AnyFact]:
        """Return a fact as it was first recorded and all that was put in its place, oldest first; none if it wasn't."""
        identity = fact.id or fact.identity()
        known = {row.id: row for row in self._here.find(type(fact), id=identity)}
        first = first_of(known.get(identity, fact), known)
        chain = [row for row in known.values() if first_of(row, known) == first]
        return sorted(chain, key=lambda row: (row.recorded_at, row.id))

    def mice(self) -> list[Mouse]:
        """Return all mice, by name."""
        return sorted(self.rows(Mouse), key=lambda mouse: mouse.name)

    def mouse(self, name: str) -> Mouse:
        """Return a mouse.

        Raises
        ------
        LabError
            There is none of this name; names the nearest.
        """
        mice = {mouse.name: mouse for mouse in self.mice()}
        if name not in mice:
            hint = nearest(name, list(mice)) if mice else "there are no mice yet: rig mouse add"
            raise LabError(f"there is no mouse {name}; {hint}")
        return mice[name]

    def session_rows(self, mouse: str) -> list[Session]:
        """Return a mouse's sessions by the time they began, a row a log."""
        return sorted(self.rows(Session, mouse=mouse), key=_log_began)

    def sessions(self, mouse: str) -> list[SessionFacts]:
        """Return a mouse's sessions by the time they began, parts taken together: what decisions rest on."""
        last_part = {row.session_id: row for row in self.session_rows(mouse)}
        return sorted((row.facts for row in last_part.values()), key=lambda facts: _instant(facts.started_at))

    def decisions(self, mouse: str) -> list[Decided]:
        """Return what was decided for a mouse."""
        return self.rows(Decided, mouse=mouse)

    def overrides(self, mouse: str, kind: OverrideKind | None = None) -> list[Override]:
        """Return what operators decided against the rig, placements (kind ``stage``) among them."""
        return self.rows(Override, mouse=mouse) if kind is None else self.rows(Override, mouse=mouse, kind=kind)

    def today(self, day: str) -> Today:
        """Return all mice on a day, from one look at each table."""
        held, away = self._held()
        weights, water, decisions = self.rows(Weight), self.rows(Water, day=day), self.rows(Decided)
        sessions = sorted(self.rows(Session), key=_log_began)
        last_weight = {row.mouse: row for row in sorted(weights, key=_day) if row.day <= day}
        last_decision = {row.mouse: row for row in decisions}
        last_session = {row.mouse: row for row in sessions if row.day < day}
        return Today(
            day=day,
            mice=tuple(
                MouseToday(
                    mouse=mouse,
                    weight=last_weight.get(mouse.name),
                    water=tuple(row for row in water if row.mouse == mouse.name),
                    sessions=tuple(row for row in sessions if row.mouse == mouse.name and row.day == day),
                    last_session=last_session.get(mouse.name),
                    decision=last_decision.get(mouse.name),
                    lease=held.get(mouse.name),
                )
                for mouse in self.mice()
            ),
            away=away,
        )

    # The laboratory's database.

    @contextmanager
    def lease(
        self,
        mouse: str,
        *,
        rig: str,
        session_id: str,
        day: str,
        part_of: str | None = None,
        override: Override | None = None,
        limit_s: float = LIMIT_S,
        on_trouble: Callable[[str], None] | None = None,
    ) -> Iterator[Lease]:
        """Have a mouse, and the start of a session with it recorded, for as long as the context lasts.

        Parameters
        ----------
        session_id, part_of
            Of this session's own log; the first part's, to go on with a session that crashed.
        day
            The laboratory's.
        override
            What lets a second session start on one day: of kind ``second_session``, with ``why``; is recorded, too.
        limit_s
            How long this program's heart may stand still before others may take the mouse over.
        on_trouble
            See ``Lease``.

        Raises
        ------
        MouseHeld, SecondSession, StartRefused
            See ``leases.acquire``.
        LaboratoryAway, LabError
            See ``Store``. All of these before the context is entered, none in it or after it.
        """
        there = self._laboratory()
        start = self._complete(Start(mouse=mouse, day=day, rig=rig, session_id=session_id, part_of=part_of))
        allowed = None if override is None else self._complete(override)
        known = [row for kind in (Start, Session, Override) for row in self._here.find(kind, mouse=mouse, day=day)]
        holder = str(uuid4())
        try:
            acquire(there, start, holder=holder, limit_s=limit_s, known=known, override=allowed)
        except (LaboratoryAway, KeyboardInterrupt):  # it may be granted, and the answer lost: no session comes of it
            self._here.insert([start])
            self.withdraw(start, why="the laboratory did not answer whether it was granted")
            raise
        lease = Lease(there, start, holder=holder, limit_s=limit_s, on_trouble=on_trouble)
        try:
            self._here.insert([start] if allowed is None else [start, allowed])
            yield lease
        finally:
            lease.release()

    def start_away(
        self,
        mouse: str,
        *,
        rig: str,
        session_id: str,
        day: str,
        why: str,
        part_of: str | None = None,
        second: Override | None = None,
    ) -> Start:
        """Record a start without a lease, because the laboratory is away and the operator knows where the mouse is.

        Parameters
        ----------
        session_id
            One for which no lease was asked: the laboratory may have granted that, and its answer have been lost.
        part_of, second
            As ``part_of`` and ``override`` of ``lease``; the override is then of this session.

        Raises
        ------
        SecondSession, StartRefused
            The mouse had a session that day, as far as this rig knows; or a part of one that did not crash.
        LabError
            The laboratory is there: take a lease; no reason.
        """
        try:
            self.leases()
        except LaboratoryAway:
            start = self._complete(
                Start(mouse=mouse, day=day, rig=rig, session_id=session_id, part_of=part_of, leased=False)
            )
            allowed = None
            if second is not None:
                allowed = self._complete(msgspec.structs.replace(second, session_id=session_id))
            override = Override(mouse=mouse, day=day, kind=OverrideKind.NO_LEASE, session_id=session_id, why=why)
            with self._here.writing() as connection:
                refuse_second(self._here, connection, start, override=allowed)
                overrides = [self._complete(override), *([] if allowed is None else [allowed])]
                self._here.insert_into(connection, Override, overrides)
                self._here.insert_into(connection, Start, [start])
            return start
        raise LabError(f"{self._there.name} answers: {mouse} is started with a lease")

    def refuse_second(self, mouse: str, *, day: str) -> None:
        """Refuse a mouse that had a session on a day, as far as this rig knows; ``lease`` asks the laboratory.

        Raises
        ------
        SecondSession
            It had one.
        """
        another = Start(mouse=mouse, day=day, rig=self._host, session_id=str(uuid4()))
        with self._here.reading() as connection:
            refuse_second(self._here, connection, another, override=None)

    def leases(self) -> list[LeaseRow]:
        """Return who has which mouse, those included whose heart stands still.

        Raises
        ------
        LaboratoryAway
            It can't be reached.
        """
        return leases(self._laboratory())

    def reconcile(self) -> Reconciled:
        """Insert into the laboratory's database and this rig's own file what each lacks of the other.

        Raises
        ------
        LaboratoryAway
            It can't be reached, or not to the end; what was inserted stays.
        """
        there = self._laboratory()
        return Reconciled(0, 0) if there is self._here else reconcile(self._here, there)

    @contextmanager
    def reconciling(self, *, every_s: float = RECONCILE_EVERY_S) -> Iterator[Reconciler]:
        """Reconcile again and again, in a thread, for as long as the context lasts."""
        reconciler = Reconciler(self.reconcile, every_s=every_s)
        try:
            yield reconciler
        finally:
            reconciler.stop()

    def _laboratory(self) -> Store:
        if not self._renewed:
            migrate(self._there)
            self._renewed = True
        return self._there

    def _held(self) -> tuple[dict[str, LeaseRow], str | None]:
        try:
            return {row.mouse: row for row in self.leases()}, None
        except LaboratoryAway as error:
            return {}, str(error)

    def _complete(self, fact: AnyFact) -> AnyFact:
        """Return a fact with what was left out of it, each field of its own type."""
        left_out = {
            "id": fact.id or fact.identity(),
            "recorded_at": fact.recorded_at or self._now().astimezone(UTC).isoformat(timespec="microseconds"),
            "who": fact.who or self._who,
            "host": fact.host or self._host,
        }
        try:
            written = msgspec.json.encode(msgspec.structs.replace(fact, **left_out))
            if NUL in written:
                raise LabError(f"this can't be recorded in {fact.table}: a text holds a null character")
            return cast("AnyFact", DECODERS[type(fact)].decode(written))
        except (msgspec.ValidationError, TypeError, UnicodeError) as error:
            raise LabError(f"this can't be recorded in {fact.table}: {error}") from error


def _day(row: Weight) -> str:
    return row.day


def _log_began(row: Session) -> datetime:
    return _instant(row.log_started_at)


def _instant(written: str) -> datetime:
    return datetime.fromisoformat(written)
