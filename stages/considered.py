"""A transition tried on a history, and the sentence that comes of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stages.curriculum import Transition, TransitionKind
from stages.history import SessionFacts
from stages.judgement import Figure, Judgement


class Considered(msgspec.Struct, frozen=True, kw_only=True):
    """A transition that was tried, with what each of its criteria found."""

    dest: str
    kind: TransitionKind
    taken: bool
    when: tuple[Judgement, ...]
    unless: tuple[Judgement, ...]


def tried_on(transition: Transition, sessions: Sequence[SessionFacts], *, stage: str) -> Considered:
    """Return a transition from a stage with what its criteria find in the sessions that count."""
    when = tuple(criterion.judge(sessions, stage=stage) for criterion in transition.when)
    unless = tuple(criterion.judge(sessions, stage=stage) for criterion in transition.unless)
    hindered = bool(unless) and all(judgement.holds for judgement in unless)
    return Considered(
        dest=transition.dest,
        kind=transition.kind,
        taken=all(judgement.holds for judgement in when) and not hindered,
        when=when,
        unless=unless,
    )


def held(stage: str, tried: Sequence[Considered], suggestion: str | None) -> str:
    """Return why a mouse stays."""
    parts = [_found(tried)] if tried else []
    ahead = [each for each in tried if each.kind is TransitionKind.ADVANCE]
    for each in ahead:
        to = f" for {each.dest}" if len(ahead) > 1 else ""
        parts.append(f"needs {_takes(each)}{to}")
    parts += [f"has {_keeps(each)}, so it does not lapse" for each in tried if each.kind is TransitionKind.LAPSE]
    if suggestion is not None:
        parts.append(f"an operator moves it on; next in order is {suggestion}")
    return f"held at {stage}: " + ("; ".join(parts) or "it leads nowhere by itself")


def moved(stage: str, taken: Considered) -> str:
    """Return why a mouse leaves a stage."""
    found = _found([taken])
    if taken.kind is TransitionKind.ADVANCE:
        return f"moved on from {stage} to {taken.dest}: {found}; has {_takes(taken)}"
    why = f"to stay it needs {_joined(taken.unless)}" if taken.unless else f"has {_takes(taken)}"
    return f"lapsed from {stage} to {taken.dest}: {found}; {why}"


def _takes(each: Considered) -> str:
    """Return what a transition takes."""
    parts = [_joined(each.when)] if each.when else []
    return " ".join([*parts, *([f"but not {_joined(each.unless)}"] if each.unless else [])])


def _keeps(each: Considered) -> str:
    """Return what keeps a lapse from being taken."""
    if each.unless and all(judgement.holds for judgement in each.unless):
        return _joined(each.unless)
    return "not " + _joined([judgement for judgement in each.when if not judgement.holds])


def _joined(judgements: Sequence[Judgement]) -> str:
    return " and ".join(judgement.needs for judgement in judgements)


def _found(tried: Sequence[Considered]) -> str:
    """Return what was found, each kind of figure once: its longest window, written for all of its thresholds."""
    judged = [judgement for each in tried for judgement in (*each.when, *each.unless)]
    longest: dict[str, Figure] = {}
    for figure in (figure for judgement in judged for figure in judgement.figures):
        other = longest.get(figure.what)
        longest[figure.what] = figure if other is None else _closer(figure, other)
    short = [judgement.n_sessions for judgement in judged if judgement.n_sessions is not None]
    so_far = [f"{short[0]} counted session{'s' if short[0] != 1 else ''} so far"] if short else []
    return "; ".join([*(figure.words() for figure in longest.values()), *so_far])


def _closer(one: Figure, other: Figure) -> Figure:
    longer = one if len(one.values) >= len(other.values) else other
    return msgspec.structs.replace(longer, beside=(*one.beside, *other.beside))
