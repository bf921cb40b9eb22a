"""The laboratory away and back: nothing is lost, nothing is there twice, nothing waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.lab.errors import LabError, LaboratoryAway, SecondSession
from rig.lab.lab import Lab
from rig.lab.reconcile import Reconciled, reconcile
from rig.lab.rows import FACTS, Fact, OverrideKind, Start, Water, Weight
from rig.lab.store import CONNECT_S, Store
from tests.postgres import Cluster
from tests.rig.lab.forks import rig
from tests.rig.lab.labs import DAY, NEXT_DAY, PATIENT, drunk, lab, made_file, mouse, session, ticking, uuid, weight
from tests.rig.lab.starting import drink, volume_ml
from tests.telling import Tell

COMES_WITHIN_S = 120.0
N_SESSIONS = 30
N_KILLS = 5


@pytest.fixture
def central(server: Cluster) -> str:
    return server.laboratory()


@pytest.fixture
def rigs(central: str, tmp_path: Path) -> Iterator[list[Lab]]:
    with ExitStack() as stack:
        yield [stack.enter_context(closing(lab(central, tmp_path, rig=f"rig-{number}"))) for number in (1, 2)]


def until(holds: Callable[[], object]) -> None:
    until_s = time.monotonic() + COMES_WITHIN_S
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_what_one_rig_recorded_the_other_has_after_both_have_reconciled(rigs: list[Lab]) -> None:
    one, two = rigs
    recorded = one.record(weight(21.3))
    assert one.reconcile() == Reconciled(1, 0)
    assert two.rows(Weight) == []
    assert two.reconcile() == Reconciled(0, 1)
    assert two.rows(Weight) == [recorded]
    assert one.reconcile() == two.reconcile() == Reconciled(0, 0)


def test_more_rows_than_a_batch_arrive(rigs: list[Lab], tell: Tell) -> None:
    one, two = rigs
    rows = [
        msgspec.structs.replace(weight(20.0), id=uuid(n), recorded_at=f"{DAY}T08:00:00Z", who="ana", host="rig-1")
        for n in range(1001)
    ]
    one._here.insert(rows)
    begun_s = time.perf_counter()
    assert one.reconcile() == Reconciled(1001, 0)
    assert two.reconcile() == Reconciled(0, 1001)
    tell(f"1,001 rows to the laboratory and to another rig in {time.perf_counter() - begun_s:.1f} s")


def test_a_laboratory_restored_from_an_old_copy_is_made_whole_by_its_rigs(
    rigs: list[Lab], server: Cluster, tmp_path: Path, central: str
) -> None:
    one, two = rigs
    for each, grams in ((one, 21.3), (two, 22.0)):
        each.record(weight(grams))
        each.reconcile()
    assert server.laboratory() == central  # as it was before any of it
    two.reconcile()
    one.reconcile()
    with closing(lab(central, tmp_path, rig="rig-3")) as three:
        three.reconcile()
        assert sorted(row.weight_g for row in three.rows(Weight)) == [21.3, 22.0]


def test_a_fact_that_two_rigs_tell_differently_is_named_and_keeps_no_other_from_arriving(rigs: list[Lab]) -> None:
    one, two = rigs
    one.record(mouse("M1", floor_weight_g=19.0))
    two.record(mouse("M1", floor_weight_g=18.0))
    two.record(mouse("M2"))
    one.reconcile()
    came = two.reconcile()
    assert (came.sent, came.received) == (1, 0)
    assert len(came.refused) == 1
    assert "of mice is one thing in the database sqlite" in came.refused[0]
    assert [row.floor_weight_g for row in two.mice()] == [18.0, 19.2]
    one.reconcile()
    assert [row.floor_weight_g for row in one.mice()] == [19.0, 19.2]


def test_a_row_that_was_changed_in_a_rigs_file_is_named_and_keeps_no_other_from_arriving(
    rigs: list[Lab], tmp_path: Path
) -> None:
    one, two = rigs
    recorded = [one.record(weight(20.0 + n)) for n in range(5)]
    with closing(Store(f"sqlite:///{tmp_path}/rig-1.sqlite")) as store, store.writing() as connection:
        connection.exec_driver_sql("DROP TRIGGER weights_no_update")
        connection.exec_driver_sql("UPDATE weights SET weight_g = 25 WHERE weight_g = 22")
    came = one.reconcile()
    assert came.sent == 4
    assert len(came.refused) == 1
    assert f"row {recorded[2].id} of weights is not what was recorded" in came.refused[0]
    two.reconcile()
    assert len(two.rows(Weight)) == 4


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("weigh"), st.integers(0, 1), st.integers(0, 3)),
        st.tuples(st.just("drink"), st.integers(0, 1), st.integers(0, 3)),
        st.tuples(st.just("correct"), st.integers(0, 1), st.integers(0, 3)),
        st.tuples(st.just("reconcile"), st.integers(0, 1), st.just(99)),
        st.tuples(st.just("reconcile"), st.integers(0, 1), st.integers(0, 3)),
    ),
    max_size=25,
)


class BreakingStore(Store):
    """A laboratory that goes away after some insertions, before or after the last one was kept."""

    left = 99

    def insert(self, facts: Iterator[Fact]) -> None:  # type: ignore[override]
        if self.left == 0:
            raise LaboratoryAway("gone before")
        self.left -= 1
        super().insert(facts)
        if self.left == 0:
            raise LaboratoryAway("gone after")


def converges(url: str, operations: list[tuple[str, int, int]]) -> None:
    """Do all operations, reconcile each rig to the end, and compare all databases with what was recorded."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        central = stack.enter_context(closing(BreakingStore(url, **PATIENT)))
        labs = []
        for number in range(2):
            path = made_file(Path(folder) / f"{number}.sqlite")
            here = stack.enter_context(closing(Store(f"sqlite:///{path}")))
            labs.append((here, Lab(here, here, who="ana", host=f"rig-{number}", now=ticking())))
        recorded: dict[str, str] = {}
        for what, which, number in operations:
            here, one = labs[which]
            if what == "weigh":
                row: Fact = one.record(weight(20.0 + number))
            elif what == "drink":
                row = one.record(drunk(uuid(number), volume_ml(number)))
            elif what == "correct" and (weights := one.rows(Weight)):
                row = one.correct(weights[number % len(weights)], weight_g=30.0 + number, why="slip")
            else:
                central.left = number
                try:
                    reconcile(here, central)
                except LaboratoryAway:
                    assert number < 99
                continue
            recorded[row.id] = row.content_sha256()
        central.left = 99
        for here, _ in (*labs, *labs):
            assert reconcile(here, central).refused == ()
        for store in (central, *(here for here, _ in labs)):
            contents = store.contents()
            assert {identity: sha for kind in FACTS for identity, sha in contents[kind].items()} == recorded
        assert labs[0][1].rows(Weight) == labs[1][1].rows(Weight)
        assert [row.content_sha256() for row in labs[0][1].rows(Water)] == [
            row.content_sha256() for row in labs[1][1].rows(Water)
        ]


@settings(max_examples=max(4, settings.default.max_examples // 16))
@given(operations=OPERATIONS)
def test_whatever_is_recorded_and_broken_off_all_come_to_hold_all(operations: list[tuple[str, int, int]]) -> None:
    with TemporaryDirectory() as folder:
        converges(f"sqlite:///{made_file(Path(folder) / 'central.sqlite')}", operations)


def test_with_a_server_all_come_to_hold_all_too(server: Cluster) -> None:
    @settings(max_examples=max(4, settings.default.max_examples // 40))
    @given(operations=OPERATIONS)
    def tried(operations: list[tuple[str, int, int]]) -> None:
        converges(server.laboratory(), operations)

    tried()


def test_water_is_there_exactly_once_whenever_its_rig_is_killed(lab_url: str, tmp_path: Path, tell: Tell) -> None:
    rng = np.random.default_rng(7)
    said: list[object] = []
    killed_at: list[int] = []
    ever_later = np.sort(rng.integers(1, N_SESSIONS - 5, size=N_KILLS))  # each life has something new to record
    for attempt in range(N_KILLS + 1):
        with rig(drink, lab_url, tmp_path, N_SESSIONS) as one:
            words: list[object] = []
            if attempt < N_KILLS:
                words += [one.hear() for _ in range(ever_later[attempt])]
                time.sleep(float(rng.uniform(0.0, 0.03)))
                one.kill()
            words += one.last_words()
            said += words
            killed_at.append(len(words))
    assert said[-1] == "done"

    with closing(lab(lab_url, tmp_path, rig="rig-2")) as two:
        two.reconcile()
        water = two.rows(Water)
    assert sorted((row.session_id or "", row.volume_ml) for row in water) == [
        (uuid(number), volume_ml(number)) for number in range(N_SESSIONS)
    ]
    engine, killed = lab_url.partition(":")[0], ", ".join(str(n) for n in killed_at[:-1])
    tell(
        f"{engine}: killed after {killed} of {N_SESSIONS} waters, "
        f"each recorded twice a run: {len(water)} rows, {sum(row.volume_ml for row in water):.3f} mL"
    )


def test_a_laboratory_that_stops_in_mid_session_loses_nothing(
    server: Cluster, central: str, rigs: list[Lab], tmp_path: Path, tell: Tell
) -> None:
    one, two = rigs
    told: list[str] = []
    recorded: list[Weight] = []
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            recorded.append(one.record(weight(20.0 + len(recorded) / 1000)))

    def more(n: int) -> Callable[[], bool]:
        wanted = len(recorded) + n
        return lambda: len(recorded) >= wanted

    writer = threading.Thread(target=write)
    with (
        one.lease("M1", rig="rig-1", session_id=uuid(1), day=DAY, limit_s=3.0, on_trouble=told.append) as lease,
        one.reconciling(every_s=0.05) as reconciler,
    ):
        writer.start()
        until(lambda: reconciler.last is not None)
        n_stops = 2
        for _ in range(n_stops):
            server.stop(mode="immediate")
            until(lambda: lease.trouble is not None and reconciler.trouble is not None)
            until(more(20))
            server.start()
            until(lambda: lease.trouble is None and reconciler.trouble is None)
            until(more(20))
        server.stop(mode="immediate")
        over.set()
        writer.join()
        server.start()
        assert not lease.lost
    assert len(told) >= n_stops
    assert all("the lease of M1 can't be renewed" in sentence and "is away" in sentence for sentence in told)

    one.record(drunk(uuid(1)))
    one.reconcile()
    two.reconcile()
    assert sorted(row.id for row in two.rows(Weight)) == sorted(row.id for row in recorded)
    assert len(two.rows(Water)) == len(two.rows(Start)) == 1
    assert two.leases() == []
    n_there = len(two.rows(Weight))
    tell(f"the server stopped {n_stops + 1} times while {len(recorded)} rows were recorded: {n_there} there")


def test_a_laboratory_that_is_away_is_named_and_the_rig_records_all_the_same(
    server: Cluster, rigs: list[Lab], tell: Tell
) -> None:
    one, two = rigs
    one.record(mouse())
    server.stop(mode="fast")
    begun_s = time.perf_counter()
    with pytest.raises(LaboratoryAway, match=r"the database postgresql.* is away: "):
        one.reconcile()
    tell(f"a stopped server was named after {time.perf_counter() - begun_s:.2f} s")
    with pytest.raises(LaboratoryAway):
        one.leases()
    today = one.today(DAY)
    assert today.away is not None
    assert [row.mouse.name for row in today.mice] == ["M1"]
    with pytest.raises(LabError, match="reason_said"):
        one.start_away("M1", rig="rig-1", session_id=uuid(1), day=DAY, why="")
    one.start_away("M1", rig="rig-1", session_id=uuid(1), day=DAY, why="the switch is dead, M1 is in my hand")
    with pytest.raises(SecondSession):
        one.start_away("M1", rig="rig-1", session_id=uuid(2), day=DAY, why="again")
    one.record(session(uuid(1)))

    server.start()
    with pytest.raises(LabError, match="answers: M1 is started with a lease"):
        one.start_away("M1", rig="rig-1", session_id=uuid(3), day=NEXT_DAY, why="habit")
    one.reconcile()
    two.reconcile()
    assert [(row.kind, row.why) for row in two.overrides("M1")] == [
        (OverrideKind.NO_LEASE, "the switch is dead, M1 is in my hand")
    ]
    with pytest.raises(SecondSession), two.lease("M1", rig="rig-2", session_id=uuid(2), day=DAY):
        pass


def test_a_rig_whose_laboratory_was_never_there_records_and_reconciles_later(
    server: Cluster, central: str, tmp_path: Path
) -> None:
    server.stop(mode="fast")
    with closing(lab(central, tmp_path)) as one:
        recorded = one.record(weight())
        server.start()
        assert one.reconcile() == Reconciled(1, 0)
        assert one.rows(Weight) == [recorded]


def ask_while_it_freezes(store: Store, frozen: AbstractContextManager[None]) -> None:
    with store.reading() as connection, frozen:
        connection.exec_driver_sql("SELECT 1")


def test_a_frozen_server_is_named_while_it_accepts_and_in_mid_call(
    server: Cluster, central: str, tmp_path: Path, tell: Tell
) -> None:
    with closing(lab(central, tmp_path, connect_s=CONNECT_S, call_s=0.5)) as one, server.frozen():
        begun_s = time.perf_counter()
        with pytest.raises(LaboratoryAway):
            one.reconcile()
        accepting_s = time.perf_counter() - begun_s
    with closing(Store(central, call_s=0.5)) as store:
        begun_s = time.perf_counter()
        with pytest.raises(LaboratoryAway):
            ask_while_it_freezes(store, server.frozen())
        answering_s = time.perf_counter() - begun_s
    tell(f"a frozen server was named after {accepting_s:.1f} s when connecting, {answering_s:.1f} s in mid-call")
