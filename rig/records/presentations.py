"""One row a flash (or patch of a sweep), shown or omitted, and one a block of gray or movie, folded from the log."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

from hardware.arrays import AnyArray
from rig.log.schema import Entry
from stages.events import (
    BlockKind,
    BlockStarted,
    Change,
    FlashOmitted,
    FlashPlanned,
    FlashShown,
    SessionStarted,
    ShamChange,
    TrialEnded,
    TrialStarted,
)
from stimuli.spec import Gabor, Grating, NaturalMovie, Stimulus, label


@dataclass(slots=True)
class PresentationRow:
    """Something that was on the screen, or was left out."""

    block: BlockKind
    stimulus: str
    start_flip: int
    start_refresh: int
    start_time_s: float
    flash: int = -1
    planned_refresh: int = -1
    late_refreshes: int = 0
    off_refresh: int = -1
    """Gray was asked for with this refresh; -1: the stimulus stayed until the next row."""
    omitted: bool = False
    is_change: bool = False
    is_sham_change: bool = False
    trial: int = -1
    """The trial that was running when it came on; the flash a trial starts on is that trial's."""
    azimuth_deg: float = math.nan
    """Of a patch's middle; NaN for what fills the screen."""
    altitude_deg: float = math.nan
    orientation_deg: float = math.nan
    """Of patches and gratings."""


class PresentationsFold:
    """Presentations from entries, live or from the file."""

    TAKES = (
        FlashPlanned,
        FlashShown,
        FlashOmitted,
        TrialStarted,
        TrialEnded,
        Change,
        ShamChange,
        BlockStarted,
        SessionStarted,
    )

    def __init__(self) -> None:
        self.rows: list[PresentationRow] = []
        self._stimuli: list[Stimulus] = []
        self._block = BlockKind.GRAY_BEFORE
        self._planned: FlashPlanned | None = None
        self._trial = -1

    def feed(self, entry: Entry) -> None:
        """Take the next entry of the log; entries that are not in ``TAKES`` change nothing."""
        event = entry.event
        match event:
            case FlashPlanned():
                self._planned = event
            case FlashShown():
                stimulus = self._stimuli[event.stimulus]
                self._flash(entry, event.flash, label(stimulus), event.time_s)
                row = self.rows[-1]
                row.late_refreshes, row.off_refresh = event.late_refreshes, event.off_refresh
                if isinstance(stimulus, Gabor | Grating):
                    row.orientation_deg = stimulus.orientation_deg
                if isinstance(stimulus, Gabor):
                    row.azimuth_deg, row.altitude_deg = stimulus.azimuth_deg, stimulus.altitude_deg
            case FlashOmitted():
                self._flash(entry, event.flash, "omitted", event.time_s)
                self.rows[-1].omitted = True
            case TrialStarted():
                self._trial = event.trial
                if self.rows and self.rows[-1].start_flip == entry.flip:
                    self.rows[-1].trial = event.trial
            case TrialEnded():
                self._trial = -1
            case Change() if self.rows:
                self.rows[-1].is_change = True
            case ShamChange() if self.rows:
                if self.rows[-1].start_flip != entry.flip:
                    self._go_on(entry, event.time_s)
                self.rows[-1].is_sham_change = True
            case BlockStarted():
                self._block = event.block
                if event.block not in (BlockKind.TASK, BlockKind.SWEEP):
                    movies = [label(s) for s in self._stimuli if isinstance(s, NaturalMovie)]
                    shown = movies[0] if event.block is BlockKind.MOVIE else "gray"
                    self.rows.append(PresentationRow(event.block, shown, entry.flip, entry.refresh, event.time_s))
            case SessionStarted():
                self._stimuli = event.stimuli
            case _:
                pass

    def table(self) -> pd.DataFrame:
        """Return one row a presentation."""
        import pandas as pd  # noqa: PLC0415 - a second that no command to a session must wait for

        table = pd.DataFrame([asdict(row) for row in self.rows], columns=list(PresentationRow.__dataclass_fields__))
        table["block"] = [str(BlockKind(block).value) for block in table["block"]]
        return table

    def _go_on(self, entry: Entry, time_s: float) -> None:
        """Begin a row of its own where a static stimulus stays what it was: that is its sham change."""
        row = replace(
            self.rows[-1],
            start_flip=entry.flip,
            start_refresh=entry.refresh,
            start_time_s=time_s,
            planned_refresh=entry.refresh,
            late_refreshes=0,
            is_change=False,
            trial=self._trial,
        )
        self.rows.append(row)

    def _flash(self, entry: Entry, flash: int, stimulus: str, time_s: float) -> None:
        planned = self._planned
        self.rows.append(
            PresentationRow(
                block=self._block,
                stimulus=stimulus,
                start_flip=entry.flip,
                start_refresh=entry.refresh,
                start_time_s=time_s,
                flash=flash,
                planned_refresh=planned.refresh if planned is not None else -1,
                trial=self._trial,
            )
        )


def with_stops(table: pd.DataFrame, flips: AnyArray) -> pd.DataFrame:
    """Return the table with ``stop_flip``, ``stop_time_s`` and ``n_flips_shown``, from what the flips showed.

    A presentation stops with the first flip that shows something else, or that the next one starts with (a sweep may
    show the same patch twice in a row); an omitted flash has no flips and stops where it starts. Rows whose end the
    flips do not reach stop with the last flip.

    Parameters
    ----------
    flips
        Array of ``FLIP_DTYPE``, one record a flip from flip 0 on.
    """
    shown = flips["stimulus"]
    changes = np.flatnonzero(np.diff(shown)) + 1
    starts = table["start_flip"].to_numpy(dtype=np.int64)  # a table without rows has no type of its own
    after = np.searchsorted(changes, starts, side="right")
    last = max(len(flips) - 1, 0)
    stops = np.append(changes, last)[np.minimum(after, len(changes))]
    stops[:-1] = np.minimum(stops[:-1], starts[1:])
    stops = np.where(table["omitted"].to_numpy(dtype=bool), starts, np.maximum(stops, starts))
    result = table.copy()
    result["stop_flip"] = np.minimum(stops, last)
    result["stop_time_s"] = flips["time_s"][result["stop_flip"].to_numpy()] if len(flips) else np.nan
    result["n_flips_shown"] = result["stop_flip"] - starts
    return result
