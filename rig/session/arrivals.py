"""What arrives from the devices, as the events that the task takes."""

from __future__ import annotations

from hardware.clock import TICKS_PER_S, ClockMap
from hardware.protocols import Command, DeviceError, PulseOutcome, PulseReport
from rig.session.devices import Devices
from rig.session.monitors import LickLineMonitor, SpoutMonitor
from stages.events import (
    CommandReceived,
    DeviceFault,
    InputEvent,
    Lick,
    RewardConfirmed,
    RewardDisarmed,
    RewardFailed,
    RewardFired,
    RewardPath,
    SpoutMoved,
    SpoutPosition,
    Verb,
)


class Faults:
    """Names a device's failure once, until somebody has looked."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def name(self, error: DeviceError, into: list[InputEvent], *, time_s: float) -> None:
        """Add the failure to ``into`` unless this device's was named already."""
        if error.device not in self._named:
            self._named.add(error.device)
            into.append(DeviceFault(device=error.device, what=error.what, remedy=error.remedy, time_s=time_s))

    def forget(self, device: str) -> None:
        """Name a device's next failure anew: it works again."""
        self._named.discard(device)

    def forgive(self) -> None:
        """Name every failure anew: the operator has looked and goes on."""
        self._named.clear()


class Arrivals:
    """Polls every source that the task listens to, and shows the monitors what they watch."""

    def __init__(self, *, devices: Devices, faults: Faults, lick_line: LickLineMonitor, spout: SpoutMonitor) -> None:
        self._devices = devices
        self._faults = faults
        self._lick_line = lick_line
        self._spout = spout
        self._map: ClockMap
        self.n_licks = 0

    def begin(self, *, clock_map: ClockMap) -> None:
        """Take the map from the devices' clocks to session time."""
        self._map = clock_map

    def next_due_s(self) -> float:
        """Return the host time before which no device has anything to say."""
        d = self._devices
        return min(d.edges.next_due_s(), d.spout.next_due_s(), d.commands.next_due_s())

    def take(self, inputs: list[InputEvent], *, time_s: float) -> None:
        """Add everything that has arrived since the last call; a device that fails does not keep the others silent."""
        for hear in (self._hear_edges, self._hear_valve, self._hear_spout):
            try:
                hear(inputs)
            except DeviceError as error:
                self._faults.name(error, inputs, time_s=time_s)
        inputs += self._lick_line.tick(now_ticks=self._map.ticks(time_s), ticks_per_s=TICKS_PER_S, time_s=time_s)
        inputs += [_received(command) for command in self._devices.commands.poll()]

    def _hear_edges(self, inputs: list[InputEvent]) -> None:
        for edge in self._devices.edges.read():
            self._lick_line.see(edge)
            if edge.rising:
                self.n_licks += 1
                inputs.append(Lick(time_s=self._map.seconds(edge.ticks), ticks=edge.ticks))

    def _hear_valve(self, inputs: list[InputEvent]) -> None:
        inputs += [self._reward_event(report) for report in self._devices.valve.poll()]

    def _hear_spout(self, inputs: list[InputEvent]) -> None:
        for arrival in self._devices.spout.poll():
            self._spout.arrived()
            inputs.append(
                SpoutMoved(position=SpoutPosition(arrival.position), time_s=self._map.session_s(arrival.host_s))
            )

    def _reward_event(self, report: PulseReport) -> InputEvent:
        match report.outcome:
            case PulseOutcome.FIRED:
                paid = report.lick_ticks >= 0
                return RewardFired(
                    reward=report.reward,
                    path=RewardPath(report.path),
                    time_s=self._map.seconds(report.ticks),
                    lick_time_s=self._map.seconds(report.lick_ticks) if paid else None,
                )
            case PulseOutcome.CONFIRMED:
                return RewardConfirmed(
                    reward=report.reward, time_s=self._map.seconds(report.ticks), open_s=report.open_s
                )
            case PulseOutcome.DISARMED:
                return RewardDisarmed(reward=report.reward)
            case PulseOutcome.FAILED:
                return RewardFailed(reward=report.reward, why=report.why)


def _received(command: Command) -> CommandReceived:
    return CommandReceived(
        command=command.id,
        verb=Verb(command.verb),
        who=command.who,
        text=command.text,
        volume_ul=command.volume_ul,
        position=SpoutPosition(command.position) if command.position is not None else None,
    )
