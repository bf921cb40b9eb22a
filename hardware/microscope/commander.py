"""The rig's side of the protocol, without IO: one command at a time, none of them left behind.

A command has ``reply_s`` to be carried out, from when its turn comes; a stop that was acknowledged has ``stop_s``, as
files are written out meanwhile. It is sent again under the same id until it is answered, over a new connection too.
What it carries as its expiry is a time of the microscope's clock that has certainly come when ``reply_s`` are over. So
when this side says of a command that was not acknowledged that it was not carried out, it never will be.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hardware.events import Finding, MicroscopeClock, MicroscopeEvent, MicroscopePhase, MicroscopeState, Verdict
from hardware.links.secured import Refusals
from hardware.microscope.messages import (
    LOST_BEATS,
    Beat,
    BeatBack,
    Command,
    Goodbye,
    Hello,
    MessageError,
    Recording,
    Reply,
    Stage,
    Status,
    ToMicroscope,
    Verb,
    Welcome,
    for_rig,
    to_bytes,
)

Phase = MicroscopePhase
TELL_EVERY_S = 5.0
"""A recording that goes on is told of this often; changes at once."""
CLOCK_EVERY_S = 10.0
EXCHANGES = 8
"""Of so many the quickest says how far the clocks are apart."""
BURST_S = 0.02
"""The first exchanges follow each other this closely."""
FASTEST_DRIFT = 1e-3
"""No two computers' clocks part faster."""
MARGIN_S = 1e-3
AGAINS = 4
"""A command that was not acknowledged is sent again so many times in its ``reply_s``."""
KEPT = 2000
OVERTAKES = frozenset({Verb.STOP, Verb.ABORT})
"""Given at once: what was asked for before and is not under way is dropped."""


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How a rig speaks with its microscope."""

    who: str
    heartbeat_s: float
    reply_s: float
    plane_groups: int
    frame_rate_hz: float
    stop_s: float = 20.0
    """From an acknowledged stop until the recording has been written out."""

    @property
    def lost_s(self) -> float:
        """A microscope that is not heard of for so long is lost."""
        return LOST_BEATS * self.heartbeat_s


@dataclass(slots=True)
class Asked:
    """A command on its way."""

    id: str
    verb: Verb
    session: str
    recording: Recording | None
    until_s: float = math.inf
    sent_s: float = -math.inf
    first_sent_s: float = math.inf
    acknowledged_s: float = math.inf
    run: str | None = None
    """The run of the microscope's program that it was sent to."""

    @property
    def is_long_stop(self) -> bool:
        """Whether it is a stop on which the microscope is at work."""
        return self.verb is Verb.STOP and self.acknowledged_s < math.inf


class Commander:
    """Takes bytes and requests; says what is to be sent (``outbox``), what has come of it (``events``).

    ``afresh`` asks for a new connection: nothing that was queued for the old one may arrive over it later.
    """

    def __init__(self, settings: LinkSettings, *, token: Callable[[], str], refusals: Refusals) -> None:
        self._settings = settings
        self._token = token
        self._refusals = refusals
        self.outbox: deque[bytes] = deque()
        self.events: deque[MicroscopeEvent] = deque()
        self.afresh = False
        self.welcome: Welcome | None = None
        """What the microscope has said it is, last."""
        self.turned_away = ""
        """Why the last hello was refused."""
        self.status: Status | None = None
        self.best: tuple[float, float, float] | None = None
        """The quickest exchange of late: half its round trip, the offset, the host's time; all in seconds."""
        self.acknowledged_s: deque[float] = deque(maxlen=KEPT)
        self.done_s: deque[float] = deque(maxlen=KEPT)
        """How long commands took."""
        self.n_done = 0
        self._epoch: str | None = None
        self._held: str | None = None
        """The last epoch that this side had."""
        self._hello: str | None = None
        self._hello_due_s = -math.inf
        self._stamp: tuple[float, float] = (0.0, 0.0)
        """A time of the microscope's clock, and one of this side's by which it had come."""
        self._heard_s = -math.inf
        self._silent_since_s: float | None = None
        self._beat_due_s = math.inf
        self._n_beats = 0
        self._exchanges: deque[tuple[float, float, float]] = deque(maxlen=EXCHANGES)
        self._clock_due_s = -math.inf
        self._tell_due_s = -math.inf
        self._told: tuple[object, ...] = ()
        self._phase = Phase.IDLE
        self._queue: deque[Asked] = deque()
        self._flight: Asked | None = None

    @property
    def connected(self) -> bool:
        """Whether the microscope has said who it is, and is heard of."""
        return self._epoch is not None

    @property
    def phase(self) -> MicroscopePhase:
        """What it was doing when it was last heard of."""
        return self._phase

    @property
    def busy(self) -> bool:
        """Whether a command is waiting or under way."""
        return self._flight is not None or bool(self._queue)

    def ask(self, verb: Verb, *, session: str, recording: Recording | None, now_s: float) -> None:
        """Have a command carried out after those before it; a stop or an abort drops those."""
        if verb in OVERTAKES:
            self._queue = deque(asked for asked in self._queue if asked.verb in OVERTAKES)
            flight = self._flight
            if flight is not None and (flight.verb not in OVERTAKES or (verb is Verb.ABORT and flight.is_long_stop)):
                self._flight = None
        self._queue.append(Asked(id=self._token(), verb=verb, session=session, recording=recording))
        self.tick(now_s=now_s)

    def leave(self) -> None:
        """Say goodbye."""
        if self._epoch is not None:
            self._send(Goodbye(epoch=self._epoch))
            self._epoch = None

    def take(self, data: bytes, *, now_s: float) -> None:
        """Take a message from the microscope; bytes that are none are counted, never raised."""
        try:
            message = for_rig(data)
        except MessageError as error:
            self._refusals.add("another version of the protocol" if "version" in str(error) else "not understood")
            return
        match message:
            case Welcome():
                self._welcomed(message, now_s)
            case Reply():
                self._replied(message, now_s)
            case BeatBack():
                self._beat_back(message, now_s)
            case Status() if message.epoch == self._epoch:
                self._heard_s = now_s
                self.status = message
                self._phase = message.phase
                self._tell(now_s)
            case Status():
                self._refusals.add("status of another epoch")

    def _welcomed(self, welcome: Welcome, now_s: float) -> None:
        if welcome.id != self._hello:
            self._refusals.add("welcome that was not asked for")
            return
        before, self.welcome = self.welcome, welcome
        self._hello = None
        self.turned_away = ""
        self._epoch = self._held = welcome.epoch
        self._heard_s = now_s
        self._stamp = (welcome.now_s, now_s)
        self._phase = welcome.phase
        self._beat_due_s = now_s
        self._n_beats = 0
        self._exchanges.clear()
        again = before is not None and before.run != welcome.run
        if before is not None:
            silent_s = now_s - (self._silent_since_s or now_s)
            if again:
                self._fail("its program was started anew: what it was recording has ended")
            else:
                self._say(f"heard of again after {silent_s:.1f} s")
        self._silent_since_s = None
        flight = self._flight
        if flight is not None:
            if flight.run is not None and flight.run != welcome.run:
                self._flight = None
                self._fail(f"was started anew before it had carried out {flight.verb.value}")
            else:
                flight.sent_s = -math.inf
        self.tick(now_s=now_s)

    def _replied(self, reply: Reply, now_s: float) -> None:
        if reply.id == self._hello:
            self._hello = None
            self.turned_away = reply.what
            self._hello_due_s = now_s + self._settings.heartbeat_s
            return
        if reply.stage is Stage.STALE:
            if self._epoch is not None and reply.id == self._epoch:
                self._over("its connection was renewed", now_s, lost=False)
            return
        flight = self._flight
        if flight is None or reply.id != flight.id:
            return
        self._heard_s = now_s
        if reply.stage is Stage.ACKNOWLEDGED:
            if flight.acknowledged_s == math.inf:
                flight.acknowledged_s = now_s
                self.acknowledged_s.append(now_s - flight.first_sent_s)
                if flight.is_long_stop:
                    flight.until_s = max(flight.until_s, now_s + self._settings.stop_s)
            return
        self.done_s.append(now_s - flight.first_sent_s)
        self.n_done += 1
        self._flight = None
        self._phase = reply.phase
        if reply.stage is Stage.REFUSED:
            self._fail(f"refused to {flight.verb.value}: {reply.what}")
        elif flight.verb is not Verb.STATUS:
            self._say(f"{flight.verb.value}: {reply.what}")
        self.tick(now_s=now_s)

    def _beat_back(self, back: BeatBack, now_s: float) -> None:
        if back.epoch != self._epoch:
            self._refusals.add("heartbeat of another epoch")
            return
        self._heard_s = now_s
        held_s = back.answered_at_s - back.received_at_s
        bound_s = (now_s - back.sent_at_s - held_s) / 2
        if held_s < 0 or bound_s < 0:
            self._refusals.add("heartbeat whose times can't be")
            return
        self._stamp = (back.answered_at_s, now_s)
        offset_s = ((back.received_at_s - back.sent_at_s) + (back.answered_at_s - now_s)) / 2
        self._exchanges.append((bound_s, offset_s, (back.sent_at_s + now_s) / 2))
        self.best = min(self._exchanges)
        if len(self._exchanges) == EXCHANGES and now_s >= self._clock_due_s:
            self._clock_due_s = now_s + CLOCK_EVERY_S
            bound_s, offset_s, host_s = self.best
            self.events.append(MicroscopeClock(offset_s=offset_s, bound_s=bound_s, host_s=host_s, n=EXCHANGES))

    def tick(self, *, now_s: float) -> None:
        """Do what is due."""
        if self._epoch is not None and now_s - self._heard_s > self._settings.lost_s:
            self._over(f"was not heard of for {now_s - self._heard_s:.1f} s", now_s, lost=True)
        if self._epoch is None:
            if now_s >= self._hello_due_s:
                self._say_hello(now_s)
        elif now_s >= self._beat_due_s:
            self._n_beats += 1
            quick = self._n_beats < EXCHANGES
            self._beat_due_s = now_s + (
                min(BURST_S, self._settings.heartbeat_s) if quick else self._settings.heartbeat_s
            )
            self._send(Beat(epoch=self._epoch, n=self._n_beats, sent_at_s=now_s))
        self._see_to_commands(now_s)
        if told := self._refusals.take(now_s):
            remedy = "look who else speaks at the microscope's address, and whether both sides have the same version"
            self.events.append(
                Finding(name="microscope link", verdict=Verdict.WARN, figure=f"not taken: {told}", remedy=remedy)
            )

    def due_s(self) -> float:
        """Return when ``tick`` has something to do."""
        due_s = (
            self._hello_due_s if self._epoch is None else min(self._beat_due_s, self._heard_s + self._settings.lost_s)
        )
        if (flight := self._flight) is not None:
            due_s = min(due_s, flight.until_s)
            if self._epoch is not None and flight.acknowledged_s == math.inf:
                due_s = min(due_s, flight.sent_s + self._settings.reply_s / AGAINS)
        return due_s

    def _say_hello(self, now_s: float) -> None:
        """Say hello; over a new connection if the last one was not answered."""
        if self._hello is not None:
            self.afresh = True
            self.outbox.clear()
        self._hello = self._token()
        self._hello_due_s = now_s + self._settings.lost_s
        self._send(
            Hello(id=self._hello, who=self._settings.who, heartbeat_s=self._settings.heartbeat_s, resumes=self._held)
        )

    def _over(self, why: str, now_s: float, *, lost: bool) -> None:
        """Let go of a connection; commands under way are sent again over the next, while their time lasts."""
        self._epoch = None
        self._hello = None
        self._hello_due_s = now_s
        self.afresh = True
        self.outbox.clear()
        if self._silent_since_s is None:
            self._silent_since_s = self._heard_s
        if lost:
            self._fail(why)

    def _see_to_commands(self, now_s: float) -> None:
        flight = self._flight
        if flight is not None and now_s >= flight.until_s:
            self._flight = None
            reply_s, verb = self._settings.reply_s, flight.verb.value
            if flight.acknowledged_s < math.inf:
                took_s = max(reply_s, self._settings.stop_s) if flight.is_long_stop else reply_s
                self._fail(f"acknowledged {verb}, and had not carried it out after {took_s:g} s")
            elif flight.first_sent_s == math.inf:
                self._fail(f"can't be told to {verb}: not connected for {reply_s:g} s")
            else:
                self._fail(f"did not answer {verb} within {reply_s:g} s")
        if self._flight is None and self._queue:
            self._flight = self._queue.popleft()
            self._flight.until_s = now_s + self._settings.reply_s
        flight = self._flight
        if flight is None or self._epoch is None or self.welcome is None:
            return
        if flight.acknowledged_s == math.inf and now_s < flight.sent_s + self._settings.reply_s / AGAINS:
            return
        if flight.acknowledged_s < math.inf and flight.sent_s > -math.inf:
            return
        self._send_command(flight, self._epoch, now_s)

    def _send_command(self, asked: Asked, epoch: str, now_s: float) -> None:
        there_s, here_s = self._stamp
        passed_s = (now_s - here_s) * (1 - FASTEST_DRIFT)
        asked.sent_s = now_s
        if asked.first_sent_s == math.inf:
            asked.first_sent_s = now_s
        asked.run = None if self.welcome is None else self.welcome.run
        self._send(
            Command(
                id=asked.id,
                epoch=epoch,
                verb=asked.verb,
                session=asked.session,
                sent_at_s=now_s,
                expires_at_s=there_s + passed_s + (asked.until_s - now_s) * (1 - FASTEST_DRIFT) - MARGIN_S,
                recording=asked.recording,
            )
        )

    def _tell(self, now_s: float) -> None:
        """Put the microscope's status among the events if it has changed, or now and then."""
        status = self.status
        if status is None:
            return
        n_frames = None if status.phase is Phase.ACQUIRING else status.n_frames
        told = (
            status.phase,
            status.plane_groups,
            status.rate_hz,
            status.files,
            status.warnings,
            status.session,
            n_frames,
        )
        if told == self._told and (now_s < self._tell_due_s or status.phase is not Phase.ACQUIRING):
            return
        self._told = told
        self._tell_due_s = now_s + TELL_EVERY_S
        self._say("")

    def _say(self, what: str, phase: MicroscopePhase | None = None) -> None:
        status = self.status
        self.events.append(
            MicroscopeState(
                phase=phase or self._phase,
                n_frames=None if status is None else status.n_frames,
                what=what,
                plane_groups=self._settings.plane_groups if status is None else status.plane_groups,
                rate_hz=None if status is None else status.rate_hz,
                files=[] if status is None else list(status.files),
                warnings=[] if status is None else list(status.warnings),
            )
        )

    def _fail(self, what: str) -> None:
        self._say(what, Phase.FAILED)

    def _send(self, message: ToMicroscope) -> None:
        self.outbox.append(to_bytes(message))
