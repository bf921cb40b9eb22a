"""The commands of ``rig curriculum``; ``rig.cli`` takes them in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rig.config.load import ConfigError, Problem
from rig.curriculum.files import check, open_curriculum
from rig.curriculum.words import show_words

SHIPPED = "visual_behavior"
FORMATS = (".svg", ".png", ".pdf")

Name = Annotated[str, typer.Argument(help="A curriculum by name or a file of one.")]
ForCohort = Annotated[
    str | None, typer.Option(metavar="FAMILIAR/NOVEL", help="For which image sets; without it the first cohort's.")
]


def curriculum_commands(
    *, out: Console, sentences: Callable[[], AbstractContextManager[None]], library: Callable[[], Path]
) -> typer.Typer:
    """Return the commands of ``rig curriculum``.

    Parameters
    ----------
    out
        Where they say what they found.
    sentences
        Turns the errors we know into a sentence and exit code 1.
    library
        Returns where this user's own pictures are.
    """
    group = typer.Typer(help="Which stage follows which, and by what criteria.", no_args_is_help=True)

    @group.command("show")
    def show(curriculum: Name = SHIPPED, cohort: ForCohort = None) -> None:
        """Print a curriculum's stages in order, and what it takes to leave each.

        Example: rig curriculum show visual_behavior --cohort G/H
        """
        with sentences():
            out.print(show_words(open_curriculum(curriculum).for_cohort(cohort)), markup=False)

    @group.command("validate")
    def validate(
        files: Annotated[
            list[str] | None, typer.Argument(help=f"Curricula by name or file; {SHIPPED} without.", show_default=False)
        ] = None,
    ) -> None:
        """Check curricula and all their stages; print every problem with its line."""
        problems: list[Problem] = []
        for name in files or [SHIPPED]:
            try:
                file = open_curriculum(name)
                check(file, library=library())
            except ConfigError as error:
                problems += error.problems
                continue
            p = file.parameters
            told = f"{len(p.stages)} stages, {len(p.transitions)} transitions, cohorts {', '.join(p.cohorts)}"
            out.print(f"{name}: fine: {told}", markup=False)
        with sentences():
            if problems:
                raise ConfigError(problems)

    @group.command("diagram")
    def diagram(
        curriculum: Name = SHIPPED,
        cohort: ForCohort = None,
        file: Annotated[Path, typer.Option("--out", help="Where to: .svg, .png or .pdf.")] = Path("curriculum.svg"),
    ) -> None:
        """Draw a curriculum, with the criteria on its arrows."""
        from rig.curriculum.diagram import draw_curriculum, save_diagram  # noqa: PLC0415 - matplotlib takes a second

        with sentences():
            chosen = open_curriculum(curriculum).for_cohort(cohort)
            if file.suffix not in FORMATS:
                raise ConfigError([Problem(str(file), 0, "", "give a name that ends with .svg, .png or .pdf")])
            save_diagram(draw_curriculum(chosen), file)
            out.print(str(file), markup=False)

    @group.command("diff")
    def diff(
        first: Annotated[str, typer.Argument(help="A curriculum by name or a file of one.", show_default=False)],
        second: Annotated[str, typer.Argument(help="Another one.", show_default=False)],
    ) -> None:
        """Print what differs between two curricula in what has an effect, their stages' parameters too.

        Exits with 1 if anything does that neither file's `deviations` explain.
        """
        from rig.curriculum.diff import differences  # noqa: PLC0415 - no other command needs it

        with sentences():
            found = differences(open_curriculum(first), open_curriculum(second), library=library())
            for each in found:
                out.print(str(each), markup=False)
            unexplained = sum(each.why is None for each in found)
            n = f"{len(found)} difference{'s' if len(found) != 1 else ''}"
            told = f"{n}, {unexplained} unexplained." if found else "No difference."
            out.print(told, markup=False)
            if unexplained:
                raise typer.Exit(1)

    @group.command("import")
    def import_(
        file: Annotated[Path, typer.Argument(help="A regimen of the laboratory, .yml.", show_default=False)],
        folder: Annotated[
            Path | None, typer.Option("--out", help="Folder for it; without it curricula/ and the file's name.")
        ] = None,
        leave_out: Annotated[
            list[str] | None, typer.Option(metavar="KEY", help="A parameter that may be ignored; as often as needed.")
        ] = None,
    ) -> None:
        """Make a curriculum and its stages of a regimen file of the laboratory.

        Everything in it is understood, remarked on, or named as not understood; in the last case nothing is written.
        Example: rig curriculum import VisualBehavior_Task1A_v1.1.1.yml
        """
        from rig.curriculum.importing import import_regimen  # noqa: PLC0415 - no other command needs it
        from rig.curriculum.translate import grouped  # noqa: PLC0415

        with sentences():
            where = folder or Path("curricula") / file.stem
            made, found = import_regimen(file, where, leave_out=leave_out or [], library=library())
            for words in grouped(found.remarks):
                out.print(f"{file.name}, {words}", markup=False)
            out.print(
                f"{found.n_understood} parameters of {len(found.stages)} stages and fields of "
                f"{len(made.parameters.transitions)} transitions understood, those above with a remark; none was not.",
                markup=False,
            )
            for words in dict.fromkeys(problem.message for problem in found.unfit):
                out.print(f"Not yet to be run here: {words}", markup=False)
            out.print(f"Curriculum: {made.path}", markup=False)

    return group
