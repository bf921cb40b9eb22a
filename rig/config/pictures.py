"""Which pictures and movie stand behind a stage on this machine: the laboratory's own, or stand-ins.

The library is a folder that ``rig images import`` fills. A set or movie that is in it is shown under its published
names. One that is not has a stand-in, under names of its own, which a rig with a real device refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rig.config.files import image_sets, load_image_set, movies_of, sets_of, shipped
from rig.config.load import ConfigError, Problem
from stages.events import PicturesFrom
from stages.parameters import NaturalImages, Stage, StageParameters
from stimuli.pictures import Pictures
from stimuli.pictures.importing import read_movie, read_pictures
from stimuli.pictures.movies import ImportedMovie, Movie, StandInMovie, write_movie
from stimuli.pictures.sets import N_PICTURES, ImageSet, Prepared, write_set
from stimuli.pictures.stand_ins import stand_in
from stimuli.spec import SourceKind, StimulusError


@dataclass(frozen=True)
class StagePictures:
    """What a stage shows besides gratings, patches and gray."""

    source: Pictures
    movie_stands_for: str = ""

    @property
    def image_names(self) -> list[str]:
        """The pictures' names in their order; stand-ins have names of their own."""
        return self.source.images.names if self.source.images is not None else []

    @property
    def movie_name(self) -> str | None:
        """The name of what is shown as the stage's movie."""
        return self.source.film.name if self.source.film is not None else None

    def images_from(self) -> PicturesFrom | None:
        """Return what the log says of the images."""
        if (images := self.source.images) is None:
            return None
        pictures = images.manifest.pictures
        return PicturesFrom(
            kind=images.manifest.kind,
            name=images.manifest.image_set,
            sha256={picture.name: picture.sha256 for picture in pictures},
            stands_for={picture.name: picture.stands_for for picture in pictures if picture.stands_for},
        )

    def movie_from(self) -> PicturesFrom | None:
        """Return what the log says of the movie."""
        if (film := self.source.film) is None:
            return None
        return PicturesFrom(
            kind=SourceKind.STAND_IN if film.is_stand_in else SourceKind.IMPORTED,
            name=film.name,
            sha256={film.name: film.sha256()},
            stands_for={film.name: self.movie_stands_for} if film.is_stand_in else {},
        )

    def published(self, name: str) -> str:
        """Return the published name that a picture has or stands for: what a model mouse knows it by."""
        images = self.images_from()
        return name if images is None else images.stands_for.get(name, name)


def pictures_of(
    stage: Stage, *, simulated: bool, stand_ins: bool = False, library: Path | None = None
) -> StagePictures:
    """Return the pictures and movie of a stage, their files compared with their hashes.

    Parameters
    ----------
    simulated
        Whether no real device is touched.
    stand_ins
        Whether stand-ins may be shown all the same.
    library
        Where the laboratory's own were imported to; None where there are none.

    Raises
    ------
    ConfigError
        A file is missing, damaged or changed; the stage has only stand-ins and the rig is real; no such set.
    """
    problems: list[Problem] = []
    images = film = None
    try:
        if isinstance(stage, StageParameters) and isinstance(stage.stimulus, NaturalImages):
            images = _images(stage.stimulus.image_set, library)
        if stage.movie is not None:
            film = _movie(stage.movie.name, library)
        found = Pictures(images=images, film=film)
        found.check_files()
    except StimulusError as error:
        raise ConfigError([Problem(stage.stage, 0, "", str(error))]) from error
    if not simulated and not stand_ins:
        if images is not None and images.manifest.kind is SourceKind.STAND_IN:
            what = f"this computer has only stand-ins for image set {images.manifest.image_set}"
            problems.append(Problem(stage.stage, 0, "stimulus.image_set", f"{what}; {_MEND}"))
        if film is not None and film.is_stand_in and stage.movie is not None:
            what = f"this computer has only a stand-in for {stage.movie.name}"
            problems.append(Problem(stage.stage, 0, "movie.name", f"{what}; {_MEND}"))
    if problems:
        raise ConfigError(problems)
    return StagePictures(found, movie_stands_for=stage.movie.name if stage.movie is not None else "")


_MEND = "bring in the laboratory's own with rig images import, or say --stand-ins"


def _images(name: str, library: Path | None) -> ImageSet:
    if library is not None and (sets_of(library) / name).is_dir():
        return ImageSet.open(sets_of(library) / name)
    load_image_set(name)  # which refuses a name that nobody knows
    return stand_in(name)


def _movie(name: str, library: Path | None) -> Movie:
    if library is not None and (movies_of(library) / name).is_dir():
        return ImportedMovie.open(movies_of(library) / name)
    return StandInMovie()


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")


def import_images(
    name: str, source: Path, *, library: Path, prepare: bool = False, licence: str = "the laboratory's", replace: bool
) -> ImageSet:
    """Bring an image set into the library and return it.

    Parameters
    ----------
    name
        A published set's letter, whose eight pictures must all be there under their names, or a name for an own one.
    source
        A camstim image pickle, a published NWB file, or a folder of pictures.
    prepare
        Of a folder of photographs: crop, scale and luminance-match them, and give them the margin.
    replace
        Whether a set of this name that is there already gives way.

    Raises
    ------
    StimulusError
        Not what it should be, or there already.
    """
    _refuse_name(name)
    if "_" in name:
        raise StimulusError(
            f"{name!r} is no name for an image set, which stands between two _ in a stage's; leave _ out"
        )
    found = read_pictures(source, prepare=prepare)
    if name in shipped("image_sets"):
        if prepare:
            raise StimulusError(
                f"image set {name} is a published one, whose pictures need no preparing; give your own another name"
            )
        names = load_image_set(name).names
        missing = [each for each in names if each not in found]
        if missing:
            raise StimulusError(
                f"{source}: lacks {', '.join(missing)} of image set {name}; it has {', '.join(found) or 'none'}"
            )
    else:
        names = list(found)
        if len(names) != N_PICTURES:
            raise StimulusError(f"{source}: has {len(names)} pictures and a set has {N_PICTURES}; give just these")
        for each in names:
            _refuse_name(each)
    pictures = [Prepared(name=each, stored=found[each], source=source.name, licence=licence) for each in names]
    with _in_place(sets_of(library) / name, replace=replace) as folder:
        write_set(folder, image_set=name, kind=SourceKind.IMPORTED, compact=False, pictures=pictures)
    return ImageSet.open(sets_of(library) / name)


def import_movie(name: str, source: Path, *, library: Path, replace: bool) -> ImportedMovie:
    """Bring a movie, an array file of frames, into the library and return it; errors as of ``import_images``."""
    _refuse_name(name)
    frames = read_movie(source)
    with _in_place(movies_of(library) / name, replace=replace) as folder:
        write_movie(folder, name=name, frames=frames, source=source.name)
    return ImportedMovie.open(movies_of(library) / name)


def listed(library: Path) -> Iterator[ImageSet]:
    """Yield every image set of this machine: the published ones, imported or as stand-ins, then own ones.

    Raises
    ------
    StimulusError
        A set's files are missing, damaged or changed.
    """
    for name in image_sets(library):
        images = _images(name, library)
        images.check_files()
        yield images


def listed_movies(library: Path) -> Iterator[ImportedMovie]:
    """Yield the movies that were imported; raises ``StimulusError`` as ``listed`` does."""
    folder = movies_of(library)
    for each in sorted(folder.iterdir()) if folder.is_dir() else []:
        movie = ImportedMovie.open(each)
        movie.check_files()
        yield movie


def _refuse_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise StimulusError(f"{name!r} is no name for pictures; use letters, digits and _")
    if name.startswith("standin"):
        raise StimulusError(f"{name}: names that begin with standin belong to stand-ins; take another")


@contextmanager
def _in_place(folder: Path, *, replace: bool) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``folder`` when all went well."""
    if folder.exists() and not replace:
        raise StimulusError(f"{folder}: is there already; say --replace to import it anew")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".importing-") as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        yield made
        if folder.exists():
            folder.rename(Path(temporary) / "replaced")
        made.rename(folder)
