"""Sessions that did not end: their logs closed honestly, and everything made of what is there.

Nothing of the record is rewritten. Behind the bytes that are there comes one line, ``SessionEnded`` with reason
``crashed``: when the record breaks off, and who found it so. A torn last line stays torn and is named as damage. A
session that still writes is left alone; one that can't be mended is named, and the next is taken.

What is to be made of a session may fail when its log is closed already: the disk is full. The next recovery makes what
is missing then, and nothing else. Who recovers holds the log (``rig.log.lock``), as who writes it does. On a file
system without locks only the time of the last write tells a session that runs, and nothing two recoveries at once.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hardware.events import ControllerFailed
from rig.log.lock import hold
from rig.log.reader import SessionLog, read_session
from rig.log.schema import Entry, LogError, encode
from rig.log.writer import EDGES, EVENTS, FLIPS, RESERVE
from rig.records.finish import EVERYTHING, finish, missing, remedy, why
from rig.records.folds import Folds
from rig.records.products import PRODUCTS
from stages.events import EndReason, SessionEnded

QUIET_S = 10.0
"""A session writes every second at the least; one that has written since is taken for a running one."""
HELD = "is being written or recovered by another program; left alone"


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of a session that had not ended, or had been closed without all of its products."""

    folder: Path
    broke_off_s: float | None = None
    """Session time of the last thing on record; None if the log was not closed now."""
    n_trials: int = 0
    """Trials that came to their end."""
    made: tuple[str, ...] = ()
    """What was missing of a session whose log had been closed before, and is there now."""
    note: str | None = None
    """What is to be known and is no failure: why it was left alone, or what it can't have."""
    problem: str | None = None
    """Why nothing, or not everything, could be done."""

    @property
    def did(self) -> bool:
        """Whether anything was done."""
        return self.broke_off_s is not None or bool(self.made)

    def words(self) -> str:
        """Return it in a sentence."""
        told = []
        if self.broke_off_s is not None:
            told.append(f"crashed after {self.broke_off_s:.2f} s, closed")
            told.append(
                f"{self.n_trials} trial{'s' * (self.n_trials != 1)}"
                if self.n_trials
                else "too young to have a trial, so AllenSDK can't open it"
            )
        if self.made:
            told.append(f"had been closed before, {' and '.join(self.made)} made now")
        if self.note:
            told.append(self.note)
        said = f"{self.folder}: {'; '.join(told)}" if told else None
        return "; ".join(filter(None, (said, self.problem)))


def recover_all(
    parent: Path, *, by: str, running: Collection[str] = (), quiet_s: float = QUIET_S
) -> Iterator[Recovered]:
    """Yield what became of each session under a folder that has no end, or was closed and not finished.

    One after the other; whatever is wrong with one of them, the next is taken.

    Parameters
    ----------
    by
        Who asks, for the log.
    running
        Ids of the sessions that run on this machine.
    quiet_s
        Sessions that wrote less than so long ago are left alone; 0 if none of them runs.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    """
    if not parent.is_dir():
        raise FileNotFoundError(2, "no such folder", str(parent))
    for events in sorted(parent.rglob(EVENTS)):
        folder = events.parent
        try:
            recovered = _recover_one(folder, by=by, running=running, quiet_s=quiet_s)
        except LogError as error:
            recovered = Recovered(folder, problem=str(error))
        except OSError as error:
            problem = f"{folder}: {error.strerror or error}; {remedy(error)}, then run rig recover again"
            recovered = Recovered(folder, problem=problem)
        except Exception as error:  # noqa: BLE001 - one session must not keep all others from being recovered
            recovered = Recovered(folder, problem=why(error, what="the session's end", folder=folder))
        if recovered is not None:
            yield recovered


def _recover_one(folder: Path, *, by: str, running: Collection[str], quiet_s: float) -> Recovered | None:
    """Return what became of a session; None if there was nothing to do."""
    fresh = _freshness(folder, quiet_s=quiet_s)
    try:
        log = read_session(folder)
    except LogError:
        if note := fresh or _held(folder):  # a session that has only just begun
            return Recovered(folder, note=note)
        if not (folder / EVENTS).stat().st_size:
            return Recovered(folder, note="has no event on record, there is nothing to recover; delete the folder")
        raise
    if log.ended is None:
        if log.started.session_id in running:
            return Recovered(folder, note="runs on this machine; left alone")
        if fresh:
            return Recovered(folder, note=fresh)
    elif log.ended.reason is not EndReason.CRASHED or not missing(log):
        return None
    return recover(log, by=by)


def recover(log: SessionLog, *, by: str) -> Recovered:
    """Close the log of a session that crashed, and make all its products; of one that is closed, those it lacks.

    Raises
    ------
    LogError
        The log can't be read any more.
    OSError
        The line can't be written. What can't be made later is told as a problem.
    """
    folder = log.folder
    with (folder / EVENTS).open("a+b") as file:
        if not hold(file.fileno()):
            return Recovered(folder, note=HELD)
        log = read_session(folder)  # somebody else may have closed it before it was ours
        before = missing(log)
        if log.ended is not None:
            problem = finish(folder, names=before).problem if before else None
            lacks = missing(log)
            return Recovered(folder, made=tuple(name for name in before if name not in lacks), problem=_again(problem))
        end = _end(log, by=by)
        length = file.seek(0, os.SEEK_END)
        file.seek(max(length - 1, 0))
        torn = file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + encode(end) + b"\n")
        file.flush()
        os.fsync(file.fileno())
        (folder / RESERVE).unlink(missing_ok=True)
        problem = finish(folder, names=EVERYTHING if len(log.flips) else PRODUCTS).problem
    trials = Folds.of(log.entries).trials.rows
    return Recovered(
        folder,
        broke_off_s=end.event.time_s if isinstance(end.event, SessionEnded) else 0.0,
        n_trials=sum(row.end_flip >= 0 for row in trials),
        note=None if len(log.flips) else "not one flip reached the disk, so it has no NWB file",
        problem=_again(problem),
    )


def _again(problem: str | None) -> str | None:
    return f"{problem}; the next rig recover tries it again" if problem else None


def _end(log: SessionLog, *, by: str) -> Entry:
    """Return the last line that the session could not write itself."""
    flips, last = log.flips, log.entries[-1]
    times_s = [float(time_s) for e in log.entries if (time_s := getattr(e.event, "time_s", None)) is not None]
    last_s = max([0.0, *times_s, *([float(flips["time_s"][-1])] if len(flips) else [])])
    failed = next((e.event.what for e in reversed(log.entries) if isinstance(e.event, ControllerFailed)), None)
    when = datetime.fromisoformat(log.started.started_at) + timedelta(seconds=last_s)
    why = (
        f"{failed or 'the record breaks off'}, at {when.isoformat(timespec='seconds')}; "
        f"closed by rig recover on {datetime.now(UTC).isoformat(timespec='seconds')}"
    )
    flip, refresh = (int(flips["flip"][-1]), int(flips["refresh"][-1])) if len(flips) else (last.flip, last.refresh)
    ended = SessionEnded(reason=EndReason.CRASHED, who=by, why=why, time_s=last_s)
    return Entry(max(flip, last.flip), max(refresh, last.refresh), ended)


def _held(folder: Path) -> str | None:
    """Return why a session is left alone if somebody holds its log."""
    with (folder / EVENTS).open("ab") as file:
        return None if hold(file.fileno()) else HELD


def _freshness(folder: Path, *, quiet_s: float) -> str | None:
    """Return why a session may be one that runs, from when it was written last; None if it is quiet."""
    written = [path.stat().st_mtime for name in (EVENTS, FLIPS, EDGES) if (path := folder / name).exists()]
    since_s = datetime.now(UTC).timestamp() - max(written)
    if quiet_s <= 0 or since_s >= quiet_s:
        return None
    if since_s < 0:
        when = "was written last at a time that is yet to come by this machine's clock, so nobody can tell if it runs"
    else:
        when = f"was written {since_s:.0f} s ago, taken for a session that runs"
    return f"{when}; left alone: if it does not run, give --quiet-s 0"
