"""A simulated monitor: perfect, jittering, dropping or drifting, the same for the same seed.

What the monitor does on a refresh (jitter, a missed flip) is a pure function of seed and refresh.
``VirtualScreen`` moves a virtual clock and may jump over flips in which nothing changes;
``PacedScreen`` keeps the host's time and flips once a call, missing refreshes where the program is late.
Neither draws anything while a session runs; asked with ``frame``, both say what is on the screen, pixel by pixel.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from hardware.arrays import FloatArray, GreyFrame, IntArray
from hardware.clock import Clock, VirtualClock
from hardware.events import Finding, Verdict
from hardware.protocols import Identity
from stimuli.frames import Frames
from stimuli.refresh import RefreshTracker
from stimuli.screen import Flip, FlipRows
from stimuli.spec import Gabor, NaturalMovie, Stimulus, StimulusError

BLOCK_REFRESHES = 4096


class Behaviour(StrEnum):
    """How a simulated monitor behaves."""

    PERFECT = "perfect"
    """Every flip on time to the nanosecond; no real monitor does."""
    JITTERING = "jittering"
    """As a real one on a good day: 0.1 ms of jitter on the flip's time stamp."""
    DROPPING = "dropping"
    """Jitters, misses one flip in 500, and now and then stands still for up to 20 refreshes."""
    DRIFTING = "drifting"
    """Jitters and runs at 59.95 Hz where 60 is configured, as the recorded session did (TASK_FACTS 1.3)."""


JITTER_S = 1e-4
"""Standard deviation; the recorded session's intervals scatter by 0.13 ms (example_stimulus.pkl)."""
DRIFT = 59.95 / 60.0
P_DROP = 1 / 500
P_STALL = 1 / 20_000
LONGEST_STALL_REFRESHES = 20

Observer = Callable[[float, int], bool]
"""Is told host time and stimulus of each flip that shows something new: the model mouse's eyes.

Returns whether something may come of it: a virtual screen then stops at that flip."""


@dataclass(frozen=True, slots=True)
class RefreshTrain:
    """When each refresh would flip, and whether it does: a pure function of seed and refresh."""

    behaviour: Behaviour
    nominal_hz: float
    seed: int
    start_host_s: float

    def block(self, number: int) -> tuple[FloatArray, np.ndarray]:
        """Return host times and a mask of flips for refreshes ``number * BLOCK_REFRESHES ...``."""
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=(number,))))
        hz = self.nominal_hz * (DRIFT if self.behaviour is Behaviour.DRIFTING else 1.0)
        refresh = np.arange(number * BLOCK_REFRESHES, (number + 1) * BLOCK_REFRESHES)
        times_s = self.start_host_s + refresh / hz
        flips = np.ones(BLOCK_REFRESHES, bool)
        if self.behaviour is not Behaviour.PERFECT:
            times_s += np.clip(rng.normal(0.0, JITTER_S, BLOCK_REFRESHES), -5 * JITTER_S, 5 * JITTER_S)
        if self.behaviour is Behaviour.DROPPING:
            flips = rng.random(BLOCK_REFRESHES) >= P_DROP
            for start in np.flatnonzero(rng.random(BLOCK_REFRESHES) < P_STALL):
                flips[start : start + int(rng.integers(2, LONGEST_STALL_REFRESHES + 1))] = False
            if number == 0:
                flips[0] = True
        return times_s, flips


class _Shown:
    """Which stimulus was on at which flip, for the columns of ``FlipRows``."""

    def __init__(self) -> None:
        self.stimuli: Sequence[Stimulus] = ()
        self._starts: list[int] = []
        self._values: list[int] = []
        self._onset_refreshes: list[int] = []
        self._last_refresh = -1

    def new(self, *, flip: int, refresh: int, stimulus: int) -> None:
        self._starts.append(flip)
        self._values.append(stimulus)
        self._onset_refreshes.append(refresh)

    def rows(self, *, first_flip: int, refresh: IntArray, host_s: FloatArray) -> FlipRows:
        """Return the columns of the flips from ``first_flip`` on and forget what came before them."""
        n = len(refresh)
        flips = np.arange(first_flip, first_flip + n)
        segment = np.searchsorted(self._starts, flips, side="right") - 1
        stimulus = np.asarray(self._values)[segment]
        movie_frame = np.full(n, -1)
        for index, spec in enumerate(self.stimuli):
            if isinstance(spec, NaturalMovie) and index in self._values:
                on = stimulus == index
                since = refresh[on] - np.asarray(self._onset_refreshes)[segment[on]]
                movie_frame[on] = since // spec.refreshes_per_frame % spec.n_frames
        n_missed = refresh - 1
        if n:
            n_missed[0] -= self._last_refresh
            n_missed[1:] -= refresh[:-1]
            self._last_refresh = int(refresh[-1])
            keep = int(segment[-1])
            del self._starts[:keep], self._values[:keep], self._onset_refreshes[:keep]
        return FlipRows(
            first_flip=first_flip,
            refresh=refresh,
            host_s=host_s,
            stimulus=stimulus,
            movie_frame=movie_frame,
            n_missed=n_missed,
        )


class _Headless:
    """What the two simulated screens share."""

    name = "screen"

    def __init__(self, *, train: RefreshTrain, observer: Observer) -> None:
        self._train = train
        self._observer = observer
        self._tracker = RefreshTracker(nominal_hz=train.nominal_hz)
        self._shown = _Shown()
        self._stimulus = -1
        self._onset_refresh = -1
        self._refresh_now = -1

    def open(self) -> Identity:
        """Open nothing; say what is simulated."""
        return Identity(device=self.name, model=f"headless {self._train.behaviour.value}")

    def prepare(self, stimuli: Sequence[Stimulus]) -> None:
        """Remember the stimuli."""
        self._shown.stimuli = stimuli

    def check(self) -> list[Finding]:
        """Say that nobody sees anything here."""
        return [Finding(name="screen", verdict=Verdict.PASS, figure=f"headless, {self._train.behaviour.value}")]

    def frame(self, frames: Frames, *, moving_dir: Path) -> GreyFrame:
        """Return what the screen shows since its last flip, as a window would: uint8 (height_px, width_px).

        Parameters
        ----------
        frames
            What stimuli look like; nothing is drawn unless somebody asks.
        moving_dir
            Where frames of movies and patches are kept.

        Raises
        ------
        StimulusError
            Nothing has been flipped yet, or as of ``frames``.
        """
        if self._stimulus < 0:
            raise StimulusError("the screen shows nothing yet; flip once before you ask")
        stimulus = self._shown.stimuli[self._stimulus]
        if not isinstance(stimulus, NaturalMovie | Gabor):
            return frames.still(stimulus)
        moving = frames.moving(stimulus, refresh_hz=self._train.nominal_hz, folder=moving_dir)
        return moving.whole(self._refresh_now - self._onset_refresh, geometry=frames.geometry)

    def close(self) -> None:
        """Nothing to close."""


class VirtualScreen(_Headless):
    """Flips on a virtual clock and jumps over flips that show nothing new and that nobody waits for."""

    rows_per_take = 3600

    def __init__(self, *, train: RefreshTrain, clock: VirtualClock, observer: Observer) -> None:
        super().__init__(train=train, observer=observer)
        self._clock = clock
        self._n_blocks = 0
        self._first = 0  # the flip that the arrays begin with
        self._next = 0
        self._taken = 0
        self._host_s: FloatArray = np.empty(0)
        self._refresh: IntArray = np.empty(0, np.int64)
        self._host_list: list[float] = []
        self._refresh_list: list[int] = []

    def advance(self, *, stimulus: int, until_refresh: int, until_host_s: float, until_flip: int) -> Flip:
        """See ``Screen.advance``."""
        i = self._next - self._first
        if i >= len(self._host_list):
            self._more()
            i = self._next - self._first
        stop = False
        if stimulus != self._stimulus:
            self._stimulus = stimulus
            self._onset_refresh = self._refresh_list[i]
            self._shown.new(flip=self._next, refresh=self._onset_refresh, stimulus=stimulus)
            stop = self._observer(self._host_list[i], stimulus)
        if not stop:
            i = self._reaching(until_refresh, until_host_s, until_flip)
        flip = self._first + i
        self._next = flip + 1
        host_s = self._host_list[i]
        self._clock.sleep_until(host_s)
        self._refresh_now = self._refresh_list[i]
        return Flip(flip, self._refresh_now, host_s)

    def _reaching(self, until_refresh: int, until_host_s: float, until_flip: int) -> int:
        """Return where in the arrays the first flip stands, the next or later, that reaches a limit."""
        while True:
            i = self._next - self._first
            refreshes, n = self._refresh_list, len(self._refresh_list)
            last = i + until_refresh - refreshes[i]  # each flip is a refresh on, if not more
            if last > until_flip - self._first:
                last = until_flip - self._first
            if last <= i:
                return i
            if last > n:
                last = n
            j = bisect_left(refreshes, until_refresh, i, last)
            if until_host_s < math.inf:
                j = bisect_left(self._host_list, until_host_s, i, j)
            if j < n:
                return j
            self._more()

    def take(self) -> FlipRows:
        """See ``Screen.take``."""
        a, b = self._taken - self._first, self._next - self._first
        rows = self._shown.rows(first_flip=self._taken, refresh=self._refresh[a:b], host_s=self._host_s[a:b])
        self._taken = self._next
        return rows

    def _more(self) -> None:
        times_s, flips = self._train.block(self._n_blocks)
        self._n_blocks += 1
        times_s = times_s[flips]
        kept = self._taken - self._first
        self._first = self._taken
        refresh = self._tracker.flips(times_s)
        self._host_s = np.concatenate([self._host_s[kept:], times_s])
        self._refresh = np.concatenate([self._refresh[kept:], refresh])
        self._host_list = self._host_list[kept:] + times_s.tolist()
        self._refresh_list = self._refresh_list[kept:] + refresh.tolist()


class Pace:
    """The refreshes of a simulated monitor, waited for one after the other on a clock."""

    def __init__(self, *, train: RefreshTrain, clock: Clock) -> None:
        self._train = train
        self._clock = clock
        self._next_refresh = 0
        self._has_begun = False
        self._block = -1
        self._times: list[float] = []
        self._flips: list[bool] = []

    def wait(self) -> float:
        """Return the host time of the next refresh that flips and has not gone by, when it has come."""
        now_s = self._clock.now_s()
        while True:
            block, i = divmod(self._next_refresh, BLOCK_REFRESHES)
            if block != self._block:
                times_s, flips = self._train.block(block)
                self._block, self._times, self._flips = block, times_s.tolist(), flips.tolist()
            self._next_refresh += 1
            host_s = self._times[i]
            if self._flips[i] and (host_s >= now_s or not self._has_begun):
                break
        self._has_begun = True
        self._clock.sleep_until(host_s)
        return host_s


class PacedScreen(_Headless):
    """Keeps the host's time: flips with the next refresh that has not yet gone by."""

    rows_per_take = 2

    def __init__(self, *, train: RefreshTrain, clock: Clock, observer: Observer) -> None:
        super().__init__(train=train, observer=observer)
        self._pace = Pace(train=train, clock=clock)
        self._flip = -1
        self._untaken: deque[Flip] = deque()  # filled by the loop, taken by the thread that gathers

    def advance(self, *, stimulus: int, until_refresh: int, until_host_s: float, until_flip: int) -> Flip:
        """See ``Screen.advance``; the limits are of no concern here."""
        host_s = self._pace.wait()
        self._flip += 1
        flip = Flip(self._flip, self._tracker.flip(host_s), host_s)
        if stimulus != self._stimulus:
            self._stimulus = stimulus
            self._onset_refresh = flip.refresh
            self._shown.new(flip=flip.flip, refresh=flip.refresh, stimulus=stimulus)
            self._observer(host_s, stimulus)
        self._refresh_now = flip.refresh
        self._untaken.append(flip)
        return flip

    def take(self) -> FlipRows:
        """See ``Screen.take``."""
        taken = [self._untaken.popleft() for _ in range(len(self._untaken))]
        return self._shown.rows(
            first_flip=taken[0].flip if taken else self._flip + 1,
            refresh=np.array([flip.refresh for flip in taken], np.int64),
            host_s=np.array([flip.host_s for flip in taken]),
        )
