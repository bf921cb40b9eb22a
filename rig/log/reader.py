"""Reads a session's folder as it is: whole, still being written, torn or crashed.

Nothing is mended in place and nothing raises for a torn tail: ``SessionLog.damage`` names what was left
out. What can't be a session's log at all is refused with a sentence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hardware.arrays import AnyArray
from rig.log.schema import EDGE_DTYPE, FLIP_DTYPE, SCHEMA_VERSION, Entry, LogError, decode
from rig.log.writer import EDGES, EVENTS, FLIPS
from stages.events import SessionEnded, SessionStarted

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for a line that is torn, garbage or of another schema."""


@dataclass(frozen=True, slots=True)
class SessionLog:
    """A session's record, as far as it can be read."""

    folder: Path
    started: SessionStarted
    entries: list[Entry]
    lines: list[bytes]
    """The line each entry was read from, without its end."""
    flips: AnyArray
    damage: list[str]

    @property
    def ended(self) -> SessionEnded | None:
        """How the session ended; None if it crashed or still runs."""
        return next((e.event for e in reversed(self.entries) if isinstance(e.event, SessionEnded)), None)

    def edges(self) -> AnyArray:
        """Return all edges, an array of ``EDGE_DTYPE``, shape (n,)."""
        return _records(self.folder / EDGES, EDGE_DTYPE)

    def sha256(self) -> str:
        """Return the hash of ``events.jsonl`` as it lies there."""
        return hashlib.sha256((self.folder / EVENTS).read_bytes()).hexdigest()


class Tail:
    """Follows ``events.jsonl`` while it grows: whole lines that can be read, each once."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / EVENTS
        self._offset = 0
        self._rest = b""

    def read(self) -> Iterator[Entry]:
        """Yield the entries that have come since the last call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                entry = decode(line)
            except UNREADABLE:
                continue  # ``read_session`` names it; who only watches goes on
            yield entry


def read_session(folder: Path) -> SessionLog:
    """Return the record in a session's folder.

    Raises
    ------
    LogError
        There is no log, it is empty, does not begin as one, or is of a newer schema.
    """
    path = folder / EVENTS
    if not folder.is_dir():
        raise LogError(f"{folder}: no such folder; name the folder of a session")
    if not path.is_file():
        raise LogError(f"{folder}: holds no {EVENTS}; name the folder of a session, not one above or below it")
    data = path.read_bytes()
    if not data:
        raise LogError(f"{path}: is empty; the session broke off before its first event, there is nothing to read")
    damage: list[str] = []
    entries: list[Entry] = []
    lines: list[bytes] = []
    *whole, tail = data.split(b"\n")
    if tail:
        damage.append(f"{EVENTS}: the last line is torn ({len(tail)} bytes left out)")
    for number, line in enumerate(whole, start=1):
        if number == 1:
            _check_first(path, line)
        try:
            entries.append(decode(line))
            lines.append(line)
        except UNREADABLE as error:
            damage.append(f"{EVENTS}:{number}: not readable, left out ({error})")
    if not entries or not isinstance(started := entries[0].event, SessionStarted):
        raise LogError(f"{path}: does not begin with SessionStarted; it is no session's log, or its beginning is lost")
    damage += _torn(folder / FLIPS, FLIP_DTYPE) + _torn(folder / EDGES, EDGE_DTYPE)
    flips = _records(folder / FLIPS, FLIP_DTYPE)
    return SessionLog(folder=folder, started=started, entries=entries, lines=lines, flips=flips, damage=damage)


def _check_first(path: Path, line: bytes) -> None:
    try:
        first: Any = msgspec.json.decode(line)
        version = int(first["event"]["schema_version"])
    except (*UNREADABLE, KeyError, TypeError, ValueError) as error:
        raise LogError(
            f"{path}:1: does not begin with SessionStarted; it is no session's log, or its beginning is lost"
        ) from error
    if version > SCHEMA_VERSION:
        raise LogError(
            f"{path}: was written with schema {version}, this program knows up to {SCHEMA_VERSION}; update the program"
        )


def _torn(path: Path, dtype: np.dtype[Any]) -> list[str]:
    """Return what is wrong with a file of records, from its size alone."""
    if not path.is_file():
        return [f"{path.name}: missing"]
    rest = path.stat().st_size % dtype.itemsize
    return [f"{path.name}: the last record is torn ({rest} bytes left out)"] if rest else []


def _records(path: Path, dtype: np.dtype[Any]) -> AnyArray:
    data = path.read_bytes() if path.is_file() else b""
    return np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype)
