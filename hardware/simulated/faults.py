"""Faults that a simulated rig can be asked for, each at a host time counted from the first flip."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Faults:
    """When which fault begins; infinity for never."""

    lick_line_stuck_s: float = math.inf
    """The lick line goes high and stays: water on the spout, a broken sensor."""
    encoder_frozen_s: float = math.inf
    """The wheel's signal stops moving, to the last digit."""
    valve_silent_s: float = math.inf
    """The valve opens without echo: its wire or driver is off."""
    device_gone_s: float = math.inf
    """The card no longer answers: unplugged."""
    spout_stuck: bool = False
    """The spout's stage does not arrive."""
