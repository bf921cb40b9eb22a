"""Each published criterion at both sides of each of its thresholds."""
# ruff: noqa: E501 - a row of a table is one line

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.criteria import PUBLISHED, MeetsEngagementCriteria, NComplete
from stages.history import SessionFacts
from stages.judgement import figure_text
from tests.stages.mouse_days import T0, T1, T2, T3, day, days, peaks

ABOVE_2, ABOVE_1, BELOW_1 = math.nextafter(2, 3), math.nextafter(1, 2), math.nextafter(1, 0)


def contingent(*values: int, **fields: object) -> list[SessionFacts]:
    return days(*({"n_contingent": n, "n_hit": 0, **fields} for n in values))


def hits(*values: int) -> list[SessionFacts]:
    return days(*({"n_hit": n, "n_contingent": 500} for n in values))


def last(**fields: object) -> list[SessionFacts]:
    return days(fields)


# The criterion, the sessions, whether it holds.
TABLE: list[tuple[str, list[SessionFacts], bool]] = [
    # two of the last three, strictly above 2; with fewer than three sessions never
    ("two_out_of_three_aint_bad", peaks(2.1, 2.1, 0), True),
    ("two_out_of_three_aint_bad", peaks(0, ABOVE_2, ABOVE_2), True),
    ("two_out_of_three_aint_bad", peaks(ABOVE_2, 0, 2), False),
    ("two_out_of_three_aint_bad", peaks(2, 2, 2), False),
    ("two_out_of_three_aint_bad", peaks(3, None, 3), True),
    ("two_out_of_three_aint_bad", peaks(3, None, None), False),
    ("two_out_of_three_aint_bad", peaks(3, 3, 0, 0), False),
    ("two_out_of_three_aint_bad", peaks(3, 3), False),
    ("two_out_of_three_aint_bad", [], False),
    # the last one strictly above 2
    ("yesterday_was_good", peaks(ABOVE_2), True),
    ("yesterday_was_good", peaks(2), False),
    ("yesterday_was_good", peaks(3, None), False),
    ("yesterday_was_good", peaks(3, 0), False),
    ("yesterday_was_good", [], False),
    # all of the last three, both strictly
    ("meets_engagement_criteria", peaks(ABOVE_1, ABOVE_1, ABOVE_1), True),
    ("meets_engagement_criteria", peaks(0, ABOVE_1, ABOVE_1, ABOVE_1), True),
    ("meets_engagement_criteria", peaks(1, 3, 3), False),
    ("meets_engagement_criteria", peaks(3, 1, 3), False),
    ("meets_engagement_criteria", peaks(3, 3, 1), False),
    ("meets_engagement_criteria", peaks(3, None, 3), False),
    ("meets_engagement_criteria", peaks(3, 3), False),
    ("meets_engagement_criteria", contingent(101, 101, 101), True),
    ("meets_engagement_criteria", contingent(100, 101, 101), False),
    ("meets_engagement_criteria", contingent(101, 100, 101), False),
    ("meets_engagement_criteria", contingent(101, 101, 100), False),
    ("meets_engagement_criteria", [], False),
    # of no regimen's use
    ("whole_lotta_trials", contingent(301), True),
    ("whole_lotta_trials", contingent(300), False),
    ("whole_lotta_trials", contingent(900, 300), False),
    ("whole_lotta_trials", [], False),
    ("no_response_bias", last(response_rate=math.nextafter(0.1, 1)), True),
    ("no_response_bias", last(response_rate=0.1), False),
    ("no_response_bias", last(response_rate=math.nextafter(0.9, 0)), True),
    ("no_response_bias", last(response_rate=0.9), False),
    ("no_response_bias", last(response_rate=None), False),
    ("no_response_bias", [], False),
    ("mostly_useful", last(aborted_time_share=math.nextafter(0.5, 0)), True),
    ("mostly_useful", last(aborted_time_share=0.5), False),
    ("mostly_useful", last(aborted_time_share=None), False),
    ("mostly_useful", [], False),
    ("one_complete", [day(0, T3)], True),
    ("one_complete", [day(0, T2)], False),
    ("three_complete", [day(0, T3), day(1, T2), day(2, T3), day(3, T3)], True),
    ("three_complete", [day(0, T2), day(1, T2), day(2, T3), day(3, T3)], False),
    ("summer_over", peaks(*[0.0] * 40), True),
    ("summer_over", peaks(*[0.0] * 39), False),
    ("summer_over", [*peaks(*[0.0] * 39), day(50, day="2026-02-12")], False),
    ("meets_hit_threshold_average", hits(120, 120, 121), True),
    ("meets_hit_threshold_average", hits(120, 120, 120), False),
    ("meets_hit_threshold_average", hits(300, 120, 120, 120), False),
    ("meets_hit_threshold_average", hits(200, 200), False),
]


@pytest.mark.parametrize(("name", "sessions", "holds"), TABLE)
def test_a_criterion_holds_strictly_on_one_side_of_its_threshold(
    name: str, sessions: list[SessionFacts], holds: bool
) -> None:
    assert PUBLISHED[name].judge(sessions, stage=T3).holds is holds


def test_every_published_criterion_is_tried_on_both_sides() -> None:
    for name in PUBLISHED:
        assert {holds for tried, _, holds in TABLE if tried == name} == {True, False}, name


def test_the_published_figures_are_those_of_the_source() -> None:
    """TASK_FACTS 3.2, written out a second time."""
    figures = {name: criterion.model_dump(exclude={"kind"}) for name, criterion in PUBLISHED.items()}
    assert figures == {
        "one_complete": {"n": 1},
        "three_complete": {"n": 3},
        "two_out_of_three_aint_bad": {"peak_d_prime_above": 2},
        "yesterday_was_good": {"peak_d_prime_above": 2},
        "meets_engagement_criteria": {"last": 3, "peak_d_prime_above": 1, "n_contingent_above": 100},
        "whole_lotta_trials": {"n_contingent_above": 300},
        "no_response_bias": {"response_rate_above": 0.1, "response_rate_below": 0.9},
        "mostly_useful": {"aborted_time_share_below": 0.5},
        "summer_over": {"n_days": 40},
        "meets_hit_threshold_average": {"n_hits_above": 360},
    }


def test_windows_span_stages_and_counts_of_sessions_do_not() -> None:
    sessions = [
        day(0, T1, peak_d_prime=2.5),
        day(1, T1, peak_d_prime=2.6),
        day(2, T2, peak_d_prime=2.1),
    ]
    assert PUBLISHED["two_out_of_three_aint_bad"].judge(sessions, stage=T2).holds
    assert not PUBLISHED["three_complete"].judge(sessions, stage=T2).holds


def test_a_first_day_without_a_peak_is_a_session_of_the_window_like_any_other() -> None:
    sessions = [day(0, T0, peak_d_prime=None), day(1, T1, peak_d_prime=2.5), day(2, T1, peak_d_prime=2.5)]
    assert PUBLISHED["two_out_of_three_aint_bad"].judge(sessions, stage=T1).holds


@pytest.mark.parametrize(
    ("name", "sessions", "found"),
    [
        ("two_out_of_three_aint_bad", peaks(2.31, 1.87, 1.95), "peak d′ 2.31, 1.87, 1.95"),
        ("two_out_of_three_aint_bad", peaks(2.31, None), "peak d′ 2.31, none (two so far)"),
        ("two_out_of_three_aint_bad", peaks(2.004, 1.996, 2), "peak d′ 2.004, 1.996, 2.00"),
        ("yesterday_was_good", [], "peak d′ of no session"),
        ("meets_engagement_criteria", contingent(99, 100, 101), "peak d′ 1.50, 1.50, 1.50; contingent trials 99, 100, 101"),
        ("three_complete", [day(0, T3), day(1, T2)], "sessions at this stage: 1"),
        ("summer_over", peaks(1, 1), "days of training: 2"),
        ("no_response_bias", last(response_rate=0.904), "response rate 0.904"),
        ("meets_hit_threshold_average", hits(100, 130, 120), "hits 100, 130, 120"),
    ],
)  # fmt: skip
def test_what_was_found_is_said_in_words(name: str, sessions: list[SessionFacts], found: str) -> None:
    assert PUBLISHED[name].judge(sessions, stage=T3).found() == found


def test_a_figure_says_which_sessions_it_was_taken_from() -> None:
    (peak,) = PUBLISHED["two_out_of_three_aint_bad"].judge(peaks(1, 2, 3, 4), stage=T1).figures
    assert peak.session_ids == ("s01", "s02", "s03")
    assert peak.values == (2, 3, 4)


@given(
    value=st.floats(-5, 5) | st.sampled_from([ABOVE_2, 2.0, BELOW_1, 1.0]),
    limits=st.lists(st.sampled_from([1.0, 2.0, 0.1, 0.9, 0.5]), max_size=2),
)
def test_no_rounding_carries_a_figure_across_a_threshold(value: float, limits: list[float]) -> None:
    text = float(figure_text(value, beside=limits))
    for limit in limits:
        assert (text > limit, text < limit) == (value > limit, value < limit)
    assert text == pytest.approx(value, abs=0.0051)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (NComplete, {"kind": "n_complete", "n": 0}),
        (NComplete, {"kind": "n_complete"}),
        (MeetsEngagementCriteria, {"kind": "meets_engagement_criteria", "last": 3, "peak_d_prime_above": math.nan, "n_contingent_above": 100}),
        (MeetsEngagementCriteria, {"kind": "meets_engagement_criteria", "last": 0, "peak_d_prime_above": 1, "n_contingent_above": 100}),
        (MeetsEngagementCriteria, {"kind": "meets_engagement_criteria", "last": 3, "peak_d_prime_above": 1, "n_engaged_above": 100}),
    ],
)  # fmt: skip
def test_a_criterion_without_its_figures_is_refused(
    model: type[NComplete | MeetsEngagementCriteria], fields: dict[str, object]
) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(fields)
