"""Files that are there whole or not at all, and never in another one's place."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rig.cli import app
from rig.log.writer import EDGES, EVENTS, FLIPS
from rig.records.whole import in_the_way, write_whole
from tests.builders import IMAGES
from tests.peers.nwb_sessions import record
from tests.rig.test_disk_full import no_file_above

NAME = "session.nwb"


def test_a_full_disk_leaves_nothing_new_and_the_older_file(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"older")

    with no_file_above(1000), pytest.raises(OSError, match="File too large") as caught:
        write_whole(tmp_path / NAME, bytes(2000))

    assert caught.value.filename == str(tmp_path / NAME)
    assert caught.value.errno == errno.EFBIG
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {NAME: b"older"}


def test_two_that_write_the_same_file_at_once_each_write_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def another_comes_between(fd: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        write_whole(tmp_path / NAME, b"the other's")
        assert (tmp_path / NAME).read_bytes() == b"the other's"
        fsync(fd)

    monkeypatch.setattr(os, "fsync", another_comes_between)
    write_whole(tmp_path / NAME, b"the first's")

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {NAME: b"the first's"}


def test_a_file_can_be_made_where_there_is_none_or_an_older_one_of_its_kind(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"older")

    assert in_the_way(tmp_path / NAME, suffix=".nwb") is None
    assert in_the_way(tmp_path / "new.nwb", suffix=".nwb") is None
    assert in_the_way(tmp_path / "gone" / "new", suffix=".nwb") is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows asks for a right to make links")
def test_a_link_to_the_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / FLIPS).write_bytes(b"flips")
    (tmp_path / "link.nwb").symlink_to(tmp_path / FLIPS)

    assert "record" in (in_the_way(tmp_path / "link.nwb", suffix=".nwb") or "")


def test_names_of_the_record_are_refused_in_any_spelling(tmp_path: Path) -> None:
    assert "record" in (in_the_way(tmp_path / EDGES, suffix=".nwb") or "")
    assert "record" in (in_the_way(tmp_path / EVENTS.upper(), suffix=".nwb") or "")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("whole") / "session", IMAGES, minutes=0.5)


@pytest.mark.parametrize("kind", ["nwb", "camstim"])
@pytest.mark.parametrize("name", [EVENTS, FLIPS, EDGES, "notes.txt"])
def test_an_export_never_goes_over_the_record_or_another_kind_of_file(
    session: Path, tmp_path: Path, kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = Path(shutil.copytree(session, tmp_path / "session"))
    (folder / "notes.txt").write_text("the spout was wiped")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    result = CliRunner().invoke(app, ["export", kind, str(folder), "--out", str(folder / name)])

    assert result.exit_code == 1
    assert result.stderr.startswith(f"{folder / name}: is ")
    assert "give another name with --out" in result.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
