"""The fit of the clock map: which frame pulses tell best where the card's clock stands.

A pulse lies somewhere within the call that gave it. Where calls are short (a card in this computer: 15 us), the
middle is as good as the pulse, and all of them make the fit. Behind a device server a call takes milliseconds,
most of them waiting, now before the pulse and now after it. But the shortest ways there are all alike, and so are
the shortest ways back: so the pulses that came soonest after their calls' begins, and those whose calls ended
soonest after them, make the fit, with what lies between shared evenly. What remains unknown is that share:
the map is off by the same for all times, by less than ``bound_s``.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np

from hardware.arrays import FloatArray, IntArray
from hardware.clock import ClockMap
from hardware.protocols import FramePulses

FEWEST = 10
"""Pulses without which there is no fit."""
SHORT_HALF_S = 50e-6
"""Half of a call so short that its middle will do."""
SOONEST = 5
"""So many pulses with the shortest way there, and as many with the shortest way back, make the fit otherwise, from
each half of the time: were those there early and those back late, drift could not be told from the ways' lengths."""
ROUNDS = 3
"""Which ways are the shortest is seen by the map that they give."""


class Points(NamedTuple):
    """What a map is fitted through: host times and ticks, shape (n,) both."""

    host_s: FloatArray
    ticks: IntArray
    bound_s: float
    """No pulse lies further from its host time but for what the fit leaves."""


def points(pulses: FramePulses, clock_map: ClockMap) -> Points | None:
    """Return what to fit a map through; None for fewer than ``FEWEST`` pulses.

    Parameters
    ----------
    pulses
        Of the last minute or so, each with its call.
    clock_map
        The map as it is; it is not changed.
    """
    if len(pulses) < FEWEST:
        return None
    ticks, half_s = pulses.ticks, pulses.half_s
    short = half_s <= SHORT_HALF_S
    if short.sum() >= max(FEWEST, len(pulses) / 2):
        return Points(pulses.given_host_s[short], ticks[short], float(half_s[short].max()))
    began_s, ended_s = pulses.given_host_s - half_s, pulses.given_host_s + half_s
    seconds = clock_map.seconds_of(ticks)
    trial = copy.copy(clock_map)
    best = _least(half_s)
    found = Points(pulses.given_host_s[best], ticks[best], float(half_s[best].max()))
    for _ in range(ROUNDS):
        trial.fit(host_s=found.host_s, ticks=found.ticks)
        there_s = seconds - trial.session_s_of(began_s)
        back_s = trial.session_s_of(ended_s) - seconds
        there, back = _least(there_s), _least(back_s)
        bound_s = float(there_s[there].mean() + back_s[back].mean()) / 2
        found = Points(
            np.concatenate([began_s[there] + bound_s, ended_s[back] - bound_s]),
            np.concatenate([ticks[there], ticks[back]]),
            bound_s,
        )
    return found


def _least(values: FloatArray) -> IntArray:
    """Return where the least values of each half stand, shape (2 * SOONEST,) of at least as many."""
    middle = len(values) // 2
    first, second = values[:middle], values[middle:]
    return np.concatenate(
        [np.argpartition(first, SOONEST - 1)[:SOONEST], middle + np.argpartition(second, SOONEST - 1)[:SOONEST]]
    )
