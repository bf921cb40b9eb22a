"""Who writes a log holds it, for as long as its process lives."""

from __future__ import annotations

import errno
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from rig.log import lock
from rig.log.lock import hold
from rig.log.writer import EVENTS, LogWriter

WRITER = """
import sys, time
from pathlib import Path
from rig.log.writer import LogWriter
writer = LogWriter(Path(sys.argv[1]))
print("holds", flush=True)
time.sleep(600)
"""


def free(path: Path) -> bool:
    with path.open("ab") as file:
        return hold(file.fileno())


def test_a_writer_holds_its_events_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "session" / EVENTS
    with closing(LogWriter(tmp_path / "session")) as writer:
        assert not free(path)
        writer.pump()
        assert not free(path)
        path.write_bytes(b"kept, since a log of nothing is taken away\n")

    assert free(path)


def test_a_killed_writer_holds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "session")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        held = not free(tmp_path / "session" / EVENTS)
        process.kill()

    assert held
    assert free(tmp_path / "session" / EVENTS)


def test_what_is_held_can_be_read_and_written_by_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / EVENTS
    with path.open("ab") as file:
        assert hold(file.fileno())
        file.write(b"line\n")
        file.flush()
        assert path.read_bytes() == b"line\n"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_there_are_no_locks_everybody_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def without(fd: int) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(lock, "_lock", without)
    with (tmp_path / EVENTS).open("ab") as one, (tmp_path / EVENTS).open("ab") as other:
        assert hold(one.fileno())
        assert hold(other.fileno())
