"""A stage without a task: patches one after the other, every combination once in each repeat.

It runs by the same step, session and loop as the task does; what differs stands here. There are no trials, so the
automaton of a sweep waits for ever, and to the session the stage is a passive one: spout retracted, no water.
Each patch is a flash in the log (``FlashPlanned``, ``FlashShown``). A pause begins when the patch that is on
has gone, and the sweep goes on with the next; a patch the screen stood still for is lost and does not come again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stages.cadence import Grid
from stages.draws import TrialDraw
from stages.events import Event
from stages.flashes import OnGrid
from stages.parameters import SweepParameters
from stages.random import RandomStreams
from stages.trial import TrialRules
from stimuli.spec import Gabor


def patches(parameters: SweepParameters) -> list[Gabor]:
    """Return every combination of place and orientation, once."""
    s = parameters.sweep
    return [
        Gabor(
            azimuth_deg=azimuth_deg,
            altitude_deg=altitude_deg,
            orientation_deg=orientation_deg,
            spatial_frequency_cpd=s.spatial_frequency_cpd,
            temporal_frequency_hz=s.temporal_frequency_hz,
            diameter_deg=s.diameter_deg,
            contrast=s.contrast,
        )
        for azimuth_deg in s.azimuths_deg
        for altitude_deg in s.altitudes_deg
        for orientation_deg in s.orientations_deg
    ]


def shuffled(choices: Sequence[int], *, n_repeats: int, streams: RandomStreams) -> list[int]:
    """Return ``n_repeats`` times all choices, each time in another order."""
    rng = streams.stream("sweep")
    return [choices[i] for _ in range(n_repeats) for i in rng.permutation(len(choices)).tolist()]


class SweptStimulus(OnGrid):
    """Patches on the grid in a given order; over when each has had its turn."""

    def __init__(self, *, lay: Callable[[int], Grid], order: Sequence[int]) -> None:
        super().__init__(lay=lay, n_flashes=len(order))
        self._order = order

    def observe(self, *, refresh: int, time_s: float, out: list[Event]) -> bool:
        """See ``TaskStimulus``: no trial may start."""
        super().observe(refresh=refresh, time_s=time_s, out=out)
        return False

    def due_refresh(self, *, refresh: int, running: bool) -> int:
        """See ``TaskStimulus``: the session wants to know as soon as the sweep is over."""
        return refresh + 1 if self.is_over else super().due_refresh(refresh=refresh, running=running)

    def _next(self) -> tuple[int, bool, bool]:
        return self._order[self._flash], False, False


class NoDraws:
    """The draws of a stage without trials: asked for one, it is an error of this program."""

    current_stimulus = -1

    def next(self) -> TrialDraw:
        """Refuse."""
        raise RuntimeError("a sweep has no trials")

    def aborted(self) -> None:
        """Never told."""

    def changed(self) -> None:
        """Never told."""

    def completed(self, *, rewarded: bool) -> None:
        """Never told."""


NO_TRIALS = TrialRules(
    abort_on_early_lick=False,
    timeout_refreshes=0,
    window_opens_s=0.0,
    window_closes_s=0.0,
    end_after_change_refreshes=0,
    auto_delay_refreshes=0,
    reward_volume_ul=0.0,
    auto_reward_volume_ul=0.0,
    pays=False,
    lick_latency_s=0.0,
)
"""The rules of an automaton that never starts."""
