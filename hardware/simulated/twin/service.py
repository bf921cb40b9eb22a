"""The frame of the gRPC service: what every call goes through, sessions, properties, events.

Each call takes the lock, lets the card catch up with the clock, acts, and lets go. A read that has to wait gives
the lock away meanwhile. An error is a status UNKNOWN with the code in the trailer ``ni-error`` (NIDAQ_NOTES 3).
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, Protocol, TypeVar

import grpc
from google.protobuf.message import Message
from nidaqmx._stubs import nidaqmx_pb2 as pb
from session_pb2 import Session

from hardware.clock import VirtualClock
from hardware.simulated.twin.attributes import (
    CARD_GETTERS,
    READ_ALL_COUNT,
    TASK_GET_RPCS,
    TASK_GETTERS,
    TASK_SET_RPCS,
    TASK_SETTERS,
)
from hardware.simulated.twin.errors import AlreadyExists, CardError, Code, NotServed
from hardware.simulated.twin.inputs import InputEngine
from hardware.simulated.twin.model import NEVER, Card
from hardware.simulated.twin.tasks import Engine, Task

SERVICE = "nidaqmx_grpc.NiDAQmx"
CHANGE_DETECTION_EVENT = 12511
NEW_SESSION, ATTACH = 1, 2
LONGEST_NAP_S = 0.02
"""A waiting call looks again at least this often."""
EVENT_RPCS = ("RegisterSignalEvent", "RegisterEveryNSamplesEvent", "RegisterDoneEvent")

E = TypeVar("E", bound=Engine)
RPCS: dict[str, Callable[..., Message]] = {}
"""What serves each RPC: a method of the service, and its request."""


def serves(name: str) -> Callable[[Callable[..., Message]], Callable[..., Message]]:
    """Have a method of the service serve an RPC."""

    def keep(method: Callable[..., Message]) -> Callable[..., Message]:
        RPCS[name] = method
        return method

    return keep


class NowClock(Protocol):
    """The host's clock, as far as the service needs it."""

    def now_s(self) -> float:
        """Return the present time in seconds."""


class Service:
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
            codec = {
                "request_deserializer": getattr(pb, method.input_type.name).FromString,
                "response_serializer": getattr(pb, method.output_type.name).SerializeToString,
            }
            if name in EVENT_RPCS:
                methods[name] = grpc.unary_stream_rpc_method_handler(self._stream(name), **codec)
            elif (serve := _server(name, method.output_type.name)) is not None:
                methods[name] = grpc.unary_unary_rpc_method_handler(self._unary(name, serve), **codec)
        return [grpc.method_handlers_generic_handler(SERVICE, methods)]

    def _unary(self, name: str, method: Callable[..., Message]) -> Callable[..., Message]:
        def handle(request: Message, context: grpc.ServicerContext) -> Message:
            try:
                with self.call() as card:
                    late_s = card.faults.late_answer_s if card.now >= card.faults.late_ticks else 0.0
                    try:
                        self._fail_if_asked(name)
                    except CardError:
                        if name == "ClearTask":  # a session ends whatever the card says
                            method(self, request)
                        raise
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

    def engine_of(self, session: Session, kind: type[E]) -> E:
        """Return a session's engine; raise if it is of another kind."""
        engine = self.task(session).engine
        if not isinstance(engine, kind):
            raise CardError(Code.BAD_VALUE, f"The task has no {kind.__name__} channels")
        return engine

    def new_engine(self, session: Session, kind: type[E]) -> E:
        """Return the engine to which a channel is added; made with the first of them."""
        task = self.task(session)
        task.require_stopped()
        if task.maybe_engine is None:
            task.maybe_engine = kind(self.card)
        return self.engine_of(session, kind)

    def new_task(self, name: str, behavior: int, engine: Engine | None) -> tuple[Session, bool]:
        """Return a session of a name, and whether it is new; one that exists is attached to unless forbidden."""
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

    def require_device(self, name: str) -> None:
        """Raise if the card has another name."""
        if name.strip("/").lower() != self.card.device.lower():
            raise CardError(Code.NO_SUCH_DEVICE, f"Device identifier is invalid: {name}")

    def _stream(self, name: str) -> Callable[..., Iterator[Message]]:
        """Return the handler of an event's registration: an answer for each event, until it is cancelled."""

        def handle(request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
            try:
                with self.call():
                    self._fail_if_asked(name)
                    task = self.task(request.task)
                    require(not task.running, Code.REGISTER_WHILE_RUNNING, "Event can't be registered: task runs")
                    require(name not in task.events, Code.SIGNAL_EVENT_REGISTERED, "Event is registered already")
                    n_events, answer = self._event(name, request, task)
                    task.events.add(name)
            except (CardError, NotServed) as e:
                _refuse(context, e, name)
            context.add_callback(self._wake)
            context.send_initial_metadata(())
            started, told = task.n_starts, 0
            while context.is_active() and not task.aborted:
                with self.lock:
                    card = self.card
                    card.advance(self.now_ticks())
                    n = n_events()
                    if started != task.n_starts:
                        started, told = task.n_starts, 0
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


def require(holds: bool, code: int, what: str) -> None:
    """Raise an error of the card unless something holds."""
    if not holds:
        raise CardError(code, what)


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


def _server(rpc: str, answer: str) -> Callable[..., Message] | None:
    """Return what serves an RPC that gives one answer, or None."""
    if rpc in CARD_GETTERS or rpc in TASK_GET_RPCS:
        return _get(rpc, answer)
    return _set(answer) if rpc in TASK_SET_RPCS else RPCS.get(rpc)


def _get(rpc: str, answer: str) -> Callable[..., Message]:
    """Return what serves an RPC that gets attributes."""

    def get(self: Service, request: Message) -> Message:
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
                self.require_device(target)
            if name not in CARD_GETTERS[rpc]:
                raise CardError(Code.NO_SUCH_ATTRIBUTE, f"Specified property is not supported by the twin: {name}")
            found = CARD_GETTERS[rpc][name](self.card, getattr(request, "physical_channel", ""))
        response = getattr(pb, answer)
        return response(**{"value_raw" if "value_raw" in response.DESCRIPTOR.fields_by_name else "value": found})

    return get


def _set(answer: str) -> Callable[..., Message]:
    """Return what serves an RPC that sets attributes of tasks."""

    def set_(self: Service, request: Message) -> Message:
        name = _name_of(request)
        if name not in TASK_SETTERS:
            raise CardError(Code.NO_SUCH_ATTRIBUTE, f"Specified property can't be set on the twin: {name}")
        task = self.task(request.task)
        task.require_stopped()
        TASK_SETTERS[name](task, request.value_raw if hasattr(request, "value_raw") else request.value)
        return getattr(pb, answer)()

    return set_
