"""The minimal generative model of MOUSE_FACTS E: licking drawn flash by flash, drinking, quitting.

A flash is what the mouse sees; an omitted one is gray to it, and whether real mice lick for it is not known
(MOUSE_FACTS E: no file has licks and omission times). Where the stimulus stays on, ticks of 0.75 s from its
last change stand for flashes; the mouse then looks ahead to the tick on which its next bout begins, and
takes back what lies behind the next change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from hardware.arrays import FloatArray
from hardware.simulated.mice.parameters import (
    LICK_INTERVAL_S,
    LICK_INTERVAL_SD_S,
    LONGEST_LICK_S,
    SHORTEST_LICK_S,
    SessionParameters,
)
from hardware.simulated.mice.protocol import CONTACT_S, GRAY_IDENTITY, MOVIE_IDENTITY
from hardware.simulated.mice.running import Running

CYCLE_S = 0.75
IN_BOUT_S = 0.5
"""A mouse that has licked this recently is at the spout."""
NOTICED, NOTICED_QUIT = 0.9, 0.1
"""Share of the drops that a mouse notices which is not licking: 0.83 to 0.94 of the free rewards of one session
(MOUSE_FACTS C, S5); of one that has quit by hand, for 0 to 2 licks a reward (MOUSE_FACTS B, O6)."""
NOTICE_MEDIAN_S, NOTICE_LOG_SD = 0.35, 0.5
"""From such a drop to the first lick. By hand."""
ONE_MORE_DRINK_LICK_QUIT = 0.5
"""By hand, for the same 0 to 2 licks."""
IDLE_AFTER_S = 1.75
"""After this long without a stimulus the mouse is outside the task; an omitted flash takes 1.25 s."""
LONGEST_LOOK = 160
"""Ticks of looking ahead: two minutes; with nobody licking, a change comes every ten seconds."""
RAMP_FLASHES = 16
BLOCK_DRAWS = 1024


def _uniform(rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from rng.random(BLOCK_DRAWS).tolist()


def _normal(rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from rng.standard_normal(BLOCK_DRAWS).tolist()


class StochasticMouse:
    """Licks as ``SessionParameters`` say.

    Parameters
    ----------
    static
        The stimulus stays on between changes.
    start_host_s
        The host time of the first flip.
    """

    def __init__(
        self, rng: np.random.Generator, parameters: SessionParameters, *, static: bool, start_host_s: float
    ) -> None:
        p = self.parameters = parameters
        of_uniform, of_normal, of_running = rng.spawn(3)
        self._uniform, self._normal = _uniform(of_uniform), _normal(of_normal)
        self._running = Running(of_running, mean_cm_s=p.run_cm_s, share=p.run_share, bout_s=p.run_bout_s)
        self._static = static
        self._start_host_s = start_host_s
        self._engaged = p.begins_engaged
        self._quits_s = math.inf
        self._identity: str | None = None
        self._salience_logit: dict[str, tuple[float, float]] = {}
        plateau_logit = p.plateau_logit + (p.static_plateau_logit if static else 0.0)
        self._ramp_logit = [
            plateau_logit - p.ramp_logit / (1 + math.exp((n - p.ramp_at_flashes) / p.ramp_scale_flashes))
            for n in range(RAMP_FLASHES + 1)
        ]
        self._n = RAMP_FLASHES  # flashes since the last bout ended
        self._bout: list[float] = []  # licks to come, the next one last
        self._bout_ends_s = -math.inf
        self._last_lick_s = -math.inf
        self._idle_per_s = p.gray_before_bouts_per_min / 60
        self._idle_from_s = start_host_s
        self._idle_wait_s = self._wait_s()
        self._next_s = start_host_s + self._idle_wait_s
        # Looking ahead, while a stimulus stays on:
        self._on = False
        self._anchor_s = 0.0
        self._looking = False
        self._look_from = 0
        self._look_n = 0
        self._bout_tick = 0
        self._turns: list[int] = []  # ticks on which it quits or comes back

    def see(self, *, host_s: float, identity: str) -> None:
        """See ``ModelMouse.see``."""
        if identity == GRAY_IDENTITY:
            if self._on:
                self._look_back(host_s)
                self._on = False
                self._leave_task(host_s)
            return
        if identity == MOVIE_IDENTITY:
            self._idle_per_s = self.parameters.movie_bouts_per_min / 60
            self._leave_task(host_s)
            return
        before = self._identity
        if before is None:
            self._quits_s = host_s + 60 * self.parameters.quit_after_min
            self._idle_per_s = self.parameters.gray_after_bouts_per_min / 60
            self._idle_wait_s = self._wait_s()
        self._identity = identity
        if self._static:
            self._look_back(host_s)
            self._on = True
            self._anchor_s = host_s
            self._idle_from_s = math.inf
        else:
            self._idle_from_s = host_s + IDLE_AFTER_S
        changed = before is not None and before != identity
        self._turn(host_s)
        if host_s <= self._bout_ends_s:
            self._n = 0
        elif self._bout_begins(salience_logit=self._salience(before or "", identity) if changed else None):
            self._begin_bout(host_s + self._latency_s(changed=changed))
        if self._on and not self._bout:
            self._look_ahead(host_s)
        self._set_next()

    def drink(self, *, host_s: float) -> None:
        """See ``ModelMouse.drink``."""
        self._look_back(host_s)
        uniform, p = self._uniform, self.parameters
        at_spout = host_s - self._last_lick_s < IN_BOUT_S
        if at_spout or next(uniform) < (NOTICED if self._engaged else NOTICED_QUIT):
            if self._engaged:
                n = max(round(p.drink_licks + p.drink_licks_sd * next(self._normal)), 1)
            else:
                n = 0
                while next(uniform) < ONE_MORE_DRINK_LICK_QUIT:
                    n += 1
            first_s = host_s + (
                self._interval_s() if at_spout else NOTICE_MEDIAN_S * math.exp(NOTICE_LOG_SD * next(self._normal))
            )
            if self._bout and self._bout[-1] < first_s:
                first_s = max(self._bout[-1], self._last_lick_s + SHORTEST_LICK_S)
            self._set_bout(first_s, n)
            self._running.drink(host_s - self._start_host_s)
        if self._on and not self._bout:
            self._look_ahead(host_s)
        self._set_next()

    def next_lick_s(self) -> float:
        """See ``ModelMouse.next_lick_s``."""
        return self._next_s

    def take_lick(self) -> float:
        """See ``ModelMouse.take_lick``."""
        lick_s = self._last_lick_s = self._next_s
        if self._bout:
            self._looking = False
            self._bout.pop()
        else:
            more = 0
            while next(self._uniform) < self.parameters.outside_one_more_lick:
                more += 1
            self._set_bout(lick_s + self._interval_s(), more)
            self._leave_task(self._bout_ends_s)
        if self._on and not self._bout:
            self._look_ahead(lick_s)
        self._set_next()
        return CONTACT_S

    def distance_cm(self, time_s: FloatArray) -> FloatArray:
        """See ``ModelMouse.distance_cm``."""
        return self._running.distance_cm(time_s)

    def _turn(self, host_s: float) -> bool:
        """Draw whether it quits now, or comes back; return whether it does."""
        p = self.parameters
        if self._engaged:
            hazard = p.quit_hazard_before if host_s < self._quits_s else p.quit_hazard_after
        else:
            hazard = p.return_hazard
        turns = next(self._uniform) < hazard
        if turns:
            self._engaged = not self._engaged
        return turns

    def _bout_begins(self, *, salience_logit: float | None) -> bool:
        """Draw whether it licks for this flash; ``salience_logit`` is None where nothing changed."""
        if self._n < RAMP_FLASHES:
            self._n += 1
        if self._engaged:
            logit = self._ramp_logit[self._n]
            if salience_logit is not None:
                logit += self.parameters.change_gain_logit + salience_logit
        else:
            logit = self.parameters.quit_logit
            if salience_logit is not None:
                logit += self.parameters.quit_change_logit
        return next(self._uniform) * (1 + math.exp(-logit)) < 1

    def _latency_s(self, *, changed: bool) -> float:
        p = self.parameters
        if next(self._uniform) < (p.on_curve_change if changed else p.on_curve_other):
            return p.latency_median_s * math.exp(p.latency_log_sd * next(self._normal))
        return CYCLE_S * next(self._uniform)

    def _begin_bout(self, first_s: float) -> None:
        n = 1
        while next(self._uniform) < self.parameters.one_more_lick:
            n += 1
        self._set_bout(max(first_s, self._last_lick_s + SHORTEST_LICK_S), n)

    def _set_bout(self, first_s: float, n: int) -> None:
        """Plan n licks from a time on instead of those that were planned."""
        bout = []
        lick_s = first_s
        for _ in range(n):
            bout.append(lick_s)
            lick_s += self._interval_s()
        bout.reverse()
        self._bout = bout
        self._n = 0
        self._bout_ends_s = bout[0] if bout else self._last_lick_s

    def _interval_s(self) -> float:
        interval_s = LICK_INTERVAL_S + LICK_INTERVAL_SD_S * next(self._normal)
        return min(max(interval_s, SHORTEST_LICK_S), LONGEST_LICK_S)

    def _salience(self, before: str, identity: str) -> float:
        known = self._salience_logit
        for name in (before, identity):
            if name not in known:
                known[name] = self.parameters.salience_logit(name)
        return known[before][1] + known[identity][0]

    def _wait_s(self) -> float:
        """Draw how long it is until the next bout outside the task."""
        return -math.log(1 - next(self._uniform)) / self._idle_per_s if self._idle_per_s else math.inf

    def _leave_task(self, host_s: float) -> None:
        """Lick once in a while from a time on, until a stimulus comes."""
        self._idle_from_s = host_s
        self._idle_wait_s = self._wait_s()
        self._set_next()

    def _set_next(self) -> None:
        if self._bout:
            self._next_s = self._bout[-1]
        else:
            self._next_s = max(self._idle_from_s + self._idle_wait_s, self._last_lick_s + LONGEST_LICK_S)

    def _look_ahead(self, after_s: float) -> None:
        """Draw on which tick after a time the next bout begins, if nothing changes until then."""
        anchor_s = self._anchor_s
        first = math.floor((after_s - anchor_s) / CYCLE_S) + 1
        self._looking = True
        self._look_from, self._look_n = first, self._n
        self._turns.clear()
        for tick in range(first, first + LONGEST_LOOK):
            tick_s = anchor_s + tick * CYCLE_S
            if self._turn(tick_s):
                self._turns.append(tick)
            if self._bout_begins(salience_logit=None):
                self._bout_tick = tick
                self._begin_bout(tick_s + self._latency_s(changed=False))
                return
        self._bout_tick = first + LONGEST_LOOK

    def _look_back(self, host_s: float) -> None:
        """Keep of what was looked ahead to only what lies before a time."""
        if not self._looking:
            return
        self._looking = False
        tick = math.floor((host_s - self._anchor_s) / CYCLE_S)
        if tick >= self._bout_tick:
            return
        for turned in reversed(self._turns):
            if turned > tick:
                self._engaged = not self._engaged
        self._bout = []
        self._bout_ends_s = self._last_lick_s
        self._n = min(self._look_n + max(tick + 1 - self._look_from, 0), RAMP_FLASHES)
