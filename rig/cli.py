"""The command ``rig``: run a session, command it, look at what it recorded.

Every command prints one clear sentence and exits non-zero when it can't do what was asked.
"""

from __future__ import annotations

import getpass
import json
import platform
import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from platformdirs import user_cache_path, user_config_path, user_data_path, user_state_path
from rich.console import Console
from rich.markup import escape

from hardware.events import Finding, Verdict
from hardware.links.keys import KeyFileError
from hardware.protocols import DeviceError
from hardware.simulated.mice import MouseKind
from rig.commands_curriculum import curriculum_commands
from rig.commands_day import add_day, add_explain
from rig.commands_imaging import imaging_commands, lab_commands, table_commands
from rig.commands_mice import mouse_commands
from rig.commands_microscope import key_commands, microscope_commands
from rig.commands_records import add_recover, export_commands, import_commands
from rig.config.files import image_names, load_any, load_rig, load_stage, shipped
from rig.config.load import ConfigError, Problem
from rig.config.pictures import import_images, import_movie, listed, listed_movies, pictures_of
from rig.config.rig import RigConfig
from rig.curriculum.files import CurriculumFile
from rig.curriculum.files import check as check_curriculum
from rig.lab.errors import LabError
from rig.laboratory import Shell
from rig.log.reader import read_session
from rig.log.replay import replay as replay_log
from rig.log.schema import LogError, to_plain
from rig.options import check_name, check_seed, mouse_kind, on_screen, with_minutes
from rig.records.camstim import CamstimError
from rig.records.nwb import NwbError
from rig.records.products import summarise, write_products
from rig.session.assemble import SessionPlan, folder_name, refuse_misfits
from rig.session.control import ControlError, Request, Running, Stage, ask, running_sessions
from rig.training.imaging import ImagingError
from rig.training.placing import Misplaced
from rig.training.standing import NoDecision
from rig.training.welfare import WelfareError
from rig.watching import run_and_watch, tell_products
from stages.curriculum import CurriculumParameters
from stages.events import EndReason, SpoutPosition, Verb
from stages.parameters import StageParameters, SweepParameters
from stimuli.pictures.sets import ImageSet
from stimuli.spec import StimulusError

app = typer.Typer(
    help="Run the Visual Behavior change-detection experiment, on a rig or simulated.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
images = typer.Typer(help="Bring in the laboratory's own pictures, and list what there is.", no_args_is_help=True)
app.add_typer(images, name="images")
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

ANSWER_S = 5.0
"""How long a command to a running session is waited for, and how soon it expires."""


def main() -> None:
    """Run the command line."""
    app()


@app.command()
def run(
    *,
    mouse: Annotated[str, typer.Option(help="The mouse's name, as it will stand in folder and file.")],
    stage: Annotated[str, typer.Option(help="A stage by name (see [b]rig stages[/b]) or a file of one.")],
    rig: Annotated[str, typer.Option(help="A rig by name or a file of one.")] = "simulated",
    seed: Annotated[int | None, typer.Option(help="Seed of all random draws; without it one is drawn.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Simulated time: an hour takes seconds.")] = False,
    minutes: Annotated[
        float | None, typer.Option(help="Length of the task instead of the stage's; what comes before and after stays.")
    ] = None,
    simulated_mouse: Annotated[
        str, typer.Option(help=f"Model mouse: {', '.join(kind.value for kind in MouseKind)}.")
    ] = MouseKind.PERFECT.value,
    screen: Annotated[
        str | None, typer.Option(help="headless, or psychopy: a window in place of the rig's screen.")
    ] = None,
    stand_ins: Annotated[
        bool, typer.Option("--stand-ins", help="Show stand-in pictures on a real rig all the same.")
    ] = False,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", help="Where the session's folder is made; without it data_dir of the rig's file."),
    ] = None,
    nwb: Annotated[bool, typer.Option(help="Write the NWB file at the end.")] = True,
) -> None:
    """Run one session from start to end and write its folder.

    The session runs in a process of its own; this one shows how it goes. Ctrl-C stops the session now;
    [b]rig pause[/b], [b]rig stop[/b] and the others do the rest from another terminal.

    Example: rig run --mouse M1 --stage OPHYS_1_images_A --rig simulated --fast --seed 1
    """
    with _sentences():
        parameters = with_minutes(load_stage(stage, library=_library()), minutes)
        config = on_screen(load_rig(rig), screen)
        refuse_misfits(parameters, config)
        check_name(mouse)
        check_seed(seed)
        session_id = uuid4()
        parent = out_dir or Path(config.data_dir)
        folder = parent / folder_name(now=datetime.now(UTC), mouse=mouse, stage=parameters.stage, session_id=session_id)
        plan = SessionPlan(
            mouse=mouse,
            stage=parameters,
            rig=config,
            seed=secrets.randbelow(2**32) if seed is None else seed,
            mouse_kind=mouse_kind(simulated_mouse),
            fast=fast,
            session_id=session_id,
            folder=folder,
            who=getpass.getuser(),
            library=_library(),
            stand_ins=stand_ins,
        )
        plan.pictures()  # refused here, before a process is started
        out.print(f"[b]{mouse}[/b]  {parameters.stage}  on {config.rig}, seed {plan.seed}")
        problem = run_and_watch(plan, runtime_dir=_runtime_dir(), out=out)
        if problem is not None:
            err.print(f"[red]✗[/red] {escape(problem)}", markup=True)
            if not (folder / "events.jsonl").exists():
                raise typer.Exit(1)
        if not tell_products(folder, nwb=nwb, out=out, err=err):
            raise typer.Exit(1)
        log = read_session(folder)
        if problem is not None or (log.ended is not None and log.ended.reason is EndReason.FAULT):
            raise typer.Exit(1)


ForMouse = Annotated[str | None, typer.Option("--mouse", help="Which session, if several run on this machine.")]


@app.command()
def pause(mouse: ForMouse = None) -> None:
    """Pause the running session when its trial has ended: gray, the task's clock stands."""
    _command(mouse, Verb.PAUSE)


@app.command()
def resume(mouse: ForMouse = None) -> None:
    """Go on after a pause, on the next place of the grid of flashes."""
    _command(mouse, Verb.RESUME)


@app.command()
def stop(mouse: ForMouse = None, why: Annotated[str, typer.Option(help="Reason, for the log.")] = "") -> None:
    """Stop the running session when its trial has ended; the closing blocks follow."""
    _command(mouse, Verb.STOP, text=why)


@app.command("stop-now")
def stop_now(mouse: ForMouse = None, why: Annotated[str, typer.Option(help="Reason, for the log.")] = "") -> None:
    """End the running session at once."""
    _command(mouse, Verb.STOP_NOW, text=why)


@app.command()
def reward(
    mouse: ForMouse = None,
    volume_ul: Annotated[float | None, typer.Option(help="Volume; without it the stage's auto reward.")] = None,
) -> None:
    """Give a free reward now. It never counts as a trial's."""
    _command(mouse, Verb.REWARD, volume_ul=volume_ul)


@app.command()
def note(text: str, mouse: ForMouse = None) -> None:
    """Write a remark into the session's log."""
    _command(mouse, Verb.NOTE, text=text)


@app.command()
def spout(
    position: Annotated[SpoutPosition, typer.Argument(help="at_mouse or retracted")], mouse: ForMouse = None
) -> None:
    """Move the lick spout."""
    _command(mouse, Verb.SPOUT, position=position)


def _command(
    mouse: str | None,
    verb: Verb,
    *,
    text: str = "",
    volume_ul: float | None = None,
    position: SpoutPosition | None = None,
) -> None:
    with _sentences():
        if verb is Verb.NOTE and not text.strip():
            raise ControlError("the note is empty; say what you saw")
        if not text.isprintable():
            raise ControlError("the text holds characters that can't be written; use plain letters on one line")
        running = _which(mouse)
        request = Request(
            id=str(uuid4()),
            verb=verb,
            who=getpass.getuser(),
            expires_at=time.time() + ANSWER_S,
            text=text,
            volume_ul=volume_ul,
            position=position,
        )
        for reply in ask(running, request, timeout_s=ANSWER_S):
            if reply.stage is Stage.REFUSED:
                err.print(f"{running.mouse}: refused, {reply.what}", markup=False)
                raise typer.Exit(1)
            if reply.stage is Stage.APPLIED:
                out.print(f"{running.mouse}: {reply.what}", markup=False)


def _which(mouse: str | None) -> Running:
    sessions = running_sessions(_runtime_dir())
    chosen = [session for session in sessions if mouse is None or session.mouse == mouse]
    if len(chosen) == 1:
        return chosen[0]
    if not sessions:
        raise ControlError("no session runs on this machine under this user; start one with rig run")
    names = ", ".join(session.mouse for session in sessions)
    if not chosen:
        raise ControlError(f"no session of {mouse} runs; running: {names}")
    raise ControlError(f"several sessions run ({names}); say which with --mouse")


def _runtime_dir() -> Path:
    return user_state_path("open-vision-rig") / "running"


def _keys() -> Path:
    """Return where ``rig keys`` keeps this user's."""
    return user_config_path("open-vision-rig") / "keys"


def _library() -> Path:
    """Return where ``rig images import`` brings pictures to, this user's."""
    return user_data_path("open-vision-rig") / "pictures"


SessionFolder = Annotated[Path, typer.Argument(help="The session's folder.", show_default=False)]


@app.command()
def replay(
    session: Annotated[Path | None, typer.Argument(help="The session's folder.", show_default=False)] = None,
    camstim: Annotated[
        Path | None, typer.Option(help="Instead: a session that camstim recorded, .pkl or .pkl.gz.")
    ] = None,
) -> None:
    """Feed a session's recorded inputs to the task again and compare its decisions byte by byte.

    With [b]--camstim[/b] the task runs on what camstim drew, showed and saw, and is compared trial by trial.
    """
    with _sentences():
        if (session is None) == (camstim is None):
            raise ConfigError([Problem("rig replay", 0, "", "give a session's folder, or --camstim with a file")])
        if session is None:
            _replay_camstim(camstim)
            return
        log = read_session(session)
        result = replay_log(log)
        if result.difference is not None:
            err.print(f"{session}: after {result.n_decisions} equal decisions,\n{result.difference}", markup=False)
            raise typer.Exit(1)
        out.print(
            f"{result.n_decisions} decisions from {result.n_inputs} inputs, byte for byte as recorded.", markup=False
        )
        for damage in log.damage:
            out.print(f"Damage: {damage}", markup=False)


def _replay_camstim(file: Path | None) -> None:
    from rig.records.camstim.reader import read_camstim  # noqa: PLC0415 - only this command needs them
    from rig.records.camstim.replay import replay_camstim  # noqa: PLC0415

    comparison = replay_camstim(read_camstim(file or Path()))
    out.print(comparison.words(), markup=False)
    if comparison.unexplained:
        raise typer.Exit(1)


@app.command()
def summary(
    session: SessionFolder,
    as_json: Annotated[bool, typer.Option("--json", help="Figures for a program instead of words.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Write tables, summary and figure beside the log.")] = False,
) -> None:
    """Say what a session came to; works on a running or crashed one too."""
    with _sentences():
        log = read_session(session)
        running = any(session.session_id == log.started.session_id for session in running_sessions(_runtime_dir()))
        figures, words = summarise(log, running=running)
        if as_json:
            out.print(json.dumps(to_plain(figures), indent=2), markup=False)
        else:
            out.print(words, markup=False)
        if write:
            for path in write_products(log):
                out.print(str(path), markup=False)


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(help="Files of rigs, stages, image sets or curricula.")],
) -> None:
    """Check configuration files; print every problem with its line.

    Stages are tried on the rigs named besides, or on the shipped simulated one.
    """
    failed = False
    loaded = []
    for path in files:
        try:
            loaded.append((path, load_any(path)))
        except ConfigError as error:
            failed = True
            err.print(str(error), markup=False)
    rigs = [config for _, config in loaded if isinstance(config, RigConfig)] or [load_rig("simulated")]
    for path, config in loaded:
        try:
            if isinstance(config, CurriculumParameters):
                check_curriculum(CurriculumFile(path, config), library=_library())
            if isinstance(config, StageParameters | SweepParameters):
                image_names(config, library=_library())
                for rig in rigs:
                    refuse_misfits(config, rig)
            doubts = config.doubts() if isinstance(config, RigConfig) else []
            for doubt in doubts:
                err.print(f"{path}: ▲ {doubt.name}: {doubt.figure}; {doubt.remedy}", markup=False)
            out.print(f"{path}: {'fine but for that' if doubts else 'fine'}", markup=False)
        except ConfigError as error:
            failed = True
            err.print(str(error) if isinstance(config, CurriculumParameters) else f"{path}: {error}", markup=False)
    if failed:
        raise typer.Exit(1)


SIGNS = {Verdict.PASS: "✓ pass", Verdict.WARN: "▲ warn", Verdict.FAIL: "✗ FAIL"}


class Examined(StrEnum):
    """What ``rig check`` looks at."""

    DEVICES = "devices"
    DISPLAY = "display"


@app.command()
def check(
    what: Annotated[Examined, typer.Argument(help="devices, or display: the monitor")] = Examined.DEVICES,
    *,
    rig: Annotated[str | None, typer.Option(help="A rig by name or a file of one.")] = None,
    loopback: Annotated[
        bool,
        typer.Option(
            "--loopback",
            help="Pulse the valve's line too, measured by its echo, and pay licks that come over a wire from "
            "align_output. Unplug the valve first.",
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --loopback: don't ask whether the valve is unplugged.")
    ] = False,
    touch: Annotated[
        bool, typer.Option("--touch", help="Wait until you touch the spout: that the lick sensor lives.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=1, max=3600, help="With display: how long still frames alternate, and a movie runs.")
    ] = 10.0,
) -> None:
    """Open a rig's devices, have them examine themselves, and say what to mend.

    Exits with 1 when something has failed. [b]--loopback[/b] is for the first hour on a new card.
    [b]rig check display[/b] shows the heaviest stimuli on the rig's monitor, another one with each flip, and measures
    its rate and late flips; without a rig, in a window on this desktop.
    """
    with _sentences():
        if what is Examined.DISPLAY:
            from rig.display import check_display  # noqa: PLC0415 - only this command needs it

            config = load_rig(rig or "simulated")
            _print_findings(config, check_display(config, seconds=seconds))
            return
        from rig.session.check import TOUCH_S, check_rig, refuse_loopback, refuse_touch  # noqa: PLC0415

        if rig is None:
            raise ConfigError([Problem("--rig", 0, "", "say which rig to examine, by its name or a file of one")])
        config = load_rig(rig)
        if loopback:
            refuse_loopback(config)
            if not config.simulated and not yes:
                typer.confirm("Is the valve unplugged, and its echo wired to the counter's output?", abort=True)
        if touch:
            refuse_touch(config)
            out.print(f"Touch the spout with a wet finger within {TOUCH_S:g} s when the other checks are done.")
        _print_findings(config, check_rig(config, loopback=loopback, touch=touch))


def _print_findings(config: RigConfig, found: Iterable[Finding]) -> None:
    """Print findings as they come, then their sum; exit with 1 where one has failed."""
    findings = []
    for finding in found:
        findings.append(finding)
        mend = finding.remedy if finding.verdict is not Verdict.PASS else ""
        remedy = f"  {mend[:1].upper()}{mend[1:]}." if mend else ""
        out.print(f"{SIGNS[finding.verdict]}  {finding.name}: {finding.figure}.{remedy}", markup=False)
    n_failed = sum(finding.verdict is Verdict.FAIL for finding in findings)
    n_warned = sum(finding.verdict is Verdict.WARN for finding in findings)
    n = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
    out.print(f"{config.rig}: {n}, {n_failed} failed, {n_warned} to look at.", markup=False)
    if n_failed:
        raise typer.Exit(1)


@app.command()
def stages() -> None:
    """List the stages, rigs, image sets and curricula that ship with the program."""
    kinds = {"stages": "stage", "rigs": "rig", "image_sets": "image set", "curricula": "curriculum"}
    for kind, what in kinds.items():
        for name in shipped(kind):
            out.print(f"{what}  {name}", markup=False)
    sets = ", ".join(shipped("image_sets"))
    out.print(f"Stages with images take any set by its letter in their name ({sets}): OPHYS_1_images_G.", markup=False)


@app.command()
def draw(
    stage: Annotated[str, typer.Argument(help="A stage by name or a file of one.", show_default=False)],
    file: Annotated[Path, typer.Option("--out", help="Where to: .svg, .png or .pdf.")] = Path("trials.svg"),
) -> None:
    """Draw one trial of each kind that a stage has, as the task runs it."""
    from rig.records.exemplars import NoExemplar, exemplars  # noqa: PLC0415 - only this command needs them
    from rig.records.figures import draw_exemplars, save_drawing  # noqa: PLC0415

    with _sentences():
        parameters = load_stage(stage, library=_library())
        if not isinstance(parameters, StageParameters):
            raise ConfigError([Problem(stage, 0, "", "has no trials to draw")])
        refuse_misfits(parameters, load_rig("simulated"))
        if file.suffix not in (".svg", ".png", ".pdf"):
            raise ConfigError([Problem(str(file), 0, "", "give a name that ends with .svg, .png or .pdf")])
        try:
            drawn = draw_exemplars(
                parameters.stage, exemplars(parameters, names=image_names(parameters, library=_library()))
            )
        except NoExemplar as error:
            raise ConfigError([Problem(stage, 0, "", str(error))]) from error
        save_drawing(drawn, file)
        out.print(str(file), markup=False)


@app.command()
def preview(
    stage: Annotated[str, typer.Argument(help="A stage by name or a file of one.", show_default=False)],
    rig: Annotated[str, typer.Option(help="The rig whose screen it is, by name or a file of one.")] = "simulated",
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for the pictures; without it preview-STAGE.")
    ] = None,
    warp: Annotated[bool, typer.Option("--warp/--no-warp", help="Whether to show what the warp makes of it.")] = True,
    window: Annotated[
        bool,
        typer.Option("--window", help="Instead, play the same trials in a window on this desktop; Escape ends it."),
    ] = False,
) -> None:
    """Draw what a stage shows: every stimulus as on the screen, a contact sheet, some trials in time.

    With [b]--window[/b] nothing is written: the trials are played at their real pace.

    Example: rig preview OPHYS_1_images_A --out preview
    """
    from rig.playing import play  # noqa: PLC0415 - only this command needs them
    from rig.records.preview import write_preview  # noqa: PLC0415

    with _sentences():
        if window and folder is not None:
            raise ConfigError([Problem("--out", 0, "", "with --window nothing is written; leave one of the two out")])
        parameters, config = load_stage(stage, library=_library()), load_rig(rig)
        refuse_misfits(parameters, config)
        pictures = pictures_of(parameters, simulated=True, library=_library())
        if window:
            for scene in play(parameters, config=config, pictures=pictures, warp=warp):
                out.print(f"{scene.name}, {scene.end_s - scene.start_s:.1f} s", markup=False)
            return
        folder = folder or Path(f"preview-{parameters.stage}")
        for path in write_preview(parameters, config=config, pictures=pictures, folder=folder, warp=warp):
            out.print(str(path), markup=False)


@images.command("import")
def images_import(
    *,
    name: Annotated[str, typer.Argument(help="A, B, G, H, a name for your own set, or a movie's.", show_default=False)],
    source: Annotated[
        Path,
        typer.Argument(help="camstim's .pkl, a published .nwb, a folder; of a movie its .npy.", show_default=False),
    ],
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Crop, scale and luminance-match a folder's photographs.")
    ] = False,
    licence: Annotated[str, typer.Option(help="What the manifest will say of their licence.")] = "the laboratory's",
    replace: Annotated[bool, typer.Option("--replace", help="In place of one of that name.")] = False,
) -> None:
    """Bring an image set or a movie into this user's library, from where every session takes it.

    Example: rig images import A Natural_Images_Lum_Matched_set_training_2017.07.14.pkl
    """
    with _sentences():
        if source.suffix == ".npy":
            movie = import_movie(name, source, library=_library(), replace=replace)
            out.print(f"{movie.name}: {movie.manifest.n_frames} frames, in {movie.folder}", markup=False)
        else:
            found = import_images(name, source, library=_library(), prepare=prepare, licence=licence, replace=replace)
            _tell(found)


@images.command("list")
def images_list() -> None:
    """List the image sets and movies of this machine, with hashes, luminance, contrast, sources and licences."""
    with _sentences():
        for found in listed(_library()):
            _tell(found)
        for movie in listed_movies(_library()):
            told = f"movie {movie.name}: imported, {movie.manifest.n_frames} frames, {movie.sha256()[:8]}"
            out.print(f"{told}, from {movie.manifest.source}", markup=False)


def _tell(found: ImageSet) -> None:
    out.print(f"image set {found.manifest.image_set}: {found.manifest.kind.value}, in {found.folder}", markup=False)
    for picture in found.manifest.pictures:
        stands_for = f" for {picture.stands_for}" if picture.stands_for else ""
        out.print(
            f"  {picture.name}{stands_for}  {picture.sha256[:8]}  mean {picture.mean:.1f}, contrast "
            f"{picture.rms_contrast:.3f}  {picture.licence}: {picture.source}",
            markup=False,
        )


@app.command()
def bench(
    as_json: Annotated[bool, typer.Option("--json", help="Figures for a program instead of a table.")] = False,
    seconds: Annotated[float, typer.Option(help="How long the loop runs in real time.")] = 60.0,
    mice: Annotated[
        bool, typer.Option("--mice", help="Instead, hold the stochastic mouse against real quantiles.")
    ] = False,
    sessions: Annotated[int, typer.Option(min=1, help="With --mice: sessions of each stage.")] = 12,
    rig: Annotated[
        str | None,
        typer.Option(help="Instead, measure the card of a rig, by name or file: lick to pulse, a step of the loop."),
    ] = None,
    licks: Annotated[int, typer.Option(min=10, help="With --rig: how many licks are paid.")] = 200,
    yes: Annotated[bool, typer.Option("--yes", help="With --rig: don't ask whether the valve is unplugged.")] = False,
) -> None:
    """Measure what a session costs: an hour in fast mode, a step in real time, memory.

    With [b]--rig[/b], what its card costs. A real card needs a wire for it: from align_output to the lick sensor's
    inputs; and the valve unplugged.
    """
    if mice:
        from rig.mouse_quantiles import table as beside_real  # noqa: PLC0415

        out.print(beside_real(n_sessions=sessions))
        return
    from rig.bench import Figure, measure, table  # noqa: PLC0415 - only this command needs it

    def measured() -> list[Figure]:
        if rig is None:
            return measure(real_time_s=seconds)
        from rig.card_bench import measure_card  # noqa: PLC0415

        config = load_rig(rig)
        if not config.simulated and not yes:
            typer.confirm("Is the valve unplugged, and align_output wired to the lick sensor's inputs?", abort=True)
        return measure_card(config, n_licks=licks, seconds=seconds)

    with _sentences():
        figures = measured()
        if as_json:
            out.print(json.dumps(figures, indent=2), markup=False)
        else:
            out.print(table(figures))


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn every error that we know into its sentence and exit code 1."""
    try:
        yield
    except (
        ConfigError,
        LogError,
        CamstimError,
        NwbError,
        DeviceError,
        ControlError,
        StimulusError,
        LabError,
        ImagingError,
        Misplaced,
        NoDecision,
        WelfareError,
        KeyFileError,
    ) as error:
        err.print(str(error), markup=False)
        raise typer.Exit(1) from error
    except FileNotFoundError as error:
        err.print(f"{error.filename}: there is no such file or folder; check its name", markup=False)
        raise typer.Exit(1) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        err.print(f"{where}{error.strerror or error}; look at the disk and the folder's permissions", markup=False)
        raise typer.Exit(1) from error


def _asks() -> bool:
    """Return whether somebody sits at this terminal; tests and scripts put something else in its place."""
    return sys.stdin.isatty()


def _running_ids() -> set[str]:
    return {session.session_id for session in running_sessions(_runtime_dir())}


app.add_typer(export_commands(out=out, sentences=_sentences, running=_running_ids, library=_library), name="export")
app.add_typer(import_commands(out=out, sentences=_sentences), name="import")
_curricula = curriculum_commands(out=out, sentences=_sentences, library=_library)
_shell = Shell(
    out=out,
    err=err,
    sentences=_sentences,
    runtime_dir=_runtime_dir,
    library=_library,
    data=lambda: user_data_path("open-vision-rig"),
    cache=lambda: user_cache_path("open-vision-rig"),
    user=getpass.getuser,
    host=platform.node,
    asks=_asks,
)
add_explain(_curricula, _shell)
app.add_typer(_curricula, name="curriculum")
app.add_typer(mouse_commands(_shell), name="mouse")
app.add_typer(imaging_commands(_shell), name="imaging")
app.add_typer(lab_commands(_shell), name="lab")
app.add_typer(table_commands(_shell), name="table")
add_day(app, _shell)
app.add_typer(key_commands(out=out, sentences=_sentences, folder=_keys), name="keys")
app.add_typer(microscope_commands(out=out, sentences=_sentences, folder=_keys), name="microscope")
add_recover(app, out=out, sentences=_sentences, running=_running_ids)
