"""200 sessions of every stage, mouse and screen keep the published acceptance rules (``tests.acceptance``)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from hardware.simulated.mice import MouseKind
from rig.config.files import load_stage, shipped
from stages.parameters import StageParameters
from tests import builders
from tests.acceptance import LEFT_OUT, RULES, Session, pays, pays_licks
from tests.builders import rig_config, run, stage
from tests.telling import Tell

N_SESSIONS = 200
TASK_MIN = 6.0
"""But for one session of each stage, which is as long as in the laboratory: several walks over the images."""
STAGES = [name for name in shipped("stages") if isinstance(load_stage(name), StageParameters)]
SCREENS = ["jittering", "dropping", "drifting"]
WANDERING, ANSWERING = "licking at times", "answering changes"
"""Two scripted mice: bouts at random, and one lick after each change, too early, in the window or too late."""


@dataclass(frozen=True)
class Plan:
    """One session of the 200."""

    stage: str
    mouse: str
    screen: str
    seed: int
    changes: dict[str, Any] = field(default_factory=dict)
    task_min: float = TASK_MIN

    def __str__(self) -> str:
        changes = "".join(f", {name} {value}" for name, value in self.changes.items())
        return (
            f"{self.stage}, mouse {self.mouse}, screen {self.screen}, seed {self.seed}, {self.task_min:g} min{changes}"
        )

    def session(self) -> Session:
        """Run it."""
        parameters = stage(self.stage, task_duration_min=self.task_min, **self.changes)
        rig = rig_config(behaviour=self.screen)
        if self.mouse in list(MouseKind):
            kind = MouseKind(self.mouse)
            return Session(parameters, run(parameters, rig, kind=kind, seed=self.seed), kind is not MouseKind.NEVER)
        licks_s = self._wandering() if self.mouse == WANDERING else self._answering(parameters)
        return Session(parameters, run(parameters, rig, licks_s=licks_s, seed=self.seed), licks=True)

    def _wandering(self) -> list[float]:
        rng = np.random.default_rng(self.seed)
        bouts_s = np.cumsum(rng.exponential(8.0, 200))
        return sorted(float(bout_s + n * 0.13) for bout_s in bouts_s for n in range(rng.integers(1, 5)))

    def _answering(self, parameters: StageParameters) -> list[float]:
        rng = np.random.default_rng(self.seed)
        silent = run(parameters, rig_config(behaviour=self.screen), licks_s=[], seed=self.seed)
        window_s = max(parameters.response_window_s[1], 0.5)
        return [row.change_time_s + rng.uniform(0.01, 1.2 * window_s) for row in silent.live.trials.rows]


def plans(name: str, n: int) -> list[Plan]:
    """``n`` sessions of a stage: a long one, mice and screens in turn, then small limits and free rewards."""
    seeds = count(crc32(name.encode()) % 10_000)
    turn = STAGES.index(name)
    parameters = builders.stage(name)
    task_min = load_stage(name).task_duration_min
    extra = [Plan(name, MouseKind.PERFECT, "dropping", next(seeds), task_min=task_min)]
    if pays(parameters):
        extra.append(Plan(name, MouseKind.PERFECT, "jittering", next(seeds), {"volume_limit_ul": 60.0}))
        extra.append(Plan(name, WANDERING, "dropping", next(seeds), {"volume_limit_ul": 27.0}))
    if pays_licks(parameters):
        extra.append(Plan(name, MouseKind.NEVER, "drifting", next(seeds), {"free_reward_after_misses": 3}))
        extra.append(Plan(name, ANSWERING, "jittering", next(seeds), {"free_reward_after_misses": 1}))
    mice = [*MouseKind, WANDERING, ANSWERING]
    return [
        Plan(name, mice[i % len(mice)], SCREENS[(turn + i + i // len(mice)) % len(SCREENS)], next(seeds))
        for i in range(n - len(extra))
    ] + extra


def test_all_published_rules_are_accounted_for() -> None:
    names = [rule.published for rule in RULES] + list(LEFT_OUT)
    assert len(names) == len(set(names)) == 42 + 8
    assert len(RULES) == 47


@pytest.mark.parametrize("name", STAGES)
def test_sessions_keep_the_published_acceptance_rules(name: str, tell: Tell) -> None:
    rules = [rule for rule in RULES if rule.applies(builders.stage(name))]
    broken: list[str] = []
    met: Counter[str] = Counter()
    for plan in plans(name, -(-N_SESSIONS // len(STAGES))):
        session = plan.session()
        for rule in rules:
            for found in rule.check(session):
                met[rule.name] += 1
                if found is not None:
                    broken.append(f"{rule.name} ({rule.published}): {plan}: {found}")
    tell(f"{name}: {sum(met.values())} cases of {len(rules)} rules")
    assert not broken, "\n".join([f"{len(broken)} broken", *broken[:20]])
    assert set(met) == {rule.name for rule in rules}, f"never met: {({rule.name for rule in rules}) - set(met)}"
