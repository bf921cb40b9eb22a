"""The session in figures and in words, and the rolling figures of its trials."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from rig.log.reader import read_session
from rig.records.figures import draw_session
from rig.records.performance import response_window_s, trial_columns, with_performance, with_rolling
from rig.records.products import SUMMARY_JSON, SUMMARY_TEXT, TRIALS, summarise, write_products
from rig.records.summary import ClockRow, Summary, in_words
from rig.records.trials import TrialRow, trial_table
from stages.events import Outcome
from stages.metrics import MONITOR_DELAY_S, peak_d_prime, rolling_performance
from tests.builders import GRATINGS, Ran, command, run, stage

FROZEN = Path(__file__).resolve().parents[1] / "data" / "log_v1"
ROLLING = ["rolling_hit_rate", "rolling_false_alarm_rate", "rolling_d_prime", "reward_rate_per_min", "engaged"]
STAGE: dict[str, Any] = {"response_window_s": [0.15, 0.75]}


@cache
def short() -> Ran:
    """Half a minute."""
    return run(stage(GRATINGS, warm_up_trials=0))


@cache
def long() -> Ran:
    """Ten minutes of a mouse that never errs."""
    return run(stage(GRATINGS, task_duration_min=10, warm_up_trials=1))


def changed(**changes: Any) -> Summary:
    return msgspec.structs.replace(summarise(short().as_read())[0], **changes)


def row(number: int, outcome: Outcome, *licks_s: float, change_s: float = 3.0) -> TrialRow:
    start_s = 8.0 * number
    return TrialRow(
        trial=number,
        attempt=1,
        start_flip=0,
        start_refresh=0,
        start_time_s=start_s,
        outcome=outcome,
        change_time_s=start_s + change_s,
        lick_times_s=[start_s + lick_s for lick_s in licks_s],
    )


def test_a_session_gets_the_figures_that_take_all_its_trials_together() -> None:
    summary, _ = summarise(long().as_read())
    outcomes = [r.outcome for r in long().live.trials.rows]
    assert summary.n_contingent == summary.n_go + summary.n_catch > 60
    assert summary.peak_d_prime == peak_d_prime(trial_columns(long().live.trials.rows))
    assert summary.n_engaged is not None
    assert summary.engaged_share == summary.n_engaged / (len(outcomes) - outcomes.count(Outcome.INCOMPLETE)) > 0.8
    assert summary.max_reward_rate_per_min is not None
    assert 5 < summary.max_reward_rate_per_min < 12


def test_the_running_session_and_the_file_give_the_same_figures() -> None:
    ran, read = long(), long().as_read()
    live = with_performance(
        ran.live.summary.summary(), ran.live.trials.rows, stage_parameters=read.started.stage_parameters
    )
    assert live == summarise(read)[0]


def test_the_fold_by_itself_leaves_out_what_takes_all_trials_together() -> None:
    summary = long().live.summary.summary(running=True)
    assert summary.n_contingent > 0
    left_out = [summary.peak_d_prime, summary.n_engaged, summary.engaged_share, summary.max_reward_rate_per_min]
    assert left_out == [None] * 4


def test_what_is_not_defined_in_a_short_session_is_none() -> None:
    summary = summarise(short().as_read())[0]
    assert summary.n_trials < 10
    assert (summary.peak_d_prime, summary.n_engaged) == (None, None)
    assert (summary.engaged_share, summary.max_reward_rate_per_min) == (None, None)


def test_a_stage_without_trials_has_no_response_window_and_a_summary_all_the_same() -> None:
    assert response_window_s({"sweep": {}}) is None
    summary = with_performance(changed(n_go=0), [], stage_parameters={})
    assert (summary.peak_d_prime, summary.n_engaged) == (None, None)


def test_columns_keep_each_lick_with_its_trial() -> None:
    columns = trial_columns([row(0, Outcome.HIT, 3.4, 3.5), row(1, Outcome.MISS), row(2, Outcome.FALSE_ALARM, 3.3)])
    assert columns.outcomes.tolist() == ["hit", "miss", "false_alarm"]
    assert columns.lick_trials.tolist() == [0, 0, 2]
    assert columns.lick_times_s.tolist() == pytest.approx([3.4, 3.5, 19.3])


def test_the_trials_table_is_told_where_the_window_opens() -> None:
    rows = [row(number, Outcome.HIT, 3.1) for number in range(20)]
    late = with_rolling(trial_table(rows), rows, stage_parameters=STAGE)
    early = with_rolling(trial_table(rows), rows, stage_parameters={"response_window_s": [0.0, 0.75]})
    assert not late["engaged"].any()
    assert early["engaged"].tolist() == [False] * 10 + [True] * 10


def test_a_session_of_no_trial_has_an_empty_table_with_all_columns() -> None:
    table = with_rolling(trial_table([]), [], stage_parameters=STAGE)
    assert table.empty
    assert list(table.columns[-5:]) == ROLLING


def test_the_products_tell_rolling_figures_and_the_peak(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    shutil.copytree(FROZEN, folder)
    log = read_session(folder)
    write_products(log)
    table = pd.read_csv(folder / TRIALS)
    rows = trial_columns(type(long().live).of(log.entries).trials.rows)
    rolling = rolling_performance(rows, monitor_delay_s=MONITOR_DELAY_S)
    wanted = [rolling.hit_rates, rolling.false_alarm_rates, rolling.d_primes, rolling.reward_rates_per_min]
    for name, values in zip(ROLLING, [*wanted, rolling.engaged], strict=True):
        np.testing.assert_allclose(table[name].to_numpy(float), values.astype(float), atol=1e-6)
    figures = msgspec.json.decode((folder / SUMMARY_JSON).read_bytes())
    assert figures["n_contingent"] == figures["n_go"] + figures["n_catch"]
    assert "peak d-prime none" in (folder / SUMMARY_TEXT).read_text(encoding="utf-8")


def test_the_picture_has_the_rates_of_the_summary_and_no_water_below_nothing() -> None:
    rows = [row(number, Outcome.MISS) for number in range(6)] + [row(6, Outcome.CORRECT_REJECT)]
    trials = with_rolling(trial_table(rows), rows, stage_parameters=STAGE)
    flips = short().as_read().flips
    figure = draw_session(title="", trials=trials, flips=flips, refresh_hz=60.0, response_window_s=(0.15, 0.75))

    rates, water = figure.axes[1], figure.axes[3]
    drawn = {str(line.get_label()): np.asarray(line.get_ydata(), float) for line in rates.lines}
    assert drawn["hit rate"].tolist() == [0.0] * 7
    assert drawn["false-alarm rate"][-1] == 0.0
    assert water.get_ylabel() == "water (mL)"
    assert water.get_ylim()[0] == 0.0
    assert trials["rolling_hit_rate"].iloc[0] == 0.5, "the table has AllenSDK's corrected rates as before"


def test_one_is_told_in_the_singular() -> None:
    ones = {name: 1 for name in Summary.__struct_fields__ if name.startswith("n_")}
    told = in_words(changed(**ones, engaged_share=0.1))
    assert "1 trial: 1 hit and 1 miss on 1 go trial, 1 false alarm and 1 correct reject on 1 catch trial, " in told
    assert " in 1 reward (" in told
    assert "; 1 lick." in told
    assert "1 flash shown" in told
    assert "1 late flip (1 refresh missed)" in told
    assert "Engaged in 1 trial (10%)" in told


def test_none_and_many_are_told_in_the_plural() -> None:
    none = {name: 0 for name in Summary.__struct_fields__ if name.startswith("n_")}
    assert "2 trials: 0 hits and 0 misses on 0 go trials" in in_words(changed(**none | {"n_trials": 2}))
    assert "2 flashes shown" in in_words(changed(n_flashes_shown=2))
    assert "2 misses" in in_words(changed(n_miss=2))


@pytest.mark.parametrize(
    ("ended", "says"), [("stopped", "No trials: it ended before the first one."), ("running", "No trials yet.")]
)
def test_a_session_without_a_trial_says_so_in_one_line(ended: str, says: str) -> None:
    lines = in_words(changed(n_trials=0, ended=ended, hit_rate=None, d_prime=None)).splitlines()
    assert says in lines
    assert not any("hits" in line or "d-prime" in line for line in lines)


def test_that_a_rig_is_simulated_is_said_once() -> None:
    assert ", on simulated, 20" in in_words(changed(rig="simulated"))
    assert ", on box-1, simulated, 20" in in_words(changed(rig="box-1"))


@pytest.mark.parametrize(
    ("n_go", "n_catch", "d_prime", "warns"),
    [(9, 30, 1.0, True), (30, 9, 1.0, True), (10, 10, 1.0, False), (3, 0, None, False)],
)
def test_a_d_prime_over_few_trials_comes_with_a_warning(
    n_go: int, n_catch: int, d_prime: float | None, warns: bool
) -> None:
    told = in_words(changed(n_go=n_go, n_catch=n_catch, d_prime=d_prime))
    assert (f"d-prime rests on {n_go} go trials and {n_catch} catch trials only." in told) == warns


def test_engagement_and_peak_are_told_where_there_are_any() -> None:
    told = in_words(changed(peak_d_prime=1.4405, n_engaged=206, engaged_share=206 / 953, max_reward_rate_per_min=3.26))
    assert "peak d-prime 1.44." in told
    assert "Engaged in 206 trials (22%); highest reward rate 3.26 a minute." in told
    assert "Engaged" not in in_words(changed())


def test_water_that_belongs_to_no_trial_is_no_reward_of_a_trial() -> None:
    ran = run(stage(GRATINGS, warm_up_trials=0), licks_s=[], commands=[command("reward", at_s=5.0)])
    assert summarise(ran.as_read())[0].water_free_ul > 0
    assert not trial_columns(ran.live.trials.rows).reward_volumes_ul.any()


def test_the_clock_is_told_minute_by_minute_and_its_worst_residual_in_words() -> None:
    summary, _ = summarise(long().as_read())
    late = [row for row in summary.clock if row.minute >= 1]
    assert len(late) >= 9
    assert np.diff([row.minute for row in late]).max() < 1.1
    assert all(abs(row.drift_ppm - 20) < 1 for row in late)
    assert all(row.offset_us is not None and abs(row.offset_us) < 100 for row in summary.clock)
    assert f", at most {max(row.residual_us for row in late):.1f} after the first minute." in in_words(summary)


def test_an_offset_that_calls_over_a_network_leave_open_is_told() -> None:
    row = ClockRow(minute=2.0, drift_ppm=50.0, residual_us=12.0, offset_us=0.0, bound_us=420.0)
    assert "; offset known to 420 us." in in_words(changed(clock=[row]))
