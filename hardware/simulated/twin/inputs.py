"""What acquisitions make the card do: digital inputs, counters, analog inputs, the wheel's encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import deque

import numpy as np

from hardware.arrays import FloatArray, IntArray
from hardware.simulated.twin import pins
from hardware.simulated.twin.errors import CardError, Code
from hardware.simulated.twin.model import NEVER, Card, SampleClock
from hardware.simulated.twin.tasks import CONTINUOUS, FINITE, RISING, Engine, add_line_channels

TIMEBASE_TICKS = {"100mhztimebase": 1, "20mhztimebase": 5, "100khztimebase": 1000}
"""Ticks of 10 ns in a tick of each timebase."""
DEFAULT_SOURCE_PFI = (8, 3, 0, 5)
"""What each counter counts unless it is told otherwise."""
COUNTER_MODULUS = 1 << 32


class InputEngine(Engine, ABC):
    """An acquisition into a buffer; the buffer overflows when more is unread than it holds."""

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.mode = 0
        self.samples_per_channel = 0
        self.rate_hz = 0.0
        self.buffer_size: int | None = None
        self.n_read = 0
        self._overwritten = False

    @property
    def overflowed(self) -> bool:
        """Whether samples were lost: more were unread than the buffer holds, or it was asked for as a fault."""
        return self._overwritten or (self.buffered and self.card.now >= self.card.faults.overflow_ticks)

    @property
    def buffered(self) -> bool:
        """Whether the task has a sample clock, of whatever kind."""
        return self.mode != 0

    def capacity(self) -> int:
        """Return how many samples per channel the buffer holds: as set, or the driver's default for the rate."""
        if self.buffer_size is not None:
            return self.buffer_size
        if self.mode == FINITE:
            return self.samples_per_channel
        steps = ((0.0, 10_000), (100.0, 1_000), (10_000.0, 10_000), (1e6, 100_000))
        default = next((size for rate_hz, size in steps if self.rate_hz <= rate_hz), 1_000_000)
        return max(default, self.samples_per_channel)

    @abstractmethod
    def total(self) -> int:
        """Return how many samples per channel have been acquired and can be seen."""

    def available(self) -> int:
        """Return how many samples per channel can be read now; raise if some were lost."""
        n = self.total() - self.n_read
        if n > self.capacity() and self.mode == CONTINUOUS:
            self._overwritten = True
        if self.overflowed:
            raise CardError(Code.SAMPLES_OVERWRITTEN, "Samples were overwritten in the buffer before they were read")
        return n

    def due(self, n: int) -> int:
        """Return the tick from which ``n`` samples may be there, as far as the engine itself knows."""
        return NEVER

    def start(self) -> None:
        """Begin with an empty buffer."""
        self._overwritten = False
        self.n_read = 0

    def done(self) -> bool:
        """Return whether a finite acquisition is complete."""
        return self.mode == FINITE and self.total() >= self.samples_per_channel


class SampledOnEvents(InputEngine):
    """An acquisition whose samples come with events: at each a tick and a word."""

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self._samples: deque[tuple[int, int]] = deque()
        self._n = 0

    @property
    def detection_overflowed(self) -> bool:
        """Whether changes came faster than the card could store them; an asked fault only."""
        return self.card.now >= self.card.faults.overflow_ticks

    def lag_ticks(self) -> int:
        """Return how long after its event a sample becomes readable."""
        return 0

    def start(self) -> None:
        """Begin with an empty buffer."""
        super().start()
        self._samples.clear()
        self._n = 0

    def take_sample(self, word: int) -> None:
        """Keep a sample of this tick; one too many and the buffer has overflowed."""
        if self.mode == FINITE and self._n >= self.samples_per_channel:
            return
        self._n += 1
        if len(self._samples) >= self.capacity():
            self._overwritten = True
        if not self.overflowed:
            self._samples.append((self.card.now, word))

    def total(self) -> int:
        """See ``InputEngine.total``."""
        if not (lag := self.lag_ticks()):
            return self._n
        return self._n - sum(1 for tick, _ in self._samples if tick + lag > self.card.now)

    def due(self, n: int) -> int:
        """See ``InputEngine.due``: only lag lets samples appear without an event."""
        if n <= len(self._samples) and (lag := self.lag_ticks()):
            return self._samples[n - 1][0] + lag
        return NEVER

    def read(self, n: int) -> list[int]:
        """Return the next ``n`` words, which are there."""
        self.n_read += n
        return [self._samples.popleft()[1] for _ in range(n)]


class DigitalInput(SampledOnEvents):
    """Digital input: on demand, on change detection, or on the card's sample clock."""

    channel_type = 10151

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.channels: list[list[str]] = []
        """The lines of each channel, in order of position."""
        self.rising = self.falling = 0
        self.clocked = False
        self._clock = SampleClock(0, 1.0)

    def add(self, lines: list[str], *, one_channel: bool, name: str) -> None:
        """Add channels: one for all lines, or one for each."""
        add_line_channels(self, self.channels, lines, one_channel=one_channel, name=name)

    def detect_changes(self, rising: str, falling: str, *, mode: int, samples_per_channel: int) -> None:
        """Sample on changes of these lines."""
        device, mine = self.card.device, {line for lines in self.channels for line in lines}
        words = []
        for names in (rising, falling):
            word = 0
            for line in pins.lines(names, device) if names.strip() else ():
                if pins.port(line) != 0 or line in self.card.faults.no_change_detection:
                    raise CardError(Code.NO_CHANGE_DETECTION, f"Line has no change detection: {device}/{line}")
                if line not in mine:
                    raise CardError(Code.CHANGE_CHANNEL_NOT_IN_TASK, f"Line is not in the task: {device}/{line}")
                word |= pins.bit(line)
            words.append(word)
        self.rising, self.falling = words
        self.mode, self.samples_per_channel, self.clocked = mode, samples_per_channel, False

    def resources(self) -> list[tuple[str, int]]:
        """There is one timing engine."""
        return [("change detection", Code.RESOURCE_RESERVED)] if self.buffered else []

    def lag_ticks(self) -> int:
        """See ``SampledOnEvents.lag_ticks``."""
        return self.card.faults.digital_lag_ticks

    def start(self) -> None:
        """Begin to look for changes."""
        super().start()
        if self.clocked:
            self._clock = SampleClock(self.card.now, self.rate_hz)
            self.card.counter_zero = self.card.now
        elif self.buffered:
            self.card.change_detectors.append(self._detect)

    def stop(self) -> None:
        """Look no longer."""
        if self._detect in self.card.change_detectors:
            self.card.change_detectors.remove(self._detect)

    def total(self) -> int:
        """See ``InputEngine.total``."""
        if not self.clocked:
            return super().total()
        n = self._clock.n_until(self.card.now)
        return min(n, self.samples_per_channel) if self.mode == FINITE else n

    def due(self, n: int) -> int:
        """See ``InputEngine.due``."""
        return int(self._clock.ticks(np.array([self.n_read + n - 1]))[0]) if self.clocked else super().due(n)

    def read(self, n: int) -> list[int]:
        """See ``SampledOnEvents.read``."""
        if not self.clocked:
            return super().read(n)
        ticks = self._clock.ticks(np.arange(self.n_read, self.n_read + n))
        self.n_read += n
        if not n:
            return []
        since, words = self.card.words
        first = bisect_right(since, int(ticks[0])) - 1
        which = np.searchsorted(np.array(since[first:]), ticks, side="right") - 1
        found: list[int] = np.array(words[first:])[which].tolist()
        return found

    def word_now(self, channel: list[str]) -> int:
        """Return a channel's lines now, each at its bit in its port."""
        return sum(pins.bit(line) for line in channel if self.card.level(line))

    def mask(self, channel: list[str]) -> int:
        """Return the bits of a channel's lines."""
        return sum(pins.bit(line) for line in channel)

    def _detect(self, before: int, after: int) -> None:
        if (~before & after & self.rising) | (before & ~after & self.falling):
            self.take_sample(after)
            for happened in tuple(self.card.change_event):
                happened()


class CounterInput(SampledOnEvents):
    """A counter of edges: of a timebase by arithmetic, of a terminal one by one."""

    channel_type = 10131
    measures = 10125
    """The driver's number for counting edges."""

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.counter = ""
        self.term = ""
        self.edge = RISING
        self.initial = 0
        self.clock_term = ""
        self._started_ticks = 0
        self._n_edges = 0
        self._pin: str | None = None
        self._clock_pin: str | None = None
        self._last_latched = -NEVER

    def resources(self) -> list[tuple[str, int]]:
        """A counter does one thing at a time."""
        return [(self.counter, Code.RESOURCE_RESERVED)]

    def lag_ticks(self) -> int:
        """See ``SampledOnEvents.lag_ticks``."""
        return self.card.faults.counter_lag_ticks

    def start(self) -> None:
        """Begin to count."""
        super().start()
        card = self.card
        self._started_ticks, self._n_edges, self._last_latched = card.now, 0, -NEVER
        term = self.term or f"/{card.device}/PFI{DEFAULT_SOURCE_PFI[int(self.counter[3:])]}"
        if (name := pins.local(term, card.device)).lower() not in TIMEBASE_TICKS:
            if (pin := pins.pin(name)) is None:
                raise CardError(Code.UNKNOWN_TERMINAL, f"Source terminal to be routed could not be found: {term}")
            self._pin = pin
            card.watch(pin, self._edge)
        elif TIMEBASE_TICKS[name.lower()] == 1 and self.clock_term:
            card.counter_zero = card.now - self.initial
        if self.clock_term:
            name = pins.local(self.clock_term, card.device)
            if name.lower() == "changedetectionevent":
                card.change_event.append(self._latch)
            elif (pin := pins.pin(name)) is not None:
                self._clock_pin = pin
                card.watch(pin, self._clock)
            else:
                raise CardError(Code.UNKNOWN_TERMINAL, f"Clock terminal could not be found: {self.clock_term}")

    def stop(self) -> None:
        """Count no longer."""
        if self._latch in self.card.change_event:
            self.card.change_event.remove(self._latch)
        if self._pin is not None:
            self.card.unwatch(self._pin, self._edge)
            self._pin = None
        if self._clock_pin is not None:
            self.card.unwatch(self._clock_pin, self._clock)
            self._clock_pin = None

    def count(self) -> int:
        """Return the counter now: 32 bits."""
        if self._pin is not None:
            n = self._n_edges
        else:
            term = pins.local(self.term, self.card.device).lower() if self.term else ""
            ticks = TIMEBASE_TICKS.get(term, 1)
            n = self.card.now // ticks - self._started_ticks // ticks
        return (self.initial + n) % COUNTER_MODULUS

    def _edge(self, level: bool) -> None:
        self._n_edges += level == (self.edge == RISING)

    def _clock(self, level: bool) -> None:
        if level:
            self._latch()

    def _latch(self) -> None:
        now, merge = self.card.now, self.card.faults.merge_ticks
        if now - self._last_latched > merge:
            self._last_latched = now
            self.take_sample(self.count())


class AnalogInput(InputEngine):
    """Voltages on a sample clock of the card; the first sample is taken at the start itself."""

    channel_type = 10100
    measures = 10322
    """The driver's number for voltages."""

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.channels: list[str] = []
        self.ranges: list[tuple[float, float]] = []
        self._clock = SampleClock(0, 1.0)

    def resources(self) -> list[tuple[str, int]]:
        """There is one converter."""
        return [("analog input", Code.RESOURCE_RESERVED)]

    def start(self) -> None:
        """Begin to sample."""
        super().start()
        if self.buffered:
            self._clock = self.card.analog_clock = SampleClock(self.card.now, self.rate_hz)

    def stop(self) -> None:
        """Stop the sample clock, for others that use it too."""
        self._clock.stopped_ticks = self.card.now

    def total(self) -> int:
        """See ``InputEngine.total``."""
        n = self._clock.n_until(self.card.now)
        return min(n, self.samples_per_channel) if self.mode == FINITE else n

    def due(self, n: int) -> int:
        """See ``InputEngine.due``."""
        return int(self._clock.ticks(np.array([self.n_read + n - 1]))[0])

    def read(self, n: int) -> FloatArray:
        """Return the next ``n`` samples, which are there, shape (channels, n)."""
        ticks = self._clock.ticks(np.arange(self.n_read, self.n_read + n))
        self.n_read += n
        return self._volts(ticks)

    def read_now(self) -> FloatArray:
        """Return the voltages at this tick, shape (channels, 1)."""
        return self._volts(np.array([self.card.now]))

    def _volts(self, ticks: IntArray) -> FloatArray:
        rows = [
            np.clip(self.card.analog.volts(channel, ticks), low, high)
            for channel, (low, high) in zip(self.channels, self.ranges, strict=True)
        ]
        return np.array(rows)


class AngularEncoder(InputEngine):
    """A counter that decodes the wheel's quadrature, sampled by the analog inputs' clock.

    Start it before the analog inputs, so that their first samples belong together. The angle counts from its start.
    """

    channel_type = 10131
    measures = 10360
    """The driver's number for the angle of an encoder."""

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.counter = ""
        self.steps_per_turn = 0
        self.initial_degrees = 0.0
        self._started_ticks = 0
        self._others: SampleClock | None = None  # samples before the start are not ours
        self._n_before = 0
        self._first_step: int | None = None

    def resources(self) -> list[tuple[str, int]]:
        """A counter does one thing at a time."""
        return [(self.counter, Code.RESOURCE_RESERVED)]

    def start(self) -> None:
        """Begin to count steps."""
        super().start()
        self._started_ticks = self.card.now
        self._others = self.card.analog_clock
        self._n_before = self._others.n_until(self.card.now) if self._others else 0
        self._first_step = None

    def total(self) -> int:
        """See ``InputEngine.total``: none before the analog inputs run."""
        if (clock := self.card.analog_clock) is None:
            return 0
        return clock.n_until(self.card.now) - (self._n_before if clock is self._others else 0)

    def due(self, n: int) -> int:
        """See ``InputEngine.due``."""
        clock = self.card.analog_clock
        return int(clock.ticks(np.array([self._index(n - 1)]))[0]) if clock is not None else NEVER

    def read(self, n: int) -> FloatArray:
        """Return the next ``n`` angles in degrees, shape (n,)."""
        if (clock := self.card.analog_clock) is None:
            return np.zeros(0)
        ticks = clock.ticks(np.arange(self._index(0), self._index(n)))
        self.n_read += n
        if self._first_step is None:
            self._first_step = int(self._steps(np.array([self._started_ticks]))[0])
        steps = self._steps(ticks) - self._first_step
        degrees: FloatArray = self.initial_degrees + steps.astype(np.float64) * (360.0 / self.steps_per_turn)
        return degrees

    def _index(self, k: int) -> int:
        """Return which sample of the clock the k-th unread one is."""
        before = self._n_before if self.card.analog_clock is self._others else 0
        return before + self.n_read + k

    def _steps(self, ticks: IntArray) -> IntArray:
        if self.card.wheel_turns is None:
            return np.zeros(len(ticks), np.int64)
        steps: IntArray = np.floor(self.card.wheel_turns(ticks) * self.steps_per_turn).astype(np.int64)
        return steps
