"""Where configurations stand, and loading them by name: a file's path, or the name of a shipped one.

A stage with pictures ships with one image set. Asked for by the name with another set's letter (``OPHYS_1_images_G``)
it is the same stage with that set; a file of the very name goes before.
"""

from __future__ import annotations

import re
from importlib.resources import as_file, files
from pathlib import Path

from rig.config.load import ConfigError, Model, Problem, load_yaml, nearest
from rig.config.rig import ImageSetConfig, RigConfig
from stages.curriculum import CurriculumParameters
from stages.parameters import NaturalImages, Stage, StageParameters, SweepParameters
from stimuli.pictures.sets import ImageSet
from stimuli.spec import StimulusError

_NAMED_SET = re.compile(r"(?P<before>.+_images_)(?P<set>[^_]+)(?P<after>(_.+)?)")


def shipped(kind: str) -> dict[str, Path]:
    """Return the shipped files of a kind (``stages``, ``rigs``, ``image_sets``, ``curricula``) by name."""
    with as_file(files("configs") / kind) as folder:
        return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_stage(name: str, *, library: Path | None = None, folder: Path | None = None) -> Stage:
    """Return a stage by its file's path, or by the name of a shipped one with whatever image set.

    Parameters
    ----------
    library
        Where image sets of the laboratory's own were imported to.
    folder
        Where to look for the stage instead of among the shipped ones.
    """
    known = shipped("stages") if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if _is_path(name) or name in known:
        path = Path(name) if _is_path(name) else known[name]
        return load_yaml(path, _kind_of_stage(path))
    like = _with_another_set(name, known)
    if like is None:
        raise _unknown("stage", name, list(known))
    path, image_set = like
    if image_set not in (known_sets := image_sets(library)):
        sets = ", ".join(known_sets)
        raise ConfigError([Problem(name, 0, "", f"there is no image set {image_set}; known: {sets}")])
    fields = load_yaml(path, StageParameters).model_dump()
    fields["stimulus"]["image_set"] = image_set
    return StageParameters.model_validate({**fields, "stage": name})


def load_rig(name: str) -> RigConfig:
    """Return a rig by its file's path or by the name of a shipped one."""
    return _load("rigs", "rig", name, RigConfig)


def image_sets(library: Path | None = None) -> list[str]:
    """Return the names of the published image sets and of those in the library besides."""
    published = shipped("image_sets")
    folders = sorted(sets_of(library).iterdir()) if library is not None and sets_of(library).is_dir() else []
    own = [folder.name for folder in folders if folder.name not in published and not folder.name.startswith(".")]
    return [*published, *own]


def sets_of(library: Path) -> Path:
    """Return the folder of a library's image sets, a folder each."""
    return library / "image_sets"


def movies_of(library: Path) -> Path:
    """Return the folder of a library's movies, a folder each."""
    return library / "movies"


def load_image_set(name: str, *, library: Path | None = None) -> ImageSetConfig:
    """Return an image set by its letter: a published one, or one of the laboratory's own."""
    if library is not None and name not in shipped("image_sets") and name in image_sets(library):
        folder = sets_of(library) / name
        try:
            return ImageSetConfig(image_set=name, names=ImageSet.open(folder).names, source=str(folder))
        except StimulusError as error:
            raise ConfigError([Problem(name, 0, "", str(error))]) from error
    return _load("image_sets", "image set", name, ImageSetConfig)


def image_names(parameters: Stage, *, library: Path | None = None) -> list[str]:
    """Return the published names of a stage's pictures, none for gratings and sweeps."""
    if isinstance(parameters, StageParameters) and isinstance(parameters.stimulus, NaturalImages):
        return load_image_set(parameters.stimulus.image_set, library=library).names
    return []


def load_curriculum(name: str) -> CurriculumParameters:
    """Return a curriculum by its file's path or by the name of a shipped one."""
    return _load("curricula", "curriculum", name, CurriculumParameters)


def load_any(path: Path) -> Stage | RigConfig | ImageSetConfig | CurriculumParameters:
    """Return a file as what its first field says it is (``stage``, ``rig``, ``image_set`` or ``curriculum``)."""
    fields = _first_words(path)
    if "curriculum" in fields:
        return load_yaml(path, CurriculumParameters)
    if "stage" in fields:
        return load_yaml(path, _kind_of_stage(path))
    if "rig" in fields:
        return load_yaml(path, RigConfig)
    if "image_set" in fields:
        return load_yaml(path, ImageSetConfig)
    raise ConfigError(
        [
            Problem(
                str(path), 1, "", "has none of the fields stage, rig, image_set or curriculum; what is it meant to be?"
            )
        ]
    )


def _load(folder: str, what: str, name: str, model: type[Model]) -> Model:
    if _is_path(name):
        return load_yaml(Path(name), model)
    known = shipped(folder)
    if name not in known:
        raise _unknown(what, name, list(known))
    return load_yaml(known[name], model)


def _is_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _unknown(what: str, name: str, known: list[str]) -> ConfigError:
    return ConfigError([Problem(name, 0, "", f"there is no {what} of this name; {nearest(name, known)}")])


def _first_words(path: Path) -> list[str]:
    """Return what stands before the first colon of each line: the fields of a file, if it is one of ours."""
    try:
        return [line.split(":")[0] for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise ConfigError([Problem(str(path), 1, "", "no such file")]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), 1, "", f"can't be read: {error}")]) from error


def _kind_of_stage(path: Path) -> type[StageParameters | SweepParameters]:
    return SweepParameters if "sweep" in _first_words(path) else StageParameters


def _with_another_set(name: str, known: dict[str, Path]) -> tuple[Path, str] | None:
    """Return the file of the stage that is ``name`` but for its image set, and the set asked for."""
    asked = _NAMED_SET.fullmatch(name)
    if asked is None:
        return None
    for stage, path in known.items():
        shipped_as = _NAMED_SET.fullmatch(stage)
        if shipped_as and (shipped_as["before"], shipped_as["after"]) == (asked["before"], asked["after"]):
            return path, asked["set"]
    return None
