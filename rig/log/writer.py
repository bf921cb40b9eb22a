"""Appends to the three files of a session: from a thread in real time, or in step on a virtual clock.

``append``, ``flips`` and ``edges`` only put things into a list; ``pump`` encodes and writes them.
``LogThread`` calls ``pump`` every 10 ms. When the disk is full the writer keeps what it could not
write, frees its reserve and tells the session, which decides by its policy how to end.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from hardware.arrays import AnyArray, IntArray
from rig.log.lock import hold
from rig.log.schema import EDGE_DTYPE, FLIP_DTYPE, Entry, LogError, encode, encode_lines

PUMP_INTERVAL_S = 0.01
SYNC_INTERVAL_S = 1.0
RESERVE_BYTES = 2_000_000
"""Set aside at the start and freed when the disk is full: minutes of events, more than an end needs."""
EVENTS, FLIPS, EDGES, RESERVE = "events.jsonl", "flips.bin", "edges.bin", "reserve.tmp"


Item = TypeVar("Item")


class Log(Protocol):
    """Where a session's record goes."""

    def append(self, entry: Entry) -> None:
        """Take an event; returns at once."""

    def flips(self, rows: AnyArray) -> None:
        """Take flips, an array of ``FLIP_DTYPE``; returns at once."""

    def edges(self, *, ticks: IntArray, states: AnyArray) -> None:
        """Take edges; returns at once."""

    def settle(self) -> None:
        """Called when a stretch of flips is complete: a log without a thread writes now."""

    def gather_with(self, gather: Callable[[], None] | None) -> bool:
        """Have ``gather`` called before each write, by the thread that writes; None ends it.

        Returns whether there is such a thread; without one the caller gathers. Once this has returned,
        what was set before is not called any more.
        """

    def trouble(self) -> str | None:
        """Return, once, what keeps the log from being written; None while all is well."""

    def backlog(self) -> int:
        """Return how many events wait to be written."""


class _File:
    """One append-only file that never loses what it was given, only delays it."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self.path = path
        self.pending = bytearray()
        """What is still to be written."""
        self._fd = os.open(path, flags, 0o644)

    def hold(self) -> None:
        """Keep others from taking it for one that nobody writes, until it is closed (see ``lock``)."""
        hold(self._fd)  # nobody else can have what was just made

    def write(self, data: bytes) -> None:
        """Write ``data`` after whatever could not be written before.

        Raises
        ------
        OSError
            The disk is full or gone; the rest is kept for the next call.
        """
        self.pending += data
        while self.pending:
            n = os.write(self._fd, self.pending)
            del self.pending[:n]

    def sync(self) -> None:
        """Have the disk keep what was written."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class LogWriter:
    """The three files of one session, in a folder made for it; the events are held (see ``lock``) until closed.

    Raises
    ------
    LogError
        The folder exists already, or can't be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, _File] = {}
        self._reserve = folder / RESERVE
        try:
            folder.mkdir(parents=True)
        except FileExistsError as error:
            raise LogError(f"{folder}: there is a session in it already; choose another folder") from error
        except OSError as error:
            raise _unwritable(folder, error) from error
        try:
            for name in (EVENTS, FLIPS, EDGES):
                self._files[name] = _File(folder / name)
            self._files[EVENTS].hold()
            self._reserve.write_bytes(bytes(RESERVE_BYTES))
        except OSError as error:
            self._let_go()
            raise _unwritable(folder, error) from error
        # Deques: appended to by the session's thread while another takes from the left.
        self._entries: deque[Entry] = deque()
        self._flips: deque[AnyArray] = deque()
        self._edges: deque[AnyArray] = deque()
        self._trouble: str | None = None
        self._said = False
        self._pumping = threading.Lock()

    def append(self, entry: Entry) -> None:
        """See ``Log.append``."""
        self._entries.append(entry)

    def flips(self, rows: AnyArray) -> None:
        """See ``Log.flips``."""
        self._flips.append(rows)

    def edges(self, *, ticks: IntArray, states: AnyArray) -> None:
        """See ``Log.edges``."""
        rows = np.empty(len(ticks), EDGE_DTYPE)
        rows["ticks"], rows["state"] = ticks, states
        self._edges.append(rows)

    def settle(self) -> None:
        """See ``Log.settle``: without a thread, this is when things are written."""
        self.pump()

    def gather_with(self, gather: Callable[[], None] | None) -> bool:
        """See ``Log.gather_with``."""
        return False

    def trouble(self) -> str | None:
        """See ``Log.trouble``."""
        if self._trouble is None or self._said:
            return None
        self._said = True
        return self._trouble

    def backlog(self) -> int:
        """See ``Log.backlog``."""
        return len(self._entries)

    def pump(self) -> None:
        """Encode and write what has come; keeps what can't be written."""
        with self._pumping:
            self._write(EVENTS, self._lines(_take(self._entries)))
            self._write(FLIPS, b"".join([rows.tobytes() for rows in _take(self._flips)]))
            self._write(EDGES, b"".join([rows.tobytes() for rows in _take(self._edges)]))

    def _lines(self, entries: list[Entry]) -> bytes:
        """Return the entries as lines; one that can't be encoded is named and left out, the others stay."""
        with contextlib.suppress(TypeError, ValueError):
            return encode_lines(entries)
        lines = []
        for entry in entries:
            try:
                lines.append(encode(entry) + b"\n")
            except (TypeError, ValueError) as error:
                self.complain(f"an event of flip {entry.flip} can't be written ({type(error).__name__}: {error})")
        return b"".join(lines)

    def sync(self) -> None:
        """Have the disk keep what was written."""
        for file in self._files.values():
            try:
                file.sync()
            except OSError as error:
                self.complain(f"{file.path.name} can't be written ({error.strerror})")

    def close(self) -> None:
        """Write and sync everything, give back the reserve, close the files; leave none of a session that never began.

        Raises
        ------
        LogError
            Something could not be written to the last.
        """
        self._reserve.unlink(missing_ok=True)
        self.pump()
        self.sync()
        lost = [f"{len(file.pending)} bytes of {file.path.name}" for file in self._files.values() if file.pending]
        self._let_go()
        if lost:
            raise LogError(
                f"{self.folder}: {' and '.join(lost)} could not be written ({self._trouble}); free space there"
            )

    def _let_go(self) -> None:
        """Close the files; take a folder away that holds nothing."""
        for file in self._files.values():
            file.close()
        paths = [file.path for file in self._files.values()]
        with contextlib.suppress(OSError):
            if not any(path.stat().st_size for path in paths):
                for path in (*paths, self._reserve):
                    path.unlink(missing_ok=True)
                self.folder.rmdir()

    def _write(self, name: str, data: bytes) -> None:
        file = self._files[name]
        try:
            file.write(data)
        except OSError as error:
            self.complain(f"{file.path.name} can't be written ({error.strerror})")
            with contextlib.suppress(OSError):  # kept, and tried again with the next pump
                file.write(b"")  # what is pending, into the room the reserve gave back

    def complain(self, what: str) -> None:
        """Remember the first trouble for the session to hear, and make room for its end."""
        if self._trouble is None:
            self._trouble = what
            self._reserve.unlink(missing_ok=True)


def _take(queue: deque[Item]) -> list[Item]:
    return [queue.popleft() for _ in range(len(queue))]


def _unwritable(folder: Path, error: OSError) -> LogError:
    return LogError(
        f"{folder}: can't be written ({error.strerror}); choose a folder that can, with --out or the rig's data_dir"
    )


class LogThread:
    """Pumps a writer every 10 ms until closed; the ``Log`` of a session in real time.

    A busy disk may take hundreds of milliseconds to sync: that is another thread's, nothing waits for it.
    """

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        self.append, self.flips, self.edges = writer.append, writer.flips, writer.edges
        self.trouble, self.backlog = writer.trouble, writer.backlog
        self._gather: Callable[[], None] | None = None
        self._gathering = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name="log", daemon=True),
            threading.Thread(target=self._sync, name="log sync", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def settle(self) -> None:
        """See ``Log.settle``: the thread writes in its own time."""

    def gather_with(self, gather: Callable[[], None] | None) -> bool:
        """See ``Log.gather_with``."""
        with self._gathering:
            self._gather = gather
        return True

    def close(self) -> None:
        """Write the rest and close the files."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._writer.close()

    def _run(self) -> None:
        while not self._stop.wait(PUMP_INTERVAL_S):
            with self._gathering:
                if self._gather is not None:
                    self._gather_safely(self._gather)
            self._writer.pump()

    def _sync(self) -> None:
        """Sync apart from the writing, since a slow disk takes its time for it."""
        while not self._stop.wait(SYNC_INTERVAL_S):
            self._writer.sync()

    def _gather_safely(self, gather: Callable[[], None]) -> None:
        """Gather; what breaks in it is named as trouble of the log, and the thread goes on writing."""
        try:
            gather()
        except Exception as error:  # noqa: BLE001 - the end of a thread: nobody else would hear of it
            self._gather = None
            self._writer.complain(f"flips and edges can't be gathered any more ({type(error).__name__}: {error})")


class MemoryLog:
    """Keeps a session's record in memory: tests and benchmarks."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.flip_rows: list[AnyArray] = []
        self.edge_rows: list[AnyArray] = []

    def append(self, entry: Entry) -> None:
        """See ``Log.append``."""
        self.entries.append(entry)

    def flips(self, rows: AnyArray) -> None:
        """See ``Log.flips``."""
        self.flip_rows.append(rows)

    def edges(self, *, ticks: IntArray, states: AnyArray) -> None:
        """See ``Log.edges``."""
        rows = np.empty(len(ticks), EDGE_DTYPE)
        rows["ticks"], rows["state"] = ticks, states
        self.edge_rows.append(rows)

    def settle(self) -> None:
        """See ``Log.settle``."""

    def gather_with(self, gather: Callable[[], None] | None) -> bool:
        """See ``Log.gather_with``."""
        return False

    def trouble(self) -> str | None:
        """See ``Log.trouble``."""
        return None

    def backlog(self) -> int:
        """See ``Log.backlog``."""
        return 0

    def all_flips(self) -> AnyArray:
        """Return all flips, an array of ``FLIP_DTYPE``."""
        return np.concatenate(self.flip_rows) if self.flip_rows else np.empty(0, FLIP_DTYPE)

    def all_bytes(self) -> tuple[bytes, bytes, bytes]:
        """Return what the three files would hold."""
        return (
            b"".join(encode(entry) + b"\n" for entry in self.entries),
            b"".join(rows.tobytes() for rows in self.flip_rows),
            b"".join(rows.tobytes() for rows in self.edge_rows),
        )
