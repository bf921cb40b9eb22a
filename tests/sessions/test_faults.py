"""Every fault a simulated rig can be asked for, under every policy; and water when things go wrong."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardware.events import ClockFitted, DeviceIdentified, Finding, Verdict
from hardware.lines import Line
from hardware.protocols import FramePulses
from hardware.simulated.card import SimulatedCard
from hardware.simulated.mice import MouseKind
from hardware.simulated.spout import SimulatedSpout
from rig.log.replay import replay
from rig.log.writer import MemoryLog
from rig.session.assemble import assembled
from rig.session.process import run_plan
from stages.events import (
    AlarmCleared,
    AlarmRaised,
    BlockKind,
    BlockStarted,
    DeviceFault,
    Lick,
    Outcome,
    Paused,
    RewardArmed,
    RewardCommanded,
    RewardDisarmed,
    RewardFired,
    RewardKind,
    TrialOutcome,
    TrialStarted,
)
from tests.builders import Ran, command, plan, rig_config, run, stage

FAULTS = {
    "lick_sensor": {"lick_line_stuck_s": 8.0},
    "encoder": {"encoder_frozen_s": 8.0},
    "valve": {"valve_silent_s": 2.0},
    "card": {"device_gone_s": 8.0},
    "spout": {"spout_stuck": True},
}
END = command("stop-now", at_s=90.0, name="end")
"""Ends the sessions that a policy has paused."""


def with_fault(device: str, policy: str, **changes: Any) -> Ran:
    policies = {**rig_config().policies, "valve": policy, device: policy}  # a dead card fails rewards, too
    config = rig_config(faults=FAULTS[device], policies=policies)
    return run(stage(task_duration_min=1.0, warm_up_trials=1, **changes), config, commands=[END])


@pytest.mark.parametrize("policy", ["continue", "pause", "stop", "stop_now"])
@pytest.mark.parametrize("device", FAULTS)
def test_each_fault_raises_its_alarm_and_its_policy_is_followed(device: str, policy: str) -> None:
    ran = with_fault(device, policy)
    named = [event.device for event in ran.all(DeviceFault)]
    assert (device in named) or device == "valve", "a silent valve is told by its rewards"
    assert {event.alarm for event in ran.all(AlarmRaised)} & {device, "reward"}
    match policy:
        case "continue":
            assert ran.ended.reason.value == "time"
        case "pause":
            assert ran.all(Paused)
        case "stop":
            assert ran.ended.reason.value == "fault"
            assert BlockKind.GRAY_AFTER in [event.block for event in ran.all(BlockStarted)]
        case _:
            assert ran.ended.reason.value == "fault"
            assert ran.ended.time_s < 40
    assert replay(ran.as_read()).difference is None


@pytest.mark.parametrize("device", FAULTS)
def test_the_valve_is_closed_when_a_fault_has_ended_the_session(device: str) -> None:
    ran = with_fault(device, "stop_now")
    edges = np.concatenate(ran.log.edge_rows)
    echo = edges["state"] & Line.REWARD_ECHO.mask != 0
    assert not echo[-1]


def test_with_the_spout_retracted_no_water_is_given_in_any_way_and_it_is_said() -> None:
    commands = [
        command("spout", at_s=3.0, position="retracted"),
        command("reward", at_s=10.0),
        command("spout", at_s=40.0, position="at_mouse"),
    ]
    ran = run(stage(task_duration_min=1.0, warm_up_trials=2), commands=commands)
    while_away = [e for e in ran.all(RewardFired) if 4.0 < e.time_s < 41.0]
    assert while_away == []
    assert "spout retracted" in {event.alarm for event in ran.all(AlarmRaised)}
    assert "spout retracted" in {event.alarm for event in ran.all(AlarmCleared)}
    assert [e for e in ran.all(RewardFired) if e.time_s > 41.0], "water again with the spout at the mouse"


def test_no_lick_reaches_a_spout_that_has_been_retracted() -> None:
    commands = [
        command("spout", at_s=10.0, position="retracted"),
        command("spout", at_s=20.0, position="at_mouse"),
        command("spout", at_s=40.0, position="retracted"),
        command("spout", at_s=40.5, position="at_mouse"),
    ]
    ran = run(stage(task_duration_min=1.0), kind=MouseKind.ALWAYS, commands=commands)
    licks_s = [event.time_s for event in ran.all(Lick)]
    away_s = [(0.0, 1.0), (10.0, 21.0), (40.0, 41.5)]
    assert not [lick_s for lick_s in licks_s if any(low + 0.05 < lick_s < high for low, high in away_s)]
    assert len(licks_s) == pytest.approx(2 * (ran.ended.time_s - sum(high - low for low, high in away_s)), abs=4)


def test_a_hit_with_the_spout_retracted_is_a_hit_without_water(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedSpout, "in_reach", lambda *_: True)  # a mouse with a long tongue
    commands = [command("spout", at_s=1.5, position="retracted")]
    ran = run(stage(warm_up_trials=0), commands=commands)
    assert Outcome.HIT in {event.outcome for event in ran.all(TrialOutcome)}
    assert not ran.all(RewardArmed, RewardCommanded, RewardFired)


def test_what_the_devices_are_and_what_their_checks_found_stands_behind_the_first_event() -> None:
    ran = run()
    devices = {entry.event.device for entry in ran.entries(DeviceIdentified)}
    assert {"screen", "card", "valve", "encoder", "spout"} <= devices
    findings = ran.all(Finding)
    assert {"valve calibration", "valve calibration age", "lick line"} <= {finding.name for finding in findings}
    assert all(finding.verdict is not Verdict.FAIL for finding in findings)


def test_pulses_under_way_or_missing_do_not_shift_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    original = SimulatedCard.read_frame_pulses
    kept = [FramePulses.none()]

    def late_and_lossy(card: SimulatedCard) -> FramePulses:
        """One pulse is always still under way, and one in some hundred is never seen."""
        pulses = FramePulses.joined([kept[0], original(card)])
        if len(pulses) <= 1:
            return pulses
        kept[0] = pulses[-1:]
        return pulses[np.delete(np.arange(len(pulses) - 1), slice(20, None, 137))]

    monkeypatch.setattr(SimulatedCard, "read_frame_pulses", late_and_lossy)
    ran = run(stage(task_duration_min=1.5))
    fits = ran.all(ClockFitted)
    assert len(fits) >= 4
    assert all(fit.residual_us < 20 and abs(fit.drift_ppm - 20) < 5 for fit in fits)
    assert any(finding.name == "frame pulses" for finding in ran.all(Finding))
    assert np.diff(ran.log.all_flips()["time_s"]).min() > 0.01


def test_a_first_pulse_that_came_late_does_not_keep_the_clock_from_being_fitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = SimulatedCard.read_frame_pulses
    first = [True]

    def late_at_first(card: SimulatedCard) -> FramePulses:
        pulses = original(card)
        if first[0] and len(pulses):
            first[0] = False
            pulses.ticks[0] += 300_000  # 3 ms
        return pulses

    monkeypatch.setattr(SimulatedCard, "read_frame_pulses", late_at_first)
    ran = run(stage(task_duration_min=0.5))
    fits = ran.all(ClockFitted)
    assert fits[-1].residual_us < 100, "the late pulse itself counts among some two thousand"
    assert fits[-1].drift_ppm == pytest.approx(20, abs=5)
    assert not [finding for finding in ran.all(Finding) if finding.name == "clock map"]


@pytest.mark.parametrize("kind", list(MouseKind))
def test_every_model_mouse_runs_in_real_time(kind: MouseKind) -> None:
    log = MemoryLog()
    session = plan(stage(task_duration_min=0.025, gray_before_s=0.5, gray_after_s=0.25), kind=kind, fast=False)
    with assembled(session, log=log) as loop:
        begun_s = time.perf_counter()
        loop.run()
    licks = [entry.event.time_s for entry in log.entries if isinstance(entry.event, Lick)]
    assert len(licks) <= (time.perf_counter() - begun_s) * 20
    assert all(time_s > -1.0 for time_s in licks), "no lick lies before the session"


def test_a_frame_pulse_line_that_goes_dead_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    original = SimulatedCard.read_frame_pulses
    n = [0]

    def dying(card: SimulatedCard) -> FramePulses:
        pulses = original(card)
        n[0] += len(pulses)
        return pulses if n[0] < 900 else pulses[:0]

    monkeypatch.setattr(SimulatedCard, "read_frame_pulses", dying)
    ran = run(stage(task_duration_min=3.0), rig_config(policies={**rig_config().policies, "card": "stop_now"}))
    (fault,) = ran.all(DeviceFault)
    assert fault.device == "card"
    assert "were not seen back" in fault.what
    assert ran.ended.reason.value == "fault"


def test_no_trial_starts_once_free_rewards_have_used_up_the_limit() -> None:
    commands = [command("reward", at_s=1.2, volume_ul=10.0)]
    ran = run(stage(volume_limit_ul=10.0, gray_before_s=2.0), commands=commands)
    assert not ran.all(TrialStarted)
    assert ran.ended.reason.value == "volume"


def test_a_promised_free_reward_counts_against_the_limit() -> None:
    free = [command("reward", at_s=5.0 + 0.25 * i, volume_ul=10.0) for i in range(60)]
    ran = run(stage(volume_limit_ul=15.0, warm_up_trials=0), commands=free)
    committed_ul: dict[int, float] = {}
    for event in ran.all(RewardArmed, RewardCommanded, RewardDisarmed):
        if isinstance(event, RewardDisarmed):
            del committed_ul[event.reward]
            continue
        committed_ul[event.reward] = event.volume_ul
        if isinstance(event, RewardCommanded) and event.kind is RewardKind.FREE:
            assert sum(committed_ul.values()) <= 15.0


@pytest.mark.parametrize("kind", list(MouseKind))
def test_a_session_in_simulated_time_that_was_paused_is_stopped(tmp_path: Path, kind: MouseKind) -> None:
    session = plan(stage(), rig_config(faults={"spout_stuck": True}), kind=kind, folder=tmp_path / "session")
    ended = run_plan(session, runtime_dir=tmp_path / "running")
    assert ended.reason.value == "stopped"
    assert "nobody resumes" in ended.why
    assert ended.time_s < 60
