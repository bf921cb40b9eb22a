"""A laboratory for tests: a database, a simulated rig in this process, and an operator who answers from a script."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from hardware.events import Finding
from hardware.simulated.mice import MouseKind
from rig.config.rig import RigConfig
from rig.curriculum.files import open_curriculum
from rig.lab.errors import StartRefused
from rig.lab.lab import Lab, open_lab
from rig.lab.rows import Mouse
from rig.laboratory import stage_of
from rig.session.assemble import SessionPlan
from rig.session.process import run_plan
from rig.training.memory import InProcess
from rig.training.model_mouse import model_mouse
from rig.training.parties import Asked, Day, Rigged
from rig.training.projection import day_of
from rig.training.standing import Archive
from rig.training.start import start
from stages.curriculum import Curriculum
from stages.history import SessionFacts
from stages.parameters import Stage, StageParameters
from tests.builders import rig_config
from tests.rig.lab.labs import made_file

FIRST_DAY = date(2026, 1, 5)
MOUSE = Mouse(
    name="M1",
    curriculum="visual_behavior",
    familiar="A",
    novel="B",
    baseline_weight_g=25.0,
    target_weight_g=21.5,
    floor_weight_g=20.0,
    least_daily_water_ml=1.0,
)


@cache
def curriculum_of_cohort(name: str, cohort: str) -> Curriculum:
    """A curriculum for a cohort."""
    return open_curriculum(name).for_cohort(cohort)


def curriculum_of(mouse: Mouse) -> Curriculum:
    """A mouse's own curriculum."""
    return curriculum_of_cohort(mouse.curriculum, f"{mouse.familiar}/{mouse.novel}")


@dataclass
class Scripted:
    """An operator who answers from a script, and keeps what was said."""

    weighs_g: float | None = 21.5
    types: str | None = None
    """What is typed where the name is asked for."""
    gives_ml: float | None = None
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def tell(self, words: str) -> None:
        """See ``Operator``."""
        self.said.append(words)

    def show_name(self, mouse: str) -> None:
        """See ``Operator``."""
        self.asked.append("name shown")

    def weight_g(self, mouse: str) -> float:
        """See ``Operator``."""
        self.asked.append("weight")
        if self.weighs_g is None:
            raise StartRefused("nobody says what it weighs")
        return self.weighs_g

    def is_this(self, mouse: str, doubts: Sequence[str]) -> bool:
        """See ``Operator``."""
        self.asked.append(f"is it {mouse}: {'; '.join(doubts)}")
        return self.types == mouse

    def given_ml(self, mouse: str, *, at_least_ml: float) -> float | None:
        """See ``Operator``."""
        self.asked.append(f"water, at least {at_least_ml:.2f}")
        return self.gives_ml

    @property
    def heard(self) -> str:
        """All that was said."""
        return "\n".join(self.said)


@dataclass
class Laboratory:
    """A laboratory of one rig, day after day."""

    lab: Lab
    data_dir: Path
    config: RigConfig = field(default_factory=lambda: rig_config("simulated_imaging"))
    n_days: int = 0
    n_ids: int = 0
    kind: MouseKind = MouseKind.STOCHASTIC
    seed: int = 0
    changes: dict[str, Any] = field(default_factory=dict)
    """Of every stage with trials: shorter ones."""
    findings: list[Finding] = field(default_factory=list)
    memory: InProcess = field(default_factory=InProcess)
    breaks: Callable[[SessionPlan], str | None] | None = None
    """In place of running a session to its end."""
    who: str = "tester"
    simulated: bool = True

    @property
    def day(self) -> str:
        """Today."""
        return (FIRST_DAY + timedelta(days=self.n_days)).isoformat()

    @property
    def archive(self) -> Archive:
        """Where its logs are."""
        return Archive(folders=[self.data_dir], memory=self.memory)

    def now(self) -> datetime:
        """Ten in the morning, and a minute later for each session of the day."""
        n_today = len(list(self.data_dir.glob(f"{self.day}*"))) if self.data_dir.exists() else 0
        return datetime.fromisoformat(f"{self.day}T10:00:00+00:00") + timedelta(minutes=n_today)

    def stage(self, mouse: Mouse, name: str) -> Stage:
        """A stage of a mouse's curriculum, changed as the tests want it."""
        found = stage_of(mouse, name, library=self.data_dir.parent / "pictures")
        return found.model_copy(update=self.changes) if isinstance(found, StageParameters) else found

    def plan(
        self, mouse: Mouse, stage: Stage, folder: Path, session_id: UUID, history: Sequence[SessionFacts]
    ) -> SessionPlan:
        """A session of a model mouse that has learned from all its own sessions with water to earn."""
        return SessionPlan(
            mouse=mouse.name,
            stage=stage,
            rig=self.config,
            seed=self.seed + self.n_days,
            mouse_kind=self.kind,
            fast=True,
            session_id=session_id,
            folder=folder,
            who=self.who,
            mouse_parameters=model_mouse(mouse.name, history, seed=self.seed),
            begins=self.now(),
        )

    def ids(self) -> UUID:
        """The next session's identity."""
        self.n_ids += 1
        return UUID(bytes=np.random.default_rng([self.seed, self.n_ids]).bytes(16), version=4)

    def run(self, plan: SessionPlan) -> str | None:
        """Run a session in this process."""
        if self.breaks is not None:
            return self.breaks(plan)
        run_plan(plan, runtime_dir=self.data_dir / "running")
        return None

    def start(self, mouse: str = "M1", *, operator: Scripted | None = None, **asked: Any) -> Day:
        """Take a mouse through its day."""
        return start(
            mouse,
            lab=self.lab,
            asked=Asked(who=self.who, day=self.day, **asked),
            operator=operator or Scripted(),
            rig=Rigged(
                name=self.config.rig,
                simulated=self.simulated,
                images=self.config.imaging,
                data_dir=self.data_dir,
                stage=self.stage,
                plan=self.plan,
                run=self.run,
                check=lambda: iter(self.findings),
                now=self.now,
                new_id=self.ids,
                day_of_session=lambda started_at: day_of(started_at, UTC),
            ),
            curriculum=curriculum_of,
            archive=self.archive,
        )


@contextlib.contextmanager
def laboratory(folder: Path, **fields: Any) -> Iterator[Laboratory]:
    """A laboratory with one mouse, in a SQLite file."""
    file = made_file(folder / "lab.sqlite")
    lab = open_lab(f"sqlite:///{file}", who="tester", host="bench", now=lambda: datetime.now(UTC))
    with contextlib.closing(lab):
        lab.record(MOUSE)
        yield Laboratory(lab=lab, data_dir=folder / "sessions", **fields)
