"""Windows of PsychoPy's on the virtual display, and what a test asks of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import ClassVar

from hardware.arrays import AnyArray, GreyFrame
from hardware.clock import HostClock
from rig.config.files import load_stage
from rig.config.pictures import StagePictures, pictures_of
from stages.task import stimuli_of
from stimuli.frames import Frames, Still
from stimuli.geometry import Geometry
from stimuli.psychopy_screen import PsychopyScreen
from stimuli.screen import Flip
from stimuli.spec import Stimulus
from stimuli.window import WindowSettings
from tests.display import VirtualDisplay

SMALL = Geometry(width_px=480, height_px=300)
"""The published screen with a quarter of its pixels along each side: a software renderer keeps up."""
FULL = Geometry()
NO_LIMITS = {"until_refresh": 0, "until_host_s": -math.inf, "until_flip": 0}


class KeptFrames(Frames):
    """Frames that are rendered once for all tests: many show the same."""

    kept: ClassVar[dict[tuple[Geometry, bool, Still], GreyFrame]] = {}

    def still(self, stimulus: Still) -> GreyFrame:
        key = self.geometry, self._warp, stimulus
        if key not in self.kept:
            self.kept[key] = super().still(stimulus)
        return self.kept[key]


@cache
def frames(geometry: Geometry, stage: str = "OPHYS_1_images_A", *, warp: bool = True) -> Frames:
    """The frames of a stage on a screen, from the pictures that ship."""
    return KeptFrames(geometry=geometry, pictures=pictures(stage).source, warp=warp)


@cache
def pictures(stage: str) -> StagePictures:
    """What a stage shows on a simulated rig."""
    return pictures_of(load_stage(stage), simulated=True)


@cache
def stimuli(stage: str) -> tuple[Stimulus, ...]:
    """All that a stage shows."""
    shown = pictures(stage)
    names, movie = shown.image_names, shown.movie_name
    return tuple(stimuli_of(load_stage(stage), image_names=names, refresh_hz=60.0, movie_name=movie))


@dataclass
class Window:
    """A window that is open and ready, and the display it is on."""

    screen: PsychopyScreen
    display: VirtualDisplay
    geometry: Geometry
    seen: list[tuple[float, int]] = field(default_factory=list)
    escaped: list[str] = field(default_factory=list)

    def flip(self, stimulus: int) -> Flip:
        """Flip once."""
        return self.screen.advance(stimulus=stimulus, **NO_LIMITS)  # type: ignore[arg-type]

    def photograph(self) -> AnyArray:
        """What is on the display where the window is, uint8 (height_px, width_px, 3)."""
        return self.display.window(self.geometry.width_px, self.geometry.height_px)

    def show(self, stimulus: int) -> AnyArray:
        """Flip once and photograph."""
        self.flip(stimulus)
        return self.photograph()


@contextmanager
def opened(
    display: VirtualDisplay,
    drawn: Frames,
    stimuli: Sequence[Stimulus],
    *,
    folder: Path,
    settings: WindowSettings | None = None,
) -> Iterator[Window]:
    """Open a window, have it ready to show the stimuli, and close it."""
    screen = PsychopyScreen(
        frames=drawn,
        settings=settings or WindowSettings(),
        refresh_hz=60.0,
        clock=HostClock(),
        observer=lambda host_s, stimulus: window.seen.append((host_s, stimulus)) is not None,
        moving_dir=folder,
        on_escape=lambda: window.escaped.append("escape"),
    )
    window = Window(screen, display, drawn.geometry)
    try:
        screen.open()
        screen.prepare(stimuli)
        yield window
    finally:
        screen.close()
