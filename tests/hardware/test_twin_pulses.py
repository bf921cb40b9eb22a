"""What comes to the twin from outside: a photodiode over a patch, regular pulses, on a stepped clock."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hardware.simulated.photodiode import MONITOR_DELAY_S, MONITOR_JITTER_S
from hardware.simulated.twin import BenchError, Twin, TwinBench

FRAME, RUNNING, PHOTODIODE, CAMERA = "port1/line4", "port1/line5", "port0/line4", "port0/line8"
FLIP_S = 1 / 60


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    with Twin(stepped=True, drift_ppm=20.0) as twin:
        yield twin


@pytest.fixture
def bench(twin: Twin) -> TwinBench:
    """A new card, at a whole second."""
    twin.bench.reset()
    twin.bench.advance(np.ceil(twin.bench.now_s()) + 1.0)
    return twin.bench


def changes(bench: TwinBench, net: str) -> list[tuple[float, bool]]:
    return [(bench.host_s(ticks), level) for ticks, level in bench.scope(net)]


def test_the_photodiode_follows_every_sixtieth_frame_pulse_with_a_splash_before_and_after(bench: TwinBench) -> None:
    start_s = bench.now_s() + 1.0
    bench.set_lines({FRAME: True, RUNNING: True})
    bench.photodiode(PHOTODIODE, FRAME, RUNNING, start_s)
    flips_s = start_s + np.arange(181) * FLIP_S
    bench.edges(FRAME, [at_s for flip_s in flips_s for at_s in (flip_s, flip_s + 0.004)], first_level=False)
    bench.advance(float(flips_s[-1]) + 0.1)
    bench.set_line(RUNNING, False)
    bench.advance(float(flips_s[-1]) + 2.0)
    found = changes(bench, PHOTODIODE)
    before, patch, after = found[:6], found[6:10], found[10:]
    assert [level for _, level in found] == [i % 2 == 0 for i in range(len(found))], "bright and dark by turns"
    assert [time_s for time_s, _ in before] == pytest.approx(
        start_s - 0.5 + np.arange(6) / 12 + MONITOR_DELAY_S, abs=2e-3
    )
    delays_s = np.array([time_s for time_s, _ in patch]) - flips_s[::60]
    assert delays_s == pytest.approx(MONITOR_DELAY_S, abs=5 * MONITOR_JITTER_S)
    assert len(after) == 6, "the last flip was dark, so all of the splash is seen"
    assert not found[-1][1]


def test_of_a_splash_whose_time_has_come_the_pulses_that_are_left_are_whole(bench: TwinBench) -> None:
    start_s = bench.now_s() + 0.2
    bench.photodiode(PHOTODIODE, FRAME, RUNNING, start_s)
    bench.advance(start_s + 0.1)
    found = changes(bench, PHOTODIODE)
    assert [level for _, level in found] == [True, False]


def test_a_train_gives_even_pulses_until_it_is_stopped_and_counts_them(bench: TwinBench) -> None:
    start_s = bench.now_s() + 0.5
    bench.train(CAMERA, 30.0, 0.005, start_s)
    bench.advance(start_s + 2.01)
    n = bench.stop_train(CAMERA)
    bench.advance(start_s + 3.0)
    found = changes(bench, CAMERA)
    rises_s = [time_s for time_s, level in found if level]
    assert len(rises_s) == n == 61
    assert rises_s == pytest.approx(start_s + np.arange(61) / 30, abs=2e-8)
    assert len(found) == 2 * n, "the last one has ended"
    with pytest.raises(BenchError, match="there are no pulses on"):
        bench.stop_train(CAMERA)
