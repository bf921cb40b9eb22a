"""A microscope that fails at any step of a session: nothing hangs, nothing starts twice or late, the policy decides.

Most are rehearsals (``rehearsals`` says of what); a handful are whole sessions, read back from their files.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from hardware.events import ImagingPhase, ImagingStep, MicroscopeState
from hardware.lines import Line
from hardware.protocols import Command
from hardware.simulated.microscope.faults import MicroscopeFault as Fault
from hardware.simulated.microscope.faults import MicroscopeStep as Step
from hardware.simulated.microscope.instrument import Wrong
from hardware.simulated.microscope.process import SimulatedMicroscopeProcess
from rig.log.reader import SessionLog, read_session
from rig.log.replay import replay
from rig.log.schema import Entry
from rig.log.writer import LogThread, LogWriter
from rig.session.assemble import assembled
from rig.session.control import LocalCommands
from stages.events import DeviceFault, DeviceRecovered, EndReason, FaultPolicy, Paused, Resumed, Verb
from tests.builders import plan, rig_config, stage
from tests.sessions.rehearsals import Draw, Rehearsed, rehearse, wrongs
from tests.telling import Tell

AT_ONCE = 16
"""They mostly wait."""
DELAYS_S = (0.0, 0.03, 0.1, 0.3)
LASTS_S = (0.3, 1.0)
SEED = 2


def drawn(n: int, *, seed: int) -> list[Draw]:
    """Draw rows of the table."""
    rng = np.random.default_rng(seed)

    def one_of(values: object) -> object:
        every = list(values)  # type: ignore[call-overload]
        return every[int(rng.integers(len(every)))]

    return [
        Draw(
            kind=one_of(Fault),  # type: ignore[arg-type]
            step=one_of(Step),  # type: ignore[arg-type]
            delay_s=float(one_of(DELAYS_S)),  # type: ignore[arg-type]
            lasts_s=float(one_of(LASTS_S)),  # type: ignore[arg-type]
            policy=one_of(FaultPolicy),  # type: ignore[arg-type]
            wired=bool(rng.integers(2)),
        )
        for _ in range(n)
    ]


def full_table() -> list[Draw]:
    """Every fault at every step after every delay; how long it lasts, policy and wire by turns."""
    turns = itertools.cycle(itertools.product(FaultPolicy, LASTS_S, (True, False)))
    return [
        Draw(kind, step, delay_s, lasts_s, policy, wired)
        for (kind, step, delay_s), (policy, lasts_s, wired) in zip(
            itertools.product(Fault, Step, DELAYS_S), turns, strict=False
        )
    ]


def rehearsed(draws: list[Draw], tell: Tell) -> None:
    """Rehearse several at once; say how it went; fail with the story of each that went wrong."""
    begun_s = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        every = list(pool.map(rehearse, draws))
    bad = [(wrong, one) for one in every if (wrong := wrongs(one))]
    assert not bad, "\n\n".join(f"{wrong}\n{one.story()}" for wrong, one in bad)
    tell(_told(every, time.perf_counter() - begun_s))


def _told(every: list[Rehearsed], took_s: float) -> str:
    n_lost = sum(bool(one.all(DeviceFault)) for one in every)
    n_again = sum(bool(one.all(DeviceRecovered)) for one in every)
    ends = Counter("refused" if one.ended is None else one.ended.reason.value for one in every)
    longest_s = max(one.took_s for one in every)
    left_s = max(one.stopped_after_s for one in every)
    return (
        f"{len(every)} draws in {took_s:.0f} s: lost in {n_lost}, taken up again in {n_again}; ends {dict(ends)}; the "
        f"longest took {longest_s:.1f} s, the microscope acquired at most {left_s:.2f} s after a session's end"
    )


def test_a_hundred_draws_of_fault_step_and_delay_neither_hang_nor_start_twice_nor_late(tell: Tell) -> None:
    rehearsed(drawn(100, seed=SEED), tell)


@pytest.mark.long(group="others")
def test_every_fault_at_every_step_after_every_delay_is_survived(tell: Tell) -> None:
    rehearsed(full_table(), tell)


def test_a_microscope_that_answers_no_stop_for_a_while_keeps_what_it_has_recorded(tell: Tell) -> None:
    """An abort would throw it away, and reach it as soon as it answers again."""
    one = rehearse(Draw(Fault.NO_ANSWER, Step.ACQUIRING, 1.2, 1.1, FaultPolicy.CONTINUE, wired=True))
    assert wrongs(one) == []
    called = [name for name, _, _ in one.called]
    assert "abort" not in called, one.story()
    assert called[-2:] == ["stop", "ended"]
    what = [state.what for state in one.all(MicroscopeState) if state.what]  # type: ignore[union-attr]
    tell(f"at the end: {what[-2:]}")


@dataclass(frozen=True)
class Whole:
    """A whole session with a microscope that fails."""

    wrong: Wrong
    policy: FaultPolicy
    ends: EndReason
    says: str
    """What the log has of it."""
    phases: list[ImagingPhase] = field(default_factory=list)
    """All steps of the sequence."""


P = ImagingPhase
WHOLE = {
    "it dies, and the session goes on": Whole(
        Wrong(Fault.DIES, Step.ACQUIRING, 0.5, 1.0),
        FaultPolicy.CONTINUE,
        EndReason.TIME,
        "has failed: was not heard of for *",
        [P.PREPARING, P.ARMING, P.STARTING, P.RUNNING, P.LOST, P.STOPPING, P.STOPPING, P.FINISHED],
    ),
    "it refuses to be armed, and the session stops": Whole(
        Wrong(Fault.REFUSES, Step.ARM, 0.0, 60.0),
        FaultPolicy.STOP,
        EndReason.FAULT,
        "has failed: refused to arm: its shutter is stuck",
    ),
    "a start arrives late after a reconnect, and is not carried out": Whole(
        Wrong(Fault.STALE_START, Step.START, 0.0, 60.0),
        FaultPolicy.STOP,
        EndReason.TIME,
        "start came over a connection that was over, and was not carried out",
        [P.PREPARING, P.ARMING, P.STARTING, P.RUNNING, P.STOPPING, P.FINISHED],
    ),
    "it takes four times as long to write out as to answer, and is waited for": Whole(
        Wrong(Fault.SLOW, Step.STOP, 0.0, 2.4),
        FaultPolicy.STOP,
        EndReason.TIME,
        "stop: done",
        [P.PREPARING, P.ARMING, P.STARTING, P.RUNNING, P.STOPPING, P.FINISHED],
    ),
    "it starts anew, the session pauses and asks, and the operator resumes": Whole(
        Wrong(Fault.RESTARTS, Step.ACQUIRING, 0.5, 1.0),
        FaultPolicy.PAUSE,
        EndReason.TIME,
        "its program was started anew: what it was recording has ended",
    ),
}


class Ran:
    """A whole session that was run, read back from its files."""

    def __init__(self, whole: Whole, folder: Path) -> None:
        link = {"kind": "process", "first_frames_s": 1.2, "reply_s": 0.6, "heartbeat_s": 0.1, "plane_groups": 2}
        config = rig_config("simulated_imaging", microscope=link, policies={"microscope": whole.policy})
        soon = {"kind": "geometric", "p": 0.3, "flashes_min": 2, "flashes_max": 3}
        parameters = stage(gray_before_s=3.5, gray_after_s=0.25, task_duration_min=0.02, change=soon)
        commands = LocalCommands()

        def resume(entry: Entry) -> None:
            if isinstance(entry.event, Paused):
                commands.put(Command(id="resume", who="operator", verb=Verb.RESUME.value))

        with SimulatedMicroscopeProcess(drift_ppm=50.0, offset_s=0.03, wrong=whole.wrong) as self.process:
            with (
                contextlib.closing(LogThread(LogWriter(folder))) as log,
                assembled(
                    plan(parameters, config, fast=False, folder=folder),
                    log=log,
                    commands=commands,
                    observers=[resume],
                    microscope=self.process,
                ) as loop,
            ):
                loop.run()
            self.acquires = self.process.acquiring
        self.log: SessionLog = read_session(folder)

    def all(self, kind: type) -> list:  # type: ignore[type-arg]
        return [entry.event for entry in self.log.entries if isinstance(entry.event, kind)]


@pytest.fixture(scope="module")
def whole_sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """All of them, at once: they wait most of the time."""
    folder = tmp_path_factory.mktemp("whole")
    with ThreadPoolExecutor(len(WHOLE)) as pool:
        ran = pool.map(lambda item: Ran(item[1], folder / str(item[0])), enumerate(WHOLE.values()))
        return dict(zip(WHOLE, ran, strict=True))


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_session_follows_its_policy_and_its_log_tells_the_story(
    whole_sessions: dict[str, Ran], name: str, tell: Tell
) -> None:
    from fnmatch import fnmatchcase

    whole, ran = WHOLE[name], whole_sessions[name]
    ended = ran.log.ended
    assert ended is not None
    assert ended.reason is whole.ends
    assert not ran.acquires
    said = [fault.what for fault in ran.all(DeviceFault) if fault.device == "microscope"]
    said += [words for state in ran.all(MicroscopeState) for words in (state.what, *state.warnings)]
    assert any(fnmatchcase(words, whole.says) for words in said), said
    phases = [step.phase for step in ran.all(ImagingStep)]
    if whole.phases:
        assert phases == whole.phases
    assert phases[-1] is ImagingPhase.FINISHED
    assert bool(ran.all(Paused)) == bool(ran.all(Resumed)) == (whole.policy is FaultPolicy.PAUSE)
    if whole.policy is FaultPolicy.PAUSE:
        assert phases.count(ImagingPhase.RUNNING) == 2
    assert ran.log.damage == []
    assert replay(ran.log).difference is None
    edges = ran.log.edges()["state"] & np.uint32(Line.VSYNC_2P.mask)
    n_seen = int((np.diff(np.concatenate([[0], edges.astype(np.int64)])) > 0).sum())
    begun = [called.name for called in ran.process.called].count("began")
    tell(f"{name}: {begun} recordings, {n_seen} frames seen of {len(ran.process.pulses_s)} given, ended {ended.reason}")
    assert n_seen == len(ran.process.pulses_s)
