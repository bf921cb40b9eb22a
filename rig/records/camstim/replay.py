"""Our task on a session that camstim recorded, trial by trial beside what camstim made of it.

Fed in: what camstim drew for each attempt, its flash onsets and offsets, its licks, the ends of its time-outs
(no rule on refreshes reproduces those, TASK_FACTS 1.3). Compared: starts, aborts, changes, ends, outcomes, rewards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from hardware.arrays import IntArray
from rig.records.camstim import CamstimError
from rig.records.camstim.reader import RecordedTrial, Recording
from rig.records.camstim.stage import REFRESH_HZ, stage_of
from stages.draws import TrialDraw
from stages.dry import PromptValve
from stages.events import (
    Aborted,
    Change,
    InputEvent,
    Outcome,
    RewardArmed,
    RewardCommanded,
    RewardFired,
    SessionEnded,
    ShamChange,
    TrialEnded,
    TrialOutcome,
    TrialStarted,
)
from stages.flashes import FlashedStimulus, TaskStimulus
from stages.metrics import MONITOR_DELAY_S, SessionPerformance, session_performance
from stages.omissions import Omissions
from stages.rewards import Ledger
from stages.task import At, Task, stimuli_of
from stages.trial import NEVER, TrialAutomaton, TrialRules
from stimuli.refresh import RefreshTracker
from stimuli.spec import label

LICK_LATENCY_S = 0.02
"""camstim closes its window 0.770 s after the change, not 0.750 (TASK_FACTS 1.3): it looks once a flip."""
FLASH_TO_START_S = 0.4e-3
"""Within a camstim frame its flash came on by now and its trial had still to begin: between the 0.6 ms and the 0.2 ms
of ``_timeout_ends``, which two trials of one session show."""
TOLERANCE_REFRESHES = 1


@dataclass(slots=True)
class OurTrial:
    """What our task made of a recorded trial. Frames are -1 where there is none."""

    start_frame: int
    end_frame: int = -1
    abort_frame: int = -1
    change_frame: int = -1
    outcome: Outcome = Outcome.INCOMPLETE
    reward_frame: int = -1
    reward_volume_ul: float = 0.0


class Difference(NamedTuple):
    """A trial on which the two disagree."""

    trial: int
    what: str
    camstim: str
    ours: str
    reason: str
    """Why, where it is known; empty where it is not."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A recorded session and ours, side by side."""

    recording: Recording
    trials: list[OurTrial]
    off_refreshes: dict[str, Counter[int]]
    """For each kind of moment: how many refreshes ours is later than camstim's, and how often."""
    differences: list[Difference]
    ended: SessionEnded | None

    def performances(self) -> tuple[SessionPerformance, SessionPerformance]:
        """Return camstim's session and ours by AllenSDK's measures, with its monitor's delay.

        Ours are our outcomes and volumes at camstim's times.
        """
        ours = self.recording.columns(
            outcomes=[trial.outcome for trial in self.trials],
            volumes_ul=[trial.reward_volume_ul for trial in self.trials],
        )
        theirs = session_performance(self.recording.columns(), monitor_delay_s=MONITOR_DELAY_S)
        return theirs, session_performance(ours, monitor_delay_s=MONITOR_DELAY_S)

    @property
    def unexplained(self) -> list[Difference]:
        """The differences without a reason."""
        return [difference for difference in self.differences if not difference.reason]

    def words(self) -> str:
        """Return the comparison as a page of text."""
        theirs = Counter(trial.outcome for trial in self.recording.trials)
        ours = Counter(trial.outcome for trial in self.trials)
        n_paid = sum(len(trial.rewards) for trial in self.recording.trials)
        lines = [
            f"{self.recording.stage}, mouse {self.recording.mouse}:",
            f"{'':<16}{'camstim':>8}{'ours':>8}",
            f"{'trials':<16}{len(self.recording.trials):>8}{len(self.trials):>8}",
            *(
                f"{outcome.value:<16}{theirs[outcome]:>8}{ours[outcome]:>8}"
                for outcome in Outcome
                if theirs[outcome] or ours[outcome]
            ),
            f"{'rewards':<16}{n_paid:>8}{sum(t.reward_frame >= 0 for t in self.trials):>8}",
            "Refreshes by which ours is later:",
            *(
                f"{what:<16}{', '.join(f'{off:+d}: {n}' for off, n in sorted(counts.items()))}"
                for what, counts in self.off_refreshes.items()
            ),
        ]
        differ = {difference.trial for difference in self.differences}
        n_trials = max(len(self.recording.trials), len(self.trials))
        verdict = "none without a known reason" if not self.unexplained else f"{len(self.unexplained)} WITHOUT REASON"
        lines.append(f"{n_trials - len(differ)} of {n_trials} trials agree; {len(differ)} differ, {verdict}.")
        lines += [
            f"Trial {d.trial}, {d.what}: camstim {d.camstim}, ours {d.ours}; {d.reason or 'NO REASON KNOWN'}."
            for d in self.differences
        ]
        if len(self.trials) == len(self.recording.trials):
            theirs_came_to, ours_came_to = (asdict(performance) for performance in self.performances())
            lines.append(f"{'AllenSDK measures':<34}{'camstim':>10}{'ours':>10}")
            lines += [f"{key:<34}{value:>10.6g}{ours_came_to[key]:>10.6g}" for key, value in theirs_came_to.items()]
        return "\n".join(lines)


def replay_camstim(recording: Recording) -> Comparison:
    """Run our task on a recorded session and compare trial by trial.

    Raises
    ------
    CamstimError
        The recording holds no flash or no trial.
    """
    if not len(recording.onset_frames) or not recording.trials:
        raise CamstimError("the recording holds no flash or no trial: there is nothing to run again")
    times_s = recording.frame_times_s
    refreshes = RefreshTracker(nominal_hz=REFRESH_HZ).flips(times_s)
    task = _task(recording, refreshes)
    ours, ended = _run(task, recording, refreshes)
    return Comparison(
        recording=recording,
        trials=ours,
        off_refreshes=_off_refreshes(recording.trials, ours, refreshes),
        differences=_differences(recording, ours, refreshes),
        ended=ended,
    )


class _RecordedGrid:
    """camstim's flashes: its cadence wandered (TASK_FACTS 1.3)."""

    def __init__(self, onsets: IntArray, offs: IntArray) -> None:
        self._onsets = [*onsets.tolist(), NEVER]
        self._offs = [*offs.tolist(), NEVER]

    def onset(self, k: int) -> int:
        return int(self._onsets[min(k, len(self._onsets) - 1)])

    def off(self, k: int) -> int:
        return int(self._offs[min(k, len(self._offs) - 1)])

    def at_or_after(self, refresh: int) -> int:
        return int(np.searchsorted(self._onsets, refresh))

    def still_showable(self, refresh: int) -> int:
        return int(np.searchsorted(self._offs, refresh, side="right"))


class _RecordedDraws:
    """What camstim drew for each attempt, one after the other."""

    def __init__(self, recording: Recording, index_of: dict[str, int]) -> None:
        self._draws: list[TrialDraw] = []
        self.current_stimulus = index_of[recording.first_image]
        self._next = 0
        shown = self.current_stimulus
        for trial, target in zip(recording.trials, _targets(recording.trials), strict=True):
            changes_to = shown if trial.catch or not target else index_of[target]
            self._draws.append(
                TrialDraw(
                    change_after=trial.change_after,
                    catch=trial.catch,
                    auto_rewarded=trial.auto_rewarded,
                    initial_stimulus=shown,
                    change_stimulus=changes_to,
                    attempt=0,  # fed in, not counted
                )
            )
            if trial.change_frame >= 0:
                shown = changes_to

    @property
    def _present(self) -> TrialDraw:
        return self._draws[min(self._next, len(self._draws)) - 1]

    def next(self) -> TrialDraw:
        """Return the next recorded attempt; after the last one, the last again."""
        self._next += 1
        return self._present

    def aborted(self) -> None:
        """Recorded: nothing follows from it."""

    def changed(self) -> None:
        """Show the new image from now on."""
        self.current_stimulus = self._present.change_stimulus

    def completed(self, *, rewarded: bool) -> None:
        """Recorded: nothing follows from it."""


class _RecordedOmissions(Omissions):
    """Which of the flashes camstim left out, one after the other."""

    def __init__(self, omitted: Sequence[bool]) -> None:
        super().__init__(probability=0.0, rng=np.random.default_rng(0))
        self._omitted = iter(omitted)

    def draw(self, *, is_change: bool, next_is_change: bool) -> bool:
        return next(self._omitted, False)


class _RecordedTimeouts(TrialAutomaton):
    """The automaton, with the ends of its time-outs as camstim logged them."""

    def __init__(self, rules: TrialRules, *, draws: _RecordedDraws, ledger: Ledger, ends: list[int]) -> None:
        super().__init__(rules, draws=draws, ledger=ledger)
        self._ends = ends

    def timeout_ends(self) -> int:
        number = self.state.number
        return self._ends[number] if number < len(self._ends) else super().timeout_ends()


def _targets(trials: list[RecordedTrial]) -> list[str]:
    """Return the image each go trial was to change to: the walk stands still until a trial is completed."""
    targets = []
    coming = ""
    for trial in reversed(trials):
        if trial.change_image:
            coming = trial.change_image
        targets.append(coming)
    return targets[::-1]


def _task(recording: Recording, refreshes: IntArray) -> Task:
    stage = stage_of(recording, refreshes)
    stimuli = stimuli_of(stage, image_names=recording.images, refresh_hz=REFRESH_HZ)
    index_of = {label(stimulus): index for index, stimulus in enumerate(stimuli)}
    frames, off_frames, omitted = recording.flashes()
    onsets = refreshes[frames - 1] + 1  # the refresh a flip was made for: a drop makes it late
    offs = refreshes[off_frames - 1] + 1
    ends = [int(refreshes[frame]) if frame >= 0 else NEVER for frame in _timeout_ends(recording)]

    def parts(rules: TrialRules, ledger: Ledger) -> tuple[TrialAutomaton, TaskStimulus]:
        trial = _RecordedTimeouts(rules, draws=_RecordedDraws(recording, index_of), ledger=ledger, ends=ends)
        omissions = _RecordedOmissions(omitted.tolist())
        return trial, FlashedStimulus(lay=lambda _: _RecordedGrid(onsets, offs), omissions=omissions, trial=trial)

    return Task(stage, stimuli=stimuli, refresh_hz=REFRESH_HZ, seed=0, lick_latency_s=LICK_LATENCY_S, parts=parts)


def _timeout_ends(recording: Recording) -> list[int]:
    """Return the frame before whose flash each time-out was over, -1 where there was none.

    camstim's timers run on a clock of their own. In the published session two time-outs ended within the frame of
    a flash but after it had come on, 0.15 and 0.21 ms before a trial would have begun and not 0.6 ms before as
    the others: those were over for the next frame only.
    """
    times_s = recording.frame_times_s
    starts = np.array([trial.start_frame for trial in recording.trials])
    lead_s = np.array([trial.start_clock_s for trial in recording.trials]) - times_s[starts]  # the clocks drift
    onsets = set(recording.flashes()[0].tolist())
    ends = []
    for trial in recording.trials:
        frame = trial.timeout_end_frame
        if frame in onsets:
            would_start_s = float(times_s[frame] + np.interp(frame, starts, lead_s))
            frame += trial.timeout_end_clock_s > would_start_s - FLASH_TO_START_S
        ends.append(int(frame))
    return ends


def _run(task: Task, recording: Recording, refreshes: IntArray) -> tuple[list[OurTrial], SessionEnded | None]:
    """Step the task through every frame."""
    times_s = recording.frame_times_s.tolist()
    licks = Counter(recording.lick_frames.tolist())
    trials: list[OurTrial] = []
    valve = PromptValve()
    of_reward: dict[int, RewardArmed | RewardCommanded] = {}
    heard: list[InputEvent] = []
    for frame, (refresh, time_s) in enumerate(zip(refreshes.tolist(), times_s, strict=True)):
        inputs = heard
        for _ in range(licks.get(frame, 0)):
            inputs += valve.lick(time_s, ticks=frame)
        out = task.step(At(frame, refresh, time_s), inputs)
        for event in (*inputs, *out.events):
            match event:
                case TrialStarted():
                    trials.append(OurTrial(start_frame=frame))
                case Aborted():
                    trials[event.trial].abort_frame = frame
                case Change() | ShamChange():
                    trials[event.trial].change_frame = frame
                case TrialOutcome():
                    trials[event.trial].outcome = event.outcome
                case TrialEnded():
                    trials[event.trial].end_frame = frame
                case RewardArmed() | RewardCommanded():
                    of_reward[event.reward] = event
                case RewardFired():
                    trial = trials[of_reward[event.reward].trial]
                    trial.reward_frame = int(np.searchsorted(recording.frame_times_s, event.time_s))
                    trial.reward_volume_ul = of_reward[event.reward].volume_ul
                case SessionEnded():
                    return trials, event
                case _:
                    pass
        heard = valve.follow(out.actions, time_s=time_s)
    return trials, None


_MOMENTS = ("start", "abort", "change", "reward", "end")


def _moments(recorded: RecordedTrial, ours: OurTrial) -> Iterable[tuple[str, int, int]]:
    yield "start", recorded.start_frame, ours.start_frame
    yield "abort", recorded.abort_frame, ours.abort_frame
    yield "change", recorded.change_frame, ours.change_frame
    yield "reward", recorded.rewards[0][0] if recorded.rewards else -1, ours.reward_frame
    yield "end", recorded.end_frame, ours.end_frame


def _off_refreshes(recorded: list[RecordedTrial], ours: list[OurTrial], refreshes: IntArray) -> dict[str, Counter[int]]:
    off: dict[str, Counter[int]] = {what: Counter() for what in _MOMENTS}
    for theirs, mine in zip(recorded, ours, strict=False):
        for what, frame, our_frame in _moments(theirs, mine):
            if frame >= 0 and our_frame >= 0:
                off[what][int(refreshes[our_frame] - refreshes[frame])] += 1
    return off


def _differences(recording: Recording, ours: list[OurTrial], refreshes: IntArray) -> list[Difference]:
    differences = []
    for number, (theirs, mine) in enumerate(zip(recording.trials, ours, strict=False)):
        reason = _reason(recording, theirs, mine)
        if theirs.outcome is not mine.outcome:
            differences.append(Difference(number, "outcome", theirs.outcome.value, mine.outcome.value, reason))
        paid_ul = sum(volume_ul for _, volume_ul in theirs.rewards)
        if abs(paid_ul - mine.reward_volume_ul) > 1e-6:
            differences.append(Difference(number, "water", f"{paid_ul:g} uL", f"{mine.reward_volume_ul:g} uL", reason))
        for what, frame, our_frame in _moments(theirs, mine):
            if (frame >= 0) != (our_frame >= 0):
                if what != "reward":  # told as water
                    differences.append(Difference(number, what, _frame(frame), _frame(our_frame), ""))
            elif frame >= 0 and abs(int(refreshes[our_frame] - refreshes[frame])) > TOLERANCE_REFRESHES:
                differences.append(Difference(number, what, _frame(frame), _frame(our_frame), ""))
    for number in range(min(len(recording.trials), len(ours)), max(len(recording.trials), len(ours))):
        has = "one trial more"
        more = len(ours) > len(recording.trials)
        differences.append(Difference(number, "trial", "none" if more else has, has if more else "none", ""))
    return differences


def _reason(recording: Recording, theirs: RecordedTrial, mine: OurTrial) -> str:
    """Return why an outcome may differ, where a rule of ours is meant to."""
    low_s, high_s = recording.params["response_window"]
    times_s = recording.frame_times_s
    if theirs.change_frame < 0:
        return ""
    latencies_s = [
        float(times_s[f] - times_s[theirs.change_frame]) for f in theirs.lick_frames if f >= theirs.change_frame
    ]
    became = (theirs.outcome, mine.outcome)
    if became == (Outcome.FALSE_ALARM, Outcome.CORRECT_REJECT) and latencies_s and latencies_s[0] < low_s:
        return (
            f"camstim counts a lick {latencies_s[0]:.4f} s after the sham change as a false alarm; "
            f"before {low_s:g} s a lick neither aborts nor answers"
        )
    late_s = [s for s in latencies_s if s > high_s]
    in_window = any(low_s <= s <= high_s for s in latencies_s)
    if became == (Outcome.HIT, Outcome.MISS) and late_s and not in_window and mine.reward_volume_ul == 0:
        return f"camstim paid a lick {late_s[0]:.4f} s after the change; the window closes at {high_s:g} s"
    return ""


def _frame(frame: int) -> str:
    return "none" if frame < 0 else f"frame {frame}"


__all__ = ["Comparison", "Difference", "OurTrial", "replay_camstim"]
