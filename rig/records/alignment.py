"""Whether everything that was recorded can be put on one clock: a finding a stream, from the session's record.

Every hardware stream (frame pulses, photodiode, licks, 2-photon frames, exposures) comes on the card's clock, so no
stream has to be fitted to another. What can go wrong is that pulses are missing, extra, short, early, or come on the
wrong line, and that what was counted is not what was recorded elsewhere: each is named here. ``aligned to ± X us`` says
how far a stream's times lie from where an even one would have them, or from what they belong to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from hardware.arrays import FloatArray, IntArray
from hardware.clock import TICKS_PER_S
from hardware.events import (
    CameraState,
    Finding,
    ImagingPhase,
    ImagingStep,
    MicroscopeClock,
    MicroscopePhase,
    MicroscopeState,
    Verdict,
)
from hardware.lines import Line
from hardware.pulses import FEWEST_CHANGES, MOST_OF, WRONG_RATE, Train, delays_of, train_of, train_of_recordings
from rig.log.reader import SessionLog
from rig.records.card_lines import CardLines
from rig.records.monitor_delay import MonitorDelay, measured_delay
from rig.records.summary import Summary
from stages.events import Lick
from stimuli.patch import PATCH_FLIPS

TWO_PHOTON = "2-photon frames"
"""The name of the microscope's stream."""
CLOSE_US = 1000.0
"""Half a millisecond's more than any card's call takes; a stream that is further off is warned of."""
TICK_US = 1e6 / TICKS_PER_S
"""Nothing is known better."""
CLOCK_BOUND_S = 1e-3
"""Timed exchanges on one computer are ten times better, over a laboratory's network about so good."""
TRIGGER_SLACK_S = 1e-3
"""A first frame may come with its trigger."""
UNWRITTEN_S = 0.5
"""Longer than anything waits to be written."""
FEW_ALIGN_S = 30.0
"""In so long there are at least two alignment pulses."""


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """One stream: how many events were counted, how many there should be, how well they are aligned."""

    name: str
    verdict: Verdict
    counted: int
    expected: int | None = None
    """By who made them; None where nobody says."""
    aligned_us: float | None = None
    rate_hz: float | None = None
    what: str = ""
    """What is to be said besides."""
    remedy: str = ""

    def finding(self) -> Finding:
        """Return it as a finding."""
        parts = [f"{self.counted} counted"]
        if self.expected is not None:
            parts[0] += f", {self.expected} expected"
        if self.rate_hz is not None:
            parts.append(f"{self.rate_hz:.3f} Hz")
        if self.what:
            parts.append(self.what)
        if self.aligned_us is not None:
            aligned_us = max(self.aligned_us, TICK_US)
            parts.append(f"aligned to ± {aligned_us:.{0 if aligned_us >= 10 else 2}f} us")
        return Finding(
            name=f"alignment of {self.name}", verdict=self.verdict, figure="; ".join(parts), remedy=self.remedy
        )


class Alignment(msgspec.Struct, frozen=True, kw_only=True):
    """All streams of a session, and what the photodiode says of the monitor."""

    streams: list[Stream] = []
    delay: MonitorDelay | None = None
    """Measured; None where it could not be."""
    delay_from_pulses_s: float | None = None
    """The same from the frame pulses instead of the flips: what the sync file's readers find."""


def alignment_of(log: SessionLog) -> Alignment:
    """Return how a session's streams are aligned; nothing of a session without a card."""
    lines = CardLines.of(log)
    if not len(lines.edges) or lines.zero is None or not len(log.flips):
        return Alignment()
    flips_s = log.flips["time_s"].astype(np.float64)
    rig = log.started.rig_parameters
    falls_s = lines.falls_s(Line.VSYNC_STIM)
    if log.ended is None:
        until_s = _whole_until_s(log, flips_s, lines)
        flips_s, falls_s = flips_s[flips_s < until_s], falls_s[falls_s < until_s]
        if not len(flips_s):
            return Alignment()
    streams = [_flips(flips_s, falls_s)]
    delay, from_pulses_s = None, None
    if has_photodiode(rig):
        stream, delay, from_pulses_s = _photodiode(lines, flips_s, falls_s)
        streams.append(stream)
    streams.append(_licks(log, lines, until_s=float(flips_s[-1])))
    said = said_of_recording(log)
    if said or len(lines.rises_s(Line.VSYNC_2P)):
        streams.append(_frames(lines, said, rig))
    if clock := [entry.event for entry in log.entries if isinstance(entry.event, MicroscopeClock)]:
        streams.append(_clock(clock))
    streams += _exposures(lines, [entry.event for entry in log.entries if isinstance(entry.event, CameraState)])
    streams.append(_pulses(lines, until_s=float(flips_s[-1])))
    return Alignment(streams=streams, delay=delay, delay_from_pulses_s=from_pulses_s)


def _whole_until_s(log: SessionLog, flips_s: FloatArray, lines: CardLines) -> float:
    """Return until when all files of a session that still runs, or broke off, are whole: in between two flips.

    Each of them is written by itself and read at another time, so that their ends are apart.
    """
    last_entry = min(log.entries[-1].flip, len(flips_s) - 1)
    last_edge_s = float(lines.seconds(lines.edges["ticks"][-1:].astype(np.int64))[0])
    until_s = min(float(flips_s[last_entry]), last_edge_s) - UNWRITTEN_S
    after = int(np.searchsorted(flips_s, until_s))
    return float(flips_s[after - 1 : after + 1].mean()) if 0 < after < len(flips_s) else until_s


def has_photodiode(rig_parameters: Mapping[str, Any]) -> bool:
    """Return whether a rig's photodiode looks at the patch, from what stands in the log."""
    card = rig_parameters.get("card") or {}
    if card.get("kind") != "nidaq":
        return True
    shows_patch = card.get("twin") is not None or (rig_parameters.get("screen") or {}).get("patch") is not None
    return Line.STIM_PHOTODIODE.label in (card.get("lines") or {}) and shows_patch


def plane_groups(rig_parameters: Mapping[str, Any]) -> int:
    """Return how many edges the 2-photon line has for each frame of a plane."""
    return int((rig_parameters.get("microscope") or {}).get("plane_groups", 1))


def frame_times_s(lines: CardLines) -> FloatArray:
    """Return the session times of all 2-photon frames: pulses since the first trigger that are wide enough."""
    return _frame_train(lines)[0].times_s


def frame_groups(lines: CardLines, times_s: FloatArray, n_groups: int) -> IntArray:
    """Return the plane group of each 2-photon frame: by turns, from group 0 on with every recording.

    In a session of one recording, the frames of plane group g of n are every n-th of them from number g on.
    """
    begun = np.searchsorted(times_s, lines.rises_s(Line.ACQ_TRIGGER)[1:] - TRIGGER_SLACK_S)
    first = np.zeros(len(times_s), np.int64)
    first[begun[begun < len(times_s)]] = begun[begun < len(times_s)]
    groups: IntArray = (np.arange(len(times_s)) - np.maximum.accumulate(first)) % n_groups
    return groups


def _frame_train(lines: CardLines) -> tuple[Train, int]:
    """Return the frames, and how many pulses came before the trigger: those are none (NWB_CONTRACT 9)."""
    rises_s, falls_s = lines.rises_s(Line.VSYNC_2P), lines.falls_s(Line.VSYNC_2P)
    triggers_s = lines.rises_s(Line.ACQ_TRIGGER)
    if not len(triggers_s):
        return train_of(rises_s, falls_s), 0
    after = rises_s >= triggers_s[0] - TRIGGER_SLACK_S
    train = train_of_recordings(rises_s[after], falls_s, triggers_s[1:] - TRIGGER_SLACK_S)
    return train, int((~after).sum())


def _us(residual_s: FloatArray) -> float | None:
    return float(np.quantile(np.abs(residual_s), MOST_OF)) * 1e6 if len(residual_s) else None


def _flips(flips_s: FloatArray, falls_s: FloatArray) -> Stream:
    """Judge frame pulses: one a flip, each soon after it."""
    n = min(len(flips_s), len(falls_s))
    if len(flips_s) == len(falls_s):
        apart_s = falls_s - flips_s
    else:
        at = np.clip(np.searchsorted(falls_s, flips_s - 1e-3), 0, max(len(falls_s) - 1, 0))
        apart_s = falls_s[at] - flips_s if n else np.empty(0)
    aligned_us = _us(apart_s)
    is_complete = len(flips_s) == len(falls_s)
    is_close = aligned_us is not None and aligned_us <= CLOSE_US
    return Stream(
        name="stimulus frames",
        verdict=Verdict.PASS if is_complete and is_close else Verdict.WARN,
        counted=len(falls_s),
        expected=len(flips_s),
        aligned_us=aligned_us,
        remedy="" if is_complete and is_close else "check the frame-pulse line, and what keeps this computer busy",
    )


def _photodiode(
    lines: CardLines, flips_s: FloatArray, falls_s: FloatArray
) -> tuple[Stream, MonitorDelay | None, float | None]:
    """Judge the photodiode; measure the monitor's delay by it."""
    changes_s, levels = lines.changes_s(Line.STIM_PHOTODIODE)
    delays_s, _ = delays_of(changes_s, levels, flips_s=flips_s, every=PATCH_FLIPS)
    n_expected = -(-len(flips_s) // PATCH_FLIPS)
    delay, why = measured_delay(delays_s, n_expected=n_expected)
    from_pulses_s = None
    if len(falls_s) == len(flips_s) and delay is not None:
        pulse_delays_s, _ = delays_of(changes_s, levels, flips_s=falls_s, every=PATCH_FLIPS)
        from_pulses_s = float(pulse_delays_s.mean())
    verdict = Verdict.PASS if delay is not None else Verdict.FAIL
    if delay is None and n_expected < FEWEST_CHANGES and len(delays_s) >= n_expected - 1:
        verdict = Verdict.PASS  # all were seen, of a session that is over too soon to measure anything
    stream = Stream(
        name="photodiode",
        verdict=verdict,
        counted=len(delays_s),
        expected=n_expected,
        aligned_us=_us(delays_s - delays_s.mean()) if delay is not None else None,
        what=f"monitor's delay {delay.words()}" if delay is not None else why,
        remedy="" if verdict is Verdict.PASS else "check the photodiode, its place on the patch and its wire",
    )
    return stream, delay, from_pulses_s


def _licks(log: SessionLog, lines: CardLines, *, until_s: float) -> Stream:
    """Judge licks: each that the task saw is a rise of the line, at its time."""
    seen_s = np.array([e.event.time_s for e in log.entries if isinstance(e.event, Lick)])
    rises_s = lines.rises_s(Line.LICK_SENSOR)
    rises_s, seen_s = rises_s[rises_s <= until_s], seen_s[seen_s <= until_s]
    apart_s = np.empty(0)
    if len(seen_s) and len(rises_s):
        at = np.searchsorted(rises_s, seen_s)
        near = np.stack([rises_s[np.clip(at - 1, 0, None)], rises_s[np.clip(at, None, len(rises_s) - 1)]])
        apart_s = np.abs(near - seen_s).min(axis=0)
    good = abs(len(rises_s) - len(seen_s)) <= 1  # the last one may have come after the task's last step
    return Stream(
        name="licks",
        verdict=Verdict.PASS if good else Verdict.WARN,
        counted=len(rises_s),
        expected=len(seen_s),
        aligned_us=_us(apart_s),
        remedy="" if good else "compare the lick line with the log's licks",
    )


def _frames(lines: CardLines, said: list[MicroscopeState | ImagingStep], rig: Mapping[str, Any]) -> Stream:
    """Judge the 2-photon frames: as many as the microscope says, evenly."""
    train, n_before = _frame_train(lines)
    n_groups = plane_groups(rig)
    expected = frames_expected(said)
    states = [event for event in said if isinstance(event, MicroscopeState)]
    odd = [*_unlike(train, states, rig), *_odd(train)]
    if n_before:
        odd.append(f"{n_before} pulses before the trigger, which are no frames")
    warnings = dict.fromkeys(warning for state in states for warning in state.warnings)
    odd += [f"the microscope warns: {warning}" for warning in warnings]
    groups = f"{n_groups} plane group{'s' if n_groups > 1 else ''}"
    return _train_stream(
        TWO_PHOTON,
        train,
        expected=expected,
        what=[groups, *odd],
        remedy="compare the recording's frames with these before it is aligned",
        no_pulse="check the wire of vsync_2p, and whether the microscope acquired: nothing can be aligned",
        is_odd=bool(odd),
    )


def _unlike(train: Train, said: Sequence[MicroscopeState], rig: Mapping[str, Any]) -> list[str]:
    """Return in what a recording is not as the rig's file has it, whose plane groups the frames are given to."""
    unlike = []
    recorded = {state.plane_groups for state in said if state.phase is MicroscopePhase.ACQUIRING}
    if others := sorted(recorded - {plane_groups(rig)}):
        unlike.append(f"{' and '.join(map(str, others))} by the microscope's own word")
    rate_hz = (rig.get("microscope") or {}).get("frame_rate_hz")
    if rate_hz is not None and abs(train.rate_hz / (rate_hz * plane_groups(rig)) - 1) > WRONG_RATE:
        unlike.append(f"not the {rate_hz * plane_groups(rig):g} Hz of the rig's file")
    return unlike


def said_of_recording(log: SessionLog) -> list[MicroscopeState | ImagingStep]:
    """Return what was said of this session's recordings.

    A microscope's program runs on from session to session, and until it has been prepared it speaks of the one before:
    of that one's frames and files.
    """
    said = [entry.event for entry in log.entries if isinstance(entry.event, MicroscopeState | ImagingStep)]
    steps = [i for i, event in enumerate(said) if isinstance(event, ImagingStep)]
    if not steps:
        return said  # nobody commanded it step by step: all that it says is of now
    prepared = (i for i in steps if said[i].phase is ImagingPhase.ARMING)
    begun = next(prepared, len(said))
    return [event for i, event in enumerate(said) if i >= begun or isinstance(event, ImagingStep)]


def frames_expected(said: Sequence[MicroscopeState | ImagingStep]) -> int | None:
    """Return how many frames the microscope says it took, over all of its recordings.

    None if it never said the last, or counts none.

    A recording's last word is that it has stopped; frames that were taken after an earlier word were not counted in it.
    """
    total, of_this, is_last = 0, 0, False
    for event in said:
        if isinstance(event, ImagingStep):
            if event.phase is ImagingPhase.STARTING:
                total, of_this, is_last = total + of_this, 0, False
        elif event.phase in (MicroscopePhase.ACQUIRING, MicroscopePhase.STOPPED, MicroscopePhase.IDLE):
            of_this = max(of_this, event.n_frames or 0)
            is_last = event.phase is not MicroscopePhase.ACQUIRING and event.n_frames is not None
    return total + of_this if is_last else None


def _clock(clock: list[MicroscopeClock]) -> Stream:
    """Judge the microscope computer's clock, by timed exchanges: where it stood, its drift, how well both are known."""
    host_s = np.array([event.host_s for event in clock])
    offset_s = np.array([event.offset_s for event in clock])
    bound_s = float(np.median([event.bound_s for event in clock]))
    what = f"{offset_s[0] * 1e3:+.3f} ms at first"
    residual_s = offset_s - offset_s.mean()
    if len(clock) > 1 and np.ptp(host_s) > 0:
        drift, at_mean_s = np.polyfit(host_s - host_s.mean(), offset_s, 1).tolist()
        residual_s = offset_s - (at_mean_s + drift * (host_s - host_s.mean()))
        what += f", drifts {drift * 1e6:+.1f} ppm"
    unexplained_s = np.abs(residual_s) - [event.bound_s for event in clock]  # by what the network took
    jumps = float(unexplained_s.max()) > CLOCK_BOUND_S
    if jumps:
        what += ", and jumped: it is no steady clock, or its computer was started anew"
    good = bound_s <= CLOCK_BOUND_S and not jumps
    return Stream(
        name="microscope clock",
        verdict=Verdict.PASS if good else Verdict.WARN,
        counted=len(clock),
        aligned_us=max(bound_s, float(np.abs(residual_s).max())) * 1e6,
        what=what,
        remedy=""
        if good
        else "its own times are good to so much; the frames on the card's clock are not touched by it",
    )


def _exposures(lines: CardLines, cameras: list[CameraState]) -> list[Stream]:
    """Judge the cameras' exposures: as many as each camera says; those of cameras that nobody commands as well."""
    last = cameras[-1] if cameras else CameraState(recording=True)
    streams = []
    for i, line in enumerate((Line.CAM1_EXPOSURE, Line.CAM2_EXPOSURE)):
        train = train_of(lines.rises_s(line), lines.falls_s(line))
        if not cameras and not train.n:
            continue
        expected = last.n_exposures[i] if not last.recording and i < len(last.n_exposures) else None
        file = [f"in {last.files[i]}"] if i < len(last.files) else []
        odd = _odd(train)
        streams.append(
            _train_stream(
                line.label.replace("_", " "),
                train,
                expected=expected,
                what=[*file, *odd],
                remedy="compare the video's frames with these before it is aligned",
                no_pulse=f"check the wire of {line.label}, and whether the camera recorded: nothing can be aligned",
                is_odd=bool(odd),
            )
        )
    return streams


def _pulses(lines: CardLines, *, until_s: float) -> Stream:
    """Judge the pulses for other recorders: they are there."""
    n = len(lines.rises_s(Line.ALIGN))
    good = n >= 2 or until_s < FEW_ALIGN_S
    return Stream(
        name="alignment pulses",
        verdict=Verdict.PASS if good else Verdict.WARN,
        counted=n,
        what="at random intervals",
        remedy="" if good else "check the align line and its echo: no other recorder can be aligned by it",
    )


def _odd(train: Train) -> list[str]:
    """Return what is not as it should be with a train of pulses, by name."""
    odd = []
    for n, name in ((train.n_missing, "missing"), (train.n_extra, "extra"), (train.n_short, "short")):
        if n:
            odd.append(f"{n} {name}")
    return odd


def _train_stream(
    name: str, train: Train, *, expected: int | None, what: list[str], remedy: str, no_pulse: str, is_odd: bool
) -> Stream:
    """Judge a train of pulses; ``remedy`` is for one that is not as it should be, ``no_pulse`` where there is none."""
    is_even = math.isfinite(train.rate_hz)
    agrees = expected is None or expected == train.n
    verdict = Verdict.FAIL if not train.n else Verdict.PASS if agrees and not is_odd else Verdict.WARN
    return Stream(
        name=name,
        verdict=verdict,
        counted=train.n,
        expected=expected,
        aligned_us=train.uneven_s * 1e6 if is_even and math.isfinite(train.uneven_s) else None,
        rate_hz=train.rate_hz if is_even else None,
        what=", ".join(what),
        remedy={Verdict.PASS: "", Verdict.FAIL: no_pulse}.get(verdict, remedy),
    )


def with_alignment(summary: Summary, alignment: Alignment, *, delay: MonitorDelay | None = None) -> Summary:
    """Return the summary with a finding a stream, and the monitor's delay as it was measured, where it was.

    Parameters
    ----------
    delay
        Another, which counts instead.
    """
    delay = delay or alignment.delay
    summary = msgspec.structs.replace(summary, alignment=[stream.finding() for stream in alignment.streams])
    if delay is None:
        return summary
    return msgspec.structs.replace(
        summary,
        monitor_delay_s=delay.delay_s,
        monitor_delay_origin=delay.origin.value,
        monitor_delay_spread_s=delay.spread_s,
    )
