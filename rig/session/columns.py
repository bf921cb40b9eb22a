"""The columns of a session: one record a flip, and all edges, gathered apart from the loop's steps.

Reading the wheel and laying out records costs more than a step of the task and nothing waits for it. In
real time the log's thread calls ``gather`` before each write; on a virtual clock the loop does, a stretch
of flips at a time. What the loop must know of it (late flips, faults, frame pulses) waits in queues.
"""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from hardware.arrays import FloatArray, IntArray
from hardware.clock import ClockMap
from hardware.events import LateFlip
from hardware.protocols import DeviceError, EdgeSource, Encoder, SyncOutputs
from rig.log.schema import FLIP_DTYPE
from rig.log.writer import Log
from rig.session.monitors import WheelMonitor
from stimuli.screen import FlipRows, Screen


class Columns:
    """Gathers flips, wheel and edges into the log.

    Only ``gather`` may run in another thread than the loop's; a lock keeps two of them apart.
    """

    def __init__(
        self, *, screen: Screen, encoder: Encoder, sync: SyncOutputs, edges: EdgeSource, log: Log, wheel: WheelMonitor
    ) -> None:
        self._screen = screen
        self._encoder = encoder
        self._sync = sync
        self._edges = edges
        self._log = log
        self._wheel = wheel
        self._lock = threading.Lock()
        self._map: ClockMap | None = None
        self._late: deque[LateFlip] = deque()
        self._errors: deque[DeviceError] = deque()
        self._pair_host_s: list[FloatArray] = []
        self._pair_ticks: list[IntArray] = []

    def begin(self, *, clock_map: ClockMap, first_ticks: IntArray, rows: FlipRows) -> None:
        """Take the first flips, whose pulses have been seen already."""
        self._map = clock_map
        self._pair_ticks.append(first_ticks)
        self._write(rows, clock_map)

    def gather(self) -> None:
        """Hand everything since the last call to the log."""
        with self._lock:
            if self._map is not None:
                rows = self._screen.take()
                try:
                    self._sync.flips_made(host_s=rows.host_s)
                except DeviceError as error:
                    self._errors.append(error)
                self._write(rows, self._map)

    def fit(self, *, window: int) -> tuple[int, float]:
        """Fit the clock map anew through the last ``window`` pulses; return their number and the RMS in us.

        All flips made until now have been gathered with the old map when this returns.
        """
        self.gather()
        with self._lock:
            self._pair_ticks.append(self._edges.read_frame_pulses())
            host_s, ticks = np.concatenate(self._pair_host_s), np.concatenate(self._pair_ticks)
            n = min(len(host_s), len(ticks))
            host_s, ticks = host_s[max(0, n - window) : n], ticks[max(0, n - window) : n]
            self._pair_host_s, self._pair_ticks = [host_s], [ticks]
            if self._map is None or not n:
                return 0, 0.0
            return len(host_s), self._map.fit(host_s=host_s, ticks=ticks)

    def late(self) -> list[LateFlip]:
        """Return the late flips since the last call."""
        return [self._late.popleft() for _ in range(len(self._late))]

    def errors(self) -> list[DeviceError]:
        """Return the devices' failures since the last call."""
        return [self._errors.popleft() for _ in range(len(self._errors))]

    def _write(self, rows: FlipRows, clock_map: ClockMap) -> None:
        n = len(rows.refresh)
        record = np.empty(n, FLIP_DTYPE)
        times_s = clock_map.session_s_of(rows.host_s)
        try:
            signal_v, supply_v = self._encoder.read(host_s=rows.host_s)
            self._wheel.see(times_s=times_s, signal_v=signal_v)
            self._edges.flush()
            record["signal_v"], record["supply_v"] = signal_v, supply_v
        except DeviceError as error:
            record["signal_v"] = record["supply_v"] = np.nan
            self._errors.append(error)
        if not n:
            return
        record["flip"] = np.arange(rows.first_flip, rows.first_flip + n)
        record["refresh"] = rows.refresh
        record["time_s"] = times_s
        record["stimulus"] = rows.stimulus
        record["movie_frame"] = rows.movie_frame
        record["n_missed"] = rows.n_missed
        self._log.flips(record)
        self._pair_host_s.append(rows.host_s)
        for i in np.flatnonzero(rows.n_missed).tolist():
            self._late.append(
                LateFlip(
                    flip=rows.first_flip + i,
                    refresh=int(rows.refresh[i]),
                    n_missed=int(rows.n_missed[i]),
                    stimulus=int(rows.stimulus[i]),
                )
            )
