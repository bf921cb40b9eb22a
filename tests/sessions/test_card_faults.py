"""Each fault of a card, at the start and in mid-session, through whole sessions on the twin: one table.

A fault is named within a second of when it can be told. The time is the host's, from the twin's own account of the
fault to the entry's appearance in the log; it is printed. Machine and twin share two cores with whatever else runs.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardware.clock import TICKS_PER_S
from hardware.lines import Line
from hardware.protocols import Command, DeviceError
from hardware.simulated.mice import MouseKind
from hardware.simulated.twin import Twin
from rig.config.rig import FaultsConfig
from rig.log.reader import SessionLog, read_session
from rig.log.replay import replay
from rig.log.schema import Entry
from rig.log.writer import LogThread, LogWriter
from rig.session.assemble import assembled
from rig.session.backends import calibration_of
from rig.session.control import LocalCommands
from rig.session.realtime import real_time
from stages.events import (
    AlarmRaised,
    BlockKind,
    BlockStarted,
    DeviceFault,
    EndReason,
    Lick,
    Paused,
    RewardFailed,
    SessionStarted,
    Verb,
)
from tests.builders import GRATINGS, plan, rig_config, stage
from tests.hardware.card_on_twin import WIRES
from tests.telling import Tell

AT_S = 2.0
"""When a fault begins, after the first flip; the mouse has licked by then."""
WITHIN_S = 1.0
BUSY_S = 0.5
"""For whatever else this machine is doing; the figures are printed."""
JUST_BEFORE_S = 0.1
"""What was licked this shortly before a card was lost, need not have been read."""
ECHO_LIMIT_S = 0.05
PATIENT_S = 5.0
"""The deadline of calls where it is not what is tried: on a busy machine one may take more than the rig's 0.8 s."""
SIGKILL, SIGSTOP = "kill -9", "kill -STOP"


ONLY_IN_SESSION = "can't be told before a session"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One row: how the card is broken, and what becomes of it. A star stands for any words."""

    broken: str | dict[str, Any]
    """A field of the rig's ``faults``; a fault of the twin's bench; a signal to the server."""
    device: str
    """Whose alarm and whose policy."""
    says: str
    """What the operator sees."""
    or_says: str = ""
    """What it is where another rule comes to it first."""
    mend: str = "look at the spout: water, tubing, valve and its wire"
    """And with what remedy."""
    refused: str = ""
    """The sentence with which a session is refused, where it is not the same one."""
    told_after_s: float = 0.0
    """How long the fault must last to be told, by its monitor's rule or the calls' deadline."""
    kind: MouseKind = MouseKind.ALWAYS
    changes: dict[str, Any] = field(default_factory=dict)
    """To the stage."""

    @property
    def refusal(self) -> str:
        """The sentence with which a session is refused."""
        return self.refused or f"*: {self.says}. {self.mend[0].upper()}{self.mend[1:]}."

    def is_said(self, what: str) -> bool:
        """Return whether these are the words for it."""
        return fnmatchcase(what, self.says) or fnmatchcase(what, self.or_says)


REWARDS = {"warm_up_trials": 20}
"""Every change brings water, whether the mouse can be heard or not."""


def every_look_fails(code: int) -> dict[str, Any]:
    """What the reader does every 2 ms fails from then on."""
    return {"name": "error", "rpc": "GetReadAttributeUInt32", "code": code, "times": 10**6}


FAULTS = {
    "unplugged": Fault(
        broken="device_gone_s",
        device="card",
        says="the card no longer answers (NI-DAQmx -201003: *)",
        mend="check its cable and power, then start the session again",
    ),
    "reset by somebody": Fault(
        broken=every_look_fails(-88709),
        device="card",
        says="the card was reset or removed under a running task (NI-DAQmx -88709: *)",
        mend="look who has reset it; start the session again",
    ),
    "server started anew": Fault(
        broken=every_look_fails(-200088),
        device="card",
        says="the device server no longer knows the task: it was started anew (NI-DAQmx -200088: *)",
        mend="start the session again",
    ),
    "server killed": Fault(
        broken=SIGKILL,
        device="card",
        says="the device server no longer answers (gRPC UNAVAILABLE: *)",
        mend="check its cable and power, and that the device server runs; then start the session again",
    ),
    "server frozen": Fault(
        broken=SIGSTOP,
        device="card",
        says="the device server no longer answers in time (gRPC DEADLINE_EXCEEDED: *)",
        mend="check its cable and power, and what the computer of the device server is busy with; "
        "start the session again",
        refused="card: the device server no longer answers (gRPC UNAVAILABLE: *). Check its cable and power, *.",
        told_after_s=0.8,
    ),
    "answers late": Fault(
        broken="answers_late_s",
        device="card",
        says="the device server answers late: * calls one after the other took up to * s",
        mend="look what its computer and the network are busy with, or put the card into this computer",
        told_after_s=0.6,
    ),
    "buffer overflow": Fault(
        broken="buffer_overflows_s",
        device="card",
        says="samples were overwritten before they were read (NI-DAQmx -200279: *)",
        mend="look what keeps this computer busy; close other programs and start the session again",
    ),
    "frame pulse swapped with running": Fault(
        broken="frame_and_running_swapped_s",
        device="card",
        says="frame pulses have not been seen back for * s",
        or_says="* of * frame pulses were not seen back",
        mend="check the frame-pulse line and its echo",
        refused="frame pulse: not seen back. Check the wire from the frame-pulse output to its input line.",
        told_after_s=0.5,
    ),
    "lick line stuck": Fault(
        broken="lick_line_stuck_s",
        device="lick_sensor",
        says="the lick line has been high for 2.* s",
        mend="dry the spout, look whether the mouse holds it, check the sensor and its wire",
        refused="lick line: high with nobody licking. Dry the spout, check the sensor and its wire.",
        told_after_s=2.0,
    ),
    "lick line chatters": Fault(
        broken="lick_line_chatters_s",
        device="lick_sensor",
        says="the lick line rises * times a second",
        mend="check the sensor's threshold, its cable and its ground: no mouse licks so fast",
        refused="lick line: *heck the sensor*.",  # high, or noisy: whichever is seen first
        told_after_s=0.15,
    ),
    "encoder frozen": Fault(
        broken="encoder_frozen_s",
        device="encoder",
        says="the wheel's signal has not moved by a digit for * s",
        mend="check the encoder's supply and the wires to the card's analog inputs",
        refused=ONLY_IN_SESSION,
        told_after_s=5.0,
        changes={"task_duration_min": 0.13},
    ),
    "valve without echo": Fault(
        broken="valve_silent_s",
        device="valve",
        says="the valve was opened but its echo did not come back",
        refused=ONLY_IN_SESSION,
        kind=MouseKind.PERFECT,
        changes=REWARDS,
    ),
    "lick line swapped with echo": Fault(
        broken="lick_and_echo_swapped_s",
        device="valve",
        says="the valve was opened but its echo did not come back, and the lick line rose for as long: "
        "the two may be swapped",
        refused=ONLY_IN_SESSION,
        kind=MouseKind.NEVER,
        changes=REWARDS,
    ),
}
REFUSED = [name for name, fault in FAULTS.items() if fault.refused != ONLY_IN_SESSION]
SHIPPED = rig_config("twin").policies


class Broken:
    """A session on a twin that was broken, and the twin's own account of it."""

    def __init__(self, folder: Path, fault: Fault, *, policy: str, at_s: float = AT_S) -> None:
        self.fault = fault
        self.alarm = "reward" if fault.device == "valve" else fault.device
        soon = {"kind": "geometric", "p": 0.3, "flashes_min": 2, "flashes_max": 5}
        changes = {"warm_up_trials": 1, "change": soon, "task_duration_min": 0.09, **fault.changes}
        if policy == "pause":
            changes["task_duration_min"] = 1.0  # it ends with the pause, which comes when the trial has ended
        broken = fault.broken
        asked = {broken: at_s} if isinstance(broken, str) and broken in FaultsConfig.model_fields else {}
        patient = {} if broken == SIGSTOP else {"deadline_s": PATIENT_S}
        config = rig_config(
            "twin",
            card=rig_config("twin").card.model_dump() | patient,
            faults=FaultsConfig(**asked),
            policies={fault.device: policy, "valve": policy},  # a dead card fails rewards, too
        )
        session = plan(stage(GRATINGS, **changes), config, kind=fault.kind, fast=False, folder=folder)
        self.open_s = calibration_of(config).open_time_s(5.0)
        self.seen_s: dict[str, float] = {}
        self.broken_s = self.zero_s = 0.0
        self.lick_line: list[tuple[int, bool]] = []
        self.valve: list[tuple[int, bool]] = []
        commands = LocalCommands()
        timers: list[threading.Timer] = []

        def watch(entry: Entry) -> None:
            match entry.event:
                case SessionStarted():
                    self.zero_s, self.broken_s = entry.event.host_zero_s, entry.event.host_zero_s + at_s
                    if not asked:
                        timers.append(threading.Timer(self.broken_s - time.perf_counter(), self._break))
                        timers[0].start()
                case AlarmRaised():
                    self.seen_s.setdefault(entry.event.alarm, time.perf_counter())
                case Paused():
                    commands.put(Command(id="end", who="tester", verb=Verb.STOP_NOW.value))

        with Twin(drift_ppm=50.0) as self.twin:
            with (
                contextlib.closing(LogThread(LogWriter(folder))) as log,
                real_time(),
                assembled(session, log=log, twin=self.twin, commands=commands, observers=[watch]) as loop,
            ):
                self.ended = loop.run()
            for timer in timers:
                timer.join()
            if fault.broken == SIGSTOP:
                self.twin.thaw()
            if fault.broken != SIGKILL:  # of which there is what was seen just before
                self._look()
                self.broken_ticks = self.twin.bench.ticks(self.broken_s)
                self.n_tasks = self.twin.bench.n_tasks()
                self.pulses_s = [
                    (self.twin.bench.host_s(rose), (fell - rose) / TICKS_PER_S)
                    for (rose, up), (fell, _) in itertools.pairwise(self.valve)
                    if up
                ]
        self.log: SessionLog = read_session(folder)

    def _break(self) -> None:
        if self.fault.broken == SIGKILL:
            self._look()
            self.broken_ticks = self.twin.bench.ticks(self.broken_s)
            self.n_tasks, self.pulses_s = 0, []
        self.broken_s = time.perf_counter()
        if self.fault.broken == SIGKILL:
            self.twin.kill()
        elif self.fault.broken == SIGSTOP:
            self.twin.freeze()
        else:
            assert isinstance(self.fault.broken, dict)
            self.twin.bench.fault(**self.fault.broken)

    def _look(self) -> None:
        self.lick_line = self.twin.bench.scope("port0/line31")
        self.valve = self.twin.bench.scope("PFI12")

    def all(self, kind: type[Any]) -> list[Any]:
        return [entry.event for entry in self.log.entries if isinstance(entry.event, kind)]

    def tellable_s(self) -> float:
        """The host time from which the fault can be told."""
        if self.fault.device == "valve":
            rose_s, open_s = next(pulse for pulse in self.pulses_s if pulse[0] > self.broken_s)
            return rose_s + open_s + ECHO_LIMIT_S
        return self.broken_s + self.fault.told_after_s


def judge_what_is_seen(broken: Broken) -> str:
    fault = broken.fault
    alarms = [alarm for alarm in broken.all(AlarmRaised) if alarm.alarm == broken.alarm]
    assert alarms, (broken.ended, broken.all(DeviceFault))
    first = alarms[0]
    assert fault.is_said(first.what)
    assert first.remedy == fault.mend
    if fault.device == "valve":
        assert broken.all(RewardFailed)[0].why == first.what
    else:
        named = next(named for named in broken.all(DeviceFault) if named.device == fault.device)
        assert (named.what, named.remedy) == (first.what, first.remedy)
    seen_s, tellable_s = broken.seen_s[broken.alarm], broken.tellable_s()
    assert seen_s - tellable_s <= WITHIN_S + BUSY_S
    late_s = max(seen_s - tellable_s, 0.0)
    return f"seen {seen_s - broken.broken_s:.2f} s after it began, {late_s:.2f} s after it could be told"


def judge_what_came_before(broken: Broken) -> None:
    """The log is whole, holds each lick up to the fault by the card's own account, and is replayed as it was."""
    log = broken.log
    assert log.damage == []
    assert log.flips["flip"].tolist() == list(range(len(log.flips)))
    assert (np.diff(log.edges()["ticks"]) >= 0).all()
    made = [ticks for ticks, level in broken.lick_line if level]
    before = [ticks for ticks in made if ticks < broken.broken_ticks - JUST_BEFORE_S * TICKS_PER_S]
    logged = [lick.ticks for lick in broken.all(Lick)]
    assert logged[: len(before)] == before
    if broken.fault.broken != SIGKILL:
        assert logged == made[: len(logged)]
    state = np.concatenate([[0], log.edges()["state"] & np.uint32(Line.LICK_SENSOR.mask) != 0])
    rose = log.edges()["ticks"][state[1:] > state[:-1]].tolist()
    assert rose[: len(logged)] == logged
    assert replay(log).difference is None


def judge_the_valve(broken: Broken) -> None:
    """Each opening was one finite pulse, the valve is closed, and no task is left on the server."""
    assert broken.n_tasks == 0
    if broken.fault.broken != SIGKILL:
        assert not broken.valve or not broken.valve[-1][1]
        assert all(open_s < 0.2 for _, open_s in broken.pulses_s)


def judge_the_end(broken: Broken, policy: str) -> None:
    ended = broken.ended
    match policy:
        case "continue":
            assert ended.reason is EndReason.TIME
        case "pause":
            assert broken.all(Paused)
        case "stop":
            assert ended.reason is EndReason.FAULT
            assert BlockKind.GRAY_AFTER in [event.block for event in broken.all(BlockStarted)]
        case _:
            assert ended.reason is EndReason.FAULT
            assert broken.fault.is_said(ended.why.removeprefix(f"{broken.fault.device}: "))


def judge(broken: Broken, policy: str, tell: Tell, name: str) -> None:
    words = judge_what_is_seen(broken)
    tell(f"{name}, {policy}: {words}")
    judge_what_came_before(broken)
    judge_the_valve(broken)
    judge_the_end(broken, policy)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_mid_session_is_seen_within_a_second_and_does_as_the_rig_says(
    tmp_path: Path, tell: Tell, name: str
) -> None:
    policy = SHIPPED[FAULTS[name].device].value
    judge(Broken(tmp_path / "session", FAULTS[name], policy=policy), policy, tell, name)


EVERY = [(name, policy) for name in FAULTS for policy in ("continue", "pause", "stop", "stop_now")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "policy"), [(name, policy) for name, policy in EVERY if policy != SHIPPED[FAULTS[name].device].value]
)
def test_a_fault_in_mid_session_follows_every_other_policy(tmp_path: Path, tell: Tell, name: str, policy: str) -> None:
    judge(Broken(tmp_path / "session", FAULTS[name], policy=policy), policy, tell, name)


@pytest.mark.parametrize("name", REFUSED)
def test_a_fault_at_the_start_refuses_the_session_with_its_sentence_and_leaves_nothing_open(
    tmp_path: Path, name: str
) -> None:
    fault = FAULTS[name]
    with Twin() as twin:
        for source, target in WIRES:
            twin.bench.wire(source, target)
        card = rig_config("twin").card.model_dump() | {"twin": None, "address": twin.address}
        session = plan(stage(GRATINGS), rig_config("twin", card=card), fast=False, folder=tmp_path / "session")
        break_at_start(twin, fault)
        with (
            contextlib.closing(LogWriter(session.folder)) as log,
            pytest.raises(DeviceError) as refused,
            assembled(session, log=log),
        ):
            pass
        if fault.broken == SIGSTOP:
            twin.thaw()
        if fault.broken != SIGKILL:
            twin.bench.clear_faults()
            assert twin.bench.n_tasks() == 0
            assert twin.bench.scope("PFI12") == []
    assert fnmatchcase(str(refused.value), fault.refusal)
    assert "\n" not in str(refused.value)
    assert [thread.name for thread in threading.enumerate() if thread.name in ("card reader", "watchdog")] == []


def break_at_start(twin: Twin, fault: Fault) -> None:
    """Break the card before the session has opened it, as the rig's ``faults`` would in mid-session."""
    bench = twin.bench
    breaks: dict[str, Callable[[], None]] = {
        "device_gone_s": lambda: bench.fault("unplugged"),
        "buffer_overflows_s": lambda: bench.fault("overflow"),
        "answers_late_s": lambda: bench.fault("late_answers", seconds=0.06),
        "frame_and_running_swapped_s": lambda: bench.fault("swapped", one="port0/line2", other="port0/line6"),
        "lick_line_stuck_s": lambda: bench.fault("stuck", net="PFI0", level=True),
        "lick_line_chatters_s": lambda: bench.fault("chatter", net="PFI0", hz=200.0),
        SIGKILL: twin.kill,
        SIGSTOP: twin.freeze,
    }
    if isinstance(fault.broken, dict):
        bench.fault(**fault.broken)
    else:
        breaks[fault.broken]()


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in REFUSED])
def test_a_fault_that_only_a_session_can_tell_is_seen_in_it_as_soon(tmp_path: Path, tell: Tell, name: str) -> None:
    policy = SHIPPED[FAULTS[name].device].value
    broken = Broken(tmp_path / "session", FAULTS[name], policy=policy, at_s=0.0)
    judge(broken, policy, tell, f"{name} from the first flip")
