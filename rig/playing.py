"""A stage played on a desktop: what ``rig preview`` draws of it in time, in a window and at its real pace.

Nobody's mouse sits before it: nothing is logged and no device is touched but the window. It shows the very frames of a
session, in as many pixels as fit beside other windows.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from hardware.clock import HostClock
from rig.config.load import ConfigError, Problem
from rig.config.pictures import StagePictures
from rig.config.rig import GeometryConfig, PsychopyScreenConfig, RigConfig, desktop_window
from rig.records.preview import Scene, scenes
from rig.session.assemble import window_of
from stages.parameters import Stage
from stages.task import stimuli_of
from stimuli.frames import Frames
from stimuli.psychopy_screen import PsychopyScreen, monitor_sizes
from stimuli.spec import Gray, StimulusError, label

DESKTOP_SHARE = 0.8
"""Of the desktop along each side, that the window takes at most."""
LEAD_S = 0.25
GRAY_S = 1.0
"""Of gray before each scene."""


def play(stage: Stage, *, config: RigConfig, pictures: StagePictures, warp: bool) -> Iterator[Scene]:
    """Play the trials of a stage's timeline, or a sweep's first patches, and yield each as it begins.

    Ends after the last, or when somebody presses Escape at the window or closes it.

    Raises
    ------
    DeviceError
        PsychoPy is not installed, or no window can be opened.
    ConfigError
        A picture can't be shown, or the stage has not the trials it should have.
    """
    refresh_hz = config.screen.refresh_hz
    played = scenes(stage, pictures=pictures, refresh_hz=refresh_hz)
    labels = {name for scene in played for _, _, name in scene.shown}
    every = stimuli_of(stage, image_names=pictures.image_names, refresh_hz=refresh_hz, movie_name=pictures.movie_name)
    stimuli = [Gray(), *(stimulus for stimulus in every if label(stimulus) in labels)]
    index = {label(stimulus): i for i, stimulus in enumerate(stimuli)}
    settings = on_desktop(config, monitor_sizes()[0])
    clock = HostClock()
    escaped: list[bool] = []
    with tempfile.TemporaryDirectory(prefix="rig-preview-", ignore_cleanup_errors=True) as folder:
        window = window_of(
            settings,
            frames=Frames(geometry=settings.geometry.geometry(), pictures=pictures.source, warp=warp),
            clock=clock,
            observer=lambda _host_s, _stimulus: False,
            on_escape=lambda: escaped.append(True),
            moving_dir=Path(folder),
        )
        with closing(window):
            window.open()
            try:
                window.prepare(stimuli)
            except StimulusError as error:
                raise ConfigError([Problem("stimuli", 0, "", str(error))]) from error
            window.begin(clock.now_s() + LEAD_S)
            for scene in played:
                yield scene
                _play(window, scene, index=index, refresh_hz=refresh_hz, escaped=escaped)
                if escaped:
                    return


def _play(
    window: PsychopyScreen, scene: Scene, *, index: dict[str, int], refresh_hz: float, escaped: list[bool]
) -> None:
    """Show gray for a while, then a scene, by the refreshes that go by: one that is late is left out."""
    first: int | None = None
    time_s = scene.start_s - GRAY_S
    while time_s < scene.end_s and not escaped:
        name = scene.label_at(time_s + 0.5 / refresh_hz) if time_s >= scene.start_s else None  # midst of the refresh
        stimulus = 0 if name is None else index[name]
        flip = window.advance(stimulus=stimulus, until_refresh=0, until_host_s=-math.inf, until_flip=0)
        window.take()  # nobody keeps what was shown when
        first = flip.refresh if first is None else first
        time_s = scene.start_s - GRAY_S + (flip.refresh + 1 - first) / refresh_hz


def on_desktop(config: RigConfig, desktop_px: tuple[int, int]) -> PsychopyScreenConfig:
    """Return a window of the rig's screen's geometry for a desktop of that width and height, with fewer pixels."""
    geometry = _fitted(config.screen.geometry, desktop_px)
    return desktop_window(config.screen).model_copy(update={"geometry": geometry, "patch": None})


def _fitted(geometry: GeometryConfig, desktop_px: tuple[int, int]) -> GeometryConfig:
    size_px = geometry.width_px, geometry.height_px
    share = min(1.0, *(DESKTOP_SHARE * there / wanted for there, wanted in zip(desktop_px, size_px, strict=True)))
    width_px, height_px = (max(1, int(side * share)) for side in size_px)
    return geometry.model_copy(update={"width_px": width_px, "height_px": height_px})
