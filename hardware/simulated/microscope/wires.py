"""The wires between a simulated microscope's process and the rig's card: frame pulses one way, the trigger the other.

``OnSimulatedCard`` plays announced pulses when the card gathers its edges, and holds those back until all that lie
before them are known. ``AtTwin`` hands them to the twin's bench ahead of their time, from a thread of its own.
"""

from __future__ import annotations

import threading
from typing import Protocol, Self

import numpy as np

from hardware.arrays import FloatArray
from hardware.lines import Line
from hardware.simulated.card import SimulatedCard

PULSE_S = 0.003
LOOK_EVERY_S = 0.03
JOIN_S = 2.0


class PulseSource(Protocol):
    """A microscope whose pulses are known ahead."""

    @property
    def known_until_s(self) -> float:
        """Every pulse before this host time has been announced."""

    def take_pulses(self) -> list[float]:
        """Return the pulses announced since the last call."""

    def trigger(self, *, level: bool, host_s: float) -> None:
        """Drive its trigger line."""


class OnSimulatedCard:
    """Leads a microscope to a simulated card's lines."""

    def __init__(self, source: PulseSource, card: SimulatedCard) -> None:
        self._source = source
        self._waiting: list[float] = []
        self.n_late = 0
        """Pulses that came too late to be played: none, unless the process was held up."""
        card.add_train(Line.VSYNC_2P, self._rises, width_s=PULSE_S)
        card.hold_back(lambda: source.known_until_s)
        card.on_level(Line.ACQ_TRIGGER, source.trigger)

    def _rises(self, from_s: float, until_s: float) -> FloatArray:
        """Return the rises in ``[from_s, until_s)``, shape (n,)."""
        self._waiting += self._source.take_pulses()
        due = [rise for rise in self._waiting if rise < until_s]
        self._waiting = self._waiting[len(due) :]
        good = [rise for rise in due if rise >= from_s]
        self.n_late += len(due) - len(good)
        return np.array(good, np.float64)


class Bench(Protocol):
    """The part of the twin's bench that is needed here."""

    def edges(self, line: str, times_s: list[float], first_level: bool = True) -> None:
        """Let a net toggle at times ahead."""

    def scope(self, net: str, after_ticks: int | None = None) -> list[tuple[int, bool]]:
        """Return each change of a net until now."""

    def host_s(self, ticks: int) -> float:
        """Return the host time of a count of the card."""


class AtTwin:
    """Leads a microscope to a twin's lines.

    Parameters
    ----------
    frame_line, trigger_output
        Nets of the twin.
    gone
        The errors that the bench raises when its twin is gone.
    """

    def __init__(
        self, source: PulseSource, bench: Bench, *, frame_line: str, trigger_output: str, gone: type[Exception]
    ) -> None:
        self._source = source
        self._bench = bench
        self._frame_line = frame_line
        self._trigger_output = trigger_output
        self._gone = gone
        self._seen_ticks: int | None = None
        self._ending = threading.Event()
        self.n_late = 0
        self._thread = threading.Thread(target=self._run, name="microscope at the twin", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        while not self._ending.wait(LOOK_EVERY_S):
            try:
                for ticks, level in self._bench.scope(self._trigger_output, self._seen_ticks):
                    self._seen_ticks = ticks
                    self._source.trigger(level=level, host_s=self._bench.host_s(ticks))
            except self._gone:
                return
            pulses = self._source.take_pulses()
            if not pulses:
                continue
            try:
                self._bench.edges(self._frame_line, [at_s for rise in pulses for at_s in (rise, rise + PULSE_S)])
            except self._gone:
                self.n_late += len(pulses)
