"""The process: a server on loopback, an instrument, and a line of JSON for each thing that its parent is told.

Standard input stands for the trigger's wire, standard output for that of the frame pulses: ``{"pulses": [...],
"until_s": t}``, host times, announced before they come. The process ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import Any

from hardware.links.secured import Keys
from hardware.microscope.messages import Command, MessageError, for_microscope
from hardware.microscope.server import MicroscopeServer
from hardware.simulated.microscope.clock import DriftingClock
from hardware.simulated.microscope.faults import MicroscopeFault, MicroscopeStep
from hardware.simulated.microscope.instrument import SimulatedInstrument, Wrong

ANNOUNCE_EVERY_S = 0.02
RESTARTS, DIES = 75, 70
"""Exit codes of the faults of these names."""


class Said:
    """Writes lines of JSON for the parent; any thread may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, **what: Any) -> None:  # noqa: ANN401
        """Write one."""
        with self._lock:
            try:
                sys.stdout.write(json.dumps(what) + "\n")
                sys.stdout.flush()
            except (BrokenPipeError, ValueError):
                os._exit(0)


class FaultyServer(MicroscopeServer):
    """A server that takes commands and does nothing, or whose connection breaks as one is under way, on request."""

    def __init__(
        self, instrument: SimulatedInstrument, *, keys: Keys | None, allowed: list[bytes], host: str, port: int
    ) -> None:
        self._simulated = instrument
        self._held: tuple[bytes, bytes] | None = None
        self._breaks = False
        self._broke = False
        super().__init__(
            instrument,
            keys=keys,
            allowed=allowed,
            host=host,
            port=port,
            now_s=lambda: instrument.clock.at(time.perf_counter()),
        )

    def _heard(self, sender: bytes, data: bytes) -> None:
        self._simulated.reached(MicroscopeStep.HELLO)
        command = _command(data)
        if command is not None and self._simulated.suffers(MicroscopeFault.NO_ANSWER):
            return
        verb = self._simulated.stale_verb
        if command is not None and command.verb is verb and not self._broke:
            self._held, self._broke, self._breaks = (sender, data), True, True
            return
        super()._heard(sender, data)
        if self._held is not None and sender != self._held[0]:  # the rig has connected anew: now the old one arrives
            (old_sender, stale), self._held = self._held, None
            super()._heard(sender, stale)
            super()._heard(old_sender, stale)

    def _send(self) -> None:
        super()._send()
        if self._breaks:
            self._breaks = False
            self._renew_socket()


def _command(data: bytes) -> Command | None:
    try:
        message = for_microscope(data)
    except MessageError:
        return None
    return message if isinstance(message, Command) else None


def freeze(pid: int) -> None:
    """Stop a process where it is."""
    if sys.platform == "win32":
        import psutil  # noqa: PLC0415 - hardly ever needed, and the process is started often

        psutil.Process(pid).suspend()
    else:
        os.kill(pid, signal.SIGSTOP)


def main(serving: type[FaultyServer] = FaultyServer) -> int:
    """Serve until standard input ends."""
    options = json.loads(sys.stdin.readline())
    said = Said()
    wrong = options["wrong"]
    instrument = SimulatedInstrument(
        clock=DriftingClock(
            host_zero_s=options["host_zero_s"], offset_s=options["offset_s"], drift_ppm=options["drift_ppm"]
        ),
        host_s=time.perf_counter,
        ahead_s=options["ahead_s"],
        wrong=None
        if wrong is None
        else Wrong(
            kind=MicroscopeFault(wrong["kind"]),
            step=MicroscopeStep(wrong["step"]),
            delay_s=wrong["delay_s"],
            lasts_s=wrong["lasts_s"],
        ),
        told=lambda name, session: said(called=name, session=session, host_s=time.perf_counter()),
        broken=lambda kind: _break(kind, said),
    )
    keys = Keys(options["public"].encode(), options["secret"].encode())
    server = serving(
        instrument, keys=keys, allowed=[options["client"].encode()], host=options["host"], port=options["port"]
    )
    said(port=server.port)
    ended = threading.Event()
    threading.Thread(target=_read, args=(instrument, ended), name="trigger's wire", daemon=True).start()
    while not ended.wait(ANNOUNCE_EVERY_S):
        pulses, until_s = instrument.announce()
        said(pulses=pulses, until_s=until_s)
    os._exit(0)


def _read(instrument: SimulatedInstrument, ended: threading.Event) -> None:
    for line in sys.stdin:
        told = json.loads(line)
        instrument.trigger(level=told["trigger"], host_s=told["host_s"])
    ended.set()


def _break(kind: MicroscopeFault, said: Said) -> None:
    """Let the process itself fail."""
    said(broken=kind.value)
    if kind is MicroscopeFault.FREEZES:
        freeze(os.getpid())
    elif kind in (MicroscopeFault.RESTARTS, MicroscopeFault.DIES):
        os._exit(RESTARTS if kind is MicroscopeFault.RESTARTS else DIES)
