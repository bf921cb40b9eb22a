"""All folds of a session at once: fed live as an observer, or from the file.

Each fold says in ``TAKES`` which events concern it; the others never reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

from rig.log.schema import Entry
from rig.records.presentations import PresentationsFold
from rig.records.summary import SummaryFold
from rig.records.trials import TrialsFold


class Folds:
    """Trials, presentations and summary."""

    def __init__(self) -> None:
        self.trials = TrialsFold()
        self.presentations = PresentationsFold()
        self.summary = SummaryFold()
        self._routes: dict[type, list[Callable[[Entry], None]]] = {}
        for fold in (self.trials, self.presentations, self.summary):
            for event_type in fold.TAKES:
                self._routes.setdefault(event_type, []).append(fold.feed)

    def feed(self, entry: Entry) -> None:
        """Take the next entry of the log."""
        for feed in self._routes.get(type(entry.event), ()):
            feed(entry)

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """Return the folds over entries."""
        folds = cls()
        for entry in entries:
            folds.feed(entry)
        return folds
