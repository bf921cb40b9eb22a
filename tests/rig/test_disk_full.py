"""A disk that fills up ends the session by its policy; what was recorded before stays as it was.

Two ways to fill it: a limit on the size of files that the system itself enforces (nothing can be written
after it), and a small disk on which giving back the reserve makes room for the end.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hardware.lines import Line
from rig.cli import app
from rig.log.reader import read_session
from rig.log.replay import replay
from rig.log.schema import FLIP_DTYPE, LogError, encode
from rig.log.writer import EDGES, EVENTS, FLIPS, RESERVE, RESERVE_BYTES, LogWriter
from rig.session.process import run_plan
from stages.events import AlarmRaised, DeviceFault, EndReason, SessionEnded
from tests.builders import GRATINGS, Ran, command, plan, rig_config, run, stage
from tests.rig.writers import KeepingWriter

TWO_MINUTES = stage(GRATINGS, task_duration_min=2)
"""Comes to 245 kB of flips, 190 kB of edges and 102 kB of events."""


@contextmanager
def no_file_above(n_bytes: int) -> Iterator[None]:
    """The system refuses to let any file of this process grow beyond a size."""
    resource = pytest.importorskip("resource", reason="only POSIX limits the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int], None]:
    """Make a folder's disk one that holds only so much, the reserve included."""

    def make(folder: Path, n_bytes: int) -> None:
        real_write = os.write

        def write(fd: int, data: bytes) -> int:
            room = n_bytes - sum(path.stat().st_size for path in folder.iterdir())
            if room <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real_write(fd, bytes(data[:room]))

        monkeypatch.setattr(os, "write", write)

    return make


def policy(name: str) -> dict[str, str]:
    return {**rig_config().model_dump(mode="json")["policies"], "log": name}


def limited(folder: Path, *, n_bytes: int, log_policy: str) -> tuple[Ran, KeepingWriter, str]:
    """Run two minutes with files limited to a size; return also what the log says when it is closed."""
    writer = KeepingWriter(folder)
    with no_file_above(n_bytes):
        ran = run(TWO_MINUTES, rig_config(policies=policy(log_policy)), log=writer)
        with pytest.raises(LogError) as caught:
            writer.close()
    return ran, writer, str(caught.value)


def written_and_given(writer: KeepingWriter) -> list[tuple[bytes, bytes]]:
    """For each file what it holds and what it was given."""
    return [
        ((writer.folder / name).read_bytes(), given)
        for name, given in zip((EVENTS, FLIPS, EDGES), writer.kept.all_bytes(), strict=True)
    ]


def test_a_file_that_cant_grow_ends_the_session_by_its_policy_and_says_so_in_the_log(tmp_path: Path) -> None:
    ran, writer, _ = limited(tmp_path / "session", n_bytes=100_000, log_policy="stop_now")

    log = read_session(writer.folder)
    faults = [entry.event for entry in log.entries if isinstance(entry.event, DeviceFault)]
    alarms = [entry.event for entry in log.entries if isinstance(entry.event, AlarmRaised)]
    assert [(fault.device, fault.what) for fault in faults] == [("log", "flips.bin can't be written (File too large)")]
    assert [(alarm.alarm, alarm.remedy) for alarm in alarms] == [
        ("log", "look at the data disk: its free space, its cable")
    ]
    assert ran.ended.reason is EndReason.FAULT
    assert log.ended == ran.ended
    assert ran.ended.time_s < 120
    assert log.entries == writer.kept.entries


@pytest.mark.parametrize("n_bytes", [100_000, 30_000, 5_003])
@pytest.mark.parametrize("log_policy", ["stop_now", "continue"])
def test_nothing_that_was_written_is_lost_or_changed(tmp_path: Path, n_bytes: int, log_policy: str) -> None:
    _, writer, said = limited(tmp_path / "session", n_bytes=n_bytes, log_policy=log_policy)

    for (written, given), name in zip(written_and_given(writer), (EVENTS, FLIPS, EDGES), strict=True):
        assert given.startswith(written)
        assert len(written) == min(len(given), n_bytes)
        if len(given) > n_bytes:
            assert f"{len(given) - n_bytes} bytes of {name}" in said
        else:
            assert name not in said
    assert said.startswith(f"{writer.folder}: ")
    assert said.endswith("can't be written (File too large)); free space there")


@pytest.mark.parametrize("n_bytes", [9_000, 5_003])
def test_a_log_whose_events_cant_grow_still_ends_the_session_and_can_be_read(tmp_path: Path, n_bytes: int) -> None:
    ran, writer, _ = limited(tmp_path / "session", n_bytes=n_bytes, log_policy="stop_now")

    log = read_session(writer.folder)
    assert ran.ended.reason is EndReason.FAULT
    assert log.ended is None  # there was no room to say so
    assert log.entries == writer.kept.entries[: len(log.entries)]
    torn = not (writer.folder / "events.jsonl").read_bytes().endswith(b"\n")  # the limit may fall on a line's end
    assert any(damage.startswith("events.jsonl: the last line is torn") for damage in log.damage) == torn
    assert replay(log).difference is None


def test_the_valve_is_closed_when_the_disk_is_full(tmp_path: Path) -> None:
    _, writer, _ = limited(tmp_path / "session", n_bytes=100_000, log_policy="stop_now")

    edges = np.concatenate(writer.kept.edge_rows)
    echo = edges["state"] & Line.REWARD_ECHO.mask
    assert echo.any()
    assert echo[-1] == 0


def test_a_policy_to_continue_lets_the_session_go_on_to_its_end(tmp_path: Path) -> None:
    ran, writer, _ = limited(tmp_path / "session", n_bytes=150_000, log_policy="continue")

    log = read_session(writer.folder)
    assert ran.ended.reason is EndReason.TIME
    assert log.ended == ran.ended
    assert log.entries == writer.kept.entries
    assert [entry.event.device for entry in log.entries if isinstance(entry.event, DeviceFault)] == ["log"]
    assert len(log.flips) == 150_000 // FLIP_DTYPE.itemsize


@pytest.mark.parametrize("n_bytes", [150_000, 30_000])
def test_a_session_whose_disk_filled_up_can_be_summarised(tmp_path: Path, n_bytes: int) -> None:
    _, writer, _ = limited(tmp_path / "session", n_bytes=n_bytes, log_policy="stop_now")

    result = CliRunner().invoke(app, ["summary", str(writer.folder)])

    assert result.exit_code == 0
    assert "M1" in result.stdout
    assert ("torn" in result.stdout) == bool(read_session(writer.folder).damage)


@pytest.mark.parametrize("log_policy", ["stop_now", "stop", "pause", "continue"])
def test_the_reserve_makes_room_for_the_end(
    tmp_path: Path, small_disk: Callable[[Path, int], None], log_policy: str
) -> None:
    later = [] if log_policy != "pause" else [(300.0, "stop-now")]
    with closing(KeepingWriter(tmp_path / "session")) as writer:
        small_disk(writer.folder, RESERVE_BYTES + 200_000)
        commands = [command(verb, at_s=at_s) for at_s, verb in later]
        ran = run(TWO_MINUTES, rig_config(policies=policy(log_policy)), log=writer, commands=commands)
        assert not (writer.folder / RESERVE).exists()

    log = read_session(writer.folder)
    assert log.damage == []
    assert [entry.event.device for entry in log.entries if isinstance(entry.event, DeviceFault)] == ["log"]
    assert isinstance(log.entries[-1].event, SessionEnded)
    assert all(written == given for written, given in written_and_given(writer))
    expected = {"continue": EndReason.TIME, "pause": EndReason.STOPPED_NOW}.get(log_policy, EndReason.FAULT)
    assert ran.ended.reason is expected


def test_a_writer_that_cant_write_says_so_once_and_goes_on_in_the_room_of_its_reserve(
    tmp_path: Path, small_disk: Callable[[Path, int], None]
) -> None:
    entries = run(stage(GRATINGS, task_duration_min=0.1)).log.entries
    writer = LogWriter(tmp_path / "session")
    small_disk(writer.folder, RESERVE_BYTES + 1_000)

    for entry in entries:
        writer.append(entry)
    writer.pump()

    assert writer.trouble() == "events.jsonl can't be written (No space left on device)"
    assert writer.trouble() is None
    assert (writer.folder / EVENTS).read_bytes() == b"".join(encode(entry) + b"\n" for entry in entries)
    writer.close()


def test_a_disk_without_room_for_the_reserve_is_refused_and_no_folder_is_left(tmp_path: Path) -> None:
    with no_file_above(1_000_000), pytest.raises(LogError) as caught:
        LogWriter(tmp_path / "session")

    assert str(caught.value) == (
        f"{tmp_path / 'session'}: can't be written (File too large); choose a folder that can, with --out or the "
        "rig's data_dir"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cant_be_made_is_refused_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    folder = tmp_path / "file" / "session"

    with pytest.raises(LogError) as caught:
        LogWriter(folder)

    assert str(caught.value) == (
        f"{folder}: can't be written (Not a directory); choose a folder that can, with --out or the rig's data_dir"
    )


def test_a_folder_that_exists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError) as caught:
        LogWriter(tmp_path)

    assert str(caught.value) == f"{tmp_path}: there is a session in it already; choose another folder"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fast", [True, False])
def test_a_session_is_not_begun_where_it_cant_be_recorded(tmp_path: Path, fast: bool) -> None:
    (tmp_path / "file").write_text("not a folder")
    the_plan = plan(stage(GRATINGS), fast=fast, folder=tmp_path / "file" / "session")

    with pytest.raises(LogError, match="choose a folder that can"):
        run_plan(the_plan, runtime_dir=tmp_path / "running")

    assert list((tmp_path / "running").glob("*")) == []


def test_a_session_that_never_began_leaves_no_folder(tmp_path: Path) -> None:
    with closing(LogWriter(tmp_path / "session")):
        pass

    assert list(tmp_path.iterdir()) == []
