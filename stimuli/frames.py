"""What the screen shows for a stimulus: frames of linear grey, rendered by numpy before the session.

Everything is in a frame: degrees, contrast, surround and warp. The window, the headless preview and the templates in
the data file take the same arrays, and nothing is computed while a session runs. Frames are uint8 of shape
``(height_px, width_px)``, row 0 on top, linear grey before gamma; 127 is the background.

A stimulus is drawn in the unwarped plane (``stimuli.geometry``), then warped. Gratings and patches keep PsychoPy's
conventions, so that published numbers mean here what they meant in camstim (``GratingStim``, version 2026.2.5):

* The luminance profile is ``cos(2 pi (f s - phase))`` along the direction ``s``, from the stimulus's middle. ``sqr``
  is its sign. So phase 0 has a white bar in the middle, and phase 0.25 a white bar that begins in the middle and goes
  on towards ``+s``.
* Orientation turns ``s`` clockwise: 0 points right (bars stand upright), 90 down (bars lie), 180 left. At phase 0.25
  gratings of 0 and 180 degrees are each other's negative.
* A growing phase drifts towards ``+s``.
* Contrast c in [-1, 1] is grey level ``floor(127.5 (1 + c))``: 0, 127 and 255.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import msgspec
import numpy as np

from hardware.arrays import FloatArray, GreyFrame, GreyFrames
from stimuli.geometry import Geometry
from stimuli.spec import Gabor, Grating, Gray, NaturalImage, NaturalMovie, Stimulus, StimulusError

GRAY = 127
"""Grey level of the background (TASK_FACTS 9)."""
GRATING_SIZE_DEG = (200.0, 150.0)
"""A full-field grating's extent, gray beyond it (TASK_FACTS 9); more than the published screen has."""
PICTURE_SHAPE = (918, 1174)
"""Rows and columns of a natural image, drawn pixel by pixel in the middle of ``CANVAS_SHAPE`` (TASK_FACTS 9)."""
MOVIE_SHAPE = (1080, 1920)
"""Rows and columns that a movie is stretched to, in the middle of ``CANVAS_SHAPE`` (TASK_FACTS 9)."""
CANVAS_SHAPE = (1200, 1920)
"""The published screen in pixels. On a screen with other ones pictures and movies fill the same share of it."""
MOST_CYCLE_FRAMES = 600
"""A patch whose drift repeats later than after so many refreshes is refused: its file would be too large."""
RENDERING = 1
"""Counted up when a change to this module changes moving frames: those in files are then made anew."""

Still = Gray | Grating | NaturalImage
Moving = NaturalMovie | Gabor


class PictureSource(Protocol):
    """Where pictures and movies come from: ``stimuli.pictures``."""

    def picture(self, name: str) -> GreyFrame:
        """Return a picture, uint8 (918, 1174)."""

    def movie(self, name: str, *, n_frames: int) -> GreyFrames:
        """Return a movie's frames, uint8 (n_frames, rows, columns), to be stretched over the screen before the warp."""

    def movie_hash(self, name: str) -> str:
        """Return what tells a movie from every other."""


@dataclass(frozen=True, eq=False)
class MovingFrames:
    """Frames of something that moves, in a memory-mapped file, read-only.

    ``frames`` is uint8 (n_frames, rows, columns) and belongs at ``top_px``, ``left_px`` of the screen, background
    around it: a movie fills the screen, a patch its bounding box. Each frame stays for ``refreshes_per_frame``
    refreshes; after the last comes the first.
    """

    frames: GreyFrames
    top_px: int
    left_px: int
    refreshes_per_frame: int
    path: Path

    def index(self, since_onset: int) -> int:
        """Return which frame is on so many refreshes after the onset."""
        return since_onset // self.refreshes_per_frame % len(self.frames)

    def whole(self, since_onset: int, *, geometry: Geometry) -> GreyFrame:
        """Return the whole screen so many refreshes after the onset, uint8 (height_px, width_px)."""
        frame = np.full(geometry.shape, GRAY, np.uint8)
        _, n_rows, n_columns = self.frames.shape
        frame[self.top_px : self.top_px + n_rows, self.left_px : self.left_px + n_columns] = self.frames[
            self.index(since_onset)
        ]
        return frame


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
        """Return the full-screen frame, warped if these frames are, uint8 (height_px, width_px).

        Raises
        ------
        StimulusError
            A picture is missing, damaged or of a wrong size.
        """
        unwarped = self.unwarped(stimulus)
        return self.geometry.warp(unwarped) if self._warp else unwarped

    def unwarped(self, stimulus: Still) -> GreyFrame:
        """Return the frame before the warp, same shape and errors."""
        match stimulus:
            case Gray():
                return np.full(self.geometry.shape, GRAY, np.uint8)
            case Grating():
                return self._grating(stimulus)
            case NaturalImage():
                picture = self._source(stimulus.name).picture(stimulus.name)
                if picture.shape != PICTURE_SHAPE:
                    raise _wrong_size(stimulus.name, picture)
                return self._on_canvas(picture, PICTURE_SHAPE)

    def at_onset(self, stimulus: Stimulus) -> GreyFrame:
        """Return the whole screen as a stimulus comes on, still or moving, and keep no file; errors as below."""
        match stimulus:
            case NaturalMovie():
                unwarped = next(self._unwarped_movie(stimulus, self._source(stimulus.name), n_frames=1))
            case Gabor():
                unwarped = self._gabor(stimulus, phase_cycles=0.0)
            case _:
                unwarped = self.unwarped(stimulus)
        return self.geometry.warp(unwarped) if self._warp else unwarped

    def moving(self, stimulus: Moving, *, refresh_hz: float, folder: Path) -> MovingFrames:
        """Return the frames of a movie or a patch, rendered into a file of ``folder`` unless they are there already.

        The file's name is the hash of all that it is made of. A movie of 900 frames of 1920 x 1200 takes 2.1 GB, a
        patch of OPHYS_7 about 1 MB: it has the frames of as many cycles as make whole refreshes, phase 0 first.

        Raises
        ------
        StimulusError
            A patch that lies beside the screen or repeats too late, a movie that is missing or too short, no room for
            the frames.
        """
        match stimulus:
            case NaturalMovie():
                source = self._source(stimulus.name)
                shape = (stimulus.n_frames, *self.geometry.shape)
                made_of = stimulus.name, source.movie_hash(stimulus.name)
                path = self._rendered(folder, made_of, shape, lambda: self._movie(stimulus, source))
                return MovingFrames(_mapped(path), 0, 0, stimulus.refreshes_per_frame, path)
            case Gabor():
                n_frames = _cycle_refreshes(stimulus, refresh_hz)
                rows, columns = self._bounds(stimulus)
                shape = (n_frames, rows.stop - rows.start, columns.stop - columns.start)
                path = self._rendered(
                    folder,
                    (msgspec.json.encode(stimulus).decode(), refresh_hz),
                    shape,
                    lambda: self._patch(stimulus, refresh_hz, n_frames, rows, columns),
                )
                return MovingFrames(_mapped(path), rows.start, columns.start, 1, path)

    def _grating(self, stimulus: Grating) -> GreyFrame:
        x_deg, y_deg = self.geometry.x_deg[np.newaxis, :], self.geometry.y_deg[:, np.newaxis]
        along_deg = _along(stimulus.orientation_deg, x_deg, y_deg)
        cycles = stimulus.spatial_frequency_cpd * along_deg - stimulus.phase_cycles
        # An edge that falls on the middle of a pixel belongs to the bar that begins there, whatever the rounding.
        white = (np.floor(2 * cycles + 0.5 + 1e-9) % 2) == 0
        frame = np.where(white, _grey(stimulus.contrast), _grey(-stimulus.contrast)).astype(np.uint8)
        outside = (np.abs(x_deg) > GRATING_SIZE_DEG[0] / 2) | (np.abs(y_deg) > GRATING_SIZE_DEG[1] / 2)
        frame[outside] = GRAY
        return frame

    def _on_canvas(self, picture: GreyFrame, shape: tuple[int, int]) -> GreyFrame:
        """Return a picture stretched to ``shape`` in the middle of the canvas, and that to this screen's pixels."""
        height_px, width_px = shape
        top, left = (CANVAS_SHAPE[0] - height_px) // 2, (CANVAS_SHAPE[1] - width_px) // 2
        canvas = np.full(CANVAS_SHAPE, GRAY, np.uint8)
        canvas[top : top + height_px, left : left + width_px] = resized(picture, shape)
        return resized(canvas, self.geometry.shape)

    def _gabor(self, stimulus: Gabor, *, phase_cycles: float) -> GreyFrame:
        radius_deg = stimulus.diameter_deg / 2
        x_deg, y_deg = self.geometry.x_deg - stimulus.azimuth_deg, self.geometry.y_deg - stimulus.altitude_deg
        rows, columns = np.flatnonzero(np.abs(y_deg) <= radius_deg), np.flatnonzero(np.abs(x_deg) <= radius_deg)
        x_deg, y_deg = x_deg[np.newaxis, columns], y_deg[rows, np.newaxis]
        cycles = stimulus.spatial_frequency_cpd * _along(stimulus.orientation_deg, x_deg, y_deg) - phase_cycles
        wave = _grey(stimulus.contrast * np.cos(2 * np.pi * cycles))
        frame = np.full(self.geometry.shape, GRAY, np.uint8)
        frame[np.ix_(rows, columns)] = np.where(np.hypot(x_deg, y_deg) <= radius_deg, wave, GRAY)
        return frame

    def _movie(self, stimulus: NaturalMovie, source: PictureSource) -> Iterator[GreyFrame]:
        for unwarped in self._unwarped_movie(stimulus, source, n_frames=stimulus.n_frames):
            yield self.geometry.warp(unwarped) if self._warp else unwarped

    def _unwarped_movie(self, stimulus: NaturalMovie, source: PictureSource, *, n_frames: int) -> Iterator[GreyFrame]:
        frames = source.movie(stimulus.name, n_frames=n_frames)
        if len(frames) < n_frames:
            raise StimulusError(
                f"movie {stimulus.name} has {len(frames)} frames where the stage asks for {n_frames}; "
                "import the whole movie, or change the stage's n_frames"
            )
        for frame in frames[:n_frames]:
            yield self._on_canvas(frame, MOVIE_SHAPE)

    def _bounds(self, stimulus: Gabor) -> tuple[slice, slice]:
        """Return rows and columns of the screen that a patch has a part in."""
        radius_deg = stimulus.diameter_deg / 2
        x_px_per_deg, y_px_per_deg = self.geometry.px_per_deg
        height_px, width_px = self.geometry.shape
        if self._warp:
            column, row = self.geometry.warp.column, self.geometry.warp.row
        else:
            column, row = (
                np.arange(width_px, dtype=np.float64)[np.newaxis, :],
                np.arange(height_px, dtype=np.float64)[:, np.newaxis],
            )
        aside_px = column - ((width_px - 1) / 2 + stimulus.azimuth_deg * x_px_per_deg)
        above_px = row - ((height_px - 1) / 2 - stimulus.altitude_deg * y_px_per_deg)
        inside = (np.abs(aside_px) <= radius_deg * x_px_per_deg + 1) & (
            np.abs(above_px) <= radius_deg * y_px_per_deg + 1
        )
        in_rows, in_columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if not len(in_rows):
            raise StimulusError(
                f"the patch at azimuth {stimulus.azimuth_deg:g} and altitude {stimulus.altitude_deg:g} degrees lies "
                "beside the screen; leave that place out of the sweep"
            )
        return slice(int(in_rows[0]), int(in_rows[-1]) + 1), slice(int(in_columns[0]), int(in_columns[-1]) + 1)

    def _patch(
        self, stimulus: Gabor, refresh_hz: float, n_frames: int, rows: slice, columns: slice
    ) -> Iterator[GreyFrame]:
        for i in range(n_frames):
            unwarped = self._gabor(stimulus, phase_cycles=i * stimulus.temporal_frequency_hz / refresh_hz)
            yield self.geometry.warp(unwarped, rows=rows, columns=columns) if self._warp else unwarped[rows, columns]

    def _rendered(
        self,
        folder: Path,
        made_of: tuple[object, ...],
        shape: tuple[int, ...],
        frames: Callable[[], Iterator[GreyFrame]],
    ) -> Path:
        """Return the file of frames of that shape, making it if there is none: whole under its name, or not at all."""
        everything = repr((RENDERING, self._warp, sorted(asdict(self.geometry).items()), made_of, shape))
        path = folder / f"{hashlib.sha256(everything.encode()).hexdigest()[:32]}.npy"
        if path.exists():
            return path
        unfinished = folder / f"{uuid4().hex}.unfinished"
        write_header: Callable[..., None] = np.lib.format.write_array_header_1_0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:  # written, not mapped: a full disk would end a program that maps it
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                write_header(file, header)
                for frame in frames():
                    file.write(np.ascontiguousarray(frame).data)
            unfinished.replace(path)
        except OSError as error:
            size = f"{math.prod(shape) / 1e9:.1f} GB of frames"
            raise StimulusError(
                f"{folder}: {size} can't be kept there ({error.strerror or error}); make room on that disk"
            ) from error
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
        return path

    def _source(self, name: str) -> PictureSource:
        if self._pictures is None:
            raise StimulusError(f"{name}: no image set was given to draw it from; name one")
        return self._pictures


def resized(image: GreyFrame, shape: tuple[int, int]) -> GreyFrame:
    """Return an image with other numbers of rows and columns: the mean over each new pixel, or bilinear to more."""
    if image.shape == shape:
        return image
    values: FloatArray = image.astype(np.float64)
    for axis, n in enumerate(shape):
        values = _resized_along(values, axis, n)
    return np.rint(values).astype(np.uint8)


def _resized_along(values: FloatArray, axis: int, n: int) -> FloatArray:
    n_old = values.shape[axis]
    if n == n_old:
        return values
    moved = np.moveaxis(values, axis, 0)
    if n < n_old:
        sums = np.concatenate([np.zeros((1, *moved.shape[1:])), np.cumsum(moved, axis=0)])
        return np.moveaxis(np.diff(_between(sums, np.linspace(0, n_old, n + 1)), axis=0) * (n / n_old), 0, axis)
    places = np.clip((np.arange(n) + 0.5) * (n_old / n) - 0.5, 0, n_old - 1)
    return np.moveaxis(_between(moved, places), 0, axis)


def _between(rows: FloatArray, places: FloatArray) -> FloatArray:
    """Return rows at places between their indices."""
    before = np.minimum(places.astype(np.intp), len(rows) - 2)
    share = (places - before)[:, np.newaxis]
    between: FloatArray = rows[before] * (1 - share) + rows[before + 1] * share
    return between


def _along(orientation_deg: float, x_deg: FloatArray, y_deg: FloatArray) -> FloatArray:
    """Return how far each place lies along the direction across the bars: right at 0 degrees, down at 90."""
    angle = math.radians(orientation_deg)
    return x_deg * math.cos(angle) - y_deg * math.sin(angle)


def _grey(contrast: FloatArray | float) -> FloatArray:
    """Return the grey level of a contrast in [-1, 1]: 0 to 255, and 127 for 0."""
    return np.floor(127.5 * (1.0 + np.asarray(contrast)))


def _cycle_refreshes(stimulus: Gabor, refresh_hz: float) -> int:
    """Return after how many refreshes a drift repeats."""
    cycles_per_refresh = Fraction(stimulus.temporal_frequency_hz / refresh_hz).limit_denominator(100_000)
    n = cycles_per_refresh.denominator
    if n > MOST_CYCLE_FRAMES:
        raise StimulusError(
            f"a drift of {stimulus.temporal_frequency_hz:g} Hz repeats only after {n} refreshes of {refresh_hz:g} Hz, "
            f"more than {MOST_CYCLE_FRAMES}; take one whose cycle is whole refreshes, such as {refresh_hz / 15:g} Hz"
        )
    return n


def _wrong_size(name: str, picture: GreyFrame) -> StimulusError:
    size = " x ".join(str(n) for n in reversed(picture.shape))
    height_px, width_px = PICTURE_SHAPE
    return StimulusError(
        f"picture {name} is {size} px and must be {width_px} x {height_px}; prepare it again with rig images import"
    )


def _mapped(path: Path) -> GreyFrames:
    frames: GreyFrames = np.load(path, mmap_mode="r")
    return frames
