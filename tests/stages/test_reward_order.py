"""What a device says of a reward counts in the order it says it, even when all of it comes at once."""

from __future__ import annotations

from stages.events import RewardCommanded, RewardConfirmed, RewardFired, RewardPath
from stages.task import At, Task, stimuli_of
from tests.builders import GRATINGS, stage

REFRESH_HZ = 60.0


def test_a_pulse_that_fired_and_ended_within_one_step_leaves_the_valve_free_for_the_next() -> None:
    parameters = stage(GRATINGS, task_duration_min=1.0, warm_up_trials=5)
    task = Task(
        parameters,
        stimuli=stimuli_of(parameters, image_names=[], refresh_hz=REFRESH_HZ),
        refresh_hz=REFRESH_HZ,
        seed=3,
    )
    paid = 0
    owed = []
    for flip in range(round(60 * REFRESH_HZ)):
        time_s = flip / REFRESH_HZ
        inputs, owed = owed, []
        for event in task.step(At(flip, flip, time_s), inputs).events:
            if isinstance(event, RewardCommanded):
                paid += 1
                path = RewardPath.COMMANDED
                owed = [
                    RewardFired(reward=event.reward, path=path, time_s=time_s, lick_time_s=None),
                    RewardConfirmed(reward=event.reward, time_s=time_s + 0.06, open_s=0.06),
                ]
    assert paid == 5
