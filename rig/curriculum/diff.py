"""What differs between two curricula in what has an effect: order, transitions, criteria, every stage's parameters.

Names, versions, comments, the order of a file's fields and how a value is written have none. Image sets are compared
as places, so that the same curriculum for two cohorts is the same but for its cohorts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rig.curriculum.files import CurriculumFile, covers
from stages.curriculum import Cohort

NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same."""

    path: str
    """Dotted name, ``OPHYS_1_images_{familiar}.reward_volume_ul``."""
    first: str
    second: str
    why: str | None
    """What the ``deviations`` of either file say of it."""

    def __str__(self) -> str:
        """Return it as one line."""
        why = f"  ({self.why})" if self.why else ""
        return f"{self.path}: {self.first} | {self.second}{why}"


def differences(first: CurriculumFile, second: CurriculumFile, *, library: Path | None = None) -> list[Difference]:
    """Return all that differs, in the cohorts both have, or in the first of each.

    Raises
    ------
    ConfigError
        A stage of either can't be used.
    """
    shared = [cohort for cohort in first.cohorts if cohort in second.cohorts]
    pairs: list[tuple[Cohort, Cohort]] = [(each, each) for each in shared] or [(first.cohorts[0], second.cohorts[0])]
    reasons = {**second.parameters.deviations, **first.parameters.deviations}
    found: dict[Difference, None] = {}
    for of_first, of_second in pairs:
        ours = first.effective(of_first, library=library)
        theirs = second.effective(of_second, library=library)
        for path in [*ours, *(path for path in theirs if path not in ours)]:
            if path in ours and path in theirs and ours[path] == theirs[path]:
                continue
            why = next((reason for name, reason in reasons.items() if covers(name, path)), None)
            found[Difference(path, _written(ours, path), _written(theirs, path), why)] = None
    return list(found)


def _written(effective: dict[str, object], path: str) -> str:
    if path not in effective:
        return NOTHING
    match effective[path]:
        case None:
            return "null"
        case bool() as truth:
            return "true" if truth else "false"
        case float() as number:
            return f"{number:.15g}"
        case list() as several:
            return ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in several) or "nothing"
        case other:
            return str(other)
