"""What holds for any lick train, on any screen."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.events import (
    BlockKind,
    BlockStarted,
    CommandReceived,
    FlashOmitted,
    FlashPlanned,
    FlashShown,
    Outcome,
    RewardArmed,
    RewardCommanded,
    RewardFired,
    RewardKind,
    SessionEnded,
    SpoutMoved,
    SpoutPosition,
    TrialEnded,
    TrialOutcome,
    TrialStarted,
)
from stages.parameters import Flashed, Stage, SweepParameters
from tests.builders import GRATINGS, Ran, rig_config, run, stage
from tests.properties import strategies as draw

HZ = 60


def grid_of(parameters: Stage) -> tuple[int, int] | None:
    """Refreshes from onset to onset, and how many of them the stimulus is on; None where it stays on."""
    if isinstance(parameters, SweepParameters):
        on_s, off_s = parameters.sweep.duration_s, parameters.sweep.gap_s
    elif isinstance(parameters.presentation, Flashed):
        on_s, off_s = parameters.presentation.flash_s, parameters.presentation.gray_s
    else:
        return None
    return round((on_s + off_s) * HZ), round(on_s * HZ)


def check_trials(ran: Ran) -> None:
    started = [event.trial for event in ran.all(TrialStarted)]
    assert started == list(range(len(started)))
    assert [event.trial for event in ran.all(TrialEnded)] == started
    assert [event.trial for event in ran.all(TrialOutcome)] == started


def check_rewards(ran: Ran) -> None:
    armed = {event.reward: event for event in ran.all(RewardArmed)}
    commanded = {event.reward: event for event in ran.all(RewardCommanded)}
    outcomes = {event.trial: event.outcome for event in ran.all(TrialOutcome)}
    fired = ran.all(RewardFired)
    assert len({event.reward for event in fired}) == len(fired), "a reward fired twice"
    in_trials = Counter(
        (armed.get(event.reward) or commanded[event.reward]).trial
        for event in fired
        if (armed.get(event.reward) or commanded[event.reward]).trial >= 0
    )
    assert not in_trials or max(in_trials.values()) == 1, "two task rewards in one trial"
    for event in fired:
        if (order := armed.get(event.reward)) is not None:
            assert order.opens_s - 1e-8 <= event.lick_time_s <= order.closes_s + 1e-8
            assert outcomes[order.trial] is Outcome.HIT
        elif commanded[event.reward].kind is RewardKind.AUTO:
            assert outcomes[commanded[event.reward].trial] in (Outcome.AUTO_REWARDED, Outcome.INCOMPLETE)


def check_licks(ran: Ran) -> None:
    rows = ran.live.trials.rows
    licks = [entry for entry in ran.log.entries if type(entry.event).__name__ == "Lick"]
    of_trials = Counter(time_s for row in rows for time_s in row.lick_times_s)
    pauses = [(e.flip, e.event.block is BlockKind.PAUSE) for e in ran.entries(BlockStarted)]
    for entry in licks:
        inside = bool(rows) and rows[0].start_flip <= entry.flip < rows[-1].end_flip
        paused = any(is_pause for flip, is_pause in pauses[: bisect_left(pauses, (entry.flip,))][-1:])
        assert of_trials[entry.event.time_s] == int(inside and not paused)


def check_cadence(ran: Ran, parameters: Stage) -> None:
    flips = ran.log.all_flips()
    refreshes = set(flips["refresh"].tolist())
    plans = {event.flash: event for event in ran.all(FlashPlanned)}
    shown = flips["stimulus"]
    for entry in ran.entries(FlashShown, FlashOmitted):
        plan = plans[entry.event.flash]
        late = entry.refresh - plan.refresh
        assert late >= 0
        if late:  # its own refresh, or the one its frame was drawn on, was dropped
            assert {plan.refresh - 1, plan.refresh} - refreshes
        assert plan.omitted == isinstance(entry.event, FlashOmitted)
        if isinstance(entry.event, FlashShown):
            assert shown[entry.flip] == entry.event.stimulus
    grid = grid_of(parameters)
    if grid is not None:
        check_grid(ran, *grid)


def check_grid(ran: Ran, cycle: int, on: int) -> None:
    flips = ran.log.all_flips()
    refreshes = set(flips["refresh"].tolist())
    shown = flips["stimulus"]
    plans = {event.flash: event for event in ran.all(FlashPlanned)}
    first = min((event.refresh for event in plans.values()), default=0)
    assert all((event.refresh - first) % cycle == 0 for event in plans.values())
    if cycle == on:
        return  # the same patch may come twice running, without gray between
    for entry in ran.entries(FlashShown):
        assert entry.flip == 0 or shown[entry.flip - 1] != entry.event.stimulus
        stop = entry.flip + int(np.argmax(shown[entry.flip :] != entry.event.stimulus))
        off = plans[entry.event.flash].refresh + on
        if shown[stop] != entry.event.stimulus and not {off - 1, off} - refreshes:
            assert flips["refresh"][stop] == off or stop == entry.flip + 1


def check_spout(ran: Ran) -> None:
    """No water begins to flow while the spout stands retracted."""
    position = None
    for event in ran.all(SpoutMoved, RewardFired):
        if isinstance(event, SpoutMoved):
            position, since_s = event.position, event.time_s
        else:
            assert position is not SpoutPosition.RETRACTED or event.time_s <= since_s


def check_tables(ran: Ran) -> None:
    read = ran.as_read()
    from_file = type(ran.live).of(read.entries)
    assert from_file.trials.rows == ran.live.trials.rows or _same(from_file.trials.rows, ran.live.trials.rows)
    assert from_file.presentations.rows == ran.live.presentations.rows
    assert from_file.summary.summary() == ran.live.summary.summary()


def _same(a: list, b: list) -> bool:
    return repr(a) == repr(b)  # NaN is not equal to itself


@given(
    name=draw.stages,
    behaviour=draw.screens,
    licks_s=draw.lick_trains,
    seed=draw.seeds,
    warm_up=st.sampled_from([0, 0, 2]),
    limit_ul=st.sampled_from([5000.0, 15.0]),
)
def test_a_session_keeps_its_rules_for_any_lick_train_on_any_screen(
    name: str, behaviour: str, licks_s: list[float], seed: int, warm_up: int, limit_ul: float
) -> None:
    parameters = draw.fitted(name, warm_up_trials=warm_up, volume_limit_ul=limit_ul)
    ran = run(parameters, rig_config(behaviour=behaviour), licks_s=licks_s, seed=seed)
    check_trials(ran)
    check_rewards(ran)
    check_licks(ran)
    check_cadence(ran, parameters)
    check_tables(ran)
    assert isinstance(ran.log.entries[-1].event, SessionEnded)
    assert [e.flip for e in ran.log.entries] == sorted(e.flip for e in ran.log.entries)


@given(name=draw.paying, behaviour=draw.screens, licks_s=draw.lick_trains, seed=draw.seeds, commands=draw.commands)
def test_no_reward_begins_after_the_trial_in_which_the_limit_was_reached(
    name: str, behaviour: str, licks_s: list[float], seed: int, commands: list
) -> None:
    limit_ul = 10.0
    parameters = draw.fitted(name, volume_limit_ul=limit_ul, warm_up_trials=1)
    ran = run(parameters, rig_config(behaviour=behaviour), licks_s=licks_s, seed=seed, commands=commands)
    given_ul = 0.0
    ended_with = None
    for event in ran.all(RewardArmed, RewardCommanded, RewardFired, TrialEnded, TrialStarted):
        match event:
            case RewardFired():
                given_ul += next(
                    order.volume_ul for order in ran.all(RewardArmed, RewardCommanded) if order.reward == event.reward
                )
            case TrialEnded() if given_ul >= limit_ul and ended_with is None:
                ended_with = event.trial
            case TrialStarted() | RewardArmed() | RewardCommanded():
                assert ended_with is None, "the limit had been reached"
    if ended_with is not None:
        # Both limits may be reached by the same trial, and an operator may be quicker.
        assert ran.ended.reason.value in ("volume", "time", "stopped", "stopped_now")


@given(name=draw.dry, behaviour=draw.screens, licks_s=draw.lick_trains, seed=draw.seeds, commands=draw.commands)
def test_a_session_without_water_gives_none_whatever_is_asked(
    name: str, behaviour: str, licks_s: list[float], seed: int, commands: list
) -> None:
    ran = run(draw.fitted(name), rig_config(behaviour=behaviour), licks_s=licks_s, seed=seed, commands=commands)
    assert not ran.all(RewardArmed, RewardCommanded, RewardFired)
    check_trials(ran)
    check_licks(ran)


@given(
    name=draw.stages,
    behaviour=draw.screens,
    licks_s=draw.lick_trains,
    seed=draw.seeds,
    commands=draw.commands,
    faults=draw.faults,
    policies=draw.policies,
)
@example(  # the first lick on the flip that the task and its first trial begin with
    name=GRATINGS,
    behaviour="perfect",
    licks_s=[],
    seed=0,
    commands=[draw.LAST],
    faults={"lick_line_stuck_s": 0.5},
    policies={},
)
def test_a_session_keeps_its_rules_with_commands_pauses_and_faults(
    name: str, behaviour: str, licks_s: list[float], seed: int, commands: list, faults: dict, policies: dict
) -> None:
    config = rig_config(behaviour=behaviour, faults=faults, policies=policies)
    parameters = draw.fitted(name, warm_up_trials=1)
    ran = run(parameters, config, licks_s=licks_s, seed=seed, commands=commands)
    check_trials(ran)
    check_rewards(ran)
    check_licks(ran)
    check_cadence(ran, parameters)
    check_tables(ran)
    assert [answer[0] for answer in ran.answers] == [event.command for event in ran.all(CommandReceived)]
    check_spout(ran)


@pytest.mark.parametrize("lag_s", [0.1499, 0.1501, 0.7499, 0.7501])
def test_the_windows_edges_are_judged_on_the_licks_own_time(lag_s: float) -> None:
    parameters = stage(warm_up_trials=0, catch={"kind": "walk"})
    reference = run(parameters, licks_s=[])
    change = reference.all(RewardArmed)[0]
    change_s = change.opens_s - 0.15
    host_s = change_s / (1 + 20e-6)  # the simulated card runs 20 ppm fast
    ran = run(parameters, licks_s=[host_s + lag_s])
    paid = any(event.lick_time_s is not None for event in ran.all(RewardFired))
    assert paid == (0.15 <= lag_s <= 0.75)
    outcome = next(event for event in ran.all(TrialOutcome) if event.trial == change.trial)
    assert outcome.outcome is (Outcome.HIT if paid else Outcome.MISS)
    assert not math.isnan(ran.ended.time_s)
