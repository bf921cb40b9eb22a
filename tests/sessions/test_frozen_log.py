"""Logs as earlier programs wrote them, one folder a schema: they must be readable for good.

``tests/data/log_v1`` is half a minute of the imaging stage on a simulated rig (perfect mouse, one warm-up
trial, a monitor that drops flips, a note, a free reward, a pause), run on a virtual clock into a ``LogWriter`` and
kept as it was written, with the summary folded from it then. ``python -m tests.sessions.test_frozen_log`` makes
the present schema's anew: only while that schema has not been released; afterwards the schema gets a new number.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from rig.log.reader import SessionLog, read_session
from rig.log.replay import replay
from rig.log.schema import SCHEMA_VERSION
from rig.log.writer import LogWriter
from rig.records.folds import Folds
from rig.records.products import SUMMARY_JSON, summarise
from stages.events import (
    FlashOmitted,
    Note,
    Outcome,
    Paused,
    Resumed,
    RewardCommanded,
    RewardKind,
    TrialOutcome,
)
from tests.builders import command, rig_config, run, stage

DATA = Path(__file__).resolve().parents[1] / "data"
VERSIONS = list(range(1, SCHEMA_VERSION + 1))


def folder_of(version: int) -> Path:
    return DATA / f"log_v{version}"


@pytest.fixture(params=VERSIONS, ids=[f"schema {version}" for version in VERSIONS])
def frozen(request: pytest.FixtureRequest) -> SessionLog:
    log = read_session(folder_of(request.param))
    assert log.started.schema_version == request.param
    return log


def test_it_is_read_without_damage(frozen: SessionLog) -> None:
    assert frozen.damage == []
    assert frozen.ended is not None
    assert frozen.flips["flip"].tolist() == list(range(len(frozen.flips)))
    edges = frozen.edges()
    assert len(edges) > 2 * len(frozen.flips), "each flip has a frame pulse of two edges"
    assert (np.diff(edges["ticks"].astype(np.int64)) >= 0).all()


def test_it_holds_what_a_session_can_hold(frozen: SessionLog) -> None:
    events = [entry.event for entry in frozen.entries]
    assert {Note, Paused, Resumed, FlashOmitted} <= {type(event) for event in events}
    outcomes = {event.outcome for event in events if isinstance(event, TrialOutcome)}
    assert {Outcome.HIT, Outcome.AUTO_REWARDED, Outcome.ABORTED} <= outcomes
    assert RewardKind.FREE in {event.kind for event in events if isinstance(event, RewardCommanded)}
    assert (frozen.flips["n_missed"] > 0).any()


def test_it_folds_to_the_summary_it_folded_to_then(frozen: SessionLog) -> None:
    then = msgspec.json.decode((frozen.folder / SUMMARY_JSON).read_bytes())
    now = msgspec.to_builtins(summarise(frozen)[0])
    assert {name: now[name] for name in then} == then  # a figure may be added, none changed


def test_it_is_replayed_to_the_same_decisions(frozen: SessionLog) -> None:
    result = replay(frozen)
    assert result.difference is None
    assert result.n_decisions > 100


def make(folder: Path) -> None:
    """Write the frozen log of the present schema."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.closing(LogWriter(folder)) as log:
        run(
            stage(warm_up_trials=1, task_duration_min=0.5),
            rig_config(behaviour="dropping"),
            commands=[
                command("note", at_s=3.0, text="the mouse runs"),
                command("reward", at_s=2.0),  # whose licks abort a trial
                command("pause", at_s=12.0),
                command("resume", at_s=28.0),
            ],
            seed=4,
            log=log,
        )
    summary = Folds.of(read_session(folder).entries).summary.summary()
    (folder / SUMMARY_JSON).write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")


if __name__ == "__main__":
    make(folder_of(SCHEMA_VERSION))
