"""Sessions in real time through the real nidaqmx library: the log beside what the twin's mouse and valve saw.

Ticks are compared exactly. Times that hang on how busy this machine is are printed, and bounded generously.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardware.clock import TICKS_PER_S
from hardware.events import ClockFitted
from hardware.lines import Line
from hardware.protocols import DeviceError
from hardware.simulated.mice import MouseKind
from hardware.simulated.twin import MouseTruth, Twin
from rig.config.load import ConfigError
from rig.config.rig import FaultsConfig, with_screen
from rig.log.reader import SessionLog, read_session
from rig.log.replay import replay
from rig.log.writer import LogThread, LogWriter
from rig.records.folds import Folds
from rig.session.assemble import assembled
from rig.session.realtime import real_time
from stages.events import DeviceFault, EndReason, Lick, Outcome, RewardConfirmed, RewardFailed, RewardFired, RewardPath
from stages.parameters import StageParameters
from tests.builders import GRATINGS, plan, rig_config, stage
from tests.telling import Tell

DRIFT_PPM = 50.0
GOOD_RESIDUAL_US = 20.0
LONG = [pytest.mark.long(group="twin")]
FIRST_FITS = 6
"""In the first minute."""
END_S = 0.1
"""What the mouse does this shortly before the end, the session need not have seen."""


class Ran:
    """A session that ran on a twin, and the twin's own account of it."""

    def __init__(
        self,
        folder: Path,
        *,
        kind: MouseKind,
        faults: dict[str, Any] | None = None,
        policies: dict[str, str] | None = None,
        **changes: Any,
    ) -> None:
        soon = {"kind": "geometric", "p": 0.3, "flashes_min": 2, "flashes_max": 5}
        changes = {"warm_up_trials": 1, "change": soon, **changes}
        config = rig_config("twin", faults=FaultsConfig(**faults or {}), policies=policies or {})
        session = plan(stage(GRATINGS, **changes), config, kind=kind, fast=False, folder=folder)
        steps_s: list[float] = []
        assert isinstance(session.stage, StageParameters)
        self.window_s = session.stage.response_window_s
        with (
            Twin(drift_ppm=DRIFT_PPM) as twin,
            contextlib.closing(LogThread(LogWriter(folder))) as log,
            real_time(),
            assembled(session, log=log, twin=twin, on_step=steps_s.append) as loop,
        ):
            self.ended = loop.run()
            self.truth: MouseTruth = twin.bench.mouse_truth()
            self.valve = twin.bench.scope("ctr0")
            self.frames = twin.bench.scope("port1/line4")
            self.lick_line = twin.bench.scope("port0/line31")
            self.card_zero = twin.bench.ticks(0.0)
        self.log: SessionLog = read_session(folder)
        self.steps_us = np.quantile(np.array(steps_s) * 1e6, [0.5, 0.99, 0.999])

    def all(self, kind: type[Any]) -> list[Any]:
        return [entry.event for entry in self.log.entries if isinstance(entry.event, kind)]

    @cached_property
    def zero(self) -> int:
        """The card's ticks at the first flip, by the log's own licks."""
        (zero,) = {lick.ticks - round(lick.time_s * TICKS_PER_S) for lick in self.all(Lick)}
        return int(zero)

    def ticks(self, time_s: float) -> int:
        return self.zero + round(time_s * TICKS_PER_S)

    def seconds(self, ticks: int) -> float:
        return (ticks - self.zero) / TICKS_PER_S

    def true_ticks(self, host_s: float) -> float:
        """The twin's counter at a host time."""
        return self.card_zero + host_s * TICKS_PER_S * (1 + DRIFT_PPM * 1e-6)

    def licks(self) -> list[int]:
        """Ticks of each lick that reached the spout, by the mouse's account."""
        return [ticks for _, ticks, reached in self.truth.licks if reached]

    def rises(self, line: Line) -> list[int]:
        edges = self.log.edges()
        level = edges["state"] & np.uint32(line.mask) != 0
        return [int(edges["ticks"][i]) for i in range(len(level)) if level[i] and (i == 0 or not level[i - 1])]


@pytest.mark.parametrize("minutes", [3.0, pytest.param(30.0, marks=LONG)])
@pytest.mark.timeout(2400)
def test_the_log_tells_to_the_tick_what_the_mouse_and_the_valve_saw(tmp_path: Path, tell: Tell, minutes: float) -> None:
    ran = Ran(tmp_path / "session", kind=MouseKind.PERFECT, task_duration_min=minutes)
    assert ran.log.damage == []
    assert ran.log.started.simulated
    assert ran.ended.reason is EndReason.TIME

    logged, made = [lick.ticks for lick in ran.all(Lick)], ran.licks()
    assert len(logged) > 3
    assert logged == made[: len(logged)]
    assert all(ran.seconds(ticks) > ran.ended.time_s - END_S for ticks in made[len(logged) :])
    rises = [ticks for ticks, level in ran.lick_line if level]
    assert made == rises[: len(made)]
    assert ran.rises(Line.LICK_SENSOR) == rises[: len(ran.rises(Line.LICK_SENSOR))]

    confirmed, fired = ran.all(RewardConfirmed), ran.all(RewardFired)
    opened = [(rose, fell) for (rose, up), (fell, _) in itertools.pairwise(ran.valve) if up]
    assert confirmed
    assert [ran.ticks(reward.time_s) for reward in confirmed] == [rose for rose, _ in opened]
    assert [rose for rose, _ in opened] == [ticks for _, ticks in ran.truth.drinks]
    assert [round(reward.open_s * TICKS_PER_S) for reward in confirmed] == [fell - rose for rose, fell in opened]
    assert [reward.reward for reward in fired] == [reward.reward for reward in confirmed]
    for reward, (rose, _) in zip(fired, opened, strict=True):
        if reward.lick_time_s is not None:
            assert ran.ticks(reward.lick_time_s) in made
        if reward.path is RewardPath.CARD:
            assert ran.ticks(reward.lick_time_s) == rose

    folds = Folds.of(ran.log.entries)
    paid = 0
    for row in folds.trials.rows:
        if row.outcome not in (Outcome.HIT, Outcome.MISS):
            continue
        opens_s, closes_s = (row.change_time_s + limit_s for limit_s in ran.window_s)
        inside = [ticks for ticks in made if opens_s <= ran.seconds(ticks) <= closes_s]
        assert (row.outcome is Outcome.HIT) == bool(inside)
        if inside:
            paid += 1
            assert ran.ticks(row.response_time_s) == inside[0]
    n_auto = sum(row.outcome is Outcome.AUTO_REWARDED for row in folds.trials.rows)
    assert len(opened) == paid + n_auto
    assert folds.summary.summary().n_hit == paid

    falls = [ticks for ticks, level in ran.frames if not level and ticks >= ran.zero]
    assert falls[0] == ran.zero
    assert len(falls) == len(ran.log.flips)
    assert replay(ran.log).difference is None
    _judge_clock(ran, tell)


def _judge_clock(ran: Ran, tell: Tell) -> None:
    """Compare the last map with the twin's own clock, where it was fitted and at the session's end.

    That a busy machine delays calls is allowed for by ``bound_us``; the share of a call that lies before its pulse
    can't be known. Half an hour has enough fits for their median; of the few of three minutes one that other work
    on this machine left alone must be as good.
    """
    fits = ran.all(ClockFitted)
    last = fits[-1]
    off_us = [
        (ran.true_ticks(last.host_zero_s + time_s / (1 + last.drift_ppm * 1e-6)) - ran.ticks(time_s))
        / TICKS_PER_S
        * 1e6
        for time_s in (0.0, ran.ended.time_s)
    ]
    residuals = ", ".join(f"{fit.residual_us:.0f}" for fit in fits)
    tell(
        f"\n  on the twin, {ran.ended.time_s:.0f} s: clock map drift {last.drift_ppm:+.1f} ppm, "
        f"residuals {residuals} us, pulses known to {last.bound_us:.0f} us, "
        f"off the truth by {off_us[0]:+.0f} us at the start, "
        f"{off_us[1]:+.0f} at the end; step p50 {ran.steps_us[0]:.0f} us, p99 {ran.steps_us[1]:.0f} us, "
        f"p99.9 {ran.steps_us[2]:.0f} us; "
        f"{int((ran.log.flips['n_missed'] > 0).sum())} late of {len(ran.log.flips)} flips"
    )
    whole_minutes = [fit.residual_us for fit in fits[FIRST_FITS:]]
    judged_us = np.median(whole_minutes) if len(whole_minutes) > FIRST_FITS else min(fit.residual_us for fit in fits)
    assert judged_us <= GOOD_RESIDUAL_US
    assert abs(off_us[1]) <= last.bound_us + GOOD_RESIDUAL_US
    assert last.drift_ppm == pytest.approx(DRIFT_PPM, abs=3)


def test_a_card_that_is_pulled_out_ends_the_session_and_what_came_before_is_whole(tmp_path: Path) -> None:
    ran = Ran(tmp_path / "session", kind=MouseKind.ALWAYS, faults={"device_gone_s": 2.5}, task_duration_min=0.2)
    assert ran.ended.reason is EndReason.FAULT
    (fault,) = [fault for fault in ran.all(DeviceFault) if fault.device == "card"]
    assert "the card no longer answers" in fault.what
    assert -0.1 < fault.time_s - 2.5 < 1.0
    _judge_what_came_before(ran)


def test_a_lick_line_that_sticks_is_named_and_does_as_configured(tmp_path: Path) -> None:
    ran = Ran(
        tmp_path / "session",
        kind=MouseKind.ALWAYS,
        faults={"lick_line_stuck_s": 2.0},
        policies={"lick_sensor": "stop_now"},
        task_duration_min=0.3,
    )
    assert ran.ended.reason is EndReason.FAULT
    assert ran.ended.why.startswith("lick_sensor: ")
    _judge_what_came_before(ran)


def test_a_valve_whose_echo_does_not_come_back_ends_the_session_as_configured(tmp_path: Path) -> None:
    ran = Ran(tmp_path / "session", kind=MouseKind.PERFECT, faults={"valve_silent_s": 0.5}, task_duration_min=0.3)
    assert ran.ended.reason is EndReason.FAULT
    assert ran.ended.why == "valve: the valve was opened but its echo did not come back"
    (failed,) = ran.all(RewardFailed)
    assert "echo" in failed.why
    ((rose, up), (fell, down)) = ran.valve
    assert (up, down) == (True, False)
    assert 0.01 < (fell - rose) / TICKS_PER_S < 0.2, "one finite pulse, and the valve is closed"
    assert replay(ran.log).difference is None


def _judge_what_came_before(ran: Ran) -> None:
    """The log is whole up to the fault, and the valve is closed."""
    assert ran.log.damage == []
    logged, made = [lick.ticks for lick in ran.all(Lick)], [ticks for ticks, level in ran.lick_line if level]
    assert logged
    assert logged == made[: len(logged)]
    assert not ran.valve or not ran.valve[-1][1]
    assert replay(ran.log).difference is None


def test_simulated_time_is_refused_on_a_card() -> None:
    with pytest.raises(ConfigError) as caught:
        plan(stage(GRATINGS), rig_config("twin"), fast=True)
    assert str(caught.value) == (
        "--fast: twin has a card of kind nidaq, which runs in real time only; leave it out, or take a simulated rig"
    )


@pytest.mark.parametrize(("name", "missing"), [("twin", "nidaqmx"), ("twin", "grpc"), ("example_nidaq", "nidaqmx")])
def test_a_library_that_is_not_installed_is_one_sentence_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    config = with_screen(rig_config(name), "headless")
    session = plan(stage(GRATINGS), config, fast=False, folder=tmp_path / "session")
    with (
        contextlib.closing(LogWriter(session.folder)) as log,
        pytest.raises(DeviceError, match=r"pip install 'open-vision-rig\[rig\]'") as caught,
        assembled(session, log=log),
    ):
        pass
    assert "\n" not in str(caught.value)
