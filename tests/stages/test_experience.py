"""Prior exposures and experience levels: the published tables as oracle, and the rule by rows."""

from __future__ import annotations

import csv
from collections import defaultdict
from datetime import datetime

import pytest

from stages.experience import (
    ExperienceLevel,
    Shown,
    experience_level,
    exposures_before,
    prior_exposures,
    session_number,
    shown_by_name,
)
from tests.builders import recorded
from tests.telling import Tell

HABITUATION_WITHOUT_OMISSIONS_SINCE = "2019-03"
"""From March 2019 on OPHYS_0 came without omissions (regimen v1.1, TASK_FACTS 1.8)."""
LATER_WITH_OMISSIONS = {"915739774": "453990", "974803205": "484408"}
"""Two later OPHYS_0 (session, mouse), each the last before OPHYS_1: the count goes up after them. Either they had
omissions, or a session with omissions that is not in the table stood between; the table does not tell which."""


def _table(name: str) -> dict[str, list[dict[str, str]]]:
    """The rows of a published table, mouse by mouse, in the order of their sessions."""
    mice: dict[str, list[dict[str, str]]] = defaultdict(list)
    with recorded(f"release/{name}").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            mice[row["mouse_id"]].append(row)
    for rows in mice.values():
        rows.sort(key=lambda row: datetime.fromisoformat(row["date_of_acquisition"].removesuffix("+00:00")))
    return mice


def _had_omissions(row: dict[str, str]) -> bool:
    early = row["date_of_acquisition"] < HABITUATION_WITHOUT_OMISSIONS_SINCE
    return early or row["behavior_session_id"] in LATER_WITH_OMISSIONS


def test_exposures_and_levels_are_the_releases_for_every_session_of_every_mouse(tell: Tell) -> None:
    n_rows, n_habituation, n_with, differing = 0, 0, 0, []
    published = {}
    for rows in _table("behavior_session_table.csv").values():
        shown = [shown_by_name(row["session_type"], omissions_in_habituation=_had_omissions(row)) for row in rows]
        for row, what, before in zip(rows, shown, prior_exposures(shown), strict=True):
            ours = (
                before.session_type,
                "" if before.image_set is None else before.image_set,
                before.omissions,
                experience_level(row["session_type"], prior_exposures_to_image_set=before.image_set),
                "" if (number := session_number(row["session_type"])) is None else number,
            )
            theirs = (
                int(row["prior_exposures_to_session_type"]),
                int(float(of_set)) if (of_set := row["prior_exposures_to_image_set"]) else "",
                int(row["prior_exposures_to_omissions"]),
                row["experience_level"],
                int(float(of_ophys)) if (of_ophys := row["session_number"]) else "",
            )
            published[row["behavior_session_id"]] = ours
            if ours != theirs:
                differing.append((row["behavior_session_id"], row["session_type"], ours, theirs))
            n_rows += 1
            n_habituation += session_number(row["session_type"]) == 0
            n_with += session_number(row["session_type"]) == 0 and what.omissions
    imaging = [row for rows in _table("ophys_session_table.csv").values() for row in rows]
    for row in imaging:
        theirs = (
            int(row["prior_exposures_to_session_type"]),
            int(float(row["prior_exposures_to_image_set"])),
            int(row["prior_exposures_to_omissions"]),
            row["experience_level"],
            int(float(row["session_number"])),
        )
        if published[row["behavior_session_id"]] != theirs:
            differing.append(
                (row["behavior_session_id"], row["session_type"], published[row["behavior_session_id"]], theirs)
            )

    tell(
        f"{n_rows} sessions and {len(imaging)} with imaging: {len(differing)} differ; {n_habituation} OPHYS_0, "
        f"{n_with} of them with omissions (before March 2019, and the last one of mice "
        f"{', '.join(LATER_WITH_OMISSIONS.values())})"
    )
    assert not differing
    assert (n_rows, len(imaging)) == (4787, 704)
    assert (n_habituation, n_with) == (366, 24)


def test_a_session_of_the_same_images_counts_whatever_its_stage() -> None:
    before = [shown_by_name("TRAINING_3_images_A_10uL_reward"), shown_by_name("OPHYS_1_images_A")]

    coming = exposures_before(before, shown_by_name("OPHYS_3_images_A"))

    assert (coming.session_type, coming.image_set, coming.omissions) == (0, 2, 1)
    assert coming.words == "this stage in 0 sessions before, its images in 2 sessions, omissions in 1 session"


def test_a_session_that_ended_before_its_first_picture_spends_no_novelty() -> None:
    dark = Shown(stage="OPHYS_4_images_B", image_set=None, omissions=False)

    coming = exposures_before([dark], shown_by_name("OPHYS_4_images_B"))

    assert (coming.session_type, coming.image_set, coming.omissions) == (1, 0, 0)


@pytest.mark.parametrize(
    ("stage", "before", "level"),
    [
        ("TRAINING_0_gratings_autorewards_15min", None, ExperienceLevel.TRAINING),
        ("TRAINING_5_images_A_handoff_ready", 30, ExperienceLevel.TRAINING),
        ("OPHYS_0_images_A_habituation", 0, ExperienceLevel.FAMILIAR),  # so twice in the real table
        ("OPHYS_3_images_A", 40, ExperienceLevel.FAMILIAR),
        ("OPHYS_4_images_B", 0, ExperienceLevel.NOVEL_1),
        ("OPHYS_4_images_B", 1, ExperienceLevel.NOVEL_MORE),
        ("OPHYS_5_images_B_passive", 0, ExperienceLevel.NOVEL_1),  # once in the real table
        ("OPHYS_6_images_B", 2, ExperienceLevel.NOVEL_MORE),
        ("OPHYS_7_receptive_field_mapping", None, None),
    ],
)
def test_the_level_follows_from_stage_and_images(stage: str, before: int | None, level: ExperienceLevel | None) -> None:
    assert experience_level(stage, prior_exposures_to_image_set=before) is level
