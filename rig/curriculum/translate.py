"""A stage of a regimen in our words: every key is understood, remarked on, or named as not understood.

Rules
    * A key is asked for by name, and what nobody asked for is not understood: nothing is dropped in silence.
    * What has no effect has so by a reason, which is said: camstim never read ``catch_frequency`` (TASK_FACTS 1.1), and
      all the laboratory's sessions had half the catch trials that their regimens ask for.
    * Keys without a counterpart have one value here; any other is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from rig.curriculum.regimen import Entries, RegimenStage
from stages.parameters import Contradictions, Stage, StageParameters

IMAGE_SETS = {
    "Natural_Images_Lum_Matched_set_training_2017.07.14.pkl": "A",
    "Natural_Images_Lum_Matched_set_ophys_6_2017.07.14.pkl": "B",
    "Natural_Images_Lum_Matched_set_ophys_E_viscod_2019.05.26.pkl": "E",
    "Natural_Images_Lum_Matched_set_ophys_F_viscod_2019.05.26.pkl": "F",
    "Natural_Images_Lum_Matched_set_ophys_G_2019.05.26.pkl": "G",
    "Natural_Images_Lum_Matched_set_ophys_H_2019.05.26.pkl": "H",
}
"""The files of the sets that stages name (TASK_FACTS 9; E and F by Task1E, which names its stages after them)."""
MOVIES = {"Movie_TOE1.npy": ("natural_movie_one", 900)}
"""Published name and frames of a movie's file (TASK_FACTS 1.9)."""
CATCH_PROBABILITY = 0.125
"""What camstim drew catch trials with, whatever a regimen said (TASK_FACTS 1.5)."""

_NONE = object()


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """Something to say of a line of the regimen."""

    line: int
    what: str
    words: str


def grouped(notes: Iterable[Note]) -> list[str]:
    """Return notes in words, those that say the same as one with all of its lines."""
    lines: dict[tuple[str, str], list[int]] = {}
    for note in notes:
        lines.setdefault((note.what, note.words), []).append(note.line)
    return [
        f"line{'s' if len(at) > 1 else ''} {', '.join(map(str, at))}: {what}: {words}"
        for (what, words), at in lines.items()
    ]


@dataclass(slots=True)
class Reading:
    """The keys of a stage as they are read; what could not be is in ``problems``."""

    stage: RegimenStage
    leave_out: Sequence[str] = ()
    remarks: list[Note] = field(default_factory=list)
    problems: list[Note] = field(default_factory=list)
    n_understood: int = 0
    asked_for: set[str] = field(default_factory=set)

    @property
    def entries(self) -> Entries:
        """The stage's parameters."""
        return self.stage.parameters

    def take(self, key: str, default: object = _NONE) -> Any:  # noqa: ANN401 - a regimen holds what it likes
        """Return a key's value; one that is missing without a default is a problem, and None."""
        self.asked_for.add(key)
        if key in self.entries:
            self.n_understood += 1
            return self.entries[key].value
        if default is _NONE:
            self.problems.append(Note(self.stage.line, f"{self.stage.name}.{key}", "is missing"))
            return None
        return default

    def number(self, key: str, default: object = _NONE) -> float:
        """Return a key's value, a number; 0 and a problem for anything else."""
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            if key in self.entries:
                self.refuse(key, "is not understood: a number is expected")
            return 0.0
        return value

    def only(self, key: str, value: object, why: str, *, default: object = _NONE) -> None:
        """Take a key that has no counterpart here and can only have this value."""
        if self.take(key, default) != value and key in self.entries:
            self.refuse(key, f"is not understood: only {value!r} is, {why}")

    def remark(self, key: str, words: str) -> None:
        """Say something of a key."""
        self.remarks.append(Note(self._line(key), self._with_value(key), words))

    def refuse(self, key: str, words: str) -> None:
        """Say that a key can't be understood."""
        self.problems.append(Note(self._line(key), self._with_value(key), words))

    def rest(self) -> None:
        """Name every key that nobody has asked for."""
        for key in self.entries:
            if key in self.asked_for:
                continue
            if key in self.leave_out:
                self.remark(key, "left out, as asked: it is not understood and has no effect")
            else:
                what = "is not understood: nothing here answers to it; --leave-out if it may be ignored"
                self.refuse(key, what)

    def _line(self, key: str) -> int:
        return self.entries[key].line if key in self.entries else self.stage.line

    def _with_value(self, key: str) -> str:
        if key not in self.entries or isinstance(self.entries[key].value, dict):
            return key
        return f"{key}: {_yaml(self.entries[key].value)}"


def translate(reading: Reading) -> Stage | None:
    """Return the stage; None if anything of it is not understood, which ``reading.problems`` then says."""
    fields = _fields(reading)
    reading.rest()
    if reading.problems:
        return None
    try:
        return StageParameters.model_validate(fields)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            inner = detail.get("ctx", {}).get("error")
            wrong = inner.problems if isinstance(inner, Contradictions) else [(_dotted(detail["loc"]), detail["msg"])]
            reading.problems += [
                Note(reading.stage.line, reading.stage.name, f"makes no stage: {name}: {message}")
                for name, message in wrong
            ]
        return None


def _fields(r: Reading) -> dict[str, object]:
    name = r.stage.name
    r.only("stage", name, "the name it is listed under")
    r.only("task_id", "DoC", "the one task there is")
    r.only("min_no_lick_time", 0.0, "as that wait at a trial's end is inactive", default=0.0)
    r.only("end_after_response", True, "as a trial always ends after its window")
    flash = r.take("periodic_flash")
    passive = not r.take("lick_spout", True)
    padding_s = r.number("start_stop_padding")
    warm_up = r.take("warm_up_trials")
    stimulus, catch = _stimulus(r, warm_up=warm_up)
    free_reward = r.take("free_reward_trials")
    if passive and "free_reward_trials" in r.entries:
        r.remark("free_reward_trials", "null: a passive stage gives no water")
    return {
        "stage": name,
        "stimulus": stimulus,
        "presentation": {"kind": "static"} if flash is None else _flashed(r, flash),
        "change": _change(r),
        "catch": catch,
        "response_window_s": r.take("response_window"),
        "abort_on_early_lick": r.take("abort_on_early_response", True),
        "timeout_s": r.number("timeout_duration"),
        "max_repeats_after_abort": r.take("failure_repeats"),
        "after_window_s": r.number("end_after_response_sec"),
        "reward_volume_ul": _ul(r.number("reward_volume")),
        "auto_reward_volume_ul": _ul(r.number("auto_reward_vol")),
        "auto_reward_delay_s": r.number("auto_reward_delay"),
        "warm_up_trials": warm_up,
        "free_reward_after_misses": None if passive else free_reward,
        "volume_limit_ul": _ul(r.number("volume_limit")),
        "omission_probability": r.number("flash_omit_probability", 0.0),
        "passive": passive,
        "imaging": name.startswith("OPHYS"),
        "gray_before_s": padding_s,
        "task_duration_min": r.number("max_task_duration_min"),
        "gray_after_s": padding_s,
        "movie": _movie(r),
    }


def _flashed(r: Reading, flash: object) -> dict[str, object]:
    if not isinstance(flash, list) or len(flash) != 2:
        r.refuse("periodic_flash", "is not understood: [seconds on, seconds gray] is expected")
        return {}
    return {"kind": "flashed", "flash_s": flash[0], "gray_s": flash[1]}


def _change(r: Reading) -> dict[str, object]:
    kind = r.take("change_time_dist")
    low, high = r.take("change_flashes_min"), r.take("change_flashes_max")
    scale = r.number("change_time_scale")
    if kind == "geometric":
        r.only("pre_change_time", 0.0, "as changes that are counted in flashes have no time before them")
        r.take("stimulus_window")
        r.remark("stimulus_window", "without effect: changes are counted in flashes, and nothing is cut by it")
        if isinstance(high, int):
            r.remark("change_flashes_max", f"flashes_max {high - 1}: theirs is exclusive, ours inclusive")
        return {
            "kind": kind,
            "p": scale,
            "flashes_min": low,
            "flashes_max": high - 1 if isinstance(high, int) else high,
        }
    if kind == "exponential":
        if low is not None or high is not None:
            r.refuse("change_flashes_min", "is not understood: an exponential change is not counted in flashes")
        return {
            "kind": kind,
            "earliest_s": r.number("pre_change_time"),
            "mean_s": scale,
            "below_s": r.number("stimulus_window"),
        }
    r.refuse("change_time_dist", "is not understood: geometric or exponential is expected")
    r.asked_for |= {"pre_change_time", "stimulus_window"}
    return {}


def _stimulus(r: Reading, *, warm_up: object) -> tuple[dict[str, object], dict[str, object]]:
    """Return what is shown, and where its catch trials come from."""
    value = r.take("stimulus")
    asked = r.take("catch_frequency")
    match value:
        case {"class": "images", "params": {"image_set": str(file), "sampling": "even", **others}, **rest} if not (
            others or rest
        ):
            file = re.split(r"[/\\]", file)[-1]
            if file not in IMAGE_SETS:
                r.refuse("stimulus", f"is not understood: no image set here answers to {file}")
            if asked is None:
                r.remark("catch_frequency", "catch trials come of the images' walk, 8 of its 64 steps: 12.5 %")
            else:
                r.remark("catch_frequency", "without effect: with images catch trials come of the walk, 12.5 %")
            images: dict[str, object] = {"kind": "natural_images", "image_set": IMAGE_SETS.get(file, "unknown")}
            return images, {"kind": "walk"}
        case {
            "class": "grating",
            "params": {
                "tex": "sqr",
                "size": [200, 150],
                "units": "deg",
                "sf": float(cpd),
                "phase": float(phase),
                **others,
            },
            "groups": dict(groups),
            **rest,
        } if not (others or rest) and all(list(group) == ["Ori"] for group in groups.values()):
            r.remark("stimulus", "contrast 1: the regimen gives none, camstim's early default")
            gratings = {
                "kind": "gratings",
                "groups_deg": {group: given["Ori"] for group, given in groups.items()},
                "spatial_frequency_cpd": cpd,
                "phase_cycles": phase,
                "contrast": 1.0,
            }
            return gratings, {"kind": "draw", "probability": _catch_probability(r, warm_up=warm_up)}
    if value is not None:
        what = "square gratings over the full field in groups, or images sampled evenly, are expected"
        r.refuse("stimulus", f"is not understood: {what}")
    return {}, {}


def _catch_probability(r: Reading, *, warm_up: object) -> float:
    if warm_up == -1:
        r.remark("catch_frequency", "0: every trial is paid by the warm-up, which has no catch trials")
        return 0.0
    why = "camstim reads catch_freq and never saw this key"
    r.remark("catch_frequency", f"without effect, {CATCH_PROBABILITY:g} instead: {why} (TASK_FACTS 1.1)")
    return CATCH_PROBABILITY


def _movie(r: Reading) -> dict[str, object] | None:
    match r.take("epilogue", None):
        case None:
            return None
        case {
            "name": "fingerprint",
            "params": {
                "movie_path": str(file),
                "frame_length": float(frame_s),
                "runs": int(runs),
                "size": [1920, 1080],
                **others,
            },
            **rest,
        } if not (others or rest) and re.split(r"[/\\]", file)[-1] in MOVIES:
            name, n_frames = MOVIES[re.split(r"[/\\]", file)[-1]]
            r.remark("epilogue", f"{name}, {n_frames} frames: the published name and the length of that file")
            frame_rate_hz = round(1 / frame_s, 9)
            return {"name": name, "frame_rate_hz": frame_rate_hz, "n_frames": n_frames, "n_repeats": runs}
        case _:
            r.refuse("epilogue", f"is not understood: the movie {', '.join(MOVIES)} at full size is expected")
            return None


def _ul(volume_ml: float) -> float:
    return round(volume_ml * 1000, 9)


def _dotted(location: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in location)


def _yaml(value: object) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
