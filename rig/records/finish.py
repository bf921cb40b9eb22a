"""What a session leaves when it is over: its products, and its NWB file, which a process of its own makes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from rig.config.load import ConfigError
from rig.log.reader import SessionLog, read_session
from rig.log.schema import LogError
from rig.records.nwb import FILE, NwbError
from rig.records.products import PRODUCTS, write_products

EVERYTHING = (*PRODUCTS, FILE)


@dataclass(frozen=True, slots=True)
class Told:
    """How an export went: the file and what is odd in it, or why there is none, or not all there should be."""

    path: Path | None = None
    flags: tuple[str, ...] = ()
    problem: str | None = None


def missing(log: SessionLog) -> list[str]:
    """Return the names of what a session should have left and has not; without a flip there can be no NWB file."""
    wanted = EVERYTHING if len(log.flips) else PRODUCTS
    return [name for name in wanted if not (log.folder / name).is_file()]


def finish(folder: Path, *, names: Collection[str] = EVERYTHING) -> Told:
    """Write the products of the session in a folder, then its NWB file; return how that went.

    Nothing that goes wrong with the ones keeps the other from being made, or is raised.

    Parameters
    ----------
    names
        What is wanted; all products are made again if one of them is.
    """
    problem = None
    if not set(PRODUCTS).isdisjoint(names):
        try:
            write_products(read_session(folder))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the NWB file made all the same
            problem = why(error, what="the products", folder=folder)
    told = export_apart(folder) if FILE in names else Told()
    return replace(told, problem="; ".join(filter(None, (problem, told.problem))) or None)


def why(error: Exception, *, what: str, folder: Path) -> str:
    """Return in a sentence why something can't be made of a session, whatever the error is."""
    if isinstance(error, ConfigError | LogError | NwbError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or folder}: can't be read or written ({error.strerror or error}); {remedy(error)}"
    return f"{folder}: {what} can't be made ({type(error).__name__}: {error}); the record is whole, report this with it"


def remedy(error: OSError) -> str:
    """Return what to do about an error of the disk."""
    if isinstance(error, PermissionError):
        return "get the right to read and write there, for the folder and its files"
    return "look at the disk: its free space, its cable"


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
    except Exception as error:  # noqa: BLE001 - the end of a process: nobody else would hear of it
        told = Told(problem=why(error, what="the NWB file", folder=folder))
    sender.send(told)
    sender.close()
