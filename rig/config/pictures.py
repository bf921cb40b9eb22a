"""Which pictures and movie stand behind a stage on this machine: the laboratory's own, or stand-ins.

The library is a folder that ``rig images import`` fills. A set or movie that is in it is shown under its published
names. One that is not has a stand-in, under names of its own, which a rig with a real device refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rig.config.files import load_image_set, movies_of, sets_of
from rig.config.load import ConfigError, Problem
from stages.events import PicturesFrom
from stages.parameters import NaturalImages, Stage, StageParameters
from stimuli.pictures import Pictures
from stimuli.pictures.movies import ImportedMovie, Movie, StandInMovie
from stimuli.pictures.sets import ImageSet
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
