"""What the commands about mice share: the laboratory they speak to, its day, and where this rig's sessions lie."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from rig.config.load import ConfigError, Problem
from rig.curriculum.files import open_curriculum
from rig.lab.errors import LaboratoryAway
from rig.lab.rows import Mouse
from rig.session.assemble import code_version
from rig.training.memory import InProcess, Memory, OnDisk
from rig.training.standing import Archive
from stages.curriculum import Curriculum
from stages.parameters import Stage

if TYPE_CHECKING:
    from rig.lab.lab import Lab

LabUrl = Annotated[
    str | None,
    typer.Option(
        "--lab",
        envvar="RIG_LAB",
        metavar="URL",
        help="The laboratory's database: postgresql://USER@HOST/NAME or sqlite:///FILE; else a file of this user's.",
        show_default=False,
    ),
]
Who = Annotated[str | None, typer.Option(help="Who does it; without it whoever is logged in.", show_default=False)]
OnDay = Annotated[str | None, typer.Option("--day", metavar="YYYY-MM-DD", help="Instead of today.", show_default=False)]
Sessions = Annotated[Path, typer.Option("--sessions", help="Where this rig keeps its sessions.")]
SESSIONS = Path("sessions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """What the command line hands to its commands.

    Parameters
    ----------
    sentences
        Turns the errors we know into a sentence and exit code 1.
    runtime_dir, library, data, cache
        Return this user's folders: of running sessions, pictures, the laboratory's file, what can be made again.
    user, host
        Return who is logged in, and this computer's name.
    asks
        Returns whether somebody is there to answer questions.
    """

    out: Console
    err: Console
    sentences: Callable[[], AbstractContextManager[None]]
    runtime_dir: Callable[[], Path]
    library: Callable[[], Path]
    data: Callable[[], Path]
    cache: Callable[[], Path]
    user: Callable[[], str]
    host: Callable[[], str]
    asks: Callable[[], bool]

    @contextmanager
    def lab(self, url: str | None, *, who: str | None = None, reconciles: bool = True) -> Iterator[Lab]:
        """Open the laboratory: the one that was named, or the file of this user's.

        Rows are exchanged with it before anything is read and after all was recorded, so that a mouse's water and its
        stage are the same for everyone in the building; where it is away, that is said and the rig's own file is read.
        """
        from rig.lab.lab import open_lab  # noqa: PLC0415 - half a second that no command to a session must wait for
        from rig.lab.store import without_password  # noqa: PLC0415

        url = url or f"sqlite:///{self.data() / 'laboratory.sqlite'}"
        self.data().mkdir(parents=True, exist_ok=True)
        known_by = hashlib.sha256(without_password(url).encode()).hexdigest()[:8]  # a new one leaves no row behind
        replica = self.data() / f"laboratory-{known_by}.sqlite"
        lab = open_lab(url, replica=replica, who=who or self.user(), host=self.host(), now=now)
        with closing(lab):
            if not reconciles:
                yield lab
                return
            told = self._exchange(lab, told=set())
            try:
                yield lab
            finally:  # what was recorded before a refusal, too
                self._exchange(lab, told=told)

    def _exchange(self, lab: Lab, *, told: set[str]) -> set[str]:
        """Exchange rows with the laboratory; say what went wrong, once, and return what was said."""
        try:
            wrong = list(lab.reconcile().refused)
        except LaboratoryAway as error:
            wrong = [f"{error}. What is recorded is kept here, and goes there later."]
        for words in wrong:
            if words not in told:
                self.err.print(f"▲ {words}", markup=False)
        return told | set(wrong)

    def archive(self, *folders: Path) -> Archive:
        """Return where logs are, and what they came to before."""
        version = code_version()
        dirty = version.endswith("-dirty")
        memory: Memory = InProcess() if dirty else OnDisk(self.cache() / "sessions", version=version)
        return Archive(folders=folders, memory=memory)


def now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


def day_or_today(day: str | None) -> str:
    """Return a day as it was given, or this computer's; ``ConfigError`` if it is none."""
    if day is None:
        return now().astimezone().date().isoformat()
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError as error:
        raise ConfigError([Problem("--day", 0, "", f"{day!r} is no day; give it as YYYY-MM-DD")]) from error


def curriculum_of(mouse: Mouse) -> Curriculum:
    """Return a mouse's own curriculum; ``ConfigError`` if it can't be used."""
    return open_curriculum(mouse.curriculum).for_cohort(f"{mouse.familiar}/{mouse.novel}")


def stage_of(mouse: Mouse, name: str, *, library: Path) -> Stage:
    """Return a stage as the mouse's own curriculum has it, which may not be as it ships; ``ConfigError`` if unfit."""
    return open_curriculum(mouse.curriculum).stage(name, library=library)
