"""Sessions in real time: replayed, folded live and from the file, their steps measured."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import psutil
import pytest

from hardware.simulated.mice import MouseKind
from rig.log.reader import read_session
from rig.log.replay import replay
from rig.log.writer import LogThread, LogWriter
from rig.records.folds import Folds
from rig.session.assemble import assembled
from rig.session.realtime import real_time
from tests.builders import GRATINGS, IMAGES, plan, rig_config, stage
from tests.telling import Tell

LONG = [pytest.mark.long(group="screens")]


@pytest.mark.parametrize(
    ("name", "kind", "minutes"),
    [
        (IMAGES, MouseKind.PERFECT, 0.2),
        pytest.param(IMAGES, MouseKind.PERFECT, 4.0, marks=LONG),
        pytest.param(GRATINGS, MouseKind.ALWAYS, 4.0, marks=LONG),
    ],
)
@pytest.mark.timeout(600)
def test_a_session_in_real_time_is_replayed_to_the_same_bytes_and_tables(
    tmp_path: Path, tell: Tell, name: str, kind: MouseKind, minutes: float
) -> None:
    steps_s: list[float] = []
    live = Folds()
    folder = tmp_path / "session"
    session = plan(stage(name, task_duration_min=minutes), rig_config(), kind=kind, fast=False, folder=folder)
    with (
        contextlib.closing(LogThread(LogWriter(folder))) as log,
        real_time(),
        assembled(session, log=log, observers=(live.feed,), on_step=steps_s.append) as loop,
    ):
        ended = loop.run()
    recorded = read_session(folder)
    assert recorded.damage == []
    assert recorded.ended == ended
    assert replay(recorded).difference is None
    from_file = Folds.of(recorded.entries)
    assert repr(from_file.trials.rows) == repr(live.trials.rows)
    assert from_file.presentations.rows == live.presentations.rows
    assert from_file.summary.summary() == live.summary.summary()
    flips = recorded.flips
    assert flips["flip"].tolist() == list(range(len(flips)))
    ticks = recorded.edges()["ticks"].astype(np.int64)
    assert (np.diff(ticks) >= 0).all()
    steps_us = np.quantile(np.array(steps_s) * 1e6, [0.5, 0.99, 0.999])
    tell(
        f"\n  {name}, {minutes:g} min in real time: step p50 {steps_us[0]:.0f} us, p99 {steps_us[1]:.0f} us, "
        f"p99.9 {steps_us[2]:.0f} us; {int((flips['n_missed'] > 0).sum())} late of {len(flips)} flips"
    )


def test_a_session_in_simulated_time_is_not_in_the_way_of_one_with_a_mouse() -> None:
    process = psutil.Process()
    before = process.nice()
    with real_time(urgent=False):
        assert process.nice() == before
    with real_time():
        assert process.nice() <= before  # raised, if this user may
    assert process.nice() == before
