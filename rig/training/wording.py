"""What a start says to the operator: what the mouse is about to do, and what comes after."""

from __future__ import annotations

from rig.training.standing import Standing
from stages.decisions import Decision
from stages.experience import Shown, experience_level, exposures_before
from stages.history import SessionFacts
from stages.parameters import NaturalImages, Stage, StageParameters


def coming(now: Standing, stage: Stage, crashed: SessionFacts | None) -> str:
    """Return what the mouse is about to do and why, and what it has seen before."""
    if crashed is not None:
        done = f"{crashed.task_min:.1f} of {crashed.planned_min:g} min are done"
        return f"{stage.stage}, second part of the session that crashed: {done}."
    lines = [f"Today: {now.decision.sentence}."]
    if now.history:
        lines.append(sentence_of(now.recomputed.words()))
    lines.append(seen_words(now, stage))
    return "\n".join(lines)


def seen_words(now: Standing, stage: Stage) -> str:
    """Return how new a stage is to a mouse: its level of experience, and what it has seen before."""
    before = exposures_before(now.seen, shown_by(stage))
    level = experience_level(stage.stage, prior_exposures_to_image_set=before.image_set)
    return f"{level.value if level else 'No level of experience'}: {before.words}."


def sentence_of(words: str) -> str:
    """Return words with a capital at their beginning and a full stop behind."""
    return f"{words[:1].upper()}{words[1:]}."


def shown_by(stage: Stage) -> Shown:
    """Return what a stage puts before a mouse."""
    if not isinstance(stage, StageParameters):
        return Shown(stage=stage.stage, image_set=None, omissions=False)
    image_set = stage.stimulus.image_set if isinstance(stage.stimulus, NaturalImages) else None
    return Shown(stage=stage.stage, image_set=image_set, omissions=bool(stage.omission_probability))


def goodbye(
    mouse: str,
    after: Decision | None,
    *,
    undecided: str | None,
    problem: str | None,
    had_ml: float,
    owed_ml: float,
    on_day: str = "",
) -> str:
    """Return the next decision, and the water that is still to give; ``on_day`` as in ``Asked``."""
    lines = [f"▲ {undecided}" if after is None else f"Next: {after.sentence}."]
    if after is not None and after.suggestion and after.suggestion != after.stage:
        by_hand = f"rig mouse place {mouse} {after.suggestion} --why REASON{on_day}"
        lines.append(f"By the usual order {after.suggestion} would follow: {by_hand}.")
    if problem is not None:
        lines.append(f"The session broke off ({problem}); it may be continued today: rig start {mouse} --continue.")
    rest = f"still to give today: {owed_ml:.2f} mL (rig mouse water {mouse} {owed_ml:.2f}{on_day})"
    lines.append(f"{mouse} had {had_ml:.2f} mL; {rest if owed_ml else 'nothing is owed today'}.")
    return "\n".join(lines)
