"""The devices of a session, and how they are all made safe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hardware.protocols import (
    Cameras,
    CommandSource,
    Device,
    DeviceError,
    EdgeSource,
    Encoder,
    Microscope,
    RewardValve,
    Spout,
    SyncOutputs,
)
from stimuli.screen import Screen


@dataclass(frozen=True, slots=True)
class Devices:
    """Everything with a wire, behind its Protocol."""

    screen: Screen
    edges: EdgeSource
    valve: RewardValve
    encoder: Encoder
    sync: SyncOutputs
    spout: Spout
    commands: CommandSource
    microscope: Microscope | None = None
    cameras: Cameras | None = None

    def own(self) -> list[Device]:
        """Return those that have figures of their own, in the order they were opened."""
        every = (self.edges, self.sync, self.valve, self.encoder, self.spout, self.microscope, self.cameras)
        return list(dict.fromkeys(device for device in every if device is not None))  # one may be several of them

    def make_safe(self) -> list[DeviceError]:
        """Close the valve, then stop everything that runs; return what failed. Whatever fails, the rest is done."""
        self.valve.close_now()
        calls: list[Callable[[], None]] = [lambda: self.sync.running(level=False)]
        if self.microscope is not None:
            calls += [self.microscope.stop, lambda: self.sync.acquire(level=False)]
        if self.cameras is not None:
            calls.append(self.cameras.stop)
        errors = []
        for call in calls:
            try:
                call()
            except DeviceError as error:
                errors.append(error)
            except Exception as error:  # noqa: BLE001 - whatever a driver raises, the next device is still stopped
                errors.append(DeviceError(device="rig", what=f"{type(error).__name__}: {error}", remedy="see the log"))
        return errors
