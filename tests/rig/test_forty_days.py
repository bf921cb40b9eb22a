"""A model mouse through 40 days of ``rig start``: it climbs, lapses, recovers and is imaged; each decision holds."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from rig.lab.rows import Override, OverrideKind, Water, WaterKind
from rig.training.recompute import recompute
from rig.training.standing import as_recorded, placements
from rig.training.unrecorded import find_in
from stages.decisions import Move, climb
from tests.rig.laboratory import Laboratory, Scripted, curriculum_of, laboratory
from tests.telling import Tell

DAYS = 40
SEED, WHOLE_SEED = 5, 3
SHORT = {"gray_before_s": 1.0, "gray_after_s": 1.0, "movie": None}
"""Gray and movie have no trials; the task is as it ships, or half as long in the fast one of these tests."""
READY, LAPSED = "TRAINING_5_images_A_handoff_ready", "TRAINING_5_images_A_handoff_lapsed"
FIRST_IMAGING = "OPHYS_1_images_A"
HABITUATED_AFTER = 3
"""OPHYS_0 usually takes three days."""


def _operator_moves_on(there: Laboratory, ran: list[str]) -> None:
    """Place the mouse as an operator does: into imaging once it has recovered, then in order; one session twice."""
    stage = there.lab.decisions("M1")[-1].stage
    recovered = LAPSED in ran and ran[-1] == stage == READY
    habituated = ran[-HABITUATED_AFTER:].count("OPHYS_0_images_A_habituation") == HABITUATED_AFTER
    if stage.startswith("OPHYS_2"):
        to, why = FIRST_IMAGING, "z-drift in plane 0, once more"
    elif ran.count(FIRST_IMAGING) == 2 and stage == FIRST_IMAGING:
        to, why = "OPHYS_3_images_A", "the passive one was good"
    elif recovered or habituated or (stage.startswith("OPHYS") and not stage.startswith("OPHYS_0")):
        to, why = curriculum_of(there.lab.mouse("M1")).suggested(stage) or "", "next in the usual order"
    else:
        return
    last = there.lab.sessions("M1")[-1].session_id
    there.lab.record(
        Override(mouse="M1", day=there.day, kind=OverrideKind.STAGE, stage=to, after_session=last, why=why)
    )


def _forty_days(there: Laboratory, tell: Tell) -> list[str]:
    """Return the stages that it ran."""
    ran: list[str] = []
    moves: list[Move] = []
    for there.n_days in range(DAYS):
        if ran:
            _operator_moves_on(there, ran)
        operator = Scripted(weighs_g=21.0 + 0.2 * (there.n_days % 3), gives_ml=1.0)
        day = there.start(operator=operator)
        assert day.session is not None
        assert day.undecided is None, day.undecided
        assert day.session.stage == day.before.stage
        ran.append(day.session.stage)
        moves.append(day.before.move)
        passive = "passive" in day.session.stage
        assert (operator.asked[-1].startswith("water")) == passive  # a passive day's water comes first, no other's
    history = there.lab.sessions("M1")
    recorded = {row.after_session: row for row in there.lab.decisions("M1")}
    fresh = recompute(there.lab.session_rows("M1"), find=find_in([there.data_dir]).get)
    decided = climb(curriculum_of(there.lab.mouse("M1")), fresh.history, placements=placements(there.lab, "M1"))
    equal = sum(recorded[each.after].decision == as_recorded(each) for each in decided)
    told = "".join(move.value[0] for move in moves)
    tell(
        f"{len(history)} sessions, {fresh.words()}; moves {told} (first, advance, hold, lapse, placed); lapsed "
        f"{moves.count(Move.LAPSE)} times, came back {_came_back(ran)}; {equal} of {len(decided)} decisions as recorded"
    )
    assert fresh.history == tuple(history)
    assert not fresh.differences
    assert fresh.n_recomputed == DAYS
    assert equal == len(decided) == DAYS + 1
    assert moves.count(Move.ADVANCE) >= 5
    assert Move.LAPSE in moves
    assert _came_back(ran) >= 1
    assert ran.count("OPHYS_0_images_A_habituation") == HABITUATED_AFTER
    assert ran.count(FIRST_IMAGING) == 2
    assert len({row.session_id for row in there.lab.rows(Water, mouse="M1", kind=WaterKind.SESSION)}) == sum(
        row.water_ml > 0 for row in there.lab.session_rows("M1")
    )
    return ran


def _came_back(ran: list[str]) -> int:
    return sum((before, after) == (LAPSED, READY) for before, after in pairwise(ran))


def test_forty_days_with_half_the_task_climb_lapse_and_recover(tmp_path: Path, tell: Tell) -> None:
    with laboratory(tmp_path, seed=SEED, changes=SHORT | {"task_duration_min": 30.0}) as there:
        ran = _forty_days(there, tell)
        assert "OPHYS_4_images_B" in ran  # into the novel images


@pytest.mark.long(group="others")
def test_forty_days_of_whole_sessions_climb_lapse_and_recover(tmp_path: Path, tell: Tell) -> None:
    with laboratory(tmp_path, seed=WHOLE_SEED, changes=SHORT) as there:
        _forty_days(there, tell)
