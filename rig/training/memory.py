"""What logs came to before, so that a mouse's 60 sessions are reckoned once and hashed each time.

The same bytes give the same figures by the same program: what is kept is found by the hashes of the logs, and on disk
by the program's version too.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import msgspec

from rig.lab.rows import Session
from rig.records.whole import write_whole


class Memory(Protocol):
    """Rows by a key that follows from the bytes they were made of."""

    def get(self, key: str) -> Session | None:
        """Return what is kept under a key."""

    def keep(self, key: str, row: Session) -> None:
        """Keep a row."""


class InProcess:
    """Kept as long as the program runs."""

    def __init__(self) -> None:
        self._rows: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: str) -> Session | None:
        """See ``Memory``."""
        return self._rows.get(key)

    def keep(self, key: str, row: Session) -> None:
        """See ``Memory``."""
        self._rows[key] = row


class OnDisk:
    """A file each in a folder, which may be thrown away at any time.

    Parameters
    ----------
    version
        The program's; another one reckons anew.
    """

    def __init__(self, folder: Path, *, version: str) -> None:
        self._folder = folder
        self._version = version

    def get(self, key: str) -> Session | None:
        """See ``Memory``; None where nothing is kept that can be read."""
        try:
            return msgspec.json.decode(self._path(key).read_bytes(), type=Session)
        except (OSError, msgspec.DecodeError):
            return None

    def keep(self, key: str, row: Session) -> None:
        """See ``Memory``; where there is no room for it, it is reckoned again next time."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._path(key), msgspec.json.encode(row))
        except OSError:
            return

    def _path(self, key: str) -> Path:
        name = hashlib.sha256("\n".join([self._version, key]).encode()).hexdigest()
        return self._folder / f"{name}.json"
