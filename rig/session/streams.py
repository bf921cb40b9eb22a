"""The streams of a session judged while it runs: once a minute, in the thread that gathers edges, never in the loop.

The same functions judge the finished record (``records.alignment``). A finding is given when a stream is judged first,
and again when what is said of it has changed: a log is no place for the same sentence every minute.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from hardware.arrays import AnyArray, FloatArray, IntArray
from hardware.clock import TICKS_PER_S
from hardware.events import Finding, Verdict
from hardware.lines import Line
from hardware.pulses import FEWEST_CHANGES, LARGEST_DELAY_S, changes_of, delays_of, train_of_recordings

JUDGED_EVERY_S = 60.0
TRAINS = {Line.VSYNC_2P: "2-photon frames", Line.CAM1_EXPOSURE: "cam1 exposure", Line.CAM2_EXPOSURE: "cam2 exposure"}


class Streams:
    """Judges trains of pulses and the photodiode from the edges as they come.

    Parameters
    ----------
    patch_flips
        Flips from one change of the patch to the next; None without a photodiode.
    """

    def __init__(self, *, patch_flips: int | None) -> None:
        self._patch_flips = patch_flips
        self._ticks: list[IntArray] = []
        self._states: list[AnyArray] = []
        self._before = 0
        self._begun_ticks: int | None = None
        self._n_flips = 0
        self._patch_s: FloatArray = np.empty(0)
        self._changes_s: FloatArray = np.empty(0)
        self._levels: AnyArray = np.empty(0, bool)
        self._odd: dict[str, list[int]] = {}
        self._said: dict[str, tuple[Verdict, str]] = {}
        self._findings: deque[Finding] = deque()

    def begin(self, state: int) -> None:
        """Take the state of all lines before the first edge."""
        self._before = state

    def take(self, *, ticks: IntArray, states: AnyArray) -> None:
        """Take edges in order; judge what has come when a minute is over."""
        if self._begun_ticks is None:
            self._begun_ticks = int(ticks[0])
        self._ticks.append(ticks)
        self._states.append(states)
        if ticks[-1] - self._begun_ticks >= JUDGED_EVERY_S * TICKS_PER_S:
            self.judge()

    def findings(self) -> list[Finding]:
        """Return what is new to be said since the last call."""
        return [self._findings.popleft() for _ in range(len(self._findings))]

    def judge(self) -> None:
        """Judge what has come since the last time."""
        if not self._ticks:
            return
        ticks, states = np.concatenate(self._ticks), np.concatenate(self._states).astype(np.int64)
        before, self._before = self._before, int(states[-1])
        self._begun_ticks = int(ticks[-1])
        self._ticks, self._states = [], []
        triggers, levels = changes_of(Line.ACQ_TRIGGER, ticks, states, before=before)
        begun_s = triggers[levels] / TICKS_PER_S
        for line, name in TRAINS.items():
            changes, levels = changes_of(line, ticks, states, before=before)
            self._judge_train(name, changes / TICKS_PER_S, levels, begun_s if line is Line.VSYNC_2P else begun_s[:0])
        if self._patch_flips is not None:
            self._judge_photodiode(ticks, states, before, self._patch_flips)

    def _judge_train(self, name: str, changes_s: FloatArray, levels: AnyArray, begun_s: FloatArray) -> None:
        if not len(changes_s):
            return
        train = train_of_recordings(changes_s[levels], changes_s[~levels], begun_s)
        if not np.isfinite(train.rate_hz):
            return
        odd = self._odd.setdefault(name, [0, 0, 0])
        for i, n in enumerate((train.n_missing, train.n_extra, train.n_short)):
            odd[i] += n
        named = [f"{n} {what}" for n, what in zip(odd, ("missing", "extra", "short"), strict=True) if n]
        self._say(
            name,
            Verdict.WARN if named else Verdict.PASS,
            ", ".join(named),
            f"{train.rate_hz:.3f} Hz on the card's clock" + "".join(f", {what} so far" for what in named),
            "look at the line: its cable, its ground, what switches beside it",
        )

    def _judge_photodiode(self, ticks: IntArray, states: AnyArray, before: int, every: int) -> None:
        """Take the flips' falls and the photodiode's changes; judge the delay over the session so far."""
        flips, levels = changes_of(Line.VSYNC_STIM, ticks, states, before=before)
        falls = flips[~levels]
        at_change = (self._n_flips + np.arange(len(falls))) % every == 0
        self._n_flips += len(falls)
        self._patch_s = np.concatenate([self._patch_s, falls[at_change] / TICKS_PER_S])
        changes, levels = changes_of(Line.STIM_PHOTODIODE, ticks, states, before=before)
        self._changes_s = np.concatenate([self._changes_s, changes / TICKS_PER_S])
        self._levels = np.concatenate([self._levels, levels])
        delays_s, _ = delays_of(self._changes_s, self._levels, flips_s=self._patch_s, every=1)
        n = len(self._patch_s)
        if n < FEWEST_CHANGES:
            return
        mean_s = float(delays_s.mean()) if len(delays_s) else 0.0
        good = 0 < mean_s <= LARGEST_DELAY_S and len(delays_s) >= 0.9 * n
        figure = f"{len(delays_s)} of {n} changes of the patch seen"
        if len(delays_s):
            figure += f", {mean_s * 1e3:.2f} ± {float(delays_s.std()) * 1e3:.2f} ms after their flips"
        remedy = "check the photodiode, its place on the patch and its wire"
        self._say("photodiode", Verdict.PASS if good else Verdict.FAIL, "", figure, remedy)

    def _say(self, name: str, verdict: Verdict, key: str, figure: str, remedy: str) -> None:
        if self._said.get(name) != (verdict, key):
            self._said[name] = verdict, key
            self._findings.append(
                Finding(
                    name=f"alignment of {name}, live",
                    verdict=verdict,
                    figure=figure,
                    remedy="" if verdict is Verdict.PASS else remedy,
                )
            )
