"""What the card's lines show while the session runs: frames, exposures and the photodiode, counted as they come.

``LineWatch`` stands before the log and sees every edge on its way there, in the thread that gathers columns; it keeps
little and judges nothing. What it has seen is one frozen value, which the loop takes whenever it likes.
``LineMonitors`` judges it once a second: a line that is silent, has another line's pulses, or the wrong rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from hardware.arrays import AnyArray, IntArray
from hardware.clock import TICKS_PER_S
from hardware.lines import IDLE_STATE, Line
from hardware.protocols import EdgeSink
from hardware.pulses import WRONG_RATE
from rig.session.monitors import FaultEvent, Monitor
from rig.session.streams import Streams

WATCHED = (Line.VSYNC_2P, Line.STIM_PHOTODIODE, Line.CAM1_EXPOSURE, Line.CAM2_EXPOSURE, Line.ALIGN, Line.LICK_SENSOR)
CAMERAS = frozenset({Line.CAM1_EXPOSURE, Line.CAM2_EXPOSURE})
KEPT_RISES = 64
"""The last ones, of each line: two seconds of a single plane, a half of four."""
SILENT_S = 2.0
"""Exposures come some thirty times a second."""
SILENT_PATCHES = 2.5
"""The patch changes once a second."""
JUDGED_RISES = 12
"""A rate is judged by so many pulses."""
RECENT_TICKS = 3 * TICKS_PER_S // 2
"""Pulses that are older say nothing of which line they come on now."""
SAME_RATE = 0.005
NOISY_CHANGES = 5
"""More changes of the photodiode in a second than a patch makes, splash excepted."""
NEVER = -1


@dataclass(frozen=True, slots=True)
class LineSeen:
    """What one line has shown."""

    n_rises: int = 0
    changed_ticks: int = NEVER
    """Of the last change."""
    is_high: bool = False
    rises: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    """Ticks of the last ``KEPT_RISES`` at most."""

    def rate_hz(self, *, since_ticks: int) -> float:
        """Return the rate of the last rises, by their median; 0 where there are too few since a count."""
        last = self.rises[-JUDGED_RISES:].tolist()
        if len(last) < JUDGED_RISES or last[0] < since_ticks:
            return 0.0
        return float(TICKS_PER_S / sorted(after - rise for rise, after in pairwise(last))[JUDGED_RISES // 2 - 1])


class LineWatch:
    """Passes edges on to a sink and takes note of them.

    ``seen`` is replaced as a whole, never changed: another thread may take it at any time.

    Parameters
    ----------
    streams
        Judges them once a minute.
    """

    def __init__(self, sink: EdgeSink | None, *, streams: Streams) -> None:
        self._sink = sink
        self.streams = streams
        self._state = IDLE_STATE
        self.seen: Mapping[Line, LineSeen] = dict.fromkeys(WATCHED, LineSeen())

    def begin(self, state: int | None) -> None:
        """Take the state of all lines before the session's first edge."""
        self._state = IDLE_STATE if state is None else state
        self.streams.begin(self._state)
        self.seen = {line: LineSeen(is_high=bool(self._state & line.mask)) for line in WATCHED}

    def __call__(self, *, ticks: IntArray, states: AnyArray) -> None:
        """See ``EdgeSink``."""
        if self._sink is not None:
            self._sink(ticks=ticks, states=states)
        self.streams.take(ticks=ticks, states=states)
        now = np.asarray(states, np.int64)
        before = np.concatenate([[self._state], now[:-1]])
        self._state = int(now[-1])
        changed = now ^ before
        any_changed = int(np.bitwise_or.reduce(changed))
        seen = dict(self.seen)
        for line in WATCHED:
            if any_changed & line.mask:
                changes = changed & line.mask != 0
                seen[line] = _more(seen[line], ticks[changes], now[changes] & line.mask != 0)
        self.seen = seen


def _more(was: LineSeen, ticks: IntArray, levels: AnyArray) -> LineSeen:
    rises = ticks[levels]
    return LineSeen(
        n_rises=was.n_rises + len(rises),
        changed_ticks=int(ticks[-1]),
        is_high=bool(levels[-1]),
        rises=np.concatenate([was.rises, rises])[-KEPT_RISES:],
    )


@dataclass(frozen=True, slots=True)
class Expected:
    """What the lines are to show now."""

    photodiode: bool
    """The patch is under it."""
    frames_hz: float | None
    """Edges a second on the 2-photon line; None while no frames are expected."""
    exposures: bool


class LineMonitors:
    """Judges what the lines have shown.

    Parameters
    ----------
    patch_s
        How long the patch under the photodiode stays as it is.
    """

    def __init__(self, *, patch_s: float) -> None:
        self._patch_s = patch_s
        self._photodiode = Monitor("photodiode")
        self._cameras = Monitor("cameras")
        self._rate = Monitor("microscope")
        self._swapped = Monitor("lines")
        self._since: dict[str, int] = {}
        self._alike: dict[Line, int] = {}  # lines as fast as the frames, and from when on they were beside them
        self._alike_until = 0
        self._n_changes: tuple[int, int] = (0, 0)  # rises of the photodiode at the last tick, and its ticks

    def tick(
        self, seen: Mapping[Line, LineSeen], expected: Expected, *, read_ticks: int, time_s: float
    ) -> Iterable[FaultEvent]:
        """Judge every line that is expected to show something; ``read_ticks`` is until when all have been read."""
        events: list[FaultEvent] = []
        swapped = self._find_swapped(seen, expected, read_ticks)
        events += self._swapped.judge(
            faulty=swapped is not None,
            what=swapped or "",
            remedy="exchange the two wires at the card, or their lines in the rig's file",
            time_s=time_s,
        )
        events += self._judge_photodiode(seen[Line.STIM_PHOTODIODE], expected, read_ticks, time_s)
        events += self._judge_rate(seen[Line.VSYNC_2P], expected, read_ticks, time_s)
        events += self._judge_cameras(seen, expected, read_ticks, time_s)
        return events

    def forget(self, devices: Sequence[str]) -> None:
        """Say anew what is still wrong with the lines of devices that have said that they work again."""
        for monitor in (self._rate, self._cameras):
            if monitor.device in devices:
                monitor.forget()

    def _expected_since(self, what: str, is_expected: bool, read_ticks: int) -> int | None:
        """Return the count from which on something has been expected without a break."""
        if not is_expected:
            self._since.pop(what, None)
            return None
        return self._since.setdefault(what, read_ticks)

    def _judge_photodiode(
        self, seen: LineSeen, expected: Expected, read_ticks: int, time_s: float
    ) -> Iterable[FaultEvent]:
        since = self._expected_since("photodiode", expected.photodiode, read_ticks)
        n_before, at = self._n_changes
        self._n_changes = seen.n_rises, read_ticks
        if since is None:
            return ()
        silent_s = (read_ticks - max(seen.changed_ticks, since)) / TICKS_PER_S
        is_silent = silent_s > SILENT_PATCHES * self._patch_s
        passed_s = max((read_ticks - at) / TICKS_PER_S, self._patch_s)
        is_noisy = at > since and 2 * (seen.n_rises - n_before) / passed_s * self._patch_s > NOISY_CHANGES
        if is_silent and seen.is_high:
            what = f"stim_photodiode has been high for {silent_s:.1f} s: it sees steady light, its patch is covered"
            remedy = "look what lies over the patch: another window, or light that falls on the photodiode"
        elif is_silent:
            what = f"stim_photodiode has been low for {silent_s:.1f} s: it is unplugged, or sees nothing of its patch"
            remedy = "check the photodiode's plug and supply, and that it sits on its patch"
        else:
            what = (
                f"stim_photodiode rises {(seen.n_rises - n_before) / passed_s:.1f} times a second: not with its patch"
            )
            remedy = "check its threshold, its cable, and what else may be on its line"
        return self._photodiode.judge(faulty=is_silent or is_noisy, what=what, remedy=remedy, time_s=time_s)

    def _judge_rate(self, seen: LineSeen, expected: Expected, read_ticks: int, time_s: float) -> Iterable[FaultEvent]:
        since = self._expected_since("frames", expected.frames_hz is not None, read_ticks)
        if since is None or expected.frames_hz is None:
            return ()
        rate_hz = seen.rate_hz(since_ticks=max(since, read_ticks - 4 * TICKS_PER_S))
        if not rate_hz:
            return ()
        return self._rate.judge(
            faulty=abs(rate_hz / expected.frames_hz - 1) > WRONG_RATE,
            what=f"frames come {rate_hz:.2f} times a second on vsync_2p, not {expected.frames_hz:g}",
            remedy="compare rate and plane groups of the microscope with the rig's file",
            time_s=time_s,
        )

    def _judge_cameras(
        self, seen: Mapping[Line, LineSeen], expected: Expected, read_ticks: int, time_s: float
    ) -> Iterable[FaultEvent]:
        since = self._expected_since("exposures", expected.exposures, read_ticks)
        if since is None:
            return ()
        silent = {
            line.label: (read_ticks - max(seen[line].changed_ticks, since)) / TICKS_PER_S for line in sorted(CAMERAS)
        }
        longest_s = max(silent.values())
        names = " and ".join(name for name, silent_s in silent.items() if silent_s > SILENT_S)
        return self._cameras.judge(
            faulty=longest_s > SILENT_S,
            what=f"no exposure on {names} for {longest_s:.1f} s",
            remedy="look whether the camera runs, and check its exposure line",
            time_s=time_s,
        )

    def _find_swapped(self, seen: Mapping[Line, LineSeen], expected: Expected, read_ticks: int) -> str | None:
        """Return which line has the frames of the 2-photon line, if that has others or none."""
        if expected.frames_hz is None:
            return None
        recent, frames_hz = read_ticks - RECENT_TICKS, expected.frames_hz

        def has_frames(line: Line) -> bool:
            return abs(seen[line].rate_hz(since_ticks=recent) / frames_hz - 1) < SAME_RATE

        alike = {line for line in WATCHED if line is not Line.VSYNC_2P and has_frames(line)}
        if has_frames(Line.VSYNC_2P):
            self._alike = {line: self._alike.get(line, read_ticks) for line in alike}
            self._alike_until = read_ticks
            return None
        if alike >= CAMERAS:  # were one of them swapped, the 2-photon line would have that camera's exposures
            alike -= CAMERAS
        alike -= {line for line, since in self._alike.items() if self._alike_until - since >= 2 * RECENT_TICKS}
        others = [line for line in WATCHED if line in alike]
        if not others:
            return None
        return f"{others[0].label} has the frames of vsync_2p: the two lines are swapped"
