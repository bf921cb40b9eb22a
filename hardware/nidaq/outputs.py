"""Lines that the rig drives: frame pulses, running, alignment, acquisition trigger.

One on-demand task a line, each written with a single call. The frame line is high and falls at the flip, in
the loop's own thread, right after ``flip`` has returned; the edge reader's thread raises it again some
milliseconds later and gives the alignment pulses, whose exact times don't matter since their edges are read
back.
"""

from __future__ import annotations

import math
import threading
from collections import deque

import numpy as np

from hardware.arrays import FloatArray
from hardware.clock import Clock
from hardware.events import Finding
from hardware.lines import Line
from hardware.nidaq.checks import check_frame_pulse
from hardware.nidaq.connection import Connection, Untyped
from hardware.nidaq.edges import NidaqEdges
from hardware.protocols import DeviceError, Identity

PULSE_WIDTH_S = 0.004
ECHO_LIMIT_S = 0.5
"""A frame pulse that is not back this soon has no wire to come back on."""
UNSEEN_S = 0.5
UNSEEN_PULSES = 10
"""When so many frame pulses in so long a time were not seen back, though edges are being read, their wire is off."""
ALIGN_INTERVAL_S = (5.0, 15.0)
"""Alignment pulses come at random intervals, so that a stretch of them fits in one place only."""
ALIGN_WIDTH_S = 0.01
ALIGN_FIRST_S = 1.0
MOST_CALLS = 3600
"""A minute's frame pulses: the time between two looks at ``health``."""


class NidaqOutputs:
    """Sync outputs of the card. Opened after the edge source, whose thread it shares.

    Parameters
    ----------
    seed
        Of the alignment pulses' intervals.
    """

    name = "card"

    def __init__(self, *, connection: Connection, edges: NidaqEdges, clock: Clock, seed: int) -> None:
        self._connection = connection
        self._edges = edges
        self._clock = clock
        self._rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(2,))))
        self._tasks: dict[str, Untyped] = {}
        self._writers: dict[str, Untyped] = {}
        self._identity: Identity | None = None
        self._frame_lock = threading.Lock()
        self._frame_low = False
        self._raise_at_s = math.inf
        self._n_unseen = 0
        self._unseen_since_s = math.inf
        self._unseen: DeviceError | None = None
        self._running = False
        self._align_high = False
        self._next_align_s = math.inf
        self._error: DeviceError | None = None
        self.frame_calls_s: deque[float] = deque(maxlen=MOST_CALLS)
        """How long the last frame pulses' calls took."""
        edges.watch((Line.VSYNC_STIM,), self._seen)
        edges.attend(self)

    def open(self) -> Identity:
        """Take the lines and put them at rest: frame line high, all others low."""
        if self._identity is not None:
            return self._identity
        self._connection.open()
        config = self._connection.config
        outputs = {
            "frame": config.frame_output,
            "running": config.running_output,
            "acquire": config.acquire_output,
            "align": config.align_output,
        }
        try:
            with self._connection.calls(self.name):
                for name, line in outputs.items():
                    task = self._tasks[name] = self._connection.task(name)
                    task.do_channels.add_do_chan(config.channel(line))
                    self._writers[name] = self._connection.writer(task)
                    task.start()
                    self._write(name, level=name == "frame")
        except DeviceError:
            self._let_go()
            raise
        self._error = None
        self._identity = Identity(device=self.name, model="digital outputs of the card", details=outputs)
        return self._identity

    def check(self) -> list[Finding]:
        """Give a frame pulse and look whether it comes back."""
        self._edges.read_frame_pulses()
        return [check_frame_pulse(give=self._give, seen_back=self._seen_back)]

    def health(self) -> dict[str, float]:
        """Return how long the last minute's frame pulses took; they are counted where they are seen back."""
        calls_ms = np.array(self.frame_calls_s) * 1e3
        if not len(calls_ms):
            return {}
        median_ms, most_ms = np.quantile(calls_ms, [0.5, 0.99]).tolist()
        return {
            "frame_call_median_ms": median_ms,
            "frame_call_99_percent_ms": most_ms,
            "frame_call_longest_ms": float(calls_ms.max()),
        }

    def close(self) -> None:
        """Put the lines at rest and let go of them."""
        if self._identity is not None:
            try:
                with self._connection.calls(self.name):
                    for name in self._writers:
                        self._write(name, level=name == "frame")
            except DeviceError:
                pass  # the card is gone, and with it what could be put at rest
        self._let_go()

    def _give(self) -> float:
        before_s = self._clock.now_s()
        self.flip_pulse()
        return self._clock.now_s() - before_s

    def _seen_back(self) -> bool:
        """Return whether the pulse has come back; by then it is over."""
        edges = self._edges
        seen = edges.wait_for(lambda: len(edges.read_frame_pulses()), limit_s=ECHO_LIMIT_S)
        return seen and edges.wait_for(lambda: edges.state & Line.VSYNC_STIM.mask, limit_s=ECHO_LIMIT_S)

    def flip_pulse(self) -> None:
        """See ``SyncOutputs.flip_pulse``; says as well, with the next pulse, that those before were not seen back."""
        with self._frame_lock, self._connection.calls(self.name):
            if self._frame_low:  # the reader was held up: without this there would be no fall
                self._write("frame", level=True)
            before_s = self._clock.now_s()
            self._write("frame", level=False)
            after_s = self._clock.now_s()
            self._edges.time.pulsed(before_s=before_s, after_s=after_s)
            self.frame_calls_s.append(after_s - before_s)
            self._frame_low = True
            self._raise_at_s = after_s + PULSE_WIDTH_S
            self._n_unseen += 1
            if self._n_unseen == 1:
                self._unseen_since_s = after_s
        unseen, self._unseen = self._unseen, None
        if unseen is not None:
            raise unseen

    def flips_made(self, *, host_s: FloatArray) -> None:
        """See ``SyncOutputs.flips_made``: each had its pulse already; says here what went wrong elsewhere."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def running(self, *, level: bool) -> None:
        """See ``SyncOutputs.running``."""
        with self._connection.calls(self.name):
            self._write("running", level=level)
        self._next_align_s = self._clock.now_s() + ALIGN_FIRST_S
        self._running = level

    def acquire(self, *, level: bool) -> None:
        """See ``SyncOutputs.acquire``."""
        with self._connection.calls(self.name):
            self._write("acquire", level=level)

    def align(self, *, level: bool) -> None:
        """Drive the alignment line, while no stimulus runs."""
        with self._connection.calls(self.name):
            self._write("align", level=level)

    def ask(self) -> None:
        """Ask the card whether a line's task is done: the least that a call can be asked for."""
        with self._connection.calls(self.name):
            self._tasks["align"].is_task_done()

    def before_edges(self) -> None:
        """See ``Service.before_edges``."""

    def serve(self, *, host_s: float) -> None:
        """Raise the frame line when its pulse is over; give alignment pulses; miss frame pulses."""
        unseen_s = self._edges.read_until_s - self._unseen_since_s  # what has not been read may have been seen back
        if self._n_unseen >= UNSEEN_PULSES and unseen_s > UNSEEN_S and self._edges.lost is None:
            self._unseen = DeviceError(
                device=self.name,
                what=f"frame pulses have not been seen back for {unseen_s:.1f} s",
                remedy="check the frame-pulse line and its echo",
            )
        if self._identity is None or self._connection.gone is not None or host_s < self.due_s():
            return
        try:
            with self._connection.calls(self.name):
                if host_s >= self._raise_at_s:
                    self._raise_frame(host_s)
                if host_s >= self._next_align_s:
                    self._align(host_s)
        except DeviceError as error:
            self._error = error
            self._raise_at_s = self._next_align_s = math.inf

    def _seen(self, *, ticks: int, changed: int, state: int) -> None:
        """Take note of a frame pulse that was seen back; see ``EdgeWatcher``."""
        self._n_unseen, self._unseen_since_s = 0, math.inf

    def due_s(self) -> float:
        """See ``Service.due_s``."""
        return min(self._raise_at_s, self._next_align_s)

    def _raise_frame(self, host_s: float) -> None:
        with self._frame_lock:
            if self._frame_low and host_s >= self._raise_at_s:
                self._write("frame", level=True)
                self._frame_low = False
                self._raise_at_s = math.inf

    def _align(self, host_s: float) -> None:
        self._align_high = self._running and not self._align_high
        self._write("align", level=self._align_high)
        if self._align_high:
            self._next_align_s = host_s + ALIGN_WIDTH_S
        else:
            self._next_align_s = host_s + float(self._rng.uniform(*ALIGN_INTERVAL_S)) if self._running else math.inf

    def _write(self, name: str, *, level: bool) -> None:
        self._writers[name].write_one_sample_one_line(level)

    def _let_go(self) -> None:
        self._identity = None
        self._raise_at_s = self._next_align_s = math.inf
        tasks, self._tasks, self._writers = self._tasks, {}, {}
        for task in tasks.values():
            self._connection.clear(task)
