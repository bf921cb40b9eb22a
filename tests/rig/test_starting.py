"""A mouse's day: the order of its steps, everything that refuses it, and what is left after a crash."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hardware.events import Finding
from hardware.events import Verdict as Found
from hardware.simulated.mice import MouseKind
from rig.config.files import shipped
from rig.lab.errors import LabError, LaboratoryAway, MouseHeld, SecondSession, StartRefused
from rig.lab.lab import open_lab
from rig.lab.leases import acquire
from rig.lab.rows import (
    Aspect,
    Fact,
    Judgement,
    Override,
    OverrideKind,
    Session,
    Start,
    Water,
    WaterKind,
    Weight,
)
from rig.lab.rows import Verdict as Judged
from rig.log.lock import hold
from rig.log.reader import read_session
from rig.log.schema import LogError
from rig.log.writer import EVENTS
from rig.records.finish import Told
from rig.session.assemble import SessionPlan
from rig.session.process import run_plan
from rig.training.begun import not_recorded
from rig.training.placing import Misplaced, Withdrawn, withdraw
from rig.training.placing import place as place_at
from rig.training.standing import Archive, NoDecision, record_log
from rig.training.welfare import WelfareError
from rig.training.whose import disown, take_in
from stages.decisions import Move
from tests.builders import rig_config
from tests.postgres import Cluster
from tests.rig.laboratory import MOUSE, Laboratory, Scripted, curriculum_of, laboratory

T0, T1, T2 = "TRAINING_0_gratings_autorewards_15min", "TRAINING_1_gratings", "TRAINING_2_gratings_flashed"
PASSIVE = "OPHYS_2_images_A_passive"
SHORT = {"gray_before_s": 0.5, "gray_after_s": 0.5, "movie": None, "task_duration_min": 0.5}


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Laboratory]:
    """A laboratory with a mouse that has no session yet."""
    with laboratory(tmp_path, changes=SHORT, kind=MouseKind.PERFECT) as made:
        yield made


def later(there: Laboratory, *, days: int = 1) -> Laboratory:
    """The same laboratory on a later day."""
    there.n_days += days
    return there


def logs(there: Laboratory) -> list[Path]:
    """The logs of all sessions, in order."""
    return sorted(there.data_dir.glob(f"*/{EVENTS}"))


def place(there: Laboratory, stage: str, *, why: str = "for the test", after: str | None = None) -> None:
    """Place the mouse, as ``rig mouse place`` does."""
    history = there.lab.sessions("M1")
    last = after or (history[-1].session_id if history else None)
    there.lab.record(
        Override(mouse="M1", day=there.day, kind=OverrideKind.STAGE, stage=stage, after_session=last, why=why)
    )


def crashes(plan: SessionPlan) -> str:
    """A session whose process dies: its log breaks off."""
    run_plan(plan, runtime_dir=plan.folder.parent / "running")
    path = plan.folder / EVENTS
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    return "the session's process ended with code -9"


def test_a_first_day_weighs_runs_records_decides_and_says_what_is_owed(there: Laboratory) -> None:
    operator = Scripted()

    day = there.start(operator=operator)

    assert operator.asked == ["name shown", "weight"]
    assert "▲ simulated_imaging is a simulated rig: the session is a model mouse's" in operator.heard
    assert day.session is not None
    assert day.session.stage == T0
    assert day.after is not None
    assert (day.after.move, day.after.stage) == (Move.ADVANCE, T1)
    assert [row.stage for row in there.lab.decisions("M1")] == [T0, T1]
    (water,) = there.lab.rows(Water, mouse="M1")
    assert (water.kind, water.session_id) == (WaterKind.SESSION, day.session.log_id)
    assert day.owed_ml == pytest.approx(1.0 - water.volume_ml, abs=0.01)
    assert "21.5 g, 86 % of 25.0 g" in operator.heard
    assert f"still to give today: {day.owed_ml:.2f} mL" in operator.heard
    assert f"Next: moved on from {T0} to {T1}" in operator.heard
    assert there.lab.leases() == []


def test_the_next_day_runs_what_was_decided_and_recomputes_it_from_the_log(there: Laboratory) -> None:
    there.start()
    operator = Scripted()

    day = later(there).start(operator=operator)

    assert day.session is not None
    assert day.session.stage == T1
    assert "1 of 1 sessions recomputed from their logs" in operator.heard
    assert "Training: this stage in 0 sessions before, omissions in 0 sessions." in operator.heard


def test_how_new_the_images_are_is_said(there: Laboratory) -> None:
    for n, stage in enumerate(["TRAINING_3_images_A_10uL_reward", "OPHYS_1_images_A", "OPHYS_4_images_B"]):
        there.n_days = n
        place(there, stage)
        operator = Scripted()
        there.start(operator=operator)
        told = [
            "Training: this stage in 0 sessions before, its images in 0 sessions, omissions in 0 sessions.",
            "Familiar: this stage in 0 sessions before, its images in 1 session, omissions in 0 sessions.",
            "Novel 1: this stage in 0 sessions before, its images in 0 sessions, omissions in 1 session.",
        ]
        assert told[n] in operator.heard


def test_on_a_passive_day_the_water_comes_before_the_session(there: Laboratory) -> None:
    place(there, PASSIVE)
    operator = Scripted(gives_ml=1.0)
    given_when_it_ran: list[float] = []

    def look(plan: SessionPlan) -> None:
        given_when_it_ran.extend(row.volume_ml for row in there.lab.rows(Water, mouse="M1", day=there.day))
        run_plan(plan, runtime_dir=there.data_dir / "running")

    there.breaks = look
    day = there.start(operator=operator)

    assert operator.asked == ["name shown", "weight", "water, at least 1.00"]
    assert given_when_it_ran == [1.0]
    assert [row.kind for row in there.lab.rows(Water, mouse="M1")] == [WaterKind.BEFORE_PASSIVE]
    assert day.owed_ml == 0
    assert "nothing is owed today" in operator.heard


@pytest.mark.parametrize("gives_ml", [None, 0.4])
def test_a_passive_day_without_its_water_is_refused_and_what_was_given_counts(
    there: Laboratory, gives_ml: float | None
) -> None:
    place(there, PASSIVE)

    with pytest.raises(WelfareError, match="M1 watches passively today and gets its water before"):
        there.start(operator=Scripted(gives_ml=gives_ml))
    assert logs(there) == []
    second = Scripted(gives_ml=1.0 - (gives_ml or 0.0))
    there.start(operator=second)

    assert second.asked == ["name shown", f"water, at least {1.0 - (gives_ml or 0.0):.2f}"]  # it was weighed before
    assert len(logs(there)) == 1


def edited(there: Laboratory) -> None:
    """Somebody has made a better mouse of it."""
    path = logs(there)[0]
    path.write_bytes(path.read_bytes().replace(b'"outcome":"auto_rewarded"', b'"outcome":"hit"'))


def unreadable(there: Laboratory) -> None:
    """A disk has lost a block."""
    path = logs(there)[0]
    lines = path.read_bytes().split(b"\n")
    lines[30] = b"\x00" * len(lines[30])
    path.write_bytes(b"\n".join(lines))


def another_stage_in_the_database(there: Laboratory) -> None:
    """The database was corrected to what it is not."""
    (row,) = there.lab.session_rows("M1")
    there.lab.correct(row, why="by mistake", stage=T1)


def another_stage_was_run(there: Laboratory) -> None:
    """Somebody ran another stage, past the laboratory."""
    there.n_days -= 1
    with_another = there.plan(
        there.lab.mouse("M1"),
        there.stage(there.lab.mouse("M1"), T2),
        there.data_dir / f"{there.day}T110000Z_M1_{T2}",
        there.ids(),
        [],
    )
    there.run(with_another)
    there.n_days += 1
    take_in(there.lab, "M1", with_another.folder, day=there.day, why="by hand", who="tester", archive=there.archive)


@pytest.mark.parametrize(
    ("prepare", "weighs_g", "error", "says"),
    [
        (edited, 21.5, NoDecision, rf"{EVENTS}: is not the log that was recorded on 2026-01-05 \(.*\): line \d+"),
        (unreadable, 21.5, NoDecision, rf"{EVENTS}: is not the log that was recorded.*{EVENTS}:31: not readable"),
        (another_stage_in_the_database, 21.5, NoDecision, f"stage {T1} in the database, stage {T0} in the log"),
        (another_stage_was_run, 21.5, NoDecision, f"ran {T2}, but {T1} was due"),
        (None, 2.0, WelfareError, r"that is 2 g, and no mouse weighs that \(5 to 80 g\)"),
        (None, 270.0, WelfareError, r"that is 270 g, and no mouse weighs that \(5 to 80 g\)"),
        (None, 19.9, WelfareError, r"M1 weighs 19\.9 g, 80 % of 25\.0 g and below its floor of 20\.0 g: no session"),
        (None, 24.5, StartRefused, r"14% above its last weight, 21\.5 g .*name M1 was not confirmed, so nothing"),
        (None, None, StartRefused, "nobody says what it weighs"),
    ],
    ids=["edited", "unreadable", "database", "other stage", "2 g", "270 g", "floor", "wrong mouse", "no weight"],
)  # fmt: skip
def test_a_bad_history_or_weight_is_refused_with_a_sentence_and_the_mouse_keeps_its_stage(
    there: Laboratory,
    prepare: Callable[[Laboratory], None] | None,
    weighs_g: float | None,
    error: type[Exception],
    says: str,
) -> None:
    there.start()
    later(there)
    if prepare is not None:
        prepare(there)
    n_logs, decided = len(logs(there)), there.lab.decisions("M1")

    with pytest.raises(error, match=says):
        there.start(operator=(operator := Scripted(weighs_g=weighs_g)))

    assert "name shown" in operator.asked
    assert len(logs(there)) == n_logs
    assert there.lab.decisions("M1") == decided
    assert there.lab.decisions("M1")[-1].stage == T1
    assert there.lab.leases() == []


def test_a_decision_in_other_words_stands_and_one_from_other_figures_stops_the_mouse(there: Laboratory) -> None:
    there.start()
    (was,) = there.lab.decisions("M1")[1:]
    words = "climbs: a complete session"
    there.lab.correct(was, why="by an older program", sentence=words, decision=was.decision | {"sentence": words})

    assert later(there).start().before.sentence == was.sentence

    last = there.lab.decisions("M1")[-1]
    (tried, *rest) = last.decision["evidence"]
    (judged, *others) = tried["when"]
    changed = judged | {"figures": [judged["figures"][0] | {"values": [4.0, 4.0, 4.0]}]}
    evidence = [tried | {"when": [changed, *others]}, *rest]
    there.lab.correct(last, why="by mistake", decision=last.decision | {"evidence": evidence})
    with pytest.raises(NoDecision, match=r"on 2026-01-06 it was decided: .* from the same sessions it now follows: "):
        later(there).start()


def test_a_wrong_stage_is_mended_by_a_placement_with_its_reason(there: Laboratory) -> None:
    first = there.start().session
    later(there)
    another_stage_was_run(there)
    assert first is not None
    with pytest.raises(NoDecision, match=f"rig mouse place M1 {T2} --after {first.session_id[:8]} --why REASON"):
        there.start()
    mouse = there.lab.mouse("M1")
    place_at(
        there.lab,
        mouse,
        stage=T2,
        why="it was tried on flashes",
        after=first.session_id[:8],
        curriculum=curriculum_of(mouse),
        day=there.day,
    )

    day = there.start()

    assert day.before.stage == T2
    assert day.session is not None
    assert day.session.stage == T2
    assert [facts.stage for facts in there.lab.sessions("M1")] == [T0, T2, T2]


def test_a_weight_off_the_trend_goes_on_record_once_the_name_is_typed(there: Laboratory) -> None:
    there.start()
    operator = Scripted(weighs_g=24.5, types="M1")

    later(there).start(operator=operator)

    assert any(asked.startswith("is it M1: 24.5 g is 14% above its last weight") for asked in operator.asked)
    assert there.lab.rows(Weight, mouse="M1")[-1].weight_g == 24.5
    (override,) = there.lab.overrides("M1", OverrideKind.WRONG_WEIGHT)
    assert "14% above" in override.why


def test_a_mouse_that_was_long_away_is_on_record_as_that_and_not_as_a_wrong_weight(there: Laboratory) -> None:
    there.start()

    later(there, days=20).start(operator=Scripted(types="M1"))

    (override,) = there.lab.overrides("M1")
    assert (override.kind, override.why) == (OverrideKind.MISFIT, "M1 had no session for 20 days")


def test_a_second_session_is_refused_before_the_mouse_is_handled_or_given_water(there: Laboratory) -> None:
    there.start()
    place(there, PASSIVE)
    operator = Scripted(gives_ml=1.0)

    with pytest.raises(SecondSession, match="needs an override with a reason"):
        there.start(operator=operator)

    assert operator.asked == []
    assert [row.kind for row in there.lab.rows(Water, mouse="M1")] == [WaterKind.SESSION]


def test_water_that_is_said_to_be_given_is_never_dropped_nor_counted_twice(there: Laboratory) -> None:
    with pytest.raises(StartRefused, match=rf"M1 earns its water today, at {T0}: .* rig mouse water M1 1; then start"):
        there.start(water_ml=1.0)
    place(there, PASSIVE)
    there.breaks = lambda _plan: "card: gone; plug it in"
    with pytest.raises(StartRefused, match="card: gone"):
        there.start(operator=Scripted(gives_ml=1.0), water_ml=1.0)
    there.breaks = None
    again = Scripted(gives_ml=1.0)

    there.start(operator=again, water_ml=1.0)

    assert "M1 had its water before, by the record: the 1 mL are not added." in again.heard
    assert [row.volume_ml for row in there.lab.rows(Water, mouse="M1")] == [1.0]


def test_a_mouse_that_was_weighed_again_is_judged_by_the_later_weight(there: Laboratory) -> None:
    there.lab.record(Weight(mouse="M1", day="2026-01-04", weight_g=20.5))
    there.lab.record(Weight(mouse="M1", day=there.day, weight_g=20.4))

    with pytest.raises(WelfareError, match=r"M1 weighs 19\.8 g"):
        there.start(weight_g=19.8)
    assert [row.weight_g for row in there.lab.rows(Weight, mouse="M1")] == [20.5, 20.4, 19.8]
    with pytest.raises(WelfareError, match=r"M1 weighs 19\.8 g"):
        there.start(weight_g=19.8)
    assert len(there.lab.rows(Weight, mouse="M1")) == 3  # the same one once


def test_a_rig_whose_checks_fail_is_refused_and_the_mouse_may_still_start(there: Laboratory) -> None:
    there.findings = [
        Finding(name="spout", verdict=Found.WARN, figure="slow", remedy="oil it"),
        Finding(name="valve", verdict=Found.FAIL, figure="silent", remedy="look at its wire"),
    ]
    operator = Scripted()
    with pytest.raises(
        StartRefused, match=r"simulated_imaging is not fit for a session: valve: silent\. Look at its wire"
    ):
        there.start(operator=operator)
    assert "▲ spout: slow. Oil it." in operator.heard
    assert logs(there) == []

    there.findings = []
    assert there.start().session is not None


def test_an_imaging_stage_on_a_rig_without_a_microscope_needs_a_reason_and_passes_nothing(there: Laboratory) -> None:
    there.config = rig_config()
    place(there, PASSIVE)
    with pytest.raises(StartRefused, match=f"{PASSIVE} is imaged, and simulated has no microscope") as refused:
        there.start(operator=(operator := Scripted()))
    assert "--override --why REASON" in str(refused.value)
    assert "weight" not in operator.asked  # before the mouse is handled

    day = there.start(
        operator=(operator := Scripted(gives_ml=1.0)), override_why="habituation only, the microscope is open"
    )

    assert day.session is not None
    (row,) = there.lab.overrides("M1", OverrideKind.NO_MICROSCOPE)
    assert (row.session_id, row.why) == (day.session.log_id, "habituation only, the microscope is open")
    assert "runs without imaging, by tester's word" in operator.heard
    found = {each.aspect: each.judgement for each in there.lab.rows(Judged, session_id=day.session.session_id)}
    assert (found[Aspect.HARDWARE], found[Aspect.ALIGNMENT]) == (Judgement.FAIL, Judgement.FAIL)


def test_a_session_that_could_not_begin_leaves_the_day_free(there: Laboratory) -> None:
    there.breaks = lambda _plan: "card: gone; plug it in"
    with pytest.raises(StartRefused, match="card: gone; plug it in"):
        there.start()
    assert there.lab.rows(Start, mouse="M1") == []

    there.breaks = None
    assert there.start().session is not None


def test_a_start_that_is_interrupted_before_its_session_leaves_the_day_free(there: Laboratory) -> None:
    def interrupted(_plan: SessionPlan) -> str:
        raise KeyboardInterrupt

    there.breaks = interrupted
    with pytest.raises(KeyboardInterrupt):
        there.start()
    assert there.lab.rows(Start, mouse="M1") == []
    assert there.lab.leases() == []

    there.breaks = None
    assert there.start().session is not None


def test_an_unknown_mouse_is_refused_by_the_nearest_name(there: Laboratory) -> None:
    with pytest.raises(LabError, match="there is no mouse M2"):
        there.start("M2")


def test_a_second_session_on_one_day_needs_an_override_with_a_reason(there: Laboratory) -> None:
    there.start()
    with pytest.raises(SecondSession, match="needs an override with a reason"):
        there.start()
    assert len(logs(there)) == 1

    operator = Scripted()
    day = there.start(operator=operator, override_why="the spout had slipped")

    assert day.session is not None
    assert operator.said.index("▲ M1 had a session on 2026-01-05 already: this is another one, by tester's word.") == 1
    assert [facts.stage for facts in there.lab.sessions("M1")] == [T0, T1]
    (override,) = there.lab.overrides("M1", OverrideKind.SECOND_SESSION)
    assert (override.why, override.who) == ("the spout had slipped", "tester")


def test_a_session_that_crashed_goes_on_as_its_second_part(there: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    closing_only(monkeypatch)
    there.start()
    later(there).changes = SHORT | {"task_duration_min": 6.0}
    there.breaks = crashes
    operator = Scripted()
    first = there.start(operator=operator)
    assert first.problem == "the session's process ended with code -9"
    assert "rig start M1 --continue" in operator.heard
    assert first.session is not None
    assert first.session.ended == "crashed"

    there.breaks = None
    second = there.start(go_on=True)

    assert second.session is not None
    assert second.session.part_of == first.session.session_id
    assert second.session.ended == "time"
    assert second.session.n_contingent > first.session.n_contingent
    assert second.session.planned_min == 6.0
    limit_ul = read_session(logs(there)[-1].parent).started.stage_parameters["volume_limit_ul"]
    assert limit_ul == pytest.approx(5000 - 1000 * first.session.water_ml)
    assert second.session.task_min == pytest.approx(6.0, abs=0.3)
    assert len(there.lab.sessions("M1")) == 2
    assert len(there.lab.rows(Water, mouse="M1", day=there.day)) == 2
    assert second.after is not None
    assert second.after.after == first.session.session_id
    with pytest.raises(StartRefused, match="ended by itself"):
        there.start(go_on=True)
    assert later(there).start().before.after == first.session.session_id


def test_a_crashed_session_in_which_the_mouse_has_drunk_all_it_may_is_not_gone_on_with(
    there: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing_only(monkeypatch)
    there.changes = SHORT | {"task_duration_min": 6.0}
    there.breaks = crashes
    first = there.start().session
    assert first is not None
    assert first.water_ml > 0
    there.breaks = None
    there.changes |= {"volume_limit_ul": 1000 * first.water_ml}

    with pytest.raises(StartRefused, match="M1 has drunk what it may in this session"):
        there.start(go_on=True)
    assert len(logs(there)) == 1


def test_only_todays_crashed_session_is_gone_on_with(there: Laboratory) -> None:
    with pytest.raises(StartRefused, match="had no session on 2026-01-05"):
        there.start(go_on=True)


def test_a_start_that_was_killed_is_taken_in_by_the_next_one(
    there: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing_only(monkeypatch)

    there.breaks = killed
    with pytest.raises(KeyboardInterrupt):
        there.start()
    assert there.lab.session_rows("M1") == []
    there.breaks = None
    operator = Scripted()

    day = there.start(operator=operator, go_on=True)

    assert f"Found a session that was not on record, of 2026-01-05 at {T0}: recorded now." in operator.heard
    assert [row.ended for row in there.lab.session_rows("M1")] == ["crashed", "time"]
    assert len(there.lab.sessions("M1")) == 1
    assert day.after is not None


def killed(plan: SessionPlan) -> str:
    """A session whose rig loses its power: nothing of this program runs after it."""
    crashes(plan)
    raise KeyboardInterrupt


def begun_and_never_recorded(there: Laboratory) -> Path:
    """The second day of a mouse, on a rig that then is switched off; returns where that keeps its sessions."""
    there.start()
    later(there).breaks = killed
    with pytest.raises(KeyboardInterrupt):
        there.start()
    there.breaks = None
    return logs(there)[-1].parent.rename(there.data_dir.parent / logs(there)[-1].parent.name)


def test_a_session_that_was_begun_and_never_recorded_stops_the_mouse_until_it_is_on_record(
    there: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing_only(monkeypatch)
    folder = begun_and_never_recorded(there)
    for asked in ({}, {"override_why": "it must go on"}):
        for days in (0, 1):  # that day, and the one after it
            later(there, days=days)
            operator = Scripted()
            with pytest.raises(NoDecision, match="its session of 2026-01-06, begun on simulated_imaging, is not on re"):
                there.start(operator=operator, **asked)
            assert operator.asked == ["name shown"]
    assert len(there.lab.session_rows("M1")) == 1

    take_in(
        there.lab,
        "M1",
        folder,
        day=there.day,
        why="from the dead rig",
        who="tester",
        archive=Archive(folders=[folder.parent]),
    )

    day = there.start()
    assert [facts.stage for facts in there.lab.sessions("M1")] == [T0, T1, T1]
    assert day.before.after == there.lab.sessions("M1")[1].session_id


def test_a_start_of_which_no_session_came_is_taken_back_with_a_reason_unless_it_runs(there: Laboratory) -> None:
    there.start()
    later(there)
    word: dict[str, Any] = {"why": "for the test", "curriculum": curriculum_of(MOUSE), "day": there.day}
    with there.lab.lease("M1", rig="box-2", session_id="00000000-0000-4000-8000-000000000001", day=there.day):
        with pytest.raises(Misplaced, match=r"M1 is held by box-2 .*: its session runs, wait until it is over"):
            withdraw(there.lab, "M1", Withdrawn.START, why="a slip")
        with pytest.raises(Misplaced, match="can't be placed after its last session: its session of 2026-01-06"):
            place_at(there.lab, MOUSE, stage=T2, after=None, **word)
    with pytest.raises(NoDecision, match="rig mouse withdraw M1 start --why REASON"):
        there.start()

    withdraw(there.lab, "M1", Withdrawn.START, why="the power failed before the first picture")

    assert there.start().session is not None
    with pytest.raises(Misplaced, match="there is no start of M1 to withdraw"):
        withdraw(there.lab, "M1", Withdrawn.START, why="a slip")


def test_a_crashed_session_goes_on_only_where_its_first_part_lies(
    there: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing_only(monkeypatch)
    there.breaks = crashes
    there.start()
    there.breaks = None
    home = there.data_dir
    there.data_dir = home.parent / "another"

    with pytest.raises(StartRefused, match=r"began on simulated_imaging, and 2026-.* can't be reached from here"):
        there.start(go_on=True)

    assert logs(there) == []
    there.data_dir = home
    assert there.start(go_on=True).session is not None


def test_a_session_that_ended_is_not_said_to_go_on_whatever_went_wrong_after_it(there: Laboratory) -> None:
    def ends(plan: SessionPlan) -> str:
        run_plan(plan, runtime_dir=plan.folder.parent / "running")
        return "the log could not be closed"

    there.breaks = ends
    operator = Scripted()
    day = there.start(operator=operator)
    assert day.problem == "the log could not be closed"
    assert "--continue" not in operator.heard


def run_past_the_laboratory(there: Laboratory, stage: str) -> Path:
    """A session by ``rig run``, after those of this day; returns its folder."""
    folder = there.data_dir / f"{there.day}T110000Z_M1_{stage}"
    mouse = there.lab.mouse("M1")
    there.run(there.plan(mouse, there.stage(mouse, stage), folder, there.ids(), []))
    return folder


def on_a_real_rig(there: Laboratory) -> None:
    """Have the laboratory's rig, and what its logs say of it, be a real one."""

    def run_there(plan: SessionPlan) -> None:
        run_plan(plan, runtime_dir=plan.folder.parent / "running")
        path = plan.folder / EVENTS
        path.write_bytes(path.read_bytes().replace(b'"simulated":true', b'"simulated":false', 1))

    there.simulated = False
    there.breaks = run_there


def test_simulated_sessions_that_no_start_began_are_left_out_and_one_may_be_counted(there: Laboratory) -> None:
    folders = []
    for stage in (T2, PASSIVE):
        folders.append(run_past_the_laboratory(there, stage))
        later(there)
    operator = Scripted()

    day = there.start(operator=operator)

    assert (day.before.stage, len(there.lab.session_rows("M1"))) == (T0, 1)
    assert {row.session_id for row in there.lab.rows(Water, mouse="M1")} == {there.lab.session_rows("M1")[0].log_id}
    (told,) = [words for words in operator.said if "Left out" in words]
    assert "2 simulated sessions of M1 that rig start did not begin" in told
    assert f"rig mouse take-in M1 {folders[1]} --why REASON" in told


def test_a_real_session_that_no_start_began_stops_the_mouse_until_somebody_says_whose_it_was(
    there: Laboratory,
) -> None:
    on_a_real_rig(there)
    there.start()
    folder = run_past_the_laboratory(there, T1)
    later(there)
    before = [there.lab.rows(kind, mouse="M1") for kind in (Session, Water, Weight)]

    for _ in range(2):
        with pytest.raises(NoDecision) as refused:
            there.start(operator=(operator := Scripted()))
        assert f"{folder} holds a session of M1 on 2026-01-05 at {T1} that was not started by rig start" in str(
            refused.value
        )
        assert f"rig mouse take-in M1 {folder} --why REASON" in str(refused.value)
        assert f"rig mouse disown M1 {folder} --why REASON" in str(refused.value)
        assert "name shown" in operator.asked
    assert [there.lab.rows(kind, mouse="M1") for kind in (Session, Water, Weight)] == before

    disown(there.lab, "M1", folder, day=there.day, why="it was M7, by mistake")
    assert there.start().before.stage == T1
    (row,) = there.lab.overrides("M1", OverrideKind.NOT_ITS)
    assert (row.why, row.who) == ("it was M7, by mistake", "tester")
    assert len(there.lab.sessions("M1")) == 2

    with pytest.raises(NoDecision, match="holds a session of M1, not of M2"):
        disown(there.lab, "M2", folder, day=there.day, why="a slip")


def test_a_real_session_that_no_start_began_counts_once_it_is_taken_in(there: Laboratory) -> None:
    on_a_real_rig(there)
    there.start()
    folder = run_past_the_laboratory(there, T1)
    disown(there.lab, "M1", folder, day=there.day, why="it was said to be M7")

    row = take_in(
        there.lab, "M1", folder, day=there.day, why="it was M1 after all", who="tester", archive=there.archive
    )

    assert there.lab.overrides("M1", OverrideKind.NOT_ITS) == []
    assert {row.session_id for row in there.lab.rows(Water, mouse="M1")} >= {row.log_id}
    assert [facts.stage for facts in there.lab.sessions("M1")] == [T0, T1]
    assert later(there).start(operator=Scripted()).session is not None  # its name was given with the reason


def of_another_mouse(there: Laboratory) -> tuple[Session, Path]:
    """M1's second day, on which M7 was on the rig; both rows and the folder of its session."""
    there.start()
    session = later(there).start().session
    assert session is not None
    place(there, T2, why="went well")
    return session, there.data_dir / session.folder


def test_a_session_on_record_that_was_another_mouses_is_taken_off_with_its_water_and_frees_its_day(
    there: Laboratory,
) -> None:
    session, folder = of_another_mouse(there)
    first = there.lab.sessions("M1")[0]

    (row,) = disown(there.lab, "M1", folder, day=there.day, why="it was M7")

    assert row == session
    assert there.lab.sessions("M1") == [first]
    assert [each.session_id for each in there.lab.rows(Water, mouse="M1")] == [first.session_id]
    assert there.lab.overrides("M1", OverrideKind.STAGE) == []
    again = there.start()  # the same day, without an override: it has not been on the rig
    assert (again.before.stage, again.before.after) == (T1, first.session_id)
    assert len(there.lab.sessions("M1")) == 2


def test_a_session_on_a_day_that_a_disowned_one_has_freed_is_no_second_one(there: Laboratory) -> None:
    session, folder = of_another_mouse(there)
    disown(there.lab, "M1", folder, day=there.day, why="it was M7")
    operator = Scripted()

    there.start(operator=operator, override_why="for another reason")

    assert there.lab.overrides("M1", OverrideKind.SECOND_SESSION) == []
    assert "had a session on" not in operator.heard
    assert session.log_id not in {row.log_id for row in there.lab.session_rows("M1")}


def test_a_session_that_was_disowned_by_mistake_counts_again_as_it_did(there: Laboratory) -> None:
    session, folder = of_another_mouse(there)
    before = there.lab.sessions("M1"), [(row.session_id, row.volume_ml) for row in there.lab.rows(Water, mouse="M1")]
    for _ in range(2):  # said twice, it is as if once
        disown(there.lab, "M1", folder, day=there.day, why="it was M7")

    row = take_in(there.lab, "M1", folder, day=there.day, why="it was M1", who="tester", archive=there.archive)

    assert row.log_sha256 == session.log_sha256
    after = there.lab.sessions("M1"), [(row.session_id, row.volume_ml) for row in there.lab.rows(Water, mouse="M1")]
    assert after == before
    with pytest.raises(SecondSession):
        there.start()
    assert len(there.lab.versions(row)) == 3  # recorded, withdrawn, put right: all of them stay


def test_both_parts_of_a_session_are_disowned_and_taken_in_as_one(
    there: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing_only(monkeypatch)
    there.breaks = crashes
    there.start()
    there.breaks = None
    second = there.start(go_on=True).session
    assert second is not None
    assert second.part_of is not None
    before = there.lab.sessions("M1")
    folders = [log.parent for log in logs(there)]

    assert len(disown(there.lab, "M1", folders[1], day=there.day, why="it was M7")) == 2

    assert there.lab.sessions("M1") == []
    assert there.lab.rows(Water, mouse="M1") == []
    for folder in folders:
        take_in(there.lab, "M1", folder, day=there.day, why="it was M1", who="tester", archive=there.archive)
    assert there.lab.sessions("M1") == before


def test_a_row_that_is_not_what_its_log_says_is_put_right_by_the_log_and_never_by_an_edited_one(
    there: Laboratory,
) -> None:
    there.start()
    later(there)
    another_stage_in_the_database(there)
    folder = logs(there)[0].parent
    with pytest.raises(NoDecision, match=f"if the log is, rig mouse take-in M1 {folder} --why REASON"):
        there.start()
    word: dict[str, Any] = {"day": there.day, "why": "the row was wrong", "who": "tester", "archive": there.archive}

    assert take_in(there.lab, "M1", folder, **word).stage == T0

    assert there.start().before.stage == T1
    edited(there)
    with pytest.raises(NoDecision, match="is not the log that was recorded on 2026-01-05"):
        take_in(there.lab, "M1", folder, **word)


def test_the_first_session_too_can_be_answered_by_a_placement(there: Laboratory) -> None:
    folder = run_past_the_laboratory(there, T2)
    take_in(there.lab, "M1", folder, day=there.day, why="by hand", who="tester", archive=there.archive)
    mouse = there.lab.mouse("M1")
    given: dict[str, Any] = {"why": "trained elsewhere", "curriculum": curriculum_of(mouse), "day": there.day}
    with pytest.raises(NoDecision, match=f"rig mouse place M1 {T2} --before-first --why REASON"):
        later(there).start()
    with pytest.raises(Misplaced, match="give one of them"):
        place_at(there.lab, mouse, stage=T2, after="0", before_first=True, **given)
    with pytest.raises(Misplaced, match="M1 had no session nosuch"):
        place_at(there.lab, mouse, stage=T2, after="nosuch", **given)

    place_at(there.lab, mouse, stage=T2, after=None, before_first=True, **given)

    assert there.start().before.stage == T2


def test_a_session_on_record_that_no_start_began_wants_the_name_typed(there: Laboratory) -> None:
    there.start()
    record_log(there.lab, run_past_the_laboratory(there, T1), who="tester", archive=there.archive)
    later(there)
    unsure = Scripted()
    with pytest.raises(StartRefused, match=f"M1 had a session on 2026-01-05 at {T1} that was not started by rig start"):
        there.start(operator=unsure)
    assert len(there.lab.sessions("M1")) == 2  # it is on record all the same: it was shown
    with pytest.raises(StartRefused, match="was not confirmed"):
        there.start()

    assert there.start(operator=Scripted(types="M1")).session is not None
    (override,) = there.lab.overrides("M1", OverrideKind.MISFIT)
    assert "that was not started by rig start" in override.why
    assert later(there).start().session is not None  # it is confirmed once


@pytest.mark.parametrize("n_recorded", [0, 1, 2])
def test_what_was_drunk_is_on_record_once_wherever_the_recording_of_a_session_is_killed(
    there: Laboratory, monkeypatch: pytest.MonkeyPatch, n_recorded: int
) -> None:
    record = there.lab.record
    left = iter(range(n_recorded))

    def killed(fact: Fact) -> Fact:
        if isinstance(fact, Session | Water) and next(left, None) is None:
            raise KeyboardInterrupt
        return record(fact)

    monkeypatch.setattr(there.lab, "record", killed)
    if n_recorded < 2:
        with pytest.raises(KeyboardInterrupt):
            there.start()
    else:
        there.start()
    monkeypatch.setattr(there.lab, "record", record)
    later(there).start()

    first, second = there.lab.session_rows("M1")
    assert first.water_ml > 0
    drunk = {row.session_id: row.volume_ml for row in there.lab.rows(Water, mouse="M1")}
    assert drunk == {first.log_id: first.water_ml, second.log_id: second.water_ml}


def test_a_log_out_of_reach_is_said_and_its_row_is_taken(there: Laboratory, tmp_path: Path) -> None:
    there.start()
    later(there).start()
    logs(there)[0].parent.rename(tmp_path / "away")
    operator = Scripted()

    later(there).start(operator=operator)

    assert "1 of 2 sessions recomputed from their logs; out of reach: 2026-01-05T" in operator.heard


def closing_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have crashed logs closed without their pictures and NWB files, which take seconds each."""
    monkeypatch.setattr("rig.records.recover.finish", lambda _folder, **_names: Told())


def test_a_rig_runs_on_while_the_laboratory_is_away_if_somebody_says_so(tmp_path: Path) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    lab = open_lab(
        nowhere, replica=tmp_path / "replica.sqlite", who="tester", host="bench", now=lambda: datetime.now(UTC)
    )
    with closing(lab):
        lab.record(MOUSE)
        there = Laboratory(lab=lab, data_dir=tmp_path / "sessions", changes=SHORT, kind=MouseKind.PERFECT)
        with pytest.raises(LaboratoryAway, match="Whether M1 has a session elsewhere can't be known"):
            there.start()
        assert logs(there) == []
        operator = Scripted()

        day = there.start(operator=operator, override_why="the server is being moved, M1 is in my hand")

        assert day.session is not None
        assert day.after is not None
        assert "the session runs all the same, and is recorded there later" in operator.heard
        (override,) = lab.overrides("M1", OverrideKind.NO_LEASE)
        assert override.why == "the server is being moved, M1 is in my hand"
        assert [row.stage for row in lab.session_rows("M1")] == [T0]


def test_without_the_laboratory_a_crashed_session_goes_on_and_an_override_lets_a_second_one_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing_only(monkeypatch)
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    lab = open_lab(
        nowhere, replica=tmp_path / "replica.sqlite", who="tester", host="bench", now=lambda: datetime.now(UTC)
    )
    with closing(lab):
        lab.record(MOUSE)
        there = Laboratory(lab=lab, data_dir=tmp_path / "sessions", changes=SHORT, kind=MouseKind.PERFECT)
        there.breaks = crashes
        there.start(override_why="the power failed")
        there.breaks = None

        there.start(override_why="the power failed", go_on=True)
        third = there.start(override_why="the spout had slipped")

        assert [row.ended for row in lab.session_rows("M1")] == ["crashed", "time", "time"]
        assert len(lab.sessions("M1")) == 2
        assert third.session is not None
        (second,) = lab.overrides("M1", OverrideKind.SECOND_SESSION)
        assert second.session_id == third.session.log_id


def test_a_log_that_is_still_written_is_waited_for(there: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    closing_only(monkeypatch)
    there.breaks = crashes
    there.start()
    other = logs(there)[0].parent.with_name(f"{there.day}T110000Z_M1_{T1}")
    plan = there.plan(
        there.lab.mouse("M1"), there.stage(there.lab.mouse("M1"), T1), other, there.ids(), there.lab.sessions("M1")
    )
    there.lab.record(Start(mouse="M1", day=there.day, rig="simulated", session_id=str(plan.session_id)))
    crashes(plan)
    with (other / EVENTS).open("ab") as file:
        assert hold(file.fileno())
        with pytest.raises((NoDecision, LogError), match="wait until its session is over"):
            later(there).start()


def test_a_model_mouse_is_not_counted_among_a_real_ones_sessions(there: Laboratory) -> None:
    there.start()
    later(there).simulated = False

    with pytest.raises(StartRefused, match="had its sessions on simulated rigs, and simulated_imaging is real"):
        there.start()


@pytest.fixture
def rigs(server: Cluster, tmp_path: Path) -> Iterator[tuple[Laboratory, Laboratory]]:
    """Two rigs of one laboratory, and a mouse."""
    url = server.laboratory()
    with ExitStack() as stack:
        made: list[Laboratory] = []
        for name in ("one", "two"):
            lab = open_lab(url, replica=tmp_path / f"{name}.sqlite", who=name, host=name, now=lambda: datetime.now(UTC))
            stack.callback(lab.close)
            made.append(
                Laboratory(
                    lab=lab,
                    data_dir=tmp_path / name,
                    changes=SHORT,
                    kind=MouseKind.PERFECT,
                    config=rig_config(rig=f"rig-{name}"),
                    seed=len(made),
                )
            )
        first, second = made
        first.lab.record(MOUSE)
        first.lab.reconcile()
        second.lab.reconcile()
        yield first, second


def test_a_mouse_on_one_rig_is_refused_by_the_other_and_decided_there_the_next_day(
    rigs: tuple[Laboratory, Laboratory],
) -> None:
    first, second = rigs
    refused: list[str] = []

    def meanwhile(plan: SessionPlan) -> None:
        with pytest.raises(MouseHeld) as held:
            second.start()
        refused.append(str(held.value))
        run_plan(plan, runtime_dir=plan.folder.parent / "running")

    first.breaks = meanwhile
    first.start()
    assert "M1 is held by rig-one (one on one)" in refused[0]
    first.lab.reconcile()
    second.lab.reconcile()
    operator = Scripted()

    day = later(second).start(operator=operator)

    assert day.session is not None
    assert day.session.stage == T1
    assert "0 of 1 sessions recomputed from their logs; out of reach: 2026-01-05T" in operator.heard


def test_a_decision_that_was_made_before_the_laboratory_was_heard_is_refused(
    rigs: tuple[Laboratory, Laboratory],
) -> None:
    first, second = rigs
    first.start()
    first.lab.reconcile()
    later(second)  # which has not heard of it, and would begin with the first stage

    with pytest.raises(StartRefused, match="another rig has recorded a session of M1 meanwhile: start again"):
        second.start()
    assert logs(second) == []
    day = second.start()

    assert day.session is not None
    assert day.session.stage == T1


def test_a_mouse_that_is_placed_elsewhere_while_it_is_weighed_does_not_run_the_stage_before(
    rigs: tuple[Laboratory, Laboratory],
) -> None:
    first, second = rigs

    class Slow(Scripted):
        def weight_g(self, mouse: str) -> float:
            place(second, T2)
            second.lab.reconcile()
            return super().weight_g(mouse)

    with pytest.raises(StartRefused, match="M1 was placed, or its record was changed, meanwhile: start again"):
        first.start(operator=Slow())
    assert logs(first) == []
    day = first.start()

    assert day.session is not None
    assert day.session.stage == T2


def test_a_lease_whose_answer_was_lost_leaves_nothing_that_two_databases_tell_differently(
    rigs: tuple[Laboratory, Laboratory], server: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = rigs

    def answer_lost(*arguments: Any, **named: Any) -> None:
        acquire(*arguments, **named)
        server.stop()
        raise LaboratoryAway("no answer")

    monkeypatch.setattr("rig.lab.lab.acquire", answer_lost)
    first.start(override_why="the switch is dead, M1 is in my hand")

    server.start()
    assert first.lab.reconcile().refused == ()
    second.lab.reconcile()
    assert [row.stage for row in second.lab.session_rows("M1")] == [T0]
    assert not_recorded(second.lab, "M1") == []  # what was granted there began no session


def test_a_session_that_another_rig_began_and_has_not_recorded_is_heard_of_with_the_lease(
    rigs: tuple[Laboratory, Laboratory], monkeypatch: pytest.MonkeyPatch
) -> None:
    closing_only(monkeypatch)
    first, second = rigs
    first.breaks = killed
    with pytest.raises(KeyboardInterrupt):
        first.start()
    first.breaks = None

    with pytest.raises(StartRefused, match="its session of 2026-01-05, begun on rig-one, is not on record"):
        later(second).start()
    assert logs(second) == []
    with pytest.raises(SecondSession):
        first.start()  # which takes it in
    first.lab.reconcile()
    second.lab.reconcile()

    day = second.start()  # its own start, which was refused, has not taken the day away
    assert [row.stage for row in second.lab.session_rows("M1")] == [T0, day.before.stage]


def test_a_server_that_stops_in_mid_session_costs_nothing(rigs: tuple[Laboratory, Laboratory], server: Cluster) -> None:
    first, second = rigs

    def stops(plan: SessionPlan) -> None:
        server.stop()
        run_plan(plan, runtime_dir=plan.folder.parent / "running")

    first.breaks = stops
    day = first.start()
    assert day.session is not None
    assert day.after is not None
    assert second.lab.session_rows("M1") == []

    server.start()
    first.lab.reconcile()
    second.lab.reconcile()

    assert [row.stage for row in second.lab.session_rows("M1")] == [T0]
    assert [row.stage for row in second.lab.decisions("M1")] == [T0, T1]
    assert len(second.lab.rows(Water, mouse="M1")) == 1
    assert len(second.lab.rows(Weight, mouse="M1")) == 1


def test_a_mouse_runs_the_stages_of_its_own_curriculum(there: Laboratory, tmp_path: Path) -> None:
    own = curriculum_with(tmp_path, stage=T0, auto_reward_volume_ul=8.0)
    there.lab.correct(there.lab.mouse("M1"), why="another regimen", curriculum=str(own))
    day = there.start(operator=Scripted(weighs_g=21.0))
    assert day.session is not None
    log = read_session(logs(there)[-1].parent)
    assert log.started.stage_parameters["auto_reward_volume_ul"] == 8.0, "not the shipped stage of that name"


def test_a_stage_whose_file_calls_itself_another_is_not_run(there: Laboratory, tmp_path: Path) -> None:
    own = curriculum_with(tmp_path)
    there.lab.correct(there.lab.mouse("M1"), why="another regimen", curriculum=str(own))
    file = tmp_path / "stages" / f"{T0}.yaml"
    file.write_text((tmp_path / "stages" / f"{T1}.yaml").read_text(encoding="utf-8"), encoding="utf-8")

    with pytest.raises(StartRefused, match=f"{T0} is due, and its file in the curriculum of M1 calls itself {T1}"):
        there.start()
    assert logs(there) == []


def test_a_curriculum_changed_in_mid_training_decides_from_then_on(there: Laboratory, tmp_path: Path) -> None:
    first = there.start(operator=Scripted(weighs_g=21.0))
    later(there).start(operator=Scripted(weighs_g=21.0))
    assert first.after is not None
    assert first.after.stage == T1
    own = curriculum_with(tmp_path, n_complete=5)  # by which it would have stayed at the first stage
    there.lab.correct(there.lab.mouse("M1"), why="slower now", curriculum=str(own))
    day = later(there).start(operator=Scripted(weighs_g=21.0))
    assert day.before.stage == T1
    assert day.before.curriculum.version == "2"
    assert day.after is not None
    assert [row.curriculum.rpartition(",")[0] for row in there.lab.decisions("M1")] == [
        "visual_behavior 1.1.1",
        "visual_behavior 1.1.1",
        "visual_behavior 1.1.1",
        "visual_behavior 2",
        "visual_behavior 2",
    ]


def curriculum_with(folder: Path, *, stage: str | None = None, n_complete: int | None = None, **fields: float) -> Path:
    """A curriculum of the laboratory's own: the shipped one and its stages, some of it changed."""
    text = shipped("curricula")["visual_behavior"].read_text(encoding="utf-8").replace('"1.1.1"', '"2"')
    if n_complete is not None:
        text = text.replace("n: 1\n", f"n: {n_complete}\n", 1)
    (folder / "stages").mkdir()
    for name, path in shipped("stages").items():
        body = path.read_text(encoding="utf-8")
        for field, value in fields.items() if name == stage else ():
            body = re.sub(rf"^{field}: .*$", f"{field}: {value:g}", body, flags=re.MULTILINE)
        (folder / "stages" / f"{name}.yaml").write_text(body, encoding="utf-8")
    (folder / "own.yaml").write_text(text, encoding="utf-8")
    return folder / "own.yaml"
