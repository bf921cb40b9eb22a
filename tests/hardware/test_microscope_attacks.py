"""What may come to the link besides its own: strangers, recordings, noise, floods and a gigabyte.

Each is refused, counted, told once a second at most, and the next good command is carried out.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

import numpy as np
import psutil
import pytest
import zmq

from hardware.clock import HostClock
from hardware.events import Finding, MicroscopePhase, MicroscopeState, Verdict
from hardware.links.secured import LARGEST_MESSAGE, Keys, bounded, connected_client
from hardware.microscope.client import MicroscopeClient, Peer
from hardware.microscope.commander import LinkSettings
from hardware.microscope.messages import Recording
from hardware.microscope.receiver import About, Progress
from hardware.microscope.server import Cannot, MicroscopeServer
from hardware.protocols import DeviceError
from tests.telling import Tell

P = MicroscopePhase
SOON_S = 20.0
GIGABYTE = 2**30
GREETING = 64
"""Bytes with which each side of ZeroMQ's protocol begins."""
MOST_GROWTH_MB = 50.0


class Instrument:
    """Does what it is told and remembers it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.refusals: list[str] = []
        """What it will answer to the next stops instead of stopping."""

    def about(self) -> About:
        return About(name="scope", model="for tests")

    def prepare(self, recording: Recording) -> None:
        self.done.append("prepare")

    def arm(self) -> None:
        self.done.append("arm")

    def start(self) -> None:
        self.done.append("start")

    def stop(self) -> None:
        if self.refusals:
            raise Cannot(self.refusals.pop(0))
        self.done.append("stop")

    def abort(self) -> None:
        self.done.append("abort")

    def progress(self) -> Progress:
        return Progress()


class Link:
    """A server with its keys, what it told, and clients of it."""

    def __init__(self, stack: ExitStack, *, plain: bool = False) -> None:
        self.stack = stack
        self.scope, self.rig = Keys.new(), Keys.new()
        self.instrument = Instrument()
        self.told: list[tuple[float, str]] = []
        self.plain = plain
        self.server = stack.enter_context(
            MicroscopeServer(
                self.instrument,
                keys=None if plain else self.scope,
                allowed=[self.rig.public],
                tell=lambda words: self.told.append((time.monotonic(), words)),
            )
        )
        self.peer = Peer(
            endpoint=f"tcp://127.0.0.1:{self.server.port}",
            keys=None if plain else self.rig,
            server_public=None if plain else self.scope.public,
        )

    def client(self, *, peer: Peer | None = None, reply_s: float = SOON_S) -> MicroscopeClient:
        settings = LinkSettings(who="rig", heartbeat_s=0.25, reply_s=reply_s, plane_groups=1, frame_rate_hz=31.0)
        client = MicroscopeClient(peer=peer or self.peer, settings=settings, clock=HostClock())
        self.stack.callback(client.close)
        return client

    def refusals_told(self) -> list[float]:
        return [at_s for at_s, words in self.told if words.startswith("not taken")]

    def judge_the_telling(self) -> None:
        """Strangers and noise are told, once a second at most."""
        told_s = self.refusals_told()
        assert told_s
        assert (np.diff(told_s) >= 1.0 - 0.05).all()


@pytest.fixture
def link() -> Iterator[Link]:
    with ExitStack() as stack:
        yield Link(stack)


def until(happened: Callable[[], object], within_s: float = SOON_S) -> None:
    limit_s = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < limit_s, "it did not happen"
        time.sleep(0.01)


def records(client: MicroscopeClient, *, session: str = "s1") -> None:
    """A whole recording, each step confirmed."""
    seen: list[MicroscopePhase] = []

    def reached(phase: MicroscopePhase) -> bool:
        seen.extend(event.phase for event in client.poll() if isinstance(event, MicroscopeState))
        return phase in seen

    client.prepare(session_id=session, mouse="M1", stage="S")
    for phase, command in ((P.PREPARED, client.arm), (P.ARMED, client.start), (P.ACQUIRING, client.stop)):
        until(lambda phase=phase: reached(phase))  # type: ignore[misc]
        command()
    until(lambda: reached(P.STOPPED))
    assert P.FAILED not in seen


@contextmanager
def raw_client(link: Link, *, keys: Keys | None, largest: int = LARGEST_MESSAGE) -> Iterator[zmq.Socket[bytes]]:
    """Somebody else's socket, who may be admitted or not."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        yield connected_client(context, link.peer.endpoint, keys=keys, server_public=link.scope.public)
    finally:
        context.destroy(linger=0)


def test_a_rig_whose_key_is_not_allowed_is_not_answered_and_the_one_that_is_goes_on(link: Link) -> None:
    good = link.client()
    good.open()
    stranger = link.client(peer=replace(link.peer, keys=Keys.new()), reply_s=1.0)
    with pytest.raises(DeviceError, match="nobody answers at tcp"):
        stranger.open()
    records(good)
    assert link.instrument.done == ["prepare", "arm", "start", "stop"]
    assert link.server.refusals.n["stranger's key"] >= 1
    link.judge_the_telling()


class Tape:
    """A relay that keeps what the rig has sent, as it was on the wire."""

    def __init__(self, stack: ExitStack, port: int) -> None:
        self.listener = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        self.to = port
        self.recorded = b""
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"

    def _serve(self) -> None:
        with (
            closing(self.listener.accept()[0]) as near,
            closing(socket.create_connection(("127.0.0.1", self.to))) as far,
        ):

            def back() -> None:
                try:
                    while data := far.recv(65536):
                        near.sendall(data)
                except OSError:
                    return

            threading.Thread(target=back, daemon=True).start()
            try:
                while data := near.recv(65536):
                    self.recorded += data
                    far.sendall(data)
            except OSError:
                return


@pytest.mark.parametrize("plain", [False, True], ids=["with keys", "plain text"])
def test_a_replayed_recording_of_an_earlier_session_does_nothing_before_during_or_after_another(plain: bool) -> None:
    with ExitStack() as stack:
        link = Link(stack, plain=plain)
        tape = Tape(stack, link.server.port)
        first = link.client(peer=replace(link.peer, endpoint=tape.endpoint))
        first.open()
        records(first)
        first.close()
        assert len(tape.recorded) > 1000
        done = list(link.instrument.done)

        def replay() -> None:
            with closing(socket.create_connection(("127.0.0.1", link.server.port))) as again:
                again.settimeout(1.0)
                try:
                    again.sendall(tape.recorded[:GREETING])
                    again.recv(65536)  # patience: who says all at once is cut off
                    for at in range(GREETING, len(tape.recorded), 256):
                        again.sendall(tape.recorded[at : at + 256])
                        time.sleep(0.005)
                    while again.recv(65536):
                        pass
                except OSError:
                    return

        replay()
        assert link.instrument.done == done
        second = link.client()
        second.open()
        second.prepare(session_id="s2", mouse="M1", stage="S")
        until(lambda: link.instrument.done == [*done, "prepare"])
        replay()
        assert link.instrument.done == [*done, "prepare"]
        records(second, session="s2")
        second.close()
        replay()
        assert link.instrument.done == [*done, "prepare", "prepare", "arm", "start", "stop"]
        if plain:
            assert link.server.refusals.n["epoch that is over"] >= 3


def test_plain_text_is_warned_of_before_every_session() -> None:
    with ExitStack() as stack:
        for plain in (False, True):
            client = Link(stack, plain=plain).client()
            client.open()
            warned = [finding.figure for finding in client.check() if finding.verdict is Verdict.WARN]
            assert warned == (["plain text: whoever reaches its address may command it"] if plain else [])


@pytest.mark.parametrize("n_random", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_random_strings_from_a_known_rig_are_counted_and_the_session_goes_on(
    link: Link, n_random: int, tell: Tell
) -> None:
    good = link.client()
    good.open()
    rng = np.random.default_rng(1)
    before = psutil.Process().memory_info().rss
    with raw_client(link, keys=link.rig) as noisy:
        sent = 0

        def flood() -> None:
            nonlocal sent
            for _ in range(n_random):
                noisy.send(rng.bytes(int(rng.integers(0, 300))))
                sent += 1

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        begun_s = time.monotonic()
        until(lambda: link.server.refusals.n.get("not understood", 0) > 100)
        records(good)
        took_s = time.monotonic() - begun_s
        until(lambda: link.server.refusals.n["not understood"] == n_random, within_s=60.0)
        thread.join()
    growth_mb = (psutil.Process().memory_info().rss - before) / 1e6
    tell(f"a recording among {n_random} random strings took {took_s:.2f} s; memory grew by {growth_mb:.0f} MB")
    link.judge_the_telling()
    assert link.instrument.done == ["prepare", "arm", "start", "stop"]
    assert growth_mb < MOST_GROWTH_MB


def test_random_bytes_on_the_bare_socket_are_no_connection_and_the_session_goes_on(link: Link) -> None:
    good = link.client()
    good.open()
    rng = np.random.default_rng(2)
    for _ in range(200):
        with closing(socket.create_connection(("127.0.0.1", link.server.port))) as bare:
            try:
                bare.sendall(rng.bytes(int(rng.integers(1, 2000))))
            except OSError:
                continue
    records(good)
    assert link.instrument.done == ["prepare", "arm", "start", "stop"]


@pytest.mark.parametrize(
    ("known", "size"),
    [(True, 2**26), pytest.param(True, GIGABYTE, marks=pytest.mark.slow), (False, GIGABYTE)],
    ids=["64 MiB from a known rig", "a gigabyte from a known rig", "a gigabyte on the bare socket"],
)
def test_what_is_far_too_large_is_cut_off_and_the_session_goes_on(
    link: Link, known: bool, size: int, tell: Tell
) -> None:
    good = link.client()
    good.open()
    process = psutil.Process()
    if known:
        with raw_client(link, keys=link.rig) as large:
            message = bytes(size)
            large.send(message, copy=False)  # encrypted and sent by the library's own thread
            records(good)
            del message
        assert link.server.refusals.total == 0, "it has not even arrived"
    else:
        before = process.memory_info().rss
        sent = 0
        chunk = bytes(2**20)
        with closing(socket.create_connection(("127.0.0.1", link.server.port))) as bare:
            try:
                while sent < size:
                    sent += bare.send(chunk)
            except OSError:
                pass
        records(good)
        growth_mb = (process.memory_info().rss - before) / 1e6
        tell(f"cut off after {sent / 2**20:.1f} MiB; memory grew by {growth_mb:.1f} MB")
        assert growth_mb < MOST_GROWTH_MB
    assert link.instrument.done == ["prepare", "arm", "start", "stop"]


def test_a_rigs_client_reads_no_more_than_it_can_of_a_microscope_that_floods(tell: Tell) -> None:
    """As plain text, so that anybody may be at the address: noise and a gigabyte instead of a welcome."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    flooding = bounded(context, zmq.ROUTER)
    port = flooding.bind_to_random_port("tcp://127.0.0.1")
    settings = LinkSettings(who="rig", heartbeat_s=0.25, reply_s=1.0, plane_groups=1, frame_rate_hz=31.0)
    peer = Peer(endpoint=f"tcp://127.0.0.1:{port}", keys=None, server_public=None)
    client = MicroscopeClient(peer=peer, settings=settings, clock=HostClock())
    stop = threading.Event()
    n_sent = 0

    def flood() -> None:
        nonlocal n_sent
        rng = np.random.default_rng(3)
        who, _ = flooding.recv_multipart()
        flooding.send_multipart([who, bytes(2**27)], copy=False)
        while not stop.is_set():
            try:
                flooding.send_multipart([who, rng.bytes(100)], zmq.NOBLOCK)
                n_sent += 1
            except zmq.Again:
                time.sleep(0.001)
            if flooding.poll(0):
                who, _ = flooding.recv_multipart()

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    try:
        begun_s = time.monotonic()
        with pytest.raises(DeviceError, match="nobody answers"):
            client.open()
        time.sleep(1.0)
        took_s = time.monotonic() - begun_s
        read = client.refusals.n.get("not understood", 0)
        found = [event for event in client.poll() if isinstance(event, Finding)]
        assert read <= 100 + 500 * (took_s + 0.5)
        assert len(found) <= took_s + 2
        tell(f"{read} of {n_sent} were read in {took_s:.1f} s, told {len(found)} times")
    finally:
        client.close()
        stop.set()
        thread.join()
        context.destroy(linger=0)


def test_a_program_that_can_not_show_its_messages_stops_its_microscope_all_the_same() -> None:
    def tell(_words: str) -> None:
        raise RuntimeError("the window is closed")

    instrument = Instrument()
    scope, rig = Keys.new(), Keys.new()
    with ExitStack() as stack:
        server = stack.enter_context(MicroscopeServer(instrument, keys=scope, allowed=[rig.public], tell=tell))
        peer = Peer(endpoint=f"tcp://127.0.0.1:{server.port}", keys=rig, server_public=scope.public)
        settings = LinkSettings(who="rig", heartbeat_s=0.25, reply_s=SOON_S, plane_groups=1, frame_rate_hz=31.0)
        client = MicroscopeClient(peer=peer, settings=settings, clock=HostClock())
        stack.callback(client.close)
        client.open()
        records(client)
        assert instrument.done == ["prepare", "arm", "start", "stop"]
        warnings: list[str] = []

        def warned() -> bool:
            warnings.extend(w for event in client.poll() if isinstance(event, MicroscopeState) for w in event.warnings)
            return any("the window is closed" in warning for warning in warnings)

        client.prepare(session_id="s2", mouse="M1", stage="S")
        until(warned)


def test_a_program_that_ends_tries_again_to_stop_what_would_not_stop(link: Link) -> None:
    client = link.client()
    client.open()
    client.prepare(session_id="s1", mouse="M1", stage="S")
    client.arm()
    client.start()
    until(lambda: link.instrument.done == ["prepare", "arm", "start"])
    link.instrument.refusals = ["its driver was busy"]

    link.server.close()

    assert link.instrument.done == ["prepare", "arm", "start", "stop"]
    told = [words for _, words in link.told if "program ends" in words]
    assert told == [
        "could not be stopped, though the microscope's program ends: its driver was busy",
        "stopped, since the microscope's program ends",
    ]


def test_a_link_that_breaks_down_at_the_rig_is_said_and_not_waited_for(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    died: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: died.append(str(args.exc_value)))
    client = link.client()
    client.open()

    def broken(**_: object) -> None:
        raise RuntimeError("a bug in the link")

    monkeypatch.setattr(client._commander, "tick", broken)

    def said() -> str:
        try:
            client.poll()
        except DeviceError as error:
            return error.what
        return ""

    until(said)
    assert said() == "the link has broken down (RuntimeError: a bug in the link)"
    until(lambda: died)  # its thread says so a little later, and nobody else is to hear of it


def test_a_link_that_breaks_down_stops_what_the_rig_had_set_going(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    died: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: died.append(str(args.exc_value)))
    client = link.client(reply_s=1.0)
    client.open()
    client.prepare(session_id="s1", mouse="M1", stage="S")
    client.arm()
    until(lambda: link.instrument.done == ["prepare", "arm"])

    def broken() -> None:
        raise RuntimeError("a bug in the link")

    assert link.server._gate is not None
    monkeypatch.setattr(link.server._gate, "serve", broken)
    until(lambda: link.instrument.done == ["prepare", "arm", "stop"])
    assert died == ["a bug in the link"]


def test_who_does_not_finish_a_handshake_is_dropped_and_keeps_nobody_out(link: Link) -> None:
    idle = [socket.create_connection(("127.0.0.1", link.server.port)) for _ in range(50)]
    try:
        good = link.client()
        good.open()
        records(good)
    finally:
        for connection in idle:
            connection.close()


def test_this_process_keeps_no_thread_of_a_link_that_was_closed(link: Link) -> None:
    client = link.client()
    client.open()
    client.close()
    link.server.close()
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"microscope link", "microscope socket", "microscope"}, os.getpid()
