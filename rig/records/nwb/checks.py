"""Whether log, flips and tables say the same, before a file is made of them.

What a reader would swallow and can't be true is refused, with the trial's name: a time that is not its flip's, a flash
or a change on a flip that did not show it, something shown where a flash was omitted, a trial paid twice or outside its
window, a lick outside its trial, a number in a wrong unit. What can happen on a rig is flagged. So is a record whose
inputs lead to other decisions than it holds: an older program may have decided otherwise. Where the record breaks off,
or a line of it is damaged, only what is there is compared.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator

import numpy as np

from rig.log.reader import SessionLog
from rig.log.replay import replay
from rig.records.folds import Folds
from rig.records.nwb import NwbError
from rig.records.trials import TrialRow
from stages.events import (
    BlockEnded,
    BlockStarted,
    Change,
    FlashOmitted,
    FlashPlanned,
    FlashShown,
    Lick,
    Outcome,
    RewardArmed,
    RewardCommanded,
    RewardFailed,
    RewardFired,
    RewardKind,
    ShamChange,
    TrialEnded,
    TrialOutcome,
    TrialStarted,
)
from stimuli.spec import Gray

LATE_LICK_S = 0.25
"""A lick that the session saw so long after it happened is flagged: a screen or a card's server may stand still."""
IMPOSSIBLE_LICK_S = 5.0
"""No trial has a lick from so long before it began: the session would have ended at such a stall."""
UNPAID = (Outcome.MISS, Outcome.CORRECT_REJECT, Outcome.FALSE_ALARM, Outcome.ABORTED)
"""Outcomes that earn no water."""
WITH_A_FLIP = (BlockStarted, BlockEnded, FlashShown, FlashOmitted, TrialStarted, TrialEnded, Change, ShamChange)
"""What has the time of the flip it came with."""
RATE_TOLERANCE = 0.2
"""The middle interval of flips may be off the nominal one by this share."""
SIGNAL_V = (-0.5, 5.6)
"""What an encoder of 5 V can give."""


def refuse_contradictions(log: SessionLog) -> list[str]:
    """Return what is odd in a session's record, a sentence each.

    Raises
    ------
    NwbError
        The record contradicts itself; names every trial concerned.
    """
    rows = Folds.of(log.entries).trials.rows
    wrong = [
        *_flips_in_seconds(log),
        *_stamped_with_their_flips(log),
        *_shown(log),
        *_omissions_gray(log),
        *_paid_once(log),
        *_paid_as_ordered(log),
        *_licks_in_trials(log, rows),
        *_volumes_in_ul(log),
    ]
    if wrong:
        more = f" (and {len(wrong) - 10} more)" if len(wrong) > 10 else ""
        raise NwbError(
            f"{log.folder}: no file is made, its record contradicts itself: {'; '.join(wrong[:10])}{more}; "
            "look at these places of events.jsonl, and where the record is right report it together with the log"
        )
    return [
        *_decided_otherwise(log),
        *_beginnings_lost(log, rows),
        *_odd_licks(log, rows),
        *_hits_unpaid(rows),
        *_odd_voltages(log),
        *_water_unknown(log),
    ]


def stand_ins(log: SessionLog) -> Iterator[str]:
    """Yield a sentence for each set of pictures, or movie, that was shown in another's place."""
    for shown in (log.started.images, log.started.movie):
        if shown is not None and shown.stands_for:
            pairs = ", ".join(f"{name} for {published}" for name, published in shown.stands_for.items())
            yield f"stand-ins were shown in the published pictures' place: {pairs}"


def _flips_in_seconds(log: SessionLog) -> Iterator[str]:
    times_s = log.flips["time_s"]
    if len(times_s) < 3:
        return
    intervals_s = np.diff(times_s)
    if not (intervals_s > 0).all():
        flip = int(np.flatnonzero(~(intervals_s > 0))[0]) + 1
        yield f"flip {flip} is not later than the one before"
    refreshes = np.diff(log.flips["refresh"].astype(np.int64))
    period_s = float(np.median(intervals_s / np.maximum(refreshes, 1)))
    if abs(period_s * log.started.refresh_hz - 1) > RATE_TOLERANCE:
        nominal_s = 1 / log.started.refresh_hz
        yield f"flips are {period_s:.6g} s apart, the monitor has {nominal_s:.6g} s: their times are in another unit"


def _stamped_with_their_flips(log: SessionLog) -> Iterator[str]:
    """Find what came with a flip and has another time than it."""
    times_s = log.flips["time_s"]
    near_s = 0.5 / log.started.refresh_hz
    trial = -1
    for entry in log.entries:
        event = entry.event
        if isinstance(event, TrialStarted):
            trial = event.trial
        if not isinstance(event, WITH_A_FLIP) or entry.flip >= len(times_s):
            continue
        off_s = event.time_s - float(times_s[entry.flip])
        if abs(off_s) > near_s:
            whose = f"trial {trial}: " if trial >= 0 else ""
            yield f"{whose}{type(event).__name__} is {off_s:+.4f} s off the flip it came with, {entry.flip}"


def _shown(log: SessionLog) -> Iterator[str]:
    """Find flashes and changes that the flips don't show, or that are not where flash and trial say."""
    shown = log.flips["stimulus"]
    grays = _grays(log)
    stills = np.flatnonzero(~np.isin(shown, grays))
    is_flashed = "flash_s" in (log.started.stage_parameters.get("presentation") or {})
    trial, came_on = -1, -1
    for entry in log.entries:
        event, flip = entry.event, entry.flip
        if isinstance(event, TrialStarted):
            trial = event.trial
        if not 0 < flip < len(shown):
            continue
        if isinstance(event, FlashShown):
            came_on = flip
            if shown[flip] != event.stimulus:
                yield f"trial {trial}: flash {event.flash} is not what flip {flip} showed"
        elif isinstance(event, Change | ShamChange):
            whose = f"trial {event.trial}: its change"
            before = int(np.searchsorted(stills, flip)) - 1
            was = int(shown[stills[before]]) if before >= 0 else -1
            if is_flashed and came_on != flip and not log.damage:
                yield f"{whose} is on flip {flip}, on which no flash came on"
            elif isinstance(event, ShamChange):
                if shown[flip] != was:
                    yield f"{whose} is a sham, and flip {flip} showed another stimulus"
            elif shown[flip] != event.to_stimulus or was != event.from_stimulus:
                yield f"{whose} is not what flip {flip} showed first"


def _grays(log: SessionLog) -> list[int]:
    return [index for index, stimulus in enumerate(log.started.stimuli) if isinstance(stimulus, Gray)]


def _omissions_gray(log: SessionLog) -> Iterator[str]:
    """Find omitted flashes with something on the screen, from their flip to where gray would have followed them."""
    flash_s = (log.started.stage_parameters.get("presentation") or {}).get("flash_s")
    if flash_s is None:
        return
    grays = _grays(log)
    refreshes = log.flips["refresh"].astype(np.int64)
    begins = [e.flip for e in log.entries if isinstance(e.event, FlashShown | BlockStarted)]
    planned: dict[int, int] = {}
    trial = -1
    for entry in log.entries:
        if isinstance(entry.event, TrialStarted):
            trial = entry.event.trial
        if isinstance(entry.event, FlashPlanned):
            planned[entry.event.flash] = entry.event.refresh
        if isinstance(entry.event, FlashOmitted) and entry.flip < len(refreshes):
            due = planned.get(entry.event.flash, int(refreshes[entry.flip]))
            last = int(np.searchsorted(refreshes, due + round(flash_s * log.started.refresh_hz)))
            following = bisect_right(begins, entry.flip)
            last = min([last, *begins[following : following + 1]])
            if not np.isin(log.flips["stimulus"][entry.flip : last], grays).all():
                yield f"trial {trial}: flash {entry.event.flash} was omitted, and the screen was not gray"


def _paid_once(log: SessionLog) -> Iterator[str]:
    trial_of: dict[int, int] = {}
    fired: Counter[int] = Counter()
    paid: Counter[int] = Counter()
    for entry in log.entries:
        match entry.event:
            case RewardArmed() | RewardCommanded() as ordered:
                trial_of[ordered.reward] = ordered.trial
            case RewardFired(reward=reward):
                fired[reward] += 1
                paid[trial_of.get(reward, -1)] += 1
    for reward, n in fired.items():
        if n > 1:
            yield f"trial {trial_of.get(reward, -1)}: reward {reward} was given {n} times"
    for trial, n in paid.items():
        if trial >= 0 and n > 1 and not any(n > 1 and trial_of.get(r) == trial for r, n in fired.items()):
            yield f"trial {trial}: was paid {n} times"


def _licks_in_trials(log: SessionLog, rows: list[TrialRow]) -> Iterator[str]:
    """Find licks long before their trial's start or after the next one's; a lick is seen on a flip, and was before."""
    slack_s = IMPOSSIBLE_LICK_S + log.started.lick_latency_s
    times_s = log.flips["time_s"]
    nexts_s = [*(row.start_time_s for row in rows[1:]), math.inf]
    for row, next_s in zip(rows, nexts_s[: len(rows)], strict=True):
        for lick_s in row.lick_times_s:
            if not row.start_time_s - slack_s <= lick_s <= next_s + 1e-9:
                where = f"{row.start_time_s:.4f} to {next_s:.4f} s"
                yield f"trial {row.trial}: a lick at {lick_s:.4f} s is outside it, {where}"
    running = -1
    for entry in log.entries:
        if isinstance(entry.event, TrialStarted):
            running = entry.event.trial
        if isinstance(entry.event, Lick) and entry.flip + 1 < len(times_s):
            seen_s = float(times_s[entry.flip + 1])
            if entry.event.time_s > seen_s:
                yield f"trial {running}: a lick at {entry.event.time_s:.4f} s was seen before, at {seen_s:.4f} s"


def _paid_as_ordered(log: SessionLog) -> Iterator[str]:
    """Find rewards outside their window or seen before they were given, and paid trials that were not to be paid."""
    times_s = log.flips["time_s"]
    armed: dict[int, RewardArmed] = {}
    trial_of: dict[int, int] = {}
    earned_in: set[int] = set()
    slack_s = log.started.lick_latency_s + 1 / log.started.refresh_hz
    for entry in log.entries:
        event = entry.event
        match event:
            case RewardArmed():
                armed[event.reward] = event
                trial_of[event.reward] = event.trial
            case RewardCommanded():
                trial_of[event.reward] = event.trial
            case RewardFired():
                trial = trial_of.get(event.reward, -1)
                whose = f"trial {trial}: reward {event.reward}" if trial >= 0 else f"free reward {event.reward}"
                order = armed.get(event.reward)
                paid_s = event.time_s if event.lick_time_s is None else event.lick_time_s
                if entry.flip + 1 < len(times_s) and event.time_s > times_s[entry.flip + 1]:
                    yield f"{whose} was given at {event.time_s:.4f} s and seen before, at {times_s[entry.flip]:.4f} s"
                elif order is not None and not order.opens_s - slack_s <= paid_s <= order.closes_s + slack_s:
                    window = f"{order.opens_s:.4f} to {order.closes_s:.4f} s"
                    yield f"{whose} paid a lick at {paid_s:.4f} s, outside its window, {window}"
                if order is not None:
                    earned_in.add(order.trial)
            case TrialOutcome(outcome=outcome) if event.trial in earned_in and outcome in UNPAID:
                yield f"trial {event.trial}: is a {outcome.value.replace('_', ' ')}, and its reward was earned"
            case _:
                pass


def _volumes_in_ul(log: SessionLog) -> Iterator[str]:
    """Find volumes that the rig's valve was never weighed for: most likely millilitres."""
    valve = log.started.rig_parameters.get("valve") or {}
    least_ul, most_ul = valve.get("volume_min_ul"), valve.get("volume_max_ul")
    if least_ul is None or most_ul is None:
        return
    for entry in log.entries:
        event = entry.event
        if isinstance(event, RewardArmed | RewardCommanded) and not least_ul <= event.volume_ul <= most_ul:
            whose = f"trial {event.trial}" if event.trial >= 0 else "a free reward"
            yield (
                f"{whose}: reward {event.reward} has {event.volume_ul:g} uL, outside what the valve was weighed for, "
                f"{least_ul:g} to {most_ul:g} uL"
            )


def _odd_licks(log: SessionLog, rows: list[TrialRow]) -> Iterator[str]:
    times_s = log.flips["time_s"]
    late = 0
    for entry in log.entries:
        if isinstance(entry.event, Lick) and entry.flip < len(times_s):
            late += float(times_s[entry.flip]) - entry.event.time_s > LATE_LICK_S
    if late:
        yield f"{late} licks were seen more than {LATE_LICK_S} s after they happened"
    early = [row.trial for row in rows if row.lick_times_s and row.lick_times_s[0] < row.start_time_s - LATE_LICK_S]
    if early:
        yield f"trials that were given a lick from before they began, since it was seen late: {_numbers(early)}"


def _hits_unpaid(rows: list[TrialRow]) -> Iterator[str]:
    unpaid = [row.trial for row in rows if row.outcome is Outcome.HIT and math.isnan(row.reward_time_s)]
    if unpaid:
        yield f"hits without a reward on record: trials {_numbers(unpaid)}"


def _beginnings_lost(log: SessionLog, rows: list[TrialRow]) -> Iterator[str]:
    begun = {row.trial for row in rows}
    lost = {e.event.trial for e in log.entries if isinstance(e.event, TrialOutcome | TrialEnded)} - begun
    if lost:
        yield f"trials whose beginning can't be read, which are in no table: {_numbers(sorted(lost))}"


def _decided_otherwise(log: SessionLog) -> Iterator[str]:
    """Say where the record's inputs lead this program to other decisions than are in it, if anywhere."""
    if log.started.imported_from is not None:
        return
    try:
        difference = replay(log).difference
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        difference = f"{type(error).__name__}: {error}"
    if difference is not None:
        number = re.match(r"line (\d+)", difference)
        trial = _trial_at(log, int(number[1]) if number else None)
        yield f"{trial}the record's inputs lead to other decisions than it holds: {difference}"


def _trial_at(log: SessionLog, line: int | None) -> str:
    trial = -1
    for entry in log.entries[:line]:
        trial = getattr(entry.event, "trial", trial)
    return f"trial {trial}: " if line is not None and trial >= 0 else ""


def _numbers(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (f" and {len(numbers) - 10} more" if len(numbers) > 10 else "")


def _odd_voltages(log: SessionLog) -> Iterator[str]:
    signal_v = log.flips["signal_v"]
    n_none = int(np.isnan(signal_v).sum())
    if n_none:
        yield f"the encoder was not read on {n_none} of {len(signal_v)} flips"
    there = signal_v[~np.isnan(signal_v)]
    n_odd = int(((there < SIGNAL_V[0]) | (there > SIGNAL_V[1])).sum())
    if n_odd:
        yield f"the encoder's signal is outside {SIGNAL_V[0]} to {SIGNAL_V[1]} V on {n_odd} flips"


def _water_unknown(log: SessionLog) -> Iterator[str]:
    ordered = {
        entry.event.reward: getattr(entry.event, "kind", RewardKind.EARNED)
        for entry in log.entries
        if isinstance(entry.event, RewardArmed | RewardCommanded)
    }
    for entry in log.entries:
        if isinstance(entry.event, RewardFailed):
            yield f"reward {entry.event.reward} failed: {entry.event.why}"
        if isinstance(entry.event, RewardFired) and entry.event.reward not in ordered:
            yield f"reward {entry.event.reward} was given, and its order and volume are not in the log"
