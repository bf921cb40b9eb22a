"""The commands that turn sessions into other people's files and mend crashed ones; ``rig.cli`` takes them in."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console

from rig.log.reader import SessionLog, read_session
from rig.records.monitor_delay import DelayOrigin, MonitorDelay
from rig.records.nwb import NwbError
from rig.records.products import SUMMARY_TEXT, write_products
from rig.records.recover import QUIET_S, recover_all
from rig.session.assemble import folder_name

SessionFolder = Annotated[Path, typer.Argument(help="The session's folder.", show_default=False)]


def export_commands(
    *,
    out: Console,
    sentences: Callable[[], AbstractContextManager[None]],
    running: Callable[[], set[str]],
    library: Callable[[], Path],
) -> typer.Typer:
    """Return the commands of ``rig export``.

    Parameters
    ----------
    out
        Where they say what they made.
    sentences
        Turns the errors we know into a sentence and exit code 1.
    running
        Returns the ids of the sessions that run on this machine.
    library
        Returns where this user's own pictures are.
    """

    def over(folder: Path) -> SessionLog:
        log = read_session(folder)
        if log.started.session_id in running():
            raise NwbError(f"{folder}: the session still runs; wait for its end, which writes the NWB file anyway")
        return log

    export = typer.Typer(help="Write a session as a file that other programs read.", no_args_is_help=True)

    @export.callback()
    def _group() -> None:
        """Write a session as a file that other programs read.

        Made from the session's folder, which stays as it is; a file can be made again at any time.
        """

    @export.command("nwb")
    def nwb(
        session: SessionFolder,
        out_file: Annotated[Path | None, typer.Option("--out", help="Instead of session.nwb in its folder.")] = None,
        about: Annotated[
            Path | None, typer.Option(help="File about mouse and laboratory; else about.yaml, or MOUSE.yaml beside.")
        ] = None,
        monitor_delay_s: Annotated[
            float | None, typer.Option(help="Measured delay from flip to picture, instead of the rig's nominal one.")
        ] = None,
        monitor_delay_spread_s: Annotated[
            float | None, typer.Option(help="Its standard deviation; goes with it.")
        ] = None,
        templates: Annotated[
            bool, typer.Option("--templates", help="With the pictures as they were on the screen, warped and unwarped.")
        ] = False,
    ) -> None:
        """Write the NWB file that AllenSDK opens; also of stopped and crashed sessions.

        Example: rig export nwb sessions/2026-01-01T000000Z_M1_OPHYS_1_images_A_00000000
        """
        from rig.records.nwb.about import about_of  # noqa: PLC0415 - pynwb takes a second, no other command needs it
        from rig.records.nwb.export import export_nwb  # noqa: PLC0415
        from rig.records.nwb.templates import templates_of  # noqa: PLC0415

        with sentences():
            delay = _measured(monitor_delay_s, monitor_delay_spread_s)
            log = over(session)
            known = about_of(session, mouse=log.started.mouse, file=about)
            shown = templates_of(log, library=library()) if templates else None
            exported = export_nwb(log, about=known, delay=delay, templates=shown, path=out_file)
            out.print(str(exported.path), markup=False)
            for flag in exported.flags:
                out.print(f"Note: {flag}", markup=False)

    @export.command("camstim")
    def camstim(
        session: SessionFolder,
        out_file: Annotated[Path | None, typer.Option("--out", help="Instead of session.pkl in its folder.")] = None,
    ) -> None:
        """Write the pickle that camstim would have left, for processing that reads those.

        Example: rig export camstim sessions/2026-01-01T000000Z_M1_OPHYS_1_images_A_00000000
        """
        from rig.records.camstim_export import export_camstim  # noqa: PLC0415 - scipy takes a second

        with sentences():
            out.print(str(export_camstim(over(session), path=out_file)), markup=False)

    return export


def import_commands(*, out: Console, sentences: Callable[[], AbstractContextManager[None]]) -> typer.Typer:
    """Return the commands of ``rig import``; what it is handed is as in ``export_commands``."""
    imports = typer.Typer(help="Make a session of what another program recorded.", no_args_is_help=True)

    @imports.callback()
    def _group() -> None:
        """Make a session of what another program recorded, so that old and new ones go through the same tables."""

    @imports.command("camstim")
    def camstim(
        file: Annotated[Path, typer.Argument(help="camstim's pickle, .pkl or .pkl.gz.", show_default=False)],
        out_dir: Annotated[Path, typer.Option("--out", help="Where the session's folder is made.")] = Path("sessions"),
        time_zone: Annotated[
            str | None,
            typer.Option(metavar="AREA/CITY", help="Of camstim's clock; else the file's own, or this computer's."),
        ] = None,
    ) -> None:
        """Make a session of camstim's pickle, with its products: what camstim did, not what we would have.

        Sessions with flashed natural images only.
        Example: rig import camstim 190620_457841.pkl --time-zone America/Los_Angeles
        """
        from rig.records.camstim.importing import begun_at, import_camstim, zone_of  # noqa: PLC0415 - no other command needs it
        from rig.records.camstim.reader import read_camstim  # noqa: PLC0415

        with sentences():
            zone = zone_of(time_zone) if time_zone is not None else None
            recording = read_camstim(file)
            about = recording.about
            name = folder_name(
                now=begun_at(about, time_zone=zone),
                mouse=recording.mouse,
                stage=recording.stage,
                session_id=UUID(about.session_id),
            )
            log = import_camstim(recording, out_dir / name, time_zone=zone)
            write_products(log)
            out.print((log.folder / SUMMARY_TEXT).read_text(encoding="utf-8").rstrip(), markup=False)
            out.print(f"Folder: {log.folder}", markup=False)

    return imports


def add_recover(
    app: typer.Typer,
    *,
    out: Console,
    sentences: Callable[[], AbstractContextManager[None]],
    running: Callable[[], set[str]],
) -> None:
    """Add ``rig recover`` to the commands; what it is handed is as in ``export_commands``."""

    @app.command("recover")
    def recover(
        where: Annotated[Path, typer.Argument(help="Folder with sessions, at whatever depth.")] = Path("sessions"),
        quiet_s: Annotated[
            float, typer.Option(min=0, help="Leave sessions alone that wrote less than so long ago; 0: none runs.")
        ] = QUIET_S,
    ) -> None:
        """Close sessions that crashed, and make all their products; finish what an earlier run could not make.

        Nothing that was recorded is changed: one line is added to the log, and the products and the NWB file are made
        of what is there. Sessions that run are left alone.
        """
        with sentences():
            n, failed = 0, False
            for recovered in recover_all(where, by=getpass.getuser(), running=running(), quiet_s=quiet_s):
                out.print(recovered.words(), markup=False)
                n += recovered.did
                failed |= recovered.problem is not None
            out.print(f"{n} sessions recovered." if n != 1 else "1 session recovered.", markup=False)
            if failed:
                raise typer.Exit(1)


def _measured(delay_s: float | None, spread_s: float | None) -> MonitorDelay | None:
    if delay_s is None and spread_s is None:
        return None
    if delay_s is None or spread_s is None:
        raise NwbError("give --monitor-delay-s and --monitor-delay-spread-s together, or neither")
    try:
        return MonitorDelay(delay_s, DelayOrigin.MEASURED, spread_s)
    except ValueError as error:
        raise NwbError(f"--monitor-delay-s: {error}") from error
