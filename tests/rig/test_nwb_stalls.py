"""What a screen or a device server that stood still does to the tables: nothing is lost, nothing is refused."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np

from hardware.arrays import AnyArray, FloatArray
from hardware.lines import Line
from rig.log.reader import SessionLog, read_session
from rig.log.schema import EDGE_DTYPE
from rig.log.writer import EDGES
from rig.records.folds import Folds
from rig.records.nwb.checks import refuse_contradictions
from rig.records.nwb.export import export_nwb
from rig.records.nwb.tables import tables_of
from rig.records.sync_file import sync_data
from stages.events import BlockKind, BlockStarted, FlashOmitted, TrialStarted
from stimuli.headless import BLOCK_REFRESHES, Behaviour, RefreshTrain
from tests.builders import IMAGES, command, rig_config, run, stage
from tests.peers.nwb_sessions import MOVIE, record


@dataclass(frozen=True, slots=True)
class Standing(RefreshTrain):
    """A screen that lets some refreshes go by without a flip."""

    gone: Collection[int] = ()

    def block(self, number: int) -> tuple[FloatArray, AnyArray]:
        times_s, flips = RefreshTrain.block(self, number)
        flips = flips.copy()
        for refresh in self.gone:
            if refresh // BLOCK_REFRESHES == number:
                flips[refresh % BLOCK_REFRESHES] = False
        return times_s, flips


def session(*, gone: Collection[int] = (), licks_s: Sequence[float] = (), **more: Any) -> SessionLog:
    train = Standing(behaviour=Behaviour.JITTERING, nominal_hz=60.0, seed=3, start_host_s=0.0, gone=tuple(gone))
    commands = more.pop("commands", ())
    config = stage(IMAGES, task_duration_min=0.5, **more)
    return run(config, rig_config("simulated"), licks_s=licks_s, seed=3, train=train, commands=commands).as_read()


def test_a_flip_that_is_late_before_a_movie_leaves_every_picture_of_it() -> None:
    begins = next(
        entry.refresh
        for entry in session(movie=MOVIE).entries
        if isinstance(entry.event, BlockStarted) and entry.event.block is BlockKind.MOVIE
    )

    log = session(movie=MOVIE, gone=[begins - 1, begins])

    movie = tables_of(log, delay_s=0.02).presentations["standin_movie_one"]
    shown = log.flips["movie_frame"] >= 0
    assert len(movie) == MOVIE["n_frames"] * MOVIE["n_repeats"]
    assert movie["start_frame"].iloc[0] == np.flatnonzero(shown)[0]
    assert (movie["end_frame"] - movie["start_frame"]).sum() == shown.sum()


def test_a_movie_that_follows_the_task_at_once_is_there() -> None:
    log = session(movie=MOVIE, gray_after_s=0.0)

    assert len(tables_of(log, delay_s=0.02).presentations["standin_movie_one"]) == 60
    assert refuse_contradictions(log) == []


def test_a_lick_within_a_stall_at_a_trial_s_start_is_written_and_flagged() -> None:
    start = [entry.refresh for entry in session().entries if isinstance(entry.event, TrialStarted)][1]

    log = session(gone=range(start, start + 20), licks_s=[start / 60 + 0.01])

    assert refuse_contradictions(log) == [
        "1 licks were seen more than 0.25 s after they happened",
        "trials that were given a lick from before they began, since it was seen late: 1",
    ]


def test_a_stall_on_an_omission_is_no_contradiction() -> None:
    omitted = next(entry.refresh for entry in session().entries if isinstance(entry.event, FlashOmitted))

    assert refuse_contradictions(session(gone=range(omitted, omitted + 33))) == []


def test_a_lick_in_a_pause_is_no_trial_s() -> None:
    commands = (command("pause", at_s=10.0), command("resume", at_s=25.0))
    quiet = session(commands=commands)
    pause = next(e for e in quiet.entries if isinstance(e.event, BlockStarted) and e.event.block is BlockKind.PAUSE)
    assert isinstance(pause.event, BlockStarted)

    log = session(commands=commands, licks_s=[pause.event.time_s + 3.0])

    assert [row.lick_times_s for row in Folds.of(log.entries).trials.rows] == [
        row.lick_times_s for row in Folds.of(quiet.entries).trials.rows
    ]


def test_a_line_that_is_high_before_the_first_edge_does_not_rise_with_it(tmp_path: Path) -> None:
    """As behind a card: edges are let through from a moment at which the microscope's line may be high."""
    folder = record(tmp_path / "session", IMAGES, minutes=0.5, rig="simulated_imaging")
    edges = read_session(folder).edges()
    high = edges["state"] & Line.VSYNC_2P.mask != 0
    first = int(np.flatnonzero(high[:-1] & high[1:])[0]) + 1
    before, rest = int(edges["state"][first - 1]), np.array(edges[first:], EDGE_DTYPE)
    (folder / EDGES).write_bytes(rest.tobytes())
    log = read_session(folder)
    log = replace(log, started=msgspec.structs.replace(log.started, lines_before=before))

    path = export_nwb(log, path=tmp_path / "s.nwb").path

    level = sync_data(rest, lines_before=before)[:, 1].astype(np.int64) & Line.VSYNC_2P.mask != 0
    with h5py.File(path) as file:
        assert len(file["acquisition/ophys_frame_times/timestamps"]) == (level[1:] & ~level[:-1]).sum()
        assert file["acquisition/card_edges"].attrs["state_before"] == before
