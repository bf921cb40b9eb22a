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
        self._target = position
        self._arrives_s = math.inf if self._stuck else self._clock.now_s() + TRAVEL_S

    def where(self) -> str:
        """See ``Spout.where``."""
        return self._position

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
