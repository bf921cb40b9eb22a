"""What hypothesis draws: lick trains, screens, commands, faults."""

from __future__ import annotations

from hypothesis import strategies as st

from hardware.protocols import Command
from stimuli.headless import Behaviour
from tests.builders import GRATINGS, IMAGES

SESSION_S = 32.0

screens = st.sampled_from([behaviour.value for behaviour in Behaviour])
stages = st.sampled_from([GRATINGS, IMAGES])
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
