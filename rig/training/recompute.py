"""A mouse's sessions made anew from their logs and held against the laboratory's rows.

A difference is never decided away: which of the two is right is for a person to find out, and meanwhile the mouse
keeps its stage. A log that this computer can't reach leaves its row as it stands, and that is said.
"""

from __future__ import annotations

import hashlib
import math
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from rig.lab.rows import Fact, Session
from rig.log.reader import read_session
from rig.log.replay import replay
from rig.log.schema import LogError
from rig.log.writer import EVENTS
from rig.training.memory import Memory
from rig.training.projection import ProjectionError, project
from stages.history import SessionFacts

Found = Callable[[str], Path | None]
"""Where the folder of that name is, if it can be reached."""
UNCOMPARED = {*Fact.__struct_fields__, "folder", "code_version", "summary"}
"""What says who recorded a row and where, and the long summary: its figures that matter have fields of their own."""
ROUNDING = 1e-9
"""Another processor may round the last bit of a figure otherwise."""


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What came of it."""

    history: tuple[SessionFacts, ...]
    """One a session, in order."""
    n_recomputed: int
    out_of_reach: tuple[str, ...]
    """Folders whose logs can't be reached."""
    differences: tuple[str, ...]
    """A sentence each; empty if all is as it was."""

    def words(self) -> str:
        """Return ``17 of 20 recomputed`` with what could not be reached."""
        n = len(self.history)
        if not n:
            return "no session yet"
        if self.n_recomputed == n:
            return f"{n} of {n} sessions recomputed from their logs"
        away = ", ".join(self.out_of_reach[:3]) + (" and others" if len(self.out_of_reach) > 3 else "")
        return f"{self.n_recomputed} of {n} sessions recomputed from their logs; out of reach: {away}"


def recompute(rows: Sequence[Session], *, find: Found, memory: Memory | None = None) -> Recomputed:
    """Return a mouse's history from its logs, and how it differs from the laboratory's.

    Parameters
    ----------
    rows
        The laboratory's rows of one mouse, one a log.
    memory
        What the same bytes came to before, by their hashes: a log is hashed every time, and reckoned once.
    """
    history: list[SessionFacts] = []
    differences: list[str] = []
    out_of_reach: list[str] = []
    n_recomputed = 0
    for parts in by_session(rows):
        history.append(parts[-1].facts)
        folders = [find(part.folder) for part in parts]
        missing = [part.folder for part, folder in zip(parts, folders, strict=True) if folder is None]
        if missing:
            out_of_reach += missing
            continue
        found = _differences(parts, [folder for folder in folders if folder is not None], memory)
        differences += found
        n_recomputed += not found
    return Recomputed(tuple(history), n_recomputed, tuple(out_of_reach), tuple(differences))


def by_session(rows: Iterable[Session]) -> list[list[Session]]:
    """Return the rows of each session, its parts in order, sessions by their beginning."""
    ordered = sorted(rows, key=lambda row: (_instant(row.started_at), row.session_id, _instant(row.log_started_at)))
    return [list(parts) for _, parts in groupby(ordered, key=lambda row: row.session_id)]


def _instant(written: str) -> datetime:
    return datetime.fromisoformat(written)  # offsets differ: with the clocks' change, between rigs


def _differences(parts: Sequence[Session], folders: Sequence[Path], memory: Memory | None) -> list[str]:
    """Return how a session's rows differ from its logs, a sentence each."""
    found: list[str] = []
    try:
        for n, (row, folder) in enumerate(zip(parts, folders, strict=True), start=1):
            if sha256_of(folder) != row.log_sha256:
                found.append(edited(row, folder))
                continue
            key = "\n".join([row.day, *(part.log_sha256 for part in parts[:n])])
            known = memory.get(key) if memory is not None else None
            if known is None:
                known = project([read_session(each) for each in folders[:n]], day=row.day)
                if memory is not None:
                    memory.keep(key, known)
            found += _unlike(row, known, folder)
    except (LogError, ProjectionError) as error:
        found.append(str(error))
    except OSError as error:
        found.append(f"{error.filename or folders[0]}: can't be read ({error.strerror or error}); look at the disk")
    return found


def sha256_of(folder: Path) -> str:
    """Return the hash of the log in a session's folder; OSError if it can't be read."""
    return hashlib.sha256((folder / EVENTS).read_bytes()).hexdigest()


def edited(row: Session, folder: Path) -> str:
    """Return in a sentence that a log is not the one that was recorded, with the line that shows it if one does."""
    what = f"{folder / EVENTS}: is not the log that was recorded on {row.day} (its hash differs)"
    log = read_session(folder)
    where = "; ".join(log.damage)
    if not where and log.started.imported_from is None and (line := replay(log).difference):
        where = line.partition("\n")[0].removesuffix(" says") + ", not what the session decided"
    return f"{what}{f': {where}' if where else ''}; bring back the file from a copy"


def _unlike(row: Session, made: Session, folder: Path) -> list[str]:
    """Return in a sentence where a row and what its log gives differ, if they do."""
    unlike = [
        f"{_said(name, was)} in the database, {_said(name, now)} in the log"
        for name in Session.__struct_fields__
        if name not in UNCOMPARED and not _equal(was := getattr(row, name), now := getattr(made, name))
    ]
    if not unlike:
        return []
    what = f"{folder}: the session of {row.day} is not what the database says ({'; '.join(unlike)})"
    right = f"rig mouse take-in {row.mouse} {shlex.quote(str(folder))} --why REASON"
    return [f"{what}; find out which is right: if the log is, {right}; else bring back the log from a copy"]


def _said(name: str, value: object) -> str:
    told = f"{value:.3f}" if isinstance(value, float) else "none" if value is None else str(value)
    return f"{name.replace('_', ' ')} {told}"


def _equal(was: object, now: object) -> bool:
    if isinstance(was, float) and isinstance(now, float):
        return math.isclose(was, now, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return was == now
