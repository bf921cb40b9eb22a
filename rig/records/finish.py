"""What a session leaves when it is over: its products, and its NWB file, which a process of its own makes."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from rig.config.load import ConfigError
from rig.log.reader import read_session
from rig.log.schema import LogError
from rig.records.nwb import NwbError
from rig.records.products import write_products


@dataclass(frozen=True, slots=True)
class Told:
    """How an export went: the file and what is odd in it, or why there is none."""

    path: Path | None = None
    flags: tuple[str, ...] = ()
    problem: str | None = None


def finish(folder: Path) -> Told:
    """Write all products of the session in a folder, then its NWB file; return how that went."""
    write_products(read_session(folder))
    return export_apart(folder)


def export_apart(folder: Path) -> Told:
    """Have a process of its own make a session's NWB file, and wait for it.

    Whatever happens to that process, nothing happens to this one: libraries of the size of HDF5 can end it at once.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(folder, sender), name=f"export {folder.name}")
    process.start()
    sender.close()
    try:
        told: Told = receiver.recv()
    except EOFError:
        process.join()
        told = Told(problem=f"{folder}: the process that makes the NWB file ended with code {process.exitcode}")
    process.join()
    return told


def _child(folder: Path, sender: Connection) -> None:
    from rig.records.nwb.about import about_of  # noqa: PLC0415 - only this process needs pynwb
    from rig.records.nwb.export import export_nwb  # noqa: PLC0415

    try:
        log = read_session(folder)
        exported = export_nwb(log, about=about_of(folder, mouse=log.started.mouse))
        told = Told(path=exported.path, flags=tuple(exported.flags))
    except (ConfigError, LogError, NwbError) as error:
        told = Told(problem=str(error))
    sender.send(told)
    sender.close()
