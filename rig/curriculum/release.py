"""The published mice's real transitions, sorted by a curriculum's graph: what they did beside what it says.

The release's table has a row a session and not what was decided, so this sorts what happened: each pair of successive
sessions of a mouse is a repeat, a transition of the curriculum, or none. Image sets are compared as places, whatever
letter fills them: the few sessions with another set than the mouse's cohort are listed beside.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from stages.curriculum import Cohort, CurriculumParameters, TransitionKind
from stages.parameters import named_image_set

OLD_NAMES = ("TRAINING_4_images_{familiar}_handoff_ready", "TRAINING_4_images_{familiar}_handoff_lapsed")
"""Stages of regimen v1.0.3, which the first mice were trained by (TASK_FACTS 2)."""


class Sort(StrEnum):
    """What a transition between two real sessions is to a curriculum."""

    AUTOMATIC = "automatic"
    REPEAT = "repeats"
    MANUAL = "manual in order"
    EXPLAINED = "by old names or lapsed to OPHYS_0"
    OUT_OF_ORDER = "out of order"


@dataclass(frozen=True, slots=True)
class RealTransition:
    """Two successive sessions of a real mouse."""

    mouse: str
    cohort: Cohort
    source: str
    dest: str
    at: datetime
    """When the second began."""
    sort: Sort
    of_other_set: bool
    """Whether either session has an image set that the mouse's cohort doesn't have at that stage."""


def real_transitions(table: Path, curriculum: CurriculumParameters) -> list[RealTransition]:
    """Return every transition of the release's mice, by mouse and time, sorted by the curriculum.

    Parameters
    ----------
    table
        ``behavior_session_table.csv`` of the release.
    """
    found: list[RealTransition] = []
    for mouse, sessions in _mice(table).items():
        cohort = cohort_of([stage for _, stage in sessions], curriculum)
        for (_, source), (at, dest) in itertools.pairwise(sessions):
            other = any(named_image_set(each) not in (None, _due(each, cohort, curriculum)) for each in (source, dest))
            found.append(RealTransition(mouse, cohort, source, dest, at, sort_of(source, dest, curriculum), other))
    return found


def cohort_of(stages: Sequence[str], curriculum: CurriculumParameters) -> Cohort:
    """Return the cohort whose familiar set the mouse was trained on, by most of its training sessions."""
    trained = Counter(named_image_set(stage) for stage in stages if stage.startswith("TRAINING_"))
    cohorts = [Cohort.parse(text) for text in curriculum.cohorts]
    return max(cohorts, key=lambda cohort: trained[cohort.familiar])


def sort_of(source: str, dest: str, curriculum: CurriculumParameters) -> Sort:
    """Return what a transition is; image sets are not looked at."""
    here, there = without_set(source), without_set(dest)
    if here == there:
        return Sort.REPEAT
    for each in curriculum.transitions:
        if (without_set(each.source), without_set(each.dest)) == (here, there):
            return Sort.MANUAL if each.kind is TransitionKind.MANUAL else Sort.AUTOMATIC
    old = [without_set(name) for name in OLD_NAMES]
    lapsed = [without_set(each.dest) for each in curriculum.transitions if each.kind is TransitionKind.LAPSE]
    first_manual = next(without_set(each.dest) for each in curriculum.transitions if each.kind is TransitionKind.MANUAL)
    if here in old or there in old or (here in lapsed and there == first_manual):
        return Sort.EXPLAINED
    return Sort.OUT_OF_ORDER


def without_set(stage: str) -> str:
    """Return a stage's name, or its template, without the image set."""
    return re.sub(r"_images_[^_]+", "_images_*", stage)


def counts_words(transitions: Sequence[RealTransition]) -> str:
    """Return the counts in one line."""
    counts = Counter(each.sort for each in transitions)
    mice = len({each.mouse for each in transitions})
    told = ", ".join(f"{counts[sort]:,} {sort.value}" for sort in Sort)
    return f"{len(transitions):,} transitions of {mice} mice: {told}"


def _due(stage: str, cohort: Cohort, curriculum: CurriculumParameters) -> str | None:
    """Return the image set that a cohort has at a stage."""
    templates = [*curriculum.stages, *OLD_NAMES]
    return next(
        (named_image_set(cohort.fill(each)) for each in templates if without_set(each) == without_set(stage)), None
    )


def _mice(table: Path) -> Mapping[str, list[tuple[datetime, str]]]:
    """Return each mouse's sessions, when they began and what they ran, oldest first."""
    mice: dict[str, list[tuple[datetime, str]]] = {}
    for mouse, at, stage in _rows(table):
        mice.setdefault(mouse, []).append((at, stage))
    return {mouse: sorted(sessions) for mouse, sessions in mice.items()}


def _rows(table: Path) -> Iterator[tuple[str, datetime, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["mouse_id"], datetime.fromisoformat(row["date_of_acquisition"]), row["session_type"]
