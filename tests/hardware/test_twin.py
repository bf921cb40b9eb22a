"""The twin through the real nidaqmx library: what NIDAQ_NOTES 1 lists, errors as the library sees them, the scope.

Most tests run on a stepped clock; those about waiting, killing and freezing run in real time.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import grpc
import nidaqmx
import numpy as np
import pytest
from nidaqmx.constants import AcquisitionType, Edge, EncoderType, Level, LineGrouping, Signal, TaskMode
from nidaqmx.errors import DaqError, DaqReadError, DaqWriteError, RpcError
from nidaqmx.grpc_session_options import GrpcSessionOptions, SessionInitializationBehavior
from nidaqmx.stream_readers import AnalogMultiChannelReader, CounterReader, DigitalSingleChannelReader
from nidaqmx.stream_writers import CounterWriter, DigitalSingleChannelWriter
from nidaqmx.system import Device, System
from nidaqmx.system.watchdog import DOExpirationState, WatchdogTask

from hardware.simulated.twin import BenchError, Twin, TwinBench

CONTINUOUS, FINITE = AcquisitionType.CONTINUOUS, AcquisitionType.FINITE
ALL = "Dev1/port0/line0:31"
OPTIONS = (("grpc.use_local_subchannel_pool", 1),)
"""Else channels to one address share a connection, and its backing off."""
LICK, ECHO = 1 << 31, 1 << 7


class Rig:
    """A client of the twin: tasks as the rig makes them, all closed at the end."""

    def __init__(self, twin: Twin, stack: ExitStack) -> None:
        self.twin = twin
        self.bench = twin.bench
        self.channel = stack.enter_context(grpc.insecure_channel(twin.address, OPTIONS))
        self.options = GrpcSessionOptions(self.channel, "")
        self._stack = stack

    def task(self) -> Any:
        return self._kept(nidaqmx.Task(grpc_options=self.options))

    def _kept(self, task: Any) -> Any:
        """Close a task at the end; one that is gone by then says so, which is no fault of the test."""

        def close() -> None:
            with suppress(DaqError, RpcError):
                if task._handle is not None:
                    task.close()

        self._stack.callback(close)
        return task

    def changes(self, lines: str = ALL, *, buffer: int = 100_000) -> Any:
        di = self.task()
        di.di_channels.add_di_chan(lines, line_grouping=LineGrouping.CHAN_FOR_ALL_LINES)
        di.timing.cfg_change_detection_timing(lines, lines, sample_mode=CONTINUOUS, samps_per_chan=1000)
        di.in_stream.input_buf_size = buffer
        return di

    def times(self, *, initial: int = 0) -> Any:
        ci = self.task()
        channel = ci.ci_channels.add_ci_count_edges_chan("Dev1/ctr1", initial_count=initial)
        channel.ci_count_edges_term = "/Dev1/100MHzTimebase"
        ci.timing.cfg_samp_clk_timing(
            1e5, source="/Dev1/ChangeDetectionEvent", sample_mode=CONTINUOUS, samps_per_chan=100_000
        )
        return ci

    def edges(self) -> tuple[Any, Any]:
        ci, di = self.times(), self.changes()
        ci.start()
        di.start()
        return ci, di

    def pulse(self, high_s: float = 0.05, *, trigger: str | None = None, retriggerable: bool = False) -> Any:
        co = self.task()
        co.co_channels.add_co_pulse_chan_time("Dev1/ctr0", high_time=high_s, low_time=0.001)
        co.timing.cfg_implicit_timing(FINITE, 1)
        if trigger is not None:
            co.triggers.start_trigger.cfg_dig_edge_start_trig(trigger)
            co.triggers.start_trigger.retriggerable = retriggerable
        return co

    def output(self, line: str) -> Callable[[bool], None]:
        do = self.task()
        do.do_channels.add_do_chan(line)
        do.start()
        writer = DigitalSingleChannelWriter(do.out_stream, auto_start=False)
        return writer.write_one_sample_one_line

    def watchdog(self, timeout_s: float, *lines: str, level: Level = Level.LOW) -> Any:
        watchdog = self._kept(WatchdogTask("Dev1", timeout=timeout_s, grpc_options=self.options))
        watchdog.cfg_watchdog_do_expir_states([DOExpirationState(line, level) for line in lines])
        watchdog.start()
        return watchdog


def words(di: Any, n: int | None = None, timeout: float = 0.0) -> list[int]:
    reader = DigitalSingleChannelReader(di.in_stream)
    reader.verify_array_shape = False
    data = np.zeros(di.in_stream.avail_samp_per_chan if n is None else n, np.uint32)
    reader.read_many_sample_port_uint32(data, len(data), timeout)
    return data.tolist()


def counts(ci: Any, n: int | None = None, timeout: float = 0.0) -> list[int]:
    reader = CounterReader(ci.in_stream)
    reader.verify_array_shape = False
    data = np.zeros(ci.in_stream.avail_samp_per_chan if n is None else n, np.uint32)
    reader.read_many_sample_uint32(data, len(data), timeout)
    return data.tolist()


def widths_s(bench: TwinBench, net: str) -> list[float]:
    changes = bench.scope(net)
    return [(b - a) / 1e8 for (a, rose), (b, _) in itertools.pairwise(changes) if rose]


def code_within(limit_s: float, call: Callable[[], object]) -> int:
    """Return the code of the first error of the card that a call gives within a time; 0 if there is none."""
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        try:
            call()
        except DaqError as e:
            return int(e.error_code)
        except RpcError:
            time.sleep(0.05)
    return 0


@pytest.fixture(scope="module")
def stepped_twin() -> Iterator[Twin]:
    with Twin(stepped=True, drift_ppm=20.0, zero_ticks=12_345) as twin:
        yield twin


@pytest.fixture(scope="module")
def live_twin() -> Iterator[Twin]:
    with Twin() as twin:
        yield twin


@pytest.fixture
def rig(stepped_twin: Twin) -> Iterator[Rig]:
    """A client on a stepped clock, at a whole second."""
    stepped_twin.bench.reset()
    stepped_twin.bench.advance(float(int(stepped_twin.bench.now_s()) + 2))
    with ExitStack() as stack:
        yield Rig(stepped_twin, stack)
        stepped_twin.bench.clear_faults()


@pytest.fixture
def live(live_twin: Twin) -> Iterator[Rig]:
    """A client in real time."""
    live_twin.bench.reset()
    with ExitStack() as stack:
        yield Rig(live_twin, stack)
        live_twin.bench.clear_faults()


def test_every_edge_comes_once_with_its_own_count_and_the_states_after_it(rig: Rig) -> None:
    bench, rng = rig.bench, np.random.default_rng(1)
    ci, di = rig.edges()
    now_s = bench.now_s()
    for line in (0, 2, 7, 31):
        bench.edges(f"port0/line{line}", sorted((now_s + rng.uniform(0.001, 1.0, 60)).tolist()))
    bench.advance(now_s + 1.0)
    changes = sorted(
        (ticks, line, level) for line in (0, 2, 7, 31) for ticks, level in bench.scope(f"port0/line{line}")
    )
    state, expected = 0, []
    for ticks, line, level in changes:
        state = state | 1 << line if level else state & ~(1 << line)
        expected.append((ticks, state))
    assert list(zip(counts(ci), words(di), strict=True)) == expected
    assert len(expected) == 240


def test_lines_that_change_at_one_tick_are_one_change(rig: Rig) -> None:
    bench = rig.bench
    ci, di = rig.edges()
    at_s = bench.now_s() + 0.5
    bench.edges("port0/line1", [at_s])
    bench.edges("port0/line2", [at_s])
    bench.advance(at_s + 0.1)
    bench.set_lines({"port0/line3": True, "port0/line4": True})
    assert words(di) == [0b110, 0b11110]
    assert counts(ci)[0] == bench.ticks(at_s)


def test_each_call_that_changes_a_line_takes_a_tick_even_if_the_clock_stands(rig: Rig) -> None:
    ci, di = rig.edges()
    write = rig.output("Dev1/port0/line2")
    for level in (True, False, True):
        write(level)
    assert words(di) == [4, 0, 4]
    assert np.all(np.diff(counts(ci)) == 1)


def test_only_the_edges_asked_for_make_samples_and_they_show_all_lines(rig: Rig) -> None:
    bench, di = rig.bench, rig.task()
    di.di_channels.add_di_chan("Dev1/port0/line0:3", line_grouping=LineGrouping.CHAN_FOR_ALL_LINES)
    di.timing.cfg_change_detection_timing("Dev1/port0/line0", "Dev1/port0/line1", sample_mode=CONTINUOUS)
    di.start()
    for line, level in ((3, True), (1, True), (0, True), (0, False), (1, False), (4, True)):
        bench.set_line(f"port0/line{line}", level)
    assert words(di) == [0b1011, 0b1000]


def test_the_counter_wraps_at_32_bits(rig: Rig) -> None:
    bench = rig.bench
    ci, di = rig.edges()
    start_s = bench.now_s()
    times_s = [start_s + 1.0, start_s + 42.0, start_s + 44.0, start_s + 90.0]
    bench.edges("port0/line31", times_s)
    bench.advance(start_s + 100.0)
    ticks = [bench.ticks(time_s) for time_s in times_s]
    assert ticks == [ticks for ticks, _ in bench.scope("port0/line31")]
    assert counts(ci) == [tick % 2**32 for tick in ticks]
    assert ticks[2] > 2**32
    assert ticks[3] > 2**33
    assert len(words(di)) == 4


def test_the_counter_begins_at_its_initial_count(rig: Rig) -> None:
    ci, di = rig.times(initial=2**32 - 10), rig.changes()
    ci.start()
    di.start()
    at_s = rig.bench.now_s() + 0.25
    rig.bench.edges("port0/line0", [at_s])
    rig.bench.advance(at_s)
    assert counts(ci) == [rig.bench.ticks(at_s) % 2**32]
    assert rig.bench.ticks(at_s) > 2**32


def test_a_drifting_card_counts_its_own_time(rig: Rig) -> None:
    bench = rig.bench
    start_s = bench.now_s()
    assert bench.ticks(start_s + 100.0) - bench.ticks(start_s) == 100 * 100_002_000
    assert bench.host_s(bench.ticks(start_s + 100.0)) == pytest.approx(start_s + 100.0, abs=1e-8)


def test_counting_a_slower_timebase_or_a_terminal(rig: Rig) -> None:
    bench = rig.bench
    slow, edges = rig.task(), rig.task()
    slow.ci_channels.add_ci_count_edges_chan("Dev1/ctr1").ci_count_edges_term = "/Dev1/100kHzTimebase"
    edges.ci_channels.add_ci_count_edges_chan("Dev1/ctr2", edge=Edge.FALLING).ci_count_edges_term = "/Dev1/PFI3"
    before = bench.ticks(bench.now_s())
    slow.start()
    edges.start()
    now_s = bench.now_s()
    assert bench.ticks(now_s) == before  # neither is a counter of the rig's time
    bench.edges("PFI3", [now_s + 0.1 * i for i in range(1, 6)])
    bench.advance(now_s + 1.0)
    assert CounterReader(slow.in_stream).read_one_sample_uint32(0) == pytest.approx(100_002, abs=1)
    assert CounterReader(edges.in_stream).read_one_sample_uint32(0) == 2


def test_clocked_inputs_show_the_lines_at_each_sample(rig: Rig) -> None:
    bench, di = rig.bench, rig.task()
    di.di_channels.add_di_chan(ALL, line_grouping=LineGrouping.CHAN_FOR_ALL_LINES)
    di.timing.cfg_samp_clk_timing(1000.0, sample_mode=CONTINUOUS, samps_per_chan=10_000)
    di.start()
    now_s = bench.now_s()
    bench.edges("port0/line31", [now_s + 0.0105, now_s + 0.0205])
    bench.advance(now_s + 0.0301)
    assert words(di, 31) == [0] * 11 + [LICK] * 10 + [0] * 10
    assert bench.scope("port0/line31")[0][0] == pytest.approx(1_050_000, abs=100)


def test_words_have_each_line_at_its_bit_and_booleans_by_position(rig: Rig) -> None:
    di = rig.task()
    channel = di.di_channels.add_di_chan("Dev1/port0/line8,Dev1/port0/line3", line_grouping=LineGrouping(1))
    assert (channel.name, channel.di_num_lines) == ("Dev1/port0/line8...", 2)
    rig.bench.set_line("port0/line8", True)
    reader = DigitalSingleChannelReader(di.in_stream)
    assert reader.read_one_sample_port_uint32() == 0x100
    assert reader.read_one_sample_multi_line(two := np.zeros(2, bool)) is None
    assert two.tolist() == [True, False]
    assert di.read() == 0x100


def test_port_0_is_too_wide_for_bytes(rig: Rig) -> None:
    di = rig.task()
    di.di_channels.add_di_chan("Dev1/port0/line0:7", line_grouping=LineGrouping.CHAN_FOR_ALL_LINES)
    with pytest.raises(DaqReadError, match="-200789"):
        DigitalSingleChannelReader(di.in_stream).read_many_sample_port_byte(np.zeros(1, np.uint8), 1)


def test_a_pfi_terminal_and_its_line_are_one_pin(rig: Rig) -> None:
    rig.output("Dev1/port1/line3")(True)
    assert rig.bench.level("PFI3")
    rig.output("Dev1/PFI12")(True)
    assert rig.bench.level("port2/line4")
    assert rig.bench.level("ctr0")


def test_a_pulse_has_its_width_to_the_tick_and_the_echo_is_a_change(rig: Rig) -> None:
    bench = rig.bench
    bench.wire("ctr0", "port0/line7")
    ci, di = rig.edges()
    co = rig.pulse(0.0423)
    co.start()
    bench.advance(bench.now_s() + 0.01)
    assert not co.is_task_done()
    assert co.co_channels.all.co_output_state is Level.HIGH
    bench.advance(bench.now_s() + 0.1)
    assert co.is_task_done()
    assert np.diff(counts(ci)).tolist() == [4_230_000]
    assert words(di) == [ECHO, 0]
    assert co.co_channels.all.co_pulse_term == "/Dev1/PFI12"


def test_a_finished_pulse_task_pulses_again_only_after_a_stop(rig: Rig) -> None:
    bench, co = rig.bench, rig.pulse(0.01)
    for _ in range(2):
        co.start()
        bench.advance(bench.now_s() + 0.1)
    assert len(widths_s(bench, "ctr0")) == 1
    co.stop()
    co.co_channels.all.co_pulse_high_time = 0.02
    co.start()
    bench.advance(bench.now_s() + 0.1)
    assert widths_s(bench, "ctr0") == [0.01, 0.02]


def test_the_width_is_set_while_the_task_is_stopped(rig: Rig) -> None:
    co = rig.pulse(0.01)
    co.control(TaskMode.TASK_COMMIT)
    co.co_channels.all.co_pulse_high_time = 0.03
    co.start()
    with pytest.raises(DaqError, match="-200557"):
        co.co_channels.all.co_pulse_high_time = 0.04
    with pytest.raises(DaqError, match="-200474"):
        CounterWriter(co.out_stream, auto_start=False).write_one_sample_pulse_time(0.01, 0.01)
    rig.bench.advance(rig.bench.now_s() + 0.1)
    assert widths_s(rig.bench, "ctr0") == [0.03]


def test_a_triggered_pulse_starts_on_the_lick_s_own_tick_and_once(rig: Rig) -> None:
    bench = rig.bench
    bench.wire("port0/line31", "PFI0")
    co = rig.pulse(0.05, trigger="/Dev1/PFI0")
    co.start()
    now_s = bench.now_s()
    bench.edges("port0/line31", [now_s + 0.1, now_s + 0.13, now_s + 0.3, now_s + 0.33])
    bench.advance(now_s + 0.05)
    assert not co.is_task_done()
    bench.advance(now_s + 0.5)
    assert co.is_task_done()
    assert [ticks for ticks, level in bench.scope("ctr0") if level] == [bench.ticks(now_s + 0.1)]
    co.stop()
    co.triggers.start_trigger.disable_start_trig()
    co.start()
    assert bench.level("ctr0")


def test_a_retriggerable_pulse_ignores_edges_while_it_lasts(rig: Rig) -> None:
    bench, co = rig.bench, rig.pulse(0.05, trigger="/Dev1/PFI0", retriggerable=True)
    co.start()
    now_s = bench.now_s()
    rises_s = [0.1, 0.12, 0.14, 0.2, 0.4]
    bench.edges("PFI0", [now_s + t for rise_s in rises_s for t in (rise_s, rise_s + 0.01)])
    bench.advance(now_s + 1.0)
    assert not co.is_task_done()
    opened = [ticks for ticks, level in bench.scope("ctr0") if level]
    assert opened == [bench.ticks(now_s + t) for t in (0.1, 0.2, 0.4)]
    assert widths_s(bench, "ctr0") == [0.05] * 3


def test_stopping_in_mid_pulse_ends_it_at_once(rig: Rig) -> None:
    bench, co = rig.bench, rig.pulse(1.0)
    co.start()
    bench.advance(bench.now_s() + 0.1)
    assert bench.level("ctr0")
    co.stop()
    assert not bench.level("ctr0")
    bench.advance(bench.now_s() + 2.0)
    assert len(widths_s(bench, "ctr0")) == 1


def test_a_pulse_comes_out_where_it_was_led(rig: Rig) -> None:
    bench, co = rig.bench, rig.pulse(0.01)
    bench.wire("ctr0", "port0/line7")
    bench.mouse("never", 1, bench.now_s(), "port0/line31")
    co.co_channels.all.co_pulse_term = "/Dev1/PFI5"
    co.start()
    assert len(bench.mouse_truth().drinks) == 1
    assert bench.level("PFI5")
    assert not bench.level("PFI12")
    assert bench.level("port0/line7")


def test_two_analog_inputs_at_1_khz(rig: Rig) -> None:
    bench, ai = rig.bench, rig.task()
    now_s = bench.now_s()
    bench.analog("ai0", [(now_s, 0.0), (now_s + 1.0, 4.0)])
    bench.analog("ai1", 9.0)
    ai.ai_channels.add_ai_voltage_chan("Dev1/ai0:1", min_val=0, max_val=5)
    ai.timing.cfg_samp_clk_timing(1000, sample_mode=CONTINUOUS, samps_per_chan=10_000)
    ai.start()
    bench.advance(now_s + 1.0)
    assert ai.in_stream.avail_samp_per_chan == 1001
    reader = AnalogMultiChannelReader(ai.in_stream)
    volts = np.zeros((2, 1000))
    assert reader.read_many_sample(volts, 1000, timeout=0.0) == 1000
    assert volts[0] == pytest.approx(np.arange(1000) * 0.004, abs=1e-4)
    assert np.all(volts[1] == 5.0)
    with pytest.raises(DaqReadError, match="-200284") as caught:
        reader.read_many_sample(volts, 1000, timeout=0.0)
    assert caught.value.samps_per_chan_read == 1


def test_the_wheel_turns_with_the_mouse_until_it_freezes(rig: Rig) -> None:
    bench, ai, ci = rig.bench, rig.task(), rig.task()
    now_s = bench.now_s()
    bench.mouse("never", 3, now_s, "port0/line31")
    ci.ci_channels.add_ci_ang_encoder_chan(
        "Dev1/ctr2", decoding_type=EncoderType.X_4, zidx_enable=False, pulses_per_rev=1024
    )
    ci.timing.cfg_samp_clk_timing(1000, source="/Dev1/ai/SampleClock", sample_mode=CONTINUOUS)
    ai.ai_channels.add_ai_voltage_chan("Dev1/ai0:1", min_val=0, max_val=5)
    ai.timing.cfg_samp_clk_timing(1000, sample_mode=CONTINUOUS, samps_per_chan=10_000)
    ci.start()
    ai.start()
    bench.fault("wheel_frozen", at_s=now_s + 3.0)
    bench.advance(now_s + 4.0)
    volts, degrees = np.zeros((2, 4000)), np.zeros(4000)
    AnalogMultiChannelReader(ai.in_stream).read_many_sample(volts, 4000)
    CounterReader(ci.in_stream).read_many_sample_double(degrees, 4000)
    assert np.all(np.abs(volts[1] - 4.885) < 0.01)
    turns = np.unwrap(volts[0, :2990], period=4.885) / 4.885
    assert turns[-1] - turns[0] > 0.3
    assert degrees[:2990] / 360.0 == pytest.approx(turns - turns[0], abs=0.002)
    assert len(np.unique(volts[0, 3001:])) == 1


def test_static_outputs_drive_at_once_and_keep_their_level(rig: Rig) -> None:
    bench, do = rig.bench, rig.task()
    bench.wire("port1/line0", "port0/line2")
    do.do_channels.add_do_chan("Dev1/port1/line0:1", line_grouping=LineGrouping.CHAN_FOR_ALL_LINES)
    writer = DigitalSingleChannelWriter(do.out_stream, auto_start=False)
    with pytest.raises(DaqError, match="-200846"):
        writer.write_one_sample_port_uint32(3)
    do.start()
    writer.write_one_sample_port_uint32(3)
    assert [bench.level(net) for net in ("PFI0", "PFI1", "port0/line2")] == [True] * 3
    writer.write_one_sample_multi_line(np.array([False, True]))
    do.stop()
    do.close()
    assert [bench.level(net) for net in ("PFI0", "PFI1", "port0/line2")] == [False, True, False]


def test_reset_puts_all_outputs_low_and_aborts_all_tasks(rig: Rig) -> None:
    rig.output("Dev1/port1/line0")(True)
    co = rig.pulse(1.0)
    co.start()
    Device("Dev1", grpc_options=rig.options).reset_device()
    assert not rig.bench.level("PFI0")
    assert not rig.bench.level("ctr0")
    assert co.is_task_done()


def test_a_watchdog_that_is_kicked_does_nothing_and_one_that_is_not_makes_safe(rig: Rig) -> None:
    bench = rig.bench
    write = rig.output("Dev1/port1/line3")
    watchdog = rig.watchdog(1.0, "Dev1/port1/line3", "Dev1/port0/line9")
    write(True)
    for _ in range(3):
        bench.advance(bench.now_s() + 0.9)
        watchdog.reset_timer()
    assert not watchdog.expired
    assert bench.level("PFI3")
    expires_s = bench.now_s() + 1.0
    bench.advance(expires_s + 1.0)
    assert watchdog.expired
    assert bench.scope("PFI3")[-1] == (pytest.approx(bench.ticks(expires_s), abs=3000), False)
    with pytest.raises(DaqWriteError, match="-200678"):
        write(True)
    with pytest.raises(DaqError, match="-200644"):
        watchdog.reset_timer()
    watchdog.clear_expiration()
    write(True)
    assert bench.level("PFI3")


def test_a_watchdog_cuts_a_pulse_and_the_task_is_not_told(rig: Rig) -> None:
    bench, co = rig.bench, rig.pulse(2.0)
    bench.wire("ctr0", "port0/line7")
    rig.watchdog(0.3, "Dev1/PFI12")
    co.start()
    bench.advance(bench.now_s() + 1.0)
    assert widths_s(bench, "port0/line7") == [pytest.approx(0.3, abs=1e-6)]
    assert not co.is_task_done()


def test_each_line_of_a_watchdog_needs_its_state(rig: Rig) -> None:
    with pytest.raises(DaqError, match="-201481"):
        rig.watchdog(1.0, "Dev1/port0/line0:7")
    with pytest.raises(DaqError, match="-200668"):
        rig.watchdog(40.0, "Dev1/port0/line0")


def test_a_card_without_watchdog_says_so(rig: Rig) -> None:
    rig.bench.fault("watchdog_missing")
    with pytest.raises(DaqError, match="-200662"):
        rig.watchdog(1.0, "Dev1/port0/line0")


def test_the_device_describes_itself(rig: Rig) -> None:
    assert System.remote(grpc_options=rig.options).devices.device_names == ["Dev1"]
    device = Device("Dev1", grpc_options=rig.options)
    assert device.product_type == "PCIe-6363"
    assert device.is_simulated
    assert device.bus_type.name == "PCIE"
    assert len(device.di_lines.channel_names) == 48
    assert "/Dev1/PFI0" in device.terminals
    assert max(device.ai_voltage_rngs) == 10.0
    assert device.di_lines["port0/line31"].di_change_detect_supported
    assert not device.di_lines["port1/line0"].di_change_detect_supported
    rig.bench.fault("change_detection_missing", lines=["port0/line5"])
    assert not device.di_lines["port0/line5"].di_change_detect_supported
    device.self_test_device()
    with pytest.raises(DaqError, match="-200220"):
        Device("Dev2", grpc_options=rig.options).self_test_device()


@pytest.mark.parametrize("code", [-50103, -200088, -200220, -200474, -200560, -201003, -209999])
def test_an_error_asked_for_arrives_with_its_code_and_then_is_over(rig: Rig, code: int) -> None:
    task = rig.task()
    rig.bench.fault("error", rpc="IsTaskDone", code=code)
    with pytest.raises(DaqError) as caught:
        task.is_task_done()
    assert caught.value.error_code == code
    assert task.is_task_done()


def test_array_reads_and_writes_say_how_far_they_got(rig: Rig) -> None:
    di, write = rig.changes(), rig.output("Dev1/port1/line0")
    di.start()
    rig.bench.fault("unplugged")
    with pytest.raises(DaqReadError) as read:
        words(di, 10)
    with pytest.raises(DaqWriteError) as wrote:
        write(True)
    assert read.value.error_code == wrote.value.error_code == -201003
    assert (read.value.samps_per_chan_read, wrote.value.samps_per_chan_written) == (0, 0)
    rig.bench.clear_faults()


def test_a_read_that_runs_out_of_time_gives_what_there_is(rig: Rig) -> None:
    di = rig.changes()
    di.start()
    rig.bench.set_line("port0/line1", True)
    data = np.full(5, 9, np.uint32)
    reader = DigitalSingleChannelReader(di.in_stream)
    with pytest.raises(DaqReadError) as caught:
        reader.read_many_sample_port_uint32(data, 5, timeout=10.0)
    assert (caught.value.error_code, caught.value.samps_per_chan_read, data[0]) == (-200284, 1, 2)


def test_more_unread_than_the_buffer_holds_is_lost_for_good(rig: Rig) -> None:
    di = rig.changes(buffer=10)
    di.start()
    bench, now_s = rig.bench, rig.bench.now_s()
    bench.edges("port0/line0", [now_s + 0.01 * i for i in range(1, 12)])
    bench.advance(now_s + 0.1)
    assert di.in_stream.avail_samp_per_chan == 10
    bench.advance(now_s + 0.2)
    for _ in range(2):
        with pytest.raises(DaqReadError, match="-200279"):
            words(di, 1)
    assert not di.in_stream.change_detect_overflowed
    di.stop()
    di.start()
    bench.set_line("port0/line0", False)
    assert words(di) == [0]
    bench.fault("overflow")
    assert di.in_stream.change_detect_overflowed
    with pytest.raises(DaqError, match="-200279"):
        di.is_task_done()


def test_what_is_taken_is_refused(rig: Rig) -> None:
    first, second = rig.pulse(), rig.pulse()
    first.start()
    with pytest.raises(DaqError, match="-50103"):
        second.start()
    first.close()
    second.start()
    line, same_line = rig.task(), rig.task()
    for task in (line, same_line):
        task.do_channels.add_do_chan("Dev1/port0/line1")
    line.control(TaskMode.TASK_RESERVE)
    with pytest.raises(DaqError, match="-200587"):
        same_line.start()


def test_what_the_card_or_the_twin_has_not_is_refused(rig: Rig) -> None:
    task, di = rig.task(), rig.task()
    di.di_channels.add_di_chan("Dev1/port0/line0,Dev1/port1/line0", line_grouping=LineGrouping.CHAN_PER_LINE)
    for lines, code in (("Dev1/port1/line0", "-201020"), ("Dev1/port0/line1", "-200926")):
        with pytest.raises(DaqError, match=code):
            di.timing.cfg_change_detection_timing(lines)
    with pytest.raises(DaqError, match="-200233"):
        _ = di.in_stream.overloaded_chans
    with pytest.raises(DaqError, match="-200170"):
        task.di_channels.add_di_chan("Dev1/port0/line32")
    with pytest.raises(DaqError, match="-200220"):
        task.di_channels.add_di_chan("Dev7/port0/line0")
    with pytest.raises(DaqError, match="-200478"):
        task.start()
    with pytest.raises(RpcError, match="UNIMPLEMENTED"):
        task.ao_channels.add_ao_voltage_chan("Dev1/ao0")


def test_sessions_have_names(rig: Rig) -> None:
    options = GrpcSessionOptions(
        rig.channel, "", initialization_behavior=SessionInitializationBehavior.INITIALIZE_SERVER_SESSION
    )
    with nidaqmx.Task("same", grpc_options=options) as task:
        assert task.name == "same"
        with pytest.raises(RpcError, match="ALREADY_EXISTS"):
            nidaqmx.Task("same", grpc_options=options)
        with nidaqmx.Task("same", grpc_options=rig.options) as attached:
            assert attached.name == "same"
        assert task.is_task_done()
    gone = rig.task()
    rig.bench.reset()
    for call in (gone.is_task_done, gone.start):
        with pytest.raises(DaqError, match="-200088"):
            call()
    with pytest.raises(DaqError, match="-200088"):
        gone.close()


def test_the_counter_may_lag_behind_the_lines_and_catches_up(rig: Rig) -> None:
    bench = rig.bench
    ci, di = rig.edges()
    bench.fault("lag", counter_s=0.02)
    bench.set_line("port0/line0", True)
    assert (di.in_stream.avail_samp_per_chan, ci.in_stream.avail_samp_per_chan) == (1, 0)
    bench.advance(bench.now_s() + 0.03)
    assert ci.in_stream.avail_samp_per_chan == 1


def test_the_counter_may_merge_changes_that_follow_closely(rig: Rig) -> None:
    bench = rig.bench
    ci, di = rig.edges()
    bench.fault("merge_ci", within_s=10e-6)
    now_s = bench.now_s()
    bench.edges("port0/line0", [now_s + 0.1, now_s + 0.100002, now_s + 0.2])
    bench.advance(now_s + 1.0)
    assert (di.in_stream.avail_samp_per_chan, ci.in_stream.avail_samp_per_chan) == (3, 2)


def test_edges_during_a_slow_start_are_missed(rig: Rig) -> None:
    bench, di = rig.bench, rig.changes()
    bench.fault("start_latency", seconds=0.01)
    now_s = bench.now_s()
    di.start()
    bench.edges("port0/line0", [now_s + 0.005, now_s + 0.015])
    bench.advance(now_s + 0.1)
    assert words(di) == [0]


def test_stuck_nets_and_cut_wires(rig: Rig) -> None:
    bench = rig.bench
    bench.wire("port0/line1", "port0/line2")
    now_s = bench.now_s()
    bench.fault("cut", source="port0/line1", target="port0/line2")
    bench.fault("stuck", net="port0/line3", level=True, at_s=now_s + 0.5)
    bench.set_line("port0/line1", True)
    assert not bench.level("port0/line2")
    assert not bench.level("port0/line3")
    bench.advance(now_s + 1.0)
    bench.set_line("port0/line3", False)
    assert bench.level("port0/line3")


def test_a_line_chatters_until_it_is_mended(rig: Rig) -> None:
    bench, now_s = rig.bench, rig.bench.now_s()
    bench.fault("chatter", net="PFI0", hz=100.0, at_s=now_s + 0.5)
    bench.advance(now_s + 1.5001)
    changes = bench.scope("PFI0")
    assert len(changes) == 201
    assert {after - before for (before, _), (after, _) in itertools.pairwise(changes)} == {500_000}
    bench.clear_faults()
    bench.advance(now_s + 2.0)
    assert len(bench.scope("PFI0")) == 201


def test_swapped_wires_take_their_levels_along(rig: Rig) -> None:
    bench, now_s = rig.bench, rig.bench.now_s()
    bench.wire("port1/line4", "port0/line1")
    bench.set_line("port1/line4", True)
    bench.fault("swapped", one="port0/line1", other="port0/line2", at_s=now_s + 0.5)
    assert [bench.level(f"port0/line{n}") for n in (1, 2)] == [True, False]
    bench.advance(now_s + 1.0)
    assert [bench.level(f"port0/line{n}") for n in (1, 2)] == [False, True]
    bench.set_line("port1/line4", False)
    assert [bench.level(f"port0/line{n}") for n in (1, 2)] == [False, False]


def test_samples_are_lost_from_the_time_on_that_was_asked_for(rig: Rig) -> None:
    di, now_s = rig.changes(), rig.bench.now_s()
    di.start()
    rig.bench.fault("overflow", at_s=now_s + 0.5)
    rig.bench.set_line("port0/line0", True)
    assert words(di) == [1]
    rig.bench.advance(now_s + 1.0)
    assert di.in_stream.change_detect_overflowed
    with pytest.raises(DaqReadError, match="-200279"):
        words(di, 1)


def test_an_unplugged_card_is_gone_from_its_time_on(rig: Rig) -> None:
    di = rig.changes()
    di.start()
    now_s = rig.bench.now_s()
    rig.bench.fault("unplugged", at_s=now_s + 1.0)
    rig.bench.advance(now_s + 0.9)
    assert words(di) == []
    rig.bench.advance(now_s + 1.1)
    with pytest.raises(DaqError, match="-201003"):
        di.is_task_done()
    with pytest.raises(DaqError, match="-201003"):
        Device("Dev1", grpc_options=rig.options).self_test_device()
    with pytest.raises(DaqError, match="-201003"):
        di.close()
    rig.bench.clear_faults()
    rig.changes().start()  # what was closed holds nothing any more


def test_the_bench_refuses_what_makes_no_sense(rig: Rig) -> None:
    bench = rig.bench
    for ask in (
        lambda: bench.set_line("port0/line40", True),
        lambda: bench.edges("port0/line0", [bench.now_s() - 1.0]),
        lambda: bench.fault("earthquake"),
        lambda: bench.advance(bench.now_s() - 1.0),
        lambda: bench.wire("PFI0", "port1/line0"),
        lambda: bench.fault("error", rpc="StartTask", code=5),
        lambda: bench.see(0.0, "gray"),
    ):
        with pytest.raises(BenchError):
            ask()


def test_a_mouse_licks_the_line_is_paid_on_its_lick_and_drinks(rig: Rig) -> None:
    bench = rig.bench
    bench.wire("port0/line31", "PFI0")
    bench.wire("ctr0", "port0/line7")
    now_s = bench.now_s()
    licks_s = [now_s + 0.5, now_s + 0.7, now_s + 1.5, now_s + 2.5]
    bench.mouse("scripted", 1, now_s, "port0/line31", lick_times_s=licks_s)
    ci, di = rig.edges()
    co = rig.pulse(0.05, trigger="/Dev1/PFI0")
    bench.advance(now_s + 1.0)
    co.start()
    bench.advance(now_s + 2.0)
    bench.spout(False)
    bench.advance(now_s + 3.0)
    truth = bench.mouse_truth()
    assert [lick[0] for lick in truth.licks] == licks_s
    assert [lick[2] for lick in truth.licks] == [True, True, True, False]
    rises = [ticks for ticks, level in bench.scope("port0/line31") if level]
    assert rises == [ticks for _, ticks, reached in truth.licks if reached]
    assert [ticks for _, ticks in truth.drinks] == [rises[2]] == [t for t, level in bench.scope("ctr0") if level]
    paid = counts(ci).index(rises[2])
    assert words(di)[paid] == LICK | ECHO


def run_of_a_mouse(rig: Rig, now_s: float) -> list[tuple[int, int]]:
    bench = rig.bench
    bench.wire("port0/line31", "PFI0")
    bench.mouse("stochastic", 7, now_s, "port0/line31")
    ci, di = rig.edges()
    co = rig.pulse(0.04, trigger="/Dev1/PFI0", retriggerable=True)
    co.start()
    for i in range(120):
        bench.see(now_s + 0.75 * i, f"im{i // 8 % 8:03d}")
        bench.advance(now_s + 0.75 * (i + 1))
    return list(zip(counts(ci), words(di), strict=True))


def test_equal_calls_on_a_stepped_clock_give_equal_answers() -> None:
    runs = []
    for _ in range(2):
        with Twin(stepped=True, seed=5) as twin, ExitStack() as stack:
            twin.bench.advance(100.0)
            runs.append(run_of_a_mouse(Rig(twin, stack), 100.0))
    assert runs[0] == runs[1]
    assert len(runs[0]) > 20


def test_ctrl_c_in_the_terminal_does_not_reach_the_twin(live_process: Twin) -> None:
    assert live_process._process is not None
    assert os.getpgid(live_process._process.pid) != os.getpgrp()


def test_a_dropped_lease_aborts_all_tasks_but_levels_stay_and_a_pulse_ends_on_time(rig: Rig) -> None:
    bench = rig.bench
    with TwinBench(rig.twin.address) as client:
        with ExitStack() as stack:
            stack.enter_context(client.lease())
            write, co = rig.output("Dev1/port1/line3"), rig.pulse(0.5)
            co.start()
            write(True)
            assert not co.is_task_done()
            client.close()  # as a crash: the lease drops with its channel
        assert code_within(5.0, co.is_task_done) == -200088
    assert bench.level("PFI3")
    assert bench.level("ctr0")
    bench.advance(bench.now_s() + 1.0)
    assert widths_s(bench, "ctr0") == [0.5]
    rig.pulse(0.1).start()
    assert bench.level("ctr0")


def test_a_waiting_read_returns_with_the_edge_whose_tick_was_computed(live: Rig) -> None:
    bench = live.bench
    ci, di = live.edges()
    at_s = bench.now_s() + 0.4
    bench.edges("port0/line31", [at_s])
    assert words(di, 1, timeout=5.0) == [LICK]
    assert at_s <= bench.now_s() < at_s + 3.0
    assert counts(ci, 1, timeout=5.0) == [bench.ticks(at_s)]
    begun_s = bench.now_s()
    with pytest.raises(DaqReadError, match="-200284"):
        words(di, 1, timeout=0.1)
    assert bench.now_s() - begun_s >= 0.1


def test_a_thousand_analog_samples_take_a_second(live: Rig) -> None:
    ai = live.task()
    ai.ai_channels.add_ai_voltage_chan("Dev1/ai0:1", min_val=0, max_val=5)
    ai.timing.cfg_samp_clk_timing(1000, sample_mode=FINITE, samps_per_chan=300)
    begun_s = time.perf_counter()
    ai.start()
    assert np.shape(ai.read(-1, timeout=5.0)) == (2, 300)
    assert time.perf_counter() - begun_s >= 0.299
    ai.wait_until_done(1.0)


def test_a_call_waits_for_its_end_or_its_timeout(live: Rig) -> None:
    co = live.pulse(0.6)
    co.start()
    with pytest.raises(DaqError, match="-200560"):
        co.wait_until_done(0.01)
    co.wait_until_done(5.0)
    live.bench.fault("start_latency", seconds=0.1)
    co.stop()
    begun_s = time.perf_counter()
    co.start()
    assert time.perf_counter() - begun_s >= 0.1
    live.bench.fault("late_answers", seconds=0.1)
    begun_s = time.perf_counter()
    co.is_task_done()
    assert time.perf_counter() - begun_s >= 0.1


def test_closing_a_task_ends_a_read_that_waits_in_it(live: Rig) -> None:
    di, raised = live.changes(), []
    di.start()

    def read() -> None:
        try:
            words(di, 1, timeout=20.0)
        except DaqError as e:
            raised.append(e.error_code)

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.2)
    di.close()
    thread.join(5.0)
    assert raised == [-88709]


def test_each_change_calls_back(live: Rig) -> None:
    bench, di, times_s = live.bench, live.changes(), []
    done = threading.Event()

    def changed(*_: object) -> int:
        times_s.append(bench.now_s())
        if len(times_s) == 3:
            done.set()
        return 0

    di.register_signal_event(Signal.CHANGE_DETECTION_EVENT, changed)
    with pytest.raises(DaqError, match="-200949"):
        di.register_signal_event(Signal.CHANGE_DETECTION_EVENT, changed)
    di.start()
    edges_s = [bench.now_s() + t for t in (0.3, 0.35, 0.4)]
    bench.edges("port0/line31", edges_s)
    assert done.wait(5.0)
    assert all(seen_s >= edge_s for seen_s, edge_s in zip(times_s, edges_s, strict=True))
    with pytest.raises(DaqError, match="-200986"):
        di.register_signal_event(Signal.CHANGE_DETECTION_EVENT, None)
    di.stop()
    done.clear()
    times_s.clear()
    di.start()
    for level in (False, True, False):
        bench.set_line("port0/line31", level)
    assert done.wait(5.0)
    di.stop()
    di.register_signal_event(Signal.CHANGE_DETECTION_EVENT, None)


def test_every_n_samples_and_done_call_back(live: Rig) -> None:
    ai, co, n_calls, done = live.task(), live.pulse(0.05), [], threading.Event()
    ai.ai_channels.add_ai_voltage_chan("Dev1/ai0")
    ai.timing.cfg_samp_clk_timing(1000, sample_mode=FINITE, samps_per_chan=200)
    ai.register_every_n_samples_acquired_into_buffer_event(50, lambda *_: n_calls.append(1) or 0)
    co.register_done_event(lambda *_: done.set() or 0)
    co.start()
    ai.start()
    ai.wait_until_done(5.0)
    assert done.wait(5.0)
    deadline_s = time.monotonic() + 5.0
    while len(n_calls) < 4 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert len(n_calls) == 4


def test_a_frozen_card_answers_nobody_and_has_missed_nothing() -> None:
    with Twin() as twin, ExitStack() as stack:
        rig = Rig(twin, stack)
        ci, di = rig.edges()
        edges_s = [rig.bench.now_s() + t for t in (0.5, 0.6)]
        rig.bench.edges("port0/line31", edges_s)
        twin.freeze()
        answered = threading.Event()
        thread = threading.Thread(target=lambda: (di.is_task_done(), answered.set()))
        thread.start()
        assert not answered.wait(0.7)
        twin.thaw()
        thread.join(5.0)
        assert answered.is_set()
        assert counts(ci, 2) == [rig.bench.ticks(edge_s) for edge_s in edges_s]


def test_a_killed_card_ends_a_waiting_read_and_comes_back_on_its_port_without_tasks() -> None:
    with Twin() as twin, ExitStack() as stack:
        rig, raised = Rig(twin, stack), []
        di = rig.changes()
        di.start()

        def read() -> None:
            try:
                words(di, 1, timeout=20.0)
            except RpcError as e:
                raised.append(e.rpc_code)

        thread = threading.Thread(target=read)
        thread.start()
        time.sleep(0.2)
        twin.kill()
        thread.join(5.0)
        assert raised == [grpc.StatusCode.UNAVAILABLE]
        with pytest.raises(RpcError, match="UNAVAILABLE"):
            nidaqmx.Task(grpc_options=rig.options)
        with Twin(port=int(twin.address.rpartition(":")[2])) as again, ExitStack() as later:
            assert again.address == twin.address
            assert Rig(again, later).task().is_task_done()
            assert code_within(10.0, di.is_task_done) == -200088


CRASH = """
import itertools
import os
from hardware.simulated.twin import Twin
twin = Twin().__enter__()
print(twin._process.pid, flush=True)
os._exit(1)
"""


def test_the_card_does_not_outlive_the_process_that_started_it() -> None:
    crashed = subprocess.run([sys.executable, "-c", CRASH], capture_output=True, text=True, check=False, timeout=30)
    pid = int(crashed.stdout)
    deadline_s = time.monotonic() + 10.0
    while time.monotonic() < deadline_s:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} is still there")


def test_all_that_is_served_is_in_the_service() -> None:
    from nidaqmx._stubs import nidaqmx_pb2 as pb

    from hardware.clock import CardClock, VirtualClock
    from hardware.simulated.twin import attributes, service
    from hardware.simulated.twin.model import Card
    from hardware.simulated.twin.servicer import Servicer

    methods = pb.DESCRIPTOR.services_by_name["NiDAQmx"].methods_by_name
    served = {*service.RPCS, *attributes.CARD_GETTERS, *attributes.TASK_GET_RPCS, *attributes.TASK_SET_RPCS}
    card = Card(device="Dev1", clock=CardClock(drift_ppm=0.0, zero_ticks=0))
    assert Servicer(card=card, clock=VirtualClock()).handlers()
    assert not served - set(methods)
    known = {value.name for enum in pb.DESCRIPTOR.enum_types_by_name.values() for value in enum.values}
    tables = [attributes.TASK_GETTERS, attributes.TASK_SETTERS, *attributes.CARD_GETTERS.values()]
    assert {name for table in tables for name in table} - known == {"READ_ALL_COUNT"}
