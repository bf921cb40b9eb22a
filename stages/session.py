"""The session around the trials: blocks, pause, stop, limits, commands, faults.

    gray_before -> task or sweep (<-> pause) -> gray_after -> movie

Rules
    * Limits (duration, volume) are judged at the end of a trial; the closing blocks follow. A sweep without
      trials is over when all of it has been shown.
    * *Pause* may be asked any time and acts when the trial has ended: gray, a block of its own, the
      task's clock stands, the grid of flashes stays where it is.
    * *Stop* acts when the trial has ended and runs the closing blocks; *stop-now* cuts everything.
    * A free reward never counts as a trial's; it is refused within 1 s of another, in passive stages,
      with the spout retracted, above the volume limit and outside the valve's calibration. While a
      trial's reward is armed or due, or other water flows, it waits.
    * With the spout retracted no water is given in any way; the trials go on and an alarm says so.
    * A device's fault raises an alarm; the policy of that device says what becomes of the session. Water that is
      not known to have flowed is a fault of the valve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from stages.events import (
    AlarmCleared,
    AlarmRaised,
    BlockEnded,
    BlockKind,
    BlockStarted,
    CommandApplied,
    CommandReceived,
    CommandRefused,
    DeviceFault,
    DeviceRecovered,
    EndReason,
    Event,
    FaultPolicy,
    Note,
    Outcome,
    Paused,
    Resumed,
    RewardConfirmed,
    RewardFailed,
    RewardFired,
    RewardKind,
    SessionEnded,
    SpoutCommanded,
    SpoutMoved,
    SpoutPosition,
    Verb,
)
from stages.flashes import GRAY, TaskStimulus
from stages.parameters import Stage, SweepParameters
from stages.rewards import Ledger, RewardResult
from stages.timing import whole_refreshes
from stages.trial import NEVER, TrialAutomaton
from stimuli.spec import NaturalMovie

FREE_REWARD_INTERVAL_S = 1.0
"""A second free reward sooner than this is taken for a slip of the hand."""

RETRACTED = "spout retracted"
_CLOSING = (BlockKind.GRAY_AFTER, BlockKind.MOVIE)


@dataclass(frozen=True, slots=True)
class SessionRules:
    """The numbers of a session, in the unit it judges them."""

    runs: BlockKind
    """What the grays enclose: the task or a sweep."""
    passive: bool
    gray_before_refreshes: int
    task_refreshes: int
    """A sweep ends by itself."""
    overrun_refreshes: int
    gray_after_refreshes: int
    volume_limit_ul: float
    free_reward_volume_ul: float
    """Where the operator names no volume."""

    @classmethod
    def of(cls, p: Stage, *, refresh_hz: float) -> SessionRules:
        """Compile a stage for a screen of ``refresh_hz``; refuses durations that do not fit."""

        def refreshes(seconds: float, field: str) -> int:
            return whole_refreshes(seconds, refresh_hz=refresh_hz, field=field)

        gray_before = refreshes(p.gray_before_s, "gray_before_s")
        gray_after = refreshes(p.gray_after_s, "gray_after_s")
        if isinstance(p, SweepParameters):
            return cls(
                runs=BlockKind.SWEEP,
                passive=True,
                gray_before_refreshes=gray_before,
                task_refreshes=NEVER,
                overrun_refreshes=0,
                gray_after_refreshes=gray_after,
                volume_limit_ul=math.inf,
                free_reward_volume_ul=0.0,
            )
        return cls(
            runs=BlockKind.TASK,
            passive=p.passive,
            gray_before_refreshes=gray_before,
            task_refreshes=refreshes(p.task_duration_min * 60, "task_duration_min"),
            overrun_refreshes=refreshes(p.overrun_limit_s, "overrun_limit_s"),
            gray_after_refreshes=gray_after,
            volume_limit_ul=p.volume_limit_ul,
            free_reward_volume_ul=p.auto_reward_volume_ul,
        )


class Session:
    """The blocks of a session and what moves it from one to the next."""

    def __init__(
        self,
        rules: SessionRules,
        *,
        refresh_hz: float,
        trial: TrialAutomaton,
        stimulus: TaskStimulus,
        ledger: Ledger,
        movie: tuple[int, NaturalMovie] | None,
        policies: Mapping[str, FaultPolicy],
        valve_range_ul: tuple[float, float],
    ) -> None:
        self._rules = rules
        self._refresh_hz = refresh_hz
        self._trial = trial
        self._stimulus = stimulus
        self._ledger = ledger
        self._movie = movie
        self._policies = policies
        self._valve_range_ul = valve_range_ul
        self.block: BlockKind | None = None
        self.ended: SessionEnded | None = None
        """How the session ended, once it has; the step puts it behind all it decides."""
        self._block_ends = NEVER
        self._task_ends = NEVER
        self._cut_refresh = NEVER  # a trial that still runs is cut then
        self._pause_began = NEVER
        self._is_running = False
        self._pause_asked_by: str | None = None
        self._resume_asked_by: str | None = None
        self._end: tuple[EndReason, str, str] | None = None
        self._cut_now = False
        self._cut_done = False
        self._last_free_s = -FREE_REWARD_INTERVAL_S
        self._waiting_free: list[CommandReceived] = []
        self._retracted_alarm = False

    @property
    def may_start_trial(self) -> bool:
        """Whether a trial may begin on a flip that a trial may begin on."""
        in_task = self.block is self._rules.runs and self._end is None and self._pause_asked_by is None
        return in_task and not self._water_is_out

    def advance(self, *, refresh: int, time_s: float, trial_ended: bool, out: list[Event]) -> None:
        """Judge the limits and move from block to block."""
        if self.block is None:
            self._begin(refresh, time_s, out)
        self._trial.may_prolong = not self._is_asked
        is_due = refresh >= self._block_ends or refresh >= self._cut_refresh
        if not (trial_ended or is_due or self._is_asked or self._water_is_out or self._stimulus.is_over):
            return
        if self._cut_now:
            self._cut(time_s, out)
            return
        if self.block is self._rules.runs:
            self._judge_limits(refresh, time_s, trial_ended, out)
        moved = True
        while moved and self.ended is None:
            moved = self._move(refresh, time_s, out)

    def plan(self, *, refresh: int, time_s: float, out: list[Event]) -> int:
        """Return the stimulus for the flip after ``refresh``."""
        if self._waiting_free and not self._valve_is_taken:
            self._settle_waiting(self._waiting_free.pop(0), time_s, out)
        self._is_running = self._running()
        if self._cut_now or self.ended is not None:
            return GRAY
        target = refresh + 1
        if self.block in _CLOSING:
            if self._movie is None:
                return GRAY
            in_movie = self.block is BlockKind.MOVIE
            shows_movie = target < self._block_ends if in_movie else target >= self._block_ends
            return self._movie[0] if shows_movie else GRAY
        return self._stimulus.plan(refresh=target, running=self._is_running, out=out)

    def due_refresh(self, *, refresh: int) -> int:
        """Return the refresh at which blocks or stimulus next want a step."""
        if self._cut_now:
            return refresh + 1
        if self.block is self._rules.runs:
            if not self._is_running:  # what was asked for may come with any flip now
                return refresh + 1
            due = self._stimulus.due_refresh(refresh=refresh, running=True)
            return due if due < self._cut_refresh else self._cut_refresh
        ends = self._block_ends - 1 if refresh < self._block_ends - 1 else self._block_ends
        if self.block in _CLOSING:
            return ends
        if self._is_asked:  # by a reward that failed in gray or pause, say, which is heard of after the move
            return refresh + 1
        return min(self._stimulus.due_refresh(refresh=refresh, running=self._is_running), ends)

    def command(self, command: CommandReceived, *, refresh: int, time_s: float, out: list[Event]) -> None:
        """Carry out, put off or refuse an operator's request."""
        refusal, what = None, ""
        match command.verb:
            case Verb.NOTE:
                out.append(Note(who=command.who, text=command.text, time_s=time_s))
                what = "noted"
            case Verb.PAUSE:
                refusal, what = self._ask_pause(command.who)
            case Verb.RESUME:
                refusal, what = self._ask_resume(command.who)
            case Verb.STOP:
                if self.block in _CLOSING or self._cut_now:
                    refusal = "the task is over and the closing blocks run; stop-now ends them"
                elif self._end is not None:
                    refusal = "the session is stopping already"
                else:
                    self._end = (EndReason.STOPPED, command.who, command.text or "stop asked by the operator")
                    what = f"stops, with the closing blocks, {self._when()}; {self._closing}"
            case Verb.STOP_NOW:
                if self._cut_now:
                    refusal = "the session is ending already"
                else:
                    self._end = (EndReason.STOPPED_NOW, command.who, command.text or "stop-now asked by the operator")
                    self._cut_now = True
                    what = "stops now"
            case Verb.SPOUT:
                if command.position is None:
                    refusal = "no position given; at_mouse or retracted"
                elif self._rules.passive and command.position is SpoutPosition.AT_MOUSE:
                    refusal = "the spout stays retracted in a passive stage"
                else:
                    if command.position is SpoutPosition.RETRACTED:
                        self._withhold_water(out)
                    out.append(SpoutCommanded(position=command.position))
                    what = f"spout moves: {command.position.value}"
            case Verb.REWARD:
                refusal = self._refuse_free(command, time_s)
                if refusal is None:
                    self._last_free_s = time_s
                    if self._valve_is_taken:
                        self._waiting_free.append(command)
                        what = "free reward follows when the reward before it is settled"
                    else:
                        self._give_free(command, time_s, out)
                        what = "free reward given"
        if refusal is None:
            out.append(CommandApplied(command=command.command, verb=command.verb, what=what))
        else:
            out.append(CommandRefused(command=command.command, verb=command.verb, why=refusal))

    def device(self, event: DeviceFault | DeviceRecovered, *, out: list[Event]) -> None:
        """Raise or clear the alarm of a device and follow its policy."""
        if isinstance(event, DeviceRecovered):
            out.append(AlarmCleared(alarm=event.device))
            return
        out.append(AlarmRaised(alarm=event.device, what=event.what, remedy=event.remedy))
        self._follow_policy(event.device, event.what)

    def _follow_policy(self, device: str, what: str) -> None:
        end = (EndReason.FAULT, "policy", f"{device}: {what}")
        match self._policies.get(device, FaultPolicy.CONTINUE):
            case FaultPolicy.CONTINUE:
                pass
            case FaultPolicy.PAUSE:
                self._ask_pause("policy")
            case FaultPolicy.STOP:
                if self.block not in _CLOSING and self._end is None:
                    self._end = end
            case FaultPolicy.STOP_NOW:
                if not self._cut_now:
                    self._end, self._cut_now = end, True

    def spout_moved(self, event: SpoutMoved, *, out: list[Event]) -> None:
        """Give water only with the spout at the mouse, and say so when it is not."""
        if self._rules.passive:
            return
        if event.position is SpoutPosition.RETRACTED:
            self._withhold_water(out)
            what = "the spout is retracted: trials go on without water"
            out.append(AlarmRaised(alarm=RETRACTED, what=what, remedy="rig spout at_mouse, or pause the session"))
            self._retracted_alarm = True
            return
        self._trial.may_pay = True
        if self._retracted_alarm:
            out.append(AlarmCleared(alarm=RETRACTED))
            self._retracted_alarm = False

    def reward_result(self, event: RewardResult, *, out: list[Event]) -> None:
        """Enter a reward's fate into ledger and trial; name a hit that was not paid."""
        self._ledger.take(event)
        if isinstance(event, RewardConfirmed):
            return
        fired = isinstance(event, RewardFired)
        self._trial.reward_settled(
            reward=event.reward,
            fired=fired,
            lick_time_s=event.lick_time_s if isinstance(event, RewardFired) else None,
            out=out,
        )
        state = self._trial.state
        if isinstance(event, RewardFailed):
            out.append(
                AlarmRaised(
                    alarm="reward", what=event.why, remedy="look at the spout: water, tubing, valve and its wire"
                )
            )
            self._follow_policy("valve", event.why)
        elif not fired and event.reward == state.reward and state.outcome is Outcome.HIT:
            out.append(
                AlarmRaised(
                    alarm="reward",
                    what=f"the hit of trial {state.number} was not paid",
                    remedy="check the lick line's trigger input and the valve",
                )
            )

    @property
    def _water_is_out(self) -> bool:
        """Whether the volume limit has been reached and the task is still to end for it."""
        return self._limit_is_reached and self._end is None and self._trial.waiting

    @property
    def _limit_is_reached(self) -> bool:
        return self._ledger.dispensed_ul >= self._rules.volume_limit_ul

    @property
    def _is_asked(self) -> bool:
        """Whether an end, a pause or its end was asked for and waits for its moment."""
        return self._end is not None or self._pause_asked_by is not None or self._resume_asked_by is not None

    @property
    def _valve_is_taken(self) -> bool:
        """Whether a free reward must wait: there is one valve and one counter."""
        trial = self._trial.state
        return trial.reward_is_armed or trial.auto_reward_is_due or self._ledger.flowing

    def _begin(self, refresh: int, time_s: float, out: list[Event]) -> None:
        position = SpoutPosition.RETRACTED if self._rules.passive else SpoutPosition.AT_MOUSE
        out.append(SpoutCommanded(position=position))
        self._enter(BlockKind.GRAY_BEFORE, time_s, out)
        self._block_ends = refresh + self._rules.gray_before_refreshes
        self._stimulus.begin(refresh=max(self._block_ends, refresh + 1))

    @property
    def _task_min(self) -> float:
        return self._rules.task_refreshes / self._refresh_hz / 60

    def _running(self) -> bool:
        """Return whether new stimuli of the task may come."""
        if self._end is None and self._pause_asked_by is None:
            return self.block is self._rules.runs or self.block is BlockKind.GRAY_BEFORE
        if self._end is not None or self.block not in (BlockKind.GRAY_BEFORE, self._rules.runs):
            return self._end is not None and self.block is self._rules.runs and not self._trial.waiting
        return self._pause_asked_by is None or not (self._trial.waiting or self.block is BlockKind.GRAY_BEFORE)

    def _judge_limits(self, refresh: int, time_s: float, trial_ended: bool, out: list[Event]) -> None:
        if not trial_ended and not self._trial.waiting and refresh >= self._cut_refresh:
            self._trial.cut(time_s=time_s, out=out)
            trial_ended = True
        if self._end is None and self._stimulus.is_over:
            self._end = (EndReason.TIME, "task", f"all {self._stimulus.flash + 1} patches of the sweep are over")
        if self._end is None and (trial_ended or self._water_is_out):
            if trial_ended and refresh >= self._task_ends:
                self._end = (EndReason.TIME, "task", f"{self._task_min:g} min of task are over")
            elif self._limit_is_reached:
                self._end = (
                    EndReason.VOLUME,
                    "task",
                    f"{self._ledger.dispensed_ul:g} uL given, the limit is {self._rules.volume_limit_ul:g} uL",
                )

    def _move(self, refresh: int, time_s: float, out: list[Event]) -> bool:
        """Make at most one move from one block to the next; return whether one was made."""
        quiet = self._trial.waiting and self._stimulus.is_gray
        match self.block:
            case BlockKind.GRAY_BEFORE if self._end is not None and quiet:
                self._close(refresh, time_s, out)
            case BlockKind.GRAY_BEFORE if refresh >= self._block_ends:
                self._block_ends = NEVER
                self._let_task_end(refresh + self._rules.task_refreshes)
                self._leave(time_s, out)
                self._enter(self._rules.runs, time_s, out)
            case self._rules.runs if self._end is not None and quiet:
                self._close(refresh, time_s, out)
            case self._rules.runs if self._pause_asked_by is not None and quiet:
                self._pause_began = refresh
                out.append(Paused(who=self._pause_asked_by))
                self._pause_asked_by = None
                self._leave(time_s, out)
                self._enter(BlockKind.PAUSE, time_s, out)
            case BlockKind.PAUSE if self._end is not None:
                self._close(refresh, time_s, out)
            case BlockKind.PAUSE if self._resume_asked_by is not None:
                out.append(Resumed(who=self._resume_asked_by))
                self._resume_asked_by = None
                self._let_task_end(self._task_ends + refresh - self._pause_began)
                self._stimulus.skip_to(refresh=refresh + 1)
                self._leave(time_s, out)
                self._enter(self._rules.runs, time_s, out)
            case BlockKind.GRAY_AFTER if refresh >= self._block_ends:
                self._leave(time_s, out)
                if self._movie is None:
                    self._finish(time_s)
                    return False
                self._enter(BlockKind.MOVIE, time_s, out)
                movie = self._movie[1]
                self._block_ends = refresh + movie.n_frames * movie.n_repeats * movie.refreshes_per_frame
            case BlockKind.MOVIE if refresh >= self._block_ends:
                self._leave(time_s, out)
                self._finish(time_s)
                return False
            case _:
                return False
        return True

    def _let_task_end(self, refresh: int) -> None:
        self._task_ends, self._cut_refresh = refresh, refresh + self._rules.overrun_refreshes

    def _close(self, refresh: int, time_s: float, out: list[Event]) -> None:
        self._leave(time_s, out)
        self._enter(BlockKind.GRAY_AFTER, time_s, out)
        self._block_ends = refresh + self._rules.gray_after_refreshes

    def _cut(self, time_s: float, out: list[Event]) -> None:
        """Stop now: one flip to hear from the valve and to show gray, then the end."""
        if not self._cut_done:
            self._trial.cut(time_s=time_s, out=out)
            self._cut_done = True
        elif self.ended is None:
            self._leave(time_s, out)
            self._finish(time_s)

    def _finish(self, time_s: float) -> None:
        reason, who, why = self._end or (EndReason.TIME, "task", "the session ran to its end")
        self.ended = SessionEnded(reason=reason, who=who, why=why, time_s=time_s)

    def _enter(self, block: BlockKind, time_s: float, out: list[Event]) -> None:
        self.block = block
        out.append(BlockStarted(block=block, time_s=time_s))

    def _leave(self, time_s: float, out: list[Event]) -> None:
        if self.block is not None:
            out.append(BlockEnded(block=self.block, time_s=time_s))

    def _when(self) -> str:
        if self._rules.runs is BlockKind.SWEEP and not self._stimulus.is_gray:
            return "when the patch that is on has gone"
        return "at once" if self._trial.waiting else f"when trial {self._trial.state.number} has ended"

    @property
    def _closing(self) -> str:
        """How long an operator who has asked for a stop waits for its end."""
        n_refreshes = self._rules.gray_after_refreshes
        if self._movie is not None:
            movie = self._movie[1]
            n_refreshes += movie.n_frames * movie.n_repeats * movie.refreshes_per_frame
        seconds = n_refreshes / self._refresh_hz
        length = f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"
        return f"these take {length}, and stop-now ends them"

    def _ask_pause(self, who: str) -> tuple[str | None, str]:
        if self.block in _CLOSING or self._end is not None:
            return "the task is over or ending; there is nothing to pause", ""
        if self.block is BlockKind.PAUSE or self._pause_asked_by is not None:
            return "the session is paused or pausing already", ""
        self._pause_asked_by = who
        when = "when the task begins" if self.block is BlockKind.GRAY_BEFORE else self._when()
        return None, f"pauses {when}"

    def _ask_resume(self, who: str) -> tuple[str | None, str]:
        if self._pause_asked_by is not None:
            self._pause_asked_by = None
            return None, "the pause that was asked for is called off"
        if self.block is not BlockKind.PAUSE or self._resume_asked_by is not None:
            return "the session is not paused", ""
        self._resume_asked_by = who
        return None, "goes on with the next place on the grid"

    def _withhold_water(self, out: list[Event]) -> None:
        """Give no more water: what is armed is withdrawn, what waits is dropped when its turn comes."""
        self._trial.may_pay = False
        self._trial.withdraw(out=out)

    def _refuse_free(self, command: CommandReceived, time_s: float) -> str | None:
        if time_s - self._last_free_s < FREE_REWARD_INTERVAL_S:
            return f"the last free reward was {time_s - self._last_free_s:.2f} s ago; wait {FREE_REWARD_INTERVAL_S:g} s"
        return self._bar_free(command)

    def _bar_free(self, command: CommandReceived) -> str | None:
        """Return why a free reward may not be given as things stand, whoever asks."""
        volume_ul = self._free_volume_ul(command)
        if self._rules.passive:
            return "no water in a passive stage"
        if self._cut_now or self.ended is not None:
            return "the session is ending"
        if not self._trial.may_pay:
            return "the spout is retracted; move it to the mouse first"
        if volume_ul <= 0:
            return f"{volume_ul:g} uL is no volume"
        low_ul, high_ul = self._valve_range_ul
        if not low_ul <= volume_ul <= high_ul:
            return f"{volume_ul:g} uL lies outside the valve's calibrated range of {low_ul:g} to {high_ul:g} uL"
        committed_ul = self._ledger.committed_ul + sum(self._free_volume_ul(waiting) for waiting in self._waiting_free)
        if committed_ul + volume_ul > self._rules.volume_limit_ul:
            return (
                f"{volume_ul:g} uL more would pass the limit of {self._rules.volume_limit_ul:g} uL "
                f"({committed_ul:g} uL given or promised)"
            )
        return None

    def _settle_waiting(self, command: CommandReceived, time_s: float, out: list[Event]) -> None:
        """Give a free reward that had to wait, or say why it can't be given any more."""
        barred = self._bar_free(command)
        if barred is None:
            self._give_free(command, time_s, out)
        else:
            what = f"a free reward that was promised is not given: {barred}"
            out.append(AlarmRaised(alarm="free reward", what=what, remedy="ask for it again if it is still wanted"))

    def _free_volume_ul(self, command: CommandReceived) -> float:
        return self._rules.free_reward_volume_ul if command.volume_ul is None else command.volume_ul

    def _give_free(self, command: CommandReceived, time_s: float, out: list[Event]) -> None:
        volume_ul = self._free_volume_ul(command)
        self._last_free_s = time_s
        out.append(self._ledger.command(kind=RewardKind.FREE, trial=-1, volume_ul=volume_ul))
