"""The facts: what goes in comes out, once, and nothing changes it; on both engines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.resources import as_file, files
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

from rig.lab.errors import LabError
from rig.lab.lab import Lab
from rig.lab.migrate import migrate
from rig.lab.rows import (
    FACTS,
    Aspect,
    Calibrated,
    Container,
    Decided,
    Fact,
    Judge,
    Judgement,
    Mouse,
    Override,
    OverrideKind,
    Plane,
    Remark,
    Rig,
    Session,
    Verdict,
    Water,
    WaterKind,
    Weight,
)
from rig.lab.store import Store
from rig.lab.tables import METADATA, TABLES
from stages.events import EndReason
from stages.history import SessionFacts
from tests.rig.lab.labs import DAY, NEXT_DAY, drunk, lab, mouse, session, start, ticking, uuid, weight
from tests.rig.lab.labs import store as open_store

EVERY_KIND: list[Fact] = [
    mouse(),
    weight(0.1 + 0.2 + 21.0),
    drunk(uuid(1)),
    start(uuid(1)),
    session(uuid(1)),
    Decided(
        mouse="M1",
        day=DAY,
        after_session=None,
        stage="TRAINING_0_gratings_autorewards_15min",
        from_stage=None,
        move="first",
        sentence="begins at TRAINING_0: peak d′ is not asked for",
        curriculum="visual_behavior 1.1.1 A/B",
        decision={"evidence": [2.31, None, 1e-300], "ready": False, "words": "d′ „≥“ 2"},
    ),
    Override(mouse="M1", day=DAY, kind=OverrideKind.STAGE, stage="OPHYS_0", why="retake"),
    Remark(day=DAY, text="spout wiped\nand moved 0.5 mm", rig="rig-1"),
    Calibrated(rig="rig-1", device="valve", day=DAY, content={"points": [[5, 0.021], [10, 0.039]]}),
    Rig(name="rig-1", content={}),
    Container(mouse="M1", name="VISp 175", structure="VISp", depth_um=175.0),
    Plane(mouse="M1", session_id=uuid(1), plane_index=7, container="VISp 175"),
    Verdict(
        mouse="M1",
        session_id=uuid(1),
        plane_index=0,
        aspect=Aspect.Z_DRIFT,
        judge=Judge.OPERATOR,
        judgement=Judgement.FAIL,
        figure="12 µm",
    ),
]


@pytest.fixture
def opened(lab_url: str, tmp_path: Path) -> Iterator[Lab]:
    with closing(lab(lab_url, tmp_path)) as one:
        yield one


@pytest.fixture
def store(lab_url: str) -> Iterator[Store]:
    with closing(open_store(lab_url)) as one:
        yield one


def complete(fact: Fact, number: int = 1) -> Fact:
    return msgspec.structs.replace(fact, id=uuid(number), recorded_at="2026-03-02T08:00:00Z", who="ana", host="rig-1")


def test_the_kinds_tried_here_are_all_there_are() -> None:
    assert [type(fact) for fact in EVERY_KIND] == list(FACTS)


def test_a_row_of_every_kind_comes_back_as_it_was_written(opened: Lab) -> None:
    for fact in EVERY_KIND:
        recorded = opened.record(fact)
        (found,) = opened.rows(type(fact))
        assert found == recorded
        assert (recorded.who, recorded.host, recorded.recorded_at[:10]) == ("ana", "rig-1", DAY)
        assert msgspec.structs.replace(recorded, id="", recorded_at="", who="", host="") == fact


def test_another_rig_reads_of_every_kind_what_this_one_wrote(opened: Lab, lab_url: str, tmp_path: Path) -> None:
    recorded = [opened.record(fact) for fact in EVERY_KIND]
    opened.reconcile()

    with closing(lab(lab_url, tmp_path, rig="rig-2")) as other:
        other.reconcile()
        assert [other.rows(type(fact)) for fact in recorded] == [[fact] for fact in recorded]


def test_a_session_says_all_that_decisions_rest_on() -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(SessionFacts)}
    ours = {field.name: field.type for field in msgspec.structs.fields(Session)}
    assert fields.keys() <= ours.keys()
    assert session(uuid(1)).facts == SessionFacts(**{name: getattr(session(uuid(1)), name) for name in fields})


def test_what_there_can_be_one_of_is_there_once_however_often_it_is_recorded(opened: Lab) -> None:
    once = [fact for fact in EVERY_KIND if fact.said_once() is not None]
    assert {fact.table for fact in once} == {"mice", "water", "starts", "sessions", "containers", "planes"}
    once.append(drunk(uuid(1), kind=WaterKind.BEFORE_PASSIVE))
    first = [opened.record(fact) for fact in once]
    opened.reconcile()

    assert [opened.record(fact) for fact in once] == first
    assert [opened.record(msgspec.structs.replace(fact, who="bo", host="rig-2")) for fact in once] == first
    opened.reconcile()
    assert [row for kind in FACTS for row in opened.rows(kind)] == sorted(first, key=lambda row: FACTS.index(type(row)))


CLASHES = [
    (mouse("M1"), mouse("M1", floor_weight_g=18.0)),
    (mouse("M2"), mouse("m2")),
    (drunk(uuid(1), 0.42), drunk(uuid(1), 0.43)),
    (drunk(uuid(2)), drunk(uuid(2), mouse="M2")),
    (session(uuid(1)), session(uuid(1), peak_d_prime=2.32)),
    (session(uuid(2)), session(uuid(2), log_sha256="1" * 64)),
]


def test_the_same_fact_with_another_content_is_refused_and_the_first_stays(opened: Lab) -> None:
    for first, then in CLASHES:
        recorded = opened.record(first)
        with pytest.raises(LabError, match=rf"has row {recorded.id} of {first.table} with another content"):
            opened.record(then)
        assert recorded in opened.rows(type(first))
    assert sum(len(opened.rows(kind)) for kind in FACTS) == len(CLASHES)


def test_water_by_hand_is_there_as_often_as_it_was_given(opened: Lab) -> None:
    for _ in range(3):
        opened.record(Water(mouse="M1", day=DAY, kind=WaterKind.SUPPLEMENT, volume_ml=0.2))
    assert len(opened.rows(Water)) == 3


def test_a_correction_stands_in_its_rows_place_and_both_are_kept(opened: Lab) -> None:
    slip, after = opened.record(weight(12.3)), opened.record(weight(21.0))
    corrected = opened.correct(slip, weight_g=21.3, why="typed 12 for 21")
    again = opened.correct(corrected, weight_g=21.4, why="read off the picture")

    assert opened.rows(Weight) == [again, after]
    assert [row.weight_g for row in opened.versions(again)] == [12.3, 21.3, 21.4]
    assert opened.versions(slip) == opened.versions(again)
    assert again.why == "read off the picture"


def test_a_fact_that_is_corrected_to_another_mouse_is_no_longer_the_first_ones(opened: Lab) -> None:
    slip = opened.record(weight(mouse="M1"))
    opened.correct(slip, mouse="M2", why="was M2 on the scales")
    assert opened.rows(Weight, mouse="M1") == []
    assert [row.mouse for row in opened.rows(Weight, mouse="M2")] == ["M2"]


def test_what_is_withdrawn_stands_no_more(opened: Lab) -> None:
    opened.withdraw(opened.record(weight()), why="the scales were not zeroed")
    assert opened.rows(Weight) == []


def test_of_two_corrections_made_apart_the_later_stands_on_every_rig(lab_url: str, tmp_path: Path) -> None:
    now = ticking()
    with (
        closing(lab(lab_url, tmp_path, rig="rig-1", now=now)) as one,
        closing(lab(lab_url, tmp_path, rig="rig-2", now=now)) as two,
    ):
        slip = one.record(weight(12.3))
        one.reconcile()
        two.reconcile()
        one.correct(slip, weight_g=21.3, why="a")
        later = two.correct(slip, weight_g=21.4, why="b")
        for each in (one, two, one):
            each.reconcile()
        assert one.rows(Weight) == two.rows(Weight) == [later]


def test_what_was_withdrawn_comes_back_by_a_correction_and_not_by_recording_it_again(opened: Lab) -> None:
    first = opened.record(mouse("M1"))
    opened.withdraw(first, why="was M2")
    with pytest.raises(LabError, match=r"recorded in mice before, and withdrawn by ana \(was M2\): put it back"):
        opened.record(mouse("M1"))
    back = opened.correct(opened.versions(first)[-1], withdrawn=False, why="was M1 after all")
    assert opened.mice() == [back]
    assert opened.record(mouse("M1")) == back


def test_what_others_know_a_fact_by_is_not_corrected(opened: Lab) -> None:
    with pytest.raises(LabError, match="m1 is what other rows know this row of mice by"):
        opened.correct(opened.record(mouse("M1")), name="M2", why="renamed")
    with pytest.raises(LabError, match="is what other rows know this row of water by"):
        opened.correct(opened.record(drunk(uuid(1))), session_id=uuid(2), why="of another session")


WRONG_CORRECTIONS: list[tuple[dict[str, Any], str]] = [
    ({"why": "", "weight_g": 21.0}, "correction_has_reason"),
    ({"why": "typed wrong", "weigth_g": 21.0}, "a row of weights has no weigth_g"),
    ({"why": "typed wrong", "weight_g": "21"}, "weight_g"),
]


def test_a_correction_that_makes_no_sense_is_refused(opened: Lab) -> None:
    row = opened.record(weight())
    for changes, says in WRONG_CORRECTIONS:
        with pytest.raises(LabError, match=says):
            opened.correct(row, **changes)
    assert opened.rows(Weight) == [row]


NONSENSE: list[tuple[Fact, str]] = [
    (session(uuid(1), n_hit="21"), "Expected `int`, got `str`"),
    (weight(math.nan), "weight_g"),
    (weight(math.inf), "weight_g"),
    (weight(0.0), "weight_positive"),
    (weight(mouse=""), "mouse"),
    (weight(day="2.3.2026"), "day"),
    (weight(day="2026-02-31T00:00"), "day"),
    (weight(id="1"), "id_is_uuid"),
    (weight(withdrawn=True), "withdrawn_corrects"),
    (drunk(uuid(1), -0.1), "volume_not_negative"),
    (Water(mouse="M1", day=DAY, kind=WaterKind.SESSION, volume_ml=0.4), "session_named"),
    (drunk(uuid(1), kind="supper"), "kind"),
    (session(uuid(1), started_at="2026-03-02T09:00:00"), "started_at"),
    (session(uuid(1), n_licks=1.5), "n_licks"),
    (session(uuid(1), n_trials=-1), "counts_not_negative"),
    (Override(mouse="M1", day=DAY, kind=OverrideKind.STAGE, why="retake"), "stage_named"),
    (Override(mouse="M1", day=DAY, kind=OverrideKind.WELFARE), "reason_said"),
    (Plane(mouse="M1", session_id=uuid(1), plane_index=8, container="x"), "eight_planes"),
    (Remark(day=DAY, text="a\0b"), "notes: .*null character"),
    (Remark(day=DAY, text="a\udc80b"), "notes: .*surrogate"),
    (Rig(name="rig-1", content={"what": object()}), "object"),
]


def test_what_makes_no_sense_is_refused_with_a_sentence(opened: Lab) -> None:
    for fact, says in NONSENSE:
        with pytest.raises(LabError, match=says):
            opened.record(fact)
    assert [row for kind in FACTS for row in opened.rows(kind)] == []


def test_an_unknown_mouse_is_refused_and_the_nearest_named(opened: Lab) -> None:
    with pytest.raises(LabError, match="no mouse 457841; there are no mice yet"):
        opened.mouse("457841")
    opened.record(mouse("457841"))
    assert opened.mouse("457841").name == "457841"
    with pytest.raises(LabError, match=r"no mouse 457814; did you mean 457841\?"):
        opened.mouse("457814")


@pytest.mark.parametrize("url", ["", "vision.sqlite", "mysql://server/vision", "sqlite://", "sqlite:///:memory:"])
def test_a_url_of_no_database_of_ours_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"sqlite:///FILE"):
        lab(url, tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vision.sqlite").write_text("mouse;weight\nM1;21.3\n" * 1000)
    with pytest.raises(LabError, match="not a database"):
        lab(f"sqlite:///{tmp_path}/vision.sqlite", tmp_path)


def test_the_database_refuses_to_change_or_delete_a_fact_of_any_kind(store: Store) -> None:
    rows = [complete(fact) for fact in EVERY_KIND]
    store.insert(rows)
    for row, change in product(rows, ["UPDATE {} SET who = 'nobody'", "DELETE FROM {}", "TRUNCATE {}"]):
        with pytest.raises(LabError, match=r"never changed or deleted|TRUNCATE"), store.writing() as connection:
            connection.exec_driver_sql(change.format(row.table))
        assert store.find(type(row)) == [row]


def test_a_file_keeps_a_fact_of_any_kind_that_is_to_be_replaced(tmp_path: Path) -> None:
    with closing(open_store(f"sqlite:///{tmp_path}/vision.sqlite")) as store:
        migrate(store)
        rows = [complete(fact) for fact in EVERY_KIND]
        store.insert(rows)
        for row in rows:
            with store.writing() as connection:
                columns = ", ".join(f"'bo' AS {name}" if name == "who" else name for name in row.__struct_fields__)
                names = ", ".join(row.__struct_fields__)
                replace = f"REPLACE INTO {row.table} ({names}, content_sha256) SELECT {columns}, '' FROM {row.table}"
                connection.exec_driver_sql(replace)
            assert store.find(type(row)) == [row]


def test_a_row_that_somebody_changed_all_the_same_is_not_believed(empty_url: str) -> None:
    with closing(open_store(empty_url)) as store:
        migrate(store)
        store.insert([complete(weight(21.3))])
        with store.writing() as connection:
            if store.is_file:
                connection.exec_driver_sql("DROP TRIGGER weights_no_update")
            else:
                connection.exec_driver_sql("ALTER TABLE weights DISABLE TRIGGER ALL")
            connection.exec_driver_sql("UPDATE weights SET weight_g = 23.1")
        with pytest.raises(LabError, match="not what was recorded at 2026-03-02T08:00:00Z by ana: somebody changed it"):
            store.find(Weight)


def test_the_steps_make_of_an_empty_database_what_the_program_expects(empty_url: str) -> None:
    with closing(open_store(empty_url)) as store, store.reading() as connection:
        assert sa.inspect(connection).get_table_names() == []
    with closing(open_store(empty_url)) as store:
        migrate(store)
    with closing(open_store(empty_url)) as store, store.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
        made = {
            table: {str(check["name"]) for check in sa.inspect(connection).get_check_constraints(table)}
            for table in METADATA.tables
        }
    wanted = {
        table.name: {str(c.name) for c in table.constraints if isinstance(c, sa.CheckConstraint)}
        for table in TABLES.values()
    }
    assert made == wanted | {"leases": set()}


def test_the_tables_of_an_older_program_are_renewed_with_what_is_in_them(empty_url: str) -> None:
    retake = complete(Override(mouse="M1", day=DAY, kind=OverrideKind.STAGE, stage="OPHYS_0", why="retake"), 1)
    not_its = complete(Override(mouse="M1", day=DAY, kind=OverrideKind.NOT_ITS, session_id=uuid(3), why="M7's"), 2)
    with closing(open_store(empty_url)) as store:
        with store.writing() as connection, as_file(files("rig.lab") / "migrations") as folder:
            config = Config()
            config.set_main_option("script_location", str(folder))
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
        store.insert([retake])
        with pytest.raises(LabError, match="kind_known"):
            store.insert([not_its])

        migrate(store)

        store.insert([not_its])
        assert store.find(Override) == [retake, not_its]
        for change in ("UPDATE overrides SET why = ''", "DELETE FROM overrides"):
            with pytest.raises(LabError, match="never changed or deleted"), store.writing() as connection:
                connection.exec_driver_sql(change)


def test_programs_that_come_to_an_empty_database_at_once_make_its_tables_once(empty_url: str) -> None:
    def come(_: int) -> None:
        with closing(open_store(empty_url)) as store:
            migrate(store)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(come, range(8)))
    with closing(open_store(empty_url)) as store:
        assert store.find(Weight) == []


def test_a_database_that_is_up_to_date_is_left_as_it_is(store: Store) -> None:
    store.insert([complete(weight())])
    migrate(store)
    assert len(store.find(Weight)) == 1


def test_a_database_of_a_newer_program_is_refused(empty_url: str) -> None:
    with closing(open_store(empty_url)) as store:
        migrate(store)
        with store.writing() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(LabError, match=r"newer program .its tables are 9999, this program knows 0002.: update"):
            migrate(store)


def test_sessions_come_in_the_order_in_which_they_began_with_parts_as_one(opened: Lab) -> None:
    first_part = {"ended": EndReason.CRASHED.value, "n_contingent": 90}
    second_part = {"session_id": uuid(2), "log_started_at": f"{NEXT_DAY}T10:00:00-08:00", "n_contingent": 240}
    opened.record(session(uuid(3), day=NEXT_DAY, **second_part))
    opened.record(session(uuid(4), day="2026-03-04"))
    opened.record(session(uuid(2), day=NEXT_DAY, **first_part))
    opened.record(session(uuid(1), day=DAY))

    assert [(facts.session_id, facts.n_contingent) for facts in opened.sessions("M1")] == [
        (uuid(1), 250),
        (uuid(2), 240),
        (uuid(4), 250),
    ]
    assert [row.log_id for row in opened.session_rows("M1")] == [uuid(1), uuid(2), uuid(3), uuid(4)]
    assert [row.part_of for row in opened.session_rows("M1")] == [None, None, uuid(2), None]
    assert opened.sessions("M2") == []


def test_today_says_of_each_mouse_what_is_known(opened: Lab) -> None:
    for name in ("M2", "M1"):
        opened.record(mouse(name))
    opened.record(weight(21.0, day=DAY))
    opened.record(weight(21.5, day=NEXT_DAY))
    opened.record(weight(20.8, day=DAY))  # of the day before, written down late
    opened.record(session(uuid(1), day=DAY))
    opened.record(session(uuid(2), day=NEXT_DAY))
    opened.record(drunk(uuid(1), day=DAY))
    opened.record(drunk(uuid(2), 0.3, day=NEXT_DAY))

    with opened.lease("M2", rig="rig-1", session_id=uuid(9), day=NEXT_DAY):
        today = opened.today(NEXT_DAY)

    assert today.away is None
    one, two = today.mice
    assert (one.mouse.name, two.mouse.name) == ("M1", "M2")
    assert one.weight is not None
    assert one.weight.weight_g == 21.5
    assert [row.volume_ml for row in one.water] == [0.3]
    assert one.last_session is not None
    assert one.last_session.log_id == uuid(1)
    assert [row.log_id for row in one.sessions] == [uuid(2)]
    assert one.lease is None
    assert two.lease is not None
    assert two.lease.session_id == uuid(9)
    assert (two.weight, two.water, two.last_session, two.decision) == (None, (), None, None)


def test_mice_are_themselves_after_a_correction(opened: Lab) -> None:
    opened.record(mouse("M2"))
    opened.correct(opened.record(mouse("M1")), floor_weight_g=18.5, why="new protocol")
    assert [(row.name, row.floor_weight_g) for row in opened.mice()] == [("M1", 18.5), ("M2", 19.2)]
    assert isinstance(opened.mouse("M1"), Mouse)
