"""The columns of a session: one record a flip, and all edges, gathered apart from the loop's steps.

Reading the wheel and laying out records costs more than a step of the task and nothing waits for it. In
real time the log's thread calls ``gather`` before each write; on a virtual clock the loop does, a stretch
of flips at a time. What the loop must know of it (late flips, faults, frame pulses) waits in queues.
"""

from __future__ import annotations

import copy
import math
import threading
from collections import deque
from typing import NamedTuple

import numpy as np

from hardware.arrays import FloatArray
from hardware.clock import ClockMap
from hardware.events import LateFlip
from hardware.protocols import DeviceError, EdgeSource, Encoder, FramePulses, SyncOutputs
from rig.log.schema import FLIP_DTYPE
from rig.log.writer import Log
from rig.session.clockfit import points
from rig.session.monitors import WheelMonitor
from stimuli.screen import FlipRows, Screen

PAIRED_TOGETHER = 60
"""Flips are paired with their pulses a second's worth at a time, so that a fit finds little left to do."""
OVERDUE_S = 0.5
"""A frame pulse that has not been seen back this long after its flip is missing."""
LARGEST_JUMP_S = 1e-3
"""Drift between two fits moves the map by microseconds; a millisecond means that pairs do not match. Until the first
fit the map hangs on one flip and its pulse, which may have come up to half a refresh late."""


class Fit(NamedTuple):
    """What a fit of the clock map found."""

    n: int
    """Pairs it rests on; 0 where there are too few."""
    n_new: int
    """Flips whose pulse has come since the last fit."""
    residual_us: float
    bound_us: float
    """The map is off by no more, but for the residual."""
    n_missing: int
    """Flips whose frame pulse was not seen back."""
    n_extra: int
    """Pulses that belong to no flip."""
    jump_s: float
    """How far the map would move; nan where there are too few pairs."""
    taken: bool
    clock_map: ClockMap


class Columns:
    """Gathers flips, wheel and edges into the log.

    Only ``gather`` may run in another thread than the loop's; a lock keeps two of them apart. It makes the fits of the
    clock map as well, which take milliseconds; the loop's own part, taking one over, is a few numbers.
    """

    def __init__(
        self,
        *,
        screen: Screen,
        encoder: Encoder,
        sync: SyncOutputs,
        edges: EdgeSource,
        log: Log,
        wheel: WheelMonitor,
        refresh_hz: float,
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
        self._nominal_period_s = 1.0 / refresh_hz
        self._unpaired_host_s: FloatArray = np.empty(0)
        self._pulses = FramePulses.none()
        self._n_new = self._n_missing = self._n_extra = 0
        self._has_fit = False
        self._refused_s = math.nan
        self._asked: deque[int] = deque()
        self._fitted: Fit | None = None
        self._taken: list[tuple[FlipRows, FloatArray]] = []
        self._paired = FramePulses.none()
        self.read_until_s = -math.inf
        """Host time until which all edges have been handed on."""

    def begin(self, *, clock_map: ClockMap, first: FramePulses, rows: FlipRows) -> None:
        """Take the first flips, whose pulses have been seen already."""
        self._map = clock_map
        self._pulses = first
        self._write(rows, clock_map.session_s_of(rows.host_s))
        self._flush()

    def _flush(self) -> None:
        until_s = self._edges.read_until_s
        self._edges.flush()
        self.read_until_s = until_s

    def gather(self) -> None:
        """Hand everything since the last call to the log; make the fit that was asked for."""
        with self._lock:
            if self._map is None:
                return
            self._gather(self._map)
            if self._asked and self._fitted is None:
                self._fitted = self._fit(self._map, self._asked.popleft())

    def ask_for_fit(self, *, window: int) -> None:
        """Have the next ``gather`` fit the clock map anew through the last ``window`` pulses."""
        self._asked.append(window)

    def take_fit(self) -> Fit | None:
        """Return the fit that was asked for once it is there; if it was taken, the map is the new one from now on.

        All flips made until now keep the times of the old map. Never waits: while another thread gathers there is no
        fit yet, and no device is asked for anything.
        """
        if self._fitted is None or not self._lock.acquire(blocking=False):
            return None
        try:
            fit, self._fitted = self._fitted, None
            if self._map is not None and fit.taken:
                self._take_flips(self._map)
                self._map.become(fit.clock_map)
                self._has_fit, self._refused_s = True, math.nan
            elif fit.n:
                self._refused_s = fit.jump_s
            return fit
        finally:
            self._lock.release()

    def _take_flips(self, clock_map: ClockMap) -> None:
        rows = self._screen.take()
        if len(rows.refresh):
            self._taken.append((rows, clock_map.session_s_of(rows.host_s)))

    def _gather(self, clock_map: ClockMap) -> None:
        self._take_flips(clock_map)
        taken, self._taken = self._taken, []
        try:
            for rows, _ in taken:
                self._sync.flips_made(host_s=rows.host_s)
        except DeviceError as error:
            self._errors.append(error)
        for rows, times_s in taken:
            self._write(rows, times_s)
        try:
            self._flush()
        except DeviceError as error:
            self._errors.append(error)
        if len(self._unpaired_host_s) >= PAIRED_TOGETHER:
            self._pair(clock_map)

    def _fit(self, clock_map: ClockMap, window: int) -> Fit:
        """Return a new map; one that would jump is not to be taken: then pulses and flips do not belong together.

        Unless the fit before it would have jumped as far: then it is the map that is wrong.
        """
        self._pair(clock_map)
        n_new, n_missing, n_extra = self._n_new, self._n_missing, self._n_extra
        self._n_new = self._n_missing = self._n_extra = 0
        self._paired = self._paired[-window:]
        new = copy.copy(clock_map)
        through = points(self._paired, clock_map)
        if through is None:
            return Fit(0, n_new, math.nan, math.nan, n_missing, n_extra, math.nan, taken=False, clock_map=new)
        residual_us = new.fit(host_s=through.host_s, ticks=through.ticks)
        last_s = float(through.host_s.max())
        jump_s = new.session_s(last_s) - clock_map.session_s(last_s)
        small = abs(jump_s) <= (LARGEST_JUMP_S if self._has_fit else self._nominal_period_s / 2)
        return Fit(
            n=len(through.ticks),
            n_new=n_new,
            residual_us=residual_us,
            bound_us=through.bound_s * 1e6,
            n_missing=n_missing,
            n_extra=n_extra,
            jump_s=jump_s,
            taken=n_new > 0 and (small or abs(jump_s - self._refused_s) <= LARGEST_JUMP_S),
            clock_map=new,
        )

    def _pair(self, clock_map: ClockMap) -> None:
        """Pair flips and pulses by their times; count flips without pulse, pulses without flip.

        The call that gave a pulse begins with the flip, however long it takes; only where it is not known the
        pulse's own time must do. Flips after the last pulse wait: their pulses are still under way. Pulses after
        the last flip wait as well: theirs was made while this was being gathered.
        """
        host_s = self._unpaired_host_s
        read_until_s = self._edges.read_until_s
        pulses = FramePulses.joined([self._pulses, self._edges.read_frame_pulses()])
        self._pulses = pulses
        if not len(host_s):
            return
        due_s, seen_s = clock_map.session_s_of(host_s), clock_map.seconds_of(pulses.ticks)
        is_known = np.isfinite(pulses.half_s)
        seen_s[is_known] = clock_map.session_s_of((pulses.given_host_s - pulses.half_s)[is_known])
        near_s = self._nominal_period_s / 2
        young = seen_s > due_s[-1] + near_s
        self._pulses = pulses[young]
        pulses, seen_s, is_known = pulses[~young], seen_s[~young], is_known[~young]
        flip = np.minimum(np.searchsorted(due_s, seen_s - near_s), len(due_s) - 1)
        good = np.abs(due_s[flip] - seen_s) < near_s
        good[1:] &= flip[1:] != flip[:-1]
        paired = flip[good]
        known = pulses[good & is_known]
        self._paired = FramePulses.joined([self._paired, known])
        # A flip is done with when a later pulse has been seen, or when its own is overdue: not while nobody reads.
        last_s = min(float(due_s[-1]), float(clock_map.session_s_of(np.array([read_until_s]))[0]))
        settled_s = max(float(seen_s.max()) if len(seen_s) else -np.inf, last_s - OVERDUE_S)
        done = int(np.searchsorted(due_s, settled_s + near_s))
        self._unpaired_host_s = host_s[done:]
        self._n_new += len(paired)
        self._n_missing += done - len(paired)
        self._n_extra += len(pulses) - len(paired)

    def late(self) -> list[LateFlip]:
        """Return the late flips since the last call."""
        return [self._late.popleft() for _ in range(len(self._late))]

    def errors(self) -> list[DeviceError]:
        """Return the devices' failures since the last call."""
        return [self._errors.popleft() for _ in range(len(self._errors))]

    def _write(self, rows: FlipRows, times_s: FloatArray) -> None:
        n = len(rows.refresh)
        record = np.empty(n, FLIP_DTYPE)
        try:
            signal_v, supply_v = self._encoder.read(host_s=rows.host_s)
            self._wheel.see(times_s=times_s, signal_v=signal_v)
            record["signal_v"], record["supply_v"] = signal_v, supply_v
        except DeviceError as error:
            record["signal_v"] = record["supply_v"] = np.nan
            self._errors.append(error)
        record["flip"] = np.arange(rows.first_flip, rows.first_flip + n)
        record["refresh"] = rows.refresh
        record["time_s"] = times_s
        record["stimulus"] = rows.stimulus
        record["movie_frame"] = rows.movie_frame
        record["n_missed"] = rows.n_missed
        self._log.flips(record)
        self._unpaired_host_s = np.concatenate([self._unpaired_host_s, rows.host_s])
        for i in np.flatnonzero(rows.n_missed).tolist():
            self._late.append(
                LateFlip(
                    flip=rows.first_flip + i,
                    refresh=int(rows.refresh[i]),
                    n_missed=int(rows.n_missed[i]),
                    stimulus=int(rows.stimulus[i]),
                )
            )
