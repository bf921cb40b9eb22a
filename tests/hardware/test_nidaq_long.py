"""The reader over hours: nothing lost, nothing slipped, memory flat."""

from __future__ import annotations

import time

import numpy as np
import psutil
import pytest

from hardware.arrays import AnyArray, IntArray
from hardware.clock import TICKS_PER_S
from hardware.lines import Line
from tests.hardware.card_on_twin import CardOnTwin
from tests.telling import Tell

EDGES_PER_S = 1000
STEP_S = 2.0
"""How far the twin's time goes between two looks of the reader: some thousand times the poll of a live one."""
SETTLED_S = 300.0
FLAT_MB = 5.0
"""Over 8 hours; what the reader kept of each edge, if it kept anything, would come to hundreds."""


@pytest.mark.parametrize("hours", [0.2, pytest.param(8.0, marks=[pytest.mark.long(group="others")])])
@pytest.mark.timeout(3000)
def test_hours_of_a_thousand_edges_a_second_come_whole_and_memory_stays(
    rig: CardOnTwin, tell: Tell, hours: float
) -> None:
    """The line goes up and down on a clock of its own, so each edge's tick is known."""
    every_ticks = TICKS_PER_S // EDGES_PER_S
    n = wrong = 0
    first = last = -1

    def count(*, ticks: IntArray, states: AnyArray) -> None:
        nonlocal n, wrong, first, last
        if n:
            wrong += int(ticks[0] - last != every_ticks)
        else:
            first = int(ticks[0])
        wrong += int((np.diff(ticks) != every_ticks).sum())
        wrong += int(((states & Line.VSYNC_2P.mask != 0) != (np.arange(n, n + len(ticks)) % 2 == 0)).sum())
        last = int(ticks[-1])
        n += len(ticks)

    rig.edges.poll_once()
    rig.edges.flush()  # those of opening
    rig.edges._sink = count
    process = psutil.Process()
    begun_s, start_s = time.perf_counter(), rig.bench.now_s()
    rig.bench.fault("chatter", net=f"port0/line{rig.config.lines[Line.VSYNC_2P]}", hz=EDGES_PER_S / 2)
    memory_mb: list[float] = []
    while (now_s := rig.bench.now_s()) < start_s + hours * 3600:
        rig.bench.advance(now_s + STEP_S)
        rig.edges.poll_once()
        rig.edges.flush()
        rig.bench.forget()
        if now_s > start_s + SETTLED_S:
            memory_mb.append(process.memory_info().rss / 1e6)
    took_s = time.perf_counter() - begun_s
    ran_s = now_s - start_s
    tell(
        f"\n  {n:,} edges in {ran_s / 3600:.2f} h, at {ran_s / took_s:.0f} times real time: {wrong} wrong; "
        f"memory {memory_mb[-1] - memory_mb[0]:+.1f} MB"
    )
    assert wrong == 0
    assert n == (rig.bench.ticks(now_s) - first) // every_ticks + 1
    assert memory_mb[-1] - memory_mb[0] < FLAT_MB
    assert not rig.edges.read()  # and no error
