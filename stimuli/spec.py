"""What can be on the screen, as plain values.

A stimulus is a frozen value that can be compared, hashed and written to a log. Nothing here knows
how it is drawn: rendering belongs to the screens, and the task only ever names a stimulus.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class SourceKind(StrEnum):
    """Where pictures and movies come from."""

    STAND_IN = "stand-in"
    """Others in the published ones' place; for simulations."""
    IMPORTED = "imported"
    """The laboratory's own, brought in by ``rig images import``."""


class StimulusError(Exception):
    """Something can't be shown as asked; one sentence says what, where and how to mend it."""


class Gray(msgspec.Struct, frozen=True, tag="gray", kw_only=True):
    """A uniform mid-gray screen (pixel value 127, TASK_FACTS 9)."""


class Grating(msgspec.Struct, frozen=True, tag="grating", kw_only=True):
    """A full-field square-wave grating.

    ``group`` is the identity the mouse is asked about (``vertical`` or ``horizontal``); a change
    of orientation within a group is none. Published values: 0.04 cycles per degree, phase 0.25,
    200 x 150 degrees (TASK_FACTS 9).
    """

    group: str
    orientation_deg: float
    spatial_frequency_cpd: float = 0.04
    phase_cycles: float = 0.25
    contrast: float = 1.0


class NaturalImage(msgspec.Struct, frozen=True, tag="natural_image", kw_only=True):
    """One picture of an image set, by its name: published ones are called ``im065``, stand-ins ``standin_A3``."""

    image_set: str
    name: str


class NaturalMovie(msgspec.Struct, frozen=True, tag="natural_movie", kw_only=True):
    """A movie shown from its first frame, ``refreshes_per_frame`` refreshes a frame.

    The screen counts the frames from the refresh the movie came on; after ``n_repeats`` times
    ``n_frames`` frames it would begin again.
    """

    name: str
    n_frames: int
    n_repeats: int
    refreshes_per_frame: int


class Gabor(msgspec.Struct, frozen=True, tag="gabor", kw_only=True):
    """A drifting sine grating behind a circular mask at one place of the screen; gray around it.

    Azimuth and altitude are those of its middle, 0 and 0 the screen's; right and up are positive.
    """

    azimuth_deg: float
    altitude_deg: float
    orientation_deg: float
    spatial_frequency_cpd: float
    temporal_frequency_hz: float
    diameter_deg: float
    contrast: float


Stimulus = Gray | Grating | NaturalImage | NaturalMovie | Gabor


def label(stimulus: Stimulus) -> str:
    """Return the name a table or a figure gives the stimulus (``gratings_90``, ``im065``, ``gabor_-40_10_45``)."""
    match stimulus:
        case Gray():
            return "gray"
        case Grating():
            return f"gratings_{stimulus.orientation_deg:g}"
        case NaturalImage() | NaturalMovie():
            return stimulus.name
        case Gabor():
            return f"gabor_{stimulus.azimuth_deg:g}_{stimulus.altitude_deg:g}_{stimulus.orientation_deg:g}"


def identity(stimulus: Stimulus) -> str:
    """Return what the mouse is asked to notice: the orientation group, or the picture's name."""
    return stimulus.group if isinstance(stimulus, Grating) else label(stimulus)
