"""Rates, d-prime and engagement of a session, as AllenSDK and the curriculum count them.

A hit rate is hits over completed go trials, a false-alarm rate false alarms over completed catch
trials; auto-rewarded and aborted trials count in neither (TASK_FACTS 4.1). Trials that a stop cut
short take no part in anything here.

Three d-primes, which must not be mixed up
    rolling   AllenSDK's (``RollingPerformance.d_primes``): over the last 100 trials that were not
              aborted, each rate first kept 1/2N away from 0 and 1 by its N trials
    peak      the curriculum's (``peak_d_prime``): the same windows without that correction, the
              first 50 trials left out
    session   over the whole session: clipped (``d_prime``) or log-linear (``log_linear_d_prime``)

All clip to [0.01, 0.99] but the log-linear one. Each function is told the monitor's delay where
AllenSDK's figure depends on it: its change times hold the delay, its licks and starts don't.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from stages.events import Outcome

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
StrArray = NDArray[np.str_]

CLIP = 0.01
"""Rates are clipped to [0.01, 0.99] before the z-transform (TASK_FACTS 4.2)."""
ROLLING_TRIALS = 100
"""Trials that were not aborted in the window of a rolling rate (TASK_FACTS 4.2)."""
PEAK_SKIPS_TRIALS = 50
"""Trials that were not aborted before the curriculum's peak is looked for (TASK_FACTS 4.3)."""
REWARD_RATE_TRIALS = 25
"""Trials before and trials from the present one on that a reward rate is taken over (TASK_FACTS 4.4)."""
REWARD_RATE_SKIPS_TRIALS = 10
"""Trials at a session's beginning that have no reward rate (TASK_FACTS 4.4)."""
ANSWERED_WITHIN_S = 0.75
"""A lick sooner than this after the change counts in the reward rate, whatever the stage's window (TASK_FACTS 4.4)."""
WINDOW_OPENS_S = 0.15
"""Where the response window opens after the change in all stages but the first (TASK_FACTS 1.1)."""
ENGAGED_ABOVE_PER_MIN = 2.0
"""A trial counts as engaged if its reward rate is above this (TASK_FACTS 4.4)."""
MONITOR_DELAY_S = 0.02115
"""What AllenSDK takes for the monitor of every behaviour rig (TASK_FACTS 8)."""

_Z = NormalDist().inv_cdf


@dataclass(frozen=True, slots=True, eq=False)
class TrialColumns:
    """The trials of a session in order, aborted ones too; all times on the clock of the flips.

    Parameters
    ----------
    outcomes
        Shape (n trials,): a value of ``Outcome`` each.
    start_times_s
        Shape (n trials,).
    change_times_s
        Shape (n trials,): the change's flip or the sham change's, without the monitor's delay; NaN where none came.
    reward_volumes_ul
        Shape (n trials,): 0 where no reward was given.
    lick_times_s
        Shape (n licks,): those of all trials.
    lick_trials
        Shape (n licks,): the row of each lick's trial.

    Raises
    ------
    ValueError
        Lengths differ, an outcome is unknown, or a lick names a row that isn't there.
    """

    outcomes: StrArray
    start_times_s: FloatArray
    change_times_s: FloatArray
    reward_volumes_ul: FloatArray
    lick_times_s: FloatArray
    lick_trials: IntArray

    def __post_init__(self) -> None:
        n = len(self.outcomes)
        for name in ("start_times_s", "change_times_s", "reward_volumes_ul"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name} has {len(getattr(self, name))} values, outcomes {n}; give one a trial")
        if len(self.lick_times_s) != len(self.lick_trials):
            n_licks = len(self.lick_times_s)
            raise ValueError(f"lick_trials has {len(self.lick_trials)} values, lick_times_s {n_licks}; give one a lick")
        if len(self.lick_trials) and not (self.lick_trials.min() >= 0 and self.lick_trials.max() < n):
            raise ValueError(f"lick_trials: rows go from 0 to {n - 1}")
        unknown = sorted(set(self.outcomes.tolist()) - {outcome.value for outcome in Outcome})
        if unknown:
            raise ValueError(f"outcomes: {unknown[0]!r} is none; take those of stages.events.Outcome")

    def __len__(self) -> int:
        return len(self.outcomes)

    def are(self, *outcomes: Outcome) -> BoolArray:
        """Return which trials had one of these outcomes, shape (n trials,)."""
        return np.isin(self.outcomes, [outcome.value for outcome in outcomes])

    def count(self, *outcomes: Outcome) -> int:
        """Return how many trials had one of these outcomes."""
        return int(self.are(*outcomes).sum())

    def whole(self) -> TrialColumns:
        """Return the trials that no stop cut short, with their licks."""
        kept = ~self.are(Outcome.INCOMPLETE)
        if kept.all():
            return self
        licks = kept[self.lick_trials]
        rows = np.cumsum(kept) - 1
        return TrialColumns(
            outcomes=self.outcomes[kept],
            start_times_s=self.start_times_s[kept],
            change_times_s=self.change_times_s[kept],
            reward_volumes_ul=self.reward_volumes_ul[kept],
            lick_times_s=self.lick_times_s[licks],
            lick_trials=rows[self.lick_trials[licks]],
        )


@dataclass(frozen=True, slots=True, eq=False)
class RollingPerformance:
    """AllenSDK's ``get_rolling_performance_df``: one value a trial in each array.

    Rates and d-prime are NaN in trials that were aborted or cut short, and as long as the window holds no such trial.
    """

    hit_rates_raw: FloatArray
    hit_rates: FloatArray
    """Corrected by the number of go trials in the window, see ``trial_count_corrected``."""
    false_alarm_rates_raw: FloatArray
    false_alarm_rates: FloatArray
    """Corrected by the number of catch trials in the window."""
    d_primes: FloatArray
    """From the corrected rates, clipped; all 0 in a passive session: no lick and no water in any trial."""
    reward_rates_per_min: FloatArray
    """See ``reward_rates_per_min``."""
    engaged: BoolArray
    """See ``are_engaged``."""


@dataclass(frozen=True, slots=True)
class SessionPerformance:
    """AllenSDK's ``get_performance_metrics``, by its names (TASK_FACTS 4.5).

    Volume in mL, reward rate in rewards a minute. Means and maxima go over the trials that were not aborted, those of
    the reward rate over all; NaN where there is nothing to take them over. ``_engaged``: engaged trials only.
    """

    trial_count: int
    """Aborted trials included, those cut short left out: no published data set has such rows."""
    go_trial_count: int
    catch_trial_count: int
    hit_trial_count: int
    miss_trial_count: int
    false_alarm_trial_count: int
    correct_reject_trial_count: int
    auto_reward_count: int
    earned_reward_count: int
    total_reward_count: int
    total_reward_volume: float
    maximum_reward_rate: float
    engaged_trial_count: int
    """Aborted trials included."""
    mean_hit_rate: float
    mean_hit_rate_uncorrected: float
    mean_hit_rate_engaged: float
    mean_false_alarm_rate: float
    mean_false_alarm_rate_uncorrected: float
    mean_false_alarm_rate_engaged: float
    mean_dprime: float
    mean_dprime_engaged: float
    max_dprime: float
    max_dprime_engaged: float


def rate(n: int, of: int) -> float:
    """Return ``n / of``, NaN when there were none."""
    return n / of if of else math.nan


def d_prime(hit_rate: float, false_alarm_rate: float) -> float:
    """Return z(hit rate) - z(false-alarm rate), both clipped to [0.01, 0.99]; NaN if either is."""
    return float(d_primes(np.array([hit_rate]), np.array([false_alarm_rate]))[0])


def d_primes(hit_rates: FloatArray, false_alarm_rates: FloatArray) -> FloatArray:
    """Return ``d_prime`` of each pair; arrays of one shape (n,)."""
    return _z(np.clip(hit_rates, CLIP, 1 - CLIP)) - _z(np.clip(false_alarm_rates, CLIP, 1 - CLIP))


def log_linear_d_prime(*, n_hit: int, n_go: int, n_false_alarm: int, n_catch: int) -> float:
    """Return the d-prime of a whole session with half a trial added to each answer, unclipped.

    z((hits + 0.5) / (go + 1)) - z((false alarms + 0.5) / (catch + 1)): the published tables' ``dprime``
    (MOUSE_FACTS B), neither AllenSDK's nor the curriculum's. NaN without a go or without a catch trial.
    """
    if not (n_go and n_catch):
        return math.nan
    return _Z((n_hit + 0.5) / (n_go + 1)) - _Z((n_false_alarm + 0.5) / (n_catch + 1))


def rolling_rate(responses: FloatArray, *, window: int = ROLLING_TRIALS) -> tuple[FloatArray, IntArray]:
    """Return the rate of responses over the last ``window`` rows, and how many rows it rests on.

    Parameters
    ----------
    responses
        Shape (n,): 1 answered, 0 not; NaN is passed over but takes up its place in the window.

    Returns
    -------
    rates, counts
        Both (n,), the present row included. A rate is NaN where its count is 0. The first rows rest on fewer than
        ``window`` (TASK_FACTS 4.2: ``rolling(window, min_periods=0).mean()``).
    """
    there = ~np.isnan(responses)
    counts = _sums_of_last(there.astype(np.int64), window)
    answered = _sums_of_last((responses == 1).astype(np.int64), window)
    return np.where(counts > 0, answered / np.maximum(counts, 1), np.nan), counts


def trial_count_corrected(rates: FloatArray, counts: IntArray) -> FloatArray:
    """Return rates kept to [1/2N, 1 - 1/2N], N the trials each rests on (TASK_FACTS 4.2).

    One trial gives 0.5 whatever it was, two give 0.25 at least. NaN stays NaN. Shapes (n,).
    """
    margin = 0.5 / np.maximum(counts, 1)
    return np.clip(rates, margin, 1 - margin)


def n_contingent(trials: TrialColumns) -> int:
    """Return the completed trials whose outcome hung on the mouse, go and catch: what the curriculum counts."""
    return trials.count(Outcome.HIT, Outcome.MISS, Outcome.FALSE_ALARM, Outcome.CORRECT_REJECT)


def peak_d_prime(trials: TrialColumns) -> float:
    """Return the d-prime the curriculum advances by (TASK_FACTS 4.3); NaN where there is none.

    The highest rolling d-prime from the 51st trial on that was neither aborted nor cut short. Unlike AllenSDK's
    maximum it takes the rates as they are, clipped to [0.01, 0.99] but not corrected by the number of trials.
    """
    (hit_rates, _), (false_alarm_rates, _) = _rolling_rates(trials.outcomes[_not_aborted(trials)])
    return _max(d_primes(hit_rates, false_alarm_rates)[PEAK_SKIPS_TRIALS:])


def response_latencies_s(
    trials: TrialColumns, *, monitor_delay_s: float, opens_s: float = WINDOW_OPENS_S
) -> FloatArray:
    """Return how long after the change was seen the first lick came that the window was open for.

    Shape (n trials,): the first of the trial's licks that came more than ``opens_s`` after its change time with the
    monitor's delay; infinite where there is none. Catch and auto-rewarded trials have one too (TASK_FACTS 4.4).
    """
    latencies_s = trials.lick_times_s - (trials.change_times_s[trials.lick_trials] + monitor_delay_s)
    later = latencies_s > opens_s
    first_s: FloatArray = np.full(len(trials), np.inf)
    np.minimum.at(first_s, trials.lick_trials[later], latencies_s[later])
    return first_s


def reward_rates_per_min(
    trials: TrialColumns, *, monitor_delay_s: float, opens_s: float = WINDOW_OPENS_S
) -> FloatArray:
    """Return rewards a minute around each trial, as AllenSDK takes it (TASK_FACTS 4.4).

    What is counted are the trials with a response latency under 0.75 s, whether water came or not, from 25 trials
    back up to 24 ahead, aborted ones included; the time is that from the first one's start to the last one's.

    Parameters
    ----------
    monitor_delay_s
        AllenSDK's change times hold it: 0.02115 s for behaviour rigs. A hit very soon after the window opened drops
        out by it.
    opens_s
        Where the response window opens after the change.

    Returns
    -------
    rates
        Shape (n trials,): NaN in the first 10 trials, in trials that were cut short, and where no time went by.
    """
    whole = ~trials.are(Outcome.INCOMPLETE)
    answered = response_latencies_s(trials, monitor_delay_s=monitor_delay_s, opens_s=opens_s)[whole] < ANSWERED_WITHIN_S
    starts_s = trials.start_times_s[whole]
    rows = np.arange(REWARD_RATE_SKIPS_TRIALS, len(starts_s))
    first = np.maximum(rows - REWARD_RATE_TRIALS, 0)
    last = np.minimum(rows + REWARD_RATE_TRIALS, len(starts_s)) - 1
    n_until = np.concatenate([[0], np.cumsum(answered)])
    n_answered, elapsed_s = n_until[last + 1] - n_until[first], starts_s[last] - starts_s[first]
    rates = np.full(len(starts_s), np.nan)
    rates[rows[elapsed_s > 0]] = n_answered[elapsed_s > 0] / elapsed_s[elapsed_s > 0] * 60
    return _spread(rates, whole)


def are_engaged(reward_rates_per_min: FloatArray) -> BoolArray:
    """Return which trials have a reward rate above 2 a minute; one without a reward rate has not."""
    return reward_rates_per_min > ENGAGED_ABOVE_PER_MIN


def rolling_performance(
    trials: TrialColumns, *, monitor_delay_s: float, opens_s: float = WINDOW_OPENS_S
) -> RollingPerformance:
    """Return AllenSDK's rolling figures, one a trial (TASK_FACTS 4.2 and 4.4); arguments as ``reward_rates_per_min``.

    The delay bears on the reward rate and on engagement alone.
    """
    kept = _not_aborted(trials)
    (hit_raw, n_go), (false_alarm_raw, n_catch) = _rolling_rates(trials.outcomes[kept])
    hit, false_alarm = trial_count_corrected(hit_raw, n_go), trial_count_corrected(false_alarm_raw, n_catch)
    d = np.zeros(len(hit)) if _is_passive(trials) else d_primes(hit, false_alarm)
    reward_rates = reward_rates_per_min(trials, monitor_delay_s=monitor_delay_s, opens_s=opens_s)
    return RollingPerformance(
        hit_rates_raw=_spread(hit_raw, kept),
        hit_rates=_spread(hit, kept),
        false_alarm_rates_raw=_spread(false_alarm_raw, kept),
        false_alarm_rates=_spread(false_alarm, kept),
        d_primes=_spread(d, kept),
        reward_rates_per_min=reward_rates,
        engaged=are_engaged(reward_rates),
    )


def session_performance(
    trials: TrialColumns,
    *,
    monitor_delay_s: float,
    opens_s: float = WINDOW_OPENS_S,
    other_rewards_ul: Sequence[float] = (),
) -> SessionPerformance:
    """Return what AllenSDK's ``get_performance_metrics`` says of a session (TASK_FACTS 4.5).

    Parameters
    ----------
    monitor_delay_s, opens_s
        As ``reward_rates_per_min``.
    other_rewards_ul
        Volumes of the rewards that belong to no trial, which AllenSDK's totals count too.
    """
    trials = trials.whole()
    rolling = rolling_performance(trials, monitor_delay_s=monitor_delay_s, opens_s=opens_s)
    engaged = rolling.engaged
    n_hit, n_miss = trials.count(Outcome.HIT), trials.count(Outcome.MISS)
    n_false_alarm, n_correct_reject = trials.count(Outcome.FALSE_ALARM), trials.count(Outcome.CORRECT_REJECT)
    return SessionPerformance(
        trial_count=len(trials),
        go_trial_count=n_hit + n_miss,
        catch_trial_count=n_false_alarm + n_correct_reject,
        hit_trial_count=n_hit,
        miss_trial_count=n_miss,
        false_alarm_trial_count=n_false_alarm,
        correct_reject_trial_count=n_correct_reject,
        auto_reward_count=trials.count(Outcome.AUTO_REWARDED),
        earned_reward_count=n_hit,
        total_reward_count=int((trials.reward_volumes_ul > 0).sum()) + len(other_rewards_ul),
        total_reward_volume=float(trials.reward_volumes_ul.sum() + sum(other_rewards_ul)) / 1000,
        maximum_reward_rate=_max(rolling.reward_rates_per_min),
        engaged_trial_count=int(engaged.sum()),
        mean_hit_rate=_mean(rolling.hit_rates),
        mean_hit_rate_uncorrected=_mean(rolling.hit_rates_raw),
        mean_hit_rate_engaged=_mean(rolling.hit_rates[engaged]),
        mean_false_alarm_rate=_mean(rolling.false_alarm_rates),
        mean_false_alarm_rate_uncorrected=_mean(rolling.false_alarm_rates_raw),
        mean_false_alarm_rate_engaged=_mean(rolling.false_alarm_rates[engaged]),
        mean_dprime=_mean(rolling.d_primes),
        mean_dprime_engaged=_mean(rolling.d_primes[engaged]),
        max_dprime=_max(rolling.d_primes),
        max_dprime_engaged=_max(rolling.d_primes[engaged]),
    )


def _not_aborted(trials: TrialColumns) -> BoolArray:
    return ~trials.are(Outcome.ABORTED, Outcome.INCOMPLETE)


def _is_passive(trials: TrialColumns) -> bool:
    whole = trials.whole()
    return not len(whole.lick_times_s) and not whole.reward_volumes_ul.any()


def _rolling_rates(outcomes: StrArray) -> tuple[tuple[FloatArray, IntArray], tuple[FloatArray, IntArray]]:
    """Return the rolling hit rates and the rolling false-alarm rates over rows without aborted trials."""
    return (
        rolling_rate(_responses(outcomes, yes=Outcome.HIT, no=Outcome.MISS)),
        rolling_rate(_responses(outcomes, yes=Outcome.FALSE_ALARM, no=Outcome.CORRECT_REJECT)),
    )


def _responses(outcomes: StrArray, *, yes: Outcome, no: Outcome) -> FloatArray:
    return np.where(outcomes == yes.value, 1.0, np.where(outcomes == no.value, 0.0, np.nan))


def _sums_of_last(values: IntArray, window: int) -> IntArray:
    sums = np.cumsum(values)
    sums[window:] -= sums[:-window].copy()
    return sums


def _spread(values: FloatArray, kept: BoolArray) -> FloatArray:
    """Return values at the rows that were kept, NaN at the others."""
    spread: FloatArray = np.full(len(kept), np.nan)
    spread[kept] = values
    return spread


def _z(rates: FloatArray) -> FloatArray:
    return np.array([math.nan if math.isnan(p) else _Z(p) for p in rates.tolist()], np.float64)


def _mean(values: FloatArray) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else math.nan


def _max(values: FloatArray) -> float:
    there = values[~np.isnan(values)]
    return float(there.max()) if len(there) else math.nan
