"""Whether log, flips and tables say the same, before a file is made of them.

What a reader would swallow and can't be true is refused, with the trial's name: a change on a flip that did not show
it, something shown where a flash was omitted, a trial paid twice, a lick outside its trial, a number in a wrong unit.
What can happen on a rig is flagged. Where the record breaks off, or a line of it is damaged, only what is there is
compared.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np

from rig.log.reader import SessionLog
from rig.records.folds import Folds
from rig.records.nwb import NwbError
from rig.records.trials import TrialRow
from stages.events import (
    Change,
    FlashOmitted,
    Lick,
    RewardArmed,
    RewardCommanded,
    RewardFailed,
    RewardFired,
    RewardKind,
    ShamChange,
    TrialStarted,
)
from stimuli.spec import Gray

LATE_LICK_S = 0.25
"""A lick that the session saw so long after it happened is flagged: a card's server may stand still."""
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
        *_changes_shown(log),
        *_omissions_gray(log),
        *_paid_once(log),
        *_licks_in_trials(log, rows),
        *_volumes_in_ul(log),
    ]
    if wrong:
        more = f" (and {len(wrong) - 10} more)" if len(wrong) > 10 else ""
        raise NwbError(
            f"{log.folder}: no file is made, its record contradicts itself: {'; '.join(wrong[:10])}{more}; "
            "look into the log, or make the session's folder anew from its backup"
        )
    return [*_odd_licks(log), *_odd_voltages(log), *_water_unknown(log)]


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


def _changes_shown(log: SessionLog) -> Iterator[str]:
    """Find changes that the flips don't show where the log says, or not at its time."""
    flips = log.flips
    shown, times_s = flips["stimulus"], flips["time_s"]
    near_s = 0.5 / log.started.refresh_hz
    for entry in log.entries:
        event = entry.event
        if not isinstance(event, Change | ShamChange) or not 0 < entry.flip < len(flips):
            continue
        off_s = event.time_s - float(times_s[entry.flip])
        if abs(off_s) > near_s:
            yield f"trial {event.trial}: its change is {off_s:+.4f} s off the flip it came with, {entry.flip}"
        elif isinstance(event, Change) and not (
            shown[entry.flip] == event.to_stimulus and shown[entry.flip - 1] != event.to_stimulus
        ):
            yield f"trial {event.trial}: its change is not what flip {entry.flip} showed first"


def _omissions_gray(log: SessionLog) -> Iterator[str]:
    """Find omitted flashes with something on the screen."""
    flash_s = (log.started.stage_parameters.get("presentation") or {}).get("flash_s")
    if flash_s is None:
        return
    grays = [index for index, stimulus in enumerate(log.started.stimuli) if isinstance(stimulus, Gray)]
    refreshes = log.flips["refresh"].astype(np.int64)
    trial = -1
    for entry in log.entries:
        if isinstance(entry.event, TrialStarted):
            trial = entry.event.trial
        if isinstance(entry.event, FlashOmitted) and entry.flip < len(refreshes):
            last = np.searchsorted(refreshes, refreshes[entry.flip] + round(flash_s * log.started.refresh_hz))
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
    """Find licks before their trial's start or after the next one's; a lick is seen on a flip, and happened before."""
    slack_s = LATE_LICK_S + log.started.lick_latency_s
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


def _odd_licks(log: SessionLog) -> Iterator[str]:
    times_s = log.flips["time_s"]
    late = 0
    for entry in log.entries:
        if isinstance(entry.event, Lick) and entry.flip < len(times_s):
            late += float(times_s[entry.flip]) - entry.event.time_s > LATE_LICK_S
    if late:
        yield f"{late} licks were seen more than {LATE_LICK_S} s after they happened"


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
