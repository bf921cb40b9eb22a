"""The simulated microscope: its clock, its frames, its faults, and the process that it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.clock import HostClock
from hardware.events import MicroscopeClock, MicroscopeEvent, MicroscopePhase, MicroscopeState
from hardware.microscope.client import MicroscopeClient
from hardware.microscope.commander import LinkSettings
from hardware.simulated.microscope.clock import DriftingClock
from hardware.simulated.microscope.faults import MicroscopeFault as Fault
from hardware.simulated.microscope.faults import MicroscopeStep as Step
from hardware.simulated.microscope.frames import EXTRA_PULSES, Frames
from hardware.simulated.microscope.instrument import Wrong
from hardware.simulated.microscope.process import SimulatedMicroscopeProcess

P = MicroscopePhase
SOON_S = 20.0
DRIFT_PPM, OFFSET_S = 200.0, 0.03
RATE_HZ = 50.0


@given(host_s=st.floats(0, 1e5), drift_ppm=st.floats(-500, 500), offset_s=st.floats(-10, 10))
def test_a_drifting_clock_is_read_back_to_the_hosts(host_s: float, drift_ppm: float, offset_s: float) -> None:
    clock = DriftingClock(host_zero_s=10.0, offset_s=offset_s, drift_ppm=drift_ppm)
    assert clock.host_s(clock.at(host_s)) == pytest.approx(host_s, abs=1e-9)


@given(steps_s=st.lists(st.floats(0.001, 0.5), min_size=1, max_size=40), rate_hz=st.sampled_from([11.0, 31.0, 44.0]))
def test_pulses_are_the_same_however_often_they_are_asked_for(steps_s: list[float], rate_hz: float) -> None:
    often, once = Frames(first_s=0.3, rate_hz=rate_hz, extra=2), Frames(first_s=0.3, rate_hz=rate_hz, extra=2)
    pulses: list[float] = []
    now_s = 0.0
    for step_s in steps_s:
        now_s += step_s
        pulses += often.take(now_s)
    assert pulses == once.take(now_s)
    assert often.n_given == once.n_given


def test_frames_end_where_they_are_told_to_and_missing_ones_are_counted_all_the_same() -> None:
    frames = Frames(first_s=0.0, rate_hz=10.0, missing_from_s=0.35, missing_until_s=0.65, until_s=1.05)
    assert frames.take(5.0) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.7, 0.8, 0.9, 1.0])
    assert frames.n_until(5.0) == 11
    assert frames.n_until(0.25) == 3


class Commanded:
    """A process and a rig's client of it."""

    def __init__(self, wrong: Wrong | None = None, *, plane_groups: int = 1) -> None:
        self.process = SimulatedMicroscopeProcess(
            drift_ppm=DRIFT_PPM, offset_s=OFFSET_S, wrong=wrong, ahead_s=0.1
        ).__enter__()
        settings = LinkSettings(
            who="rig", heartbeat_s=0.25, reply_s=SOON_S, plane_groups=plane_groups, frame_rate_hz=RATE_HZ
        )
        self.client = MicroscopeClient(peer=self.process.peer, settings=settings, clock=HostClock())
        self.events: list[MicroscopeEvent] = []
        self.client.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.__exit__()

    def until(self, happened: Callable[[], object]) -> None:
        limit_s = time.monotonic() + SOON_S
        while not happened():
            assert time.monotonic() < limit_s, self.events
            self.events += self.client.poll()
            time.sleep(0.005)

    def reach(self, phase: MicroscopePhase) -> None:
        self.until(lambda: self.last is not None and self.last.phase is phase)

    @property
    def last(self) -> MicroscopeState | None:
        states = [event for event in self.events if isinstance(event, MicroscopeState)]
        return states[-1] if states else None

    def record(self, n_pulses: int, *, triggered: bool = False) -> MicroscopeState:
        """Record until so many pulses were announced; return the last state."""
        self.client.prepare(session_id="s1", mouse="M1", stage="S")
        self.reach(P.PREPARED)
        self.client.arm()
        self.reach(P.ARMED)
        if triggered:
            self.process.trigger(level=True, host_s=time.perf_counter())
        else:
            self.client.start()
        self.reach(P.ACQUIRING)
        self.until(lambda: len(self.process.pulses_s) >= n_pulses)
        self.client.stop()
        self.reach(P.STOPPED)
        assert self.last is not None
        return self.last


@pytest.mark.parametrize("triggered", [False, True], ids=["by a command", "by its trigger line"])
@pytest.mark.parametrize("plane_groups", [1, 4])
def test_its_frames_come_on_its_own_clock_an_edge_for_each_plane_group(plane_groups: int, triggered: bool) -> None:
    with Commanded(plane_groups=plane_groups) as scope:
        last = scope.record(40, triggered=triggered)
        names = [called.name for called in scope.process.called]
    pulses_s = np.array(scope.process.pulses_s)
    rate_hz = RATE_HZ * plane_groups * (1 + DRIFT_PPM * 1e-6)
    assert np.diff(pulses_s) == pytest.approx(1 / rate_hz, rel=1e-6)
    assert last.n_frames == len(pulses_s)
    assert (last.plane_groups, last.rate_hz, len(last.files)) == (plane_groups, RATE_HZ, plane_groups)
    assert names == ["prepare", "arm", "triggered" if triggered else "start", "began", "stop", "ended"]


def test_a_session_that_is_recorded_again_gets_files_of_its_own() -> None:
    with Commanded(plane_groups=2) as scope:
        first = scope.record(20).files
        scope.events.clear()
        second = scope.record(40).files
    assert first == ["s1_group0.tif", "s1_group1.tif"]
    assert second == ["s1_part2_group0.tif", "s1_part2_group1.tif"]


def test_its_clock_is_known_to_half_a_round_trip() -> None:
    with Commanded() as scope:
        scope.until(lambda: any(isinstance(event, MicroscopeClock) for event in scope.events))
        (clock,) = [event for event in scope.events if isinstance(event, MicroscopeClock)]
        zero_s = scope.process._options["host_zero_s"]
    truth_s = OFFSET_S + (clock.host_s - zero_s) * DRIFT_PPM * 1e-6
    assert abs(clock.offset_s - truth_s) <= clock.bound_s + 1e-6


@pytest.mark.parametrize(
    ("kind", "step", "n_less", "slower"),
    [
        (Fault.EXTRA_PULSES, Step.START, -EXTRA_PULSES, 1.0),
        (Fault.DROPS_FRAMES, Step.ACQUIRING, 10, 1.0),
        (Fault.WRONG_RATE, Step.START, 0, 0.9),
    ],
)
def test_what_is_wrong_with_its_frames_is_what_was_asked_for(
    kind: Fault, step: Step, n_less: int, slower: float
) -> None:
    with Commanded(Wrong(kind, step, 0.3, 10 / RATE_HZ)) as scope:
        last = scope.record(100)
    pulses_s = np.array(scope.process.pulses_s)
    assert last.n_frames - len(pulses_s) == pytest.approx(n_less, abs=1)
    assert np.median(np.diff(pulses_s)) == pytest.approx(1 / (RATE_HZ * slower * (1 + DRIFT_PPM * 1e-6)), rel=1e-6)
    assert last.rate_hz == pytest.approx(RATE_HZ * slower)


def test_a_process_that_starts_anew_is_another_run_on_the_same_address_with_the_same_clock() -> None:
    with Commanded(Wrong(Fault.RESTARTS, Step.PREPARE, 0.0, 1.0)) as scope:
        before = scope.process.peer
        scope.client.prepare(session_id="s1", mouse="M1", stage="S")
        scope.until(lambda: any("started anew" in getattr(event, "what", "") for event in scope.events))
        scope.record(20)
        assert scope.process.n_runs == 2
        assert scope.process.peer == before
    offsets_s = [event.offset_s for event in scope.events if isinstance(event, MicroscopeClock)]
    assert offsets_s == pytest.approx([OFFSET_S] * len(offsets_s), abs=0.02)


def test_it_ends_with_its_parent_and_what_it_announced_is_kept() -> None:
    with Commanded() as scope:
        scope.record(20)
        scope.process.kill()
        assert not scope.process.acquiring
        assert scope.process.known_until_s == float("inf")
    assert len(scope.process.pulses_s) >= 20
