"""Image sets and movies: what is drawn for a name, and how it is known again.

What it is for
    The pictures of a stage, eight a set, from the laboratory's own files or, where there are none, from stand-ins.

Rules
    * A picture is known by the hash of its grey levels. One that is missing, damaged, changed or of a wrong size is
      refused by a sentence, before a session starts.
    * No file calls another photograph by a published name: a stand-in is ``standin_A0``, and its manifest says which
      published picture it stands for. Log and summary say ``stand-in``, with the hashes.
    * Stand-ins run in simulation. A rig with a real device refuses them unless it is told to.

Where to find what
    ``sets``       a folder with a manifest and eight PNGs
    ``movies``     the movie at the end, imported or made
    ``preparing``  from a photograph to a picture: crop, luminance, barrel-shaped margin
    ``stand_ins``  the sets that ship, and how they were made
    ``importing``  camstim pickles, NWB files, folders, movie arrays
"""

from __future__ import annotations

from dataclasses import dataclass

from hardware.arrays import GreyFrame, GreyFrames
from stimuli.pictures.movies import Movie
from stimuli.pictures.sets import ImageSet
from stimuli.spec import StimulusError


@dataclass(frozen=True)
class Pictures:
    """What a stage's frames are drawn from (``stimuli.frames.PictureSource``); None where it needs none."""

    images: ImageSet | None = None
    film: Movie | None = None

    def picture(self, name: str) -> GreyFrame:
        """Return a picture, uint8 (918, 1174); see ``ImageSet.picture``."""
        if self.images is None:
            raise StimulusError(f"picture {name}: there is no image set to take it from")
        return self.images.picture(name)

    def movie(self, name: str, *, n_frames: int) -> GreyFrames:
        """Return a movie's frames, uint8 (n, rows, columns), checked against their hash."""
        film = self._film(name)
        film.check_files()
        return film.frames(n_frames)

    def movie_hash(self, name: str) -> str:
        """Return what tells a movie from every other."""
        return self._film(name).sha256()

    def check_files(self) -> None:
        """Compare every file with its hash; raises ``StimulusError``."""
        for source in (self.images, self.film):
            if source is not None:
                source.check_files()

    def _film(self, name: str) -> Movie:
        if self.film is None or self.film.name != name:
            raise StimulusError(f"there is no movie {name}; import it with rig images import")
        return self.film
