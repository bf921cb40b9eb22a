"""What a curriculum is: stages in order, and transitions whose criteria are data.

A file holds ``CurriculumParameters``: names of stages may hold ``{familiar}`` and ``{novel}``, the two image sets of a
mouse's cohort. ``for_cohort`` fills them in and gives a ``Curriculum``, which decisions rest on (``stages.decisions``).

Rules
    * The first stage listed is where a mouse begins; transitions of a stage are tried in the order given, and the first
      whose criteria hold is taken.
    * ``advance`` and ``lapse`` happen by themselves after a session: all of ``when`` hold and, if there is any
      ``unless``, not all of those. ``manual`` is an order to suggest: only an operator moves the mouse along it.
    * A file that can't be meant is refused, all of its problems at once: an unknown, unreachable or repeated stage, a
      transition that is repeated or can never be taken, advances in a circle, a lapse without a way back.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, NamedTuple, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stages.criteria import Criterion
from stages.parameters import Contradictions, Wrong

_PLACES = ("familiar", "novel")


class TransitionKind(StrEnum):
    """How a mouse takes a transition."""

    ADVANCE = "advance"
    LAPSE = "lapse"
    MANUAL = "manual"


class Cohort(NamedTuple):
    """The image sets of a group of mice: written ``A/B``, they train on A and see B first while imaged."""

    familiar: str
    novel: str

    @classmethod
    def parse(cls, text: str) -> Cohort:
        """Return a cohort as ``FAMILIAR/NOVEL`` says it; ValueError if it says none."""
        found = re.fullmatch(r"([A-Za-z0-9]+)/([A-Za-z0-9]+)", text)
        if found is None:
            raise ValueError(f"{text!r} is no cohort; write its familiar and its novel image set as A/B")
        if found[1] == found[2]:
            raise ValueError(f"{text}: the novel image set must be another than the familiar one")
        return cls(found[1], found[2])

    def __str__(self) -> str:
        return f"{self.familiar}/{self.novel}"

    def fill(self, stage: str) -> str:
        """Return a stage's name with this cohort's image sets."""
        return stage.replace("{familiar}", self.familiar).replace("{novel}", self.novel)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Transition(_Strict):
    """A way from one stage to another."""

    source: str
    dest: str
    kind: TransitionKind
    when: tuple[Criterion, ...] = Field(default=(), description="all of them must hold")
    unless: tuple[Criterion, ...] = Field(default=(), description="the transition is not taken if all of them hold")

    def shadows(self, later: Transition) -> bool:
        """Return whether it is taken whenever ``later`` could be, which then never is."""
        if TransitionKind.MANUAL in (self.kind, later.kind) or self.source != later.source:
            return False
        looser = all(criterion in later.when for criterion in self.when)
        if not self.unless:
            return looser
        return looser and bool(later.unless) and all(criterion in self.unless for criterion in later.unless)


class CurriculumParameters(_Strict):
    """A curriculum as its file has it, complete."""

    curriculum: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="its name")
    version: str = Field(pattern=r"^\S+$", description="a new one whenever anything here changes")
    source: str = Field(description="where it comes from")
    cohorts: tuple[str, ...] = Field(min_length=1, description="FAMILIAR/NOVEL image sets it is meant for")
    counts_from_share_of_task: float = Field(
        ge=0,
        le=1,
        description="sessions whose task ran for a smaller share of what was planned are left out of all criteria and "
        "move no mouse, unless they ended by their limit of water; 0: every session counts",
    )
    stages: tuple[str, ...] = Field(min_length=1, description="in order; a mouse begins at the first")
    transitions: tuple[Transition, ...]
    deviations: dict[str, Annotated[str, Field(min_length=1)]] = Field(
        default={}, description="what differs from its source, by the name `rig curriculum diff` gives it, and why"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*self._of_cohorts(), *self._of_stages(), *self._of_transitions()]
        problems = problems or [*self._of_circles(), *self._of_reach()]
        if problems:
            raise Contradictions(problems)
        return self

    def for_cohort(self, cohort: Cohort) -> Curriculum:
        """Return it with a cohort's image sets filled in; ValueError if it isn't meant for that cohort."""
        if str(cohort) not in self.cohorts:
            raise ValueError(f"{self.curriculum} has no cohort {cohort}; it has {', '.join(self.cohorts)}")
        return Curriculum(
            name=self.curriculum,
            version=self.version,
            cohort=cohort,
            counts_from_share_of_task=self.counts_from_share_of_task,
            stages=tuple(cohort.fill(stage) for stage in self.stages),
            transitions=tuple(
                each.model_copy(update={"source": cohort.fill(each.source), "dest": cohort.fill(each.dest)})
                for each in self.transitions
            ),
        )

    def _of_cohorts(self) -> Iterator[Wrong]:
        for n, text in enumerate(self.cohorts):
            try:
                Cohort.parse(text)
            except ValueError as error:
                yield Wrong(f"cohorts.{n}", str(error))
            if text in self.cohorts[:n]:
                yield Wrong(f"cohorts.{n}", f"{text} is there twice")

    def _of_stages(self) -> Iterator[Wrong]:
        for n, stage in enumerate(self.stages):
            for place in re.findall(r"\{(.*?)\}", stage):
                if place not in _PLACES:
                    yield Wrong(f"stages.{n}", f"{{{place}}} stands for nothing; there are {{familiar}} and {{novel}}")
            if stage in self.stages[:n]:
                yield Wrong(f"stages.{n}", f"{stage} is there twice")

    def _of_transitions(self) -> Iterator[Wrong]:
        for n, each in enumerate(self.transitions):
            at = f"transitions.{n}"
            for field, stage in (("source", each.source), ("dest", each.dest)):
                if stage not in self.stages:
                    close = get_close_matches(stage, self.stages, n=1)
                    meant = f"did you mean {close[0]}?" if close else "add it to stages, or take one of those"
                    yield Wrong(f"{at}.{field}", f"there is no stage {stage} in this curriculum; {meant}")
            if each.source == each.dest:
                yield Wrong(at, f"leads from {each.source} to itself; without a transition the mouse stays anyway")
            automatic = each.kind is not TransitionKind.MANUAL
            if automatic and not (each.when or each.unless):
                yield Wrong(f"{at}.when", f"is missing: {each.kind} happens by itself and needs a criterion")
            if not automatic and (each.when or each.unless):
                field = "when" if each.when else "unless"
                yield Wrong(f"{at}.{field}", "a manual transition is the operator's and has no criteria")
            for earlier_n, earlier in enumerate(self.transitions[:n]):
                if (earlier.source, earlier.dest) == (each.source, each.dest):
                    yield Wrong(at, f"leads from {each.source} to {each.dest} as transition {earlier_n + 1} does")
                elif earlier.shadows(each):
                    what = f"is never taken: whenever its criteria hold, transition {earlier_n + 1} is taken before it"
                    yield Wrong(at, what)

    def _of_circles(self) -> Iterator[Wrong]:
        advances = [each for each in self.transitions if each.kind is TransitionKind.ADVANCE]
        for n, each in enumerate(self.transitions):
            back = each.source in reached(each.dest, advances)
            if each.kind is TransitionKind.ADVANCE and back:
                what = f"closes a circle of advances through {each.source}; make the way down a lapse"
                yield Wrong(f"transitions.{n}", what)
            if each.kind is TransitionKind.LAPSE and not back:
                what = f"has no way back: no advance leads from {each.dest} to {each.source}; add one"
                yield Wrong(f"transitions.{n}", what)

    def _of_reach(self) -> Iterator[Wrong]:
        there = reached(self.stages[0], self.transitions)
        for n, stage in enumerate(self.stages):
            if stage not in there:
                yield Wrong(f"stages.{n}", f"{stage} can't be reached from {self.stages[0]}; give it a transition")


def reached(start: str, transitions: Iterable[Transition]) -> set[str]:
    """Return the stages that can be reached along transitions, the start included."""
    ways, there, ahead = list(transitions), {start}, [start]
    while ahead:
        here = ahead.pop()
        for each in ways:
            if each.source == here and each.dest not in there:
                there.add(each.dest)
                ahead.append(each.dest)
    return there


class CurriculumId(msgspec.Struct, frozen=True, kw_only=True):
    """Which curriculum a decision was made by; ``sha256`` is over all that decisions depend on."""

    name: str
    version: str
    cohort: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}, cohort {self.cohort} ({self.sha256[:8]})"


@dataclass(frozen=True, slots=True)
class Curriculum:
    """A curriculum for one cohort's mice."""

    name: str
    version: str
    cohort: Cohort
    counts_from_share_of_task: float
    stages: tuple[str, ...]
    transitions: tuple[Transition, ...]

    @property
    def first(self) -> str:
        """The stage a mouse begins at."""
        return self.stages[0]

    def automatic(self, stage: str) -> list[Transition]:
        """Return the transitions that a stage's criteria decide, in the order they are tried."""
        return [each for each in self._from(stage) if each.kind is not TransitionKind.MANUAL]

    def suggested(self, stage: str) -> str | None:
        """Return the stage an operator would take the mouse to next; None where there is none in order."""
        return next((each.dest for each in self._from(stage) if each.kind is TransitionKind.MANUAL), None)

    def identity(self) -> CurriculumId:
        """Return its name, version, cohort and the hash of all that decisions depend on."""
        effective = {
            "counts_from_share_of_task": self.counts_from_share_of_task,
            "stages": self.stages,
            "transitions": [each.model_dump(mode="json") for each in self.transitions],
        }
        text = json.dumps(effective, sort_keys=True, separators=(",", ":"))
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        return CurriculumId(name=self.name, version=self.version, cohort=str(self.cohort), sha256=sha256)

    def _from(self, stage: str) -> list[Transition]:
        return [each for each in self.transitions if each.source == stage]
