"""ZeroMQ sockets that admit whom they know, take what is small, and no more of it than can be read.

``Gate`` answers ZeroMQ's question whether a key may come in, from the thread that serves the socket. ``Pace`` says how
many messages may be taken now: what is beyond it stays with the sender, whose socket fills up, not our memory.
``Refusals`` counts what was not taken and says so once a second at most.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import zmq
from zmq.utils import z85

LARGEST_MESSAGE = 65_536
"""A peer that sends a larger one is cut off before it is read; ours have some hundred bytes."""
QUEUED = 256
"""Messages that wait at a socket, each way, of each peer."""
HANDSHAKE_MS = 5_000
BACKLOG = 16
MESSAGES_PER_S = 500.0
BURST = 100
TELL_EVERY_S = 1.0
ZAP_ENDPOINT = "inproc://zeromq.zap.01"
ZAP_VERSION = b"1.0"


@dataclass(frozen=True, slots=True)
class Keys:
    """One side's pair of CurveZMQ keys."""

    public: bytes
    secret: bytes

    @staticmethod
    def new() -> Keys:
        """Make a pair for this run only."""
        return Keys(*zmq.curve_keypair())


class Refusals:
    """What was not taken, by kind; told once a second at most."""

    def __init__(self) -> None:
        self.n: dict[str, int] = {}
        self._untold: dict[str, int] = {}
        self._next_s = 0.0
        self._lock = threading.Lock()

    def add(self, kind: str, n: int = 1) -> None:
        """Count one."""
        with self._lock:
            self.n[kind] = self.n.get(kind, 0) + n
            self._untold[kind] = self._untold.get(kind, 0) + n

    @property
    def total(self) -> int:
        """How many in all."""
        return sum(self.n.values())

    def take(self, now_s: float) -> str:
        """Return what has been refused since it was last told; nothing, if that was less than a second ago."""
        with self._lock:
            if not self._untold or now_s < self._next_s:
                return ""
            self._next_s = now_s + TELL_EVERY_S
            untold, self._untold = self._untold, {}
        return ", ".join(f"{n} × {kind}" for kind, n in untold.items())


class Pace:
    """How many messages may be taken now: so many a second, and a burst."""

    def __init__(self, *, per_s: float = MESSAGES_PER_S, burst: int = BURST) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._left = float(burst)
        self._at_s = 0.0

    def allows(self, now_s: float) -> bool:
        """Return whether one more may be taken now; it is counted."""
        self._left = min(self._burst, self._left + max(0.0, now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def give_back(self) -> None:
        """Take back the last one: there was none to be taken."""
        self._left += 1.0

    @property
    def wait_s(self) -> float:
        """How long until one more may be taken."""
        return max(0.0, (1.0 - self._left) / self._per_s)


class Gate:
    """Says which keys may come in; one a context, opened before its servers are bound.

    Parameters
    ----------
    allowed
        Public keys, in Z85.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], *, allowed: Iterable[bytes], refusals: Refusals
    ) -> None:
        self._allowed = {z85.decode(key) for key in allowed}
        self._refusals = refusals
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(ZAP_ENDPOINT)

    def serve(self) -> None:
        """Answer all that ask now."""
        while True:
            try:
                asked = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            version, request, _domain, _address, _identity, mechanism, *credentials = [*asked, b"", b"", b"", b"", b""]
            admitted = version == ZAP_VERSION and mechanism == b"CURVE" and credentials[0] in self._allowed
            if not admitted:
                self._refusals.add("stranger's key")
            self.socket.send_multipart(
                [ZAP_VERSION, request, b"200" if admitted else b"400", b"OK" if admitted else b"unknown key", b"", b""]
            )


def bounded(context: zmq.Context[zmq.Socket[bytes]], kind: int) -> zmq.Socket[bytes]:
    """Return a socket whose messages, queues and waits are bounded."""
    made = context.socket(kind)
    made.linger = 0
    made.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
    made.setsockopt(zmq.RCVHWM, QUEUED)
    made.setsockopt(zmq.SNDHWM, QUEUED)
    made.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    made.setsockopt(zmq.BACKLOG, BACKLOG)
    return made


def bound_server(
    context: zmq.Context[zmq.Socket[bytes]], *, keys: Keys | None, host: str = "127.0.0.1", port: int = 0
) -> tuple[zmq.Socket[bytes], int]:
    """Return a server's socket and its port; with keys a ``Gate`` must have been opened before.

    Raises
    ------
    zmq.ZMQError
        The port is taken, or the host is not this machine's.
    """
    made = bounded(context, zmq.ROUTER)
    if keys is not None:
        made.curve_server = True
        made.curve_publickey = keys.public
        made.curve_secretkey = keys.secret
        made.setsockopt(zmq.ZAP_DOMAIN, b"rig")
        made.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    try:
        made.bind(f"tcp://{host}:{port or '*'}")
    except zmq.ZMQError:
        made.close()
        raise
    return made, int(made.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])


def connected_client(
    context: zmq.Context[zmq.Socket[bytes]], endpoint: str, *, keys: Keys | None, server_public: bytes | None
) -> zmq.Socket[bytes]:
    """Return a client's socket. What is queued for a server that is not there goes with the socket."""
    made = bounded(context, zmq.DEALER)
    made.setsockopt(zmq.RECONNECT_IVL, 50)
    made.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    if keys is not None and server_public is not None:
        made.curve_serverkey = server_public
        made.curve_publickey = keys.public
        made.curve_secretkey = keys.secret
    made.connect(endpoint)
    return made


class Waker:
    """Ends the poll of a thread from another one; costs that one a microsecond or two and never waits."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        for end in (self._read, self._write):
            end.setblocking(False)

    def fileno(self) -> int:
        """Return what a poller waits for."""
        return self._read.fileno()

    def wake(self) -> None:
        """End the poll; of no use any more once closed."""
        with contextlib.suppress(OSError):  # full: it will wake anyway
            self._write.send(b"\0")

    def clear(self) -> None:
        """Forget all wakes until now."""
        with contextlib.suppress(OSError):
            while self._read.recv(4096):
                pass

    def close(self) -> None:
        """Close both ends."""
        self._read.close()
        self._write.close()


def wait_for(source: zmq.Socket[bytes], *, gate: Gate | None, waker: Waker, pace: Pace, longest_s: float) -> None:
    """Wait until a message may be taken, a key asks to come in, or another thread wakes this one.

    Who floods a socket waits, and with it whoever else speaks to it: so many messages a second are read, and no more.
    """
    poller = zmq.Poller()
    poller.register(waker.fileno(), zmq.POLLIN)
    if gate is not None:
        poller.register(gate.socket, zmq.POLLIN)
    if pace.wait_s > 0:
        longest_s = min(longest_s, pace.wait_s)
    else:
        poller.register(source, zmq.POLLIN)
    poller.poll(math.ceil(max(longest_s, 0.0) * 1000))
    waker.clear()


def drained(source: zmq.Socket[bytes], pace: Pace, *, now_s: Callable[[], float]) -> Iterable[list[bytes]]:
    """Yield the messages that are there and may be taken now."""
    while pace.allows(now_s()):
        try:
            yield source.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            pace.give_back()
            return
