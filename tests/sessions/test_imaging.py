"""Imaging sessions against the simulated microscope's process: started, aligned, stopped; and lines that fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardware.events import (
    ControllerFailed,
    ImagingPhase,
    ImagingStep,
    MicroscopeClock,
    MicroscopePhase,
    MicroscopeState,
    Verdict,
)
from hardware.lines import Line
from hardware.simulated.mice import ScriptedMouse
from rig.config.load import ConfigError
from rig.log.replay import replay
from rig.log.schema import Entry
from rig.log.writer import MemoryLog
from rig.records.alignment import alignment_of, frame_times_s
from rig.records.card_lines import CardLines
from rig.session.assemble import assembled, refuse_misfits
from stages.events import BlockKind, BlockStarted, DeviceFault, EndReason, Lick, Paused
from tests.builders import Ran, command, plan, rig_config, run, stage
from tests.sessions.imaged import DRIFT_PPM, OFFSET_S, Imaged, microscope, run_imaged
from tests.telling import Tell

CLOSE_US = 100.0
"""No hardware stream is further from the truth."""
CLOCK_S = 1e-3
STAGES: dict[str, dict[str, float]] = {
    "OPHYS_1_images_A": {"frame_rate_hz": 31.0},
    "OPHYS_4_images_B": {"frame_rate_hz": 11.0, "plane_groups": 4},
    "OPHYS_2_images_A_passive": {"frame_rate_hz": 31.0},
}
SESSIONS = [pytest.param(name, asked, False, id=name) for name, asked in STAGES.items()]
LONG = [pytest.mark.long(group="others")]
ON_TWIN = [pytest.param(name, asked, True, id=f"{name} on the twin", marks=LONG) for name, asked in STAGES.items()]
IN_ORDER = [
    ImagingPhase.PREPARING,
    ImagingPhase.ARMING,
    ImagingPhase.STARTING,
    ImagingPhase.RUNNING,
    ImagingPhase.STOPPING,
    ImagingPhase.FINISHED,
]


def told(ran: Imaged) -> str:
    """Check that each stream is where it really was; return the figures."""
    lines = CardLines.of(ran.log)
    edges_us = {
        "2-photon frames": ran.residual_us(lines.rises_s(Line.VSYNC_2P), ran.pulses_s),
        "licks": ran.residual_us([e.time_s for e in ran.all(Lick)], ran.licks_s[: len(ran.all(Lick))])
        if ran.all(Lick)
        else 0.0,
        "behaviour camera": ran.residual_us(lines.rises_s(Line.CAM1_EXPOSURE), ran.exposures_s[Line.CAM1_EXPOSURE]),
        "eye camera": ran.residual_us(lines.rises_s(Line.CAM2_EXPOSURE), ran.exposures_s[Line.CAM2_EXPOSURE]),
    }
    if len(ran.patch_s):
        changes_s, _ = lines.changes_s(Line.STIM_PHOTODIODE)
        edges_us["photodiode"] = ran.residual_us(changes_s, np.sort(ran.patch_s))
    assert max(edges_us.values()) <= CLOSE_US
    clock = ran.all(MicroscopeClock)
    host_s = np.array([event.host_s for event in clock])
    true_s = OFFSET_S + (host_s - ran.microscope_zero_s) * DRIFT_PPM * 1e-6
    off_s = np.abs(np.array([event.offset_s for event in clock]) - true_s)
    assert len(clock) >= 1
    assert float(np.median(off_s)) <= CLOCK_S
    streams = {stream.name: stream for stream in alignment_of(ran.log).streams}
    for stream in streams.values():
        if stream.expected is not None:
            assert stream.counted == stream.expected, stream.finding()
    figures = ", ".join(f"{name} {us:.3f} us" for name, us in edges_us.items())
    flips = streams["stimulus frames"]
    return (
        f"off the truth at most: {figures}; flips within {flips.aligned_us:.0f} us of their pulses; clock over ZMQ off "
        f"by {float(np.median(off_s)) * 1e6:.0f} us (median of {len(off_s)}); frames "
        f"{streams['2-photon frames'].counted} of {streams['2-photon frames'].expected}, exposures "
        f"{streams['cam1 exposure'].counted} of {streams['cam1 exposure'].expected}, flips {flips.counted} of "
        f"{flips.expected}"
    )


@pytest.mark.parametrize(("stage_name", "of_microscope", "twin"), SESSIONS + ON_TWIN)
def test_every_stream_of_an_imaging_session_is_where_it_really_was(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tell: Tell,
    stage_name: str,
    of_microscope: dict[str, float],
    twin: bool,
) -> None:
    ran = run_imaged(tmp_path / "session", stage_name, monkeypatch, of_microscope=of_microscope, twin=twin)

    tell(f"{stage_name} on {'the twin' if twin else 'the simulated card'}: {told(ran)}")
    assert ran.ended.reason is EndReason.TIME
    assert [event.phase for event in ran.all(ImagingStep)] == IN_ORDER
    started = {event.phase: entry for entry in ran.log.entries if isinstance(event := entry.event, ImagingStep)}
    task = next(e for e in ran.log.entries if isinstance(e.event, BlockStarted) and e.event.block is BlockKind.TASK)
    assert started[ImagingPhase.RUNNING].flip < task.flip, "the session waits for the first frames in the gray"
    assert not ran.still_acquires
    alignment = alignment_of(ran.log)
    of_this_machine = ("stimulus frames", "photodiode") if twin else ()  # a twin's pulse is given by calls
    assert [s for s in alignment.streams if s.verdict is not Verdict.PASS and s.name not in of_this_machine] == []
    assert replay(ran.log).difference is None
    assert (np.diff(ran.log.edges()["ticks"].astype(np.int64)) >= 0).all(), "edges come in order"
    n_groups = int(of_microscope.get("plane_groups", 1))
    frames_s = frame_times_s(CardLines.of(ran.log))
    state = ran.all(MicroscopeState)[-1]
    assert state.n_frames == len(frames_s)
    assert len(state.files) == n_groups
    period_s = 1 / of_microscope["frame_rate_hz"]
    for group in range(n_groups):
        assert np.diff(frames_s[group::n_groups]) == pytest.approx(period_s, rel=2e-4), "a plane's frames are its own"


def lost(policy: str, **changes: Any) -> Ran:
    """A session whose 2-photon line dies at 6 s."""
    config = rig_config("simulated_imaging", faults={"vsync_2p_dead_s": 6.0}, policies={"microscope": policy})
    return run(stage(task_duration_min=0.5), config, **changes)


def imaging_steps(ran: Ran) -> list[ImagingPhase]:
    return [event.phase for event in ran.all(ImagingStep)]


def stopped_cleanly(entries: list[Entry], edges: np.ndarray) -> bool:
    """Return whether the log's last word on the microscope is that it has stopped, and its trigger line is low."""
    last = [entry.event for entry in entries if isinstance(entry.event, ImagingStep)][-1]
    return last.phase is ImagingPhase.FINISHED and not int(edges["state"][-1]) & Line.ACQ_TRIGGER.mask


@pytest.mark.parametrize("policy", ["continue", "stop", "stop_now", "pause"])
def test_the_policy_for_a_lost_microscope_is_followed_and_it_is_stopped_all_the_same(policy: str) -> None:
    ran = lost(policy, commands=[command("stop", at_s=30.0, name="end")] if policy == "pause" else [])
    (fault,) = [event for event in ran.all(DeviceFault) if event.device == "microscope"]
    assert "no frame on vsync_2p" in fault.what
    ended = {
        "continue": EndReason.TIME,
        "stop": EndReason.FAULT,
        "stop_now": EndReason.FAULT,
        "pause": EndReason.STOPPED,
    }
    assert ran.ended.reason is ended[policy]
    assert bool(ran.all(Paused)) is (policy == "pause")
    assert stopped_cleanly(ran.log.entries, np.concatenate(ran.log.edge_rows))
    assert imaging_steps(ran)[3:] == [ImagingPhase.RUNNING, ImagingPhase.LOST, *IN_ORDER[-2:]]
    assert replay(ran.as_read()).difference is None


def test_who_resumes_a_session_that_paused_for_its_microscope_has_it_begun_anew() -> None:
    ran = lost("pause", commands=[command("resume", at_s=25.0), command("stop", at_s=50.0, name="end")])
    begun = [phase for phase in imaging_steps(ran) if phase is ImagingPhase.PREPARING]
    assert len(begun) == 2
    states = [event.phase for event in ran.all(MicroscopeState)]
    assert states.count(MicroscopePhase.ACQUIRING) == 2
    assert len([event for event in ran.all(DeviceFault) if event.device == "microscope"]) == 2, "its line is still dead"
    assert len(ran.all(Paused)) == 2


class BrokenMouse(ScriptedMouse):
    """Makes the controller fail in mid-session."""

    def see(self, *, host_s: float, identity: str) -> None:
        if host_s > 8.0:
            raise RuntimeError("a bug in the controller")


def test_the_microscope_is_stopped_when_the_controller_itself_fails() -> None:
    log = MemoryLog()
    mouse = BrokenMouse(np.random.default_rng(1), lick_times_s=[])
    with (
        pytest.raises(RuntimeError, match="a bug in the controller"),
        assembled(plan(stage(), rig_config("simulated_imaging")), log=log, mouse=mouse) as loop,
    ):
        loop.run()
    assert stopped_cleanly(log.entries, np.concatenate(log.edge_rows))
    assert isinstance(log.entries[-1].event, ControllerFailed)
    assert [e.event.phase for e in log.entries if isinstance(e.event, MicroscopeState)][-1] is MicroscopePhase.STOPPED


@pytest.mark.parametrize("at_s", [0.01, 0.05, 0.4, 5.0])
def test_the_microscope_is_stopped_whenever_the_session_is(at_s: float) -> None:
    ran = run(stage(), rig_config("simulated_imaging"), commands=[command("stop-now", at_s=at_s)])
    assert ran.ended.reason is EndReason.STOPPED_NOW
    assert stopped_cleanly(ran.log.entries, np.concatenate(ran.log.edge_rows))


def test_a_session_that_does_not_image_has_no_step_of_it() -> None:
    ran = run(stage("TRAINING_2_gratings_flashed"), rig_config("simulated_imaging"))
    assert ran.all(ImagingStep, MicroscopeState) == []


def test_gray_that_may_be_over_before_the_first_frames_is_refused() -> None:
    config = rig_config("simulated_imaging", microscope=microscope())
    with pytest.raises(ConfigError, match=r"gray_before_s.*3.8 s.*shorten the microscope's reply_s"):
        refuse_misfits(stage(gray_before_s=3.5), config)
    refuse_misfits(stage(gray_before_s=3.8), config)
