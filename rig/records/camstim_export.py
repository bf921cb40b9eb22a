"""A session as the pickle that camstim would have left, for processing that reads those (TASK_FACTS 6).

Frames are flips. Times in trials are session time. All but a movie's frames are plain values, and any numpy can open
it. What camstim has no word for stays out: free rewards are in ``reward_times`` and in no trial; trials that were cut
short are left out, as everywhere where AllenSDK reads, and so is a movie of which a picture was never shown.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from hardware.arrays import AnyArray
from rig.log.reader import SessionLog
from rig.records.camstim import CamstimError
from rig.records.camstim.reader import UTC_OFFSET
from rig.records.folds import Folds
from rig.records.nwb.checks import refuse_contradictions
from rig.records.nwb.running import running_of
from rig.records.nwb.tables import is_whole
from rig.records.trials import TrialRow
from rig.records.whole import in_the_way, write_whole
from stages.events import (
    Aborted,
    BlockKind,
    BlockStarted,
    Lick,
    Outcome,
    RewardArmed,
    RewardCommanded,
    RewardFired,
    TimeoutEnded,
    TrialOutcome,
)
from stimuli.spec import Grating, NaturalImage, NaturalMovie, Stimulus, identity, label

FILE = "session.pkl"
SUFFIX = ".pkl"
PROTOCOL = 3
"""What every Python 3 reads."""
NUMPY_NOW_AND_THEN = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"
"""Where arrays come from: numpy 2 knows the name that numpy 1, and so AllenSDK, looks for."""


def export_camstim(log: SessionLog, *, path: Path | None = None) -> Path:
    """Write a session's camstim pickle, ``session.pkl`` in its folder or where asked; return where it is.

    Raises
    ------
    CamstimError
        The session has no trials that camstim knows (a sweep), or none that came to its end, something else has the
        name, or the file can't be written; none is there then.
    NwbError
        The record contradicts itself.
    """
    path = path or log.folder / FILE
    if why := in_the_way(path, suffix=SUFFIX):
        raise CamstimError(f"{path}: {why}; give another name with --out")
    if "sweep" in log.started.stage_parameters:
        raise CamstimError(f"{log.folder}: {log.started.stage} is a sweep, which camstim's behaviour files can't hold")
    if not len(log.flips):
        raise CamstimError(f"{log.folder}: not one flip reached the disk; there is nothing to make a file of")
    refuse_contradictions(log)
    if not _whole_rows(log):
        raise CamstimError(f"{log.folder}: not one trial came to its end, and no reader opens a camstim file without")
    data = pickle.dumps(camstim_data(log), protocol=PROTOCOL).replace(*NUMPY_NOW_AND_THEN)
    try:
        write_whole(path, data)
    except OSError as error:
        what = f"{path}: can't be written ({error.strerror or error}); make room or give another place with --out"
        raise CamstimError(what) from error
    return path


def camstim_data(log: SessionLog) -> dict[str, Any]:
    """Return the pickle's contents."""
    started, flips = log.started, log.flips
    p = started.stage_parameters
    begun = datetime.fromisoformat(started.started_at).astimezone()  # one without an offset is in this computer's
    ended = begun + timedelta(seconds=float(flips["time_s"][-1]))
    rows = _whole_rows(log)
    rewards = _rewards(log)
    paid_ml = [volume_ml for _, _, volume_ml, _ in rewards]
    running = running_of(flips, refresh_hz=started.refresh_hz)
    kind = "grating" if any(isinstance(stimulus, Grating) for stimulus in started.stimuli) else "images"
    behavior: dict[str, Any] = {
        "intervalsms": (np.diff(flips["time_s"]) * 1000).tolist(),
        "lick_sensors": [{"lick_events": [e.flip for e in log.entries if isinstance(e.event, Lick)]}],
        "encoders": [
            {
                "vsig": flips["signal_v"].astype(float).tolist(),
                "vin": flips["supply_v"].astype(float).tolist(),
                "dx": np.nan_to_num(running.turned_deg).tolist(),
            }
        ],
        "rewards": [
            {
                "reward_times": [[time_s, flip] for time_s, flip, _, _ in rewards],
                "reward_count": len(rewards),
                "volume_dispensed": sum(paid_ml),
            }
        ],
        "trial_log": _trial_log(log, rows, rewards),
        "stimuli": {kind: _stimulus(log, rows)},
        "omitted_flash_frame_log": {f"{kind}_0": _omitted(log)},
        "params": _params(log, kind),
        "cl_params": {},
        "config": _config(p, log),
        "items": {"fingerprint": movie} if (movie := _movie(log)) is not None else {},
        "window": {},
        "update_count": len(flips),
        "trial_count": len(rows),
        "rewards_dispensed": len(rewards),
        "volume_dispensed": sum(paid_ml),
    }
    return {
        "session_uuid": started.session_id,
        "start_time": begun.replace(tzinfo=None),
        "stop_time": ended.replace(tzinfo=None),
        UTC_OFFSET: (begun.utcoffset() or timedelta()).total_seconds(),
        "comp_id": started.rig,
        "rig_id": started.rig,
        "platform_info": {"open-vision-rig": started.code_version},
        "script": "",
        "items": {"behavior": behavior},
    }


def _whole_rows(log: SessionLog) -> list[TrialRow]:
    return [row for row in Folds.of(log.entries).trials.rows if is_whole(row)]


def _rewards(log: SessionLog) -> list[tuple[float, int, float, int]]:
    """Return time, flip, millilitres and trial (-1 for free ones) of each reward."""
    ordered: dict[int, tuple[float, int]] = {}
    rewards = []
    for entry in log.entries:
        match entry.event:
            case RewardArmed() | RewardCommanded() as order:
                ordered[order.reward] = order.volume_ul / 1000, order.trial
            case RewardFired(reward=reward, time_s=time_s) if reward in ordered:
                rewards.append((time_s, entry.flip, *ordered[reward]))
    return rewards


def _trial_log(
    log: SessionLog, rows: Sequence[TrialRow], rewards: Sequence[tuple[float, int, float, int]]
) -> list[dict[str, Any]]:
    answered: dict[int, int] = {}
    aborted: dict[int, int] = {}
    timed_out: dict[int, int] = {}
    licks: list[tuple[float, int]] = []
    for entry in log.entries:
        match entry.event:
            case TrialOutcome(trial=trial):
                answered[trial] = entry.flip
            case Aborted(trial=trial):
                aborted[trial] = entry.flip
            case TimeoutEnded(trial=trial):
                timed_out[trial] = entry.flip
            case Lick(time_s=time_s):
                licks.append((time_s, entry.flip))
    stimuli = {label(stimulus): stimulus for stimulus in log.started.stimuli}
    window_s = log.started.stage_parameters["response_window_s"]
    times_s, n_paid, paid_ml = log.flips["time_s"], 0, 0.0
    trials = []
    for index, row in enumerate(rows):
        paid = [(volume_ml, time_s, flip) for time_s, flip, volume_ml, trial in rewards if trial == row.trial]
        n_paid += len(paid)
        paid_ml += sum(volume_ml for volume_ml, _, _ in paid)
        changed = row.change_flip >= 0 and not row.catch
        change = _identity(stimuli[row.initial_stimulus]), _identity(stimuli[row.change_stimulus])
        flips = {
            "answer": answered.get(row.trial, row.end_flip),
            "abort": aborted.get(row.trial, -1),
            "timeout": timed_out.get(row.trial, row.end_flip),
        }
        opens, closes = (
            int(np.searchsorted(times_s, row.change_time_s + edge_s)) if row.change_flip >= 0 else -1
            for edge_s in window_s
        )
        trials.append(
            {
                "index": index,
                "cumulative_rewards": n_paid,
                "cumulative_volume": paid_ml,
                "stimulus_changes": [(*change, row.change_time_s, row.change_flip)] if changed else [],
                "success": row.outcome is Outcome.HIT or row.outcome is Outcome.CORRECT_REJECT,
                "licks": [(time_s, flip) for time_s, flip in licks if time_s in set(row.lick_times_s)],
                "trial_params": {
                    "catch": bool(row.catch),
                    "auto_reward": bool(row.auto_rewarded),
                    "change_time": row.change_after,
                },
                "rewards": paid,
                "events": _events(row, flips, window=(opens, closes), times_s=times_s),
            }
        )
    return trials


def _events(
    row: TrialRow, flips: dict[str, int], *, window: tuple[int, int], times_s: AnyArray
) -> list[list[str | float | int]]:
    """Return a trial's events as camstim names them: name, enter or exit, time, frame."""
    start, end, change = row.start_flip, row.end_flip, row.change_flip
    named: list[tuple[str, str, int]] = [("trial_start", "", start)]
    named += [(phase, how, start) for phase in ("initial_blank", "pre_change") for how in ("enter", "exit")]
    named.append(("stimulus_window", "enter", start))
    if row.outcome is Outcome.ABORTED:
        abort, timeout = flips["abort"], flips["timeout"]
        named += [("early_response", "", abort), ("abort", "", abort)]
        named += [("timeout", "enter", abort), ("timeout", "exit", timeout)]
    else:
        opens, closes = (min(flip, end) for flip in window)
        named.append(("sham_change" if row.catch else "stimulus_changed", "", change))
        if row.outcome is Outcome.AUTO_REWARDED:
            named.append(("auto_reward", "", change))  # told with the change; the water comes after the delay (PKL)
        named.append(("response_window", "enter", opens))
        if row.outcome in (Outcome.HIT, Outcome.FALSE_ALARM):
            named.append((row.outcome.value, "", flips["answer"]))
        named.append(("response_window", "exit", closes))
        if row.outcome is Outcome.MISS:
            named.append(("miss", "", closes))
        if row.catch:
            named.append(("rejection", "", closes))
        named += [("stimulus_window", "exit", end), ("no_lick", "exit", end)]
    named.append(("trial_end", "", end))
    last = len(times_s) - 1
    return [[name, how, float(times_s[min(flip, last)]), flip] for name, how, flip in named]


def _identity(stimulus: Stimulus) -> tuple[str, str | float]:
    """Return camstim's group and name of a picture or grating."""
    if isinstance(stimulus, Grating):
        return stimulus.group, float(stimulus.orientation_deg)
    return identity(stimulus), label(stimulus)


def _stimulus(log: SessionLog, rows: Sequence[TrialRow]) -> dict[str, Any]:
    """Return what was set when, and on which frames it was drawn."""
    shown = [s if isinstance(s, Grating | NaturalImage) else None for s in log.started.stimuli]
    on = np.array([stimulus is not None for stimulus in shown])[log.flips["stimulus"]]
    drawn = np.flatnonzero(on)
    set_log: list[tuple[str, str | float, float, int]] = []
    before: Stimulus | None = None
    for flip in drawn[np.flatnonzero(np.diff(log.flips["stimulus"][drawn], prepend=-1))].tolist():
        stimulus = shown[log.flips["stimulus"][flip]]
        if stimulus is None or stimulus == before:
            continue
        attribute = "Ori" if isinstance(stimulus, Grating) else "Image"
        first = 0 if before is None else flip
        set_log.append((attribute, _identity(stimulus)[1], float(log.flips["time_s"][first]), first))
        before = stimulus
    groups: dict[str, list[str | float]] = {}
    for stimulus in shown:
        if stimulus is not None:
            group, name = _identity(stimulus)
            groups.setdefault(group, []).append(name)
    gratings = [stimulus for stimulus in shown if isinstance(stimulus, Grating)]
    presentation = log.started.stage_parameters["presentation"]
    flashes = [presentation["flash_s"], presentation["gray_s"]] if "flash_s" in presentation else None
    result: dict[str, Any] = {
        "set_log": set_log,
        "draw_log": on.astype(int).tolist(),
        "change_log": [
            (*change, row.change_time_s, row.change_flip)
            for row in rows
            if row.change_flip >= 0 and not row.catch
            for change in [_change(log, row)]
        ],
        "flashes_omitted": [],
        "stim_groups": groups,
        "flash_interval_sec": flashes,
        "obj_type": "DoCGratingStimulus" if gratings else "DoCImageStimulus",
        "fps": log.started.refresh_hz,
        "update_count": len(log.flips),
    }
    if gratings:
        result |= {"phase": gratings[0].phase_cycles, "sf": gratings[0].spatial_frequency_cpd}
    else:
        result |= {"image_path": _image_set(log), "image_set": _image_set(log)}
    return result


def _change(log: SessionLog, row: TrialRow) -> tuple[tuple[str, str | float], tuple[str, str | float]]:
    stimuli = {label(stimulus): stimulus for stimulus in log.started.stimuli}
    return _identity(stimuli[row.initial_stimulus]), _identity(stimuli[row.change_stimulus])


def _image_set(log: SessionLog) -> str:
    return f"images_{log.started.stage_parameters['stimulus'].get('image_set', '')}.pkl"


def _omitted(log: SessionLog) -> list[int]:
    rows = Folds.of(log.entries).presentations.rows
    return [row.start_flip for row in rows if row.omitted]


def _movie(log: SessionLog) -> dict[str, Any] | None:
    """Return what came after the task, gray and then the movie, if every picture of the movie was shown."""
    movie = next((stimulus for stimulus in log.started.stimuli if isinstance(stimulus, NaturalMovie)), None)
    pictures = log.flips["movie_frame"].astype(np.int32)
    begins = np.flatnonzero((pictures >= 0) & (np.diff(pictures, prepend=np.int32(-1)) != 0))
    if movie is None or not np.array_equal(pictures[begins], np.tile(np.arange(movie.n_frames), movie.n_repeats)):
        return None
    started = [(entry.flip, entry.event.block) for entry in log.entries if isinstance(entry.event, BlockStarted)]
    shown, last = int(begins[0]), int(np.flatnonzero(pictures >= 0)[-1])
    first = next((flip for flip, block in started if block is BlockKind.GRAY_AFTER), shown)
    ends = np.append(begins[1:] - 1, last)
    return {
        "name": "fingerprint",
        "starting_frame": first,
        "ending_frame": last + 1,
        "frame_indices": list(range(first, last + 1)),
        "static_stimulus": {
            "frame_list": pictures[first : last + 1],  # readers compare the whole of it with -1
            "sweep_frames": list(zip((begins - shown).tolist(), (ends - shown).tolist(), strict=True)),
            "runs": movie.n_repeats,
            "fps": log.started.refresh_hz,
            "frame_length": movie.refreshes_per_frame / log.started.refresh_hz,
            "movie_path": f"{movie.name}.npy",
        },
    }


def _params(log: SessionLog, kind: str) -> dict[str, Any]:
    """Return what the regimen would have said."""
    p, change = log.started.stage_parameters, log.started.stage_parameters["change"]
    params: dict[str, Any] = {
        "task_id": "DoC",
        "stage": log.started.stage,
        "mouse_id": log.started.mouse,
        "stimulus": {"class": kind, "params": {}},
        "change_time_dist": change["kind"],
        "change_time_scale": change["p"] if change["kind"] == "geometric" else change["mean_s"],
        "response_window": list(p["response_window_s"]),
        "reward_volume": p["reward_volume_ul"] / 1000,
        "auto_reward_vol": p["auto_reward_volume_ul"] / 1000,
        "auto_reward_delay": p["auto_reward_delay_s"],
        "timeout_duration": p["timeout_s"],
        "failure_repeats": p["max_repeats_after_abort"],
        "warm_up_trials": p["warm_up_trials"],
        "free_reward_trials": p["free_reward_after_misses"] or 10_000,
        "volume_limit": p["volume_limit_ul"] / 1000,
        "max_task_duration_min": p["task_duration_min"],
        "end_after_response_sec": p["after_window_s"],
        "start_stop_padding": p["gray_before_s"],
        "lick_spout": not p["passive"],
    }
    if "flash_s" in p["presentation"]:
        params["periodic_flash"] = [p["presentation"]["flash_s"], p["presentation"]["gray_s"]]
        params |= {"change_flashes_min": change["flashes_min"], "change_flashes_max": change["flashes_max"] + 1}
    if p["omission_probability"]:
        params["flash_omit_probability"] = p["omission_probability"]
    return params


def _config(p: dict[str, Any], log: SessionLog) -> dict[str, Any]:
    """Return camstim's own configuration, the same numbers by its names."""
    presentation = p["presentation"]
    gray_s = presentation.get("gray_s", 0.0)
    doc = {
        "blank_duration_range": (gray_s, gray_s),
        "response_window": list(p["response_window_s"]),
        "auto_reward_volume": p["auto_reward_volume_ul"] / 1000,
        "change_time_dist": p["change"]["kind"],
        "stimulus_window": 6.0,
        "warm_up_trials": p["warm_up_trials"],
        "failure_repeats": p["max_repeats_after_abort"],
        "timeout_duration": p["timeout_s"],
        "auto_reward_delay": p["auto_reward_delay_s"],
        "max_task_duration_min": p["task_duration_min"],
        "end_after_response_sec": p["after_window_s"],
        "start_stop_padding": p["gray_before_s"],
        "abort_on_early_response": p["abort_on_early_lick"],
        "flash_omit_probability": p["omission_probability"],
    }
    return {
        "DoC": doc,
        "reward": {"reward_volume": p["reward_volume_ul"] / 1000},
        "behavior": {"mouse_id": log.started.mouse, "task_id": "DoC", "volume_limit": p["volume_limit_ul"] / 1000},
        "lick": {},
        "sync": {},
        "encoder": {},
    }
