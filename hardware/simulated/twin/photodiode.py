"""A monitor's patch and the photodiode over it: changes of one pin that follow the frame pulses of another."""

from __future__ import annotations

from functools import partial

import numpy as np

from hardware.simulated.photodiode import Photodiode
from hardware.simulated.twin.model import Card


class PhotodiodeAtCard:
    """Follows the frame line from flip 0 on, and the running line to the end.

    Parameters
    ----------
    pin
        The net that the photodiode is on.
    frame, running
        The nets that fall with each flip, and when the stimulus has stopped.
    start_host_s
        When the first flip will be; of the splash before it the pulses that are still ahead are given.
    """

    def __init__(
        self, *, card: Card, rng: np.random.Generator, pin: str, frame: str, running: str, start_host_s: float
    ) -> None:
        self._card = card
        self._pin = card.resolve(pin)
        self._watched = {frame: self._frame, running: self._running}
        self._photodiode = Photodiode(rng=rng)
        self._level = False
        for net, watcher in self._watched.items():
            card.watch(net, watcher)
        splash_s = self._photodiode.begin(start_host_s).tolist()
        now_s = card.clock.host_s(card.now)
        n_late = sum(time_s < now_s for time_s in splash_s)
        self._change(splash_s[n_late + n_late % 2 :])

    def take_away(self) -> None:
        """Let it see no more."""
        for net, watcher in self._watched.items():
            self._card.unwatch(net, watcher)

    def _frame(self, level: bool) -> None:
        if not level:
            self._change(self._photodiode.flips(np.array([self._card.clock.host_s(self._card.now)])).tolist())

    def _running(self, level: bool) -> None:
        if not level:
            self._change(self._photodiode.end(self._card.clock.host_s(self._card.now)).tolist())

    def _change(self, times_s: list[float]) -> None:
        for time_s in times_s:
            self._level = not self._level
            level = self._level
            self._card.at(self._card.clock.ticks(time_s), partial(self._card.drive, self._pin, level=level))
