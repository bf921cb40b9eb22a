"""Our sessions as camstim pickles: what our own reader of camstim's makes of them, and what is refused."""

from __future__ import annotations

import gzip
import os
import pickle
import pickletools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from hardware.simulated.mice import MouseKind
from rig.cli import app
from rig.log.reader import SessionLog, read_session
from rig.records.camstim import CamstimError
from rig.records.camstim.reader import Recording, _Careful, read_camstim
from rig.records.camstim_export import FILE, export_camstim
from rig.records.folds import Folds
from stages.events import BlockKind, BlockStarted, Lick, Outcome
from tests.builders import IMAGES, RECORDED_SESSION, SWEEP, command, recorded
from tests.peers.nwb_sessions import MOVIE, record


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> SessionLog:
    """Six minutes with an omission, a free reward, a movie and, at its end, a trial that was cut short."""
    commands = (command("reward", at_s=60.2),)
    folder = tmp_path_factory.mktemp("camstim") / "session"
    return read_session(record(folder, IMAGES, kind=MouseKind.STOCHASTIC, minutes=6.0, commands=commands, movie=MOVIE))


@pytest.fixture(scope="module")
def back(log: SessionLog) -> Recording:
    return read_camstim(export_camstim(log))


def test_trials_come_back_with_their_frames_outcomes_and_water(log: SessionLog, back: Recording) -> None:
    rows = [row for row in Folds.of(log.entries).trials.rows if row.outcome is not Outcome.INCOMPLETE]

    assert [trial.outcome for trial in back.trials] == [row.outcome for row in rows]
    assert [trial.start_frame for trial in back.trials] == [row.start_flip for row in rows]
    assert [trial.end_frame for trial in back.trials] == [row.end_flip for row in rows]
    assert [trial.change_frame for trial in back.trials] == [row.change_flip for row in rows]
    assert [trial.change_after for trial in back.trials] == [row.change_after for row in rows]
    assert [len(trial.lick_frames) for trial in back.trials] == [len(row.lick_times_s) for row in rows]
    assert [sum(ul for _, ul in trial.rewards) for trial in back.trials] == pytest.approx(
        [row.reward_volume_ul for row in rows]
    )


def test_flips_licks_flashes_and_omissions_come_back(log: SessionLog, back: Recording) -> None:
    presentations = [row for row in Folds.of(log.entries).presentations.rows if row.flash >= 0]

    assert back.frame_times_s == pytest.approx(log.flips["time_s"], abs=1e-6)
    assert back.lick_frames.tolist() == [entry.flip for entry in log.entries if isinstance(entry.event, Lick)]
    assert back.onset_frames.tolist() == [row.start_flip for row in presentations if not row.omitted]
    assert back.omitted_frames.tolist() == [row.start_flip for row in presentations if row.omitted]
    assert len(back.omitted_frames) > 0
    after = [e.flip for e in log.entries if isinstance(e.event, BlockStarted) and e.event.block is BlockKind.GRAY_AFTER]
    assert after == [back.last_end_frame]
    assert back.movie is not None
    assert back.movie.pictures.tolist() == log.flips["movie_frame"].tolist()
    assert (back.mouse, back.stage) == ("M1", IMAGES)


def test_the_pickle_holds_plain_values_that_any_numpy_opens(log: SessionLog, back: Recording) -> None:
    assert back.trials
    asked_for = {arg for op, arg, _ in pickletools.genops((log.folder / FILE).read_bytes()) if op.name == "GLOBAL"}

    assert asked_for == {
        "datetime datetime",
        "numpy dtype",
        "numpy ndarray",
        "numpy.core.multiarray _reconstruct",  # numpy 2 knows it, numpy 1 nothing else
    }


def test_a_sweep_is_refused(tmp_path: Path) -> None:
    folder = record(tmp_path / "s", SWEEP)

    result = CliRunner().invoke(app, ["export", "camstim", str(folder)])

    assert result.exit_code == 1
    assert "is a sweep, which camstim's behaviour files can't hold" in result.stderr
    assert not (folder / FILE).exists()


def test_a_session_without_a_complete_trial_is_refused(tmp_path: Path) -> None:
    folder = record(tmp_path / "s", IMAGES, commands=(command("stop-now", at_s=1.5),))

    result = CliRunner().invoke(app, ["export", "camstim", str(folder)])

    assert result.exit_code == 1
    assert "not one trial came to its end, and no reader opens a camstim file without" in " ".join(
        result.stderr.split()
    )
    assert not (folder / FILE).exists()


def test_start_and_stop_are_local_times_on_one_offset_which_stands_beside(log: SessionLog, tmp_path: Path) -> None:
    """Clocks are set forward at 02:00, in mid-session: the session is no hour longer for it."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "America/Los_Angeles"
    time.tzset()
    try:
        moved = replace(log, started=msgspec.structs.replace(log.started, started_at="2026-03-08T09:59:00+00:00"))
        data = pickle.loads(export_camstim(moved, path=tmp_path / FILE).read_bytes())
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()

    assert data["start_time"].isoformat() == "2026-03-08T01:59:00"
    assert data["utc_offset_s"] == -8 * 3600
    assert (data["stop_time"] - data["start_time"]).total_seconds() == pytest.approx(log.flips["time_s"][-1], abs=1e-5)


def frames_of(trial: dict[str, Any]) -> dict[str, int]:
    return {name: frame for name, how, _, frame in trial["events"] if not how}


def test_an_automatic_reward_is_told_on_the_change_as_camstim_tells_it(log: SessionLog) -> None:
    """In the recorded session on the change's frame in 5 of 5, with water 9 or 10 frames later."""
    ours = pickle.loads(export_camstim(log).read_bytes())
    with gzip.open(recorded(RECORDED_SESSION)) as file:
        theirs = _Careful(file, encoding="latin1").load()

    for data in (ours, theirs):
        trials = [t for t in data["items"]["behavior"]["trial_log"] if "auto_reward" in frames_of(t)]
        assert len(trials) > 1
        for trial in trials:
            frames = frames_of(trial)
            assert frames["auto_reward"] == frames["stimulus_changed"]
            ((_, _, paid),) = trial["rewards"]
            assert paid - frames["stimulus_changed"] in (9, 10)


def test_a_destination_that_is_gone_is_named(log: SessionLog, tmp_path: Path) -> None:
    with pytest.raises(CamstimError, match=r"gone.*can't be written"):
        export_camstim(log, path=tmp_path / "gone" / FILE)


def test_export_camstim_says_where_the_file_is(log: SessionLog, tmp_path: Path) -> None:
    target = tmp_path / "here.pkl"

    result = CliRunner().invoke(app, ["export", "camstim", str(log.folder), "--out", str(target)])

    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{target}\n"
    assert target.is_file()
