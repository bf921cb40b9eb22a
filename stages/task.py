"""One step of the session: what the refresh brings, in the order the rules of the task give it.

``Task`` is the only thing the loop, the replay and the tests talk to. It holds the trial automaton,
the stimulus on the screen, the ledger and the session's blocks, and calls them in this order: commands
and faults, time-outs and trial ends, blocks, flash onset, trial start, licks, rewards, window close,
plan of the next flip.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from stages.cadence import Cadence
from stages.draws import TrialDraws
from stages.events import (
    Action,
    CommandReceived,
    DeviceFault,
    DeviceRecovered,
    Event,
    FaultPolicy,
    InputEvent,
    Lick,
    RewardArmed,
    RewardCommanded,
    RewardConfirmed,
    RewardDisarmed,
    RewardFailed,
    RewardFired,
    RewardWithdrawn,
    SessionStarted,
    SpoutCommanded,
    SpoutMoved,
)
from stages.flashes import GRAY, FlashedStimulus, StaticStimulus, TaskStimulus
from stages.omissions import Omissions
from stages.parameters import Flashed, Gratings, Stage, StageParameters, SweepParameters, stage_of
from stages.random import RandomStreams
from stages.rewards import Ledger, RewardResult
from stages.session import Session, SessionRules
from stages.sweep import NO_TRIALS, NoDraws, SweptStimulus, patches, shuffled
from stages.timing import whole_refreshes
from stages.trial import TrialAutomaton, TrialRules
from stimuli.spec import Gabor, Grating, Gray, NaturalImage, NaturalMovie, Stimulus

_ACTIONS = frozenset((RewardArmed, RewardWithdrawn, RewardCommanded, SpoutCommanded))


class At(msgspec.Struct, frozen=True, gc=False):
    """The flip a step follows: its number, its refresh and its session time."""

    flip: int
    refresh: int
    time_s: float


class Outputs(msgspec.Struct, gc=False):
    """What a step answers.

    ``frame`` is the stimulus for the next flip, ``events`` all decisions in order, ``actions`` those
    of them that a device carries out. The next step is owed at the first flip on or after
    ``due_refresh``, or at or after session time ``due_s``; steps in between change nothing.
    """

    frame: int
    events: Sequence[Event]
    actions: Sequence[Action]
    due_refresh: int
    due_s: float
    finished: bool


def stimuli_of(
    parameters: Stage, *, image_names: Sequence[str], refresh_hz: float, movie_name: str | None = None
) -> list[Stimulus]:
    """Return the session's list of stimuli: gray first, then what changes, then the movie.

    Parameters
    ----------
    image_names
        The names of the stage's image set in their order; ignored for gratings and sweeps.
    movie_name
        The name of what is shown as the stage's movie, where it is not the stage's own.
    """
    stimuli: list[Stimulus] = [Gray()]
    match parameters.stimulus if isinstance(parameters, StageParameters) else parameters:
        case SweepParameters() as sweep:
            stimuli += patches(sweep)
        case Gratings() as gratings:
            stimuli += [
                Grating(
                    group=group,
                    orientation_deg=float(orientation),
                    spatial_frequency_cpd=gratings.spatial_frequency_cpd,
                    phase_cycles=gratings.phase_cycles,
                    contrast=gratings.contrast,
                )
                for group, orientations in gratings.groups_deg.items()
                for orientation in orientations
            ]
        case images:
            stimuli += [NaturalImage(image_set=images.image_set, name=name) for name in image_names]
    if (movie := parameters.movie) is not None:
        stimuli.append(
            NaturalMovie(
                name=movie_name or movie.name,
                n_frames=movie.n_frames,
                n_repeats=movie.n_repeats,
                refreshes_per_frame=whole_refreshes(
                    1 / movie.frame_rate_hz, refresh_hz=refresh_hz, field="movie.frame_rate_hz"
                ),
            )
        )
    return stimuli


Parts = Callable[[TrialRules, Ledger], tuple[TrialAutomaton, TaskStimulus]]


class Task:
    """A session as a function of its parameters, its seed and its inputs.

    Parameters
    ----------
    stimuli
        As ``stimuli_of`` returns them.
    refresh_hz
        The screen's nominal rate; durations that are not whole refreshes of it are refused.
    lick_latency_s
        How long after it happened a lick may still arrive; response windows close this much later.
    policies
        What a fault of each device does; a device that is not named lets the session go on.
    valve_range_ul
        The volumes the valve can give; an operator's free reward outside it is refused.
    parts
        Makes automaton and stimulus instead of the stage: for a session that another program drew and paced.

    Raises
    ------
    NotWholeRefreshes
        A duration of the stage does not fit the screen.
    """

    def __init__(
        self,
        parameters: Stage,
        *,
        stimuli: Sequence[Stimulus],
        refresh_hz: float,
        seed: int,
        lick_latency_s: float = 0.0,
        policies: Mapping[str, FaultPolicy] | None = None,
        valve_range_ul: tuple[float, float] = (0.0, math.inf),
        parts: Parts | None = None,
    ) -> None:
        self.ledger = Ledger()
        if isinstance(parameters, SweepParameters):
            rules = NO_TRIALS
            parts = _swept(parameters, stimuli=stimuli, refresh_hz=refresh_hz, seed=seed)
        else:
            rules = TrialRules.of(parameters, refresh_hz=refresh_hz, lick_latency_s=lick_latency_s)
            parts = parts or _drawn(parameters, stimuli=stimuli, refresh_hz=refresh_hz, seed=seed)
        self.trial, self._stimulus = parts(rules, self.ledger)
        self._frame = GRAY
        self._due_refresh = 0
        self._trial_due_refresh = 0
        self._due_s = math.inf
        movie = next((i for i, s in enumerate(stimuli) if isinstance(s, NaturalMovie)), None)
        movie_stimulus = stimuli[movie] if movie is not None else None
        self.session = Session(
            SessionRules.of(parameters, refresh_hz=refresh_hz),
            refresh_hz=refresh_hz,
            trial=self.trial,
            stimulus=self._stimulus,
            ledger=self.ledger,
            movie=(movie, movie_stimulus) if isinstance(movie_stimulus, NaturalMovie) and movie is not None else None,
            policies=policies or {},
            valve_range_ul=valve_range_ul,
        )

    @classmethod
    def of(cls, started: SessionStarted) -> Task:
        """Return the task of a recorded session, as new, from its first event."""
        valve = started.rig_parameters["valve"]
        return cls(
            stage_of(started.stage_parameters),
            stimuli=started.stimuli,
            refresh_hz=started.refresh_hz,
            seed=started.seed,
            lick_latency_s=started.lick_latency_s,
            policies=started.policies,
            valve_range_ul=(valve["volume_min_ul"], valve["volume_max_ul"]),
        )

    def step(self, at: At, inputs: Sequence[InputEvent]) -> Outputs:
        """Return what follows from the flip ``at`` and what has arrived since the last step."""
        refresh, time_s = at.refresh, at.time_s
        if not inputs and refresh < self._due_refresh and time_s < self._due_s:
            return Outputs(self._frame, (), (), self._due_refresh, self._due_s, False)
        out: list[Event] = []
        trial, session, stimulus = self.trial, self.session, self._stimulus
        licks, rewards = self._sort(inputs, at, out) if inputs else ((), ())
        trial_is_due = refresh >= self._trial_due_refresh or time_s >= self._due_s
        trial_ended = trial_is_due and trial.run_out(refresh=refresh, time_s=time_s, out=out)
        session.advance(refresh=refresh, time_s=time_s, trial_ended=trial_ended, out=out)
        may_start = stimulus.observe(refresh=refresh, time_s=time_s, out=out)
        if may_start and trial.waiting and session.may_start_trial:
            trial.start(flash=stimulus.flash, refresh=refresh, time_s=time_s, out=out)
        for lick in licks:
            trial.lick(lick_time_s=lick.time_s, refresh=refresh, out=out)
        for result in rewards:
            session.reward_result(result, out=out)
        if trial_is_due or out or inputs:  # otherwise nothing happened to the trial
            trial.auto_reward_due(refresh=refresh, out=out)
            trial.close_window(time_s=time_s, out=out)
            self._trial_due_refresh, self._due_s = trial.due_refresh(), trial.due_s()
        self._frame = session.plan(refresh=refresh, time_s=time_s, out=out)
        if session.ended is not None:
            out.append(session.ended)
        due_refresh = session.due_refresh(refresh=refresh)
        if self._trial_due_refresh < due_refresh:
            due_refresh = self._trial_due_refresh
        self._due_refresh = due_refresh if due_refresh > refresh else refresh + 1
        actions = [event for event in out if type(event) in _ACTIONS] if out else ()
        return Outputs(self._frame, out, actions, self._due_refresh, self._due_s, session.ended is not None)  # type: ignore[arg-type]

    def _sort(self, inputs: Sequence[InputEvent], at: At, out: list[Event]) -> tuple[list[Lick], list[RewardResult]]:
        """Return licks and results of rewards, whose turn comes later in the step; see to the rest at once."""
        session = self.session
        licks: list[Lick] = []
        rewards: list[RewardResult] = []
        for event in inputs:
            if isinstance(event, Lick):
                licks.append(event)
            elif isinstance(event, RewardDisarmed | RewardFired | RewardConfirmed | RewardFailed):
                rewards.append(event)
            elif isinstance(event, CommandReceived):
                session.command(event, refresh=at.refresh, time_s=at.time_s, out=out)
            elif isinstance(event, DeviceFault | DeviceRecovered):
                session.device(event, out=out)
            elif isinstance(event, SpoutMoved):
                session.spout_moved(event, out=out)
        return licks, rewards


def _drawn(parameters: StageParameters, *, stimuli: Sequence[Stimulus], refresh_hz: float, seed: int) -> Parts:
    """Return the parts that draw trials and flashes as the stage says."""

    def make(rules: TrialRules, ledger: Ledger) -> tuple[TrialAutomaton, TaskStimulus]:
        streams = RandomStreams(seed)
        choices = [i for i, s in enumerate(stimuli) if isinstance(s, Grating | NaturalImage)]
        draws = TrialDraws(parameters, stimuli=stimuli, choices=choices, refresh_hz=refresh_hz, streams=streams)
        trial = TrialAutomaton(rules, draws=draws, ledger=ledger)
        match parameters.presentation:
            case Flashed(flash_s=flash_s, gray_s=gray_s):
                on = whole_refreshes(flash_s, refresh_hz=refresh_hz, field="presentation.flash_s")
                off = whole_refreshes(gray_s, refresh_hz=refresh_hz, field="presentation.gray_s")
                omissions = Omissions(probability=parameters.omission_probability, rng=streams.stream("omissions"))
                return trial, FlashedStimulus(
                    lay=partial(Cadence, cycle=on + off, on=on), omissions=omissions, trial=trial
                )
            case _:
                return trial, StaticStimulus(trial=trial)

    return make


def _swept(parameters: SweepParameters, *, stimuli: Sequence[Stimulus], refresh_hz: float, seed: int) -> Parts:
    """Return the parts of a stage without trials: its patches, and an automaton that never starts."""
    sweep = parameters.sweep
    on = whole_refreshes(sweep.duration_s, refresh_hz=refresh_hz, field="sweep.duration_s")
    off = whole_refreshes(sweep.gap_s, refresh_hz=refresh_hz, field="sweep.gap_s")
    choices = [i for i, s in enumerate(stimuli) if isinstance(s, Gabor)]
    order = shuffled(choices, n_repeats=sweep.n_repeats, streams=RandomStreams(seed))

    def make(rules: TrialRules, ledger: Ledger) -> tuple[TrialAutomaton, TaskStimulus]:
        trial = TrialAutomaton(rules, draws=NoDraws(), ledger=ledger)
        return trial, SweptStimulus(lay=partial(Cadence, cycle=on + off, on=on), order=order)

    return make


__all__ = ["GRAY", "At", "Outputs", "Task", "stimuli_of"]
