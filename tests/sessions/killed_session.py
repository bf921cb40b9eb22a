"""A session in real time that expects to be killed: says in two files what it has seen, and when.

Run as ``python -m tests.sessions.killed_session FOLDER SEED SYNC_S [MOUSE [CHANGES]]``; a sync of the disk then takes
``SYNC_S`` longer than it does, and ``CHANGES`` are the stage's, in JSON. The files are mapped into memory, so that what
was noted last outlives the process by which it was noted.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from hardware.simulated.mice import MouseKind
from rig.session.process import run_plan
from stimuli.headless import PacedScreen
from stimuli.screen import Flip
from tests.builders import plan, rig_config, stage

LARGEST = 1 << 15
ENTRIES, FLIPS, SESSION = "seen_entries.ring", "seen_flips.ring", "session"


class Ring:
    """Times on the monotonic clock, one a call of ``note``; the first item of the file is their count."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(8 * (LARGEST + 1)))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._times_s = np.frombuffer(self._map, np.float64)
        self._n = 0

    def note(self) -> None:
        """Note the present time."""
        self._n += 1
        self._times_s[self._n] = time.monotonic()
        self._times_s[0] = self._n


def seen(path: Path) -> np.ndarray:
    """Return the times that were noted, shape (n,)."""
    if not path.is_file():
        return np.empty(0)
    times_s = np.fromfile(path)
    return times_s[1 : int(times_s[0]) + 1] if len(times_s) else np.empty(0)


def main(
    folder: Path, seed: int, sync_s: float, kind: MouseKind = MouseKind.ALWAYS, changes: dict[str, Any] | None = None
) -> None:
    entries, flips = Ring(folder / ENTRIES), Ring(folder / FLIPS)
    advance = PacedScreen.advance

    def noted(self: PacedScreen, *, stimulus: int, until_refresh: int, until_host_s: float, until_flip: int) -> Flip:
        flip = advance(
            self, stimulus=stimulus, until_refresh=until_refresh, until_host_s=until_host_s, until_flip=until_flip
        )
        flips.note()
        return flip

    PacedScreen.advance = noted  # type: ignore[method-assign]
    fsync = os.fsync

    def slow_fsync(fd: int) -> None:
        time.sleep(sync_s)
        fsync(fd)

    os.fsync = slow_fsync
    session = plan(stage(**(changes or {})), rig_config(), kind=kind, seed=seed, fast=False, folder=folder / SESSION)
    run_plan(session, runtime_dir=folder / "runtime", observer=lambda _: entries.note())


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        int(sys.argv[2]),
        float(sys.argv[3]),
        MouseKind(sys.argv[4]) if len(sys.argv) > 4 else MouseKind.ALWAYS,
        json.loads(sys.argv[5]) if len(sys.argv) > 5 else None,
    )
