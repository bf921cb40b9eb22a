"""What every backend of a device must do, as its Protocol says. Host times count from ``START_S``."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.clock import TICKS_PER_S
from hardware.events import Finding, MicroscopePhase
from hardware.lines import Line
from hardware.protocols import Device, DeviceError, Identity, PulseOutcome, PulseReport
from hardware.simulated.faults import Faults
from tests.contracts.backends import BENCHES, CALIBRATION, COMPUTED, PATHS, START_S, Bench, opened

PAYING = [(backend, paths) for backend in BENCHES for paths in PATHS[backend]]
PAYING_IDS = [f"{backend}-{'+'.join(paths)}" for backend, paths in PAYING]
DEVICES = ["edges", "valve", "encoder", "sync", "spout", "microscope", "cameras"]
FIRED, CONFIRMED, DISARMED, FAILED = (
    PulseOutcome.FIRED,
    PulseOutcome.CONFIRMED,
    PulseOutcome.DISARMED,
    PulseOutcome.FAILED,
)
OPENS_S, CLOSES_S = START_S + 10.15, START_S + 10.75
"""The armed window of these tests."""


@pytest.fixture(params=list(BENCHES))
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with opened(request.param) as bench:
        yield bench


@pytest.fixture(params=COMPUTED)
def imaging(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with opened(request.param) as bench:
        yield bench


@pytest.fixture(params=list(BENCHES))
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("name", DEVICES)
def test_open_says_who_the_device_is(bench: Bench, name: str) -> None:
    device: Device = getattr(bench, name)
    identity = device.open()
    assert isinstance(identity, Identity)
    assert identity.device == device.name
    assert identity.model


@pytest.mark.parametrize("name", DEVICES)
def test_check_returns_findings_with_a_figure_or_a_remedy(bench: Bench, name: str) -> None:
    findings = getattr(bench, name).check()
    assert findings
    assert all(isinstance(finding, Finding) and (finding.figure or finding.remedy) for finding in findings)


@pytest.mark.parametrize("name", DEVICES)
def test_health_is_figures_by_name(bench: Bench, name: str) -> None:
    assert all(math.isfinite(figure) for figure in getattr(bench, name).health().values())


@pytest.mark.parametrize("name", DEVICES)
def test_closing_twice_is_fine(bench: Bench, name: str) -> None:
    device: Device = getattr(bench, name)
    device.close()
    device.close()


@pytest.mark.parametrize("name", DEVICES)
def test_closing_never_raises_even_when_the_card_is_gone(backend: str, name: str) -> None:
    with opened(backend, faults=Faults(device_gone_s=1.0)) as bench:
        bench.valve.pulse(reward=0, volume_ul=7.0)
        with pytest.raises(DeviceError, match="no longer answers"):
            bench.wait_until(START_S + 2.0)
        getattr(bench, name).close()
        bench.valve.close_now()


def test_licks_come_once_in_order_and_on_the_cards_own_clock(bench: Bench) -> None:
    licks_s = [START_S + s for s in (1.0, 1.2, 3.0)]
    bench.lick(*licks_s)
    edges = bench.wait_until(START_S + 5.0)
    assert [edge.rising for edge in edges] == [True, False] * 3
    ticks = [edge.ticks for edge in edges]
    assert ticks == sorted(ticks)
    rises = [edge.ticks for edge in edges if edge.rising]
    assert rises == pytest.approx([bench.ticks(lick_s) for lick_s in licks_s], abs=1)
    assert not bench.wait_until(START_S + 6.0)


def test_nothing_comes_before_it_is_said_to_be_due(bench: Bench) -> None:
    bench.lick(START_S + 2.0)
    bench.valve.arm(reward=0, volume_ul=7.0, opens_ticks=0, closes_ticks=2**62)
    seen = 0
    for host_s in START_S + np.arange(0.0, 4.0, 0.01):
        due_s = bench.edges.next_due_s()
        news = len(bench.wait_until(float(host_s))) + len(bench.valve.poll())
        assert not (news and host_s < due_s), "something came before it was due"
        seen += news
    assert seen == 4  # two edges; the reward fired and was confirmed


def test_frame_pulses_are_seen_back_once_each_soon_after_their_flips(bench: Bench) -> None:
    flips_s = START_S + np.arange(10) / 60
    for n, flip_s in enumerate(flips_s.tolist()):
        bench.wait_until(flip_s)
        bench.sync.flip_pulse()
        if n in (3, 9):  # some of them taken note of together
            bench.sync.flips_made(host_s=flips_s[n - (3 if n == 3 else 5) : n + 1])
    bench.wait_until(START_S + 1.0)
    seen = bench.edges.read_frame_pulses()
    late_ticks = seen.ticks - np.array([bench.ticks(flip_s) for flip_s in flips_s])
    assert (late_ticks >= 0).all()
    assert (late_ticks < 100_000).all(), "later than 1 ms"
    given_ticks = np.array([bench.ticks(given_s) for given_s in seen.given_host_s])
    half_ticks = seen.half_s * TICKS_PER_S
    assert (np.abs(seen.ticks - given_ticks) <= half_ticks + 1).all(), "within the call that gave it"
    assert len(bench.edges.read_frame_pulses()) == 0


def arm(bench: Bench, *, reward: int = 0, volume_ul: float = 7.0) -> None:
    bench.valve.arm(
        reward=reward, volume_ul=volume_ul, opens_ticks=bench.ticks(OPENS_S), closes_ticks=bench.ticks(CLOSES_S)
    )


def outcomes(reports: list[PulseReport]) -> list[PulseOutcome]:
    return [report.outcome for report in reports]


def let_run(bench: Bench, until_s: float = START_S + 12.0) -> list[PulseReport]:
    """Poll again and again, as a loop would; return all reports."""
    reports: list[PulseReport] = []
    for host_s in np.arange(START_S + 9.0, until_s, bench.poll_every_s).tolist():
        bench.wait_until(host_s)
        reports += bench.valve.poll()
    return reports


@pytest.mark.parametrize(("backend", "paths"), PAYING, ids=PAYING_IDS)
@pytest.mark.parametrize(
    ("licks_s", "paid_s"),
    [
        ([10.4], 10.4),  # one lick in the window
        ([10.15], 10.15),  # on its very first tick
        ([10.75], 10.75),  # on its very last
        ([10.2, 10.3, 10.4, 10.5], 10.2),  # a bout: only the first lick of it
        ([10.05, 10.3], 10.3),  # a lick before the window spends nothing
        ([10.7, 10.8], 10.7),
        ([], None),
        ([9.5, 10.1499], None),  # before it
        ([10.7501, 11.0], None),  # after it
    ],
)
def test_the_first_lick_in_the_window_is_paid_once(
    backend: str, paths: tuple[str, ...], licks_s: list[float], paid_s: float | None
) -> None:
    with opened(backend, paths=paths) as bench:
        arm(bench)
        bench.lick(*[START_S + lick_s for lick_s in licks_s])
        reports = let_run(bench)
        if paid_s is None:
            assert not reports
            assert bench.rises(Line.REWARD_ECHO) == 0
            return
        assert outcomes(reports) == [FIRED, CONFIRMED]
        fired, confirmed = reports
        assert fired.lick_ticks == bench.ticks(START_S + paid_s)
        assert 0 <= fired.ticks - fired.lick_ticks <= 100_000, "the valve opened later than 1 ms"
        assert fired.path in paths
        assert confirmed.open_s == pytest.approx(CALIBRATION.open_time_s(7.0))
        assert bench.open_s(Line.REWARD_ECHO) == pytest.approx([CALIBRATION.open_time_s(7.0)], rel=1e-4)


@given(
    licks_s=st.lists(st.floats(9.0, 11.5), max_size=20),
    paths=st.sampled_from(PATHS["simulated"]),
    volume_ul=st.floats(1.0, 15.0),
)
def test_whatever_the_licks_an_armed_reward_is_paid_at_most_once_and_only_in_its_window(
    licks_s: list[float], paths: tuple[str, ...], volume_ul: float
) -> None:
    for backend in COMPUTED:
        with opened(backend, paths=paths) as bench:
            arm(bench, volume_ul=volume_ul)
            bench.lick(*[START_S + lick_s for lick_s in licks_s])
            reports = let_run(bench)
            fired = [report for report in reports if report.outcome is FIRED]
            assert len(fired) == bench.rises(Line.REWARD_ECHO) <= 1
            assert all(bench.ticks(OPENS_S) <= r.lick_ticks <= bench.ticks(CLOSES_S) for r in fired)


@pytest.mark.parametrize(("backend", "paths"), PAYING, ids=PAYING_IDS)
def test_a_disarmed_reward_is_read_back_and_never_paid(backend: str, paths: tuple[str, ...]) -> None:
    with opened(backend, paths=paths) as bench:
        arm(bench)
        bench.lick(START_S + 10.4)
        bench.wait_until(START_S + 10.3)
        bench.valve.disarm(reward=0)
        assert outcomes(let_run(bench)) == [DISARMED]
        assert bench.rises(Line.REWARD_ECHO) == 0


def test_disarming_what_has_fired_reports_that_it_fired_and_nothing_else(bench: Bench) -> None:
    arm(bench)
    bench.lick(START_S + 10.4)
    bench.wait_until(START_S + 10.41)
    bench.valve.disarm(reward=0)
    assert outcomes(let_run(bench)) == [FIRED, CONFIRMED]


def test_disarming_another_reward_leaves_the_armed_one_armed(bench: Bench) -> None:
    arm(bench, reward=5)
    bench.valve.disarm(reward=4)
    bench.lick(START_S + 10.4)
    assert [(r.reward, r.outcome) for r in let_run(bench)] == [(5, FIRED), (5, CONFIRMED)]


def test_a_commanded_pulse_opens_at_once_without_a_lick(bench: Bench) -> None:
    bench.wait_until(START_S + 1.0)
    bench.valve.pulse(reward=3, volume_ul=5.0)
    (fired,) = bench.valve.poll()
    assert (fired.outcome, fired.reward, fired.lick_ticks, fired.path) == (FIRED, 3, -1, "commanded")
    bench.wait_until(START_S + 1.0 + CALIBRATION.open_time_s(5.0) + 0.01)
    (confirmed,) = bench.valve.poll()
    assert (confirmed.outcome, confirmed.reward) == (CONFIRMED, 3)
    assert bench.open_s(Line.REWARD_ECHO) == pytest.approx([CALIBRATION.open_time_s(5.0)], rel=1e-4)


def test_two_pulses_never_run_at_once(bench: Bench) -> None:
    bench.wait_until(START_S + 1.0)
    bench.valve.pulse(reward=0, volume_ul=7.0)
    bench.wait_until(START_S + 1.03)
    with pytest.raises(DeviceError, match="open already"):
        bench.valve.pulse(reward=1, volume_ul=7.0)
    bench.wait_until(START_S + 1.2)
    assert bench.open_s(Line.REWARD_ECHO) == pytest.approx([CALIBRATION.open_time_s(7.0)], rel=1e-4)


def test_a_lick_while_the_valve_is_open_spends_nothing_the_next_one_is_paid(bench: Bench) -> None:
    bench.wait_until(START_S + 10.39)
    bench.valve.pulse(reward=0, volume_ul=7.0)
    arm(bench, reward=1)
    bench.lick(START_S + 10.4, START_S + 10.6)
    fired = [report for report in let_run(bench) if report.outcome is FIRED]
    assert [(r.reward, r.lick_ticks) for r in fired] == [(0, -1), (1, bench.ticks(START_S + 10.6))]


def test_an_armed_reward_is_never_dropped_in_silence_for_another(bench: Bench) -> None:
    arm(bench, reward=1)
    for ask in (lambda: bench.valve.pulse(reward=2, volume_ul=7.0), lambda: arm(bench, reward=3)):
        with pytest.raises(DeviceError, match="reward 1 is armed already"):
            ask()
    bench.lick(START_S + 10.4)
    assert [(r.reward, r.outcome) for r in let_run(bench)] == [(1, FIRED), (1, CONFIRMED)]


@pytest.mark.parametrize("volume_ul", [0.0, 0.5, 15.1, 5000.0, math.nan])
def test_a_volume_outside_the_calibration_is_refused_before_anything_opens(bench: Bench, volume_ul: float) -> None:
    with pytest.raises(DeviceError, match="calibrated range of 1 to 15 uL"):
        bench.valve.open_time_s(volume_ul=volume_ul)
    with pytest.raises(DeviceError, match="calibrated range of 1 to 15 uL"):
        bench.valve.pulse(reward=0, volume_ul=volume_ul)
    with pytest.raises(DeviceError, match="calibrated range of 1 to 15 uL"):
        arm(bench, volume_ul=volume_ul)
    bench.lick(START_S + 10.4)
    assert not let_run(bench)
    assert bench.rises(Line.REWARD_ECHO) == 0


@pytest.mark.parametrize("flushed", [False, True], ids=["", "edges-flushed-meanwhile"])
@pytest.mark.parametrize("close", ["close_now", "close"])
def test_closing_ends_a_pulse_at_once_and_disarms(bench: Bench, close: str, flushed: bool) -> None:
    bench.wait_until(START_S + 9.0)
    bench.valve.pulse(reward=0, volume_ul=7.0)
    arm(bench, reward=1)
    bench.wait_until(START_S + 9.02)
    if flushed:
        bench.edges.flush()
    getattr(bench.valve, close)()
    bench.lick(START_S + 10.4)
    reports = let_run(bench)
    assert [(r.reward, r.outcome) for r in reports if r.outcome is FIRED] == [(0, FIRED)]
    assert bench.open_s(Line.REWARD_ECHO) == pytest.approx([0.02], rel=1e-3)


def test_closing_an_idle_valve_gives_no_pulse(bench: Bench) -> None:
    bench.valve.close_now()
    assert not let_run(bench)
    assert bench.rises(Line.REWARD_ECHO) == 0


def test_a_pulse_whose_echo_does_not_come_back_is_reported_as_failed(backend: str) -> None:
    with opened(backend, faults=Faults(valve_silent_s=0.0)) as bench:
        arm(bench)
        bench.lick(START_S + 10.4)
        reports = let_run(bench)
        assert outcomes(reports) == [FIRED, FAILED]
        assert "echo" in reports[1].why


def test_a_valve_whose_card_is_gone_says_so(backend: str) -> None:
    with opened(backend, faults=Faults(device_gone_s=1.0)) as bench:
        with pytest.raises(DeviceError, match="no longer answers"):
            bench.wait_until(START_S + 2.0)
        for ask in (lambda: bench.valve.pulse(reward=0, volume_ul=7.0), lambda: arm(bench)):
            with pytest.raises(DeviceError, match="Check its cable and power"):
                ask()
        bench.valve.close_now()


def test_the_wheel_gives_a_pair_of_voltages_for_each_flip(bench: Bench) -> None:
    bench.wait_until(START_S + 2.0)
    signal_v, supply_v = bench.encoder.read(host_s=START_S + np.arange(120) / 60)
    assert signal_v.shape == supply_v.shape == (120,)
    assert ((signal_v >= 0) & (signal_v <= 5)).all()
    assert ((supply_v > 4) & (supply_v < 6)).all()
    assert len(set(signal_v.tolist())) > 100, "a live signal moves in its last digits"


def test_the_wheel_gives_nothing_for_no_flips(bench: Bench) -> None:
    signal_v, supply_v = bench.encoder.read(host_s=np.empty(0))
    assert signal_v.shape == supply_v.shape == (0,)


@pytest.mark.parametrize(("verb", "line"), [("running", Line.STIM_RUNNING), ("acquire", Line.ACQ_TRIGGER)])
def test_a_level_is_held_from_one_call_to_the_other(bench: Bench, verb: str, line: Line) -> None:
    set_level = getattr(bench.sync, verb)
    bench.wait_until(START_S + 1.0)
    set_level(level=True)
    set_level(level=True)
    bench.wait_until(START_S + 3.0)
    assert bench.rises(line) == 1
    set_level(level=False)
    bench.wait_until(START_S + 4.0)
    assert bench.open_s(line) == pytest.approx([2.0], rel=1e-4)


def test_alignment_pulses_are_given_only_while_the_stimulus_runs(bench: Bench) -> None:
    bench.wait_until(START_S + 100.0)
    assert bench.rises(Line.ALIGN) == 0
    bench.sync.running(level=True)
    bench.wait_until(START_S + 200.0)
    n = bench.rises(Line.ALIGN)
    assert 100 / 15 - 1 < n < 100 / 5 + 2
    bench.sync.running(level=False)
    bench.wait_until(START_S + 300.0)
    assert bench.rises(Line.ALIGN) == n


def test_a_spout_that_was_sent_says_once_that_it_has_arrived(bench: Bench) -> None:
    assert bench.spout.where() == "retracted"
    bench.spout.move(position="at_mouse")
    assert bench.spout.where() == "retracted"
    assert not bench.spout.poll()
    due_s = bench.spout.next_due_s()
    bench.wait_until(max(due_s, START_S) + 5.0)
    (report,) = bench.spout.poll()
    assert report.position == bench.spout.where() == "at_mouse"
    assert due_s <= report.host_s <= START_S + 5.0
    assert not bench.spout.poll()


def test_a_spout_that_is_sent_back_under_way_arrives_only_where_it_was_sent_last(bench: Bench) -> None:
    bench.spout.move(position="at_mouse")
    bench.wait_until(START_S + 0.5)
    bench.spout.move(position="retracted")
    bench.wait_until(START_S + 10.0)
    assert [report.position for report in bench.spout.poll()] == ["retracted"]


def test_a_stuck_spout_never_arrives(backend: str) -> None:
    with opened(backend, faults=Faults(spout_stuck=True)) as bench:
        bench.spout.move(position="at_mouse")
        bench.wait_until(START_S + 100.0)
        assert not bench.spout.poll()
        assert bench.spout.where() == "retracted"


def prepared(imaging: Bench) -> None:
    imaging.microscope.prepare(session_id="s", mouse="M1", stage="OPHYS_1_images_A")
    imaging.microscope.arm()


def test_a_recording_goes_from_prepared_to_stopped_and_has_a_frame_pulse_a_frame(imaging: Bench) -> None:
    prepared(imaging)
    imaging.wait_until(START_S + 1.0)
    imaging.microscope.start()
    imaging.wait_until(START_S + 11.0)
    imaging.microscope.stop()
    states = imaging.microscope.poll()
    assert [state.phase for state in states] == [
        MicroscopePhase.PREPARED,
        MicroscopePhase.ARMED,
        MicroscopePhase.ACQUIRING,
        MicroscopePhase.STOPPED,
    ]
    imaging.wait_until(START_S + 12.0)
    assert states[-1].n_frames == imaging.rises(Line.VSYNC_2P) == pytest.approx(310, abs=1)
    assert not imaging.microscope.poll()


@pytest.mark.parametrize(
    ("before", "verb"),
    [
        ([], "arm"),  # nothing prepared
        ([], "start"),
        (["prepare"], "start"),  # not armed
        (["prepare", "arm"], "prepare"),  # armed already
        (["prepare", "arm", "start"], "arm"),  # acquiring
    ],
)
def test_anything_out_of_order_is_refused_with_a_remedy(imaging: Bench, before: list[str], verb: str) -> None:
    verbs = {
        "prepare": lambda: imaging.microscope.prepare(session_id="s", mouse="M1", stage="S"),
        "arm": imaging.microscope.arm,
        "start": imaging.microscope.start,
    }
    for name in before:
        verbs[name]()
    with pytest.raises(DeviceError, match=r"can't become .*\. Stop or abort"):
        verbs[verb]()


@pytest.mark.parametrize("verb", ["stop", "abort"])
def test_a_recording_may_be_ended_in_any_phase_and_prepared_again(imaging: Bench, verb: str) -> None:
    end = getattr(imaging.microscope, verb)
    end()
    prepared(imaging)
    end()
    prepared(imaging)
    imaging.microscope.start()
    end()
    prepared(imaging)


def test_cameras_say_when_they_record_and_expose_only_then(imaging: Bench) -> None:
    imaging.cameras.start(session_id="s")
    imaging.wait_until(START_S + 10.0)
    imaging.cameras.stop()
    imaging.wait_until(START_S + 20.0)
    states = imaging.cameras.poll()
    assert [state.recording for state in states] == [True, False]
    assert not imaging.cameras.poll()
    assert len(states[1].files) == 2
    assert states[0].files == states[1].files
    for line, n_exposures in zip((Line.CAM1_EXPOSURE, Line.CAM2_EXPOSURE), states[1].n_exposures, strict=True):
        assert imaging.rises(line) == n_exposures == pytest.approx(300, abs=1)
