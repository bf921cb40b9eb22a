"""Every parameter of every shipped stage against the laboratory's own regimen, key by key.

``EXPECTED`` says what each key of the regimen becomes here; a key that stands in neither it nor ``IGNORED`` fails,
and so does a parameter of ours that no key gives and ``OURS`` does not explain.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import yaml

from rig.config.files import image_names, load_image_set, load_stage, shipped
from stages.parameters import SweepParameters
from tests.builders import SWEEP, recorded

REGIMENS = {
    "A": "VisualBehavior_Task1A_v1.1.1",
    "B": "VisualBehavior_Task1B_v1.0.2",
    "G": "VisualBehavior_Task1G_v1.0.6",
}
TABLE = "release/behavior_session_table.csv"

Fields = dict[str, Any]
Regimen = dict[str, Any]

IMAGE_SETS = {
    "Natural_Images_Lum_Matched_set_training_2017.07.14.pkl": "A",
    "Natural_Images_Lum_Matched_set_ophys_6_2017.07.14.pkl": "B",
    "Natural_Images_Lum_Matched_set_ophys_G_2019.05.26.pkl": "G",
    "Natural_Images_Lum_Matched_set_ophys_H_2019.05.26.pkl": "H",
}
"""TASK_FACTS 9."""


def stimulus(value: dict[str, Any], _: Regimen) -> Fields:
    params = dict(value["params"])
    if value["class"] == "images":
        assert params.pop("sampling") == "even"  # the walk
        file = params.pop("image_set").rsplit("/", 1)[-1]
        assert not params
        return {"stimulus.kind": "natural_images", "stimulus.image_set": IMAGE_SETS[file]}
    # The full field of any screen, square waves: what Gratings means.
    assert (params.pop("tex"), params.pop("size"), params.pop("units")) == ("sqr", [200, 150], "deg")
    groups = {group: given["Ori"] for group, given in value["groups"].items()}
    fields = {"stimulus.kind": "gratings", "stimulus.groups_deg": groups}
    fields |= {"stimulus.spatial_frequency_cpd": params.pop("sf"), "stimulus.phase_cycles": params.pop("phase")}
    assert not params
    return fields


def catch(value: float | None, _: Regimen) -> Fields:
    """camstim ignored the key: 0.125 in effect (TASK_FACTS 1.1, 1.5); where 0 is asked for all trials are paid."""
    if value is None:
        return {"catch.kind": "walk"}
    return {"catch.kind": "draw", "catch.probability": {0.25: 0.125, 0.0: 0.0}[value]}


def presentation(value: list[float] | None, _: Regimen) -> Fields:
    if value is None:
        return {"presentation.kind": "static"}
    flash_s, gray_s = value
    return {"presentation.kind": "flashed", "presentation.flash_s": flash_s, "presentation.gray_s": gray_s}


def if_exponential(field: str) -> Callable[[Any, Regimen], Fields]:
    return lambda value, regimen: {field: value} if regimen["change_time_dist"] == "exponential" else {}


def if_geometric(field: str, less: int = 0) -> Callable[[Any, Regimen], Fields]:
    return lambda value, _: {} if value is None else {field: value - less}


def change_scale(value: float, regimen: Regimen) -> Fields:
    return {"change.p" if regimen["change_time_dist"] == "geometric" else "change.mean_s": value}


def unless_passive(field: str) -> Callable[[Any, Regimen], Fields]:
    return lambda value, regimen: {field: value if regimen.get("lick_spout", True) else None}


def ul(field: str) -> Callable[[float, Regimen], Fields]:
    return lambda volume_ml, _: {field: volume_ml * 1000}


def same(field: str) -> Callable[[Any, Regimen], Fields]:
    return lambda value, _: {field: value}


def epilogue(value: dict[str, Any] | None, _: Regimen) -> Fields:
    if value is None:
        return {"movie": None}
    params = value["params"]
    assert (value["name"], params["movie_path"].rsplit("/", 1)[-1]) == ("fingerprint", "Movie_TOE1.npy")
    return {
        "movie.name": "natural_movie_one",  # its published name (TASK_FACTS 1.9)
        "movie.frame_rate_hz": 1 / params["frame_length"],
        "movie.n_repeats": params["runs"],
        "movie.n_frames": 900,  # of that file
    }


EXPECTED: dict[str, Callable[[Any, Regimen], Fields]] = {
    "stage": same("stage"),
    "stimulus": stimulus,
    "periodic_flash": presentation,
    "change_time_dist": same("change.kind"),
    "change_time_scale": change_scale,
    "change_flashes_min": if_geometric("change.flashes_min"),
    "change_flashes_max": if_geometric("change.flashes_max", less=1),  # theirs is exclusive
    "pre_change_time": if_exponential("change.earliest_s"),
    "stimulus_window": if_exponential("change.below_s"),  # counted in flashes, nothing is cut by it
    "catch_frequency": catch,
    "response_window": lambda window, _: {"response_window_s": tuple(window)},
    "abort_on_early_response": same("abort_on_early_lick"),
    "timeout_duration": same("timeout_s"),
    "failure_repeats": same("max_repeats_after_abort"),
    "end_after_response_sec": same("after_window_s"),
    "reward_volume": ul("reward_volume_ul"),
    "auto_reward_vol": ul("auto_reward_volume_ul"),
    "auto_reward_delay": same("auto_reward_delay_s"),
    "warm_up_trials": same("warm_up_trials"),
    "free_reward_trials": unless_passive("free_reward_after_misses"),  # no water, so none after any number of misses
    "volume_limit": ul("volume_limit_ul"),
    "flash_omit_probability": same("omission_probability"),
    "lick_spout": lambda at_mouse, _: {"passive": not at_mouse},
    "start_stop_padding": lambda padding_s, _: {"gray_before_s": padding_s, "gray_after_s": padding_s},
    "max_task_duration_min": same("task_duration_min"),
    "epilogue": epilogue,
}
DEFAULTS: Regimen = {
    "abort_on_early_response": True,
    "flash_omit_probability": 0.0,
    "lick_spout": True,
    "epilogue": None,
}
"""What a stage means that leaves the key out (TASK_FACTS 1.1, 2)."""
IGNORED: dict[str, tuple[Any, str]] = {
    "task_id": ("DoC", "the one task there is here"),
    "min_no_lick_time": (0.0, "an inactive wait at a trial's end"),
    "end_after_response": (True, "a trial always ends after its window; after_window_s says when"),
}
"""Keys without a counterpart: the one value they have, and why nothing answers to it."""
OURS: dict[str, Callable[[str], Any]] = {
    "stimulus.contrast": lambda _: 1.0,  # the regimen gives none; camstim's early default
    "imaging": lambda stage: stage.startswith("OPHYS"),
    "overrun_limit_s": lambda _: 60.0,  # of ours
}
"""Parameters that no key gives."""


@cache
def regimen(task: str) -> dict[str, Regimen]:
    text = recorded(f"regimens/{REGIMENS[task]}.yml").read_text(encoding="utf-8")
    return {name: stage["parameters"] for name, stage in yaml.safe_load(text)["stages"].items()}


def flat(fields: Fields, at: str = "") -> Fields:
    """Fields of fields by dotted names; the groups of gratings stay together."""
    found: Fields = {}
    for name, value in fields.items():
        if isinstance(value, dict) and name != "groups_deg":
            found |= flat(value, f"{at}{name}.")
        else:
            found[at + name] = value
    return found


def expected_of(stage: Regimen) -> Fields:
    unknown = set(stage) - set(EXPECTED) - set(IGNORED)
    assert not unknown, f"keys of the regimen that nothing here answers to: {sorted(unknown)}"
    for key, (value, why) in IGNORED.items():
        assert stage[key] == value, f"{key} matters now; it was ignored: {why}"
    fields: Fields = {}
    for key, value in {**DEFAULTS, **stage}.items():
        if key in EXPECTED:
            fields |= EXPECTED[key](value, stage)
    return fields


def stages_of(task: str) -> list[str]:
    return [name for name in regimen(task) if name != SWEEP]


@pytest.mark.parametrize(("task", "name"), [(task, name) for task in REGIMENS for name in stages_of(task)])
def test_every_parameter_is_the_regimens(task: str, name: str) -> None:
    ours = flat(load_stage(name).model_dump())
    theirs = expected_of(regimen(task)[name])

    explained = {field: value(name) for field, value in OURS.items() if field in ours}
    assert not set(explained) & set(theirs)
    expected = theirs | explained
    assert set(ours) == set(expected)
    for field, value in expected.items():
        assert ours[field] == (pytest.approx(value) if isinstance(value, float) else value), field


def test_the_shipped_stages_are_those_of_the_regimen() -> None:
    assert set(shipped("stages")) == set(regimen("A"))


def test_the_sweep_is_named_by_the_regimen_and_nothing_more() -> None:
    for task in REGIMENS:
        assert regimen(task)[SWEEP] == {"stage": SWEEP}
    assert isinstance(load_stage(SWEEP), SweepParameters)


def test_every_key_of_the_table_stands_in_some_regimen() -> None:
    keys = {key for task in REGIMENS for name in stages_of(task) for key in regimen(task)[name]}
    assert keys == set(EXPECTED) | set(IGNORED)


OTHER_REGIMEN = {"TRAINING_4_images_A_handoff_ready", "TRAINING_4_images_A_handoff_lapsed"}
"""Of regimen v1.0.3, whose hand-off stages came without epilogue and whose imaging stages began without warm-up
(TASK_FACTS 2): stages of another regimen, not image sets of ours."""


def test_every_session_type_of_the_release_can_be_asked_for() -> None:
    with recorded(TABLE).open(encoding="utf-8", newline="") as file:
        types = {row["session_type"] for row in csv.DictReader(file)}
    assert len(types) == 41
    assert types >= OTHER_REGIMEN
    for name in sorted(types - OTHER_REGIMEN):
        parameters = load_stage(name)
        assert parameters.stage == name
        assert len(image_names(parameters)) == (8 if "images" in name else 0)


def test_the_published_image_sets_have_eight_pictures_each_and_a_source() -> None:
    sets = {letter: load_image_set(letter) for letter in shipped("image_sets")}
    assert set(sets) == set(IMAGE_SETS.values())
    assert not set(sets["A"].names) & set(sets["B"].names)
    assert set(sets["G"].names) & set(sets["H"].names) == {"im083", "im111"}
    for letter in ("G", "H"):
        assert sets[letter].source.startswith("inferred")
