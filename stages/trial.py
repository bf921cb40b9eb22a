"""One trial as an automaton: phases, what may occur in each, and one short function for each answer.

    WAITING --start--> BEFORE_CHANGE --change shown--> RESPONSE --window closed--> AFTER_WINDOW --over--> WAITING
                            |                                                                                ^
                            +--early lick--> TIMEOUT --no lick for the time-out------------------------------+

``LEGAL`` is the whole table; anything else raises ``IllegalOccurrence`` with phase and trial. The
functions do no IO: they append decisions to the list they are given. Times of licks are judged in
seconds against the change flip's own time; everything else is counted in refreshes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from stages.draws import Draws, TrialDraw
from stages.events import (
    Aborted,
    AlarmRaised,
    Change,
    Event,
    Outcome,
    RewardKind,
    RewardWithdrawn,
    ShamChange,
    TimeoutEnded,
    TrialEnded,
    TrialOutcome,
    TrialStarted,
)
from stages.parameters import StageParameters
from stages.rewards import Ledger
from stages.timing import TOLERANCE_REFRESHES, whole_refreshes

NEVER = 2**62
"""A refresh that does not come."""


class Phase(StrEnum):
    """Where a trial stands."""

    WAITING = "waiting"
    """No trial: the next one begins with the next flash (flashed) or at once (static)."""
    BEFORE_CHANGE = "before_change"
    TIMEOUT = "timeout"
    RESPONSE = "response"
    """From the change to the window's close; the first 150 ms of it neither abort nor earn."""
    AFTER_WINDOW = "after_window"


class Occurrence(StrEnum):
    """What can happen to a trial."""

    START = "start"
    CHANGE_SHOWN = "change shown"
    EARLY_LICK = "early lick"
    ANSWER = "answer"
    AUTO_REWARD_DUE = "auto reward due"
    WINDOW_CLOSED = "window closed"
    READ_BACK = "reward read back"
    TIMEOUT_OVER = "time-out over"
    OVER = "over"
    CUT = "cut"


_P, _O = Phase, Occurrence
LEGAL: dict[tuple[Phase, Occurrence], Phase] = {
    (_P.WAITING, _O.START): _P.BEFORE_CHANGE,
    (_P.BEFORE_CHANGE, _O.EARLY_LICK): _P.TIMEOUT,
    (_P.BEFORE_CHANGE, _O.CHANGE_SHOWN): _P.RESPONSE,
    (_P.TIMEOUT, _O.EARLY_LICK): _P.TIMEOUT,
    (_P.TIMEOUT, _O.TIMEOUT_OVER): _P.WAITING,
    (_P.RESPONSE, _O.ANSWER): _P.RESPONSE,
    (_P.RESPONSE, _O.AUTO_REWARD_DUE): _P.RESPONSE,
    (_P.RESPONSE, _O.READ_BACK): _P.RESPONSE,
    (_P.RESPONSE, _O.WINDOW_CLOSED): _P.AFTER_WINDOW,
    (_P.AFTER_WINDOW, _O.AUTO_REWARD_DUE): _P.AFTER_WINDOW,
    (_P.AFTER_WINDOW, _O.READ_BACK): _P.AFTER_WINDOW,
    (_P.AFTER_WINDOW, _O.OVER): _P.WAITING,
    (_P.BEFORE_CHANGE, _O.CUT): _P.WAITING,
    (_P.TIMEOUT, _O.CUT): _P.WAITING,
    (_P.RESPONSE, _O.CUT): _P.WAITING,
    (_P.AFTER_WINDOW, _O.CUT): _P.WAITING,
}


class IllegalOccurrence(RuntimeError):
    """Something was told to a trial that can't happen in its phase: an error of this program."""

    def __init__(self, occurrence: Occurrence, state: TrialState) -> None:
        super().__init__(f"{occurrence.value} can't happen in phase {state.phase.value} of trial {state.number}")


@dataclass(slots=True)
class TrialState:
    """The present trial: printable, copyable, comparable."""

    phase: Phase = Phase.WAITING
    number: int = -1
    draw: TrialDraw | None = None
    start_flash: int = -1
    start_refresh: int = -1
    change_refresh: int = -1
    change_time_s: float = -1.0
    last_lick_refresh: int = -1
    outcome: Outcome | None = None
    reward: int = -1
    """The armed or commanded reward of this trial, -1 for none."""
    reward_is_armed: bool = False
    """An armed reward of which it is not yet known whether it fired."""
    reward_fired: bool = False
    auto_reward_is_due: bool = False


@dataclass(frozen=True, slots=True)
class TrialRules:
    """The numbers of the automaton, in the unit it judges them."""

    abort_on_early_lick: bool
    timeout_refreshes: int
    window_opens_s: float
    window_closes_s: float
    end_after_change_refreshes: int
    """Window, lateness of licks, and what follows the window: 4.25 s where licks are never late."""
    auto_delay_refreshes: int
    reward_volume_ul: float
    auto_reward_volume_ul: float
    pays: bool
    lick_latency_s: float

    @classmethod
    def of(cls, p: StageParameters, *, refresh_hz: float, lick_latency_s: float) -> TrialRules:
        """Compile a stage for a screen of ``refresh_hz``; refuses durations that do not fit."""
        low, high = p.response_window_s
        late = math.ceil(lick_latency_s * refresh_hz - TOLERANCE_REFRESHES)
        return cls(
            abort_on_early_lick=p.abort_on_early_lick,
            timeout_refreshes=whole_refreshes(p.timeout_s, refresh_hz=refresh_hz, field="timeout_s"),
            window_opens_s=low,
            window_closes_s=high,
            end_after_change_refreshes=late
            + whole_refreshes(
                high + p.after_window_s, refresh_hz=refresh_hz, field="response_window_s[1] + after_window_s"
            ),
            auto_delay_refreshes=whole_refreshes(
                p.auto_reward_delay_s, refresh_hz=refresh_hz, field="auto_reward_delay_s"
            ),
            reward_volume_ul=p.reward_volume_ul,
            auto_reward_volume_ul=p.auto_reward_volume_ul,
            pays=not p.passive,
            lick_latency_s=lick_latency_s,
        )


def _no_read_back(trial: int) -> AlarmRaised:
    return AlarmRaised(
        alarm="reward",
        what=f"the valve did not say whether the reward of trial {trial} was given",
        remedy="check the valve's counter; look at the spout for water",
    )


class TrialAutomaton:
    """Runs one trial after the other. Every function appends its decisions to ``out``."""

    def __init__(self, rules: TrialRules, *, draws: Draws, ledger: Ledger) -> None:
        self.rules = rules
        self.draws = draws
        self.state = TrialState()
        self.may_pay = rules.pays
        """Whether water may be given in trials: not in passive stages, not with the spout retracted."""
        self.may_prolong = True
        """Whether licks prolong a time-out: not once its end is waited for, or a line that chatters would keep it."""
        self._ledger = ledger

    @property
    def waiting(self) -> bool:
        """Whether no trial is running."""
        return self.state.phase is Phase.WAITING

    def due_refresh(self) -> int:
        """Return the refresh at which a counted time of this trial runs out."""
        s = self.state
        if s.phase is Phase.TIMEOUT:
            return self.timeout_ends()
        due = s.change_refresh + self.rules.end_after_change_refreshes if s.phase is Phase.AFTER_WINDOW else NEVER
        if s.auto_reward_is_due:
            due = min(due, s.change_refresh + self.rules.auto_delay_refreshes)
        return due

    def timeout_ends(self) -> int:
        """Return the refresh at which the running time-out is over."""
        return self.state.last_lick_refresh + self.rules.timeout_refreshes

    def due_s(self) -> float:
        """Return the session time at which the response window can be closed, or infinity."""
        if self.state.phase is not Phase.RESPONSE:
            return math.inf
        return self.state.change_time_s + self.rules.window_closes_s + self.rules.lick_latency_s

    def start(self, *, flash: int, refresh: int, time_s: float, out: list[Event]) -> None:
        """Begin the next trial on this flip."""
        if (self.state.phase, _O.START) not in LEGAL:
            raise IllegalOccurrence(_O.START, self.state)
        draw = self.draws.next()
        number = self.state.number + 1
        self.state = TrialState(
            phase=Phase.BEFORE_CHANGE, number=number, draw=draw, start_flash=flash, start_refresh=refresh
        )
        out.append(
            TrialStarted(
                trial=number,
                attempt=draw.attempt,
                change_after=draw.change_after,
                catch=draw.catch,
                auto_rewarded=draw.auto_rewarded,
                initial_stimulus=draw.initial_stimulus,
                change_stimulus=draw.change_stimulus,
                time_s=time_s,
            )
        )

    def change_shown(self, *, refresh: int, time_s: float, out: list[Event]) -> None:
        """The change, or the catch trial's sham change, came on with this flip."""
        s, draw = self._to(_O.CHANGE_SHOWN)
        s.change_refresh, s.change_time_s = refresh, time_s
        self.draws.changed()
        if draw.catch:
            out.append(ShamChange(trial=s.number, time_s=time_s))
            return
        out.append(
            Change(trial=s.number, from_stimulus=draw.initial_stimulus, to_stimulus=draw.change_stimulus, time_s=time_s)
        )
        if draw.auto_rewarded:
            s.auto_reward_is_due = True
        elif self.may_pay and self.rules.reward_volume_ul > 0:
            armed = self._ledger.arm(
                trial=s.number,
                volume_ul=self.rules.reward_volume_ul,
                opens_s=time_s + self.rules.window_opens_s,
                closes_s=time_s + self.rules.window_closes_s,
            )
            s.reward, s.reward_is_armed = armed.reward, True
            out.append(armed)

    def lick(self, *, lick_time_s: float, refresh: int, out: list[Event]) -> None:
        """A lick was seen on this flip."""
        s = self.state
        match s.phase:
            case Phase.BEFORE_CHANGE if self.rules.abort_on_early_lick:
                self._to(_O.EARLY_LICK)
                s.last_lick_refresh = refresh
                s.outcome = Outcome.ABORTED
                out.append(Aborted(trial=s.number, lick_time_s=lick_time_s))
                out.append(TrialOutcome(trial=s.number, outcome=Outcome.ABORTED, lick_time_s=lick_time_s))
            case Phase.TIMEOUT:
                self._to(_O.EARLY_LICK)
                if self.may_prolong:
                    s.last_lick_refresh = refresh
            case Phase.RESPONSE:
                latency_s = lick_time_s - s.change_time_s
                in_window = self.rules.window_opens_s <= latency_s <= self.rules.window_closes_s
                if in_window and s.outcome is None and s.draw is not None and not s.draw.auto_rewarded:
                    self._to(_O.ANSWER)
                    self._conclude(Outcome.FALSE_ALARM if s.draw.catch else Outcome.HIT, lick_time_s, out)
            case _:
                pass

    def auto_reward_due(self, *, refresh: int, out: list[Event]) -> None:
        """Pay the auto reward once its delay after the change has passed and no other water flows."""
        s = self.state
        if s.auto_reward_is_due and refresh >= s.change_refresh + self.rules.auto_delay_refreshes:
            if self._ledger.flowing:
                return
            self._to(_O.AUTO_REWARD_DUE)
            s.auto_reward_is_due = False
            if self.may_pay:
                commanded = self._ledger.command(
                    kind=RewardKind.AUTO, trial=s.number, volume_ul=self.rules.auto_reward_volume_ul
                )
                s.reward = commanded.reward
                out.append(commanded)

    def close_window(self, *, time_s: float, out: list[Event]) -> None:
        """Close the response window once no lick inside it can still arrive."""
        s = self.state
        if s.phase is not Phase.RESPONSE or time_s < self.due_s():
            return
        _, draw = self._to(_O.WINDOW_CLOSED)
        if s.reward_is_armed:
            out.append(RewardWithdrawn(reward=s.reward))  # its read-back decides between hit and miss
        elif s.outcome is None:
            if draw.auto_rewarded:
                self._conclude(Outcome.AUTO_REWARDED, None, out)
            else:
                self._conclude(Outcome.CORRECT_REJECT if draw.catch else Outcome.MISS, None, out)

    def reward_settled(self, *, reward: int, fired: bool, lick_time_s: float | None, out: list[Event]) -> None:
        """The device says whether this trial's reward fired."""
        s = self.state
        if reward != s.reward or s.phase is Phase.WAITING:
            return
        s.reward_fired = s.reward_fired or fired
        if not s.reward_is_armed:
            return
        self._to(_O.READ_BACK)
        s.reward_is_armed = False
        if s.outcome is not None:
            return
        if fired:
            self._conclude(Outcome.HIT, lick_time_s, out)
        elif s.phase is Phase.AFTER_WINDOW:
            self._conclude(Outcome.MISS, None, out)

    def withdraw(self, *, out: list[Event]) -> None:
        """Withdraw an armed reward before its window has closed: water must not flow now."""
        if self.state.reward_is_armed:
            out.append(RewardWithdrawn(reward=self.state.reward))

    def run_out(self, *, refresh: int, time_s: float, out: list[Event]) -> bool:
        """End a time-out or a trial whose time has run out; return whether a trial ended."""
        s = self.state
        if s.phase is Phase.TIMEOUT and refresh >= self.timeout_ends():
            self._to(_O.TIMEOUT_OVER)
            out.append(TimeoutEnded(trial=s.number))
            self.draws.aborted()
        elif s.phase is Phase.AFTER_WINDOW and refresh >= s.change_refresh + self.rules.end_after_change_refreshes:
            if s.outcome is None:  # what the licks say stands
                self._conclude(Outcome.MISS, None, out)
            if s.reward_is_armed:
                s.reward_is_armed = False
                out.append(_no_read_back(s.number))
            self._to(_O.OVER)
            s.auto_reward_is_due = False  # still due only if the valve never said that the pulse before was over
            self.draws.completed(rewarded=s.reward_fired)
        else:
            return False
        out.append(TrialEnded(trial=s.number, time_s=time_s))
        return True

    def cut(self, *, time_s: float, out: list[Event]) -> None:
        """End the trial at once: the session stops now."""
        s = self.state
        if s.phase is Phase.WAITING:
            return
        self._to(_O.CUT)
        if s.reward_is_armed:
            out.append(RewardWithdrawn(reward=s.reward))
        if s.outcome is None:
            self._conclude(Outcome.INCOMPLETE, None, out)
        s.auto_reward_is_due = False
        out.append(TrialEnded(trial=s.number, time_s=time_s))

    def _conclude(self, outcome: Outcome, lick_time_s: float | None, out: list[Event]) -> None:
        self.state.outcome = outcome
        out.append(TrialOutcome(trial=self.state.number, outcome=outcome, lick_time_s=lick_time_s))

    def _to(self, occurrence: Occurrence) -> tuple[TrialState, TrialDraw]:
        s = self.state
        phase = LEGAL.get((s.phase, occurrence))
        if phase is None or s.draw is None:
            raise IllegalOccurrence(occurrence, s)
        s.phase = phase
        return s, s.draw
