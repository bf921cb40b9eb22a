"""One row a trial, folded from the log."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

from rig.log.schema import Entry
from stages.events import (
    BlockKind,
    BlockStarted,
    Change,
    Lick,
    Outcome,
    RewardArmed,
    RewardCommanded,
    RewardFired,
    SessionStarted,
    ShamChange,
    TrialEnded,
    TrialOutcome,
    TrialStarted,
)
from stimuli.spec import Stimulus, label


@dataclass(slots=True)
class TrialRow:
    """A trial. Times in session seconds, NaN where there is none; flips -1 where there is none."""

    trial: int
    attempt: int
    start_flip: int
    start_refresh: int
    start_time_s: float
    end_flip: int = -1
    end_time_s: float = math.nan
    initial_stimulus: str = ""
    change_stimulus: str = ""
    change_after: int = 0
    """Planned: flashes (flashed stages) or refreshes (static) from the trial's start."""
    catch: bool = False
    auto_rewarded: bool = False
    """Planned to be paid automatically; an aborted attempt keeps the mark."""
    outcome: Outcome = Outcome.INCOMPLETE
    change_flip: int = -1
    change_time_s: float = math.nan
    """The change's flip, or the sham change's in a catch trial."""
    response_time_s: float = math.nan
    """The lick that answered: the first one in the window, or the one that aborted."""
    reward_time_s: float = math.nan
    reward_volume_ul: float = 0.0
    lick_times_s: list[float] = field(default_factory=list)


class TrialsFold:
    """Trials from entries, live or from the file.

    A lick on the flip that a trial starts on is that trial's; one in a pause or after the last trial's end is no
    trial's. A trial whose beginning stands in a damaged line has no row. In a session that was imported a trial has
    every lick up to the next one's first flip, that one's too: so AllenSDK reads camstim's files.
    """

    TAKES = (
        Lick,
        TrialStarted,
        Change,
        ShamChange,
        TrialOutcome,
        RewardArmed,
        RewardCommanded,
        RewardFired,
        TrialEnded,
        SessionStarted,
        BlockStarted,
    )

    def __init__(self) -> None:
        self.rows: list[TrialRow] = []
        self._stimuli: list[Stimulus] = []
        self._running = False
        self._is_ours = True
        self._block = BlockKind.TASK
        self._loose_licks: list[tuple[int, float]] = []  # seen while no trial ran: (flip, time)
        self._last_lick_flip = -1
        self._n_on_flip = 0
        self._rewards: dict[int, tuple[int, float]] = {}  # reward -> (trial, volume)

    def feed(self, entry: Entry) -> None:
        """Take the next entry of the log; entries that are not in ``TAKES`` change nothing."""
        event = entry.event
        if not self.rows and not isinstance(event, Lick | TrialStarted | SessionStarted | BlockStarted):
            return  # its trial's beginning stands in a damaged line
        match event:
            case Lick() if not self._is_ours:
                if self.rows and self._block is BlockKind.TASK:
                    self.rows[-1].lick_times_s.append(event.time_s)
            case Lick():
                if self._running:
                    self.rows[-1].lick_times_s.append(event.time_s)
                    self._last_lick_flip, self._n_on_flip = (
                        entry.flip,
                        self._n_on_flip + 1 if entry.flip == self._last_lick_flip else 1,
                    )
                elif self._block is not BlockKind.PAUSE:
                    self._loose_licks.append((entry.flip, event.time_s))
            case TrialStarted():
                self._start(entry, event)
            case Change() | ShamChange() if event.trial == self.rows[-1].trial:
                self.rows[-1].change_flip = entry.flip
                self.rows[-1].change_time_s = event.time_s
            case TrialOutcome() if event.trial == self.rows[-1].trial:
                self.rows[-1].outcome = event.outcome
                if event.lick_time_s is not None:
                    self.rows[-1].response_time_s = event.lick_time_s
            case RewardArmed() | RewardCommanded() if event.trial >= 0:
                self._rewards[event.reward] = event.trial, event.volume_ul
            case RewardFired() if event.reward in self._rewards:
                trial, volume_ul = self._rewards[event.reward]
                for row in reversed(self.rows):
                    if row.trial == trial:
                        row.reward_time_s, row.reward_volume_ul = event.time_s, volume_ul
                        break
            case TrialEnded() if event.trial == self.rows[-1].trial:
                self._end(entry, event)
            case SessionStarted():
                self._stimuli = event.stimuli
                self._is_ours = event.imported_from is None
            case BlockStarted():
                self._block = event.block
            case _:
                pass

    def table(self) -> pd.DataFrame:
        """Return one row a trial, with the published data set's classes as columns of their own.

        ``go``, ``catch``, ``auto_rewarded`` and ``aborted`` exclude each other, as in AllenSDK; a trial that a stop
        cut short is none of them.
        """
        return trial_table(self.rows)

    def _start(self, entry: Entry, event: TrialStarted) -> None:
        licks = []
        for flip, time_s in self._loose_licks:
            if flip >= entry.flip:
                licks.append(time_s)  # seen on the flip this trial starts on: it is this trial's
            elif self.rows:
                self.rows[-1].lick_times_s.append(time_s)
        self._loose_licks.clear()
        self._running = True
        self.rows.append(
            TrialRow(
                trial=event.trial,
                attempt=event.attempt,
                start_flip=entry.flip,
                start_refresh=entry.refresh,
                start_time_s=event.time_s,
                initial_stimulus=self.label_of(event.initial_stimulus),
                change_stimulus=self.label_of(event.change_stimulus),
                change_after=event.change_after,
                catch=event.catch,
                auto_rewarded=event.auto_rewarded,
                lick_times_s=licks,
            )
        )

    def _end(self, entry: Entry, event: TrialEnded) -> None:
        row = self.rows[-1]
        row.end_flip, row.end_time_s = entry.flip, event.time_s
        self._running = False
        if self._last_lick_flip == entry.flip:  # licks seen on the flip the trial ends on come after its end
            late = row.lick_times_s[-self._n_on_flip :]
            del row.lick_times_s[-self._n_on_flip :]
            self._loose_licks = [(entry.flip, time_s) for time_s in late]

    def label_of(self, index: int) -> str:
        """Return the name that the table gives to one of the session's stimuli."""
        return label(self._stimuli[index]) if index < len(self._stimuli) else str(index)


def trial_table(rows: Iterable[TrialRow]) -> pd.DataFrame:
    """Return rows as a table, see ``TrialsFold.table``."""
    import pandas as pd  # noqa: PLC0415 - a second that no command to a session must wait for

    table = pd.DataFrame([asdict(row) for row in rows], columns=list(TrialRow.__dataclass_fields__))
    outcome = table["outcome"]
    aborted = outcome == Outcome.ABORTED
    table["aborted"] = aborted
    table["auto_rewarded"] = outcome == Outcome.AUTO_REWARDED
    table["catch"] = table["catch"].astype(bool) & ~aborted & (outcome != Outcome.INCOMPLETE)
    incomplete = outcome == Outcome.INCOMPLETE
    table["go"] = ~(aborted | incomplete | table["catch"] | table["auto_rewarded"])
    for name in (Outcome.HIT, Outcome.MISS, Outcome.FALSE_ALARM, Outcome.CORRECT_REJECT):
        table[name.value] = outcome == name
    table["outcome"] = [str(Outcome(value).value) for value in outcome]
    table["response_latency_s"] = table["response_time_s"] - table["change_time_s"]
    return table
