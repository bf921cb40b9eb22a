"""Jumping, stepping and replay lead to the same bytes."""

from __future__ import annotations

from hypothesis import example, given

from rig.log.replay import replay
from tests.builders import GRATINGS, rig_config, run
from tests.properties import strategies as draw


@given(
    name=draw.stages,
    behaviour=draw.screens,
    licks_s=draw.lick_trains,
    seed=draw.seeds,
    commands=draw.commands,
    faults=draw.faults,
    policies=draw.policies,
)
@example(  # the reward's failure and the session's end fall on one flip
    name=GRATINGS,
    behaviour="perfect",
    licks_s=[],
    seed=6321,
    commands=[draw.LAST],
    faults={"device_gone_s": 16.0},
    policies={},
)
def test_jumping_stepping_and_replay_give_the_same_bytes(
    name: str, behaviour: str, licks_s: list[float], seed: int, commands: list, faults: dict, policies: dict
) -> None:
    parameters = draw.fitted(name, warm_up_trials=1, task_duration_min=0.25)
    config = rig_config(behaviour=behaviour, faults=faults, policies=policies)
    jumped = run(parameters, config, licks_s=licks_s, seed=seed, commands=commands)
    stepped = run(parameters, config, licks_s=licks_s, seed=seed, commands=commands, stepping=True)
    assert jumped.log.all_bytes() == stepped.log.all_bytes()
    result = replay(jumped.as_read())
    assert result.difference is None
    assert result.n_decisions > 0
