"""The reward valve through the real library: once, in the window, whichever path pays, and closed in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.events import Verdict
from hardware.nidaq.connection import CardConfig, Pace
from hardware.nidaq.valve import CLOSING_S, OPENING_S, NidaqValve
from hardware.protocols import DeviceError, PulseOutcome, PulseReport
from hardware.simulated.twin import Twin
from tests.hardware.card_on_twin import CALIBRATION, ECHO, LICK, CardOnTwin, opened

FIRED, CONFIRMED, DISARMED, FAILED = (
    PulseOutcome.FIRED,
    PulseOutcome.CONFIRMED,
    PulseOutcome.DISARMED,
    PulseOutcome.FAILED,
)
OPENS_S, CLOSES_S = 0.15, 0.75
OPEN_S = CALIBRATION.open_time_s(7.0)


@pytest.fixture(params=[True, False], ids=["output-read-back", "echo-read-back"])
def tells_output(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the driver tells the level of the counter's output."""
    if not request.param:
        monkeypatch.setattr(NidaqValve, "_output_known", lambda _: False)
    return bool(request.param)


def arm(rig: CardOnTwin, *, reward: int = 1, volume_ul: float = 7.0) -> float:
    """Arm the window of these tests from now on; return now."""
    now_s = rig.bench.now_s()
    rig.valve.arm(
        reward=reward,
        volume_ul=volume_ul,
        opens_ticks=rig.bench.ticks(now_s + OPENS_S),
        closes_ticks=rig.bench.ticks(now_s + CLOSES_S),
    )
    return now_s


def outcomes(reports: list[PulseReport]) -> list[PulseOutcome]:
    return [report.outcome for report in reports]


@pytest.mark.parametrize("paths", [("card", "software"), ("software",)], ids="+".join)
@pytest.mark.parametrize(
    ("licks_s", "paid_s", "path"),
    [
        ([0.1499], None, ""),
        ([0.15], 0.15, "software"),
        ([0.1501], 0.1501, "software"),
        ([0.169], 0.169, "software"),
        ([0.18], 0.18, "card"),
        ([0.4], 0.4, "card"),
        ([0.68], 0.68, "card"),
        ([0.7], 0.7, "software"),
        ([0.7499], 0.7499, "software"),
        ([0.75], 0.75, "software"),
        ([0.7501], None, ""),
        ([0.05, 0.1499, 0.3], 0.3, "card"),
        ([0.16, 0.2, 0.3], 0.16, "software"),
        ([0.2, 0.3, 0.7], 0.2, "card"),
        ([0.1499, 0.7501], None, ""),
        ([], None, ""),
    ],
)
def test_the_first_lick_in_the_window_is_paid_once_by_the_path_for_its_time(
    twin: Twin, paths: tuple[str, ...], licks_s: list[float], paid_s: float | None, path: str
) -> None:
    with opened(CardOnTwin(twin, paths=paths)) as rig:
        now_s = arm(rig)
        rig.lick(*[now_s + lick_s for lick_s in licks_s])
        reports = rig.reports(now_s + 1.5)
        if paid_s is None:
            assert not reports
            assert not rig.pulses_s()
            rig.valve.disarm(reward=1)
            assert outcomes(rig.reports(now_s + 1.6)) == [DISARMED]
            return
        assert outcomes(reports) == [FIRED, CONFIRMED]
        fired, confirmed = reports
        assert fired.lick_ticks == rig.bench.ticks(now_s + paid_s)
        assert fired.path == (path if "card" in paths else "software")
        ((rose, open_s),) = rig.pulses_s()
        assert confirmed.ticks == rose
        assert open_s == confirmed.open_s == pytest.approx(OPEN_S, abs=2e-8)
        assert (rose == fired.lick_ticks) == (fired.path == "card")


@pytest.fixture(scope="module")
def trains(stepped_process: Twin) -> Iterator[CardOnTwin]:
    """One rig for all examples, each in a window of its own."""
    stepped_process.bench.reset()
    with opened(CardOnTwin(stepped_process)) as rig:
        yield rig


NEAR_THE_EDGES = [OPENS_S - 1e-4, OPENS_S, OPENS_S + 1e-4, CLOSES_S - 1e-4, CLOSES_S, CLOSES_S + 1e-4]
NEAR_THE_MARGINS = [OPENS_S + OPENING_S + d for d in (-1e-5, 0, 1e-5)] + [
    CLOSES_S - CLOSING_S + d for d in (-1e-5, 0, 1e-5)
]


@settings(max_examples=60)
@given(
    licks_s=st.lists(
        st.one_of(st.floats(0.01, 0.95), st.sampled_from(NEAR_THE_EDGES), st.sampled_from(NEAR_THE_MARGINS)),
        max_size=8,
    ),
    late_s=st.sampled_from([0.0, 0.001, 0.004, 0.012, 0.018]),
    volume_ul=st.sampled_from([1.0, 7.0, 15.0]),
    withdrawn_s=st.one_of(st.none(), st.floats(0.1, 0.8)),
)
def test_whatever_the_licks_and_however_late_the_reader_a_reward_is_paid_once_and_in_its_window(
    trains: CardOnTwin, licks_s: list[float], late_s: float, volume_ul: float, withdrawn_s: float | None
) -> None:
    rig = trains
    rig.late_s = late_s
    now_s = arm(rig, volume_ul=volume_ul)
    spread: list[float] = []
    for lick_s in sorted(licks_s):
        if not spread or lick_s > spread[-1] + 0.0105:
            spread.append(lick_s)
    rig.lick(*[now_s + lick_s for lick_s in spread], contact_s=0.01)
    n_before = len(rig.pulses_s())
    if withdrawn_s is not None:
        rig.run_until(now_s + withdrawn_s)
        rig.valve.disarm(reward=1)
    rig.run_until(now_s + 1.0)
    rig.valve.disarm(reward=1)
    reports = rig.reports(now_s + 1.3)
    opens, closes = rig.bench.ticks(now_s + OPENS_S), rig.bench.ticks(now_s + CLOSES_S)
    rises = [ticks for ticks, level in rig.bench.scope(LICK, rig.bench.ticks(now_s)) if level]
    payable = [ticks for ticks in rises if opens <= ticks <= closes]
    pulses = rig.pulses_s()[n_before:]
    if payable and withdrawn_s is None:
        assert outcomes(reports) == [FIRED, CONFIRMED]
    if not payable:
        assert outcomes(reports) == [DISARMED]
    assert outcomes(reports) in ([FIRED, CONFIRMED], [DISARMED])
    assert len(pulses) == (reports[0].outcome is FIRED)
    if pulses:
        assert reports[0].lick_ticks == payable[0]
        assert pulses[0][1] == pytest.approx(CALIBRATION.open_time_s(volume_ul), abs=2e-8)


def test_a_lick_that_the_trigger_does_not_see_is_paid_by_software(twin: Twin, tells_output: bool) -> None:
    with opened(CardOnTwin(twin)) as rig:
        now_s = arm(rig)
        rig.bench.edges(LICK, [now_s + 0.4, now_s + 0.43])
        rig.look_at(now_s + 0.4)
        reports = rig.reports(now_s + 1.5)
        assert outcomes(reports) == [FIRED, CONFIRMED]
        assert reports[0].path == "software"
        assert len(rig.pulses_s()) == 1


def test_a_lick_that_the_inputs_do_not_see_is_paid_by_the_card_and_told_by_its_echo(
    twin: Twin, tells_output: bool
) -> None:
    with opened(CardOnTwin(twin, unwired=["PFI0"])) as rig:
        now_s = arm(rig)
        rig.lick(now_s + 0.4)
        reports = rig.reports(now_s + 1.5)
        assert outcomes(reports) == [FIRED, CONFIRMED]
        assert reports[0].path == "card"
        assert reports[0].lick_ticks == rig.bench.ticks(now_s + 0.4)
        assert len(rig.pulses_s()) == 1


def test_windows_follow_each_other_on_one_counter(rig: CardOnTwin) -> None:
    for reward, (lick_s, path) in enumerate([(0.3, "card"), (0.16, "software"), (0.5, "card"), (0.74, "software")]):
        now_s = arm(rig, reward=reward, volume_ul=5.0 + reward)
        rig.lick(now_s + lick_s)
        fired, confirmed = rig.reports(now_s + 1.0)
        assert (fired.reward, fired.path) == (reward, path)
        assert confirmed.open_s == pytest.approx(CALIBRATION.open_time_s(5.0 + reward), abs=2e-8)


def test_one_call_lies_between_a_lick_and_its_pulse_on_the_software_path(
    twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_calls, between = 0, []
    answered, lick = Pace.answered, NidaqValve._lick

    def counted(pace: Pace, **took: float) -> None:
        nonlocal n_calls
        n_calls += 1
        answered(pace, **took)

    def looked_at(valve: NidaqValve, ticks: int) -> None:
        before = n_calls
        lick(valve, ticks)
        between.append(n_calls - before)

    monkeypatch.setattr(Pace, "answered", counted)
    monkeypatch.setattr(NidaqValve, "_lick", looked_at)
    with opened(CardOnTwin(twin, paths=["software"])) as rig:
        for reward, volume_ul in enumerate((7.0, 5.0)):
            now_s = arm(rig, reward=reward, volume_ul=volume_ul)
            rig.lick(now_s + 0.3)
            assert outcomes(rig.reports(now_s + 1.5)) == [FIRED, CONFIRMED]
    assert between == [1, 1]


class Slowed:
    """A task one of whose calls takes time, before or after it takes effect."""

    def __init__(self, task: Any, rig: CardOnTwin, call: str, *, before_s: float = 0.0, after_s: float = 0.0) -> None:
        self._task, self._rig, self._call = task, rig, call
        self._before_s, self._after_s = before_s, after_s
        self.n = 0

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._task, name)
        return attribute if name != self._call or self.n else self._slow(attribute)

    def _slow(self, call: Callable[[], None]) -> Callable[[], None]:
        def slowly() -> None:
            bench = self._rig.bench
            self.n += 1
            bench.advance(bench.now_s() + self._before_s)
            call()
            bench.advance(bench.now_s() + self._after_s)

        return slowly


def slow(rig: CardOnTwin, call: str, **how: float) -> None:
    rig.valve._task = Slowed(rig.valve._task, rig, call, **how)


def test_a_lick_while_the_card_is_being_armed_is_paid_once_by_software(twin: Twin, tells_output: bool) -> None:
    with opened(CardOnTwin(twin)) as rig:
        now_s = arm(rig)
        rig.run_until(now_s + 0.1)
        slow(rig, "start", before_s=0.002)
        rig.lick(now_s + OPENS_S + OPENING_S + 0.001)
        reports = rig.reports(now_s + 1.5)
        assert outcomes(reports) == [FIRED, CONFIRMED]
        assert reports[0].path == "software"
        assert len(rig.pulses_s()) == 1


def test_a_lick_before_the_call_that_arms_the_card_has_returned_is_paid_once_by_the_card(
    twin: Twin, tells_output: bool
) -> None:
    with opened(CardOnTwin(twin)) as rig:
        now_s = arm(rig)
        rig.run_until(now_s + 0.1)
        slow(rig, "start", after_s=0.002)
        rig.lick(now_s + OPENS_S + OPENING_S + 0.001)
        reports = rig.reports(now_s + 1.5)
        assert outcomes(reports) == [FIRED, CONFIRMED]
        assert reports[0].path == "card"
        assert len(rig.pulses_s()) == 1


def test_a_card_that_has_fired_before_its_lick_was_read_is_read_back_and_reported_with_that_lick(
    rig: CardOnTwin,
) -> None:
    rig.bench.fault("lag", digital_s=0.01, counter_s=0.01)
    now_s = arm(rig)
    lick_s = now_s + CLOSES_S - CLOSING_S - 0.001
    rig.lick(lick_s)
    reports = rig.reports(now_s + 1.5)
    assert outcomes(reports) == [FIRED, CONFIRMED]
    assert (reports[0].path, reports[0].lick_ticks) == ("card", rig.bench.ticks(lick_s))
    assert len(rig.pulses_s()) == 1


def test_a_pulse_cut_by_taking_the_card_back_gives_no_water_and_its_lick_is_paid_in_full(
    twin: Twin, tells_output: bool
) -> None:
    with opened(CardOnTwin(twin)) as rig:
        now_s = arm(rig)
        rig.run_until(now_s + 0.5)
        slow(rig, "stop", before_s=0.001)
        rig.lick(now_s + CLOSES_S - CLOSING_S + 0.0005)
        reports = rig.reports(now_s + 1.5)
        assert outcomes(reports) == [FIRED, CONFIRMED]
        assert reports[0].path == "software"
        cut, full = rig.pulses_s()
        assert cut[1] < 0.001
        assert full[1] == pytest.approx(OPEN_S, abs=2e-8)
        assert reports[1].ticks == full[0]
        assert rig.valve.health()["n_cut"] == 1


def test_a_pulse_cut_so_late_that_it_may_have_given_water_is_not_paid_again(twin: Twin, tells_output: bool) -> None:
    with opened(CardOnTwin(twin)) as rig:
        now_s = arm(rig)
        rig.run_until(now_s + 0.5)
        slow(rig, "stop", before_s=0.03)
        rig.lick(now_s + CLOSES_S - CLOSING_S + 0.005)
        reports = rig.reports(now_s + 1.5)
        assert outcomes(reports) == [FIRED, FAILED]
        assert reports[0].path == "card"
        assert "open for 25." in reports[1].why
        assert len(rig.pulses_s()) == 1


def test_a_reader_held_up_until_the_pulse_is_over_still_sees_that_the_card_has_paid(
    twin: Twin, tells_output: bool
) -> None:
    with opened(CardOnTwin(twin)) as rig:
        now_s = arm(rig)
        rig.run_until(now_s + 0.29)
        rig.bench.edges("PFI0", [now_s + 0.3, now_s + 0.32, now_s + 0.4, now_s + 0.42])
        rig.bench.advance(now_s + 0.45)
        rig.edges.poll_once()
        reports = rig.reports(now_s + 1.0)
        assert outcomes(reports) == [FIRED, CONFIRMED]
        assert (reports[0].path, reports[0].lick_ticks) == ("card", rig.bench.ticks(now_s + 0.3))
        assert len(rig.pulses_s()) == 1


def test_a_reader_held_up_beyond_the_window_says_that_the_card_has_paid_a_late_lick(rig: CardOnTwin) -> None:
    now_s = arm(rig)
    rig.run_until(now_s + 0.5)
    rig.bench.edges("PFI0", [now_s + CLOSES_S + 0.01])
    rig.bench.advance(now_s + CLOSES_S + 0.02)
    rig.edges.poll_once()
    (fired,) = rig.valve.poll()
    assert (fired.outcome, fired.path) == (FIRED, "card")
    with pytest.raises(DeviceError, match=r"paid a lick 10\.0 ms after its window"):
        rig.valve.poll()


def test_a_withdrawal_while_the_card_waits_is_reported_after_the_edges_up_to_it_have_been_read(
    rig: CardOnTwin,
) -> None:
    now_s = arm(rig)
    rig.run_until(now_s + 0.4)
    rig.valve.disarm(reward=1)
    rig.edges.poll_once()
    assert not rig.valve.poll(), "nothing counts before it has been read back"
    rig.edges.poll_once()
    assert outcomes(list(rig.valve.poll())) == [DISARMED]
    rig.lick(now_s + 0.5)
    assert not rig.reports(now_s + 1.0)
    assert not rig.pulses_s()


def test_a_lick_in_the_midst_of_a_withdrawal_gives_no_water(twin: Twin, tells_output: bool) -> None:
    with opened(CardOnTwin(twin)) as rig:
        now_s = arm(rig)
        rig.run_until(now_s + 0.4)
        slow(rig, "stop", before_s=0.001)
        rig.lick(now_s + 0.4005)
        rig.valve.disarm(reward=1)
        assert outcomes(rig.reports(now_s + 1.0)) == [DISARMED]
        assert all(open_s < 0.001 for _, open_s in rig.pulses_s())


def test_a_withdrawal_after_the_card_has_fired_changes_nothing(rig: CardOnTwin) -> None:
    now_s = arm(rig)
    rig.lick(now_s + 0.4)
    rig.run_until(now_s + 0.39)
    rig.bench.advance(now_s + 0.41)
    rig.valve.disarm(reward=1)
    assert outcomes(rig.reports(now_s + 1.0)) == [FIRED, CONFIRMED]


def test_a_reward_may_be_armed_as_soon_as_the_one_before_it_was_withdrawn(rig: CardOnTwin) -> None:
    now_s = arm(rig)
    rig.run_until(now_s + 0.4)
    rig.valve.disarm(reward=1)
    now_s = arm(rig, reward=2)
    rig.lick(now_s + 0.3)
    assert [(r.reward, r.outcome) for r in rig.reports(now_s + 1.0)] == [(1, DISARMED), (2, FIRED), (2, CONFIRMED)]


@pytest.mark.parametrize("lick_s", [0.16, 0.4])
def test_a_pulse_without_echo_has_fired_and_failed(twin: Twin, lick_s: float) -> None:
    with opened(CardOnTwin(twin, unwired=["ctr0"])) as rig:
        now_s = arm(rig)
        rig.lick(now_s + lick_s)
        reports = rig.reports(now_s + 1.5)
        assert outcomes(reports) == [FIRED, FAILED]
        assert "echo did not come back" in reports[1].why
        assert len(rig.pulses_s()) == 1


def test_an_echo_that_came_while_a_poll_was_held_up_is_not_missing(
    rig: CardOnTwin, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = arm(rig)
    rig.lick(now_s + 0.4)
    rig.run_until(now_s + 0.41)
    asked = rig.edges._n_available

    def held_up(begun_s: float) -> int:
        monkeypatch.undo()
        n_there = asked(begun_s)
        rig.bench.advance(rig.bench.now_s() + 0.2)
        return n_there

    monkeypatch.setattr(rig.edges, "_n_available", held_up)
    assert outcomes(rig.reports(now_s + 1.5))[-1] is CONFIRMED


def test_an_echo_of_another_length_is_a_failure_that_says_both(rig: CardOnTwin) -> None:
    now_s = rig.bench.now_s()
    rig.bench.fault("stuck", net=ECHO, level=False, at_s=now_s + 0.03)
    rig.valve.pulse(reward=4, volume_ul=7.0)
    reports = rig.reports(now_s + 1.0)
    assert outcomes(reports) == [FIRED, FAILED]
    assert reports[1].why == "the valve was open for 30.0 ms instead of 70.4 ms"


def test_an_echo_that_comes_on_the_lick_line_is_told_from_none(rig: CardOnTwin) -> None:
    rig.bench.fault("swapped", one=ECHO, other=LICK)
    rig.valve.pulse(reward=4, volume_ul=7.0)
    reports = rig.reports(rig.bench.now_s() + 1.0)
    assert outcomes(reports) == [FIRED, FAILED]
    assert reports[1].why == (
        "the valve was opened but its echo did not come back, and the lick line rose for as long: "
        "the two may be swapped"
    )


@pytest.mark.parametrize(("n_licks", "good"), [(3, True), (40, False)])
def test_a_lick_line_that_is_noisy_before_a_session_fails_its_check(twin: Twin, n_licks: int, good: bool) -> None:
    with opened(CardOnTwin(twin)) as rig:
        now_s = rig.bench.now_s()
        rig.bench.edges("PFI0", [now_s + 0.1 + 0.005 * n for n in range(2 * n_licks)])
        rig.step_until(now_s + 0.6)
        failed = [finding.figure for finding in rig.valve.check() if finding.verdict is Verdict.FAIL]
        assert failed == ([] if good else ["the lick line has risen 40 times in 0.6 s"])


def test_openings_that_nobody_asked_for_are_counted(rig: CardOnTwin) -> None:
    now_s = rig.bench.now_s()
    rig.bench.edges(ECHO, [now_s + 0.1, now_s + 0.2])
    assert not rig.reports(now_s + 0.5)
    assert rig.valve.health()["n_stray_openings"] == 1


@pytest.mark.parametrize("close", ["close_now", "close"])
@pytest.mark.parametrize("waiting", [False, True])
def test_closing_ends_a_pulse_and_disarms_the_card(rig: CardOnTwin, close: str, waiting: bool) -> None:
    now_s = rig.bench.now_s()
    if waiting:
        arm(rig)
        rig.run_until(now_s + 0.4)
        assert rig.valve._waiting_on_card
    else:
        rig.valve.pulse(reward=4, volume_ul=7.0)
        rig.run_until(now_s + 0.02)
        assert rig.bench.level("ctr0")
    getattr(rig.valve, close)()
    assert not rig.bench.level("ctr0")
    rig.lick(rig.bench.now_s() + 0.1)
    rig.reports(now_s + 1.0)
    assert [open_s for _, open_s in rig.pulses_s()] == ([] if waiting else [pytest.approx(0.02, abs=1e-4)])


def test_a_pulse_closed_before_its_time_is_reported_as_failed_and_the_valve_works_on(rig: CardOnTwin) -> None:
    now_s = rig.bench.now_s()
    rig.valve.pulse(reward=4, volume_ul=7.0)
    rig.run_until(now_s + 0.02)
    rig.valve.close_now()
    reports = rig.reports(now_s + 0.5)
    assert outcomes(reports) == [FIRED, FAILED]
    assert "open for 20.0 ms instead of 70.4 ms" in reports[1].why
    rig.valve.pulse(reward=5, volume_ul=7.0)
    assert outcomes(rig.reports(now_s + 1.0)) == [FIRED, CONFIRMED]


def test_the_card_alone_is_refused(twin: Twin) -> None:
    with pytest.raises(DeviceError, match="Add software to the valve's paths"):
        CardOnTwin(twin, paths=("card",))


def test_a_driver_that_refuses_a_pulse_fails_the_reward_and_names_the_valve(rig: CardOnTwin) -> None:
    now_s = rig.bench.now_s()
    rig.bench.fault("error", rpc="StartTask", code=-50103)
    rig.valve.pulse(reward=4, volume_ul=7.0)
    rig.run_until(now_s + 0.1)
    (report,) = rig.valve.poll()
    assert (report.reward, report.outcome) == (4, FAILED)
    assert "-50103" in report.why
    with pytest.raises(DeviceError, match="valve: another program"):
        rig.valve.poll()
    rig.valve.pulse(reward=5, volume_ul=7.0)
    assert outcomes(rig.reports(now_s + 1.0)) == [FIRED, CONFIRMED]


@pytest.mark.parametrize("at_s", [0.1, 0.4])
def test_an_armed_reward_fails_when_the_edges_are_lost_and_the_card_is_taken_back(rig: CardOnTwin, at_s: float) -> None:
    now_s = arm(rig)
    rig.run_until(now_s + at_s)
    rig.edges.lose(DeviceError(device="card", what="slipped", remedy="none"))
    rig.lick(now_s + 0.45)
    reports = rig.reports(now_s + 1.0)
    assert outcomes(reports) == [FAILED]
    assert "slipped" in reports[0].why
    assert not rig.pulses_s()


def test_a_rewards_card_that_is_gone_fails_it_and_closing_does_not_raise(rig: CardOnTwin) -> None:
    now_s = arm(rig)
    rig.run_until(now_s + 0.4)
    rig.bench.fault("unplugged")
    rig.step_until(now_s + 0.5)
    (report,) = rig.valve.poll()
    assert (report.reward, report.outcome) == (1, FAILED)
    rig.valve.close_now()
    rig.valve.close()
    rig.valve.close()


WATCHED = CardConfig(watchdog_s=2.0)


def test_the_watchdog_closes_the_valve_of_a_process_that_no_longer_serves_it(twin: Twin) -> None:
    with opened(CardOnTwin(twin, config=WATCHED)) as rig:
        now_s = rig.bench.now_s()
        rig.valve.calibration = rig.valve.calibration.__class__(1.0, 0.0, 0.1, 100.0, CALIBRATION.measured_on)
        rig.bench.advance(now_s + 1.5)
        rig.valve.pulse(reward=1, volume_ul=10.0)
        rig.edges.poll_once()
        assert rig.bench.level("ctr0")
        rig.bench.advance(now_s + 2.1)
        assert not rig.bench.level("ctr0")
        assert rig.valve.watchdog is not None
        rig.valve.watchdog.kick()
        assert outcomes(list(rig.valve.poll())) == [FIRED]
        with pytest.raises(DeviceError, match="watchdog has expired"):
            rig.valve.poll()
        assert outcomes(rig.reports(now_s + 12.0)) == [FAILED]
        rig.valve.watchdog.kick()  # it has run out again meanwhile
        with pytest.raises(DeviceError, match="watchdog has expired"):
            rig.valve.poll()
        rig.valve.pulse(reward=2, volume_ul=0.1)
        assert outcomes(rig.reports(now_s + 13.0)) == [FIRED, CONFIRMED]


def test_a_watchdog_that_is_kicked_does_not_expire(twin: Twin) -> None:
    with opened(CardOnTwin(twin, config=WATCHED)) as rig:
        assert rig.valve.watchdog is not None
        (finding,) = (f for f in rig.valve.check() if f.name == "valve watchdog")
        assert finding.verdict is Verdict.PASS
        for _ in range(10):
            rig.run_until(rig.bench.now_s() + 0.5)
            rig.valve.watchdog.kick()
        rig.valve.pulse(reward=1, volume_ul=7.0)
        assert outcomes(rig.reports(rig.bench.now_s() + 0.5)) == [FIRED, CONFIRMED]


def test_a_reader_that_hangs_is_not_kept_alive_by_the_watchdogs_thread(twin: Twin) -> None:
    with opened(CardOnTwin(twin, config=WATCHED)) as rig:
        watchdog = rig.valve.watchdog
        assert watchdog is not None
        rig.edges.poll_once()
        assert watchdog._is_served()
        rig.bench.advance(rig.bench.now_s() + 1.1)
        assert not watchdog._is_served()
        rig.edges.poll_once()
        assert watchdog._is_served()


def test_a_card_that_can_not_be_stopped_is_named_and_stopped_at_the_next_try(twin: Twin) -> None:
    with opened(CardOnTwin(twin)) as rig:
        now_s = arm(rig)
        rig.run_until(now_s + 0.3)
        assert rig.valve._waiting_on_card
        rig.bench.fault("error", rpc="StopTask", code=-200621, times=1)
        rig.valve.close_now()
        with pytest.raises(DeviceError, match="valve"):
            rig.valve.poll()
        rig.valve.close_now()
        rig.lick(now_s + 0.5)
        rig.run_until(now_s + 1.0)
        assert rig.pulses_s() == []


def test_a_slow_reader_does_not_wait_on_the_card_and_pays_by_software(twin: Twin) -> None:
    with opened(CardOnTwin(twin)) as rig:
        rig.edges.slow_s = 10.0
        now_s = arm(rig)
        rig.lick(now_s + 0.3)
        (fired, _) = rig.reports(now_s + 0.5)
        assert fired.path == "software"


def test_a_card_without_watchdog_is_a_warning_and_works(twin: Twin) -> None:
    twin.bench.fault("watchdog_missing")
    with opened(CardOnTwin(twin, config=WATCHED)) as rig:
        (finding,) = (f for f in rig.valve.check() if f.name == "valve watchdog")
        assert finding.verdict is Verdict.WARN
        rig.valve.pulse(reward=1, volume_ul=7.0)
        assert outcomes(rig.reports(rig.bench.now_s() + 0.5)) == [FIRED, CONFIRMED]
