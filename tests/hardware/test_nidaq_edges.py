"""Edges through the real library: exact to the tick against the twin's scope, and every way they can be lost."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from hardware.events import Verdict
from hardware.lines import Line
from hardware.nidaq import edges as edges_module
from hardware.nidaq.connection import CardConfig, Connection
from hardware.nidaq.edges import NidaqEdges, _Totals
from hardware.protocols import DeviceError
from hardware.simulated.twin import Twin
from tests.hardware.card_on_twin import CALIBRATION, LICK, CardOnTwin, opened

FREE = {Line.VSYNC_2P: "port0/line0", Line.CAM1_EXPOSURE: "port0/line8", Line.CAM2_EXPOSURE: "port0/line9"}


def test_every_edge_has_the_tick_that_the_scope_saw(rig: CardOnTwin) -> None:
    rng = np.random.default_rng(1)
    now_s = rig.bench.now_s()
    for net in FREE.values():
        rig.bench.edges(net, np.sort(now_s + rng.uniform(0.01, 0.9, 150)).tolist())
    rig.run_until(now_s + 1.0, longest_s=0.02)
    for line, net in FREE.items():
        assert rig.seen(line) == rig.bench.scope(net)
    assert rig.edges.health()["n_edges"] >= 450


def test_a_burst_of_edges_microseconds_apart_keeps_order_and_ticks(rig: CardOnTwin) -> None:
    now_s = rig.bench.now_s()
    rig.bench.edges("port0/line0", (now_s + 0.1 + np.arange(2000) * 2e-6).tolist())
    rig.bench.edges("port0/line8", (now_s + 0.1 + np.arange(1000) * 4e-6).tolist())
    rig.run_until(now_s + 0.2)
    assert rig.seen(Line.VSYNC_2P) == rig.bench.scope("port0/line0")
    assert rig.seen(Line.CAM1_EXPOSURE) == rig.bench.scope("port0/line8")


def test_more_edges_than_are_read_at_once_come_all(rig: CardOnTwin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges_module, "CHUNK_SAMPLES", 7)
    now_s = rig.bench.now_s()
    rig.bench.edges("port0/line0", (now_s + 0.1 + np.arange(50) * 1e-4).tolist())
    rig.run_until(now_s + 0.2)
    assert rig.seen(Line.VSYNC_2P) == rig.bench.scope("port0/line0")


def test_ticks_go_on_where_the_32_bit_counter_wraps_even_when_nothing_happens_for_minutes(rig: CardOnTwin) -> None:
    now_s = rig.bench.now_s()
    times_s = [now_s + s for s in (1.0, 42.0, 42.9497, 43.0, 85.8994, 86.0, 400.0, 400.5)]
    rig.bench.edges("port0/line0", times_s)
    rig.run_until(now_s + 401.0)
    assert [ticks for ticks, _ in rig.seen(Line.VSYNC_2P)] == [rig.bench.ticks(time_s) for time_s in times_s]


def test_signals_may_come_in_on_any_line_of_port_0(twin: Twin) -> None:
    lines = {line: 31 - int(line) for line in Line}
    with opened(CardOnTwin(twin, config=CardConfig(watchdog_s=None, lines=lines))) as rig:
        now_s = rig.bench.now_s()
        rig.bench.edges("port0/line0", [now_s + 0.1, now_s + 0.2])
        rig.bench.edges("port0/line31", [now_s + 0.15])
        edges = rig.run_until(now_s + 1.0)
        assert [(edge.ticks, edge.rising) for edge in edges] == rig.bench.scope("port0/line0")
        assert rig.seen(Line.VSYNC_2P) == rig.bench.scope("port0/line31")


def test_a_lick_line_that_is_high_when_the_card_opens_has_not_risen_and_is_found(twin: Twin) -> None:
    twin.bench.set_line("PFI0", True)
    with opened(CardOnTwin(twin)) as rig:
        (finding,) = (f for f in rig.edges.check() if f.name == "lick line")
        assert (finding.verdict, finding.figure) == (Verdict.FAIL, "high with nobody licking")
        rig.bench.set_line("PFI0", False)
        (edge,) = rig.run_until(rig.bench.now_s() + 0.1)
        assert not edge.rising


def test_watchers_hear_each_lick_once_in_the_readers_thread_before_the_loop_does(rig: CardOnTwin) -> None:
    heard: list[tuple[int, bool]] = []
    rig.edges.watch(
        (Line.LICK_SENSOR,),
        lambda *, ticks, changed, state: heard.append((ticks, bool(state & changed))),
    )
    now_s = rig.bench.now_s()
    rig.lick(now_s + 0.1, now_s + 0.2)
    rig.bench.edges("port0/line8", [now_s + 0.15])
    edges = rig.run_until(now_s + 1.0)
    assert heard == [(edge.ticks, edge.rising) for edge in edges] == rig.bench.scope(LICK)


def test_frame_pulses_are_falls_and_put_the_estimate_of_the_cards_time_right(rig: CardOnTwin) -> None:
    rig.run_until(rig.bench.now_s() + 20.0)
    start_s = rig.bench.now_s()
    assert abs(rig.edges.time.ticks(start_s) - rig.bench.ticks(start_s)) > 30_000, "20 ppm apart for 20 s"
    for n in range(30):
        rig.run_until(start_s + n / 60)
        rig.sync.flip_pulse()
    rig.run_until(start_s + 1.0)
    falls = rig.edges.read_frame_pulses().ticks.tolist()
    assert falls == pytest.approx([rig.bench.ticks(start_s + n / 60) for n in range(30)], abs=1)
    assert falls == [ticks for ticks, level in rig.bench.scope("port0/line2") if not level]
    assert rig.edges.time.ticks(start_s + 1.0) == pytest.approx(rig.bench.ticks(start_s + 1.0), abs=3000)
    assert [level for _, level in rig.bench.scope("port1/line4")] == [True] + [False, True] * 30


def wait_for_error(rig: CardOnTwin, *, within_s: float = 1.0) -> DeviceError:
    """Step as the reader would; return what ``read`` raises, which must be in time."""
    ends_s = rig.bench.now_s() + within_s
    while rig.bench.now_s() < ends_s:
        rig.bench.advance(rig.bench.now_s() + 0.01)
        rig.edges.poll_once()
        try:
            rig.edges.read()
        except DeviceError as error:
            return error
    raise AssertionError("nothing was named")


def test_a_slip_between_states_and_times_is_named_at_once(rig: CardOnTwin) -> None:
    rig.bench.fault("merge_ci", within_s=10e-6)
    now_s = rig.bench.now_s()
    rig.bench.edges("port0/line0", [now_s + 0.1])
    rig.bench.edges("port0/line8", [now_s + 0.1 + 2e-6])
    for n in range(100):
        rig.bench.edges("port0/line9", [now_s + 0.11 + n / 200], first_level=n % 2 == 0)
    error = wait_for_error(rig, within_s=0.5)
    assert error.device == "card"
    assert "slipped by 1" in error.what


@pytest.mark.parametrize(("digital_s", "counter_s"), [(0.005, 0.0), (0.0, 0.005), (0.02, 0.013)])
def test_transfers_that_lag_behind_each_other_are_no_slip(rig: CardOnTwin, digital_s: float, counter_s: float) -> None:
    rig.bench.fault("lag", digital_s=digital_s, counter_s=counter_s)
    now_s = rig.bench.now_s()
    rng = np.random.default_rng(2)
    rig.bench.edges("port0/line0", np.sort(now_s + rng.uniform(0.0, 1.0, 300)).tolist())
    rig.run_until(now_s + 1.1, longest_s=0.008)
    assert rig.edges.lost is None
    assert rig.seen(Line.VSYNC_2P) == rig.bench.scope("port0/line0")


def test_totals_that_differ_for_a_moment_only_have_not_slipped() -> None:
    totals = _Totals()
    rng = np.random.default_rng(3)
    at = 0
    for n in range(2000):
        at += int(rng.integers(0, 3))
        lag = int(rng.integers(0, 2)), int(rng.integers(0, 2))
        assert not totals.look(states_first=at - lag[0], counts=at - lag[1], states_last=at, host_s=n * 0.004)


@pytest.mark.parametrize("sign", [1, -1])
def test_totals_that_differ_for_good_have_slipped_whatever_flows(sign: int) -> None:
    totals = _Totals()
    rng = np.random.default_rng(4)
    found = 0
    at = 0
    for n in range(300):
        at += int(rng.integers(0, 3))
        between = at + int(rng.integers(0, 2))
        last = between + int(rng.integers(0, 2))
        found = totals.look(
            states_first=at + max(sign, 0),
            counts=between - min(sign, 0),
            states_last=last + max(sign, 0),
            host_s=n * 0.004,
        )
        at = last
        if found:
            break
    assert found == sign
    assert n * 0.004 < 1.0


def test_looks_that_take_long_while_edges_flow_prove_no_slip() -> None:
    """A server that answers late: each look takes a twentieth of a second."""
    totals = _Totals()
    for n in range(100):
        assert not totals.look(states_first=3 * n, counts=3 * n + 1, states_last=3 * n + 2, host_s=n * 0.05)


def test_an_overflow_is_named_with_a_remedy(rig: CardOnTwin) -> None:
    rig.bench.fault("overflow")
    rig.bench.edges("port0/line0", [rig.bench.now_s() + 0.001])
    error = wait_for_error(rig)
    assert "overwritten before they were read" in error.what
    assert "-200279" in error.what
    assert "busy" in error.remedy


def test_a_card_that_was_unplugged_is_named_again_and_again_and_everything_else_says_so_at_once(
    rig: CardOnTwin,
) -> None:
    rig.bench.fault("unplugged")
    error = wait_for_error(rig)
    assert "no longer answers" in error.what
    for ask in (
        rig.edges.read,
        rig.sync.flip_pulse,
        lambda: rig.valve.pulse(reward=0, volume_ul=5.0),
        lambda: rig.encoder.read(host_s=np.array([rig.bench.now_s()])),
    ):
        with pytest.raises(DeviceError, match=r"no longer answers.*Check its cable and power"):
            ask()


def test_licks_that_were_read_before_the_card_was_lost_still_come(rig: CardOnTwin) -> None:
    now_s = rig.bench.now_s()
    rig.bench.edges("PFI0", [now_s + 0.01])
    rig.bench.advance(now_s + 0.02)
    rig.edges.poll_once()
    rig.bench.fault("unplugged")
    rig.edges.poll_once()
    assert len(rig.edges.read()) == 1
    with pytest.raises(DeviceError):
        rig.edges.read()


def test_edges_that_nobody_collects_are_a_fault(rig: CardOnTwin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges_module, "QUEUE_EDGES", 20)
    now_s = rig.bench.now_s()
    rig.bench.edges("port0/line0", (now_s + 0.01 + np.arange(30) * 1e-3).tolist())
    assert "nobody collects them" in wait_for_error(rig).what


def test_times_that_run_backwards_are_named(rig: CardOnTwin) -> None:
    with pytest.raises(DeviceError, match=r"lies 0\.000010 s before the edge before it"):
        rig.edges._take(np.array([1, 0], np.uint32), np.array([10**12, 10**12 - 1000]))


def test_a_change_that_was_over_before_it_was_stored_is_counted_not_kept(rig: CardOnTwin) -> None:
    rig.edges._take(np.array([rig.edges.state], np.uint32), np.array([10**12]))
    assert rig.edges.health()["n_glitches"] == 1


def test_a_card_of_another_name_is_named(twin: Twin) -> None:
    rig = CardOnTwin(twin, config=CardConfig(device="Dev7", watchdog_s=None))
    with pytest.raises(DeviceError, match=r"no device of this name.*-200220.*Look the card's name up in MAX"):
        rig.edges.open()
    rig.close()


def test_a_card_that_another_program_uses_is_named(rig: CardOnTwin, twin: Twin) -> None:
    other = CardOnTwin(twin)
    with pytest.raises(DeviceError, match=r"another program or task holds .*-50103.*Close other programs"):
        other.edges.open()
    with pytest.raises(DeviceError, match=r"another program or task holds .*-200587"):
        other.sync.open()
    other.close()
    rig.run_until(rig.bench.now_s() + 0.1)
    assert rig.edges.lost is None


def test_without_a_device_server_the_address_is_at_fault() -> None:
    connection = Connection(CardConfig(address="127.0.0.1:1"))
    edges = NidaqEdges(connection=connection, clock=None, threaded=False)  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match=r"device server no longer answers"):
        edges.open()
    edges.close()


def test_without_the_library_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nidaqmx", None)
    with pytest.raises(DeviceError, match=r"can't be imported.*Install it with: pip install"):
        Connection(CardConfig()).open()


def test_without_a_driver_one_sentence_says_what_to_install(twin: Twin) -> None:
    edges = NidaqEdges(connection=Connection(CardConfig()), clock=None, threaded=False)  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match=r"driver is not installed|doesn't exist for this computer"):
        edges.open()
    edges.close()


def test_opening_and_closing_again_gives_a_fresh_card(twin: Twin) -> None:
    rig = CardOnTwin(twin)
    for _ in range(2):
        with opened(rig):
            now_s = rig.bench.now_s()
            rig.lick(now_s + 0.1)
            edges = rig.run_until(now_s + 0.2)
            assert edges[0].ticks == rig.bench.ticks(now_s + 0.1)


def test_without_change_detection_the_lines_are_sampled_and_a_finding_says_so(twin: Twin) -> None:
    twin.bench.fault("change_detection_missing", lines=[LICK, "port0/line0"])
    with opened(CardOnTwin(twin)) as rig:
        (finding,) = (f for f in rig.edges.check() if f.name == "edge times")
        assert finding.verdict is Verdict.WARN
        assert finding.figure == "to 0.1 ms: vsync_2p, lick_sensor without change detection"
        now_s = rig.bench.now_s()
        rng = np.random.default_rng(5)
        rig.bench.edges("port0/line0", (now_s + np.cumsum(rng.uniform(0.0002, 0.02, 50))).tolist())
        rig.lick(now_s + 0.3, now_s + 0.4)
        edges = rig.run_until(now_s + 2.0, longest_s=0.1)
        late = np.array([edge.ticks for edge in edges]) - [ticks for ticks, _ in rig.bench.scope(LICK)]
        assert ((late >= 0) & (late <= 10_000)).all()
        seen, true = rig.seen(Line.VSYNC_2P), rig.bench.scope("port0/line0")
        assert [level for _, level in seen] == [level for _, level in true]
        assert max(abs(a - b) for (a, _), (b, _) in zip(seen, true, strict=True)) <= 10_000


def test_rewards_are_paid_without_change_detection_as_well(twin: Twin) -> None:
    twin.bench.fault("change_detection_missing", lines=[LICK])
    with opened(CardOnTwin(twin)) as rig:
        for lick_s, path in ((0.16, "software"), (0.4, "card")):
            now_s = rig.bench.now_s()
            opens, closes = rig.bench.ticks(now_s + 0.15), rig.bench.ticks(now_s + 0.75)
            rig.valve.arm(reward=1, volume_ul=7.0, opens_ticks=opens, closes_ticks=closes)
            rig.lick(now_s + lick_s)
            fired, confirmed = rig.reports(now_s + 1.0)
            assert fired.path == path
            assert confirmed.open_s == pytest.approx(CALIBRATION.open_time_s(7.0), abs=1e-4)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"watchdog_s": 0.3}, "at least 1 s"),
        ({"clocked_hz": 100.0}, "at least 1000"),
        ({"valve_counter": "ctr1"}, "two counters"),
        ({"lines": dict.fromkeys(Line, 3)}, "a line of port 0 of its own"),
        ({"lines": {Line.LICK_SENSOR: 1, Line.VSYNC_STIM: 2}}, "reward_echo is missing"),
    ],
)
def test_wirings_that_cannot_work_are_refused(change: dict[str, object], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        replace(CardConfig(), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"frame_output": "port2/line4"}, "valve and frame pulse on port2/line4"),
        ({"align_output": "PFI0"}, "lick trigger and alignment on port1/line0"),
        ({"running_output": "port0/line31"}, "lick_sensor on port0/line31"),
        ({"wheel_counter": "ctr1", "wheel_pulses": 1024}, "two uses of ctr1"),
        ({}, "none shared"),
    ],
)
def test_pins_that_two_signals_share_are_found(change: dict[str, object], what: str) -> None:
    from hardware.nidaq.checks import check_pins

    finding = check_pins(replace(CardConfig(), **change))  # type: ignore[arg-type]
    assert what in finding.figure
    assert (finding.verdict is Verdict.FAIL) == bool(change)


def test_nothing_of_the_library_is_imported_before_a_connection_is_opened() -> None:
    code = (
        "import sys; sys.modules['nidaqmx'] = sys.modules['grpc'] = None; "
        "import hardware.nidaq.encoder, hardware.nidaq.outputs, hardware.nidaq.valve"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
