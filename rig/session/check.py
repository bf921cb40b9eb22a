"""Examines a rig without a session: opens its devices, asks each what it finds, lets go of them again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import numpy as np

from hardware.clock import HostClock, VirtualClock
from hardware.events import Finding, Verdict
from hardware.nidaq.checks import loopback as loop_back
from hardware.protocols import DeviceError
from hardware.simulated.mice import MouseKind, Setting, make_mouse
from rig.config.load import ConfigError, Problem
from rig.config.rig import RigConfig, SimulatedCardConfig
from rig.session.assemble import calibration_age, screen_calibration
from rig.session.backends import Backend, MouseAtTwin, on_card, simulated

SEED = 1


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


def check_rig(config: RigConfig, *, loopback: bool) -> Iterator[Finding]:
    """Yield what the rig's devices find, one after the other, and a failure where one can't be opened.

    Parameters
    ----------
    loopback
        Pulse the valve's line as well, by its smallest volume.
    """
    try:
        with ExitStack() as stack:
            backend = _backend(config, stack)
            for device in backend.in_order:
                stack.callback(device.close)
                device.open()
            for device in backend.in_order:
                yield from device.check()
            yield calibration_age(config, datetime.now(UTC).date())
            yield from screen_calibration(config, datetime.now(UTC).date())
            if loopback and backend.echo_is_high is not None:
                volume_ul = config.valve.volume_min_ul
                yield from loop_back(backend.valve, echo_is_high=backend.echo_is_high, volume_ul=volume_ul)
    except DeviceError as error:
        yield Finding(name=error.device, verdict=Verdict.FAIL, figure=error.what, remedy=error.remedy)


def _backend(config: RigConfig, stack: ExitStack) -> Backend:
    """Return the rig's devices before nobody but a mouse that never licks."""
    if not isinstance(config.card, SimulatedCardConfig):
        mouse = MouseAtTwin(MouseKind.NEVER, SEED, Setting())
        return stack.enter_context(on_card(config, config.card, clock=HostClock(), seed=SEED, sink=None, mouse=mouse))
    return simulated(
        config,
        config.card,
        clock=VirtualClock(),
        mouse=make_mouse(MouseKind.NEVER, np.random.default_rng(SEED), start_host_s=0.0),
        start_host_s=0.0,
        seed=SEED,
        sink=None,
        imaging=config.imaging,
        fast=True,
    )
