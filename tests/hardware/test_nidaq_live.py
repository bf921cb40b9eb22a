"""The card's devices with their threads on a twin that runs by itself: latency, death, closing."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from hardware.events import Verdict
from hardware.lines import Line
from hardware.nidaq.checks import loopback
from hardware.protocols import DeviceError, PulseOutcome, PulseReport
from hardware.simulated.twin import Twin
from tests.hardware.card_on_twin import CALIBRATION, CardOnTwin, opened

FIRED, CONFIRMED = PulseOutcome.FIRED, PulseOutcome.CONFIRMED
GENEROUS_S = 3.0
"""For whatever else this machine is doing."""


def wait_for(happened: Callable[[], object], *, limit_s: float = GENEROUS_S) -> float:
    """Return how long it took, in seconds; fail if it takes longer than the limit."""
    begun_s = time.perf_counter()
    while not happened():
        assert time.perf_counter() - begun_s < limit_s, "it did not happen"
        time.sleep(0.002)
    return time.perf_counter() - begun_s


def collect(rig: CardOnTwin, n: int, *, limit_s: float = GENEROUS_S) -> list[PulseReport]:
    reports: list[PulseReport] = []

    def enough() -> bool:
        reports.extend(rig.valve.poll())
        return len(reports) >= n

    wait_for(enough, limit_s=limit_s)
    return reports


def raised(ask: Callable[[], object]) -> Callable[[], bool]:
    def asks() -> bool:
        try:
            ask()
        except DeviceError:
            return True
        return False

    return asks


def test_licks_and_frame_pulses_reach_the_loop_with_the_scopes_ticks(live: CardOnTwin) -> None:
    now_s = live.clock.now_s()
    live.lick(*[now_s + 0.1 + 0.1 * n for n in range(5)])
    for _ in range(30):
        live.sync.flip_pulse()
        time.sleep(1 / 60)
    edges: list[tuple[int, bool]] = []
    wait_for(lambda: (edges.extend((e.ticks, e.rising) for e in live.edges.read()), len(edges) >= 10)[1])
    assert edges == live.bench.scope("port0/line31")
    falls: list[int] = []
    wait_for(lambda: (falls.extend(live.edges.read_frame_pulses().ticks.tolist()), len(falls) >= 30)[1])
    assert falls == [ticks for ticks, level in live.bench.scope("port0/line2") if not level]
    assert len(falls) == 30
    wait_for(lambda: live.seen(Line.VSYNC_STIM) == live.bench.scope("port0/line2"))
    error_s = abs(live.edges.time.ticks(live.clock.now_s()) - live.bench.ticks(live.clock.now_s())) / 1e8
    assert error_s < live.edges.time.uncertainty_s(live.clock.now_s()) + 0.002


@pytest.mark.parametrize(("lick_s", "path"), [(0.155, "software"), (0.4, "card")])
def test_a_lick_is_paid_in_real_time(live: CardOnTwin, lick_s: float, path: str) -> None:
    now_s = live.clock.now_s() + 0.05
    ticks = live.bench.ticks
    live.valve.arm(reward=1, volume_ul=7.0, opens_ticks=ticks(now_s + 0.15), closes_ticks=ticks(now_s + 0.75))
    live.lick(now_s + lick_s)
    fired, confirmed = collect(live, 2)
    assert (fired.outcome, confirmed.outcome) == (FIRED, CONFIRMED)
    assert fired.lick_ticks == ticks(now_s + lick_s)
    assert fired.path == path
    assert confirmed.open_s == pytest.approx(CALIBRATION.open_time_s(7.0), abs=2e-8)
    assert len(live.pulses_s()) == 1
    late_s = (confirmed.ticks - fired.lick_ticks) / 1e8
    assert late_s == 0.0 if path == "card" else 0.0 < late_s < 0.1


def test_rewards_commanded_while_frames_run_open_the_valve_soon_and_once_each(live: CardOnTwin) -> None:
    ending = threading.Event()

    def flip() -> None:
        while not ending.wait(1 / 60):
            live.sync.flip_pulse()

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        for reward in range(4):
            asked = live.bench.ticks(live.clock.now_s())
            live.valve.pulse(reward=reward, volume_ul=2.0)
            with pytest.raises(DeviceError, match="open already"):
                live.valve.pulse(reward=99, volume_ul=2.0)
            fired, confirmed = collect(live, 2)
            assert (fired.reward, confirmed.outcome) == (reward, CONFIRMED)
            assert confirmed.ticks - asked < 10_000_000
            wait_for(lambda: live.valve._running is None)
    finally:
        ending.set()
        thread.join()
    assert len(live.pulses_s()) == 4
    assert live.edges.lost is None


def test_alignment_pulses_come_while_the_stimulus_runs(live: CardOnTwin, monkeypatch: pytest.MonkeyPatch) -> None:
    from hardware.nidaq import outputs

    monkeypatch.setattr(outputs, "ALIGN_FIRST_S", 0.05)
    monkeypatch.setattr(outputs, "ALIGN_INTERVAL_S", (0.05, 0.1))
    live.sync.running(level=True)
    live.sync.acquire(level=True)
    wait_for(lambda: len(live.bench.scope("port0/line10")) >= 6)
    live.sync.running(level=False)
    live.sync.acquire(level=False)
    wait_for(lambda: not live.bench.level("port0/line10"))
    assert [level for _, level in live.bench.scope("port0/line6")] == [True, False]
    assert [level for _, level in live.bench.scope("port0/line5")] == [True, False]


def test_the_wheel_is_read_at_the_flips(live: CardOnTwin) -> None:
    now_s = live.clock.now_s()
    live.bench.analog("ai0", [(now_s, 0.0), (now_s + 0.5, 5.0)])
    live.bench.analog("ai1", 4.885)
    time.sleep(0.4)
    flips_s = now_s + np.array([0.1, 0.2, 0.3])
    signal_v, supply_v = live.encoder.read(host_s=flips_s)
    assert signal_v == pytest.approx([1.0, 2.0, 3.0], abs=0.05)
    assert supply_v == pytest.approx([4.885] * 3, abs=0.01)


def test_the_first_hours_check_measures_pulses_and_stops_one_in_its_middle(live: CardOnTwin) -> None:
    findings = loopback(
        live.valve,
        echo_is_high=lambda: bool(live.edges.state & Line.REWARD_ECHO.mask),
        volume_ul=2.0,
        n=3,
    )
    assert [(finding.name, finding.verdict) for finding in findings] == [
        ("valve pulses", Verdict.PASS),
        ("valve stopped in mid pulse", Verdict.PASS),
    ]
    assert findings[0].figure.startswith("3 of 3, worst 0.0")


def test_a_reader_that_breaks_is_named(live: CardOnTwin, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(live.edges, "_take", broken)
    live.lick(live.clock.now_s() + 0.02)
    wait_for(raised(live.edges.read))
    with pytest.raises(DeviceError, match=r"has broken: KeyError"):
        live.edges.read()


@pytest.fixture
def mortal() -> Iterator[tuple[Twin, CardOnTwin]]:
    """A twin of one's own to kill."""
    with Twin() as twin:
        rig = CardOnTwin(twin, live=True)
        try:
            rig.open()
            yield twin, rig
        finally:
            twin.thaw()
            rig.close()


def test_a_server_that_was_killed_is_named_within_a_second_and_nothing_hangs(mortal: tuple[Twin, CardOnTwin]) -> None:
    twin, rig = mortal
    twin.kill()
    assert wait_for(raised(rig.edges.read)) < 1.0
    with pytest.raises(DeviceError, match="no longer answers"):
        rig.sync.flip_pulse()
    begun_s = time.perf_counter()
    rig.valve.close_now()
    rig.close()
    assert time.perf_counter() - begun_s < 2.0


def test_a_server_that_froze_is_named_by_its_deadline_and_later_calls_do_not_wait_for_it(
    mortal: tuple[Twin, CardOnTwin],
) -> None:
    twin, rig = mortal
    twin.freeze()
    assert wait_for(raised(rig.edges.read)) < 2.0
    begun_s = time.perf_counter()
    for ask in (rig.sync.flip_pulse, lambda: rig.encoder.read(host_s=np.array([time.perf_counter()]))):
        with pytest.raises(DeviceError, match="no longer answers"):
            ask()
    rig.valve.close_now()
    assert time.perf_counter() - begun_s < 0.5


def test_a_frame_pulse_to_a_server_that_froze_ends_by_the_deadline_not_by_the_librarys_own_timeout(
    mortal: tuple[Twin, CardOnTwin],
) -> None:
    twin, rig = mortal
    rig.sync.flip_pulse()
    twin.freeze()
    begun_s = time.perf_counter()
    with pytest.raises(DeviceError, match="no longer answers"):
        rig.sync.flip_pulse()
    assert time.perf_counter() - begun_s < 4.0  # the library would wait for 10 s


def test_an_unplugged_card_is_named_within_a_second(live: CardOnTwin) -> None:
    live.bench.fault("unplugged")
    assert wait_for(raised(live.edges.read)) < 1.0
    assert not [thread for thread in threading.enumerate() if thread.name == "watchdog" and not thread.is_alive()]


def test_closing_in_the_middle_of_a_pulse_leaves_the_valve_closed_and_no_thread(live_process: Twin) -> None:
    live_process.bench.reset()
    with opened(CardOnTwin(live_process, live=True)) as rig:
        rig.valve.pulse(reward=1, volume_ul=15.0)
        wait_for(lambda: rig.bench.level("ctr0"))
    assert not rig.bench.level("ctr0")
    ((_, open_s),) = rig.pulses_s()
    assert open_s <= CALIBRATION.open_time_s(15.0) + 1e-6
    assert "card reader" not in {thread.name for thread in threading.enumerate()}


DYING = """
import os, time
from hardware.clock import HostClock
from hardware.nidaq.connection import CardConfig, Connection
from hardware.nidaq.edges import NidaqEdges
from hardware.nidaq.valve import NidaqValve
from tests.hardware.card_on_twin import CALIBRATION
connection = Connection(CardConfig(address={address!r}, watchdog_s=None))
edges = NidaqEdges(connection=connection, clock=HostClock())
valve = NidaqValve(
    connection=connection, edges=edges, clock=HostClock(), calibration=CALIBRATION, paths=("software",)
)
edges.open()
valve.open()
valve.pulse(reward=1, volume_ul=15.0)
while not valve.poll():
    time.sleep(0.001)
os._exit(3)
"""


def test_a_process_that_dies_with_the_valve_open_leaves_it_to_the_card_which_closes_it_in_time(
    live_process: Twin,
) -> None:
    bench = live_process.bench
    bench.reset()
    died = subprocess.run([sys.executable, "-c", DYING.format(address=live_process.address)], check=False)
    assert died.returncode == 3
    wait_for(lambda: len(bench.scope("ctr0")) == 2)
    (rose, _), (fell, _) = bench.scope("ctr0")
    assert (fell - rose) / 1e8 == pytest.approx(CALIBRATION.open_time_s(15.0), abs=2e-8)
