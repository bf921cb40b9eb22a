"""A simulated valve: one pulse counter that either path or a command starts, never two of them.

The card's path fires on the lick's own tick; the software path some hundred microseconds later. Both
judge the lick's own time stamp against the armed window, and the counter lets only the first of them
open the valve.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hardware.calibration import ValveCalibration
from hardware.events import Finding, Verdict
from hardware.lines import Line
from hardware.protocols import DeviceError, Identity, PulseOutcome, PulseReport
from hardware.simulated.card import SimulatedCard

SOFTWARE_LATENCY_S = (200e-6, 800e-6)
"""From a lick to the software path's pulse (NIDAQ_NOTES 4: 0.5-0.7 ms from edge to callback)."""
ECHO_LIMIT_S = 0.05
"""An echo that is not back this long after the pulse's end is missing."""


class _Armed(NamedTuple):
    reward: int
    open_s: float
    opens_ticks: int
    closes_ticks: int


class SimulatedValve:
    """Reward valve on a simulated card.

    Parameters
    ----------
    paths
        Which ways an armed lick may open the valve: ``card``, ``software`` or both.
    """

    name = "valve"

    def __init__(self, *, card: SimulatedCard, calibration: ValveCalibration, paths: Sequence[str], seed: int) -> None:
        self._card = card
        self._calibration = calibration
        self._paths = tuple(paths)
        self._rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(3,))))
        self._armed: _Armed | None = None
        self._busy_until_s = -math.inf
        self._reports: list[PulseReport] = []
        self._coming: list[tuple[float, int, PulseReport]] = []
        self._echo_falls_s: float | None = None
        self.n_pulses = 0
        card.on_lick(self._lick)
        card.on_due(self._next_due_s)

    def open(self) -> Identity:
        """Say what is simulated."""
        return Identity(device=self.name, model=f"simulated valve, paths {' and '.join(self._paths)}")

    def check(self) -> list[Finding]:
        """Name the calibration."""
        c = self._calibration
        return [
            Finding(
                name="valve calibration",
                verdict=Verdict.PASS,
                figure=f"{c.volume_min_ul:g} to {c.volume_max_ul:g} uL, measured {c.measured_on}",
            )
        ]

    def health(self) -> dict[str, float]:
        """Return the count of pulses."""
        return {"n_pulses": float(self.n_pulses)}

    def open_time_s(self, *, volume_ul: float) -> float:
        """See ``RewardValve.open_time_s``."""
        return self._calibration.open_time_s(volume_ul)

    def arm(self, *, reward: int, volume_ul: float, opens_ticks: int, closes_ticks: int) -> None:
        """See ``RewardValve.arm``."""
        self._card.require()
        self._refuse_while_armed()
        self._armed = _Armed(reward, self.open_time_s(volume_ul=volume_ul), opens_ticks, closes_ticks)

    def disarm(self, *, reward: int) -> None:
        """See ``RewardValve.disarm``."""
        self._card.require()
        if self._armed is not None and self._armed.reward == reward:
            self._armed = None
            self._reports.append(PulseReport(reward, PulseOutcome.DISARMED))

    def pulse(self, *, reward: int, volume_ul: float) -> None:
        """See ``RewardValve.pulse``."""
        self._card.require()
        self._refuse_while_armed()
        open_s = self.open_time_s(volume_ul=volume_ul)
        if not self._start(reward, open_s, host_s=self._card.clock.now_s(), lick_ticks=-1, path="commanded"):
            raise DeviceError(
                device=self.name, what="the valve is open already", remedy="wait until the pulse before it has ended"
            )

    def poll(self) -> Sequence[PulseReport]:
        """See ``RewardValve.poll``."""
        if self._coming and self._coming[0][0] <= (now_s := self._card.clock.now_s()):
            while self._coming and self._coming[0][0] <= now_s:
                self._reports.append(heapq.heappop(self._coming)[2])
        if not self._reports:
            return ()
        reports, self._reports = self._reports, []
        return reports

    def close_now(self) -> None:
        """See ``RewardValve.close_now``."""
        self._armed = None
        now_s = self._card.clock.now_s()
        falls_s = self._echo_falls_s
        if falls_s is not None and falls_s > now_s:
            self._card.untoggle(Line.REWARD_ECHO, host_s=falls_s)
            self._card.toggle(Line.REWARD_ECHO, host_s=now_s)
        self._echo_falls_s = None
        self._busy_until_s = min(self._busy_until_s, now_s)

    def close(self) -> None:
        """Close the valve."""
        self.close_now()

    def _refuse_while_armed(self) -> None:
        if self._armed is not None:
            raise DeviceError(
                device=self.name,
                what=f"reward {self._armed.reward} is armed already",
                remedy="disarm it first: there is one counter, and what it was set to would be lost",
            )

    def _lick(self, lick_s: float, ticks: int) -> None:
        """Both paths see the lick; the counter decides."""
        armed = self._armed
        if armed is None or not armed.opens_ticks <= ticks <= armed.closes_ticks:
            return
        starts = []
        if "card" in self._paths:
            starts.append((lick_s, "card"))
        if "software" in self._paths:
            starts.append((lick_s + float(self._rng.uniform(*SOFTWARE_LATENCY_S)), "software"))
        for host_s, path in sorted(starts):
            if self._armed is armed:  # nothing has paid this lick yet
                self._start(armed.reward, armed.open_s, host_s=host_s, lick_ticks=ticks, path=path)

    def _start(self, reward: int, open_s: float, *, host_s: float, lick_ticks: int, path: str) -> bool:
        """Start the counter if it is free; the one place where water begins to flow."""
        if host_s < self._busy_until_s:
            return False
        self._armed = None
        self._busy_until_s = host_s + open_s
        self.n_pulses += 1
        card = self._card
        ticks = card.card_clock.ticks(host_s)
        self._reports.append(PulseReport(reward, PulseOutcome.FIRED, ticks=ticks, lick_ticks=lick_ticks, path=path))
        if host_s >= card.start_host_s + card.faults.valve_silent_s:
            report = PulseReport(reward, PulseOutcome.FAILED, why="the valve was opened but its echo did not come back")
            heapq.heappush(self._coming, (host_s + open_s + ECHO_LIMIT_S, self.n_pulses, report))
        else:
            card.toggle(Line.REWARD_ECHO, host_s=host_s)
            self._echo_falls_s = host_s + open_s
            card.toggle(Line.REWARD_ECHO, host_s=self._echo_falls_s)
            report = PulseReport(reward, PulseOutcome.CONFIRMED, ticks=ticks, open_s=open_s)
            heapq.heappush(self._coming, (host_s + open_s, self.n_pulses, report))
            if card.spout_in_reach(host_s):
                card.mouse.drink(host_s=host_s)
        return True

    def _next_due_s(self) -> float:
        if self._reports:
            return -math.inf
        return self._coming[0][0] if self._coming else math.inf
