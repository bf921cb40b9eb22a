"""What a stochastic mouse is like on its next day: it has learned from all its own sessions, and no others."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from hardware.simulated.mice import SessionParameters, Temperament
from stages.history import SessionFacts


def model_mouse(mouse: str, history: Sequence[SessionFacts], *, seed: int = 0) -> SessionParameters:
    """Return what makes a model mouse's next session.

    Its temperament follows from its name, its skill from the sessions in which it could earn water, its mood from how
    many there were.

    Parameters
    ----------
    seed
        Of another mouse with the same name.
    """
    name = zlib.crc32(mouse.encode())
    temperament = Temperament.drawn(np.random.default_rng([seed, name]))
    n_learned = sum(not facts.passive for facts in history)
    return temperament.session(np.random.default_rng([seed, name, len(history)]), training_sessions=n_learned)
