"""What the task draws in some 80 simulated hours: change times, catch trials, images, omissions, repeats, water.

The hours are driven without devices: the task is stepped when it wants to be, on a screen that never misses a
refresh, with a valve that answers on the next flip. A test proves that the whole loop decides the same.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby, pairwise
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
import pytest
from scipy.stats import binom, binomtest, chisquare, kstest, truncexpon

from rig.config.files import image_names
from rig.log.schema import KINDS, Kind
from stages.draws import geometric_probabilities
from stages.dry import DryMouse, run_dry
from stages.events import (
    Aborted,
    Change,
    EndReason,
    Event,
    FlashOmitted,
    FlashPlanned,
    FlashShown,
    Outcome,
    RewardArmed,
    RewardCommanded,
    RewardFired,
    SessionEnded,
    ShamChange,
    TrialOutcome,
    TrialStarted,
)
from stages.omissions import share_without_aborts
from stages.parameters import ExponentialChange, GeometricChange, StageParameters
from stages.task import Task, stimuli_of
from stimuli.spec import identity
from tests.acceptance import truncated_mean_s
from tests.builders import GRATINGS, IMAGES, rig_config, run, stage
from tests.telling import Tell

HZ = 60
STATIC = "TRAINING_1_gratings"
FREE_WATER = "TRAINING_0_gratings_autorewards_15min"
MISS, CORRECT_REJECT, AUTO, ABORTED = Outcome.MISS, Outcome.CORRECT_REJECT, Outcome.AUTO_REWARDED, Outcome.ABORTED
LEAST_P = 0.001


@dataclass
class Mouse:
    """Answers every change 0.4 s later, or none, and licks at random besides."""

    answers: bool = False
    every_s: float = math.inf
    seed: int = 1
    _licks_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._next_s = self._rng.exponential(self.every_s) if self.every_s < math.inf else math.inf

    def sees(self, event: Event, *, time_s: float) -> None:
        if self.answers and isinstance(event, Change):
            heapq.heappush(self._licks_s, time_s + 0.4)

    @property
    def next_lick_s(self) -> float:
        return min(self._next_s, self._licks_s[0] if self._licks_s else math.inf)

    def take_lick(self) -> float:
        if self._licks_s and self._licks_s[0] <= self._next_s:
            return heapq.heappop(self._licks_s)
        lick_s = self._next_s
        self._next_s += self._rng.exponential(self.every_s)
        return lick_s


class Driven:
    """A session of the task alone, with all its decisions and the licks it was given.

    Flips come every 60th of a second, or at ``flips_s``.
    """

    def __init__(
        self, parameters: StageParameters, *, seed: int, mouse: DryMouse, flips_s: Sequence[float] | None = None
    ) -> None:
        self.p = parameters
        stimuli = stimuli_of(parameters, image_names=image_names(parameters), refresh_hz=HZ)
        task = Task(parameters, stimuli=stimuli, refresh_hz=HZ, seed=seed)
        self.events = [
            (step.refresh, event)
            for step in run_dry(task, mouse, refresh_hz=HZ, flips_s=flips_s)
            for event in step.events
        ]

    def all(self, *types: type[Event]) -> list[Any]:
        """All events of some types, in order."""
        return [event for _, event in self.events if isinstance(event, types)]

    @property
    def ended(self) -> SessionEnded:
        """How it ended."""
        return self.all(SessionEnded)[0]

    @property
    def trials(self) -> list[tuple[TrialStarted, Outcome]]:
        """Each trial as it began, and how it was answered."""
        outcomes = [event.outcome for event in self.all(TrialOutcome)]
        return list(zip(self.all(TrialStarted), outcomes, strict=True))

    @property
    def completed(self) -> list[tuple[TrialStarted, Outcome]]:
        """The trials that were not aborted."""
        return [(started, outcome) for started, outcome in self.trials if outcome is not ABORTED]

    @property
    def fresh(self) -> list[TrialStarted]:
        """The trials whose parameters were drawn anew."""
        return [started for started in self.all(TrialStarted) if started.attempt == 0]

    @property
    def go(self) -> list[Outcome]:
        """The outcomes of the completed go trials."""
        return [outcome for started, outcome in self.completed if not started.catch]

    @property
    def water_ul(self) -> list[float]:
        """The volume of each reward that was given."""
        volume_ul = {event.reward: event.volume_ul for event in self.all(RewardArmed, RewardCommanded)}
        return [volume_ul[event.reward] for event in self.all(RewardFired)]


def drive(name: str, *, hours: float = 1.0, seed: int = 1, mouse: DryMouse | None = None, **changes: Any) -> Driven:
    parameters = stage(name, task_duration_min=hours * 60, **changes)
    return Driven(parameters, seed=seed, mouse=mouse or Mouse())


@cache
def hours_of(name: str, licks: str, n: int, warm_up: int = 5) -> list[Driven]:
    """``n`` hours of a stage with a mouse that never licks, answers all changes, or licks every so many seconds too."""
    seeds = [crc32(f"{name} {licks} {warm_up} {hour}".encode()) for hour in range(n)]

    def mouse(seed: int) -> Mouse:
        match licks:
            case "never":
                return Mouse()
            case "perfect":
                return Mouse(answers=True)
            case _:
                return Mouse(answers=True, every_s=float(licks), seed=seed)

    return [drive(name, seed=seed, mouse=mouse(seed), warm_up_trials=warm_up) for seed in seeds]


def without_aborts(name: str) -> list[Driven]:
    """Hours in which no trial is aborted."""
    return hours_of(name, "never", 6, 0) + hours_of(name, "perfect", 6)


def with_aborts(name: str) -> list[Driven]:
    """Hours with some and with very many aborts."""
    return hours_of(name, "6", 6) + hours_of(name, "1.5", 3)


@pytest.fixture
def say(tell: Tell) -> Any:
    def said(text: str) -> None:
        tell(f"{text}")

    return said


@pytest.mark.parametrize("name", [IMAGES, GRATINGS, STATIC, FREE_WATER])
def test_the_driver_decides_as_the_whole_loop_does(name: str) -> None:
    rig = rig_config(behaviour="perfect", card={"kind": "simulated", "drift_ppm": 0})
    ran = run(stage(name, task_duration_min=10), rig, licks_s=[], seed=3)
    looped = [(entry.refresh, entry.event) for entry in ran.log.entries if KINDS[type(entry.event)] is Kind.DECISION]
    flips_s = ran.log.all_flips()["time_s"].tolist()
    driven = Driven(stage(name, task_duration_min=10), seed=3, mouse=Mouse(), flips_s=flips_s)
    decided = [(refresh, event) for refresh, event in driven.events if KINDS[type(event)] is Kind.DECISION]
    assert len(decided) > 300
    assert [_rounded(item) for item in decided] == [_rounded(item) for item in looped]


def _rounded(item: tuple[int, Any]) -> tuple[Any, ...]:
    fields = msgspec.to_builtins(item[1])
    return item[0], {name: round(value, 4) if isinstance(value, float) else value for name, value in fields.items()}


def test_fresh_change_flashes_follow_the_renormalised_geometric(say: Any) -> None:
    for driven in (without_aborts(IMAGES), with_aborts(IMAGES), with_aborts(GRATINGS)):
        change = driven[0].p.change
        assert isinstance(change, GeometricChange)
        drawn = Counter(started.change_after for session in driven for started in session.fresh)
        assert set(drawn) <= set(range(4, 12))
        n = drawn.total()
        counts = [drawn[k] for k in range(4, 12)]
        p = chisquare(counts, n * geometric_probabilities(change)).pvalue
        say(f"{n} fresh change flashes 4 to 11: {counts}, p = {p:.3f}")
        assert p > LEAST_P


def test_the_geometric_is_the_one_of_the_fact_sheet() -> None:
    probabilities = geometric_probabilities(GeometricChange(kind="geometric", p=0.3, flashes_min=4, flashes_max=11))
    assert np.round(probabilities, 3).tolist() == [0.318, 0.223, 0.156, 0.109, 0.076, 0.054, 0.037, 0.026]


def test_fresh_static_change_times_follow_the_truncated_exponential(say: Any) -> None:
    for driven in (without_aborts(STATIC), with_aborts(STATIC), hours_of(FREE_WATER, "2", 4, -1)):
        change = driven[0].p.change
        assert isinstance(change, ExponentialChange)
        earliest_s, below_s = change.earliest_s, change.below_s
        waits_s = np.array([started.change_after / HZ - earliest_s for session in driven for started in session.fresh])
        found = kstest(waits_s, truncexpon(below_s / change.mean_s, scale=change.mean_s).cdf)
        say(
            f"{len(waits_s)} fresh waits of {waits_s.mean():.3f} s in the mean: D = {found.statistic:.4f}, "
            f"p = {found.pvalue:.3f}"
        )
        assert found.pvalue > LEAST_P
        assert waits_s.mean() == pytest.approx(truncated_mean_s(change), abs=0.1)
        assert 0 <= waits_s.min() <= waits_s.max() <= below_s


def test_of_each_64_completed_image_trials_8_are_catch_trials() -> None:
    sessions = hours_of(IMAGES, "never", 6, 0) + hours_of(IMAGES, "6", 6, 0)
    n_walks = 0
    for session in sessions:
        catch = [started.catch for started, _ in session.completed]
        walks = [catch[n : n + 64] for n in range(0, len(catch) - 63, 64)]
        assert {sum(walk) for walk in walks} == {8}
        n_walks += len(walks)
    assert n_walks > 40


@pytest.mark.parametrize("name", [GRATINGS, STATIC])
def test_of_completed_grating_trials_after_the_warm_up_12_5_per_cent_are_catch_trials(name: str, say: Any) -> None:
    for driven in (without_aborts(name), with_aborts(name)):
        catch = [
            started.catch for session in driven for started, _ in session.completed[max(session.p.warm_up_trials, 0) :]
        ]
        p = binomtest(sum(catch), len(catch), 0.125).pvalue
        say(f"{sum(catch)} of {len(catch)} completed trials are catch trials: {np.mean(catch):.2%}, p = {p:.3f}")
        assert p > LEAST_P
        assert not any(
            started.catch for session in driven for started, _ in session.completed[: session.p.warm_up_trials]
        )


@pytest.mark.parametrize("licks", ["never", "6"])
@pytest.mark.parametrize("warm_up", [0, 5])
def test_pairs_of_images_are_within_one_of_each_other_at_any_time(licks: str, warm_up: int) -> None:
    """The warm-up consumes self-transitions unseen: with one, only changes are compared."""
    for session in hours_of(IMAGES, licks, 6, warm_up):
        images = range(1, 9)
        counts = {(a, b): 0 for a in images for b in images if warm_up == 0 or a != b}
        n_walks = 0
        for started, _ in session.completed:
            pair = started.initial_stimulus, started.change_stimulus
            if pair in counts:
                counts[pair] += 1
                assert max(counts.values()) - min(counts.values()) <= 1
                n_walks += min(counts.values()) == max(counts.values())
        assert n_walks >= 2, "no walk was complete"


@pytest.mark.parametrize("name", [GRATINGS, STATIC])
def test_a_change_of_gratings_shows_either_orientation_of_its_group_at_random(name: str, say: Any) -> None:
    for group in ("vertical", "horizontal"):
        shown = []
        for session in without_aborts(name):
            gratings = stimuli_of(session.p, image_names=[], refresh_hz=HZ)
            changes = [gratings[started.change_stimulus] for started, _ in session.completed if not started.catch]
            shown.append([grating for grating in changes if identity(grating) == group])
        drawn = Counter(grating for session in shown for grating in session)
        again = [a == b for session in shown for a, b in pairwise(session)]
        p = binomtest(max(drawn.values()), drawn.total(), 0.5).pvalue
        p_again = binomtest(sum(again), len(again), 0.5).pvalue
        say(f"{group}: {sorted(drawn.values())}, p = {p:.3f}; {sum(again)} of {len(again)} as last, p = {p_again:.3f}")
        assert len(drawn) == 2
        assert min(p, p_again) > LEAST_P


def eligible_flashes(session: Driven) -> tuple[int, int]:
    """Return how many flashes might have been left out by the rules, and how many of them were."""
    n = n_omitted = 0
    change_flash, last_omitted, flash = math.inf, True, -1  # the first flash is never left out
    for event in session.all(FlashPlanned, FlashShown, FlashOmitted, TrialStarted, Aborted, Change, ShamChange):
        match event:
            case TrialStarted():
                change_flash = flash + event.change_after
            case Aborted() | Change() | ShamChange():
                change_flash = math.inf
            case FlashPlanned():
                flash = event.flash
                barred = flash in (change_flash, change_flash - 1) or last_omitted
                assert not (barred and event.omitted), f"flash {flash} should have been shown"
                n, n_omitted = n + (not barred), n_omitted + event.omitted
                last_omitted = event.omitted
    return n, n_omitted


def test_5_per_cent_of_the_eligible_flashes_are_omitted_with_and_without_aborts(say: Any) -> None:
    for name, driven in (
        ("no aborts", without_aborts(IMAGES)),
        ("an early lick every 6 s", hours_of(IMAGES, "6", 6)),
        ("an early lick every 1.5 s", hours_of(IMAGES, "1.5", 3)),
    ):
        n, n_omitted = np.sum([eligible_flashes(session) for session in driven], axis=0).tolist()
        n_flashes = sum(len(session.all(FlashPlanned)) for session in driven)
        n_aborts = sum(len(session.all(Aborted)) for session in driven)
        p = binomtest(n_omitted, n, 0.05).pvalue
        say(
            f"{name}: {n_aborts} aborts, {n_omitted} of {n} eligible flashes omitted, {n_omitted / n:.3%}, "
            f"p = {p:.3f}; {n_omitted / n_flashes:.3%} of all {n_flashes} flashes"
        )
        assert p > LEAST_P


def fact_sheets_share(n_protected: int) -> float:
    """Return what TASK_FACTS 1.8 predicts, as ``stages.omissions`` explains it."""
    drawn = {4: 74, 5: 57, 6: 34, 7: 22, 8: 12, 9: 12, 10: 7, 11: 6}  # TASK_FACTS 1.4
    flashes = 6 + sum(k * n for k, n in drawn.items()) / sum(drawn.values())
    return 0.05 / 1.05 * (1 - n_protected / flashes)


def test_the_fact_sheets_shares_of_omissions_come_of_one_sessions_change_times_and_the_long_run() -> None:
    assert [round(fact_sheets_share(n), 4) for n in (1, 2, 3)] == [0.0436, 0.0395, 0.0354]


def test_without_aborts_the_share_of_omissions_is_the_one_the_rule_predicts(say: Any) -> None:
    driven = without_aborts(IMAGES)
    n_omitted = sum(len(session.all(FlashOmitted)) for session in driven)
    n = sum(len(session.all(FlashPlanned)) for session in driven)
    change = driven[0].p.change
    assert isinstance(change, GeometricChange)
    expected = share_without_aborts(change, probability=0.05)
    say(
        f"{n_omitted} of {n} flashes omitted: {n_omitted / n:.3%}; the rule predicts {expected:.3%}, "
        f"TASK_FACTS {fact_sheets_share(2):.3%}"
    )
    low, high = binom.interval(1 - LEAST_P, n, expected)
    assert low <= n_omitted <= high


@dataclass
class SpoilsChanges:
    """Licks just before every change, so that no trial comes to it."""

    flashes_before: int
    """The last flash it lets pass: 1 is the one before the change."""
    after_s: float
    next_lick_s: float = math.inf
    _change_flash: float = math.inf
    _flash: int = -1

    def sees(self, event: Event, *, time_s: float) -> None:
        match event:
            case FlashShown() | FlashOmitted():
                self._flash = event.flash
            case TrialStarted():
                self._change_flash = self._flash + event.change_after
            case _:
                return
        if self._flash == self._change_flash - self.flashes_before:
            self.next_lick_s = time_s + self.after_s

    def take_lick(self) -> float:
        lick_s, self.next_lick_s = self.next_lick_s, math.inf
        return lick_s


@pytest.mark.parametrize("flashes_before", [1, 2])
@pytest.mark.parametrize("after_s", [0.3, 0.6], ids=["the time-out is over", "within the time-out"])
def test_an_abort_leaves_no_flash_protected(flashes_before: int, after_s: float, say: Any) -> None:
    n = n_omitted = 0
    for seed in range(4):
        session = drive(IMAGES, seed=seed, mouse=SpoilsChanges(flashes_before, after_s))
        assert {outcome for _, outcome in session.trials[:-1]} == {ABORTED}
        omitted = {event.flash: event.omitted for event in session.all(FlashPlanned)}
        flash = -1
        for event in session.all(FlashShown, FlashOmitted, TrialStarted):
            if not isinstance(event, TrialStarted):
                flash = event.flash
                continue
            change = flash + event.change_after
            freed = [f for f in range(change - flashes_before + 1, change + 1) if omitted.get(f - 1) is False]
            n += sum(f in omitted for f in freed)
            n_omitted += sum(omitted.get(f, False) for f in freed)
    p = binomtest(n_omitted, n, 0.05).pvalue
    say(f"{n_omitted} of {n} flashes omitted that an abort set free: {n_omitted / n:.2%}, p = {p:.3f}")
    assert n > 1500
    assert p > LEAST_P


@pytest.mark.parametrize("name", [IMAGES, GRATINGS, STATIC])
def test_aborted_parameters_come_up_to_six_times_then_fresh_ones(name: str, say: Any) -> None:
    lengths: Counter[int] = Counter()
    following = []
    for session in with_aborts(name):
        trials = session.trials
        for (before, outcome), (after, _) in pairwise(trials):
            again = outcome is ABORTED and before.attempt < 5
            assert after.attempt == (before.attempt + 1 if again else 0)
            if again:
                assert _parameters(after) == _parameters(before)
        rounds = [list(attempts) for _, attempts in groupby(_numbered(trials), key=lambda item: item[0])]
        lengths.update(len(attempts) for attempts in rounds[:-1])
        following += [
            (attempts[0][1].change_after, nexts[0][1].change_after)
            for attempts, nexts in pairwise(rounds)
            if attempts[-1][2] is ABORTED
        ]
    say(f"attempts with the same parameters: {dict(sorted(lengths.items()))}")
    assert max(lengths) == 6
    assert lengths[6] > 100
    same = sum(a == b for a, b in following)
    drawn = Counter(a for pair in following for a in pair)
    by_chance = sum((count / drawn.total()) ** 2 for count in drawn.values())
    assert binomtest(same, len(following), by_chance).pvalue > LEAST_P, "fresh parameters are not independent"


def _numbered(trials: list[tuple[TrialStarted, Outcome]]) -> Iterator[tuple[int, TrialStarted, Outcome]]:
    number = -1
    for started, outcome in trials:
        number += started.attempt == 0
        yield number, started, outcome


def _parameters(event: TrialStarted) -> tuple[Any, ...]:
    return event.change_after, event.catch, event.auto_rewarded, event.initial_stimulus, event.change_stimulus


@pytest.mark.parametrize("name", [IMAGES, GRATINGS, STATIC])
@pytest.mark.parametrize("n", [0, 1, 4, 5, 6])
@pytest.mark.parametrize("every_s", [math.inf, 8.0], ids=["no aborts", "aborts"])
def test_the_warm_up_pays_exactly_its_number_of_go_trials(name: str, n: int, every_s: float) -> None:
    for seed in range(2):
        mouse = Mouse(every_s=every_s, seed=seed)
        session = drive(name, hours=0.15, seed=seed, mouse=mouse, warm_up_trials=n, free_reward_after_misses=None)
        assert len(session.go) > n
        assert session.go[:n] == [AUTO] * n
        assert AUTO not in session.go[n:]
        assert not any(started.catch for started, _ in session.completed[:n])


@pytest.mark.parametrize("name", [IMAGES, GRATINGS, STATIC, FREE_WATER])
def test_a_warm_up_of_minus_1_pays_all_go_trials_and_has_no_catch_trials(name: str) -> None:
    catch = {"kind": "walk"} if name == IMAGES else {"kind": "draw", "probability": 0}
    session = drive(name, hours=0.25, mouse=Mouse(every_s=8.0), warm_up_trials=-1, catch=catch)
    assert {outcome for _, outcome in session.completed} == {AUTO}


@pytest.mark.parametrize("name", [IMAGES, GRATINGS, STATIC])
@pytest.mark.parametrize("n", [1, 2, 9, 10, 11])
def test_a_free_reward_comes_after_exactly_so_many_misses(name: str, n: int) -> None:
    session = drive(name, hours=0.25, warm_up_trials=0, free_reward_after_misses=n)
    assert CORRECT_REJECT in {outcome for _, outcome in session.completed}, "no catch trial stood between"
    period = [MISS] * n + [AUTO]
    assert session.go == (period * len(session.go))[: len(session.go)]
    assert AUTO in session.go


@pytest.mark.parametrize("name", [IMAGES, GRATINGS, STATIC])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_only_a_reward_ends_a_row_of_misses_not_a_catch_trial_an_abort_or_a_repeat(name: str, n: int) -> None:
    lengths: Counter[tuple[int, Outcome]] = Counter()
    between: Counter[Outcome] = Counter()
    for seed in range(3):
        mouse = Mouse(every_s=6.0, seed=seed)  # licks that abort, and now and then hit
        session = drive(name, hours=0.5, seed=seed, mouse=mouse, free_reward_after_misses=n)
        unpaid = 0
        for started, outcome in session.trials[_after_warm_up(session) :]:
            if outcome is ABORTED or started.catch:
                between[outcome] += unpaid > 0
            elif outcome is MISS:
                unpaid += 1
            else:
                assert (outcome is AUTO) == (unpaid == n), f"{outcome} after {unpaid} misses"
                lengths[unpaid, outcome] += 1
                unpaid = 0
            assert unpaid <= n
    assert {length for length, _ in lengths} == set(range(n + 1)), "a side of the threshold was not met"
    assert between[ABORTED] > 10
    assert between[CORRECT_REJECT] > 0


def _after_warm_up(session: Driven) -> int:
    paid = [n for n, (_, outcome) in enumerate(session.trials) if outcome is AUTO]
    return paid[session.p.warm_up_trials - 1] + 1


@pytest.mark.parametrize(
    ("limit_ul", "given_ul"),
    [
        (94.9, 95.0),
        (95.0, 95.0),  # five auto rewards of 5 uL and ten hits of 7 uL reach it
        (95.1, 102.0),
        (25.0, 25.0),  # the warm-up alone
        (25.1, 32.0),
        (7.0, 10.0),
    ],
)
def test_the_trial_that_reaches_the_volume_limit_is_the_last(limit_ul: float, given_ul: float) -> None:
    for seed in range(4):
        session = drive(IMAGES, seed=seed, mouse=Mouse(answers=True), volume_limit_ul=limit_ul)
        assert session.ended.reason is EndReason.VOLUME
        assert sum(session.water_ul) == given_ul
        assert session.trials[-1][1] in (AUTO, Outcome.HIT), "a trial followed the one that reached the limit"


def test_free_water_pays_5_ul_in_each_of_about_120_trials_of_15_minutes(say: Any) -> None:
    driven = [drive(FREE_WATER, hours=0.25, seed=seed) for seed in range(8)]
    n = [len(session.trials) for session in driven]
    say(f"trials of free water in 15 min: {n}, mean {np.mean(n):.1f} (TASK_FACTS 1.4: 121 expected, 120 measured)")
    assert all(session.water_ul == [5.0] * len(session.trials) for session in driven)
    assert np.mean(n) == pytest.approx(121, abs=3)
