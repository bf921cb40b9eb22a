"""The rules of the task as a scientist would state them (TASK_FACTS 1), on a perfect 60 Hz monitor.

A flash cycle is 45 refreshes (0.75 s). Licks are given in host seconds, which here are session seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, groupby, pairwise, product
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, chisquare

from hardware.arrays import FloatArray
from hardware.simulated.mice import MouseKind
from rig.config.files import image_names
from stages.draws import TrialDraws
from stages.events import (
    Aborted,
    BlockEnded,
    BlockKind,
    BlockStarted,
    Change,
    CommandApplied,
    EndReason,
    FlashOmitted,
    FlashPlanned,
    FlashShown,
    Lick,
    Outcome,
    Paused,
    Resumed,
    RewardArmed,
    RewardCommanded,
    RewardConfirmed,
    RewardDisarmed,
    RewardFired,
    RewardKind,
    SessionEnded,
    ShamChange,
    TimeoutEnded,
    TrialEnded,
    TrialOutcome,
    TrialStarted,
)
from stages.omissions import share_without_aborts
from stages.parameters import StageParameters
from stages.random import RandomStreams
from stages.rewards import Ledger, SecondRewardInTrial
from stages.task import Task, stimuli_of
from stages.trial import LEGAL, IllegalOccurrence, Occurrence, Phase, TrialState
from stimuli.headless import BLOCK_REFRESHES, Behaviour, RefreshTrain
from tests.builders import GRATINGS, IMAGES, Ran, command, rig_config, run, stage
from tests.telling import Tell

RIG = rig_config(behaviour="perfect", card={"kind": "simulated", "drift_ppm": 0})
CYCLE, HZ = 45, 60
HIT, MISS, FALSE_ALARM, CORRECT_REJECT, AUTO_REWARDED, ABORTED, INCOMPLETE = Outcome
SMALL_MOVIE = {"name": "natural_movie_one", "frame_rate_hz": 30, "n_frames": 30, "n_repeats": 2}


def plain(**changes: Any) -> StageParameters:
    """Half a minute of images without warm-up."""
    return stage(**{"warm_up_trials": 0, "omission_probability": 0.0, **changes})


@cache
def silent(seed: int, **changes: Any) -> Ran:
    """A session in which nobody licks: where the changes would be."""
    return run(plain(**changes), RIG, licks_s=[], seed=seed)


@cache
def hour(kind: MouseKind, seed: int, warm_up: int = 0) -> Ran:
    """An hour of the imaging stage as shipped, omissions and all."""
    return run(stage(IMAGES, task_duration_min=60, warm_up_trials=warm_up), RIG, kind=kind, seed=seed)


@cache
def seed_whose_first_trial_is(*, catch: bool) -> int:
    return next(seed for seed in range(100) if silent(seed).all(TrialStarted)[0].catch is catch)


def first_change_s(seed: int) -> float:
    return float(silent(seed).all(Change, ShamChange)[0].time_s)


def outcomes(ran: Ran) -> list[Outcome]:
    return [event.outcome for event in ran.all(TrialOutcome)]


def blocks(ran: Ran) -> list[BlockKind]:
    return [event.block for event in ran.all(BlockStarted)]


@pytest.mark.parametrize(
    ("lick_after_change_s", "go", "catch"),
    [
        (-2.0, ABORTED, ABORTED),  # an early lick
        (-0.020, ABORTED, ABORTED),  # the last flip before the change sees it
        (-0.005, MISS, CORRECT_REJECT),  # seen with the change flip: counts after the change, earns nothing
        (0.010, MISS, CORRECT_REJECT),  # the first 150 ms neither abort nor earn
        (0.149, MISS, CORRECT_REJECT),
        (0.151, HIT, FALSE_ALARM),  # the window opens
        (0.400, HIT, FALSE_ALARM),
        (0.749, HIT, FALSE_ALARM),
        (0.751, MISS, CORRECT_REJECT),  # it has closed
        (3.000, MISS, CORRECT_REJECT),  # licks after it mean nothing
    ],
)
def test_the_time_of_a_lick_decides_the_trial(lick_after_change_s: float, go: Outcome, catch: Outcome) -> None:
    for is_catch, expected in ((False, go), (True, catch)):
        seed = seed_whose_first_trial_is(catch=is_catch)
        ran = run(plain(), RIG, licks_s=[first_change_s(seed) + lick_after_change_s], seed=seed)
        assert outcomes(ran)[0] is expected
        assert bool(ran.all(Aborted)) is (expected is ABORTED)
        assert len(ran.all(RewardFired)) == (expected is HIT)


def test_a_lick_too_soon_after_the_change_does_not_spoil_a_later_one_in_the_window() -> None:
    seed = seed_whose_first_trial_is(catch=False)
    change_s = first_change_s(seed)
    ran = run(plain(), RIG, licks_s=[change_s + 0.1, change_s + 0.4], seed=seed)
    assert outcomes(ran)[0] is HIT
    assert ran.all(RewardFired)[0].lick_time_s == pytest.approx(change_s + 0.4, abs=1e-4)


def test_a_hit_is_paid_once_however_often_the_mouse_licks() -> None:
    seed = seed_whose_first_trial_is(catch=False)
    change_s = first_change_s(seed)
    ran = run(plain(), RIG, licks_s=[change_s + 0.2 + 0.1 * n for n in range(6)], seed=seed)
    assert len(ran.all(RewardFired)) == 1


def test_where_early_licks_do_not_abort_the_trial_goes_on() -> None:
    seed = seed_whose_first_trial_is(catch=False)
    change_s = first_change_s(seed)
    ran = run(plain(abort_on_early_lick=False), RIG, licks_s=[change_s - 1.0, change_s + 0.4], seed=seed)
    assert outcomes(ran)[0] is HIT
    assert not ran.all(Aborted)


@pytest.mark.parametrize(
    "licks_s",
    [
        [2.0],
        [2.0, 2.2],  # a lick within the time-out begins it anew
        [2.0, 2.28, 2.56, 2.84, 3.12],
        [2.0, 2.05, 2.1],
    ],
)
def test_the_time_out_lasts_18_refreshes_from_the_last_lick(licks_s: list[float]) -> None:
    ran = run(plain(), RIG, licks_s=licks_s)
    over = ran.entries(TimeoutEnded)[0]
    last = ran.entries(Lick)[-1]
    assert len(ran.all(Aborted)) == 1
    assert over.refresh - last.refresh == 18  # 0.3 s
    assert ran.entries(TrialEnded)[0].refresh == over.refresh


@pytest.mark.parametrize("verb", ["pause", "stop"])
def test_licks_that_never_end_keep_no_pause_and_no_stop_waiting(verb: str) -> None:
    licks_s = [2.0 + 0.1 * n for n in range(250)]
    ran = run(plain(), RIG, licks_s=licks_s, commands=[command(verb, at_s=10.0), command("stop-now", at_s=20.0)])
    (over,) = ran.entries(TimeoutEnded)
    (asked, *_) = ran.entries(CommandApplied)
    assert 0 <= over.refresh - asked.refresh <= 18
    assert (BlockKind.PAUSE if verb == "pause" else BlockKind.GRAY_AFTER) in blocks(ran)


def test_a_lick_seen_on_the_refresh_the_time_out_ends_on_comes_after_its_end() -> None:
    ran = run(plain(), RIG, licks_s=[2.0, 2.29])  # 0.29 s later, but seen 18 refreshes later
    first, second = ran.entries(Lick)
    assert ran.entries(TimeoutEnded)[0].refresh == second.refresh == first.refresh + 18


def test_a_lick_after_the_time_out_aborts_the_next_trial() -> None:
    ran = run(plain(), RIG, licks_s=[2.0, 2.9])
    assert outcomes(ran)[:2] == [ABORTED, ABORTED]


def test_the_trial_after_an_abort_begins_on_the_first_flash_after_the_time_out() -> None:
    ran = run(plain(), RIG, licks_s=[2.0])
    over, again = ran.entries(TimeoutEnded)[0].refresh, ran.entries(TrialStarted)[1].refresh
    assert 0 <= again - over < CYCLE
    assert (again - ran.entries(FlashPlanned)[0].event.refresh) % CYCLE == 0


@pytest.mark.parametrize("max_repeats", [0, 2, 5])
@pytest.mark.parametrize("name", [IMAGES, GRATINGS])
def test_after_aborts_the_same_parameters_come_again_so_many_times_then_fresh_ones(name: str, max_repeats: int) -> None:
    parameters = stage(name, warm_up_trials=0, max_repeats_after_abort=max_repeats, task_duration_min=5)
    started = run(parameters, RIG, kind=MouseKind.ALWAYS).all(TrialStarted)
    assert len(started) > 100
    assert [event.attempt for event in started] == [n % (max_repeats + 1) for n in range(len(started))]
    rounds = [started[n : n + max_repeats + 1] for n in range(0, len(started), max_repeats + 1)]
    assert all(len({_parameters(event) for event in attempts}) == 1 for attempts in rounds)
    assert len({attempts[0].change_after for attempts in rounds}) > 2


def test_after_a_completed_trial_the_parameters_are_always_fresh() -> None:
    assert {event.attempt for event in hour(MouseKind.PERFECT, 1).all(TrialStarted)} == {0}


def test_a_repeat_that_is_completed_is_followed_by_fresh_parameters() -> None:
    started = run(plain(), RIG, licks_s=[2.0]).all(TrialStarted)
    assert [event.attempt for event in started[:3]] == [0, 1, 0]
    assert _parameters(started[0]) == _parameters(started[1])


def _parameters(event: TrialStarted) -> tuple[Any, ...]:
    return event.change_after, event.catch, event.auto_rewarded, event.initial_stimulus, event.change_stimulus


def test_a_completed_trial_ends_255_refreshes_after_its_change_and_the_next_begins_on_the_next_flash() -> None:
    ran = hour(MouseKind.NEVER, 1)
    changes = [entry.refresh for entry in ran.entries(Change, ShamChange)]
    ended = [entry.refresh for entry in ran.entries(TrialEnded)]
    started = [entry.refresh for entry in ran.entries(TrialStarted)]
    assert len(changes) == len(ended) == len(started) > 300
    assert {end - change for change, end in zip(changes, ended, strict=True)} == {255}  # 0.75 + 3.5 s
    assert {start - change for change, start in zip(changes, started[1:], strict=False)} == {270}  # 6 flashes


def test_the_change_comes_with_the_flash_that_was_drawn_counting_the_trials_first_as_0() -> None:
    ran = hour(MouseKind.PERFECT, 1)
    starts, changes = ran.entries(TrialStarted), ran.entries(Change, ShamChange)
    for start, change in zip(starts, changes, strict=True):
        assert change.refresh - start.refresh == start.event.change_after * CYCLE


def test_a_session_ends_with_the_trial_in_which_its_time_ran_out() -> None:
    ran = hour(MouseKind.NEVER, 1)
    task = next(entry.refresh for entry in ran.entries(BlockStarted) if entry.event.block is BlockKind.TASK)
    *_, before, last = [entry.refresh for entry in ran.entries(TrialEnded)]
    assert ran.ended.reason is EndReason.TIME
    assert before < task + 60 * 60 * HZ <= last


@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("seed", range(4))
def test_warm_up_pays_the_first_n_go_trials_150_ms_after_the_change(n: int, seed: int) -> None:
    ran = run(stage(warm_up_trials=n, task_duration_min=1.5), RIG, kind=MouseKind.NEVER, seed=seed)
    assert outcomes(ran)[:n] == [AUTO_REWARDED] * n
    assert AUTO_REWARDED not in outcomes(ran)[n:]
    changed = {entry.event.trial: entry.refresh for entry in ran.entries(Change)}
    paid = ran.entries(RewardCommanded)
    assert [entry.event.trial for entry in paid] == list(range(n))
    assert all(entry.event.kind is RewardKind.AUTO and entry.event.volume_ul == 5.0 for entry in paid)
    assert {entry.refresh - changed[entry.event.trial] for entry in paid} <= {9}  # 0.15 s


def test_a_lick_in_the_window_of_an_auto_rewarded_trial_earns_nothing_more() -> None:
    parameters = plain(warm_up_trials=1)
    change_s = run(parameters, RIG, licks_s=[]).all(Change)[0].time_s
    ran = run(parameters, RIG, licks_s=[change_s + 0.3])
    assert outcomes(ran)[0] is AUTO_REWARDED
    assert [event.lick_time_s for event in ran.all(RewardFired)] == [None]


def test_an_aborted_warm_up_trial_does_not_count_as_paid() -> None:
    ran = run(plain(warm_up_trials=2, task_duration_min=1.0), RIG, licks_s=[2.0])
    assert outcomes(ran)[:3] == [ABORTED, AUTO_REWARDED, AUTO_REWARDED]


def test_warm_up_without_end_pays_every_trial() -> None:
    ran = run(plain(warm_up_trials=-1, task_duration_min=3.0), RIG, kind=MouseKind.NEVER)
    assert set(outcomes(ran)) == {AUTO_REWARDED}


@pytest.mark.parametrize("n", [1, 3])
def test_after_n_go_trials_in_a_row_without_reward_the_next_go_trial_is_paid(n: int) -> None:
    ran = run(plain(free_reward_after_misses=n, task_duration_min=5.0), RIG, kind=MouseKind.NEVER)
    go = [outcome for outcome in outcomes(ran) if outcome is not CORRECT_REJECT]
    assert go == ([MISS] * n + [AUTO_REWARDED]) * (len(go) // (n + 1)) + [MISS] * (len(go) % (n + 1))
    assert CORRECT_REJECT in outcomes(ran), "catch trials neither count nor break the row"


@dataclass(frozen=True, slots=True)
class StandsStill(RefreshTrain):
    """A perfect screen that misses the refreshes between two of them."""

    after: int
    until: int

    def block(self, number: int) -> tuple[FloatArray, np.ndarray]:
        times_s, flips = RefreshTrain.block(self, number)
        refreshes = np.arange(number * BLOCK_REFRESHES, (number + 1) * BLOCK_REFRESHES)
        return times_s, flips & ((refreshes <= self.after) | (refreshes >= self.until))


def test_a_pulse_whose_beginning_and_end_are_heard_together_after_a_late_flip_leaves_the_valve_free() -> None:
    parameters = plain(warm_up_trials=3)
    smooth = run(parameters, RIG, licks_s=[])
    asked = smooth.entries(RewardCommanded)[0].refresh
    train = StandsStill(Behaviour.PERFECT, nominal_hz=60.0, seed=1, start_host_s=0.0, after=asked, until=asked + 13)
    ran = run(parameters, RIG, licks_s=[], train=train)
    fired, confirmed = ran.entries(RewardFired)[0], ran.entries(RewardConfirmed)[0]
    assert fired.refresh == confirmed.refresh == asked + 13
    assert len(ran.all(RewardFired)) == len(smooth.all(RewardFired)) == 3
    assert outcomes(ran)[:3] == [AUTO_REWARDED] * 3


def test_a_trial_is_never_paid_twice() -> None:
    ledger = Ledger()
    ledger.arm(trial=0, volume_ul=7.0, opens_s=1.0, closes_s=2.0)
    with pytest.raises(SecondRewardInTrial, match="trial 0"):
        ledger.command(kind=RewardKind.AUTO, trial=0, volume_ul=5.0)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("kind", [MouseKind.PERFECT, MouseKind.NEVER, MouseKind.ALWAYS])
def test_the_first_flash_a_change_the_flash_before_it_and_the_one_after_an_omission_are_never_left_out(
    kind: MouseKind, seed: int
) -> None:
    ran = hour(kind, seed) if kind is not MouseKind.ALWAYS else _licking_at_times(seed)
    planned = {event.flash: event for event in ran.all(FlashPlanned)}
    omitted = {event.flash for event in ran.all(FlashOmitted)}
    assert len(omitted) > 20
    assert omitted == {event.flash for event in planned.values() if event.omitted}
    assert 0 not in omitted
    assert not omitted & {flash for flash, event in planned.items() if event.change}
    shown_changes = {flash for flash, event in planned.items() if event.change}
    assert not omitted & {flash - 1 for flash in shown_changes}
    assert not omitted & {flash + 1 for flash in omitted}


@cache
def _licking_at_times(seed: int) -> Ran:
    licks_s = np.cumsum(np.random.default_rng(seed).exponential(6.0, 300)).tolist()
    return run(stage(IMAGES, task_duration_min=30, warm_up_trials=0), RIG, licks_s=licks_s, seed=seed)


def test_a_mouse_that_never_licks_sees_the_share_of_omissions_that_the_rule_predicts(
    tell: Tell,
) -> None:
    runs = [hour(MouseKind.NEVER, seed) for seed in (1, 2, 3)]
    n_omitted = sum(len(ran.all(FlashOmitted)) for ran in runs)
    n = sum(len(ran.all(FlashPlanned)) for ran in runs)
    parameters = stage(IMAGES)
    expected = share_without_aborts(parameters.change, probability=parameters.omission_probability)
    tell(f"{n_omitted} of {n} flashes omitted: {n_omitted / n:.2%} (expected {expected:.2%})")
    low, high = binom.interval(0.99, n, expected)
    assert low <= n_omitted <= high


def test_stages_without_omissions_leave_nothing_out() -> None:
    assert not silent(1).all(FlashOmitted)


def _completed(ran: Ran) -> list[TrialStarted]:
    ended = {event.trial for event, outcome in zip(ran.all(TrialStarted), outcomes(ran), strict=True)} & {
        event.trial for event in ran.all(TrialOutcome) if event.outcome not in (ABORTED, INCOMPLETE)
    }
    return [event for event in ran.all(TrialStarted) if event.trial in ended]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("licking", [False, True], ids=["no aborts", "with aborts"])
def test_the_walk_visits_each_of_the_64_ordered_pairs_once_in_64_completed_trials(seed: int, licking: bool) -> None:
    ran = _licking_at_times(seed) if licking else hour(MouseKind.NEVER, seed)
    trials = _completed(ran)
    pairs = [(event.initial_stimulus, event.change_stimulus) for event in trials]
    assert len(pairs) > 64
    for n in range(0, len(pairs), 64):
        chunk = pairs[n : n + 64]
        assert len(set(chunk)) == len(chunk), "a pair came twice in one walk"
    for (_, shown), (start, _) in pairwise(pairs):
        assert start == shown, "a trial begins with the image the last one ended with"
    assert all(event.catch is (event.initial_stimulus == event.change_stimulus) for event in trials)
    catch = sum(event.catch for event in trials[:64])
    assert catch == 8


def test_catch_trials_inside_the_warm_up_are_consumed_not_run() -> None:
    for seed in range(6):
        trials = _completed(run(stage(task_duration_min=12, warm_up_trials=20), RIG, kind=MouseKind.NEVER, seed=seed))
        assert not any(event.catch for event in trials[:20])
        pairs = [(event.initial_stimulus, event.change_stimulus) for event in trials[:50]]
        assert len(set(pairs)) == 50


Pair = tuple[int, int]


def pairs_drawn(n: int, *, seed: int, warm_up: int = 0) -> list[Pair]:
    """The images of ``n`` completed trials, before and after the change."""
    parameters = stage(IMAGES, warm_up_trials=warm_up)
    stimuli = stimuli_of(parameters, image_names=image_names(parameters), refresh_hz=HZ)
    draws = TrialDraws(parameters, stimuli=stimuli, choices=range(1, 9), refresh_hz=HZ, streams=RandomStreams(seed))
    pairs = []
    for _ in range(n):
        draw = draws.next()
        draws.changed()
        draws.completed(rewarded=False)
        pairs.append((draw.initial_stimulus, draw.change_stimulus))
    return pairs


def test_every_64_completed_trials_of_every_seed_have_a_walk_of_their_own() -> None:
    pairs = [pairs_drawn(3 * 64, seed=seed) for seed in range(40)]
    walks = {tuple(of_seed[n : n + 64]) for of_seed in pairs for n in (0, 64, 128)}
    assert len(walks) == 3 * 40


def test_a_session_begins_with_any_of_the_images_alike() -> None:
    first = Counter(pairs_drawn(1, seed=seed)[0][0] for seed in range(400))
    assert chisquare([first[image] for image in range(1, 9)]).pvalue > 0.001


@pytest.mark.parametrize("n", [5, 20, 40])
def test_a_pair_of_the_first_walk_is_run_or_consumed_by_the_warm_up_and_never_deferred(n: int) -> None:
    n_consumed = 0
    for seed in range(20):
        walk = pairs_drawn(64, seed=seed)  # the same one, run from end to end where there is no warm-up
        warmed_up = list(accumulate((a != b for a, b in walk), initial=0))
        consumed = [pair for pair, n_go in zip(walk, warmed_up, strict=False) if pair[0] == pair[1] and n_go < n]
        n_consumed += len(consumed)
        run_too = pairs_drawn(2 * 64 - len(consumed), seed=seed, warm_up=n)
        first, second = run_too[: 64 - len(consumed)], run_too[64 - len(consumed) :]
        assert first == [pair for pair in walk if pair not in consumed]
        assert sum(a == b for a, b in first) == 8 - len(consumed)
        assert set(first) | set(consumed) == set(second) == set(product(range(1, 9), repeat=2))
    assert n_consumed > 5, "hardly a self-transition fell inside the warm-up"


def test_gratings_change_to_the_other_group_and_one_in_eight_trials_is_a_catch_trial() -> None:
    ran = run(stage(GRATINGS, task_duration_min=120, warm_up_trials=0), RIG, kind=MouseKind.NEVER, seed=1)
    stimuli = ran.log.entries[0].event.stimuli
    trials = ran.all(TrialStarted)
    for event in trials:
        same = stimuli[event.initial_stimulus].group == stimuli[event.change_stimulus].group
        assert same is event.catch
    low, high = binom.interval(0.99, len(trials), 0.125)
    assert low <= sum(event.catch for event in trials) <= high


def test_change_flashes_follow_the_renormalised_geometric(tell: Tell) -> None:
    drawn = Counter(event.change_after for seed in (1, 2, 3) for event in hour(MouseKind.NEVER, seed).all(TrialStarted))
    assert set(drawn) == set(range(4, 12))
    weights = 0.3 * 0.7 ** np.arange(8)
    n = sum(drawn.values())
    found = chisquare([drawn[k] for k in range(4, 12)], n * weights / weights.sum())
    tell(f"{n} change flashes against the renormalised geometric: p = {found.pvalue:.2f}")
    assert found.pvalue > 0.01


def test_static_changes_come_2_25_s_plus_an_exponential_time_after_the_start() -> None:
    change = {"kind": "exponential", "earliest_s": 2.25, "mean_s": 2.0, "below_s": 6.0}
    parameters = stage(GRATINGS, presentation={"kind": "static"}, change=change, task_duration_min=60, warm_up_trials=0)
    stimuli = stimuli_of(parameters, image_names=[], refresh_hz=60.0)
    draws = TrialDraws(parameters, stimuli=stimuli, choices=[1, 2, 3, 4], refresh_hz=60.0, streams=RandomStreams(1))
    waits_s = []
    for _ in range(20_000):
        waits_s.append(draws.next().change_after / 60)
        draws.completed(rewarded=True)
    assert 2.25 <= min(waits_s) <= max(waits_s) <= 8.25
    assert np.mean(waits_s) - 2.25 == pytest.approx(1.69, abs=0.05)  # of the truncated distribution (TASK_FACTS 1.4)


STATIC, FREE_WATER = "TRAINING_1_gratings", "TRAINING_0_gratings_autorewards_15min"


def static(**changes: Any) -> StageParameters:
    """Some minutes of static gratings without warm-up."""
    return stage(STATIC, **{"warm_up_trials": 0, "task_duration_min": 4.0, **changes})


@cache
def silent_static(seed: int) -> Ran:
    return run(static(), RIG, licks_s=[], seed=seed)


def test_a_static_change_comes_the_drawn_time_after_the_start_and_never_within_2_25_s() -> None:
    ran = silent_static(1)
    for start, change in zip(ran.entries(TrialStarted), ran.entries(Change, ShamChange), strict=True):
        assert 2.25 * HZ <= start.event.change_after <= 8.25 * HZ
        assert change.refresh - start.refresh == start.event.change_after


def test_a_static_trial_ends_270_refreshes_after_its_change_and_the_next_begins_with_the_same_flip() -> None:
    ran = silent_static(1)
    changes = [entry.refresh for entry in ran.entries(Change, ShamChange)]
    ended = [entry.refresh for entry in ran.entries(TrialEnded)]
    started = [entry.refresh for entry in ran.entries(TrialStarted)]
    assert len(ended) > 20
    assert {end - change for change, end in zip(changes, ended, strict=True)} == {270}  # 1.0 + 3.5 s
    assert started[1:] == ended[:-1]


def test_a_static_stimulus_stays_on_from_the_tasks_first_flip_to_its_last() -> None:
    ran = silent_static(1)
    shown = ran.log.all_flips()["stimulus"]
    start, end = ran.entries(TrialStarted)[0].flip, ran.entries(TrialEnded)[-1].flip
    assert shown[start:end].all()
    assert not shown[:start].any()
    assert not shown[end + 1 :].any()
    assert np.count_nonzero(np.diff(shown[start:end])) == len(ran.all(Change))


def test_a_static_sham_change_shows_nothing_new() -> None:
    ran = silent_static(1)
    shown = ran.log.all_flips()["stimulus"]
    shams = ran.entries(ShamChange)
    assert shams
    assert all(shown[entry.flip - 1] == shown[entry.flip] for entry in shams)
    assert len(ran.all(FlashPlanned)) == 1 + len(ran.all(Change))


@pytest.mark.parametrize("after_start_s", [0.1, 1.0, 2.2])
def test_a_lick_before_a_static_change_aborts_and_the_next_trial_begins_as_the_time_out_ends(
    after_start_s: float,
) -> None:
    start_s = silent_static(1).all(TrialStarted)[1].time_s
    ran = run(static(), RIG, licks_s=[start_s + after_start_s], seed=1)
    (aborted,), (over,), (lick,) = ran.entries(Aborted), ran.entries(TimeoutEnded), ran.entries(Lick)
    assert aborted.event.trial == 1
    assert over.refresh - lick.refresh == 18  # 0.3 s
    again = ran.entries(TrialStarted)[2]
    assert again.refresh == over.refresh
    assert again.event.attempt == 1
    assert _parameters(again.event) == _parameters(ran.all(TrialStarted)[1])
    assert ran.log.all_flips()["stimulus"][aborted.flip : again.flip + 1].all(), "an abort leaves the stimulus on"


@pytest.mark.parametrize(
    ("lick_after_change_s", "go", "catch"),
    [
        (-0.020, ABORTED, ABORTED),
        (0.149, MISS, CORRECT_REJECT),
        (0.151, HIT, FALSE_ALARM),
        (0.900, HIT, FALSE_ALARM),  # the static window is the longer one
        (0.999, HIT, FALSE_ALARM),
        (1.001, MISS, CORRECT_REJECT),
    ],
)
def test_the_static_window_is_0_15_to_1_s(lick_after_change_s: float, go: Outcome, catch: Outcome) -> None:
    for event_type, expected in ((Change, go), (ShamChange, catch)):
        change = silent_static(1).all(event_type)[0]
        ran = run(static(), RIG, licks_s=[change.time_s + lick_after_change_s], seed=1)
        assert outcomes(ran)[change.trial] is expected


def test_free_water_is_given_150_ms_after_every_change_whatever_the_mouse_does() -> None:
    for kind in (MouseKind.NEVER, MouseKind.ALWAYS, MouseKind.PERFECT):
        ran = run(stage(FREE_WATER, task_duration_min=4.0), RIG, kind=kind)
        assert set(outcomes(ran)) == {AUTO_REWARDED}
        assert not ran.all(Aborted, ShamChange, RewardArmed)
        changes, paid = ran.entries(Change), ran.entries(RewardCommanded)
        assert [entry.event.trial for entry in paid] == [entry.event.trial for entry in changes]
        assert {pay.refresh - change.refresh for change, pay in zip(changes, paid, strict=True)} == {9}
        assert {end.refresh - change.refresh for change, end in zip(changes, ran.entries(TrialEnded), strict=True)} == {
            210  # 3.5 s: the window is [0, 0]
        }


def test_after_a_pause_a_static_stimulus_comes_back_with_the_next_flip_and_a_trial_with_it() -> None:
    ran = run(static(), RIG, licks_s=[], commands=[command("pause", at_s=6.0), command("resume", at_s=30.0)])
    (paused,), (resumed,) = ran.entries(Paused), ran.entries(Resumed)
    shown = ran.log.all_flips()["stimulus"]
    assert not shown[paused.flip : resumed.flip + 1].any()
    assert shown[resumed.flip + 1]
    again = next(entry for entry in ran.entries(TrialStarted) if entry.refresh > paused.refresh)
    assert again.refresh == resumed.refresh + 1
    assert not any(event.late_refreshes for event in ran.all(FlashShown))


def test_a_static_stimulus_comes_back_in_time_when_a_pause_is_called_off_as_it_was_to_begin() -> None:
    end = silent_static(1).entries(TrialEnded)[0].refresh
    asked = [command("pause", at_s=2.0), command("resume", at_s=(end + 0.5) / HZ)]
    ran = run(static(), RIG, licks_s=[], seed=1, commands=asked)
    assert not ran.all(Paused)
    assert not ran.log.all_flips()["stimulus"][end + 1]
    again = ran.entries(TrialStarted)[1]
    assert again.refresh == end + 2
    assert [event.refresh for event in ran.all(FlashPlanned)].count(end + 2) == 1
    assert not any(event.late_refreshes for event in ran.all(FlashShown))


@pytest.mark.parametrize(
    "between_s",
    [
        (12.0, 20.0),
        (12.01, 24.0),
        (5.3, 60.0),
    ],
)
def test_a_pause_keeps_the_grid_and_the_tasks_clock_stands(between_s: tuple[float, float]) -> None:
    pause_s, resume_s = between_s
    asked = [command("pause", at_s=pause_s), command("resume", at_s=resume_s)]
    ran = run(plain(), RIG, licks_s=[], commands=asked)
    (paused,), (resumed,) = ran.entries(Paused), ran.entries(Resumed)
    assert blocks(ran) == [
        BlockKind.GRAY_BEFORE,
        BlockKind.TASK,
        BlockKind.PAUSE,
        BlockKind.TASK,
        BlockKind.GRAY_AFTER,
    ]
    ended = [entry.refresh for entry in ran.entries(TrialEnded)]
    assert any(paused.refresh - 15 <= end <= paused.refresh for end in ended), "it did not wait for the trial's end"
    onsets = [entry.refresh for entry in ran.entries(FlashPlanned)]
    assert not [refresh for refresh in onsets if paused.refresh < refresh < resumed.refresh]
    planned = [event.refresh for event in ran.all(FlashPlanned)]
    assert {(refresh - planned[0]) % CYCLE for refresh in planned} == {0}
    first_after = min(refresh for refresh in planned if refresh > resumed.refresh)
    assert first_after - resumed.refresh <= CYCLE
    task_ends = planned[0] + 30 * HZ + (resumed.refresh - paused.refresh)
    *_, before, last = ended
    assert before < task_ends <= last


def test_in_a_pause_the_screen_is_gray_and_no_lick_counts() -> None:
    asked = [command("pause", at_s=6.0), command("resume", at_s=25.0)]
    ran = run(plain(), RIG, licks_s=[16.0, 18.0, 20.0], commands=asked)
    flips = ran.log.all_flips()
    (paused,), (resumed,) = ran.entries(Paused), ran.entries(Resumed)
    assert not flips["stimulus"][paused.flip : resumed.flip].any()
    assert len(ran.all(Lick)) == 3
    assert not ran.all(Aborted)


def test_stop_lets_the_trial_end_and_runs_the_closing_blocks() -> None:
    ran = run(plain(movie=SMALL_MOVIE), RIG, licks_s=[], commands=[command("stop", at_s=10.0)])
    assert blocks(ran) == [BlockKind.GRAY_BEFORE, BlockKind.TASK, BlockKind.GRAY_AFTER, BlockKind.MOVIE]
    assert [event.block for event in ran.all(BlockEnded)] == blocks(ran)
    assert (ran.ended.reason, ran.ended.who) == (EndReason.STOPPED, "operator")
    assert INCOMPLETE not in outcomes(ran)
    last = ran.entries(TrialEnded)[-1]
    assert last.event.time_s > 10.0
    assert ran.ended.time_s == pytest.approx(last.event.time_s + 0.5 + 2.0, abs=0.3)


def test_stop_now_cuts_the_trial_and_the_closing_blocks() -> None:
    ran = run(plain(movie=SMALL_MOVIE), RIG, licks_s=[], commands=[command("stop-now", at_s=10.0)])
    assert blocks(ran) == [BlockKind.GRAY_BEFORE, BlockKind.TASK]
    assert ran.ended.reason is EndReason.STOPPED_NOW
    assert outcomes(ran)[-1] is INCOMPLETE
    assert ran.ended.time_s == pytest.approx(10.0, abs=0.1)
    assert isinstance(ran.log.entries[-1].event, SessionEnded)


@pytest.mark.parametrize(
    ("changes", "commands", "refusals"),
    [
        ({}, [("reward", 2.0, {})], [""]),
        ({}, [("reward", 2.0, {}), ("reward", 3.1, {})], ["", ""]),
        ({}, [("reward", 2.0, {}), ("reward", 2.9, {})], ["", "wait 1 s"]),  # a slip of the hand
        ({}, [("reward", 2.0, {}), ("reward", 2.9, {}), ("reward", 3.1, {})], ["", "wait 1 s", ""]),
        ({}, [("reward", 2.0, {"volume_ul": 0.0})], ["0 uL is no volume"]),
        ({}, [("reward", 2.0, {"volume_ul": -3.0})], ["-3 uL is no volume"]),
        ({}, [("reward", 2.0, {"volume_ul": 20.0})], ["outside the valve's calibrated range of 1 to 15 uL"]),
        ({}, [("reward", 2.0, {"volume_ul": 0.5})], ["outside the valve's calibrated range of 1 to 15 uL"]),
        ({"passive": True, "free_reward_after_misses": None}, [("reward", 2.0, {})], ["no water in a passive stage"]),
        ({"volume_limit_ul": 9.0}, [("reward", 2.0, {}), ("reward", 4.0, {})], ["", "would pass the limit of 9 uL"]),
        ({}, [("spout", 2.0, {"position": "retracted"}), ("reward", 4.0, {})], ["", "the spout is retracted"]),
        (
            {},
            [
                ("spout", 2.0, {"position": "retracted"}),
                ("spout", 4.0, {"position": "at_mouse"}),
                ("reward", 6.0, {}),
            ],
            ["", "", ""],
        ),
    ],
)
def test_a_free_reward_is_given_or_refused_with_the_reason(
    changes: dict[str, Any], commands: Sequence[tuple[str, float, dict[str, Any]]], refusals: list[str]
) -> None:
    asked = [command(verb, at_s=at_s, **fields) for verb, at_s, fields in commands]
    ran = run(plain(**changes), RIG, licks_s=[], commands=asked)
    assert [applied for _, applied, _ in ran.answers] == [not refusal for refusal in refusals]
    for (_, _, what), refusal in zip(ran.answers, refusals, strict=True):
        assert refusal in what
    given = [event for event in ran.all(RewardCommanded) if event.kind is RewardKind.FREE]
    assert len(given) == sum(
        not refusal for (verb, _, _), refusal in zip(commands, refusals, strict=True) if verb == "reward"
    )
    assert all(event.trial == -1 and event.volume_ul == 5.0 for event in given)


@pytest.mark.parametrize("lick_after_change_s", [0.5, None], ids=["hit", "miss"])
def test_a_free_reward_waits_while_a_trials_reward_is_armed(lick_after_change_s: float | None) -> None:
    seed = seed_whose_first_trial_is(catch=False)
    change_s = first_change_s(seed)
    licks_s = [] if lick_after_change_s is None else [change_s + lick_after_change_s]
    ran = run(plain(), RIG, licks_s=licks_s, seed=seed, commands=[command("reward", at_s=change_s + 0.3)])
    order = [type(event) for event in ran.all(RewardArmed, RewardFired, RewardDisarmed, RewardCommanded)][:3]
    settled = RewardDisarmed if lick_after_change_s is None else RewardFired
    assert order == [RewardArmed, settled, RewardCommanded]
    assert ran.ended.reason is EndReason.TIME
    assert outcomes(ran)[0] is (MISS if lick_after_change_s is None else HIT)


@pytest.mark.parametrize("after_lick_s", [0.0, 0.02, 0.05, 0.07, 0.1])
def test_a_free_reward_asked_for_while_the_valve_is_open_follows_when_it_is_closed(after_lick_s: float) -> None:
    seed = seed_whose_first_trial_is(catch=False)
    lick_s = first_change_s(seed) + 0.5
    ran = run(
        plain(),
        RIG,
        licks_s=[lick_s],
        seed=seed,
        commands=[command("reward", at_s=lick_s + after_lick_s, volume_ul=15)],
    )
    hit, free = ran.all(RewardConfirmed)
    assert free.time_s >= hit.time_s + hit.open_s
    assert free.time_s - hit.time_s < 0.2
    assert ran.ended.reason is EndReason.TIME, "the session must not end with a fault"


@pytest.mark.parametrize("after_change_s", [-0.10, -0.01, 0.02, 0.11, 0.14, 0.16, 0.2])
def test_a_free_reward_about_an_auto_reward_keeps_out_of_its_way(after_change_s: float) -> None:
    parameters = plain(warm_up_trials=1)
    change_s = run(parameters, RIG, licks_s=[]).all(Change)[0].time_s
    asked = [command("reward", at_s=change_s + after_change_s, volume_ul=15)]
    ran = run(parameters, RIG, licks_s=[], commands=asked)
    auto = next(entry for entry in ran.entries(RewardCommanded) if entry.event.kind is RewardKind.AUTO)
    assert auto.refresh - ran.entries(Change)[0].refresh == 9
    assert len(ran.all(RewardConfirmed)) == 2
    assert ran.ended.reason is EndReason.TIME


def test_a_free_reward_never_counts_as_a_trials() -> None:
    seed = seed_whose_first_trial_is(catch=False)
    ran = run(plain(), RIG, licks_s=[], seed=seed, commands=[command("reward", at_s=first_change_s(seed) - 1.0)])
    assert outcomes(ran)[0] is MISS
    assert ran.live.trials.rows[0].reward_volume_ul == 0.0


def automaton() -> Any:
    parameters = plain()
    stimuli = stimuli_of(parameters, image_names=image_names(parameters), refresh_hz=60.0)
    return Task(parameters, stimuli=stimuli, refresh_hz=60.0, seed=1).trial


def tell(trial: Any, occurrence: Occurrence) -> None:
    if occurrence is Occurrence.START:
        trial.start(flash=0, refresh=0, time_s=0.0, out=[])
    else:
        trial._to(occurrence)


EVERYTHING = [(phase, occurrence) for phase in Phase for occurrence in Occurrence]


@pytest.mark.parametrize(
    ("phase", "occurrence"), [pair for pair in EVERYTHING if pair not in LEGAL], ids=lambda value: value.name
)
def test_what_cannot_happen_in_a_phase_is_refused_with_event_phase_and_trial(
    phase: Phase, occurrence: Occurrence
) -> None:
    trial = automaton()
    trial.state = TrialState(phase=phase, number=7, draw=trial.draws.next())
    with pytest.raises(IllegalOccurrence) as refusal:
        tell(trial, occurrence)
    assert str(refusal.value) == f"{occurrence.value} can't happen in phase {phase.value} of trial 7"
    assert trial.state.phase is phase


@pytest.mark.parametrize(("phase", "occurrence"), list(LEGAL), ids=lambda value: value.name)
def test_what_can_happen_leads_to_the_tables_phase(phase: Phase, occurrence: Occurrence) -> None:
    trial = automaton()
    trial.state = TrialState(phase=phase, number=7, draw=trial.draws.next())
    tell(trial, occurrence)
    assert trial.state.phase is LEGAL[phase, occurrence]


def test_every_phase_can_be_reached_and_left() -> None:
    assert {phase for phase, _ in LEGAL} == set(LEGAL.values()) == set(Phase)
    by_phase = {phase: {o for _, o in pairs} for phase, pairs in groupby(sorted(LEGAL), key=lambda pair: pair[0])}
    assert all(Occurrence.CUT in by_phase[phase] for phase in Phase if phase is not Phase.WAITING)
