"""One database of facts: rows in, rows out, every wait with an end.

Rules
    * A connection to a server is made for each transaction and given up after it: what was broken by a restart or a
      network is never met again. A file's connections are kept.
    * A server that does not accept within ``CONNECT_S``, or does not answer within ``CALL_S``, is away. The wait is
      ended from here: the server may be frozen, or its computer gone, and say nothing.
    * What writes to a file holds it from the start of its transaction: none is refused half-way.
"""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.pool import NullPool

from rig.lab.errors import LabError, LaboratoryAway
from rig.lab.rows import Fact
from rig.lab.tables import CONTENT, TABLES

CONNECT_S = 2
"""Whole seconds, and the least that PostgreSQL's library knows."""
CALL_S = 5.0
BATCH = 200
"""Rows that are written or asked for at once."""
JULIAN_1970 = 2_440_587.5
"""1970-01-01T00:00:00Z in the days that SQLite counts."""

_WRITES = "rig_writes"
AnyFact = TypeVar("AnyFact", bound=Fact)


class Store:
    """A database by its URL: ``sqlite:///FILE`` or ``postgresql://USER@HOST/NAME``. Safe to use from any thread.

    Parameters
    ----------
    connect_s, call_s
        How long to wait for a server to accept, and for a call to be answered. A file in use is waited for ``call_s``.

    Raises
    ------
    LabError
        The URL is none, or its library is not installed.
    """

    def __init__(self, url: str, *, connect_s: int = CONNECT_S, call_s: float = CALL_S) -> None:
        parsed = _checked(url)
        self.is_file = parsed.get_backend_name() == "sqlite"
        self.name = f"the database {parsed.render_as_string(hide_password=True)}"
        self.call_s = call_s
        try:
            self._engine = _file_engine(parsed, call_s) if self.is_file else _server_engine(parsed, connect_s, call_s)
        except ImportError as error:
            raise LabError(
                f"{self.name} needs a library that is not installed: {error}; in this program's folder: "
                "pip install -c constraints.txt -e '.[lab]'"
            ) from error
        self._writing = self._engine.execution_options(**{_WRITES: True})

    def close(self) -> None:
        """Give up what is kept open."""
        self._engine.dispose()

    def keep_log_beside(self) -> None:
        """Have a file keep what is written in a log beside it, so that readers and a writer don't wait for each other.

        It is kept in the file, and can't be changed within a transaction.
        """
        with self._saying(), self._engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            raw.execute("PRAGMA journal_mode = WAL")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection for one consistent look.

        Raises
        ------
        LaboratoryAway
            A server that can't be reached, or does not answer.
        LabError
            A file that is none of ours, can't be opened or is in use for too long.
        """
        with self._saying(), self._engine.connect() as connection, self._ended(connection):
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection for one transaction: kept at the end, or as if never begun.

        Raises
        ------
        LaboratoryAway, LabError
            As ``reading``, and what the database refuses. If the answer to the very end of the transaction was lost it
            may have been kept all the same, which is why whatever writes may do so twice.
        """
        with self._saying(), self._writing.connect() as connection, self._ended(connection), connection.begin():
            yield connection

    def insert(self, facts: Iterable[Fact]) -> None:
        """Insert rows, each kind in transactions of ``BATCH``; those that are there already stay as they are.

        Raises
        ------
        LabError
            A row is there with another content; none of its batch was inserted then.
        """
        for kind, rows in _by_kind(facts).items():
            for first in range(0, len(rows), BATCH):
                with self.writing() as connection:
                    self.insert_into(connection, kind, rows[first : first + BATCH])

    def insert_into(self, connection: Connection, kind: type[Fact], rows: Sequence[Fact]) -> None:
        """Insert rows of one kind as part of a transaction; see ``insert``."""
        if not rows:
            return
        ordered = sorted(rows, key=lambda row: row.id)  # two that insert the same rows don't wait for each other
        table = TABLES[kind]
        insert = sqlite.insert(table) if self.is_file else postgresql.insert(table)
        connection.execute(insert.on_conflict_do_nothing(index_elements=["id"]), [_columns(row) for row in ordered])
        wanted = {row.id: row.content_sha256() for row in ordered}
        there = connection.execute(sa.select(table.c.id, table.c[CONTENT]).where(table.c.id.in_(wanted)))
        for identity, content in there:
            if content != wanted[identity]:
                raise LabError(
                    f"{self.name} has row {identity} of {kind.table} with another content than is to be recorded; what "
                    "was recorded stays: look at it, and correct it by a new row if it is wrong"
                )

    def find(self, kind: type[AnyFact], /, **equal: object) -> list[AnyFact]:
        """Return the rows whose columns have these values, and all that were corrected and that correct."""
        with self.reading() as connection:
            return self.find_in(connection, kind, **equal)

    def find_in(self, connection: Connection, kind: type[AnyFact], /, **equal: object) -> list[AnyFact]:
        """Find rows as part of a transaction; see ``find``."""
        table = TABLES[kind]
        query = sa.select(table)
        if equal:
            corrected = sa.select(table.c.corrects).where(table.c.corrects.is_not(None))
            asked = sa.and_(*(table.c[name] == value for name, value in equal.items()))
            query = query.where(sa.or_(asked, table.c.corrects.is_not(None), table.c.id.in_(corrected)))
        return self._rows(kind, connection.execute(query))

    def by_identity(self, kind: type[AnyFact], identities: Sequence[str]) -> list[AnyFact]:
        """Return the rows of these identities that are there."""
        table = TABLES[kind]
        with self.reading() as connection:
            return self._rows(kind, connection.execute(sa.select(table).where(table.c.id.in_(identities))))

    def contents(self) -> dict[type[Fact], dict[str, str]]:
        """Return, for each kind, the identity of every row and the hash of its content."""
        with self.reading() as connection:
            return {
                kind: {row.id: row[1] for row in connection.execute(sa.select(table.c.id, table.c[CONTENT]))}
                for kind, table in TABLES.items()
            }

    def clock_s(self) -> sa.ColumnElement[float]:
        """Return the expression for the database's own time, in seconds since 1970: that very moment's."""
        if self.is_file:
            return (sa.func.julianday("now") - JULIAN_1970) * 86_400.0
        return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)

    def _rows(self, kind: type[AnyFact], result: sa.CursorResult[Any]) -> list[AnyFact]:
        return [self._row(kind, row) for row in result.mappings()]

    def _row(self, kind: type[AnyFact], columns: sa.RowMapping) -> AnyFact:
        try:
            row = msgspec.convert({name: columns[name] for name in kind.__struct_fields__}, kind)
        except msgspec.ValidationError as error:
            raise LabError(f"{self.name}: row {columns['id']} of {kind.table} is none: {error}") from error
        if row.content_sha256() != columns[CONTENT]:
            raise LabError(
                f"{self.name}: row {row.id} of {kind.table} is not what was recorded at {row.recorded_at} by "
                f"{row.who}: somebody changed it in the database; put it back from a rig's own file or a backup"
            )
        return row

    @contextmanager
    def _saying(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.IntegrityError as error:
            raise LabError(f"{self.name} refuses a row: {_first_line(error)}") from error
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            if not self.is_file:
                raise LaboratoryAway(f"{self.name} is away: {_first_line(error)}") from error
            raise LabError(f"{self.name} can't be used: {_first_line(error)}") from error
        except sa.exc.SQLAlchemyError as error:
            raise LabError(f"{self.name}: {_first_line(error)}") from error

    @contextmanager
    def _ended(self, connection: Connection) -> Iterator[None]:
        """End a server's silence after ``call_s``: whoever waits for it then learns that the connection is broken."""
        if self.is_file:
            yield
            return
        deadline = _Deadline(connection)
        timer = threading.Timer(self.call_s + 1.0, deadline.pass_)  # the server's own limit is earlier and says more
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            deadline.lift()


class _Deadline:
    """Breaks a connection, but not once it has been given back."""

    def __init__(self, connection: Connection) -> None:
        self._raw: Any = connection.connection.dbapi_connection
        self._lock = threading.Lock()

    def pass_(self) -> None:
        """End every wait on the connection."""
        with self._lock:
            if self._raw is None or self._raw.closed:
                return
            wire = socket.socket(fileno=self._raw.fileno())
            try:
                wire.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # broken already: nobody waits
            finally:
                wire.detach()

    def lift(self) -> None:
        """Let the connection be."""
        with self._lock:
            self._raw = None


def without_password(url: str) -> str:
    """Return a database's URL with an empty password; ``LabError`` if it is none."""
    return _checked(url).set(password="").render_as_string(hide_password=False)  # None would leave it


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except sa.exc.ArgumentError as error:
        raise LabError(f"{url!r} is no database's URL: sqlite:///FILE or postgresql://USER@HOST/NAME") from error
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise LabError(
            f"{parsed.render_as_string(hide_password=True)}: the laboratory's database is a file (sqlite:///FILE) or a "
            "PostgreSQL (postgresql://USER@HOST/NAME)"
        )
    return parsed


def _file_engine(url: URL, call_s: float) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": call_s}, max_overflow=-1)  # no thread waits for another's

    @sa.event.listens_for(engine, "connect")
    def _connect(raw: sqlite3.Connection, _record: object) -> None:
        raw.isolation_level = None  # transactions begin below, not where the library guesses
        raw.execute("PRAGMA synchronous = FULL")  # what was recorded outlives a power cut

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _server_engine(url: URL, connect_s: int, call_s: float) -> sa.Engine:
    return sa.create_engine(
        url,
        poolclass=NullPool,
        connect_args={
            "connect_timeout": connect_s,
            "options": f"-c statement_timeout={call_s * 1000:.0f} -c lock_timeout={call_s * 1000:.0f}",
        },
    )


def _columns(row: Fact) -> dict[str, Any]:
    fields = {name: getattr(row, name) for name in row.__struct_fields__}
    plain = {name: str(value) if isinstance(value, StrEnum) else value for name, value in fields.items()}
    return {**plain, CONTENT: row.content_sha256()}


def _by_kind(facts: Iterable[Fact]) -> dict[type[Fact], list[Fact]]:
    kinds: dict[type[Fact], list[Fact]] = {}
    for fact in facts:
        kinds.setdefault(type(fact), []).append(fact)
    return kinds


def _first_line(error: sa.exc.SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return str(cause).strip().partition("\n")[0]
