"""Days of a mouse, made up: one line a session."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from rig.config.files import load_curriculum
from stages.curriculum import Cohort, Curriculum
from stages.decisions import Placement, decide
from stages.history import SessionFacts
from stages.parameters import named_image_set

BEGAN = datetime(2026, 1, 5, 10, tzinfo=UTC)
T0, T1, T2, T3, T4, EPILOGUE, READY, LAPSED, OPHYS_0, OPHYS_1, OPHYS_2 = (
    "TRAINING_0_gratings_autorewards_15min",
    "TRAINING_1_gratings",
    "TRAINING_2_gratings_flashed",
    "TRAINING_3_images_A_10uL_reward",
    "TRAINING_4_images_A_training",
    "TRAINING_5_images_A_epilogue",
    "TRAINING_5_images_A_handoff_ready",
    "TRAINING_5_images_A_handoff_lapsed",
    "OPHYS_0_images_A_habituation",
    "OPHYS_1_images_A",
    "OPHYS_2_images_A_passive",
)


@cache
def curriculum(cohort: str = "A/B") -> Curriculum:
    return load_curriculum("visual_behavior").for_cohort(Cohort.parse(cohort))


def day(n: int, stage: str = T1, **fields: Any) -> SessionFacts:
    """The session of a mouse's ``n``-th day, an average one but for ``fields``."""
    at = BEGAN + timedelta(days=n)
    facts = {
        "session_id": f"s{n:02d}",
        "mouse": "M1",
        "stage": stage,
        "day": at.date().isoformat(),
        "started_at": at.isoformat(),
        "ended": "time",
        "task_min": 60.0,
        "planned_min": 60.0,
        "peak_d_prime": 1.5,
        "n_contingent": 150,
        "n_hit": 60,
        "response_rate": 0.5,
        "aborted_time_share": 0.3,
        "image_set": named_image_set(stage),
        "omissions": False,
        "passive": False,
        "imaging": False,
    }
    return SessionFacts(**(facts | fields))


def days(*rows: dict[str, Any], stage: str = T1) -> list[SessionFacts]:
    """One session a day with these fields."""
    return [day(n, **({"stage": stage} | row)) for n, row in enumerate(rows)]


def peaks(*values: float | None, **fields: Any) -> list[SessionFacts]:
    """One session a day with these peaks."""
    return days(*({"peak_d_prime": value, **fields} for value in values))


def lived(rows: Sequence[dict[str, Any]], *, placements: Sequence[Placement] = ()) -> list[SessionFacts]:
    """The sessions of a mouse that is given, each day, the stage that is due."""
    history: list[SessionFacts] = []
    for n, row in enumerate(rows):
        known = {session.session_id for session in history}
        made = [each for each in placements if each.after is None or each.after in known]
        history.append(day(n, decide(curriculum(), history, placements=made).stage, **row))
    return history


GOOD, FAIR, POOR = {"peak_d_prime": 2.5}, {"peak_d_prime": 1.5}, {"peak_d_prime": 0.5}
TO_READY = [GOOD] * 14
"""Days that take a mouse to hand-off: 1 + 3 + 1 + 3 + 1 + 1, and some there."""
