"""How long a reward takes on a card, measured on the card's own clock.

A lick is the rise of an output that is led back to the lick sensor's inputs, so that the same measurement
runs on a real card with a loop-back wire and on the twin. It is given at any time of the refresh while frame
pulses go on at their rate, as in a session. Beside it stands the empty call: asking a resting task whether it
is done, the least that can be asked of this driver or server on this machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hardware.clock import TICKS_PER_S, Clock
from hardware.nidaq.edges import NidaqEdges
from hardware.nidaq.outputs import NidaqOutputs
from hardware.nidaq.valve import NidaqValve
from hardware.protocols import DeviceError, PulseOutcome, PulseReport

CONTACT_S = 0.03
LIMIT_S = 2.0
"""A lick that is not paid by then never will be."""
PAUSE_S = 0.12
"""From one lick to the next at least; a random refresh is added."""
EMPTY_CALLS = 3
"""For each lick."""
POLL_S = 0.005
WINDOW_S = (0.0, 5.0)
WIRES = "lead align_output to lick_terminal and to the lick sensor's line, and the valve's output to its echo"


@dataclass(frozen=True, slots=True)
class RewardPath:
    """What was measured, in seconds."""

    lick_to_pulse_s: list[float] = field(default_factory=list)
    """Each lick: from its edge to the valve's, by the card's ticks."""
    look_to_return_s: list[float] = field(default_factory=list)
    """Each that software has paid: from the reader's coming to the lick to the return of the call that paid it."""
    phase: list[float] = field(default_factory=list)
    """Each lick: where in its refresh it was asked for, 0 to 1."""
    path: list[str] = field(default_factory=list)
    """Each lick: what has paid it, ``card`` or ``software``."""
    empty_call_s: list[float] = field(default_factory=list)


def measure_reward_path(
    *,
    edges: NidaqEdges,
    sync: NidaqOutputs,
    valve: NidaqValve,
    clock: Clock,
    refresh_hz: float,
    n: int,
    seed: int,
) -> RewardPath:
    """Pay ``n`` licks in real time; the devices are open.

    Raises
    ------
    DeviceError
        A lick was not seen or not paid.
    """
    rng = np.random.default_rng(seed)
    period_s = 1.0 / refresh_hz
    flip_s = clock.now_s()

    def run_until(host_s: float) -> None:
        """Give frame pulses until a host time."""
        nonlocal flip_s
        while flip_s + period_s <= host_s:
            flip_s += period_s
            clock.sleep_until(flip_s)
            sync.flip_pulse()
        clock.sleep_until(host_s)

    def paid(reward: int) -> tuple[PulseReport, PulseReport]:
        """Wait until a reward is paid and confirmed; return both reports."""
        reports: list[PulseReport] = []
        ends_s = clock.now_s() + LIMIT_S
        while clock.now_s() < ends_s:
            edges.read()  # raises what has befallen the card
            reports += [report for report in valve.poll() if report.reward == reward]
            for report in reports:
                if report.outcome is PulseOutcome.FAILED:
                    raise DeviceError(device="valve", what=report.why, remedy=WIRES)
            if len(reports) == 2:
                return reports[0], reports[1]
            run_until(clock.now_s() + POLL_S)
        raise DeviceError(device="valve", what=f"a lick was not paid within {LIMIT_S:g} s", remedy=WIRES)

    found = RewardPath()
    for reward in range(n):
        now_ticks = edges.time.ticks(clock.now_s())
        opens_s, closes_s = WINDOW_S
        valve.arm(
            reward=reward,
            volume_ul=valve.calibration.volume_min_ul,
            opens_ticks=now_ticks + round(opens_s * TICKS_PER_S),
            closes_ticks=now_ticks + round(closes_s * TICKS_PER_S),
        )
        run_until(clock.now_s() + PAUSE_S)
        for _ in range(EMPTY_CALLS):
            run_until(clock.now_s() + float(rng.uniform(0.0, period_s)))
            before_s = clock.now_s()
            sync.ask()
            found.empty_call_s.append(clock.now_s() - before_s)
        run_until(clock.now_s() + float(rng.uniform(0.0, period_s)))
        found.phase.append((clock.now_s() - flip_s) / period_s)
        sync.align(level=True)
        run_until(clock.now_s() + CONTACT_S)
        sync.align(level=False)
        fired, confirmed = paid(reward)
        found.path.append(fired.path)
        found.lick_to_pulse_s.append((confirmed.ticks - fired.lick_ticks) / TICKS_PER_S)
        if valve.starts and valve.starts[-1].lick_ticks == fired.lick_ticks:
            start = valve.starts[-1]
            found.look_to_return_s.append(start.returned_s - start.looked_s)
    return found
