"""Who and what takes part in a mouse's day: the operator, what was asked for, the rig, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID

from hardware.events import Finding
from rig.lab.rows import Mouse, Session
from rig.session.assemble import SessionPlan
from rig.training.projection import DayOf
from stages.decisions import Decision
from stages.history import SessionFacts
from stages.parameters import Stage


class Operator(Protocol):
    """Who stands at the rig. Each call may wait for an answer as long as it takes."""

    def tell(self, words: str) -> None:
        """Say something, on lines of its own."""

    def show_name(self, mouse: str) -> None:
        """Show the mouse's name in large letters."""

    def weight_g(self, mouse: str) -> float:
        """Return what the mouse weighs, in grams; ``StartRefused`` where nobody says."""

    def is_this(self, mouse: str, doubts: Sequence[str]) -> bool:
        """Return whether the mouse's name was typed, in face of what makes it doubtful."""

    def given_ml(self, mouse: str, *, at_least_ml: float) -> float | None:
        """Return the water that the mouse has just been given by hand, in mL; None if nobody says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a start is asked for besides the mouse.

    Parameters
    ----------
    override_why
        Why what may be overridden is to be: a second session on one day, a start while the laboratory is away, an
        imaging stage without a microscope. None to override nothing.
        Nothing overrides a floor, the water before a passive session or a wrong history.
    go_on
        Continue today's session that crashed, as its second part.
    weight_g
        A weight that was taken just now, beside one that is on record today; None if there is no such.
    water_ml
        Water that the mouse is said to have been given just now; only before a passive session.
    on_day
        What the commands that are named need besides: ``--day DAY`` where the day is simulated.
    """

    who: str
    day: str
    weight_g: float | None = None
    water_ml: float | None = None
    override_why: str | None = None
    go_on: bool = False
    on_day: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rigged:
    """What the rig does for a start, handed in: how a stage is read, checked and run.

    Parameters
    ----------
    stage
        Reads a stage by its name, as the mouse's curriculum has it.
    plan
        Makes a session's plan, given mouse, stage, its folder, its id and the mouse's history.
    run
        Runs it to its end; returns what went wrong, if anything.
    check
        Examines the devices.
    images
        Whether it has a microscope.
    now
        The present time with its zone.
    """

    name: str
    simulated: bool
    images: bool
    data_dir: Path
    stage: Callable[[Mouse, str], Stage]
    plan: Callable[[Mouse, Stage, Path, UUID, Sequence[SessionFacts]], SessionPlan]
    run: Callable[[SessionPlan], str | None]
    check: Callable[[], Iterator[Finding]]
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]
    day_of_session: DayOf


@dataclass(slots=True)
class Day:
    """What became of a start, as far as it came."""

    mouse: Mouse
    before: Decision
    session: Session | None = None
    problem: str | None = None
    """What ended the session against its plan."""
    after: Decision | None = None
    undecided: str | None = None
    """Why there is no decision; the mouse keeps its stage."""
    owed_ml: float = 0.0
