"""A model mouse behind the lick line: its licks are events of the card, its wheel a pair of voltages.

A lick rises on its own tick, so that a pulse which it triggers starts there too. A rising valve with the spout in
reach is a drink, told to the mouse at the rise.
"""

from __future__ import annotations

import math

import numpy as np

from hardware.arrays import FloatArray, IntArray
from hardware.clock import TICKS_PER_S, CardClock
from hardware.simulated.mice import ModelMouse
from hardware.simulated.twin.model import Card
from hardware.simulated.wheel import NOISE_V, SUPPLY_V
from hardware.wheel import RUNNING_RADIUS_CM


class MouseAtCard:
    """A mouse whose tongue is on one line and whose water comes with another net.

    Parameters
    ----------
    valve
        The net whose rise lets water flow.
    """

    def __init__(self, *, card: Card, mouse: ModelMouse, lick_line: str, valve: str) -> None:
        self._card = card
        self._mouse = mouse
        self._lick_pin = card.resolve(lick_line)
        self._valve_net = valve
        self._plan = 0  # licks of an older plan are void
        self._gone = False
        self.at_spout = True
        """Whether the spout is in reach."""
        self.licks: list[tuple[float, int, bool]] = []
        """Host time, tick, and whether it reached the spout, of each lick made."""
        self.drinks: list[tuple[float, int]] = []
        """Host time and tick of each drop that it could drink."""
        card.watch(valve, self._valve)
        self._replan()

    def see(self, *, host_s: float, identity: str) -> None:
        """Tell the mouse what has come on the screen."""
        self._mouse.see(host_s=host_s, identity=identity)
        self._replan()

    def take_away(self) -> None:
        """Let it lick and drink no more."""
        self._gone = True
        self._plan += 1
        self._card.unwatch(self._valve_net, self._valve)

    def _valve(self, level: bool) -> None:
        if level and self.at_spout:
            host_s = self._card.clock.host_s(self._card.now)
            self.drinks.append((host_s, self._card.now))
            self._mouse.drink(host_s=host_s)
            self._replan()

    def _replan(self) -> None:
        self._plan += 1
        lick_s = self._mouse.next_lick_s()
        if not self._gone and math.isfinite(lick_s):
            plan = self._plan
            self._card.at(self._card.clock.ticks(lick_s), lambda: self._lick(plan))

    def _lick(self, plan: int) -> None:
        if plan != self._plan:
            return
        card = self._card
        lick_s = self._mouse.next_lick_s()
        contact_s = self._mouse.take_lick()
        self.licks.append((lick_s, card.now, self.at_spout))
        if self.at_spout:
            card.at(card.now + max(round(contact_s * TICKS_PER_S), 1), self._tongue_leaves)
            card.drive(self._lick_pin, level=True)
        self._replan()

    def _tongue_leaves(self) -> None:
        self._card.drive(self._lick_pin, level=False)


class WheelSignal:
    """The encoder's signal: one turn of the disk takes it from 0 V to the supply."""

    def __init__(self, *, clock: CardClock, mouse: ModelMouse, start_host_s: float, rng: np.random.Generator) -> None:
        self._clock = clock
        self._mouse = mouse
        self._start_host_s = start_host_s
        self._rng = rng

    def turns(self, ticks: IntArray) -> FloatArray:
        """Return the disk's turns since the first flip at each of the rising ticks, shape (n,)."""
        clock = self._clock
        host_s = (ticks - clock.zero_ticks) / (TICKS_PER_S * (1 + clock.drift_ppm * 1e-6))
        return self._mouse.distance_cm(host_s - self._start_host_s) / (2 * math.pi * RUNNING_RADIUS_CM)

    def volts(self, ticks: IntArray) -> FloatArray:
        """See ``Source.volts``."""
        turns = self.turns(ticks)
        noise_v = self._rng.normal(0.0, NOISE_V, len(ticks))
        volts: FloatArray = np.clip((turns - np.floor(turns)) * SUPPLY_V + noise_v, 0.0, 5.0)
        return volts


class WheelSupply:
    """The encoder's supply, with noise."""

    def __init__(self, *, rng: np.random.Generator) -> None:
        self._rng = rng

    def volts(self, ticks: IntArray) -> FloatArray:
        """See ``Source.volts``."""
        return SUPPLY_V + self._rng.normal(0.0, NOISE_V, len(ticks))
