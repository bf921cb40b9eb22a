"""The command socket: who may ask, what is answered, what is carried out, and what is left behind."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from hardware.links.secured import LARGEST_MESSAGE
from hardware.protocols import Command
from rig.session.control import (
    ControlError,
    ControlServer,
    Reply,
    Request,
    Running,
    Stage,
    ask,
    running_sessions,
)
from stages.events import SpoutPosition, Verb

LONG_S = 10.0
"""No test waits this long unless it fails."""
SHORT_S = 0.3
"""Long enough for an answer on this machine's loopback, were there one."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ControlServer]:
    with closing(serving(tmp_path)) as server:
        yield server


def serving(folder: Path, *, session_id: str = "one", mouse: str = "M1") -> ControlServer:
    return ControlServer(
        runtime_dir=folder / "running", session_id=session_id, mouse=mouse, stage="STAGE", folder=folder / "session"
    )


def session_in(folder: Path) -> Running:
    (running,) = running_sessions(folder / "running")
    return running


def request(name: str = "1", verb: Verb = Verb.NOTE, *, expires_in_s: float = LONG_S, **fields: Any) -> Request:
    return Request(id=name, verb=verb, who="operator", expires_at=time.time() + expires_in_s, **fields)


def taken(server: ControlServer) -> list[Command]:
    """What the session takes once something has arrived."""
    deadline_s = time.monotonic() + LONG_S
    while time.monotonic() < deadline_s:
        if commands := server.poll():
            return list(commands)
    raise TimeoutError("no command has arrived")


def carried_out(server: ControlServer, running: Running, asked: Request, *, applied: bool, what: str) -> list[Reply]:
    """Ask, have the session answer, return all replies."""
    replies = ask(running, asked, timeout_s=LONG_S)
    received = next(replies)
    (command,) = taken(server)
    server.answer(command=command.id, applied=applied, what=what)
    return [received, *replies]


def sent_raw(running: Running, data: bytes) -> bytes | None:
    """Send bytes with the right key; return the answer, None if there is none."""
    context = zmq.Context()
    try:
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        socket.curve_serverkey = running.server_public
        socket.curve_publickey = running.client_public
        socket.curve_secretkey = running.client_secret
        socket.connect(running.endpoint)
        socket.send(data)
        return socket.recv() if socket.poll(1000 * SHORT_S) else None
    finally:
        context.destroy(linger=0)


@pytest.mark.parametrize(("applied", "stage"), [(True, Stage.APPLIED), (False, Stage.REFUSED)])
def test_a_request_is_acknowledged_and_then_answered(
    server: ControlServer, tmp_path: Path, applied: bool, stage: Stage
) -> None:
    replies = carried_out(server, session_in(tmp_path), request("7"), applied=applied, what="because")

    assert replies == [
        Reply(id="7", stage=Stage.RECEIVED, what="received"),
        Reply(id="7", stage=stage, what="because"),
    ]


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        ({"verb": Verb.NOTE, "text": "a note, 5 µL"}, {"verb": "note", "text": "a note, 5 µL"}),
        ({"verb": Verb.REWARD, "volume_ul": 4.5}, {"verb": "reward", "volume_ul": 4.5}),
        ({"verb": Verb.SPOUT, "position": SpoutPosition.RETRACTED}, {"verb": "spout", "position": "retracted"}),
        ({"verb": Verb.STOP_NOW}, {"verb": "stop-now"}),
    ],
)
def test_the_session_takes_what_the_operator_asked(
    server: ControlServer, tmp_path: Path, asked: dict[str, Any], fields: dict[str, Any]
) -> None:
    sent = request(**asked)
    next(ask(session_in(tmp_path), sent, timeout_s=LONG_S))

    assert taken(server) == [Command(id="1", who="operator", expires_at=sent.expires_at, **fields)]
    assert server.poll() == ()


def test_the_same_request_twice_is_carried_out_once_and_answered_twice(server: ControlServer, tmp_path: Path) -> None:
    running = session_in(tmp_path)
    first = carried_out(server, running, request("same"), applied=True, what="done")

    again = list(ask(running, request("same"), timeout_s=LONG_S))

    assert again == [first[-1]]
    assert server.poll() == ()


def test_a_request_that_comes_again_before_it_is_answered_is_answered_to_who_asked_last(
    server: ControlServer, tmp_path: Path
) -> None:
    running = session_in(tmp_path)
    next(ask(running, request("same"), timeout_s=LONG_S))  # this one gives up after the acknowledgement
    again = ask(running, request("same"), timeout_s=LONG_S)
    assert next(again).stage is Stage.RECEIVED

    assert [command.id for command in taken(server)] == ["same"]
    server.answer(command="same", applied=True, what="done")

    assert next(again) == Reply(id="same", stage=Stage.APPLIED, what="done")
    assert server.poll() == ()


def test_requests_of_several_operators_are_answered_each_to_its_own(server: ControlServer, tmp_path: Path) -> None:
    running = session_in(tmp_path)
    asked = {one: ask(running, request(one), timeout_s=LONG_S) for one in "abc"}
    for replies in asked.values():
        next(replies)
    for one in "cab":
        server.answer(command=one, applied=True, what=f"for {one}")

    assert {one: next(replies).what for one, replies in asked.items()} == {one: f"for {one}" for one in "abc"}


def test_what_is_asked_from_inside_the_process_needs_no_answer(server: ControlServer) -> None:
    inside = Command(id="SIGINT", who="tester", verb="stop-now")
    server.put(inside)

    assert taken(server) == [inside]
    server.answer(command="SIGINT", applied=True, what="stops now")


def test_an_answer_given_just_before_the_end_still_arrives(tmp_path: Path) -> None:
    server = serving(tmp_path)
    replies = ask(session_in(tmp_path), request(verb=Verb.STOP_NOW), timeout_s=LONG_S)
    next(replies)
    taken(server)
    server.answer(command="1", applied=True, what="stops now")
    server.close()

    assert [reply.what for reply in replies] == ["stops now"]


def test_a_request_that_came_too_late_is_refused_and_not_carried_out(server: ControlServer, tmp_path: Path) -> None:
    (reply,) = ask(session_in(tmp_path), request("late", expires_in_s=-2.0), timeout_s=LONG_S)

    assert reply.stage is Stage.REFUSED
    assert reply.what.startswith("came 2.")
    assert reply.what.endswith("s too late; ask again")
    assert server.poll() == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b"\xff\xfe\0",
        b'{"id":"\xff","verb":"note","who":"x","expires_at":9e99}',
        b'{"id":"1"}',
        b'{"id":"1","verb":"dance","who":"x","expires_at":9e99}',
        b'{"id":"1","verb":"reward","who":"x","expires_at":9e99,"volume_ul":"much"}',
        b"[" * 60_000,
        b'{"id":' + b"[" * 60_000,
        b'{"unheard":' + b"[" * 60_000,
    ],
)
def test_what_is_no_request_is_refused_and_the_next_one_is_taken(
    server: ControlServer, tmp_path: Path, data: bytes
) -> None:
    running = session_in(tmp_path)

    answer = sent_raw(running, data)

    assert answer is not None
    reply = msgspec.json.decode(answer, type=Reply)
    assert (reply.id, reply.stage) == ("", Stage.REFUSED)
    assert reply.what.startswith("not understood: ")
    assert carried_out(server, running, request(), applied=True, what="done")[-1].what == "done"


def test_a_message_beyond_all_measure_is_not_taken_and_the_next_one_is(server: ControlServer, tmp_path: Path) -> None:
    running = session_in(tmp_path)

    assert sent_raw(running, b" " * (LARGEST_MESSAGE + 1)) is None
    assert carried_out(server, running, request(), applied=True, what="done")[-1].what == "done"


def test_who_has_another_key_gets_no_answer_and_is_not_heard(server: ControlServer, tmp_path: Path) -> None:
    public, secret = zmq.curve_keypair()
    stranger = msgspec.structs.replace(session_in(tmp_path), client_public=public, client_secret=secret)

    with pytest.raises(ControlError) as caught:
        list(ask(stranger, request(), timeout_s=SHORT_S))

    assert str(caught.value) == (
        f"the session of M1 (process {os.getpid()}) did not answer within 0.3 s; look whether it still runs"
    )
    assert server.poll() == ()


def test_who_uses_no_key_is_not_heard(server: ControlServer, tmp_path: Path) -> None:
    context = zmq.Context()
    try:
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        socket.connect(session_in(tmp_path).endpoint)
        socket.send(msgspec.json.encode(request()))
        assert not socket.poll(1000 * SHORT_S)
    finally:
        context.destroy(linger=0)
    assert server.poll() == ()


def test_a_session_that_has_ended_does_not_answer_and_that_is_said(tmp_path: Path) -> None:
    with closing(serving(tmp_path)):
        running = session_in(tmp_path)

    with pytest.raises(ControlError, match=r"the session of M1 .* did not answer within 0\.3 s; look whether it still"):
        list(ask(running, request(), timeout_s=SHORT_S))


def test_a_session_that_acknowledges_and_then_hangs_is_named(server: ControlServer, tmp_path: Path) -> None:
    replies = ask(session_in(tmp_path), request(), timeout_s=SHORT_S)

    assert next(replies).stage is Stage.RECEIVED
    with pytest.raises(ControlError, match="did not answer"):
        next(replies)


@pytest.mark.skipif(os.name == "nt", reason="modes of files are POSIX's")
def test_only_its_owner_may_read_the_key_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(serving(tmp_path)):
            (file,) = (tmp_path / "running").iterdir()
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_the_key_file_says_which_session_it_is_and_goes_with_it(tmp_path: Path) -> None:
    with closing(serving(tmp_path)):
        running = session_in(tmp_path)
        assert (running.session_id, running.mouse, running.stage) == ("one", "M1", "STAGE")
        assert (running.pid, running.folder) == (os.getpid(), str(tmp_path / "session"))
        assert running.endpoint.startswith("tcp://127.0.0.1:")

    assert list((tmp_path / "running").iterdir()) == []


def test_every_session_has_keys_of_its_own(tmp_path: Path) -> None:
    with closing(serving(tmp_path)), closing(serving(tmp_path, session_id="two", mouse="M2")):
        one, two = running_sessions(tmp_path / "running")

    assert (one.mouse, two.mouse) == ("M1", "M2")
    assert len({one.client_secret, two.client_secret, one.server_public, two.server_public}) == 4
    assert one.endpoint != two.endpoint


def test_key_files_of_dead_processes_are_taken_away_and_others_are_left(server: ControlServer, tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left_behind = msgspec.structs.replace(session_in(tmp_path), session_id="dead", pid=dead.pid)
    (tmp_path / "running" / "dead.json").write_bytes(msgspec.json.encode(left_behind))
    (tmp_path / "running" / "garbage.json").write_bytes(b"{")
    (tmp_path / "running" / "not_text.json").write_bytes(b'{"session_id":"\xff"}')

    assert [running.session_id for running in running_sessions(tmp_path / "running")] == ["one"]
    assert sorted(path.name for path in (tmp_path / "running").iterdir()) == [
        "garbage.json",
        "not_text.json",
        "one.json",
    ]


def test_where_nothing_ever_ran_nothing_runs(tmp_path: Path) -> None:
    assert running_sessions(tmp_path / "nowhere") == []
