"""The microscope's and the cameras' sequences, step by step, against microscopes that answer as a script says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.arrays import FloatArray
from hardware.events import (
    CameraState,
    Finding,
    ImagingPhase,
    ImagingStep,
    MicroscopeEvent,
    MicroscopePhase,
    MicroscopeState,
    Verdict,
)
from hardware.protocols import DeviceError, Identity
from rig.session.cameras import CameraSequence
from rig.session.imaging import FramesSeen, Happened, ImagingLimits, ImagingSequence

P, S = ImagingPhase, MicroscopePhase
LIMITS = ImagingLimits(reply_s=1.0, first_frames_s=2.0, silent_s=0.5, stop_s=3.0)
STEP_S = 0.1
FRAME_S = 0.05
ANSWERS = {"prepare": S.PREPARED, "arm": S.ARMED, "start": S.ACQUIRING, "stop": S.STOPPED, "abort": S.IDLE}
NEVER_S = 1e9


@dataclass
class Scripted:
    """A microscope that answers each command after a time of its own, and a card that sees its frames."""

    after_s: dict[str, float] = field(default_factory=dict)
    """How long each command takes; at once where nothing is said, never with ``NEVER_S``."""
    answers: dict[str, MicroscopePhase] = field(default_factory=dict)
    """What is said instead of the usual."""
    raises: frozenset[str] = frozenset()
    frames_after_s: float = 0.0
    """From the trigger to the first frame."""
    dead_from_s: float = NEVER_S
    """The frame line is dead from then on."""
    dead_until_s: float = NEVER_S
    goes_on: bool = False
    """It says that it has stopped, and does not."""
    says: list[tuple[float, MicroscopePhase]] = field(default_factory=list)
    """What it says unasked, and when."""
    now_s: float = 0.0
    calls: list[tuple[str, float]] = field(default_factory=list)
    _due: list[tuple[float, MicroscopePhase]] = field(default_factory=list)
    _begun_s: float = NEVER_S
    _ended_s: float = NEVER_S
    n_seen: int = 0
    level: bool = False
    name: str = "microscope"

    def open(self) -> Identity:
        return Identity(device=self.name, model="scripted")

    def check(self) -> list[Finding]:
        return []

    def health(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        pass

    def prepare(self, *, session_id: str, mouse: str, stage: str) -> None:
        self._take("prepare")

    def arm(self) -> None:
        self._take("arm")

    def start(self) -> None:
        self._take("start")

    def stop(self) -> None:
        self._take("stop")

    def abort(self) -> None:
        self._take("abort")

    def poll(self) -> Sequence[MicroscopeEvent]:
        if "poll" in self.raises:
            raise DeviceError(device=self.name, what="poll is refused", remedy="look")
        said = [(at_s, phase) for at_s, phase in [*self._due, *self.says] if at_s <= self.now_s]
        self._due = [item for item in self._due if item[0] > self.now_s]
        self.says = [item for item in self.says if item[0] > self.now_s]
        return [
            MicroscopeState(phase=phase, n_frames=self.n_seen) for _, phase in sorted(said, key=lambda item: item[0])
        ]

    def _take(self, command: str) -> None:
        self.calls.append((command, self.now_s))
        if command in self.raises:
            raise DeviceError(device=self.name, what=f"{command} is refused", remedy="look")
        at_s = self.now_s + self.after_s.get(command, 0.0)
        if at_s < NEVER_S / 2:
            self._due.append((at_s, self.answers.get(command, ANSWERS[command])))
            fails = self.answers.get(command) is S.FAILED
            if command in ("stop", "abort") and not fails and not self.goes_on:
                self._ended_s = min(self._ended_s, at_s)

    def acquire(self, *, level: bool) -> None:
        if level and not self.level:
            self._begun_s, self._ended_s = self.now_s + self.frames_after_s, NEVER_S
        self.level = level

    def flip_pulse(self) -> None:
        pass

    def flips_made(self, *, host_s: FloatArray) -> None:
        pass

    def running(self, *, level: bool) -> None:
        pass

    @property
    def acquires(self) -> bool:
        return self._begun_s <= self.now_s < self._ended_s

    def frames(self) -> FramesSeen:
        return FramesSeen(n=self.n_seen, read_until_s=self.now_s)

    def advance(self, by_s: float) -> None:
        self.now_s += by_s
        is_dead = self.dead_from_s <= self.now_s < self.dead_until_s
        if self.acquires and not is_dead:
            self.n_seen += max(1, round(by_s / FRAME_S))


@dataclass
class Run:
    """A sequence and what has come of it."""

    scripted: Scripted
    sequence: ImagingSequence
    steps: list[tuple[float, ImagingPhase]] = field(default_factory=list)
    faults: list[tuple[float, str]] = field(default_factory=list)
    recovered_s: list[float] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    n_worse: int = 0

    def take(self, happened: Happened) -> None:
        now_s = self.scripted.now_s
        self.steps += [(now_s, event.phase) for event in happened.events if isinstance(event, ImagingStep)]
        self.findings += [event for event in happened.events if isinstance(event, Finding)]
        if happened.fault is not None:
            self.faults.append((now_s, happened.fault.what))
        self.n_worse += happened.worse
        if happened.recovered:
            self.recovered_s.append(now_s)

    def until(self, time_s: float) -> None:
        while self.scripted.now_s < time_s - 1e-9:
            self.scripted.advance(min(STEP_S, time_s - self.scripted.now_s))
            self.take(self.sequence.step(now_s=self.scripted.now_s, frames=self.scripted.frames()))

    def end(self) -> float:
        """End it; return how long that took."""
        begun_s = self.scripted.now_s
        self.take(self.sequence.end(now_s=begun_s))
        while not self.sequence.finished:
            assert self.scripted.now_s - begun_s < 60.0, "it never ends"
            self.until(self.scripted.now_s + STEP_S)
        return self.scripted.now_s - begun_s

    @property
    def phases(self) -> list[ImagingPhase]:
        return [phase for _, phase in self.steps]

    @property
    def commands(self) -> list[str]:
        return [command for command, _ in self.scripted.calls]


def begun(scripted: Scripted) -> Run:
    sequence = ImagingSequence(microscope=scripted, sync=scripted, session_id="s", mouse="M1", stage="S", limits=LIMITS)
    run = Run(scripted, sequence)
    run.take(sequence.begin(now_s=0.0, frames=scripted.frames()))
    return run


def test_it_is_prepared_armed_triggered_seen_stopped_in_this_order() -> None:
    run = begun(Scripted(after_s={"prepare": 0.3, "arm": 0.2, "start": 0.1, "stop": 1.0}, frames_after_s=0.5))
    run.until(5.0)
    assert run.scripted.level
    run.end()
    assert run.phases == [P.PREPARING, P.ARMING, P.STARTING, P.RUNNING, P.STOPPING, P.FINISHED]
    assert run.commands == ["prepare", "arm", "start", "stop"]
    assert run.faults == []
    assert not run.scripted.level
    assert not run.scripted.acquires


def test_a_microscope_that_answers_at_once_is_triggered_within_the_first_step() -> None:
    run = begun(Scripted())
    assert run.phases == [P.PREPARING, P.ARMING, P.STARTING]
    run.until(0.3)
    assert run.phases[-1] is P.RUNNING


LOST = [
    # what it does, when it is lost, what is said of it
    (Scripted(after_s={"prepare": NEVER_S}), 1.0, "has not been prepared within 1 s"),
    (Scripted(after_s={"arm": NEVER_S}), 1.0, "has not been armed within 1 s"),
    (
        Scripted(frames_after_s=NEVER_S),
        2.0,
        "within 2.0 s of the trigger, though it says that it acquires: the 2-photon",
    ),
    (Scripted(frames_after_s=NEVER_S, after_s={"start": NEVER_S}), 2.0, "no frame on vsync_2p within 2.0 s"),
    (Scripted(answers={"prepare": S.FAILED}), 0.0, "has failed"),
    (Scripted(raises=frozenset({"prepare"})), 0.0, "prepare is refused"),
    (Scripted(raises=frozenset({"arm"})), 0.0, "arm is refused"),
    (Scripted(says=[(3.0, S.FAILED)]), 3.0, "has failed"),
    (Scripted(says=[(3.0, S.STOPPED)]), 3.0, "has become stopped by itself"),
    (Scripted(says=[(3.0, S.IDLE)]), 3.0, "has become idle by itself"),
    (Scripted(dead_from_s=3.0), 3.4, "no frame on vsync_2p"),
]


@pytest.mark.parametrize(("scripted", "lost_s", "said"), LOST, ids=[said for *_, said in LOST])
def test_it_is_lost_once_when_its_limit_has_passed_and_stopped_all_the_same(
    scripted: Scripted, lost_s: float, said: str
) -> None:
    run = begun(scripted)
    run.until(6.0)
    assert len(run.faults) == 1
    at_s, what = run.faults[0]
    assert said in what
    assert lost_s - 1e-9 <= at_s <= lost_s + 2 * STEP_S + 1e-9
    assert run.phases[-1] is P.LOST
    took_s = run.end()
    assert took_s <= LIMITS.stop_s + LIMITS.reply_s + 4 * STEP_S
    assert not run.scripted.level
    assert run.commands[-1] in ("stop", "abort")


@pytest.mark.parametrize("phase", list(S))
def test_what_it_said_before_the_session_began_is_logged_and_loses_nothing(phase: MicroscopePhase) -> None:
    """Its link was lost while the pictures were made ready, for example, and was back in time."""
    run = begun(Scripted(says=[(0.0, phase)], after_s={"prepare": 0.3, "arm": 0.2}))
    assert run.phases == [P.PREPARING]
    run.until(3.0)
    assert run.commands == ["prepare", "arm", "start"]
    assert run.faults == []
    assert run.phases[-1] is P.RUNNING


def test_a_link_that_has_ended_before_the_session_began_loses_the_microscope_at_once() -> None:
    run = begun(Scripted(raises=frozenset({"poll"})))
    assert run.phases == [P.LOST]
    assert [what for _, what in run.faults] == ["poll is refused"]
    run.until(1.0)
    run.end()
    assert run.phases[-1] is P.FINISHED


def test_frames_that_come_again_clear_the_alarm() -> None:
    run = begun(Scripted(dead_from_s=3.0, dead_until_s=5.0))
    run.until(7.0)
    assert len(run.faults) == 1
    assert run.recovered_s == pytest.approx([5.0], abs=0.3)
    assert run.phases[-1] is P.RUNNING


@pytest.mark.parametrize("link_gone", [False, True], ids=["it says that it has failed", "its link has ended"])
def test_a_microscope_whose_frames_stayed_away_and_which_then_fails_is_named_once_more(link_gone: bool) -> None:
    scripted = Scripted(dead_from_s=3.0, says=[] if link_gone else [(5.0, S.FAILED), (6.0, S.FAILED)])
    run = begun(scripted)
    run.until(5.0)
    if link_gone:
        scripted.raises = frozenset({"poll"})
    run.until(8.0)
    assert [int(at_s) for at_s, _ in run.faults] == [3, 5]
    assert "no frame on vsync_2p" in run.faults[0][1]
    assert ("poll is refused" if link_gone else "has failed") in run.faults[1][1]
    assert run.phases.count(P.LOST) == run.n_worse + 1 == 2


def test_what_has_failed_by_its_own_word_is_taken_up_again_by_its_own_word_alone() -> None:
    run = begun(Scripted(says=[(3.0, S.FAILED), (5.0, S.ACQUIRING)]))
    run.until(4.5)
    assert run.phases[-1] is P.LOST, "the frames that go on do not say that it can be commanded"
    run.until(6.0)
    assert run.phases[-1] is P.RUNNING
    assert run.recovered_s == pytest.approx([5.0], abs=2 * STEP_S)


def test_the_operator_s_resume_begins_anew_with_what_was_lost() -> None:
    run = begun(Scripted(says=[(3.0, S.FAILED)]))
    run.until(4.0)
    run.take(run.sequence.retry(now_s=4.0))
    run.until(5.0)
    assert run.commands == ["prepare", "arm", "start", "stop", "prepare", "arm", "start"], "what it holds is kept"
    assert run.phases[-1] is P.RUNNING
    assert len(run.recovered_s) == 1
    run.end()
    assert run.commands[-1] == "stop"


def test_a_recording_that_takes_long_to_write_out_is_waited_for_before_another_is_begun() -> None:
    run = begun(Scripted(says=[(3.0, S.FAILED)]))
    run.until(3.5)
    run.scripted.after_s = {"stop": 2.5, "prepare": 2.9}
    run.take(run.sequence.retry(now_s=3.5))
    run.until(7.0)
    assert len(run.faults) == 1
    assert run.phases[-1] is P.RUNNING


def test_frames_are_stopped_and_never_thrown_away_however_often_the_operator_tries() -> None:
    run = begun(Scripted(dead_from_s=2.0, after_s={"stop": 0.2}))
    run.until(3.0)
    assert run.phases[-1] is P.LOST
    run.scripted.answers = {"prepare": S.FAILED}
    for at_s in (3.0, 4.0):
        run.take(run.sequence.retry(now_s=at_s))
        run.until(at_s + 1.0)
        assert run.phases[-1] is P.LOST
    run.end()
    assert "abort" not in run.commands


def test_what_was_prepared_and_never_triggered_is_aborted_before_it_is_prepared_again() -> None:
    run = begun(Scripted(after_s={"arm": NEVER_S}))
    run.until(2.0)
    run.take(run.sequence.retry(now_s=2.0))
    assert run.commands == ["prepare", "arm", "abort", "prepare"]


def test_resume_does_nothing_to_a_microscope_that_runs() -> None:
    run = begun(Scripted())
    run.until(2.0)
    run.take(run.sequence.retry(now_s=2.0))
    assert run.commands == ["prepare", "arm", "start"]
    assert run.phases[-1] is P.RUNNING


@pytest.mark.parametrize("at_s", [0.0, 0.2, 0.5, 0.8], ids=["preparing", "prepared", "arming", "armed"])
def test_a_session_that_ends_before_the_trigger_aborts_and_never_triggers(at_s: float) -> None:
    run = begun(Scripted(after_s={"prepare": 0.3, "arm": 0.6}))
    run.until(at_s)
    run.end()
    assert "start" not in run.commands
    assert run.commands[-1] == "abort"
    assert not run.scripted.level
    assert run.findings == []


def test_what_does_not_stop_is_aborted_and_what_is_not_aborted_is_named() -> None:
    run = begun(Scripted(after_s={"stop": NEVER_S, "abort": 0.3}))
    run.until(2.0)
    assert run.end() == pytest.approx(LIMITS.stop_s + 0.5, abs=0.5)
    assert run.commands[-2:] == ["stop", "abort"]
    assert run.findings == []

    run = begun(Scripted(after_s={"stop": NEVER_S, "abort": NEVER_S}))
    run.until(2.0)
    assert run.end() == pytest.approx(LIMITS.stop_s + LIMITS.reply_s, abs=0.5)
    (finding,) = run.findings
    assert "though it was aborted" in finding.figure
    assert "go and look" in finding.remedy


def test_a_microscope_that_said_it_had_stopped_before_its_link_ended_is_no_failure_to_stop() -> None:
    """Its program was ended: it stopped first, then nobody answered any more."""
    scripted = Scripted(dead_from_s=2.0, says=[(4.0, S.STOPPED), (5.0, S.FAILED)])
    run = begun(scripted)
    run.until(6.0)
    scripted.answers = {"stop": S.FAILED, "abort": S.FAILED}
    run.end()
    (finding,) = run.findings
    assert finding.verdict is Verdict.WARN
    assert finding.figure == "has stopped by itself, by its last word, and does not answer any more"


def test_a_microscope_that_says_it_has_stopped_and_gives_frames_is_not_believed() -> None:
    run = begun(Scripted(goes_on=True))
    run.until(2.0)
    run.end()
    (finding,) = run.findings
    assert "gives frames" in finding.figure


def test_a_failure_to_stop_is_answered_by_another_stop_and_then_by_an_abort_at_once() -> None:
    run = begun(Scripted(answers={"stop": S.FAILED}))
    run.until(2.0)
    assert run.end() < 1.0
    assert run.commands[-3:] == ["stop", "stop", "abort"]


def test_what_was_recorded_is_not_thrown_away_because_one_stop_was_not_answered() -> None:
    """The link says so when its own limit has passed; a moment later the microscope can be spoken to again."""
    scripted = Scripted(answers={"stop": S.FAILED}, after_s={"stop": 1.0})
    run = begun(scripted)
    run.until(2.0)
    run.take(run.sequence.end(now_s=2.0))
    run.until(2.5)
    scripted.answers = {}
    run.until(6.0)
    assert run.sequence.finished
    assert run.commands[-3:] == ["start", "stop", "stop"]
    assert not scripted.acquires
    assert run.findings == []


delays = st.sampled_from([0.0, 0.3, 0.9, 1.5, NEVER_S])


@given(
    after=st.fixed_dictionaries(dict.fromkeys(ANSWERS, delays)),
    failing=st.sets(st.sampled_from(sorted(ANSWERS)), max_size=2),
    raising=st.sets(st.sampled_from(sorted(ANSWERS)), max_size=2),
    frames_after_s=delays,
    dead_from_s=st.sampled_from([NEVER_S, 1.0, 3.0]),
    unasked=st.lists(st.tuples(st.floats(0.0, 8.0), st.sampled_from(list(S))), max_size=3),
    end_s=st.floats(0.0, 8.0),
    retry_s=st.floats(0.0, 8.0),
)
def test_whatever_the_microscope_does_it_ends_within_the_limits_with_the_line_low(
    after: dict[str, float],
    failing: set[str],
    raising: set[str],
    frames_after_s: float,
    dead_from_s: float,
    unasked: list[tuple[float, MicroscopePhase]],
    end_s: float,
    retry_s: float,
) -> None:
    run = begun(
        Scripted(
            after_s=after,
            answers=dict.fromkeys(failing, S.FAILED),
            raises=frozenset(raising),
            frames_after_s=frames_after_s,
            dead_from_s=dead_from_s,
            says=unasked,
        )
    )
    if retry_s < end_s:
        run.until(retry_s)
        run.take(run.sequence.retry(now_s=run.scripted.now_s))
    run.until(end_s)
    n_triggers = run.phases.count(P.STARTING)
    assert run.commands.count("start") <= n_triggers <= 2
    assert len(run.faults) <= 1 + run.phases.count(P.RUNNING) + run.phases.count(P.PREPARING) + run.n_worse
    assert run.n_worse <= run.phases.count(P.STARTING)
    assert run.end() <= LIMITS.stop_s + LIMITS.reply_s + 4 * STEP_S
    assert run.phases[-1] is P.FINISHED
    assert not run.scripted.level
    if "start" in run.commands:
        assert run.commands[-1] in ("stop", "abort"), "whatever was begun is told to end, and nothing after it"
    has_lied = any(phase in (S.IDLE, S.STOPPED) for _, phase in unasked)
    assert not run.scripted.acquires or run.findings or has_lied, "what may still acquire is named"


@dataclass
class ScriptedCameras:
    """Cameras that say what they are told to, at once."""

    starts: bool = True
    stops: bool = True
    states: list[CameraState] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    name: str = "cameras"

    def open(self) -> Identity:
        return Identity(device=self.name, model="scripted")

    def check(self) -> list[Finding]:
        return []

    def health(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        pass

    def start(self, *, session_id: str) -> None:
        self.calls.append("start")
        if self.starts:
            self.states.append(CameraState(recording=True, files=["a.mp4"]))

    def stop(self) -> None:
        self.calls.append("stop")
        if self.stops:
            self.states.append(CameraState(recording=False, files=["a.mp4"], n_exposures=[9]))

    def poll(self) -> Sequence[CameraState]:
        states, self.states = self.states, []
        return states


def cameras(scripted: ScriptedCameras) -> CameraSequence:
    return CameraSequence(cameras=scripted, session_id="s", limits=LIMITS)


def test_cameras_record_from_begin_to_end() -> None:
    sequence = cameras(ScriptedCameras())
    assert sequence.begin(now_s=0.0).events == [CameraState(recording=True, files=["a.mp4"])]
    assert sequence.expects_exposures
    sequence.end(now_s=5.0)
    assert not sequence.expects_exposures
    assert sequence.step(now_s=5.1).events == [CameraState(recording=False, files=["a.mp4"], n_exposures=[9])]
    assert sequence.finished


def test_cameras_that_do_not_start_are_a_fault_and_started_again_at_the_operator_s_wish() -> None:
    scripted = ScriptedCameras(starts=False)
    sequence = cameras(scripted)
    sequence.begin(now_s=0.0)
    assert sequence.step(now_s=0.9).fault is None
    lost = sequence.step(now_s=1.1)
    assert lost.fault is not None
    assert "do not record" in lost.fault.what
    assert sequence.step(now_s=2.0).fault is None, "once"
    scripted.starts = True
    sequence.retry(now_s=3.0)
    assert sequence.step(now_s=3.1).recovered
    assert scripted.calls == ["start", "start"]


def test_cameras_that_stop_by_themselves_are_a_fault() -> None:
    scripted = ScriptedCameras()
    sequence = cameras(scripted)
    sequence.begin(now_s=0.0)
    scripted.states.append(CameraState(recording=False))
    lost = sequence.step(now_s=2.0)
    assert lost.fault is not None
    assert "have stopped recording" in lost.fault.what


def test_cameras_that_do_not_stop_are_waited_for_no_longer_than_their_limit_and_named() -> None:
    sequence = cameras(ScriptedCameras(stops=False))
    sequence.begin(now_s=0.0)
    sequence.end(now_s=5.0)
    assert not sequence.finished
    sequence.step(now_s=7.9)
    assert not sequence.finished
    happened = sequence.step(now_s=8.1)
    assert sequence.finished
    assert any(isinstance(event, Finding) for event in happened.events)
