"""What a rig's card costs: from a lick to the valve, and a step of the loop with all devices on it.

The same on a real card and on its twin. On a real one the lick is given by a wire (``hardware.nidaq.bench`` says
which), and the valve must be unplugged: its line is pulsed some hundred times.
"""

from __future__ import annotations

import platform
import tempfile
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import numpy as np
import psutil

from hardware.clock import HostClock
from hardware.events import ClockFitted
from hardware.nidaq.bench import RewardPath, measure_reward_path
from hardware.nidaq.edges import NidaqEdges
from hardware.nidaq.outputs import NidaqOutputs
from hardware.nidaq.valve import NidaqValve
from hardware.simulated.mice import MouseKind, Setting
from rig.bench import Figure, short_stage, yardstick_ns
from rig.config.load import ConfigError, Problem
from rig.config.rig import NidaqCardConfig, RigConfig
from rig.log.reader import read_session
from rig.log.writer import LogThread, LogWriter
from rig.session.assemble import SessionPlan, assembled
from rig.session.backends import MouseAtTwin, new_twin, on_card
from rig.session.realtime import real_time

SEED = 1
QUARTERS = 4
LARGEST_RATIO = 2.0
"""The call that pays a lick may take so many times an empty one."""
STEP_AIM_US = 3000.0


def measure_card(config: RigConfig, *, n_licks: int, seconds: float) -> list[Figure]:
    """Return all figures of a rig's card: name, value, unit, and the bound that is aimed at where there is one.

    Raises
    ------
    ConfigError
        The rig's card is simulated.
    DeviceError
        The card or a wire is not as it must be.
    """
    card = config.card
    if not isinstance(card, NidaqCardConfig):
        what = f"{config.rig} has a simulated card, which costs nothing; name a rig with a card or the rig twin"
        raise ConfigError([Problem("--rig", 0, "", what)])
    kind = "its twin over gRPC" if card.twin is not None else card.address or "the driver of this computer"
    figures: list[Figure] = [
        {"name": "machine", "value": f"{platform.platform()}, {psutil.cpu_count()} cores", "unit": ""},
        {"name": "plain interpreter loop", "value": yardstick_ns(), "unit": "ns an iteration"},
        {"name": "card", "value": f"{card.device}, {kind}", "unit": ""},
    ]
    with real_time():
        figures += _software(_reward_path(config, card, paths=["software"], n=n_licks))
        if "card" in config.valve.paths:
            figures += _hardware(_reward_path(config, card, paths=["card", "software"], n=max(n_licks // 4, 1)))
    return figures + _session(config, seconds)


def _reward_path(config: RigConfig, card: NidaqCardConfig, *, paths: list[str], n: int) -> RewardPath:
    """Measure with these paths in place of the rig's."""
    config = config.model_copy(update={"valve": config.valve.model_copy(update={"paths": paths})})
    clock = HostClock()
    with ExitStack() as stack:
        twin = stack.enter_context(new_twin(card, seed=SEED)) if card.twin is not None else None
        nobody = MouseAtTwin(MouseKind.NEVER, SEED, Setting())
        backend = stack.enter_context(on_card(config, card, clock=clock, seed=SEED, sink=None, mouse=nobody, twin=twin))
        if twin is not None:
            twin.bench.wire(card.align_output, card.lick_terminal)
        edges, sync, valve = backend.edges, backend.sync, backend.valve
        assert isinstance(edges, NidaqEdges)  # noqa: S101 - what on_card makes
        assert isinstance(sync, NidaqOutputs)  # noqa: S101
        assert isinstance(valve, NidaqValve)  # noqa: S101
        for device in backend.in_order:
            stack.callback(device.close)
            device.open()
        return measure_reward_path(
            edges=edges, sync=sync, valve=valve, clock=clock, refresh_hz=config.screen.refresh_hz, n=n, seed=SEED
        )


def _software(measured: RewardPath) -> list[Figure]:
    empty_ms, call_ms, lick_ms = (
        np.array(seconds) * 1e3
        for seconds in (measured.empty_call_s, measured.look_to_return_s, measured.lick_to_pulse_s)
    )
    quarter = (np.array(measured.phase) * QUARTERS).astype(int) % QUARTERS
    figures: list[Figure] = []
    for name, values_ms in (
        ("empty call", empty_ms),
        ("software path: the call that pays a lick", call_ms),
        ("software path: lick to pulse, by the card", lick_ms),
    ):
        figures += [_quantile(name, values_ms, q, "ms") for q in (0.5, 0.99)]
    ratio = float(np.quantile(call_ms, 0.99) / np.quantile(empty_ms, 0.99))
    figures.append({"name": "paying call over empty call, 99 %", "value": ratio, "unit": "", "aim": LARGEST_RATIO})
    figures += [
        {
            "name": f"lick to pulse, median, licks in quarter {n + 1} of the refresh",
            "value": float(np.median(lick_ms[quarter == n])) if (quarter == n).any() else float("nan"),
            "unit": "ms",
        }
        for n in range(QUARTERS)
    ]
    return figures


def _hardware(measured: RewardPath) -> list[Figure]:
    by_card = np.array(measured.lick_to_pulse_s)[np.array(measured.path) == "card"] * 1e6
    figures: list[Figure] = [
        {"name": "card path: licks it has paid", "value": float(len(by_card)), "unit": f"of {len(measured.path)}"}
    ]
    if len(by_card):
        figures.append({"name": "card path: lick to pulse, longest", "value": float(by_card.max()), "unit": "us"})
    return figures


def _session(config: RigConfig, seconds: float) -> list[Figure]:
    """Run a session on the card; measure each step of the loop, and apart from it each frame pulse's call."""
    steps_s: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        plan = SessionPlan(
            mouse="bench",
            stage=short_stage(minutes=max(seconds, 5.0) / 60),
            rig=config,
            seed=SEED,
            mouse_kind=MouseKind.PERFECT,
            fast=False,
            session_id=UUID(int=SEED),
            folder=Path(folder) / "session",
            who="bench",
        )
        log = LogThread(LogWriter(plan.folder))
        try:
            with real_time(), assembled(plan, log=log, on_step=steps_s.append) as loop:
                loop.run()
                sync = loop.devices.sync
        finally:
            log.close()
        recorded = read_session(plan.folder)
    assert isinstance(sync, NidaqOutputs)  # noqa: S101 - what on_card makes
    steps_us, calls_us = np.array(steps_s) * 1e6, np.array(sync.frame_calls_s) * 1e6
    fits = [entry.event for entry in recorded.entries if isinstance(entry.event, ClockFitted)]
    late = int((recorded.flips["n_missed"] > 0).sum())
    figures: list[Figure] = []
    for name, values_us in (("step without the frame pulse's call", steps_us), ("frame pulse's call", calls_us)):
        figures += [_quantile(name, values_us, q, "us") for q in (0.5, 0.99, 0.999)]
    figures[2]["aim"] = STEP_AIM_US
    figures.append({"name": "late flips", "value": float(late), "unit": f"of {len(recorded.flips)}"})
    if fits:
        figures.append({"name": "clock map: residual, last", "value": fits[-1].residual_us, "unit": "us", "aim": 20.0})
        figures.append({"name": "clock map: drift", "value": fits[-1].drift_ppm, "unit": "ppm"})
    return figures


def _quantile(name: str, values: np.ndarray, q: float, unit: str) -> Figure:
    value = float(np.quantile(values, q)) if len(values) else float("nan")
    return {"name": f"{name}, {'median' if q == 0.5 else f'{q * 100:g} %'}", "value": value, "unit": unit}
