"""Model mice: what each kind does, the stochastic one against its own parameters, and running."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hardware.simulated.mice import (
    GRAY_IDENTITY,
    MOVIE_IDENTITY,
    MouseKind,
    SessionParameters,
    StochasticMouse,
    Temperament,
)
from hardware.simulated.mice.running import DELAY_S, Running
from stages.events import Aborted, Change, Lick, Outcome, TrialOutcome
from tests.builders import IMAGES, Ran, command, rig_config, run, stage

STATIC = "TRAINING_1_gratings"
CYCLE_S = 0.75


def outcomes(ran: Ran) -> Counter[Outcome]:
    return Counter(event.outcome for event in ran.all(TrialOutcome))


def licks_s(ran: Ran) -> list[float]:
    return [event.time_s for event in ran.all(Lick)]


@pytest.mark.parametrize("behaviour", ["dropping", "jittering"])
@pytest.mark.parametrize("name", [IMAGES, STATIC])
@pytest.mark.parametrize("kind", [MouseKind.STOCHASTIC, MouseKind.EARLY, MouseKind.LATE])
def test_a_mouse_does_the_same_whether_the_session_jumps_or_steps(kind: MouseKind, name: str, behaviour: str) -> None:
    movie = {"name": "natural_movie_one", "frame_rate_hz": 30, "n_frames": 300, "n_repeats": 2}
    parameters = stage(name, task_duration_min=1.5, gray_before_s=20, gray_after_s=20, movie=movie, warm_up_trials=2)
    commands = [
        command("reward", at_s=10.0),
        command("spout", at_s=40.0, position="retracted"),
        command("spout", at_s=50.0, position="at_mouse"),
        command("pause", at_s=60.0),
        command("resume", at_s=80.0),
    ]
    jumped, stepped = (
        run(parameters, rig_config(behaviour=behaviour), kind=kind, seed=7, commands=commands, stepping=stepping)
        for stepping in (False, True)
    )
    assert jumped.log.all_bytes() == stepped.log.all_bytes()
    assert jumped.all(Lick)


def test_the_seed_makes_the_mouse() -> None:
    one, same, other = (run(stage(task_duration_min=2), kind=MouseKind.STOCHASTIC, seed=seed) for seed in (1, 1, 2))
    assert licks_s(one) == licks_s(same)
    assert licks_s(one) != licks_s(other)


@pytest.mark.parametrize("name", [IMAGES, STATIC])
def test_the_early_mouse_aborts_most_trials(name: str) -> None:
    ran = run(stage(name, task_duration_min=10), kind=MouseKind.EARLY)
    count = outcomes(ran)
    assert count[Outcome.ABORTED] > 0.9 * count.total() > 100


@pytest.mark.parametrize("name", [IMAGES, STATIC])
def test_the_late_mouse_answers_every_change_when_the_window_has_closed(name: str) -> None:
    parameters = stage(name, task_duration_min=10, warm_up_trials=0, free_reward_after_misses=None)
    ran = run(parameters, kind=MouseKind.LATE)
    assert set(outcomes(ran)) == {Outcome.MISS, Outcome.CORRECT_REJECT}
    changes_s = [event.time_s for event in ran.all(Change)]
    assert len(changes_s) > 30
    licks = np.array(licks_s(ran))
    for change_s in changes_s:
        first_s = licks[licks > change_s][0] - change_s
        assert max(parameters.response_window_s[1], 0.8) < first_s + 1e-3
        assert first_s < 1.5


def test_behind_a_retracted_spout_a_mouse_that_has_drunk_is_not_heard() -> None:
    ran = run(stage("OPHYS_2_images_A_passive", task_duration_min=10), kind=MouseKind.STOCHASTIC)
    assert not ran.all(Lick, Aborted)
    assert set(outcomes(ran)) == {Outcome.MISS, Outcome.CORRECT_REJECT}


def test_a_rewarded_bout_looks_like_a_real_one() -> None:
    """MOUSE_FACTS C: intervals 0.15 +- 0.02 s, none under 0.083 s; E: 11.3 +- 3 licks."""
    licks, rewards_s = [], []
    parameters = SessionParameters().tireless()
    mouse = Driven(parameters)
    for _ in range(2000):
        mouse.gray(5.0)
        mouse.mouse.drink(host_s=mouse.now_s)
        rewards_s.append(mouse.now_s)
        licks.append(mouse.gray(8.0))
    bouts = [bout for bout in licks if len(bout) > 3]
    intervals_s = np.concatenate([np.diff(bout) for bout in bouts])
    assert intervals_s.min() >= 0.083
    core_s = intervals_s[intervals_s < 0.25]
    assert np.mean(core_s) == pytest.approx(0.15, abs=0.002)
    assert np.std(core_s) == pytest.approx(0.02, abs=0.002)
    assert np.median([len(bout) for bout in bouts]) == pytest.approx(11, abs=1)
    assert len(bouts) / len(rewards_s) == pytest.approx(0.9, abs=0.03), "drops that go unnoticed"


class Driven:
    """A stochastic mouse with no rig around it; time goes on as the test says."""

    def __init__(self, parameters: SessionParameters, *, static: bool = False, seed: int = 1) -> None:
        self.mouse = StochasticMouse(np.random.default_rng(seed), parameters, static=static, start_host_s=0.0)
        self.now_s = 0.0

    def until(self, host_s: float) -> list[float]:
        licks = []
        while (lick_s := self.mouse.next_lick_s()) <= host_s:
            assert lick_s >= self.now_s, "a lick in the past"
            self.now_s = lick_s
            licks.append(lick_s)
            self.mouse.take_lick()
        self.now_s = host_s
        return licks

    def gray(self, seconds: float) -> list[float]:
        return self.until(self.now_s + seconds)

    def flash(self, identity: str) -> list[float]:
        """Show a stimulus for 0.25 s and gray for 0.5 s; return the licks since its onset."""
        begun_s = self.now_s
        self.mouse.see(host_s=begun_s, identity=identity)
        licks = self.until(begun_s + 0.25)
        self.mouse.see(host_s=self.now_s, identity=GRAY_IDENTITY)
        return licks + self.until(begun_s + CYCLE_S)

    def flashes(self, n: int) -> Iterator[list[float]]:
        for _ in range(n):
            yield self.flash("im061")


def logistic(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


PLAIN = replace(SessionParameters(), ramp_logit=0.0, one_more_lick=0.0, on_curve_other=0.0).tireless()
"""Single licks within the flash's own cycle, at one and the same chance on each flash."""


def test_licks_of_an_engaged_mouse_come_at_the_plateau() -> None:
    n = 20_000
    licked = sum(bool(licks) for licks in Driven(PLAIN).flashes(n))
    assert licked / n == pytest.approx(logistic(-1.4), abs=0.01)


def test_a_mouse_licks_less_right_after_a_bout() -> None:
    parameters = replace(PLAIN, ramp_logit=3.0)
    since: dict[int, list[bool]] = {}
    n = 0
    for licks in Driven(parameters).flashes(40_000):
        n += 1
        since.setdefault(n, []).append(bool(licks))
        if licks:
            n = 0
    for n in range(1, 8):
        expected = logistic(-1.4 - 3.0 * (1 - logistic(n - parameters.ramp_at_flashes)))
        assert np.mean(since[n]) == pytest.approx(expected, abs=0.02), f"{n} flashes after a bout"


def test_a_change_is_answered_as_gain_and_salience_say() -> None:
    parameters = replace(PLAIN, change_gain_logit=1.0)
    answered: dict[str, list[bool]] = {"im069": [], "im066": []}
    mouse = Driven(parameters)
    for i in range(20_000):
        identity = ("im069", "im066")[i % 2]
        licks = mouse.flash(identity) + mouse.gray(CYCLE_S)  # an answer may come later than the next flash would
        answered[identity].append(bool(licks))
    for identity, salience in (("im069", 1.30 + 0.01), ("im066", -1.29 - 0.17)):
        assert np.mean(answered[identity]) == pytest.approx(logistic(-1.4 + 1.0 + salience), abs=0.02)


def test_answers_to_changes_are_lognormal_and_a_share_of_them_even() -> None:
    parameters = replace(PLAIN, plateau_logit=-30.0, change_gain_logit=60.0)
    mouse = Driven(parameters)
    latencies_s = []
    for _ in range(5000):
        for identity in ("a", "b"):
            mouse.mouse.see(host_s=mouse.now_s, identity=identity)
            begun_s = mouse.now_s
            latencies_s += [lick_s - begun_s for lick_s in mouse.gray(3.0)[:1]]
            mouse.mouse.see(host_s=mouse.now_s, identity=identity)
    quick = np.mean(np.array(latencies_s) < 0.15)
    assert quick == pytest.approx((1 - parameters.on_curve_change) * 0.15 / CYCLE_S, abs=0.01)
    assert np.median(latencies_s) == pytest.approx(parameters.latency_median_s, abs=0.02)


def test_a_mouse_quits_after_its_time_and_licks_little_from_then_on() -> None:
    parameters = replace(PLAIN, quit_after_min=10.0, quit_hazard_before=0.0, quit_hazard_after=1.0, return_hazard=0.0)
    licked = [bool(licks) for licks in Driven(parameters).flashes(20_000)]
    n = round(600 / CYCLE_S)
    assert np.mean(licked[:n]) == pytest.approx(logistic(-1.4), abs=0.05)
    assert np.mean(licked[n + 1 :]) == pytest.approx(0.011, abs=0.003)


@pytest.mark.parametrize("static", [False, True])
def test_outside_the_task_a_mouse_licks_now_and_then(static: bool) -> None:
    mouse = Driven(SessionParameters().tireless(), static=static)

    def bouts_per_min(minutes: float) -> float:
        licks = mouse.gray(60 * minutes)
        return sum(later - lick > 0.5 for lick, later in pairwise(licks)) / minutes

    assert bouts_per_min(600) == pytest.approx(6.0, rel=0.1)
    mouse.mouse.see(host_s=mouse.now_s, identity="im061")
    mouse.gray(0.25)
    mouse.mouse.see(host_s=mouse.now_s, identity=GRAY_IDENTITY)
    assert bouts_per_min(600) == pytest.approx(2.8, rel=0.1)
    mouse.mouse.see(host_s=mouse.now_s, identity=MOVIE_IDENTITY)
    assert bouts_per_min(1200) == pytest.approx(0.4, rel=0.2)


def test_where_the_stimulus_stays_on_a_mouse_licks_as_often_as_for_flashes() -> None:
    flashed = replace(PLAIN, ramp_logit=2.0, static_plateau_logit=0.0)
    by_flashes = sum(len(licks) for licks in Driven(flashed).flashes(20_000))
    mouse = Driven(flashed, static=True)
    mouse.mouse.see(host_s=0.0, identity="vertical")
    assert len(mouse.until(20_000 * CYCLE_S)) == pytest.approx(by_flashes, rel=0.05)


def test_what_was_looked_ahead_to_is_taken_back_where_something_comes_before_it() -> None:
    """Told of the same stimulus again and again, the mouse licks as often as one that is left alone."""
    parameters = replace(PLAIN, plateau_logit=-3.0, static_plateau_logit=0.0)
    mouse = Driven(parameters, static=True)
    n_licks = 0
    for _ in range(5000):
        mouse.mouse.see(host_s=mouse.now_s, identity="vertical")
        n_licks += len(mouse.gray(4 * CYCLE_S - 1e-6))
    assert n_licks / 20_000 == pytest.approx(logistic(-3.0), rel=0.1)


def test_quitting_is_taken_back_too() -> None:
    """A mouse that quits with one tick in twenty works for twenty ticks, however often its plans are overtaken."""
    parameters = replace(
        PLAIN,
        plateau_logit=1.0,
        static_plateau_logit=0.0,
        quit_after_min=0.0,
        quit_hazard_after=0.05,
        return_hazard=0.0,
        quit_logit=-30.0,
    )
    last_s = []
    for seed in range(150):
        mouse = Driven(parameters, static=True, seed=seed)
        licks = [0.0]
        for _ in range(60):
            mouse.mouse.see(host_s=mouse.now_s, identity="vertical")
            licks += mouse.gray(2 * CYCLE_S - 1e-6)
        last_s.append(licks[-1])
    assert np.mean(last_s) / CYCLE_S == pytest.approx(1 / 0.05 - 1, rel=0.2)


def test_sessions_of_a_mouse_resemble_each_other_more_the_longer_it_is_trained() -> None:
    def own_share(training_sessions: int) -> float:
        rng = np.random.default_rng(1)
        mice = [Temperament.drawn(rng) for _ in range(2000)]
        pairs = [
            [mouse.session(rng, training_sessions=training_sessions).plateau_logit for _ in range(2)] for mouse in mice
        ]
        return float(np.corrcoef(np.array(pairs).T)[0, 1])

    assert own_share(0) == pytest.approx(0.1, abs=0.07)
    assert own_share(30) == pytest.approx(0.7, abs=0.05)


def test_the_population_has_the_published_medians_and_spread() -> None:
    rng = np.random.default_rng(2)
    sessions = [Temperament.drawn(rng).session(rng, training_sessions=100) for _ in range(4000)]

    def of(name: str) -> np.ndarray:
        return np.array([getattr(s, name) for s in sessions])

    assert np.median(of("plateau_logit")) == pytest.approx(-1.4, abs=0.06)
    assert np.std(of("plateau_logit")) == pytest.approx(0.87, abs=0.04)
    assert np.median(of("change_gain_logit")) == pytest.approx(3.05, abs=0.06)
    assert np.median(of("quit_after_min")) == pytest.approx(61, rel=0.06)
    assert np.std(np.log(of("quit_after_min"))) == pytest.approx(0.79, abs=0.04)
    assert np.median(of("drink_licks")) == pytest.approx(11.3, abs=0.2)
    assert 0.5 < np.mean(of("run_cm_s") > 8) < 0.66


def test_a_change_is_noticed_better_with_training() -> None:
    rng = np.random.default_rng(3)
    mice = [Temperament.drawn(rng) for _ in range(500)]
    gains = [
        np.mean([mouse.session(rng, training_sessions=k).change_gain_logit for mouse in mice]) for k in (0, 2, 8, 300)
    ]
    assert gains == sorted(gains)
    assert gains[0] == pytest.approx(0.2 * gains[-1], rel=0.1)


def test_images_without_data_stand_out_as_the_seed_says() -> None:
    one, other = SessionParameters(salience_seed=1), SessionParameters(salience_seed=2)
    assert one.salience_logit("im069") == other.salience_logit("im069") == (1.30, -0.17)
    assert one.salience_logit("im000") == one.salience_logit("im000") != other.salience_logit("im000")
    drawn = np.array([SessionParameters(salience_seed=i).salience_logit("im000") for i in range(3000)])
    assert drawn.std(axis=0) == pytest.approx([1.1, 0.5], rel=0.05)
    assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(-0.7, abs=0.05)


def runner(seed: int = 1) -> Running:
    return Running(np.random.default_rng(seed), mean_cm_s=20.0, share=0.6, bout_s=15.0)


def distance(running: Running, time_s: np.ndarray, drops_s: list[float], block: int) -> np.ndarray:
    """Ask for the distance a block at a time, each drop told when its time has come."""
    parts, told = [], 0
    for i in range(0, len(time_s), block):
        part_s = time_s[i : i + block]
        while told < len(drops_s) and drops_s[told] <= part_s[-1]:
            running.drink(drops_s[told])
            told += 1
        parts.append(running.distance_cm(part_s))
    return np.concatenate(parts)


@pytest.mark.parametrize("block", [1, 7, 60, 3600])
def test_the_distance_run_does_not_depend_on_how_it_is_asked_for(block: int) -> None:
    time_s = np.arange(0, 600, 1 / 60) + np.random.default_rng(1).uniform(0, 1e-3, 36_000)
    drops_s = np.sort(np.random.default_rng(2).uniform(0, 600, 40)).tolist()
    whole = distance(runner(), time_s, drops_s, len(time_s))
    assert distance(runner(), time_s, drops_s, block) == pytest.approx(whole, abs=1e-9)
    assert (np.diff(whole) >= 0).all()


def test_a_drop_told_late_changes_nothing_that_was_given() -> None:
    """A monitor may stand still for a third of a second: the drop is told when its flips have been gathered."""
    time_s = np.arange(0, 60, 1 / 60)
    in_time, late = runner(), runner()
    in_time.drink(30.0)
    before = late.distance_cm(time_s[time_s < 30.0 + DELAY_S - 0.1])
    late.drink(30.0)
    after = late.distance_cm(time_s[time_s >= 30.0 + DELAY_S - 0.1])
    assert np.concatenate([before, after]) == pytest.approx(in_time.distance_cm(time_s), abs=1e-9)


def test_a_runner_runs_in_bouts_and_slows_to_drink() -> None:
    time_s = np.arange(0, 7200, 1 / 60)
    free_cm = runner().distance_cm(time_s)
    speed = np.diff(free_cm) * 60
    assert speed.mean() == pytest.approx(20.0, rel=0.15)
    assert np.mean(speed > 2.0) == pytest.approx(0.62, abs=0.1)
    drops_s = np.arange(10, 7000, 30.0).tolist()
    slowed = np.diff(distance(runner(), time_s, drops_s, 3600)) * 60
    at = (np.array(drops_s) * 60).astype(int)
    drinking = np.concatenate([slowed[i + 60 : i + 180] for i in at])
    unslowed = np.concatenate([speed[i + 60 : i + 180] for i in at])
    assert drinking.mean() < 0.4 * unslowed.mean()
