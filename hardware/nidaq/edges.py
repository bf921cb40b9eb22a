"""Every edge on the card's lines, with the ticks of one counter.

Change detection stores the state of port 0 at each change; the same event samples a counter of the 100 MHz
timebase. Two tasks, two buffers: sample n of one belongs to sample n of the other, so that a single sample
lost in either would shift all that follow. The totals are therefore compared all the time.

The counter is started before the inputs. Until they run there is no change event, and the first samples of
both belong together.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from hardware.arrays import AnyArray, IntArray
from hardware.clock import TICKS_PER_S, Clock
from hardware.events import Finding
from hardware.lines import Line
from hardware.nidaq.checks import check_edges
from hardware.nidaq.connection import Connection, Untyped
from hardware.nidaq.timebase import AHEAD_TICKS, NOT_GIVEN, WRAP_TICKS, Timebase
from hardware.protocols import DeviceError, Edge, EdgeSink, FramePulses, Identity

BUFFER_SAMPLES = 1_000_000
"""Of both tasks, equal: more than half an hour of a full imaging rig's edges (some 400/s)."""
CHUNK_SAMPLES = 10_000
QUEUE_EDGES = 2_000_000
"""Edges that nobody has collected; more are a fault, not a reason to eat all memory."""
IDLE_CHECK_S = 0.05
"""How often the counter is looked at while the inputs are silent."""
SLIP_S = 0.25
SLIP_LOOKS = 10
"""Totals that differ at each of so many looks over so long have slipped; a transfer under way differs for less."""
JOIN_S = 5.0
FORGETS = 0.9
"""Each poll, so that one which took a refresh is forgotten after some ten quick ones."""


class EdgeWatcher(Protocol):
    """Told of each change of a watched line in the reader's thread, in order."""

    def __call__(self, *, ticks: int, changed: int, state: int) -> None:
        """Take the ticks, the lines that changed as a mask, and the state of all lines after it."""


class Service(Protocol):
    """What a device of this card does in the reader's thread, after each poll."""

    def serve(self, *, host_s: float) -> None:
        """Do what is due. Errors go to the device's own poll, none are raised."""

    def due_s(self) -> float:
        """Return the host time at which something is due; infinity for nothing."""

    def before_edges(self) -> None:
        """Take what was asked for since the last poll, before this one's edges are looked at."""


class _Totals:
    """Tells a slip from a transfer under way.

    The later of two looks can only be too high by what came in between. Where one total is above the other at
    every look, whichever was looked at first, it has slipped.
    """

    def __init__(self) -> None:
        self._fewest = [math.inf, math.inf]
        self._since_s = 0.0
        self._n_looks = 0

    def look(self, *, states_first: int, counts: int, states_last: int, host_s: float) -> int:
        """Take totals looked at in this order; return by how many samples the states are ahead for good."""
        if not self._n_looks:
            self._since_s = host_s
        self._n_looks += 1
        self._fewest[0] = min(self._fewest[0], states_last - counts)
        self._fewest[1] = min(self._fewest[1], counts - states_first)
        if self._fewest[0] <= 0 and self._fewest[1] <= 0:
            self._n_looks = 0
            self._fewest = [math.inf, math.inf]
            return 0
        if self._n_looks < SLIP_LOOKS or host_s - self._since_s < SLIP_S:
            return 0
        (states, times), self._n_looks = self._fewest, 0
        self._fewest = [math.inf, math.inf]
        if states > 0 > times:
            return int(states)
        return -int(times) if times > 0 > states else 0  # else looks took so long that something always came in between


class NidaqEdges:
    """The card's digital inputs, read by one thread.

    Parameters
    ----------
    clock
        The host's clock; one that the test moves where there is no thread.
    sink
        Where all edges go, or None to keep none.
    threaded
        Without a thread nothing is read unless ``poll_once`` is called: tests on a stepped twin.
    """

    name = "card"

    def __init__(
        self, *, connection: Connection, clock: Clock, sink: EdgeSink | None = None, threaded: bool = True
    ) -> None:
        self.connection = connection
        self.time = Timebase()
        self.clocked = False
        """Whether the inputs are sampled on a clock, for want of change detection."""
        self.undetected = ""
        """The lines without change detection."""
        self._config = connection.config
        self._clock = clock
        self._sink = sink
        self.threaded = threaded
        self._watchers: list[tuple[int, EdgeWatcher]] = []
        self._services: list[Service] = []
        self._identity: Identity | None = None
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self._wake = threading.Event()
        self._error: DeviceError | None = None
        self._lost: DeviceError | None = None
        self._inputs: Untyped = None
        self._counter: Untyped = None
        self._read_states: Untyped = None
        self._read_counts: Untyped = None
        self._raw_states = np.zeros(CHUNK_SAMPLES, np.uint32)
        self._raw_counts = np.zeros(CHUNK_SAMPLES, np.uint32)
        self._n_read = 0
        self._totals = _Totals()
        self._idle_until_s = -math.inf
        self._state = 0
        self._raw_before = 0
        self._last_ticks = -1
        self._licks: deque[Edge] = deque()
        self._frames: deque[FramePulses] = deque()
        self._all: deque[tuple[IntArray, AnyArray]] = deque()
        self._n_kept = 0  # by the reader
        self._n_flushed = 0  # by whoever flushes
        self._n_edges = 0
        self._n_glitches = 0
        self._fullest = 0
        self._longest_poll_s = 0.0
        self._read_until_s = 0.0
        self.polled_s = math.inf
        """Host time of the last poll's end; infinity before the first."""
        self.slow_s = 0.0
        """How long polls take: the longest lately, forgotten by and by."""

    def open(self) -> Identity:
        """Connect to the card, start counter and inputs, begin to read.

        Raises
        ------
        DeviceError
            No such card, lines in use by another program, no library.
        """
        if self._identity is not None:
            return self._identity
        connection = self.connection
        connection.open()
        try:
            with connection.calls(self.name):
                identity = self._identify()
                self._state = self._levels()
                self._start()
        except DeviceError:
            self.close()
            raise
        self._identity = identity
        self._error = self._lost = None
        if self.threaded:
            self._ending.clear()
            self._thread = threading.Thread(target=self._run, name="card reader", daemon=True)
            self._thread.start()
        return identity

    def check(self) -> list[Finding]:
        """Examine presence, lines and the lick line."""
        return check_edges(
            config=self._config, identity=self.open(), undetected=self.undetected, lost=self._lost, state=self._state
        )

    def health(self) -> dict[str, float]:
        """Return fill levels of queues and buffers, and how long polls took since the last call."""
        longest_s, self._longest_poll_s = self._longest_poll_s, 0.0
        fullest, self._fullest = self._fullest, 0
        return {
            "n_edges": float(self._n_edges),
            "n_glitches": float(self._n_glitches),
            "edges_unflushed": float(self._n_kept - self._n_flushed),
            "licks_unread": float(len(self._licks)),
            "card_buffer_percent": 100.0 * fullest / BUFFER_SAMPLES,
            "longest_poll_ms": longest_s * 1e3,
        }

    def close(self) -> None:
        """End the thread, clear all tasks of the card, valve first, and let go of it."""
        self._ending.set()
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN_S)
        self._identity = None
        self._inputs = self._counter = None
        self.connection.close()

    @property
    def lost(self) -> DeviceError | None:
        """Why edges can't be read any more, or None."""
        return self._lost

    @property
    def state(self) -> int:
        """The lines' levels after the last edge that was read."""
        return self._state

    def watch(self, lines: Sequence[Line], watcher: EdgeWatcher) -> None:
        """Have a watcher told of each change of these lines, in the reader's thread."""
        self._watchers.append((sum(line.mask for line in lines), watcher))

    def attend(self, service: Service) -> None:
        """Have a device served in the reader's thread."""
        self._services.append(service)

    def hurry(self) -> None:
        """Wake the reader: something is to be done at once."""
        self._wake.set()

    def due_s(self) -> float:
        """Return the host time at which a device of this card has something to do."""
        return min((service.due_s() for service in self._services), default=math.inf)

    def wait_for(self, seen: Callable[[], int], *, limit_s: float) -> bool:
        """Wait until something has been seen, before a session; where nobody reads the edges, read them."""
        ends_s = self._clock.now_s() + limit_s
        while not (found := seen()) and self._clock.now_s() < ends_s:
            self._clock.sleep_until(self._clock.now_s() + 0.005)
            if not self.threaded:
                self.poll_once()
        return bool(found)

    def read(self) -> Sequence[Edge]:
        """See ``EdgeSource.read``."""
        if self._licks:
            return [self._licks.popleft() for _ in range(len(self._licks))]
        if self._error is not None:
            raise DeviceError(device=self.name, what=self._error.what, remedy=self._error.remedy)
        return ()

    def read_frame_pulses(self) -> FramePulses:
        """See ``EdgeSource.read_frame_pulses``."""
        return FramePulses.joined([self._frames.popleft() for _ in range(len(self._frames))])

    @property
    def read_until_s(self) -> float:
        """See ``EdgeSource.read_until_s``."""
        return self._read_until_s

    def next_due_s(self) -> float:
        """See ``EdgeSource.next_due_s``: a real card may say something at any time."""
        return -math.inf

    def flush(self) -> None:
        """See ``EdgeSource.flush``."""
        for _ in range(len(self._all)):
            ticks, states = self._all.popleft()
            self._n_flushed += len(ticks)
            if self._sink is not None:
                self._sink(ticks=ticks, states=states)

    def poll_once(self) -> None:
        """Read what is there, tell the watchers, serve the devices. Errors wait for ``read``."""
        begun_s = self._clock.now_s()
        for service in self._services:
            service.before_edges()
        if self._lost is None:
            try:
                with self.connection.calls(self.name):
                    self._poll(begun_s)
                self._read_until_s = begun_s
            except DeviceError as error:
                self.lose(error)
        now_s = self._clock.now_s()
        for service in self._services:
            service.serve(host_s=now_s)
        self.polled_s = self._clock.now_s()
        took_s = self.polled_s - begun_s
        self._longest_poll_s = max(self._longest_poll_s, took_s)
        self.slow_s = max(took_s, FORGETS * self.slow_s)

    def lose(self, error: DeviceError) -> None:
        """Read no more edges, and say why: to the loop, and to the devices that rest on them."""
        if self._lost is None:
            self._error = self._lost = error

    def _run(self) -> None:
        while not self._ending.is_set():
            self._wake.clear()
            try:
                self.poll_once()
            except Exception as error:  # noqa: BLE001 - a thread that ends in silence would be the worst of all
                what = f"the reader of the card has broken: {type(error).__name__}: {error}"
                self.lose(DeviceError(device=self.name, what=what, remedy="end the session and report it with its log"))
            if self.connection.gone is not None and self._error is not None:
                return
            self._wake.wait(self._config.poll_s)

    def _poll(self, begun_s: float) -> None:
        n_new = self._n_available(begun_s)
        now_s = self._clock.now_s()  # all that is there is older than this, however long it took to ask
        self._fullest = max(self._fullest, n_new)
        while n_new > 0:
            n = min(n_new, CHUNK_SAMPLES)
            states = self._raw_states[:n]
            self._read_states.read_many_sample_port_uint32(states, n, timeout=0.0)
            if self.clocked:
                self._take_clocked(states)
            else:
                counts = self._raw_counts[:n]
                self._read_counts.read_many_sample_uint32(counts, n, timeout=0.0)
                self._take(states, self._unwrapped(counts, now_s))
            self._n_read += n
            n_new -= n

    def _n_available(self, now_s: float) -> int:
        """Return how many samples both tasks have; compare their totals."""
        states = self._inputs.in_stream
        n_first = int(states.avail_samp_per_chan)
        if self.clocked:
            return n_first
        if not n_first and now_s < self._idle_until_s:
            return 0
        self._idle_until_s = now_s + IDLE_CHECK_S
        n_counts = int(self._counter.in_stream.avail_samp_per_chan)
        n_last = int(states.avail_samp_per_chan) if n_counts != n_first else n_first
        slipped = self._totals.look(states_first=n_first, counts=n_counts, states_last=n_last, host_s=now_s)
        if slipped:
            what = (
                f"line states and their times have slipped by {abs(slipped)}: "
                f"{self._n_read + n_last} states, {self._n_read + n_counts} times"
            )
            remedy = "look for two lines that change within nanoseconds of each other, then start the session again"
            raise DeviceError(device=self.name, what=what, remedy=remedy)
        return min(n_last, n_counts)

    def _unwrapped(self, counts: AnyArray, now_s: float) -> IntArray:
        """Return 64-bit ticks of 32-bit counts, none of them older than 40 s."""
        latest = self.time.ticks(now_s) + AHEAD_TICKS
        return latest - (latest - counts.astype(np.int64)) % WRAP_TICKS

    def _take(self, raw: AnyArray, ticks: IntArray) -> None:
        """Take samples in order: what changed, who is told, what is kept."""
        steps = np.diff(ticks, prepend=self._last_ticks)
        if (steps < 0).any():
            at = int(np.argmax(steps < 0))
            raise DeviceError(
                device=self.name,
                what=f"an edge's time lies {-int(steps[at]) / TICKS_PER_S:.6f} s before the edge before it",
                remedy="the counter and the line states don't belong together; start the session again",
            )
        self._last_ticks = int(ticks[-1])
        states = self._by_signal(raw)
        changed = np.bitwise_xor(states, np.concatenate([[self._state], states[:-1]]))
        real = changed != 0
        self._n_glitches += len(real) - int(real.sum())  # over before the port was latched
        ticks, states, changed = ticks[real], states[real], changed[real]
        if not len(ticks):
            return
        self._state = int(states[-1])
        self._n_edges += len(ticks)
        self._keep(ticks, states)
        falls = ticks[(changed & ~states & Line.VSYNC_STIM.mask) != 0]
        if len(falls):
            given = np.array([self.time.seen_back(fall) or NOT_GIVEN for fall in falls.tolist()])
            self._frames.append(FramePulses(falls, given[:, 0], given[:, 1]))
        watched = Line.LICK_SENSOR.mask
        for mask, _ in self._watchers:
            watched |= mask
        for i in np.flatnonzero(changed & watched).tolist():
            self._tell(int(ticks[i]), int(changed[i]), int(states[i]))

    def _tell(self, ticks: int, changed: int, state: int) -> None:
        if changed & Line.LICK_SENSOR.mask:
            self._licks.append(Edge(ticks, rising=bool(state & Line.LICK_SENSOR.mask)))
        for mask, watcher in self._watchers:
            if changed & mask:
                watcher(ticks=ticks, changed=changed & mask, state=state)

    def _take_clocked(self, raw: AnyArray) -> None:
        """Take samples of a clock: ticks by the sample's number, an edge where the state differs."""
        before = np.concatenate([[self._raw_before], raw[:-1]])
        at = np.flatnonzero(raw != before)
        self._raw_before = int(raw[-1])
        if len(at):
            ticks = np.rint((self._n_read + at) * (TICKS_PER_S / self._config.clocked_hz)).astype(np.int64)
            self._take(raw[at], ticks)

    def _keep(self, ticks: IntArray, states: AnyArray) -> None:
        n_waiting = self._n_kept - self._n_flushed
        if n_waiting + len(ticks) > QUEUE_EDGES:
            raise DeviceError(
                device=self.name,
                what=f"{n_waiting} edges wait and nobody collects them",
                remedy="look at the data disk and at the log",
            )
        self._n_kept += len(ticks)
        self._all.append((ticks, states))

    def _by_signal(self, raw: AnyArray) -> IntArray:
        """Return state words with each signal's own bit, from words with port 0's bits."""
        states = np.zeros(len(raw), np.int64)
        for line, bit in self._config.lines.items():
            states |= (raw.astype(np.int64) >> bit & 1) << int(line)
        return states

    def _identify(self) -> Identity:
        device = self.connection.device()
        model = str(device.product_type)
        serial = f"{int(device.serial_num):08X}"
        config = self._config
        able = {str(line.name): line for line in device.di_lines}
        missing = [line.label for line in config.lines if not self._detects(able.get(config.input_line(line)))]
        self.clocked, self.undetected = bool(missing), ", ".join(missing)
        return Identity(
            device=self.name,
            model=model,
            serial=serial,
            details={
                "timebase_hz": str(TICKS_PER_S),
                "device": config.device,
                "server": config.address or "local driver",
                "edges": f"sampled at {config.clocked_hz:g} Hz" if self.clocked else "change detection",
            },
        )

    @staticmethod
    def _detects(line: Untyped) -> bool:
        return line is not None and bool(line.di_change_detect_supported)

    def _levels(self) -> int:
        """Return the lines' present levels, read on demand before the inputs belong to change detection."""
        task = self.connection.task("levels")
        try:
            task.di_channels.add_di_chan(
                self._config.input_lines(), line_grouping=self.connection.constants.LineGrouping.CHAN_FOR_ALL_LINES
            )
            raw = int(self.connection.reader("Digital", task).read_one_sample_port_uint32(timeout=1.0))
        finally:
            self.connection.clear(task)
        self._raw_before = raw
        return int(self._by_signal(np.array([raw], np.uint32))[0])

    def _start(self) -> None:
        connection, config = self.connection, self._config
        k = connection.constants
        continuous = k.AcquisitionType.CONTINUOUS
        lines = config.input_lines()
        inputs = self._inputs = connection.task("edges")
        inputs.di_channels.add_di_chan(lines, line_grouping=k.LineGrouping.CHAN_FOR_ALL_LINES)
        if self.clocked:
            inputs.timing.cfg_samp_clk_timing(config.clocked_hz, sample_mode=continuous, samps_per_chan=BUFFER_SAMPLES)
        else:
            inputs.timing.cfg_change_detection_timing(
                rising_edge_chan=lines, falling_edge_chan=lines, sample_mode=continuous, samps_per_chan=BUFFER_SAMPLES
            )
            counter = self._counter = connection.task("times")
            channel = counter.ci_channels.add_ci_count_edges_chan(config.channel(config.edge_counter))
            channel.ci_count_edges_term = config.terminal("100MHzTimebase")
            counter.timing.cfg_samp_clk_timing(
                100_000.0,
                source=config.terminal("ChangeDetectionEvent"),
                sample_mode=continuous,
                samps_per_chan=BUFFER_SAMPLES,
            )
            counter.in_stream.input_buf_size = BUFFER_SAMPLES
            self._read_counts = connection.reader("Counter", counter)
        inputs.in_stream.input_buf_size = BUFFER_SAMPLES
        self._read_states = connection.reader("Digital", inputs)
        self._n_read, self._last_ticks, self._totals = 0, -1, _Totals()
        first = inputs if self.clocked else self._counter
        before_s = self._clock.now_s()
        first.start()
        self.time.begin(before_s=before_s, after_s=self._clock.now_s())
        if not self.clocked:
            inputs.start()
