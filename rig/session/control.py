"""The command socket of a running session, and the client that talks to it.

A request has an id, a sender and an expiry; it is acknowledged when it arrives and answered when the
session has applied or refused it. The same id twice is carried out once and answered twice. Only who can
read the session's key file may talk: CurveZMQ with keys made for this session, on the loopback
interface (``hardware.links``). Who sends too much waits; what is not taken is told once a second at most.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec
import psutil
import zmq

from hardware.clock import Clock
from hardware.events import Finding, Verdict
from hardware.links.secured import (
    Gate,
    Keys,
    Pace,
    Refusals,
    Waker,
    bound_server,
    connected_client,
    drained,
    wait_for,
)
from hardware.protocols import Command
from stages.events import SpoutPosition, Verb

POLL_S = 0.5
REMEMBERED = 1_000
"""Answers kept for a request that comes again."""
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are no message of ours, whatever they are."""


class ControlError(Exception):
    """A session can't be commanded: which one, why, how to mend it."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator sends. ``expires_at`` is wall-clock time in seconds."""

    id: str
    verb: Verb
    who: str
    expires_at: float
    text: str = ""
    volume_ul: float | None = None
    position: SpoutPosition | None = None


class Stage(StrEnum):
    """How far a request has come."""

    RECEIVED = "received"
    APPLIED = "applied"
    REFUSED = "refused"


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the session answers."""

    id: str
    stage: Stage
    what: str


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A running session as it stands in the runtime folder, readable by its owner only."""

    session_id: str
    mouse: str
    stage: str
    folder: str
    pid: int
    endpoint: str
    server_public: bytes
    client_public: bytes
    client_secret: bytes


class ControlServer:
    """The session's end of the socket, in a thread of its own; a ``CommandSource``.

    Parameters
    ----------
    runtime_dir
        Where the key file of the running session goes; made if missing.
    """

    def __init__(self, *, runtime_dir: Path, session_id: str, mouse: str, stage: str, folder: Path) -> None:
        self._inbox: deque[Command] = deque()
        self._outbox: deque[tuple[bytes, Reply]] = deque()
        self._senders: dict[str, bytes] = {}
        self._answers: OrderedDict[str, Reply] = OrderedDict()
        self._stop = threading.Event()
        self._waker = Waker()
        self._refusals = Refusals()
        self._pace = Pace()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        own, client = Keys.new(), Keys.new()
        self._gate = Gate(self._context, allowed=[client.public], refusals=self._refusals)
        self._socket, port = bound_server(self._context, keys=own)
        self._socket.linger = 200
        running = Running(
            session_id=session_id,
            mouse=mouse,
            stage=stage,
            folder=str(folder),
            pid=os.getpid(),
            endpoint=f"tcp://127.0.0.1:{port}",
            server_public=own.public,
            client_public=client.public,
            client_secret=client.secret,
        )
        runtime_dir.mkdir(parents=True, exist_ok=True)
        self._file = runtime_dir / f"{session_id}.json"
        with os.fdopen(os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(running))
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def put(self, command: Command) -> None:
        """Take a request from inside the process: the keyboard, a signal."""
        self._inbox.append(command)

    def poll(self) -> Sequence[Command]:
        """See ``CommandSource.poll``."""
        if not self._inbox:
            return ()
        commands = [self._inbox.popleft() for _ in range(len(self._inbox))]
        now_s = time.time()
        for command in commands:
            if now_s > command.expires_at:  # the operator has been told that nobody answered
                self.answer(command=command.id, applied=False, what="came too late; ask again")
        return [command for command in commands if now_s <= command.expires_at]

    def answer(self, *, command: str, applied: bool, what: str) -> None:
        """See ``CommandSource.answer``."""
        reply = Reply(id=command, stage=Stage.APPLIED if applied else Stage.REFUSED, what=what)
        if (sender := self._senders.get(command)) is not None:
            self._outbox.append((sender, reply))
            self._waker.wake()

    def next_due_s(self) -> float:
        """See ``CommandSource.next_due_s``: an operator may speak at any time."""
        return float("-inf")

    def found(self) -> Sequence[Finding]:
        """See ``CommandSource.found``."""
        return [
            Finding(name="command socket", verdict=Verdict.WARN, figure=f"not taken: {told}", remedy=remedy)
            for told in [self._refusals.take(time.monotonic())]
            if told
            for remedy in ["look which program of this computer speaks to it; the session is not disturbed"]
        ]

    def close(self) -> None:
        """Send what is still to be answered, take the key file away, close the socket."""
        self._file.unlink(missing_ok=True)
        self._stop.set()
        self._waker.wake()
        self._thread.join()
        self._context.destroy(linger=200)
        self._waker.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            wait_for(self._socket, gate=self._gate, waker=self._waker, pace=self._pace, longest_s=POLL_S)
            self._gate.serve()
            for parts in drained(self._socket, self._pace, now_s=time.monotonic):
                self._take(parts[0], parts[-1] if len(parts) > 1 else b"")
            self._send_answers()
        self._send_answers()

    def _take(self, sender: bytes, data: bytes) -> None:
        try:
            request = msgspec.json.decode(data, type=Request)
        except UNREADABLE as error:
            self._refusals.add("not understood")
            self._send(sender, Reply(id="", stage=Stage.REFUSED, what=f"not understood: {error}"))
            return
        known = self._answers.get(request.id)
        if known is not None:
            self._senders[request.id] = sender
            self._send(sender, known)
            return
        if time.time() > request.expires_at:
            late_s = time.time() - request.expires_at
            self._remember(Reply(id=request.id, stage=Stage.REFUSED, what=f"came {late_s:.1f} s too late; ask again"))
            self._send(sender, self._answers[request.id])
            return
        self._senders[request.id] = sender
        self._remember(Reply(id=request.id, stage=Stage.RECEIVED, what="received"))
        self._send(sender, self._answers[request.id])
        self._inbox.append(
            Command(
                id=request.id,
                who=request.who,
                verb=request.verb.value,
                text=request.text,
                volume_ul=request.volume_ul,
                position=request.position.value if request.position is not None else None,
                expires_at=request.expires_at,
            )
        )

    def _send_answers(self) -> None:
        for _ in range(len(self._outbox)):
            sender, reply = self._outbox.popleft()
            self._remember(reply)
            self._senders.pop(reply.id, None)
            self._send(sender, reply)

    def _remember(self, reply: Reply) -> None:
        self._answers[reply.id] = reply
        while len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)

    def _send(self, sender: bytes, reply: Reply) -> None:
        with contextlib.suppress(zmq.Again, zmq.ZMQError):  # a client that has gone is no concern of the session
            self._socket.send_multipart([sender, msgspec.json.encode(reply)], flags=zmq.NOBLOCK)


class LocalCommands:
    """Requests from inside the process only: signals, rules of a simulation."""

    def __init__(self) -> None:
        self._inbox: deque[Command] = deque()

    def put(self, command: Command) -> None:
        """Take a request."""
        self._inbox.append(command)

    def poll(self) -> Sequence[Command]:
        """See ``CommandSource.poll``."""
        return [self._inbox.popleft() for _ in range(len(self._inbox))]

    def answer(self, *, command: str, applied: bool, what: str) -> None:
        """See ``CommandSource.answer``: who asked reads the log."""

    def next_due_s(self) -> float:
        """See ``CommandSource.next_due_s``."""
        return float("-inf") if self._inbox else float("inf")

    def found(self) -> Sequence[Finding]:
        """See ``CommandSource.found``."""
        return ()


class NoCommands:
    """A session that nobody talks to."""

    def poll(self) -> Sequence[Command]:
        """See ``CommandSource.poll``."""
        return ()

    def answer(self, *, command: str, applied: bool, what: str) -> None:
        """See ``CommandSource.answer``."""

    def next_due_s(self) -> float:
        """See ``CommandSource.next_due_s``."""
        return math.inf

    def found(self) -> Sequence[Finding]:
        """See ``CommandSource.found``."""
        return ()


class ScriptedCommands:
    """Requests at given host times: tests and rehearsals."""

    def __init__(self, script: Sequence[tuple[float, Command]], *, clock: Clock) -> None:
        self._script = deque(sorted(script, key=lambda pair: pair[0]))
        self._clock = clock
        self.answers: list[tuple[str, bool, str]] = []

    def poll(self) -> Sequence[Command]:
        """See ``CommandSource.poll``."""
        now_s = self._clock.now_s()
        commands = []
        while self._script and self._script[0][0] <= now_s:
            commands.append(self._script.popleft()[1])
        return commands

    def answer(self, *, command: str, applied: bool, what: str) -> None:
        """See ``CommandSource.answer``."""
        self.answers.append((command, applied, what))

    def next_due_s(self) -> float:
        """See ``CommandSource.next_due_s``."""
        return self._script[0][0] if self._script else math.inf

    def found(self) -> Sequence[Finding]:
        """See ``CommandSource.found``."""
        return ()


def running_sessions(runtime_dir: Path) -> list[Running]:
    """Return the sessions that run on this machine; key files of dead processes are taken away."""
    sessions = []
    for path in sorted(runtime_dir.glob("*.json")):
        try:
            running = msgspec.json.decode(path.read_bytes(), type=Running)
        except (OSError, *UNREADABLE):
            continue
        if psutil.pid_exists(running.pid):
            sessions.append(running)
        else:
            path.unlink(missing_ok=True)
    return sessions


def ask(running: Running, request: Request, *, timeout_s: float) -> Iterator[Reply]:
    """Send a request; yield the acknowledgement and the answer.

    Raises
    ------
    ControlError
        The session does not answer within ``timeout_s``.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    keys = Keys(public=running.client_public, secret=running.client_secret)
    socket = connected_client(context, running.endpoint, keys=keys, server_public=running.server_public)
    try:
        socket.send(msgspec.json.encode(request))
        deadline_s = time.monotonic() + timeout_s
        while True:
            left_ms = int((deadline_s - time.monotonic()) * 1000)
            if left_ms <= 0 or not socket.poll(left_ms):
                raise ControlError(
                    f"the session of {running.mouse} (process {running.pid}) did not answer within {timeout_s:g} s; "
                    "look whether it still runs"
                )
            reply = msgspec.json.decode(socket.recv(), type=Reply)
            yield reply
            if reply.stage is not Stage.RECEIVED:
                return
    finally:
        context.destroy(linger=0)
