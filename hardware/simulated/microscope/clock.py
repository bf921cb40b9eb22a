"""A microscope computer's clock, as it stands against the host's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DriftingClock:
    """Runs ``drift_ppm`` faster than the host's, and stood ``offset_s`` ahead of it at ``host_zero_s``."""

    host_zero_s: float
    offset_s: float
    drift_ppm: float

    def at(self, host_s: float) -> float:
        """Return its time at a time of the host's clock."""
        return host_s + self.offset_s + (host_s - self.host_zero_s) * self.drift_ppm * 1e-6

    def host_s(self, own_s: float) -> float:
        """Return the host's time at a time of this clock."""
        rate = 1 + self.drift_ppm * 1e-6
        return self.host_zero_s + (own_s - self.offset_s - self.host_zero_s) / rate
