"""Where configurations stand, and loading them by name: a file's path, or the name of a shipped one."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from rig.config.load import ConfigError, Model, Problem, load_yaml, nearest
from rig.config.rig import ImageSetConfig, RigConfig
from stages.parameters import NaturalImages, StageParameters


def shipped(kind: str) -> dict[str, Path]:
    """Return the shipped files of a kind (``stages``, ``rigs``, ``image_sets``) by name."""
    with as_file(files("configs") / kind) as folder:
        return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_stage(name: str) -> StageParameters:
    """Return a stage by its file's path or by the name of a shipped one."""
    return _load("stages", "stage", name, StageParameters)


def load_rig(name: str) -> RigConfig:
    """Return a rig by its file's path or by the name of a shipped one."""
    return _load("rigs", "rig", name, RigConfig)


def load_image_set(name: str) -> ImageSetConfig:
    """Return an image set by its letter."""
    return _load("image_sets", "image set", name, ImageSetConfig)


def image_names(parameters: StageParameters) -> list[str]:
    """Return the names of a stage's pictures, none for gratings."""
    if not isinstance(parameters.stimulus, NaturalImages):
        return []
    return load_image_set(parameters.stimulus.image_set).names


def load_any(path: Path) -> StageParameters | RigConfig | ImageSetConfig:
    """Return a file as what its first field says it is (``stage``, ``rig`` or ``image_set``)."""
    try:
        fields = [line.split(":")[0] for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), 1, "", f"can't be read: {error}")]) from error
    if "stage" in fields:
        return load_yaml(path, StageParameters)
    if "rig" in fields:
        return load_yaml(path, RigConfig)
    if "image_set" in fields:
        return load_yaml(path, ImageSetConfig)
    raise ConfigError(
        [Problem(str(path), 1, "", "has none of the fields stage, rig or image_set; what is it meant to be?")]
    )


def _load(folder: str, what: str, name: str, model: type[Model]) -> Model:
    if name.endswith((".yaml", ".yml")):
        return load_yaml(Path(name), model)
    known = shipped(folder)
    if name not in known:
        raise ConfigError([Problem(name, 0, "", f"there is no {what} of this name; {nearest(name, list(known))}")])
    return load_yaml(known[name], model)
