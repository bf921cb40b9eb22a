"""Microscope and cameras that only exist as states and as pulses on the card's lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hardware.arrays import FloatArray
from hardware.events import CameraState, Finding, MicroscopePhase, MicroscopeState, Verdict
from hardware.lines import Line
from hardware.protocols import DeviceError, Identity
from hardware.simulated.card import SimulatedCard

FRAME_RATE_HZ = 31.0
"""A single-plane 2-photon microscope (TASK_FACTS 8: usually 31 Hz)."""
CAMERA_RATE_HZ = 30.0
PULSE_S = 0.005


class PulseTrain:
    """Regular pulses between a start and a stop."""

    def __init__(self, *, rate_hz: float) -> None:
        self._period_s = 1.0 / rate_hz
        self._start_s: float | None = None
        self._stop_s = np.inf

    def start(self, host_s: float) -> None:
        """Give the first pulse at a host time."""
        self._start_s, self._stop_s = host_s, np.inf

    def stop(self, host_s: float) -> None:
        """Give no pulse from a host time on."""
        self._stop_s = min(self._stop_s, host_s)

    def n_until(self, host_s: float) -> int:
        """Return how many pulses were given before a host time."""
        if self._start_s is None:
            return 0
        return int(np.ceil(max(0.0, min(host_s, self._stop_s) - self._start_s) / self._period_s))

    def __call__(self, from_s: float, until_s: float) -> FloatArray:
        """Return the rises in ``[from_s, until_s)``, shape (n,)."""
        if self._start_s is None:
            return np.empty(0)
        return self._start_s + np.arange(self.n_until(from_s), self.n_until(until_s), dtype=np.float64) * self._period_s


class SimulatedMicroscope:
    """A microscope of one to four plane groups: prepare, arm, start, stop; anything out of order is refused.

    Parameters
    ----------
    frame_rate_hz
        Of each plane group; the frame line has an edge for each of them by turns.
    """

    name = "microscope"

    def __init__(self, *, card: SimulatedCard, plane_groups: int = 1, frame_rate_hz: float = FRAME_RATE_HZ) -> None:
        self._card = card
        self._plane_groups = plane_groups
        self._rate_hz = frame_rate_hz
        self._files: list[str] = []
        self._train = PulseTrain(rate_hz=frame_rate_hz * plane_groups)
        self._phase = MicroscopePhase.IDLE
        self._states: list[MicroscopeState] = []
        card.add_train(Line.VSYNC_2P, self._train, width_s=PULSE_S)

    def open(self) -> Identity:
        """Say what is simulated."""
        groups = "1 plane group" if self._plane_groups == 1 else f"{self._plane_groups} plane groups"
        return Identity(device=self.name, model=f"simulated, {groups} at {self._rate_hz:g} Hz")

    def check(self) -> list[Finding]:
        """Say what it is doing."""
        return [Finding(name="microscope", verdict=Verdict.PASS, figure=self._phase.value)]

    def health(self) -> dict[str, float]:
        """Return the frames so far."""
        return {"n_frames": float(self._train.n_until(self._card.clock.now_s()))}

    def close(self) -> None:
        """Leave nothing running."""
        self._train.stop(self._card.clock.now_s())

    def prepare(self, *, session_id: str, mouse: str, stage: str) -> None:
        """See ``Microscope.prepare``."""
        self._files = [f"{session_id}_plane_group_{group}.tif" for group in range(self._plane_groups)]
        self._to(MicroscopePhase.PREPARED, {MicroscopePhase.IDLE, MicroscopePhase.STOPPED}, f"{mouse} {stage}")

    def arm(self) -> None:
        """See ``Microscope.arm``."""
        self._to(MicroscopePhase.ARMED, {MicroscopePhase.PREPARED})

    def start(self) -> None:
        """See ``Microscope.start``."""
        self._to(MicroscopePhase.ACQUIRING, {MicroscopePhase.ARMED})
        self._train.start(self._card.clock.now_s())

    def stop(self) -> None:
        """See ``Microscope.stop``."""
        self._train.stop(self._card.clock.now_s())
        self._to(MicroscopePhase.STOPPED, set(MicroscopePhase))

    def abort(self) -> None:
        """See ``Microscope.abort``."""
        self._train.stop(self._card.clock.now_s())
        self._to(MicroscopePhase.IDLE, set(MicroscopePhase))

    def poll(self) -> Sequence[MicroscopeState]:
        """See ``Microscope.poll``."""
        if not self._states:
            return ()
        states, self._states = self._states, []
        return states

    def _to(self, phase: MicroscopePhase, allowed: set[MicroscopePhase], what: str = "") -> None:
        if self._phase not in allowed:
            raise DeviceError(
                device=self.name,
                what=f"is {self._phase.value} and can't become {phase.value}",
                remedy="stop or abort the recording, then prepare it again",
            )
        self._phase = phase
        n_frames = self._train.n_until(self._card.clock.now_s())
        self._states.append(
            MicroscopeState(
                phase=phase,
                n_frames=n_frames,
                what=what,
                plane_groups=self._plane_groups,
                rate_hz=self._rate_hz,
                files=list(self._files),
            )
        )


class SimulatedCameras:
    """Behaviour and eye camera: exposures as pulses."""

    name = "cameras"

    def __init__(self, *, card: SimulatedCard) -> None:
        self._card = card
        self._trains = [PulseTrain(rate_hz=CAMERA_RATE_HZ) for _ in range(2)]
        self._states: list[CameraState] = []
        self._files: list[str] = []
        for line, train in zip((Line.CAM1_EXPOSURE, Line.CAM2_EXPOSURE), self._trains, strict=True):
            card.add_train(line, train, width_s=PULSE_S)

    def open(self) -> Identity:
        """Say what is simulated."""
        return Identity(device=self.name, model=f"simulated, two at {CAMERA_RATE_HZ:g} Hz")

    def check(self) -> list[Finding]:
        """Two cameras that are always there."""
        return [Finding(name="cameras", verdict=Verdict.PASS, figure="2 present")]

    def health(self) -> dict[str, float]:
        """Return the exposures so far."""
        return {"n_exposures": float(self._trains[0].n_until(self._card.clock.now_s()))}

    def close(self) -> None:
        """Leave nothing running."""
        for train in self._trains:
            train.stop(self._card.clock.now_s())

    def start(self, *, session_id: str) -> None:
        """See ``Cameras.start``."""
        self._files = camera_files(session_id)
        for train in self._trains:
            train.start(self._card.clock.now_s())
        self._states.append(CameraState(recording=True, what=session_id, files=self._files))

    def stop(self) -> None:
        """See ``Cameras.stop``."""
        self.close()
        n_exposures = [train.n_until(self._card.clock.now_s()) for train in self._trains]
        self._states.append(CameraState(recording=False, files=self._files, n_exposures=n_exposures))

    def poll(self) -> Sequence[CameraState]:
        """See ``Cameras.poll``."""
        if not self._states:
            return ()
        states, self._states = self._states, []
        return states


def camera_files(session_id: str) -> list[str]:
    """Return what the simulated cameras' files would be called: behaviour camera, eye camera."""
    return [f"{session_id}_behavior.mp4", f"{session_id}_eye.mp4"]
