"""The rig's rules: how a command is sent, sent again, given up, and never left behind."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.events import Finding, MicroscopeClock, MicroscopePhase, MicroscopeState
from hardware.links.secured import Refusals
from hardware.microscope.commander import Commander, LinkSettings
from hardware.microscope.messages import (
    Beat,
    BeatBack,
    Command,
    Goodbye,
    Hello,
    Reply,
    Stage,
    Status,
    ToMicroscope,
    ToRig,
    Verb,
    Welcome,
    for_microscope,
    to_bytes,
)

BEAT_S, REPLY_S, STOP_S = 0.5, 2.0, 7.0
LOST_S = 6 * BEAT_S
P = MicroscopePhase
THERE_S = 500.0
"""The microscope's clock is so far ahead."""


class Side:
    """The rig's side, and a microscope that answers by hand."""

    def __init__(self) -> None:
        numbers = itertools.count()
        settings = LinkSettings(
            who="rig", heartbeat_s=BEAT_S, reply_s=REPLY_S, plane_groups=4, frame_rate_hz=11.0, stop_s=STOP_S
        )
        self.refusals = Refusals()
        self.commander = Commander(settings, token=lambda: f"token{next(numbers)}", refusals=self.refusals)
        self.now_s = 100.0
        self.n_epochs = 0

    def sent(self) -> list[ToMicroscope]:
        self.commander.tick(now_s=self.now_s)
        messages = [for_microscope(data) for data in self.commander.outbox]
        self.commander.outbox.clear()
        return messages

    def commands(self) -> list[Command]:
        return [message for message in self.sent() if isinstance(message, Command)]

    def answer(self, message: ToRig) -> None:
        self.commander.take(to_bytes(message), now_s=self.now_s)

    def connect(self, *, run: str = "run", phase: MicroscopePhase = P.IDLE) -> None:
        (hello,) = [message for message in self.sent() if isinstance(message, Hello)]
        self.n_epochs += 1
        self.commander.afresh = False
        self.answer(
            Welcome(
                id=hello.id,
                epoch=f"epoch{self.n_epochs}",
                run=run,
                now_s=self.now_s + THERE_S,
                name="scope",
                model="m",
                phase=phase,
            )
        )

    def ask(self, verb: Verb) -> None:
        self.commander.ask(verb, session="s", recording=None, now_s=self.now_s)

    def reply(self, command: Command, stage: Stage, *, what: str = "", phase: MicroscopePhase = P.ARMED) -> None:
        self.answer(Reply(id=command.id, stage=stage, what=what, phase=phase, at_s=0.0))

    def live(self, seconds: float) -> list[ToMicroscope]:
        """Let time pass with a microscope that answers heartbeats."""
        messages: list[ToMicroscope] = []
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += 0.02
            for message in self.sent():
                messages.append(message)
                if isinstance(message, Beat):
                    there_s = self.now_s + THERE_S
                    self.answer(
                        BeatBack(
                            epoch=message.epoch,
                            n=message.n,
                            sent_at_s=message.sent_at_s,
                            received_at_s=there_s,
                            answered_at_s=there_s,
                        )
                    )
        return messages

    def failures(self) -> list[str]:
        said = [event for event in self.commander.events if isinstance(event, MicroscopeState)]
        self.commander.events.clear()
        return [state.what for state in said if state.phase is P.FAILED]


@pytest.fixture
def side() -> Side:
    side = Side()
    side.connect()
    return side


def test_a_command_expires_on_the_microscopes_clock_just_before_it_is_given_up(side: Side) -> None:
    side.ask(Verb.ARM)
    (command,) = side.commands()
    assert command.expires_at_s == pytest.approx(side.now_s + THERE_S + REPLY_S, abs=0.01)
    assert command.expires_at_s < side.now_s + THERE_S + REPLY_S


@given(
    delays_s=st.lists(st.floats(0.0, 5.0), min_size=2, max_size=2),
    drift=st.floats(-9e-4, 9e-4),
    idle_s=st.floats(0.0, 2.9),
)
def test_whatever_the_network_delays_and_the_clocks_drift_what_was_given_up_has_expired(
    delays_s: list[float], drift: float, idle_s: float
) -> None:
    """The welcome is stamped, then takes its time; the microscope's clock runs at a rate of its own."""
    side = Side()
    side.sent()
    stamped_s = side.now_s

    def there(host_s: float) -> float:
        return THERE_S + stamped_s + (host_s - stamped_s) * (1 + drift)

    side.now_s += min(delays_s[0], LOST_S - 0.1)
    hello = side.commander._hello
    assert hello is not None
    side.answer(Welcome(id=hello, epoch="e", run="r", now_s=there(stamped_s), name="n", model="m"))
    side.now_s += idle_s
    side.ask(Verb.START)
    (command,) = side.commands()
    assert command.expires_at_s <= there(side.now_s + REPLY_S)


def test_commands_go_one_after_the_other(side: Side) -> None:
    for verb in (Verb.PREPARE, Verb.ARM):
        side.ask(verb)
    (first,) = side.commands()
    assert first.verb is Verb.PREPARE
    side.reply(first, Stage.ACKNOWLEDGED)
    assert side.commands() == []
    side.reply(first, Stage.DONE, phase=P.PREPARED)
    (second,) = side.commands()
    assert second.verb is Verb.ARM


def test_a_command_is_sent_again_under_its_id_until_it_is_acknowledged_and_no_longer(side: Side) -> None:
    side.ask(Verb.ARM)
    ids = [message.id for message in side.live(REPLY_S - 0.1) if isinstance(message, Command)]
    assert len(ids) == 4
    assert len(set(ids)) == 1
    side.live(0.2)
    assert side.failures() == ["did not answer arm within 2 s"]
    assert [message for message in side.live(5.0) if isinstance(message, Command)] == []


def test_one_that_was_acknowledged_and_takes_too_long_is_told_apart(side: Side) -> None:
    side.ask(Verb.ARM)
    (command,) = side.commands()
    side.reply(command, Stage.ACKNOWLEDGED)
    assert [message for message in side.live(REPLY_S + 0.1) if isinstance(message, Command)] == []
    assert side.failures() == ["acknowledged arm, and had not carried it out after 2 s"]


def test_a_stop_may_take_as_long_as_files_take_to_be_written_out(side: Side) -> None:
    side.ask(Verb.STOP)
    (command,) = side.commands()
    side.reply(command, Stage.ACKNOWLEDGED)
    side.live(STOP_S - 0.1)
    assert side.failures() == []
    side.reply(command, Stage.DONE, what="done", phase=P.STOPPED)
    assert side.failures() == []
    assert side.commander.phase is P.STOPPED


def test_a_stop_that_is_not_acknowledged_is_given_up_as_soon_as_anything(side: Side) -> None:
    side.ask(Verb.STOP)
    side.live(REPLY_S + 0.1)
    assert side.failures() == [f"did not answer stop within {REPLY_S:g} s"]


def test_an_acknowledged_stop_that_never_ends_is_told_and_an_abort_does_not_wait_for_it(side: Side) -> None:
    side.ask(Verb.STOP)
    (command,) = side.commands()
    side.reply(command, Stage.ACKNOWLEDGED)
    side.ask(Verb.ABORT)
    assert [command.verb for command in side.commands()] == [Verb.ABORT]

    side = Side()
    side.connect()
    side.ask(Verb.STOP)
    side.reply(side.commands()[0], Stage.ACKNOWLEDGED)
    side.live(STOP_S + 0.1)
    assert side.failures() == [f"acknowledged stop, and had not carried it out after {STOP_S:g} s"]


def test_a_refusal_is_told_in_the_microscopes_words(side: Side) -> None:
    side.ask(Verb.ARM)
    (command,) = side.commands()
    side.reply(command, Stage.REFUSED, what="its shutter is stuck", phase=P.PREPARED)
    assert side.failures() == ["refused to arm: its shutter is stuck"]


@pytest.mark.parametrize("verb", [Verb.STOP, Verb.ABORT])
def test_a_stop_overtakes_what_was_asked_for_before(side: Side, verb: Verb) -> None:
    for before in (Verb.ARM, Verb.START):
        side.ask(before)
    (arm,) = side.commands()
    side.ask(verb)
    (stop,) = side.commands()
    assert stop.verb is verb
    side.reply(arm, Stage.DONE)  # of no interest any more
    side.reply(stop, Stage.DONE, phase=P.STOPPED)
    assert side.commands() == []


def test_an_abort_does_not_overtake_a_stop(side: Side) -> None:
    side.ask(Verb.ARM)
    side.commands()
    side.ask(Verb.STOP)
    side.ask(Verb.ABORT)
    (stop,) = side.commands()
    assert stop.verb is Verb.STOP
    side.reply(stop, Stage.DONE)
    (abort,) = side.commands()
    assert abort.verb is Verb.ABORT


def test_after_six_heartbeats_of_silence_it_is_lost_told_once_and_greeted_over_a_new_connection(side: Side) -> None:
    side.live(1.0)
    side.now_s += LOST_S + 0.1
    (hello,) = side.sent()
    assert isinstance(hello, Hello)
    assert hello.resumes == "epoch1"
    assert side.commander.afresh
    assert not side.commander.connected
    side.now_s += 10.0
    (lost,) = side.failures()
    assert lost.startswith("was not heard of for 3.")
    side.connect(phase=P.ACQUIRING)
    (state,) = [event for event in side.commander.events if isinstance(event, MicroscopeState)]
    assert (state.phase, state.what) == (P.ACQUIRING, state.what)
    assert state.what.startswith("heard of again after 13.")


def test_a_command_under_way_is_sent_again_under_its_id_and_the_new_epoch(side: Side) -> None:
    side.ask(Verb.START)
    (before,) = side.commands()
    side.answer(Reply(id="epoch1", stage=Stage.STALE, what="over", phase=P.ARMED, at_s=0.0))
    side.connect()
    (after,) = side.commands()
    assert (after.id, after.epoch) == (before.id, "epoch2")
    assert side.failures() == []


def test_a_program_that_was_started_anew_gets_nothing_of_what_was_under_way(side: Side) -> None:
    side.ask(Verb.START)
    side.commands()
    side.answer(Reply(id="epoch1", stage=Stage.STALE, what="over", phase=P.ARMED, at_s=0.0))
    side.connect(run="another")
    assert side.commands() == []
    assert side.failures() == [
        "its program was started anew: what it was recording has ended",
        "was started anew before it had carried out start",
    ]


def test_who_is_turned_away_says_why_and_tries_again(side: Side) -> None:
    fresh = Side()
    (hello,) = fresh.sent()
    assert isinstance(hello, Hello)
    fresh.answer(Reply(id=hello.id, stage=Stage.REFUSED, what="rig 2 commands it", phase=P.ACQUIRING, at_s=0.0))
    assert fresh.commander.turned_away == "rig 2 commands it"
    fresh.now_s += BEAT_S
    (again,) = fresh.sent()
    assert isinstance(again, Hello)


def test_of_the_last_exchanges_the_quickest_says_how_far_the_clocks_are_apart(side: Side) -> None:
    for there_takes_s, back_takes_s in [(0.05, 0.01), (0.001, 0.002), (0.5, 0.5), (0.1, 0.1)] * 2:
        (beat,) = [message for message in side.sent() if isinstance(message, Beat)]
        arrived_s = side.now_s + there_takes_s
        left_s = arrived_s + 0.3  # held by the other side: known, and no error
        side.now_s = left_s + back_takes_s
        side.answer(
            BeatBack(
                epoch="epoch1",
                n=beat.n,
                sent_at_s=beat.sent_at_s,
                received_at_s=arrived_s + THERE_S,
                answered_at_s=left_s + THERE_S,
            )
        )
    (clock,) = [event for event in side.commander.events if isinstance(event, MicroscopeClock)]
    assert clock.bound_s == pytest.approx(0.0015)
    assert abs(clock.offset_s - THERE_S) <= clock.bound_s + 1e-9


def test_a_status_is_told_when_it_changes_and_now_and_then_while_frames_come(side: Side) -> None:
    def status(n_frames: int, phase: MicroscopePhase, *warnings: str) -> None:
        side.answer(
            Status(
                epoch="epoch1",
                phase=phase,
                session="s",
                n_frames=n_frames,
                plane_groups=4,
                rate_hz=11.0,
                files=["a.tif"],
                warnings=list(warnings),
                at_s=0.0,
            )
        )

    for n in range(100):
        status(n, P.ACQUIRING)
        side.now_s += 0.125
    status(100, P.ACQUIRING, "shutter closed")
    status(101, P.STOPPED)
    status(101, P.STOPPED)
    told = [event for event in side.commander.events if isinstance(event, MicroscopeState)]
    assert [(state.n_frames, state.phase, state.warnings) for state in told] == [
        (0, P.ACQUIRING, []),
        (40, P.ACQUIRING, []),
        (80, P.ACQUIRING, []),
        (100, P.ACQUIRING, ["shutter closed"]),
        (101, P.STOPPED, []),
    ]
    assert (told[0].plane_groups, told[0].rate_hz, told[0].files) == (4, 11.0, ["a.tif"])


def test_bytes_that_mean_nothing_are_counted_and_found_once_a_second_at_most(side: Side) -> None:
    for n in range(10_000):
        side.commander.take(n.to_bytes(4, "big"), now_s=side.now_s)
        side.now_s += 0.0002
        side.commander.tick(now_s=side.now_s)
    found = [event for event in side.commander.events if isinstance(event, Finding)]
    assert side.refusals.total == 10_000
    assert len(found) == pytest.approx(2, abs=1)


def test_at_the_end_it_says_goodbye(side: Side) -> None:
    side.sent()
    side.commander.leave()
    assert side.sent()[0] == Goodbye(epoch="epoch1")
