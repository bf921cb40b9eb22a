"""The stage that camstim ran, in our words."""

from __future__ import annotations

from typing import Any

from hardware.arrays import IntArray
from rig.records.camstim import CamstimError
from rig.records.camstim.reader import Recording
from stages.parameters import StageParameters, named_image_set

REFRESH_HZ = 60.0
MOVIE = "natural_movie_one"
"""The only one that the laboratory's sessions end with; AllenSDK names it so whatever the file was."""


def stage_of(recording: Recording, refreshes: IntArray, *, whole: bool = False) -> StageParameters:
    """Return the stage as camstim ran it.

    Parameters
    ----------
    refreshes
        Shape (n,): the refresh of each frame.
    whole
        As it was meant to be: with omissions, a retracted spout, and what came after the task. Without it the session
        ends with the task, its gray before is as long as it was, and nothing is drawn: so it is run again.

    Raises
    ------
    CamstimError
        Its parameters are not those of a flashed session of this task; says which.
    """
    try:
        return StageParameters.model_validate(_fields(recording, refreshes) | (_meant(recording) if whole else {}))
    except KeyError as error:
        raise CamstimError(f"its parameters lack {error}: only flashed sessions of this task are read") from error
    except (TypeError, ValueError) as error:
        raise CamstimError(f"its parameters are not those of a flashed session of this task: {error}") from error


def _meant(recording: Recording) -> dict[str, Any]:
    """Return what replaces some of ``_fields``."""
    p, movie = recording.params, recording.movie
    padding_s = float(p["start_stop_padding"])
    passive = not p.get("lick_spout", True) or "passive" in recording.stage.split("_")
    no_water = {"warm_up_trials": 0, "free_reward_after_misses": None} if passive else {}
    return no_water | {
        "omission_probability": p.get("flash_omit_probability", 0.0),
        "passive": passive,
        "gray_before_s": padding_s,
        "gray_after_s": padding_s,
        "movie": None
        if movie is None
        else {
            "name": MOVIE,
            "frame_rate_hz": movie.frame_rate_hz,
            "n_frames": movie.n_pictures,
            "n_repeats": movie.n_repeats,
        },
    }


def _fields(recording: Recording, refreshes: IntArray) -> dict[str, Any]:
    p = recording.params
    low_s, high_s = p["response_window"]
    return {
        "stage": recording.stage,
        "stimulus": {"kind": "natural_images", "image_set": named_image_set(recording.stage) or "recorded"},
        "presentation": {"kind": "flashed", "flash_s": p["periodic_flash"][0], "gray_s": p["periodic_flash"][1]},
        "change": {
            "kind": "geometric",
            "p": p["change_time_scale"],
            "flashes_min": p["change_flashes_min"],
            "flashes_max": p["change_flashes_max"] - 1,  # camstim's excludes it
        },
        "catch": {"kind": "walk"},
        "response_window_s": (low_s, high_s),
        "abort_on_early_lick": p["abort_on_early_response"],
        "timeout_s": p["timeout_duration"],
        "max_repeats_after_abort": p["failure_repeats"],
        "after_window_s": p["end_after_response_sec"],
        "reward_volume_ul": p["reward_volume"] * 1000,
        "auto_reward_volume_ul": p["auto_reward_vol"] * 1000,
        "auto_reward_delay_s": p["auto_reward_delay"],
        "warm_up_trials": p["warm_up_trials"],
        "free_reward_after_misses": p["free_reward_trials"],
        "volume_limit_ul": p["volume_limit"] * 1000,
        "omission_probability": 0.0,
        "passive": False,
        "imaging": False,
        "gray_before_s": (int(refreshes[recording.onset_frames[0] - 1]) + 1) / REFRESH_HZ,
        "task_duration_min": p["max_task_duration_min"],
        "gray_after_s": 0.0,
        "movie": None,
    }
