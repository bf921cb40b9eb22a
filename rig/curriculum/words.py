"""A curriculum, and a mouse's climb through it, as an operator reads them. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stages.curriculum import Curriculum, Transition, TransitionKind
from stages.decisions import Decision, Move
from stages.history import SessionFacts
from stages.judgement import figure_text

SIGNS = {Move.FIRST: "●", Move.ADVANCE: "▲", Move.HOLD: "=", Move.LAPSE: "▼", Move.PLACED: "✎"}
"""What a decision did, before its sentence."""


def takes(transition: Transition) -> str:
    """Return what a transition takes, in words."""
    if transition.kind is TransitionKind.MANUAL:
        return "when an operator says so"
    parts = []
    if transition.when:
        parts.append(f"with {' and '.join(criterion.rule() for criterion in transition.when)}")
    if transition.unless:
        parts.append(f"without {' and '.join(criterion.rule() for criterion in transition.unless)}")
    return ", ".join(parts)


def show_words(curriculum: Curriculum) -> str:
    """Return the stages in order with what leads out of each."""
    lines = [str(curriculum.identity()), ""]
    for n, stage in enumerate(curriculum.stages, start=1):
        lines.append(f"{n:2d}  {stage}")
        ways = [each for each in curriculum.transitions if each.source == stage]
        lines += [f"      {_ARROWS[each.kind]} {each.dest} {takes(each)}" for each in ways]
    share = curriculum.counts_from_share_of_task
    if share:
        end = ", unless their water was all drunk"
        lines += ["", f"Sessions whose task ran for less than {100 * share:g} % of its time move no mouse{end}."]
    lines += ["▲ and ▼ happen by themselves after a session, the first whose criteria hold; ✎ is an operator's."]
    return "\n".join(lines)


_ARROWS = {TransitionKind.ADVANCE: "▲", TransitionKind.LAPSE: "▼", TransitionKind.MANUAL: "✎"}


def explain_words(curriculum: Curriculum, history: Sequence[SessionFacts], decisions: Sequence[Decision]) -> str:
    """Return a mouse's whole climb: each session, what was decided after it and why, and what it takes to go on.

    Parameters
    ----------
    history
        All sessions of one mouse, oldest first.
    decisions
        Of ``climb`` over that history: one before the first session, one after each.
    """
    last = decisions[-1]
    lines = [f"Mouse {history[0].mouse}" if history else "A mouse without a session", str(curriculum.identity()), ""]
    lines.append(f"{SIGNS[decisions[0].move]} {decisions[0].sentence}")
    for n, (session, decision) in enumerate(zip(history, decisions[1:], strict=True), start=1):
        lines.append(f"{n:3d}  {session.day}  {session.stage}: {_ran(session)}")
        other = "" if decision.curriculum == last.curriculum else f" (by {decision.curriculum})"
        lines.append(f"     {SIGNS[decision.move]} {decision.sentence}{other}")
    lines += ["", f"Next: {last.stage}", *_ahead(curriculum, last)]
    return "\n".join(lines)


def _ran(s: SessionFacts) -> str:
    parts = [f"{s.task_min:.0f} of {s.planned_min:.0f} min"]
    if s.passive:
        parts.append("passive")
    elif s.peak_d_prime is not None or s.n_contingent:
        parts += [f"peak d′ {figure_text(s.peak_d_prime)}", f"{s.n_contingent} contingent trials", f"{s.n_hit} hits"]
    if s.ended not in ("time", "volume"):
        parts.append(f"ended: {s.ended.replace('_', ' ')}")
    return ", ".join(parts)


def _ahead(curriculum: Curriculum, decision: Decision) -> Iterator[str]:
    """Yield what leads on from a decision's stage."""
    for each in curriculum.automatic(decision.stage):
        verb = "goes on to" if each.kind is TransitionKind.ADVANCE else "lapses to"
        yield f"From there it {verb} {each.dest} {takes(each)}."
    if decision.suggestion is not None:
        yield f"From there an operator moves it on; next in order is {decision.suggestion}."
    if not curriculum.automatic(decision.stage) and decision.suggestion is None:
        yield "Nothing leads on from there; an operator may place it anywhere."
