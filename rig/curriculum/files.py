"""A curriculum's file together with the stages it names, every problem of both at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rig.config.files import image_names, load_curriculum, load_stage, shipped
from rig.config.load import ConfigError, Problem, lines_of, nearest
from rig.curriculum.regimen import read_regimen
from stages.curriculum import Cohort, Curriculum, CurriculumParameters
from stages.parameters import NaturalImages, Stage, StageParameters

STAGES = "stages"
"""The folder beside a curriculum that its stages stand in, if they are its own."""


@dataclass(frozen=True)
class CurriculumFile:
    """A curriculum, and where it and its stages stand."""

    path: Path
    parameters: CurriculumParameters

    @property
    def cohorts(self) -> list[Cohort]:
        """The cohorts it is meant for."""
        return [Cohort.parse(text) for text in self.parameters.cohorts]

    def for_cohort(self, text: str | None = None) -> Curriculum:
        """Return it for the cohort written ``A/B``, or its first.

        Raises
        ------
        ConfigError
            It has no such cohort.
        """
        if text is None:
            return self.parameters.for_cohort(self.cohorts[0])
        if text not in self.parameters.cohorts:
            what = f"has no cohort {text!r}; {nearest(text, list(self.parameters.cohorts))}"
            raise ConfigError([Problem(str(self.path), lines_of(self.path)["cohorts",], "cohorts", what)])
        return self.parameters.for_cohort(Cohort.parse(text))

    def stage(self, name: str, *, library: Path | None = None) -> Stage:
        """Return the parameters of a stage of the curriculum; ConfigError if its file can't be used.

        Parameters
        ----------
        library
            Where image sets of the laboratory's own were imported to.
        """
        own = self.path.parent / STAGES
        return load_stage(name, library=library, folder=own if own.is_dir() else None)

    def effective(self, cohort: Cohort, *, library: Path | None = None) -> dict[str, object]:
        """Return all that has an effect on a cohort's mice, by dotted names in which the image sets are places.

        Raises
        ------
        ConfigError
            A stage's file can't be used.
        """
        p = self.parameters
        found: dict[str, object] = {
            "cohorts": list(p.cohorts),
            "counts_from_share_of_task": p.counts_from_share_of_task,
            "stages": list(p.stages),
        }
        for stage in p.stages:
            found[f"{stage}.leads_to"] = [each.dest for each in p.transitions if each.source == stage]
        for each in p.transitions:
            at = f"{each.source} -> {each.dest}"
            found[f"{at}.kind"] = each.kind.value
            for side, criteria in (("when", each.when), ("unless", each.unless)):
                for criterion in criteria:
                    fields = criterion.model_dump(exclude={"kind"})
                    found |= {f"{at}.{side}.{criterion.kind}.{name}": value for name, value in fields.items()}
        for template in p.stages:
            parameters = self.stage(cohort.fill(template), library=library)
            found |= {f"{template}.{name}": value for name, value in _flat(_in_places(parameters, cohort))}
        return found


def open_curriculum(name: str) -> CurriculumFile:
    """Return a curriculum by its file's path or by the name of a shipped one.

    Raises
    ------
    ConfigError
        Holds every problem of the file; those of its stages are found by ``check``.
    """
    try:
        parameters = load_curriculum(name)
    except ConfigError as error:
        if name not in shipped("curricula") and _is_regimen(Path(name)):
            what = f"is a regimen of the laboratory; make a curriculum of it first: rig curriculum import {name}"
            raise ConfigError([Problem(name, 1, "", what)]) from error
        raise
    return CurriculumFile(shipped("curricula").get(name, Path(name)), parameters)


def _is_regimen(path: Path) -> bool:
    try:
        read_regimen(path)
    except ConfigError:
        return False
    return True


def check(file: CurriculumFile, *, library: Path | None = None) -> None:
    """Look at every stage the curriculum names, for each of its cohorts.

    Raises
    ------
    ConfigError
        A stage is missing or unfit, an image set is unknown, a deviation names nothing; all of them.
    """
    problems = list(_problems(file, library))
    if problems:
        raise ConfigError(problems)


def _problems(file: CurriculumFile, library: Path | None) -> Iterator[Problem]:
    lines = lines_of(file.path)
    named = {
        cohort.fill(each): (n, cohort)
        for cohort in reversed(file.cohorts)
        for n, each in enumerate(file.parameters.stages)
    }
    fit = True
    for name, (n, cohort) in sorted(named.items(), key=lambda item: (file.cohorts.index(item[1][1]), item[1][0])):
        at, where = lines["stages", n], f"stages.{n}"
        try:
            stage = file.stage(name, library=library)
            image_names(stage, library=library)
        except ConfigError as error:
            fit = False
            for problem in error.problems:
                yield Problem(str(file.path), at, where, f"cohort {cohort}: {problem}")
            continue
        if stage.stage != name:
            fit = False
            yield Problem(str(file.path), at, where, f"cohort {cohort}: the file of {name} calls itself {stage.stage}")
    if not fit:
        return
    known = list(file.effective(file.cohorts[0], library=library))
    for name in file.parameters.deviations:
        if not any(covers(name, path) for path in known):
            what = f"names nothing of this curriculum; {nearest(name, known)}".rstrip("; ")
            yield Problem(str(file.path), lines["deviations", name], f"deviations.{name}", what)


def covers(name: str, path: str) -> bool:
    """Return whether a dotted name is that of a path or of a group it belongs to."""
    return path == name or path.startswith(f"{name}.")


def _in_places(stage: Stage, cohort: Cohort) -> dict[str, object]:
    """Return a stage's fields with the cohort's image sets as the places they are filled into."""
    fields: dict[str, object] = stage.model_dump(exclude={"stage"})
    if isinstance(stage, StageParameters) and isinstance(stage.stimulus, NaturalImages):
        stimulus = stage.stimulus.model_dump()
        for place, image_set in zip(("{familiar}", "{novel}"), cohort, strict=True):
            if image_set == stage.stimulus.image_set:
                stimulus["image_set"] = place
        fields["stimulus"] = stimulus
    return fields


def _flat(fields: dict[str, object], at: str = "") -> Iterator[tuple[str, object]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{at}{name}.")
        else:
            yield f"{at}{name}", list(value) if isinstance(value, tuple) else value
