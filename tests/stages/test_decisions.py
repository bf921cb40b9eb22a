"""Decisions follow from the whole history, say why in a true sentence, and rest on no wrong history."""
# ruff: noqa: E501 - a row of a table is one line

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.config.files import load_curriculum
from stages.criteria import PUBLISHED
from stages.curriculum import Cohort, Curriculum, CurriculumParameters
from stages.decisions import Decision, Move, Placement, climb, counts, decide
from stages.history import SessionFacts
from stages.misfits import HistoryMisfit
from tests.stages.mouse_days import (
    EPILOGUE,
    FAIR,
    GOOD,
    LAPSED,
    OPHYS_0,
    OPHYS_1,
    OPHYS_2,
    POOR,
    READY,
    T0,
    T1,
    T2,
    T3,
    T4,
    TO_READY,
    curriculum,
    day,
    lived,
)

SHORT = {"task_min": 12.0, "ended": "stopped"}
FEW = {"n_contingent": 100}


def placed(stage: str, after: str | None, **fields: str) -> Placement:
    return Placement(
        **({"id": f"p-{after}-{stage}", "after": after, "stage": stage, "who": "Ann", "reason": "retake"} | fields)
    )


# What the mouse does day after day, where each day is spent, and where the next one is.
CLIMBS: list[tuple[str, list[dict[str, Any]], list[str]]] = [
    ("nothing yet", [], [T0]),
    ("one session is enough for the first stage", [POOR], [T0, T1]),
    ("two good days of three, the last of them good", [POOR, POOR, GOOD, POOR, GOOD], [T0, T1, T1, T1, T1, T2]),
    ("good twice and not today", [POOR, POOR, GOOD, GOOD | {"peak_d_prime": 2.0}], [T0, T1, T1, T1, T1]),
    ("two good days of two", [POOR, GOOD, GOOD], [T0, T1, T1, T2]),
    ("the window spans stages: one day in the second is enough", [POOR, GOOD, GOOD, GOOD], [T0, T1, T1, T2, T3]),
    ("three days of the third, however poor", [POOR, GOOD, GOOD, GOOD, POOR, POOR, POOR], [T0, T1, T1, T2, T3, T3, T3, T4]),
    ("engaged on the days before, too", [POOR, GOOD, GOOD, GOOD, FAIR, FAIR, FAIR, FAIR, FAIR], [T0, T1, T1, T2, T3, T3, T3, T4, EPILOGUE, READY]),
    ("too few trials", [POOR, GOOD, GOOD, GOOD, FAIR, FAIR, FAIR, FAIR | FEW | {"n_hit": 9}], [T0, T1, T1, T2, T3, T3, T3, T4, T4]),
    ("lapsed and recovered after three", [*[GOOD] * 9, POOR, FAIR, FAIR, FAIR], [T0, T1, T1, T2, T3, T3, T3, T4, EPILOGUE, READY, LAPSED, LAPSED, LAPSED, READY]),
    ("ready stays ready", TO_READY, [T0, T1, T1, T2, T3, T3, T3, T4, EPILOGUE, *[READY] * 6]),
    ("a session that hardly ran moves nobody", [SHORT | {"planned_min": 60.0}, POOR], [T0, T0, T1]),
    ("nor counts in a window", [POOR, GOOD, GOOD | SHORT, POOR, GOOD], [T0, T1, T1, T1, T1, T2]),
    ("nor makes a ready mouse lapse", [*[GOOD] * 9, POOR | SHORT, GOOD], [T0, T1, T1, T2, T3, T3, T3, T4, EPILOGUE, READY, READY, READY]),
    ("half of the task is enough", [POOR, GOOD, GOOD | {"task_min": 30.0}], [T0, T1, T1, T2]),
    ("all the water drunk is a whole session", [POOR, GOOD, GOOD | {"task_min": 12.0, "ended": "volume"}], [T0, T1, T1, T2]),
    ("less is not", [POOR, GOOD, GOOD | {"task_min": math.nextafter(30, 0)}], [T0, T1, T1, T1]),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "stages"), [row[1:] for row in CLIMBS], ids=[row[0] for row in CLIMBS])
def test_a_mouse_climbs_as_the_published_criteria_say(rows: list[dict[str, Any]], stages: list[str]) -> None:
    assert [decision.stage for decision in climb(curriculum(), lived(rows))] == stages


@pytest.mark.parametrize("cohort", ["A/B", "B/A", "G/H"])
def test_cohorts_differ_in_their_image_sets_and_nothing_else(cohort: str) -> None:
    familiar, novel = cohort.split("/")
    assert [stage.replace(f"_images_{familiar}", "_images_A") for stage in curriculum(cohort).stages][:12] == list(
        curriculum().stages[:12]
    )
    assert curriculum(cohort).stages[12] == f"OPHYS_4_images_{novel}"
    assert curriculum(cohort).stages[-1] == "OPHYS_7_receptive_field_mapping"


SENTENCES: list[tuple[list[dict[str, Any]], str]] = [
    ([], f"begins at {T0}: no session yet"),
    ([POOR], f"moved on from {T0} to {T1}: sessions at this stage: 1; has one"),
    ([POOR, {"peak_d_prime": 2.31}, {"peak_d_prime": 1.87}, {"peak_d_prime": 1.95}], f"held at {T1}: peak d′ 2.31, 1.87, 1.95; needs two of the last three above 2 and today's above 2"),
    ([POOR, {"peak_d_prime": None}], f"held at {T1}: peak d′ 0.50, none; 2 counted sessions so far; needs two of the last three above 2 and today's above 2"),
    ([POOR, GOOD, {"peak_d_prime": 2.001}], f"moved on from {T1} to {T2}: peak d′ 0.50, 2.50, 2.001; has two of the last three above 2 and today's above 2"),
    ([GOOD] * 5, f"held at {T3}: sessions at this stage: 1; needs three"),
    ([*[GOOD] * 9, POOR], f"lapsed from {READY} to {LAPSED}: peak d′ 2.50, 2.50, 0.50; contingent trials 150, 150, 150; to stay it needs all of the last three with peak d′ above 1 and more than 100 contingent trials"),
    (TO_READY, f"held at {READY}: peak d′ 2.50, 2.50, 2.50; contingent trials 150, 150, 150; has all of the last three with peak d′ above 1 and more than 100 contingent trials, so it does not lapse; an operator moves it on; next in order is {OPHYS_0}"),
    ([POOR, GOOD | {"task_min": 29.999}], f"held at {T1}: today's session ran 29.999 of 60 min and does not count; needs 30 min"),
    ([POOR, GOOD, GOOD | SHORT, POOR], f"held at {T1}: peak d′ 0.50, 2.50, 0.50; needs two of the last three above 2 and today's above 2 (left out, too short: 2026-01-07 ran 12.0 of 60 min)"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "sentence"), SENTENCES)
def test_a_decision_says_why(rows: list[dict[str, Any]], sentence: str) -> None:
    assert decide(curriculum(), lived(rows)).sentence == sentence


def test_a_figure_that_two_criteria_share_stands_on_the_true_side_of_both_their_thresholds() -> None:
    fields = load_curriculum("visual_behavior").model_dump()
    fields["transitions"][1]["when"][1]["peak_d_prime_above"] = 1.998
    near = CurriculumParameters.model_validate(fields).for_cohort(Cohort("A", "B"))
    history = lived([POOR, GOOD, {"peak_d_prime": 1.9981}])

    assert decide(near, history).sentence == (
        f"held at {T1}: peak d′ 0.50, 2.50, 1.9981; needs two of the last three above 2 and today's above 1.998"
    )


def test_a_placement_is_obeyed_and_said_with_its_name_its_reason_and_what_the_curriculum_says() -> None:
    placement = placed(OPHYS_0, "s01", reason="another lab trained it")
    decision = decide(curriculum(), lived([POOR, GOOD]), placements=[placement])

    assert (decision.stage, decision.move, decision.placement) == (OPHYS_0, Move.PLACED, placement.id)
    assert decision.suggestion == OPHYS_1
    assert decision.sentence == (
        f"placed at {OPHYS_0} by Ann: another lab trained it (by the curriculum: held at {T1}: peak d′ 0.50, 2.50; "
        "2 counted sessions so far; needs two of the last three above 2 and today's above 2)"
    )


def test_a_placement_before_the_first_session_is_where_the_mouse_begins() -> None:
    decision = decide(curriculum(), [], placements=[placed(T4, None)])
    assert (decision.stage, decision.from_stage, decision.after) == (T4, None, None)


def test_imaging_goes_in_any_order_by_placements_and_stays_where_it_is_without() -> None:
    placements = [placed(OPHYS_1, None), placed(OPHYS_0, "s01"), placed(OPHYS_2, "s02"), placed(OPHYS_1, "s03")]
    history = lived([POOR] * 6, placements=placements)

    assert [session.stage for session in history] == [OPHYS_1, OPHYS_1, OPHYS_0, OPHYS_2, OPHYS_1, OPHYS_1]
    last = decide(curriculum(), history, placements=placements)
    assert (last.stage, last.move, last.suggestion) == (OPHYS_1, Move.HOLD, OPHYS_2)
    assert last.sentence == f"held at {OPHYS_1}: an operator moves it on; next in order is {OPHYS_2}"


def test_of_two_placements_after_one_session_the_later_corrects_the_earlier() -> None:
    placements = [placed(OPHYS_0, None, id="p1"), placed(OPHYS_1, None, id="p2")]
    assert decide(curriculum(), [], placements=placements).placement == "p2"


def test_after_a_placement_in_training_the_criteria_decide_again() -> None:
    placements = [placed(T4, None)]
    assert [
        each.stage for each in climb(curriculum(), lived([GOOD] * 4, placements=placements), placements=placements)
    ] == [T4, T4, T4, EPILOGUE, READY]


def test_a_decision_can_be_written_and_read() -> None:
    for decision in climb(curriculum(), lived([*TO_READY, POOR])):
        assert msgspec.json.decode(msgspec.json.encode(decision), type=Decision) == decision


def test_a_decision_names_its_curriculum_by_what_has_an_effect() -> None:
    of = decide(curriculum(), []).curriculum
    assert (of.name, of.version, of.cohort) == ("visual_behavior", "1.1.1", "A/B")
    assert of.sha256 != decide(curriculum("B/A"), []).curriculum.sha256
    assert re.fullmatch("[0-9a-f]{64}", of.sha256)


Wrong = Callable[[list[SessionFacts]], list[SessionFacts]]


def with_(n: int, **fields: Any) -> Wrong:
    return lambda history: [*history[:n], msgspec.structs.replace(history[n], **fields), *history[n + 1 :]]


MISFITS: list[tuple[str, Wrong, str]] = [
    ("another stage than was due", with_(3, stage=T2), f"session s03 of 2026-01-08 ran {T2}, but {T1} was due (held at {T1}: "),
    ("a stage of another cohort", with_(7, stage="TRAINING_3_images_B_10uL_reward", image_set="B"), f"session s07 of 2026-01-12 ran TRAINING_3_images_B_10uL_reward, but {T3} was due"),
    ("a stage of no curriculum", with_(2, stage="TRAINING_9"), f"session s02 of 2026-01-07 ran TRAINING_9, but {T1} was due"),
    ("a session that is missing", lambda h: h[1:], f"session s01 of 2026-01-06 ran {T1}, but {T0} was due (begins at {T0}: no session yet)"),
    ("a better peak than there was", with_(2, peak_d_prime=2.5), f"session s03 of 2026-01-08 ran {T1}, but {T2} was due (moved on"),
    ("a poorer one", with_(3, peak_d_prime=0.5), f"session s04 of 2026-01-09 ran {T2}, but {T1} was due (held"),
    ("another mouse's", with_(2, mouse="M2"), "session s02 of 2026-01-07 is of mouse M2, those before of M1"),
    ("twice", lambda h: [*h, msgspec.structs.replace(h[2], day="2026-03-01", started_at="2026-03-01T10:00:00Z")], "session s02 of 2026-03-01 is there twice"),
    ("out of order", lambda h: [h[0], h[2], h[1], *h[3:]], "session s01 of 2026-01-06 began at 2026-01-06T10:00:00+00:00, not after session s02 of 2026-01-07"),
    ("in order by the letters and not by the clock", with_(2, started_at="2026-01-06T11:00:00+02:00"), "session s02 of 2026-01-07 began at 2026-01-06T11:00:00+02:00, not after session s01"),
    ("a day that goes back", with_(2, day="2026-01-05"), "session s02 of 2026-01-05 began at"),
    ("no number", with_(2, peak_d_prime=math.nan), "session s02 of 2026-01-07: its peak d′ is nan, and none is beyond ±4.66"),
    ("more than there can be", with_(2, peak_d_prime=4.7), "session s02 of 2026-01-07: its peak d′ is 4.7"),
    ("negative trials", with_(2, n_contingent=-1, n_hit=-2), "session s02 of 2026-01-07: its n_contingent is -1"),
    ("more hits than trials", with_(2, n_hit=151), "session s02 of 2026-01-07: has 151 hits in 150 go and catch trials"),
    ("a negative time", with_(2, task_min=-1.0), "session s02 of 2026-01-07: its task ran -1 min"),
    ("no time", with_(2, task_min=math.nan), "session s02 of 2026-01-07: its task ran nan min"),
    ("nothing planned", with_(2, planned_min=0.0), "session s02 of 2026-01-07: its task was to run 0 min"),
    ("a share above one", with_(2, response_rate=1.2), "session s02 of 2026-01-07: its response_rate is 1.2, no share"),
    ("no share", with_(2, aborted_time_share=math.inf), "session s02 of 2026-01-07: its aborted_time_share is inf, no share"),
    ("no way to end", with_(2, ended="tired"), "session s02 of 2026-01-07: it ended by 'tired', which is no way to end"),
    ("other images than its name says", with_(7, image_set="B"), f"session s07 of 2026-01-12: ran {T3} with image set B"),
    ("no day", with_(2, day="7 Jan"), "session s02 of 7 Jan: its day is '7 Jan', not YYYY-MM-DD"),
    ("no start", with_(2, started_at="2026-01-07T10:00:00"), "session s02 of 2026-01-07: its start is '2026-01-07T10:00:00', no time with an offset"),
    ("a start on no day", with_(2, started_at="2026-02-30T10:00:00Z"), "session s02 of 2026-01-07: its start is '2026-02-30T10:00:00Z', no time with an offset"),
    ("no id", with_(2, session_id=""), "session  of 2026-01-07: has no session_id"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "said"), [row[1:] for row in MISFITS], ids=[row[0] for row in MISFITS])
def test_no_decision_rests_on_a_wrong_history(wrong: Wrong, said: str) -> None:
    history = lived([POOR, GOOD, POOR, GOOD, POOR, GOOD, POOR, POOR, POOR])
    assert [session.stage for session in history] == [T0, T1, T1, T1, T2, T2, T3, T3, T3]

    with pytest.raises(HistoryMisfit) as caught:
        decide(curriculum(), wrong(history))
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("placement", "said"),
    [
        (placed("OPHYS_0_images_B_habituation", "s00"), "by Ann is at OPHYS_0_images_B_habituation, which visual_behavior 1.1.1, cohort A/B"),
        (placed(T3, "s99"), f"by Ann at {T3} follows session s99, which isn't in the history"),
        (placed(T3, "s00", who=" "), f"at {T3} lacks its reason or its name"),
        (placed(T3, "s00", reason=""), f"at {T3} lacks its reason or its name"),
        (placed(T3, "s00"), f"session s01 of 2026-01-06 ran {T1}, but {T3} was due (placed at {T3} by Ann: retake"),
    ],
)  # fmt: skip
def test_no_decision_rests_on_a_placement_that_does_not_fit(placement: Placement, said: str) -> None:
    with pytest.raises(HistoryMisfit) as caught:
        decide(curriculum(), lived([POOR, POOR]), placements=[placement])
    assert said in str(caught.value)


def test_a_placement_that_is_there_twice_is_refused() -> None:
    with pytest.raises(HistoryMisfit, match="placement p1 is there twice"):
        decide(curriculum(), [], placements=[placed(T3, None, id="p1"), placed(T4, None, id="p1")])


NEAR = [1.0, math.nextafter(1, 2), math.nextafter(1, 0), 2.0, math.nextafter(2, 3), math.nextafter(2, 1), 1.996, 2.004]
ROWS = st.fixed_dictionaries(
    {
        "peak_d_prime": st.none() | st.sampled_from(NEAR) | st.floats(-4.6, 4.6),
        "n_contingent": st.sampled_from([0, 99, 100, 101]) | st.integers(0, 400),
        "n_hit": st.just(0),
        "task_min": st.sampled_from([0.0, 29.99, 30.0, 60.0, 60.0, 60.0]),
        "ended": st.sampled_from(["time", "time", "volume", "stopped"]),
    }
)


def by_hand(history: Sequence[SessionFacts]) -> str:
    """The stage after a history, by the published rules written out again."""
    last, counted = history[-1], [s for s in history if s.task_min >= 30 or s.ended == "volume"]
    three, stage = counted[-3:], last.stage
    if last not in counted:
        return stage
    good = [s.peak_d_prime is not None and s.peak_d_prime > 2 for s in three]
    learnt = len(three) == 3 and sum(good) >= 2 and good[-1]
    engaged = len(three) == 3 and all(
        s.peak_d_prime is not None and s.peak_d_prime > 1 and s.n_contingent > 100 for s in three
    )
    return {
        T0: T1,
        T1: T2 if learnt else T1,
        T2: T3 if learnt else T2,
        T3: T4 if sum(s.stage == T3 for s in counted) >= 3 else T3,
        T4: EPILOGUE if engaged else T4,
        EPILOGUE: READY if engaged else EPILOGUE,
        READY: READY if engaged else LAPSED,
        LAPSED: READY if engaged else LAPSED,
    }.get(stage, stage)


def figures(sentence: str, what: str) -> list[float]:
    """The figures of a kind that a sentence shows; NaN for one that isn't there."""
    found = re.search(rf"{what} ((?:(?:-?[\d.]+|none)(?:, )?)+)", sentence)
    return (
        []
        if found is None
        else [math.nan if each == "none" else float(each) for each in found[1].strip(", ").split(", ")]
    )


def true_by_its_own_figures(decision: Decision) -> bool:
    """Whether a sentence's figures lead to its stage by the rule that it says."""
    own = decision.sentence
    peaks, trials = figures(own, "peak d′"), figures(own, "contingent trials")
    if "does not count" in own:
        ran, of, needed = (float(each) for each in re.findall(r"([\d.]+) (?:of|min)", own))
        return decision.move is Move.HOLD and ran < needed < of
    if "above 2" in own:
        met = len(peaks) == 3 and sum(peak > 2 for peak in peaks) >= 2 and peaks[-1] > 2
        return met is (decision.move is Move.ADVANCE)
    if "above 1" in own:
        met = len(peaks) == 3 and all(peak > 1 for peak in peaks) and all(n > 100 for n in trials)
        expected = Move.HOLD if decision.from_stage == READY else Move.ADVANCE
        otherwise = Move.LAPSE if decision.from_stage == READY else Move.HOLD
        return decision.move is (expected if met else otherwise)
    if "sessions at this stage" in own:
        (n,) = figures(own, "sessions at this stage:")
        return (n >= (3 if decision.from_stage == T3 else 1)) is (decision.move is Move.ADVANCE)
    return decision.move is Move.HOLD and "an operator moves it on" in own


@settings(max_examples=120)
@given(rows=st.lists(ROWS, max_size=14), start=st.sampled_from([None, T1, T3, T4, EPILOGUE, LAPSED, OPHYS_1]))
def test_every_decision_of_any_life_is_the_rules_and_its_sentence_is_true(
    rows: list[dict[str, Any]], start: str | None
) -> None:
    placements = [] if start is None else [placed(start, None)]
    history = lived(rows, placements=placements)
    decisions = climb(curriculum(), history, placements=placements)

    assert decisions == climb(curriculum(), list(history), placements=list(placements))
    for n, (session, decision) in enumerate(zip(history, decisions[1:], strict=True), start=1):
        assert decision == decide(curriculum(), history[:n], placements=placements)
        assert decision.stage == by_hand(history[:n])
        assert decision.from_stage == session.stage
        assert decision.stage in decision.sentence
        assert true_by_its_own_figures(decision), decision.sentence
        assert_evidence_is_the_historys(decision, history[:n])


def assert_evidence_is_the_historys(decision: Decision, history: Sequence[SessionFacts]) -> None:
    """Each figure is that of the sessions it names, and none of those hardly ran."""
    of = {session.session_id: session for session in history}
    for considered in decision.evidence:
        for judged in (*considered.when, *considered.unless):
            for figure in judged.figures:
                named = [of[each] for each in figure.session_ids]
                assert all(counts(curriculum(), session) for session in named)
                match figure.what:
                    case "peak d′":
                        assert list(figure.values) == [session.peak_d_prime for session in named]
                    case "contingent trials":
                        assert list(figure.values) == [session.n_contingent for session in named]
                    case _:
                        assert figure.values == (len(named),)
    assert all(not counts(curriculum(), of[each.session_id]) for each in decision.left_out)


@settings(max_examples=60)
@given(
    rows=st.lists(ROWS, min_size=1, max_size=10), at=st.integers(0, 9), stage=st.sampled_from([*curriculum().stages])
)
def test_a_stage_that_was_not_due_always_stops_the_mouse(rows: list[dict[str, Any]], at: int, stage: str) -> None:
    history = lived(rows)
    session = history[at % len(history)]
    if stage == session.stage:
        return
    edited = [
        day(n, stage, **row) if each is session else each
        for n, (each, row) in enumerate(zip(history, rows, strict=True))
    ]
    with pytest.raises(HistoryMisfit, match=f"session {session.session_id} "):
        decide(curriculum(), edited)


def stricter() -> Curriculum:
    """The shipped curriculum, as if its authors now asked for a peak above 3 in the first stage with trials."""
    ours = curriculum()
    transitions = tuple(
        each.model_copy(
            update={"when": (PUBLISHED["yesterday_was_good"].model_copy(update={"peak_d_prime_above": 3}),)}
        )
        if each.source == T1
        else each
        for each in ours.transitions
    )
    return dataclasses.replace(ours, version="2", transitions=transitions)


def test_a_changed_curriculum_decides_from_the_last_session_on() -> None:
    history = lived([POOR, GOOD, GOOD, POOR])
    before = climb(curriculum(), history)
    recorded = {each.after: each for each in before}
    with pytest.raises(HistoryMisfit, match="ran TRAINING_2_gratings_flashed, but TRAINING_1_gratings was due"):
        decide(stricter(), history)  # nothing on record says that another curriculum moved it on
    after = climb(stricter(), history, recorded=recorded)
    assert after[:-1] == before[:-1]
    assert (after[-1].stage, after[-1].curriculum.version) == (T2, "2")
    held = climb(stricter(), history[:3], recorded=recorded)[-1]
    assert (held.stage, held.move) == (T1, Move.HOLD), "today's decision is the new curriculum's"
    assert "today's above 3" in held.sentence


def test_decisions_of_the_same_curriculum_are_made_anew_whatever_is_on_record() -> None:
    history = lived([POOR, GOOD, GOOD])
    forged = {each.after: msgspec.structs.replace(each, stage=T4) for each in climb(curriculum(), history)}
    assert climb(curriculum(), history, recorded=forged) == climb(curriculum(), history)


def test_a_stage_that_the_new_curriculum_lacks_wants_a_placement() -> None:
    history = lived([POOR, GOOD])
    recorded = {each.after: each for each in climb(curriculum(), history)}
    ours = curriculum()
    shorter = dataclasses.replace(
        ours,
        version="2",
        stages=tuple(stage for stage in ours.stages if stage != T1),
        transitions=tuple(each for each in ours.transitions if T1 not in (each.source, each.dest)),
    )
    with pytest.raises(HistoryMisfit, match=f"ran {T1}, which visual_behavior 2.* doesn't have: record a placement"):
        decide(shorter, history, recorded=recorded)
    there = placed(T2, history[-1].session_id)
    assert decide(shorter, history, placements=[there], recorded=recorded).stage == T2
