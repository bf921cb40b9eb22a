"""Which model mice there are, and how each is made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from hardware.simulated.mice.parameters import TRAINED_SESSIONS, SessionParameters, Temperament
from hardware.simulated.mice.protocol import ModelMouse
from hardware.simulated.mice.simple import AlwaysMouse, LateMouse, NeverMouse, PerfectMouse
from hardware.simulated.mice.stochastic import StochasticMouse


class MouseKind(StrEnum):
    """The model mice there are."""

    PERFECT = "perfect"
    """Answers every change, never licks otherwise."""
    STOCHASTIC = "stochastic"
    """Licks, tires and drinks as real mice do (MOUSE_FACTS E)."""
    EARLY = "early"
    """Licks on most flashes, so that most trials are aborted."""
    LATE = "late"
    """Answers every change when the response window has closed."""
    NEVER = "never"
    """Never licks."""
    ALWAYS = "always"
    """Licks every half second whatever it sees."""


GRATINGS_LATENCY = 0.9
"""Of that to images: mean hit latencies 0.445 s in T2, 0.48 to 0.49 s from T3 on, same mice (MOUSE_FACTS B)."""
GRATINGS_GAIN_LOGIT = -0.3
"""How much less a change of gratings stands out. By hand, for hits and d-prime in T1 and T2: no trial data."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a mouse is put before: all it could learn from a stage before the session begins."""

    gratings: bool = False
    static: bool = False
    """The stimulus stays on between changes."""
    passive: bool = False
    """The spout is away and the mouse has drunk before (TASK_FACTS 2)."""
    window_closes_s: float = 0.75
    training_sessions: float = TRAINED_SESSIONS
    """Sessions in which the mouse could earn water before this one."""


def make_mouse(
    kind: MouseKind,
    rng: np.random.Generator,
    *,
    start_host_s: float,
    setting: Setting | None = None,
    parameters: SessionParameters | None = None,
) -> ModelMouse:
    """Return a model mouse of a kind, put on the wheel at a host time.

    Parameters
    ----------
    start_host_s
        The host time of the first flip.
    parameters
        What makes this session of a stochastic mouse; without them mouse and session are drawn. In a passive stage the
        mouse is sated whatever they say.
    """
    setting = setting or Setting()
    match kind:
        case MouseKind.PERFECT:
            return PerfectMouse(rng)
        case MouseKind.STOCHASTIC:
            if parameters is None:
                mouse = Temperament.drawn(rng)
                parameters = mouse.session(rng, training_sessions=setting.training_sessions)
            if setting.gratings:
                parameters = replace(
                    parameters,
                    change_gain_logit=parameters.change_gain_logit + GRATINGS_GAIN_LOGIT,
                    latency_median_s=GRATINGS_LATENCY * parameters.latency_median_s,
                )
            if setting.passive:
                parameters = parameters.sated()
        case MouseKind.EARLY:
            parameters = replace(
                SessionParameters(), plateau_logit=1.0, ramp_logit=0.0, change_gain_logit=0.0
            ).tireless()
        case MouseKind.LATE:
            return LateMouse(rng, window_closes_s=setting.window_closes_s)
        case MouseKind.NEVER:
            return NeverMouse(rng)
        case MouseKind.ALWAYS:
            return AlwaysMouse(rng, start_host_s=start_host_s)
    return StochasticMouse(rng, parameters, static=setting.static, start_host_s=start_host_s)
