"""The RPCs that are served, one method each: requests into calls of tasks and their engines.

Any other RPC is UNIMPLEMENTED, which the client reports loudly. Enumerations arrive in the ``_raw`` fields. A read
that ran out of time is the one error that is an answer, since it carries data (NIDAQ_NOTES 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import Message
from nidaqmx._stubs import nidaqmx_pb2 as pb
from session_pb2 import Session

from hardware.arrays import AnyArray
from hardware.simulated.twin import pins
from hardware.simulated.twin.errors import CardError, Code, NotServed
from hardware.simulated.twin.inputs import AnalogInput, AngularEncoder, CounterInput, DigitalInput, InputEngine
from hardware.simulated.twin.model import NEVER
from hardware.simulated.twin.outputs import DigitalOutput, PulseOutput, Watchdog
from hardware.simulated.twin.service import Service, require, serves
from hardware.simulated.twin.tasks import CONTINUOUS, FINITE, HIGH, Engine, State, Task

SHORTEST_PULSE_S = 2e-8
EDGES_PER_PULSE = {10090: 1, 10091: 2, 10092: 4}
DEGREES = 10146

E = TypeVar("E", bound=Engine)


class Servicer(Service):
    """All RPCs that are served."""

    @serves("CreateTask")
    def create_task(self, request: pb.CreateTaskRequest) -> Message:
        """Open a session."""
        session, is_new = self.new_task(request.session_name, request.initialization_behavior, None)
        return pb.CreateTaskResponse(task=session, new_session_initialized=is_new)

    @serves("ClearTask")
    def clear_task(self, request: pb.ClearTaskRequest) -> Message:
        """Close a session."""
        task = self.task(request.task)
        task.abort()
        task.aborted = True
        del self.tasks[request.task.id]
        return pb.ClearTaskResponse()

    @serves("StartTask")
    def start_task(self, request: pb.StartTaskRequest) -> Message:
        """Start; with a start latency the answer comes when it has begun."""
        self._start(self.task(request.task))
        return pb.StartTaskResponse()

    def _start(self, task: Task) -> None:
        task.start()
        self.wait(lambda: task.begun or not task.running, timeout_s=-1.0, due=lambda: NEVER)

    @serves("StopTask")
    def stop_task(self, request: pb.StopTaskRequest) -> Message:
        """Stop."""
        self.task(request.task).stop()
        return pb.StopTaskResponse()

    @serves("TaskControl")
    def task_control(self, request: pb.TaskControlRequest) -> Message:
        """Move a task to another state."""
        task, action = self.task(request.task), request.action_raw
        match action:
            case 0:
                self._start(task)
            case 1:
                task.stop()
            case 2:
                _ = task.engine
            case 3:
                task.go(State.COMMITTED)
            case 4:
                task.go(State.RESERVED)
            case 5 | 6:
                task.abort()
            case _:
                raise CardError(Code.BAD_VALUE, f"Task control action is invalid: {action}")
        return pb.TaskControlResponse()

    @serves("IsTaskDone")
    def is_task_done(self, request: pb.IsTaskDoneRequest) -> Message:
        """Say whether a task is done; one that lost samples says so instead."""
        task = self.task(request.task)
        if task.running and isinstance(engine := task.engine, InputEngine) and engine.overflowed:
            engine.available()
        return pb.IsTaskDoneResponse(is_task_done=task.done())

    @serves("WaitUntilTaskDone")
    def wait_until_task_done(self, request: pb.WaitUntilTaskDoneRequest) -> Message:
        """Wait."""
        task = self.task(request.task)
        done = self.wait(lambda: task.aborted or task.done(), timeout_s=request.time_to_wait, due=lambda: NEVER)
        require(not task.aborted, Code.ABORTED, "The operation was aborted")
        if not done:
            raise CardError(Code.WAIT_NOT_DONE, "Wait until done did not indicate that the task was done in time")
        return pb.WaitUntilTaskDoneResponse()

    @serves("CreateDIChan")
    def create_di_chan(self, request: pb.CreateDIChanRequest) -> Message:
        """Add digital inputs."""
        lines = pins.lines(request.lines, self.card.device)
        self.new_engine(request.task, DigitalInput).add(
            lines, one_channel=request.line_grouping_raw == 1, name=request.name_to_assign_to_lines
        )
        return pb.CreateDIChanResponse()

    @serves("CreateDOChan")
    def create_do_chan(self, request: pb.CreateDOChanRequest) -> Message:
        """Add digital outputs."""
        lines = pins.lines(request.lines, self.card.device)
        self.new_engine(request.task, DigitalOutput).add(
            lines, one_channel=request.line_grouping_raw == 1, name=request.name_to_assign_to_lines
        )
        return pb.CreateDOChanResponse()

    @serves("CreateCICountEdgesChan")
    def create_ci_count_edges_chan(self, request: pb.CreateCICountEdgesChanRequest) -> Message:
        """Add a counter of edges."""
        if request.count_direction_raw not in (0, 10128):
            raise NotServed("The twin counts up only")
        engine = self.new_engine(request.task, CounterInput)
        engine.counter = self._counter(engine, request.counter, request.name_to_assign_to_channel)
        engine.edge, engine.initial = request.edge_raw, request.initial_count
        return pb.CreateCICountEdgesChanResponse()

    @serves("CreateCOPulseChanTime")
    def create_co_pulse_chan_time(self, request: pb.CreateCOPulseChanTimeRequest) -> Message:
        """Add a pulse by high and low time."""
        engine = self.new_engine(request.task, PulseOutput)
        engine.counter = self._counter(engine, request.counter, request.name_to_assign_to_channel)
        times_s = (request.high_time, request.low_time)
        require(min(times_s) >= SHORTEST_PULSE_S, Code.BAD_VALUE, f"Pulse times are out of range: {times_s} s")
        engine.idle_high = engine.high = request.idle_state_raw == HIGH
        engine.initial_delay_s, engine.low_s = request.initial_delay, request.low_time
        engine.high_s = request.high_time
        return pb.CreateCOPulseChanTimeResponse()

    @serves("CreateCIAngEncoderChan")
    def create_ci_ang_encoder_chan(self, request: pb.CreateCIAngEncoderChanRequest) -> Message:
        """Add a counter that decodes the wheel's quadrature."""
        if request.decoding_type_raw not in EDGES_PER_PULSE or request.units_raw != DEGREES or request.zidx_enable:
            raise NotServed("The twin decodes quadrature into degrees, without index")
        engine = self.new_engine(request.task, AngularEncoder)
        engine.counter = self._counter(engine, request.counter, request.name_to_assign_to_channel)
        engine.steps_per_turn = request.pulses_per_rev * EDGES_PER_PULSE[request.decoding_type_raw]
        engine.initial_degrees = request.initial_angle
        return pb.CreateCIAngEncoderChanResponse()

    def _counter(self, engine: Engine, counter: str, name: str) -> str:
        if engine.names:
            raise NotServed("The twin has one counter in each task")
        short = pins.channel(counter, self.card.device, "ctr", pins.N_COUNTERS)
        engine.physical.append(f"{self.card.device}/{short}")
        engine.names.append(name or engine.physical[0])
        return short

    @serves("CreateAIVoltageChan")
    def create_ai_voltage_chan(self, request: pb.CreateAIVoltageChanRequest) -> Message:
        """Add analog inputs."""
        engine = self.new_engine(request.task, AnalogInput)
        names = pins.split(request.physical_channel)
        for i, single in enumerate(names):
            short = pins.channel(single, self.card.device, "ai", pins.N_ANALOG_INPUTS)
            physical = f"{self.card.device}/{short}"
            engine.channels.append(short)
            engine.ranges.append((request.min_val, request.max_val))
            engine.physical.append(physical)
            name = request.name_to_assign_to_channel
            engine.names.append(name + (str(i) if len(names) > 1 else "") if name else physical)
        return pb.CreateAIVoltageChanResponse()

    @serves("CfgChangeDetectionTiming")
    def cfg_change_detection_timing(self, request: pb.CfgChangeDetectionTimingRequest) -> Message:
        """Sample on changes."""
        self.task(request.task).require_stopped()
        self.engine_of(request.task, DigitalInput).detect_changes(
            request.rising_edge_chan,
            request.falling_edge_chan,
            mode=_sample_mode(request.sample_mode_raw),
            samples_per_channel=request.samps_per_chan,
        )
        return pb.CfgChangeDetectionTimingResponse()

    @serves("CfgSampClkTiming")
    def cfg_samp_clk_timing(self, request: pb.CfgSampClkTimingRequest) -> Message:
        """Sample on a clock: the card's for analog inputs, a terminal for counters."""
        self.task(request.task).require_stopped()
        engine = self.engine_of(request.task, InputEngine)
        if isinstance(engine, CounterInput) and request.source:
            engine.clock_term = request.source
        elif isinstance(engine, AngularEncoder):
            if pins.local(request.source, self.card.device).lower() != "ai/sampleclock":
                raise NotServed("The twin samples an encoder by ai/SampleClock")
        elif isinstance(engine, AnalogInput | DigitalInput) and request.source in ("", "OnboardClock"):
            if isinstance(engine, DigitalInput):
                engine.clocked = True
        else:
            raise NotServed("The twin clocks inputs by the card and counters by a terminal, nothing else")
        engine.mode = _sample_mode(request.sample_mode_raw)
        engine.rate_hz, engine.samples_per_channel = request.rate, request.samps_per_chan
        return pb.CfgSampClkTimingResponse()

    @serves("CfgImplicitTiming")
    def cfg_implicit_timing(self, request: pb.CfgImplicitTimingRequest) -> Message:
        """Give one or more pulses, or go on."""
        self.task(request.task).require_stopped()
        engine = self.engine_of(request.task, PulseOutput)
        engine.mode, engine.n_pulses = _sample_mode(request.sample_mode_raw), request.samps_per_chan
        return pb.CfgImplicitTimingResponse()

    @serves("CfgDigEdgeStartTrig")
    def cfg_dig_edge_start_trig(self, request: pb.CfgDigEdgeStartTrigRequest) -> Message:
        """Start on an edge of a terminal."""
        self.task(request.task).require_stopped()
        engine = self.engine_of(request.task, PulseOutput)
        engine.trigger = pins.local(request.trigger_source, self.card.device)
        engine.trigger_edge = request.trigger_edge_raw
        return pb.CfgDigEdgeStartTrigResponse()

    @serves("DisableStartTrig")
    def disable_start_trig(self, request: pb.DisableStartTrigRequest) -> Message:
        """Start at once again."""
        self.task(request.task).require_stopped()
        self.engine_of(request.task, PulseOutput).trigger = None
        return pb.DisableStartTrigResponse()

    def _wait_for(self, session: Session, kind: type[InputEngine], wanted: int, timeout_s: float) -> tuple[Task, int]:
        """Wait for samples; return how many there are, at most those wanted."""
        task, engine = self.task(session), self.engine_of(session, kind)
        if not task.running:
            self._start(task)
        if wanted < 0:
            wanted = engine.samples_per_channel if engine.mode == FINITE else engine.available()

        def ready() -> bool:
            if task.aborted or not task.running:
                raise CardError(Code.ABORTED, "The operation was aborted")
            return engine.available() >= wanted

        self.wait(ready, timeout_s=timeout_s, due=lambda: engine.due(wanted))
        return task, min(engine.available(), wanted)

    def _read_array(
        self, request: Message, kind: type[E], rows: Callable[[E, int], AnyArray], answer: type[Message], size: int
    ) -> dict[str, Any]:
        """Read into an array of the client's size: its fields of the answer; what was not read is 0."""
        engine = self.engine_of(request.task, kind)
        wanted, status = request.num_samps_per_chan, 0
        if isinstance(engine, InputEngine) and engine.buffered:
            _, n = self._wait_for(request.task, kind, wanted, request.timeout)  # type: ignore[arg-type]
            if n < wanted:
                status = int(Code.SAMPLES_NOT_YET_THERE)
        else:
            self._begin_on_demand(request.task)
            n = max(wanted, 1)
        table = rows(engine, n)
        values = np.zeros(size, table.dtype)
        packed = table.ravel() if request.fill_mode_raw == 0 else table.T.ravel()
        if len(packed) > size:
            raise CardError(Code.BAD_VALUE, f"The array holds {size} samples and {len(packed)} were asked for")
        values[: len(packed)] = packed
        return {"status": status, "samps_per_chan_read": n, "read_array": values}

    @serves("ReadDigitalU32")
    def read_digital_u32(self, request: pb.ReadDigitalU32Request) -> Message:
        """Read port words."""
        fields = self._read_array(request, DigitalInput, _words, pb.ReadDigitalU32Response, request.array_size_in_samps)
        return pb.ReadDigitalU32Response(**{**fields, "read_array": fields["read_array"].tolist()})

    @serves("ReadDigitalU8")
    def read_digital_u8(self, request: pb.ReadDigitalU8Request) -> Message:
        """Read words of ports of 8 lines."""
        if any(pins.port(line) == 0 for lines in self.engine_of(request.task, DigitalInput).channels for line in lines):
            raise CardError(Code.TYPE_TOO_SMALL, "Read can't be performed: port 0 has more lines than 8")
        fields = self._read_array(request, DigitalInput, _words, pb.ReadDigitalU8Response, request.array_size_in_samps)
        return pb.ReadDigitalU8Response(**{**fields, "read_array": fields["read_array"].astype(np.uint8).tobytes()})

    @serves("ReadDigitalLines")
    def read_digital_lines(self, request: pb.ReadDigitalLinesRequest) -> Message:
        """Read a boolean for each line, by its position in the channel."""
        engine = self.engine_of(request.task, DigitalInput)
        width = max(len(lines) for lines in engine.channels)
        fields = self._read_array(
            request, DigitalInput, _booleans, pb.ReadDigitalLinesResponse, request.array_size_in_bytes
        )
        fields["read_array"] = fields["read_array"].astype(np.uint8).tobytes()
        return pb.ReadDigitalLinesResponse(**fields, num_bytes_per_samp=width)

    @serves("ReadDigitalScalarU32")
    def read_digital_scalar_u32(self, request: pb.ReadDigitalScalarU32Request) -> Message:
        """Read one word."""
        return pb.ReadDigitalScalarU32Response(value=int(self._scalar(request, DigitalInput, _words)))

    @serves("ReadCounterU32Ex")
    def read_counter_u32_ex(self, request: pb.ReadCounterU32ExRequest) -> Message:
        """Read counts."""
        fields = self._read_array(
            request, CounterInput, _counts, pb.ReadCounterU32ExResponse, request.array_size_in_samps
        )
        return pb.ReadCounterU32ExResponse(**{**fields, "read_array": fields["read_array"].tolist()})

    @serves("ReadCounterF64Ex")
    def read_counter_f64_ex(self, request: pb.ReadCounterF64ExRequest) -> Message:
        """Read counts as floats."""
        fields = self._read_array(
            request, self._float_counter(request), _floats, pb.ReadCounterF64ExResponse, request.array_size_in_samps
        )
        return pb.ReadCounterF64ExResponse(**{**fields, "read_array": fields["read_array"].tolist()})

    @serves("ReadCounterScalarU32")
    def read_counter_scalar_u32(self, request: pb.ReadCounterScalarU32Request) -> Message:
        """Read one count."""
        return pb.ReadCounterScalarU32Response(value=int(self._scalar(request, CounterInput, _counts)))

    @serves("ReadCounterScalarF64")
    def read_counter_scalar_f64(self, request: pb.ReadCounterScalarF64Request) -> Message:
        """Read one count as a float."""
        return pb.ReadCounterScalarF64Response(
            value=float(self._scalar(request, self._float_counter(request), _floats))
        )

    def _float_counter(self, request: Message) -> type[CounterInput | AngularEncoder]:
        engine = self.task(request.task).engine
        return AngularEncoder if isinstance(engine, AngularEncoder) else CounterInput

    @serves("ReadAnalogF64")
    def read_analog_f64(self, request: pb.ReadAnalogF64Request) -> Message:
        """Read voltages."""
        fields = self._read_array(request, AnalogInput, _volts, pb.ReadAnalogF64Response, request.array_size_in_samps)
        return pb.ReadAnalogF64Response(**{**fields, "read_array": fields["read_array"].tolist()})

    @serves("ReadAnalogScalarF64")
    def read_analog_scalar_f64(self, request: pb.ReadAnalogScalarF64Request) -> Message:
        """Read one voltage."""
        return pb.ReadAnalogScalarF64Response(value=float(self._scalar(request, AnalogInput, _volts)))

    def _scalar(self, request: Message, kind: type[E], rows: Callable[[E, int], AnyArray]) -> float:
        engine = self.engine_of(request.task, kind)
        if isinstance(engine, InputEngine) and engine.buffered:
            _, n = self._wait_for(request.task, kind, 1, request.timeout)  # type: ignore[arg-type]
            if n < 1:
                raise CardError(Code.SAMPLES_NOT_YET_THERE, "The sample requested has not yet been acquired")
        else:
            self._begin_on_demand(request.task)
        value: float = rows(engine, 1).flat[0]
        return value

    def _begin_on_demand(self, session: Session) -> None:
        """Start a counter that is read without sample clock: it has nothing to show before."""
        task = self.task(session)
        if isinstance(task.engine, CounterInput) and not task.running:
            self._start(task)

    def _write(self, request: Message, levels: Sequence[tuple[str, bool]]) -> None:
        task = self.task(request.task)
        engine = self.engine_of(request.task, DigitalOutput)
        if not task.running:
            require(request.auto_start, Code.WRITE_BEFORE_START, "Write failed: the task isn't running")
            self._start(task)
        engine.write(levels)

    def _last_words(self, request: Message, values: Sequence[int]) -> list[tuple[str, bool]]:
        channels = self.engine_of(request.task, DigitalOutput).channels
        n = request.num_samps_per_chan
        if len(values) != n * len(channels) or n != 1:
            raise NotServed("The twin writes one sample at a time")
        return [
            (line, bool(word & pins.bit(line))) for word, lines in zip(values, channels, strict=True) for line in lines
        ]

    @serves("WriteDigitalLines")
    def write_digital_lines(self, request: pb.WriteDigitalLinesRequest) -> Message:
        """Write a boolean for each line."""
        channels = self.engine_of(request.task, DigitalOutput).channels
        lines = [line for lines in channels for line in lines]
        if len(request.write_array) != len(lines) or request.num_samps_per_chan != 1:
            raise CardError(Code.NUM_LINES_MISMATCH, f"{len(request.write_array)} levels for {len(lines)} lines")
        self._write(request, list(zip(lines, map(bool, request.write_array), strict=True)))
        return pb.WriteDigitalLinesResponse(samps_per_chan_written=1)

    @serves("WriteDigitalU8")
    def write_digital_u8(self, request: pb.WriteDigitalU8Request) -> Message:
        """Write words of ports of 8 lines."""
        if any(
            pins.port(line) == 0 for lines in self.engine_of(request.task, DigitalOutput).channels for line in lines
        ):
            raise CardError(Code.TYPE_TOO_SMALL, "Write can't be performed: port 0 has more lines than 8")
        self._write(request, self._last_words(request, request.write_array))
        return pb.WriteDigitalU8Response(samps_per_chan_written=1)

    @serves("WriteDigitalU32")
    def write_digital_u32(self, request: pb.WriteDigitalU32Request) -> Message:
        """Write words."""
        self._write(request, self._last_words(request, request.write_array))
        return pb.WriteDigitalU32Response(samps_per_chan_written=1)

    @serves("WriteDigitalScalarU32")
    def write_digital_scalar_u32(self, request: pb.WriteDigitalScalarU32Request) -> Message:
        """Write one word."""
        channels = self.engine_of(request.task, DigitalOutput).channels
        if len(channels) != 1:
            raise CardError(Code.BAD_VALUE, "A single word was written to several channels")
        self._write(request, [(line, bool(request.value & pins.bit(line))) for line in channels[0]])
        return pb.WriteDigitalScalarU32Response()

    @serves("WriteCtrTimeScalar")
    def write_ctr_time_scalar(self, request: pb.WriteCtrTimeScalarRequest) -> Message:
        """Time out, as a card does on a task of a single pulse (NIDAQ_NOTES 8.6)."""
        self.engine_of(request.task, PulseOutput)
        raise CardError(Code.TIMED_OUT, "The specified operation did not complete before the timeout")

    @serves("CreateWatchdogTimerTaskEx")
    def create_watchdog_timer_task_ex(self, request: pb.CreateWatchdogTimerTaskExRequest) -> Message:
        """Open a session of the watchdog."""
        self.require_device(request.device_name)
        if self.card.faults.watchdog_missing:
            raise CardError(Code.WATCHDOG_NOT_SUPPORTED, "Watchdog timer is not supported on this device")
        session, is_new = self.new_task(
            request.session_name, request.initialization_behavior, Watchdog(self.card, request.timeout)
        )
        return pb.CreateWatchdogTimerTaskExResponse(task=session, new_session_initialized=is_new)

    @serves("CfgWatchdogDOExpirStates")
    def cfg_watchdog_do_expir_states(self, request: pb.CfgWatchdogDOExpirStatesRequest) -> Message:
        """Take the safe states."""
        self.task(request.task).require_stopped()
        states = list(request.expir_state_array)
        self.engine_of(request.task, Watchdog).set_states(request.channel_names, states)
        return pb.CfgWatchdogDOExpirStatesResponse()

    @serves("ControlWatchdogTask")
    def control_watchdog_task(self, request: pb.ControlWatchdogTaskRequest) -> Message:
        """Kick the watchdog, or end its expiration."""
        task, engine = self.task(request.task), self._watchdog(request.task)
        if request.action_raw == 0:
            if task.running:
                engine.kick()
        elif request.action_raw == 1:
            engine.clear()
        else:
            raise CardError(Code.BAD_VALUE, f"Watchdog action is invalid: {request.action_raw}")
        return pb.ControlWatchdogTaskResponse()

    def _watchdog(self, session: Session) -> Watchdog:
        engine = self.task(session).engine
        if not isinstance(engine, Watchdog):
            raise CardError(Code.NOT_A_WATCHDOG, "The task is not a watchdog timer task")
        return engine

    @serves("SelfTestDevice")
    def self_test_device(self, request: pb.SelfTestDeviceRequest) -> Message:
        """Pass."""
        self.require_device(request.device_name)
        return pb.SelfTestDeviceResponse()

    @serves("ResetDevice")
    def reset_device(self, request: pb.ResetDeviceRequest) -> Message:
        """Abort all tasks and put all outputs to their power-up state, which is low."""
        self.require_device(request.device_name)
        outputs = set(self.card.counter_pins)
        for task in self.tasks.values():
            if isinstance(task.maybe_engine, DigitalOutput):
                outputs |= {line for lines in task.maybe_engine.channels for line in lines}
            task.abort()
        self.card.reset()
        for pin in outputs:
            self.card.drive(pin, level=False)
        return pb.ResetDeviceResponse()

    @serves("GetErrorString")
    def get_error_string(self, request: pb.GetErrorStringRequest) -> Message:
        """Name an error."""
        known = {int(code): code.name.replace("_", " ").lower() for code in Code}
        return pb.GetErrorStringResponse(error_string=known.get(request.error_code, f"error {request.error_code}"))

    @serves("UnregisterSignalEvent")
    def unregister_signal_event(self, request: pb.UnregisterSignalEventRequest) -> Message:
        """Let the client's cancelling of the stream do it."""
        self._unregister(request, "RegisterSignalEvent")
        return pb.UnregisterSignalEventResponse()

    @serves("UnregisterEveryNSamplesEvent")
    def unregister_every_n_samples_event(self, request: pb.UnregisterEveryNSamplesEventRequest) -> Message:
        """Let the client's cancelling of the stream do it."""
        self._unregister(request, "RegisterEveryNSamplesEvent")
        return pb.UnregisterEveryNSamplesEventResponse()

    @serves("UnregisterDoneEvent")
    def unregister_done_event(self, request: pb.UnregisterDoneEventRequest) -> Message:
        """Let the client's cancelling of the stream do it."""
        self._unregister(request, "RegisterDoneEvent")
        return pb.UnregisterDoneEventResponse()

    def _unregister(self, request: Message, name: str) -> None:
        task = self.task(request.task)
        require(not task.running, Code.UNREGISTER_WHILE_RUNNING, "Event can't be unregistered while the task runs")
        task.events.discard(name)


def _sample_mode(raw: int) -> int:
    if raw not in (CONTINUOUS, FINITE):
        raise NotServed(f"The twin has no sample mode {raw}")
    return raw


def _words(engine: DigitalInput, n: int) -> AnyArray:
    """Return words of each channel, shape (channels, n), a line at its bit in its port (NIDAQ_NOTES 2)."""
    if not engine.buffered:
        return np.array([[engine.word_now(lines)] * n for lines in engine.channels], np.uint32)
    words = np.array(engine.read(n), np.uint32)
    return np.array([words & np.uint32(engine.mask(lines)) for lines in engine.channels], np.uint32)


def _booleans(engine: DigitalInput, n: int) -> AnyArray:
    """Return levels of each line, shape (channels, n times lines)."""
    words = _words(engine, n)
    rows = [
        np.stack([(word & np.uint32(pins.bit(line))) != 0 for line in lines], axis=1).ravel()
        for word, lines in zip(words, engine.channels, strict=True)
    ]
    return np.array(rows, np.uint8)


def _counts(engine: CounterInput, n: int) -> AnyArray:
    return np.array([engine.read(n) if engine.buffered else [engine.count()] * n], np.uint32)


def _floats(engine: CounterInput | AngularEncoder, n: int) -> AnyArray:
    if isinstance(engine, CounterInput):
        return _counts(engine, n).astype(np.float64)
    if not engine.buffered:
        raise NotServed("The twin samples an encoder by ai/SampleClock")
    return engine.read(n)[np.newaxis]


def _volts(engine: AnalogInput, n: int) -> AnyArray:
    return engine.read(n) if engine.buffered else np.repeat(engine.read_now(), n, axis=1)
