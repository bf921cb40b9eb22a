"""The published mice as an oracle: what they really did, sorted by the curriculum we ship."""

from __future__ import annotations

import csv
import itertools
from collections import Counter

import pytest

from rig.config.files import load_curriculum
from rig.curriculum.release import RealTransition, Sort, counts_words, real_transitions, sort_of
from tests.builders import recorded
from tests.telling import Tell

TABLE = "release/behavior_session_table.csv"


@pytest.fixture(scope="module")
def transitions() -> list[RealTransition]:
    return real_transitions(recorded(TABLE), load_curriculum("visual_behavior"))


def test_the_real_transitions_are_the_curriculums_but_for_those_that_are_known_not_to_be(
    transitions: list[RealTransition], tell: Tell
) -> None:
    tell(counts_words(transitions))
    assert Counter(each.sort for each in transitions) == {
        Sort.AUTOMATIC: 749,
        Sort.REPEAT: 3002,
        Sort.MANUAL: 693,
        Sort.EXPLAINED: 33,
        Sort.OUT_OF_ORDER: 203,
    }
    assert len(transitions) == 4680
    assert len({each.mouse for each in transitions}) == 107


def test_automatic_ones_are_those_of_training_and_only_a_lapse_leads_down(transitions: list[RealTransition]) -> None:
    automatic = Counter(
        (each.source.split("_images")[0], each.dest.split("_images")[0], each.dest.rsplit("_", 1)[-1])
        for each in transitions
        if each.sort is Sort.AUTOMATIC
    )
    training = [f"TRAINING_{n}" for n in range(6)]
    assert all(source.startswith("TRAINING") and dest.startswith("TRAINING") for source, dest, _ in automatic)
    assert automatic[training[5], training[5], "lapsed"] == 65
    ways = Counter((source[:10], dest[:10]) for source, dest, _ in automatic.elements())
    assert [ways[here, there] for here, there in itertools.pairwise(training)] == [107, 107, 107, 107, 96]
    assert ways[training[5], training[5]] == 97 + 65 + 63
    assert sum(ways.values()) == 749


def test_sessions_with_another_set_than_the_cohorts_are_few_and_told(
    transitions: list[RealTransition], tell: Tell
) -> None:
    other = [each for each in transitions if each.of_other_set]
    rows = [f"{each.mouse} ({each.cohort}) {each.source} to {each.dest}: {each.sort.value}" for each in other]
    tell(f"{len(other)} transitions with another image set than the mouse's cohort has there: {'; '.join(rows)}")
    assert len(other) == 13
    assert len({each.mouse for each in other}) == 4


def test_the_order_is_that_of_the_sessions_times(transitions: list[RealTransition]) -> None:
    with recorded(TABLE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(transitions) + len({row["mouse_id"] for row in rows})
    latest: dict[str, RealTransition] = {}
    for each in transitions:
        before = latest.get(each.mouse)
        assert before is None or (before.at < each.at and before.dest == each.source)
        latest[each.mouse] = each


@pytest.mark.parametrize(
    ("source", "dest", "sort"),
    [
        ("TRAINING_1_gratings", "TRAINING_2_gratings_flashed", Sort.AUTOMATIC),
        ("TRAINING_2_gratings_flashed", "TRAINING_1_gratings", Sort.OUT_OF_ORDER),
        ("TRAINING_2_gratings_flashed", "TRAINING_3_images_G_10uL_reward", Sort.AUTOMATIC),
        ("TRAINING_5_images_B_handoff_ready", "TRAINING_5_images_B_handoff_lapsed", Sort.AUTOMATIC),
        ("TRAINING_5_images_B_handoff_lapsed", "OPHYS_0_images_B_habituation", Sort.EXPLAINED),
        ("TRAINING_4_images_A_training", "TRAINING_4_images_A_handoff_ready", Sort.EXPLAINED),
        ("TRAINING_5_images_A_handoff_ready", "OPHYS_0_images_A_habituation", Sort.MANUAL),
        ("OPHYS_1_images_A", "OPHYS_1_images_A", Sort.REPEAT),
        ("OPHYS_1_images_A", "OPHYS_3_images_A", Sort.OUT_OF_ORDER),
        ("OPHYS_2_images_A_passive", "OPHYS_1_images_A", Sort.OUT_OF_ORDER),
        ("OPHYS_6_images_B", "OPHYS_7_receptive_field_mapping", Sort.MANUAL),
    ],
)
def test_a_transition_is_sorted_by_the_curriculums_graph(source: str, dest: str, sort: Sort) -> None:
    assert sort_of(source, dest, load_curriculum("visual_behavior")) is sort
