"""A mouse's temperament, and the parameters of one session that follow from it.

The parameters are those of the minimal generative model in MOUSE_FACTS E. A curriculum simulator keeps one
``Temperament`` a mouse and asks it for a new ``SessionParameters`` each day.

Known misfits, medians over 80 sessions beside the real median and quartiles (MOUSE_FACTS B): in T2 d-prime is 0.80
(0.69, 0.46 to 0.91) and the hit latency 0.469 s (0.445, 0.425 to 0.487); in a mouse that has quit, over 40, the
latency is 0.494 s (0.530, 0.490 to 0.553). Medians over ten sessions may lie outside the quartiles.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace

import numpy as np

NEVER_MIN = math.inf
TRAINED_SESSIONS = 27
"""Sessions with water to earn before the middle imaging session, from the medians of MOUSE_FACTS A and B."""
LICK_INTERVAL_S, LICK_INTERVAL_SD_S = 0.15, 0.02
"""Between the licks of a bout, and of drinking (MOUSE_FACTS E 10)."""
SHORTEST_LICK_S, LONGEST_LICK_S = 0.09, 0.25
"""No mouse licked faster than every 0.083 s (MOUSE_FACTS C)."""
DRINK_LICKS = 11.3
"""After a reward, mean over the session (MOUSE_FACTS E 10)."""
SALIENCE_LOGIT = {
    "im061": (0.80, 0.00),
    "im062": (-0.77, 0.44),
    "im063": (-0.63, 0.55),
    "im065": (0.59, -0.38),
    "im066": (-1.29, 0.01),
    "im069": (1.30, -0.17),
    "im077": (-1.08, 0.14),
    "im085": (1.09, -0.60),
}
"""How much a change to, and from, an image of set A stands out: logit, +- 0.5 (MOUSE_FACTS D, four mice)."""
SALIENCE_TO_SD_LOGIT, SALIENCE_FROM_SD_LOGIT, SALIENCE_R = 1.1, 0.5, -0.7
"""Of images without data (MOUSE_FACTS E, parameter 5; r from D)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionParameters:
    """What a stochastic mouse does in one session; the defaults are MOUSE_FACTS E's medians.

    On each flash (each 0.75 s where the stimulus stays on), unless the mouse is licking,

        logit p(bout) = plateau - ramp * (1 - sigma((n - ramp_at) / ramp_scale)) + [change] * (gain + salience)

    with n the flashes since the last bout ended; ``quit_logit``, and ``quit_change_logit`` more on a change,
    once the mouse has quit.
    """

    plateau_logit: float = -1.4
    """E 1, fitted to 91 real sessions."""
    static_plateau_logit: float = 0.5
    """On top of the plateau where the stimulus stays on. By hand: without it T1 has too few aborted trials, the misfit
    that MOUSE_FACTS E names."""
    ramp_logit: float = 1.7
    """E 2: 1.3 to 1.8."""
    ramp_at_flashes: float = 1.5
    """E 2: 1.4 to 1.6."""
    ramp_scale_flashes: float = 1.0
    """C: 0.96."""
    change_gain_logit: float = 3.05
    """E 3."""
    salience_seed: int = 0
    """Of stimuli that are not in ``SALIENCE_LOGIT``."""
    latency_median_s: float = 0.55
    """E 6: 0.56 as camstim timed it, 0.02 to 0.04 s more than from the light (B); we know the flip, 0.021 s before."""
    latency_log_sd: float = 0.25
    """E 7."""
    on_curve_change: float = 0.88
    """E 8: share of answers to changes with such a latency; the rest is even over a cycle. 0.84 to 0.91."""
    on_curve_other: float = 0.13
    """The same of other first licks: median of four mice, 0.06 to 0.77 (C)."""
    one_more_lick: float = 0.41
    """E 9: 0.39 to 0.43."""
    drink_licks: float = DRINK_LICKS
    drink_licks_sd: float = 3.0
    """E 10: within mice."""
    quit_after_min: float = 61.0
    """E 11: from the first stimulus on."""
    quit_hazard_before: float = 6.5e-5
    """E 11, per flash: 4e-5 to 9e-5."""
    quit_hazard_after: float = 0.02
    """E 11, per flash."""
    return_hazard: float = 4e-4
    """E 11, per flash."""
    begins_engaged: bool = True
    quit_logit: float = -4.5
    """E 12: p = 0.011."""
    quit_change_logit: float = 1.3
    """E."""
    gray_before_bouts_per_min: float = 6.0
    gray_after_bouts_per_min: float = 2.8
    movie_bouts_per_min: float = 0.4
    """C, outside the task: one mouse."""
    outside_one_more_lick: float = 0.23
    """C, outside the task: 1.3 licks a bout."""
    run_cm_s: float = 20.0
    """Mean speed over the session; 16 to 32 in 7 of 12 mice, 0.2 to 5 in the others (E)."""
    run_share: float = 0.6
    """Share of the time spent running: 0.3 to 0.6 (C)."""
    run_bout_s: float = 15.0
    """Mean length of a running bout. By hand for runners; twitches last 0.3 s (C)."""

    def sated(self) -> SessionParameters:
        """Return the same mouse after it has drunk its fill: it has quit and does not come back."""
        return replace(self, begins_engaged=False, return_hazard=0.0)

    def tireless(self) -> SessionParameters:
        """Return the same mouse if it never quit."""
        return replace(self, quit_after_min=NEVER_MIN, quit_hazard_before=0.0)

    def salience_logit(self, identity: str) -> tuple[float, float]:
        """Return how much a change to a stimulus, and one from it, stands out."""
        known = SALIENCE_LOGIT.get(identity)
        if known is not None:
            return known
        z = np.random.default_rng([self.salience_seed, zlib.crc32(identity.encode())]).standard_normal(2).tolist()
        other = SALIENCE_R * z[0] + math.sqrt(1 - SALIENCE_R**2) * z[1]
        return SALIENCE_TO_SD_LOGIT * z[0], SALIENCE_FROM_SD_LOGIT * other


PLATEAU_SD_LOGIT = 0.87
"""E 1."""
GAIN_SD_LOGIT = 0.75
"""E 3: 0.65 to 0.86."""
GAIN_AT_FIRST = 0.2
"""Of the final gain, in a mouse that has not been trained (E)."""
LEARNING_SESSIONS, LEARNING_LOG_SD = 4.0, 0.9
"""E 4: 3 to 4, log-SD 0.8 to 1; by hand there."""
LATENCY_LOG_SD, LATENCY_LOG_PER_PLATEAU_SD = 0.13, -0.15
"""E 6: mice that lick more lick sooner."""
DRINK_LICKS_SD_BETWEEN = 2.0
"""E 10."""
DRINK_LICKS_AT_FIRST, DRINKING_SESSIONS = 0.5, 2.5
"""By hand: 6.5 licks a reward in T0, 8.6 in T1, then about 11 (MOUSE_FACTS B)."""
QUIT_LOG_SD = 0.79
"""E 11."""
QUIT_SD_LOGIT = 0.8
"""E 12."""
OWN_SHARE, OWN_SHARE_AT_FIRST, OWN_SHARE_SESSIONS = 0.7, 0.1, 4.0
"""Share of each variance that is the mouse's own: 0.1 in early T1, 0.7 from T3 on (E); how fast, by hand."""
RUNNERS = 7 / 12
RUNNER_CM_S, STILL_CM_S = (16.0, 32.0), (0.2, 5.0)
"""E: two groups of mice."""
RUNNING_AT_FIRST, RUNNING_SESSIONS = 0.4, 8.0
"""Speed doubles from T1 to imaging (E); how fast, by hand."""
RUN_SD = 0.15
"""Scatter of a mouse's mean speed from day to day, as a share (E: ICC 0.9)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Temperament:
    """What stays with a mouse through its life. Values named ``z`` are in SDs of all mice and sessions."""

    plateau_z: float
    gain_z: float
    latency_z: float
    quit_time_z: float
    quit_z: float
    drink_z: float
    learning_sessions: float
    """After this many sessions a fraction 1/e of the skill is still to be learned."""
    salience_seed: int
    run_cm_s: float
    """Once it is used to the wheel."""

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Temperament:
        """Return a mouse out of the population."""
        z = rng.standard_normal(7).tolist()
        low_cm_s, high_cm_s = RUNNER_CM_S if rng.random() < RUNNERS else STILL_CM_S
        return cls(
            plateau_z=z[0],
            gain_z=z[1],
            latency_z=z[2],
            quit_time_z=z[3],
            quit_z=z[4],
            drink_z=z[5],
            learning_sessions=LEARNING_SESSIONS * math.exp(LEARNING_LOG_SD * z[6]),
            salience_seed=int(rng.integers(2**32)),
            run_cm_s=math.exp(rng.uniform(math.log(low_cm_s), math.log(high_cm_s))),
        )

    def session(self, rng: np.random.Generator, *, training_sessions: float) -> SessionParameters:
        """Return the parameters of a session that follows so many others with water to earn."""
        k = training_sessions
        own = OWN_SHARE - (OWN_SHARE - OWN_SHARE_AT_FIRST) * math.exp(-k / OWN_SHARE_SESSIONS)
        of_mouse, of_day = math.sqrt(own), math.sqrt(1 - own)
        day = rng.standard_normal(6).tolist()
        plateau_z = of_mouse * self.plateau_z + of_day * day[0]
        latency_z = of_mouse * self.latency_z + of_day * day[2]
        quit_time_z = of_mouse * self.quit_time_z + of_day * day[3]
        skill = 1 - (1 - GAIN_AT_FIRST) * math.exp(-k / self.learning_sessions)
        drinking = 1 - (1 - DRINK_LICKS_AT_FIRST) * math.exp(-k / DRINKING_SESSIONS)
        running = 1 - (1 - RUNNING_AT_FIRST) * math.exp(-k / RUNNING_SESSIONS)
        run_cm_s = self.run_cm_s * running * math.exp(RUN_SD * day[5])
        runs = self.run_cm_s > STILL_CM_S[1]
        usual = SessionParameters()
        return SessionParameters(
            plateau_logit=usual.plateau_logit + PLATEAU_SD_LOGIT * plateau_z,
            change_gain_logit=skill
            * (usual.change_gain_logit + GAIN_SD_LOGIT * (of_mouse * self.gain_z + of_day * day[1])),
            salience_seed=self.salience_seed,
            latency_median_s=usual.latency_median_s
            * math.exp(LATENCY_LOG_SD * latency_z + LATENCY_LOG_PER_PLATEAU_SD * plateau_z),
            drink_licks=max(1.0, drinking * (usual.drink_licks + DRINK_LICKS_SD_BETWEEN * self.drink_z)),
            quit_after_min=usual.quit_after_min * math.exp(QUIT_LOG_SD * quit_time_z),
            quit_logit=usual.quit_logit + QUIT_SD_LOGIT * (of_mouse * self.quit_z + of_day * day[4]),
            run_cm_s=run_cm_s,
            run_share=0.3 + 0.3 * running if runs else min(max(run_cm_s / 10.0, 0.04), 0.4),
            run_bout_s=usual.run_bout_s if runs else 0.3 + run_cm_s,
        )
