"""Writes a file whole under its own name, or not at all; every file that is made of a record is written here.

Rules
    * Written beside its name, kept by the disk, then renamed. On an error nothing is left, and a file that was there
      before stays. Two that write the same file at once each write their own, and the last one's is there. A process
      that is killed may leave its ``partial.*``, which nothing reads.
    * Contents are made in memory first: HDF5 on a full disk ends the whole process, or leaves a half file open.
    * The record is never written over, nor any file of another kind than the one to be written.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from uuid import uuid4

from rig.log.writer import EDGES, EVENTS, FLIPS

PARTIAL = "partial."


def write_whole(path: Path, data: bytes) -> None:
    """Write a file.

    Raises
    ------
    OSError
        The disk is full, the folder is gone or may not be written; names ``path``.
    """
    partial = path.with_name(f"{PARTIAL}{uuid4().hex[:8]}.{path.name}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def in_the_way(path: Path, *, suffix: str) -> str | None:
    """Return why an export must not be written to a path: what is there is something else; None if it may.

    A name of the record is refused wherever links lead, and a file or folder that exists and has another suffix.
    """
    if {path.name.lower(), path.resolve().name.lower()} & {EVENTS, FLIPS, EDGES}:
        return "is a name of a session's record, which nothing may be written over"
    if path.exists() and path.suffix != suffix:
        return f"is there already and is no {suffix} file"
    return None
