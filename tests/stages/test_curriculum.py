"""A curriculum is its transitions: which are tried, which shadow others, what its identity depends on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.config.files import load_curriculum
from stages.curriculum import Cohort, CurriculumParameters, Transition, TransitionKind, reached
from tests.stages.mouse_days import EPILOGUE, LAPSED, OPHYS_0, READY, T0, T1, T2, curriculum

GOOD = {"kind": "yesterday_was_good", "peak_d_prime_above": 2}
BETTER = {"kind": "yesterday_was_good", "peak_d_prime_above": 3}
ONCE = {"kind": "n_complete", "n": 1}


def transition(source: str, dest: str, kind: str = "advance", **criteria: list[dict[str, Any]]) -> dict[str, Any]:
    if kind != "manual" and not criteria:
        criteria = {"when": [ONCE]}
    return {"source": source, "dest": dest, "kind": kind, **criteria}


def of(*transitions: dict[str, Any], stages: str = "ABC") -> CurriculumParameters:
    """A small curriculum, its stages named by letters."""
    return CurriculumParameters.model_validate(
        {
            "curriculum": "small",
            "version": "1",
            "source": "made up",
            "cohorts": ["A/B"],
            "counts_from_share_of_task": 0,
            "stages": list(stages),
            "transitions": list(transitions),
        }
    )


def test_the_published_transitions_are_tried_in_order_and_manual_ones_never() -> None:
    assert [each.dest for each in curriculum().automatic(T1)] == [T2]
    assert [(each.dest, each.kind) for each in curriculum().automatic(READY)] == [(LAPSED, TransitionKind.LAPSE)]
    assert curriculum().automatic(OPHYS_0) == []
    assert curriculum().suggested(READY) == OPHYS_0
    assert curriculum().suggested(EPILOGUE) is None
    assert curriculum().suggested("OPHYS_7_receptive_field_mapping") is None


def test_every_stage_is_reached_and_training_ends_at_hand_off() -> None:
    automatic = [each for each in curriculum().transitions if each.kind is not TransitionKind.MANUAL]
    assert reached(T0, automatic) == set(curriculum().stages[:8])
    assert reached(T0, curriculum().transitions) == set(curriculum().stages)


@pytest.mark.parametrize(
    ("first", "second", "shadowed"),
    [
        ({"when": [GOOD]}, {"when": [GOOD]}, True),
        ({"when": [GOOD]}, {"when": [ONCE, GOOD]}, True),
        ({"when": [GOOD, ONCE]}, {"when": [GOOD]}, False),
        ({"when": [GOOD]}, {"when": [BETTER]}, False),
        ({"when": [GOOD]}, {"when": [GOOD], "unless": [ONCE]}, True),
        ({"when": [GOOD], "unless": [ONCE]}, {"when": [GOOD]}, False),
        ({"unless": [GOOD]}, {"unless": [GOOD]}, True),
        ({"unless": [GOOD, ONCE]}, {"unless": [GOOD]}, True),
        ({"unless": [GOOD]}, {"unless": [GOOD, ONCE]}, False),
        ({"unless": [GOOD]}, {"when": [GOOD]}, False),
    ],
)
def test_a_transition_is_shadowed_by_one_that_asks_for_no_more(
    first: dict[str, Any], second: dict[str, Any], shadowed: bool
) -> None:
    earlier = Transition.model_validate(transition("A", "B", **first))
    later = Transition.model_validate(transition("A", "C", **second))
    assert earlier.shadows(later) is shadowed
    assert not earlier.shadows(later.model_copy(update={"source": "B"}))


def test_a_circle_of_advances_is_refused_and_one_that_a_lapse_breaks_is_not() -> None:
    up, down = transition("A", "B"), {"source": "B", "dest": "A", "unless": [ONCE]}
    assert of(up, {**down, "kind": "lapse"}, stages="AB")
    with pytest.raises(ValueError, match="closes a circle of advances through A"):
        of(up, {**down, "kind": "advance"}, stages="AB")
    with pytest.raises(ValueError, match="closes a circle of advances through C"):
        of(transition("A", "B"), transition("B", "C"), transition("C", "A"))


def test_a_lapse_without_a_way_back_is_refused() -> None:
    with pytest.raises(ValueError, match="has no way back: no advance leads from C to B"):
        of(transition("A", "B"), transition("B", "C", "lapse"))


def test_what_has_no_effect_leaves_the_identity_as_it_is_and_everything_else_changes_it() -> None:
    fields = load_curriculum("visual_behavior").model_dump(mode="json")

    def identity(**changed: object) -> str:
        made = CurriculumParameters.model_validate({**fields, **changed})
        return made.for_cohort(made_cohort).identity().sha256

    made_cohort = Cohort("A", "B")
    same = identity()
    assert identity(source="elsewhere", deviations={}, cohorts=["A/B"], version="2", curriculum="other") == same
    assert identity(counts_from_share_of_task=0.4) != same
    for n in range(8):
        changed = [dict(each) for each in fields["transitions"]]
        side = "when" if changed[n]["when"] else "unless"
        criterion = dict(changed[n][side][0])
        number = next(key for key in criterion if key != "kind")
        criterion[number] = criterion[number] + 1
        changed[n][side] = [criterion, *changed[n][side][1:]]
        assert identity(transitions=changed) != same


@pytest.mark.parametrize("text", ["A", "A/", "/B", "A/B/C", "A→B", "A B", ""])
def test_what_is_no_cohort_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no cohort; write its familiar and its novel image set as A/B"):
        Cohort.parse(text)


def test_a_cohort_has_two_image_sets_and_is_written_as_it_is_read() -> None:
    assert str(Cohort.parse("G/H")) == "G/H"
    with pytest.raises(ValueError, match="the novel image set must be another than the familiar one"):
        Cohort.parse("A/A")


def test_a_curriculum_is_not_given_to_a_cohort_it_is_not_meant_for() -> None:
    with pytest.raises(ValueError, match="visual_behavior has no cohort H/G; it has A/B, B/A, G/H"):
        load_curriculum("visual_behavior").for_cohort(Cohort("H", "G"))


EDGES = st.tuples(st.sampled_from("ABCDE"), st.sampled_from("ABCDE"), st.sampled_from(["advance", "lapse", "manual"]))


@settings(max_examples=120)
@given(edges=st.lists(EDGES, max_size=8))
def test_whatever_is_accepted_leads_everywhere_and_never_around(edges: list[tuple[str, str, str]]) -> None:
    try:
        made = of(*(transition(*edge) for edge in edges), stages="ABCDE")
    except ValueError as error:
        assert any(  # noqa: PT017 - refused or right: both are fine
            words in str(error)
            for words in ("circle", "way back", "can't be reached", "itself", "does", "is never taken")
        )
        return
    advances = {(each.source, each.dest) for each in made.transitions if each.kind is TransitionKind.ADVANCE}
    height = dict.fromkeys("ABCDE", 0)
    for _ in range(5):  # longest ways settle after as many rounds as there are stages, unless there is a circle
        height |= {dest: max(height[dest], height[source] + 1) for source, dest in advances}
    assert all(height[dest] > height[source] for source, dest in advances)
    assert reached("A", made.transitions) == set("ABCDE")
