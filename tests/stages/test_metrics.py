"""Rates, d-prime and engagement: by hand, against a plain loop, and against AllenSDK over a recorded session."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.events import Outcome
from stages.metrics import (
    MONITOR_DELAY_S,
    TrialColumns,
    are_engaged,
    d_prime,
    log_linear_d_prime,
    n_contingent,
    peak_d_prime,
    rate,
    response_latencies_s,
    reward_rates_per_min,
    rolling_performance,
    rolling_rate,
    session_performance,
    trial_count_corrected,
)
from tests.builders import recorded
from tests.stages.recorded_trials import recorded_trials

HIT, MISS, FALSE_ALARM, CORRECT_REJECT, AUTO_REWARDED, ABORTED, INCOMPLETE = Outcome
COMPLETED = [HIT, MISS, FALSE_ALARM, CORRECT_REJECT, AUTO_REWARDED]
NAN = math.nan
Z_99 = 2.3263478740408408
TRIAL_S, CHANGE_S = 8.0, 3.0


def trials(*outcomes: Outcome, latency_s: float = 0.4, licked: bool = True, delay_s: float = 0.0) -> TrialColumns:
    """A trial every 8 s with its change 3 s in; one lick at the latency where the mouse answered, one if it aborted."""
    starts_s = TRIAL_S * np.arange(len(outcomes))
    kinds = np.array([outcome.value for outcome in outcomes], dtype=np.str_)
    changed = np.array([outcome in COMPLETED for outcome in outcomes], dtype=bool)
    answered = np.array([licked and o in {HIT, FALSE_ALARM, ABORTED} for o in outcomes], dtype=bool)
    paid = np.array([{HIT: 7.0, AUTO_REWARDED: 5.0}.get(outcome, 0.0) for outcome in outcomes], dtype=float)
    rows = np.flatnonzero(answered)
    return TrialColumns(
        outcomes=kinds,
        start_times_s=starts_s,
        change_times_s=np.where(changed, starts_s + CHANGE_S, np.nan),
        reward_volumes_ul=paid,
        lick_times_s=starts_s[rows] + np.where(changed[rows], CHANGE_S + latency_s + delay_s, 1.0),
        lick_trials=rows,
    )


def rolling(columns: TrialColumns, **settings: float) -> Any:
    return rolling_performance(columns, **{"monitor_delay_s": 0.0, **settings})


def session(columns: TrialColumns, **settings: Any) -> Any:
    return session_performance(columns, **{"monitor_delay_s": 0.0, **settings})


ALLEN_SDK = {
    "trial_count": 953,
    "go_trial_count": 94,
    "catch_trial_count": 16,
    "hit_trial_count": 81,
    "miss_trial_count": 13,
    "false_alarm_trial_count": 6,
    "correct_reject_trial_count": 10,
    "auto_reward_count": 5,
    "earned_reward_count": 81,
    "total_reward_count": 86,
    "total_reward_volume": 0.592,
    "maximum_reward_rate": 3.2597812735834326,
    "engaged_trial_count": 206,
    "mean_hit_rate": 0.8574007178595939,
    "mean_hit_rate_uncorrected": 0.8668704148292908,
    "mean_hit_rate_engaged": 0.8542888224407209,
    "mean_false_alarm_rate": 0.46797997040715483,
    "mean_false_alarm_rate_uncorrected": 0.45341686361103833,
    "mean_false_alarm_rate_engaged": 0.4388444888444888,
    "mean_dprime": 1.1782375965334728,
    "mean_dprime_engaged": 1.210553509413356,
    "max_dprime": 1.5625188199215767,
    "max_dprime_engaged": 1.4405398314267275,
}
"""What AllenSDK 2.16.2 itself says of the recorded session (TASK_FACTS 4.6)."""


def test_the_recorded_session_comes_to_what_allensdk_makes_of_it() -> None:
    got = asdict(session_performance(recorded_trials(), monitor_delay_s=MONITOR_DELAY_S))
    assert got == pytest.approx(ALLEN_SDK, abs=5e-6)
    assert {type(got[name]) for name in got if name.endswith("_count")} == {int}


def test_without_the_monitors_delay_more_of_the_recorded_trials_are_engaged_and_little_else_differs() -> None:
    got = asdict(session(recorded_trials()))
    assert got["engaged_trial_count"] == 215
    same = {name for name in ALLEN_SDK if not name.endswith(("_engaged", "engaged_trial_count"))}
    assert {name: got[name] for name in same} == pytest.approx({name: ALLEN_SDK[name] for name in same}, abs=5e-6)


def test_the_recorded_session_advances_by_the_peak_the_curriculum_saw() -> None:
    assert peak_d_prime(recorded_trials()) == pytest.approx(1.44054, abs=5e-6)
    assert n_contingent(recorded_trials()) == 110


def test_published_sessions_have_the_log_linear_d_prime() -> None:
    with recorded("release/session_metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["n_go"]]
    assert len(rows) == 280
    for row in rows:
        n = {name: int(float(row[name])) for name in ("n_hit", "n_miss", "n_false_alarm", "n_correct_reject")}
        got = log_linear_d_prime(
            n_hit=n["n_hit"],
            n_go=n["n_hit"] + n["n_miss"],
            n_false_alarm=n["n_false_alarm"],
            n_catch=n["n_false_alarm"] + n["n_correct_reject"],
        )
        assert got == pytest.approx(float(row["dprime"] or NAN), nan_ok=True)


def test_a_rate_of_nothing_is_nan() -> None:
    assert math.isnan(rate(0, 0))
    assert rate(3, 4) == 0.75


def test_d_prime_is_clipped_at_both_ends() -> None:
    assert d_prime(1.0, 0.0) == pytest.approx(2 * Z_99)
    assert d_prime(0.0, 1.0) == pytest.approx(-2 * Z_99)
    assert d_prime(0.99, 0.01) == d_prime(1.0, 0.0)
    assert d_prime(0.3, 0.3) == 0
    assert math.isnan(d_prime(NAN, 0.5))
    assert math.isnan(d_prime(0.5, NAN))


def test_log_linear_d_prime_needs_both_kinds_of_trial_and_is_not_clipped() -> None:
    assert math.isnan(log_linear_d_prime(n_hit=0, n_go=0, n_false_alarm=1, n_catch=2))
    assert math.isnan(log_linear_d_prime(n_hit=1, n_go=2, n_false_alarm=0, n_catch=0))
    assert log_linear_d_prime(n_hit=1, n_go=1, n_false_alarm=0, n_catch=1) == pytest.approx(2 * 0.67448975)
    assert log_linear_d_prime(n_hit=999, n_go=999, n_false_alarm=0, n_catch=999) > 2 * Z_99


@pytest.mark.parametrize(
    ("raw", "n", "corrected"),
    [(1.0, 1, 0.5), (0.0, 1, 0.5), (1.0, 2, 0.75), (0.0, 2, 0.25), (0.5, 2, 0.5), (0.0, 100, 0.005), (NAN, 0, NAN)],
)
def test_a_rate_is_kept_half_a_trial_away_from_0_and_1(raw: float, n: int, corrected: float) -> None:
    got = trial_count_corrected(np.array([raw]), np.array([n]))
    assert got.tolist() == pytest.approx([corrected], nan_ok=True)


def test_the_first_go_and_catch_trials_leave_no_d_prime_to_speak_of() -> None:
    got = rolling(trials(HIT, CORRECT_REJECT))
    assert got.hit_rates_raw.tolist() == [1, 1]
    assert got.hit_rates.tolist() == [0.5, 0.5]
    assert got.false_alarm_rates_raw.tolist() == pytest.approx([NAN, 0], nan_ok=True)
    assert got.d_primes.tolist() == pytest.approx([NAN, 0], nan_ok=True)


def test_catch_and_auto_rewarded_trials_take_up_places_in_the_window_and_aborted_ones_do_not() -> None:
    assert rolling(trials(HIT, *[CORRECT_REJECT] * 99)).hit_rates_raw[-1] == 1
    assert rolling(trials(HIT, *[AUTO_REWARDED] * 99)).hit_rates_raw[-1] == 1
    assert math.isnan(rolling(trials(HIT, *[CORRECT_REJECT] * 100)).hit_rates_raw[-1])
    got = rolling(trials(HIT, *[ABORTED] * 500, *[CORRECT_REJECT] * 99))
    assert got.hit_rates_raw[-1] == 1
    assert np.isnan(got.hit_rates_raw[1:501]).all()


def test_incomplete_trials_change_nothing() -> None:
    cut = trials(HIT, INCOMPLETE, *[MISS, CORRECT_REJECT] * 30, INCOMPLETE)
    whole = cut.whole()
    assert len(whole) == len(cut) - 2
    assert asdict(session(cut)) == pytest.approx(asdict(session(whole)), nan_ok=True)
    assert peak_d_prime(cut) == peak_d_prime(whole)
    kept = ~cut.are(INCOMPLETE)
    for name in ("hit_rates", "false_alarm_rates", "d_primes", "reward_rates_per_min", "engaged"):
        np.testing.assert_array_equal(getattr(rolling(cut), name)[kept], getattr(rolling(whole), name))
    assert np.isnan(rolling(cut).reward_rates_per_min[~kept]).all()


def test_dropping_incomplete_trials_keeps_each_lick_with_its_trial() -> None:
    whole = trials(HIT, INCOMPLETE, FALSE_ALARM, MISS, HIT).whole()
    assert whole.lick_trials.tolist() == [0, 1, 3]
    assert (whole.lick_times_s - whole.change_times_s[whole.lick_trials]).tolist() == pytest.approx([0.4] * 3)


def test_a_session_without_licks_and_water_is_passive_and_has_a_d_prime_of_0() -> None:
    passive = trials(*[MISS] * 60, *[CORRECT_REJECT] * 3, ABORTED, licked=False)
    got = rolling(passive)
    assert got.d_primes[:-1].tolist() == [0.0] * 63
    assert math.isnan(got.d_primes[-1])
    assert session(passive).mean_dprime == 0
    assert peak_d_prime(passive) == 0, "both rates are clipped to 0.01"


@pytest.mark.parametrize("awake", [[AUTO_REWARDED], [ABORTED]], ids=["water", "a lick"])
def test_one_lick_or_drop_makes_a_session_active(awake: list[Outcome]) -> None:
    assert rolling(trials(*awake, *[MISS] * 60, *[CORRECT_REJECT] * 3)).d_primes[-1] < 0


@pytest.mark.parametrize(
    "outcomes",
    [
        [],
        [ABORTED] * 80,
        [INCOMPLETE],
        [HIT, MISS] * 40,
        [FALSE_ALARM, CORRECT_REJECT] * 40,
        [AUTO_REWARDED] * 80,
        [HIT, CORRECT_REJECT] * 25,
    ],
    ids=["none", "all aborted", "incomplete", "no catch", "no go", "all auto-rewarded", "50 trials"],
)
def test_there_is_no_peak(outcomes: list[Outcome]) -> None:
    assert math.isnan(peak_d_prime(trials(*outcomes)))


def test_the_peak_is_looked_for_from_the_51st_trial_that_was_not_aborted() -> None:
    answered = [HIT, CORRECT_REJECT] * 25
    assert peak_d_prime(trials(*answered, HIT)) == pytest.approx(2 * Z_99)
    assert math.isnan(peak_d_prime(trials(*answered, *[ABORTED] * 50)))
    good_then_bad = [*answered, *[MISS, FALSE_ALARM] * 25]
    assert peak_d_prime(trials(*good_then_bad)) < session(trials(*good_then_bad)).max_dprime


def test_contingent_trials_are_go_and_catch_that_were_completed() -> None:
    assert n_contingent(trials(*Outcome)) == 4


def test_the_first_ten_trials_have_no_reward_rate() -> None:
    rates = reward_rates_per_min(trials(*[HIT] * 11), monitor_delay_s=0)
    assert np.isnan(rates[:10]).all()
    assert rates[10] == pytest.approx(11 / (10 * TRIAL_S) * 60), "all 11 over the 10 intervals between their starts"
    assert np.isnan(reward_rates_per_min(trials(*[HIT] * 10), monitor_delay_s=0)).all()
    assert len(reward_rates_per_min(trials(), monitor_delay_s=0)) == 0


def test_a_reward_rate_goes_25_trials_back_and_24_ahead() -> None:
    one_hit = [MISS] * 99
    one_hit[49] = HIT
    rates = reward_rates_per_min(trials(*one_hit), monitor_delay_s=0)
    assert np.flatnonzero(rates > 0).tolist() == list(range(49 - 24, 49 + 25 + 1))


def test_false_alarms_count_in_the_reward_rate_and_licks_in_aborted_trials_do_not() -> None:
    assert (reward_rates_per_min(trials(*[FALSE_ALARM] * 30), monitor_delay_s=0)[10:] > 0).all()
    assert (reward_rates_per_min(trials(*[ABORTED] * 30), monitor_delay_s=0)[10:] == 0).all()


@pytest.mark.parametrize(
    ("latency_s", "delay_s", "counts"),
    [(0.16, 0, True), (0.14, 0, False), (0.16, 0.02, False), (0.74, 0, True), (0.76, 0, False), (0.76, 0.02, True)],
)
def test_the_monitors_delay_shifts_which_licks_count(latency_s: float, delay_s: float, counts: bool) -> None:
    rates = reward_rates_per_min(trials(*[HIT] * 20, latency_s=latency_s), monitor_delay_s=delay_s)
    assert (rates[10:] > 0).all() == counts


def test_a_latency_is_that_of_the_first_lick_after_the_window_opened() -> None:
    columns = TrialColumns(
        outcomes=np.array(["hit", "miss", "aborted"]),
        start_times_s=np.array([0.0, 10.0, 20.0]),
        change_times_s=np.array([3.0, 13.0, NAN]),
        reward_volumes_ul=np.array([7.0, 0.0, 0.0]),
        lick_times_s=np.array([3.1, 3.3, 3.5, 13.1, 21.0]),
        lick_trials=np.array([0, 0, 0, 1, 2]),
    )
    got = response_latencies_s(columns, monitor_delay_s=0)
    assert got.tolist() == pytest.approx([0.3, math.inf, math.inf])
    assert response_latencies_s(columns, monitor_delay_s=0, opens_s=0)[:2].tolist() == pytest.approx([0.1, 0.1])
    assert response_latencies_s(columns, monitor_delay_s=0.16)[0] == pytest.approx(0.34), (
        "the next lick takes its place"
    )


def test_trials_that_start_at_one_time_have_no_reward_rate() -> None:
    at_once = trials(*[HIT] * 12)
    at_once.start_times_s[:] = 0
    assert np.isnan(reward_rates_per_min(at_once, monitor_delay_s=0)).all()


def test_engaged_is_above_two_rewards_a_minute_and_never_without_a_rate() -> None:
    assert are_engaged(np.array([NAN, 0.0, 2.0, np.nextafter(2.0, 3.0)])).tolist() == [False, False, False, True]


def test_a_session_without_trials_has_counts_of_0_and_no_figures() -> None:
    got = asdict(session(trials()))
    assert {value for name, value in got.items() if name.endswith("_count")} == {0}
    assert all(math.isnan(value) for name, value in got.items() if name.startswith(("mean", "max")))
    assert got["total_reward_volume"] == 0


def test_rewards_that_belong_to_no_trial_count_in_the_totals_alone() -> None:
    got = session(trials(HIT, AUTO_REWARDED, MISS), other_rewards_ul=[5.0, 5.0])
    assert (got.total_reward_count, got.earned_reward_count, got.auto_reward_count) == (4, 1, 1)
    assert got.total_reward_volume == pytest.approx(0.022)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"start_times_s": np.zeros(2)}, "start_times_s has 2 values, outcomes 1"),
        ({"lick_times_s": np.zeros(2)}, "lick_trials has 0 values, lick_times_s 2"),
        ({"lick_times_s": np.zeros(1), "lick_trials": np.array([1])}, "rows go from 0 to 0"),
        ({"lick_times_s": np.zeros(1), "lick_trials": np.array([-1])}, "rows go from 0 to 0"),
        ({"outcomes": np.array(["rejection"])}, "'rejection' is none"),
    ],
)
def test_columns_that_do_not_fit_are_refused(changes: dict[str, np.ndarray], why: str) -> None:
    fields = {name: getattr(trials(MISS), name) for name in TrialColumns.__dataclass_fields__}
    with pytest.raises(ValueError, match=why):
        TrialColumns(**{**fields, **changes})


def plain_rate(outcomes: Sequence[Outcome], row: int, yes: Outcome, no: Outcome) -> tuple[float, int]:
    """The rate at a row as a sentence would have it."""
    window = [o for o in outcomes[: row + 1] if o not in {ABORTED, INCOMPLETE}][-100:]
    n_yes, n = window.count(yes), window.count(yes) + window.count(no)
    return (n_yes / n if n else NAN), n


@given(st.lists(st.sampled_from(list(Outcome)), max_size=260))
def test_rolling_rates_are_what_a_plain_loop_makes_them(outcomes: list[Outcome]) -> None:
    got = rolling(trials(*outcomes))
    for row, outcome in enumerate(outcomes):
        there = [got.hit_rates_raw[row], got.hit_rates[row], got.false_alarm_rates_raw[row], got.false_alarm_rates[row]]
        if outcome in {ABORTED, INCOMPLETE}:
            assert np.isnan([*there, got.d_primes[row]]).all()
            continue
        wanted: list[float] = []
        for yes, no in ((HIT, MISS), (FALSE_ALARM, CORRECT_REJECT)):
            raw, n = plain_rate(outcomes, row, yes, no)
            wanted += [raw, min(max(raw, 1 / (2 * n)), 1 - 1 / (2 * n)) if n else NAN]
        assert there == pytest.approx(wanted, nan_ok=True)
        passive = not {HIT, FALSE_ALARM, ABORTED, AUTO_REWARDED} & set(outcomes)
        assert got.d_primes[row] == pytest.approx(0 if passive else d_prime(wanted[1], wanted[3]), nan_ok=True)


@given(st.lists(st.sampled_from([0.0, 1.0, NAN]), max_size=60), st.integers(min_value=1, max_value=70))
def test_a_rolling_rate_of_any_window_is_the_mean_of_its_last_rows(responses: list[float], window: int) -> None:
    rates, counts = rolling_rate(np.array(responses, dtype=float), window=window)
    for row in range(len(responses)):
        last = [value for value in responses[max(0, row - window + 1) : row + 1] if not math.isnan(value)]
        assert counts[row] == len(last)
        assert rates[row] == pytest.approx(sum(last) / len(last) if last else NAN, nan_ok=True)


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Outcome)[:-1]), st.floats(min_value=0.5, max_value=20)), min_size=1, max_size=90
    )
)
def test_reward_rates_are_what_a_plain_loop_makes_them(drawn: list[tuple[Outcome, float]]) -> None:
    columns = trials(*[outcome for outcome, _ in drawn])
    starts_s = np.cumsum([seconds for _, seconds in drawn])
    moved = (starts_s - columns.start_times_s)[columns.lick_trials]
    columns = TrialColumns(
        outcomes=columns.outcomes,
        start_times_s=starts_s,
        change_times_s=columns.change_times_s + starts_s - columns.start_times_s,
        reward_volumes_ul=columns.reward_volumes_ul,
        lick_times_s=columns.lick_times_s + moved,
        lick_trials=columns.lick_trials,
    )
    got = reward_rates_per_min(columns, monitor_delay_s=0.02)
    for row in range(len(drawn)):
        window = range(max(0, row - 25), min(row + 25, len(drawn)))
        n = sum(drawn[other][0] in {HIT, FALSE_ALARM} for other in window)
        elapsed_s = starts_s[window[-1]] - starts_s[window[0]]
        wanted = NAN if row < 10 else n / elapsed_s * 60
        assert got[row] == pytest.approx(wanted, nan_ok=True)
