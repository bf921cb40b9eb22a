"""What the edges of a line say: its rises and falls, how even they are, which are missing, extra or too short.

Pure functions over arrays, for the live session, the finished record and tests alike. Times are seconds of whatever
clock they come on; nothing here knows a session.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hardware.arrays import AnyArray, FloatArray, IntArray
from hardware.lines import Line

SHORT = 0.5
"""A pulse of less than half the usual width is none; solenoids leave such (RIG_LESSONS, SDK #1545)."""
EARLY, LATE = 0.6, 1.5
"""In usual intervals: what comes sooner after a pulse is extra, what comes later has pulses missing before it."""
NEARLY = 0.1
"""Of an interval: what is as near to a pulse's place is that pulse."""
MOST_OF = 0.999
"""A train is as even as this share of its intervals."""
WRONG_RATE = 0.02
"""Of a microscope's nominal rate; a crystal is a thousand times better, a wrong setting ten times worse."""
FEWEST = 10
"""A train of fewer pulses has no rate."""
LARGEST_DELAY_S = 0.07
"""From a flip to its picture; AllenSDK takes a longer one for a mistake (TASK_FACTS 8)."""
FEWEST_CHANGES = 10
"""Of the patch, ten seconds' worth: fewer measure no delay."""
LONGEST_DELAY_S = 0.5
"""A change of the photodiode that comes later belongs to no change of the patch."""


def changes_of(line: Line, ticks: IntArray, states: AnyArray, *, before: int) -> tuple[IntArray, AnyArray]:
    """Return when a line changed, and its level from each change on, shape (n,) both.

    Parameters
    ----------
    ticks, states
        Every edge of all lines, and the state word after it.
    before
        The state word before the first of them.
    """
    level = (np.asarray(states, np.int64) & line.mask) != 0
    changed = np.diff(level, prepend=bool(before & line.mask))
    return np.asarray(ticks, np.int64)[changed], level[changed]


@dataclass(frozen=True, slots=True)
class Train:
    """A line of regular pulses, as far as it is one."""

    n: int
    """Pulses that are wide enough."""
    rate_hz: float
    """By the median interval; nan with fewer than ``FEWEST`` pulses."""
    uneven_s: float
    """Intervals are off the median by no more, but for one in a thousand and those named below; nan likewise."""
    n_missing: int
    n_extra: int
    n_short: int
    times_s: FloatArray
    """Of the pulses that are wide enough, shape (n,)."""


def train_of(rises_s: FloatArray, falls_s: FloatArray) -> Train:
    """Return what a line of regular pulses shows.

    Parameters
    ----------
    rises_s, falls_s
        Of the line, in order; a fall before the first rise, or a rise that has not fallen yet, may be among them.
    """
    n_short = 0
    if len(rises_s) and len(falls_s):
        end = np.searchsorted(falls_s, rises_s, side="right")
        fell = end < len(falls_s)
        width_s = np.full(len(rises_s), np.nan)
        width_s[fell] = falls_s[end[fell]] - rises_s[fell]
        if fell.any():
            short = width_s < SHORT * np.nanmedian(width_s)
            n_short = int(short.sum())
            rises_s = rises_s[~short]
    if len(rises_s) < FEWEST:
        return Train(len(rises_s), np.nan, np.nan, 0, 0, n_short, rises_s)
    intervals_s = np.diff(rises_s)
    period_s = float(np.median(intervals_s))
    relative = intervals_s / period_s
    late = relative > LATE
    early = relative < EARLY
    even = ~(late | early)
    uneven_s = float(np.quantile(np.abs(intervals_s[even] - period_s), MOST_OF)) if even.any() else np.nan
    return Train(
        n=len(rises_s),
        rate_hz=1.0 / period_s,
        uneven_s=uneven_s,
        n_missing=int((np.rint(relative[late]) - 1).sum()),
        n_extra=_n_extra(relative, early),
        n_short=n_short,
        times_s=rises_s,
    )


def train_of_recordings(rises_s: FloatArray, falls_s: FloatArray, begun_s: FloatArray) -> Train:
    """Return what a line of regular pulses shows that was begun anew now and then: no pulse is missing in between.

    Parameters
    ----------
    begun_s
        When each recording began; what comes before the first one is one of its own.
    """
    parts = [train_of(part_s, falls_s) for part_s in np.split(rises_s, np.searchsorted(rises_s, begun_s))]
    parts = [part for part in parts if part.n or part.n_short]
    if len(parts) <= 1:
        return parts[0] if parts else train_of(rises_s, falls_s)
    longest = max(parts, key=lambda part: part.n)
    uneven_s = [part.uneven_s for part in parts if np.isfinite(part.uneven_s)]
    return Train(
        n=sum(part.n for part in parts),
        rate_hz=longest.rate_hz,
        uneven_s=max(uneven_s, default=np.nan),
        n_missing=sum(part.n_missing for part in parts),
        n_extra=sum(part.n_extra for part in parts),
        n_short=sum(part.n_short for part in parts),
        times_s=np.concatenate([part.times_s for part in parts]),
    )


def _n_extra(relative: FloatArray, early: AnyArray) -> int:
    """Return how many pulses are too many, stretch by stretch of intervals that are too short.

    One that comes between two others makes two short intervals of one, and the longer of them may be no longer short.
    Before the first pulse that counts, and after the last one, there is no such interval.
    """
    turns = np.diff(np.concatenate([[False], early, [False]]).astype(np.int8))
    n_extra = 0
    for begin, end in zip(np.flatnonzero(turns == 1).tolist(), np.flatnonzero(turns == -1).tolist(), strict=True):
        n, span = end - begin, float(relative[begin:end].sum())
        at_an_end = begin == 0 or end == len(relative)
        n_extra += n - math.floor(span + NEARLY) if at_an_end else round(n - span)
    return n_extra


def delays_of(
    changes_s: FloatArray, levels: AnyArray, *, flips_s: FloatArray, every: int
) -> tuple[FloatArray, IntArray]:
    """Return how long after its flip the photodiode saw each change of the patch, and which flips those are.

    The patch turns bright with flip 0, dark with flip ``every``, and so on. A change belongs to a flip if it goes the
    same way and is the first such after it; splashes and spikes go the wrong way or come at another time.

    Parameters
    ----------
    changes_s, levels
        The photodiode's line, shape (n,) both.
    flips_s
        Every flip of the session.
    every
        Flips from one change of the patch to the next.
    """
    at = np.arange(0, len(flips_s), every)
    due_s, bright = flips_s[at], np.arange(len(at)) % 2 == 0
    delays_s = np.full(len(at), np.nan)
    for level in (True, False):
        seen_s, asked = changes_s[levels == level], bright == level
        following = np.searchsorted(seen_s, due_s[asked])
        found = following < len(seen_s)
        of_these = np.full(len(following), np.nan)
        of_these[found] = seen_s[following[found]] - due_s[asked][found]
        delays_s[asked] = of_these
    seen = np.isfinite(delays_s) & (delays_s < LONGEST_DELAY_S)
    return delays_s[seen], at[seen]


@dataclass(frozen=True, slots=True)
class Match:
    """How another recorder's clock stands to ours, by pulses that both have seen.

    ``their_s = offset_s + rate * our_s``.
    """

    offset_s: float
    rate: float
    n: int
    """Pulses that both have."""
    residual_s: float
    """The largest that the fit leaves."""


DRIFT = 100e-6
"""Clocks are nearer each other: two crystals, 50 ppm each."""
JITTER_S = 0.2e-3
"""And their times are good to so much."""
REACH = 4
"""Up to three pulses in a row may be missing on either side."""
FEWEST_MATCHES = 5
SHARE = 0.6
"""Of the pulses that both recorders were there for, so many must match: chance makes short runs only."""


def match(our_s: FloatArray, their_s: FloatArray) -> Match | None:
    """Return how two recordings of the random-interval pulses belong together; None if they don't.

    Either may have begun later, ended sooner or missed pulses, and the clocks may drift by 100 ppm. The place is found
    by the intervals: no stretch of them comes twice.

    Parameters
    ----------
    our_s, their_s
        Rises of the ``align`` line on either clock, in order.
    """
    best: Match | None = None
    tried: set[tuple[int, int]] = set()
    ours, theirs = np.diff(our_s), np.diff(their_s)
    same = np.abs(ours[:, None] - theirs[None, :]) < JITTER_S + DRIFT * ours[:, None]
    for i, j in np.argwhere(same).tolist():
        if (i, j) in tried:
            continue
        run = _run_through(our_s, their_s, i, j)
        tried.update(run)
        if len(run) >= FEWEST_MATCHES and (best is None or len(run) > best.n):
            best = _fit(our_s, their_s, np.array(run)) or best
    return best


def _fit(our_s: FloatArray, their_s: FloatArray, run: IntArray) -> Match | None:
    """Return the line through matching pulses, if most of what both recorders were there for is among them."""
    ours_s, theirs_s = our_s[run[:, 0]], their_s[run[:, 1]]
    centre_s = float(ours_s.mean())
    rate, at_centre_s = np.polyfit(ours_s - centre_s, theirs_s, 1).tolist()
    offset_s = at_centre_s - rate * centre_s
    residual_s = float(np.abs(theirs_s - (offset_s + rate * ours_s)).max())
    as_ours_s = (their_s - offset_s) / rate
    low_s, high_s = max(our_s[0], as_ours_s[0]) - JITTER_S, min(our_s[-1], as_ours_s[-1]) + JITTER_S
    n_both = max(int(((times_s >= low_s) & (times_s <= high_s)).sum()) for times_s in (our_s, as_ours_s))
    if len(run) < SHARE * n_both or abs(rate - 1) > 2 * DRIFT:
        return None
    return Match(offset_s=offset_s, rate=rate, n=len(run), residual_s=residual_s)


def _run_through(our_s: FloatArray, their_s: FloatArray, i: int, j: int) -> list[tuple[int, int]]:
    """Return which pulses are the same if the intervals after pulses i and j are: both ways, over missing ones too."""
    forth = _run(our_s[i:], their_s[j:])
    back = _run(-our_s[i::-1], -their_s[j::-1])
    return sorted({(i + a, j + b) for a, b in forth} | {(i - a, j - b) for a, b in back})


def _run(ours_s: FloatArray, theirs_s: FloatArray) -> list[tuple[int, int]]:
    """Return which pulses are the same from the first ones on."""
    a = b = 0
    run = [(a, b)]
    while True:
        after_ours_s = ours_s[a + 1 : a + 1 + REACH] - ours_s[a]
        after_theirs_s = theirs_s[b + 1 : b + 1 + REACH] - theirs_s[b]
        apart_s = np.abs(after_ours_s[:, None] - after_theirs_s[None, :])
        near = np.argwhere(apart_s < JITTER_S + DRIFT * after_ours_s[:, None])
        if not len(near):
            return run
        step_a, step_b = near[np.argmin(near.sum(axis=1))].tolist()
        a, b = a + step_a + 1, b + step_b + 1
        run.append((a, b))
