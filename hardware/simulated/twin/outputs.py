"""What outputs make the card do: static lines, pulses of a counter, the watchdog."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hardware.simulated.twin import pins
from hardware.simulated.twin.errors import CardError, Code
from hardware.simulated.twin.model import Card, ticks_in
from hardware.simulated.twin.tasks import (
    FINITE,
    HIGH,
    LOW,
    NO_CHANGE,
    RISING,
    TRISTATE,
    Engine,
    add_line_channels,
)

WATCHDOG_LONGEST_S = (2**32 - 1) * 8e-9


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
    """Puts lines into safe states unless it is kicked in time.

    Assumed, since no card was asked: it ends with its task, also when the client is gone; an expiration outlives the
    task; the timer runs anew after the expiration was cleared; a line without drive reads low.
    """

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
