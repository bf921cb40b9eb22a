"""What rigs do that are asked much, or killed; each runs in a process of its own."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from multiprocessing.connection import Connection
from pathlib import Path

from rig.lab.errors import LabError
from tests.rig.lab.labs import DAY, drunk, lab, uuid


def many(says: Connection, url: str, folder: Path, n: int, first: int) -> None:
    """Ask for M1 ``n`` times at once, each time as another rig; say what came of it, and keep what was had."""
    gate = threading.Barrier(n)
    with closing(lab(url, folder, rig=f"rig-{first}")) as one, ExitStack() as kept:
        one.leases()
        says.send("ready")
        says.recv()

        def start(number: int) -> tuple[str, str]:
            gate.wait()
            lease = one.lease("M1", rig=f"rig-{number}", session_id=uuid(number), day=DAY, limit_s=120.0)
            try:
                kept.enter_context(lease)
            except LabError as error:
                return type(error).__name__, str(error)
            return "won", f"rig-{number}"

        with ThreadPoolExecutor(n) as pool:
            says.send(list(pool.map(start, range(first, first + n))))
        says.recv()
    says.send("let go")


def hold(says: Connection, url: str, folder: Path, limit_s: float) -> None:
    """Take M1 as rig-1, say so, and keep it."""
    with (
        closing(lab(url, folder, rig="rig-1")) as one,
        one.lease("M1", rig="rig-1", session_id=uuid(1), day=DAY, limit_s=limit_s),
    ):
        says.send("holds")
        time.sleep(600.0)


def volume_ml(number: int) -> float:
    """Return what was drunk in a session."""
    return 0.1 + number / 1000


def drink(says: Connection, url: str, folder: Path, n: int) -> None:
    """Record the water of ``n`` sessions from the first one on, twice each, and reconcile after every third."""
    with closing(lab(url, folder, rig="rig-1")) as one:
        for number in range(n):
            for _ in range(2):
                one.record(drunk(uuid(number), volume_ml(number)))
            says.send(number)
            if number % 3 == 2:
                one.reconcile()
        one.reconcile()
        says.send("done")
