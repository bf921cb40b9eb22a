"""The running wheel as its two voltages: one turn of the disk is 0 V to the supply, then it wraps.

Radius 5.5033 cm (a 16.51 cm disk, the mouse at two thirds of its radius) and a supply of 4.885 V, as
the recorded session had them (TASK_FACTS 7).
"""

from __future__ import annotations

import math

import numpy as np

from hardware.arrays import FloatArray
from hardware.events import Finding, Verdict
from hardware.protocols import Identity
from hardware.simulated.card import SimulatedCard
from hardware.wheel import RUNNING_RADIUS_CM

SUPPLY_V = 4.885
NOISE_V = 0.0005


class SimulatedWheel:
    """Encoder of a simulated rig."""

    name = "encoder"

    def __init__(self, *, card: SimulatedCard, seed: int) -> None:
        self._card = card
        self._rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(4,))))
        self._frozen_at_s = card.start_host_s + card.faults.encoder_frozen_s
        self._last_signal_v = 0.0

    def open(self) -> Identity:
        """Say what is simulated."""
        return Identity(device=self.name, model="simulated analog wheel")

    def check(self) -> list[Finding]:
        """Name the supply."""
        return [Finding(name="encoder supply", verdict=Verdict.PASS, figure=f"{SUPPLY_V:.3f} V")]

    def health(self) -> dict[str, float]:
        """Nothing to watch."""
        return {}

    def close(self) -> None:
        """Nothing to close."""

    def read(self, *, host_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See ``Encoder.read``."""
        turns = self._card.mouse.distance_cm(host_s - self._card.start_host_s) / (2 * math.pi * RUNNING_RADIUS_CM)
        noise_v = self._rng.normal(0.0, NOISE_V, (2, len(host_s)))
        supply_v = SUPPLY_V + noise_v[0]
        signal_v = np.clip((turns - np.floor(turns)) * SUPPLY_V + noise_v[1], 0.0, 5.0)
        frozen = host_s >= self._frozen_at_s
        if frozen.any():
            first = int(np.argmax(frozen))
            signal_v[first:] = signal_v[first - 1] if first else self._last_signal_v
        if len(signal_v):
            self._last_signal_v = float(signal_v[-1])
        return signal_v, supply_v
