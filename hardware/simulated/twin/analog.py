"""Voltages at the analog inputs, as functions of the card's ticks."""

from __future__ import annotations

from bisect import bisect_right
from typing import Protocol

import numpy as np

from hardware.arrays import FloatArray, IntArray
from hardware.clock import CardClock


class Source(Protocol):
    """A voltage over time."""

    def volts(self, ticks: IntArray) -> FloatArray:
        """Return the voltage at each of the rising ticks, shape (n,)."""


class Piecewise:
    """Straight lines between points; level before the first and after the last."""

    def __init__(self, ticks: list[int], volts: list[float]) -> None:
        self._ticks = np.array(ticks, np.float64)
        self._volts = np.array(volts, np.float64)

    def volts(self, ticks: IntArray) -> FloatArray:
        """See ``Source.volts``."""
        found: FloatArray = np.interp(ticks.astype(np.float64), self._ticks, self._volts)
        return found


class AnalogInputs:
    """What is at each input from which tick on; 0 V where nothing was connected."""

    def __init__(self, clock: CardClock) -> None:
        self.clock = clock
        self._sources: dict[str, tuple[list[int], list[Source]]] = {}
        self._frozen: dict[str, tuple[int, float | None]] = {}

    def connect(self, channel: str, source: Source, *, from_ticks: int) -> None:
        """Put a source at an input from a tick on."""
        since, sources = self._sources.setdefault(channel, ([], []))
        since.append(from_ticks)
        sources.append(source)

    def freeze(self, channel: str, *, from_ticks: int) -> None:
        """Keep an input at the voltage that it has at a tick, to the last digit."""
        self._frozen[channel] = (from_ticks, None)

    def thaw(self) -> None:
        """Let all inputs move again."""
        self._frozen.clear()

    def volts(self, channel: str, ticks: IntArray) -> FloatArray:
        """Return an input's voltage at each of the rising ticks, shape (n,)."""
        volts = self._moving(channel, ticks)
        if channel in self._frozen:
            since, kept = self._frozen[channel]
            stands = ticks >= since
            if stands.any():
                if kept is None:
                    kept = float(volts[np.argmax(stands)])
                    self._frozen[channel] = (since, kept)
                volts[stands] = kept
        return volts

    def _moving(self, channel: str, ticks: IntArray) -> FloatArray:
        volts = np.zeros(len(ticks))
        if channel not in self._sources or not len(ticks):
            return volts
        since, sources = self._sources[channel]
        which = np.searchsorted(np.array(since), ticks, side="right") - 1
        for i in range(max(bisect_right(since, int(ticks[0])) - 1, 0), len(sources)):
            mine = which == i
            if mine.any():
                volts[mine] = sources[i].volts(ticks[mine])
        return volts
