"""The microscope's rules, message by message: what is carried out, and what never."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hardware.microscope
from hardware.events import MicroscopePhase
from hardware.links.secured import BURST, MESSAGES_PER_S, Refusals
from hardware.microscope.messages import (
    LARGEST_MESSAGE,
    Beat,
    BeatBack,
    Command,
    Goodbye,
    Hello,
    Message,
    MessageError,
    Recording,
    Reply,
    Stage,
    Status,
    ToMicroscope,
    ToRig,
    Verb,
    Welcome,
    for_microscope,
    for_rig,
    to_bytes,
)
from hardware.microscope.receiver import About, Job, Progress, Receiver

RIG, OTHER = b"rig", b"other"
BEAT_S = 0.5
LOST_S = 6 * BEAT_S
P = MicroscopePhase


class Desk:
    """A receiver, a clock, and hands that do what it says."""

    def __init__(self) -> None:
        numbers = itertools.count()
        self.refusals = Refusals()
        self.receiver = Receiver(
            about=About(name="scope", model="m"), token=lambda: f"token{next(numbers)}", refusals=self.refusals
        )
        self.now_s = 1000.0
        self.done: list[str] = []
        self.n = 0

    def say(self, message: ToMicroscope, sender: bytes = RIG) -> list[ToRig]:
        """Send a message; return what was answered to its sender, statuses excepted."""
        self.receiver.outbox.clear()
        self.receiver.take(sender, to_bytes(message), now_s=self.now_s)
        return self.heard(sender)

    def heard(self, sender: bytes = RIG) -> list[ToRig]:
        answers = [for_rig(data) for to, data in self.receiver.outbox if to == sender]
        self.receiver.outbox.clear()
        return [answer for answer in answers if not isinstance(answer, Status)]

    def hello(self, sender: bytes = RIG, *, resumes: str | None = None, who: str = "rig") -> str:
        """Say hello; return the epoch."""
        (answer,) = self.say(Hello(id=self.new_id(), who=who, heartbeat_s=BEAT_S, resumes=resumes), sender)
        assert isinstance(answer, Welcome), answer
        return answer.epoch

    def new_id(self) -> str:
        self.n += 1
        return f"id{self.n}"

    def command(
        self, epoch: str, verb: Verb, *, session: str = "s1", expires_in_s: float = 1.0, **fields: Any
    ) -> Command:
        recording = None
        if verb is Verb.PREPARE:
            recording = Recording(session=session, mouse="M1", stage="S", plane_groups=4, frame_rate_hz=11.0)
        given = {"id": self.new_id(), "recording": recording, **fields}
        return Command(
            epoch=epoch, verb=verb, session=session, sent_at_s=1.0, expires_at_s=self.now_s + expires_in_s, **given
        )

    def ask(self, epoch: str, verb: Verb, *, sender: bytes = RIG, **fields: Any) -> Reply:
        """Send a command and have it carried out; return the last answer."""
        answers = self.say(self.command(epoch, verb, **fields), sender)
        self.work()
        last = [*answers, *self.heard(sender)][-1]
        assert isinstance(last, Reply)
        return last

    def work(self, *, why: str | None = None) -> None:
        """Carry out what waits; or fail to, and say why."""
        while self.receiver.jobs:
            job = self.receiver.jobs.popleft()
            refused = self.receiver.refusal(job, now_s=self.now_s)
            already = None if refused else self.receiver.nothing_to_do(job)
            if not refused and not already:
                self.done.append(job.verb.value)
                refused = why
            self.receiver.ended(job, why=refused, what=already or "done", now_s=self.now_s)

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.receiver.tick(now_s=self.now_s)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def armed(desk: Desk, sender: bytes = RIG) -> str:
    epoch = desk.hello(sender)
    for verb in (Verb.PREPARE, Verb.ARM):
        assert desk.ask(epoch, verb, sender=sender).stage is Stage.DONE
    return epoch


def values(annotation: type[Message]) -> st.SearchStrategy[Message]:
    return st.from_type(annotation)


TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)
FLOATS = st.floats(-1e12, 1e12)
MESSAGES: dict[type[Message], st.SearchStrategy[Any]] = {
    Hello: st.builds(
        Hello, id=TOKENS, who=st.text(max_size=400), heartbeat_s=st.floats(0.01, 60), resumes=st.none() | TOKENS
    ),
    Command: st.builds(
        Command,
        id=TOKENS,
        epoch=TOKENS,
        verb=st.sampled_from(Verb),
        session=TOKENS,
        sent_at_s=FLOATS,
        expires_at_s=FLOATS,
        recording=st.none()
        | st.builds(
            Recording,
            session=TOKENS,
            mouse=st.text(max_size=400),
            stage=st.text(max_size=400),
            plane_groups=st.integers(1, 64),
            frame_rate_hz=st.floats(0.1, 1000),
        ),
    ),
    Beat: st.builds(Beat, epoch=TOKENS, n=st.integers(0, 2**53), sent_at_s=FLOATS),
    Goodbye: st.builds(Goodbye, epoch=TOKENS),
}


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_a_message_comes_out_of_its_bytes_as_it_went_in(kind: type[Message]) -> None:
    @given(message=MESSAGES[kind])
    def comes_out(message: Any) -> None:
        assert for_microscope(to_bytes(message)) == message
        with pytest.raises(MessageError):
            for_rig(to_bytes(message))

    comes_out()


GOOD = to_bytes(Hello(id="a", who="x", heartbeat_s=1.0))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not understood: "),
        (b"\xff\x00", "not understood: "),
        (b"[" * 60_000, "not understood: "),
        (b"{}", "not understood: Object missing required field `type`"),
        (GOOD.replace(b'"v":1', b'"v":2'), "version 2 of the protocol; this side speaks version 1"),
        (GOOD.replace(b'"heartbeat_s":1.0', b'"heartbeat_s":1e999'), "not understood: Number out of range"),
        (GOOD.replace(b'"heartbeat_s":1.0', b'"heartbeat_s":0'), "not understood: Expected `float` >= 0.01"),
        (GOOD.replace(b'"id":"a"', b'"id":"' + b"a" * 65 + b'"'), "not understood: Expected `str` of length <= 64"),
        (GOOD + b" " * LARGEST_MESSAGE, "bytes are more than any message has"),
        (b'{"type":"welcome","v":1}', "not understood: Invalid value 'welcome'"),
    ],
)  # fmt: skip
def test_what_is_no_message_is_an_error_that_says_why(data: bytes, says: str) -> None:
    with pytest.raises(MessageError) as caught:
        for_microscope(data)
    assert says in str(caught.value)


STATUS: dict[str, object] = {
    "type": "status",
    "v": 1,
    "epoch": "e",
    "phase": "acquiring",
    "session": None,
    "n_frames": None,
    "plane_groups": 1,
    "rate_hz": None,
    "files": [],
    "warnings": [],
    "at_s": 0.0,
}
BOUNDS = [
    ("epoch", "e" * 64, "e" * 65, "1 to 64 printable ASCII characters without a space"),
    ("epoch", "e!", "e e", "1 to 64 printable ASCII characters without a space"),
    ("session", "s" * 64, "", "1 to 64 printable ASCII characters without a space"),
    ("files", ["f" * 400], ["f" * 401], "each of ``files`` and ``warnings``: 400 characters"),
    ("files", ["f"] * 64, ["f"] * 65, "64 files and 64 warnings"),
    ("warnings", ["w"] * 64, ["w"] * 65, "64 files and 64 warnings"),
    ("plane_groups", 64, 65, "``plane_groups``: 1 to 64"),
    ("rate_hz", 100_000, 100_001, "above 0, 100,000 at most"),
    ("rate_hz", 0.001, 0, "above 0, 100,000 at most"),
    ("n_frames", 2**53, 2**53 + 1, "whole, 0 to 2**53"),
    ("n_frames", 0, 1.5, "whole, 0 to 2**53"),
    ("at_s", -1e12, -1.1e12, "Times: 1e12 either way"),
]


@pytest.mark.parametrize(("field", "good", "bad", "says"), BOUNDS)
def test_the_page_says_what_would_have_a_message_dropped(field: str, good: object, bad: object, says: str) -> None:
    """Who writes the other end has nothing else to go by, and is told of what was dropped in the rig's log only."""
    assert isinstance(for_rig(msgspec.json.encode({**STATUS, field: good})), Status)
    with pytest.raises(MessageError):
        for_rig(msgspec.json.encode({**STATUS, field: bad}))
    assert says in " ".join((hardware.microscope.__doc__ or "").split())


def test_a_field_that_a_later_version_adds_is_passed_over() -> None:
    assert for_microscope(GOOD[:-1] + b',"colour":"red"}') == for_microscope(GOOD)


@given(data=st.binary(max_size=200))
def test_random_bytes_never_raise_in_who_serves_and_are_counted(data: bytes) -> None:
    desk = Desk()
    desk.receiver.take(RIG, data, now_s=0.0)
    assert desk.refusals.n == {"not understood": 1}
    assert not desk.receiver.jobs


def test_a_recording_goes_from_prepared_to_stopped(desk: Desk) -> None:
    epoch = armed(desk)
    assert [desk.ask(epoch, verb).phase for verb in (Verb.START, Verb.STOP)] == [P.ACQUIRING, P.STOPPED]
    assert desk.done == ["prepare", "arm", "start", "stop"]


def test_a_command_is_acknowledged_as_it_arrives_and_done_when_it_is(desk: Desk) -> None:
    epoch = desk.hello()
    command = desk.command(epoch, Verb.PREPARE)
    (acknowledged,) = desk.say(command)
    desk.work()
    (done,) = desk.heard()
    assert [reply.stage for reply in (acknowledged, done)] == [Stage.ACKNOWLEDGED, Stage.DONE]  # type: ignore[union-attr]
    assert {reply.id for reply in (acknowledged, done)} == {command.id}  # type: ignore[union-attr]


def test_the_same_id_is_answered_the_same_and_carried_out_once(desk: Desk) -> None:
    epoch = armed(desk)
    start = desk.command(epoch, Verb.START)
    desk.say(start)
    assert [answer.stage for answer in desk.say(start)] == [Stage.ACKNOWLEDGED]  # type: ignore[union-attr]
    desk.work()
    done = desk.heard()
    again = desk.say(start)
    desk.work()
    assert again == done[-1:]
    assert desk.done.count("start") == 1


def test_an_id_that_was_another_commands_is_refused(desk: Desk) -> None:
    epoch = armed(desk)
    start = desk.command(epoch, Verb.START)
    desk.say(start)
    (answer,) = desk.say(msgspec.structs.replace(start, verb=Verb.STOP))
    assert isinstance(answer, Reply)
    assert (answer.stage, answer.what) == (Stage.REFUSED, "this id was that of another command, start")


@pytest.mark.parametrize(
    ("verb", "before", "says"),
    [
        (Verb.ARM, [], "is idle, which leaves nothing to arm"),
        (Verb.START, [], "is idle, which leaves nothing to start"),
        (Verb.START, [Verb.PREPARE], "is prepared, which leaves nothing to start"),
        (Verb.PREPARE, [Verb.PREPARE, Verb.ARM], "is armed, which leaves nothing to prepare"),
        (Verb.ARM, [Verb.PREPARE, Verb.ARM, Verb.START], "is acquiring, which leaves nothing to arm"),
        (Verb.START, [Verb.PREPARE, Verb.ARM, Verb.START, Verb.STOP], "is stopped, which leaves nothing to start"),
    ],
)
def test_what_is_out_of_order_is_refused(desk: Desk, verb: Verb, before: list[Verb], says: str) -> None:
    epoch = desk.hello()
    for step in before:
        desk.ask(epoch, step)
    done = list(desk.done)
    reply = desk.ask(epoch, verb)
    assert (reply.stage, reply.what) == (Stage.REFUSED, says)
    assert desk.done == done


@pytest.mark.parametrize("verb", [Verb.ARM, Verb.START])
def test_another_sessions_recording_is_neither_armed_nor_started(desk: Desk, verb: Verb) -> None:
    epoch = desk.hello()
    desk.ask(epoch, Verb.PREPARE)
    if verb is Verb.START:
        desk.ask(epoch, Verb.ARM)
    reply = desk.ask(epoch, verb, session="s2")
    assert (reply.stage, reply.what) == (Stage.REFUSED, "session s2 was not prepared")


def test_a_start_whose_trigger_came_first_goes_on(desk: Desk) -> None:
    epoch = armed(desk)
    desk.receiver.progressed(Progress(phase=P.ACQUIRING), now_s=desk.now_s)
    reply = desk.ask(epoch, Verb.START)
    assert (reply.stage, reply.what) == (Stage.DONE, "acquires already")
    assert "start" not in desk.done


@pytest.mark.parametrize("verb", [Verb.STOP, Verb.ABORT])
def test_what_stands_still_is_stopped_without_a_call(desk: Desk, verb: Verb) -> None:
    reply = desk.ask(desk.hello(), verb)
    assert (reply.stage, reply.what) == (Stage.DONE, "nothing was running")
    assert desk.done == []


def test_a_command_that_comes_after_its_time_is_refused(desk: Desk) -> None:
    epoch = armed(desk)
    reply = desk.ask(epoch, Verb.START, expires_in_s=-0.25)
    assert (reply.stage, reply.what) == (Stage.REFUSED, "came 0.250 s too late; ask again")
    assert "start" not in desk.done


def test_a_command_whose_turn_comes_after_its_time_is_refused(desk: Desk) -> None:
    epoch = armed(desk)
    desk.say(desk.command(epoch, Verb.START, expires_in_s=1.0))
    desk.wait(1.5)
    desk.work()
    (reply,) = desk.heard()
    assert isinstance(reply, Reply)
    assert (reply.stage, reply.what) == (Stage.REFUSED, "came 0.500 s too late; ask again")
    assert "start" not in desk.done


def test_no_command_may_wait_for_hours(desk: Desk) -> None:
    reply = desk.ask(desk.hello(), Verb.PREPARE, expires_in_s=3600.0)
    assert (reply.stage, reply.what) == (Stage.REFUSED, "would wait 3600 s for being carried out; 60 s at most")


def stale(desk: Desk, message: ToMicroscope, sender: bytes = RIG) -> bool:
    n_done = len(desk.done)
    (answer,) = desk.say(message, sender)
    desk.work()
    assert isinstance(answer, Reply)
    return answer.stage is Stage.STALE and len(desk.done) == n_done


def test_a_late_joiner_who_has_not_said_hello_is_not_heard(desk: Desk) -> None:
    assert stale(desk, desk.command("guessed", Verb.PREPARE))


def test_a_command_that_arrives_over_another_connection_is_stale(desk: Desk) -> None:
    epoch = armed(desk)
    assert stale(desk, desk.command(epoch, Verb.START), OTHER)


def test_after_a_reconnect_the_old_connections_commands_are_stale_and_the_same_id_is_carried_out_once(
    desk: Desk,
) -> None:
    epoch = armed(desk)
    start = desk.command(epoch, Verb.START)
    new = desk.hello(OTHER, resumes=epoch)
    assert stale(desk, start), "from the hello on"
    desk.say(msgspec.structs.replace(start, epoch=new), OTHER)
    desk.work()
    assert desk.done.count("start") == 1
    assert stale(desk, start)
    assert stale(desk, start, OTHER)
    assert desk.done.count("start") == 1


def test_a_rig_that_resumes_goes_on_with_its_recording(desk: Desk) -> None:
    epoch = armed(desk)
    new = desk.hello(OTHER, resumes=epoch)
    assert desk.ask(new, Verb.START, sender=OTHER).stage is Stage.DONE


def test_a_rig_whose_welcome_was_lost_may_resume_once_more(desk: Desk) -> None:
    epoch = armed(desk)
    lost = desk.hello(OTHER, resumes=epoch)
    third = desk.hello(b"third", resumes=lost)
    assert desk.ask(third, Verb.START, sender=b"third").stage is Stage.DONE


def test_another_rig_is_turned_away_while_one_commands(desk: Desk) -> None:
    armed(desk)
    (answer,) = desk.say(Hello(id="h", who="rig 2", heartbeat_s=1.0), OTHER)
    assert isinstance(answer, Reply)
    assert (answer.stage, answer.what) == (Stage.REFUSED, "rig commands this microscope already")


def test_a_hello_alone_keeps_nobody_out(desk: Desk) -> None:
    desk.hello(OTHER, who="a replayed hello")
    assert armed(desk)


def test_a_recording_of_an_earlier_session_does_nothing_when_it_is_replayed(desk: Desk) -> None:
    """As plain text it can be: every message of a session, over the connection that it likes, in its order."""
    recorded: list[ToMicroscope] = []
    hello = Hello(id="h", who="rig", heartbeat_s=BEAT_S)
    (welcome,) = desk.say(hello)
    assert isinstance(welcome, Welcome)
    recorded.append(hello)
    for verb in (Verb.PREPARE, Verb.ARM, Verb.START, Verb.STOP):
        command = desk.command(welcome.epoch, verb)
        recorded.append(command)
        desk.say(command)
        desk.work()
    recorded.append(Goodbye(epoch=welcome.epoch))
    desk.say(recorded[-1])
    done = list(desk.done)

    for message in [*recorded, *recorded]:
        desk.say(message, OTHER)
        desk.work()
    assert desk.done == done

    epoch = armed(desk)  # and the next session is not disturbed by it
    for message in recorded:
        desk.say(message, OTHER)
        desk.work()
    assert desk.ask(epoch, Verb.START).phase is P.ACQUIRING


@pytest.mark.parametrize("verbs", [[], [Verb.START]])
def test_when_the_rig_is_not_heard_of_what_it_had_set_going_is_stopped(desk: Desk, verbs: list[Verb]) -> None:
    epoch = armed(desk)
    for verb in verbs:
        desk.ask(epoch, verb)
    desk.wait(LOST_S)
    assert not desk.receiver.jobs
    desk.wait(0.01)
    desk.work()
    assert desk.done[-1] == "stop"
    assert desk.receiver.phase is P.STOPPED
    assert desk.receiver.commanded_by is None


def test_heartbeats_keep_it_going_and_carry_the_clock(desk: Desk) -> None:
    epoch = armed(desk)
    desk.ask(epoch, Verb.START)
    for n in range(20):
        desk.wait(BEAT_S)
        (back,) = desk.say(Beat(epoch=epoch, n=n, sent_at_s=float(n)))
        assert back == BeatBack(
            epoch=epoch, n=n, sent_at_s=float(n), received_at_s=desk.now_s, answered_at_s=desk.now_s
        )
    assert desk.receiver.phase is P.ACQUIRING


def test_at_goodbye_what_still_runs_is_stopped(desk: Desk) -> None:
    epoch = armed(desk)
    desk.ask(epoch, Verb.START)
    desk.say(Goodbye(epoch=epoch))
    desk.work()
    assert desk.done[-1] == "stop"


def test_a_start_that_waits_while_its_rig_goes_is_not_carried_out(desk: Desk) -> None:
    epoch = armed(desk)
    desk.say(desk.command(epoch, Verb.START, expires_in_s=30.0))
    desk.wait(LOST_S + 0.01)
    desk.work()
    assert "start" not in desk.done
    assert desk.receiver.phase is P.STOPPED


def test_a_stop_that_fails_is_tried_again(desk: Desk) -> None:
    epoch = armed(desk)
    desk.ask(epoch, Verb.START)
    desk.wait(LOST_S + 0.01)
    desk.work(why="its shutter is stuck")
    assert desk.receiver.phase is P.ACQUIRING
    desk.wait(1.01)
    desk.work()
    assert desk.receiver.phase is P.STOPPED


@pytest.mark.parametrize("verb", [Verb.STOP, Verb.ABORT])
def test_a_rig_that_was_refused_does_not_end_what_people_acquire_at_the_microscope(desk: Desk, verb: Verb) -> None:
    """They have begun between the rig's check and its session."""
    epoch = desk.hello()
    desk.receiver.progressed(Progress(phase=P.ACQUIRING), now_s=desk.now_s)
    assert desk.ask(epoch, Verb.PREPARE).stage is Stage.REFUSED
    reply = desk.ask(epoch, verb)
    assert desk.done == []
    assert (reply.what, reply.phase) == ("what it does was set going by nobody's rig, and goes on", P.ACQUIRING)


def test_a_recording_that_goes_on_after_its_stop_is_the_rigs_to_abort(desk: Desk) -> None:
    epoch = armed(desk)
    desk.ask(epoch, Verb.START)
    desk.ask(epoch, Verb.STOP)
    desk.receiver.progressed(Progress(phase=P.ACQUIRING), now_s=desk.now_s)
    desk.ask(epoch, Verb.ABORT)
    assert desk.done == ["prepare", "arm", "start", "stop", "abort"]


def test_what_people_acquire_at_the_microscope_when_no_rig_commands_it_is_left_alone(desk: Desk) -> None:
    epoch = armed(desk)
    desk.ask(epoch, Verb.START)
    desk.ask(epoch, Verb.STOP)
    desk.say(Goodbye(epoch=epoch))
    desk.receiver.progressed(Progress(phase=P.ACQUIRING), now_s=desk.now_s)
    done = list(desk.done)
    for _ in range(5):
        desk.wait(LOST_S)
        desk.work()
    assert desk.done == done


def test_the_next_rig_comes_in_when_the_one_before_is_lost_and_finds_it_stopped(desk: Desk) -> None:
    epoch = armed(desk)
    desk.ask(epoch, Verb.START)
    desk.now_s += LOST_S + 0.01
    new = desk.hello(OTHER, who="rig 2")
    assert desk.ask(new, Verb.STATUS, sender=OTHER).phase is P.STOPPED
    assert desk.ask(new, Verb.PREPARE, sender=OTHER, session="s2").stage is Stage.DONE


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("ask"), st.sampled_from(Verb), st.sampled_from(["s1", "s2"]), st.sampled_from([-1.0, 0.3, 5.0])
        ),
        st.tuples(st.just("again"), st.integers(0, 30), st.sampled_from([RIG, OTHER])),
        st.tuples(st.just("hello"), st.sampled_from([RIG, OTHER]), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 0.4, 4.0])),
        st.tuples(st.just("work")),
        st.tuples(st.just("beat")),
        st.tuples(st.just("goodbye")),
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_no_order_of_messages_starts_anything_twice_late_or_unprepared(steps: list[tuple[Any, ...]]) -> None:
    desk = Desk()
    epoch, sender = "none", RIG
    sent: list[Command] = []
    started: list[Job] = []
    carried_out = desk.receiver.ended

    def ended(job: Job, *, why: str | None, what: str = "done", now_s: float) -> None:
        if job.verb is Verb.START and why is None and what == "done":
            assert now_s <= job.expires_at_s
            assert desk.receiver.phase is P.ARMED
            started.append(job)
        carried_out(job, why=why, what=what, now_s=now_s)

    desk.receiver.ended = ended  # type: ignore[method-assign]
    for step in steps:
        match step:
            case ("ask", verb, session, expires_in_s):
                sent.append(desk.command(epoch, verb, session=session, expires_in_s=expires_in_s))
                desk.say(sent[-1], sender)
            case ("again", n, who) if sent:
                desk.say(sent[n % len(sent)], who)
            case ("hello", who, resumes):
                hello = Hello(id=desk.new_id(), who="rig", heartbeat_s=BEAT_S, resumes=epoch if resumes else None)
                (answer,) = desk.say(hello, who)
                if isinstance(answer, Welcome):
                    epoch, sender = answer.epoch, who
            case ("wait", seconds):
                desk.wait(seconds)
            case ("work",):
                desk.work()
            case ("beat",):
                desk.say(Beat(epoch=epoch, n=0, sent_at_s=0.0), sender)
            case ("goodbye",):
                desk.say(Goodbye(epoch=epoch), sender)
    assert len({job.id for job in started}) == len(started)
    for _ in range(3):  # whoever it was is gone
        desk.wait(LOST_S + 1.0)
        desk.work()
    assert desk.receiver.phase not in (P.PREPARED, P.ARMED, P.ACQUIRING)


def test_a_command_is_remembered_for_as_long_as_it_could_be_carried_out(desk: Desk) -> None:
    """However many others come meanwhile, at the pace at which messages are taken."""
    epoch = armed(desk)
    start = desk.command(epoch, Verb.START, expires_in_s=60.0)
    desk.say(start)
    desk.work()
    desk.ask(epoch, Verb.STOP)
    n_others = int(60.0 * MESSAGES_PER_S) + BURST
    for n in range(n_others):
        desk.now_s += 59.0 / n_others
        desk.receiver.take(RIG, to_bytes(desk.command(epoch, Verb.STATUS)), now_s=desk.now_s)
        desk.receiver.jobs.clear()
        desk.receiver.outbox.clear()
        if n == n_others // 2:
            for verb in (Verb.PREPARE, Verb.ARM):
                desk.ask(epoch, verb)
    desk.say(start)
    desk.work()
    assert desk.done.count("start") == 1, "a start that was answered is never carried out again"


def test_planes_that_an_instrument_says_nothing_of_are_those_it_was_asked_for(desk: Desk) -> None:
    armed(desk)
    desk.receiver.outbox.clear()
    desk.receiver.progressed(Progress(), now_s=desk.now_s)
    desk.receiver.tell(desk.now_s)
    ((_, data),) = desk.receiver.outbox
    status = for_rig(data)
    assert isinstance(status, Status)
    assert status.plane_groups == 4, "as it was prepared"
    assert status.n_frames is None


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, float("nan"), float("inf")])
def test_figures_that_can_not_be_do_not_keep_the_rest_of_a_status_from_the_rig(desk: Desk, rate_hz: float) -> None:
    armed(desk)
    desk.receiver.outbox.clear()
    odd = Progress(n_frames=-1, plane_groups=0, rate_hz=rate_hz, files=("a.tif",), warnings=("the laser is off",))
    desk.receiver.progressed(odd, now_s=desk.now_s)
    desk.receiver.tick(now_s=desk.now_s)
    ((_, data),) = desk.receiver.outbox
    status = for_rig(data)
    assert isinstance(status, Status)
    assert (status.n_frames, status.plane_groups, status.rate_hz) == (0, 1, None)
    assert (status.files, status.warnings) == (["a.tif"], ["the laser is off"])
