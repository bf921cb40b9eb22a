"""What hypothesis draws: lick trains, screens, commands, faults."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from hardware.protocols import Command
from rig.config.files import load_stage, shipped
from stages.parameters import Stage, SweepParameters
from stimuli.headless import Behaviour
from tests.builders import GRATINGS, IMAGES, stage

SESSION_S = 32.0


def _is_dry(name: str) -> bool:
    parameters = load_stage(name)
    return isinstance(parameters, SweepParameters) or parameters.passive


_NAMES = [GRATINGS, IMAGES, *(name for name in shipped("stages") if name not in (GRATINGS, IMAGES))]
screens = st.sampled_from([behaviour.value for behaviour in Behaviour])
stages = st.sampled_from(_NAMES)
"""All that are shipped, the simplest to look at first."""
paying = st.sampled_from([name for name in _NAMES if not _is_dry(name)])
dry = st.sampled_from([name for name in _NAMES if _is_dry(name)])
"""Stages without water: passive ones and sweeps."""


def fitted(name: str, *, warm_up_trials: int | None = None, **changes: Any) -> Stage:
    """A stage with those of the changes that go with it: sweeps have no trials, passive stages no warm-up."""
    parameters = load_stage(name)
    if isinstance(parameters, SweepParameters):
        return stage(name)
    if warm_up_trials is not None and not parameters.passive and parameters.warm_up_trials > 0:
        changes["warm_up_trials"] = warm_up_trials
    return stage(name, **changes)


seeds = st.integers(0, 2**32 - 1)

_anywhere = st.floats(0.0, SESSION_S, allow_nan=False)
_bout = st.tuples(_anywhere, st.integers(1, 12), st.floats(0.06, 0.3)).map(
    lambda bout: [bout[0] + i * bout[2] for i in range(bout[1])]
)
lick_trains = st.one_of(
    st.just([]),
    st.lists(_anywhere, max_size=12),
    st.lists(_bout, max_size=8).map(lambda bouts: sorted(t for bout in bouts for t in bout)),
    st.floats(0.08, 2.0).map(lambda period_s: [i * period_s for i in range(1, int(SESSION_S / period_s))]),
)
"""No licks, single ones, bouts, and steady licking."""

_verbs = st.sampled_from(["pause", "resume", "resume", "stop", "stop-now", "reward", "note", "spout"])
_one_command = st.builds(
    lambda at_s, verb, position, volume_ul: (
        at_s,
        verb,
        {"position": position} if verb == "spout" else {"volume_ul": volume_ul} if verb == "reward" else {},
    ),
    _anywhere,
    _verbs,
    st.sampled_from(["at_mouse", "retracted"]),
    st.sampled_from([None, 3.0, 5000.0]),
)
LAST = (SESSION_S + 10.0, Command(id="last", who="operator", verb="stop-now"))
"""Ends what a pause without an end, of an operator or a policy, would keep for ever."""
commands = st.lists(_one_command, max_size=6).map(
    lambda script: [
        *(
            (at_s, Command(id=str(n), who="operator", verb=verb, **fields))
            for n, (at_s, verb, fields) in enumerate(sorted(script, key=lambda item: item[0]))
        ),
        LAST,
    ]
)

_maybe = st.one_of(st.none(), st.none(), st.floats(0.5, SESSION_S))
faults = st.fixed_dictionaries(
    {
        "lick_line_stuck_s": _maybe,
        "encoder_frozen_s": _maybe,
        "valve_silent_s": _maybe,
        "device_gone_s": _maybe,
        "spout_stuck": st.booleans(),
    }
)
policies = st.dictionaries(
    st.sampled_from(["card", "valve", "lick_sensor", "encoder", "spout"]),
    st.sampled_from(["continue", "pause", "stop", "stop_now"]),
)
