"""A task's states, and what all engines have in common.

A task is unreserved, reserved, committed or running. Starting takes it through all of them; stopping returns it
to where it was before. What it was told is kept, samples that were not read are not. What a running task makes the
card do is its engine's: ``inputs`` and ``outputs``.
"""

from __future__ import annotations

from enum import IntEnum

from hardware.simulated.twin import pins
from hardware.simulated.twin.errors import CardError, Code, NotServed
from hardware.simulated.twin.model import Card, ticks_in

CONTINUOUS, FINITE = 10123, 10178
RISING, FALLING = 10280, 10171
HIGH, LOW, TRISTATE, NO_CHANGE = 10192, 10214, 10310, 10160


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
        self.n_starts = 0
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
            self.n_starts += 1
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
