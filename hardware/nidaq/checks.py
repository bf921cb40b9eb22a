"""What the card's devices find out about themselves before a session.

Everything here only looks, but for the frame pulse, which is given once. ``loopback`` is for the first hour on a
real card: what no twin can prove. It opens the valve's line, so the valve is unplugged for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from hardware.arrays import FloatArray
from hardware.calibration import ValveCalibration
from hardware.clock import TICKS_PER_S
from hardware.events import Finding, Verdict
from hardware.lines import MOST_LICKS_PER_S, Line
from hardware.nidaq.connection import CardConfig, pin_of
from hardware.protocols import DeviceError, Identity, PulseOutcome, PulseReport, RewardValve

SUPPLY_V = (4.0, 5.5)
LARGEST_ERROR_US = 10.0
"""By how much the echo of a pulse may differ from what was asked for, with a wire between them and nothing else."""
LICKS_TOGETHER = 3
"""So many rises of the lick line may be licks however short the time."""
LIVE_V = 1e-5
"""A converter's own noise is larger: a signal that spreads less is not connected, or frozen."""


def check_edges(
    *, config: CardConfig, identity: Identity, undetected: str, lost: DeviceError | None, state: int
) -> list[Finding]:
    """Examine the card's presence, what it can do, how it is wired, and the lick line.

    ``undetected`` names the lines without change detection, ``state`` is the level of all lines.
    """
    findings = [
        Finding(name="card", verdict=Verdict.PASS, figure=f"{identity.model}, {identity.serial}, {config.device}"),
        check_pins(config),
    ]
    if undetected:
        findings.append(
            Finding(
                name="edge times",
                verdict=Verdict.WARN,
                figure=f"to {1e3 / config.clocked_hz:g} ms: {undetected} without change detection",
                remedy="use a card with change detection on port 0, such as an X Series card",
            )
        )
    else:
        findings.append(Finding(name="edge times", verdict=Verdict.PASS, figure=f"to {1e9 / TICKS_PER_S:g} ns"))
    if lost is not None:
        findings.append(Finding(name="edges", verdict=Verdict.FAIL, figure=lost.what, remedy=lost.remedy))
    high = bool(state & Line.LICK_SENSOR.mask)
    findings.append(
        Finding(
            name="lick line",
            verdict=Verdict.FAIL if high else Verdict.PASS,
            figure="high with nobody licking" if high else "low",
            remedy="dry the spout, check the sensor and its wire" if high else "",
        )
    )
    return findings


def check_pins(config: CardConfig) -> Finding:
    """Examine whether two signals share a pin: PFI terminals are lines of ports 1 and 2."""
    users: dict[str, list[str]] = {}
    named = {
        "valve": config.valve_terminal,
        "lick trigger": config.lick_terminal,
        "frame pulse": config.frame_output,
        "running": config.running_output,
        "acquisition trigger": config.acquire_output,
        "alignment": config.align_output,
    }
    for user, pin in named.items():
        users.setdefault(pin_of(pin), []).append(user)
    for line, n in config.lines.items():
        users.setdefault(f"port0/line{n}", []).append(line.label)
    counters = [config.valve_counter, config.edge_counter]
    if config.wheel_pulses is not None:
        counters.append(config.wheel_counter)
    shared = [f"{' and '.join(who)} on {pin}" for pin, who in users.items() if len(who) > 1]
    shared += [f"two uses of {counter}" for counter in sorted(set(counters)) if counters.count(counter) > 1]
    return Finding(
        name="pins",
        verdict=Verdict.FAIL if shared else Verdict.PASS,
        figure="; ".join(shared) if shared else f"{len(users)} signals, none shared",
        remedy="give each its own in the rig's file; PFI n is line n of port 1, from 8 on of port 2" if shared else "",
    )


def check_frame_pulse(*, give: Callable[[], float], seen_back: Callable[[], bool]) -> Finding:
    """Give a frame pulse, which says how long the call took in seconds, and see whether it comes back."""
    name = "frame pulse"
    try:
        took_s = give()
        seen = seen_back()
    except DeviceError as error:
        return Finding(name=name, verdict=Verdict.FAIL, figure=error.what, remedy=error.remedy)
    if not seen:
        remedy = "check the wire from the frame-pulse output to its input line"
        return Finding(name=name, verdict=Verdict.FAIL, figure="not seen back", remedy=remedy)
    return Finding(name=name, verdict=Verdict.PASS, figure=f"seen back; the call took {took_s * 1e3:.2f} ms")


def check_valve(
    *,
    calibration: ValveCalibration,
    state: int,
    tells_output: bool,
    n_licks: int,
    listened_s: float,
    watchdog_s: float | None,
    watchdog_error: DeviceError | None,
) -> list[Finding]:
    """Name calibration, echo line at rest, lick line quiet, read-back and watchdog.

    ``state`` is the level of all lines, ``n_licks`` how often the lick line has risen in ``listened_s``.
    """
    c = calibration
    figure = f"{c.volume_min_ul:g} to {c.volume_max_ul:g} uL, measured {c.measured_on}"
    findings = [Finding(name="valve calibration", verdict=Verdict.PASS, figure=figure)]
    high = bool(state & Line.REWARD_ECHO.mask)
    findings.append(
        Finding(
            name="valve echo",
            verdict=Verdict.FAIL if high else Verdict.PASS,
            figure="high: the valve is open, or its echo is wired wrongly" if high else "low",
            remedy="close the water; check the valve's driver and the echo's wire" if high else "",
        )
    )
    if n_licks > LICKS_TOGETHER + MOST_LICKS_PER_S * listened_s:
        remedy = "check the sensor's threshold, its cable and its ground: each rise may be paid"
        figure = f"the lick line has risen {n_licks} times in {listened_s:.1f} s"
        findings.append(Finding(name="lick line", verdict=Verdict.FAIL, figure=figure, remedy=remedy))
    if not tells_output:
        findings.append(
            Finding(
                name="valve read-back",
                verdict=Verdict.WARN,
                figure="the driver doesn't tell the counter's output; its echo stands in",
                remedy="check that the echo is wired to its input line",
            )
        )
    if watchdog_s is None:
        watchdog = Finding(name="valve watchdog", verdict=Verdict.WARN, figure="none in the rig's file")
    elif watchdog_error is not None:
        remedy = "pulses are finite without it; leave it out of the rig's file if the card has none"
        watchdog = Finding(name="valve watchdog", verdict=Verdict.WARN, figure=watchdog_error.what, remedy=remedy)
    else:
        watchdog = Finding(name="valve watchdog", verdict=Verdict.PASS, figure=f"runs, {watchdog_s:g} s")
    return [*findings, watchdog]


def check_encoder(*, signal_v: FloatArray, supply_v: FloatArray) -> list[Finding]:
    """Examine the supply, and whether the signal lives; shape (n,) each."""
    if not len(signal_v):
        remedy = "look whether another program uses the card's analog inputs"
        return [Finding(name="encoder", verdict=Verdict.FAIL, figure="no samples", remedy=remedy)]
    mean_v = float(np.mean(supply_v))
    low_v, high_v = SUPPLY_V
    good = low_v <= mean_v <= high_v
    lives = float(np.ptp(signal_v)) > LIVE_V
    return [
        Finding(
            name="encoder supply",
            verdict=Verdict.PASS if good else Verdict.FAIL,
            figure=f"{mean_v:.3f} V",
            remedy="" if good else f"check the encoder's supply: {low_v:g} to {high_v:g} V",
        ),
        Finding(
            name="encoder signal",
            verdict=Verdict.PASS if lives else Verdict.WARN,
            figure=f"{float(np.ptp(signal_v)) * 1e3:.3f} mV over {len(signal_v)} samples",
            remedy="" if lives else "turn the wheel; if it stays still, check the wires to the analog inputs",
        ),
    ]


def loopback(valve: RewardValve, *, echo_is_high: Callable[[], bool], volume_ul: float, n: int = 20) -> list[Finding]:
    """Pulse the valve's line ``n`` times and stop one in the middle, and measure all by the echo.

    In real time only. The valve is unplugged or its water closed; the echo is wired to the counter's output
    itself. Together with two outputs toggled nanoseconds apart this is the first hour on a real card
    (``hardware.nidaq`` lists it).
    """
    asked_s = valve.open_time_s(volume_ul=volume_ul)
    opened_s: list[float] = []
    failed: list[str] = []
    for reward in range(n):
        valve.pulse(reward=reward, volume_ul=volume_ul)
        for report in _reports(valve, limit_s=asked_s + 1.0):
            if report.outcome is PulseOutcome.CONFIRMED:
                opened_s.append(report.open_s)
            elif report.outcome is PulseOutcome.FAILED:
                failed.append(report.why)
    worst_us = max((abs(open_s - asked_s) for open_s in opened_s), default=0.0) * 1e6
    good = len(opened_s) == n and worst_us < LARGEST_ERROR_US
    findings = [
        Finding(
            name="valve pulses",
            verdict=Verdict.PASS if good else Verdict.FAIL,
            figure="; ".join([f"{len(opened_s)} of {n}, worst {worst_us:.2f} us off", *failed[:3]]),
            remedy="" if good else "compare with the counter's output on an oscilloscope",
        )
    ]
    valve.pulse(reward=n, volume_ul=volume_ul)
    time.sleep(asked_s / 3)
    valve.close_now()
    time.sleep(0.05)
    stuck = echo_is_high()
    findings.append(
        Finding(
            name="valve stopped in mid pulse",
            verdict=Verdict.FAIL if stuck else Verdict.PASS,
            figure="still high 50 ms later" if stuck else "low",
            remedy="use another card for the valve: a counter that is stopped must be at rest" if stuck else "",
        )
    )
    return findings


def _reports(valve: RewardValve, *, limit_s: float) -> list[PulseReport]:
    """Return a pulse's reports up to the last of them."""
    reports: list[PulseReport] = []
    ends_s = time.perf_counter() + limit_s
    while time.perf_counter() < ends_s:
        reports += valve.poll()
        if reports and reports[-1].outcome is not PulseOutcome.FIRED:
            break
        time.sleep(0.002)
    return reports
