"""Rigs as processes of their own, which can be killed; they begin with everything imported."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

_CONTEXT = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")


class Rig:
    """A process, and what it says."""

    def __init__(self, process: BaseProcess, says: Connection) -> None:
        self.process = process
        self.says = says

    def hear(self) -> object:
        """Return what it says next."""
        return self.says.recv()

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


@contextmanager
def rig(what: Callable[..., None], *arguments: object) -> Iterator[Rig]:
    """Run ``what(says, *arguments)`` in a process; ends it."""
    if sys.platform != "win32":
        multiprocessing.set_forkserver_preload(["tests.rig.lab.starting", "sqlalchemy.dialects.postgresql.psycopg"])
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=what, args=(theirs, *arguments))
    with closing(ours):
        process.start()
        theirs.close()
        try:
            yield Rig(process, ours)
        finally:
            process.join(timeout=0.0)
            process.kill()
            process.join()
            process.close()
