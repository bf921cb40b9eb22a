"""Whatever is wrong with a configuration is said in a sentence: file, line, field, what would be right."""
# ruff: noqa: E501 - a row of a table is one line

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rig.config.files import image_names, load_any, load_image_set, load_rig, load_stage, shipped
from rig.config.load import ConfigError
from rig.config.rig import ImageSetConfig, RigConfig
from rig.session.assemble import refuse_misfits
from stages.curriculum import CurriculumParameters
from stages.parameters import Stage
from tests.builders import GRATINGS, IMAGES, SWEEP, plan, rig_config, stage

KINDS = {"stages": Stage, "rigs": RigConfig, "image_sets": ImageSetConfig, "curricula": CurriculumParameters}
FIELDS = {"stages": "stage", "rigs": "rig", "image_sets": "image_set", "curricula": "curriculum"}
SHIPPED = [(kind, path) for kind in KINDS for path in shipped(kind).values()]
TEXTS = {
    "images": shipped("stages")[IMAGES],
    "gratings": shipped("stages")[GRATINGS],
    "static": shipped("stages")["TRAINING_1_gratings"],
    "passive": shipped("stages")["OPHYS_2_images_A_passive"],
    "sweep": shipped("stages")[SWEEP],
    "rig": shipped("rigs")["simulated"],
    "image set": shipped("image_sets")["A"],
}
GEOMETRIC = (
    "  kind: geometric\n  p: 0.3\n  flashes_min: 4            # the flash a trial starts on is number 0\n"
    "  flashes_max: 11           # inclusive\n"
)
EXPONENTIAL = "  kind: exponential\n  earliest_s: 2.25\n  mean_s: 2\n  below_s: 6\n"


def problems_of(path: Path) -> list[str]:
    """What is said of a file, a line each, without the folder it lies in."""
    with pytest.raises(ConfigError) as caught:
        load_any(path)
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()


def line_of(text: str, part: str) -> int:
    """The number of the first line that begins with ``part``."""
    return next(n for n, line in enumerate(text.splitlines(), start=1) if line.strip().startswith(part))


# What file, what becomes what, the line (or what stands in it), and what is said of it.
ONE_PROBLEM: list[tuple[str, str, str, str, str]] = [
    # a field that does not exist, at the top, in a member of a union, in a rig
    ("images", "movie:\n", "overrun_limits_s: 3\nmovie:\n", "overrun_limits_s", "overrun_limits_s: there is no such field; did you mean overrun_limit_s?"),
    ("images", "gray_s: 0.5", "gray_s: 0.5\n  gray_ss: 1", "gray_ss", "presentation.gray_ss: there is no such field; did you mean gray_s?"),
    ("images", "p: 0.3", "p: 0.3\n  mean_s: 2", "mean_s", "change.mean_s: there is no such field; known: flashes_max, flashes_min, kind, p"),
    ("rig", "drift_ppm: 20", "drift_ppm: 20\n  drift_pm: 1", "drift_pm:", "card.drift_pm: there is no such field; did you mean drift_ppm?"),
    # a field that is not there: the line is that of the group it belongs to
    ("images", "timeout_s: 0.3\n", "", "stage:", "timeout_s: is missing"),
    ("images", "  flash_s: 0.25\n", "", "presentation:", "presentation.flash_s: is missing"),
    ("rig", "data_dir: sessions\n", "", "rig:", "data_dir: is missing"),
    # not what it should be
    ("images", "timeout_s: 0.3", "timeout_s: short", "timeout_s", "timeout_s: input should be a valid number, unable to parse string as a number; it is 'short'"),
    ("images", "timeout_s: 0.3", "timeout_s: -1", "timeout_s", "timeout_s: input should be greater than or equal to 0; it is -1"),
    ("images", "timeout_s: 0.3", "timeout_s: .nan", "timeout_s", "timeout_s: input should be a finite number; it is nan"),
    ("images", "task_duration_min: 60", "task_duration_min: .inf", "task_duration_min", "task_duration_min: input should be a finite number; it is inf"),
    ("images", "warm_up_trials: 5", "warm_up_trials: 5.5", "warm_up_trials", "warm_up_trials: input should be a valid integer, got a number with a fractional part; it is 5.5"),
    ("gratings", "[90, 270]", "[90, up]", "horizontal", "stimulus.groups_deg.horizontal.1: input should be a valid number, unable to parse string as a number; it is 'up'"),
    ("gratings", "presentation:\n  kind: flashed\n  flash_s: 0.25\n  gray_s: 0.5", "presentation: flashed", "presentation", "presentation: needs fields, one a line; it is 'flashed'"),
    ("rig", "[card, software]", "[card, sofware]", "paths", "valve.paths.1: input should be 'card' or 'software'; it is 'sofware'"),
    ("rig", "jittering ", "jitter ", "behaviour", "screen.behaviour: input should be 'perfect', 'jittering', 'dropping' or 'drifting'; it is 'jitter'"),
    ("rig", "2026-11-01", "2026-13-01", "measured_on", "valve.measured_on: input should be a valid date or datetime, month value is outside expected range of 1-12; it is '2026-13-01'"),
    ("rig", "volume_max_ul: 15", "volume_max_ul: 0.5", "valve:", "valve: volume_max_ul must be above volume_min_ul"),
    # kinds
    ("images", "kind: flashed", "kind: flasher", "presentation:", "presentation: kind 'flasher' is not known; one of 'flashed', 'static'"),
    ("images", "  kind: flashed\n", "", "presentation:", "presentation: needs a field 'kind'"),
    # twice
    ("images", "timeout_s: 0.3", "timeout_s: 0.3\ntimeout_s: 0.4", "timeout_s: 0.4", "timeout_s: is given twice"),
    ("images", "flash_s: 0.25", "flash_s: 0.25\n  flash_s: 0.3", "flash_s: 0.3", "flash_s: is given twice"),
    # no YAML, or more of it than we take
    ("images", "[0.15, 0.75]", "[0.15, 0.75", "abort_on", "is no YAML: expected ',' or ']', but got ':'"),
    ("images", "timeout_s: 0.3", "timeout_s: *it", "timeout_s", "is no YAML: aliases (*) are not used here, write the value out"),
    ("images", "timeout_s: 0.3", "timeout_s: !!python/name:os.system", "timeout_s", "is no YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/name:os.system'"),
    # policies
    ("rig", "encoder: continue", "encodr: continue", "policies", "policies: no such device: encodr; one of card, valve, lick_sensor, encoder, spout, log, microscope, cameras"),
    ("rig", "  cameras: continue\n", "", "policies", "policies: nothing is said of cameras; say continue, pause, stop or stop_now for every device"),
    ("rig", "encoder: continue", "encoder: continu", "encoder", "policies.encoder: input should be 'continue', 'pause', 'stop' or 'stop_now'; it is 'continu'"),
    # misspelt: one sentence, not "missing" and "unknown"
    ("images", "timeout_s: 0.3", "timout_s: 0.3", "timout_s", "timout_s: there is no such field, and timeout_s is missing; did you mean timeout_s?"),
    ("images", "flash_s: 0.25", "flash_ss: 0.25", "flash_ss", "presentation.flash_ss: there is no such field, and flash_s is missing; did you mean flash_s?"),
    ("sweep", "n_repeats: 15", "n_repeat: 15", "n_repeat", "sweep.n_repeat: there is no such field, and n_repeats is missing; did you mean n_repeats?"),
    # fields that contradict each other: the line is that of the field to look at
    ("images", "flashes_max: 11", "flashes_max: 3", "flashes_max", "change.flashes_max: 3 is below flashes_min, 4"),
    ("gratings", GEOMETRIC, EXPONENTIAL, "kind: exponential", "change.kind: exponential does not go with presentation flashed: flashed goes with geometric (counted in flashes), static with exponential (in seconds)"),
    ("images", "  kind: flashed\n  flash_s: 0.25\n  gray_s: 0.5\nchange:\n" + GEOMETRIC, "  kind: static\nchange:\n" + EXPONENTIAL, "omission", "omission_probability: must be 0 when the presentation is static: there is no flash to omit"),
    ("images", "flashes_min: 4", "flashes_min: 1", "flashes_min", "change.flashes_min: must be at least 2 with omissions: the flash before a change is never omitted, and the flash a trial starts on is planned before the trial is"),
    ("images", "kind: walk ", "kind: draw\n  probability: 0.1 ", "kind: draw", "catch.kind: draw does not go with stimulus natural_images: images take their catch trials from the walk, gratings draw them"),
    ("gratings", "kind: draw\n  probability: 0.125 ", "kind: walk ", "kind: walk", "catch.kind: walk does not go with stimulus gratings: images take their catch trials from the walk, gratings draw them"),
    ("images", "image_set: A", "image_set: B", "image_set", "stimulus.image_set: B contradicts the stage's name OPHYS_1_images_A, which says set A: the data file would be filed under images the mouse never saw"),
    ("gratings", "warm_up_trials: 5", "warm_up_trials: -1", "probability", "catch.probability: must be 0 when warm_up_trials is -1: a catch trial that falls inside the warm-up is not run, so there would never be one"),
    ("gratings", "[90, 270]", "[90, 180]", "horizontal", "stimulus.groups_deg.horizontal: 180 looks as an orientation of vertical does: the mouse could not tell them"),
    ("gratings", "[90, 270]", "[]", "horizontal", "stimulus.groups_deg.horizontal: list should have at least 1 item after validation, not 0; it is []"),
    ("images", "[0.15, 0.75]", "[0.75, 0.15]", "response_window_s", "response_window_s: [0.75, 0.15] must rise and not begin before the change"),
    ("images", "[0.15, 0.75]", "[-0.1, 0.75]", "response_window_s", "response_window_s: [-0.1, 0.75] must rise and not begin before the change"),
    ("images", "[0.15, 0.75]", "[0.15, 0.8]", "response_window_s", "response_window_s: ends at 0.8 s, after the next flash (0.75 s): a lick could answer two flashes"),
    ("images", "[0.15, 0.75]", "[0, 0]", "response_window_s", "response_window_s: [0, 0] leaves no time for an answer: give it a length, or pay every trial (warm_up_trials: -1)"),
    ("static", "[0.15, 1.0]", "[1.0, 1.0]", "response_window_s", "response_window_s: [1, 1] leaves no time for an answer: give it a length, or pay every trial (warm_up_trials: -1)"),
    ("static", "auto_reward_delay_s: 0.15", "auto_reward_delay_s: 4.5", "auto_reward_delay_s", "auto_reward_delay_s: 4.5 s must be below 4.5 s: the trial ends that long after the change (response_window_s and after_window_s), and the water would never be given"),
    ("images", "auto_reward_volume_ul: 5", "auto_reward_volume_ul: 0", "auto_reward_volume_ul", "auto_reward_volume_ul: must be above 0: warm_up_trials or free_reward_after_misses would pay trials with no water (0 and null pay none)"),
    ("images", "volume_limit_ul: 5000", "volume_limit_ul: 6", "volume_limit_ul", "volume_limit_ul: 6 uL is less than one reward, 7 uL"),
    ("passive", "free_reward_after_misses: null", "free_reward_after_misses: 10", "free_reward", "free_reward_after_misses: must be null in a passive stage: no water is given"),
    ("passive", "warm_up_trials: 0", "warm_up_trials: -1", "warm_up_trials", "warm_up_trials: must be 0 in a passive stage: no water is given"),
    ("sweep", "orientations_deg: [0, 45, 90]", "orientations_deg: [0, 45, 45]", "orientations_deg", "sweep.orientations_deg: 45 stands there twice; each comes once in a repeat"),
    ("sweep", "altitudes_deg: [-40", "altitudes_deg: [40", "altitudes_deg", "sweep.altitudes_deg: 40 stands there twice; each comes once in a repeat"),
    ("sweep", "movie: null", "movie: null\npassive: true", "passive", "passive: there is no such field; known: gray_after_s, gray_before_s, imaging, movie, stage, sweep"),
    ("image set", "im062", "im061", "image_set", "names: the eight pictures must differ"),
    ("image set", ", im085", "", "names", "names: list should have at least 8 items after validation, not 7; it is ['im061', 'im062', 'im063', 'im065', 'im066', 'im069', 'im077']"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "was", "becomes", "line", "said"), ONE_PROBLEM, ids=[row[4][:60] for row in ONE_PROBLEM]
)
def test_a_problem_is_named_with_its_line_and_what_would_be_right(
    tmp_path: Path, what: str, was: str, becomes: str, line: str, said: str
) -> None:
    text = TEXTS[what].read_text(encoding="utf-8")
    assert was in text
    changed = text.replace(was, becomes, 1)
    file = tmp_path / "changed.yaml"
    file.write_text(changed, encoding="utf-8")

    assert problems_of(file) == [f"changed.yaml:{line_of(changed, line)}: {said}"]


def test_several_problems_are_all_named_each_with_its_own_line(tmp_path: Path) -> None:
    text = TEXTS["images"].read_text(encoding="utf-8")
    for was, becomes in (
        ("flash_s:", "flash_ss:"),
        ("timeout_s: 0.3", "timeout_s: short"),
        ("passive: false", "passive: perhaps"),
    ):
        text = text.replace(was, becomes, 1)
    file = tmp_path / "several.yaml"
    file.write_text(text, encoding="utf-8")

    assert problems_of(file) == [
        f"several.yaml:{line_of(text, 'flash_ss:')}: presentation.flash_ss: there is no such field, and flash_s is missing; did you mean flash_s?",
        f"several.yaml:{line_of(text, 'timeout_s: short')}: timeout_s: input should be a valid number, unable to parse string as a number; it is 'short'",
        f"several.yaml:{line_of(text, 'passive:')}: passive: input should be a valid boolean, unable to interpret input; it is 'perhaps'",
    ]  # fmt: skip


def test_contradictions_are_all_named_each_with_its_own_line(tmp_path: Path) -> None:
    text = TEXTS["images"].read_text(encoding="utf-8").replace("passive: false", "passive: true")
    file = tmp_path / "several.yaml"
    file.write_text(text, encoding="utf-8")

    assert problems_of(file) == [
        f"several.yaml:{line_of(text, 'warm_up')}: warm_up_trials: must be 0 in a passive stage: no water is given",
        f"several.yaml:{line_of(text, 'free_')}: free_reward_after_misses: must be null in a passive stage: no water is given",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "\n\n", "# a comment only\n", "---\n"])
def test_an_empty_file_is_named_as_empty(tmp_path: Path, text: str) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=r"empty\.yaml:1: is empty$"):
        load_stage(str(file))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"names: [a]\n", "has none of the fields stage, rig, image_set or curriculum; what is it meant to be?"),
        (b"stage: \xff\n", "can't be read: 'utf-8' codec can't decode byte 0xff in position 7: invalid start byte"),
        (b"stage: \0\n", "is no YAML: unacceptable character #x0000: special characters are not allowed"),
        (b"stage\n", "needs fields, one a line; it is 'stage'"),
        (b"rig: 0b_\n", "is no YAML: invalid literal for int() with base 2: ''"),
    ],
)
def test_a_file_that_is_no_configuration_at_all_is_refused_in_a_sentence(
    tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "odd.yaml"
    file.write_bytes(content)

    (problem, *_) = problems_of(file)
    assert problem.startswith(f"odd.yaml:1: {said}")


@pytest.mark.parametrize(
    ("load", "name", "said"),
    [
        (load_stage, "OPHYS_1_image_A", "OPHYS_1_image_A: there is no stage of this name; did you mean OPHYS_1_images_A?"),
        (load_stage, "OPHYS_1_images_Q", "OPHYS_1_images_Q: there is no image set Q; known: A, B, G, H"),
        (load_stage, "OPHYS_5_images_Q_passive", "OPHYS_5_images_Q_passive: there is no image set Q; known: A, B, G, H"),
        (load_stage, "OPHYS_1_images_A_passiv", "OPHYS_1_images_A_passiv: there is no stage of this name; did you mean OPHYS_2_images_A_passive?"),
        (load_stage, "TRAINING_1_gratings_B", "TRAINING_1_gratings_B: there is no stage of this name; did you mean TRAINING_1_gratings?"),
        (load_rig, "simulate", "simulate: there is no rig of this name; did you mean simulated?"),
        (load_image_set, "?", "?: there is no image set of this name; known: A, B, G, H"),
        (load_rig, "/nowhere/rig.yaml", "/nowhere/rig.yaml:1: no such file"),
    ],
)  # fmt: skip
def test_a_name_that_is_not_known_is_answered_with_the_nearest_that_is(
    load: Callable[[str], Any], name: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(name)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("asked", "like", "image_set"),
    [
        ("OPHYS_1_images_B", "OPHYS_1_images_A", "B"),
        ("OPHYS_4_images_A", "OPHYS_4_images_B", "A"),
        ("OPHYS_4_images_H", "OPHYS_4_images_B", "H"),
        ("OPHYS_5_images_A_passive", "OPHYS_5_images_B_passive", "A"),
        ("TRAINING_3_images_G_10uL_reward", "TRAINING_3_images_A_10uL_reward", "G"),
    ],
)
def test_a_stage_may_be_asked_for_with_another_image_set(asked: str, like: str, image_set: str) -> None:
    fields = load_stage(like).model_dump()
    fields["stage"], fields["stimulus"]["image_set"] = asked, image_set

    assert load_stage(asked).model_dump() == fields
    assert image_names(load_stage(asked)) == load_image_set(image_set).names


def test_a_file_of_the_very_name_goes_before_another_image_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "OPHYS_1_images_B.yaml"
    text = (
        TEXTS["images"]
        .read_text(encoding="utf-8")
        .replace("images_A", "images_B")
        .replace("image_set: A", "image_set: B")
    )
    own.write_text(text.replace("reward_volume_ul: 7", "reward_volume_ul: 6"), encoding="utf-8")
    known = {**shipped("stages"), own.stem: own}
    monkeypatch.setattr("rig.config.files.shipped", lambda kind: known if kind == "stages" else shipped(kind))

    assert load_stage("OPHYS_1_images_B").reward_volume_ul == 6
    assert load_stage("OPHYS_1_images_G").reward_volume_ul == 7


def test_a_laboratorys_own_file_is_taken_as_it_is(tmp_path: Path) -> None:
    for what in ("images", "sweep"):
        own = tmp_path / "OPHYS_1_images_Q.yaml"
        own.write_text(TEXTS[what].read_text(encoding="utf-8"), encoding="utf-8")
        assert load_stage(str(own)) == load_stage(TEXTS[what].stem)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    assert "can't be read" in problems_of(tmp_path)[0]


@pytest.mark.parametrize(("kind", "path"), SHIPPED, ids=[path.stem for _, path in SHIPPED])
def test_every_shipped_file_loads_as_what_its_folder_says(kind: str, path: Path) -> None:
    assert isinstance(load_any(path), KINDS[kind])
    assert getattr(load_any(path), FIELDS[kind]) == path.stem


@pytest.mark.parametrize("name", sorted(shipped("stages")))
def test_every_shipped_stage_fits_every_shipped_rig(name: str) -> None:
    for rig in shipped("rigs"):
        refuse_misfits(load_stage(name), load_rig(rig))


def test_durations_that_are_no_whole_refreshes_are_all_named_with_both_neighbours() -> None:
    presentation = {"kind": "flashed", "flash_s": 0.255, "gray_s": 0.5}

    with pytest.raises(ConfigError) as caught:
        refuse_misfits(stage(presentation=presentation, gray_before_s=1.01), rig_config())

    first, second = str(caught.value).splitlines()
    for sentence, *parts in (
        (first, "gray_before_s", "1.01", "1 s", "1.01667 s"),
        (second, "presentation.flash_s", "0.255", "0.25 s", "0.266667 s"),
    ):
        for part in parts:
            assert part in sentence
        assert f"{IMAGES} on simulated" in sentence


def test_what_a_screen_cant_show_of_a_sweep_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_misfits(stage(SWEEP, duration_s=0.255, gap_s=0.01, temporal_frequency_hz=30), rig_config())

    first, second, third = str(caught.value).splitlines()
    assert "sweep.duration_s: 0.255 s is 15.300 refreshes" in first
    assert "sweep.gap_s: 0.01 s" in second
    assert "sweep.temporal_frequency_hz: a drift of 30 Hz can't be seen at 60 Hz; stay below 30 Hz" in third


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"reward_volume_ul": 20}, ["reward_volume_ul: 20 uL"]),
        ({"auto_reward_volume_ul": 0.5}, ["auto_reward_volume_ul: 0.5 uL"]),
        ({"reward_volume_ul": 20, "auto_reward_volume_ul": 0.5}, ["reward_volume_ul: 20 uL", "auto_reward_volume_ul: 0.5 uL"]),
    ],
)  # fmt: skip
def test_a_volume_outside_the_calibration_is_refused_before_the_session(
    fields: dict[str, float], named: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_misfits(stage(**fields), rig_config())

    sentences = str(caught.value).splitlines()
    assert len(sentences) == len(named)
    for sentence, name in zip(sentences, named, strict=True):
        assert f"{name} lies outside the calibrated range of 1 to 15 uL" in sentence
        assert sentence.endswith("choose a volume inside the range, or calibrate the valve over a wider one")


def test_no_water_needs_no_calibration() -> None:
    refuse_misfits(
        stage(passive=True, reward_volume_ul=99, warm_up_trials=0, free_reward_after_misses=None), rig_config()
    )
    refuse_misfits(stage(reward_volume_ul=0), rig_config())


def test_a_plan_can_be_handed_to_another_process() -> None:
    import pickle

    assert pickle.loads(pickle.dumps(plan())) == plan()
