"""The properties that the twin knows, by their names in the service's enumerations.

A property that isn't here is refused with the driver's error, never answered by a default. To add one, add a line
to the table of the object that it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hardware.clock import TICKS_PER_S
from hardware.simulated.twin import pins
from hardware.simulated.twin.errors import CardError, Code
from hardware.simulated.twin.inputs import (
    DEFAULT_SOURCE_PFI,
    AnalogInput,
    AngularEncoder,
    CounterInput,
    DigitalInput,
    InputEngine,
)
from hardware.simulated.twin.model import Card
from hardware.simulated.twin.outputs import DigitalOutput, PulseOutput, Watchdog
from hardware.simulated.twin.tasks import FALLING, FINITE, HIGH, LOW, Engine, Task

READ_ALL_COUNT = 0x31E8
"""How many samples reading all of them would give: used by the client, in no enumeration (NIDAQ_NOTES 2)."""

E = TypeVar("E", bound=Engine)
Value = object

PRODUCT = "PCIe-6363"
PCIE_BUS, X_SERIES = 13612, 15858

TASK_GET_RPCS = (
    "GetTaskAttributeString",
    "GetTaskAttributeUInt32",
    "GetTaskAttributeBool",
    "GetReadAttributeBool",
    "GetReadAttributeInt32",
    "GetReadAttributeString",
    "GetReadAttributeUInt32",
    "GetReadAttributeUInt64",
    "GetWriteAttributeUInt32",
    "GetChanAttributeBool",
    "GetChanAttributeDouble",
    "GetChanAttributeInt32",
    "GetChanAttributeString",
    "GetChanAttributeUInt32",
    "GetTimingAttributeDouble",
    "GetTimingAttributeInt32",
    "GetTimingAttributeString",
    "GetTimingAttributeUInt64",
    "GetBufferAttributeUInt32",
    "GetTrigAttributeBool",
    "GetTrigAttributeInt32",
    "GetTrigAttributeString",
    "GetWatchdogAttributeBool",
    "GetWatchdogAttributeDouble",
)
TASK_SET_RPCS = (
    "SetBufferAttributeUInt32",
    "SetChanAttributeDouble",
    "SetChanAttributeInt32",
    "SetChanAttributeString",
    "SetTimingAttributeUInt64",
    "SetTrigAttributeBool",
    "SetWatchdogAttributeDouble",
)


def _of(task: Task, kind: type[E]) -> E:
    engine = task.engine
    if not isinstance(engine, kind):
        raise CardError(Code.NO_SUCH_ATTRIBUTE, f"Specified property is not supported by {type(engine).__name__}")
    return engine


def _channel(task: Task, names: str) -> int:
    """Return the index of the first named channel; no name means the first there is."""
    if not names:
        return 0
    first = names.split(",", maxsplit=1)[0].strip()
    if first not in task.engine.names:
        raise CardError(Code.NO_SUCH_CHANNEL, f"Channel is not in the task: {first}")
    return task.engine.names.index(first)


def _n_lines(task: Task, kind: type[DigitalInput | DigitalOutput], names: str = "") -> int:
    channels = _of(task, kind).channels
    return len(channels[_channel(task, names)]) if names else max(len(lines) for lines in channels)


def _read_all_count(task: Task) -> int:
    engine = _of(task, InputEngine)
    return engine.samples_per_channel if engine.mode == FINITE else engine.available() if engine.buffered else 1


def _default_term(counter: str, device: str) -> str:
    return f"/{device}/PFI{DEFAULT_SOURCE_PFI[int(counter[3:])]}"


def _co_term(engine: PulseOutput) -> str:
    port, line = (int(part[4:]) for part in engine.card.counter_pins[int(engine.counter[3:])].split("/"))
    return f"/{engine.card.device}/PFI{8 * (port - 1) + line}"


def _task_device(task: Task) -> str:
    return task.card.device if task.maybe_engine is not None else ""


TASK_GETTERS: dict[str, Callable[[Task, str], Value]] = {
    "TASK_ATTRIBUTE_NAME": lambda task, _: task.name,
    "TASK_ATTRIBUTE_CHANNELS": lambda task, _: ", ".join(task.maybe_engine.names if task.maybe_engine else ()),
    "TASK_ATTRIBUTE_DEVICES": lambda task, _: _task_device(task),
    "TASK_ATTRIBUTE_NUM_CHANS": lambda task, _: len(task.maybe_engine.names) if task.maybe_engine else 0,
    "TASK_ATTRIBUTE_NUM_DEVICES": lambda task, _: int(task.maybe_engine is not None),
    "TASK_ATTRIBUTE_COMPLETE": lambda task, _: task.done(),
    "READ_ALL_COUNT": lambda task, _: _read_all_count(task),
    "READ_ATTRIBUTE_AVAIL_SAMP_PER_CHAN": lambda task, _: _of(task, InputEngine).available() if task.begun else 0,
    "READ_ATTRIBUTE_TOTAL_SAMP_PER_CHAN_ACQUIRED": lambda task, _: _of(task, InputEngine).total() if task.begun else 0,
    "READ_ATTRIBUTE_CURR_READ_POS": lambda task, _: _of(task, InputEngine).n_read,
    "READ_ATTRIBUTE_NUM_CHANS": lambda task, _: len(_of(task, InputEngine).names),
    "READ_ATTRIBUTE_CHANNELS_TO_READ": lambda task, _: ", ".join(_of(task, InputEngine).names),
    "READ_ATTRIBUTE_DIGITAL_LINES_BYTES_PER_CHAN": lambda task, _: _n_lines(task, DigitalInput),
    "READ_ATTRIBUTE_CHANGE_DETECT_HAS_OVERFLOWED": lambda task, _: _of(task, DigitalInput).detection_overflowed,
    "READ_ATTRIBUTE_AUTO_START": lambda *_: True,
    "READ_ATTRIBUTE_READ_ALL_AVAIL_SAMP": lambda *_: False,
    "WRITE_ATTRIBUTE_NUM_CHANS": lambda task, _: len(_of(task, DigitalOutput).names),
    "WRITE_ATTRIBUTE_DIGITAL_LINES_BYTES_PER_CHAN": lambda task, _: _n_lines(task, DigitalOutput),
    "CHANNEL_ATTRIBUTE_CHAN_TYPE": lambda task, _: task.engine.channel_type,
    "CHANNEL_ATTRIBUTE_PHYSICAL_CHAN_NAME": lambda task, names: task.engine.physical[_channel(task, names)],
    "CHANNEL_ATTRIBUTE_DI_NUM_LINES": lambda task, names: _n_lines(task, DigitalInput, names),
    "CHANNEL_ATTRIBUTE_DO_NUM_LINES": lambda task, names: _n_lines(task, DigitalOutput, names),
    "CHANNEL_ATTRIBUTE_CI_MEAS_TYPE": lambda task, _: (
        task.engine.measures if isinstance(task.engine, AngularEncoder) else _of(task, CounterInput).measures
    ),
    "CHANNEL_ATTRIBUTE_CI_COUNT": lambda task, _: _of(task, CounterInput).count() if task.begun else 0,
    "CHANNEL_ATTRIBUTE_CI_COUNT_EDGES_ACTIVE_EDGE": lambda task, _: _of(task, CounterInput).edge,
    "CHANNEL_ATTRIBUTE_CI_COUNT_EDGES_INITIAL_CNT": lambda task, _: _of(task, CounterInput).initial,
    "CHANNEL_ATTRIBUTE_CI_COUNT_EDGES_TERM": lambda task, _: (
        _of(task, CounterInput).term or _default_term(_of(task, CounterInput).counter, task.card.device)
    ),
    "CHANNEL_ATTRIBUTE_CO_PULSE_TERM": lambda task, _: _co_term(_of(task, PulseOutput)),
    "CHANNEL_ATTRIBUTE_CO_PULSE_DONE": lambda task, _: _of(task, PulseOutput).done(),
    "CHANNEL_ATTRIBUTE_CO_OUTPUT_STATE": lambda task, _: HIGH if _of(task, PulseOutput).high else LOW,
    "CHANNEL_ATTRIBUTE_CO_PULSE_HIGH_TIME": lambda task, _: _of(task, PulseOutput).high_s,
    "CHANNEL_ATTRIBUTE_CO_PULSE_LOW_TIME": lambda task, _: _of(task, PulseOutput).low_s,
    "CHANNEL_ATTRIBUTE_CO_PULSE_TIME_INITIAL_DELAY": lambda task, _: _of(task, PulseOutput).initial_delay_s,
    "CHANNEL_ATTRIBUTE_CO_PULSE_IDLE_STATE": lambda task, _: HIGH if _of(task, PulseOutput).idle_high else LOW,
    "CHANNEL_ATTRIBUTE_AI_MEAS_TYPE": lambda task, _: _of(task, AnalogInput).measures,
    "CHANNEL_ATTRIBUTE_AI_MIN": lambda task, names: _of(task, AnalogInput).ranges[_channel(task, names)][0],
    "CHANNEL_ATTRIBUTE_AI_MAX": lambda task, names: _of(task, AnalogInput).ranges[_channel(task, names)][1],
    "TIMING_ATTRIBUTE_SAMP_QUANT_SAMP_MODE": lambda task, _: _sample_mode(task.engine),
    "TIMING_ATTRIBUTE_SAMP_QUANT_SAMP_PER_CHAN": lambda task, _: (
        task.engine.n_pulses if isinstance(task.engine, PulseOutput) else _of(task, InputEngine).samples_per_channel
    ),
    "TIMING_ATTRIBUTE_SAMP_CLK_RATE": lambda task, _: _of(task, InputEngine).rate_hz,
    "TIMING_ATTRIBUTE_SAMP_CLK_SRC": lambda task, _: _of(task, CounterInput).clock_term,
    "BUFFER_ATTRIBUTE_INPUT_BUF_SIZE": lambda task, _: _of(task, InputEngine).capacity(),
    "TRIGGER_ATTRIBUTE_START_TRIG_RETRIGGERABLE": lambda task, _: _of(task, PulseOutput).retriggerable,
    "TRIGGER_ATTRIBUTE_DIG_EDGE_START_TRIG_SRC": lambda task, _: (
        f"/{task.card.device}/{_of(task, PulseOutput).trigger or ''}"
    ),
    "TRIGGER_ATTRIBUTE_DIG_EDGE_START_TRIG_EDGE": lambda task, _: _of(task, PulseOutput).trigger_edge,
    "TRIGGER_ATTRIBUTE_START_TRIG_TYPE": lambda task, _: 10150 if _of(task, PulseOutput).trigger else 10230,
    "WATCHDOG_ATTRIBUTE_HAS_EXPIRED": lambda task, _: _of(task, Watchdog).expired,
    "WATCHDOG_ATTRIBUTE_TIMEOUT": lambda task, _: _of(task, Watchdog).timeout_s,
}


def _sample_mode(engine: Engine) -> int:
    mode = engine.mode if isinstance(engine, InputEngine | PulseOutput) else 0
    return mode or FINITE


def _set_buffer_size(task: Task, value: Value) -> None:
    _of(task, InputEngine).buffer_size = int(str(value))


def _set_pulse_seconds(field: str, *, least_s: float) -> Callable[[Task, Value], None]:
    def set_(task: Task, value: Value) -> None:
        seconds = float(str(value))
        if not least_s <= seconds < 2**32 / TICKS_PER_S:
            raise CardError(Code.BAD_VALUE, f"Requested value is out of range: {seconds:g} s")
        setattr(_of(task, PulseOutput), field, seconds)

    return set_


def _set_count_term(task: Task, value: Value) -> None:
    _of(task, CounterInput).term = str(value)


def _set_pulse_term(task: Task, value: Value) -> None:
    engine = _of(task, PulseOutput)
    pin = pins.pin(pins.local(str(value), task.card.device))
    if pin is None or pins.port(pin) == 0:
        raise CardError(Code.UNKNOWN_TERMINAL, f"Destination terminal to be routed could not be found: {value}")
    task.card.counter_pins[int(engine.counter[3:])] = pin


def _set_edge(task: Task, value: Value) -> None:
    _of(task, CounterInput).edge = FALLING if value == FALLING else int(str(value))


def _set_n_samples(task: Task, value: Value) -> None:
    engine = task.engine
    if isinstance(engine, PulseOutput):
        engine.n_pulses = int(str(value))
    else:
        _of(task, InputEngine).samples_per_channel = int(str(value))


def _set_retriggerable(task: Task, value: Value) -> None:
    _of(task, PulseOutput).retriggerable = bool(value)


def _set_timeout(task: Task, value: Value) -> None:
    _of(task, Watchdog).timeout_s = float(str(value))


TASK_SETTERS: dict[str, Callable[[Task, Value], None]] = {
    "BUFFER_ATTRIBUTE_INPUT_BUF_SIZE": _set_buffer_size,
    "CHANNEL_ATTRIBUTE_CO_PULSE_HIGH_TIME": _set_pulse_seconds("high_s", least_s=2e-8),
    "CHANNEL_ATTRIBUTE_CO_PULSE_LOW_TIME": _set_pulse_seconds("low_s", least_s=2e-8),
    "CHANNEL_ATTRIBUTE_CO_PULSE_TIME_INITIAL_DELAY": _set_pulse_seconds("initial_delay_s", least_s=0.0),
    "CHANNEL_ATTRIBUTE_CO_PULSE_TERM": _set_pulse_term,
    "CHANNEL_ATTRIBUTE_CI_COUNT_EDGES_TERM": _set_count_term,
    "CHANNEL_ATTRIBUTE_CI_COUNT_EDGES_ACTIVE_EDGE": _set_edge,
    "TIMING_ATTRIBUTE_SAMP_QUANT_SAMP_PER_CHAN": _set_n_samples,
    "TRIGGER_ATTRIBUTE_START_TRIG_RETRIGGERABLE": _set_retriggerable,
    "WATCHDOG_ATTRIBUTE_TIMEOUT": _set_timeout,
}


def _listed(*names: str) -> Callable[[Card, str], Value]:
    return lambda card, _: ", ".join(f"{card.device}/{name}" for name in names)


def _fixed(value: Value) -> Callable[[Card, str], Value]:
    return lambda *_: value


def _terminals(card: Card, _: str) -> str:
    names = [*(f"PFI{n}" for n in range(16)), "100MHzTimebase", "20MHzTimebase", "100kHzTimebase"]
    names += ["ChangeDetectionEvent", *(f"Ctr{n}InternalOutput" for n in range(pins.N_COUNTERS))]
    return ", ".join(f"/{card.device}/{name}" for name in names)


def _detects_changes(card: Card, name: str) -> bool:
    return all(
        pins.port(line) == 0 and line not in card.faults.no_change_detection for line in pins.lines(name, card.device)
    )


_COUNTERS = tuple(f"ctr{n}" for n in range(pins.N_COUNTERS))
_PORTS = tuple(f"port{port}" for port in pins.N_LINES)

CARD_GETTERS: dict[str, dict[str, Callable[[Card, str], Value]]] = {
    "GetSystemInfoAttributeUInt32": {
        "SYSTEM_ATTRIBUTE_NIDAQ_MAJOR_VERSION": _fixed(26),
        "SYSTEM_ATTRIBUTE_NIDAQ_MINOR_VERSION": _fixed(0),
        "SYSTEM_ATTRIBUTE_NIDAQ_UPDATE_VERSION": _fixed(0),
    },
    "GetSystemInfoAttributeString": {
        "SYSTEM_ATTRIBUTE_DEV_NAMES": lambda card, _: card.device,
        "SYSTEM_ATTRIBUTE_TASKS": _fixed(""),
        "SYSTEM_ATTRIBUTE_GLOBAL_CHANS": _fixed(""),
        "SYSTEM_ATTRIBUTE_SCALES": _fixed(""),
    },
    "GetDeviceAttributeString": {
        "DEVICE_ATTRIBUTE_PRODUCT_TYPE": _fixed(PRODUCT),
        "DEVICE_ATTRIBUTE_AI_PHYSICAL_CHANS": _listed(*(f"ai{n}" for n in range(pins.N_ANALOG_INPUTS))),
        "DEVICE_ATTRIBUTE_AO_PHYSICAL_CHANS": _fixed(""),
        "DEVICE_ATTRIBUTE_DI_LINES": _listed(*pins.LINES),
        "DEVICE_ATTRIBUTE_DI_PORTS": _listed(*_PORTS),
        "DEVICE_ATTRIBUTE_DO_LINES": _listed(*pins.LINES),
        "DEVICE_ATTRIBUTE_DO_PORTS": _listed(*_PORTS),
        "DEVICE_ATTRIBUTE_CI_PHYSICAL_CHANS": _listed(*_COUNTERS),
        "DEVICE_ATTRIBUTE_CO_PHYSICAL_CHANS": _listed(*_COUNTERS),
        "DEVICE_ATTRIBUTE_TERMINALS": _terminals,
    },
    "GetDeviceAttributeUInt32": {
        "DEVICE_ATTRIBUTE_SERIAL_NUM": _fixed(1),
        "DEVICE_ATTRIBUTE_PRODUCT_NUM": _fixed(0x7435),
        "DEVICE_ATTRIBUTE_CI_MAX_SIZE": _fixed(32),
        "DEVICE_ATTRIBUTE_CO_MAX_SIZE": _fixed(32),
        "DEVICE_ATTRIBUTE_NUM_DMA_CHANS": _fixed(8),
    },
    "GetDeviceAttributeInt32": {
        "DEVICE_ATTRIBUTE_BUS_TYPE": _fixed(PCIE_BUS),
        "DEVICE_ATTRIBUTE_PRODUCT_CATEGORY": _fixed(X_SERIES),
    },
    "GetDeviceAttributeBool": {
        "DEVICE_ATTRIBUTE_IS_SIMULATED": _fixed(True),
        "DEVICE_ATTRIBUTE_DIG_TRIG_SUPPORTED": _fixed(True),
        "DEVICE_ATTRIBUTE_ANLG_TRIG_SUPPORTED": _fixed(True),
        "DEVICE_ATTRIBUTE_CI_SAMP_CLK_SUPPORTED": _fixed(True),
        "DEVICE_ATTRIBUTE_AI_SIMULTANEOUS_SAMPLING_SUPPORTED": _fixed(False),
    },
    "GetDeviceAttributeDouble": {
        "DEVICE_ATTRIBUTE_AI_MAX_SINGLE_CHAN_RATE": _fixed(2e6),
        "DEVICE_ATTRIBUTE_AI_MAX_MULTI_CHAN_RATE": _fixed(1e6),
        "DEVICE_ATTRIBUTE_CI_MAX_TIMEBASE": _fixed(float(TICKS_PER_S)),
        "DEVICE_ATTRIBUTE_CO_MAX_TIMEBASE": _fixed(float(TICKS_PER_S)),
    },
    "GetDeviceAttributeDoubleArray": {
        "DEVICE_ATTRIBUTE_AI_VOLTAGE_RNGS": _fixed(
            [v for top in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0) for v in (-top, top)]
        ),
    },
    "GetDeviceAttributeInt32Array": {
        "DEVICE_ATTRIBUTE_CI_SUPPORTED_MEAS_TYPES": _fixed([CounterInput.measures, AngularEncoder.measures]),
    },
    "GetPhysicalChanAttributeBool": {
        "PHYSICALCHANNEL_ATTRIBUTE_PHYSICAL_CHAN_DI_CHANGE_DETECT_SUPPORTED": _detects_changes,
    },
}
