"""How new a session's pictures are to a mouse: prior exposures and experience level, as the release's table has them.

An exposure is any session in which it was shown, whatever became of the session: novelty is spent by looking
(TASK_FACTS 0, REL). Counts go over all sessions before, of any stage; parts of one session are one. Checked against
every row of the published tables (4,787 sessions of 107 mice).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from stages.parameters import named_image_set


class ExperienceLevel(StrEnum):
    """The release's words for how new the pictures are."""

    TRAINING = "Training"
    """Any session in training."""
    FAMILIAR = "Familiar"
    """OPHYS_0 to OPHYS_3: the images the mouse was trained with."""
    NOVEL_1 = "Novel 1"
    """OPHYS_4 to OPHYS_6, first time that these images are on the screen."""
    NOVEL_MORE = "Novel >1"
    """OPHYS_4 to OPHYS_6, after that."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a session put before the mouse."""

    stage: str
    image_set: str | None
    """None with gratings, in a sweep, and where the session ended before its first picture."""
    omissions: bool
    """Whether flashes could be omitted; some OPHYS_0 of early regimens had omissions (TASK_FACTS 1.8)."""


class Exposures(msgspec.Struct, frozen=True, kw_only=True):
    """What a mouse has seen before a session; the release's three columns."""

    session_type: int
    """Sessions of the same stage."""
    image_set: int | None
    """Sessions with the same images; None in a session without."""
    omissions: int
    """Sessions with omissions, whatever the images."""

    @property
    def words(self) -> str:
        """Return it as an operator is told."""
        images = "" if self.image_set is None else f", its images in {_n(self.image_set)}"
        return f"this stage in {_n(self.session_type)} before{images}, omissions in {_n(self.omissions)}"


def session_number(stage: str) -> int | None:
    """Return n of ``OPHYS_n``, the release's ``session_number``; None in training."""
    found = re.match(r"OPHYS_(\d+)(?:_|$)", stage)
    return int(found[1]) if found else None


def shown_by_name(stage: str, *, omissions_in_habituation: bool = False) -> Shown:
    """Return what a published session showed, by the name of its stage alone (REL; TASK_FACTS 2).

    OPHYS_1 to OPHYS_6 have omissions, training has none; OPHYS_0 had them in regimens before v1.1, which the name does
    not tell.
    """
    number = session_number(stage)
    omissions = number is not None and (1 <= number <= 6 or (number == 0 and omissions_in_habituation))
    return Shown(stage=stage, image_set=named_image_set(stage), omissions=omissions)


def prior_exposures(sessions: Sequence[Shown]) -> list[Exposures]:
    """Return for each of a mouse's sessions, in their order, what the mouse had seen before it."""
    stages: Counter[str] = Counter()
    image_sets: Counter[str] = Counter()
    n_omissions = 0
    exposures = []
    for shown in sessions:
        exposures.append(
            Exposures(
                session_type=stages[shown.stage],
                image_set=None if shown.image_set is None else image_sets[shown.image_set],
                omissions=n_omissions,
            )
        )
        stages[shown.stage] += 1
        if shown.image_set is not None:
            image_sets[shown.image_set] += 1
        n_omissions += shown.omissions
    return exposures


def exposures_before(sessions: Sequence[Shown], coming: Shown) -> Exposures:
    """Return what a mouse with these sessions behind it has seen before the coming one."""
    return prior_exposures([*sessions, coming])[-1]


def experience_level(stage: str, *, prior_exposures_to_image_set: int | None) -> ExperienceLevel | None:
    """Return how new a session's images are; None for stages that the release does not have (OPHYS_7).

    The release goes by the session's number, so that a habituation is familiar though its images may be new to the
    mouse (2 of 366), and OPHYS_4 to 6 are novel whatever the mouse was trained with.
    """
    number = session_number(stage)
    if number is None:
        return ExperienceLevel.TRAINING if stage.startswith("TRAINING_") else None
    if number <= 3:
        return ExperienceLevel.FAMILIAR
    if number > 6:
        return None
    return ExperienceLevel.NOVEL_MORE if prior_exposures_to_image_set else ExperienceLevel.NOVEL_1


def _n(sessions: int) -> str:
    return f"{sessions} session{'s' * (sessions != 1)}"
