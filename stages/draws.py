"""The parameters of each attempt at a trial: when it changes, to what, catch or go, paid or earned.

Rules (TASK_FACTS 1.4 to 1.7)
    * After an abort the same parameters come again, up to ``max_repeats_after_abort`` times; after
      anything else they are drawn afresh.
    * Images: an Eulerian walk over all 64 ordered pairs of the eight images, new for every 64
      completed trials; it moves only when a trial was completed, and a trial is a catch trial where
      it stays put. Gratings: an independent draw, and the change goes to the other group.
    * The first ``warm_up_trials`` completed go trials are paid automatically; a catch trial that
      falls inside the warm-up is consumed, not run.
    * After N go trials in a row without reward the next go trial is paid automatically.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stages.parameters import CatchDraw, ExponentialChange, GeometricChange, StageParameters
from stages.random import RandomStreams
from stimuli.spec import Stimulus, identity


@dataclass(frozen=True, slots=True)
class TrialDraw:
    """What one attempt will be. Stimuli are indices into the session's list.

    ``change_after`` counts flashes from the trial's first one (number 0) when flashed, refreshes
    from the trial's start when static. ``attempt`` is 0 for fresh parameters, 1... for repeats.
    """

    change_after: int
    catch: bool
    auto_rewarded: bool
    initial_stimulus: int
    change_stimulus: int
    attempt: int


def geometric_probabilities(change: GeometricChange) -> NDArray[np.float64]:
    """Return the renormalised probabilities of ``flashes_min ... flashes_max``, shape (n,)."""
    k = np.arange(change.flashes_max - change.flashes_min + 1)
    weights = np.power(1.0 - change.p, k, dtype=np.float64)
    return np.asarray(weights / weights.sum(), np.float64)


def eulerian_walk(n: int, start: int, rng: np.random.Generator) -> list[int]:
    """Return a closed random walk over every ordered pair of ``n`` nodes once, shape (n*n + 1,).

    Hierholzer's algorithm on the complete directed graph with self-loops: the walk begins and ends
    at ``start`` and holds each of the ``n * n`` transitions exactly once.
    """
    unused = [list(rng.permutation(n)) for _ in range(n)]
    stack, walk = [start], []
    while stack:
        if unused[stack[-1]]:
            stack.append(int(unused[stack[-1]].pop()))
        else:
            walk.append(stack.pop())
    walk.reverse()
    return walk


class Draws(Protocol):
    """Where the parameters of each attempt come from; told how each ended."""

    @property
    def current_stimulus(self) -> int:
        """The stimulus that flashes, or stays, until the next change."""

    def next(self) -> TrialDraw:
        """Return the parameters of the next attempt."""

    def aborted(self) -> None:
        """Tell that the attempt ended with an early lick."""

    def changed(self) -> None:
        """Tell that the change was shown: from now on the new stimulus is the current one."""

    def completed(self, *, rewarded: bool) -> None:
        """Tell that the attempt ran to its end, and whether its task reward was paid."""


class TrialDraws:
    """Draws trials one after the other; told how each ended."""

    def __init__(
        self,
        parameters: StageParameters,
        *,
        stimuli: Sequence[Stimulus],
        choices: Sequence[int],
        refresh_hz: float,
        streams: RandomStreams,
    ) -> None:
        """``choices`` are the indices in ``stimuli`` among which the identity changes."""
        self._p = parameters
        self._refresh_hz = refresh_hz
        self._rng_change = streams.stream("change time")
        self._rng_catch = streams.stream("catch")
        self._rng_walk = streams.stream("image walk")
        self._choices = list(choices)
        self._cumulative = (
            np.cumsum(geometric_probabilities(parameters.change)).tolist()
            if isinstance(parameters.change, GeometricChange)
            else []
        )
        self._groups: dict[str, list[int]] = {}
        for index in choices:
            self._groups.setdefault(identity(stimuli[index]), []).append(index)
        self._group_of = {index: identity(stimuli[index]) for index in choices}
        self._walks = not isinstance(parameters.catch, CatchDraw)
        self._walk: list[int] = []
        self._paid_warm_up = 0
        self._unrewarded_go_in_a_row = 0
        self._repeats = 0
        self._last: TrialDraw | None = None
        self.current_stimulus = self._choices[int(self._rng_walk.integers(len(self._choices)))]

    def next(self) -> TrialDraw:
        """Return the parameters of the next attempt."""
        if self._last is not None and self._repeats:
            draw = replace(self._last, attempt=self._last.attempt + 1)
        else:
            draw = self._fresh()
        self._last = draw
        return draw

    def aborted(self) -> None:
        """Tell that the attempt ended with an early lick."""
        attempt = self._last.attempt if self._last else 0
        self._repeats = int(attempt < self._p.max_repeats_after_abort)

    def changed(self) -> None:
        """Tell that the change was shown: from now on the new stimulus is the current one."""
        if self._last is not None:
            self.current_stimulus = self._last.change_stimulus

    def completed(self, *, rewarded: bool) -> None:
        """Tell that the attempt ran to its end, and whether its task reward was paid."""
        draw = self._last
        if draw is None:
            return
        self._repeats = 0
        if self._walks and self._walk:
            self._walk.pop()
        if draw.catch:
            return
        if self.warming_up and draw.auto_rewarded:
            self._paid_warm_up += 1
        self._unrewarded_go_in_a_row = 0 if rewarded or draw.auto_rewarded else self._unrewarded_go_in_a_row + 1

    @property
    def warming_up(self) -> bool:
        """Whether go trials are still paid automatically from the start of the session."""
        return self._p.warm_up_trials < 0 or self._paid_warm_up < self._p.warm_up_trials

    def _fresh(self) -> TrialDraw:
        after = self._change_after()
        catch, target = self._walk_step() if self._walks else self._grating_step()
        limit = self._p.free_reward_after_misses
        auto = not catch and (self.warming_up or (limit is not None and self._unrewarded_go_in_a_row >= limit))
        return TrialDraw(
            change_after=after,
            catch=catch,
            auto_rewarded=auto,
            initial_stimulus=self.current_stimulus,
            change_stimulus=target,
            attempt=0,
        )

    def _change_after(self) -> int:
        match self._p.change:
            case GeometricChange() as change:
                return change.flashes_min + bisect_right(self._cumulative[:-1], self._rng_change.random())
            case ExponentialChange() as change:
                while (wait_s := self._rng_change.exponential(change.mean_s)) >= change.below_s:
                    pass
                return round((change.earliest_s + wait_s) * self._refresh_hz)

    def _grating_step(self) -> tuple[bool, int]:
        catch_draw = self._p.catch
        probability = catch_draw.probability if isinstance(catch_draw, CatchDraw) else 0.0
        catch = not self.warming_up and bool(self._rng_catch.random() < probability)
        if catch:
            return True, self.current_stimulus
        others = [g for g in self._groups if g != self._group_of[self.current_stimulus]]
        group = self._groups[others[int(self._rng_walk.integers(len(others)))]]
        return False, group[int(self._rng_walk.integers(len(group)))]

    def _walk_step(self) -> tuple[bool, int]:
        while True:
            if not self._walk:
                position = self._choices.index(self.current_stimulus)
                nodes = eulerian_walk(len(self._choices), position, self._rng_walk)
                self._walk = [self._choices[node] for node in reversed(nodes[1:])]  # next step is the last element
            target = self._walk[-1]
            catch = target == self.current_stimulus
            if not (catch and self.warming_up):
                return catch, target
            self._walk.pop()  # a catch trial inside the warm-up is consumed, not run
