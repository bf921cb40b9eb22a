"""The session in figures and in words, folded from the log."""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime

import msgspec

from hardware.events import ClockFitted, ControllerFailed, Finding, LateFlip, Verdict
from rig.log.schema import Entry
from rig.records.monitor_delay import nominal_delay
from stages.events import (
    AlarmCleared,
    AlarmRaised,
    BlockKind,
    BlockStarted,
    FlashOmitted,
    FlashShown,
    Lick,
    Note,
    Outcome,
    PicturesFrom,
    RewardArmed,
    RewardCommanded,
    RewardConfirmed,
    RewardFired,
    RewardKind,
    SessionEnded,
    SessionStarted,
    TrialEnded,
    TrialOutcome,
    TrialStarted,
)
from stages.metrics import PEAK_SKIPS_TRIALS, d_prime, rate

NOTABLE_BOUND_US = 100.0
"""A card in this computer is far below it, one behind a device server above."""
FEW_TRIALS = 10
"""A d-prime over fewer go or catch trials than this comes with a warning."""


class ClockRow(msgspec.Struct, frozen=True):
    """One fit of the clock map, once a minute and more often in the first."""

    minute: float
    drift_ppm: float
    residual_us: float
    offset_us: float | None
    """How far the host's time of session time 0 has moved since the first flip."""
    bound_us: float | None
    """The offset may be wrong by so much: a frame pulse lies somewhere in the call that gave it."""


class Summary(msgspec.Struct, kw_only=True):
    """What a session came to. Rates and d-prime are None where there was no such trial.

    ``SummaryFold`` leaves out the figures that take all trials together, see ``performance.with_performance``.
    """

    session_id: str
    mouse: str
    stage: str
    rig: str
    simulated: bool
    started_at: str
    duration_s: float
    ended: str
    """How it ended: the reason of ``SessionEnded``, ``crashed``, or ``running``."""
    why: str
    block: str | None
    is_sweep: bool = False
    """The stage has no trials: patches are shown."""
    pictures: list[str] = msgspec.field(default_factory=list)
    """Of images and movie, a line each: the laboratory's own or stand-ins, and their hashes."""
    n_trials: int
    n_go: int
    n_catch: int
    n_hit: int
    n_miss: int
    n_false_alarm: int
    n_correct_reject: int
    n_auto_rewarded: int
    n_aborted: int
    n_incomplete: int
    hit_rate: float | None
    false_alarm_rate: float | None
    d_prime: float | None
    """Over the whole session, each rate clipped to [0.01, 0.99]."""
    n_contingent: int
    """Completed go and catch trials."""
    peak_d_prime: float | None = None
    """What the curriculum advances by, see ``stages.metrics.peak_d_prime``."""
    n_engaged: int | None = None
    """Trials, aborted ones too, around which AllenSDK counts more than two rewards a minute; None before any has a
    reward rate."""
    engaged_share: float | None = None
    """Of all trials but those cut short."""
    max_reward_rate_per_min: float | None = None
    monitor_delay_s: float
    """From a flip to the picture, as the data file applies it and as the reward rate is taken."""
    monitor_delay_origin: str
    """``nominal`` (the rig's file) or ``measured``."""
    monitor_delay_spread_s: float | None = None
    """Standard deviation of a measured one."""
    alignment: list[Finding] = msgspec.field(default_factory=list)
    """One a stream, see ``alignment``."""
    n_licks: int
    water_ul: float
    water_earned_ul: float
    water_auto_ul: float
    water_free_ul: float
    n_rewards: int
    n_rewards_confirmed: int
    n_flashes_shown: int
    n_flashes_omitted: int
    n_flashes_late: int
    n_late_flips: int
    n_refreshes_missed: int
    clock_drift_ppm: float | None
    clock_residual_us: float | None
    clock: list[ClockRow] = msgspec.field(default_factory=list)
    alarms: list[str]
    """All that were raised, in order."""
    open_alarms: list[str]
    notes: list[str]


class SummaryFold:
    """The summary from entries, live or from the file."""

    TAKES = (
        Lick,
        FlashShown,
        FlashOmitted,
        TrialStarted,
        TrialOutcome,
        TrialEnded,
        RewardArmed,
        RewardCommanded,
        RewardFired,
        RewardConfirmed,
        LateFlip,
        ClockFitted,
        BlockStarted,
        AlarmRaised,
        AlarmCleared,
        Note,
        SessionStarted,
        SessionEnded,
        ControllerFailed,
    )

    def __init__(self) -> None:
        self._started: SessionStarted | None = None
        self._ended: SessionEnded | None = None
        self._failed: ControllerFailed | None = None
        self._block: BlockKind | None = None
        self._outcomes: Counter[Outcome] = Counter()
        self._n_trials = 0
        self._n_licks = 0
        self._n_shown = self._n_omitted = self._n_late_flashes = 0
        self._n_late_flips = self._n_missed = 0
        self._rewards: dict[int, tuple[RewardKind, float]] = {}
        self._water_ul: dict[RewardKind, float] = dict.fromkeys(RewardKind, 0.0)
        self._n_fired = self._n_confirmed = 0
        self._clock: list[ClockRow] = []
        self._alarms: list[str] = []
        self._open: dict[str, str] = {}
        self._notes: list[str] = []
        self._last_s = 0.0

    def feed(self, entry: Entry) -> None:
        """Take the next entry of the log; entries that are not in ``TAKES`` change nothing."""
        event = entry.event
        match event:
            case Lick():
                self._n_licks += 1
            case FlashShown():
                self._n_shown += 1
                self._n_late_flashes += event.late_refreshes > 0
                self._last_s = event.time_s
            case FlashOmitted():
                self._n_omitted += 1
            case TrialStarted():
                self._n_trials += 1
            case TrialOutcome():
                self._outcomes[event.outcome] += 1
            case TrialEnded():
                self._last_s = event.time_s
            case RewardArmed():
                self._rewards[event.reward] = RewardKind.EARNED, event.volume_ul
            case RewardCommanded():
                self._rewards[event.reward] = event.kind, event.volume_ul
            case RewardFired():
                kind, volume_ul = self._rewards.get(event.reward, (RewardKind.EARNED, 0.0))  # its order may be damaged
                self._water_ul[kind] += volume_ul
                self._n_fired += 1
            case RewardConfirmed():
                self._n_confirmed += 1
            case LateFlip():
                self._n_late_flips += 1
                self._n_missed += event.n_missed
            case ClockFitted():
                self._take_fit(event, entry.refresh)
            case BlockStarted():
                self._block = event.block
                self._last_s = event.time_s
            case AlarmRaised():
                self._alarms.append(f"{event.alarm}: {event.what}")
                self._open[event.alarm] = event.what
            case AlarmCleared():
                if self._open.pop(event.alarm, None) is not None:
                    last = max(i for i, what in enumerate(self._alarms) if what.startswith(f"{event.alarm}: "))
                    self._alarms[last] += " (cleared)"
            case Note():
                self._notes.append(f"{event.time_s:.0f} s, {event.who}: {event.text}")
            case SessionStarted():
                self._started = event
            case SessionEnded():
                self._ended, self._last_s, self._block = event, event.time_s, None
            case ControllerFailed():
                self._failed = event
            case _:
                pass

    def _take_fit(self, fit: ClockFitted, refresh: int) -> None:
        started = self._started
        offset_us = None
        if started is not None and fit.host_zero_s is not None:
            offset_us = (fit.host_zero_s - started.host_zero_s) * 1e6
        minute = refresh / started.refresh_hz / 60 if started is not None else math.nan
        self._clock.append(ClockRow(minute, fit.drift_ppm, fit.residual_us, offset_us, fit.bound_us))

    def summary(self, *, running: bool = False) -> Summary:
        """Return the summary as things stand; ``running`` tells a log in the making from a crashed one."""
        started = self._started
        if started is None:
            raise ValueError("the log has not begun")
        delay = nominal_delay(started.rig_parameters)
        n = self._outcomes
        n_go, n_catch = n[Outcome.HIT] + n[Outcome.MISS], n[Outcome.FALSE_ALARM] + n[Outcome.CORRECT_REJECT]
        hit_rate, false_alarm_rate = rate(n[Outcome.HIT], n_go), rate(n[Outcome.FALSE_ALARM], n_catch)
        if self._ended is not None:
            ended, why = self._ended.reason.value, f"{self._ended.why} ({self._ended.who})"
        elif running and self._failed is None:
            ended, why = "running", ""
        else:
            ended = "crashed"
            why = self._failed.what if self._failed is not None else "the log breaks off without an end"
        return Summary(
            session_id=started.session_id,
            mouse=started.mouse,
            stage=started.stage,
            rig=started.rig,
            simulated=started.simulated,
            started_at=started.started_at,
            duration_s=self._last_s,
            ended=ended,
            why=why,
            block=self._block.value if self._block is not None else None,
            is_sweep="sweep" in started.stage_parameters,
            pictures=[_told(source) for source in (started.images, started.movie) if source is not None],
            n_trials=self._n_trials,
            n_go=n_go,
            n_catch=n_catch,
            n_hit=n[Outcome.HIT],
            n_miss=n[Outcome.MISS],
            n_false_alarm=n[Outcome.FALSE_ALARM],
            n_correct_reject=n[Outcome.CORRECT_REJECT],
            n_auto_rewarded=n[Outcome.AUTO_REWARDED],
            n_aborted=n[Outcome.ABORTED],
            n_incomplete=self._n_trials - sum(n.values()) + n[Outcome.INCOMPLETE],
            hit_rate=_or_none(hit_rate),
            false_alarm_rate=_or_none(false_alarm_rate),
            d_prime=_or_none(d_prime(hit_rate, false_alarm_rate)),
            n_contingent=n_go + n_catch,
            monitor_delay_s=delay.delay_s,
            monitor_delay_origin=delay.origin.value,
            n_licks=self._n_licks,
            water_ul=sum(self._water_ul.values()),
            water_earned_ul=self._water_ul[RewardKind.EARNED],
            water_auto_ul=self._water_ul[RewardKind.AUTO],
            water_free_ul=self._water_ul[RewardKind.FREE],
            n_rewards=self._n_fired,
            n_rewards_confirmed=self._n_confirmed,
            n_flashes_shown=self._n_shown,
            n_flashes_omitted=self._n_omitted,
            n_flashes_late=self._n_late_flashes,
            n_late_flips=self._n_late_flips,
            n_refreshes_missed=self._n_missed,
            clock_drift_ppm=self._clock[-1].drift_ppm if self._clock else None,
            clock_residual_us=self._clock[-1].residual_us if self._clock else None,
            clock=list(self._clock),
            alarms=list(self._alarms),
            open_alarms=[f"{name}: {what}" for name, what in self._open.items()],
            notes=list(self._notes),
        )


def in_words(s: Summary, *, damage: list[str] | None = None) -> str:
    """Return the summary as an operator would tell it."""
    when = datetime.fromisoformat(s.started_at).strftime("%Y-%m-%d %H:%M")
    minutes = s.duration_s / 60
    simulated = ", simulated" if s.simulated and not s.rig.startswith("simulated") else ""
    lines = [
        f"{s.mouse}, {s.stage}, on {s.rig}{simulated}, {when}, {minutes:.1f} min.",
        f"Ended: {s.ended.replace('_', ' ')}" + (f", {s.why}." if s.why else "."),
        *s.pictures,
        *_trials_in_words(s),
        (
            f"{s.water_ul / 1000:.3f} mL of water in {_n(s.n_rewards, 'reward')} (earned {s.water_earned_ul:g} uL, "
            f"auto {s.water_auto_ul:g} uL, free {s.water_free_ul:g} uL), {s.n_rewards_confirmed} confirmed by the "
            f"echo; {_n(s.n_licks, 'lick')}."
        ),
        (
            f"{_n(s.n_flashes_shown, *(('patch', 'patches') if s.is_sweep else ('flash', 'flashes')))} shown, "
            f"{s.n_flashes_omitted} omitted, {s.n_flashes_late} late; {_n(s.n_late_flips, 'late flip')} "
            f"({_n(s.n_refreshes_missed, 'refresh', 'refreshes')} missed)."
        ),
    ]
    if s.clock_drift_ppm is not None and s.clock_residual_us is not None:
        lines.append(_clock_in_words(s.clock, s.clock_drift_ppm, s.clock_residual_us))
    spread = f" ± {s.monitor_delay_spread_s * 1000:.2f}" if s.monitor_delay_spread_s is not None else ""
    lines.append(f"Monitor's delay {s.monitor_delay_s * 1000:.2f}{spread} ms, {s.monitor_delay_origin}.")
    lines += [_finding_in_words(finding) for finding in s.alignment]
    lines += [f"ALARM {alarm}." for alarm in s.alarms]
    lines += [f"Note, {note}" for note in s.notes]
    lines += [f"Damage: {what}." for what in damage or []]
    return "\n".join(lines)


def _clock_in_words(clock: list[ClockRow], drift_ppm: float, residual_us: float) -> str:
    words = f"Card clock {drift_ppm:+.1f} ppm against the host, residual {residual_us:.1f} us"
    settled = [row.residual_us for row in clock if row.minute >= 1.0]
    if len(settled) > 1:
        words += f", at most {max(settled):.1f} after the first minute"
    if clock and (bound_us := clock[-1].bound_us) is not None and bound_us > NOTABLE_BOUND_US:
        words += f"; offset known to {bound_us:.0f} us"
    return words + "."


def _finding_in_words(finding: Finding) -> str:
    name = finding.name[:1].upper() + finding.name[1:]
    if finding.verdict is Verdict.PASS:
        return f"{name}: {finding.figure}."
    return f"{finding.verdict.value.upper()} {name}: {finding.figure}; {finding.remedy}."


def _told(source: PicturesFrom) -> str:
    """Return where pictures come from: ``Images A: stand-in, not the published ones (standin_A0 1f2e3d4c, ...).``."""
    hashes = ", ".join(f"{name} {sha256[:8]}" for name, sha256 in source.sha256.items())
    what = "Movie" if list(source.sha256) == [source.name] else f"Images {source.name}"
    instead = f", not the published one{'' if what == 'Movie' else 's'}" if source.stands_for else ""
    return f"{what}: {source.kind.value}{instead} ({hashes})."


def _trials_in_words(s: Summary) -> list[str]:
    if s.is_sweep:
        return ["No trials: a sweep of patches."]
    if not s.n_trials:
        return ["No trials: it ended before the first one."] if s.ended != "running" else ["No trials yet."]
    lines = [
        (
            f"{_n(s.n_trials, 'trial')}: {_n(s.n_hit, 'hit')} and {_n(s.n_miss, 'miss', 'misses')} on "
            f"{_n(s.n_go, 'go trial')}, {_n(s.n_false_alarm, 'false alarm')} and "
            f"{_n(s.n_correct_reject, 'correct reject')} on {_n(s.n_catch, 'catch trial')}, "
            f"{s.n_auto_rewarded} auto-rewarded, {s.n_aborted} aborted"
            + (f", {s.n_incomplete} incomplete." if s.n_incomplete else ".")
        ),
        (
            f"Hit rate {_figure(s.hit_rate)}, false-alarm rate {_figure(s.false_alarm_rate)}, "
            f"d-prime {_figure(s.d_prime)} over the session; peak d-prime {_figure(s.peak_d_prime)}"
            + (f" (it takes {PEAK_SKIPS_TRIALS + 1} completed trials)." if s.peak_d_prime is None else ".")
        ),
    ]
    if s.d_prime is not None and min(s.n_go, s.n_catch) < FEW_TRIALS:
        lines.append(f"d-prime rests on {_n(s.n_go, 'go trial')} and {_n(s.n_catch, 'catch trial')} only.")
    if s.n_engaged is not None and s.engaged_share is not None:
        lines.append(
            f"Engaged in {_n(s.n_engaged, 'trial')} ({s.engaged_share:.0%}); highest reward rate "
            f"{_figure(s.max_reward_rate_per_min)} a minute."
        )
    return lines


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _n(n: int, what: str, many: str = "") -> str:
    return f"{n} {what if n == 1 else many or what + 's'}"
