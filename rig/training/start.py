"""A mouse's day at a rig, from the scales to the water that is still to give.

In this order: its history from its logs and the stage that follows; weight; is it this mouse; its floor; on a passive
day its water, before the session; the rig's checks; the mouse for this rig alone; the session; what it came to; the
next decision; the water still to give. Whatever is refused is refused with a sentence, and nothing that comes after it
happens. What was done before (the weight, the water) stays on record, and is not asked for again that day.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from hardware.events import Verdict
from rig.lab.errors import StartRefused
from rig.lab.rows import Mouse, Override, OverrideKind, Start, Water, WaterKind, Weight
from rig.log.writer import EVENTS
from rig.session.assemble import SessionPlan, folder_name
from rig.training.begun import refused_by_starts
from rig.training.holding import had_session, held, withdraw_start
from rig.training.imaging import quality
from rig.training.parties import Asked, Day, Operator, Rigged
from rig.training.scales import drunk_ml, limits_of, weigh
from rig.training.standing import (
    Archive,
    NoDecision,
    Standing,
    record_decision,
    record_log,
    standing,
)
from rig.training.unrecorded import find_in
from rig.training.welfare import (
    Limits,
    had_ml,
    owed_ml,
    refuse_below_floor,
    refuse_dry_before_passive,
    refuse_no_drink,
    weight_words,
)
from rig.training.whose import not_on_record, refuse_not_begun, take_in_unrecorded
from rig.training.wording import coming, goodbye
from stages.curriculum import Curriculum
from stages.events import EndReason
from stages.history import SessionFacts
from stages.parameters import Stage, StageParameters

if TYPE_CHECKING:
    from rig.lab.lab import Lab

LEAST_REST_MIN = 1.0
"""A second part of a session that crashed runs at least so long."""


def start(
    name: str,
    *,
    lab: Lab,
    asked: Asked,
    operator: Operator,
    rig: Rigged,
    curriculum: Callable[[Mouse], Curriculum],
    archive: Archive,
) -> Day:
    """Take a mouse through its day.

    Raises
    ------
    LabError
        There is no such mouse; or it is refused: another rig has it, it had its session, the laboratory is away.
    NoDecision
        See ``standing``.
    WelfareError
        See ``welfare``.
    """
    mouse = lab.mouse(name)
    _refuse_other_world(lab, name, rig)
    for row in take_in_unrecorded(
        lab, name, simulated=rig.simulated, who=asked.who, archive=archive, day_of_session=rig.day_of_session
    ):
        operator.tell(f"Found a session that was not on record, of {row.day} at {row.stage}: recorded now.")
    try:
        _leave_out_or_refuse(lab, name, operator=operator, rig=rig, archive=archive)
        now = standing(lab, mouse, curriculum=curriculum(mouse), archive=archive)
    except NoDecision as error:
        operator.show_name(name)
        raise NoDecision(f"{error}. Is it {name} that is on the rig?") from error
    _confirm_history(lab, name, asked=asked, operator=operator)
    record_decision(lab, name, now.decision, day=asked.day)
    crashed = _crashed_today(lab, name, asked.day, archive) if asked.go_on else None
    due = now.decision.stage if crashed is None else crashed.stage
    stage = rig.stage(mouse, due)
    if stage.stage != due:
        raise StartRefused(
            f"{due} is due, and its file in the curriculum of {name} calls itself {stage.stage}: mend it"
        )
    if rig.simulated:
        operator.tell(f"▲ {rig.name} is a simulated rig: the session is a model mouse's, and its water nobody's.")
    passive = not isinstance(stage, StageParameters) or stage.passive
    if crashed is None and asked.override_why is None:
        lab.refuse_second(name, day=asked.day)  # before anybody handles the mouse; the lease has the last word
    elif crashed is None and had_session(lab, name, asked.day):
        operator.tell(f"▲ {name} had a session on {asked.day} already: this is another one, by {asked.who}'s word.")
    if stage.imaging and not rig.images and asked.override_why is None:
        raise StartRefused(
            f"{stage.stage} is imaged, and {rig.name} has no microscope (imaging: false in its file): start {name} on "
            "a rig that has one, or without imaging with --override --why REASON"
        )
    if asked.water_ml is not None and not passive:
        raise StartRefused(
            f"{name} earns its water today, at {stage.stage}: what it was given by hand is recorded with rig mouse "
            f"water {name} {asked.water_ml:g}{asked.on_day}; then start without --water-ml"
        )
    operator.show_name(name)
    operator.tell(coming(now, stage, crashed))
    limits = limits_of(mouse)
    weight_g = _weighed(lab, now, asked=asked, operator=operator, limits=limits)
    refuse_below_floor(name, weight_g, limits, drunk_ml=drunk_ml(lab, name, asked.day), on_day=asked.on_day)
    if passive:
        _water_first(lab, mouse, asked=asked, operator=operator, limits=limits)
    _refuse_unfit(rig, operator)
    day = Day(mouse=mouse, before=now.decision)
    _run(day, lab=lab, now=now, stage=stage, crashed=crashed, asked=asked, operator=operator, rig=rig, archive=archive)
    try:
        after = standing(lab, mouse, curriculum=curriculum(mouse), archive=archive)
        day.after = after.decision
        record_decision(lab, name, after.decision, day=asked.day)
    except NoDecision as error:
        day.undecided = str(error)
    if day.session is not None and day.session.imaging:
        operator.tell("\n".join(each.words() for each in quality(lab, day.session.session_id)))
    drunk = drunk_ml(lab, name, asked.day)
    day.owed_ml = owed_ml(limits, drunk_ml=drunk)
    operator.tell(
        goodbye(
            name,
            day.after,
            undecided=day.undecided,
            problem=day.problem if day.session is None or day.session.ended == EndReason.CRASHED else None,
            had_ml=had_ml(limits, drunk_ml=drunk),
            owed_ml=day.owed_ml,
            on_day=asked.on_day,
        )
    )
    return day


def _leave_out_or_refuse(lab: Lab, mouse: str, *, operator: Operator, rig: Rigged, archive: Archive) -> None:
    """Refuse to decide past a session that was begun and never recorded, or a real one that no start began.

    A simulated one of these is left out, and that is said.
    """
    if (missing := refused_by_starts(lab, mouse)) is not None:
        raise NoDecision(f"{mouse} keeps its stage: {missing}")
    found = not_on_record(lab, mouse, simulated=rig.simulated, archive=archive)
    if not rig.simulated:
        refuse_not_begun(mouse, found, day_of_session=rig.day_of_session)
    if found:
        n = f"{len(found)} simulated sessions" if len(found) > 1 else "a simulated session"
        last = shlex.quote(str(found[-1].folder))
        operator.tell(
            f"Left out: {n} of {mouse} that rig start did not begin, the last one in {last}; "
            f"rig mouse take-in {mouse} {last} --why REASON counts it all the same."
        )


def _confirm_history(lab: Lab, mouse: str, *, asked: Asked, operator: Operator) -> None:
    """Have the mouse's name typed, once, for sessions that no start of the laboratory's began."""
    started = {row.session_id for row in lab.rows(Start, mouse=mouse)}
    confirmed = max((row.recorded_at for row in lab.overrides(mouse, OverrideKind.MISFIT)), default="")
    found = [
        f"{mouse} had a session on {row.day} at {row.stage} that was not started by rig start"
        for row in lab.session_rows(mouse)
        if row.log_id not in started and row.recorded_at > confirmed
    ]
    if not found:
        return
    if not operator.is_this(mouse, found):
        raise StartRefused(f"{'; '.join(found)}: the name {mouse} was not confirmed; look at the cage's card")
    lab.record(Override(mouse=mouse, day=asked.day, kind=OverrideKind.MISFIT, why="; ".join(found), who=asked.who))


def _refuse_other_world(lab: Lab, mouse: str, rig: Rigged) -> None:
    """Refuse to count a model mouse's sessions among a real one's, or the other way round."""
    here, there = ("simulated", "real") if rig.simulated else ("real", "simulated")
    if any(row.simulated != rig.simulated for row in lab.session_rows(mouse)):
        raise StartRefused(
            f"{mouse} had its sessions on {there} rigs, and {rig.name} is {here}: one here would be counted among "
            f"them; take another name for the other mouse"
        )


def _weighed(lab: Lab, now: Standing, *, asked: Asked, operator: Operator, limits: Limits) -> float:
    """Return today's weight in grams; asked for unless it is on record, and nobody has weighed again."""
    mouse = now.mouse
    today = lab.rows(Weight, mouse=mouse.name, day=asked.day)
    if today and asked.weight_g in (None, today[-1].weight_g):
        operator.tell(f"Weighed today: {weight_words(today[-1].weight_g, limits)}.")
        return today[-1].weight_g
    row = weigh(
        lab,
        mouse,
        operator.weight_g(mouse.name) if asked.weight_g is None else asked.weight_g,
        day=asked.day,
        last_session_day=now.history[-1].day if now.history else None,
        sure=lambda found: operator.is_this(mouse.name, found),
    )
    operator.tell(f"{weight_words(row.weight_g, limits)}.")
    return row.weight_g


def _water_first(lab: Lab, mouse: Mouse, *, asked: Asked, operator: Operator, limits: Limits) -> None:
    """Have a mouse's water given and recorded before a passive session."""
    rest_ml = owed_ml(limits, drunk_ml=drunk_ml(lab, mouse.name, asked.day))
    if not rest_ml and asked.water_ml is not None:
        operator.tell(f"{mouse.name} had its water before, by the record: the {asked.water_ml:g} mL are not added.")
    if rest_ml:
        operator.tell(f"{mouse.name} watches passively today: its water comes before the session, {rest_ml:.2f} mL.")
        given_ml = operator.given_ml(mouse.name, at_least_ml=rest_ml)
        if given_ml is not None:
            refuse_no_drink(given_ml)
            lab.record(Water(mouse=mouse.name, day=asked.day, kind=WaterKind.BEFORE_PASSIVE, volume_ml=given_ml))
    drunk = drunk_ml(lab, mouse.name, asked.day)
    refuse_dry_before_passive(mouse.name, limits, drunk_ml=drunk, on_day=asked.on_day)


def _refuse_unfit(rig: Rigged, operator: Operator) -> None:
    """Refuse a rig whose checks fail; say what else is to be looked at."""
    failed = []
    for finding in rig.check():
        words = f"{finding.name}: {finding.figure}. {finding.remedy[:1].upper()}{finding.remedy[1:]}".rstrip(". ")
        if finding.verdict is Verdict.FAIL:
            failed.append(words)
        elif finding.verdict is Verdict.WARN:
            operator.tell(f"▲ {words}.")
    if failed:
        raise StartRefused(f"{rig.name} is not fit for a session: {'; '.join(failed)}")


def _run(
    day: Day,
    *,
    lab: Lab,
    now: Standing,
    stage: Stage,
    crashed: SessionFacts | None,
    asked: Asked,
    operator: Operator,
    rig: Rigged,
    archive: Archive,
) -> None:
    """Have the mouse, run its session, and record what it came to, before it is let go."""
    if crashed is not None and isinstance(stage, StageParameters):
        stage = _rest_of(stage, crashed, lab)
    plan = _planned(rig, now, stage, rig.new_id())
    with held(lab, now, plan.session_id, crashed, asked=asked, operator=operator, rig=rig) as session_id:
        try:
            if session_id != plan.session_id:
                plan = _planned(rig, now, stage, session_id)
            if stage.imaging and not rig.images:
                _unimaged(lab, now, plan, asked, operator)
            day.problem = rig.run(plan)
        finally:  # an interrupt, too: what showed nothing was no session, and takes no day away
            begun = (plan.folder / EVENTS).exists()
            if not begun:
                withdraw_start(lab, str(session_id), why=f"nothing was shown: {day.problem or 'no log was begun'}")
        if not begun:
            raise StartRefused(day.problem or f"{plan.folder}: the session left no log")
        day.session = record_log(lab, plan.folder, who=asked.who, archive=archive, day_of_session=rig.day_of_session)


def _rest_of(stage: StageParameters, crashed: SessionFacts, lab: Lab) -> StageParameters:
    """Return what is left of a session that crashed: of its time, and of the water that may be drunk in it."""
    rest_min = max(math.ceil((crashed.planned_min - crashed.task_min) * 60) / 60, LEAST_REST_MIN)
    parts = [row for row in lab.session_rows(crashed.mouse) if row.session_id == crashed.session_id]
    rest_ul = stage.volume_limit_ul - 1000 * sum(part.water_ml for part in parts)
    if rest_ul < max(stage.reward_volume_ul, stage.auto_reward_volume_ul):
        raise StartRefused(
            f"{crashed.mouse} has drunk what it may in this session, {stage.volume_limit_ul / 1000:g} mL: it is over"
        )
    return stage.model_copy(update={"task_duration_min": rest_min, "volume_limit_ul": rest_ul})


def _unimaged(lab: Lab, now: Standing, plan: SessionPlan, asked: Asked, operator: Operator) -> None:
    """Record that an imaging stage runs without a microscope, by an operator's word."""
    row = Override(
        mouse=now.mouse.name,
        day=asked.day,
        kind=OverrideKind.NO_MICROSCOPE,
        session_id=str(plan.session_id),
        why=asked.override_why or "",
        who=asked.who,
    )
    lab.record(row)
    operator.tell(
        f"▲ {plan.rig.rig} has no microscope: {plan.stage.stage} runs without imaging, by {asked.who}'s word."
    )


def _planned(rig: Rigged, now: Standing, stage: Stage, session_id: UUID) -> SessionPlan:
    mouse = now.mouse
    folder = rig.data_dir / folder_name(now=rig.now(), mouse=mouse.name, stage=stage.stage, session_id=session_id)
    return rig.plan(mouse, stage, folder, session_id, now.history)


def _crashed_today(lab: Lab, mouse: str, day: str, archive: Archive) -> SessionFacts:
    """Return today's session that crashed, to go on with; its parts must lie here, for its row is made of all."""
    today = [facts for facts in lab.sessions(mouse) if facts.day == day]
    if not today:
        raise StartRefused(f"{mouse} had no session on {day} that could be continued; leave --continue out")
    if today[-1].ended != EndReason.CRASHED.value:
        raise StartRefused(
            f"the session of {mouse} on {day} ended by itself ({today[-1].ended.replace('_', ' ')}), only one that "
            f"crashed is continued; a second one needs --override --why REASON"
        )
    here = find_in(archive.folders)
    parts = [row for row in lab.session_rows(mouse) if row.session_id == today[-1].session_id]
    if away := [part for part in parts if part.folder not in here]:
        raise StartRefused(
            f"the session of {mouse} on {day} began on {away[0].rig}, and {away[0].folder} can't be reached from here, "
            f"without which what comes after it is no session: go on with it there, or bring that folder beside this "
            f"rig's sessions"
        )
    return today[-1]
