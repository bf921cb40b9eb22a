"""One mouse, one rig: on both engines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from rig.lab.errors import LabError, MouseHeld, SecondSession, StartRefused
from rig.lab.lab import Lab
from rig.lab.leases import LeaseRow
from rig.lab.rows import Override, OverrideKind, Start
from stages.events import EndReason
from tests.rig.lab.forks import rig
from tests.rig.lab.labs import DAY, NEXT_DAY, lab, session, store, uuid
from tests.rig.lab.starting import hold, many
from tests.telling import Tell

N_PROCESSES, N_EACH = 4, 50
LIMIT_S = 3.0
COMES_WITHIN_S = 120.0
SECOND = Override(mouse="M1", day=DAY, kind=OverrideKind.SECOND_SESSION, why="the projector failed after 5 min")


@pytest.fixture
def rigs(lab_url: str, tmp_path: Path) -> Iterator[list[Lab]]:
    with ExitStack() as stack:
        yield [stack.enter_context(closing(lab(lab_url, tmp_path, rig=f"rig-{number}"))) for number in (1, 2)]


def run(one: Lab, session_id: str, *, day: str = DAY, **settings: object) -> None:
    """Start a session, and end it at once."""
    with one.lease("M1", rig="rig-1", session_id=session_id, day=day, **settings):  # type: ignore[arg-type]
        pass


def test_a_mouse_is_on_one_rig_and_the_others_are_told_where(rigs: list[Lab]) -> None:
    one, two = rigs
    with one.lease("M1", rig="rig-1", session_id=uuid(1), day=DAY):
        with pytest.raises(MouseHeld) as refused, two.lease("M1", rig="rig-2", session_id=uuid(2), day=DAY):
            pass
        (lease,) = two.leases()
        with two.lease("M2", rig="rig-2", session_id=uuid(3), day=DAY):
            assert [row.mouse for row in one.leases()] == ["M1", "M2"]

    assert str(refused.value).startswith("M1 is held by rig-1 (ana on rig-1) since 20")
    assert "may be taken over in " in str(refused.value)
    assert 0 < refused.value.free_in_s <= 60.0
    assert (lease.rig, lease.session_id, lease.expired) == ("rig-1", uuid(1), False)
    assert one.leases() == []


def test_a_mouse_that_was_let_go_can_be_had_at_once_on_another_day(rigs: list[Lab]) -> None:
    one, two = rigs
    run(one, uuid(1))
    run(two, uuid(2), day=NEXT_DAY)
    two.reconcile()
    assert {start.session_id for start in two.rows(Start)} == {uuid(1), uuid(2)}


def test_an_error_in_the_session_lets_the_mouse_go(rigs: list[Lab]) -> None:
    with pytest.raises(ZeroDivisionError), rigs[0].lease("M1", rig="rig-1", session_id=uuid(1), day=DAY):
        raise ZeroDivisionError
    assert rigs[1].leases() == []


def test_the_heart_keeps_a_mouse_beyond_the_limit(rigs: list[Lab]) -> None:
    one, two = rigs
    with one.lease("M1", rig="rig-1", session_id=uuid(1), day=DAY, limit_s=LIMIT_S) as lease:
        (first,) = two.leases()
        (last,) = wait_until(two, lambda rows: rows[0].now_s > first.expires_s + 1.0)
        assert not last.expired
        assert last.acquired_s == first.acquired_s
        assert lease.trouble is None


def test_a_lease_that_somebody_removed_is_reported_and_the_session_goes_on(rigs: list[Lab], lab_url: str) -> None:
    told: list[str] = []
    one, two = rigs
    with one.lease("M1", rig="rig-1", session_id=uuid(1), day=DAY, limit_s=1.0, on_trouble=told.append) as lease:
        with closing(store(lab_url)) as there, there.writing() as connection:
            connection.execute(sa.text("UPDATE leases SET holder = 'bo', rig = 'rig-7', who = 'bo'"))
        until_s = time.monotonic() + COMES_WITHIN_S
        while not lease.lost and time.monotonic() < until_s:
            time.sleep(0.05)
        assert lease.lost
    assert len(told) == 1
    assert told[0].startswith("the lease of M1 is lost: rig-7 (bo on rig-1) since 20")
    assert lease.trouble == told[0]
    assert [row.holder for row in two.leases()] == ["bo"]  # letting go takes nobody else's


def test_a_second_session_on_one_day_is_refused_on_whatever_rig(rigs: list[Lab]) -> None:
    one, two = rigs
    run(one, uuid(1))
    for each in (two, one):
        with pytest.raises(SecondSession, match=rf"M1 had a session on {DAY} already \({uuid(1)} on rig-1\)"):
            run(each, uuid(2))
    assert two.leases() == []


def test_a_second_session_starts_with_an_override_that_is_kept(rigs: list[Lab]) -> None:
    one, two = rigs
    run(one, uuid(1))
    run(two, uuid(2), override=SECOND)
    one.reconcile()
    assert [(row.kind, row.who, row.why) for row in one.overrides("M1")] == [
        (OverrideKind.SECOND_SESSION, "ana", "the projector failed after 5 min")
    ]


@pytest.mark.parametrize(
    "override",
    [
        Override(mouse="M2", day=DAY, kind=OverrideKind.SECOND_SESSION, why="for another mouse"),
        Override(mouse="M1", day=NEXT_DAY, kind=OverrideKind.SECOND_SESSION, why="for another day"),
        Override(mouse="M1", day=DAY, kind=OverrideKind.WELFARE, why="of another kind"),
    ],
    ids=lambda override: override.why,
)
def test_an_override_of_something_else_starts_nothing(rigs: list[Lab], override: Override) -> None:
    run(rigs[0], uuid(1))
    with pytest.raises(SecondSession):
        run(rigs[1], uuid(2), override=override)
    rigs[1].reconcile()
    assert rigs[1].overrides("M1") == []


def test_an_override_without_a_reason_is_refused(rigs: list[Lab]) -> None:
    run(rigs[0], uuid(1))
    with pytest.raises(LabError, match="reason_said"):
        run(rigs[1], uuid(2), override=Override(mouse="M1", day=DAY, kind=OverrideKind.SECOND_SESSION))
    assert rigs[0].leases() == []


def test_a_session_that_was_run_without_a_start_counts_too(rigs: list[Lab]) -> None:
    rigs[0].record(session(uuid(1)))
    with pytest.raises(SecondSession):
        run(rigs[0], uuid(2))
    run(rigs[0], uuid(3), day=NEXT_DAY)


def test_a_start_that_came_to_nothing_counts_no_more_once_it_is_withdrawn(rigs: list[Lab]) -> None:
    one, _ = rigs
    with one.lease("M1", rig="rig-1", session_id=uuid(1), day=DAY) as lease:
        one.withdraw(lease.start, why="the screen was refused")
    run(one, uuid(2))


def test_the_very_same_session_may_ask_twice(rigs: list[Lab]) -> None:
    run(rigs[0], uuid(1))
    run(rigs[0], uuid(1))
    assert len(rigs[0].rows(Start)) == 1


@pytest.mark.parametrize("recovered", [False, True])
def test_a_session_that_crashed_goes_on_as_its_second_and_third_part(rigs: list[Lab], recovered: bool) -> None:
    one, two = rigs
    run(one, uuid(1))
    if recovered:
        one.record(session(uuid(1), ended=EndReason.CRASHED.value))
    run(one, uuid(2), part_of=uuid(1))
    run(one, uuid(3), part_of=uuid(1))
    two.reconcile()
    assert [start.part_of for start in two.rows(Start)] == [None, uuid(1), uuid(1)]


@pytest.mark.parametrize(
    ("ended", "part_of", "day", "says"),
    [
        (EndReason.TIME, uuid(1), DAY, r"did not crash, it ended by itself \(time\)"),
        (EndReason.STOPPED_NOW, uuid(1), DAY, r"did not crash, it ended by itself \(stopped_now\)"),
        (EndReason.CRASHED, uuid(7), DAY, f"had no session {uuid(7)} on {DAY}"),
        (EndReason.CRASHED, uuid(1), NEXT_DAY, f"had no session {uuid(1)} on {NEXT_DAY}"),
    ],
)
def test_what_did_not_crash_that_day_is_not_continued(
    rigs: list[Lab], ended: EndReason, part_of: str, day: str, says: str
) -> None:
    one, _ = rigs
    run(one, uuid(1))
    one.record(session(uuid(1), ended=ended.value))
    with pytest.raises(StartRefused, match=says):
        run(one, uuid(2), part_of=part_of, day=day)
    assert one.leases() == []


def test_a_second_part_that_ended_by_itself_is_the_last(rigs: list[Lab]) -> None:
    one, _ = rigs
    run(one, uuid(1))
    one.record(session(uuid(1), ended=EndReason.CRASHED.value))
    run(one, uuid(2), part_of=uuid(1))
    one.record(session(uuid(2), session_id=uuid(1), log_started_at=f"{DAY}T10:00:00Z"))
    with pytest.raises(StartRefused, match="did not crash"):
        run(one, uuid(3), part_of=uuid(1))


def test_of_200_starts_at_once_exactly_one_wins(lab_url: str, tmp_path: Path, tell: Tell) -> None:
    came: list[tuple[str, str]] = []
    with ExitStack() as stack:
        asking = [
            stack.enter_context(rig(many, lab_url, tmp_path, N_EACH, n)) for n in range(0, N_PROCESSES * N_EACH, N_EACH)
        ]
        assert [process.hear() for process in asking] == ["ready"] * N_PROCESSES
        begun_s = time.monotonic()
        for process in asking:
            process.go_on()
        for process in asking:
            came += process.hear()
        took_s = time.monotonic() - begun_s
        for process in asking:
            process.go_on()
        assert [process.hear() for process in asking] == ["let go"] * N_PROCESSES

    counts = Counter(kind for kind, _ in came)
    (winner,) = (words for kind, words in came if kind == "won")
    assert counts == {"won": 1, "MouseHeld": N_PROCESSES * N_EACH - 1}
    assert all(words.startswith(f"M1 is held by {winner} (ana on rig-") for kind, words in came if kind != "won")
    engine = lab_url.partition(":")[0]
    tell(f"{engine}: of {sum(counts.values())} starts at once {counts['won']} won, in {took_s:.1f} s")
    with closing(lab(lab_url, tmp_path, rig="rig-x")) as one:
        one.reconcile()
        assert len(one.rows(Start)) == 1
        assert one.leases() == []


def test_a_killed_holders_mouse_is_taken_over_after_the_limit_and_never_before(
    lab_url: str, tmp_path: Path, tell: Tell
) -> None:
    with closing(lab(lab_url, tmp_path, rig="rig-2")) as two, rig(hold, lab_url, tmp_path, LIMIT_S) as holder:
        assert holder.hear() == "holds"
        wait_until(two, lambda rows: rows[0].beaten_s > rows[0].acquired_s)
        holder.kill()
        (dead,) = two.leases()
        n_refused, until_s = 0, time.monotonic() + COMES_WITHIN_S
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(two.lease("M1", rig="rig-2", session_id=uuid(2), day=DAY, part_of=uuid(1)))
                    break
                except MouseHeld:
                    n_refused += 1
                    time.sleep(0.02)
                assert time.monotonic() < until_s
            (lease,) = two.leases()
    assert n_refused > 0
    assert lease.acquired_s >= dead.expires_s == pytest.approx(dead.beaten_s + LIMIT_S, abs=1e-3)
    tell(
        f"{lab_url.partition(':')[0]}: the holder killed, its mouse was refused {n_refused} times and taken over "
        f"{lease.acquired_s - dead.beaten_s:.3f} s after its last beat (limit {LIMIT_S:g} s)"
    )


def wait_until(one: Lab, holds: Callable[[list[LeaseRow]], bool]) -> list[LeaseRow]:
    """Return the leases once something holds of them."""
    until_s = time.monotonic() + COMES_WITHIN_S
    while not holds(rows := one.leases()):
        assert time.monotonic() < until_s
        time.sleep(0.05)
    return rows
