"""A simulated microscope that is what it should be, and floods its rig with noise besides: run by tests."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import zmq

from hardware.simulated.microscope.program import FaultyServer, main

AT_A_TIME = 200
LARGE = 2**26
LARGE_AFTER_S = 3.0


class FloodingServer(FaultyServer):
    """Sends noise with everything it sends, and once something far too large."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        self._large_at_s = time.monotonic() + LARGE_AFTER_S
        super().__init__(*args, **fields)

    def _send(self) -> None:
        super()._send()
        current = self._receiver._current
        if current is None:
            return
        try:
            for _ in range(AT_A_TIME):
                self._socket.send_multipart([current.sender, os.urandom(100)], zmq.NOBLOCK)
            if time.monotonic() > self._large_at_s:
                self._large_at_s = float("inf")
                self._socket.send_multipart([current.sender, bytes(LARGE)], zmq.NOBLOCK, copy=False)
        except zmq.ZMQError:
            return


if __name__ == "__main__":
    sys.exit(main(FloodingServer))
