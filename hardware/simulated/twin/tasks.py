"""What a task makes the card do: one engine for each kind of task, and the states a task goes through.

A task is unreserved, reserved, committed or running. Starting takes it through all of them; stopping returns it
to where it was before. What it was told is kept, samples that were not read are not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from enum import IntEnum

import numpy as np

from hardware.arrays import FloatArray, IntArray
from hardware.simulated.twin import pins
from hardware.simulated.twin.errors import CardError, Code, NotServed
from hardware.simulated.twin.model import NEVER, Card, SampleClock, ticks_in

CONTINUOUS, FINITE = 10123, 10178
RISING, FALLING = 10280, 10171
HIGH, LOW, TRISTATE, NO_CHANGE = 10192, 10214, 10310, 10160
TIMEBASE_TICKS = {"100mhztimebase": 1, "20mhztimebase": 5, "100khztimebase": 1000}
"""Ticks of 10 ns in a tick of each timebase."""
COUNTER_MODULUS = 1 << 32
WATCHDOG_LONGEST_S = (2**32 - 1) * 8e-9


class State(IntEnum):
    """How far a task has got."""

    UNRESERVED = 0
    RESERVED = 1
    COMMITTED = 2
    RUNNING = 3


class Engine:
    """What one task does; the base does nothing and finishes at once."""

    channel_type = 0
    """The driver's number for the kind of its channels."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.names: list[str] = []
        """Names of the virtual channels."""
        self.physical: list[str] = []
        """Physical name of each, with the device."""

    def resources(self) -> list[tuple[str, int]]:
        """Return what the task needs for itself, each with the error that says it is taken."""
        return []

    def commit(self) -> None:
        """Set the hardware up."""

    def start(self) -> None:
        """Begin, at the card's present tick."""

    def stop(self) -> None:
        """End at the card's present tick."""

    def abandon(self) -> None:
        """End because the client is gone; what the hardware has begun by itself it finishes."""
        self.stop()

    def done(self) -> bool:
        """Return whether a running task has come to its end."""
        return True


class InputEngine(Engine):
    """An acquisition into a buffer; the buffer overflows when more is unread than it holds."""

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.mode = 0
        self.samples_per_channel = 0
        self.rate_hz = 0.0
        self.buffer_size: int | None = None
        self.overflowed = False
        self.n_read = 0

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

    def total(self) -> int:
        """Return how many samples per channel have been acquired and can be seen."""
        raise NotImplementedError

    def available(self) -> int:
        """Return how many samples per channel can be read now; raise if some were lost."""
        n = self.total() - self.n_read
        if n > self.capacity() and self.mode == CONTINUOUS:
            self.overflowed = True
        if self.overflowed:
            raise CardError(Code.SAMPLES_OVERWRITTEN, "Samples were overwritten in the buffer before they were read")
        return n

    def due(self, n: int) -> int:
        """Return the tick from which ``n`` samples may be there, as far as the engine itself knows."""
        return NEVER

    def start(self) -> None:
        """Begin with an empty buffer."""
        self.overflowed = False
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
        self.detection_overflowed = False
        """Changes came faster than the card could store them; an asked fault only."""

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
            self.overflowed = True
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
        term = self.term or f"/{card.device}/PFI{(8, 3, 0, 5)[int(self.counter[3:])]}"
        if (name := pins.local(term, card.device)).lower() not in TIMEBASE_TICKS:
            if (pin := pins.pin(name)) is None:
                raise CardError(Code.UNKNOWN_TERMINAL, f"Source terminal to be routed could not be found: {term}")
            self._pin = pin
            card.watch(pin, self._edge)
        elif TIMEBASE_TICKS[name.lower()] == 1:
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


class DigitalOutput(Engine):
    """Static outputs: a write drives them, and they keep their level when the task is gone."""

    channel_type = 10153

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.channels: list[list[str]] = []

    def add(self, lines: list[str], *, one_channel: bool, name: str) -> None:
        """Add channels: one for all lines, or one for each."""
        add_line_channels(self, self.channels, lines, one_channel=one_channel, name=name)

    def resources(self) -> list[tuple[str, int]]:
        """A line is driven by one task."""
        return [(line, Code.LINES_RESERVED) for lines in self.channels for line in lines]

    def write(self, levels: Iterable[tuple[str, bool]]) -> None:
        """Drive lines, all at once."""
        if self.card.watchdog_expired:
            raise CardError(Code.WRITE_AFTER_EXPIRY, "Write failed because the watchdog timer expired")
        for line, level in levels:
            self.card.output(line, level=level)

    def done(self) -> bool:
        """A static output is never done."""
        return False


class PulseOutput(Engine):
    """Pulses of a counter, on software start or on a trigger's edge.

    A finished task is still running: it must be stopped before it can pulse again (NIDAQ_NOTES 8.8).
    """

    channel_type = 10132

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.counter = ""
        self.idle_high = False
        self.initial_delay_s = 0.0
        self.low_s = 0.0
        self.high_s = 0.0
        self.mode = FINITE
        self.n_pulses = 1
        self.term: str | None = None
        self.trigger: str | None = None
        """The trigger's terminal, without the device."""
        self.trigger_edge = RISING
        self.retriggerable = False
        self.high = False
        """Level of the counter's own output, whatever becomes of it at the pin."""
        self._pin = ""
        self._watched: str | None = None
        self._pulsing = False
        self._fired = False
        self._run = 0  # events of an earlier run are void
        self._ends_with_pulse = False

    def resources(self) -> list[tuple[str, int]]:
        """A counter does one thing at a time, and so does its output's pin."""
        pin = self.card.counter_pins[int(self.counter[3:])]
        return [(self.counter, Code.RESOURCE_RESERVED), (pin, Code.RESOURCE_RESERVED)]

    def commit(self) -> None:
        """Take the output's pin to the idle level."""
        self._pin = self.card.counter_pins[int(self.counter[3:])]
        self._output(self.idle_high)

    def start(self) -> None:
        """Pulse, or wait for the trigger."""
        self._run += 1
        self._fired = self._pulsing = self._ends_with_pulse = False
        if self.trigger is None:
            self._fire()
        elif self.trigger.lower() == "changedetectionevent":
            self.card.change_event.append(self._changed)
        else:
            pin = pins.pin(self.trigger)
            if pin is None or pins.port(pin) == 0:
                raise CardError(Code.UNKNOWN_TERMINAL, f"Trigger source could not be found: {self.trigger}")
            self._watched = pin
            self.card.watch(pin, self._edge)

    def stop(self) -> None:
        """Return to the idle level at once, in the middle of a pulse too."""
        self._disarm()
        self._run += 1
        if self._pulsing:
            self._pulsing = False
            self._output(self.idle_high)

    def abandon(self) -> None:
        """Start nothing new; a pulse that has begun ends on time."""
        self._disarm()
        if self._pulsing:
            self._ends_with_pulse = True
        else:
            self._run += 1

    def done(self) -> bool:
        """A finite pulse is done when it has ended; a retriggerable one never is."""
        return self._fired and not self._pulsing and not self._again

    @property
    def _again(self) -> bool:
        return self.retriggerable and self.trigger is not None

    def _disarm(self) -> None:
        if self._watched is not None:
            self.card.unwatch(self._watched, self._edge)
            self._watched = None
        if self._changed in self.card.change_event:
            self.card.change_event.remove(self._changed)

    def _changed(self) -> None:
        """Fire two ticks after a change event: that tick is over already."""
        run = self._run
        self.card.at(self.card.now + 2, lambda: self._fire() if run == self._run else None)

    def _edge(self, level: bool) -> None:
        if level == (self.trigger_edge == RISING):
            self._fire()

    def _fire(self) -> None:
        if self._pulsing or (self._fired and not self._again):
            return
        self._fired = self._pulsing = True
        self._after(self.initial_delay_s, lambda: self._rise(1))

    def _rise(self, nth: int) -> None:
        self._output(not self.idle_high)
        self._after(self.high_s, lambda: self._fall(nth))

    def _fall(self, nth: int) -> None:
        self._output(self.idle_high)
        if self._ends_with_pulse or (self.mode == FINITE and nth >= self.n_pulses):
            self._pulsing = False
        else:
            self._after(self.low_s, lambda: self._rise(nth + 1))

    def _output(self, level: bool) -> None:
        self.high = level
        self.card.output(self._pin, level=level)

    def _after(self, delay_s: float, happens: Callable[[], None]) -> None:
        run = self._run

        def now() -> None:
            if run == self._run:
                happens()

        if delay_s > 0:
            self.card.at(self.card.now + ticks_in(delay_s), now)
        else:
            now()


class Watchdog(Engine):
    """Puts lines into safe states unless it is kicked in time."""

    def __init__(self, card: Card, timeout_s: float) -> None:
        super().__init__(card)
        if not 0 < timeout_s <= WATCHDOG_LONGEST_S:
            raise CardError(Code.WATCHDOG_TIMEOUT_RANGE, f"Watchdog timeout is out of range: {timeout_s:g} s")
        self.timeout_s = timeout_s
        self.states: dict[str, bool | None] = {}
        self._run = 0

    @property
    def expired(self) -> bool:
        """Whether the card's watchdog has expired, for this task or an earlier one."""
        return self.card.watchdog_expired

    def set_states(self, names: str, states: list[int]) -> None:
        """Take the state of each line upon expiry; one state a line (NIDAQ_NOTES 8.9)."""
        lines = pins.lines(names, self.card.device)
        if len(lines) != len(states):
            raise CardError(
                Code.STATE_PER_LINE, f"{len(states)} expiration states were given for {len(lines)} lines in the list"
            )
        levels = {HIGH: True, LOW: False, TRISTATE: False, NO_CHANGE: None}
        for state in states:
            if state not in levels:
                raise CardError(Code.BAD_VALUE, f"Expiration state is invalid: {state}")
        self.states = {line: levels[state] for line, state in zip(lines, states, strict=True)}

    def resources(self) -> list[tuple[str, int]]:
        """There is one watchdog."""
        return [("watchdog", Code.RESOURCE_RESERVED)]

    def start(self) -> None:
        """Begin to run down."""
        self._run += 1
        run = self._run
        self.card.at(self.card.now + ticks_in(self.timeout_s), lambda: self._expire(run))

    def stop(self) -> None:
        """Run down no longer."""
        self._run += 1

    def kick(self) -> None:
        """Begin to run down anew."""
        if self.expired:
            raise CardError(Code.WATCHDOG_EXPIRED_KICK, "The watchdog timer has expired and can't be reset")
        self.start()

    def clear(self) -> None:
        """End the expiration; the timer begins to run down anew."""
        if self.expired:
            self.card.clear_expiration()
            self.start()

    def done(self) -> bool:
        """A watchdog is never done."""
        return False

    def _expire(self, run: int) -> None:
        if run == self._run:
            self.card.expire(self.states)


class Task:
    """A session of the client: its name, its engine once it has channels, and its state."""

    def __init__(self, name: str, card: Card, engine: Engine | None = None) -> None:
        self.name = name
        self.card = card
        self.maybe_engine = engine
        self.state = State.UNRESERVED
        self.aborted = False
        self.events: set[str] = set()
        """Names of the events that are registered."""
        self._before_start = State.UNRESERVED
        self.begun = False
        """Whether a started task has really begun."""
        self._run = 0

    @property
    def engine(self) -> Engine:
        """The engine; raises while the task has no channels."""
        if self.maybe_engine is None:
            raise CardError(Code.NO_CHANNELS, "The task contains no channels")
        return self.maybe_engine

    @property
    def running(self) -> bool:
        """Whether the task was started and not stopped."""
        return self.state is State.RUNNING

    def require_stopped(self) -> None:
        """Raise while the task runs: properties are set before."""
        if self.running:
            raise CardError(Code.TASK_IS_RUNNING, "The property can't be set while the task is running")

    def done(self) -> bool:
        """Return whether nothing is left to do: not started, or run to its end."""
        return not self.running or (self.begun and self.engine.done())

    def go(self, state: State) -> None:
        """Move up to a state."""
        engine = self.engine
        if self.state < State.RESERVED <= state:
            self.card.reserve(self, engine.resources())
            self.state = State.RESERVED
        if self.state < State.COMMITTED <= state:
            engine.commit()
            self.state = State.COMMITTED

    def start(self) -> None:
        """Start; a task that runs is left alone, which is no error (NIDAQ_NOTES 8.8)."""
        if self.running:
            return
        before = self.state
        try:
            self.go(State.COMMITTED)
            self._before_start = before
            self._run += 1
            run, latency_s = self._run, self.card.faults.start_latency_s
            if latency_s:
                self.card.at(self.card.now + ticks_in(latency_s), lambda: self._begin(run))
                self.state = State.RUNNING
            else:
                self.state = State.RUNNING
                self._begin(run)
        except CardError:
            self._return_to(before)
            raise

    def stop(self) -> None:
        """Stop and return to the state before the start; a task that doesn't run is left alone."""
        if self.running:
            self._run += 1
            if self.begun:
                self.begun = False
                self.engine.stop()
            self._return_to(self._before_start)

    def abort(self) -> None:
        """Stop and give everything back."""
        self.stop()
        self._return_to(State.UNRESERVED)

    def abandon(self) -> None:
        """End because the client is gone."""
        self.aborted = True
        if self.running and self.begun:
            self.engine.abandon()
        self._run += 1
        self.begun = False
        self._return_to(State.UNRESERVED)

    def _begin(self, run: int) -> None:
        if run == self._run:
            self.engine.start()
            self.begun = True

    def _return_to(self, state: State) -> None:
        if state < State.RESERVED:
            self.card.release(self)
        self.state = state


def add_line_channels(
    engine: Engine, channels: list[list[str]], lines: list[str], *, one_channel: bool, name: str
) -> None:
    """Add channels of lines to an engine, named as the driver names them (NIDAQ_NOTES 2)."""
    device = engine.card.device
    groups = [lines] if one_channel else [[line] for line in lines]
    for group in groups:
        if len({pins.port(line) for line in group}) > 1:
            raise NotServed("The twin has no channels over several ports: make one channel for each port")
        physical = f"{device}/{group[0]}" + ("..." if len(group) > 1 else "")
        channels.append(group)
        engine.physical.append(physical)
        engine.names.append((name if len(groups) == 1 else f"{name}{len(engine.names)}") if name else physical)
