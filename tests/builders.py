"""Builders: a scenario in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from hardware.protocols import Command
from hardware.simulated.mice import ModelMouse, MouseKind, ScriptedMouse
from rig.config.files import load_rig, load_stage
from rig.config.rig import RigConfig
from rig.log.reader import SessionLog
from rig.log.schema import Entry, decode
from rig.log.writer import Log, MemoryLog
from rig.records.camstim.reader import Recording, read_camstim
from rig.records.folds import Folds
from rig.session.assemble import SessionPlan, assembled
from rig.session.control import ScriptedCommands
from stages.events import Event, SessionEnded, SessionStarted
from stages.parameters import Stage, stage_of
from stimuli.headless import RefreshTrain

GRATINGS, IMAGES, SWEEP = "TRAINING_2_gratings_flashed", "OPHYS_1_images_A", "OPHYS_7_receptive_field_mapping"
SHARED = Path(__file__).resolve().parents[2] / "shared"
"""Recorded data for tests; stands beside the checkout where there is any."""
RECORDED_SESSION = "allen/example_stimulus.pkl.gz"


def recorded(path: str) -> Path:
    """A file of recorded data. Skips the test, or the module, where there are none; one that is missing alone fails."""
    if not SHARED.is_dir():
        pytest.skip(f"recorded data stand in {SHARED} or nowhere", allow_module_level=True)
    file = SHARED / "real" / path
    assert file.is_file(), f"{file} is missing from the recorded data"
    return file


@cache
def recorded_session() -> Recording:
    """The recorded camstim session of 953 trials (TASK_FACTS 10)."""
    return read_camstim(recorded(RECORDED_SESSION))


@cache
def _stage(name: str) -> Stage:
    return load_stage(name)


@cache
def _rig(name: str) -> RigConfig:
    return load_rig(name)


def stage(name: str = IMAGES, **changes: Any) -> Stage:
    """A shipped stage, short, with some of its fields changed (and checked again).

    Of a sweep it is 18 presentations in 4.5 s, and ``changes`` go to the fields of ``sweep`` where they are there.
    """
    fields = _stage(name).model_dump() | {"gray_before_s": 0.5, "gray_after_s": 0.5, "movie": None}
    if "sweep" in fields:
        short = {"azimuths_deg": [-10.0, 0.0, 10.0], "altitudes_deg": [40.0], "n_repeats": 2}
        of_sweep = {field: changes.pop(field) for field in list(changes) if field in fields["sweep"]}
        return stage_of({**fields, **changes, "sweep": {**fields["sweep"], **short, **of_sweep}})
    return stage_of({**fields, "task_duration_min": 0.5, **changes})


def rig_config(name: str = "simulated", *, behaviour: str = "jittering", **changes: Any) -> RigConfig:
    """A shipped rig with some of its fields changed."""
    fields = _rig(name).model_dump()
    if fields["screen"]["kind"] == "headless":
        fields["screen"]["behaviour"] = behaviour
    changes["policies"] = {**fields["policies"], **changes.get("policies", {})}
    return RigConfig.model_validate({**fields, **changes})


@dataclass(frozen=True)
class Ran:
    """A session that was run into memory."""

    log: MemoryLog
    ended: SessionEnded
    live: Folds
    answers: list[tuple[str, bool, str]]

    def all(self, *types: type[Event]) -> list[Any]:
        """All events of some types, in order."""
        return [entry.event for entry in self.log.entries if isinstance(entry.event, types)]

    def entries(self, *types: type[Event]) -> list[Entry]:
        """All entries of events of some types, in order."""
        return [entry for entry in self.log.entries if isinstance(entry.event, types)]

    def as_read(self) -> SessionLog:
        """The session as it would be read from its files."""
        events, _, _ = self.log.all_bytes()
        lines = events.split(b"\n")[:-1]
        entries = [decode(line) for line in lines]
        started = entries[0].event
        assert isinstance(started, SessionStarted)
        return SessionLog(
            folder=Path("memory"),
            started=started,
            entries=entries,
            lines=lines,
            flips=self.log.all_flips(),
            damage=[],
        )


def plan(
    parameters: Stage | None = None,
    config: RigConfig | None = None,
    *,
    kind: MouseKind = MouseKind.PERFECT,
    seed: int = 1,
    fast: bool = True,
    folder: Path = Path("memory"),
) -> SessionPlan:
    """A session's plan."""
    return SessionPlan(
        mouse="M1",
        stage=parameters or stage(),
        rig=config or rig_config(),
        seed=seed,
        mouse_kind=kind,
        fast=fast,
        session_id=UUID(int=1),
        folder=folder,
        who="tester",
    )


def run(
    parameters: Stage | None = None,
    config: RigConfig | None = None,
    *,
    kind: MouseKind = MouseKind.PERFECT,
    licks_s: Sequence[float] | None = None,
    commands: Sequence[tuple[float, Command]] = (),
    seed: int = 1,
    stepping: bool = False,
    train: RefreshTrain | None = None,
    log: Log | None = None,
) -> Ran:
    """Run a session on a virtual clock; ``licks_s`` replaces the model mouse by a list of licks."""
    mouse: ModelMouse | None = None
    if licks_s is not None:
        mouse = ScriptedMouse(np.random.default_rng(seed), lick_times_s=list(licks_s))
    kept = MemoryLog()
    live = Folds()
    sources: list[ScriptedCommands] = []

    def scripted(clock: Any) -> ScriptedCommands:
        sources.append(ScriptedCommands(commands, clock=clock))
        return sources[0]

    with assembled(
        plan(parameters, config, kind=kind, seed=seed),
        log=log or kept,
        commands=scripted,
        observers=(live.feed,),
        stepping=stepping,
        mouse=mouse,
        train=train,
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
    ) as loop:
        ended = loop.run()
    return Ran(log=kept, ended=ended, live=live, answers=sources[0].answers)


def command(verb: str, *, at_s: float, name: str = "", **fields: Any) -> tuple[float, Command]:
    """An operator's request at a host time."""
    return at_s, Command(id=name or f"{verb}@{at_s}", who="operator", verb=verb, **fields)
