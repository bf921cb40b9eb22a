"""The commands about imaging, the laboratory's database and its table; ``rig.cli`` takes them in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rig.lab.errors import LabError
from rig.lab.rows import Aspect, Container, Judgement, Session
from rig.laboratory import SESSIONS, LabUrl, Sessions, Shell, Who
from rig.log.reader import read_session
from rig.records.whole import in_the_way, write_whole
from rig.training.imaging import (
    ImagingError,
    add_container,
    found_on_streams,
    judge,
    judged_by_rig,
    named,
    quality,
    set_planes,
)
from rig.training.table import as_csv, session_table
from rig.training.unrecorded import find_in

if TYPE_CHECKING:
    from rig.lab.lab import Lab

Name = Annotated[str, typer.Argument(help="The mouse.", show_default=False)]
OfSession = Annotated[
    str | None, typer.Option("--session", help="Its id or its beginning; without it the mouse's last one.")
]

Mistaken = Annotated[str, typer.Option("--why", help="Why what is on record is put right; both stay.")]


def imaging_commands(shell: Shell) -> typer.Typer:
    """Return the commands of ``rig imaging``."""
    imaging = typer.Typer(help="Imaging planes across sessions, and how good each was.", no_args_is_help=True)
    out = shell.out

    @imaging.command("container")
    def container(
        mouse: Name,
        name: Annotated[str, typer.Argument(help="Of the container, for example VISp_175.", show_default=False)],
        *,
        structure: Annotated[str, typer.Option(help="Targeted, as VISp.")],
        depth_um: Annotated[float, typer.Option(help="Below the surface.")],
        why: Mistaken = "",
        lab: LabUrl = None,
        who: Who = None,
    ) -> None:
        """Take in a container: one imaging plane of a mouse that is found again day after day."""
        with shell.sentences(), shell.lab(lab, who=who) as laboratory:
            laboratory.mouse(mouse)
            given = Container(mouse=mouse, name=name, structure=structure, depth_um=depth_um)
            row = add_container(laboratory, given, why=why)
            out.print(f"{mouse}: container {row.name}, {row.structure} at {row.depth_um:g} um.", markup=False)

    @imaging.command("planes")
    def planes(
        mouse: Name,
        containers: Annotated[list[str], typer.Argument(help="In the order of the planes.", show_default=False)],
        session: OfSession = None,
        why: Mistaken = "",
        lab: LabUrl = None,
        who: Who = None,
    ) -> None:
        """Say which containers a session's planes were, one to eight in order.

        Example: rig imaging planes M1 VISp_175 VISp_300
        """
        with shell.sentences(), shell.lab(lab, who=who) as laboratory:
            row = _session(laboratory, mouse, session)
            for plane in set_planes(laboratory, row, containers, why=why):
                out.print(f"{row.day} {row.stage}: plane {plane.plane_index} is {plane.container}.", markup=False)

    @imaging.command("judge")
    def judge_(
        mouse: Name,
        aspect: Annotated[Aspect, typer.Argument(help="What is judged.", show_default=False)],
        judgement: Annotated[Judgement, typer.Argument(help="How.", show_default=False)],
        *,
        plane: Annotated[int | None, typer.Option(help="Of which plane, from 0; of the session without it.")] = None,
        why: Annotated[str, typer.Option(help="What it rests on; a failure needs it.")] = "",
        session: OfSession = None,
        lab: LabUrl = None,
        who: Who = None,
    ) -> None:
        """Record a verdict on a session, or on one of its planes.

        Example: rig imaging judge M1 z_drift fail --plane 2 --why "12 um from start to end"
        """
        with shell.sentences(), shell.lab(lab, who=who) as laboratory:
            row = _session(laboratory, mouse, session)
            judge(laboratory, row, aspect, judgement, index=plane, figure=why)
            _tell(shell, laboratory, row)

    @imaging.command("check")
    def check(
        mouse: Name,
        sessions: Sessions = SESSIONS,
        session: OfSession = None,
        lab: LabUrl = None,
    ) -> None:
        """Have the rig judge what it can from the log: hardware, software, temporal alignment."""
        with shell.sentences(), shell.lab(lab) as laboratory:
            row = _session(laboratory, mouse, session)
            folder = find_in([sessions]).get(row.folder)
            if folder is None:
                raise ImagingError(f"{row.folder} is not under {sessions}; say where with --sessions")
            log = read_session(folder)
            for verdict in judged_by_rig(log, session_id=row.session_id, alignment=found_on_streams(log)):
                laboratory.record(verdict)
            _tell(shell, laboratory, row)

    @imaging.command("show")
    def show(mouse: Name, session: OfSession = None, lab: LabUrl = None) -> None:
        """Show how good a mouse's imaging sessions and their planes were, and what is still to be judged."""
        with shell.sentences(), shell.lab(lab) as laboratory:
            found = [_session(laboratory, mouse, session)] if session else _imaged(laboratory, mouse)
            if not found:
                out.print(f"{mouse} has no imaging session yet.", markup=False)
            for row in found:
                _tell(shell, laboratory, row)

    return imaging


def lab_commands(shell: Shell) -> typer.Typer:
    """Return the commands of ``rig lab``."""
    lab_ = typer.Typer(help="The laboratory's database.", no_args_is_help=True)

    @lab_.command("reconcile")
    def reconcile(lab: LabUrl = None) -> None:
        """Insert into the laboratory's database and this rig's own file what each lacks of the other."""
        with shell.sentences(), shell.lab(lab, reconciles=False) as laboratory:
            made = laboratory.reconcile()
            shell.out.print(f"{made.sent} rows sent, {made.received} received.", markup=False)
            for words in made.refused:
                shell.err.print(f"▲ {words}", markup=False)
            if made.refused:
                raise typer.Exit(1)

    @lab_.command("status")
    def status(lab: LabUrl = None) -> None:
        """Say whether the laboratory can be reached, bring its tables up to date, and who has which mouse."""
        with shell.sentences(), shell.lab(lab, reconciles=False) as laboratory:
            held = laboratory.leases()
            n = len(laboratory.mice())
            mice = "1 mouse" if n == 1 else f"{n} mice"
            shell.out.print(f"{mice} on record here; the laboratory answers.", markup=False)
            for row in held:
                shell.out.print(f"{row.mouse}: {'dead, ' if row.expired else ''}{row.words}", markup=False)

    return lab_


def table_commands(shell: Shell) -> typer.Typer:
    """Return the commands of ``rig table``."""
    tables = typer.Typer(help="Tables over all mice and sessions.", no_args_is_help=True)

    @tables.callback()
    def _group() -> None:
        """Tables over all mice and sessions."""

    @tables.command("sessions")
    def sessions(
        file: Annotated[Path | None, typer.Option("--out", help="A .csv file; without it it is printed.")] = None,
        lab: LabUrl = None,
    ) -> None:
        """Write a row a session with the published table's columns, as far as a rig knows them."""
        with shell.sentences(), shell.lab(lab) as laboratory:
            text = as_csv(session_table(laboratory))
            if file is None:
                shell.out.print(text, markup=False, end="")
                return
            if (problem := in_the_way(file, suffix=".csv")) is not None:
                raise LabError(f"{file}: {problem}; give another name with --out")
            write_whole(file, text.encode())
            shell.out.print(str(file), markup=False)

    return tables


def _imaged(lab: Lab, mouse: str) -> list[Session]:
    """Return the last log's row of each of a mouse's imaging sessions."""
    lab.mouse(mouse)
    return [*{row.session_id: row for row in lab.session_rows(mouse) if row.imaging}.values()]


def _session(lab: Lab, mouse: str, wanted: str | None) -> Session:
    found = [row for row in _imaged(lab, mouse) if wanted is None or row.session_id.startswith(wanted)]
    if not found:
        which = f" {wanted}" if wanted else ""
        raise ImagingError(f"{mouse} has no imaging session{which}; rig mouse show {mouse} lists its last ones")
    if wanted is not None and len(found) > 1:
        raise ImagingError(f"{len(found)} sessions of {mouse} begin with {wanted}; give more of the id")
    return found[-1]


def _tell(shell: Shell, lab: Lab, row: Session) -> None:
    shell.out.print(f"{row.day}  {row.stage}  {row.session_id}", markup=False)
    for each in quality(lab, row.session_id):
        shell.out.print(f"  {each.words()}", markup=False)
        for aspect, verdict in each.verdicts.items():
            figure = f": {verdict.figure}" if verdict.figure else ""
            shell.out.print(
                f"    {verdict.judgement.value}  {named(aspect)}{figure}  ({verdict.judge.value})", markup=False
            )
