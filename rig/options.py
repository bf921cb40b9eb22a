"""What an operator gives on the command line for a session, checked: lengths, screens, names, model mice."""

from __future__ import annotations

import math

from hardware.simulated.mice import MouseKind
from rig.config.load import ConfigError, Problem, nearest
from rig.config.rig import RigConfig, with_screen
from stages.parameters import StageParameters, SweepParameters


def with_minutes(p: StageParameters | SweepParameters, minutes: float | None) -> StageParameters | SweepParameters:
    """Return the stage with another length of its task; ``ConfigError`` if that is none."""
    if minutes is None:
        return p
    if isinstance(p, SweepParameters):
        what = (
            f"{p.stage} is a sweep and takes {p.sweep.length_s / 60:.1f} min; for another length change its n_repeats"
        )
        raise ConfigError([Problem("--minutes", 0, "", what)])
    if not 0 < minutes < math.inf:
        raise ConfigError([Problem("--minutes", 0, "", f"{minutes:g} is no length of a task; give minutes above 0")])
    return p.model_copy(update={"task_duration_min": minutes})


def on_screen(config: RigConfig, kind: str | None) -> RigConfig:
    """Return the rig with a screen of another kind; ``ConfigError`` if it can't have one."""
    try:
        return config if kind is None else with_screen(config, kind)
    except ValueError as error:
        raise ConfigError([Problem("--screen", 0, "", str(error))]) from error


def check_name(mouse: str, *, option: str = "--mouse") -> None:
    """Refuse a mouse's name that can't stand in a folder's."""
    if not mouse or not all(c.isalnum() or c in "-." for c in mouse):
        raise ConfigError(
            [Problem(option, 0, "", f"{mouse!r} can't stand in a folder's name; use letters, digits, - and .")]
        )


def check_seed(seed: int | None) -> None:
    """Refuse what numpy takes no random numbers from."""
    if seed is not None and seed < 0:
        raise ConfigError([Problem("--seed", 0, "", f"{seed} is no seed; give a whole number from 0 up")])


def mouse_kind(name: str) -> MouseKind:
    """Return the model mouse of that name; ``ConfigError`` names the nearest where there is none."""
    try:
        return MouseKind(name)
    except ValueError as error:
        known = [kind.value for kind in MouseKind]
        raise ConfigError(
            [Problem("--simulated-mouse", 0, "", f"there is no model mouse {name!r}; {nearest(name, known)}")]
        ) from error
