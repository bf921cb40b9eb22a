"""What the screen shows for a stimulus: frames of linear grey, rendered by numpy before the session.

Everything is in a frame: degrees, contrast, surround and warp. The window, the headless preview and the templates in
the data file take the same arrays, and nothing is computed while a session runs. Frames are uint8 of shape
``(height_px, width_px)``, row 0 on top, linear grey before gamma: 127 is the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hardware.arrays import GreyFrame, GreyFrames
from stimuli.geometry import Geometry
from stimuli.spec import Gabor, Grating, Gray, NaturalImage, NaturalMovie, Stimulus

GRAY = 127
"""Grey level of the background (TASK_FACTS 9)."""
Still = Gray | Grating | NaturalImage
Moving = NaturalMovie | Gabor


class PictureSource(Protocol):
    """Where pictures and movies come from: ``stimuli.pictures.Pictures``."""

    def picture(self, name: str) -> GreyFrame:
        """Return a picture, uint8 (918, 1174)."""

    def movie(self, name: str, *, n_frames: int) -> GreyFrames:
        """Return a movie's frames, uint8 (n_frames, rows, columns), to be stretched over the screen before the warp."""


@dataclass(frozen=True, eq=False)
class MovingFrames:
    """Frames of something that moves, in a memory-mapped file, read-only.

    ``frames`` is uint8 (n_frames, rows, columns) and belongs at ``top_px``, ``left_px`` of the screen, background
    around it: a movie fills the screen, a Gabor patch its bounding box. Frame ``i`` of ``n_frames`` stays for
    ``refreshes_per_frame`` refreshes; after the last comes the first.
    """

    frames: GreyFrames
    top_px: int
    left_px: int
    refreshes_per_frame: int

    def index(self, since_onset: int) -> int:
        """Return which frame is on so many refreshes after the onset."""
        return since_onset // self.refreshes_per_frame % len(self.frames)


class Frames:
    """The frames of a screen.

    Parameters
    ----------
    geometry
        The screen, or a window with the same sizes in centimetres and fewer pixels.
    pictures
        Where pictures and movies come from; None where no stimulus needs any.
    warp
        False leaves the unwarped plane as it is.
    """

    def __init__(self, *, geometry: Geometry, pictures: PictureSource | None = None, warp: bool = True) -> None:
        self.geometry = geometry
        self._pictures = pictures
        self._warp = warp

    def still(self, stimulus: Still) -> GreyFrame:
        """Return the full-screen frame, warped if these frames are, uint8 (height_px, width_px), read-only.

        Raises
        ------
        StimulusError
            A picture is missing, damaged or of a wrong size.
        """
        raise NotImplementedError

    def unwarped(self, stimulus: Still) -> GreyFrame:
        """Return the frame before the warp, same shape."""
        raise NotImplementedError

    def moving(self, stimulus: Moving, *, refresh_hz: float, folder: Path) -> MovingFrames:
        """Return the frames of a movie or a patch, rendered into a file of ``folder`` unless they are there already.

        The file's name is the hash of all that it is made of. A patch has the frames of one whole number of cycles.
        """
        raise NotImplementedError

    def shown(self, stimulus: Stimulus, *, since_onset: int = 0, refresh_hz: float, folder: Path) -> GreyFrame:
        """Return the whole screen for any stimulus, so many refreshes after its onset."""
        raise NotImplementedError


def stills(stimuli: Sequence[Stimulus]) -> list[Still]:
    """Return those of the stimuli that don't move."""
    return [stimulus for stimulus in stimuli if isinstance(stimulus, Still)]
