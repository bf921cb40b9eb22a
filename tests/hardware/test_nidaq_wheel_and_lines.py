"""Wheel and driven lines through the real library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hardware.arrays import FloatArray
from hardware.events import Verdict
from hardware.lines import Line
from hardware.nidaq.connection import CardConfig
from hardware.nidaq.encoder import NOMINAL_SUPPLY_V
from hardware.protocols import DeviceError
from hardware.simulated.twin import Twin
from tests.hardware.card_on_twin import CardOnTwin, opened


def test_a_flip_gets_the_sample_nearest_to_it_and_never_one_between_two_turns(rig: CardOnTwin) -> None:
    now_s = rig.bench.now_s()
    rig.bench.analog("ai1", 4.885)
    saw = [(now_s + 0.2 * n + d, v) for n in range(10) for d, v in ((0.0, 0.0), (0.199999, 4.885))]
    rig.bench.analog("ai0", saw)
    rig.run_until(now_s + 2.0)
    flips_s = now_s + 0.05 + np.arange(110) / 60
    signal_v, supply_v = rig.encoder.read(host_s=flips_s)
    phase_s = (flips_s - now_s) % 0.2
    clear = (phase_s > 0.001) & (phase_s < 0.199)
    assert signal_v[clear] == pytest.approx(phase_s[clear] / 0.2 * 4.885, abs=0.02)
    assert supply_v == pytest.approx(np.full(110, 4.885), abs=0.01)


def test_the_sample_of_a_flip_just_made_is_there(rig: CardOnTwin) -> None:
    now_s = rig.bench.now_s()
    rig.bench.analog("ai0", [(now_s, 0.0), (now_s + 1.0, 5.0)])
    for s in (0.1, 0.2, 0.30001):
        rig.bench.advance(now_s + s)
        signal_v, _ = rig.encoder.read(host_s=np.array([now_s + s]))
        assert signal_v[0] == pytest.approx(5.0 * s, abs=0.006)


def test_an_hour_without_being_read_costs_only_the_oldest_samples(rig: CardOnTwin) -> None:
    now_s = rig.bench.now_s()
    rig.run_until(now_s + 60.0)
    assert rig.encoder.health()["n_samples"] > 55_000
    signal_v, _ = rig.encoder.read(host_s=now_s + np.array([1.0, 59.0]))
    assert signal_v.shape == (2,)


def test_a_wheel_without_samples_is_named(rig: CardOnTwin) -> None:
    rig.encoder._task.stop()
    rig.encoder._task.start()
    rig.encoder._n_read = 0
    with pytest.raises(DeviceError, match=r"no samples of the wheel for more than 0\.5 s"):
        rig.encoder.read(host_s=np.array([rig.bench.now_s() + 10.0]))


def test_an_encoder_without_supply_or_life_is_found(rig: CardOnTwin) -> None:
    rig.bench.analog("ai0", 1.0)
    rig.bench.analog("ai1", 0.3)
    rig.run_until(rig.bench.now_s() + 21.0)
    supply, signal = rig.encoder.check()
    assert (supply.verdict, supply.remedy) == (Verdict.FAIL, "check the encoder's supply: 4 to 5.5 V")
    assert (signal.verdict, signal.name) == (Verdict.WARN, "encoder signal")


def test_a_quadrature_wheel_gives_the_pair_of_voltages_that_an_analog_one_would(twin: Twin) -> None:
    twin.bench.mouse("perfect", 3, twin.bench.now_s(), "PFI0")
    with opened(CardOnTwin(twin, config=CardConfig(watchdog_s=None, wheel_pulses=1024))) as rig:
        analog = Recording(rig.encoder._reader)
        rig.encoder._reader = analog
        start_s = rig.bench.now_s()
        rig.run_until(start_s + 4.0)
        signal_v, supply_v = rig.encoder.read(host_s=start_s + 0.5 + np.arange(200) / 60)
        assert (supply_v == NOMINAL_SUPPLY_V).all()
        assert ((signal_v >= 0) & (signal_v < NOMINAL_SUPPLY_V)).all()
        decoded_v, _ = rig.encoder.latest()
    both = np.concatenate(analog.blocks, axis=1)
    turns = [np.unwrap(volts / supply * 2 * np.pi) / (2 * np.pi) for volts, supply in (both, (decoded_v, 5.0))]
    assert turns[0][-1] - turns[0][0] > 1.0
    assert turns[1] - turns[1][0] == pytest.approx(turns[0] - turns[0][0], abs=0.003)


class Recording:
    """An analog reader that keeps what it has read."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.blocks: list[FloatArray] = []

    def read_many_sample(self, into: FloatArray, n: int, timeout: float) -> None:
        self._reader.read_many_sample(into, n, timeout=timeout)
        self.blocks.append(into.copy())


def test_a_frame_pulse_is_a_fall_of_some_milliseconds(rig: CardOnTwin) -> None:
    now_s = rig.bench.now_s()
    rig.sync.flip_pulse()
    rig.run_until(now_s + 0.1)
    (_, up), (fell, down), (rose, again) = rig.bench.scope("port1/line4")
    assert (up, down, again) == (True, False, True)
    assert (rose - fell) / 1e8 == pytest.approx(0.004, abs=1e-4)


def test_a_flip_that_comes_before_the_line_was_raised_still_falls(rig: CardOnTwin) -> None:
    now_s = rig.bench.now_s()
    for n in range(5):
        rig.bench.advance(now_s + 0.001 * n)
        rig.sync.flip_pulse()
    rig.run_until(now_s + 0.1)
    assert len(rig.edges.read_frame_pulses()) == 5


def test_lines_are_at_rest_before_and_after(twin: Twin) -> None:
    nets = {"port1/line4": True, "port1/line5": False, "port1/line6": False, "port1/line7": False}
    with opened(CardOnTwin(twin)) as rig:
        assert {net: rig.bench.level(net) for net in nets} == nets
        rig.sync.running(level=True)
        rig.sync.acquire(level=True)
        rig.sync.flip_pulse()
        assert {net: rig.bench.level(net) for net in nets} != nets
    assert {net: twin.bench.level(net) for net in nets} == nets


def test_alignment_pulses_lie_at_random_intervals_while_the_stimulus_runs(rig: CardOnTwin) -> None:
    now_s = rig.bench.now_s()
    rig.run_until(now_s + 20.0)
    rig.sync.running(level=True)
    rig.run_until(now_s + 120.0)
    rig.sync.running(level=False)
    rig.run_until(now_s + 160.0)
    changes = rig.bench.scope("port0/line10")
    rises = np.array([ticks for ticks, level in changes if level]) / 1e8
    falls = np.array([ticks for ticks, level in changes if not level]) / 1e8
    assert falls - rises == pytest.approx(np.full(len(rises), 0.01), abs=1e-3)
    assert 7 <= len(rises) <= 21
    assert ((np.diff(rises) >= 5.0) & (np.diff(rises) <= 15.1)).all()
    assert len(set(np.diff(rises).round(3).tolist())) == len(rises) - 1
    assert rig.seen(Line.ALIGN) == changes


def test_a_frame_pulse_without_wire_is_found(twin: Twin) -> None:
    with opened(CardOnTwin(twin, unwired=["port1/line4"])) as rig:
        (finding,) = rig.sync.check()
        assert (finding.verdict, finding.figure) == (Verdict.FAIL, "not seen back")


def test_the_checks_of_a_good_card_pass(rig: CardOnTwin) -> None:
    now_s = rig.bench.now_s()
    rig.bench.analog("ai0", [(now_s, 1.0), (now_s + 1.0, 1.5)])
    rig.bench.analog("ai1", 4.9)
    rig.run_until(now_s + 21.5)
    findings = [finding for device in rig.devices for finding in device.check()]
    warned = {finding.name for finding in findings if finding.verdict is not Verdict.PASS}
    assert warned <= {"valve read-back", "valve watchdog", "encoder signal"}
    assert len(rig.edges.read_frame_pulses()) == 0, "the check's own frame pulse is no flip's"


def test_a_line_that_the_reader_cannot_raise_is_named_with_the_flips(rig: CardOnTwin) -> None:
    rig.sync.flip_pulse()
    rig.bench.fault("error", rpc="WriteDigitalLines", code=-200678)
    rig.run_until(rig.bench.now_s() + 0.1)
    with pytest.raises(DeviceError, match=r"watchdog has expired"):
        rig.sync.flips_made(host_s=np.empty(0))
    rig.sync.flips_made(host_s=np.empty(0))
    rig.sync.flip_pulse()
    rig.run_until(rig.bench.now_s() + 0.1)
    assert rig.bench.level("port1/line4")
