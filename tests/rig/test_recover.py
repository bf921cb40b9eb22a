"""Sessions that crashed, at any byte: closed, complete as far as they go, and no hindrance to the next."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from hardware.simulated.mice import MouseKind
from rig.cli import app
from rig.log.reader import SessionLog, read_session
from rig.log.replay import replay
from rig.log.writer import EDGES, EVENTS, FLIPS, RESERVE
from rig.records.nwb import FILE
from rig.records.products import SUMMARY_TEXT, summarise
from rig.records.recover import Recovered, recover, recover_all
from stages.events import EndReason
from tests.builders import IMAGES
from tests.peers.nwb_sessions import cut, record

WHO = "tester"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "session"
    return record(folder, IMAGES, kind=MouseKind.PERFECT, minutes=1.0, rig="simulated_imaging")


def crashed(whole: Path, parent: Path, *, share: float) -> Path:
    """A copy of a session, cut in mid-line."""
    return cut(Path(shutil.copytree(whole, parent / f"crashed{share}")), share=share)


def recovered(folder: Path) -> tuple[Recovered, SessionLog]:
    done = recover(read_session(folder), by=WHO)
    return done, read_session(folder)


@pytest.fixture(autouse=True)
def _state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def rig(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_log_is_closed_as_crashed_with_when_and_by_whom(whole: Path, tmp_path: Path) -> None:
    folder = crashed(whole, tmp_path, share=0.6)
    last_s = float(read_session(folder).flips["time_s"][-1])

    done, log = recovered(folder)

    assert log.ended is not None
    assert (log.ended.reason, log.ended.who) == (EndReason.CRASHED, WHO)
    assert log.ended.time_s >= last_s
    assert "the record breaks off, at 2026-01-01T00:00" in log.ended.why
    assert done.broke_off_s == log.ended.time_s
    summary, words = summarise(log)
    assert summary.ended == "crashed"
    assert f"({WHO})" in words


def test_not_a_byte_of_the_record_is_changed_and_one_line_is_added(whole: Path, tmp_path: Path) -> None:
    folder = crashed(whole, tmp_path, share=0.6)
    (folder / RESERVE).write_bytes(b"0" * 100)
    before = {name: (folder / name).read_bytes() for name in (EVENTS, FLIPS, EDGES)}

    recovered(folder)

    after = {name: (folder / name).read_bytes() for name in before}
    assert (after[FLIPS], after[EDGES]) == (before[FLIPS], before[EDGES])
    assert after[EVENTS].startswith(before[EVENTS])
    torn, line, end = after[EVENTS][len(before[EVENTS]) :].split(b"\n")
    assert (torn, end) == (b"", b"")
    assert b"SessionEnded" in line
    assert not (folder / RESERVE).exists()


def test_a_recovered_session_replays_to_the_recorded_decisions(whole: Path, tmp_path: Path) -> None:
    folder = crashed(whole, tmp_path, share=0.6)
    before = replay(read_session(folder))

    _, log = recovered(folder)

    assert replay(log) == before
    assert before.n_decisions > 50


@pytest.mark.parametrize("share", [0.25, 0.55, 0.97])
def test_the_file_holds_everything_that_was_on_record(whole: Path, tmp_path: Path, share: float) -> None:
    folder = crashed(whole, tmp_path, share=share)
    before = read_session(folder)

    done, _ = recovered(folder)

    assert done.problem is None
    assert (folder / SUMMARY_TEXT).is_file()
    with h5py.File(folder / FILE) as file:
        assert file["acquisition/event_log/line"][:-1].tolist() == before.lines
        np.testing.assert_array_equal(file["processing/stimulus/timestamps/timestamps"][:], before.flips["time_s"])
        assert len(file["acquisition/card_edges/ticks"]) == len(before.edges())
        assert file["general/metadata"].attrs["ended"] == "crashed"


def test_a_session_too_young_to_have_a_trial_is_said_to_be(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "young"))
    lines = (folder / EVENTS).read_bytes().split(b"\n")
    begun = next(i for i, line in enumerate(lines) if b'"TrialStarted"' in line)
    (folder / EVENTS).write_bytes(b"\n".join(lines[:begun]) + b"\n")
    (folder / FLIPS).write_bytes((folder / FLIPS).read_bytes()[: 32 * 20])

    done, _ = recovered(folder)

    assert "too young to have a trial" in done.words()
    assert (folder / FILE).is_file()


def test_one_that_can_not_be_mended_is_named_and_the_next_is_taken(whole: Path, tmp_path: Path) -> None:
    sessions = tmp_path / "sessions"
    shutil.copytree(whole, sessions / "ended")
    (sessions / "a_empty").mkdir(parents=True)
    (sessions / "a_empty" / EVENTS).write_bytes(b"")
    crashed(whole, sessions, share=0.5)
    no_flips = crashed(whole, sessions, share=0.1)
    (no_flips / FLIPS).write_bytes(b"")
    for path in sessions.rglob("*"):
        os.utime(path, (1e9, 1e9))

    result = rig("recover", sessions)

    assert result.exit_code == 1
    empty, first, second, count = result.stdout.splitlines()
    assert "is empty" in empty
    assert "not one flip reached the disk" in first
    assert "trials" in second
    assert count == "2 sessions recovered."
    assert {path.parent.name for path in sessions.rglob(FILE)} == {"crashed0.5"}
    again = rig("recover", sessions)
    assert again.stdout.splitlines()[-1] == "0 sessions recovered."


def test_a_session_that_still_writes_or_runs_is_left_alone(whole: Path, tmp_path: Path) -> None:
    folder = crashed(whole, tmp_path, share=0.5)
    before = (folder / EVENTS).read_bytes()
    (left,) = recover_all(tmp_path, by=WHO)
    (runs,) = recover_all(tmp_path, by=WHO, running={read_session(folder).started.session_id}, quiet_s=0)

    assert "left alone" in left.words()
    assert "left alone" in runs.words()
    assert (folder / EVENTS).read_bytes() == before


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = rig("recover", tmp_path / "gone")

    assert result.exit_code == 1
    assert "gone: there is no such file or folder" in result.stderr
