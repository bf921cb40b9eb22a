"""A session's tables in AllenSDK's words: column names, units and marks as its readers expect them.

Plain columns, no NWB. ``change_time`` and the start and stop of presentations hold the monitor's delay, nothing else
does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hardware.arrays import AnyArray
from rig.log.reader import SessionLog
from rig.records.folds import Folds
from rig.records.presentations import with_stops
from rig.records.trials import TrialRow
from stages.events import (
    BlockKind,
    BlockStarted,
    Lick,
    Outcome,
    RewardArmed,
    RewardCommanded,
    RewardFired,
    RewardKind,
)
from stimuli.spec import Gabor, Grating, NaturalImage, NaturalMovie, Stimulus, label

NO_CHANGE = -99
"""``change_frame`` of a trial that never came to its change, and ``movie_repeat`` of what is no movie."""
TRIAL_COLUMNS = {
    "start_time": "Start, in seconds.",
    "stop_time": "End, in seconds.",
    "initial_image_name": "What was on the screen when the trial began.",
    "change_image_name": "What was on it after the change; the same where none came.",
    "is_change": "Whether the picture changed.",
    "change_time": "When the change was on the screen, monitor's delay included; sham changes too. NaN without.",
    "change_frame": "The change's flip, or the sham change's; -99 without.",
    "go": "The picture changed, and a lick in the window was paid.",
    "catch": "A sham change.",
    "lick_times": "Every lick of the trial.",
    "response_time": "The first lick of the trial, wherever it fell; NaN without one and in aborted trials.",
    "response_latency": "Response time less change time; infinite without a lick, NaN in aborted trials.",
    "reward_time": "When the trial's reward was given; NaN without one.",
    "reward_volume": "Millilitres; 0 without a reward.",
    "hit": "A go trial with a lick in the window.",
    "false_alarm": "A catch trial with a lick in the window.",
    "miss": "A go trial without a lick in the window.",
    "correct_reject": "A catch trial without a lick in the window.",
    "aborted": "A lick before the change ended the trial.",
    "auto_rewarded": "The change was paid without a lick; such a trial is no go trial.",
    "trial_length": "Seconds.",
    "trial": "The trial's number in the event log.",
}
"""Columns of trials, and what they mean."""
OMITTED = "omitted"
SPONTANEOUS = "spontaneous"
FIVE_MINUTES_S = 300.0


@dataclass(frozen=True, slots=True)
class Tables:
    """All that readers look for, as plain tables."""

    trials: pd.DataFrame
    """One row a trial that came to its end, see ``trials_of``."""
    cut_trials: pd.DataFrame
    """The same columns; trials that a stop or a crash cut short, ``stop_time`` where the record ends."""
    presentations: dict[str, pd.DataFrame]
    """By kind of stimulus (``images_A``, ``gratings``, ``spontaneous``, ``natural_movie_one``, ``gabor``)."""
    rewards: pd.DataFrame
    """``timestamps`` in seconds, ``volume`` in mL, ``auto_rewarded``: given at a command, not earned by a lick."""
    licks: pd.DataFrame
    """``timestamps`` in seconds, ``frame``: the flip on which the session saw it."""
    n_stimulus_frames: int
    """Flips with a flash on them."""


def image_name(stimulus: Stimulus) -> str:
    """Return a stimulus's name in the published tables: ``im065``, ``gratings_90.0``."""
    return f"gratings_{float(stimulus.orientation_deg)}" if isinstance(stimulus, Grating) else label(stimulus)


def stimulus_set(stimuli: Sequence[Stimulus]) -> str:
    """Return the name of what the task shows: ``images_A``, ``gratings`` or ``gabor``; empty for a session of gray."""
    for stimulus in stimuli:
        match stimulus:
            case NaturalImage():
                return f"images_{stimulus.image_set}"
            case Grating():
                return "gratings"
            case Gabor():
                return "gabor"
    return ""


def image_names(stimuli: Sequence[Stimulus]) -> list[str]:
    """Return the names of a task's pictures or gratings; a name's place is its ``image_index``."""
    return sorted({image_name(s) for s in stimuli if isinstance(s, NaturalImage | Grating)})


def tables_of(log: SessionLog, *, delay_s: float) -> Tables:
    """Return the tables of a session; ``delay_s`` is the monitor's.

    Rows that begin after the last flip that reached the disk are left out: a crash may cut the files apart by some
    hundredths of a second. So are blocks that were over before a flip was made.
    """
    folds = Folds.of(log.entries)
    rows = [row for row in folds.trials.rows if row.start_flip < len(log.flips)]
    last_s = _last_s(log)
    presentations, n_stimulus_frames = _presentations(log, folds, delay_s=delay_s)
    return Tables(
        trials=trials_of([row for row in rows if is_whole(row)], log.started.stimuli, delay_s=delay_s, last_s=last_s),
        cut_trials=trials_of(
            [row for row in rows if not is_whole(row)], log.started.stimuli, delay_s=delay_s, last_s=last_s
        ),
        presentations=presentations,
        rewards=_rewards(log),
        licks=_licks(log),
        n_stimulus_frames=n_stimulus_frames,
    )


def _last_s(log: SessionLog) -> float:
    """Return when the record ends: what came with the last flip was on for a refresh at the least."""
    return float(log.flips["time_s"][-1]) + 1 / log.started.refresh_hz if len(log.flips) else 0.0


def is_whole(row: TrialRow) -> bool:
    """Return whether a trial came to its outcome and its end."""
    return row.outcome is not Outcome.INCOMPLETE and not math.isnan(row.end_time_s)


def trials_of(rows: Sequence[TrialRow], stimuli: Sequence[Stimulus], *, delay_s: float, last_s: float) -> pd.DataFrame:
    """Return trials with AllenSDK's columns, in seconds and millilitres.

    ``response_time`` is the first lick of the trial, wherever it fell; ``response_latency`` counts from the change on
    the screen and is infinite without a lick. Both are NaN in aborted trials. ``lick_times`` holds an array a row.
    """
    names = {label(stimulus): image_name(stimulus) for stimulus in stimuli}
    table = []
    for row in rows:
        outcome = row.outcome
        aborted = outcome is Outcome.ABORTED
        has_change = row.change_flip >= 0
        auto_rewarded = outcome is Outcome.AUTO_REWARDED
        is_sorted = not aborted and outcome is not Outcome.INCOMPLETE
        changes = has_change and not row.catch
        change_s = row.change_time_s + delay_s if has_change else math.nan
        licks = np.array(row.lick_times_s, np.float64)
        response_s = float(licks[0]) if len(licks) and is_sorted else math.nan
        latency_s = (response_s - change_s if len(licks) else math.inf) if is_sorted else math.nan
        stop_s = max(last_s, row.start_time_s) if math.isnan(row.end_time_s) else row.end_time_s
        initial = names.get(row.initial_stimulus, row.initial_stimulus)
        table.append(
            {
                "start_time": row.start_time_s,
                "stop_time": stop_s,
                "initial_image_name": initial,
                "change_image_name": names.get(row.change_stimulus, row.change_stimulus) if changes else initial,
                "is_change": changes,
                "change_time": change_s,
                "change_frame": row.change_flip if has_change else NO_CHANGE,
                "go": is_sorted and not row.catch and not auto_rewarded,
                "catch": is_sorted and row.catch,
                "lick_times": licks,
                "response_time": response_s,
                "response_latency": latency_s,
                "reward_time": row.reward_time_s,
                "reward_volume": row.reward_volume_ul / 1000,
                "hit": outcome is Outcome.HIT,
                "false_alarm": outcome is Outcome.FALSE_ALARM,
                "miss": outcome is Outcome.MISS,
                "correct_reject": outcome is Outcome.CORRECT_REJECT,
                "aborted": aborted,
                "auto_rewarded": auto_rewarded,
                "trial_length": stop_s - row.start_time_s,
                "trial": row.trial,
            }
        )
    return pd.DataFrame(table, columns=list(TRIAL_COLUMNS))


def _rewards(log: SessionLog) -> pd.DataFrame:
    ordered: dict[int, tuple[RewardKind, float]] = {}
    rows: list[tuple[float, float, bool]] = []
    for entry in log.entries:
        match entry.event:
            case RewardArmed() as armed:
                ordered[armed.reward] = RewardKind.EARNED, armed.volume_ul
            case RewardCommanded() as commanded:
                ordered[commanded.reward] = commanded.kind, commanded.volume_ul
            case RewardFired() as fired:
                kind, volume_ul = ordered.get(fired.reward, (RewardKind.EARNED, math.nan))
                rows.append((fired.time_s, volume_ul / 1000, kind is not RewardKind.EARNED))
    table = pd.DataFrame(rows, columns=["timestamps", "volume", "auto_rewarded"])
    return table.sort_values("timestamps", kind="stable", ignore_index=True)


def _licks(log: SessionLog) -> pd.DataFrame:
    rows = [(entry.event.time_s, entry.flip) for entry in log.entries if isinstance(entry.event, Lick)]
    table = pd.DataFrame(rows, columns=["timestamps", "frame"])
    return table.sort_values("timestamps", kind="stable", ignore_index=True)


def _presentations(log: SessionLog, folds: Folds, *, delay_s: float) -> tuple[dict[str, pd.DataFrame], int]:
    flips = log.flips
    rows = folds.presentations.table()
    rows = with_stops(rows[rows["start_flip"] < len(flips)].reset_index(drop=True), flips)
    rows.loc[rows["start_flip"] == len(flips) - 1, "stop_time_s"] = _last_s(log)
    rows = rows[rows["omitted"] | (rows["stop_time_s"] > rows["start_time_s"])].reset_index(drop=True)
    starts = [(entry.flip, entry.event.block) for entry in log.entries if isinstance(entry.event, BlockStarted)]
    numbers = np.searchsorted([flip for flip, _ in starts], rows["start_flip"], side="right") - 1
    rows["stimulus_block"] = np.maximum(numbers, 0)
    task = rows["block"].isin([BlockKind.TASK.value, BlockKind.SWEEP.value])
    movie = rows["block"] == BlockKind.MOVIE.value
    tables = {SPONTANEOUS: _spontaneous(rows[~task & ~movie], log, delay_s=delay_s)}
    name = stimulus_set(log.started.stimuli)
    n_frames = 0
    if name == "gabor":
        tables[name] = _gabors(rows[task], log, delay_s=delay_s)
    elif name:
        tables[name] = _flashes(rows[task], log, delay_s=delay_s)
        n_frames = int(rows[task & ~rows["omitted"]]["n_flips_shown"].sum())
    for stimulus in log.started.stimuli:
        if isinstance(stimulus, NaturalMovie):
            tables[stimulus.name] = _movie(stimulus, log, delay_s=delay_s)
    return {name: table for name, table in tables.items() if len(table)}, n_frames


def _common(rows: pd.DataFrame, log: SessionLog, *, stimulus_name: str, delay_s: float) -> dict[str, Any]:
    """Return the columns that all tables have; readers join them."""
    return {
        "start_time": rows["start_time_s"].to_numpy() + delay_s,
        "stop_time": rows["stop_time_s"].to_numpy() + delay_s,
        "duration": rows["stop_time_s"].to_numpy() - rows["start_time_s"].to_numpy(),
        "start_frame": rows["start_flip"].to_numpy(np.int64),
        "end_frame": rows["stop_flip"].to_numpy(np.int64, copy=True),
        "stimulus_name": [stimulus_name] * len(rows),
        "stimulus_block": rows["stimulus_block"].to_numpy(np.int64),
        "stimulus_block_name": [block_name(block, log.started.stage_parameters) for block in rows["block"]],
        "movie_repeat": np.full(len(rows), NO_CHANGE),
    }


def block_name(block: str, stage_parameters: dict[str, Any]) -> str:
    """Return a block's name as the published tables have it; blocks that they know nothing of keep ours."""
    match BlockKind(block):
        case BlockKind.GRAY_BEFORE:
            return "initial_gray_screen" + _minutes(stage_parameters.get("gray_before_s"))
        case BlockKind.GRAY_AFTER:
            return "post_behavior_gray_screen" + _minutes(stage_parameters.get("gray_after_s"))
        case BlockKind.TASK:
            return "change_detection_passive" if stage_parameters.get("passive") else "change_detection_behavior"
        case BlockKind.MOVIE:
            return str((stage_parameters.get("movie") or {}).get("name", "movie"))
        case BlockKind.SWEEP:
            return "receptive_field_mapping"
        case BlockKind.PAUSE:
            return "pause"


def _minutes(length_s: float | None) -> str:
    return "_5min" if length_s == FIVE_MINUTES_S else ""


def _spontaneous(rows: pd.DataFrame, log: SessionLog, *, delay_s: float) -> pd.DataFrame:
    return pd.DataFrame(_common(rows, log, stimulus_name=SPONTANEOUS, delay_s=delay_s))


def _flashes(rows: pd.DataFrame, log: SessionLog, *, delay_s: float) -> pd.DataFrame:
    """Return flashes and what was omitted; an omitted one lasts as long as it would have, as in published tables."""
    started = log.started
    names = {label(stimulus): image_name(stimulus) for stimulus in started.stimuli}
    places = image_names(started.stimuli)
    omitted = rows["omitted"].to_numpy(bool)
    shown = [
        OMITTED if is_out else names.get(name, name) for name, is_out in zip(rows["stimulus"], omitted, strict=True)
    ]
    columns = _common(rows, log, stimulus_name=stimulus_set(started.stimuli), delay_s=delay_s)
    flash_s = float(started.stage_parameters["presentation"].get("flash_s", math.nan))
    if omitted.any():
        columns["duration"][omitted] = flash_s
        columns["stop_time"][omitted] = columns["start_time"][omitted] + flash_s
        columns["end_frame"][omitted] = columns["start_frame"][omitted] + round(flash_s * started.refresh_hz)
    return pd.DataFrame(
        columns
        | {
            "image_name": shown,
            "image_index": [places.index(name) if name in places else len(places) for name in shown],
            "image_set": columns["stimulus_name"],
            "omitted": omitted.astype(float),
            "is_change": rows["is_change"].to_numpy(float),
        }
    )


def _gabors(rows: pd.DataFrame, log: SessionLog, *, delay_s: float) -> pd.DataFrame:
    sweep = log.started.stage_parameters["sweep"]
    return pd.DataFrame(
        _common(rows, log, stimulus_name="gabor", delay_s=delay_s)
        | {
            "x_position": rows["azimuth_deg"].to_numpy(),
            "y_position": rows["altitude_deg"].to_numpy(),
            "orientation": rows["orientation_deg"].to_numpy(),
            "spatial_frequency": np.full(len(rows), float(sweep["spatial_frequency_cpd"])),
            "temporal_frequency": np.full(len(rows), float(sweep["temporal_frequency_hz"])),
            "contrast": np.full(len(rows), float(sweep["contrast"])),
            "size": np.full(len(rows), float(sweep["diameter_deg"])),
        }
    )


def _movie(movie: NaturalMovie, log: SessionLog, *, delay_s: float) -> pd.DataFrame:
    """Return one row a frame of the movie that was on the screen, by the flips: its block may begin with a gray one."""
    blocks = [(entry.flip, entry.event.block) for entry in log.entries if isinstance(entry.event, BlockStarted)]
    frames = log.flips["movie_frame"].astype(np.int64)
    times_s, last = log.flips["time_s"], len(frames) - 1
    on = frames >= 0
    begins = np.flatnonzero(on & (np.diff(frames, prepend=-1) != 0))
    if not len(begins):
        return pd.DataFrame()
    changes = np.append(np.flatnonzero(np.diff(frames)) + 1, len(frames))
    ends = np.minimum(changes[np.searchsorted(changes, begins, side="right")], last)
    numbers = np.searchsorted([flip for flip, _ in blocks], begins, side="right") - 1
    table = pd.DataFrame(
        {
            "start_flip": begins,
            "stop_flip": ends,
            "start_time_s": times_s[begins],
            "stop_time_s": np.where(begins == last, _last_s(log), times_s[ends]),
            "block": BlockKind.MOVIE.value,
            "stimulus_block": np.maximum(numbers, 0),
        }
    )
    shown = frames[begins]
    columns = _common(table, log, stimulus_name=movie.name, delay_s=delay_s)
    columns["movie_frame_index"] = shown
    columns["movie_repeat"] = np.cumsum(np.diff(shown, prepend=shown[0]) < 0)
    return pd.DataFrame(columns)


def ragged(values: Sequence[AnyArray]) -> tuple[AnyArray, AnyArray]:
    """Return arrays laid end to end, and where each ends: an NWB column with several values a row.

    Without a single value one NaN belongs to no row: a column of length 0 can't be written so that all readers take it.
    """
    ends = np.cumsum([len(part) for part in values])
    flat = np.concatenate(values) if len(values) else np.empty(0)
    return (flat if len(flat) else np.array([np.nan])), ends
