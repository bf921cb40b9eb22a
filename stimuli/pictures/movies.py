"""The movie at the end: the laboratory's own, or a seeded one of 1/f noise in its place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from hardware.arrays import GreyFrames
from stimuli.pictures.preparing import MEAN, SPREAD
from stimuli.spec import StimulusError

MANIFEST = "manifest.json"
FRAMES = "frames.npy"
STAND_IN_SHAPE = (135, 240)
"""Rows and columns of the stand-in: an eighth of what a movie is stretched to, 1.2 px a degree."""
STAND_IN_SEED = 20_261_123
FADE_FRAMES = 15
"""After so many frames, half a second at 30 Hz, the stand-in resembles itself by 1/e."""
PIECE_BYTES = 1 << 22


class MovieManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands in an imported movie's ``manifest.json``; the hash is the file's."""

    name: str
    n_frames: int
    sha256: str
    source: str


@dataclass(frozen=True)
class StandInMovie:
    """Noise whose amplitude falls as 1/f in space and fades from frame to frame: the statistics of natural scenes."""

    name: str = "standin_movie_one"
    is_stand_in: bool = True

    def frames(self, n_frames: int) -> GreyFrames:
        """Return the first frames, uint8 (n_frames, 135, 240), the same on every call."""
        n_rows, n_columns = STAND_IN_SHAPE
        rng = np.random.Generator(np.random.PCG64(STAND_IN_SEED))
        frequency = np.hypot(np.fft.fftfreq(n_rows)[:, np.newaxis], np.fft.rfftfreq(n_columns))
        amplitude = np.divide(1.0, frequency, out=np.zeros_like(frequency), where=frequency > 0)
        keep = np.exp(-1 / FADE_FRAMES)
        white = rng.standard_normal(STAND_IN_SHAPE)
        scale = SPREAD / np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=STAND_IN_SHAPE).std()
        frames = np.empty((n_frames, *STAND_IN_SHAPE), np.uint8)
        for i in range(n_frames):
            field = np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=STAND_IN_SHAPE)
            frames[i] = np.clip(np.rint(MEAN + scale * field), 0, 255)
            white = keep * white + np.sqrt(1 - keep**2) * rng.standard_normal(STAND_IN_SHAPE)
        return frames

    def sha256(self) -> str:
        """Return the hash of its recipe and first frame."""
        recipe = repr((STAND_IN_SHAPE, STAND_IN_SEED, FADE_FRAMES, MEAN, SPREAD)).encode()
        return hashlib.sha256(recipe + self.frames(1).tobytes()).hexdigest()

    def check_files(self) -> None:
        """Nothing is kept in files."""


@dataclass(frozen=True)
class ImportedMovie:
    """A movie in a folder: its frames as an array file beside a manifest."""

    folder: Path
    manifest: MovieManifest
    is_stand_in: bool = False

    @classmethod
    def open(cls, folder: Path) -> ImportedMovie:
        """Return the movie in a folder, nothing but its manifest read.

        Raises
        ------
        StimulusError
            The manifest is missing or damaged.
        """
        path = folder / MANIFEST
        try:
            return cls(folder, msgspec.json.decode(path.read_bytes(), type=MovieManifest))
        except FileNotFoundError as error:
            raise StimulusError(f"{folder}: has no {MANIFEST}; import the movie again") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StimulusError(f"{path}: is damaged ({error}); import the movie again") from error

    @property
    def name(self) -> str:
        """The movie's name."""
        return self.manifest.name

    def frames(self, n_frames: int) -> GreyFrames:
        """Return its frames, memory-mapped, uint8 (n, rows, columns): all there are, however many are asked for."""
        frames: GreyFrames = np.load(self.folder / FRAMES, mmap_mode="r")
        return frames

    def sha256(self) -> str:
        """Return the hash the manifest gives."""
        return self.manifest.sha256

    def check_files(self) -> None:
        """Compare the frames with their hash.

        Raises
        ------
        StimulusError
            The file is missing or was changed.
        """
        path = self.folder / FRAMES
        try:
            found = _hash_of(path)
        except OSError as error:
            raise StimulusError(f"{path}: can't be read ({error.strerror}); import the movie again") from error
        if found != self.manifest.sha256:
            raise StimulusError(f"{path}: was changed since movie {self.name} was imported; import it again")


Movie = StandInMovie | ImportedMovie


def write_movie(folder: Path, *, name: str, frames: GreyFrames, source: str) -> ImportedMovie:
    """Write a movie's folder and return it.

    Parameters
    ----------
    frames
        uint8 (n, rows, columns).
    """
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / FRAMES, frames)
    manifest = MovieManifest(name=name, n_frames=len(frames), sha256=_hash_of(folder / FRAMES), source=source)
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    return ImportedMovie.open(folder)


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
