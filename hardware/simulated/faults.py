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
    photodiode_unplugged_s: float = math.inf
    """Its line goes low and stays."""
    patch_covered_s: float = math.inf
    """Something bright lies over the patch, another window say: the photodiode's line goes high and stays."""
    vsync_2p_dead_s: float = math.inf
    """The 2-photon line goes low and stays."""
    vsync_2p_and_photodiode_swapped_s: float = math.inf
    """The two wires are exchanged at the card."""
