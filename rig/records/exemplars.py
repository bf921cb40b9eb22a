"""One trial of each kind, run by the task itself: what a figure of a stage is drawn from.

A made-up mouse licks as each kind needs. Flashes, changes, water, time-outs and ends are what the task answers for the
stage's own parameters, so a picture of it can't say anything else than the code does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rig.config.files import image_names
from stages.dry import run_dry
from stages.events import (
    Aborted,
    Change,
    Event,
    FlashOmitted,
    FlashShown,
    Lick,
    Outcome,
    RewardArmed,
    RewardCommanded,
    RewardFired,
    ShamChange,
    TimeoutEnded,
    TrialEnded,
    TrialOutcome,
    TrialStarted,
)
from stages.parameters import ExponentialChange, GeometricChange, StageParameters
from stages.task import Task, stimuli_of
from stimuli.spec import label

REFRESH_HZ = 60.0
ANSWER_SHARE = 0.45
"""Where in the response window the mouse answers: 0.42 s after the change, as the hits of a recorded session did on
average (TASK_FACTS 1.3)."""
MOST_MISSES = 20
"""A stage that pays after more misses in a row is not asked for a trial paid so."""
TOLD_S = 10.0
"""What comes after a trial is told this long."""
LATEST_S = 4.5
"""A static stage's change comes before this, so that its trial fits a picture."""
LONGEST_S = 4 * 3600.0
"""Of looking for a trial of each kind."""
SEED = 1


class NoExemplar(LookupError):
    """A kind of trial that the stage should have did not come about."""


@dataclass(slots=True)
class Shown:
    """Something on the screen: from when to when, what; an omitted flash is the gray in its place."""

    start_s: float
    stop_s: float
    name: str
    omitted: bool = False


@dataclass(slots=True)
class Exemplar:
    """A trial of one kind. Times in seconds from its change, sham change, or where that would have been."""

    kind: str
    start_s: float
    end_s: float
    change: str
    """``change``, ``sham change`` or ``no change``."""
    window_s: tuple[float, float] | None
    shown: list[Shown] = field(default_factory=list)
    licks_s: list[float] = field(default_factory=list)
    reward_s: float | None = None
    reward_ul: float = 0.0
    timeout_s: tuple[float, float] | None = None


def exemplars(stage: StageParameters, *, names: Sequence[str] | None = None) -> list[Exemplar]:
    """Return a trial of each kind that the stage has, in a fixed order.

    Parameters
    ----------
    names
        Of its pictures, where they are not the published ones.

    Kinds: ``hit``, ``miss``, ``false alarm``, ``correct reject``, ``aborted``, ``auto-rewarded``, and ``omission``, a
    trial with a flash left out.

    Raises
    ------
    NoExemplar
        One of them did not come about in hours; named.
    """
    short = stage.model_copy(
        update={"gray_before_s": 0.0, "task_duration_min": LONGEST_S / 60, "omission_probability": 0.0}
    )
    names = image_names(stage) if names is None else names
    found = _run(short, kinds=_kinds(stage), images=names)
    if stage.omission_probability:
        found |= _run(
            short.model_copy(update={"omission_probability": stage.omission_probability}),
            kinds=["omission"],
            images=names,
        )
    return list(found.values())


def _kinds(stage: StageParameters) -> list[str]:
    kinds = []
    if stage.warm_up_trials != -1:
        kinds += ["miss"] if stage.passive else ["hit", "miss"]
        if getattr(stage.catch, "probability", 1.0) > 0:
            kinds += ["correct reject"] if stage.passive else ["false alarm", "correct reject"]
    if stage.abort_on_early_lick and not stage.passive:
        kinds.append("aborted")
    free = stage.free_reward_after_misses
    if stage.warm_up_trials or (free is not None and free <= MOST_MISSES):
        kinds.append("auto-rewarded")
    return kinds


def _run(stage: StageParameters, *, kinds: list[str], images: Sequence[str]) -> dict[str, Exemplar]:
    """Run trials until one of each kind has been met whose change comes as early as it can."""
    stimuli = stimuli_of(stage, image_names=images, refresh_hz=REFRESH_HZ)
    names = [label(stimulus) for stimulus in stimuli]
    task = Task(stage, stimuli=stimuli, refresh_hz=REFRESH_HZ, seed=SEED)
    wanted = _Wanted(stage, kinds)
    story: list[tuple[float, Event]] = []
    found: dict[str, Exemplar] = {}
    few = isinstance(stage.change, GeometricChange) and stage.change.flashes_min < 3
    omitted_before_s = math.inf if few else 0.0  # of so few flashes before the change none may be omitted
    over: list[tuple[float, int]] = []  # trials that ended, and when what follows them has been told
    for time_s, event in _told(task, wanted):
        story.append((time_s, event))
        if isinstance(event, TrialEnded):
            over.append((time_s + TOLD_S, event.trial))
        if not over or time_s < over[0][0]:
            continue
        _, trial = over.pop(0)
        exemplar = _exemplar(story, trial=trial, stage=stage, names=names)
        if exemplar is not None:
            omits = any(s.omitted and exemplar.start_s < s.start_s < omitted_before_s for s in exemplar.shown)
            kind = "omission" if omits and exemplar.kind != "auto-rewarded" else exemplar.kind
            if kind in kinds and kind not in found:
                exemplar.kind = kind
                found[kind] = exemplar
                wanted.found(kind)
        if len(found) == len(kinds):
            break
        del story[: next(i for i, (told_s, _) in enumerate(story) if told_s > time_s - 4 * TOLD_S)]
    else:
        missing = ", ".join(kind for kind in kinds if kind not in found)
        raise NoExemplar(f"{stage.stage}: {LONGEST_S / 3600:g} hours of it held no trial of this kind: {missing}")
    return {kind: found[kind] for kind in kinds}


class _Wanted:
    """A mouse that licks so that the kinds still missing come about."""

    def __init__(self, stage: StageParameters, kinds: list[str]) -> None:
        self._missing = list(kinds)
        self._earliest = stage.change.flashes_min if isinstance(stage.change, GeometricChange) else None
        low_s, high_s = stage.response_window_s
        self._answer_s = low_s + ANSWER_SHARE * (high_s - low_s)
        self._early_s = _early_s(stage)
        self._start: TrialStarted | None = None
        self._licks_s: list[float] = []

    def found(self, kind: str) -> None:
        self._missing.remove(kind)

    @property
    def next_lick_s(self) -> float:
        return self._licks_s[0] if self._licks_s else math.inf

    def take_lick(self) -> float:
        return self._licks_s.pop(0)

    def sees(self, event: Event, *, time_s: float) -> None:
        self._licks_s = sorted([*self._licks_s, *self._follow(event, time_s)])

    def _follow(self, event: Event, time_s: float) -> list[float]:
        if isinstance(event, TrialStarted):
            self._start = event
            if event.auto_rewarded or self._missing != ["aborted"] or not self._is_early(event):
                return []
            return [time_s + self._early_s]
        if isinstance(event, Change | ShamChange) and self._start is not None and not self._start.auto_rewarded:
            kind = "hit" if isinstance(event, Change) else "false alarm"
            return [time_s + self._answer_s] if kind in self._missing and self._is_early(self._start) else []
        return [event.time_s + 0.2 + 0.15 * i for i in range(4)] if isinstance(event, RewardFired) else []

    def _is_early(self, start: TrialStarted) -> bool:
        if self._earliest is not None:
            return start.change_after == self._earliest
        return start.change_after < LATEST_S * REFRESH_HZ


def _told(task: Task, wanted: _Wanted) -> Iterator[tuple[float, Event]]:
    """Yield all that happens in a session with its times, as long as one may look."""
    for step in run_dry(task, wanted, refresh_hz=REFRESH_HZ):
        for event in step.events:
            yield event.time_s if isinstance(event, Lick | RewardFired) else step.time_s, event
        if step.time_s > LONGEST_S:
            return


def _exemplar(
    story: list[tuple[float, Event]], *, trial: int, stage: StageParameters, names: list[str]
) -> Exemplar | None:
    """Return a trial of the story, its times from its change; None if it was not complete or changed late."""
    start = next(((t, e) for t, e in story if isinstance(e, TrialStarted) and e.trial == trial), None)
    if start is None:
        return None
    start_s, drawn = start
    if isinstance(stage.change, GeometricChange):
        if drawn.change_after != stage.change.flashes_min:
            return None
    elif drawn.change_after >= LATEST_S * REFRESH_HZ:
        return None
    change = next(((t, e) for t, e in story if isinstance(e, Change | ShamChange) and e.trial == trial), None)
    end_s = next((t for t, e in story if isinstance(e, TrialEnded) and e.trial == trial), None)
    outcome = next((e.outcome for _, e in story if isinstance(e, TrialOutcome) and e.trial == trial), None)
    if end_s is None or outcome is None:
        return None
    zero_s = start_s + _planned_s(drawn.change_after, stage) if change is None else change[0]
    what = "no change" if change is None else "change" if isinstance(change[1], Change) else "sham change"
    result = Exemplar(
        kind=_NAMES.get(outcome, outcome.value),
        start_s=start_s - zero_s,
        end_s=end_s - zero_s,
        change=what,
        window_s=stage.response_window_s if change is not None else None,
        shown=_shown(story, names=names, zero_s=zero_s, stage=stage, first=names[drawn.initial_stimulus]),
    )
    volume_ul = {e.reward: e.volume_ul for _, e in story if isinstance(e, RewardArmed | RewardCommanded)}
    for time_s, event in story:
        match event:
            case Lick() if start_s <= event.time_s <= end_s + 0.5:
                result.licks_s.append(event.time_s - zero_s)
            case RewardFired() if start_s <= event.time_s <= end_s:
                result.reward_s = event.time_s - zero_s
                result.reward_ul = volume_ul[event.reward]
            case Aborted(trial=number) if number == trial:
                result.timeout_s = (event.lick_time_s - zero_s, event.lick_time_s - zero_s)
            case TimeoutEnded(trial=number) if number == trial and result.timeout_s is not None:
                result.timeout_s = (result.timeout_s[0], time_s - zero_s)
            case _:
                pass
    return result


def _shown(
    story: list[tuple[float, Event]], *, names: list[str], zero_s: float, stage: StageParameters, first: str
) -> list[Shown]:
    flash_s = getattr(stage.presentation, "flash_s", None)
    shown = [Shown(-math.inf, math.inf, first)] if flash_s is None else []  # it came on in an earlier trial
    for time_s, event in story:
        if isinstance(event, FlashShown):
            if flash_s is None and shown:
                shown[-1].stop_s = time_s - zero_s
            stop_s = math.inf if event.off_refresh < 0 else event.off_refresh / REFRESH_HZ - zero_s
            shown.append(Shown(time_s - zero_s, stop_s, names[event.stimulus]))
        elif isinstance(event, FlashOmitted):
            shown.append(Shown(time_s - zero_s, time_s + (flash_s or 0.0) - zero_s, "omitted", omitted=True))
    return shown


def _early_s(stage: StageParameters) -> float:
    """Return when to lick too early: in the gray after a flash half-way to the first change, or half-way."""
    if isinstance(stage.change, ExponentialChange):
        return stage.change.earliest_s / 2
    flash_s, gray_s = getattr(stage.presentation, "flash_s", 0.0), getattr(stage.presentation, "gray_s", 0.0)
    return stage.change.flashes_min // 2 * (flash_s + gray_s) + flash_s + 0.3 * gray_s


def _planned_s(change_after: int, stage: StageParameters) -> float:
    if not isinstance(stage.change, GeometricChange):
        return change_after / REFRESH_HZ
    flash_s, gray_s = getattr(stage.presentation, "flash_s", 0.0), getattr(stage.presentation, "gray_s", 0.0)
    return change_after * (flash_s + gray_s)


_NAMES = {
    Outcome.FALSE_ALARM: "false alarm",
    Outcome.CORRECT_REJECT: "correct reject",
    Outcome.AUTO_REWARDED: "auto-rewarded",
}
