"""The laboratory's regimens become curricula of ours: all of them, all of each, and nothing in silence."""
# ruff: noqa: E501 - a row of a table is one line

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rig.config.load import ConfigError
from rig.curriculum.diff import differences
from rig.curriculum.files import check, open_curriculum
from rig.curriculum.importing import Imported, import_regimen, understand
from rig.curriculum.regimen import read_regimen
from tests.builders import recorded
from tests.telling import Tell

REGIMENS = {
    "VisualBehavior_Task1A_v1.1.0": "A/B",
    "VisualBehavior_Task1A_v1.1.1": "A/B",
    "VisualBehavior_Task1B_v1.0.2": "B/A",
    "VisualBehavior_Task1E_v1.0.1": "E/F",
    "VisualBehavior_Task1G_v1.0.6": "G/H",
}
TASK_1A = recorded("regimens/VisualBehavior_Task1A_v1.1.1.yml")
TEXT = TASK_1A.read_text(encoding="utf-8")


def understood(folder: Path, text: str) -> Imported:
    file = folder / "VisualBehavior_Task1A_v1.1.1.yml"
    file.write_text(text, encoding="utf-8")
    return understand(read_regimen(file))


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


@pytest.mark.parametrize("name", REGIMENS)
def test_every_regimen_is_imported_and_is_our_curriculum_but_for_what_is_explained(
    tmp_path: Path, tell: Tell, name: str
) -> None:
    file = recorded(f"regimens/{name}.yml")
    made, found = import_regimen(file, tmp_path / "made")

    assert (made.parameters.curriculum, f"v{made.parameters.version}") == tuple(name.rsplit("_", 1))
    assert made.parameters.cohorts == (REGIMENS[name],)
    assert (len(made.parameters.stages), len(made.parameters.transitions)) == (16, 16)
    found_differences = differences(open_curriculum("visual_behavior"), made)
    assert [each.path for each in found_differences] == ["cohorts", "counts_from_share_of_task"]
    assert all(each.why for each in found_differences)
    tell(
        f"{name}: {found.n_understood} parameters understood, {len(found.remarks)} remarks, {len(found.problems)} not "
        f"understood; differs from ours in {len(found_differences)}, 0 unexplained: "
        + "; ".join(f"{each.path} {each.first} | {each.second}" for each in found_differences)
    )


@pytest.mark.parametrize("name", REGIMENS)
def test_every_key_of_every_stage_and_transition_is_read(name: str) -> None:
    file = recorded(f"regimens/{name}.yml")
    plain: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    found = understand(read_regimen(file))

    assert not found.problems
    keys = sum(len(stage["parameters"]) for stage in plain["stages"].values())
    fields = sum(len(transition) for transition in plain["transitions"])
    assert found.n_understood == keys + fields
    assert [stage.stage for stage in found.stages] == list(plain["stages"])


def test_anchors_and_merges_are_resolved_as_yaml_says() -> None:
    for name in REGIMENS:
        file = recorded(f"regimens/{name}.yml")
        plain = yaml.safe_load(file.read_text(encoding="utf-8"))
        for stage in read_regimen(file).stages:
            theirs = plain["stages"][stage.name]
            assert {key: entry.value for key, entry in stage.parameters.items()} == theirs["parameters"]
            assert stage.entries["script_md5"].value == theirs["script_md5"]


def test_the_line_of_a_key_is_where_it_is_written_through_anchors_and_merges() -> None:
    lines = TEXT.splitlines()
    for stage in read_regimen(TASK_1A).stages:
        for key, entry in stage.parameters.items():
            assert lines[entry.line - 1].strip().startswith(f"{key}:")


WORD_FOR_WORD_BUT = [
    "line 64: catch_frequency: 0.25: without effect, 0.125 instead: camstim reads catch_freq and never saw this key (TASK_FACTS 1.1)",
    "line 75: free_reward_trials: 10000: null: a passive stage gives no water",
    "line 34: _image_set_b_stimulus: defined and used by no stage; nothing is made of it",
    "line 132: name: VisualBehavior_Task1A_v1.0.4: VisualBehavior_Task1A_v1.1.1, as its file is called: tags of one name hold different regimens",
    "line 386: OPHYS_7_receptive_field_mapping: receptive_field_mapping.py is not public and has no parameters here: the shipped sweep of this name stands in its place",
]


def test_what_is_not_word_for_word_stands_at_the_head_of_the_file(tmp_path: Path) -> None:
    made, _ = import_regimen(TASK_1A, tmp_path / "made")
    assert {f"#   {said}" for said in WORD_FOR_WORD_BUT} <= set(made.path.read_text(encoding="utf-8").splitlines())


def test_image_sets_whose_pictures_are_not_here_are_named_and_the_rest_is_fine(tmp_path: Path) -> None:
    made, found = import_regimen(recorded("regimens/VisualBehavior_Task1E_v1.0.1.yml"), tmp_path / "made")
    assert {problem.message for problem in found.unfit} == {
        "cohort E/F: E: there is no image set of this name; known: A, B, G, H",
        "cohort E/F: F: there is no image set of this name; known: A, B, G, H",
    }
    with pytest.raises(ConfigError):
        check(made)


def test_a_folder_that_is_in_use_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="is there already and not empty; choose another folder with --out"):
        import_regimen(TASK_1A, tmp_path / "made")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["mine.txt"]


# A line of the regimen's common parameters, another value for it, and what comes of it: a parameter of some stage,
# a remark that it has no effect, or that it is not understood.
CHANGES: list[tuple[str, str, str]] = [
    ("failure_repeats: 5", "failure_repeats: 6", "max_repeats_after_abort"),
    ("reward_volume: 0.007", "reward_volume: 0.006", "reward_volume_ul"),
    ("volume_limit: 5.0", "volume_limit: 4.0", "volume_limit_ul"),
    ("auto_reward_vol: 0.005", "auto_reward_vol: 0.004", "auto_reward_volume_ul"),
    ("warm_up_trials: 5", "warm_up_trials: 6", "warm_up_trials"),
    ("auto_reward_delay: 0.150", "auto_reward_delay: 0.2", "auto_reward_delay_s"),
    ("free_reward_trials: 10000", "free_reward_trials: 9", "free_reward_after_misses"),
    ("timeout_duration: 0.3", "timeout_duration: 0.5", "timeout_s"),
    ("stimulus_window: 6.0", "stimulus_window: 7.0", "change"),
    ("max_task_duration_min: 60.0", "max_task_duration_min: 50.0", "task_duration_min"),
    ("start_stop_padding: 20.0", "start_stop_padding: 30.0", "gray_before_s"),
    ("periodic_flash: [0.25, 0.5]", "periodic_flash: [0.2, 0.6]", "presentation"),
    ("response_window: [0.15,0.75]", "response_window: [0.1,0.75]", "response_window_s"),
    ("end_after_response_sec: 3.5", "end_after_response_sec: 3.0", "after_window_s"),
    ("change_time_scale: 0.3", "change_time_scale: 0.4", "change"),
    ("change_flashes_min: 4", "change_flashes_min: 5", "change"),
    ("change_flashes_max: 12", "change_flashes_max: 13", "change"),
    ("flash_omit_probability: 0.05", "flash_omit_probability: 0.1", "omission_probability"),
    ("sf: 0.04", "sf: 0.05", "stimulus"),
    ("Ori: [0, 180]", "Ori: [10, 190]", "stimulus"),
    ("runs: 10", "runs: 5", "movie"),
    ("catch_frequency: 0.25", "catch_frequency: 0.5", "remark: catch_frequency: 0.5: without effect, 0.125 instead"),
    ("task_id: DoC", "task_id: Dec", "not understood: task_id: Dec: is not understood: only 'DoC' is"),
    ("min_no_lick_time: 0.0", "min_no_lick_time: 1.0", "not understood: min_no_lick_time: 1.0: is not understood: only 0.0 is"),
    ("end_after_response: True", "end_after_response: False", "not understood: end_after_response: false: is not understood: only True is"),
    ("pre_change_time: 0.0", "pre_change_time: 1.0", "not understood: pre_change_time: 1.0: is not understood: only 0.0 is"),
    ("change_time_dist: geometric", "change_time_dist: uniform", "not understood: change_time_dist: uniform: is not understood: geometric or exponential is expected"),
    ("reward_volume: 0.007", "reward_volume: much", "not understood: reward_volume: much: is not understood: a number is expected"),
    ("reward_volume: 0.007", "reward_volume: 0.007\n    catch_freq: 0.2", "not understood: catch_freq: 0.2: is not understood: nothing here answers to it; --leave-out if it may be ignored"),
    ("tex: sqr", "tex: sin", "not understood: stimulus: is not understood: square gratings over the full field"),
    ("sampling: even", "sampling: random", "not understood: stimulus: is not understood: square gratings"),
    ("set_training_2017.07.14.pkl", "set_ophys_5_2017.07.14.pkl", "not understood: stimulus: is not understood: no image set here answers to Natural_Images_Lum_Matched_set_ophys_5_2017.07.14.pkl"),
    ("Movie_TOE1.npy", "Movie_TOE2.npy", "not understood: epilogue: is not understood: the movie Movie_TOE1.npy at full size"),
    ("change_detection_with_fingerprint.py", "other_task.py", "not understood: stages.TRAINING_0_gratings_autorewards_15min.script: other_task.py is not understood"),
    ("    conditions: one_complete", "    conditions: one_completed", "not understood: transition.conditions: there is no criterion one_completed; did you mean one_complete?"),
    ("    conditions: three_complete", "    conditions: consistency_is_key", "not understood: transition.conditions: consistency_is_key is named by the source and was never written"),
    ("  - trigger: manual", "  - trigger: automatic", "not understood: transition: trigger automatic is not understood: progress or manual is expected"),
    ("    conditions: one_complete", "    conditions: one_complete\n    after: midnight", "not understood: transition.after: is not understood"),
    ("transitions:\n", "holidays: [1, 2]\n\ntransitions:\n", "not understood: holidays: is not understood: only name, transitions, stages, _definitions"),
    ("        parameters:\n", "        colour: red\n        parameters:\n", "not understood: stages.TRAINING_0_gratings_autorewards_15min.colour: is not understood"),
    ("    dest: TRAINING_1_gratings\n", "    dest: TRAINING_1_grating\n", "not understood: transitions: make no curriculum: "),
    ("            stage: TRAINING_1_gratings\n", "            stage: TRAINING_1\n", "not understood: stage: TRAINING_1: is not understood: only 'TRAINING_1_gratings' is"),
]  # fmt: skip


@pytest.fixture(scope="module")
def baseline() -> dict[str, dict[str, Any]]:
    return {stage.stage: stage.model_dump() for stage in understand(read_regimen(TASK_1A)).stages}


@pytest.mark.parametrize(("was", "becomes", "comes"), CHANGES, ids=[row[1].strip()[:40] for row in CHANGES])
def test_whatever_is_changed_in_a_regimen_shows(
    tmp_path: Path, baseline: dict[str, dict[str, Any]], was: str, becomes: str, comes: str
) -> None:
    assert was in TEXT
    found = understood(tmp_path, TEXT.replace(was, becomes, 1))
    verdict, _, words = comes.partition(": ")
    if not words:
        assert not found.problems
        changed = {
            field
            for stage in found.stages
            for field, value in stage.model_dump().items()
            if value != baseline[stage.stage][field]
        }
        assert changed == ({"gray_before_s", "gray_after_s"} if comes == "gray_before_s" else {comes})
        return
    notes = found.remarks if verdict == "remark" else found.problems
    assert any(f"{note.what}: {note.words}".startswith(words) for note in notes), [str(note) for note in notes]
    assert (found.parameters is None) is (verdict == "not understood")


def test_every_common_parameter_is_among_those_changed() -> None:
    common = yaml.safe_load(TEXT)["_flash_parameters"]
    assert {was.partition(":")[0] for was, *_ in CHANGES} >= set(common)


def test_everything_that_is_not_understood_is_named_at_once_with_its_line_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    text = TEXT.replace("    volume_limit: 5.0", "    volume_limit: 5.0\n    tone_hz: 5000").replace(
        "three_complete", "thre_complete"
    )
    file = tmp_path / "VisualBehavior_Task1A_v1.1.1.yml"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        import_regimen(file, tmp_path / "made")
    assert str(caught.value).splitlines() == [
        f"{file}:{line_of(text, 'tone_hz')}: tone_hz: 5000: is not understood: nothing here answers to it; --leave-out if it may be ignored",
        f"{file}:{line_of(text, 'thre_complete')}: transition.conditions: there is no criterion thre_complete; did you mean three_complete?",
    ]
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_parameter_that_may_be_ignored_is_left_out_and_said(tmp_path: Path) -> None:
    file = tmp_path / "VisualBehavior_Task1A_v1.1.1.yml"
    file.write_text(TEXT.replace("    volume_limit: 5.0", "    volume_limit: 5.0\n    tone_hz: 5000"), encoding="utf-8")
    made, _ = import_regimen(file, tmp_path / "made", leave_out=["tone_hz"])
    head = made.path.read_text(encoding="utf-8")
    assert "tone_hz: 5000: left out, as asked: it is not understood and has no effect" in head


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1: is no regimen: it needs name, transitions and stages"),
        ("- 1\n", "1: is no regimen: it needs name, transitions and stages"),
        ("name: x\nstages: {}\n", "1: transitions: is missing; is this a regimen?"),
        ("name: x\ntransitions: none\nstages: {}\n", "2: transitions: needs a list"),
        ("name: x\ntransitions: []\nstages:\n  T:\n    script: a\n", "4: stages.T.parameters: is missing"),
        ("name: x\nname: y\ntransitions: []\nstages: {}\n", "2: name: is given twice"),
        ("name: x\ntransitions: []\nstages:\n  T:\n    parameters:\n      a: 1\n      a: 2\n", "7: a: is given twice"),
        ("name: x\ntransitions: []\nstages:\n  T:\n    parameters: &p\n      <<: *p\n", "5: stages.T.parameters: is merged into itself"),
        ("name: x\ntransitions: []\nstages:\n  T:\n    parameters:\n      a: !!python/object/apply:os.getcwd []\n", "6: is no YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.getcwd'"),
        ("name: x\ntransitions: []\nstages: [\n", "4: is no YAML: expected the node content, but found '<stream end>'"),
        ("name: x\ntransitions: *nobody\nstages: {}\n", "2: is no YAML: found undefined alias 'nobody'"),
        ("name: x\ntransitions: []\nstages:\n  T: later\n", "4: stages.T: needs fields, one a line"),
    ],
)  # fmt: skip
def test_what_is_no_regimen_is_refused_in_a_sentence_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "odd.yml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        import_regimen(file, tmp_path / "made")
    assert str(caught.value).splitlines()[0] == f"{file}:{said}"


def test_a_regimen_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_regimen(tmp_path / "none.yml")
    (tmp_path / "odd.yml").write_bytes(b"name: \xff")
    with pytest.raises(ConfigError, match="can't be read"):
        read_regimen(tmp_path / "odd.yml")
