"""The microscope's end of the link, to be embedded in its computer's program.

Two threads of its own: one serves the socket and never waits for the microscope; the other calls the instrument, one
call at a time. The instrument's methods may take their time; while one does, heartbeats go on.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol, Self

import zmq

from hardware.links.secured import Gate, Keys, Pace, Refusals, Waker, bound_server, drained, wait_for
from hardware.microscope.messages import Recording, Verb
from hardware.microscope.receiver import AGAIN_S, About, Job, Progress, Receiver

LOOK_EVERY_S = 0.1
"""How often the instrument is asked for its progress."""
CLOSE_S = 5.0
STOPS_WITHIN_S = 60.0
"""A program that ends waits so long for its microscope to stop: who leaves sooner leaves it acquiring."""
STOP_TRIES = 3
"""A stop that failed is tried again: nobody comes after a program that ends."""
LONGEST_POLL_S = 0.5
DONE = "done"
RENEW_S = 0.005


class Cannot(Exception):
    """Raised by an instrument that can't do what it is asked to: why, in a sentence for the operator."""


class Instrument(Protocol):
    """What a microscope does when it is told to. All methods are called by one thread, and may raise ``Cannot``."""

    def about(self) -> About:
        """Return what this microscope is; called once, at the start."""

    def prepare(self, recording: Recording) -> None:
        """Make ready to record under this name."""

    def arm(self) -> None:
        """Wait for the trigger line."""

    def start(self) -> None:
        """Acquire now; not called once ``progress`` has said that it does.

        Its trigger comes at about the same moment, and may have come already: then it goes on and begins no other.
        """

    def stop(self) -> None:
        """End the recording and close its files; return when that is done."""

    def abort(self) -> None:
        """End the recording and throw it away."""

    def progress(self) -> Progress:
        """Return how far the recording is; quick, since it is asked for ten times a second."""


def _words(job: Job, *, why: str | None, what: str) -> str:
    """Return what came of a job, for the operator at the microscope; one without an id is a stop of our own."""
    if job.id:
        return f"{job.verb.value} {job.session}: {why or what}"
    if why is not None:
        return f"could not be stopped, though {job.why}: {why}"
    return f"stopped, since {job.why}" + (f": {what}" if what != DONE else "")


def new_token() -> str:
    """Return a name that nobody can guess."""
    return secrets.token_hex(16)


class MicroscopeServer:
    """Serves one instrument to one rig at a time.

    Parameters
    ----------
    keys, allowed
        This computer's keys and the public keys of the rigs that may command. Without keys (None) whoever reaches
        the address may.
    host, port
        Where to listen: loopback unless said otherwise; port 0 for any that is free.
    now_s
        The microscope computer's clock; its zero is of no importance.
    tell
        Told a line for the operator there: who comes and goes, what was done or refused, and at most once a second what
        was not taken.
        What it raises is told to the rig, and stops nothing.

    Raises
    ------
    OSError
        The address can't be had.
    """

    def __init__(
        self,
        instrument: Instrument,
        *,
        keys: Keys | None,
        allowed: Iterable[bytes] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        now_s: Callable[[], float] = time.perf_counter,
        tell: Callable[[str], None] = lambda _line: None,
        token: Callable[[], str] = new_token,
    ) -> None:
        self._instrument = instrument
        self._now_s = now_s
        self._tell = tell
        self.refusals = Refusals()
        self._receiver = Receiver(about=instrument.about(), token=token, refusals=self.refusals)
        self._lock = threading.Condition()
        self._waker = Waker()
        self._pace = Pace()
        self._closing = False
        self._idle = True
        self._keys = keys
        self._host = host
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._gate = None if keys is None else Gate(self._context, allowed=allowed, refusals=self.refusals)
            self._socket, self.port = bound_server(self._context, keys=keys, host=host, port=port)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            self._waker.close()
            raise OSError(error.errno, f"can't listen at {host}:{port} ({error})") from error
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for target, name in ((self._serve, "microscope socket"), (self._work, "microscope"))
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop what a rig has set going, then let go of the socket. May be called twice."""
        with self._lock:
            if self._closing:
                return
            ends = Job(verb=Verb.STOP, why="the microscope's program ends")
            for tried in range(STOP_TRIES):
                if tried:
                    self._lock.wait_for(lambda: not self._receiver.holds, AGAIN_S)
                if self._receiver.holds:
                    self._receiver.jobs.append(ends)
                    self._lock.notify_all()
                if not self._lock.wait_for(lambda: self._idle and not self._receiver.jobs, STOPS_WITHIN_S):
                    break
                if not self._receiver.holds:
                    break
            self._closing = True
            self._lock.notify_all()
        self._waker.wake()
        for thread in self._threads:
            thread.join(CLOSE_S)
        self._context.destroy(linger=100)
        self._waker.close()

    def _serve(self) -> None:
        """Serve; if that ever fails, no rig can be heard of any more, and what one has set going is stopped."""
        try:
            self._serve_until_closed()
        finally:
            with self._lock:
                if not self._closing and self._receiver.holds:
                    self._receiver.jobs.append(Job(verb=Verb.STOP, why="the link has broken down"))
                    self._lock.notify_all()

    def _serve_until_closed(self) -> None:
        while not self._closing:
            self._wait()
            if self._gate is not None:
                self._gate.serve()
            for parts in drained(self._socket, self._pace, now_s=self._now_s):
                self._heard(parts[0], parts[-1] if len(parts) > 1 else b"")
            with self._lock:
                self._receiver.tick(now_s=self._now_s())
                if self._receiver.jobs:
                    self._lock.notify_all()
            self._send()
            with self._lock:
                told_of = [self._receiver.told.popleft() for _ in range(len(self._receiver.told))]
            for words in told_of:
                self._say(words)
            if told := self.refusals.take(time.monotonic()):
                self._say(f"not taken: {told}")
        self._send()

    def _wait(self) -> None:
        """Wait for a message that may be taken, for the instrument, or for what is due."""
        now_s = self._now_s()
        with self._lock:
            wait_s = self._receiver.due_s(now_s=now_s) - now_s
        wait_for(
            self._socket, gate=self._gate, waker=self._waker, pace=self._pace, longest_s=min(wait_s, LONGEST_POLL_S)
        )

    def _renew_socket(self) -> None:
        """Close the socket with all its connections, and listen anew at the same port: for simulated faults."""
        self._socket.close(linger=0)
        while True:
            try:
                self._socket, _ = bound_server(self._context, keys=self._keys, host=self._host, port=self.port)
            except zmq.ZMQError:
                time.sleep(RENEW_S)
            else:
                return

    def _heard(self, sender: bytes, data: bytes) -> None:
        """Take one message."""
        with self._lock:
            self._receiver.take(sender, data, now_s=self._now_s())
            if self._receiver.jobs:
                self._lock.notify_all()

    def _send(self) -> None:
        with self._lock:
            outbox, receiver = list(self._receiver.outbox), self._receiver
            receiver.outbox.clear()
        for sender, data in outbox:
            with contextlib.suppress(zmq.Again, zmq.ZMQError):  # a rig that has gone is no concern of the microscope
                self._socket.send_multipart([sender, data], flags=zmq.NOBLOCK)

    def _work(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._closing or bool(self._receiver.jobs), LOOK_EVERY_S)
                if self._closing and not self._receiver.jobs:
                    return
                job = self._receiver.jobs.popleft() if self._receiver.jobs else None
                self._idle = job is None
            if job is not None:
                self._carry_out(job)
            self._look()
            with self._lock:
                self._idle = True
                self._lock.notify_all()

    def _carry_out(self, job: Job) -> None:
        what = DONE
        if job.verb is Verb.START:
            self._look()  # its trigger may have come by now
        with self._lock:
            why = self._receiver.refusal(job, now_s=self._now_s())
            already = None if why is not None else self._receiver.nothing_to_do(job)
        if already is not None:
            what = already
        elif why is None:
            why = self._attempt(job)
        if why is None and job.verb is not Verb.STATUS:
            self._look(becoming=True)
        with self._lock:
            self._receiver.ended(job, why=why, what=what, now_s=self._now_s())
        self._waker.wake()
        if job.verb is not Verb.STATUS:
            self._say(_words(job, why=why, what=what))

    def _say(self, words: str) -> None:
        """Tell the operator here."""
        try:
            self._tell(words)
        except Exception as error:  # noqa: BLE001 - a line that can't be shown must not leave the microscope acquiring
            with self._lock:
                self._receiver.warn(f"its program can't show its own messages: {type(error).__name__}: {error}")

    def _attempt(self, job: Job) -> str | None:
        """Have the instrument do it; return why it did not."""
        instrument = self._instrument
        try:
            match job.verb:
                case Verb.PREPARE if job.recording is not None:
                    instrument.prepare(job.recording)
                case Verb.ARM:
                    instrument.arm()
                case Verb.START:
                    instrument.start()
                case Verb.STOP:
                    instrument.stop()
                case Verb.ABORT:
                    instrument.abort()
                case _:
                    pass
        except Cannot as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - whatever a vendor's library raises, the rig is told
            return f"failed: {type(error).__name__}: {error}"
        return None

    def _look(self, *, becoming: bool = False) -> None:
        """Ask the instrument how far it is; while a command changes its phase, that is not taken from here."""
        try:
            progress = self._instrument.progress()
        except Exception as error:  # noqa: BLE001 - as above
            progress = Progress(warnings=(f"says nothing of its progress: {type(error).__name__}: {error}",))
        with self._lock:
            if becoming:
                progress = Progress(
                    n_frames=progress.n_frames,
                    plane_groups=progress.plane_groups,
                    rate_hz=progress.rate_hz,
                    files=progress.files,
                    warnings=progress.warnings,
                )
            before = self._receiver.phase
            self._receiver.progressed(progress, now_s=self._now_s())
            if self._receiver.phase is not before:
                self._waker.wake()
