"""One session, in one log or two, as the row that decisions rest on; and that row against its logs again."""

from __future__ import annotations

import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from hardware.simulated.mice import MouseKind
from rig.lab.rows import Session, WaterKind
from rig.log.reader import read_session
from rig.log.schema import encode
from rig.log.writer import EVENTS, LogWriter
from rig.records.camstim.importing import import_camstim, zone_of
from rig.records.folds import Folds
from rig.records.performance import trial_columns
from rig.records.recover import _end
from rig.session.assemble import SessionPlan
from rig.session.process import run_plan
from rig.training.memory import InProcess, OnDisk
from rig.training.projection import ProjectionError, day_of, project, shown_in, water_of
from rig.training.recompute import by_session, recompute
from rig.training.unrecorded import find_in, unrecorded
from stages.metrics import n_contingent, peak_d_prime
from stages.parameters import Stage
from tests.builders import GRATINGS, IMAGES, SWEEP, command, recorded_session, rig_config, run, stage
from tests.rig.lab import labs
from tests.telling import Tell

DAY = "2026-01-05"
BEGAN = datetime(2026, 1, 5, 10, tzinfo=UTC)


def session(folder: Path, parameters: Stage, *, n: int = 1, mouse: str = "M1", begins: datetime = BEGAN) -> Path:
    """Run a session into a folder of its own, and return that."""
    plan = SessionPlan(
        mouse=mouse,
        stage=parameters,
        rig=rig_config(),
        seed=n,
        mouse_kind=MouseKind.PERFECT,
        fast=True,
        session_id=UUID(int=n),
        folder=folder / f"session_{n}",
        who="tester",
        begins=begins,
    )
    run_plan(plan, runtime_dir=folder)
    return plan.folder


def torn(folder: Path, *, keep: float) -> None:
    """Have a session's log break off, as a kill would leave it."""
    path = folder / EVENTS
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def closed(folder: Path) -> None:
    """Give a torn log its end as ``rig recover`` does, without the pictures and files that take seconds."""
    end = encode(_end(read_session(folder), by="tester"))
    with (folder / EVENTS).open("ab") as file:
        file.write(b"\n" + end + b"\n")


@pytest.fixture(scope="module")
def two_parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A session that crashed and was closed, and its second part."""
    parent = tmp_path_factory.mktemp("parts")
    first = session(parent, stage(IMAGES, task_duration_min=8))
    torn(first, keep=0.7)
    closed(first)
    assert "not readable" in read_session(first).damage[0]  # its torn line, which is no loss but its own
    return [first, session(parent, stage(IMAGES, task_duration_min=4), n=2, begins=BEGAN + timedelta(minutes=9))]


def test_a_row_holds_what_the_summary_of_its_log_says(tmp_path: Path) -> None:
    log = read_session(session(tmp_path, stage(IMAGES, task_duration_min=9)))
    columns = trial_columns(Folds.of(log.entries).trials.rows)

    row = project([log], day=DAY)

    assert (row.stage, row.mouse, row.day, row.ended) == (IMAGES, "M1", DAY, "time")
    assert row.log_id == row.session_id == log.started.session_id
    assert row.part_of is None
    assert row.peak_d_prime == peak_d_prime(columns)
    assert row.n_contingent == n_contingent(columns) == row.summary["n_go"] + row.summary["n_catch"]
    assert row.n_hit == row.summary["n_hit"] > 40
    assert row.response_rate == pytest.approx(row.n_hit / row.n_contingent)
    assert row.aborted_time_share == 0.0
    assert row.water_ml * 1000 == pytest.approx(row.summary["water_ul"])
    assert row.planned_min == 9
    assert row.task_min == pytest.approx(9, abs=0.1)
    assert (row.image_set, row.omissions, row.passive, row.imaging) == ("A", True, False, True)
    assert row.log_sha256 == log.sha256()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (stage(GRATINGS), {"image_set": None, "omissions": False, "passive": False, "imaging": False}),
        (stage("OPHYS_5_images_B_passive"), {"image_set": "B", "omissions": True, "passive": True, "imaging": True}),
        (
            stage(SWEEP),
            {"image_set": None, "omissions": False, "passive": True, "peak_d_prime": None, "n_contingent": 0},
        ),
    ],
    ids=["gratings", "passive", "sweep"],
)
def test_what_a_stage_is_stands_in_the_row(tmp_path: Path, parameters: Stage, expected: dict[str, Any]) -> None:
    row = project([read_session(session(tmp_path, parameters))], day=DAY)

    assert {name: getattr(row, name) for name in expected} == expected
    assert row.task_min == pytest.approx(row.planned_min, abs=0.2)


def test_the_figures_of_two_parts_go_over_the_trials_of_both(two_parts: list[Path]) -> None:
    logs = [read_session(folder) for folder in two_parts]
    trials = [row for log in logs for row in Folds.of(log.entries).trials.rows]

    first, both = project(logs[:1], day=DAY), project(logs, day=DAY)

    assert both.peak_d_prime == peak_d_prime(trial_columns(trials))
    assert both.n_contingent == n_contingent(trial_columns(trials)) > first.n_contingent
    assert both.session_id == first.session_id == both.part_of
    assert both.log_id != both.session_id
    assert (first.ended, both.ended) == ("crashed", "time")
    assert both.started_at == first.started_at
    assert both.planned_min == first.planned_min == 8
    assert both.task_min == pytest.approx(first.task_min + 4, abs=0.2)
    assert both.water_ml < first.water_ml  # a log's own part of it
    assert water_of(both) != water_of(first)


def test_water_is_the_logs_own_and_is_said_once(two_parts: list[Path]) -> None:
    row = project([read_session(two_parts[0])], day=DAY)
    water = water_of(row)

    assert water is not None
    assert (water.kind, water.session_id, water.volume_ml) == (WaterKind.SESSION, row.log_id, row.water_ml)
    assert water.identity() == water.identity()
    assert water_of(msgspec.structs.replace(row, water_ml=0.0)) is None


def test_closing_a_log_that_broke_off_changes_nothing_but_its_end(tmp_path: Path) -> None:
    folder = session(tmp_path, stage(IMAGES, task_duration_min=2))
    torn(folder, keep=0.8)
    before = project([read_session(folder)], day=DAY)
    closed(folder)

    after = project([read_session(folder)], day=DAY)

    assert before.facts == after.facts
    assert before.ended == after.ended == "crashed"
    assert before.water_ml == after.water_ml


def test_a_pause_counts_neither_as_task_nor_as_a_trials_time() -> None:
    quiet = run(stage(IMAGES, task_duration_min=2), kind=MouseKind.EARLY).as_read()
    paused = run(
        stage(IMAGES, task_duration_min=2),
        kind=MouseKind.EARLY,
        commands=[command("pause", at_s=30.0), command("resume", at_s=90.0)],
    ).as_read()
    rows = [_project_in_memory(log) for log in (quiet, paused)]

    assert rows[1].task_min == pytest.approx(rows[0].task_min, abs=0.1)
    assert rows[1].aborted_time_share == pytest.approx(rows[0].aborted_time_share, abs=0.1)
    assert rows[1].aborted_time_share > 0.3


def _project_in_memory(log: Any) -> Any:
    from rig.training.projection import _facts

    return _facts([log], [Folds.of(log.entries)], day="2026-01-01")


def test_a_session_that_broke_off_before_its_first_flash_spends_no_novelty(two_parts: list[Path]) -> None:
    row = project([read_session(two_parts[0])], day=DAY)
    dark = msgspec.structs.replace(row, summary=row.summary | {"n_flashes_shown": 0, "n_flashes_omitted": 0})

    assert shown_in([row]).image_set == "A"
    assert shown_in([dark]).image_set is None
    assert not shown_in([dark]).omissions
    assert shown_in([dark, row]).image_set == "A"


@pytest.mark.parametrize(
    ("zone_h", "day"), [(0, "2026-01-05"), (-8, "2026-01-04"), (10, "2026-01-05"), (14, "2026-01-05")]
)
def test_the_day_is_the_one_on_the_laboratorys_wall(zone_h: int, day: str) -> None:
    assert day_of("2026-01-05T05:30:00+00:00", timezone(timedelta(hours=zone_h))) == day


def test_a_real_session_that_camstim_recorded_gives_its_published_figures(tmp_path: Path, tell: Tell) -> None:
    log = import_camstim(recorded_session(), tmp_path / "imported", time_zone=zone_of("America/Los_Angeles"))

    row = project([log], day=day_of(log.started.started_at, zone_of("America/Los_Angeles")))

    assert (row.mouse, row.day, row.stage) == ("457841", "2019-06-20", "TRAINING_5_images_A_handoff_lapsed")
    assert row.peak_d_prime == pytest.approx(1.44054, abs=5e-6)  # TASK_FACTS 4.6
    assert (row.n_contingent, row.n_hit, row.n_trials, row.n_licks) == (110, 81, 953, 2908)
    assert row.water_ml == pytest.approx(0.592)
    assert row.response_rate == pytest.approx((81 + 6) / 110)
    assert not row.simulated
    tell(f"peak d′ {row.peak_d_prime:.5f}, {row.n_contingent} contingent trials, {row.aborted_time_share:.0%} aborted")


def test_logs_that_are_no_parts_of_one_session_are_refused(tmp_path: Path, two_parts: list[Path]) -> None:
    logs = [read_session(folder) for folder in two_parts]
    other = read_session(session(tmp_path, stage(IMAGES), n=3, mouse="M2", begins=BEGAN + timedelta(hours=1)))
    later = read_session(session(tmp_path, stage(GRATINGS), n=4, begins=BEGAN + timedelta(hours=1)))

    for parts, day, says in [
        ([], DAY, "without a log"),
        ([logs[1], logs[0]], DAY, "began before the part it is said to follow"),
        ([logs[0], other], DAY, "holds M2 at OPHYS_1_images_A, and the session it is said to continue is M1's"),
        ([logs[0], later], DAY, f"holds M1 at {GRATINGS}"),
        (logs, "2026-01-09", "is said to be of 2026-01-09, and its log begins 2026-01-05T10:00"),
    ]:
        with pytest.raises(ProjectionError, match=says):
            project(parts, day=day)


def test_a_log_with_a_line_that_cannot_be_read_is_refused_by_its_number(tmp_path: Path) -> None:
    folder = session(tmp_path, stage(GRATINGS))
    lines = (folder / EVENTS).read_bytes().split(b"\n")
    lines[40] = lines[40][:-9] + b"garbage"
    (folder / EVENTS).write_bytes(b"\n".join(lines))

    with pytest.raises(ProjectionError, match=rf"{EVENTS}:41: not readable.*bring back the file from a copy"):
        project([read_session(folder)], day=DAY)


@pytest.fixture(scope="module")
def recorded_three(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Session]]:
    parent = tmp_path_factory.mktemp("three")
    short = stage(GRATINGS, warm_up_trials=0)
    folders = [session(parent, short, n=n, begins=BEGAN + timedelta(days=n)) for n in (1, 2, 3)]
    rows = [project([read_session(folder)], day=f"2026-01-0{5 + n}") for n, folder in enumerate(folders, start=1)]
    return parent, rows


@pytest.fixture
def three(recorded_three: tuple[Path, list[Session]], tmp_path: Path) -> tuple[Path, list[Session]]:
    """Three sessions of a mouse and their rows, to do with as one likes."""
    parent, rows = recorded_three
    return Path(shutil.copytree(parent, tmp_path / "sessions")), list(rows)


def test_rows_that_are_what_their_logs_say_are_recomputed(three: tuple[Path, list[Session]]) -> None:
    parent, rows = three

    found = recompute(rows, find=find_in([parent]).get)

    assert found.history == tuple(row.facts for row in rows)
    assert (found.n_recomputed, found.differences, found.out_of_reach) == (3, (), ())
    assert found.words() == "3 of 3 sessions recomputed from their logs"


def test_a_log_out_of_reach_leaves_its_row_and_is_said(three: tuple[Path, list[Session]], tmp_path: Path) -> None:
    parent, rows = three
    (parent / "session_2").rename(tmp_path / "gone")

    found = recompute(rows, find=find_in([parent]).get)

    assert found.history == tuple(row.facts for row in rows)
    assert not found.differences
    assert found.words() == "2 of 3 sessions recomputed from their logs; out of reach: session_2"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"stage": "TRAINING_1_gratings"}, f"stage TRAINING_1_gratings in the database, stage {GRATINGS} in the log"),
        ({"n_contingent": 400}, "n contingent 400 in the database, n contingent "),
        ({"peak_d_prime": 2.5}, "peak d prime 2.500 in the database, peak d prime none in the log"),
        ({"water_ml": 0.9}, "water ml 0.900 in the database"),
        ({"mouse": "M2"}, "mouse M2 in the database, mouse M1 in the log"),
    ],
)  # fmt: skip
def test_a_row_that_says_something_else_than_its_log_is_named(
    three: tuple[Path, list[Session]], changes: dict[str, Any], says: str
) -> None:
    parent, rows = three
    rows[1] = msgspec.structs.replace(rows[1], **changes)

    found = recompute(rows, find=find_in([parent]).get)

    assert len(found.differences) == 1
    assert says in found.differences[0]
    assert "session_2: the session of 2026-01-07 is not what the database says" in found.differences[0]
    assert found.n_recomputed == 2


def test_an_edited_log_is_named_with_its_line(three: tuple[Path, list[Session]]) -> None:
    parent, rows = three
    path = parent / "session_2" / EVENTS
    lines = path.read_bytes().split(b"\n")
    number = next(n for n, line in enumerate(lines) if b'"hit"' in line)
    lines[number] = lines[number].replace(b'"hit"', b'"miss"')
    path.write_bytes(b"\n".join(lines))

    (told,) = recompute(rows, find=find_in([parent]).get).differences

    assert "is not the log that was recorded on 2026-01-07 (its hash differs)" in told
    assert f"line {number + 1} of the log, not what the session decided" in told


def test_an_edit_that_no_decision_shows_is_found_by_the_hash(three: tuple[Path, list[Session]]) -> None:
    parent, rows = three
    path = parent / "session_2" / EVENTS
    path.write_bytes(path.read_bytes().replace(b'"code_version":"', b'"code_version":"9'))

    (told,) = recompute(rows, find=find_in([parent]).get).differences

    assert told.endswith("(its hash differs); bring back the file from a copy")


def test_sessions_are_in_the_order_of_their_instants_whatever_the_offsets() -> None:
    first = labs.session(
        labs.uuid(1), started_at="2026-10-25T02:50:00+02:00", log_started_at="2026-10-25T02:50:00+02:00"
    )
    second = labs.session(
        labs.uuid(2), started_at="2026-10-25T02:10:00+01:00", log_started_at="2026-10-25T02:10:00+01:00"
    )

    assert by_session([second, first]) == [[first], [second]]


def test_what_was_reckoned_is_remembered_by_the_bytes(three: tuple[Path, list[Session]], tmp_path: Path) -> None:
    parent, rows = three
    for memory in (InProcess(), OnDisk(tmp_path / "cache", version="1")):
        first = recompute(rows, find=find_in([parent]).get, memory=memory)
        again = recompute(rows, find=find_in([parent]).get, memory=memory)
        assert first == again
        wrong = [*rows[:2], msgspec.structs.replace(rows[2], n_hit=7)]
        assert recompute(wrong, find=find_in([parent]).get, memory=memory).differences
    other = OnDisk(tmp_path / "cache", version="2")
    assert len(list((tmp_path / "cache").glob("*.json"))) == 3
    recompute(rows, find=find_in([parent]).get, memory=other)
    assert len(list((tmp_path / "cache").glob("*.json"))) == 6


def test_logs_that_nobody_knows_are_found_oldest_first(three: tuple[Path, list[Session]], tmp_path: Path) -> None:
    parent, rows = three
    session(parent, stage(GRATINGS), n=4, mouse="M2")
    with closing(LogWriter(parent / "too_young")):
        pass

    found = unrecorded([parent, parent / "nowhere"], mouse="M1", simulated=True, known={rows[1].log_id})

    assert [each.folder.name for each in found] == ["session_1", "session_3"]
    assert unrecorded([parent], mouse="M1", simulated=False, known=()) == []  # none was a real mouse's
