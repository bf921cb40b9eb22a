"""The one place that makes tasks: through the local driver, or over gRPC with a deadline on every call.

The library itself sets no deadline on a gRPC call, so that a frozen server would block for ever; here every
request ends after the time it may itself take and a second more. ``DaqError`` and ``RpcError`` are siblings
and both become ``DeviceError``, with a remedy by code. Once the card or its server is gone, every further
call fails at once instead of waiting for its deadline again.

nidaqmx is imported when a connection is opened, not before: a simulated rig needs no driver.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple
from uuid import uuid4

from hardware.lines import Line
from hardware.protocols import DeviceError

Untyped = Any
"""An object of nidaqmx or grpc, which have no types."""

SLOW_CALLS_S = 10.0
"""What a self-test or a reset may take."""
SLOW_CALLS = ("SelfTestDevice", "ResetDevice")
WAITING_CALLS = "Read"
"""How calls begin that may wait for their own timeout; writes on demand never do, though the library sends 10 s."""
GONE_S = 0.05
"""What a call may take once the server is known to be gone: closing twenty tasks must not take twenty seconds."""
LATE_CALL_S = 0.05
"""A server that takes so long for a call without waiting is late: a frame pulse would come three refreshes late."""
LATE_FOR_S = 0.5
LATE_CALLS = 6
"""More than there are threads that call: one stall of the computer can't make as many one after the other."""
RECONNECT_MS = {"initial": 100, "min": 100, "max": 500}
"""Back-off of a lost gRPC channel; the library's own grows to minutes."""


@dataclass(frozen=True, slots=True)
class CardConfig:
    """Which card, and what is wired where; the defaults are an X Series card's.

    PFI terminals and the lines of ports 1 and 2 are the same pins: PFI0 is port1/line0, PFI12 port2/line4.
    """

    device: str = "Dev1"
    address: str | None = None
    """``host:port`` of a gRPC device server; None for the driver of this computer."""
    deadline_s: float = 0.8
    """What a gRPC call may take beyond its own waiting; a server that froze is named within a second."""
    lines: Mapping[Line, int] = field(default_factory=lambda: {line: int(line) for line in Line})
    """The line of port 0 that each signal comes in on."""
    edge_counter: str = "ctr1"
    valve_counter: str = "ctr0"
    valve_terminal: str = "PFI12"
    lick_terminal: str = "PFI0"
    """The lick sensor's second way into the card: the start trigger of the valve's pulse."""
    frame_output: str = "port1/line4"
    running_output: str = "port1/line5"
    acquire_output: str = "port1/line6"
    align_output: str = "port1/line7"
    signal_channel: str = "ai0"
    supply_channel: str = "ai1"
    wheel_hz: float = 1000.0
    wheel_counter: str = "ctr2"
    """Counts the quadrature pulses of a digital encoder, where the wheel has one."""
    wheel_pulses: int | None = None
    """Pulses per turn of a quadrature encoder; None for the analog pair."""
    poll_s: float = 0.002
    watchdog_s: float | None = 2.0
    """None for none. Below a second a busy computer would trip it."""
    clocked_hz: float = 10_000.0
    """Sample rate of the inputs on a card without change detection."""

    def __post_init__(self) -> None:
        """Refuse what can't work."""
        if self.watchdog_s is not None and self.watchdog_s < 1.0:
            raise ValueError(f"watchdog_s: {self.watchdog_s:g}; at least 1 s, or None for no watchdog")
        if self.clocked_hz < 1000.0:
            raise ValueError(f"clocked_hz: {self.clocked_hz:g}; at least 1000, for licks to a millisecond")
        if len(set(self.lines.values())) != len(self.lines) or not set(self.lines.values()) <= set(range(32)):
            raise ValueError("lines: each signal needs a line of port 0 of its own, 0 to 31")
        if self.valve_counter == self.edge_counter:
            raise ValueError("valve_counter, edge_counter: two counters are needed")
        for line in (Line.LICK_SENSOR, Line.REWARD_ECHO, Line.VSYNC_STIM):
            if line not in self.lines:
                raise ValueError(f"lines: {line.label} is missing; nothing works without it")

    def terminal(self, name: str) -> str:
        """Return a terminal's full name."""
        return f"/{self.device}/{name}"

    def channel(self, name: str) -> str:
        """Return a channel's full name."""
        return f"{self.device}/{name}"

    def input_line(self, line: Line) -> str:
        """Return the full name of the line that a signal comes in on."""
        return f"{self.device}/port0/line{self.lines[line]}"

    def input_lines(self) -> str:
        """Return the full names of all input lines, as the driver takes them."""
        return ",".join(self.input_line(line) for line in sorted(self.lines, key=lambda line: self.lines[line]))


def pin_of(name: str) -> str:
    """Return the line that a PFI terminal is, as in ``port2/line4``; a line's own name is returned as it is."""
    number = name.upper().removeprefix("PFI")
    return f"port{1 + int(number) // 8}/line{int(number) % 8}" if number.isdecimal() else name


class _Meaning(NamedTuple):
    what: str
    remedy: str
    fatal: bool = False


_GONE = _Meaning("the card no longer answers", "check its cable and power, then start the session again", fatal=True)
_RESERVED = _Meaning(
    "another program or task holds a part of the card that is needed",
    "close other programs that use the card (MAX test panels too), reset it there, or start its device server anew",
)
_NO_ROUTE = _Meaning("the card can't connect these terminals", "choose other terminals in the rig's file")
_NO_CHANNEL = _Meaning("the card has no such channel or line", "compare the rig's file with the card's pinout in MAX")
_NO_DETECTION = _Meaning("a line has no change detection", "use lines of port 0, or another card")

_BY_CODE: dict[int, _Meaning] = {
    -201003: _GONE,
    -200324: _GONE,
    -200045: _GONE,
    -88705: _GONE,
    -50405: _GONE,
    -88709: _Meaning(
        "the card was reset or removed under a running task",
        "look who has reset it; start the session again",
        fatal=True,
    ),
    -200088: _Meaning(
        "the device server no longer knows the task: it was started anew", "start the session again", fatal=True
    ),
    -200220: _Meaning("there is no device of this name", "look the card's name up in MAX and put it in the rig's file"),
    -200279: _Meaning(
        "samples were overwritten before they were read",
        "look what keeps this computer busy; close other programs and start the session again",
    ),
    -200010: _Meaning(
        "the card's memory overflowed", "look for an input line that oscillates; filter it or take it off"
    ),
    -50103: _RESERVED,
    -200022: _RESERVED,
    -200587: _RESERVED,
    -200170: _NO_CHANNEL,
    -201237: _NO_CHANNEL,
    -201020: _NO_DETECTION,
    -200926: _NO_DETECTION,
    -89120: _NO_ROUTE,
    -89125: _NO_ROUTE,
    -89136: _NO_ROUTE,
    -89137: _RESERVED,
    -200678: _Meaning(
        "the card's watchdog has expired and keeps its outputs",
        "look what kept this computer busy, then start the session again",
    ),
    -200644: _Meaning(
        "the card's watchdog has expired: it was not served in time",
        "look what kept this computer busy, then start the session again",
    ),
    -200662: _Meaning("the card has no watchdog", "leave the watchdog out of the rig's file"),
    -200284: _Meaning("samples that were due have not come", "check the sample clock's source"),
    -200474: _Meaning("an operation was not done in its time", "check triggers and clocks in the rig's file"),
    -200233: _Meaning("the driver doesn't know a property that is needed", "install a newer NI-DAQmx driver"),
    -200452: _Meaning("the card doesn't have a property that is needed", "compare the card with those listed as tried"),
}

_BY_STATUS: dict[str, _Meaning] = {
    "UNAVAILABLE": _Meaning(
        "the device server no longer answers",
        "check its cable and power, and that the device server runs; then start the session again",
        fatal=True,
    ),
    "DEADLINE_EXCEEDED": _Meaning(
        "the device server no longer answers in time",
        "check its cable and power, and what the computer of the device server is busy with; start the session again",
        fatal=True,
    ),
    "UNIMPLEMENTED": _Meaning(
        "the device server doesn't know a call", "install a newer NI gRPC Device Server on that computer"
    ),
    "ALREADY_EXISTS": _Meaning("a task of this name is running on the server", "end the other session first"),
}

_WITHOUT_DRIVER: dict[str, _Meaning] = {
    "DaqNotFoundError": _Meaning(
        "the NI-DAQmx driver is not installed on this computer",
        "install NI-DAQmx, or name the address of a device server in the rig's file",
    ),
    "DaqNotSupportedError": _Meaning(
        "NI-DAQmx doesn't exist for this computer",
        "name the address of a device server in the rig's file",
    ),
}
"""What the library raises, by class, where there is no driver to ask."""


class Pace:
    """Tells a server that answers late all the time from one that was held up once."""

    def __init__(self) -> None:
        self._since_s = 0.0
        self._n_late = 0
        self._slowest_s = 0.0

    def answered(self, *, took_s: float, now_s: float) -> None:
        """Take note of a call that has returned."""
        if took_s < LATE_CALL_S:
            self._n_late = 0
            return
        if not self._n_late:
            self._since_s, self._slowest_s = now_s - took_s, 0.0
        self._n_late += 1
        self._slowest_s = max(self._slowest_s, took_s)

    def take(self, *, now_s: float) -> DeviceError | None:
        """Return that the server is late, and count anew; None while it is not."""
        n, lasted_s = self._n_late, now_s - self._since_s
        if n < LATE_CALLS or lasted_s < LATE_FOR_S:
            return None
        self._n_late = 0
        return DeviceError(
            device="card",
            what=f"the device server answers late: {n} calls one after the other took up to {self._slowest_s:.2f} s",
            remedy="look what its computer and the network are busy with, or put the card into this computer",
        )


def _deadline_channel(grpc: Untyped, address: str, limit_s: Callable[[], float], pace: Pace) -> Untyped:
    """Return a gRPC channel whose every call ends, ``limit_s()`` after its own time, and tells how long it took."""

    class Details(NamedTuple):
        method: str
        timeout: float | None
        metadata: Untyped
        credentials: Untyped
        wait_for_ready: bool | None
        compression: Untyped

    class Deadline(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # grpc is untyped and imported late
        def intercept_unary_unary(
            self, continuation: Callable[..., Untyped], details: Untyped, request: Untyped
        ) -> Untyped:
            name = details.method.rpartition("/")[2]
            own_s = SLOW_CALLS_S if name in SLOW_CALLS else 0.0
            if name.startswith(WAITING_CALLS):
                own_s = max(0.0, float(getattr(request, "timeout", 0.0)))
            ending = Details(
                details.method,
                own_s + limit_s(),
                details.metadata,
                details.credentials,
                details.wait_for_ready,
                details.compression,
            )
            begun_s = time.perf_counter()
            answer = continuation(ending, request)
            now_s = time.perf_counter()
            pace.answered(took_s=now_s - begun_s - own_s, now_s=now_s)
            return answer

    options = [(f"grpc.{name}_reconnect_backoff_ms", value) for name, value in RECONNECT_MS.items()]
    return grpc.intercept_channel(grpc.insecure_channel(address, options=options), Deadline())


class Connection:
    """Tasks on one card, made and closed in one place; open and close may be called twice.

    Shared by the card's devices: the first that opens opens it, and the edge source, which is opened first and
    closed last, closes it.
    """

    def __init__(self, config: CardConfig) -> None:
        self.config = config
        self.constants: ModuleType
        """``nidaqmx.constants``, once open."""
        self._ni: ModuleType | None = None
        self._channel: Untyped = None
        self.errors: tuple[type[Exception], ...] = ()
        """What the library raises, once open."""
        self._tasks: list[Untyped] = []
        self._gone: DeviceError | None = None
        self._server_gone = False
        self._pace = Pace()
        self._lock = threading.Lock()
        self._n = 0
        self._tag = uuid4().hex[:8]  # a device server serves several clients

    @property
    def gone(self) -> DeviceError | None:
        """What ended the connection, or None while it lasts."""
        return self._gone

    def open(self) -> None:
        """Import the library, and connect where the card is on another computer.

        Raises
        ------
        DeviceError
            nidaqmx or, for a card on another computer, grpc is not installed.
        """
        with self._lock:
            if self._ni is not None:
                return
            try:
                import nidaqmx  # noqa: PLC0415 - see the module's docstring
                import nidaqmx.constants  # noqa: PLC0415
                import nidaqmx.stream_readers  # noqa: PLC0415
                import nidaqmx.stream_writers  # noqa: PLC0415
                import nidaqmx.system.watchdog  # noqa: PLC0415
                import nidaqmx.types  # noqa: PLC0415

                if self.config.address is not None:
                    import grpc  # noqa: PLC0415

                    self._channel = _deadline_channel(grpc, self.config.address, self._limit_s, self._pace)
            except ImportError as error:
                raise DeviceError(
                    device="card",
                    what=f"the library for NI cards can't be imported ({error})",
                    remedy="install it with: pip install 'open-vision-rig[rig]'; a simulated rig needs none of it",
                ) from error
            self._ni, self.constants = nidaqmx, nidaqmx.constants
            self.errors = (nidaqmx.errors.Error,)
            self._gone, self._server_gone = None, False

    def close(self) -> None:
        """Clear all tasks, the last made first, then let go of the channel. Never raises."""
        with self._lock:
            tasks, self._tasks = self._tasks[::-1], []
        for task in tasks:
            self._clear(task)
        with self._lock:
            channel, self._channel, self._ni = self._channel, None, None
        if channel is not None:
            channel.close()

    def take_late(self) -> DeviceError | None:
        """Return, about twice a second for as long as it is so, that the device server answers late."""
        return self._pace.take(now_s=time.perf_counter())

    def task(self, name: str) -> Untyped:
        """Return a new task, called so and made unique.

        Raises
        ------
        DeviceError
            The device server answers too late for a session; this is found out while tasks are made.
        """
        ni = self._library()
        if (late := self.take_late()) is not None:
            raise late
        with self._lock:
            self._n += 1
            full_name = f"rig_{name}_{self._n}_{self._tag}"
        task = ni.Task(full_name, grpc_options=self._options(full_name))
        with self._lock:
            self._tasks.append(task)
        return task

    def watchdog(self, timeout_s: float) -> Untyped:
        """Return a new watchdog task, not started."""
        watchdog = self._library().system.watchdog.WatchdogTask(
            self.config.device, timeout=timeout_s, grpc_options=self._options("")
        )
        with self._lock:
            self._tasks.append(watchdog)
        return watchdog

    def clear(self, task: Untyped) -> None:
        """Clear one task, unless that has been done. Never raises."""
        with self._lock:
            n = len(self._tasks)
            self._tasks = [kept for kept in self._tasks if kept is not task]
            known = len(self._tasks) < n
        if known:
            self._clear(task)

    def device(self) -> Untyped:
        """Return the card as the library describes it."""
        return self._library().system.Device(self.config.device, grpc_options=self._options(""))

    def reader(self, kind: str, task: Untyped) -> Untyped:
        """Return a stream reader: ``Digital``, ``Counter`` or ``AnalogMulti``."""
        reader = getattr(self._library().stream_readers, _READERS[kind])(task.in_stream)
        reader.verify_array_shape = False
        return reader

    def writer(self, task: Untyped) -> Untyped:
        """Return a writer of single levels on one line: one call each, where ``task.write`` makes five."""
        writer = self._library().stream_writers.DigitalSingleChannelWriter(task.out_stream)
        writer.auto_start = False
        return writer

    def low_state(self, terminal: str) -> Untyped:
        """Return what a watchdog is told for a terminal that must go low."""
        state = self._library().types.DOExpirationState
        line = self.config.channel(pin_of(terminal))
        return state(physical_channel=line, expiration_state=self.constants.Level.LOW)

    @contextlib.contextmanager
    def calls(self, device: str) -> Iterator[None]:
        """Turn what the library raises into ``DeviceError``; raise at once when the card is gone already."""
        if self._gone is not None:
            raise DeviceError(device=device, what=self._gone.what, remedy=self._gone.remedy)
        try:
            yield
        except DeviceError:
            raise
        except self.errors as error:
            raise self.named(error, device=device) from error
        except ValueError as error:
            if "closed channel" not in str(error):
                raise
            raise DeviceError(device=device, what="the connection is closed", remedy="open it again") from error

    def named(self, error: Exception, *, device: str) -> DeviceError:
        """Return a library's error as ``DeviceError``, and remember it if nothing can work after it."""
        code = getattr(error, "error_code", None)
        if code is not None:
            known, label = _BY_CODE.get(code), f"NI-DAQmx {code}"
        elif (rpc := getattr(error, "rpc_code", None)) is not None:
            known, label = _BY_STATUS.get(rpc.name), f"gRPC {rpc.name}"
        elif (known := _WITHOUT_DRIVER.get(label := type(error).__name__)) is not None:
            return DeviceError(device=device, what=known.what, remedy=known.remedy)
        text = " ".join(str(error).split("\n\n")[0].split())
        text = text.removeprefix(f"StatusCode.{label.removeprefix('gRPC ')}: ")
        if known is None:
            return DeviceError(device=device, what=f"{text} ({label})", remedy="look the code up in NI's error list")
        what = f"{known.what} ({label}: {text})" if text else f"{known.what} ({label})"
        named = DeviceError(device=device, what=what, remedy=known.remedy)
        if known.fatal and self._gone is None:
            self._gone, self._server_gone = named, code is None
        return named

    def _library(self) -> ModuleType:
        if self._ni is None:
            raise DeviceError(device="card", what="the connection is closed", remedy="open it first")
        return self._ni

    def _options(self, name: str) -> Untyped:
        if self._channel is None:
            return None
        ni = self._library()
        return ni.GrpcSessionOptions(
            self._channel,
            session_name=name,
            initialization_behavior=ni.SessionInitializationBehavior.INITIALIZE_SERVER_SESSION,
        )

    def _limit_s(self) -> float:
        return GONE_S if self._server_gone else self.config.deadline_s

    def _clear(self, task: Untyped) -> None:
        """Clear a task, whatever state it is in; one that a dead server held is at least forgotten here."""
        try:
            task.close()
        except Exception:  # noqa: BLE001 - whatever the driver says, the other tasks are cleared too
            task._handle = None  # noqa: SLF001 - a watchdog keeps it and would warn of it when it is collected


_READERS = {
    "Digital": "DigitalSingleChannelReader",
    "Counter": "CounterReader",
    "AnalogMulti": "AnalogMultiChannelReader",
}
