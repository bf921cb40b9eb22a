"""The published acceptance rules of Visual Behavior sessions, as invariants over our own records (TASK_FACTS 11).

``RULES`` holds one small function a rule, 47 of the 50 that are published; its first line says what must hold,
``published`` the rule's name in ``visual_behavior.validation`` (``extended_trials``: 42 rules, ``core``: 8).
``LEFT_OUT`` names the three that say nothing about our records, and why. A rule yields once for each case it met:
``None`` if the case keeps it, else what broke it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import binomtest

from hardware.events import ControllerFailed
from rig.records.presentations import PresentationRow
from rig.records.running import speed_cm_s
from rig.records.trials import TrialRow
from stages.events import (
    AlarmRaised,
    Change,
    DeviceFault,
    EndReason,
    FlashOmitted,
    Lick,
    Outcome,
    RewardArmed,
    RewardCommanded,
    RewardFailed,
    RewardFired,
    ShamChange,
    TimeoutEnded,
    TrialEnded,
)
from stages.parameters import ExponentialChange, Flashed, NaturalImages, StageParameters, Static
from stages.timing import whole_refreshes
from tests.builders import Ran

HZ = 60.0
EXACT_S = 1e-6
GO = (Outcome.HIT, Outcome.MISS)
CATCH = (Outcome.FALSE_ALARM, Outcome.CORRECT_REJECT)
COMPLETED = (*GO, *CATCH, Outcome.AUTO_REWARDED)


@dataclass
class Session:
    """A simulated session as the rules see it."""

    p: StageParameters
    ran: Ran
    licks: bool
    """Whether the mouse is one that tries to lick."""

    @cached_property
    def rows(self) -> list[TrialRow]:
        """All trials."""
        return self.ran.live.trials.rows

    @cached_property
    def completed(self) -> list[TrialRow]:
        """The trials that ran to their end."""
        return [row for row in self.rows if row.outcome in COMPLETED]

    @cached_property
    def aborted(self) -> list[TrialRow]:
        """The trials that an early lick ended."""
        return [row for row in self.rows if row.outcome is Outcome.ABORTED]

    def of(self, *outcomes: Outcome) -> list[TrialRow]:
        """The trials of some outcomes."""
        return [row for row in self.rows if row.outcome in outcomes]

    @cached_property
    def flips(self) -> Any:
        """The flips, an array of ``FLIP_DTYPE``."""
        return self.ran.log.all_flips()

    @cached_property
    def refreshes(self) -> Any:
        """The refresh of each flip."""
        return self.flips["refresh"].astype(np.int64)

    @cached_property
    def shown(self) -> Any:
        """What each flip showed."""
        return self.flips["stimulus"]

    @cached_property
    def labels(self) -> list[str]:
        """The names the tables give the stimuli."""
        return [self.ran.live.trials.label_of(n) for n in range(len(self.ran.log.entries[0].event.stimuli))]

    @cached_property
    def changes(self) -> dict[int, Any]:
        """The entry of each trial's change or sham change."""
        return {entry.event.trial: entry for entry in self.ran.entries(Change, ShamChange)}

    @cached_property
    def rewards(self) -> dict[int, list[RewardFired]]:
        """The rewards that were given in each trial."""
        trial_of = {event.reward: event.trial for event in self.ran.all(RewardArmed, RewardCommanded)}
        given: dict[int, list[RewardFired]] = {}
        for event in self.ran.all(RewardFired):
            given.setdefault(trial_of[event.reward], []).append(event)
        return given

    @cached_property
    def licks_seen(self) -> dict[int, list[tuple[int, float]]]:
        """The licks seen while each trial ran: the flip they were seen with and their own time."""
        entries = self.ran.entries(Lick)
        flips = np.array([entry.flip for entry in entries], np.int64)
        starts = np.searchsorted(flips, [row.start_flip for row in self.rows])
        stops = np.searchsorted(flips, [row.end_flip for row in self.rows])
        return {
            row.trial: [(entry.flip, entry.event.time_s) for entry in entries[start:stop]]
            for row, start, stop in zip(self.rows, starts, stops, strict=True)
        }

    def in_window(self, row: TrialRow) -> list[float]:
        """The trial's licks inside the response window, by their own time."""
        low, high = self.p.response_window_s
        return [
            time_s
            for _, time_s in self.licks_seen[row.trial]
            if low + EXACT_S <= time_s - row.change_time_s <= high - EXACT_S
        ]

    def first_flip_from(self, refresh: int) -> int:
        """The refresh of the first flip that is not before ``refresh``."""
        return int(self.refreshes[min(int(np.searchsorted(self.refreshes, refresh)), len(self.refreshes) - 1)])

    def comes_with(self, refresh: int) -> int:
        """The refresh of the flip that shows what is due on ``refresh``: the one after the first able to ask for it."""
        asked = int(np.searchsorted(self.refreshes, refresh - 1))
        return int(self.refreshes[min(asked + 1, len(self.refreshes) - 1)])

    def scheduled(self, row: TrialRow) -> int:
        """The refresh of the flip with which the trial's change was to come."""
        p = self.p.presentation
        if isinstance(p, Static):
            return self.comes_with(row.start_refresh + row.change_after)
        on, cycle = round(p.flash_s * HZ), round((p.flash_s + p.gray_s) * HZ)
        due = self.flashes[row.start_flip].planned_refresh + row.change_after * cycle
        while self.first_flip_from(due - 1) + 1 >= due + on:  # the screen stood still for the whole flash
            due += cycle
        return self.comes_with(due)

    @cached_property
    def flashes(self) -> dict[int, PresentationRow]:
        """All flashes, shown or left out, by their flip; of static stages, what came on."""
        return {row.start_flip: row for row in self.ran.live.presentations.rows if row.flash >= 0}

    def on_screen(self, start_flip: int, stop_flip: int) -> set[str]:
        """The names of all that was shown in some flips, but for gray."""
        return {self.labels[n] for n in np.unique(self.shown[start_flip:stop_flip]) if n}

    def misses_refreshes(self, start: int, stop: int) -> bool:
        """Whether a refresh of ``start ... stop`` had no flip."""
        low, high = np.searchsorted(self.refreshes, [start, stop + 1])
        return bool(high - low < stop + 1 - start)


Found = Iterator[str | None]
When = Callable[[StageParameters], bool]


@dataclass(frozen=True)
class Rule:
    """One rule: its published name, the stages it is for, and its check."""

    published: str
    applies: When
    check: Callable[[Session], Found]

    @property
    def name(self) -> str:
        """The rule's name in our words."""
        return self.check.__name__


RULES: list[Rule] = []

LEFT_OUT = {
    "validate_schema": "our rows are typed and a line of another schema is refused on reading",
    "validate_task_id_present": "there is one task only",
    "validate_monotonically_decreasing_number_of_change_times": "holds for no finite sample, so that the published "
    "checks leave it out themselves; tests/sessions/test_distributions.py compares the whole distribution",
}
"""Published rules that say nothing about a session of ours, and why."""


def always(p: StageParameters) -> bool:
    return True


def flashed(p: StageParameters) -> bool:
    return isinstance(p.presentation, Flashed)


def static(p: StageParameters) -> bool:
    return isinstance(p.presentation, Static)


def omits(p: StageParameters) -> bool:
    return p.omission_probability > 0


def pays(p: StageParameters) -> bool:
    """Whether the spout is at the mouse: only then is there water, and only then are licks felt."""
    return not p.passive


def warms_up(p: StageParameters) -> bool:
    return p.warm_up_trials != 0


def pays_every_trial(p: StageParameters) -> bool:
    return p.warm_up_trials < 0


def judges(p: StageParameters) -> bool:
    """Whether there are catch trials, and trials that wait for an answer."""
    return not pays_every_trial(p)


def pays_licks(p: StageParameters) -> bool:
    return pays(p) and judges(p)


def aborts(p: StageParameters) -> bool:
    return p.abort_on_early_lick and pays(p)


def never_aborts(p: StageParameters) -> bool:
    return not p.abort_on_early_lick


def walks(p: StageParameters) -> bool:
    return isinstance(p.stimulus, NaturalImages)


def rule(published: str, applies: When = always) -> Callable[[Callable[[Session], Found]], Callable[[Session], Found]]:
    def entered(check: Callable[[Session], Found]) -> Callable[[Session], Found]:
        RULES.append(Rule(published, applies, check))
        return check

    return entered


def held(ok: bool, what: str, row: TrialRow | None = None) -> str | None:
    return None if ok else what if row is None else f"trial {row.trial} ({row.outcome.value}): {what}"


@rule("validate_stage_present")
def stage_is_named(s: Session) -> Found:
    """The stage's name stands in the log's first event."""
    yield held(s.ran.log.entries[0].event.stage == s.p.stage, "another stage is named")


@rule("validate_stimulus_distribution_key")
def change_distribution_is_named(s: Session) -> Found:
    """The distribution of change times stands in the log's first event, as the stage has it."""
    found = s.ran.log.entries[0].event.stage_parameters["change"]
    yield held(found == s.p.change.model_dump(), f"found {found}")


@rule("validate_no_read_errors")
def nothing_failed(s: Session) -> Found:
    """No device, reward or program failed."""
    failed = s.ran.all(DeviceFault, ControllerFailed, RewardFailed, AlarmRaised)
    yield held(not failed, f"{failed[:1]}")


@rule("validate_running_data")
def running_is_known_at_every_flip(s: Session) -> Found:
    """Every flip has a reading of the encoder, and they are not all the same."""
    speed = speed_cm_s(s.flips)
    yield held(bool(np.isfinite(s.flips["signal_v"]).all() and np.isfinite(s.flips["supply_v"]).all()), "no reading")
    yield held(len(speed) == len(s.flips) and len(np.unique(speed)) > 1, "one speed all the time")


@rule("validate_encoder_voltage")
def wheel_turns_forwards(s: Session) -> Found:
    """The encoder's signal spans more than 3 V and wraps forwards more than twice as often as backwards."""
    signal_v = s.flips["signal_v"].astype(float)
    step_v = np.diff(signal_v)
    forwards, backwards = int((step_v < -2.5).sum()), int((step_v > 2.5).sum())
    span_v = float(np.ptp(signal_v))
    yield held(span_v > 3 and forwards > 2 * backwards, f"{span_v:.1f} V, {forwards} wraps on, {backwards} back")


@rule("validate_licks")
def a_mouse_that_licks_is_heard(s: Session) -> Found:
    """There are licks if the mouse is one that licks, and none with the spout retracted."""
    if s.licks:
        yield held(bool(s.ran.all(Lick)) is not s.p.passive, f"{len(s.ran.all(Lick))} licks")


@rule("validate_minimal_dropped_frames")
def few_flips_are_missed(s: Session) -> Found:
    """At most 1 % of the intervals between flips are two refreshes or longer."""
    share = float((np.diff(s.flips["time_s"]) > 1.5 / HZ).mean())
    yield held(share <= 0.01, f"{share:.2%}")


@rule("validate_session_within_expected_duration")
def the_last_trial_starts_in_time(s: Session) -> Found:
    """The last trial starts no later than 30 s past the task's duration after the first."""
    lasted_s = s.rows[-1].start_time_s - s.rows[0].start_time_s
    yield held(lasted_s < s.p.task_duration_min * 60 + 30, f"{lasted_s:.1f} s")


@rule("validate_session_ends_at_max_cumulative_volume", pays)
def no_trial_follows_the_one_that_reached_the_volume_limit(s: Session) -> Found:
    """The trial in which the limit was reached is the last, so that it is passed by less than one reward."""
    given_ul = np.cumsum([row.reward_volume_ul for row in s.rows])
    reached = np.flatnonzero(given_ul >= s.p.volume_limit_ul)
    if len(reached):
        largest_ul = max(s.p.reward_volume_ul, s.p.auto_reward_volume_ul)
        yield held(reached[0] == len(s.rows) - 1, f"{len(s.rows) - 1 - reached[0]} trials follow", s.rows[reached[0]])
        yield held(given_ul[-1] < s.p.volume_limit_ul + largest_ul, f"{given_ul[-1]:g} uL")
        yield held(s.ran.ended.reason in (EndReason.VOLUME, EndReason.TIME), s.ran.ended.reason.value)


@rule("validate_duration_and_volume_limit")
def only_the_volume_limit_ends_a_session_early(s: Session) -> Found:
    """The last trial ends no sooner than the task's duration is over, unless the volume limit was met."""
    if s.ran.ended.reason is EndReason.VOLUME:
        yield held(sum(row.reward_volume_ul for row in s.rows) >= s.p.volume_limit_ul, "the limit was not met")
    else:
        lasted = s.ran.entries(TrialEnded)[-1].refresh - s.rows[0].start_refresh
        at_least = s.p.task_duration_min * 60 * HZ - 30  # the first flip may be late
        yield held(lasted >= at_least, f"ended after {lasted / HZ:.1f} s, {s.ran.ended}")


@rule("validate_catch_frequency")
def one_trial_in_eight_is_a_catch_trial(s: Session) -> Found:
    """Of the completed trials after the warm-up 12.5 % are catch trials (none where every trial is paid)."""
    contingent = s.completed[max(s.p.warm_up_trials, 0) :]
    n_catch = sum(row.catch for row in contingent)
    if pays_every_trial(s.p):
        yield held(n_catch == 0, f"{n_catch} catch trials")
    elif contingent:
        p = binomtest(n_catch, len(contingent), 0.125).pvalue
        yield held(p > 0.001, f"{n_catch} of {len(contingent)}, p = {p:.1g}")


@rule("validate_trial_times_never_overlap")
def a_trial_starts_at_the_first_chance_after_its_predecessor(s: Session) -> Found:
    """A trial starts on the flip its predecessor ended with (static) or on the next flash from there on (flashed)."""
    onsets = list(s.flashes)
    for before, row in pairwise(s.rows):
        due = before.end_flip if static(s.p) else onsets[int(np.searchsorted(onsets, before.end_flip))]
        yield held(
            row.start_time_s >= before.end_time_s and row.start_flip == due,
            f"starts on {row.start_flip}, not {due}",
            row,
        )


@rule("validate_intial_and_final_in_non_aborted")
def completed_trials_have_two_stimuli(s: Session) -> Found:
    """A completed trial names an initial and a change stimulus, both among the session's."""
    names = set(s.labels[1:])
    for row in s.completed:
        yield held({row.initial_stimulus, row.change_stimulus} <= names, "unknown stimulus", row)


@rule("validate_initial_matches_final")
def a_trial_begins_with_the_stimulus_the_last_completed_one_ended_with(s: Session) -> Found:
    """A trial's initial stimulus is the change stimulus of the last completed trial, aborted ones between or not."""
    for before, row in pairwise(s.completed):
        yield held(row.initial_stimulus == before.change_stimulus, "another stimulus", row)


@rule("validate_change_on_all_go_trials")
def the_stimulus_changes_on_every_go_trial(s: Session) -> Found:
    """With a go trial's change flip the screen shows another stimulus than it showed last, as the table says."""
    for row in s.of(*GO, Outcome.AUTO_REWARDED):
        before, after = _about_change(s, row)
        wanted = before == row.initial_stimulus != row.change_stimulus == after
        yield held(wanted, f"{before} to {after}", row)


@rule("validate_no_change_on_all_catch_trials", judges)
def the_stimulus_stays_on_every_catch_trial(s: Session) -> Found:
    """With a catch trial's sham change the screen shows the same stimulus as before."""
    for row in s.of(*CATCH):
        before, after = _about_change(s, row)
        wanted = before == row.initial_stimulus == row.change_stimulus == after
        yield held(wanted, f"{before} to {after}", row)


def _about_change(s: Session, row: TrialRow) -> tuple[str, str]:
    """What was last shown before a trial's change flip, and what was shown with it."""
    before = s.shown[row.start_flip : row.change_flip]
    stimuli = before[before > 0]
    if not len(stimuli):  # the trial's first flashes were left out
        stimuli = s.shown[: row.change_flip][s.shown[: row.change_flip] > 0]
    return s.labels[stimuli[-1]], s.labels[s.shown[row.change_flip]]


@rule("validate_two_stimuli_per_go_trial")
def a_go_trial_shows_two_stimuli(s: Session) -> Found:
    """A go trial shows its initial and its change stimulus and nothing else."""
    for row in s.of(*GO, Outcome.AUTO_REWARDED):
        seen = s.on_screen(row.start_flip, row.end_flip)
        yield held(seen == {row.initial_stimulus, row.change_stimulus}, f"shows {seen}", row)


@rule("validate_one_stimulus_per_catch_trial", judges)
def a_catch_trial_shows_one_stimulus(s: Session) -> Found:
    """A catch trial shows its initial stimulus and nothing else."""
    for row in s.of(*CATCH):
        seen = s.on_screen(row.start_flip, row.end_flip)
        yield held(seen == {row.initial_stimulus}, f"shows {seen}", row)


@rule("validate_one_stimulus_per_aborted_trial", aborts)
def an_aborted_trial_shows_one_stimulus(s: Session) -> Found:
    """An aborted trial shows nothing but its initial stimulus (nothing at all if the only flash was left out)."""
    for row in s.aborted:
        seen = s.on_screen(row.start_flip, row.end_flip)
        yield held(seen <= {row.initial_stimulus}, f"shows {seen}", row)


@rule("validate_even_sampling", walks)
def pairs_of_images_are_sampled_evenly(s: Session) -> Found:
    """No ordered pair of different images comes more than once more often than another in completed trials."""
    names = s.labels[1:9]
    counts = {(a, b): 0 for a in names for b in names if a != b}
    for row in s.completed:
        if not row.catch:
            counts[row.initial_stimulus, row.change_stimulus] += 1
            yield None
    yield held(max(counts.values()) - min(counts.values()) <= 1, f"{min(counts.values())} to {max(counts.values())}")


@rule("validate_min_change_time")
def no_change_comes_too_early(s: Session) -> Found:
    """A change comes no sooner than the earliest time (static) or flash (flashed) the stage allows."""
    for row in s.completed:
        if isinstance(s.p.change, ExponentialChange):
            after_s = row.change_time_s - row.start_time_s
            yield held(after_s > s.p.change.earliest_s - 0.015, f"{after_s:.3f} s", row)
        else:
            flashes = s.flashes[row.change_flip].flash - s.flashes[row.start_flip].flash
            yield held(flashes >= s.p.change.flashes_min, f"flash {flashes}", row)


@rule("validate_max_change_time")
def no_change_comes_too_late(s: Session) -> Found:
    """A change comes within the stage's range, or with the first flip after it if refreshes were missed."""
    for row in s.completed:
        refresh = s.changes[row.trial].refresh
        if isinstance(s.p.change, ExponentialChange):
            within = row.change_after <= round((s.p.change.earliest_s + s.p.change.below_s) * HZ)
        else:
            within = row.change_after <= s.p.change.flashes_max
        yield held(within, f"drawn to come after {row.change_after}", row)
        yield held(refresh == s.scheduled(row), f"{refresh - s.scheduled(row)} refreshes off its schedule", row)


@rule("validate_change_time_mean", static)
def exponential_change_times_have_their_mean(s: Session) -> Found:
    """The mean of the drawn change times past the earliest is that of the truncated exponential within 1 s."""
    assert isinstance(s.p.change, ExponentialChange)
    fresh = [row.change_after / HZ - s.p.change.earliest_s for row in s.rows if row.attempt == 0]
    if len(fresh) >= 20:
        yield held(abs(np.mean(fresh) - truncated_mean_s(s.p.change)) <= 1, f"{np.mean(fresh):.2f} s")


def truncated_mean_s(change: ExponentialChange) -> float:
    """The mean of the exponential time below ``below_s``."""
    ratio = change.below_s / change.mean_s
    return change.mean_s - change.below_s / math.expm1(ratio)


@rule("validate_change_frame_at_flash_onset", flashed)
def changes_come_with_a_flash(s: Session) -> Found:
    """A change's or sham change's flip is the first of a flash: the flip before it is gray."""
    for row in s.completed:
        comes_on = s.shown[row.change_flip] > 0 and s.shown[row.change_flip - 1] == 0
        yield held(bool(comes_on), "no flash begins with the change", row)


@rule("validate_initial_blank")
def a_trial_starts_with_its_stimulus(s: Session) -> Found:
    """No blank goes before a trial: it starts with the flip of a flash, shown or left out; static: it is on."""
    for row in s.rows:
        label = s.labels[s.shown[row.start_flip]]
        flash = s.flashes.get(row.start_flip)
        omitted = flash is not None and flash.omitted
        yield held(label == ("gray" if omitted else row.initial_stimulus), f"starts with {label}", row)
        yield held(flash is not None or static(s.p), "starts without a flash", row)


@rule("validate_flash_blank_durations", flashed)
def flashes_and_gray_keep_their_length(s: Session) -> Found:
    """Flashes and the gray between them last as long as the stage says: exactly, but where refreshes were missed."""
    p = s.p.presentation
    assert isinstance(p, Flashed)
    on, off = round(p.flash_s * HZ), round(p.gray_s * HZ)
    stops = np.flatnonzero(np.diff(s.shown)) + 1
    lengths, grays = [], []
    for row, following in pairwise(s.flashes.values()):
        if row.omitted or following.omitted or following.flash != row.flash + 1:
            continue
        stop = s.refreshes[stops[np.searchsorted(stops, row.start_flip, side="right")]]
        lengths.append(int(stop) - row.start_refresh)
        grays.append(following.start_refresh - int(stop))
        late = row.late_refreshes or following.late_refreshes
        if not late and not s.misses_refreshes(row.start_refresh, following.start_refresh):
            yield held((lengths[-1], grays[-1]) == (on, off), f"flash {row.flash}: {lengths[-1]} on, {grays[-1]} gray")
    for found, wanted in ((lengths, on), (grays, off)):
        yield held(abs(np.mean(found) - wanted) <= 1 and np.std(found) <= 1, f"mean {np.mean(found):.2f} refreshes")


@rule("validate_omitted_flashes_are_omitted", omits)
def nothing_is_shown_about_an_omission(s: Session) -> Found:
    """No stimulus comes on within three flips of an omitted flash's."""
    for entry in s.ran.entries(FlashOmitted):
        yield held(not s.shown[entry.flip - 3 : entry.flip + 4].any(), f"flip {entry.flip}")


@rule("validate_aborted_change_time", aborts)
def aborted_trials_have_no_change(s: Session) -> Found:
    """An aborted trial has neither a change nor a sham change."""
    for row in s.aborted:
        none = row.change_flip < 0 and math.isnan(row.change_time_s) and row.trial not in s.changes
        yield held(none, "has a change", row)


@rule("validate_lick_before_scheduled_on_aborted_trials", aborts)
def aborted_trials_have_a_lick_before_their_change_was_due(s: Session) -> Found:
    """The first lick of an aborted trial was seen before its change would have come."""
    for row in s.aborted:
        seen = s.licks_seen[row.trial]
        yield held(bool(seen) and s.refreshes[seen[0][0]] < s.scheduled(row), "no early lick", row)


@rule("validate_lick_after_scheduled_on_go_catch_trials", aborts)
def completed_trials_have_no_lick_before_their_change_was_due(s: Session) -> Found:
    """No lick of a completed trial was seen before the flip its change was scheduled for."""
    for row in s.completed:
        early = [flip for flip, _ in s.licks_seen[row.trial] if s.refreshes[flip] < s.scheduled(row)]
        yield held(not early, f"licks seen with flips {early}", row)


@rule("validate_first_lick_after_change_on_nonaborted", aborts)
def completed_trials_have_no_lick_before_their_change(s: Session) -> Found:
    """No lick of a completed trial was seen on a flip before the change's."""
    for row in s.completed:
        if seen := s.licks_seen[row.trial]:
            yield held(seen[0][0] >= row.change_flip, f"lick with flip {seen[0][0]}", row)


@rule("validate_ignore_false_alarms", never_aborts)
def where_early_licks_are_ignored_nothing_aborts(s: Session) -> Found:
    """Where early licks do not abort, a trial with licks before its change runs to its end without time-out."""
    yield held(not s.aborted and not s.ran.all(TimeoutEnded), "an abort")
    for row in s.rows:
        if any(flip < row.change_flip for flip, _ in s.licks_seen[row.trial]):
            yield held(row.outcome in COMPLETED, "did not run to its end", row)


@rule("validate_no_abort_on_lick_before_response_window", pays_licks)
def a_lick_between_change_and_window_does_not_abort(s: Session) -> Found:
    """A trial with a lick after its change and before the window's opening runs to its end."""
    for row in s.rows:
        if any(0 <= time_s - row.change_time_s < s.p.response_window_s[0] for _, time_s in s.licks_seen[row.trial]):
            yield held(row.outcome in COMPLETED, "did not run to its end", row)


@rule("validate_trial_ends_without_licks", aborts)
def a_time_out_ends_when_its_length_has_passed_without_a_lick(s: Session) -> Found:
    """An aborted trial ends its time-out's length after its last lick (the regimen asks for 0 s at other ends)."""
    timeout = whole_refreshes(s.p.timeout_s, refresh_hz=HZ, field="timeout_s")
    for row in s.aborted:
        last = int(s.refreshes[s.licks_seen[row.trial][-1][0]])
        end = int(s.refreshes[row.end_flip])
        yield held(end == s.first_flip_from(last + timeout), f"{end - last} refreshes after its last lick", row)


@rule("validate_number_aborted_trial_repeats", aborts)
def aborted_parameters_come_again(s: Session) -> Found:
    """After an abort the same parameters come again, until they have been tried as often as the stage says."""
    for before, row in pairwise(s.rows):
        if before.outcome is Outcome.ABORTED and before.attempt < s.p.max_repeats_after_abort:
            same = _parameters(row) == _parameters(before) and row.attempt == before.attempt + 1
            yield held(same, f"attempt {row.attempt} after {before.attempt}, {_parameters(row)}", row)


@rule("validate_params_change_after_aborted_trial_repeats", aborts)
def parameters_are_fresh_after_the_last_repeat(s: Session) -> Found:
    """After the last repeat was aborted the parameters are fresh; many such draws are not all the same."""
    fresh = []
    for before, row in pairwise(s.rows):
        if before.outcome is Outcome.ABORTED and before.attempt == s.p.max_repeats_after_abort:
            yield held(row.attempt == 0, f"attempt {row.attempt}", row)
            fresh.append(row.change_after)
    if len(fresh) >= 20:
        yield held(len(set(fresh)) > 2, f"only {set(fresh)}")


@rule("validate_new_params_on_nonaborted_trials")
def parameters_are_fresh_after_a_completed_trial(s: Session) -> Found:
    """After a completed trial the parameters are fresh; many such draws are not all the same."""
    fresh = []
    for before, row in pairwise(s.rows):
        if before.outcome in COMPLETED:
            yield held(row.attempt == 0, f"attempt {row.attempt}", row)
            fresh.append(row.change_after)
    if len(fresh) >= 20:
        yield held(len(set(fresh)) > 2, f"only {set(fresh)}")


def _parameters(row: TrialRow) -> tuple[Any, ...]:
    return row.change_after, row.catch, row.auto_rewarded, row.initial_stimulus, row.change_stimulus


@rule("validate_never_more_than_one_reward", pays)
def a_trial_has_at_most_one_reward(s: Session) -> Found:
    """No trial has two rewards, and none is given between trials unasked."""
    for trial, given in s.rewards.items():
        yield held(trial >= 0 and len(given) == 1, f"trial {trial}: {len(given)} rewards")


@rule("validate_autoreward_volume", pays)
def auto_rewards_have_their_volume(s: Session) -> Found:
    """An auto-rewarded trial is paid with the auto reward's volume."""
    for row in s.of(Outcome.AUTO_REWARDED):
        yield held(row.reward_volume_ul == s.p.auto_reward_volume_ul, f"{row.reward_volume_ul:g} uL", row)


@rule("validate_number_of_warmup_trials", warms_up)
def the_warm_up_pays_so_many_go_trials(s: Session) -> Found:
    """The first completed go trials are auto-rewarded, as many as the stage says (-1: all), and the next one is not."""
    go = [row for row in s.completed if row.outcome not in CATCH]
    n = s.p.warm_up_trials
    warm_up = go if n < 0 else go[:n]
    for row in warm_up:
        yield held(row.outcome is Outcome.AUTO_REWARDED, "is not paid", row)
    if len(go) > len(warm_up):
        yield held(go[n].outcome is not Outcome.AUTO_REWARDED, "is paid after the warm-up", go[n])


@rule("validate_reward_delivery_on_warmup_trials", warms_up)
def auto_rewards_come_after_their_delay(s: Session) -> Found:
    """An auto reward comes the stage's delay after the change within a refresh, or with the next flip there is."""
    commanded = {entry.event.trial: entry for entry in s.ran.entries(RewardCommanded)}
    for row in s.of(Outcome.AUTO_REWARDED):
        due = s.changes[row.trial].refresh + round(s.p.auto_reward_delay_s * HZ)
        refresh = commanded[row.trial].refresh
        yield held(refresh == s.first_flip_from(due), f"asked for {refresh - due} refreshes late", row)
        late_s = row.reward_time_s - float(s.flips["time_s"][commanded[row.trial].flip])
        yield held(abs(late_s) < 0.005, f"{late_s * 1e3:.1f} ms after it was asked for", row)
        delay_s = row.reward_time_s - row.change_time_s
        if not s.misses_refreshes(due - 1, due):
            yield held(abs(delay_s - s.p.auto_reward_delay_s) < 0.017, f"{delay_s:.4f} s after the change", row)


@rule("validate_autorewards_after_N_consecutive_misses", pays_licks)
def free_rewards_come_after_so_many_misses_and_never_else(s: Session) -> Found:
    """After N completed go trials in a row without reward the next is auto-rewarded; after the warm-up no other is."""
    n = s.p.free_reward_after_misses
    go = [row for row in s.completed if row.outcome not in CATCH]
    unpaid = 0
    for row in go[s.p.warm_up_trials :]:
        due, paid = n is not None and unpaid >= n, row.outcome is Outcome.AUTO_REWARDED
        if due or paid:
            yield held(due and paid, f"paid: {paid} after {unpaid} without reward", row)
        unpaid = 0 if paid or s.rewards.get(row.trial) else unpaid + 1


@rule("validate_reward_when_lick_in_window", pays_licks)
def a_lick_in_the_window_of_a_go_trial_is_paid(s: Session) -> Found:
    """A go trial with a lick in its window is a hit, one without is a miss."""
    for row in s.of(*GO):
        answered = bool(s.in_window(row))
        if answered or row.outcome is Outcome.HIT:
            paid = row.outcome is Outcome.HIT and bool(s.rewards.get(row.trial))
            yield held(answered and paid, f"lick in the window: {answered}, paid: {paid}", row)


@rule("validate_licks_on_go_trials_earn_reward", pays_licks)
def a_hit_is_paid_once_with_the_earned_volume(s: Session) -> Found:
    """A go trial with licks in its window, however many, has one reward of the earned volume."""
    for row in s.of(*GO):
        if s.in_window(row):
            once = len(s.rewards.get(row.trial, [])) == 1 and row.reward_volume_ul == s.p.reward_volume_ul
            yield held(once, f"{len(s.rewards.get(row.trial, []))} rewards, {row.reward_volume_ul:g} uL", row)


@rule("validate_licks_on_catch_trials_do_not_earn_reward", pays_licks)
def a_lick_in_the_window_of_a_catch_trial_is_a_false_alarm_without_reward(s: Session) -> Found:
    """A catch trial with a lick in its window is a false alarm, one without a correct reject; neither is paid."""
    for row in s.of(*CATCH):
        answered = bool(s.in_window(row))
        wanted = Outcome.FALSE_ALARM if answered else Outcome.CORRECT_REJECT
        if answered or row.outcome is Outcome.FALSE_ALARM:
            yield held(row.outcome is wanted and not s.rewards.get(row.trial), "paid, or no false alarm", row)
        elif s.rewards.get(row.trial):
            yield held(ok=False, what="paid", row=row)


@rule("validate_licks_near_every_reward", pays_licks)
def every_earned_reward_has_a_lick_beside_it(s: Session) -> Found:
    """An earned reward comes within 5 ms of a lick."""
    for row in s.rows:
        if row.outcome is not Outcome.AUTO_REWARDED and not math.isnan(row.reward_time_s):
            apart_s = min((abs(row.reward_time_s - lick_s) for lick_s in row.lick_times_s), default=math.inf)
            yield held(apart_s <= 0.005, f"{apart_s:.4f} s from the nearest lick", row)


@rule("validate_reward_follows_first_lick_in_window", pays_licks)
def the_first_lick_in_the_window_is_paid_at_once(s: Session) -> Found:
    """The reward of a hit follows the first lick in the window by at most 1 ms."""
    for row in s.of(*GO):
        if licks_s := s.in_window(row):
            late_s = row.reward_time_s - licks_s[0]
            yield held(-EXACT_S <= late_s <= 0.001, f"{late_s * 1e3:.2f} ms after the first lick", row)
