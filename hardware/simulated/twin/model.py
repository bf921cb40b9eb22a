"""The card itself: pins, wires, events in order, change detection, the watchdog's hold on its outputs.

Pure and event-driven, in whole ticks of 10 ns. Nothing here reads a clock: ``advance`` processes all that
happens up to a tick, so that every time is computed and none is measured. The scope keeps each change of each
pin as ground truth.

Rules
-----
- All that happens at one tick is one change: a line that rises and falls within it has not changed, and lines
  that change together make one change event.
- A call takes place at the first free tick: after one that changed a line, the next comes at least a tick later.
- A pin has the level that was last driven, by whomever; wires pass levels on at the same tick.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from hardware.arrays import FloatArray, IntArray
from hardware.clock import TICKS_PER_S, CardClock
from hardware.simulated.twin import pins
from hardware.simulated.twin.analog import AnalogInputs
from hardware.simulated.twin.errors import CardError

Watcher = Callable[[bool], None]
NEVER = 1 << 62
"""A tick that never comes."""


def ticks_in(seconds: float) -> int:
    """Return a duration on the card's own clock in ticks."""
    return round(seconds * TICKS_PER_S)


@dataclass
class SampleClock:
    """A clock of even samples; the first one comes with its start."""

    started_ticks: int
    rate_hz: float
    stopped_ticks: int = NEVER

    def n_until(self, ticks: int) -> int:
        """Return how many samples there are up to a tick, this one included."""
        ticks = min(ticks, self.stopped_ticks)
        return int((ticks - self.started_ticks) * self.rate_hz / TICKS_PER_S + 1e-9) + 1

    def ticks(self, k: IntArray) -> IntArray:
        """Return the ticks of samples, counted from 0, shape (n,)."""
        found: IntArray = self.started_ticks + np.rint(k * (TICKS_PER_S / self.rate_hz)).astype(np.int64)
        return found


@dataclass
class Faults:
    """What is wrong with the card; ticks are the card's."""

    unplugged_ticks: int = NEVER
    overflow_ticks: int = NEVER
    """From here on samples are lost, of every acquisition."""
    digital_lag_ticks: int = 0
    """Change samples become readable this long after the change."""
    counter_lag_ticks: int = 0
    merge_ticks: int = -1
    """Of change events at most this far apart the counter latches the first only (NIDAQ_NOTES 8.1)."""
    start_latency_s: float = 0.0
    late_answer_s: float = 0.0
    """What every answer waits before it is given, from ``late_ticks`` on."""
    late_ticks: int = 0
    watchdog_missing: bool = False
    no_change_detection: frozenset[str] = frozenset()
    """Lines without change detection."""
    errors: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of each RPC that fails: the code, and how many calls more."""


class Card:
    """One card: what drives its pins, and what watches them."""

    def __init__(self, *, device: str, clock: CardClock) -> None:
        self.device = device
        self.clock = clock
        self.now = clock.ticks(0.0)
        self.analog = AnalogInputs(self.clock)
        self.faults = Faults()
        self.counter_zero = 0
        """The tick from which the client counts: its sampled time counter stood at 0, or its clocked inputs began."""
        self.change_detectors: list[Callable[[int, int], None]] = []
        """Told of port 0 before and after each tick in which it changed."""
        self.change_event: list[Callable[[], None]] = []
        """Told of each ChangeDetectionEvent."""
        self.scope: dict[str, list[tuple[int, bool]]] = {line: [] for line in pins.LINES}
        self.words: tuple[list[int], list[int]] = ([self.now], [0])
        """Port 0 after each tick in which it changed: ticks and words."""
        self.analog_clock: SampleClock | None = None
        """What the analog inputs are sampled by, while they are or have been."""
        self.wheel_turns: Callable[[IntArray], FloatArray] | None = None
        """Turns of the wheel at ticks, for a counter that decodes its encoder."""
        self.owners: dict[str, object] = {}
        self.counter_pins = [f"port{1 + n // 8}/line{n % 8}" for n in pins.DEFAULT_COUNTER_PFI]
        self.watchdog_expired = False
        self._held: set[str] = set()  # pins that the watchdog keeps
        self._stuck: dict[str, bool] = {}
        self._swapped: dict[str, str] = {}
        self._chattering: set[str] = set()
        self._levels = dict.fromkeys(pins.LINES, False)
        self._word = self._word_before = 0
        self._watchers: dict[str, list[Watcher]] = defaultdict(list)
        self._wires: dict[str, list[str]] = defaultdict(list)
        self._cut: set[tuple[str, str]] = set()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._last_change = -1

    def advance(self, ticks: int) -> None:
        """Process everything up to a tick, this one included."""
        while self._events and self._events[0][0] <= ticks:
            self.now = max(self._events[0][0], self.now)
            self._end_of_tick()
        self.now = max(self.now, ticks)

    def begin_call(self, ticks: int) -> None:
        """Advance to a call's tick: the first free one, not before ``ticks``."""
        self.advance(ticks)
        while self._last_change >= self.now:
            self.advance(self.now + 1)

    def end_call(self) -> None:
        """Take what the call has changed as one change."""
        self._end_of_tick()

    def at(self, ticks: int, happens: Callable[[], None]) -> None:
        """Let something happen at a tick; one that has passed means now."""
        heapq.heappush(self._events, (max(ticks, self.now), next(self._order), happens))

    def next_event(self) -> int:
        """Return the tick of the next event, or NEVER."""
        return self._events[0][0] if self._events else NEVER

    def _end_of_tick(self) -> None:
        while self._events and self._events[0][0] <= self.now:
            heapq.heappop(self._events)[2]()
        if self._word != self._word_before:
            before, self._word_before = self._word_before, self._word
            self.words[0].append(self.now)
            self.words[1].append(self._word)
            for detect in self.change_detectors:
                detect(before, self._word)

    def resolve(self, net: str) -> str:
        """Return the pin of a net: a line, a PFI terminal, or a counter by its output's present pin."""
        short = net.lower()
        if short.startswith("ctr") and short[3:].isdecimal() and int(short[3:]) < pins.N_COUNTERS:
            return self.counter_pins[int(short[3:])]
        if (found := pins.pin(net)) is None:
            raise ValueError(f"{net}: no such line, PFI terminal or counter")
        return found

    def level(self, pin: str) -> bool:
        """Return a pin's present level."""
        return self._levels[pin]

    def drive(self, pin: str, *, level: bool) -> None:
        """Give a pin a level from outside; wires pass it on, watchers are told at once."""
        pin = self._swapped.get(pin, pin)
        level = self._stuck.get(pin, level)
        if self._levels[pin] == level:
            return
        self._levels[pin] = level
        self._last_change = self.now
        if pin.startswith("port0"):
            self._word ^= pins.bit(pin)
        self.scope[pin].append((self.now, level))
        sources = self._sources(pin)
        for source in sources:
            for target in self._wires[source]:
                if (source, target) not in self._cut:
                    self.drive(self.resolve(target), level=level)
        for source in sources:
            for watcher in tuple(self._watchers[source]):
                watcher(level)

    def output(self, pin: str, *, level: bool) -> None:
        """Drive a pin from the card, unless the watchdog keeps it."""
        if pin not in self._held:
            self.drive(pin, level=level)

    def forget(self) -> None:
        """Drop what is kept of all changes until now: the scope, and port 0's words but for the last."""
        for changes in self.scope.values():
            changes.clear()
        since, words = self.words
        del since[:-1], words[:-1]

    def watch(self, net: str, watcher: Watcher) -> None:
        """Have a watcher told of each change of a net, at its tick."""
        self._watchers[self._net(net)].append(watcher)

    def unwatch(self, net: str, watcher: Watcher) -> None:
        """Stop telling a watcher."""
        if watcher in (watchers := self._watchers[self._net(net)]):
            watchers.remove(watcher)

    def wire(self, source: str, target: str) -> None:
        """Lead a net's level to another net, from now on."""
        if self.resolve(source) == self.resolve(target):
            raise ValueError(f"{source} and {target} are the same pin")
        self._wires[self._net(source)].append(self._net(target))
        self.drive(self.resolve(target), level=self._levels[self.resolve(source)])

    def cut(self, source: str, target: str) -> None:
        """Interrupt a wire; its target goes low."""
        self._cut.add((self._net(source), self._net(target)))
        self.drive(self.resolve(target), level=False)

    def stick(self, net: str, *, level: bool) -> None:
        """Keep a net at a level, whoever drives it."""
        self._stuck[self.resolve(net)] = level
        self.drive(self.resolve(net), level=level)

    def swap(self, one: str, other: str) -> None:
        """Exchange two wires at the card's end: what was led to one pin comes to the other, and back."""
        first, second = self.resolve(one), self.resolve(other)
        levels = self._levels[first], self._levels[second]
        self._swapped |= {first: second, second: first}
        self.drive(first, level=levels[0])
        self.drive(second, level=levels[1])

    def chatter(self, net: str, *, hz: float) -> None:
        """Let a net go up and down at a rate until it is mended."""
        pin = self.resolve(net)
        self._chattering.add(pin)
        half = ticks_in(0.5 / hz)

        def toggle() -> None:
            if pin in self._chattering:
                self.drive(pin, level=not self._levels[pin])
                self.at(self.now + half, toggle)

        toggle()

    def mend(self) -> None:
        """Undo cuts, stuck nets and all other faults."""
        self._cut.clear()
        self._stuck.clear()
        self._swapped.clear()
        self._chattering.clear()
        self.faults = Faults()
        self.analog.thaw()

    def _net(self, name: str) -> str:
        """Return how a wire's end is kept: a counter by name, since its output may move, a pin by its line."""
        pin = self.resolve(name)
        return name.lower() if name.lower().startswith("ctr") else pin

    def _sources(self, pin: str) -> list[str]:
        """Return the names under which wires and watchers may be at a pin."""
        return [pin, *(f"ctr{n}" for n, out in enumerate(self.counter_pins) if out == pin)]

    def reserve(self, owner: object, resources: Iterable[tuple[str, int]]) -> None:
        """Take resources, each with the error that says it is taken; all of them or none."""
        wanted = list(resources)
        for resource, code in wanted:
            if self.owners.get(resource, owner) is not owner:
                raise CardError(code, f"The specified resource is reserved: {resource}")
        self.owners.update((resource, owner) for resource, _ in wanted)

    def release(self, owner: object) -> None:
        """Give back all that an owner holds."""
        self.owners = {resource: other for resource, other in self.owners.items() if other is not owner}

    def expire(self, states: dict[str, bool | None]) -> None:
        """Put lines into their safe states and keep them there; None keeps the level that is."""
        self.watchdog_expired = True
        for line, level in states.items():
            if level is not None:
                self.drive(line, level=level)
        self._held = set(states)

    def clear_expiration(self) -> None:
        """Let the card drive its outputs again; their levels stay until somebody does."""
        self.watchdog_expired = False
        self._held = set()

    def reset(self) -> None:
        """Put all that the card drives low and forget the watchdog."""
        self.clear_expiration()
        self.counter_pins = [f"port{1 + n // 8}/line{n % 8}" for n in pins.DEFAULT_COUNTER_PFI]
