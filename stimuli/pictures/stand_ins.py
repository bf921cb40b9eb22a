"""Sets A, B, G and H for a machine that has not the laboratory's: crops of openly licensed photographs.

The crops ship with the program as half-sized PNGs, luminance-matched, 4 MB in all. Made at installation they would
need the packages they come from on every rig, in versions that decode to the same grey levels for good; shipped they
are the same everywhere and without a network. Half the size is 4.8 px a degree, five times what a mouse resolves. How
they were made stands below and can be done again: ``python -m stimuli.pictures.stand_ins FOLDER_OF_WHEELS``.

A stand-in has a name of its own (``standin_A0``); its manifest says for which published picture it stands, whom it is
by, and under which licence.
"""

from __future__ import annotations

import bz2
import sys
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from hardware.arrays import GreyFrame
from stimuli.frames import PICTURE_SHAPE, resized
from stimuli.pictures.preparing import MEAN, SPREAD, luminance_matched, visible
from stimuli.pictures.sets import ImageSet, Prepared, as_drawn, decoded, write_set
from stimuli.spec import SourceKind, StimulusError

FOLDER = Path(__file__).parent / "stand_ins"
COMPACT_SHAPE = (PICTURE_SHAPE[0] // 2, PICTURE_SHAPE[1] // 2)


@dataclass(frozen=True)
class Photograph:
    """A photograph inside a package, and what may be done with it."""

    package: str
    file: str
    by: str
    licence: str


_SCIKIT_IMAGE, _SCIKIT_LEARN, _SCIPY = "scikit-image 0.26.0", "scikit-learn 1.9.1", "scipy 1.11.4"
PHOTOGRAPHS = {
    "astronaut": Photograph(_SCIKIT_IMAGE, "skimage/data/astronaut.png", "NASA", "public domain"),
    "brick": Photograph(_SCIKIT_IMAGE, "skimage/data/brick.png", "CC0Textures, Bricks25", "CC0-1.0"),
    "camera": Photograph(_SCIKIT_IMAGE, "skimage/data/camera.png", "Lav Varshney", "CC0-1.0"),
    "chelsea": Photograph(_SCIKIT_IMAGE, "skimage/data/chelsea.png", "Stefan van der Walt", "CC0-1.0"),
    "coffee": Photograph(_SCIKIT_IMAGE, "skimage/data/coffee.png", "Rachel Michetti", "CC0-1.0"),
    "coins": Photograph(
        _SCIKIT_IMAGE, "skimage/data/coins.png", "Brooklyn Museum, 51611", "no known copyright restrictions"
    ),
    "grass": Photograph(_SCIKIT_IMAGE, "skimage/data/grass.png", "linolafett, Grass 01", "CC0-1.0"),
    "gravel": Photograph(_SCIKIT_IMAGE, "skimage/data/gravel.png", "CC0Textures, Gravel04", "CC0-1.0"),
    "hubble": Photograph(_SCIKIT_IMAGE, "skimage/data/hubble_deep_field.jpg", "NASA", "public domain"),
    "rocket": Photograph(_SCIKIT_IMAGE, "skimage/data/rocket.jpg", "SpaceX", "public domain"),
    "china": Photograph(
        _SCIKIT_LEARN,
        "sklearn/datasets/images/china.jpg",
        "danielbuechele, https://www.flickr.com/photos/danielbuechele/6061409035",
        "CC-BY-2.0",
    ),
    "flower": Photograph(
        _SCIKIT_LEARN,
        "sklearn/datasets/images/flower.jpg",
        "vultilion, https://www.flickr.com/photos/vultilion/6056698931",
        "CC-BY-2.0",
    ),
    "face": Photograph(
        _SCIPY, "scipy/misc/face.dat", "public-domain-image.com, raccoon-procyon-lotor", "public domain"
    ),
}
"""As the packages say: docstrings of ``skimage.data`` and ``scipy.misc``, README of scikit-learn's images."""


@dataclass(frozen=True)
class Crop:
    """A part of a photograph, of a picture's proportions: left upper corner and width in the photograph's pixels."""

    photograph: str
    left: int
    top: int
    width: int

    @property
    def height(self) -> int:
        """Rows of it."""
        return round(self.width * PICTURE_SHAPE[0] / PICTURE_SHAPE[1])


CROPS = {
    "A": [
        Crop("face", 0, 0, 491),
        Crop("china", 0, 100, 318),
        Crop("coffee", 130, 0, 255),
        Crop("chelsea", 0, 60, 230),
        Crop("astronaut", 80, 0, 255),
        Crop("gravel", 0, 0, 400),
        Crop("brick", 0, 0, 250),
        Crop("flower", 150, 80, 380),
    ],
    "B": [
        Crop("face", 500, 0, 491),
        Crop("camera", 60, 40, 255),
        Crop("coffee", 258, 200, 255),
        Crop("rocket", 0, 177, 318),
        Crop("astronaut", 60, 202, 210),
        Crop("grass", 0, 0, 400),
        Crop("coins", 0, 0, 190),
        Crop("hubble", 440, 437, 555),
    ],
    "G": [
        Crop("face", 0, 384, 491),
        Crop("china", 320, 150, 318),
        Crop("chelsea", 232, 60, 218),
        Crop("camera", 60, 242, 255),
        Crop("hubble", 0, 0, 555),
        Crop("gravel", 60, 316, 250),
        Crop("coffee", 0, 200, 255),
        Crop("brick", 255, 0, 250),
    ],
    "H": [
        Crop("face", 520, 384, 491),
        Crop("camera", 318, 100, 190),
        Crop("coffee", 388, 0, 210),
        Crop("rocket", 320, 177, 318),
        Crop("astronaut", 275, 300, 230),
        Crop("grass", 60, 316, 250),
        Crop("coins", 192, 150, 190),
        Crop("brick", 100, 230, 340),
    ],
}
"""What is cut out for each set: no two overlap, and no photograph comes twice in a set."""


def stand_in(letter: str) -> ImageSet:
    """Return the set that ships for a letter.

    Raises
    ------
    StimulusError
        None ships for it.
    """
    if letter not in CROPS:
        raise StimulusError(f"image set {letter} has no stand-ins; import its pictures with rig images import")
    return ImageSet.open(FOLDER / letter)


def make(wheels: Path, *, out: Path, published: dict[str, list[str]]) -> list[ImageSet]:
    """Cut and match the stand-in sets out of the packages' wheels and write them.

    Parameters
    ----------
    wheels
        A folder with a wheel of each package of ``PHOTOGRAPHS``, in the version named there.
    published
        The names each set's pictures stand for, by letter.

    Raises
    ------
    StimulusError
        A wheel is missing.
    """
    photographs = {name: _read(photograph, wheels) for name, photograph in PHOTOGRAPHS.items()}
    made = []
    for letter, crops in CROPS.items():
        pictures = []
        for i, (crop, stands_for) in enumerate(zip(crops, published[letter], strict=True)):
            source, name = PHOTOGRAPHS[crop.photograph], f"standin_{letter}{i}"
            whole = photographs[crop.photograph]
            cut = whole[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
            small = resized(cut, COMPACT_SHAPE)
            where = f"columns {crop.left} to {crop.left + crop.width}, rows {crop.top} to {crop.top + crop.height}"
            pictures.append(
                Prepared(
                    name=name,
                    stored=_matched_as_drawn(small, name=name),
                    source=f"{source.by}; {source.file} of {source.package}, {where}, gray and luminance-matched",
                    licence=source.licence,
                    stands_for=stands_for,
                )
            )
        made.append(
            write_set(out / letter, image_set=letter, kind=SourceKind.STAND_IN, compact=True, pictures=pictures)
        )
    return made


def _matched_as_drawn(small: GreyFrame, *, name: str) -> GreyFrame:
    """Return a compact picture that has the figures once it is drawn: growing it costs fine detail some contrast."""
    mean, spread = MEAN, SPREAD
    matched = small
    for _ in range(4):
        matched = luminance_matched(small, where=visible()[::2, ::2], name=name, mean=mean, spread=spread)
        drawn = as_drawn(matched, compact=True)[visible()]
        mean, spread = mean + MEAN - float(drawn.mean()), spread * SPREAD / float(drawn.std())
    return matched


def _read(photograph: Photograph, wheels: Path) -> GreyFrame:
    name, version = photograph.package.split()
    found = sorted(wheels.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
    if not found:
        raise StimulusError(f"{wheels}: has no wheel of {photograph.package}; download it there with pip")
    with ZipFile(found[0]) as wheel:
        content = wheel.read(photograph.file)
    if photograph.file.endswith(".dat"):  # scipy keeps it as packed pixels
        colours = np.frombuffer(bz2.decompress(content), np.uint8).reshape(768, 1024, 3)
        grey: GreyFrame = np.rint(colours @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
        return grey
    return decoded(content, name=photograph.file)


def _published() -> dict[str, list[str]]:
    return {letter: [picture.stands_for for picture in stand_in(letter).manifest.pictures] for letter in CROPS}


if __name__ == "__main__":
    make(Path(sys.argv[1]), out=FOLDER, published=_published())
