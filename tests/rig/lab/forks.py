"""Rigs as processes of their own, which can be killed; they begin with everything imported."""

from __future__ import annotations

import faulthandler
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_CONTEXT = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")


class Rig:
    """A process, and what it says."""

    def __init__(self, process: BaseProcess, says: Connection, errors: Path) -> None:
        self.process = process
        self.says = says
        self.errors = errors

    def hear(self) -> Any:
        """Return what it says next."""
        try:
            return self.says.recv()
        except EOFError:
            self.process.join()
            raise AssertionError(f"ended ({self.process.exitcode}): {self.errors.read_text()}") from None

    def go_on(self) -> None:
        """Give it what it waits for."""
        self.says.send("go on")

    def kill(self) -> None:
        """Kill it with -9."""
        self.process.kill()
        self.process.join()

    def last_words(self) -> list[object]:
        """Return all that it said and nobody heard."""
        words = []
        with suppress(EOFError):
            while True:
                words.append(self.says.recv())
        return words


def _run(what: Callable[..., None], errors: Path, *arguments: object) -> None:
    sys.stderr = errors.open("w", buffering=1)
    faulthandler.enable(sys.stderr)
    what(*arguments)


@contextmanager
def rig(what: Callable[..., None], *arguments: object) -> Iterator[Rig]:
    """Run ``what(says, *arguments)`` in a process; ends it."""
    if sys.platform != "win32":
        multiprocessing.set_forkserver_preload(["tests.rig.lab.starting", "sqlalchemy.dialects.postgresql.psycopg"])
    ours, theirs = _CONTEXT.Pipe()
    with closing(ours), TemporaryDirectory() as folder:
        errors = Path(folder) / "errors.txt"
        process = _CONTEXT.Process(target=_run, args=(what, errors, theirs, *arguments))
        process.start()
        theirs.close()
        try:
            yield Rig(process, ours, errors)
        finally:
            process.join(timeout=0.0)
            process.kill()
            process.join()
            process.close()
