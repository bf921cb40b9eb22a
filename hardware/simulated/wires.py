"""Wires between what happens and the card's inputs; some of them break at a time: they stick, or are exchanged."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from hardware.arrays import AnyArray, IntArray
from hardware.lines import IDLE_STATE, Line
from hardware.simulated.faults import Faults

Breaks = Callable[[AnyArray], AnyArray]


class Wires:
    """Turns states of lines as they are into states as the card sees them.

    Parameters
    ----------
    ticks_at
        The card's count so many seconds after the first flip.
    """

    def __init__(self, faults: Faults, *, ticks_at: Callable[[float], int]) -> None:
        photodiode, frames = Line.STIM_PHOTODIODE.mask, Line.VSYNC_2P.mask
        asked: list[tuple[float, Breaks]] = [
            (faults.photodiode_unplugged_s, lambda states: states & ~photodiode),
            (faults.patch_covered_s, lambda states: states | photodiode),
            (faults.vsync_2p_dead_s, lambda states: states & ~frames),
            (faults.vsync_2p_and_photodiode_swapped_s, lambda states: _exchanged(states, photodiode, frames)),
        ]
        self._faults = [(ticks_at(after_s), change) for after_s, change in asked if after_s < math.inf]
        self.breaks = [ticks for ticks, _ in self._faults]
        """The count at which each of them breaks; none where all are whole."""
        self._last = IDLE_STATE

    def seen(self, ticks: IntArray, states: AnyArray) -> tuple[IntArray, AnyArray]:
        """Return the edges that the card sees, of all that there are; in order, each stretch once."""
        seen = np.array(states, np.int64)
        for since, change in self._faults:
            broken = ticks >= since
            seen[broken] = change(seen[broken])
        changed = np.diff(seen, prepend=self._last) != 0
        self._last = int(seen[-1])
        return ticks[changed], seen[changed]


def _exchanged(states: AnyArray, one: int, other: int) -> AnyArray:
    has_one, has_other = states & one != 0, states & other != 0
    exchanged: AnyArray = states & ~(one | other) | np.where(has_one, other, 0) | np.where(has_other, one, 0)
    return exchanged
