"""What a stage shows, before a mouse sees it: every stimulus as a picture, a contact sheet, some trials in time.

The pictures are the very frames that a screen is given (``stimuli.frames``), linear grey before gamma.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from hardware.arrays import GreyFrame
from rig.config.load import ConfigError, Problem
from rig.config.pictures import StagePictures
from rig.config.rig import RigConfig
from rig.records.exemplars import Exemplar, NoExemplar, exemplars
from rig.records.figures import Cell, draw_contact_sheet, draw_exemplars, draw_patches, save_drawing
from stages.parameters import Stage, StageParameters, SweepParameters
from stages.random import RandomStreams
from stages.sweep import shuffled
from stages.task import stimuli_of
from stimuli.frames import Frames, resized
from stimuli.spec import Gabor, Grating, Stimulus, label

SHEET, TIMELINE, WARPED, UNWARPED = "contact_sheet.png", "timeline.png", "warped", "unwarped"
SMALL_WIDTH_PX = 320
"""Of a screen on a contact sheet."""
SHEET_GREYS = 32
KINDS = 4
"""So many kinds of trial make a timeline."""
PATCHES = 12
"""So many patches of a sweep do."""
SEED = 1


@dataclass(frozen=True)
class Scene:
    """A stretch of a stage: a trial, or the first patches of a sweep.

    ``shown`` is what is on instead of gray, by its label, from when to when; all times in seconds on a clock of the
    scene's own.
    """

    name: str
    start_s: float
    end_s: float
    shown: list[tuple[float, float, str]]

    def label_at(self, time_s: float) -> str | None:
        """Return what is on at a time; None for gray."""
        return next((name for start_s, stop_s, name in self.shown if start_s <= time_s < stop_s), None)


def scenes(stage: Stage, *, pictures: StagePictures, refresh_hz: float) -> list[Scene]:
    """Return what the timeline of a stage shows, to be played; raises ``ConfigError`` as ``write_preview`` does."""
    if isinstance(stage, SweepParameters):
        stimuli = stimuli_of(stage, image_names=[], refresh_hz=refresh_hz, movie_name=pictures.movie_name)
        patches = _patches(stage, stimuli)
        return [Scene("its first patches", patches[0][0], patches[-1][1] + stage.sweep.gap_s, patches)]
    return [
        Scene(
            name=trial.kind,
            start_s=trial.start_s,
            end_s=trial.end_s,
            shown=[(one.start_s, one.stop_s, one.name) for one in trial.shown if not one.omitted],
        )
        for trial in _trials(stage, pictures)
    ]


def write_preview(
    stage: Stage, *, config: RigConfig, pictures: StagePictures, folder: Path, warp: bool
) -> Iterator[Path]:
    """Write the preview of a stage into a folder and yield each file's path as it is there.

    ``unwarped/NAME.png`` and, unless ``warp`` is false, ``warped/NAME.png`` are whole screens; ``contact_sheet.png``
    has both small and side by side; ``timeline.png`` shows some trials, or the first patches of a sweep.

    Raises
    ------
    StimulusError
        A picture is missing, damaged, changed or of a wrong size.
    ConfigError
        The stage has not the trials it should have.
    """
    geometry, refresh_hz = config.screen.geometry.geometry(), config.screen.refresh_hz
    stimuli = stimuli_of(stage, image_names=pictures.image_names, refresh_hz=refresh_hz, movie_name=pictures.movie_name)
    ways = {UNWARPED: Frames(geometry=geometry, pictures=pictures.source, warp=False)}
    if warp:
        ways[WARPED] = Frames(geometry=geometry, pictures=pictures.source)
    small = SMALL_WIDTH_PX * geometry.height_px // geometry.width_px, SMALL_WIDTH_PX
    screens: dict[str, list[GreyFrame]] = {}
    for stimulus in stimuli:
        for way, frames in ways.items():
            frame = frames.at_onset(stimulus)
            path = folder / way / f"{label(stimulus)}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(path, compress_level=3)
            screens.setdefault(label(stimulus), []).append(resized(frame, small))
            yield path
    shown = "before the warp, and as the screen shows it" if warp else "before the warp"
    on_sheet = [stimulus for stimulus in stimuli if _on_sheet(stimulus, stimuli)]
    cells = [Cell(_named(stimulus), screens[label(stimulus)]) for stimulus in on_sheet]
    n_columns = _columns(len(cells))
    save_drawing(draw_contact_sheet(f"{stage.stage}: {shown}", cells, n_columns=n_columns), folder / SHEET)
    _in_few_greys(folder / SHEET)
    yield folder / SHEET
    as_shown = {name: both[-1] for name, both in screens.items()}
    if isinstance(stage, SweepParameters):
        patches = _patches(stage, stimuli)
        shown_patches = [(start_s, stop_s, as_shown[name]) for start_s, stop_s, name in patches]
        names = [name for _, _, name in patches]
        timeline = draw_patches(f"{stage.stage}: its first patches", shown_patches, names=names)
    else:
        timeline = draw_exemplars(stage.stage, _trials(stage, pictures), screens=as_shown)
    save_drawing(timeline, folder / TIMELINE)
    yield folder / TIMELINE


def _trials(stage: StageParameters, pictures: StagePictures) -> list[Exemplar]:
    try:
        return exemplars(stage, names=pictures.image_names)[:KINDS]
    except NoExemplar as error:
        raise ConfigError([Problem(stage.stage, 0, "", str(error))]) from error


def _patches(stage: SweepParameters, stimuli: list[Stimulus]) -> list[tuple[float, float, str]]:
    """Return from when to when the first patches of a sweep are on, and their labels."""
    patches = [i for i, stimulus in enumerate(stimuli) if isinstance(stimulus, Gabor)]
    order = shuffled(patches, n_repeats=1, streams=RandomStreams(SEED))[:PATCHES]
    sweep = stage.sweep
    starts_s = [stage.gray_before_s + i * (sweep.duration_s + sweep.gap_s) for i in range(len(order))]
    return [(at_s, at_s + sweep.duration_s, label(stimuli[i])) for at_s, i in zip(starts_s, order, strict=True)]


def _in_few_greys(path: Path) -> None:
    """Make a picture a third of its size, so that a sheet can stand in a repository."""
    with Image.open(path) as drawn:
        drawn.convert("L").quantize(SHEET_GREYS).save(path, optimize=True)


def _on_sheet(stimulus: Stimulus, stimuli: list[Stimulus]) -> bool:
    """Whether it has a place on the contact sheet: patches of one orientation stand for the others."""
    if not isinstance(stimulus, Gabor):
        return True
    first = next(each for each in stimuli if isinstance(each, Gabor))
    central = stimulus.azimuth_deg == 0 == stimulus.altitude_deg
    return central or stimulus.orientation_deg == first.orientation_deg


def _named(stimulus: Stimulus) -> str:
    return f"{stimulus.group}, {stimulus.orientation_deg:g}°" if isinstance(stimulus, Grating) else label(stimulus)


def _columns(n: int) -> int:
    return 2 if n <= 6 else 3 if n <= 12 else 6
