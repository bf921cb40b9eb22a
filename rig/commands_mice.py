"""The commands about a mouse between its sessions; ``rig.cli`` takes them in."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from rig.config.files import shipped
from rig.config.load import ConfigError, Problem
from rig.curriculum.files import check, open_curriculum
from rig.lab.rows import Mouse, Remark, Sex, Water, WaterKind
from rig.laboratory import SESSIONS, LabUrl, OnDay, Sessions, Shell, Who, curriculum_of, day_or_today
from rig.operators import AtTerminal
from rig.options import check_name
from rig.training.about_mouse import mouse_line, mouse_words
from rig.training.placing import Withdrawn, skipped, withdraw
from rig.training.placing import place as place_at
from rig.training.scales import drunk_ml, limits_of, weigh
from rig.training.standing import NoDecision, record_decision, standing
from rig.training.welfare import had_ml, owed_ml, refuse_no_drink, weight_words
from rig.training.whose import disown, take_in
from stages.curriculum import Cohort

if TYPE_CHECKING:
    from rig.lab.lab import Lab

TARGET_SHARE, FLOOR_SHARE = 0.85, 0.80
"""Of the baseline: what restricted mice are usually held at, and where they are taken off."""
LEAST_DAILY_ML = 1.0
Name = Annotated[str, typer.Argument(help="The mouse.", show_default=False)]
Folder = Annotated[Path, typer.Argument(help="The session's folder.", show_default=False)]
Why = Annotated[str, typer.Option(help="The reason; stays on record.")]


def mouse_commands(shell: Shell) -> typer.Typer:
    """Return the commands of ``rig mouse``."""
    mouse = typer.Typer(help="Mice: who they are, their weight and water, notes, placements.", no_args_is_help=True)
    out = shell.out

    @mouse.command("add")
    def add(
        name: Name,
        *,
        baseline_g: Annotated[float, typer.Option(help="Its weight with all the water it likes.")],
        floor_g: Annotated[
            float | None, typer.Option(help="No session below it; without it 80 % of the baseline.")
        ] = None,
        target_g: Annotated[float | None, typer.Option(help="Without it 85 % of the baseline.")] = None,
        least_water_ml: Annotated[float, typer.Option(help="What it gets every day at least.")] = LEAST_DAILY_ML,
        images: Annotated[
            str, typer.Option(metavar="FAMILIAR/NOVEL", help="Image sets: trained with, and new in imaging.")
        ] = "A/B",
        curriculum: Annotated[str, typer.Option(help="A curriculum by name or a file of one.")] = "visual_behavior",
        genotype: Annotated[str, typer.Option(help="As Sst-IRES-Cre/wt;Ai148(TIT2L-GC6f-ICL-tTA2)/wt.")] = "",
        driver_line: Annotated[list[str] | None, typer.Option(help="As Sst-IRES-Cre; may be given twice.")] = None,
        reporter_line: Annotated[str, typer.Option(help="As Ai148(TIT2L-GC6f-ICL-tTA2).")] = "",
        indicator: Annotated[str, typer.Option(help="As GCaMP6f.")] = "",
        sex: Annotated[Sex, typer.Option(help="F, M, or U where it is not known.")] = Sex.UNKNOWN,
        born: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Day of birth.")] = None,
        cohort: Annotated[str, typer.Option(help="A word for those it belongs with.")] = "",
        project_code: Annotated[str, typer.Option(help="As VisualBehavior.")] = "",
        lab: LabUrl = None,
        who: Who = None,
    ) -> None:
        """Take a mouse in.

        Example: rig mouse add M1 --baseline-g 25.2 --sex F --born 2026-01-15 --images A/B
        """
        with shell.sentences(), shell.lab(lab, who=who) as laboratory:
            check_name(name, option="rig mouse add")
            _refuse_taken(laboratory, name)
            sets = _cohort(images)
            row = Mouse(
                name=name,
                genotype=genotype,
                driver_lines=tuple(driver_line or ()),
                reporter_line=reporter_line,
                indicator=indicator,
                sex=sex,
                born=None if born is None else _born(born),
                cohort=cohort,
                project_code=project_code,
                curriculum=_usable(curriculum, images, shell),
                familiar=sets.familiar,
                novel=sets.novel,
                baseline_weight_g=baseline_g,
                target_weight_g=round(TARGET_SHARE * baseline_g, 1) if target_g is None else target_g,
                floor_weight_g=round(FLOOR_SHARE * baseline_g, 1) if floor_g is None else floor_g,
                least_daily_water_ml=least_water_ml,
            )
            limits_of(row)
            out.print(mouse_words(laboratory, laboratory.record(row)), markup=False)

    @mouse.command("list")
    def list_(lab: LabUrl = None) -> None:
        """List the mice; [b]rig today[/b] says what each does."""
        with shell.sentences(), shell.lab(lab) as laboratory:
            for row in laboratory.mice():
                out.print(mouse_line(laboratory, row), markup=False)

    @mouse.command("show")
    def show(name: Name, lab: LabUrl = None) -> None:
        """Show a mouse: what it is, its last weights, water, sessions, overrides and notes."""
        with shell.sentences(), shell.lab(lab) as laboratory:
            out.print(mouse_words(laboratory, laboratory.mouse(name)), markup=False)

    @mouse.command("change")
    def change(
        name: Name,
        *,
        why: Why,
        baseline_g: Annotated[float | None, typer.Option(help="Another baseline.")] = None,
        floor_g: Annotated[float | None, typer.Option(help="Another floor.")] = None,
        target_g: Annotated[float | None, typer.Option(help="Another target.")] = None,
        least_water_ml: Annotated[float | None, typer.Option(help="Another least daily water.")] = None,
        curriculum: Annotated[
            str | None,
            typer.Option(help="Another curriculum, by name or a file of one; it decides from the last session on."),
        ] = None,
        images: Annotated[
            str | None,
            typer.Option(metavar="FAMILIAR/NOVEL", help="Other image sets; they decide from the last session on."),
        ] = None,
        genotype: Annotated[str | None, typer.Option(help="As rig mouse add has it, and those that follow.")] = None,
        driver_line: Annotated[list[str] | None, typer.Option(help="All of them; may be given twice.")] = None,
        reporter_line: Annotated[str | None, typer.Option()] = None,
        indicator: Annotated[str | None, typer.Option()] = None,
        sex: Annotated[Sex | None, typer.Option()] = None,
        born: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD")] = None,
        cohort: Annotated[str | None, typer.Option()] = None,
        project_code: Annotated[str | None, typer.Option()] = None,
        lab: LabUrl = None,
        who: Who = None,
    ) -> None:
        """Put right what is on record of a mouse, all but its name; what was there before stays on record.

        Example: rig mouse change M1 --baseline-g 26.1 --floor-g 20.9 --why "weighed again after surgery"
        """
        with shell.sentences(), shell.lab(lab, who=who) as laboratory:
            given = {
                "baseline_weight_g": baseline_g,
                "floor_weight_g": floor_g,
                "target_weight_g": target_g,
                "least_daily_water_ml": least_water_ml,
                "genotype": genotype,
                "driver_lines": tuple(driver_line) if driver_line else None,
                "reporter_line": reporter_line,
                "indicator": indicator,
                "sex": sex,
                "born": None if born is None else _born(born),
                "cohort": cohort,
                "project_code": project_code,
            }
            earlier = laboratory.mouse(name)
            changes: dict[str, object] = {field: value for field, value in given.items() if value is not None}
            if curriculum is not None or images is not None:
                sets = _cohort(images or f"{earlier.familiar}/{earlier.novel}")
                usable = _usable(curriculum or earlier.curriculum, str(sets), shell)
                changes |= {"curriculum": usable, "familiar": sets.familiar, "novel": sets.novel}
            if not changes:
                raise ConfigError([Problem("rig mouse change", 0, "", "nothing to change was given")])
            limits_of(_with(earlier, changes))
            row = laboratory.correct(earlier, why=_said(why), **changes)
            out.print(mouse_words(laboratory, row), markup=False)

    @mouse.command("weigh")
    def weigh_(
        name: Name,
        weight_g: Annotated[float, typer.Argument(metavar="GRAMS", show_default=False)],
        *,
        typed: Annotated[
            str | None, typer.Option("--name", help="The name on the cage's card, where it is asked for.")
        ] = None,
        day: OnDay = None,
        lab: LabUrl = None,
        who: Who = None,
    ) -> None:
        """Record a weight; one that is off the mouse's trend asks for its name."""
        with shell.sentences(), shell.lab(lab, who=who) as laboratory:
            mouse_, when = laboratory.mouse(name), day_or_today(day)
            operator = AtTerminal(out=out, asks=shell.asks(), name_given=typed)
            before = laboratory.sessions(name)
            row = weigh(
                laboratory,
                mouse_,
                weight_g,
                day=when,
                last_session_day=before[-1].day if before else None,
                sure=lambda found: operator.is_this(name, found),
            )
            limits = limits_of(mouse_)
            floor = f"; BELOW ITS FLOOR of {limits.floor_g:.1f} g, no session" if weight_g < limits.floor_g else ""
            out.print(f"{name}: {weight_words(row.weight_g, limits)}{floor}.", markup=False)

    @mouse.command("water")
    def water(
        name: Name,
        volume_ml: Annotated[float, typer.Argument(metavar="ML", show_default=False)],
        *,
        before_passive: Annotated[
            bool, typer.Option("--before-passive", help="Given before a passive session.")
        ] = False,
        day: OnDay = None,
        lab: LabUrl = None,
        who: Who = None,
    ) -> None:
        """Record water that was given by hand; says what is still owed."""
        with shell.sentences(), shell.lab(lab, who=who) as laboratory:
            mouse_, when = laboratory.mouse(name), day_or_today(day)
            refuse_no_drink(volume_ml)
            kind = WaterKind.BEFORE_PASSIVE if before_passive else WaterKind.SUPPLEMENT
            laboratory.record(Water(mouse=name, day=when, kind=kind, volume_ml=volume_ml))
            limits, drunk = limits_of(mouse_), drunk_ml(laboratory, name, when)
            rest_ml = owed_ml(limits, drunk_ml=drunk)
            rest = f"{rest_ml:.2f} mL still to give" if rest_ml else "nothing is owed"
            out.print(f"{name} had {had_ml(limits, drunk_ml=drunk):.2f} mL on {when}; {rest}.", markup=False)

    @mouse.command("place")
    def place(
        name: Name,
        stage: Annotated[
            str | None, typer.Argument(help="Without it the next one of the usual order.", show_default=False)
        ] = None,
        *,
        why: Annotated[str | None, typer.Option(help="The reason; may be left out in the usual order.")] = None,
        after: Annotated[
            str | None,
            typer.Option(metavar="SESSION", help="After which session instead of the last: its id or its beginning."),
        ] = None,
        before_first: Annotated[
            bool, typer.Option("--before-first", help="What its first session was to be, instead of after the last.")
        ] = False,
        sessions: Sessions = SESSIONS,
        day: OnDay = None,
        lab: LabUrl = None,
        who: Who = None,
    ) -> None:
        """Place a mouse at a stage, against or beyond what its curriculum decides. Imaging goes on by this alone.

        Example: rig mouse place M1 OPHYS_3_images_A --why "z-drift in plane 2, once more"
        """
        with shell.sentences(), shell.lab(lab, who=who) as laboratory:
            mouse_, when = laboratory.mouse(name), day_or_today(day)
            curriculum = curriculum_of(mouse_)
            placed = place_at(
                laboratory,
                mouse_,
                stage=stage,
                why=why,
                after=after,
                before_first=before_first,
                curriculum=curriculum,
                day=when,
            )
            if (left_out := skipped(curriculum, laboratory.sessions(name), placed)) is not None:
                out.print(f"▲ {name}: {left_out}.", markup=False)
            out.print(_decided(shell, laboratory, mouse_, sessions, day=when), markup=False)

    @mouse.command("take-in")
    def take_in_(name: Name, folder: Folder, *, why: Why, lab: LabUrl = None, who: Who = None) -> None:
        """Count a session that [b]rig start[/b] did not begin: what the mouse has seen in it, and what it drank.

        One that was disowned counts again; one whose row is not what its log says is put right by its log.

        Example: rig mouse take-in M1 sessions/2026-01-05T090000Z_M1_TRAINING_1_gratings_706543b5 --why "by hand"
        """
        with shell.sentences(), shell.lab(lab, who=who) as laboratory:
            mouse_, by, today = laboratory.mouse(name), who or shell.user(), day_or_today(None)
            archive = shell.archive(folder.parent)
            row = take_in(laboratory, name, folder, day=today, why=_said(why), who=by, archive=archive)
            out.print(f"{name}: counted, {row.day} at {row.stage}, {row.water_ml:.2f} mL.", markup=False)
            out.print(_decided(shell, laboratory, mouse_, folder.parent, day=today), markup=False)

    @mouse.command("disown")
    def disown_(name: Name, folder: Folder, *, why: Why, lab: LabUrl = None, who: Who = None) -> None:
        """Say that a session with a mouse's name was not this mouse's; it stays on the disk and does not count.

        One that is on record is taken off it, with its water and where the mouse was placed after it.

        Example: rig mouse disown M1 sessions/2026-01-05T090000Z_M1_TRAINING_1_gratings_706543b5 --why "it was M7"
        """
        with shell.sentences(), shell.lab(lab, who=who) as laboratory:
            mouse_, today = laboratory.mouse(name), day_or_today(None)
            rows = disown(laboratory, name, folder, day=today, why=_said(why))
            out.print(f"{name}: noted, the session in {folder.name} is not one of its own.", markup=False)
            if rows:
                drunk_ml, day = sum(row.water_ml for row in rows), rows[0].day
                out.print(f"{name}: taken off its record, {day} at {rows[0].stage}, {drunk_ml:.2f} mL.", markup=False)
                if drunk_ml:
                    drinker = f"rig mouse water NAME {drunk_ml:.2f} --day {day}"
                    out.print(f"Record the water for the mouse that drank it: {drinker}", markup=False)
                out.print(_decided(shell, laboratory, mouse_, folder.parent, day=today), markup=False)

    @mouse.command("withdraw")
    def withdraw_(
        name: Name,
        what: Annotated[Withdrawn, typer.Argument(help="The last one of it.", show_default=False)],
        *,
        why: Why,
        sessions: Sessions = SESSIONS,
        day: OnDay = None,
        lab: LabUrl = None,
        who: Who = None,
    ) -> None:
        """Take back the last weight, water, placement or note that was recorded by mistake; both stay on record.

        Or the last start of which no session came.

        Example: rig mouse withdraw M1 weight --why "it was M2 on the scales"
        """
        with shell.sentences(), shell.lab(lab, who=who) as laboratory:
            mouse_ = laboratory.mouse(name)
            row = withdraw(laboratory, name, what, why=_said(why))
            out.print(
                f"{name}: the {what.value} recorded {row.recorded_at[:16]} by {row.who} is withdrawn.", markup=False
            )
            if what is Withdrawn.PLACEMENT:
                out.print(_decided(shell, laboratory, mouse_, sessions, day=day_or_today(day)), markup=False)

    @mouse.command("note")
    def note(name: Name, text: str, day: OnDay = None, lab: LabUrl = None, who: Who = None) -> None:
        """Record a remark about a mouse."""
        with shell.sentences(), shell.lab(lab, who=who) as laboratory:
            laboratory.mouse(name)
            laboratory.record(Remark(mouse=name, day=day_or_today(day), text=_said(text)))
            out.print(f"{name}: noted.", markup=False)

    return mouse


def _refuse_taken(lab: Lab, name: str) -> None:
    for there in lab.mice():
        if there.name.casefold() == name.casefold():
            also = "" if there.name == name else ", and capitals make no other"
            what = (
                f"there is a mouse {there.name} already{also}: rig mouse show {there.name} shows it, rig mouse change "
                f"{there.name} puts right what is on record of it"
            )
            raise ConfigError([Problem("rig mouse add", 0, "", what)])


def _cohort(images: str) -> Cohort:
    try:
        return Cohort.parse(images)
    except ValueError as error:
        raise ConfigError([Problem("--images", 0, "", str(error))]) from error


def _born(day: str) -> str:
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError as error:
        raise ConfigError([Problem("--born", 0, "", f"{day!r} is no day; give it as YYYY-MM-DD")]) from error


def _usable(name: str, images: str, shell: Shell) -> str:
    """Return a curriculum's name, or its file's whole path, once it and all of its stages have been looked at."""
    file = open_curriculum(name)
    file.for_cohort(images)
    check(file, library=shell.library())
    return name if name in shipped("curricula") else str(file.path.resolve())


def _with(mouse: Mouse, changes: dict[str, object]) -> Mouse:
    return msgspec.structs.replace(mouse, **changes)


def _said(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ConfigError([Problem("rig mouse", 0, "", "the text is empty, or is not on one line; say it in words")])
    return text.strip()


def _decided(shell: Shell, lab: Lab, mouse: Mouse, sessions: Path, *, day: str) -> str:
    """Have a mouse's stage decided anew and put on record; return it in words, or why it can't be."""
    try:
        now = standing(lab, mouse, curriculum=curriculum_of(mouse), archive=shell.archive(sessions))
    except NoDecision as error:
        return f"Recorded; still no decision: {error}"
    record_decision(lab, mouse.name, now.decision, day=day)
    return f"{mouse.name}: {now.decision.sentence}."
