"""How the mouse did, trial by trial and over the session, from the rows of the trials' fold.

Reckoned when asked, from all rows at once; no fold does so at each event.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    import pandas as pd

from rig.records.summary import Summary
from rig.records.trials import TrialRow
from stages.events import Outcome
from stages.metrics import (
    MONITOR_DELAY_S,
    WINDOW_OPENS_S,
    TrialColumns,
    peak_d_prime,
    rolling_performance,
    session_performance,
)


def trial_columns(rows: Sequence[TrialRow]) -> TrialColumns:
    """Return the rows as columns for ``stages.metrics``."""
    n_licks = [len(row.lick_times_s) for row in rows]
    return TrialColumns(
        outcomes=np.array([Outcome(row.outcome).value for row in rows], np.str_),
        start_times_s=np.array([row.start_time_s for row in rows], float),
        change_times_s=np.array([row.change_time_s for row in rows], float),
        reward_volumes_ul=np.array([row.reward_volume_ul for row in rows], float),
        lick_times_s=np.array([time_s for row in rows for time_s in row.lick_times_s], float),
        lick_trials=np.repeat(np.arange(len(rows), dtype=np.int64), np.array(n_licks, np.int64)),
    )


def response_window_s(stage_parameters: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return when after a change a stage's response window opens and closes; None for a stage without trials."""
    window_s = stage_parameters.get("response_window_s")
    return None if window_s is None else (float(window_s[0]), float(window_s[1]))


def with_performance(summary: Summary, rows: Sequence[TrialRow], *, stage_parameters: Mapping[str, Any]) -> Summary:
    """Return the summary with the figures that take all trials together; None where one is not defined."""
    columns = trial_columns(rows)
    reached = session_performance(columns, monitor_delay_s=summary.monitor_delay_s, opens_s=_opens_s(stage_parameters))
    has_rates = not math.isnan(reached.maximum_reward_rate)
    return msgspec.structs.replace(
        summary,
        peak_d_prime=_or_none(peak_d_prime(columns)),
        n_engaged=reached.engaged_trial_count if has_rates else None,
        engaged_share=reached.engaged_trial_count / reached.trial_count if has_rates else None,
        max_reward_rate_per_min=_or_none(reached.maximum_reward_rate),
    )


def with_rolling(
    trials: pd.DataFrame,
    rows: Sequence[TrialRow],
    *,
    stage_parameters: Mapping[str, Any],
    monitor_delay_s: float = MONITOR_DELAY_S,
) -> pd.DataFrame:
    """Return the trials' table with AllenSDK's rolling figures, one a trial; rates raw, and corrected by trial count.

    Parameters
    ----------
    trials
        As ``trial_table(rows)`` returns them.
    """
    rolling = rolling_performance(
        trial_columns(rows), monitor_delay_s=monitor_delay_s, opens_s=_opens_s(stage_parameters)
    )
    return trials.assign(
        rolling_hit_rate_raw=rolling.hit_rates_raw,
        rolling_false_alarm_rate_raw=rolling.false_alarm_rates_raw,
        rolling_hit_rate=rolling.hit_rates,
        rolling_false_alarm_rate=rolling.false_alarm_rates,
        rolling_d_prime=rolling.d_primes,
        reward_rate_per_min=rolling.reward_rates_per_min,
        engaged=rolling.engaged,
    )


def _opens_s(stage_parameters: Mapping[str, Any]) -> float:
    window_s = response_window_s(stage_parameters)
    return WINDOW_OPENS_S if window_s is None else window_s[0]


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
