"""The microscope's side of the protocol, without IO: what is carried out, and what never.

A command is carried out if all of this holds: it comes over the connection that said hello, under the epoch that this
hello was given; its id is new; its time is not up, by this side's clock, when it arrives and when its turn comes; it
fits the recording that is prepared and what the microscope does. Everything else is answered with a refusal, or, if it
came before, with the answer that it had. When the rig has not been heard of for some heartbeats, or has said goodbye,
whatever it had set going is stopped.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from hardware.events import MicroscopePhase
from hardware.links.secured import BURST, MESSAGES_PER_S, Pace, Refusals
from hardware.microscope.messages import (
    LONGEST_TTL_S,
    LOST_BEATS,
    MOST_GROUPS,
    MOST_HZ,
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
    ToRig,
    Verb,
    Welcome,
    cut,
    for_microscope,
    to_bytes,
)

Phase = MicroscopePhase
REMEMBERED = int(LONGEST_TTL_S * MESSAGES_PER_S) + 2 * BURST
"""Answers kept: no more messages are taken while the time of the longest-lived command is not up."""
OFFERED = 8
"""Epochs that were given to somebody who has not used them yet."""
STATUS_EVERY_S = 0.5
AGAIN_S = 1.0
"""A stop that did not stop is tried again this much later."""
MOST_WARNINGS = 16
HELD = frozenset({Phase.PREPARED, Phase.ARMED, Phase.ACQUIRING})
"""What a rig has set going, and what is stopped when it is gone."""

LEGAL: dict[Verb, frozenset[Phase]] = {
    Verb.PREPARE: frozenset({Phase.IDLE, Phase.PREPARED, Phase.STOPPED, Phase.FAILED}),
    Verb.ARM: frozenset({Phase.PREPARED}),
    Verb.START: frozenset({Phase.ARMED, Phase.ACQUIRING}),
    Verb.STOP: frozenset(Phase),
    Verb.ABORT: frozenset(Phase),
    Verb.STATUS: frozenset(Phase),
}
BECOMES = {
    Verb.PREPARE: Phase.PREPARED,
    Verb.ARM: Phase.ARMED,
    Verb.START: Phase.ACQUIRING,
    Verb.STOP: Phase.STOPPED,
    Verb.ABORT: Phase.IDLE,
}
NOTHING_TO_DO = {
    Verb.START: (frozenset({Phase.ACQUIRING}), "acquires already"),
    Verb.STOP: (frozenset({Phase.IDLE, Phase.STOPPED}), "nothing was running"),
    Verb.ABORT: (frozenset({Phase.IDLE, Phase.STOPPED}), "nothing was running"),
}
ALWAYS = frozenset({Verb.STOP, Verb.ABORT, Verb.STATUS})
"""Carried out whatever session they name, and by whatever epoch followed; what people acquire is left alone."""


@dataclass(frozen=True, slots=True)
class About:
    """What a microscope says it is."""

    name: str
    model: str
    serial: str = ""
    software: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a microscope says of its recording. ``phase`` only if it knows better than its commands: a trigger came."""

    n_frames: int | None = None
    """None where nobody counts them here: 0 would contradict the rig's count."""
    plane_groups: int | None = None
    """None for as many as it was asked for."""
    rate_hz: float | None = None
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    phase: MicroscopePhase | None = None


@dataclass(slots=True)
class Epoch:
    """One rig's connection, from its hello on."""

    token: str
    sender: bytes
    who: str
    heartbeat_s: float
    heard_s: float
    lineage: str
    """The first epoch that this one resumes: who commands, over however many connections."""
    follows: str | None
    revoked: bool = False
    """The rig has said hello elsewhere: commands over this connection are stale."""

    @property
    def lost_s(self) -> float:
        """A silence as long as this is the end of it."""
        return LOST_BEATS * self.heartbeat_s


@dataclass(frozen=True, slots=True)
class Job:
    """A command that was acknowledged, waiting for its turn; ``sender`` is empty for a stop of our own."""

    verb: Verb
    id: str = ""
    sender: bytes = b""
    lineage: str = ""
    session: str = ""
    recording: Recording | None = None
    expires_at_s: float = 0.0
    why: str = ""


class Receiver:
    """Takes bytes, says what is to be done (``jobs``) and what is to be sent (``outbox``: to whom, what).

    Parameters
    ----------
    token
        Makes names that nobody can guess and that never come again.
    """

    def __init__(self, *, about: About, token: Callable[[], str], refusals: Refusals) -> None:
        self._about = about
        self._token = token
        self._refusals = refusals
        self._run = token()
        self._current: Epoch | None = None
        self._offered: OrderedDict[str, Epoch] = OrderedDict()
        self._answers: OrderedDict[str, tuple[Verb, str, Reply]] = OrderedDict()
        self._senders: dict[str, bytes] = {}
        self._progress = Progress()
        self._warnings: list[str] = []
        self._told_s = -1e12
        self._status_due_s = 0.0
        self._stop_due_s = -1e12
        self._complaints = Pace(per_s=1.0, burst=2)
        self._comings = Pace(per_s=1.0, burst=MOST_WARNINGS)  # who comes and goes all the time fills nobody's screen
        self.phase = Phase.IDLE
        self.recording: Recording | None = None
        self._is_ours = False
        self.jobs: deque[Job] = deque()
        self.outbox: deque[tuple[bytes, bytes]] = deque()
        self.told: deque[str] = deque(maxlen=MOST_WARNINGS)
        """Who came and went, for the operator at the microscope."""

    @property
    def holds(self) -> bool:
        """Whether a rig has set something going that has not been stopped; what people do there is theirs."""
        return self._is_ours and self.phase in HELD

    @property
    def commanded_by(self) -> str | None:
        """Who commands now."""
        return None if self._current is None else self._current.who

    def take(self, sender: bytes, data: bytes, *, now_s: float) -> None:
        """Take a message. Bytes that are none are counted and answered now and then, never raised."""
        try:
            message = for_microscope(data)
        except MessageError as error:
            self._refusals.add("not understood")
            if self._complaints.allows(now_s):
                self._refuse(sender, "?", str(error), now_s)
            return
        match message:
            case Hello():
                self._hello(sender, message, now_s)
            case Command():
                self._command(sender, message, now_s)
            case Beat():
                if self._in_force(sender, message.epoch, now_s):
                    self._send(
                        sender,
                        BeatBack(
                            epoch=message.epoch,
                            n=message.n,
                            sent_at_s=message.sent_at_s,
                            received_at_s=now_s,
                            answered_at_s=now_s,
                        ),
                    )
            case Goodbye():
                if (leaves := self._in_force(sender, message.epoch, now_s)) is not None:
                    self._tell_of(f"{leaves.who} has said goodbye", now_s)
                    self._current = None
                    self._stop_held("the rig has said goodbye", now_s)

    def _hello(self, sender: bytes, hello: Hello, now_s: float) -> None:
        current = self._current
        held = self._offered.get(hello.resumes or "")
        resumes = hello.resumes if held is None else held.follows  # a welcome was lost with its connection
        if current is not None and resumes == current.token:
            current.revoked = True
            current.heard_s = now_s
        elif current is not None and now_s - current.heard_s <= current.lost_s and current.sender != sender:
            self._refusals.add("hello while another rig commands")
            self._refuse(sender, hello.id, f"{current.who} commands this microscope already", now_s)
            return
        resumed = current if current is not None and current.revoked else None
        epoch = Epoch(
            token=self._token(),
            sender=sender,
            who=hello.who,
            heartbeat_s=hello.heartbeat_s,
            heard_s=now_s,
            lineage=self._token() if resumed is None else resumed.lineage,
            follows=None if resumed is None else resumed.token,
        )
        self._offered[epoch.token] = epoch
        while len(self._offered) > OFFERED:
            self._offered.popitem(last=False)
        self._send(
            sender,
            Welcome(
                id=hello.id,
                epoch=epoch.token,
                run=self._run,
                now_s=now_s,
                name=self._about.name,
                model=self._about.model,
                serial=self._about.serial,
                software=self._about.software,
                phase=self.phase,
            ),
        )

    def _in_force(self, sender: bytes, token: str, now_s: float) -> Epoch | None:
        """Return the epoch of a message if it may command; say to its sender if it may not."""
        offered = self._offered.get(token)
        current = self._current
        if offered is not None and offered.sender == sender:
            free = current is None or now_s - current.heard_s > current.lost_s
            follows = current is not None and offered.follows == current.token
            if free and not follows:
                self._stop_held("the rig was no longer heard of, and another one has come", now_s)
            if free or follows:
                self._tell_of(f"{offered.who} {'is here again' if follows else 'commands this microscope'}", now_s)
                current = self._current = offered
                self._offered.clear()
        if current is None or current.token != token or current.sender != sender or current.revoked:
            self._refusals.add("epoch that is over")
            what = "comes under an epoch that is over; say hello first"
            self._send(sender, Reply(id=token, stage=Stage.STALE, what=what, phase=self.phase, at_s=now_s))
            return None
        current.heard_s = now_s
        return current

    def _command(self, sender: bytes, command: Command, now_s: float) -> None:
        epoch = self._in_force(sender, command.epoch, now_s)
        if epoch is None:
            self.warn(f"{command.verb.value} came over a connection that was over, and was not carried out")
            return
        if (known := self._answers.get(command.id)) is not None:
            verb, session, reply = known
            if (verb, session) != (command.verb, command.session):
                self._refuse(sender, command.id, f"this id was that of another command, {verb}", now_s)
                return
            self._senders[command.id] = sender
            self._send(sender, reply)
            return
        if (why := self._untimely(command.expires_at_s, now_s)) is not None:
            self._refusals.add("too late")
            self._answer(command.id, command.verb, command.session, sender, Stage.REFUSED, why, now_s)
            return
        self._senders[command.id] = sender
        self._answer(command.id, command.verb, command.session, sender, Stage.ACKNOWLEDGED, "acknowledged", now_s)
        self.jobs.append(
            Job(
                verb=command.verb,
                id=command.id,
                sender=sender,
                lineage=epoch.lineage,
                session=command.session,
                recording=command.recording,
                expires_at_s=command.expires_at_s,
            )
        )

    @staticmethod
    def _untimely(expires_at_s: float, now_s: float) -> str | None:
        if now_s > expires_at_s:
            return f"came {now_s - expires_at_s:.3f} s too late; ask again"
        if expires_at_s > now_s + LONGEST_TTL_S:
            return f"would wait {expires_at_s - now_s:.0f} s for being carried out; {LONGEST_TTL_S:g} s at most"
        return None

    def refusal(self, job: Job, *, now_s: float) -> str | None:
        """Return why a command whose turn has come must not be carried out."""
        if not job.id:
            return None
        if job.verb not in ALWAYS:
            if self._current is None or self._current.lineage != job.lineage:
                return "who asked for it is gone"
            if (why := self._untimely(job.expires_at_s, now_s)) is not None:
                return why
        if self.phase not in LEGAL[job.verb]:
            return f"is {self.phase.value}, which leaves nothing to {job.verb.value}"
        if job.verb is Verb.PREPARE:
            if job.recording is None or job.recording.session != job.session:
                return "says nothing of the recording, or of another session's"
        elif job.verb not in ALWAYS and (self.recording is None or self.recording.session != job.session):
            return f"session {job.session} was not prepared"
        return None

    def nothing_to_do(self, job: Job) -> str | None:
        """Return what to answer where a command is carried out already, or where there is nothing of a rig's to end."""
        if self._is_theirs(job):
            return "what it does was set going by nobody's rig, and goes on"
        phases, what = NOTHING_TO_DO.get(job.verb, (frozenset(), ""))
        return what if self.phase in phases else None

    def _is_theirs(self, job: Job) -> bool:
        """Return whether a rig would end what people do at the microscope: it has prepared nothing, or was refused."""
        ends = job.verb in (Verb.STOP, Verb.ABORT) and bool(job.id)
        is_known = self.recording is not None and self.recording.session == job.session
        return ends and self.phase is Phase.ACQUIRING and not self._is_ours and not is_known

    def ended(self, job: Job, *, why: str | None, what: str = "done", now_s: float) -> None:
        """Take note of how a command went: ``why`` it was not carried out, or None."""
        if why is None and not self._is_theirs(job):
            if job.verb is Verb.PREPARE:
                self.recording, self._is_ours = job.recording, True
                self._warnings.clear()
            elif job.verb in (Verb.STOP, Verb.ABORT):
                self._is_ours = False
            if (now := BECOMES.get(job.verb)) is not None and not (now is Phase.STOPPED and self.phase is Phase.IDLE):
                self.phase = now
            if job.why:
                self.warn(f"stopped, since {job.why}")
        elif why is not None and not job.id:
            self.warn(f"could not be stopped though {job.why}: {why}")
        self.tell(now_s)
        if job.id:
            stage = Stage.DONE if why is None else Stage.REFUSED
            sender = self._senders.pop(job.id, job.sender)
            self._answer(job.id, job.verb, job.session, sender, stage, what if why is None else why, now_s)

    def progressed(self, progress: Progress, *, now_s: float) -> None:
        """Take note of what the microscope says of itself."""
        before, self._progress = self._progress, progress
        changed = progress.phase is not None and progress.phase is not self.phase
        if progress.phase is not None:
            self.phase = progress.phase
        if changed or before.warnings != progress.warnings or before.files != progress.files:
            self._status_due_s = now_s

    def tick(self, *, now_s: float) -> None:
        """See whether the rig is still there, and tell it what the microscope does."""
        current = self._current
        if current is not None and now_s - current.heard_s > current.lost_s:
            self._tell_of(f"{current.who} is no longer heard of", now_s)
            self._current = current = None
            self._stop_held("the rig was no longer heard of", now_s)
        elif current is None:
            self._stop_held("no rig commands it", now_s)
        if now_s >= self._status_due_s:
            self.tell(now_s)

    def due_s(self, *, now_s: float) -> float:
        """Return when ``tick`` has something to do."""
        if (current := self._current) is None:
            return now_s + STATUS_EVERY_S
        return min(self._status_due_s, current.heard_s + current.lost_s)

    def _stop_held(self, why: str, now_s: float) -> None:
        if self.holds and now_s >= self._stop_due_s:
            self._stop_due_s = now_s + AGAIN_S
            self.jobs.append(Job(verb=Verb.STOP, why=why))

    def tell(self, now_s: float) -> None:
        """Send a status to who commands."""
        self._status_due_s = now_s + STATUS_EVERY_S
        current, progress = self._current, self._progress
        if current is None or current.revoked:
            return
        warnings = [*self._warnings, *progress.warnings]
        groups = progress.plane_groups
        if groups is None:
            groups = 1 if self.recording is None else self.recording.plane_groups
        self._send(
            current.sender,
            Status(
                epoch=current.token,
                phase=self.phase,
                session=None if self.recording is None else self.recording.session,
                n_frames=None if progress.n_frames is None else max(progress.n_frames, 0),
                plane_groups=min(max(groups, 1), MOST_GROUPS),
                rate_hz=progress.rate_hz if progress.rate_hz is not None and 0 < progress.rate_hz <= MOST_HZ else None,
                files=[cut(file) for file in progress.files[:64]],
                warnings=[cut(warning) for warning in warnings[-MOST_WARNINGS:]],
                at_s=now_s,
            ),
        )

    def warn(self, what: str) -> None:
        """Put a sentence for the operator into every status from now on, until another recording is prepared."""
        if what not in self._warnings:
            self._warnings = [*self._warnings, what][-MOST_WARNINGS:]

    def _tell_of(self, words: str, now_s: float) -> None:
        if self._comings.allows(now_s):
            self.told.append(words)

    def _answer(self, id_: str, verb: Verb, session: str, sender: bytes, stage: Stage, what: str, now_s: float) -> None:
        reply = Reply(id=id_, stage=stage, what=cut(what), phase=self.phase, at_s=now_s)
        self._answers[id_] = verb, session, reply
        self._answers.move_to_end(id_)
        while len(self._answers) > REMEMBERED:
            forgotten, _ = self._answers.popitem(last=False)
            self._senders.pop(forgotten, None)
        self._send(sender, reply)

    def _refuse(self, sender: bytes, id_: str, what: str, now_s: float) -> None:
        self._send(sender, Reply(id=id_, stage=Stage.REFUSED, what=cut(what), phase=self.phase, at_s=now_s))

    def _send(self, sender: bytes, message: ToRig) -> None:
        self.outbox.append((sender, to_bytes(message)))
