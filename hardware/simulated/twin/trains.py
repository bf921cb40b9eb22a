"""Regular pulses on a pin of the card, from outside: a camera's exposures."""

from __future__ import annotations

from hardware.simulated.twin.model import Card, ticks_in


class TrainAtCard:
    """Pulses from a host time on, until it is stopped."""

    def __init__(self, *, card: Card, pin: str, rate_hz: float, width_s: float, start_host_s: float) -> None:
        self._card = card
        self._pin = card.resolve(pin)
        self._period_s = 1.0 / rate_hz
        self._width_ticks = ticks_in(width_s)
        self._start_host_s = start_host_s
        self._runs = True
        self.n_pulses = 0
        """Given until now."""
        self._next()

    def stop(self) -> None:
        """Give no further pulse; one that has begun ends."""
        self._runs = False

    def _next(self) -> None:
        card = self._card
        card.at(card.clock.ticks(self._start_host_s + self.n_pulses * self._period_s), self._rise)

    def _rise(self) -> None:
        if self._runs:
            card = self._card
            self.n_pulses += 1
            card.at(card.now + self._width_ticks, self._fall)
            card.drive(self._pin, level=True)
            self._next()

    def _fall(self) -> None:
        self._card.drive(self._pin, level=False)
