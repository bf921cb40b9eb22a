"""Many starts at once, and one that expects to be killed, in processes of their own.

``python -m tests.rig.lab.starting many URL FOLDER N FIRST`` asks for M1 ``N`` times at once, each
time as another rig, and says what came of it. ``... hold URL FOLDER LIMIT_S`` takes M1, says so and keeps it.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

from rig.lab.errors import LabError
from tests.rig.lab.labs import DAY, lab, uuid


def many(url: str, folder: Path, n: int, first: int) -> None:
    """Print, once a line comes in, who got M1, and what the others were told; keep it until another line comes."""
    gate = threading.Barrier(n)
    # Two cores are not to be called away because 200 come within a second.
    with closing(lab(url, folder, rig=f"rig-{first}", connect_s=60, call_s=60.0)) as one, ExitStack() as kept:
        one.leases()
        print("ready", flush=True)
        sys.stdin.readline()

        def start(number: int) -> tuple[str, str]:
            gate.wait()
            lease = one.lease("M1", rig=f"rig-{number}", session_id=uuid(number), day=DAY, limit_s=120.0)
            try:
                kept.enter_context(lease)
            except LabError as error:
                return type(error).__name__, str(error)
            return "won", f"rig-{number}"

        with ThreadPoolExecutor(n) as pool:
            print(json.dumps(list(pool.map(start, range(first, first + n)))), flush=True)
        sys.stdin.readline()


def hold(url: str, folder: Path, limit_s: float) -> None:
    """Take M1 as rig-1, say so, and keep it."""
    with (
        closing(lab(url, folder, rig="rig-1")) as one,
        one.lease("M1", rig="rig-1", session_id=uuid(1), day=DAY, limit_s=limit_s),
    ):
        print("holds", flush=True)
        time.sleep(600.0)


if __name__ == "__main__":
    if sys.argv[1] == "many":
        many(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
    else:
        hold(sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))
