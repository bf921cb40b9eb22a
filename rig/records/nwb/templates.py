"""The frames that a session showed, for its file: rendered again by what drew them on the screen."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rig.config.pictures import pictures_of
from rig.config.rig import PUBLISHED, GeometryConfig
from rig.log.reader import SessionLog
from rig.records.nwb import NwbError
from rig.records.nwb.sections import StimulusTemplates
from rig.records.nwb.tables import image_name
from stages.parameters import StageParameters, stage_of
from stimuli.frames import Frames
from stimuli.spec import Grating, NaturalImage


def templates_of(log: SessionLog, *, library: Path | None) -> StimulusTemplates | None:
    """Return the pictures or gratings of a session as they were on its screen, in the order of their index.

    Pixels that the warp leaves nothing of are NaN before it. None for a session that showed nothing of the kind.

    Parameters
    ----------
    library
        Where the laboratory's own pictures were imported to.

    Raises
    ------
    NwbError
        The pictures of this computer are not those that were shown, or the log doesn't say which were.
    ConfigError
        A picture is missing, damaged or changed.
    """
    stills = {image_name(s): s for s in log.started.stimuli if isinstance(s, NaturalImage | Grating)}
    stage = stage_of(log.started.stage_parameters)
    if not stills or not isinstance(stage, StageParameters):
        return None
    pictures = pictures_of(stage.model_copy(update={"movie": None}), simulated=True, library=library)
    here, shown = pictures.images_from(), log.started.images
    if here is not None and shown is None:
        raise NwbError(
            f"{log.folder}: its log does not say which pictures were shown, so none can be drawn again; export it "
            "without --templates"
        )
    if here is not None and shown is not None and here.sha256 != shown.sha256:
        other = sorted(name for name in shown.sha256 if here.sha256.get(name) != shown.sha256[name])
        raise NwbError(
            f"{log.folder}: {', '.join(other)} of image set {shown.name} can't be drawn again: this computer has other "
            "pictures than were shown; bring those in with rig images import, or export without --templates"
        )
    screen = log.started.rig_parameters.get("screen") or {}
    geometry = GeometryConfig.model_validate(screen.get("geometry") or PUBLISHED.model_dump()).geometry()
    frames = Frames(geometry=geometry, pictures=pictures.source)
    names = sorted(stills)
    unwarped = np.stack([frames.unwarped(stills[name]) for name in names]).astype(np.float32)
    unwarped[:, ~geometry.warp.seen()] = np.nan
    warped = np.stack([frames.still(stills[name]) for name in names])
    return StimulusTemplates(names=names, warped=warped, unwarped=unwarped)
