"""Jumping, stepping and replay lead to the same bytes.

A task that is stepped before anything is due answers without looking, so the stepped sessions make it forget what is
due: it must come to nothing on every flip in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given

from hardware.simulated.mice import MouseKind
from rig.config.files import shipped
from rig.log.replay import replay
from stages.events import InputEvent
from stages.task import At, Outputs, Task
from tests.builders import GRATINGS, Ran, command, rig_config, run
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
@example(  # a reward fails in a pause, and the valve's policy ends the session
    name=GRATINGS,
    behaviour="perfect",
    licks_s=[],
    seed=0,
    commands=[command("pause", at_s=0.0), command("reward", at_s=1.0), draw.LAST],
    faults={"device_gone_s": 1.0},
    policies={"card": "continue", "valve": "stop"},
)
def test_jumping_stepping_and_replay_give_the_same_bytes(
    name: str, behaviour: str, licks_s: list[float], seed: int, commands: list, faults: dict, policies: dict
) -> None:
    parameters = draw.fitted(name, warm_up_trials=1, task_duration_min=0.25)
    config = rig_config(behaviour=behaviour, faults=faults, policies=policies)
    jumped = run(parameters, config, licks_s=licks_s, seed=seed, commands=commands)
    stepped = run_stepping(parameters, config, licks_s=licks_s, seed=seed, commands=commands)
    assert_same_bytes(jumped, stepped)


@pytest.mark.parametrize("name", shipped("stages"))
def test_every_shipped_stage_jumps_steps_and_replays_to_the_same_bytes(name: str) -> None:
    parameters = draw.fitted(name, warm_up_trials=1, task_duration_min=3.0)
    config = rig_config(behaviour="dropping")
    jumped = run(parameters, config, kind=MouseKind.STOCHASTIC, seed=7)
    stepped = run_stepping(parameters, config, kind=MouseKind.STOCHASTIC, seed=7)
    assert_same_bytes(jumped, stepped)


def run_stepping(*args: Any, **kwargs: Any) -> Ran:
    step = Task.step

    def looking(task: Task, at: At, inputs: Sequence[InputEvent]) -> Outputs:
        assert {"_due_refresh", "_trial_due_refresh"} <= vars(task).keys()
        task._due_refresh = task._trial_due_refresh = 0
        return step(task, at, inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Task, "step", looking)
        return run(*args, **kwargs, stepping=True)


def assert_same_bytes(jumped: Ran, stepped: Ran) -> None:
    assert jumped.log.all_bytes() == stepped.log.all_bytes()
    result = replay(jumped.as_read())
    assert result.difference is None
    assert result.n_decisions > 0
