"""The commands of a day: every mouse on one page, one mouse from the scales to its water; ``rig.cli`` has them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID, uuid4

import typer
from rich.markup import escape

from hardware.simulated.mice import MouseKind
from rig.config.files import load_rig
from rig.config.load import ConfigError, Problem
from rig.curriculum.words import explain_words
from rig.lab.rows import Mouse
from rig.laboratory import SESSIONS, LabUrl, OnDay, Sessions, Shell, Who, curriculum_of, day_or_today, now, stage_of
from rig.log.reader import read_session
from rig.log.writer import EVENTS
from rig.operators import AtTerminal
from rig.options import check_seed, mouse_kind, on_screen, with_minutes
from rig.session.assemble import SessionPlan, refuse_fast, refuse_misfits
from rig.training.begun import refused_by_starts
from rig.training.model_mouse import model_mouse
from rig.training.parties import Asked, Rigged
from rig.training.projection import day_of
from rig.training.standing import refused_by_rows, standing
from rig.training.start import start
from rig.training.today import lines, page
from rig.training.wording import seen_words, sentence_of
from rig.watching import run_and_watch, tell_products
from stages.history import SessionFacts
from stages.parameters import Stage, StageParameters

if TYPE_CHECKING:
    from rig.lab.lab import Lab

MORNING = "T10:00:00"
"""When a session on a simulated day is said to begin."""


def add_day(app: typer.Typer, shell: Shell) -> None:
    """Add ``rig today`` and ``rig start`` to the commands."""
    out, err = shell.out, shell.err

    @app.command("today")
    def today_(day: OnDay = None, lab: LabUrl = None) -> None:
        """Show every mouse: what it does today and why, its last d′, weight, water, and who has it."""
        with shell.sentences(), shell.lab(lab) as laboratory:
            found = laboratory.today(day_or_today(day))
            if not found.mice:
                out.print("No mice yet: rig mouse add.", markup=False)
                return
            rows = lines(
                found,
                curriculum=curriculum_of,
                is_passive=partial(_is_passive, shell),
                refused=partial(_refused, laboratory),
            )
            out.print(page(found, rows), soft_wrap=False)

    @app.command("start")
    def start_(
        mouse: Annotated[str, typer.Argument(help="The mouse on the rig.", show_default=False)],
        *,
        rig: Annotated[str, typer.Option(help="A rig by name or a file of one.")] = "simulated",
        weight_g: Annotated[float | None, typer.Option(help="What it weighs today; asked for without it.")] = None,
        water_ml: Annotated[
            float | None, typer.Option(help="Before a passive session: water that it has just been given.")
        ] = None,
        typed: Annotated[
            str | None, typer.Option("--name", help="The name on the cage's card, where it is asked for.")
        ] = None,
        override: Annotated[
            bool,
            typer.Option(
                "--override",
                help="Start a second session on one day, while the laboratory is away, or an imaging stage without a "
                "microscope. Needs --why.",
            ),
        ] = False,
        why: Annotated[str | None, typer.Option(help="The reason for --override; stays on record.")] = None,
        who: Who = None,
        go_on: Annotated[
            bool, typer.Option("--continue", help="Go on with today's session, which crashed: its second part.")
        ] = False,
        seed: Annotated[int | None, typer.Option(help="Seed of all random draws; without it one is drawn.")] = None,
        fast: Annotated[bool, typer.Option("--fast", help="Simulated time: an hour takes seconds.")] = False,
        minutes: Annotated[float | None, typer.Option(help="On a simulated rig: another length of the task.")] = None,
        simulated_mouse: Annotated[
            str, typer.Option(help=f"Model mouse: {', '.join(kind.value for kind in MouseKind)}.")
        ] = MouseKind.STOCHASTIC.value,
        screen: Annotated[str | None, typer.Option(help="headless, or psychopy: a window.")] = None,
        stand_ins: Annotated[
            bool, typer.Option("--stand-ins", help="Show stand-in pictures on a real rig all the same.")
        ] = False,
        out_dir: Annotated[
            Path | None,
            typer.Option("--out", help="Where the session's folder is made; without it data_dir of the rig's file."),
        ] = None,
        nwb: Annotated[bool, typer.Option(help="Write the NWB file at the end.")] = True,
        day: Annotated[
            str | None, typer.Option("--day", metavar="YYYY-MM-DD", help="With --fast: the day that is simulated.")
        ] = None,
        lab: LabUrl = None,
    ) -> None:
        """Take a mouse through its day: weight, limits, water, checks, its session, the next decision, water to give.

        Its stage follows from its sessions; [b]rig mouse place[/b] says otherwise. Answers that no option gives are
        asked for at the terminal.
        Example: rig start M1 --rig my_rig.yaml --weight-g 21.3
        """
        from rig.session.check import check_rig  # noqa: PLC0415 - only this command needs it

        with shell.sentences():
            config = on_screen(load_rig(rig), screen)
            check_seed(seed)
            kind = mouse_kind(simulated_mouse)
            if override and not (why or "").strip():
                raise ConfigError([Problem("--override", 0, "", "needs a reason: --why")])
            if minutes is not None and not config.simulated:
                raise ConfigError(
                    [Problem("--minutes", 0, "", "a mouse's session has its stage's length; rig stop ends it sooner")]
                )
            if day is not None and not fast:
                raise ConfigError([Problem("--day", 0, "", "is for simulated time only; leave it out, or give --fast")])
            if fast:
                refuse_fast(config)
            today = day_or_today(day)
            data_dir = out_dir or Path(config.data_dir)

            def stage_on_rig(of: Mouse, name: str) -> Stage:
                stage = with_minutes(stage_of(of, name, library=shell.library()), minutes)
                refuse_misfits(stage, config)
                return stage

            def plan(
                of: Mouse, stage: Stage, folder: Path, session_id: UUID, history: Sequence[SessionFacts]
            ) -> SessionPlan:
                made = SessionPlan(
                    mouse=of.name,
                    stage=stage,
                    rig=config,
                    seed=secrets.randbelow(2**32) if seed is None else seed,
                    mouse_kind=kind,
                    fast=fast,
                    session_id=session_id,
                    folder=folder,
                    who=who or shell.user(),
                    mouse_parameters=model_mouse(of.name, history) if kind is MouseKind.STOCHASTIC else None,
                    library=shell.library(),
                    stand_ins=stand_ins,
                    begins=begins(),
                )
                made.pictures()  # refused here, before a process is started
                return made

            def begins() -> datetime | None:
                return None if day is None else _morning(today, data_dir)

            def run(made: SessionPlan) -> str | None:
                problem = run_and_watch(made, runtime_dir=shell.runtime_dir(), out=out)
                if problem is not None:
                    err.print(f"[red]✗[/red] {escape(problem)}", markup=True)
                if (made.folder / EVENTS).exists() and read_session(made.folder).ended is not None:
                    tell_products(made.folder, nwb=nwb, out=out, err=err)
                return problem

            with shell.lab(lab, who=who) as laboratory:
                ended = start(
                    mouse,
                    lab=laboratory,
                    asked=Asked(
                        who=who or shell.user(),
                        day=today,
                        weight_g=weight_g,
                        water_ml=water_ml,
                        override_why=why if override else None,
                        go_on=go_on,
                        on_day="" if day is None else f" --day {today}",
                    ),
                    operator=AtTerminal(
                        out=out,
                        asks=shell.asks(),
                        weight_given_g=weight_g,
                        water_given_ml=water_ml,
                        name_given=typed,
                    ),
                    rig=Rigged(
                        name=config.rig,
                        simulated=config.simulated,
                        images=config.imaging,
                        data_dir=data_dir,
                        stage=stage_on_rig,
                        plan=plan,
                        run=run,
                        check=lambda: check_rig(config, loopback=False),
                        now=lambda: begins() or now(),
                        new_id=uuid4,
                        day_of_session=day_of,
                    ),
                    curriculum=curriculum_of,
                    archive=shell.archive(data_dir),
                )
            if ended.problem is not None or ended.undecided is not None:
                raise typer.Exit(1)


def add_explain(group: typer.Typer, shell: Shell) -> None:
    """Add ``rig curriculum explain`` to the commands of ``rig curriculum``."""

    @group.command("explain")
    def explain(
        mouse: Annotated[str, typer.Argument(help="The mouse.", show_default=False)],
        sessions: Sessions = SESSIONS,
        lab: LabUrl = None,
    ) -> None:
        """Tell a mouse's whole climb: each session, what was decided after it and why, and what it takes to go on.

        Made anew from the logs as far as this computer reaches them, and held against the laboratory's rows.
        """
        with shell.sentences(), shell.lab(lab) as laboratory:
            found = laboratory.mouse(mouse)
            curriculum = curriculum_of(found)
            now_ = standing(laboratory, found, curriculum=curriculum, archive=shell.archive(sessions))
            words = explain_words(curriculum, now_.history, now_.decisions)
            seen = seen_words(now_, stage_of(found, now_.decision.stage, library=shell.library()))
            shell.out.print(f"{words}\n{seen}\n{sentence_of(now_.recomputed.words())}", markup=False)


def _is_passive(shell: Shell, mouse: Mouse, stage: str) -> bool:
    try:
        parameters = stage_of(mouse, stage, library=shell.library())
    except ConfigError:
        return False  # a decision that is not made, or a file that rig start will refuse
    return not isinstance(parameters, StageParameters) or parameters.passive


def _refused(lab: Lab, mouse: Mouse) -> str | None:
    try:
        return refused_by_starts(lab, mouse.name) or refused_by_rows(lab, mouse, curriculum=curriculum_of(mouse))
    except ConfigError as error:  # of this mouse alone: the others are to be seen
        return str(error)


def _morning(day: str, data_dir: Path) -> datetime:
    """Return when a session on a simulated day begins: a minute after the one before it."""
    morning = datetime.fromisoformat(f"{day}{MORNING}").astimezone()
    n_before = len(list(data_dir.glob(f"{morning.astimezone(UTC).date()}T*")))  # folders bear the date in UTC
    return morning + timedelta(minutes=n_before)
