"""The lick spout's stage: takes a second to move, and says when it has arrived."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hardware.clock import Clock
from hardware.events import Finding, Verdict
from hardware.protocols import Identity, SpoutReport

TRAVEL_S = 1.0


class SimulatedSpout:
    """Spout of a simulated rig; ``stuck`` makes it never arrive."""

    name = "spout"

    def __init__(self, *, clock: Clock, stuck: bool) -> None:
        self._clock = clock
        self._stuck = stuck
        self._position = "retracted"
        self._target = "retracted"
        self._arrives_s = math.inf
        self._in_reach_s = (math.inf, math.inf)  # since when, until when

    def open(self) -> Identity:
        """Say what is simulated."""
        return Identity(device=self.name, model="simulated stage")

    def check(self) -> list[Finding]:
        """Say where the spout stands."""
        return [Finding(name="spout", verdict=Verdict.PASS, figure=self._position)]

    def health(self) -> dict[str, float]:
        """Nothing to watch."""
        return {}

    def close(self) -> None:
        """Nothing to close."""

    def move(self, *, position: str) -> None:
        """See ``Spout.move``."""
        now_s = self._clock.now_s()
        self._target = position
        self._arrives_s = math.inf if self._stuck else now_s + TRAVEL_S
        since_s, until_s = self._in_reach_s
        if position != "at_mouse":
            self._in_reach_s = since_s, min(until_s, now_s)
        elif until_s < math.inf or since_s > now_s:
            self._in_reach_s = self._arrives_s, math.inf

    def where(self) -> str:
        """See ``Spout.where``."""
        return self._position

    def in_reach(self, host_s: float) -> bool:
        """Return whether a tongue reaches the spout: from its arrival at the mouse until it sets out again."""
        since_s, until_s = self._in_reach_s
        return since_s <= host_s < until_s

    def poll(self) -> Sequence[SpoutReport]:
        """See ``Spout.poll``."""
        if self._clock.now_s() < self._arrives_s:
            return ()
        self._position, arrived_s = self._target, self._arrives_s
        self._arrives_s = math.inf
        return (SpoutReport(position=self._position, host_s=arrived_s),)

    def next_due_s(self) -> float:
        """See ``Spout.next_due_s``."""
        return self._arrives_s
