"""The trials of a recorded session as columns, by AllenSDK's own bookkeeping (TASK_FACTS 5 and 6)."""

from __future__ import annotations

import gzip
import pickle
from functools import cache
from typing import Any

import numpy as np
import pytest

from stages.events import Outcome
from stages.metrics import TrialColumns
from tests.builders import SHARED

RECORDING = SHARED / "real" / "allen" / "example_stimulus.pkl.gz"


@cache
def recorded_behaviour() -> dict[str, Any]:
    """What camstim wrote of the behaviour; skips where there are no recorded data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not at hand: the recorded session stands beside the checkout or nowhere")
    with gzip.open(RECORDING) as file:
        behaviour: dict[str, Any] = pickle.load(file, encoding="latin1")["items"]["behavior"]
    return behaviour


@cache
def recorded_trials() -> TrialColumns:
    """The recorded session's 953 trials; their times are those of the frames they were logged with.

    A lick belongs to the trial that had started before its frame. The last trial ends where the film begins.
    """
    behaviour = recorded_behaviour()
    times_s = np.concatenate([[0.0], np.cumsum(behaviour["intervalsms"])]) / 1000
    trials = behaviour["trial_log"]
    starts = np.array([_frame(trial, "trial_start") for trial in trials])
    last_end = behaviour["items"]["fingerprint"]["starting_frame"]
    licks = np.asarray(behaviour["lick_sensors"][0]["lick_events"], np.int64)
    licks = licks[(licks > starts[0]) & (licks <= last_end)]
    return TrialColumns(
        outcomes=np.array([outcome_of(trial).value for trial in trials]),
        start_times_s=times_s[starts],
        change_times_s=np.array([_change_s(trial, times_s) for trial in trials]),
        reward_volumes_ul=np.array([1000 * sum(reward[0] for reward in trial["rewards"]) for trial in trials]),
        lick_times_s=times_s[licks],
        lick_trials=np.searchsorted(starts, licks, side="left") - 1,
    )


def outcome_of(trial: dict[str, Any]) -> Outcome:
    """How AllenSDK takes a trial of the log; a false alarm may have been logged as a rejection besides."""
    names = {event[0] for event in trial["events"]}
    if "abort" in names:
        return Outcome.ABORTED
    if trial["trial_params"]["auto_reward"]:
        return Outcome.AUTO_REWARDED
    if trial["trial_params"]["catch"]:
        return Outcome.FALSE_ALARM if "false_alarm" in names else Outcome.CORRECT_REJECT
    return Outcome.HIT if "hit" in names else Outcome.MISS


def _change_s(trial: dict[str, Any], times_s: np.ndarray) -> float:
    frames = [_frame(trial, name) for name in ("stimulus_changed", "sham_change")]
    return next((float(times_s[frame]) for frame in frames if frame >= 0), np.nan)


def _frame(trial: dict[str, Any], name: str) -> int:
    return next((int(event[3]) for event in trial["events"] if event[0] == name), -1)
