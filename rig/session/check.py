"""Examines a rig without a session: opens its devices, asks each what it finds, lets go of them again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import numpy as np

from hardware.clock import HostClock, VirtualClock
from hardware.events import Finding, Verdict
from hardware.nidaq.bench import measure_reward_path
from hardware.nidaq.checks import loopback as loop_back
from hardware.nidaq.edges import NidaqEdges
from hardware.nidaq.outputs import NidaqOutputs
from hardware.nidaq.valve import NidaqValve
from hardware.protocols import Device, DeviceError, EdgeSource
from hardware.simulated.mice import MouseKind, Setting, make_mouse
from rig.config.load import ConfigError, Problem
from rig.config.rig import RigConfig, SimulatedCardConfig
from rig.session.assemble import calibration_age, screen_calibration
from rig.session.backends import Backend, MouseAtTwin, new_twin, on_card, simulated
from rig.session.microscopes import with_microscope

SEED = 1
LICKS = 10
TOUCH_S = 15.0


def refuse_loopback(config: RigConfig) -> None:
    """Refuse to look for a loop-back wire where there can't be one.

    Raises
    ------
    ConfigError
        The rig has no card.
    """
    if isinstance(config.card, SimulatedCardConfig):
        what = f"{config.rig} has a simulated card without wires; try the rig twin, or leave it out"
        raise ConfigError([Problem("--loopback", 0, "", what)])


def refuse_touch(config: RigConfig) -> None:
    """Refuse to wait for a hand where there is no spout.

    Raises
    ------
    ConfigError
        The rig has no real card.
    """
    if config.simulated:
        what = f"{config.rig} has a simulated spout, which nobody can touch; leave it out"
        raise ConfigError([Problem("--touch", 0, "", what)])


def check_rig(config: RigConfig, *, loopback: bool, touch: bool = False) -> Iterator[Finding]:
    """Yield what the rig's devices find, one after the other, and a failure where one can't be opened.

    Parameters
    ----------
    loopback
        Pulse the valve's line as well, by its smallest volume, and pay licks that come over a wire.
    touch
        Wait for somebody to touch the spout: whether the lick line lives can't be seen otherwise.
    """
    try:
        with ExitStack() as stack:
            backend = _backend(config, stack, lick_wire=loopback)
            opened: list[Device] = []
            for device in backend.in_order:
                stack.callback(device.close)
                try:
                    device.open()
                except DeviceError as error:
                    if device is not backend.microscope:
                        raise  # the card, or a device that can't do without it
                    yield _failed(error)
                    continue
                opened.append(device)
            for device in opened:
                yield from device.check()
            yield calibration_age(config, datetime.now(UTC).date())
            yield from screen_calibration(config, datetime.now(UTC).date())
            if touch:
                yield touched(backend.edges)
            if loopback and backend.echo_is_high is not None:
                volume_ul = config.valve.volume_min_ul
                yield _licks_over_wire(backend, refresh_hz=config.screen.refresh_hz)
                yield from loop_back(backend.valve, echo_is_high=backend.echo_is_high, volume_ul=volume_ul)
    except DeviceError as error:
        yield _failed(error)


def _failed(error: DeviceError) -> Finding:
    return Finding(name=error.device, verdict=Verdict.FAIL, figure=error.what, remedy=error.remedy)


def touched(edges: EdgeSource) -> Finding:
    """Wait until the lick line rises, ``TOUCH_S`` at most."""
    begun_s = time.monotonic()
    edges.read()
    while (waited_s := time.monotonic() - begun_s) < TOUCH_S:
        if any(edge.rising for edge in edges.read()):
            return Finding(name="lick line alive", verdict=Verdict.PASS, figure=f"touched after {waited_s:.1f} s")
        time.sleep(0.01)
    remedy = "touch the spout with a wet finger; if it stays silent, check the sensor, its supply and its wire"
    return Finding(name="lick line alive", verdict=Verdict.FAIL, figure=f"silent for {TOUCH_S:g} s", remedy=remedy)


def _licks_over_wire(backend: Backend, *, refresh_hz: float) -> Finding:
    """Pay licks that come over a wire from the alignment output, by whatever path is quickest."""
    name = "lick to pulse"
    edges, sync, valve = backend.edges, backend.sync, backend.valve
    assert isinstance(edges, NidaqEdges)  # noqa: S101 - what on_card makes
    assert isinstance(sync, NidaqOutputs)  # noqa: S101
    assert isinstance(valve, NidaqValve)  # noqa: S101
    try:
        measured = measure_reward_path(
            edges=edges, sync=sync, valve=valve, clock=HostClock(), refresh_hz=refresh_hz, n=LICKS, seed=SEED
        )
    except DeviceError as error:
        valve.close_now()
        return Finding(name=name, verdict=Verdict.WARN, figure=error.what, remedy=error.remedy)
    late_ms = [seconds * 1e3 for seconds in measured.lick_to_pulse_s]
    n_card = measured.path.count("card")
    figure = (
        f"{n_card} of {LICKS} paid by the card, {LICKS - n_card} by software, the slowest after {max(late_ms):.2f} ms"
    )
    return Finding(name=name, verdict=Verdict.PASS, figure=figure)


def _backend(config: RigConfig, stack: ExitStack, *, lick_wire: bool) -> Backend:
    """Return the rig's devices before nobody but a mouse that never licks."""
    card = config.card
    if not isinstance(card, SimulatedCardConfig):
        mouse, clock = MouseAtTwin(MouseKind.NEVER, SEED, Setting()), HostClock()
        twin = stack.enter_context(new_twin(card, seed=SEED)) if card.twin is not None else None
        backend = stack.enter_context(on_card(config, card, clock=clock, seed=SEED, sink=None, mouse=mouse, twin=twin))
        if twin is not None and lick_wire:
            twin.bench.wire(card.align_output, card.lick_terminal)
        return _with_microscope(backend, config, stack)
    backend = simulated(
        config,
        card,
        clock=VirtualClock(),
        mouse=make_mouse(MouseKind.NEVER, np.random.default_rng(SEED), start_host_s=0.0),
        start_host_s=0.0,
        seed=SEED,
        sink=None,
        imaging=config.imaging,
        fast=True,
    )
    return _with_microscope(backend, config, stack)


def _with_microscope(backend: Backend, config: RigConfig, stack: ExitStack) -> Backend:
    return stack.enter_context(with_microscope(backend, config, clock=HostClock())) if config.imaging else backend
