"""The record of a session: what was appended is what is read, and what is torn is named and left out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware import events as device_events
from rig.log.reader import SessionLog, Tail, read_session
from rig.log.schema import (
    EDGE_DTYPE,
    FLIP_DTYPE,
    KINDS,
    SCHEMA_VERSION,
    AnyEvent,
    Entry,
    Kind,
    LogError,
    decode,
    encode,
)
from rig.log.writer import EDGES, EVENTS, FLIPS, LogThread, LogWriter
from stages import events as task_events
from stages.events import InputEvent, Note, SessionEnded, SessionStarted
from tests.builders import GRATINGS, run, stage
from tests.rig.writers import KeepingWriter


def types_of(module: ModuleType) -> set[type[msgspec.Struct]]:
    """All events that a module defines."""
    return {
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, module.Event) and value is not module.Event
    }


DEFINED = types_of(task_events) | types_of(device_events)
INT64 = st.integers(-(2**63), 2**63 - 1)
PLAIN = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    int: INT64,
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(),
    bool: st.booleans(),
    type(None): st.none(),
    Any: PLAIN,
}


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    if annotation in SIMPLE:
        return SIMPLE[annotation]
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return st.one_of([values_of(argument) for argument in arguments])
    if get_origin(annotation) is list:
        return st.lists(values_of(arguments[0]), max_size=3)
    if get_origin(annotation) is dict:
        return st.dictionaries(st.text(), values_of(arguments[1]), max_size=3)
    if issubclass(annotation, StrEnum):
        return st.sampled_from(annotation)
    return st.builds(annotation, **{name: values_of(hint) for name, hint in get_type_hints(annotation).items()})


def test_every_event_that_is_defined_has_a_kind_and_can_be_logged() -> None:
    assert set(KINDS) == DEFINED
    assert set(get_args(AnyEvent)) == DEFINED


def test_every_input_and_nothing_else_is_an_input_of_the_task() -> None:
    assert set(get_args(InputEvent)) == {event for event, kind in KINDS.items() if kind is Kind.INPUT}


def test_every_action_is_a_decision() -> None:
    assert {KINDS[action] for action in get_args(task_events.Action)} == {Kind.DECISION}


def test_every_event_of_a_device_is_a_diagnostic() -> None:
    assert {KINDS[event] for event in types_of(device_events)} == {Kind.DIAGNOSTIC}


@pytest.mark.parametrize("event", sorted(DEFINED, key=lambda event: event.__name__))
def test_an_event_comes_out_of_its_line_as_it_went_in(event: type[msgspec.Struct]) -> None:
    @settings(max_examples=settings().max_examples // 4)  # of each of some fifty events
    @given(flip=st.integers(0, 2**32 - 1), refresh=st.integers(0, 2**32 - 1), value=values_of(event))
    def comes_out(flip: int, refresh: int, value: Any) -> None:
        entry = Entry(flip, refresh, value)
        line = encode(entry)

        assert b"\n" not in line
        assert decode(line) == entry
        assert encode(decode(line)) == line

    comes_out()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole session."""
    folder = tmp_path_factory.mktemp("recorded") / "session"
    with closing(LogWriter(folder)) as log:
        run(stage(GRATINGS, task_duration_min=0.2), log=log)
    return folder


@pytest.fixture
def folder(recorded: Path, tmp_path: Path) -> Path:
    """A copy of it to do harm to."""
    return Path(shutil.copytree(recorded, tmp_path / "session"))


def note(text: str) -> Entry:
    return Entry(1, 1, Note(who="tester", text=text, time_s=0.0))


def test_what_was_appended_is_what_is_read(tmp_path: Path) -> None:
    with closing(KeepingWriter(tmp_path / "session")) as writer:
        run(stage(GRATINGS, task_duration_min=0.2), log=writer)

    kept, log = writer.kept, read_session(tmp_path / "session")

    assert log.entries == kept.entries
    assert [encode(entry) for entry in log.entries] == log.lines
    assert log.started == kept.entries[0].event
    assert log.ended == kept.entries[-1].event
    np.testing.assert_array_equal(log.flips, kept.all_flips())
    np.testing.assert_array_equal(log.edges(), np.concatenate(kept.edge_rows))
    assert log.damage == []


def test_a_closed_session_leaves_three_files_and_no_reserve(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted([EVENTS, FLIPS, EDGES])


def test_the_three_files_hold_whole_records_and_end_with_a_line(folder: Path) -> None:
    assert (folder / EVENTS).read_bytes().endswith(b"\n")
    assert (folder / FLIPS).stat().st_size % FLIP_DTYPE.itemsize == 0
    assert (folder / EDGES).stat().st_size % EDGE_DTYPE.itemsize == 0


def test_a_thread_writes_what_it_is_given_in_order(tmp_path: Path) -> None:
    started = run(stage(GRATINGS, task_duration_min=0.05)).log.entries[0]
    entries = [started, *(note(str(n)) for n in range(5000))]

    with closing(LogThread(LogWriter(tmp_path / "session"))) as log:
        for entry in entries:
            log.append(entry)
            log.edges(ticks=np.array([entry.flip]), states=np.array([7], np.uint32))

    read = read_session(tmp_path / "session")
    assert read.entries == entries
    assert read.edges()["state"].tolist() == [7] * len(entries)


def test_a_folder_that_holds_a_session_is_not_written_to(folder: Path) -> None:
    before = (folder / EVENTS).read_bytes()

    with pytest.raises(LogError, match="there is a session in it already; choose another folder"):
        LogWriter(folder)

    assert (folder / EVENTS).read_bytes() == before


def cut(path: Path, n_bytes: int) -> None:
    """Take bytes off a file's end."""
    data = path.read_bytes()
    path.write_bytes(data[:-n_bytes])


def test_a_torn_line_at_the_end_is_named_and_left_out(folder: Path) -> None:
    whole = read_session(folder)
    cut(folder / EVENTS, 10)

    log = read_session(folder)

    n_left = len(whole.lines[-1]) + 1 - 10
    assert log.damage == [f"events.jsonl: the last line is torn ({n_left} bytes left out)"]
    assert log.entries == whole.entries[:-1]
    assert isinstance(whole.entries[-1].event, SessionEnded)
    assert log.ended is None


@pytest.mark.parametrize("n_bytes", [1, 11, 31])
def test_a_torn_record_at_the_end_of_the_flips_is_named_and_left_out(folder: Path, n_bytes: int) -> None:
    whole = read_session(folder)
    cut(folder / FLIPS, n_bytes)

    log = read_session(folder)

    assert log.damage == [f"flips.bin: the last record is torn ({32 - n_bytes} bytes left out)"]
    np.testing.assert_array_equal(log.flips, whole.flips[:-1])


def test_a_torn_record_at_the_end_of_the_edges_is_named_and_left_out(folder: Path) -> None:
    edges = read_session(folder).edges()
    cut(folder / EDGES, 5)

    log = read_session(folder)

    assert log.damage == ["edges.bin: the last record is torn (7 bytes left out)"]
    np.testing.assert_array_equal(log.edges(), edges[:-1])


def test_missing_columns_are_named_and_the_events_are_read(folder: Path) -> None:
    whole = read_session(folder)
    (folder / FLIPS).unlink()
    (folder / EDGES).unlink()

    log = read_session(folder)

    assert log.damage == ["flips.bin: missing", "edges.bin: missing"]
    assert (log.entries, len(log.flips), len(log.edges())) == (whole.entries, 0, 0)


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage",
        b"",
        b"\0" * 40,
        b'{"flip":1,"refresh":1,"event":{"type":"Note","who":"\xff","text":"","time_s":0}}',
        b'{"flip":1,"refresh":1,"event":{"type":"Unheard","time_s":0}}',
        b'{"flip":1,"refresh":1,"event":{"type":"Lick","time_s":"soon","ticks":1}}',
        b"[1,2,3]",
    ],
)
def test_a_line_in_the_middle_that_cant_be_read_is_named_with_its_number_and_the_rest_is_kept(
    folder: Path, garbage: bytes
) -> None:
    whole = read_session(folder)
    lines = [*whole.lines[:7], garbage, *whole.lines[8:]]
    (folder / EVENTS).write_bytes(b"".join(line + b"\n" for line in lines))

    log = read_session(folder)

    (damage,) = log.damage
    assert damage.startswith("events.jsonl:8: not readable, left out (")
    assert log.entries == [*whole.entries[:7], *whole.entries[8:]]
    assert log.lines == [*whole.lines[:7], *whole.lines[8:]]


@given(n=st.integers(0, 3_000))
def test_a_log_cut_anywhere_is_read_as_far_as_its_last_whole_line_or_refused(recorded: Path, n: int) -> None:
    import tempfile

    data = (recorded / EVENTS).read_bytes()[:n]
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / EVENTS).write_bytes(data)
        n_whole = data.count(b"\n")
        if n_whole:
            log = read_session(Path(name))
            assert len(log.entries) == n_whole
            assert any("torn" in damage for damage in log.damage) == (not data.endswith(b"\n"))
        else:
            with pytest.raises(LogError, match=r"is empty|does not begin with SessionStarted"):
                read_session(Path(name))


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("a file")


def no_log(folder: Path) -> None:
    (folder / EVENTS).unlink()


def empty(folder: Path) -> None:
    (folder / EVENTS).write_bytes(b"")


def no_beginning(folder: Path) -> None:
    lines = (folder / EVENTS).read_bytes().split(b"\n")
    (folder / EVENTS).write_bytes(b"\n".join(lines[1:]))


def other_json(folder: Path) -> None:
    (folder / EVENTS).write_bytes(b'{"a":1}\n')


def other_list(folder: Path) -> None:
    (folder / EVENTS).write_bytes(b"[1]\n")


def not_even_text(folder: Path) -> None:
    (folder / EVENTS).write_bytes(b"\xff\xfe\n")


def not_unicode(folder: Path) -> None:
    (folder / EVENTS).write_bytes(b'{"event":"\xff"}\n')


def a_version_in_words(folder: Path) -> None:
    (folder / EVENTS).write_bytes(b'{"event":{"schema_version":"new"}}\n')


def torn_first_line(folder: Path) -> None:
    (folder / EVENTS).write_bytes((folder / EVENTS).read_bytes()[:50])


def newer(folder: Path) -> None:
    text = (folder / EVENTS).read_text(encoding="utf-8")
    newer_one = text.replace(f'"schema_version":{SCHEMA_VERSION}', f'"schema_version":{SCHEMA_VERSION + 1}', 1)
    (folder / EVENTS).write_text(newer_one, encoding="utf-8")


NO_BEGINNING = "does not begin with SessionStarted; it is no session's log, or its beginning is lost"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (no_folder, "no such folder; name the folder of a session"),
        (a_file, "no such folder; name the folder of a session"),
        (no_log, "holds no events.jsonl; name the folder of a session, not one above or below it"),
        (empty, "is empty; the session broke off before its first event, there is nothing to read"),
        (no_beginning, NO_BEGINNING),
        (other_json, NO_BEGINNING),
        (other_list, NO_BEGINNING),
        (not_even_text, NO_BEGINNING),
        (not_unicode, NO_BEGINNING),
        (a_version_in_words, NO_BEGINNING),
        (torn_first_line, NO_BEGINNING),
        (newer, f"was written with schema {SCHEMA_VERSION + 1}, this program knows up to {SCHEMA_VERSION}; update"),
    ],
)
def test_what_is_no_log_of_ours_is_refused_with_a_sentence(
    folder: Path, harm: Callable[[Path], None], said: str
) -> None:
    harm(folder)

    with pytest.raises(LogError) as caught:
        read_session(folder)

    assert said in str(caught.value)
    assert str(caught.value).startswith(str(folder))


@given(cuts=st.lists(st.integers(0, 20_000), max_size=8).map(sorted))
def test_a_log_that_grows_in_pieces_is_followed_each_entry_once(recorded: Path, cuts: list[int]) -> None:
    import tempfile

    data = (recorded / EVENTS).read_bytes()
    followed: list[Entry] = []
    with tempfile.TemporaryDirectory() as name:
        tail = Tail(Path(name))
        assert list(tail.read()) == []
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            with (Path(name) / EVENTS).open("ab") as file:
                file.write(data[begin:end])
            followed += tail.read()
        assert list(tail.read()) == []

    assert followed == [decode(line) for line in data.splitlines()]


def test_who_follows_a_log_goes_on_after_a_line_that_cant_be_read(tmp_path: Path) -> None:
    lines = [encode(note("before")), b"garb\xffage", encode(note("after"))]
    (tmp_path / EVENTS).write_bytes(b"".join(line + b"\n" for line in lines))

    assert list(Tail(tmp_path).read()) == [note("before"), note("after")]


def test_a_session_that_still_runs_can_be_read(tmp_path: Path) -> None:
    """Two processes: the writer has pumped some of it and goes on."""
    started, *rest = run(stage(GRATINGS, task_duration_min=0.05)).log.entries
    with closing(LogWriter(tmp_path / "session")) as log:
        log.append(started)
        log.append(rest[0])
        log.pump()

        early: SessionLog = read_session(tmp_path / "session")
        assert early.entries == [started, rest[0]]
        assert early.ended is None
        assert isinstance(early.started, SessionStarted)

        for entry in rest[1:]:
            log.append(entry)

    assert read_session(tmp_path / "session").entries == [started, *rest]
