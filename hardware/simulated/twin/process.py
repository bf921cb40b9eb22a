"""Starts the twin in a process of its own and ends it; what can happen to a process can happen to the twin."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Self

from hardware.simulated.apart import APART
from hardware.simulated.twin.bench import TwinBench

END_WITHIN_S = 5.0


class Twin:
    """A card in a process of its own.

    Parameters
    ----------
    drift_ppm
        How much faster than nominal the card's clock runs against the host's.
    zero_ticks
        The card's count at host time 0, for as long as the client counts nothing (see ``bench``).
    stepped
        Time only moves by ``bench.advance``, from 0 s; no call waits, and equal calls give equal answers.
    port
        The port on loopback; 0 for any that is free.
    """

    def __init__(
        self,
        *,
        device: str = "Dev1",
        drift_ppm: float = 0.0,
        zero_ticks: int = 0,
        stepped: bool = False,
        seed: int = 0,
        port: int = 0,
    ) -> None:
        self._options = {
            "device": device,
            "drift_ppm": drift_ppm,
            "zero_ticks": zero_ticks,
            "stepped": stepped,
            "seed": seed,
            "port": port,
        }
        self._process: subprocess.Popen[str] | None = None
        self._bench: TwinBench | None = None
        self._port = 0
        self._frozen = False

    def __enter__(self) -> Self:
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "hardware.simulated.twin", json.dumps(self._options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **APART,  # type: ignore[call-overload]  # which of them it is hangs on the platform
        )
        try:
            self._port = _port_said(process)
            self._bench = TwinBench(self.address)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._bench is not None:
            self._bench.close()
            self._bench = None
        process, self._process = self._process, None
        if process is None:
            return
        if self._frozen:
            process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        try:
            process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def address(self) -> str:
        """Where the server listens: host and port."""
        return f"127.0.0.1:{self._port}"

    @property
    def bench(self) -> TwinBench:
        """The hand at the card's terminals."""
        if self._bench is None:
            raise RuntimeError("the twin is not running")
        return self._bench

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """Stop the process where it is: connections stay, answers don't come."""
        self._frozen = True
        self._signal("SIGSTOP")
        if self._process is not None:  # signals come when they come: one more answer would have been given
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let a frozen process go on; the card catches up with all that has happened meanwhile."""
        self._signal("SIGCONT")
        self._frozen = False

    def _signal(self, name: str) -> None:
        if self._process is not None:
            self._process.send_signal(getattr(signal, name))


def _port_said(process: subprocess.Popen[str]) -> int:
    said = process.stdout.readline() if process.stdout is not None else ""
    if not said:
        raise RuntimeError(f"the twin did not start; it ended with {process.wait(END_WITHIN_S)}")
    return int(said)
