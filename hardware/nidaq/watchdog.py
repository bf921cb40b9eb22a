"""The card's watchdog: the valve's line goes low by itself when this process no longer serves it.

It is kicked by a thread of its own, four times in its time. A card without one is told by a Finding; the valve's
pulses are finite with or without.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from hardware.nidaq.connection import Connection, Untyped
from hardware.protocols import DeviceError

JOIN_S = 3.0


class Watchdog:
    """Watches over one output line.

    Parameters
    ----------
    is_served
        Whether the valve is looked after; while it is not, the timer may run out though this process lives.
    threaded
        Without a thread the timer runs out unless ``kick`` is called: tests.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        terminal: str,
        timeout_s: float,
        is_served: Callable[[], bool],
        threaded: bool = True,
    ) -> None:
        self._connection = connection
        self._terminal = terminal
        self.timeout_s = timeout_s
        self._is_served = is_served
        self._threaded = threaded
        self._task: Untyped = None
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self.error: DeviceError | None = None
        """Why the watchdog does not run, or that it has expired."""

    def open(self) -> None:
        """Start it. A card that has none is no error: ``error`` says so."""
        try:
            with self._connection.calls("valve"):
                self._task = self._connection.watchdog(self.timeout_s)
                self._task.cfg_watchdog_do_expir_states([self._connection.low_state(self._terminal)])
                self._task.start()
        except DeviceError as error:
            self.error = error
            self.close()
            if self._connection.gone is not None:
                raise
            return
        self.error = None
        if self._threaded:
            self._ending.clear()
            self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
            self._thread.start()

    def kick(self) -> None:
        """Say that this process is alive; name an expiry once, and have the outputs work again."""
        if self._task is None:
            return
        try:
            with self._connection.calls("valve"):
                self._task.reset_timer()
        except DeviceError as error:
            self.error = error
            if self._connection.gone is None:
                self._revive()

    def close(self) -> None:
        """End it, its thread first: a watchdog that nobody kicks expires."""
        self._ending.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN_S)
        task, self._task = self._task, None
        if task is not None:
            self._connection.clear(task)

    def take_error(self) -> DeviceError | None:
        """Return, once, what has gone wrong since it runs."""
        if self._task is None:
            return None
        error, self.error = self.error, None
        return error

    def _revive(self) -> None:
        try:
            with self._connection.calls("valve"):
                self._task.clear_expiration()
        except DeviceError as error:
            self.error = error

    def _run(self) -> None:
        while not self._ending.wait(self.timeout_s / 4):
            if self._is_served():
                self.kick()
            if self._connection.gone is not None:
                return
