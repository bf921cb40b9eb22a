"""Sessions that crashed, at any byte: closed, complete as far as they go, and no hindrance to the next."""

from __future__ import annotations

import errno
import os
import shutil
import time
from contextlib import closing
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
from rig.log.writer import EDGES, EVENTS, FLIPS, RESERVE, LogWriter
from rig.records.finish import EVERYTHING, export_apart
from rig.records.nwb import FILE
from rig.records.products import FIGURE, PRODUCTS, SUMMARY_JSON, SUMMARY_TEXT, summarise
from rig.records.recover import Recovered, recover, recover_all
from stages.events import EndReason, SessionEnded
from tests.builders import IMAGES
from tests.peers.nwb_sessions import cut, record
from tests.rig.test_disk_full import no_file_above

WHO = "tester"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "session"
    return record(folder, IMAGES, kind=MouseKind.PERFECT, minutes=1.0, rig="simulated_imaging")


def crashed(whole: Path, parent: Path, *, share: float) -> Path:
    """A copy of a session, cut in mid-line."""
    return cut(Path(shutil.copytree(whole, parent / f"crashed{share}")), share=share)


def without_flips(whole: Path, parent: Path, *, name: str = "no_flips") -> Path:
    """A session of which no flip is left: it gets its products and no NWB file, which takes its time."""
    folder = Path(shutil.copytree(whole, parent / name))
    lines = (folder / EVENTS).read_bytes().splitlines(keepends=True)
    (folder / EVENTS).write_bytes(b"".join(lines[:60]) + b'{"torn')
    (folder / FLIPS).write_bytes(b"")
    return folder


def age(folder: Path, *, written_s: float = 1e9) -> Path:
    """Have all files of a folder written at a time, seconds since 1970."""
    for path in folder.rglob("*"):
        os.utime(path, (written_s, written_s))
    return folder


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
    no_date = crashed(whole, sessions, share=0.2)
    text = (no_date / EVENTS).read_bytes()
    (no_date / EVENTS).write_bytes(text.replace(b'"started_at":"2026', b'"started_at":"some day in 2026', 1))
    age(sessions)

    result = rig("recover", sessions)

    assert result.exit_code == 1
    empty, first, second, third, count = result.stdout.splitlines()
    assert empty == f"{sessions / 'a_empty'}: has no event on record, there is nothing to recover; delete the folder"
    assert "not one flip reached the disk, so it has no NWB file" in first
    assert second.startswith(f"{no_date}: the session's end can't be made (ValueError: Invalid isoformat string")
    assert "trials" in third
    assert count == "2 sessions recovered."
    assert {path.parent.name for path in sessions.rglob(FILE)} == {"crashed0.5"}
    shutil.rmtree(no_date)
    again = rig("recover", sessions)
    assert again.exit_code == 0
    assert again.stdout.splitlines() == [empty, "0 sessions recovered."]


def test_a_recovery_finishes_what_the_one_before_could_not_make(whole: Path, tmp_path: Path) -> None:
    folder = crashed(whole, tmp_path, share=0.6)
    age(tmp_path)
    n_bytes = (folder / FLIPS).stat().st_size

    with no_file_above(n_bytes):
        full = rig("recover", tmp_path)
    left = {path.name for path in folder.iterdir()} - {EVENTS, FLIPS, EDGES}
    closed = (folder / EVENTS).read_bytes()
    then = rig("recover", tmp_path)
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    again = rig("recover", tmp_path)

    assert (full.exit_code, then.exit_code, again.exit_code) == (1, 0, 0)
    assert "s, closed; 4 trials; " in full.stdout
    assert f"{FILE}: can't be written (File too large)" in full.stdout
    assert "the next rig recover tries it again" in full.stdout
    assert left < set(PRODUCTS), "what was made, and nothing that is half there"
    missing = [name for name in EVERYTHING if name not in left]
    assert then.stdout.splitlines() == [
        f"{folder}: had been closed before, {' and '.join(missing)} made now",
        "1 session recovered.",
    ]
    assert made.keys() == {EVENTS, FLIPS, EDGES, *EVERYTHING}
    assert made[EVENTS] == closed
    assert again.stdout == "0 sessions recovered.\n"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == made


def test_an_nwb_file_that_is_there_is_not_made_again_for_a_product_that_is_missing(whole: Path, tmp_path: Path) -> None:
    folder = without_flips(whole, tmp_path)
    recovered(folder)
    (folder / FILE).write_bytes(b"with a measured delay")
    (folder / SUMMARY_JSON).unlink()

    (done,) = recover_all(tmp_path, by=WHO)

    assert done.made == (SUMMARY_JSON,)
    assert (folder / SUMMARY_JSON).is_file()
    assert (folder / FILE).read_bytes() == b"with a measured delay"


def test_a_product_that_can_not_be_made_is_named_and_leaves_nothing_half_made(whole: Path, tmp_path: Path) -> None:
    folder = without_flips(whole, tmp_path)
    (folder / FIGURE).mkdir()

    done, log = recovered(folder)

    assert log.ended is not None
    assert done.problem is not None
    assert done.problem.startswith(f"{folder / FIGURE}: can't be read or written (")
    assert {path.name for path in folder.iterdir()} == {EVENTS, FLIPS, EDGES, *PRODUCTS}


def test_who_may_not_write_is_told_to_get_the_right(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = age(without_flips(whole, tmp_path))

    def forbidden(fd: int) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "fsync", forbidden)  # root may write everywhere, so nobody else says it here
    (done,) = recover_all(tmp_path, by=WHO, quiet_s=0)

    assert done.problem is not None
    assert done.problem.startswith(f"{folder}: Permission denied; get the right to read and write there")


def test_a_log_that_somebody_writes_is_left_alone_however_old_it_looks(whole: Path, tmp_path: Path) -> None:
    entries = read_session(whole).entries[:60]
    with closing(LogWriter(tmp_path / "session")) as writer:
        (begins,) = recover_all(tmp_path, by=WHO, quiet_s=0)
        for entry in entries:
            writer.append(entry)
        writer.pump()
        before = (tmp_path / "session" / EVENTS).read_bytes()
        (left,) = recover_all(tmp_path, by=WHO, quiet_s=0)
        assert (tmp_path / "session" / EVENTS).read_bytes() == before

    words = f"{tmp_path / 'session'}: is being written or recovered by another program; left alone"
    assert [begins.words(), left.words()] == [words, words]
    assert left.problem is None
    (done,) = recover_all(tmp_path, by=WHO, quiet_s=0)
    assert done.did


def test_two_recoveries_at_once_add_one_end(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = without_flips(whole, tmp_path)
    one, other = read_session(folder), read_session(folder)
    fsync, meanwhile = os.fsync, []

    def another_comes_between(fd: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        meanwhile.append(recover(other, by="other"))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", another_comes_between)
    done = recover(one, by="one")
    late = recover(other, by="late")

    assert done.did
    assert [left.note for left in meanwhile] == ["is being written or recovered by another program; left alone"]
    assert (late.did, late.problem) == (False, None)
    log = read_session(folder)
    assert [entry.event.who for entry in log.entries if isinstance(entry.event, SessionEnded)] == ["one"]
    assert [damage for damage in log.damage if "readable" in damage] == [
        "events.jsonl:61: not readable, left out (Input data was truncated)"
    ]


def test_times_that_are_yet_to_come_are_named_and_no_hindrance_where_none_runs(whole: Path, tmp_path: Path) -> None:
    age(without_flips(whole, tmp_path), written_s=time.time() + 86_400)

    (left,) = recover_all(tmp_path, by=WHO)
    (done,) = recover_all(tmp_path, by=WHO, quiet_s=0)

    assert "at a time that is yet to come by this machine's clock" in left.words()
    assert "give --quiet-s 0" in left.words()
    assert done.did


def test_a_session_with_flips_and_no_block_yet_gets_everything(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "young"))
    lines = (folder / EVENTS).read_bytes().splitlines(keepends=True)
    begun = next(i for i, line in enumerate(lines) if b'"BlockStarted"' in line)
    (folder / EVENTS).write_bytes(b"".join(lines[:begun]))
    (folder / FLIPS).write_bytes((folder / FLIPS).read_bytes()[: 32 * 3])

    done, _ = recovered(folder)

    assert done.problem is None
    assert all((folder / name).is_file() for name in EVERYTHING)


def test_whatever_ends_an_export_is_told(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "session"))
    text = (folder / EVENTS).read_bytes()
    (folder / EVENTS).write_bytes(text.replace(b'"started_at":"2026', b'"started_at":"some day in 2026', 1))

    told = export_apart(folder)

    assert told.path is None
    assert (told.problem or "").startswith(f"{folder}: the NWB file can't be made (ValueError: Invalid isoformat")


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
