"""The rig's microscope: a ``Microscope`` behind the protocol, in a thread of its own.

The loop's calls put a request into a queue and return. The thread holds the socket, and takes no more than some
hundred messages a second from it, whatever is sent.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import zmq

from hardware.clock import Clock
from hardware.events import Finding, MicroscopeEvent, MicroscopePhase, Verdict
from hardware.links.secured import Keys, Pace, Refusals, Waker, connected_client, drained, wait_for
from hardware.microscope.commander import Commander, LinkSettings
from hardware.microscope.messages import Recording, Verb
from hardware.microscope.server import new_token
from hardware.protocols import DeviceError, Identity

LONGEST_POLL_S = 0.5
LOOK_S = 0.01
MOST_EVENTS = 1000
"""Events that nobody has taken; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Where the microscope's computer is, and how it is known. Without keys everything goes as plain text."""

    endpoint: str
    keys: Keys | None
    server_public: bytes | None


class MicroscopeClient:
    """A microscope on another computer, or in another process.

    Parameters
    ----------
    clock
        The host's; offsets to the microscope's are measured against it.
    """

    name = "microscope"

    def __init__(
        self, *, peer: Peer, settings: LinkSettings, clock: Clock, token: Callable[[], str] = new_token
    ) -> None:
        self._peer = peer
        self._settings = settings
        self._clock = clock
        self.refusals = Refusals()
        self._commander = Commander(settings, token=token, refusals=self.refusals)
        self._events: deque[MicroscopeEvent] = deque(maxlen=MOST_EVENTS)
        self._asked: deque[tuple[Verb, str, Recording | None]] = deque()
        self._session = "none"
        self._waker = Waker()
        self._pace = Pace()
        self._closing = False
        self._close_by_s = 0.0
        self._thread: threading.Thread | None = None
        self._problem: str | None = None

    def open(self) -> Identity:
        """Say hello and wait for who answers.

        Raises
        ------
        DeviceError
            Nobody does within ``reply_s``, or another rig commands it.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="microscope link", daemon=True)
            self._thread.start()
        commander = self._commander
        limit_s = self._clock.now_s() + max(self._settings.reply_s, self._settings.lost_s)
        while not commander.connected and self._clock.now_s() < limit_s and self._problem is None:
            self._clock.sleep_until(self._clock.now_s() + LOOK_S)
        welcome = commander.welcome
        if not commander.connected or welcome is None:
            within_s = max(self._settings.reply_s, self._settings.lost_s)
            what = f"nobody answers at {self._peer.endpoint} within {within_s:g} s"
            if commander.turned_away:
                what = f"{self._peer.endpoint} turns this rig away: {commander.turned_away}"
            raise DeviceError(
                device=self.name,
                what=self._problem or what,
                remedy="look whether its program runs there, whether it has this rig's public key, and at the address",
            )
        return Identity(
            device=self.name,
            model=welcome.model,
            serial=welcome.serial,
            details={
                "name": welcome.name,
                "software": welcome.software,
                "endpoint": self._peer.endpoint,
                "secured_by": "plain text" if self._peer.keys is None else "CurveZMQ",
            },
        )

    def check(self) -> list[Finding]:
        """Judge what it is doing, and how well its clock is known."""
        commander = self._commander
        limit_s = self._clock.now_s() + self._settings.reply_s
        while commander.best is None and self._clock.now_s() < limit_s:
            self._clock.sleep_until(self._clock.now_s() + LOOK_S)
        phase, best = commander.phase, commander.best
        at_rest = phase in (MicroscopePhase.IDLE, MicroscopePhase.PREPARED, MicroscopePhase.STOPPED)
        findings = [
            Finding(
                name="microscope",
                verdict=Verdict.PASS if at_rest else Verdict.FAIL,
                figure=phase.value,
                remedy="" if at_rest else "end its recording at the microscope",
            )
        ]
        if self._peer.keys is None:
            findings.append(
                Finding(
                    name="microscope link",
                    verdict=Verdict.WARN,
                    figure="plain text: whoever reaches its address may command it",
                    remedy="make keys with rig keys make on both sides",
                )
            )
        if best is None:
            remedy = "look what its computer and the network are busy with"
            figure = f"no timed exchange within {self._settings.reply_s:g} s"
            return [*findings, Finding(name="microscope clock", verdict=Verdict.FAIL, figure=figure, remedy=remedy)]
        bound_s, offset_s, _ = best
        figure = f"{offset_s:+.6f} s from this computer's, known to ± {bound_s * 1e3:.3f} ms"
        return [*findings, Finding(name="microscope clock", verdict=Verdict.PASS, figure=figure)]

    def health(self) -> dict[str, float]:
        """Return frames, how long commands took, and what was not taken."""
        commander = self._commander
        figures = {
            "n_frames": float(0 if commander.status is None else commander.status.n_frames or 0),
            "connected": float(commander.connected),
            "not_taken": float(self.refusals.total),
            "events_waiting": float(len(self._events)),
        }
        if (best := commander.best) is not None:
            figures["clock_bound_ms"] = best[0] * 1e3
        if took_s := list(commander.acknowledged_s):
            figures["longest_acknowledgement_ms"] = max(took_s) * 1e3
        return figures

    def close(self) -> None:
        """Wait for what was asked last, ``reply_s`` at most, say goodbye, let go."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._close_by_s = self._clock.now_s() + self._settings.reply_s
        self._closing = True
        self._waker.wake()
        thread.join(self._settings.reply_s + 2 * LONGEST_POLL_S)
        self._waker.close()

    def prepare(self, *, session_id: str, mouse: str, stage: str) -> None:
        """See ``Microscope.prepare``."""
        self._session = session_id
        self._ask(
            Verb.PREPARE,
            Recording(
                session=session_id,
                mouse=mouse,
                stage=stage,
                plane_groups=self._settings.plane_groups,
                frame_rate_hz=self._settings.frame_rate_hz,
            ),
        )

    def arm(self) -> None:
        """See ``Microscope.arm``."""
        self._ask(Verb.ARM)

    def start(self) -> None:
        """See ``Microscope.start``."""
        self._ask(Verb.START)

    def stop(self) -> None:
        """See ``Microscope.stop``."""
        self._ask(Verb.STOP)

    def abort(self) -> None:
        """See ``Microscope.abort``."""
        self._ask(Verb.ABORT)

    def ask_status(self) -> None:
        """Have it answer, whatever it does: measurements."""
        self._ask(Verb.STATUS)

    def poll(self) -> Sequence[MicroscopeEvent]:
        """See ``Microscope.poll``.

        Raises
        ------
        DeviceError
            The link itself has ended; nothing more will be said.
        """
        if not self._events:
            if self._problem is not None:
                remedy = "look at the microscope; the link comes back with the next session"
                raise DeviceError(device=self.name, what=self._problem, remedy=remedy)
            return ()
        return [self._events.popleft() for _ in range(len(self._events))]

    @property
    def took_s(self) -> tuple[list[float], list[float]]:
        """How long the last commands took until they were acknowledged, and until they were done."""
        return list(self._commander.acknowledged_s), list(self._commander.done_s)

    @property
    def n_done(self) -> int:
        """How many commands have been carried out or refused."""
        return self._commander.n_done

    def _ask(self, verb: Verb, recording: Recording | None = None) -> None:
        self._asked.append((verb, self._session, recording))
        self._waker.wake()

    def _run(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._talk(context)
        except zmq.ZMQError as error:
            self._problem = f"{self._peer.endpoint} can't be spoken to ({error})"
        except BaseException as error:
            self._problem = f"the link has broken down ({type(error).__name__}: {error})"
            raise
        finally:
            context.destroy(linger=100)

    def _talk(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        commander, clock = self._commander, self._clock
        socket = self._connect(context)
        while True:
            now_s = clock.now_s()
            while self._asked:
                verb, session, recording = self._asked.popleft()
                commander.ask(verb, session=session, recording=recording, now_s=now_s)
            commander.tick(now_s=now_s)
            if commander.afresh:
                commander.afresh = False
                socket.close(linger=0)
                socket = self._connect(context)
            self._send(socket)
            self._events.extend(commander.events.popleft() for _ in range(len(commander.events)))
            if self._closing and (not commander.busy or now_s > self._close_by_s):
                commander.leave()
                self._send(socket)
                socket.close(linger=100)
                return
            wait_s = min(commander.due_s() - now_s, LONGEST_POLL_S)
            wait_for(socket, gate=None, waker=self._waker, pace=self._pace, longest_s=wait_s)
            for parts in drained(socket, self._pace, now_s=clock.now_s):
                commander.take(parts[-1], now_s=clock.now_s())

    def _send(self, socket: zmq.Socket[bytes]) -> None:
        """Send what there is; what can't go out now is dropped, since commands are sent again and the rest is stale."""
        outbox = self._commander.outbox
        while outbox:
            try:
                socket.send(outbox.popleft(), zmq.NOBLOCK)
            except zmq.Again:
                outbox.clear()

    def _connect(self, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
        return connected_client(
            context, self._peer.endpoint, keys=self._peer.keys, server_public=self._peer.server_public
        )
