"""Lines that fail in mid-session: a photodiode unplugged or covered, a dead 2-photon line, two lines swapped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hardware.clock import TICKS_PER_S
from hardware.lines import Line
from hardware.protocols import Command
from hardware.simulated.mice import MouseKind
from rig.log.replay import replay
from rig.log.schema import Entry
from rig.log.writer import MemoryLog
from rig.session.assemble import assembled
from rig.session.control import LocalCommands
from rig.session.lines import WATCHED, Expected, LineMonitors, LineSeen
from stages.events import AlarmRaised, EndReason, Verb
from tests.builders import IMAGES, Ran, plan, rig_config, run, stage
from tests.sessions.imaged import GRAY_S, microscope
from tests.telling import Tell

LIMIT_S = 5.0
FAULT_S = 6.0
FAULTS = [
    ("photodiode_unplugged_s", "photodiode", "it is unplugged"),
    ("patch_covered_s", "photodiode", "its patch is covered"),
    ("vsync_2p_dead_s", "microscope", "the 2-photon line is dead"),
    (
        "vsync_2p_and_photodiode_swapped_s",
        "lines",
        "stim_photodiode has the frames of vsync_2p: the two lines are swap",
    ),
]
LONG = [pytest.mark.long(group="others")]


def check(entries: list[Entry], alarm: str, named: str, *, fault_s: float = FAULT_S) -> float:
    """Check that the alarm was raised, by name; return how long after the fault."""
    raised = [
        (entry.refresh / 60.0, entry.event)
        for entry in entries
        if isinstance(entry.event, AlarmRaised) and entry.event.alarm == alarm
    ]
    assert raised, [entry.event for entry in entries if isinstance(entry.event, AlarmRaised)]
    at_s, event = raised[0]
    assert named in event.what
    assert at_s - fault_s <= LIMIT_S
    assert at_s > fault_s, "it was raised before anything was wrong"
    return at_s - fault_s


def simulated(**faults: Any) -> Ran:
    return run(stage(task_duration_min=0.5), rig_config("simulated_imaging", faults=faults))


@pytest.mark.parametrize(("fault", "alarm", "named"), FAULTS, ids=[fault for fault, *_ in FAULTS])
def test_a_line_that_fails_is_named_within_five_seconds(tell: Tell, fault: str, alarm: str, named: str) -> None:
    ran = simulated(**{fault: FAULT_S})
    tell(f"{fault.removesuffix('_s')}: alarm {check(ran.log.entries, alarm, named):.1f} s later, in simulated time")
    assert ran.ended.reason is EndReason.TIME
    assert replay(ran.as_read()).difference is None


def test_lines_that_are_swapped_from_the_first_are_named_though_no_frame_was_ever_seen() -> None:
    ran = simulated(vsync_2p_and_photodiode_swapped_s=0.0)
    raised = {entry.event.alarm: entry.refresh / 60 for entry in ran.entries(AlarmRaised)}
    assert raised["lines"] <= LIMIT_S


@pytest.mark.parametrize("dead_s", [0.0, FAULT_S])
def test_cameras_as_fast_as_the_microscope_are_not_taken_for_its_frames_when_its_line_dies(dead_s: float) -> None:
    """A resonant scanner gives 30 frames a second, and so do most cameras."""
    config = rig_config(
        "simulated_imaging",
        faults={"vsync_2p_dead_s": dead_s},
        microscope={"kind": "simulated", "frame_rate_hz": 30.0},
    )
    ran = run(stage(task_duration_min=0.5), config)
    assert [event.alarm for event in ran.all(AlarmRaised)] == ["microscope"]


@pytest.mark.parametrize(
    ("fault", "device"), [("photodiode_unplugged_s", "photodiode"), ("vsync_2p_and_photodiode_swapped_s", "lines")]
)
def test_a_rig_may_have_a_policy_for_what_else_only_raises_an_alarm(fault: str, device: str) -> None:
    config = rig_config("simulated_imaging", faults={fault: FAULT_S}, policies={device: "stop"})
    ran = run(stage(task_duration_min=0.5), config)
    assert ran.ended.reason is EndReason.FAULT
    assert ran.ended.why.startswith(f"{device}: ")


def test_a_session_without_a_microscope_has_its_photodiode_watched_all_the_same() -> None:
    ran = run(stage(task_duration_min=2.0), rig_config("simulated", faults={"photodiode_unplugged_s": FAULT_S}))
    assert [event.alarm for event in ran.all(AlarmRaised)] == ["photodiode"]


def test_lines_that_are_as_they_should_be_raise_no_alarm() -> None:
    for behaviour in ("perfect", "jittering", "dropping", "drifting"):
        ran = run(stage(task_duration_min=2.0), rig_config("simulated_imaging", behaviour=behaviour))
        assert ran.all(AlarmRaised) == []


def in_real_time(card: str, fault: str, alarm: str, *, fault_s: float) -> list[Entry]:
    """Run until the alarm comes, and no longer than until it must have come."""
    commands = LocalCommands()

    def stop_at(entry: Entry) -> None:
        came = isinstance(entry.event, AlarmRaised) and entry.event.alarm == alarm
        if came or entry.refresh > (fault_s + LIMIT_S + 1.0) * 60:
            commands.put(Command(id="enough", who="test", verb=Verb.STOP_NOW.value))

    rig = {"imaging": True, "microscope": microscope()} if card == "the twin" else {}
    config = rig_config("twin" if card == "the twin" else "simulated_imaging", faults={fault: fault_s}, **rig)
    log = MemoryLog()
    session = plan(
        stage(IMAGES, task_duration_min=0.5, gray_before_s=GRAY_S if card == "the twin" else 0.5),
        config,
        kind=MouseKind.NEVER,
        fast=False,
    )
    with assembled(session, log=log, commands=commands, observers=(stop_at,)) as loop:
        loop.run()
    return log.entries


REAL = [
    pytest.param(card, *fault, id=f"{fault[0]} on {card}", marks=LONG if card == "the twin" or i % 3 else [])
    for card in ("the simulated card", "the twin")
    for i, fault in enumerate(FAULTS)
]


@pytest.mark.parametrize(("card", "fault", "alarm", "named"), REAL)
def test_it_is_named_as_soon_in_real_time(tell: Tell, card: str, fault: str, alarm: str, named: str) -> None:
    fault_s = GRAY_S + 2.0 if card == "the twin" else 3.0
    entries = in_real_time(card, fault, alarm, fault_s=fault_s)
    later_s = check(entries, alarm, named, fault_s=fault_s)
    tell(f"{fault.removesuffix('_s')} on {card}: alarm {later_s:.1f} s later, in real time")


def test_a_wrong_rate_is_said_again_when_the_microscope_works_again_at_the_same_rate() -> None:
    """That it works again clears its alarm, and nobody would know of the rate any more."""
    rises = (np.arange(60) / 20.0 * TICKS_PER_S).astype(np.int64)
    seen = dict.fromkeys(WATCHED, LineSeen()) | {Line.VSYNC_2P: LineSeen(60, int(rises[-1]), rises=rises)}
    expected = Expected(photodiode=False, frames_hz=31.0, exposures=False)
    monitors = LineMonitors(patch_s=1.0)

    def told(at_s: float) -> list[str]:
        ticks = round(at_s * TICKS_PER_S)
        return [event.device for event in monitors.tick(seen, expected, read_ticks=ticks, time_s=at_s)]

    assert [told(0.0), told(3.5)] == [["microscope"], []]
    monitors.forget(["cameras"])
    assert told(3.6) == []
    monitors.forget(["microscope"])
    assert told(3.7) == ["microscope"]


def test_one_camera_as_fast_as_the_microscope_is_not_taken_for_its_frames_either() -> None:
    """It was seen beside the frames for some time before their line died."""
    second, rate_hz = TICKS_PER_S, 30.0

    def regular(until_s: float, at_s: float) -> LineSeen:
        last_s = min(at_s, until_s)
        rises = ((last_s - np.arange(20)[::-1] / rate_hz) * second).astype(np.int64)
        return LineSeen(n_rises=20, changed_ticks=int(rises[-1]), rises=rises)

    monitors = LineMonitors(patch_s=1.0)
    expected = Expected(photodiode=False, frames_hz=rate_hz, exposures=False)
    told = []
    for at_s in range(1, 20):
        seen = dict.fromkeys(WATCHED, LineSeen())
        seen |= {Line.VSYNC_2P: regular(10.0, at_s), Line.CAM1_EXPOSURE: regular(20.0, at_s)}
        told += list(monitors.tick(seen, expected, read_ticks=at_s * second, time_s=float(at_s)))
    assert told == []
