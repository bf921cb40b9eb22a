"""Logs on this rig's disk that the laboratory does not know: of a start that was killed, of a run without a laboratory.

The picture was on the screen all the same, and the water was drunk; so what ``rig start`` began is taken in before
anything is decided. Of what it did not begin nobody here knows whose it was: an operator says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from rig.log.reader import UNREADABLE
from rig.log.schema import decode
from rig.log.writer import EVENTS
from stages.events import SessionStarted


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """A session's folder, and how its log begins."""

    folder: Path
    started: SessionStarted

    @property
    def log_id(self) -> str:
        """The id of its own session."""
        return self.started.session_id


def unrecorded(folders: Collection[Path], *, mouse: str, simulated: bool, known: Collection[str]) -> list[Unrecorded]:
    """Return the sessions of a mouse whose logs are not known, oldest first.

    Parameters
    ----------
    folders
        Where this rig keeps sessions; one that is not there is passed over.
    simulated
        Whether those on simulated rigs are meant, or those on real ones: a model mouse may have a real one's name.
    known
        Ids of the logs that are recorded.
    """
    found: dict[str, Unrecorded] = {}
    for started, folder in _sessions(folders):
        if (started.mouse, started.simulated) == (mouse, simulated) and started.session_id not in known:
            found.setdefault(started.session_id, Unrecorded(folder, started))
    return sorted(found.values(), key=lambda each: (each.started.started_at, each.folder))


def find_in(folders: Collection[Path]) -> dict[str, Path]:
    """Return where each session's folder is, by its name."""
    return {events.parent.name: events.parent for folder in folders for events in sorted(folder.glob(f"*/{EVENTS}"))}


def _sessions(folders: Collection[Path]) -> Iterator[tuple[SessionStarted, Path]]:
    for path in find_in(folders).values():
        with (path / EVENTS).open("rb") as file:
            line = file.readline()
        try:
            started = decode(line.rstrip(b"\n")).event
        except UNREADABLE:
            continue  # it began no session: nothing was shown before its first line was written
        if isinstance(started, SessionStarted):
            yield started, path
