"""A regimen made into a folder: a curriculum, and one complete file for each of its stages.

Nothing is written unless everything is understood or explained; what was remarked on stands at the head of the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from rig.config.files import load_stage
from rig.config.load import ConfigError, Problem, nearest
from rig.curriculum.files import STAGES, CurriculumFile, check, open_curriculum
from rig.curriculum.regimen import Entries, Regimen, RegimenStage, Written, read_regimen
from rig.curriculum.translate import Note, Reading, grouped, translate
from stages.criteria import PUBLISHED, Criterion
from stages.curriculum import Cohort, CurriculumParameters, Transition, TransitionKind
from stages.parameters import Stage, named_image_set

TASK_SCRIPTS = ("change_detection_with_fingerprint.py",)
"""The scripts whose parameters ``translate`` knows."""
SWEEP_SCRIPTS = ("receptive_field_mapping.py", "MovieClips.py")
"""Scripts for mapping receptive fields, neither of them public; the shipped sweep stands in their place."""
SWEEP = "OPHYS_7_receptive_field_mapping"


@dataclass(slots=True)
class Imported:
    """What became of a regimen."""

    parameters: CurriculumParameters | None = None
    stages: list[Stage] = field(default_factory=list)
    remarks: list[Note] = field(default_factory=list)
    """What is not word for word, each once, by line."""
    problems: list[Note] = field(default_factory=list)
    """What is not understood."""
    unfit: list[Problem] = field(default_factory=list)
    """Why the stages can't be run on this machine yet."""
    n_understood: int = 0
    """Keys of stages and transitions that were read, remarked on or not."""


def understand(regimen: Regimen, *, leave_out: Sequence[str] = ()) -> Imported:
    """Return a regimen as a curriculum and its stages, with all there is to say of it.

    Parameters
    ----------
    leave_out
        Keys of stages that may be ignored though nothing here answers to them.
    """
    found = Imported()
    for name, entry in regimen.others.items():
        found.problems.append(Note(entry.line, name, "is not understood: only name, transitions, stages, _definitions"))
    for name, entry in regimen.unused.items():
        found.remarks.append(Note(entry.line, name, "defined and used by no stage; nothing is made of it"))
    for stage in regimen.stages:
        made = _stage(stage, found, leave_out)
        if made is not None:
            found.stages.append(made)
    transitions = [made for line, entries in regimen.transitions for made in _transition(line, entries, found)]
    if not found.problems:
        found.parameters = _curriculum(regimen, transitions, found)
    found.remarks = sorted(set(found.remarks))
    found.problems = sorted(set(found.problems))
    return found


def import_regimen(
    path: Path, folder: Path, *, leave_out: Sequence[str] = (), library: Path | None = None
) -> tuple[CurriculumFile, Imported]:
    """Write a regimen's curriculum and stages into a folder, and return them with all that was remarked on.

    Raises
    ------
    ConfigError
        The file can't be read, something of it is not understood (all of it is named), or the folder is in use.
    """
    regimen = read_regimen(path)
    found = understand(regimen, leave_out=leave_out)
    if found.parameters is None:
        raise ConfigError([Problem(str(path), note.line, note.what, note.words) for note in found.problems])
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "is there already and not empty; choose another folder with --out"
        raise ConfigError([Problem(str(folder), 0, "", what)])
    name = f"{found.parameters.curriculum}_v{found.parameters.version}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".importing-") as temporary:
        made = Path(temporary) / "made"
        (made / STAGES).mkdir(parents=True)
        for stage in found.stages:
            text = f"# Made from {path.name} by rig curriculum import.\n{_written(stage.model_dump(mode='json'))}"
            (made / STAGES / f"{stage.stage}.yaml").write_text(text, encoding="utf-8")
        head = [f"# Made from {path.name} by rig curriculum import. What of it is not word for word:"]
        head += [f"#   {words}" for words in grouped(found.remarks)]
        fields = _without_empty(found.parameters.model_dump(mode="json"))
        (made / f"{name}.yaml").write_text("\n".join(head) + "\n" + _written(fields), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        made.rename(folder)
    imported = open_curriculum(str(folder / f"{name}.yaml"))
    try:
        check(imported, library=library)
    except ConfigError as error:
        found.unfit = error.problems
    return imported, found


def _stage(stage: RegimenStage, found: Imported, leave_out: Sequence[str]) -> Stage | None:
    for key, entry in stage.entries.items():
        if key not in ("script", "script_md5"):
            found.problems.append(Note(entry.line, f"stages.{stage.name}.{key}", "is not understood"))
    script = re.split(r"[/\\]", str(stage.entries.get("script", Written("", 0)).value).split("?")[0])[-1]
    if script in SWEEP_SCRIPTS and stage.name == SWEEP and set(stage.parameters) == {"stage"}:
        words = f"{script} is not public and has no parameters here: the shipped sweep of this name stands in its place"
        found.remarks.append(Note(stage.line, stage.name, words))
        found.n_understood += 1
        return load_stage(SWEEP)
    if script not in TASK_SCRIPTS:
        line = stage.entries["script"].line if "script" in stage.entries else stage.line
        what = f"{script or 'nothing'} is not understood; {nearest(script, [*TASK_SCRIPTS])}".rstrip("; ")
        found.problems.append(Note(line, f"stages.{stage.name}.script", what))
        return None
    reading = Reading(stage, leave_out)
    made = translate(reading)
    found.remarks += reading.remarks
    found.problems += reading.problems
    found.n_understood += reading.n_understood
    return made


def _transition(line: int, entries: Entries, found: Imported) -> Iterator[Transition]:
    found.n_understood += len(entries)
    for key, entry in entries.items():
        if key not in ("trigger", "source", "dest", "conditions", "unless"):
            found.problems.append(Note(entry.line, f"transition.{key}", "is not understood"))
    for key in ("trigger", "source", "dest"):
        if key not in entries:
            found.problems.append(Note(line, f"transition.{key}", "is missing"))
            return
    when = _criteria(entries, "conditions", found)
    unless = _criteria(entries, "unless", found)
    match entries["trigger"].value:
        case "manual":
            kind = TransitionKind.MANUAL
        case "progress":
            kind = TransitionKind.LAPSE if unless and not when else TransitionKind.ADVANCE
        case other:
            what = f"trigger {other} is not understood: progress or manual is expected"
            found.problems.append(Note(entries["trigger"].line, "transition", what))
            return
    source, dest = str(entries["source"].value), str(entries["dest"].value)
    yield Transition(source=source, dest=dest, kind=kind, when=when, unless=unless)


def _criteria(entries: Entries, key: str, found: Imported) -> tuple[Criterion, ...]:
    if key not in entries:
        return ()
    value, line = entries[key].value, entries[key].line
    criteria = []
    for name in value if isinstance(value, list) else [value]:
        if name in PUBLISHED:
            criteria.append(PUBLISHED[name])
        elif str(name).startswith("consistency"):
            found.problems.append(
                Note(line, f"transition.{key}", f"{name} is named by the source and was never written")
            )
        else:
            what = f"there is no criterion {name}; {nearest(str(name), list(PUBLISHED))}"
            found.problems.append(Note(line, f"transition.{key}", what))
    return tuple(criteria)


def _curriculum(regimen: Regimen, transitions: list[Transition], found: Imported) -> CurriculumParameters | None:
    """Return the curriculum, with places for its image sets; None if it makes none."""
    named = list(dict.fromkeys(each for stage in regimen.stages if (each := named_image_set(stage.name))))
    if len(named) != 2:
        what = f"name {len(named)} image sets ({', '.join(named) or 'none'}); a cohort has a familiar and a novel one"
        found.problems.append(Note(regimen.stages[0].line if regimen.stages else 1, "stages", what))
        return None
    cohort = Cohort(*named)
    name, version = _name(regimen, found)
    counts = "0: the regimen says nothing of sessions that hardly ran, so every session counts"
    found.remarks.append(Note(regimen.name.line, "counts_from_share_of_task", counts))
    fields: dict[str, Any] = {
        "curriculum": name,
        "version": version,
        "source": f"{regimen.path.name}, which calls itself {regimen.name.value}",
        "cohorts": [str(cohort)],
        "counts_from_share_of_task": 0.0,
        "stages": [_in_places(stage.name, cohort) for stage in regimen.stages],
        "transitions": [
            each.model_copy(
                update={"source": _in_places(each.source, cohort), "dest": _in_places(each.dest, cohort)}
            ).model_dump()
            for each in transitions
        ],
    }
    try:
        return CurriculumParameters.model_validate(fields)
    except ValueError as error:
        found.problems.append(Note(regimen.name.line, "transitions", f"make no curriculum: {error}"))
        return None


def _name(regimen: Regimen, found: Imported) -> tuple[str, str]:
    """Return name and version: the file's own, if its name says them, for a regimen may bear an older one's."""
    inside = re.fullmatch(r"([A-Za-z0-9_.-]+?)_v(\S+)", str(regimen.name.value))
    outside = re.fullmatch(r"([A-Za-z0-9_.-]+?)_v(\S+)", regimen.path.stem)
    if outside is not None and regimen.path.stem != regimen.name.value:
        words = f"{regimen.path.stem}, as its file is called: tags of one name hold different regimens"
        found.remarks.append(Note(regimen.name.line, f"name: {regimen.name.value}", words))
    if outside or inside:
        return (outside or inside).groups()  # type: ignore[union-attr, return-value]  # one of them it is
    return re.sub(r"[^A-Za-z0-9_.-]", "_", str(regimen.name.value)), "0"


def _in_places(stage: str, cohort: Cohort) -> str:
    for place, image_set in zip(("familiar", "novel"), cohort, strict=True):
        stage = re.sub(rf"_images_{re.escape(image_set)}(?=_|$)", f"_images_{{{place}}}", stage)
    return stage


class _Dumper(yaml.SafeDumper):
    """YAML as ours is: rows of numbers on one line, everything else one a line, whole numbers without a point."""


def _sequence(dumper: yaml.SafeDumper, values: Sequence[object]) -> yaml.Node:
    return dumper.represent_sequence(
        "tag:yaml.org,2002:seq", values, flow_style=all(isinstance(each, int | float) for each in values)
    )


def _float(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    return dumper.represent_int(int(value)) if value.is_integer() else dumper.represent_float(value)


_Dumper.add_representer(list, _sequence)
_Dumper.add_representer(float, _float)


def _written(fields: dict[str, Any]) -> str:
    return yaml.dump(fields, Dumper=_Dumper, sort_keys=False, width=10_000)


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a curriculum's fields without the optional ones that say nothing."""
    transitions = [{key: value for key, value in each.items() if value != []} for each in fields["transitions"]]
    return {key: value for key, value in {**fields, "transitions": transitions}.items() if value != {}}
