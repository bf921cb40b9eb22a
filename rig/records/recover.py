"""Sessions that did not end: their logs closed honestly, and everything made of what is there.

Nothing of the record is rewritten. Behind the bytes that are there comes one line, ``SessionEnded`` with reason
``crashed``: when the record breaks off, and who found it so. A torn last line stays torn and is named as damage. A
session that still writes is left alone; one that can't be mended is named, and the next is taken.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hardware.events import ControllerFailed
from rig.log.reader import SessionLog, read_session
from rig.log.schema import Entry, LogError, encode
from rig.log.writer import EDGES, EVENTS, FLIPS, RESERVE
from rig.records.finish import Told, finish
from rig.records.folds import Folds
from stages.events import EndReason, SessionEnded

QUIET_S = 10.0
"""A session writes every second at the least; one that has written since is taken for a running one."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of a session that had not ended."""

    folder: Path
    broke_off_s: float | None = None
    """Session time of the last thing on record; None if nothing was done."""
    n_trials: int = 0
    """Trials that came to their end."""
    told: Told | None = None
    """How its NWB file went."""
    problem: str | None = None
    """Why nothing, or not everything, could be done."""

    def words(self) -> str:
        """Return it in a sentence."""
        if self.broke_off_s is None:
            return f"{self.problem}"
        trials = (
            f"{self.n_trials} trial{'s' * (self.n_trials != 1)}"
            if self.n_trials
            else "too young to have a trial, so AllenSDK can't open it"
        )
        made = f"; {self.problem}" if self.problem else ""
        return f"{self.folder}: crashed after {self.broke_off_s:.2f} s, closed; {trials}{made}"


def recover_all(
    parent: Path, *, by: str, running: Collection[str] = (), quiet_s: float = QUIET_S
) -> Iterator[Recovered]:
    """Yield what became of each session under a folder that has no end, one after the other.

    Parameters
    ----------
    by
        Who asks, for the log.
    running
        Ids of the sessions that run on this machine.
    quiet_s
        Sessions that wrote less than so long ago are left alone.

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
            log = read_session(folder)
            if log.ended is not None:
                continue
            since_s = _since_written_s(folder)
            if log.started.session_id in running or since_s < quiet_s:
                problem = (
                    f"{folder}: has written {max(since_s, 0):.0f} s ago, taken for a session that runs; left alone"
                )
                yield Recovered(folder, problem=problem)
                continue
            yield recover(log, by=by)
        except LogError as error:
            yield Recovered(folder, problem=str(error))
        except OSError as error:
            yield Recovered(folder, problem=f"{folder}: {error.strerror or error}; look at the disk, then try again")


def recover(log: SessionLog, *, by: str) -> Recovered:
    """Close the log of a session that crashed, and make all its products.

    Raises
    ------
    OSError
        The line can't be written, or a product can't be.
    """
    end = _end(log, by=by)
    with (log.folder / EVENTS).open("r+b") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(length - 1, 0))
        torn = file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + encode(end) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    (log.folder / RESERVE).unlink(missing_ok=True)
    trials = Folds.of(log.entries).trials.rows
    event = end.event
    broke_off_s = event.time_s if isinstance(event, SessionEnded) else 0.0
    told = finish(log.folder)
    return Recovered(
        log.folder,
        broke_off_s=broke_off_s,
        n_trials=sum(row.end_flip >= 0 for row in trials),
        told=told,
        problem=told.problem,
    )


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


def _since_written_s(folder: Path) -> float:
    """Return how long ago a session's files were written to."""
    written = [path.stat().st_mtime for name in (EVENTS, FLIPS, EDGES) if (path := folder / name).exists()]
    return datetime.now(UTC).timestamp() - max(written)
