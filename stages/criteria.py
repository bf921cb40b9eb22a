"""When a mouse may move on: the published criteria, each a rule with its figures as data (TASK_FACTS 3.2).

A criterion looks at the sessions that count, oldest first, of all stages: windows span stages, only ``n_complete``
counts within one. It answers with a ``Judgement``: whether it holds, the figures it rests on, what it needs in words.

Rules
    * Comparisons are strict where the source's are: a peak d' of exactly 2 is not above 2.
    * A figure that is not defined (no peak d' with fewer than 51 trials) never passes.
    * Where the sources disagree or are silent, the mouse stays: with fewer than three sessions no window of three holds
      (AllenSDK raises for ``two_out_of_three_aint_bad`` and says no for ``meets_engagement_criteria``, mtrain's text
      shows no check), and hand-off takes all three sessions, as the code has it, not two, as the prose says.
    * ``consistency_*`` is not here: the source names it and never wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from stages.history import SessionFacts
from stages.judgement import Figure, Judgement, in_words

WINDOW = 3
"""Sessions in a window, where the criterion's name or source says three."""
PEAK, CONTINGENT, HITS = "peak d′", "contingent trials", "hits"


class _Criterion(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TwoOutOfThree(_Criterion):
    """More than one of the last three peaks is above the threshold; published with 2."""

    kind: Literal["two_out_of_three_aint_bad"]
    peak_d_prime_above: float = Field(description="2")

    def rule(self) -> str:
        """Return what it asks for, in words of its own."""
        return f"peak d′ above {self.peak_d_prime_above:.15g} in two of the last three sessions"

    def judge(self, sessions: Sequence[SessionFacts], *, stage: str) -> Judgement:
        """Return whether it holds after these sessions."""
        peaks = _last(PEAK, sessions, lambda s: s.peak_d_prime, n=WINDOW, beside=[self.peak_d_prime_above])
        n_above = sum(_above(peak, self.peak_d_prime_above) for peak in peaks.values)
        return Judgement(
            criterion=self.kind,
            holds=len(sessions) >= WINDOW and n_above > 1,
            needs=f"two of the last three above {self.peak_d_prime_above:.15g}",
            figures=(peaks,),
            n_sessions=_short(sessions, WINDOW),
        )


class YesterdayWasGood(_Criterion):
    """The last session's peak is above the threshold; published with 2."""

    kind: Literal["yesterday_was_good"]
    peak_d_prime_above: float = Field(description="2")

    def rule(self) -> str:
        """Return what it asks for, in words of its own."""
        return f"peak d′ above {self.peak_d_prime_above:.15g} in the last session"

    def judge(self, sessions: Sequence[SessionFacts], *, stage: str) -> Judgement:
        """Return whether it holds after these sessions."""
        peak = _last(PEAK, sessions, lambda s: s.peak_d_prime, n=1, beside=[self.peak_d_prime_above])
        return Judgement(
            criterion=self.kind,
            holds=any(_above(value, self.peak_d_prime_above) for value in peak.values),
            needs=f"today's above {self.peak_d_prime_above:.15g}",
            figures=(peak,),
        )


class MeetsEngagementCriteria(_Criterion):
    """Each of the last sessions has a peak and contingent trials above the thresholds; published with 3, 1, 100."""

    kind: Literal["meets_engagement_criteria"]
    last: int = Field(ge=1, description="3")
    peak_d_prime_above: float = Field(description="1")
    n_contingent_above: int = Field(ge=0, description="100; go and catch trials, neither aborted nor auto-rewarded")

    def rule(self) -> str:
        """Return what it asks for, in words of its own."""
        window = f"each of the last {in_words(self.last)} sessions" if self.last > 1 else "the last session"
        trials = f"more than {self.n_contingent_above} contingent trials"
        return f"peak d′ above {self.peak_d_prime_above:.15g} and {trials} in {window}"

    def judge(self, sessions: Sequence[SessionFacts], *, stage: str) -> Judgement:
        """Return whether it holds after these sessions."""
        peaks = _last(PEAK, sessions, lambda s: s.peak_d_prime, n=self.last, beside=[self.peak_d_prime_above])
        trials = _last(CONTINGENT, sessions, lambda s: s.n_contingent, n=self.last, decimals=0)
        each = "all of the last " + in_words(self.last) if self.last > 1 else "today's"
        return Judgement(
            criterion=self.kind,
            holds=len(sessions) >= self.last
            and all(_above(peak, self.peak_d_prime_above) for peak in peaks.values)
            and all(_above(n, self.n_contingent_above) for n in trials.values),
            needs=f"{each} with peak d′ above {self.peak_d_prime_above:.15g} and more than {self.n_contingent_above} "
            "contingent trials",
            figures=(peaks, trials),
            n_sessions=_short(sessions, self.last),
        )


class WholeLottaTrials(_Criterion):
    """The last session has more contingent trials than this; published with 300, in no regimen's use."""

    kind: Literal["whole_lotta_trials"]
    n_contingent_above: int = Field(ge=0, description="300")

    def rule(self) -> str:
        """Return what it asks for, in words of its own."""
        return f"more than {self.n_contingent_above} contingent trials in the last session"

    def judge(self, sessions: Sequence[SessionFacts], *, stage: str) -> Judgement:
        """Return whether it holds after these sessions."""
        trials = _last(CONTINGENT, sessions, lambda s: s.n_contingent, n=1, decimals=0)
        return Judgement(
            criterion=self.kind,
            holds=any(_above(n, self.n_contingent_above) for n in trials.values),
            needs=f"more than {self.n_contingent_above} contingent trials today",
            figures=(trials,),
        )


class NoResponseBias(_Criterion):
    """In the last session the mouse answered neither nearly all trials nor nearly none; published with 0.1, 0.9."""

    kind: Literal["no_response_bias"]
    response_rate_above: float = Field(ge=0, le=1, description="0.1")
    response_rate_below: float = Field(ge=0, le=1, description="0.9")

    def rule(self) -> str:
        """Return what it asks for, in words of its own."""
        low, high = self.response_rate_above, self.response_rate_below
        return f"response rate above {low:.15g} and below {high:.15g} in the last session"

    def judge(self, sessions: Sequence[SessionFacts], *, stage: str) -> Judgement:
        """Return whether it holds after these sessions."""
        low, high = self.response_rate_above, self.response_rate_below
        rates = _last("response rate", sessions, lambda s: s.response_rate, n=1, beside=[low, high])
        return Judgement(
            criterion=self.kind,
            holds=any(rate is not None and low < rate < high for rate in rates.values),
            needs=f"today's response rate above {low:.15g} and below {high:.15g}",
            figures=(rates,),
        )


class MostlyUseful(_Criterion):
    """In the last session less than this share of the trials' time went into aborted ones; published with 0.5."""

    kind: Literal["mostly_useful"]
    aborted_time_share_below: float = Field(gt=0, le=1, description="0.5")

    def rule(self) -> str:
        """Return what it asks for, in words of its own."""
        return f"share of time in aborted trials below {self.aborted_time_share_below:.15g} in the last session"

    def judge(self, sessions: Sequence[SessionFacts], *, stage: str) -> Judgement:
        """Return whether it holds after these sessions."""
        limit = self.aborted_time_share_below
        shares = _last("share of time in aborted trials", sessions, lambda s: s.aborted_time_share, n=1, beside=[limit])
        return Judgement(
            criterion=self.kind,
            holds=any(share is not None and share < limit for share in shares.values),
            needs=f"today's share of time in aborted trials below {limit:.15g}",
            figures=(shares,),
        )


class NComplete(_Criterion):
    """At least so many sessions were run in the stage, at whatever time: ``one_complete``, ``three_complete``."""

    kind: Literal["n_complete"]
    n: int = Field(ge=1, description="1 and 3")

    def rule(self) -> str:
        """Return what it asks for, in words of its own."""
        return f"{in_words(self.n)} session{'s' if self.n > 1 else ''} at this stage"

    def judge(self, sessions: Sequence[SessionFacts], *, stage: str) -> Judgement:
        """Return whether it holds after these sessions."""
        ids = tuple(session.session_id for session in sessions if session.stage == stage)
        count = Figure(what="sessions at this stage:", values=(len(ids),), session_ids=ids)
        return Judgement(criterion=self.kind, holds=len(ids) >= self.n, needs=in_words(self.n), figures=(count,))


class SummerOver(_Criterion):
    """The mouse has trained on at least so many days; published with 40, in no regimen's use.

    The source doesn't say whether days without a session count; here they don't, the slower of the two.
    """

    kind: Literal["summer_over"]
    n_days: int = Field(ge=1, description="40")

    def rule(self) -> str:
        """Return what it asks for, in words of its own."""
        return f"{self.n_days} days of training"

    def judge(self, sessions: Sequence[SessionFacts], *, stage: str) -> Judgement:
        """Return whether it holds after these sessions."""
        n = len({session.day for session in sessions})
        ids = tuple(session.session_id for session in sessions)
        days = Figure(what="days of training:", values=(n,), session_ids=ids)
        return Judgement(
            criterion=self.kind, holds=n >= self.n_days, needs=f"{self.n_days} days of training", figures=(days,)
        )


class MeetsHitThreshold(_Criterion):
    """The last three sessions have more hits than this together; published with 360, of the later ephys regimens."""

    kind: Literal["meets_hit_threshold_average"]
    n_hits_above: int = Field(ge=0, description="360")

    def rule(self) -> str:
        """Return what it asks for, in words of its own."""
        return f"more than {self.n_hits_above} hits in the last three sessions together"

    def judge(self, sessions: Sequence[SessionFacts], *, stage: str) -> Judgement:
        """Return whether it holds after these sessions."""
        hits = _last(HITS, sessions, lambda s: s.n_hit, n=WINDOW, decimals=0)
        total = sum(n for n in hits.values if n is not None)
        return Judgement(
            criterion=self.kind,
            holds=len(sessions) >= WINDOW and total > self.n_hits_above,
            needs=f"more than {self.n_hits_above} hits in the last three together",
            figures=(hits,),
            n_sessions=_short(sessions, WINDOW),
        )


Criterion = Annotated[
    TwoOutOfThree
    | YesterdayWasGood
    | MeetsEngagementCriteria
    | WholeLottaTrials
    | NoResponseBias
    | MostlyUseful
    | NComplete
    | SummerOver
    | MeetsHitThreshold,
    Field(discriminator="kind"),
]

PUBLISHED: dict[str, Criterion] = {
    "one_complete": NComplete(kind="n_complete", n=1),
    "three_complete": NComplete(kind="n_complete", n=3),
    "two_out_of_three_aint_bad": TwoOutOfThree(kind="two_out_of_three_aint_bad", peak_d_prime_above=2),
    "yesterday_was_good": YesterdayWasGood(kind="yesterday_was_good", peak_d_prime_above=2),
    "meets_engagement_criteria": MeetsEngagementCriteria(
        kind="meets_engagement_criteria", last=3, peak_d_prime_above=1, n_contingent_above=100
    ),
    "whole_lotta_trials": WholeLottaTrials(kind="whole_lotta_trials", n_contingent_above=300),
    "no_response_bias": NoResponseBias(kind="no_response_bias", response_rate_above=0.1, response_rate_below=0.9),
    "mostly_useful": MostlyUseful(kind="mostly_useful", aborted_time_share_below=0.5),
    "summer_over": SummerOver(kind="summer_over", n_days=40),
    "meets_hit_threshold_average": MeetsHitThreshold(kind="meets_hit_threshold_average", n_hits_above=360),
}
"""The laboratory's names with the figures they stand for (TASK_FACTS 3.2)."""


def _last(
    what: str,
    sessions: Sequence[SessionFacts],
    value: Callable[[SessionFacts], float | None],
    *,
    n: int,
    beside: Sequence[float] = (),
    decimals: int = 2,
) -> Figure:
    """Return a figure of the last ``n`` sessions, or of as many as there are."""
    last = sessions[-n:]
    return Figure(
        what=what,
        values=tuple(value(session) for session in last),
        session_ids=tuple(session.session_id for session in last),
        beside=tuple(beside),
        decimals=decimals,
    )


def _above(value: float | None, threshold: float) -> bool:
    return value is not None and value > threshold


def _short(sessions: Sequence[SessionFacts], window: int) -> int | None:
    return len(sessions) if len(sessions) < window else None
