"""A session's writer that also keeps in memory what it was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hardware.arrays import AnyArray, IntArray
from rig.log.schema import Entry
from rig.log.writer import LogWriter, MemoryLog


class KeepingWriter(LogWriter):
    """Writes, and keeps the same in ``kept``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.kept = MemoryLog()

    def append(self, entry: Entry) -> None:
        super().append(entry)
        self.kept.append(entry)

    def flips(self, rows: AnyArray) -> None:
        super().flips(rows)
        self.kept.flips(rows)

    def edges(self, *, ticks: IntArray, states: AnyArray) -> None:
        super().edges(ticks=ticks, states=states)
        self.kept.edges(ticks=np.array(ticks), states=np.array(states))
