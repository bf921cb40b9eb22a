"""The gRPC service in front of the card: requests into calls of tasks, errors into the client's format.

Only the RPCs listed here are served; any other is UNIMPLEMENTED, which the client reports loudly. Enumerations
arrive in the ``_raw`` fields. An error is a status UNKNOWN with the code in the trailer ``ni-error``; a read that
ran out of time is the one error that is an answer, since it carries data (NIDAQ_NOTES 3).

Each call takes the lock, lets the card catch up with the clock, acts, and lets go. A read that has to wait gives
the lock away meanwhile.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol, TypeVar

import grpc
import numpy as np
from google.protobuf.message import Message
from nidaqmx._stubs import nidaqmx_pb2 as pb
from session_pb2 import Session

from hardware.arrays import AnyArray
from hardware.clock import VirtualClock
from hardware.simulated.twin import pins
from hardware.simulated.twin.attributes import (
    CARD_GETTERS,
    READ_ALL_COUNT,
    TASK_GET_RPCS,
    TASK_GETTERS,
    TASK_SET_RPCS,
    TASK_SETTERS,
)
from hardware.simulated.twin.errors import AlreadyExists, CardError, Code, NotServed
from hardware.simulated.twin.model import NEVER, Card
from hardware.simulated.twin.tasks import (
    CONTINUOUS,
    FINITE,
    HIGH,
    AnalogInput,
    AngularEncoder,
    CounterInput,
    DigitalInput,
    DigitalOutput,
    Engine,
    InputEngine,
    PulseOutput,
    State,
    Task,
    Watchdog,
)

SERVICE = "nidaqmx_grpc.NiDAQmx"
CHANGE_DETECTION_EVENT = 12511
NEW_SESSION, ATTACH = 1, 2
SHORTEST_PULSE_S = 2e-8
EDGES_PER_PULSE = {10090: 1, 10091: 2, 10092: 4}
DEGREES = 10146
LONGEST_NAP_S = 0.02
"""A waiting call looks again at least this often."""

E = TypeVar("E", bound=Engine)
_rpcs: dict[str, Callable[..., Message]] = {}


def _serves(name: str) -> Callable[[Callable[..., Message]], Callable[..., Message]]:
    def keep(method: Callable[..., Message]) -> Callable[..., Message]:
        _rpcs[name] = method
        return method

    return keep


class NowClock(Protocol):
    """The host's clock, as far as the service needs it."""

    def now_s(self) -> float:
        """Return the present time in seconds."""


class Servicer:
    """All sessions of one card.

    Parameters
    ----------
    clock
        The host's clock, or a virtual one: then time only moves when it is told to, and no call waits.
    """

    def __init__(self, *, card: Card, clock: NowClock) -> None:
        self.card = card
        self.clock = clock
        self.stepped = isinstance(clock, VirtualClock)
        self.lock = threading.Condition(threading.RLock())
        """Held by whoever touches the card; notified after each call."""
        self.tasks: dict[int, Task] = {}
        self._n_unnamed = 0
        self._next_id = secrets.randbits(15) << 16 | 1  # sessions of a server that was here before are not ours
        self._services = pb.DESCRIPTOR.services_by_name["NiDAQmx"]

    # --- the frame of a call ------------------------------------------------------------------------

    def now_ticks(self) -> int:
        """Return the card's tick at the host's present time."""
        return self.card.clock.ticks(self.clock.now_s())

    @contextmanager
    def call(self) -> Iterator[Card]:
        """Hold the lock with the card at the present; what is changed within is one change."""
        with self.lock:
            self.card.begin_call(self.now_ticks())
            try:
                yield self.card
            finally:
                self.card.end_call()
                self.lock.notify_all()

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the handlers of all RPCs that are served."""
        methods = {}
        for name, method in self._services.methods_by_name.items():
            handler: Any
            if name in _rpcs:
                handler = self._unary(name, _rpcs[name])
            elif name in CARD_GETTERS or name in TASK_GET_RPCS:
                handler = self._unary(name, _get(name, method.output_type.name))
            elif name in TASK_SET_RPCS:
                handler = self._unary(name, _set(method.output_type.name))
            elif name in ("RegisterSignalEvent", "RegisterEveryNSamplesEvent", "RegisterDoneEvent"):
                methods[name] = grpc.unary_stream_rpc_method_handler(
                    self._stream(name),
                    request_deserializer=getattr(pb, method.input_type.name).FromString,
                    response_serializer=getattr(pb, method.output_type.name).SerializeToString,
                )
                continue
            else:
                continue
            methods[name] = grpc.unary_unary_rpc_method_handler(
                handler,
                request_deserializer=getattr(pb, method.input_type.name).FromString,
                response_serializer=getattr(pb, method.output_type.name).SerializeToString,
            )
        return [grpc.method_handlers_generic_handler(SERVICE, methods)]

    def _unary(self, name: str, method: Callable[..., Message]) -> Callable[..., Message]:
        def handle(request: Message, context: grpc.ServicerContext) -> Message:
            try:
                with self.call() as card:
                    late_s = card.faults.late_answer_s
                    self._fail_if_asked(name)
                    answer = method(self, request)
            except (CardError, NotServed, AlreadyExists) as e:
                _refuse(context, e, name)
            if late_s and not self.stepped:
                time.sleep(late_s)
            return answer

        return handle

    def _fail_if_asked(self, name: str) -> None:
        faults = self.card.faults
        if name in faults.errors:
            code, times = faults.errors[name]
            if times <= 1:
                del faults.errors[name]
            else:
                faults.errors[name] = code, times - 1
            raise CardError(code, f"A fault was asked for: {code}")
        if self.card.now >= faults.unplugged_ticks and not name.startswith("GetSystemInfo"):
            raise CardError(Code.DEVICE_GONE, "Device cannot be accessed: it was disconnected or is off")

    def wait(self, ready: Callable[[], bool], *, timeout_s: float, due: Callable[[], int]) -> bool:
        """Wait until something is so; return whether it is. On a stepped clock it is now or not.

        ``due`` is the tick at which it may become so by itself; -1 s waits for ever.
        """
        deadline_s = self.clock.now_s() + timeout_s if timeout_s >= 0 else math.inf
        card = self.card
        while not ready():
            now_s = self.clock.now_s()
            if self.stepped or now_s >= deadline_s:
                return False
            next_ticks = min(due(), card.next_event(), card.faults.unplugged_ticks)
            due_s = card.clock.host_s(next_ticks) - now_s if next_ticks < NEVER else LONGEST_NAP_S
            card.end_call()
            self.lock.wait(min(max(due_s, 0.0001), deadline_s - now_s, LONGEST_NAP_S))
            card.begin_call(self.now_ticks())
            self._fail_if_asked("")
        return True

    # --- sessions -----------------------------------------------------------------------------------

    def task(self, session: Session) -> Task:
        """Return a session's task; raise if there is none."""
        if (task := self.tasks.get(session.id)) is None:
            raise CardError(Code.INVALID_TASK, "Task specified is invalid or does not exist")
        return task

    def abandon_all(self) -> None:
        """End all tasks, since their client is gone; pulses that have begun end on time."""
        for task in self.tasks.values():
            task.abandon()
        self.tasks.clear()

    def _engine(self, session: Session, kind: type[E]) -> E:
        engine = self.task(session).engine
        if not isinstance(engine, kind):
            raise CardError(Code.BAD_VALUE, f"The task has no {kind.__name__} channels")
        return engine

    def _new_engine(self, session: Session, kind: type[E]) -> E:
        """Return the engine to which a channel is added; made with the first of them."""
        task = self.task(session)
        task.require_stopped()
        if task.maybe_engine is None:
            task.maybe_engine = kind(self.card)
        return self._engine(session, kind)

    def _new_task(self, name: str, behavior: int, engine: Engine | None) -> tuple[Session, bool]:
        for session_id, task in self.tasks.items():
            if name and name == task.name:
                if behavior == NEW_SESSION:
                    raise AlreadyExists(f"Session {name} exists already")
                return Session(id=session_id), False
        if behavior == ATTACH:
            raise CardError(Code.INVALID_TASK, f"There is no session {name} to attach to")
        if not name:
            name = f"_unnamedTask<{self._n_unnamed}>"
            self._n_unnamed += 1
        session_id = self._next_id
        self._next_id += 1
        self.tasks[session_id] = Task(name, self.card, engine)
        return Session(id=session_id), True

    @_serves("CreateTask")
    def create_task(self, request: pb.CreateTaskRequest) -> Message:
        """Open a session."""
        session, is_new = self._new_task(request.session_name, request.initialization_behavior, None)
        return pb.CreateTaskResponse(task=session, new_session_initialized=is_new)

    @_serves("ClearTask")
    def clear_task(self, request: pb.ClearTaskRequest) -> Message:
        """Close a session."""
        task = self.task(request.task)
        task.abort()
        task.aborted = True
        del self.tasks[request.task.id]
        return pb.ClearTaskResponse()

    @_serves("StartTask")
    def start_task(self, request: pb.StartTaskRequest) -> Message:
        """Start; with a start latency the answer comes when it has begun."""
        self._start(self.task(request.task))
        return pb.StartTaskResponse()

    def _start(self, task: Task) -> None:
        task.start()
        self.wait(lambda: task.begun or not task.running, timeout_s=-1.0, due=lambda: NEVER)

    @_serves("StopTask")
    def stop_task(self, request: pb.StopTaskRequest) -> Message:
        """Stop."""
        self.task(request.task).stop()
        return pb.StopTaskResponse()

    @_serves("TaskControl")
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

    @_serves("IsTaskDone")
    def is_task_done(self, request: pb.IsTaskDoneRequest) -> Message:
        """Say whether a task is done; one that lost samples says so instead."""
        task = self.task(request.task)
        if task.running and isinstance(engine := task.engine, InputEngine) and engine.overflowed:
            engine.available()
        return pb.IsTaskDoneResponse(is_task_done=task.done())

    @_serves("WaitUntilTaskDone")
    def wait_until_task_done(self, request: pb.WaitUntilTaskDoneRequest) -> Message:
        """Wait."""
        task = self.task(request.task)
        done = self.wait(lambda: task.aborted or task.done(), timeout_s=request.time_to_wait, due=lambda: NEVER)
        _require(not task.aborted, Code.ABORTED, "The operation was aborted")
        if not done:
            raise CardError(Code.WAIT_NOT_DONE, "Wait until done did not indicate that the task was done in time")
        return pb.WaitUntilTaskDoneResponse()

    # --- channels -----------------------------------------------------------------------------------

    @_serves("CreateDIChan")
    def create_di_chan(self, request: pb.CreateDIChanRequest) -> Message:
        """Add digital inputs."""
        lines = pins.lines(request.lines, self.card.device)
        self._new_engine(request.task, DigitalInput).add(
            lines, one_channel=request.line_grouping_raw == 1, name=request.name_to_assign_to_lines
        )
        return pb.CreateDIChanResponse()

    @_serves("CreateDOChan")
    def create_do_chan(self, request: pb.CreateDOChanRequest) -> Message:
        """Add digital outputs."""
        lines = pins.lines(request.lines, self.card.device)
        self._new_engine(request.task, DigitalOutput).add(
            lines, one_channel=request.line_grouping_raw == 1, name=request.name_to_assign_to_lines
        )
        return pb.CreateDOChanResponse()

    @_serves("CreateCICountEdgesChan")
    def create_ci_count_edges_chan(self, request: pb.CreateCICountEdgesChanRequest) -> Message:
        """Add a counter of edges."""
        if request.count_direction_raw not in (0, 10128):
            raise NotServed("The twin counts up only")
        engine = self._new_engine(request.task, CounterInput)
        engine.counter = self._counter(engine, request.counter, request.name_to_assign_to_channel)
        engine.edge, engine.initial = request.edge_raw, request.initial_count
        return pb.CreateCICountEdgesChanResponse()

    @_serves("CreateCOPulseChanTime")
    def create_co_pulse_chan_time(self, request: pb.CreateCOPulseChanTimeRequest) -> Message:
        """Add a pulse by high and low time."""
        engine = self._new_engine(request.task, PulseOutput)
        engine.counter = self._counter(engine, request.counter, request.name_to_assign_to_channel)
        times_s = (request.high_time, request.low_time)
        _require(min(times_s) >= SHORTEST_PULSE_S, Code.BAD_VALUE, f"Pulse times are out of range: {times_s} s")
        engine.idle_high = engine.high = request.idle_state_raw == HIGH
        engine.initial_delay_s, engine.low_s = request.initial_delay, request.low_time
        engine.high_s = request.high_time
        return pb.CreateCOPulseChanTimeResponse()

    @_serves("CreateCIAngEncoderChan")
    def create_ci_ang_encoder_chan(self, request: pb.CreateCIAngEncoderChanRequest) -> Message:
        """Add a counter that decodes the wheel's quadrature."""
        if request.decoding_type_raw not in EDGES_PER_PULSE or request.units_raw != DEGREES or request.zidx_enable:
            raise NotServed("The twin decodes quadrature into degrees, without index")
        engine = self._new_engine(request.task, AngularEncoder)
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

    @_serves("CreateAIVoltageChan")
    def create_ai_voltage_chan(self, request: pb.CreateAIVoltageChanRequest) -> Message:
        """Add analog inputs."""
        engine = self._new_engine(request.task, AnalogInput)
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

    # --- timing and triggers ------------------------------------------------------------------------

    @_serves("CfgChangeDetectionTiming")
    def cfg_change_detection_timing(self, request: pb.CfgChangeDetectionTimingRequest) -> Message:
        """Sample on changes."""
        self.task(request.task).require_stopped()
        self._engine(request.task, DigitalInput).detect_changes(
            request.rising_edge_chan,
            request.falling_edge_chan,
            mode=_sample_mode(request.sample_mode_raw),
            samples_per_channel=request.samps_per_chan,
        )
        return pb.CfgChangeDetectionTimingResponse()

    @_serves("CfgSampClkTiming")
    def cfg_samp_clk_timing(self, request: pb.CfgSampClkTimingRequest) -> Message:
        """Sample on a clock: the card's for analog inputs, a terminal for counters."""
        self.task(request.task).require_stopped()
        engine = self._engine(request.task, InputEngine)
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

    @_serves("CfgImplicitTiming")
    def cfg_implicit_timing(self, request: pb.CfgImplicitTimingRequest) -> Message:
        """Give one or more pulses, or go on."""
        self.task(request.task).require_stopped()
        engine = self._engine(request.task, PulseOutput)
        engine.mode, engine.n_pulses = _sample_mode(request.sample_mode_raw), request.samps_per_chan
        return pb.CfgImplicitTimingResponse()

    @_serves("CfgDigEdgeStartTrig")
    def cfg_dig_edge_start_trig(self, request: pb.CfgDigEdgeStartTrigRequest) -> Message:
        """Start on an edge of a terminal."""
        self.task(request.task).require_stopped()
        engine = self._engine(request.task, PulseOutput)
        engine.trigger = pins.local(request.trigger_source, self.card.device)
        engine.trigger_edge = request.trigger_edge_raw
        return pb.CfgDigEdgeStartTrigResponse()

    @_serves("DisableStartTrig")
    def disable_start_trig(self, request: pb.DisableStartTrigRequest) -> Message:
        """Start at once again."""
        self.task(request.task).require_stopped()
        self._engine(request.task, PulseOutput).trigger = None
        return pb.DisableStartTrigResponse()

    # --- reads --------------------------------------------------------------------------------------

    def _wait_for(self, session: Session, kind: type[InputEngine], wanted: int, timeout_s: float) -> tuple[Task, int]:
        """Wait for samples; return how many there are, at most those wanted."""
        task, engine = self.task(session), self._engine(session, kind)
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
        engine = self._engine(request.task, kind)
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

    @_serves("ReadDigitalU32")
    def read_digital_u32(self, request: pb.ReadDigitalU32Request) -> Message:
        """Read port words."""
        fields = self._read_array(request, DigitalInput, _words, pb.ReadDigitalU32Response, request.array_size_in_samps)
        return pb.ReadDigitalU32Response(**{**fields, "read_array": fields["read_array"].tolist()})

    @_serves("ReadDigitalU8")
    def read_digital_u8(self, request: pb.ReadDigitalU8Request) -> Message:
        """Read words of ports of 8 lines."""
        if any(pins.port(line) == 0 for lines in self._engine(request.task, DigitalInput).channels for line in lines):
            raise CardError(Code.TYPE_TOO_SMALL, "Read can't be performed: port 0 has more lines than 8")
        fields = self._read_array(request, DigitalInput, _words, pb.ReadDigitalU8Response, request.array_size_in_samps)
        return pb.ReadDigitalU8Response(**{**fields, "read_array": fields["read_array"].astype(np.uint8).tobytes()})

    @_serves("ReadDigitalLines")
    def read_digital_lines(self, request: pb.ReadDigitalLinesRequest) -> Message:
        """Read a boolean for each line, by its position in the channel."""
        engine = self._engine(request.task, DigitalInput)
        width = max(len(lines) for lines in engine.channels)
        fields = self._read_array(
            request, DigitalInput, _booleans, pb.ReadDigitalLinesResponse, request.array_size_in_bytes
        )
        fields["read_array"] = fields["read_array"].astype(np.uint8).tobytes()
        return pb.ReadDigitalLinesResponse(**fields, num_bytes_per_samp=width)

    @_serves("ReadDigitalScalarU32")
    def read_digital_scalar_u32(self, request: pb.ReadDigitalScalarU32Request) -> Message:
        """Read one word."""
        return pb.ReadDigitalScalarU32Response(value=int(self._scalar(request, DigitalInput, _words)))

    @_serves("ReadCounterU32Ex")
    def read_counter_u32_ex(self, request: pb.ReadCounterU32ExRequest) -> Message:
        """Read counts."""
        fields = self._read_array(
            request, CounterInput, _counts, pb.ReadCounterU32ExResponse, request.array_size_in_samps
        )
        return pb.ReadCounterU32ExResponse(**{**fields, "read_array": fields["read_array"].tolist()})

    @_serves("ReadCounterF64Ex")
    def read_counter_f64_ex(self, request: pb.ReadCounterF64ExRequest) -> Message:
        """Read counts as floats."""
        fields = self._read_array(
            request, self._float_counter(request), _floats, pb.ReadCounterF64ExResponse, request.array_size_in_samps
        )
        return pb.ReadCounterF64ExResponse(**{**fields, "read_array": fields["read_array"].tolist()})

    @_serves("ReadCounterScalarU32")
    def read_counter_scalar_u32(self, request: pb.ReadCounterScalarU32Request) -> Message:
        """Read one count."""
        return pb.ReadCounterScalarU32Response(value=int(self._scalar(request, CounterInput, _counts)))

    @_serves("ReadCounterScalarF64")
    def read_counter_scalar_f64(self, request: pb.ReadCounterScalarF64Request) -> Message:
        """Read one count as a float."""
        return pb.ReadCounterScalarF64Response(
            value=float(self._scalar(request, self._float_counter(request), _floats))
        )

    def _float_counter(self, request: Message) -> type[CounterInput | AngularEncoder]:
        engine = self.task(request.task).engine
        return AngularEncoder if isinstance(engine, AngularEncoder) else CounterInput

    @_serves("ReadAnalogF64")
    def read_analog_f64(self, request: pb.ReadAnalogF64Request) -> Message:
        """Read voltages."""
        fields = self._read_array(request, AnalogInput, _volts, pb.ReadAnalogF64Response, request.array_size_in_samps)
        return pb.ReadAnalogF64Response(**{**fields, "read_array": fields["read_array"].tolist()})

    @_serves("ReadAnalogScalarF64")
    def read_analog_scalar_f64(self, request: pb.ReadAnalogScalarF64Request) -> Message:
        """Read one voltage."""
        return pb.ReadAnalogScalarF64Response(value=float(self._scalar(request, AnalogInput, _volts)))

    def _scalar(self, request: Message, kind: type[E], rows: Callable[[E, int], AnyArray]) -> float:
        engine = self._engine(request.task, kind)
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

    # --- writes -------------------------------------------------------------------------------------

    def _write(self, request: Message, levels: Sequence[tuple[str, bool]]) -> None:
        task = self.task(request.task)
        engine = self._engine(request.task, DigitalOutput)
        if not task.running:
            _require(request.auto_start, Code.WRITE_BEFORE_START, "Write failed: the task isn't running")
            self._start(task)
        engine.write(levels)

    def _last_words(self, request: Message, values: Sequence[int]) -> list[tuple[str, bool]]:
        channels = self._engine(request.task, DigitalOutput).channels
        n = request.num_samps_per_chan
        if len(values) != n * len(channels) or n != 1:
            raise NotServed("The twin writes one sample at a time")
        return [
            (line, bool(word & pins.bit(line))) for word, lines in zip(values, channels, strict=True) for line in lines
        ]

    @_serves("WriteDigitalLines")
    def write_digital_lines(self, request: pb.WriteDigitalLinesRequest) -> Message:
        """Write a boolean for each line."""
        channels = self._engine(request.task, DigitalOutput).channels
        lines = [line for lines in channels for line in lines]
        if len(request.write_array) != len(lines) or request.num_samps_per_chan != 1:
            raise CardError(Code.NUM_LINES_MISMATCH, f"{len(request.write_array)} levels for {len(lines)} lines")
        self._write(request, list(zip(lines, map(bool, request.write_array), strict=True)))
        return pb.WriteDigitalLinesResponse(samps_per_chan_written=1)

    @_serves("WriteDigitalU8")
    def write_digital_u8(self, request: pb.WriteDigitalU8Request) -> Message:
        """Write words of ports of 8 lines."""
        if any(pins.port(line) == 0 for lines in self._engine(request.task, DigitalOutput).channels for line in lines):
            raise CardError(Code.TYPE_TOO_SMALL, "Write can't be performed: port 0 has more lines than 8")
        self._write(request, self._last_words(request, request.write_array))
        return pb.WriteDigitalU8Response(samps_per_chan_written=1)

    @_serves("WriteDigitalU32")
    def write_digital_u32(self, request: pb.WriteDigitalU32Request) -> Message:
        """Write words."""
        self._write(request, self._last_words(request, request.write_array))
        return pb.WriteDigitalU32Response(samps_per_chan_written=1)

    @_serves("WriteDigitalScalarU32")
    def write_digital_scalar_u32(self, request: pb.WriteDigitalScalarU32Request) -> Message:
        """Write one word."""
        channels = self._engine(request.task, DigitalOutput).channels
        if len(channels) != 1:
            raise CardError(Code.BAD_VALUE, "A single word was written to several channels")
        self._write(request, [(line, bool(request.value & pins.bit(line))) for line in channels[0]])
        return pb.WriteDigitalScalarU32Response()

    @_serves("WriteCtrTimeScalar")
    def write_ctr_time_scalar(self, request: pb.WriteCtrTimeScalarRequest) -> Message:
        """Time out, as a card does on a task of a single pulse (NIDAQ_NOTES 8.6)."""
        self._engine(request.task, PulseOutput)
        raise CardError(Code.TIMED_OUT, "The specified operation did not complete before the timeout")

    # --- watchdog -----------------------------------------------------------------------------------

    @_serves("CreateWatchdogTimerTaskEx")
    def create_watchdog_timer_task_ex(self, request: pb.CreateWatchdogTimerTaskExRequest) -> Message:
        """Open a session of the watchdog."""
        self._require_device(request.device_name)
        if self.card.faults.watchdog_missing:
            raise CardError(Code.WATCHDOG_NOT_SUPPORTED, "Watchdog timer is not supported on this device")
        session, is_new = self._new_task(
            request.session_name, request.initialization_behavior, Watchdog(self.card, request.timeout)
        )
        return pb.CreateWatchdogTimerTaskExResponse(task=session, new_session_initialized=is_new)

    @_serves("CfgWatchdogDOExpirStates")
    def cfg_watchdog_do_expir_states(self, request: pb.CfgWatchdogDOExpirStatesRequest) -> Message:
        """Take the safe states."""
        self.task(request.task).require_stopped()
        states = list(request.expir_state_array)
        self._engine(request.task, Watchdog).set_states(request.channel_names, states)
        return pb.CfgWatchdogDOExpirStatesResponse()

    @_serves("ControlWatchdogTask")
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

    # --- device -------------------------------------------------------------------------------------

    def _require_device(self, name: str) -> None:
        if name.strip("/").lower() != self.card.device.lower():
            raise CardError(Code.NO_SUCH_DEVICE, f"Device identifier is invalid: {name}")

    @_serves("SelfTestDevice")
    def self_test_device(self, request: pb.SelfTestDeviceRequest) -> Message:
        """Pass."""
        self._require_device(request.device_name)
        return pb.SelfTestDeviceResponse()

    @_serves("ResetDevice")
    def reset_device(self, request: pb.ResetDeviceRequest) -> Message:
        """Abort all tasks and put all outputs to their power-up state, which is low."""
        self._require_device(request.device_name)
        outputs = set(self.card.counter_pins)
        for task in self.tasks.values():
            if isinstance(task.maybe_engine, DigitalOutput):
                outputs |= {line for lines in task.maybe_engine.channels for line in lines}
            task.abort()
        self.card.reset()
        for pin in outputs:
            self.card.drive(pin, level=False)
        return pb.ResetDeviceResponse()

    @_serves("GetErrorString")
    def get_error_string(self, request: pb.GetErrorStringRequest) -> Message:
        """Name an error."""
        known = {int(code): code.name.replace("_", " ").lower() for code in Code}
        return pb.GetErrorStringResponse(error_string=known.get(request.error_code, f"error {request.error_code}"))

    # --- events -------------------------------------------------------------------------------------

    @_serves("UnregisterSignalEvent")
    def unregister_signal_event(self, request: pb.UnregisterSignalEventRequest) -> Message:
        """Let the client's cancelling of the stream do it."""
        self._unregister(request, "RegisterSignalEvent")
        return pb.UnregisterSignalEventResponse()

    @_serves("UnregisterEveryNSamplesEvent")
    def unregister_every_n_samples_event(self, request: pb.UnregisterEveryNSamplesEventRequest) -> Message:
        """Let the client's cancelling of the stream do it."""
        self._unregister(request, "RegisterEveryNSamplesEvent")
        return pb.UnregisterEveryNSamplesEventResponse()

    @_serves("UnregisterDoneEvent")
    def unregister_done_event(self, request: pb.UnregisterDoneEventRequest) -> Message:
        """Let the client's cancelling of the stream do it."""
        self._unregister(request, "RegisterDoneEvent")
        return pb.UnregisterDoneEventResponse()

    def _unregister(self, request: Message, name: str) -> None:
        task = self.task(request.task)
        _require(not task.running, Code.UNREGISTER_WHILE_RUNNING, "Event can't be unregistered while the task runs")
        task.events.discard(name)

    def _stream(self, name: str) -> Callable[..., Iterator[Message]]:
        """Return the handler of an event's registration: an answer for each event, until it is cancelled."""

        def handle(request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
            try:
                with self.call():
                    self._fail_if_asked(name)
                    task = self.task(request.task)
                    _require(not task.running, Code.REGISTER_WHILE_RUNNING, "Event can't be registered: task runs")
                    _require(name not in task.events, Code.SIGNAL_EVENT_REGISTERED, "Event is registered already")
                    n_events, answer = self._event(name, request, task)
                    task.events.add(name)
            except (CardError, NotServed) as e:
                _refuse(context, e, name)
            context.add_callback(self._wake)
            context.send_initial_metadata(())
            told = 0
            while context.is_active() and not task.aborted:
                with self.lock:
                    card = self.card
                    card.advance(self.now_ticks())
                    n = n_events()
                    if n <= told:
                        next_ticks = card.next_event()
                        nap_s = card.clock.host_s(next_ticks) - self.clock.now_s() if next_ticks < NEVER else 1.0
                        if self.stepped or nap_s > LONGEST_NAP_S:
                            nap_s = LONGEST_NAP_S
                        self.lock.wait(max(nap_s, 0.0001))
                        continue
                while told < n and context.is_active():
                    told += 1
                    yield answer

        return handle

    def _wake(self) -> None:
        with self.lock:
            self.lock.notify_all()

    def _event(self, name: str, request: Message, task: Task) -> tuple[Callable[[], int], Message]:
        """Return how often an event has happened so far, and what is sent for each."""
        engine = task.engine
        if name == "RegisterDoneEvent":
            return lambda: int(task.running and task.done()), pb.RegisterDoneEventResponse()
        if not isinstance(engine, InputEngine):
            raise NotServed("The twin has sample and signal events of inputs only")
        if name == "RegisterEveryNSamplesEvent":
            every = request.n_samples
            return lambda: engine.total() // every if task.begun else 0, pb.RegisterEveryNSamplesEventResponse(
                every_n_samples_event_type_raw=request.every_n_samples_event_type_raw, n_samples=every
            )
        if request.signal_id_raw != CHANGE_DETECTION_EVENT:
            raise NotServed(f"The twin has no signal event {request.signal_id_raw}")
        return lambda: engine.total() if task.begun else 0, pb.RegisterSignalEventResponse(
            signal_id=CHANGE_DETECTION_EVENT
        )


def _require(holds: bool, code: int, what: str) -> None:
    if not holds:
        raise CardError(code, what)


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


def _refuse(context: grpc.ServicerContext, error: CardError | NotServed | AlreadyExists, rpc: str) -> NoReturn:
    """End a call with an error, in the format that the client library knows; none was read or written of arrays."""
    if isinstance(error, CardError):
        trailers = [("ni-error", str(error.code))]
        if rpc.startswith(("Read", "Write")) and "Scalar" not in rpc:
            trailers.append((f"ni-samps-per-chan-{'read' if rpc.startswith('Read') else 'written'}", "0"))
        context.set_trailing_metadata(tuple(trailers))
        context.abort(grpc.StatusCode.UNKNOWN, str(error))
    status = grpc.StatusCode.ALREADY_EXISTS if isinstance(error, AlreadyExists) else grpc.StatusCode.UNIMPLEMENTED
    context.abort(status, str(error))
    raise AssertionError("abort always raises")


def _name_of(request: Message) -> str:
    """Return an attribute's name, or say that there is none of this number."""
    raw = request.attribute_raw or request.attribute
    values = request.DESCRIPTOR.fields_by_name["attribute"].enum_type.values_by_number
    if raw == READ_ALL_COUNT:
        return "READ_ALL_COUNT"
    if raw not in values:
        raise CardError(Code.NO_SUCH_ATTRIBUTE, f"Specified property is not supported: {raw}")
    name: str = values[raw].name
    return name


def _get(rpc: str, answer: str) -> Callable[..., Message]:
    """Return what serves an RPC that gets attributes."""

    def get(self: Servicer, request: Message) -> Message:
        name = _name_of(request)
        found: object
        if hasattr(request, "task"):
            task = self.task(request.task)
            if name not in TASK_GETTERS:
                raise CardError(Code.NO_SUCH_ATTRIBUTE, f"Specified property is not supported by the twin: {name}")
            found = TASK_GETTERS[name](task, getattr(request, "channel", "") or getattr(request, "lines", ""))
        else:
            target = getattr(request, "device_name", None)
            if target is not None:
                self._require_device(target)
            if name not in CARD_GETTERS[rpc]:
                raise CardError(Code.NO_SUCH_ATTRIBUTE, f"Specified property is not supported by the twin: {name}")
            found = CARD_GETTERS[rpc][name](self.card, getattr(request, "physical_channel", ""))
        response = getattr(pb, answer)
        return response(**{"value_raw" if "value_raw" in response.DESCRIPTOR.fields_by_name else "value": found})

    return get


def _set(answer: str) -> Callable[..., Message]:
    """Return what serves an RPC that sets attributes of tasks."""

    def set_(self: Servicer, request: Message) -> Message:
        name = _name_of(request)
        if name not in TASK_SETTERS:
            raise CardError(Code.NO_SUCH_ATTRIBUTE, f"Specified property can't be set on the twin: {name}")
        task = self.task(request.task)
        task.require_stopped()
        TASK_SETTERS[name](task, request.value_raw if hasattr(request, "value_raw") else request.value)
        return getattr(pb, answer)()

    return set_
