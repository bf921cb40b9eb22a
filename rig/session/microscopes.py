"""Which microscope a rig has: none, pulses in this process, a simulated one in a process of its own, or a real one.

The link's client is the same for the last two; only the second is led to the card's lines here, since the third has
wires.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hardware.clock import Clock
from hardware.links.keys import KeyFileError, read_public, read_secret
from hardware.links.secured import Keys
from hardware.microscope.client import MicroscopeClient, Peer
from hardware.microscope.commander import LinkSettings
from hardware.protocols import DeviceError
from hardware.simulated.microscope.instrument import Wrong
from hardware.simulated.microscope.process import SimulatedMicroscopeProcess
from rig.config.rig import (
    MicroscopeConfig,
    ProcessMicroscopeConfig,
    RigConfig,
    SimulatedMicroscopeConfig,
    ZmqMicroscopeConfig,
)
from rig.session.backends import Backend


@contextmanager
def with_microscope(
    backend: Backend, config: RigConfig, *, clock: Clock, running: SimulatedMicroscopeProcess | None = None
) -> Iterator[Backend]:
    """Yield the rig's devices with the microscope that its file names among them, as the last one to open.

    ``running`` is a simulated one that runs already, in place of a new one.

    Raises
    ------
    DeviceError
        A key is missing, or the simulated microscope's process does not start.
    """
    microscope = config.microscope
    if microscope is None or isinstance(microscope, SimulatedMicroscopeConfig):
        yield backend
        return
    with ExitStack() as stack:
        if isinstance(microscope, ZmqMicroscopeConfig):
            peer = peer_of(microscope)
        else:
            process = running or stack.enter_context(started(microscope))
            if backend.wire_microscope is not None:
                stack.enter_context(backend.wire_microscope(process))
            peer = process.peer
        client = MicroscopeClient(peer=peer, settings=link_settings(config.rig, microscope), clock=clock)
        yield dataclasses.replace(backend, microscope=client, in_order=[*backend.in_order, client])


def link_settings(rig: str, microscope: ProcessMicroscopeConfig | ZmqMicroscopeConfig) -> LinkSettings:
    """Return how a rig speaks with its microscope."""
    return LinkSettings(
        who=rig,
        heartbeat_s=microscope.heartbeat_s,
        reply_s=microscope.reply_s,
        plane_groups=microscope.plane_groups,
        frame_rate_hz=microscope.frame_rate_hz,
        stop_s=microscope.stop_s,
    )


def peer_of(microscope: ZmqMicroscopeConfig) -> Peer:
    """Return where the microscope's computer is, with the keys that its file names.

    Raises
    ------
    DeviceError
        A key is missing, damaged, or can be read by others.
    """
    endpoint = f"tcp://{microscope.address}"
    if microscope.keys is None or microscope.own_key is None or microscope.peer_key is None:
        return Peer(endpoint=endpoint, keys=None, server_public=None)
    folder = Path(microscope.keys).expanduser()
    try:
        own, other = read_secret(folder, microscope.own_key), read_public(folder, microscope.peer_key)
    except KeyFileError as error:
        remedy = "make keys with: rig keys make, and exchange the public ones"
        raise DeviceError(device="microscope", what=str(error), remedy=remedy) from error
    keys = Keys(public=own.public.encode(), secret=own.secret.encode())
    return Peer(endpoint=endpoint, keys=keys, server_public=other.public.encode())


@contextmanager
def started(microscope: ProcessMicroscopeConfig) -> Iterator[SimulatedMicroscopeProcess]:
    """Yield a simulated microscope's process; end it afterwards."""
    fault = microscope.fault
    wrong = None
    if fault is not None:
        wrong = Wrong(kind=fault.kind, step=fault.step, delay_s=fault.delay_s, lasts_s=fault.lasts_s)
    with ExitStack() as stack:
        try:
            process = stack.enter_context(
                SimulatedMicroscopeProcess(
                    drift_ppm=microscope.drift_ppm, offset_s=microscope.clock_offset_s, wrong=wrong
                )
            )
        except (OSError, RuntimeError) as error:
            what = f"its process can't be started: {error}"
            raise DeviceError(device="microscope", what=what, remedy="see what its process said above") from error
        yield process


def is_in_process(microscope: MicroscopeConfig | None) -> bool:
    """Return whether the microscope is only pulses in this process: in simulated time there is no other."""
    return microscope is None or isinstance(microscope, SimulatedMicroscopeConfig)
