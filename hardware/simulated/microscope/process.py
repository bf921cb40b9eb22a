"""Starts the simulated microscope's process and ends it; leads its pulses and the trigger to and fro.

What is announced is kept here, so that the truth outlives the process.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import psutil

from hardware.links.secured import Keys
from hardware.microscope.client import Peer
from hardware.simulated.apart import APART
from hardware.simulated.microscope.faults import MicroscopeFault
from hardware.simulated.microscope.instrument import Wrong
from hardware.simulated.microscope.program import RESTARTS, freeze

END_WITHIN_S = 5.0
AHEAD_S = 0.4
"""Pulses are announced so long before they come: what a busy machine may hold the wire up."""
RESTART_TAKES_S = 0.2
LOOK_EVERY_S = 0.002


@dataclass(frozen=True, slots=True)
class Called:
    """Something that the instrument did, by the host's clock."""

    name: str
    session: str
    host_s: float


class SimulatedMicroscopeProcess:
    """A microscope in a process of its own.

    Parameters
    ----------
    drift_ppm, offset_s
        How its clock runs against the host's, and how far ahead it was when it was started first.
    wrong
        What it is asked to do wrong, once.
    ahead_s
        How long before they come its pulses are announced; a recording ends with those that have been.
    host
        Where it listens.
    prefix
        What its command line begins with: a program that runs it elsewhere.
    module
        What is run: one that behaves worse, for tests.
    """

    def __init__(
        self,
        *,
        drift_ppm: float = 0.0,
        offset_s: float = 0.0,
        wrong: Wrong | None = None,
        ahead_s: float = AHEAD_S,
        host: str = "127.0.0.1",
        prefix: Sequence[str] = (),
        module: str = "hardware.simulated.microscope",
    ) -> None:
        self._server_keys, self._client_keys = Keys.new(), Keys.new()
        self._options: dict[str, Any] = {
            "drift_ppm": drift_ppm,
            "offset_s": offset_s,
            "host_zero_s": time.perf_counter(),
            "ahead_s": ahead_s,
            "wrong": None if wrong is None else asdict(wrong),
            "public": self._server_keys.public.decode(),
            "secret": self._server_keys.secret.decode(),
            "client": self._client_keys.public.decode(),
            "host": host,
            "port": 0,
        }
        self._prefix = tuple(prefix)
        self._module = module
        self._lasts_s = 0.0 if wrong is None else wrong.lasts_s
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._ended = threading.Event()
        self._until_s = 0.0
        self._new: deque[float] = deque()
        self.pulses_s: list[float] = []
        """All pulses that were announced, rises by the host's clock."""
        self.called: list[Called] = []
        """What the instrument did, in order."""
        self.broken: list[MicroscopeFault] = []
        """The faults of the process that have come."""
        self.n_runs = 0

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        ended = self._process
        self._end(ended)
        if self._reader is not None:
            self._reader.join(END_WITHIN_S)
        if self._process is not ended:  # it was being started anew just then
            self._end(self._process)
        for process in (ended, self._process):
            if process is not None and process.stdout is not None:
                process.stdout.close()

    def _end(self, process: subprocess.Popen[str] | None) -> None:
        if process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(process.pid).resume()
        if process.stdin is not None:
            with contextlib.suppress(OSError):  # it has ended by itself
                process.stdin.close()
        try:
            process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def peer(self) -> Peer:
        """How the rig's client finds it."""
        endpoint = f"tcp://{self._options['host']}:{self._options['port']}"
        return Peer(endpoint=endpoint, keys=self._client_keys, server_public=self._server_keys.public)

    @property
    def known_until_s(self) -> float:
        """Every pulse before this host time has been announced; infinity once none will come any more."""
        process = self._process
        if process is None or process.poll() is not None:
            return float("inf")
        return self._until_s

    def trigger(self, *, level: bool, host_s: float) -> None:
        """Drive its trigger line."""
        process = self._process
        if process is None or process.stdin is None:
            return
        try:
            process.stdin.write(json.dumps({"trigger": level, "host_s": host_s}) + "\n")
            process.stdin.flush()
        except (OSError, ValueError):  # it is gone, and hears nothing
            return

    def take_pulses(self) -> list[float]:
        """Return the pulses that were announced since the last call, rises by the host's clock."""
        return [self._new.popleft() for _ in range(len(self._new))]

    @property
    def acquiring(self) -> bool:
        """Whether it lives and its last recording was begun and not ended."""
        process = self._process
        if process is None or process.poll() is not None:
            return False
        ends = [called.name for called in list(self.called) if called.name in ("began", "ended", "started anew")]
        return bool(ends) and ends[-1] == "began"

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        if self._process is not None:
            self._ended.set()
            self._process.kill()
            self._process.wait()

    def freeze(self, lasts_s: float) -> None:
        """Stop the process where it is for some time."""
        if self._process is not None:
            freeze(self._process.pid)
            self._later(lasts_s, self._process)

    def _start(self) -> None:
        self.n_runs += 1
        process = self._process = subprocess.Popen(
            [*self._prefix, sys.executable, "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **APART,  # type: ignore[call-overload]  # which of them it is hangs on the platform
        )
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the simulated microscope has no pipes")
        process.stdin.write(json.dumps(self._options) + "\n")
        process.stdin.flush()
        said = process.stdout.readline()
        if not said:
            raise RuntimeError(f"the simulated microscope did not start; it ended with {process.wait(END_WITHIN_S)}")
        self._options["port"] = json.loads(said)["port"]
        if self._reader is None:
            self._reader = threading.Thread(target=self._read, name="simulated microscope", daemon=True)
            self._reader.start()

    def _read(self) -> None:
        """Hear what the process says, over all of its runs."""
        while (process := self._process) is not None and process.stdout is not None:
            for line in process.stdout:
                self._hear(json.loads(line), process)
            code = process.wait()
            if code != RESTARTS or self._ended.wait(RESTART_TAKES_S):
                return
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            self._options["wrong"] = None
            self.called.append(Called("started anew", "", time.perf_counter()))
            try:
                self._start()
            except (OSError, RuntimeError, ValueError):  # its port was taken meanwhile, or it was ended as it began
                return
            if self._ended.is_set():
                self._end(self._process)

    def _hear(self, said: dict[str, Any], process: subprocess.Popen[str]) -> None:
        if "until_s" in said:
            self._new.extend(said["pulses"])
            self.pulses_s += said["pulses"]
            self._until_s = said["until_s"]
        elif "called" in said:
            self.called.append(Called(said["called"], said["session"], said["host_s"]))
        elif "broken" in said:
            kind = MicroscopeFault(said["broken"])
            self.broken.append(kind)
            if kind is MicroscopeFault.FREEZES:
                self._later(self._lasts_s, process)

    def _later(self, after_s: float, process: subprocess.Popen[str]) -> None:
        """Let a process that is about to stand still go on some time after it does."""
        threading.Thread(target=self._thaw, args=[process, after_s], daemon=True).start()

    def _thaw(self, process: subprocess.Popen[str], after_s: float = 0.0) -> None:
        frozen = psutil.Process(process.pid) if process.poll() is None else None
        try:
            limit_s = time.monotonic() + (END_WITHIN_S if after_s else 0.0)
            while frozen is not None and frozen.status() != psutil.STATUS_STOPPED and time.monotonic() < limit_s:
                time.sleep(LOOK_EVERY_S)
            if frozen is not None and not self._ended.wait(after_s):
                frozen.resume()
        except psutil.NoSuchProcess:
            return
