"""What is on the screen during the task: planned one flip ahead, observed on the flip that showed it.

Siblings, one interface. ``FlashedStimulus`` lays flashes on the grid (as a sweep without a task does, see
``stages.sweep``: ``OnGrid`` is what they share); ``StaticStimulus`` keeps the stimulus on and changes it
after a number of refreshes. ``plan`` says what the next flip shows, ``observe`` what the last flip has shown.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from stages.cadence import Grid
from stages.events import Event, FlashLost, FlashOmitted, FlashPlanned, FlashShown
from stages.omissions import Omissions
from stages.trial import NEVER, Phase, TrialAutomaton

GRAY = 0
"""Index of the gray screen in every session's list of stimuli."""


class TaskStimulus(Protocol):
    """The stimulus of the task: what comes with the next flip, and what came with the last."""

    def begin(self, *, refresh: int) -> None:
        """Lay the grid: the task may show its first stimulus on ``refresh``."""

    def skip_to(self, *, refresh: int) -> None:
        """Go on after a pause: nothing comes before ``refresh``, and the grid stays."""

    def observe(self, *, refresh: int, time_s: float, out: list[Event]) -> bool:
        """Take note of the flip that followed the last plan; return whether a trial may start on it."""

    def plan(self, *, refresh: int, running: bool, out: list[Event]) -> int:
        """Return the stimulus for the flip on ``refresh``; nothing new comes unless ``running``."""

    def due_refresh(self, *, refresh: int, running: bool) -> int:
        """Return the refresh after which the next plan differs or an observation is owed."""

    @property
    def flash(self) -> int:
        """The number of the last flash planned; the first of the task is 0."""

    @property
    def is_gray(self) -> bool:
        """Whether the screen shows gray and nothing is about to change that."""

    @property
    def is_over(self) -> bool:
        """Whether nothing will ever come any more; what goes on for as long as the task does never is."""


class OnGrid(ABC):
    """Flashes on the grid, whatever they are: planned one flip ahead, lost if the screen stands still."""

    def __init__(self, *, lay: Callable[[int], Grid], n_flashes: int = NEVER) -> None:
        """``lay`` returns the grid, given the refresh on which the first flash may come."""
        self._lay = lay
        self._n_flashes = n_flashes
        self._grid = lay(NEVER)
        self._k = 0
        self._onset = NEVER  # of grid point _k
        self._flash = -1
        self._stimulus = GRAY
        self._planned: FlashPlanned | None = None
        self._off_refresh = NEVER

    def begin(self, *, refresh: int) -> None:  # noqa: D102 - see TaskStimulus
        self._grid = self._lay(refresh)
        self._go_to(self._k)

    def skip_to(self, *, refresh: int) -> None:  # noqa: D102
        self._go_to(max(self._k, self._grid.at_or_after(refresh)))

    def observe(self, *, refresh: int, time_s: float, out: list[Event]) -> bool:  # noqa: D102
        planned = self._planned
        if planned is None:
            return False
        self._planned = None
        if planned.omitted:
            out.append(FlashOmitted(flash=planned.flash, time_s=time_s))
        else:
            out.append(
                FlashShown(
                    flash=planned.flash,
                    stimulus=planned.stimulus,
                    time_s=time_s,
                    late_refreshes=refresh - planned.refresh,
                    off_refresh=self._off_refresh,
                )
            )
        return True

    @property
    def flash(self) -> int:
        """The number of the last flash planned; the first flash of the task is 0."""
        return self._flash

    def plan(self, *, refresh: int, running: bool, out: list[Event]) -> int:  # noqa: D102
        if self._stimulus != GRAY and refresh >= self._off_refresh:
            self._stimulus, self._off_refresh = GRAY, NEVER
        if running and refresh >= self._onset:
            self._plan_flash(refresh, out)
        return self._stimulus

    def due_refresh(self, *, refresh: int, running: bool) -> int:  # noqa: D102
        if self._planned is not None:
            return refresh + 1
        if running and self._onset < self._off_refresh:
            return self._onset - 1
        return self._off_refresh - 1

    @property
    def is_gray(self) -> bool:  # noqa: D102
        return self._stimulus == GRAY and self._planned is None

    @property
    def is_over(self) -> bool:  # noqa: D102
        return self._flash + 1 >= self._n_flashes and self.is_gray

    @abstractmethod
    def _next(self) -> tuple[int, bool, bool]:
        """Return stimulus of flash number ``self._flash``, whether it is omitted, whether a change falls on it."""

    def _go_to(self, k: int) -> None:
        self._k = k
        self._onset = self._grid.onset(k) if self._flash + 1 < self._n_flashes else NEVER

    def _plan_flash(self, refresh: int, out: list[Event]) -> None:
        n_lost = self._grid.still_showable(refresh) - self._k
        for _ in range(min(n_lost, self._n_flashes - self._flash - 1)):
            self._flash += 1
            self._go_to(self._k + 1)
            out.append(FlashLost(flash=self._flash))
        onset = self._onset
        if refresh < onset:
            return
        off_refresh = self._grid.off(self._k)
        self._flash += 1
        self._go_to(self._k + 1)
        stimulus, omitted, change = self._next()
        self._planned = FlashPlanned(
            flash=self._flash, refresh=onset, stimulus=stimulus, omitted=omitted, change=change
        )
        out.append(self._planned)
        if not omitted:
            self._stimulus, self._off_refresh = stimulus, off_refresh


class FlashedStimulus(OnGrid):
    """The trials' stimulus: it flashes until the change, then the other one does."""

    def __init__(self, *, lay: Callable[[int], Grid], omissions: Omissions, trial: TrialAutomaton) -> None:
        super().__init__(lay=lay)
        self._omissions = omissions
        self._trial = trial

    def observe(self, *, refresh: int, time_s: float, out: list[Event]) -> bool:  # noqa: D102
        planned = self._planned
        if planned is None:
            return False
        super().observe(refresh=refresh, time_s=time_s, out=out)
        if planned.change and self._trial.state.phase is Phase.BEFORE_CHANGE:
            self._trial.change_shown(refresh=refresh, time_s=time_s, out=out)
        return True

    def _next(self) -> tuple[int, bool, bool]:
        state, draws = self._trial.state, self._trial.draws
        change_flash = NEVER
        if state.phase is Phase.BEFORE_CHANGE and state.draw is not None:
            change_flash = state.start_flash + state.draw.change_after
        change = self._flash >= change_flash
        stimulus = draws.current_stimulus
        if change and state.draw is not None:
            stimulus = state.draw.change_stimulus
        omitted = self._omissions.draw(is_change=change, next_is_change=self._flash + 1 >= change_flash)
        return stimulus, omitted, change


class StaticStimulus:
    """The stimulus stays on; every change of it is logged as a flash of its own."""

    def __init__(self, *, trial: TrialAutomaton) -> None:
        self._trial = trial
        self._first = NEVER
        self._flash = -1
        self._stimulus = GRAY
        self._planned: FlashPlanned | None = None
        self._sham_planned = False

    def begin(self, *, refresh: int) -> None:  # noqa: D102
        self._first = refresh

    def skip_to(self, *, refresh: int) -> None:  # noqa: D102
        self._first = refresh

    def observe(self, *, refresh: int, time_s: float, out: list[Event]) -> bool:  # noqa: D102
        planned, self._planned = self._planned, None
        sham, self._sham_planned = self._sham_planned, False
        if planned is not None:
            out.append(
                FlashShown(
                    flash=planned.flash,
                    stimulus=planned.stimulus,
                    time_s=time_s,
                    late_refreshes=refresh - planned.refresh,
                    off_refresh=-1,
                )
            )
        change = sham or (planned is not None and planned.change)
        if change and self._trial.state.phase is Phase.BEFORE_CHANGE:
            self._trial.change_shown(refresh=refresh, time_s=time_s, out=out)
        return self._stimulus != GRAY

    @property
    def flash(self) -> int:
        """The number of the last stimulus that came on; the first of the task is 0."""
        return self._flash

    def plan(self, *, refresh: int, running: bool, out: list[Event]) -> int:  # noqa: D102
        if not running:
            self._stimulus = GRAY
            self._first = max(self._first, refresh + 1)
            return GRAY
        if refresh < self._first:
            return GRAY
        state = self._trial.state
        change_refresh = self._change_refresh()
        if self._stimulus == GRAY:
            self._come_on(self._trial.draws.current_stimulus, refresh=self._first, change=False, out=out)
        elif refresh >= change_refresh and state.draw is not None and not self._sham_planned:
            if state.draw.catch or state.draw.change_stimulus == self._stimulus:
                self._sham_planned = True
            elif self._planned is None:
                self._come_on(state.draw.change_stimulus, refresh=change_refresh, change=True, out=out)
        return self._stimulus

    def due_refresh(self, *, refresh: int, running: bool) -> int:  # noqa: D102
        if self._planned is not None or self._sham_planned:
            return refresh + 1
        if not running:
            return NEVER
        return min(self._first - 1 if self._stimulus == GRAY else NEVER, self._change_refresh() - 1)

    @property
    def is_gray(self) -> bool:  # noqa: D102
        return self._stimulus == GRAY

    @property
    def is_over(self) -> bool:  # noqa: D102
        return False

    def _change_refresh(self) -> int:
        state = self._trial.state
        if state.phase is not Phase.BEFORE_CHANGE or state.draw is None:
            return NEVER
        return state.start_refresh + state.draw.change_after

    def _come_on(self, stimulus: int, *, refresh: int, change: bool, out: list[Event]) -> None:
        self._flash += 1
        self._stimulus = stimulus
        self._planned = FlashPlanned(
            flash=self._flash, refresh=refresh, stimulus=stimulus, omitted=False, change=change
        )
        out.append(self._planned)
