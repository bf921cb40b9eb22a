"""The frames of a simulated microscope: when each pulse comes, on its own clock, and what goes wrong with them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

EXTRA_PULSES = 3
EXTRA_EVERY_S = 0.004
SLOWER = 0.9
"""A wrong rate is a tenth below the one that was asked for."""


@dataclass(slots=True)
class Frames:
    """One recording: pulses from ``first_s`` on, ``rate_hz`` of them a second, all on the microscope's clock.

    The plane groups have an edge each, by turns, so that ``rate_hz`` is that of a plane times their number. Frames of
    ``[missing_from_s, missing_until_s)`` are taken and give no pulse.
    """

    first_s: float
    rate_hz: float
    extra: int = 0
    missing_from_s: float = math.inf
    missing_until_s: float = math.inf
    until_s: float = math.inf
    n_given: int = 0
    """Frames until now, with and without a pulse."""
    _extra_given: bool = field(default=False)

    def take(self, until_s: float) -> list[float]:
        """Return the pulses until a time that have not been returned yet, on the microscope's clock."""
        pulses: list[float] = []
        limit_s = min(until_s, self.until_s)
        if self.extra and not self._extra_given and limit_s >= self.first_s:
            self._extra_given = True
            begins_s = self.first_s - self.extra * EXTRA_EVERY_S
            pulses += [begins_s + n * EXTRA_EVERY_S for n in range(self.extra)]
        while (at_s := self.first_s + self.n_given / self.rate_hz) < limit_s:
            self.n_given += 1
            if not self.missing_from_s <= at_s < self.missing_until_s:
                pulses.append(at_s)
        return pulses

    def n_until(self, own_s: float) -> int:
        """Return how many frames had begun at a time of the microscope's clock."""
        return min(self.n_given, max(0, math.ceil((own_s - self.first_s) * self.rate_hz)))
