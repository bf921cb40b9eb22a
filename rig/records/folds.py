"""All folds of a session at once: fed live as an observer, or from the file."""

from __future__ import annotations

from collections.abc import Iterable
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

    def feed(self, entry: Entry) -> None:
        """Take the next entry of the log."""
        self.trials.feed(entry)
        self.presentations.feed(entry)
        self.summary.feed(entry)

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """Return the folds over entries."""
        folds = cls()
        for entry in entries:
            folds.feed(entry)
        return folds
