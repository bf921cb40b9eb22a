"""The devices of a session, and how they are all made safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        """Close the valve, then say that the stimulus has stopped; return what failed.

        Microscope and cameras take time to stop: that is their sequences' (see ``imaging``).
        """
        self.valve.close_now()
        return _each([lambda: self.sync.running(level=False)])

    def stop_recording(self) -> list[DeviceError]:
        """Stop microscope and cameras without waiting for them, whatever they are doing; return what failed."""
        calls: list[Callable[[], None]] = [lambda: self.sync.acquire(level=False)]
        if self.microscope is not None:
            calls += [self.microscope.stop, self.microscope.abort]
        if self.cameras is not None:
            calls.append(self.cameras.stop)
        return _each(calls)


def _each(calls: Sequence[Callable[[], None]]) -> list[DeviceError]:
    """Make all calls, whatever the ones before have raised; return what failed."""
    errors = []
    for call in calls:
        try:
            call()
        except DeviceError as error:
            errors.append(error)
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, the next device is still stopped
            errors.append(DeviceError(device="rig", what=f"{type(error).__name__}: {error}", remedy="see the log"))
    return errors
