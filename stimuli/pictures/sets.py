"""An image set as a folder: a manifest, and a PNG for each of its eight pictures.

A picture is known by the SHA-256 of its grey levels as drawn (918 rows of 1174), whatever way it is stored. The file's
own hash stands beside it: checking that takes a millisecond a set, so every session does, headless ones too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image, UnidentifiedImageError

from hardware.arrays import GreyFrame
from stimuli.frames import PICTURE_SHAPE, resized
from stimuli.pictures.preparing import figures, with_margin
from stimuli.spec import SourceKind, StimulusError

MANIFEST = "manifest.json"
N_PICTURES = 8
"""Of every set: the walk of the task visits the pairs of eight (TASK_FACTS 1.5)."""


class Picture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of a manifest. Mean grey level and rms contrast are those of what the warp leaves to be seen."""

    name: str
    file: str
    sha256: str
    file_sha256: str
    mean: float
    rms_contrast: float
    source: str
    licence: str
    stands_for: str = ""
    """The published name in whose place a stand-in is shown."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands in ``manifest.json``."""

    image_set: str
    kind: SourceKind
    compact: bool
    """Whether the files are half as high and wide and without the margin: grown and given it when they are read."""
    pictures: list[Picture]


@dataclass(frozen=True)
class ImageSet:
    """A set in its folder; ``open`` makes one."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> ImageSet:
        """Return the set in a folder, its manifest checked, no picture read.

        Raises
        ------
        StimulusError
            There is no manifest, it can't be read, it has not eight pictures of different names.
        """
        path = folder / MANIFEST
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except FileNotFoundError as error:
            raise StimulusError(f"{folder}: has no {MANIFEST}; import the image set again") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StimulusError(f"{path}: is damaged ({error}); import the image set again") from error
        if len(set(_names(manifest))) != N_PICTURES or len(manifest.pictures) != N_PICTURES:
            n = len(set(_names(manifest)))
            raise StimulusError(f"{path}: has {n} pictures and must have {N_PICTURES}; import the image set again")
        return cls(folder, manifest)

    @property
    def names(self) -> list[str]:
        """The pictures' names in their order."""
        return _names(self.manifest)

    def check_files(self) -> None:
        """Compare every file with its hash.

        Raises
        ------
        StimulusError
            A file is missing or was changed.
        """
        for picture in self.manifest.pictures:
            self._bytes(picture)

    def picture(self, name: str) -> GreyFrame:
        """Return a picture as drawn, uint8 (918, 1174).

        Raises
        ------
        StimulusError
            The set has none of that name; its file is missing, damaged, changed or of a wrong size.
        """
        entry = next((picture for picture in self.manifest.pictures if picture.name == name), None)
        if entry is None:
            raise StimulusError(
                f"image set {self.manifest.image_set} has no picture {name}; it has {', '.join(self.names)}"
            )
        pixels = decoded(self._bytes(entry), name=str(self.folder / entry.file))
        pixels = as_drawn(pixels, compact=self.manifest.compact)
        if pixels.shape != PICTURE_SHAPE:
            size, wanted = (" x ".join(str(n) for n in reversed(shape)) for shape in (pixels.shape, PICTURE_SHAPE))
            raise StimulusError(f"{self.folder / entry.file}: is {size} px and must be {wanted}; {self._mend()}")
        if sha256_of(pixels) != entry.sha256:
            raise StimulusError(
                f"{self.folder / entry.file}: is not the picture {name} of the manifest; {self._mend()}"
            )
        return pixels

    def _bytes(self, picture: Picture) -> bytes:
        path = self.folder / picture.file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StimulusError(f"{path}: can't be read ({error.strerror}); {self._mend()}") from error
        if hashlib.sha256(content).hexdigest() != picture.file_sha256:
            raise StimulusError(f"{path}: was changed since the set was made; {self._mend()}")
        return content

    def _mend(self) -> str:
        if self.manifest.kind is SourceKind.STAND_IN:
            return "install the program again"
        return f"import image set {self.manifest.image_set} again"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A picture to be written: as stored, and what the manifest will say."""

    name: str
    stored: GreyFrame
    source: str
    licence: str
    stands_for: str = ""


def write_set(folder: Path, *, image_set: str, kind: SourceKind, compact: bool, pictures: list[Prepared]) -> ImageSet:
    """Write a set's files and, last, its manifest; return it.

    Raises
    ------
    StimulusError
        Not eight pictures, two of one name, or one of a wrong size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for prepared in pictures:
        drawn = as_drawn(prepared.stored, compact=compact)
        if drawn.shape != PICTURE_SHAPE:
            size, wanted = (" x ".join(str(n) for n in reversed(shape)) for shape in (drawn.shape, PICTURE_SHAPE))
            raise StimulusError(f"picture {prepared.name} is {size} px and must be {wanted}; crop or scale it")
        content = BytesIO()
        Image.fromarray(prepared.stored).save(content, format="PNG", optimize=True)
        (folder / f"{prepared.name}.png").write_bytes(content.getvalue())
        mean, rms_contrast = figures(drawn)
        entries.append(
            Picture(
                name=prepared.name,
                file=f"{prepared.name}.png",
                sha256=sha256_of(drawn),
                file_sha256=hashlib.sha256(content.getvalue()).hexdigest(),
                mean=round(mean, 2),
                rms_contrast=round(rms_contrast, 4),
                source=prepared.source,
                licence=prepared.licence,
                stands_for=prepared.stands_for,
            )
        )
    manifest = Manifest(image_set=image_set, kind=kind, compact=compact, pictures=entries)
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    return ImageSet.open(folder)


def as_drawn(stored: GreyFrame, *, compact: bool) -> GreyFrame:
    """Return a stored picture as it is drawn: a compact one grown to twice its size and given the margin."""
    if not compact:
        return stored
    n_rows, n_columns = stored.shape
    grown = resized(stored, (2 * n_rows, 2 * n_columns))  # weights of 1/4 and 3/4: exact on every machine
    return with_margin(grown) if grown.shape == PICTURE_SHAPE else grown


def decoded(content: bytes, *, name: str) -> GreyFrame:
    """Return an image file's grey levels, uint8 (rows, columns); colours are turned to their luminance.

    Raises
    ------
    StimulusError
        The file is damaged or no image.
    """
    try:
        with Image.open(BytesIO(content)) as image:
            return np.asarray(image.convert("L"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise StimulusError(f"{name}: is damaged or no picture ({error}); replace it") from error


def sha256_of(pixels: GreyFrame) -> str:
    """Return the hash a picture is known by."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _names(manifest: Manifest) -> list[str]:
    return [picture.name for picture in manifest.pictures]
