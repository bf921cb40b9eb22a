"""Whatever is wrong with a curriculum's file is said in a sentence with its line; the shipped one is right."""
# ruff: noqa: E501 - a row of a table is one line

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rig.config.files import shipped
from rig.config.load import ConfigError
from rig.curriculum.diagram import draw_curriculum, save_diagram
from rig.curriculum.diff import differences
from rig.curriculum.files import CurriculumFile, check, open_curriculum
from rig.curriculum.words import explain_words, show_words
from stages.decisions import Placement, climb
from tests.stages.mouse_days import GOOD, OPHYS_0, POOR, READY, T1, curriculum, lived

OURS = shipped("curricula")["visual_behavior"]
TEXT = OURS.read_text(encoding="utf-8")
FIRST = "  - source: TRAINING_0_gratings_autorewards_15min\n    dest: TRAINING_1_gratings\n"
SECOND = "  - source: TRAINING_1_gratings\n    dest: TRAINING_2_gratings_flashed\n"
DOWN = "  - source: TRAINING_2_gratings_flashed\n    dest: TRAINING_1_gratings\n    kind: advance\n    when:\n      - kind: n_complete\n        n: 5\n"


def changed(folder: Path, was: str, becomes: str) -> tuple[Path, str]:
    """Our curriculum with one thing changed."""
    assert was in TEXT
    text = TEXT.replace(was, becomes, 1)
    file = folder / "changed.yaml"
    file.write_text(text, encoding="utf-8")
    return file, text


def problems_of(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(open_curriculum(str(file)))
    return str(caught.value).replace(f"{file.parent}/", "").splitlines()


# What becomes what, the line that is said (one that begins so, the n-th of them), and what is said of it.
ONE_PROBLEM: list[tuple[str, str, tuple[str, int], str]] = [
    # a circle, a stage that is not reached, a parameter that is missing, a criterion that is misspelt
    (SECOND, DOWN + SECOND, ("- source: TRAINING_2_gratings_flashed", 0), "transitions.1: closes a circle of advances through TRAINING_2_gratings_flashed; make the way down a lapse"),
    ("  - OPHYS_7_receptive_field_mapping\n", "  - OPHYS_7_receptive_field_mapping\n  - TRAINING_1_gratings_again\n", ("- TRAINING_1_gratings_again", 0), "stages.16: TRAINING_1_gratings_again can't be reached from TRAINING_0_gratings_autorewards_15min; give it a transition"),
    ("        last: 3                             # all three of them, as the code has it; the prose says two (TASK_FACTS 3.2)\n", "", ("- kind: meets_engagement_criteria", 0), "transitions.4.when.0.last: is missing"),
    ("counts_from_share_of_task: 0.5\n", "", ("curriculum:", 0), "counts_from_share_of_task: is missing"),
    ("kind: two_out_of_three_aint_bad", "kind: two_out_of_tree_aint_bad", ("- kind: two_out_of_tree", 0), "transitions.1.when.0: kind 'two_out_of_tree_aint_bad' is not known; did you mean two_out_of_three_aint_bad?"),
    ("kind: n_complete ", "kind: good_mouse ", ("- kind: good_mouse", 0), "transitions.0.when.0: kind 'good_mouse' is not known; one of 'two_out_of_three_aint_bad', 'yesterday_was_good', 'meets_engagement_criteria', 'whole_lotta_trials', 'no_response_bias', 'mostly_useful', 'n_complete', 'summer_over', 'meets_hit_threshold_average'"),
    # stages and transitions
    ("dest: TRAINING_1_gratings\n", "dest: TRAINING_1_grating\n", ("dest: TRAINING_1_grating", 0), "transitions.0.dest: there is no stage TRAINING_1_grating in this curriculum; did you mean TRAINING_1_gratings?"),
    ("dest: TRAINING_1_gratings\n", "dest: nowhere\n", ("dest: nowhere", 0), "transitions.0.dest: there is no stage nowhere in this curriculum; add it to stages, or take one of those"),
    ("  - TRAINING_2_gratings_flashed\n", "  - TRAINING_1_gratings\n  - TRAINING_2_gratings_flashed\n", ("- TRAINING_1_gratings", 1), "stages.2: TRAINING_1_gratings is there twice"),
    (SECOND, FIRST + "    kind: manual\n" + SECOND, ("- source: TRAINING_0", 1), "transitions.1: leads from TRAINING_0_gratings_autorewards_15min to TRAINING_1_gratings as transition 1 does"),
    (SECOND, FIRST.replace("TRAINING_1", "TRAINING_2").replace("gratings\n", "gratings_flashed\n") + "    kind: advance\n    when:\n      - kind: n_complete\n        n: 1\n" + SECOND, ("- source: TRAINING_0", 1), "transitions.1: is never taken: whenever its criteria hold, transition 1 is taken before it"),
    (SECOND, FIRST.replace("dest: TRAINING_1_gratings", "dest: TRAINING_0_gratings_autorewards_15min") + "    kind: manual\n" + SECOND, ("- source: TRAINING_0", 1), "transitions.1: leads from TRAINING_0_gratings_autorewards_15min to itself; without a transition the mouse stays anyway"),
    ("    kind: manual\n", "    kind: manual\n    when:\n      - kind: n_complete\n        n: 3\n", ("when:", 7), "transitions.8.when: a manual transition is the operator's and has no criteria"),
    ("    kind: manual\n", "    kind: advance\n", ("- source: TRAINING_5_images_{familiar}_handoff_ready", 1), "transitions.8.when: is missing: advance happens by itself and needs a criterion"),
    ("    kind: manual\n", "    kind: automatic\n", ("kind: automatic", 0), "transitions.8.kind: input should be 'advance', 'lapse' or 'manual'; it is 'automatic'"),
    ("kind: lapse", "kind: advance", ("- source: TRAINING_5_images_{familiar}_handoff_ready", 0), "transitions.6: closes a circle of advances through TRAINING_5_images_{familiar}_handoff_ready; make the way down a lapse"),
    # cohorts and places
    ("  - A/B\n", "  - A→B\n", ("- A→B", 0), "cohorts.0: 'A→B' is no cohort; write its familiar and its novel image set as A/B"),
    ("  - B/A\n", "  - B/B\n", ("- B/B", 0), "cohorts.1: B/B: the novel image set must be another than the familiar one"),
    ("  - G/H\n", "  - A/B\n", ("- A/B", 1), "cohorts.2: A/B is there twice"),
    # figures
    ("peak_d_prime_above: 2", "peak_d_prime_above: .nan", ("peak_d_prime_above: .nan", 0), "transitions.1.when.0.peak_d_prime_above: input should be a finite number; it is nan"),
    ("n: 1\n", "n: 0\n", ("n: 0", 0), "transitions.0.when.0.n: input should be greater than or equal to 1; it is 0"),
    ("counts_from_share_of_task: 0.5", "counts_from_share_of_task: 50", ("counts_from", 0), "counts_from_share_of_task: input should be less than or equal to 1; it is 50"),
    ("peak_d_prime_above: 2", "peak_d_prime_over: 2", ("peak_d_prime_over", 0), "transitions.1.when.0.peak_d_prime_over: there is no such field, and peak_d_prime_above is missing; did you mean peak_d_prime_above?"),
    ('version: "1.1.1"', "version: 1.1", ("version", 0), "version: input should be a valid string; it is 1.1"),
    # what only the stages' files tell
    ("  - G/H\n", "  - G/Q\n", ("- OPHYS_4_images_{novel}", 0), "stages.12: cohort G/Q: OPHYS_4_images_Q: there is no image set Q; known: A, B, G, H"),
    ("  cohorts: ours", "  cohort: ours", ("cohort: ours", 0), "deviations.cohort: names nothing of this curriculum; did you mean cohorts?"),
]  # fmt: skip


@pytest.mark.parametrize(("was", "becomes", "line", "said"), ONE_PROBLEM, ids=[row[3][:50] for row in ONE_PROBLEM])
def test_a_problem_is_named_with_its_line_and_what_would_be_right(
    tmp_path: Path, was: str, becomes: str, line: tuple[str, int], said: str
) -> None:
    file, text = changed(tmp_path, was, becomes)
    begins, nth = line
    at = [n for n, each in enumerate(text.splitlines(), start=1) if each.strip().startswith(begins)][nth]
    assert problems_of(file)[0] == f"changed.yaml:{at}: {said}"


def test_a_stage_that_is_renamed_in_one_place_is_missing_in_all_others(tmp_path: Path) -> None:
    file, _ = changed(tmp_path, "  - OPHYS_1_images_{familiar}\n", "  - OPHYS_1_images_{familar}\n")
    first, *others = problems_of(file)
    assert first.endswith("stages.9: {familar} stands for nothing; there are {familiar} and {novel}")
    assert [each.split(": ")[1] for each in others] == ["transitions.9.dest", "transitions.10.source"]


def test_aliases_are_refused_in_our_files(tmp_path: Path) -> None:
    file, _ = changed(tmp_path, "source: AllenInstitute", "source: &who AllenInstitute")
    file.write_text(file.read_text(encoding="utf-8").replace("cohorts: ours;", "cohorts: *who #"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"aliases \(\*\) are not used here, write the value out"):
        open_curriculum(str(file))


def test_the_shipped_curriculum_and_all_its_stages_for_all_cohorts_are_right() -> None:
    ours = open_curriculum("visual_behavior")
    check(ours)
    assert [str(cohort) for cohort in ours.cohorts] == ["A/B", "B/A", "G/H"]
    for cohort in ours.cohorts:
        for stage in ours.for_cohort(str(cohort)).stages:
            assert ours.stage(stage).stage == stage


def test_a_cohort_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(
        ConfigError, match=r"visual_behavior\.yaml:\d+: cohorts: has no cohort 'C/D'; known: A/B, B/A, G/H"
    ):
        open_curriculum("visual_behavior").for_cohort("C/D")


@pytest.fixture
def own(tmp_path: Path) -> CurriculumFile:
    """Our curriculum with copies of its stages beside it."""
    (tmp_path / "stages").mkdir()
    for path in shipped("stages").values():
        shutil.copy(path, tmp_path / "stages")
    shutil.copy(OURS, tmp_path)
    return open_curriculum(str(tmp_path / OURS.name))


def test_stages_beside_a_curriculum_are_its_own_and_shipped_ones_then_are_not(own: CurriculumFile) -> None:
    check(own)
    (own.path.parent / "stages" / "TRAINING_1_gratings.yaml").unlink()
    assert problems_of(own.path)[0].endswith(
        "stages.1: cohort A/B: TRAINING_1_gratings: there is no stage of this name; did you mean TRAINING_2_gratings_flashed?"
    )


def test_a_problem_in_a_stages_file_is_named_with_that_files_line(own: CurriculumFile) -> None:
    stage = own.path.parent / "stages" / "OPHYS_1_images_A.yaml"
    text = stage.read_text(encoding="utf-8").replace("timeout_s: 0.3", "timeout_s: long")
    stage.write_text(text, encoding="utf-8")
    line = text.splitlines().index("timeout_s: long") + 1
    (problem, *_) = problems_of(own.path)
    assert f"stages.9: cohort A/B: stages/OPHYS_1_images_A.yaml:{line}: timeout_s: input should be" in problem


def test_a_stage_that_calls_itself_otherwise_is_named(own: CurriculumFile) -> None:
    stage = own.path.parent / "stages" / "TRAINING_2_gratings_flashed.yaml"
    stage.write_text(
        stage.read_text(encoding="utf-8").replace("stage: TRAINING_2_gratings_flashed", "stage: T2"), encoding="utf-8"
    )
    assert problems_of(own.path)[0].endswith("cohort A/B: the file of TRAINING_2_gratings_flashed calls itself T2")


def test_a_curriculum_does_not_differ_from_itself_nor_by_order_of_fields_nor_comments(own: CurriculumFile) -> None:
    ours = open_curriculum("visual_behavior")
    assert differences(ours, ours) == []
    text = TEXT.replace(
        "    dest: TRAINING_1_gratings\n    kind: advance\n", "    kind: advance\n    dest: TRAINING_1_gratings\n"
    ).replace("above: 2", "above: 2.0")
    own.path.write_text(
        "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")), encoding="utf-8"
    )
    assert differences(ours, open_curriculum(str(own.path))) == []


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("peak_d_prime_above: 1\n", "peak_d_prime_above: 1.5\n", "TRAINING_4_images_{familiar}_training -> TRAINING_5_images_{familiar}_epilogue.when.meets_engagement_criteria.peak_d_prime_above: 1 | 1.5"),
        ("kind: yesterday_was_good\n        peak_d_prime_above: 2\n", "kind: whole_lotta_trials\n        n_contingent_above: 300\n", "TRAINING_1_gratings -> TRAINING_2_gratings_flashed.when.yesterday_was_good.peak_d_prime_above: 2 | nothing"),
        ("counts_from_share_of_task: 0.5", "counts_from_share_of_task: 0.25", "counts_from_share_of_task: 0.5 | 0.25  (ours; the regimen counts every session, one that was broken off after a minute too)"),
        (SECOND, FIRST.replace("dest: TRAINING_1_gratings", "dest: TRAINING_2_gratings_flashed") + "    kind: manual\n" + SECOND, "TRAINING_0_gratings_autorewards_15min.leads_to: TRAINING_1_gratings | TRAINING_1_gratings, TRAINING_2_gratings_flashed"),
    ],
)  # fmt: skip
def test_what_has_an_effect_is_a_difference(tmp_path: Path, was: str, becomes: str, said: str) -> None:
    file, _ = changed(tmp_path, was, becomes)
    assert str(differences(open_curriculum("visual_behavior"), open_curriculum(str(file)))[0]) == said


def test_a_parameter_of_a_stage_is_a_difference_of_the_curricula(own: CurriculumFile) -> None:
    stage = own.path.parent / "stages" / "OPHYS_4_images_B.yaml"
    text = stage.read_text(encoding="utf-8").replace("reward_volume_ul: 7", "reward_volume_ul: 5")
    stage.write_text(text, encoding="utf-8")
    assert [str(each) for each in differences(open_curriculum("visual_behavior"), own)] == [
        "OPHYS_4_images_{novel}.reward_volume_ul: 7 | 5"
    ]


def test_every_stage_and_what_leads_out_of_it_is_shown() -> None:
    shown = show_words(curriculum("G/H"))
    assert "visual_behavior 1.1.1, cohort G/H" in shown
    assert (
        "▲ TRAINING_2_gratings_flashed with peak d′ above 2 in two of the last three sessions and peak d′ above 2 in the last session"
        in shown
    )
    assert (
        "▼ TRAINING_5_images_G_handoff_lapsed without peak d′ above 1 and more than 100 contingent trials in each of the last three sessions"
        in shown
    )
    assert "✎ OPHYS_4_images_H when an operator says so" in shown
    assert (
        "Sessions whose task ran for less than 50 % of its time move no mouse, unless their water was all drunk."
        in shown
    )


def test_a_climb_is_explained_session_by_session_with_what_is_needed_next() -> None:
    placements = [Placement(id="p", after="s10", stage=OPHYS_0, who="Ann", reason="window is clear")]
    history = lived([*[GOOD] * 10, GOOD | {"task_min": 70.0}, POOR], placements=placements)
    words = explain_words(curriculum(), history, climb(curriculum(), history, placements=placements)).splitlines()

    assert words[0] == "Mouse M1"
    assert words[3] == "● begins at TRAINING_0_gratings_autorewards_15min: no session yet"
    assert (
        words[4]
        == "  1  2026-01-05  TRAINING_0_gratings_autorewards_15min: 60 of 60 min, peak d′ 2.50, 150 contingent trials, 60 hits"
    )
    assert words[5].startswith("     ▲ moved on from TRAINING_0")
    assert words[-7].startswith(f" 11  2026-01-15  {READY}: 70 of 60 min")
    assert words[-6].startswith(
        f"     ✎ placed at {OPHYS_0} by Ann: window is clear (by the curriculum: held at {READY}: "
    )
    assert words[-2:] == [f"Next: {OPHYS_0}", "From there an operator moves it on; next in order is OPHYS_1_images_A."]


def test_a_mouse_without_a_session_is_explained_too() -> None:
    assert (
        explain_words(curriculum(), [], climb(curriculum(), [])).splitlines()[-1]
        == f"From there it goes on to {T1} with one session at this stage."
    )


def test_the_picture_has_every_stage_and_criterion_and_is_the_same_twice(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        save_diagram(draw_curriculum(curriculum()), tmp_path / name)
    drawn = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert drawn == (tmp_path / "two.svg").read_text(encoding="utf-8")
    for stage in curriculum().stages:
        assert f">{stage}<" in drawn
    assert "with peak d′ above 2 in two of the last" in drawn
    assert "without peak d′ above 1" in drawn
    for line in ("advance, by itself", "lapse, by itself", "an operator's; the order is advice"):
        assert line.replace("'", "&#39;") in drawn or line in drawn
